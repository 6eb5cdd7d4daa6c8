//! `cvx-cls info`: what a classifier of a published size or of a recipe is made of.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::{ClassifierConfig, ConvNextConfig};

use super::args::Described;
use super::bench::Bench;
use super::{InfoArgs, Recipe};
use crate::exit::{Exit, Streams};
use crate::{flops, recipe};

/// Prints parameters, FLOPs and feature maps, or measures.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let out = &mut *streams.out;
    let (backbone, num_classes) = match &args.described {
        Described::Size(variant) => {
            ensure!(
                args.set.is_empty() && !args.dump.dump,
                "--set and --dump are for a recipe's file (.toml)"
            );
            (ConvNextConfig::of(*variant), args.classes as usize)
        }
        Described::Recipe(path) => {
            let resolved = recipe::resolve::<Recipe>(path, &args.set)?;
            if args.dump.dump {
                out.write_all(resolved.dump()?.as_bytes())?;
                return Ok(Exit::Done);
            }
            (resolved.recipe.model.config(), resolved.recipe.head.num_classes)
        }
    };
    let config = ClassifierConfig::new(backbone.clone(), num_classes);
    if args.bench_args.bench {
        let bench = Bench { config: &config, setting: args.bench_args.setting(args.size)? };
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
    let (body, head) = (flops::backbone(&backbone, cells), (channels * num_classes) as u64);
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
    Ok(Exit::Done)
}
