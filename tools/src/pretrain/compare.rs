//! `cvx-pretrain compare`: pretrainings side by side.

use anyhow::Result;
use burn::module::Module as _;
use burn::tensor::Device;

use super::judge::EXPLAINED;
use super::model::Architecture;
use super::recipe::Recipe;
use crate::compare::{self, CompareArgs, Known, Task, Weighed};
use crate::exit::{Exit, Streams};
use crate::flops;
use crate::recipe;

/// Figures that are compared unless others are asked for.
const METRICS: [&str; 2] = [EXPLAINED, "loss"];

/// Prints the tables, and writes what else is asked for. There are no intervals: an image's share is no mean over images.
pub(super) fn compare_runs(args: &CompareArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let task =
        Task { metrics: &METRICS, know: &|path| know(&recipe::load(path, &args.set)?), differences: None };
    compare::compare(args, &task, streams)
}

/// Of the encoder, as if nothing were hidden.
fn know(recipe: &Recipe) -> Result<Known> {
    let size = [recipe.input.side as usize; 2];
    let fcmae = Architecture::of(recipe).init(&Device::flex());
    let weighed = Weighed {
        parameters: fcmae.backbone.num_params(),
        flops: flops::backbone(&recipe.model.config(), flops::cells(size)),
        size,
    };
    Ok(Known::of(&recipe.plan(), weighed))
}
