//! `cvx-pretrain info`: what a recipe's autoencoder is made of, and how fast its parts learn, without training.

use anyhow::Result;
use burn::module::Module as _;
use burn::prelude::*;
use cvx_data::Dataset as _;

use super::args::InfoArgs;
use super::data;
use super::model::Architecture;
use super::recipe::{Recipe, Source};
use crate::exit::{Exit, Streams};
use crate::recipe;
use crate::train::params;

/// Prints parameters and the optimizer's groups with their learning rates.
///
/// # Errors
/// If the recipe cannot be used.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let resolved = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let out = &mut *streams.out;
    if args.dump.dump {
        out.write_all(resolved.dump()?.as_bytes())?;
        return Ok(Exit::Done);
    }
    let recipe = &resolved.recipe;
    let fcmae = Architecture::of(recipe).init(&Device::flex());
    let num_encoder = fcmae.backbone.num_params();
    writeln!(out, "{:<10} {:>12}", "parameters", "count")?;
    for (part, count) in [
        ("encoder", num_encoder),
        ("decoder", fcmae.num_params() - num_encoder),
        ("total", fcmae.num_params()),
    ] {
        writeln!(out, "{part:<10} {count:>12}")?;
    }
    let plan = recipe.plan();
    let groups = plan.groups(&params::trained(&fcmae)).map_err(|error| resolved.cannot_work(&error))?;
    writeln!(
        out,
        "\nlr = {}, of which each group has its share\n{}",
        plan.lr_told(),
        groups.table(plan.lr())
    )?;
    let count = || {
        if let Source::Shapes(shapes) = &recipe.data.source {
            // They need not be drawn to be counted.
            return Ok(shapes.train_images);
        }
        let [train_set, _] = data::open(&recipe.data)?;
        Ok(train_set.len())
    };
    args.schedule_args.tell(
        &plan,
        &groups,
        &recipe.model.config().drop_path_rates(),
        |sampler| sampler,
        count,
        out,
    )?;
    Ok(Exit::Done)
}
