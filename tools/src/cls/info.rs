//! `cvx-cls info`: what a classifier of a published size, or of a recipe, is made of.

use anyhow::{Context as _, Result, ensure};
use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::{ClassifierConfig, ConvNextConfig};
use cvx_data::Dataset as _;

use super::args::{InfoArgs, Subject};
use super::bench::Bench;
use super::{Recipe, data};
use crate::exit::{Exit, Streams};
use crate::flops;
use crate::recipe;
use crate::train::params;

/// Prints parameters, FLOPs, feature maps and a recipe's groups with their learning rates, or measures.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let out = &mut *streams.out;
    let recipe: Option<Recipe> = match &args.subject {
        Subject::Recipe(path) => {
            let resolved = recipe::resolve::<Recipe>(path, &args.set)?;
            if args.dump.dump {
                out.write_all(resolved.dump()?.as_bytes())?;
                return Ok(Exit::Done);
            }
            Some(resolved.recipe)
        }
        Subject::Published(_) => {
            ensure!(
                args.set.is_empty() && args.schedule_args.schedule.is_none() && !args.dump.dump,
                "--set, --schedule and --dump are for recipes, as configs/smoke/classify.toml; a published size has none"
            );
            None
        }
    };
    let (backbone, num_classes) = match (&args.subject, &recipe) {
        (_, Some(recipe)) => (recipe.model.config(), recipe.head.num_classes),
        (Subject::Published(variant), None) => (ConvNextConfig::of(*variant), args.classes as usize),
        (Subject::Recipe(_), None) => unreachable!("it was just read"),
    };
    let config = ClassifierConfig::new(backbone.clone(), num_classes);
    if args.bench_args.bench {
        let precision = recipe.as_ref().and_then(|recipe| recipe.precision);
        let setting = args.bench_args.setting(args.size, precision, streams.err)?;
        let bench = Bench { config: &config, setting };
        writeln!(out, "{}", serde_json::to_string_pretty(&bench.run()?)?)?;
        return Ok(Exit::Done);
    }
    let classifier = config.init(&Device::flex());
    let num_backbone = classifier.backbone.num_params();
    writeln!(out, "{:<10} {:>12}", "parameters", "count")?;
    for (part, count) in [
        ("backbone", num_backbone),
        ("head", classifier.num_params() - num_backbone),
        ("total", classifier.num_params()),
    ] {
        writeln!(out, "{part:<10} {count:>12}")?;
    }

    let [height, width] = args.size;
    let cells = flops::cells(args.size);
    let [_, _, _, channels] = backbone.dims;
    let (body, head) = (flops::backbone(&backbone, cells), channels as u64 * num_classes as u64);
    writeln!(out, "\n{:<10} {:>12}", "GFLOPs", format!("{height}x{width}"))?;
    for (part, count) in [("backbone", body), ("head", head), ("total", body + head)] {
        writeln!(out, "{part:<10} {:>12.3}", count as f64 / 1e9)?;
    }
    writeln!(out, "(multiply-adds of convolutions and linear layers)")?;

    writeln!(out, "\n{:<10} {:>8} {:>8} {:>12}", "feature", "stride", "channels", "cells")?;
    for (name, spec) in ["c2", "c3", "c4", "c5"].iter().zip(backbone.feature_specs()) {
        let cells = format!("{}x{}", height / spec.stride, width / spec.stride);
        writeln!(out, "{name:<10} {:>8} {:>8} {cells:>12}", spec.stride, spec.channels)?;
    }
    let Some(recipe) = recipe else { return Ok(Exit::Done) };
    let plan = recipe.plan();
    let groups = plan.groups(&params::trained(&classifier)).context("the recipe cannot work")?;
    writeln!(
        out,
        "\nlr = {}, of which each group has its share\n{}",
        plan.lr_told(),
        groups.table(plan.lr())
    )?;
    let count = || {
        let (val_set, _) = data::open_val(&recipe)?;
        let train_set = data::open_train(&recipe, &val_set)?;
        Ok(train_set.len())
    };
    args.schedule_args.tell(&plan, &groups, &backbone.drop_path_rates(), |sampler| sampler, count, out)?;
    Ok(Exit::Done)
}
