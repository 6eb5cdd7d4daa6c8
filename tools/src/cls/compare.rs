//! `cvx-cls compare`: classifiers side by side.

use std::io;
use std::sync::Arc;

use anyhow::{Result, ensure};
use burn::module::Module as _;
use cvx_backbone::ClassifierConfig;
use cvx_data::{Dataset as _, ImageFolder, compare_accuracies};

use super::judge::{Judge, TOP1};
use super::recipe::Recipe;
use super::{data, model};
use crate::compare::judged::Question;
use crate::compare::{self, CompareArgs, Differences, Group, Known, Task, Weighed};
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::flops;
use crate::precision::Precision;
use crate::recipe;
use crate::run_report::Run;
use crate::train::checkpoint::Checkpoint;

/// Figures that are compared unless others are asked for.
const METRICS: [&str; 2] = [TOP1, "top5"];

/// Prints the tables, and writes what else is asked for.
pub(super) fn compare_runs(args: &CompareArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let task = Task {
        metrics: &METRICS,
        know: &|path| know(&recipe::load(path, &args.set)?),
        differences: Some(&|groups| differences(args, groups)),
    };
    compare::compare(args, &task, streams)
}

fn know(recipe: &Recipe) -> Result<Known> {
    let backbone = recipe.model.config();
    let size = [recipe.input.size as usize; 2];
    let [_, _, _, channels] = backbone.dims;
    let flops = flops::backbone(&backbone, flops::cells(size)) + (channels * recipe.head.num_classes) as u64;
    let classifier =
        ClassifierConfig::new(backbone, recipe.head.num_classes).init(&burn::tensor::Device::flex());
    let weighed = Weighed { parameters: classifier.num_params(), flops, size };
    Ok(Known::of(&recipe.plan(), weighed))
}

/// Top-1 accuracy of every group less that of the first, on resampled images.
fn differences(args: &CompareArgs, groups: &[Group]) -> Result<Vec<Differences>> {
    let first = &groups[0].runs[0];
    let reference: Recipe = recipe::load(&first.recipe_path(), &args.set)?;
    let (val_set, _) = data::open_val(&reference)?;
    let mut judged = Vec::new();
    for group in groups {
        let of_run = |run: &Run| -> Result<Vec<bool>> {
            let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
            ensure!(
                recipe.data.val == reference.data.val,
                "{} and {} were judged by different images: `data.val` is \"{}\" and \"{}\"",
                first.folder().display(),
                run.folder().display(),
                reference.data.val,
                recipe.data.val
            );
            let mut question = Question::of(run, &recipe)?;
            (0..val_set.len()).try_for_each(|index| question.about(val_set.file(index)))?;
            let fits = |kept: &Vec<bool>| kept.len() == val_set.len();
            question.answer(run, fits, || classify(args, &recipe, run, &val_set))
        };
        judged.push(group.runs.iter().map(of_run).collect::<Result<Vec<_>>>()?);
    }
    let of_group = |group: &Vec<_>| {
        compare_accuracies(&judged[0], group, args.resampling())
            .map(|figure| (figure.name.to_owned(), figure))
            .into()
    };
    Ok(judged[1..].iter().map(of_group).collect())
}

/// Whether each image was told for what it is.
fn classify(args: &CompareArgs, recipe: &Recipe, run: &Run, val_set: &Arc<ImageFolder>) -> Result<Vec<bool>> {
    let checkpoint = Checkpoint::open_whole(&run.best_checkpoint())?;
    model::expect_recipe(&checkpoint, recipe)?;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, &mut io::stderr())?;
    let classifier = checkpoint.load_model(model::architecture(recipe).init(&device))?;
    let judge = Judge { classifier: &classifier, preprocessing: &recipe.input, device: &device };
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let (batch_size, workers) = (recipe.evaluate.batch_size, recipe.train.workers);
    let mut progress = |images| counting.advance(images);
    let judgement = precision.scope(|| judge.run(val_set, batch_size, workers, &mut progress))?;
    Ok(judgement.choices().iter().map(|choice| choice.first == choice.class).collect())
}
