//! `cvx-pretrain info`: what a recipe's autoencoder is made of.

use anyhow::Result;
use burn::module::Module as _;
use burn::prelude::*;

use super::InfoArgs;
use super::model::Architecture;
use super::recipe::Recipe;
use crate::exit::{Exit, Streams};
use crate::recipe;

/// Prints parameters, or the recipe.
///
/// # Errors
/// If the recipe cannot be read.
pub fn info(args: &InfoArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let resolved = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let out = &mut *streams.out;
    if args.dump.dump {
        out.write_all(resolved.dump()?.as_bytes())?;
        return Ok(Exit::Done);
    }
    let fcmae = Architecture::of(&resolved.recipe).init(&Device::flex());
    let (total, encoder) = (fcmae.num_params(), fcmae.backbone.num_params());
    writeln!(out, "{:<10} {:>12}", "parameters", "count")?;
    for (part, count) in [("encoder", encoder), ("decoder", total - encoder), ("total", total)] {
        writeln!(out, "{part:<10} {count:>12}")?;
    }
    Ok(Exit::Done)
}
