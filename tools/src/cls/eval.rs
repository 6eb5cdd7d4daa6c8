//! `cvx-cls eval`: a classifier's numbers on the validation images of a recipe.

use anyhow::Result;
use cvx_data::Dataset as _;

use super::judge::Judge;
use super::recipe::Recipe;
use super::{data, model};
use crate::args::EvalArgs;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::precision::Precision;
use crate::recipe;
use crate::report;
use crate::verdict;
use crate::weights::judged::Weights;

/// Evaluates, prints the tables, and compares with the recipe's expectation.
///
/// # Errors
/// If the recipe, the weights or the images cannot be used.
pub fn eval(args: &EvalArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, streams.err)?;
    let weights = Weights::open(args.weights.as_deref(), &recipe.run)?;
    if let Weights::Checkpoint(checkpoint) = &weights {
        model::expect_recipe(checkpoint, &recipe)?;
    }
    let (val_set, folder) = data::open_val(&recipe)?;
    weights.compare_classes(val_set.class_names(), &folder)?;
    let (classifier, remarks) = weights.load(model::architecture(&recipe).init(&device))?;
    remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;

    let judge = Judge { classifier: &classifier, preprocessing: &recipe.input, device: &device };
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let (batch_size, workers) = (recipe.evaluate.batch_size, recipe.train.workers);
    let mut progress = |images| counting.advance(images);
    let judgement = precision.scope(|| judge.run(&val_set, batch_size, workers, &mut progress))?;
    drop(counting);
    let metrics = judgement.metrics();
    streams.out.write_all(judgement.class_table().as_bytes())?;
    let value = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    writeln!(
        streams.out,
        "top1 {:.4}, top5 {:.4} of {} images",
        value("top1"),
        value("top5"),
        val_set.len()
    )?;
    if let Some(path) = &args.json {
        report::write_json(path, &metrics, judgement.classes_entry())?;
    }
    verdict::of_metrics(&recipe.expect, &metrics, streams)
}
