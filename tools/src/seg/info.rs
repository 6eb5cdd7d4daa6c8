//! `cvx-seg info`: what a recipe's model is made of, without data and without training.

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{BatchSampler, Dataset as _};

use super::args::InfoArgs;
use super::bench::Bench;
use super::data::Source;
use super::flops::Flops;
use super::initial::random;
use super::model::Architecture;
use super::recipe::{Data, Recipe};
use crate::exit::{Exit, Streams};
use crate::recipe;
use crate::train::params;

/// Prints parameters, FLOPs, feature maps and the optimizer's groups with their learning rates, or measures.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let resolved = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    if args.dump.dump {
        streams.out.write_all(resolved.dump()?.as_bytes())?;
        return Ok(Exit::Done);
    }
    let recipe = &resolved.recipe;
    let out = &mut *streams.out;
    if args.bench_args.bench {
        let setting = args.bench_args.setting(args.size, recipe.precision, streams.err)?;
        let bench = Bench { recipe, setting };
        writeln!(out, "{}", serde_json::to_string_pretty(&bench.run()?)?)?;
        return Ok(Exit::Done);
    }
    let segmentor = random(recipe, &Device::flex());
    writeln!(out, "{:<14} {:>12}", "parameters", "count")?;
    for (part, count) in [
        ("backbone", params::count_trained(&segmentor.backbone)),
        ("decode head", params::count_trained(&segmentor.heads.decode_head)),
        ("auxiliary head", params::count_trained(&segmentor.heads.auxiliary_head)),
        ("total", params::count_trained(&segmentor)),
    ] {
        writeln!(out, "{part:<14} {count:>12}")?;
    }

    let [height, width] = args.size;
    let backbone = recipe.model.config();
    let flops = Flops::count(&backbone, &Architecture::of(recipe).upernet, args.size);
    writeln!(out, "\n{:<14} {:>12}", "GFLOPs", format!("{height}x{width}"))?;
    let Flops { backbone: body, pooling, fpn, fusion } = flops;
    for (part, count) in
        [("backbone", body), ("pooling", pooling), ("fpn", fpn), ("fusion", fusion), ("total", flops.total())]
    {
        writeln!(out, "{part:<14} {:>12.2}", count as f64 / 1e9)?;
    }
    writeln!(out, "(multiply-adds of convolutions and linear layers, without the auxiliary head)")?;

    writeln!(out, "\n{:<14} {:>8} {:>8} {:>12}", "feature", "stride", "channels", "cells")?;
    for (name, spec) in ["c2", "c3", "c4", "c5"].iter().zip(backbone.feature_specs()) {
        let cells = format!("{}x{}", height / spec.stride, width / spec.stride);
        writeln!(out, "{name:<14} {:>8} {:>8} {cells:>12}", spec.stride, spec.channels)?;
    }

    let plan = recipe.plan();
    let groups = plan.groups(&params::trained(&segmentor)).map_err(|error| resolved.cannot_work(&error))?;
    writeln!(
        out,
        "\nlr = {}, of which each group has its share\n{}",
        plan.lr_told(),
        groups.table(plan.lr())
    )?;
    let count = || {
        if let Data::Shapes(shapes) = &recipe.data {
            // They need not be drawn to be counted.
            return Ok(shapes.train_images);
        }
        Ok(Source::of(&recipe.data)?.open_train()?.len())
    };
    args.schedule_args.tell(
        &plan,
        &groups,
        &backbone.drop_path_rates(),
        BatchSampler::joining_last,
        count,
        out,
    )?;
    Ok(Exit::Done)
}
