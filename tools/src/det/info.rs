//! `cvx-det info`: what a recipe's model is made of, without data and without training.

use anyhow::Result;
use burn::module::Module;
use burn::prelude::*;
use cvx_data::Dataset as _;

use super::args::InfoArgs;
use super::bench::Bench;
use super::flops::Flops;
use super::model::Architecture;
use super::{Streams, data};
use crate::exit::Exit;
use crate::recipe::{self, Data, Head, Recipe};
use crate::train::params;

/// Prints parameters, FLOPs, feature maps and the optimizer's groups with their learning rates.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let resolved = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    if args.dump.dump {
        streams.out.write_all(resolved.dump()?.as_bytes())?;
        return Ok(Exit::Done);
    }
    let recipe = &resolved.recipe;
    if args.bench_args.bench {
        let size = args.size.map(|side| side.next_multiple_of(recipe.input.pad_multiple));
        let bench = Bench { recipe, setting: args.bench_args.setting(size, recipe.precision, streams.err)? };
        writeln!(streams.out, "{}", serde_json::to_string_pretty(&bench.run()?)?)?;
        return Ok(Exit::Done);
    }
    let architecture = Architecture::of(recipe);
    let detector = architecture.init(&Device::flex());
    let out = &mut *streams.out;

    writeln!(out, "{:<10} {:>12}", "parameters", "count")?;
    let parts = [
        ("backbone", detector.backbone.num_params()),
        ("fpn", detector.heads.neck.num_params()),
        ("rpn", detector.heads.rpn_head.num_params()),
        ("box head", detector.heads.bbox_head.num_params()),
        ("mask head", detector.heads.mask_head.num_params()),
        ("total", detector.num_params()),
    ];
    for (part, count) in parts {
        writeln!(out, "{part:<10} {count:>12}")?;
    }

    let Head::MaskRcnn(head) = &recipe.head;
    let [height, width] = args.size.map(|side| side.next_multiple_of(recipe.input.pad_multiple));
    let backbone = recipe.model.config();
    let flops = Flops::count(&backbone, &head.config(), [height, width]);
    writeln!(out, "\n{:<10} {:>12}", "GFLOPs", format!("{height}x{width}"))?;
    let Flops { backbone: body, fpn, rpn, box_head, mask_head } = flops;
    let parts = [
        ("backbone", body),
        ("fpn", fpn),
        ("rpn", rpn),
        ("box head", box_head),
        ("mask head", mask_head),
        ("total", flops.total()),
    ];
    for (part, count) in parts {
        writeln!(out, "{part:<10} {:>12.2}", count as f64 / 1e9)?;
    }
    writeln!(out, "(multiply-adds of convolutions and linear layers; 1000 boxes, 100 masks)")?;

    writeln!(out, "\n{:<10} {:>8} {:>8} {:>12}", "feature", "stride", "channels", "cells")?;
    for (name, spec) in ["c2", "c3", "c4", "c5"].iter().zip(backbone.feature_specs()) {
        let cells = format!("{}x{}", height / spec.stride, width / spec.stride);
        writeln!(out, "{name:<10} {:>8} {:>8} {cells:>12}", spec.stride, spec.channels)?;
    }

    let plan = recipe.plan();
    let groups = plan.groups(&params::trained(&detector)).map_err(|error| resolved.cannot_work(&error))?;
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
        let [train, _] = data::splits(&recipe.data)?;
        Ok(data::open_train(recipe, &train)?.len())
    };
    args.schedule_args.tell(&plan, &groups, &backbone.drop_path_rates(), |sampler| sampler, count, out)?;
    Ok(Exit::Done)
}
