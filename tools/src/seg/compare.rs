//! `cvx-seg compare`: segmentors side by side.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use cvx_data::{ClassPixels, ConfusionMatrix, Dataset as _, SegmentationFolder, compare_segmentations};
use serde_json::Value;

use super::data::{self, Source};
use super::description::expect_recipe;
use super::flops::Flops;
use super::inference::label_image;
use super::initial::random;
use super::model::{Architecture, Preprocessing};
use super::recipe::{Data, Recipe};
use crate::compare::judged::Question;
use crate::compare::{self, CompareArgs, Differences, Group, Known, Task, Weighed};
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::precision::Precision;
use crate::recipe;
use crate::run_report::Run;
use crate::train::checkpoint::Checkpoint;
use crate::train::entries::{Difference, first_difference};
use crate::train::params;
use crate::waiting::Waiting;

/// Figures that are compared unless others are asked for.
const METRICS: [&str; 3] = ["miou", "macc", "aacc"];

/// The size at which multiply-adds are counted, as in the papers' tables of ADE20K.
const SIZE: [usize; 2] = [512, 2048];

/// Of each image, hits, true and predicted pixels of each class.
type Kept = Vec<Vec<[u64; 3]>>;

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
    let segmentor = random(recipe, &burn::tensor::Device::flex());
    let flops = Flops::count(&recipe.model.config(), &Architecture::of(recipe).upernet, SIZE).total();
    let weighed = Weighed { parameters: params::count_trained(&segmentor), flops, size: SIZE };
    Ok(Known::of(&recipe.plan(), weighed))
}

/// mIoU and its relatives of every group less those of the first, on resampled images.
fn differences(args: &CompareArgs, groups: &[Group]) -> Result<Vec<Differences>> {
    let first = &groups[0].runs[0];
    let reference: Recipe = recipe::load(&first.recipe_path(), &args.set)?;
    let val_set = Source::of(&reference.data)?.open_val()?;
    let mut judged = Vec::new();
    for group in groups {
        let of_run = |run: &Run| -> Result<Vec<Vec<ClassPixels>>> {
            let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
            judges_the_same(&reference, &recipe).with_context(|| {
                let [one, other] = [first, run].map(|run| run.folder().display());
                format!("{one} and {other} were judged by different images or rules")
            })?;
            let mut question = Question::of(run, &recipe)?;
            for index in 0..val_set.len() {
                question.about(val_set.image_file(index))?;
                question.about(val_set.label_file(index))?;
            }
            let num_classes = val_set.num_classes();
            let fits = |kept: &Kept| {
                kept.len() == val_set.len() && kept.iter().all(|classes| classes.len() == num_classes)
            };
            let kept: Kept = question.answer(run, fits, || segment(args, &recipe, run, &val_set))?;
            let class = |[hits, truth, prediction]: [u64; 3]| ClassPixels { hits, truth, prediction };
            Ok(kept.into_iter().map(|classes| classes.into_iter().map(class).collect()).collect())
        };
        judged.push(group.runs.iter().map(of_run).collect::<Result<Vec<_>>>()?);
    }
    let convention = reference.evaluate.convention.convention();
    let _waiting = Waiting::on_stderr("resampling the images".to_owned());
    let of_group = |group: &Vec<_>| {
        compare_segmentations(&judged[0], group, convention, args.resampling())
            .map(|figure| (figure.name.to_owned(), figure))
            .into()
    };
    Ok(judged[1..].iter().map(of_group).collect())
}

/// Refuses recipes whose validation images, classes or rules differ.
fn judges_the_same(first: &Recipe, second: &Recipe) -> Result<()> {
    let data = |data: &Data| -> Result<Value> { Ok(serde_json::to_value(data)?) };
    let free = ["folders.train_images", "folders.train_labels", "shapes.train_images"];
    if let Some(Difference { path, first, second }) =
        first_difference(&data(&first.data)?, &data(&second.data)?, &free)
    {
        return Err(anyhow!("`data.{path}` is {first} and {second}"));
    }
    let [one, other] = [first, second]
        .map(|recipe| serde_json::to_value(recipe.evaluate.convention).map(|it| it.to_string()));
    let (one, other) = (one?, other?);
    anyhow::ensure!(one == other, "`evaluate.convention` is {one} and {other}");
    Ok(())
}

fn segment(
    args: &CompareArgs,
    recipe: &Recipe,
    run: &Run,
    val_set: &Arc<SegmentationFolder>,
) -> Result<Kept> {
    let checkpoint = Checkpoint::open_whole(&run.best_checkpoint())?;
    expect_recipe(&checkpoint, recipe, &[])?;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, &mut io::stderr())?;
    let segmentor = checkpoint.load_model(random(recipe, &device))?;
    let preprocessing = Preprocessing::of(recipe);
    let look = recipe.evaluate.look();
    let convention = recipe.evaluate.convention.convention();
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let mut kept = Kept::new();
    for samples in data::val_loader(val_set, recipe.train.workers).epoch(0, 0) {
        for sample in samples? {
            let look = || label_image(&segmentor, &sample.image, &preprocessing, &look, &device);
            let predicted = precision.scope(look);
            let mut matrix = ConfusionMatrix::new(val_set.num_classes());
            matrix.add(&val_set.labels(sample.index)?, &predicted);
            let pixels = matrix.class_pixels(convention).into_iter();
            kept.push(
                pixels.map(|ClassPixels { hits, truth, prediction }| [hits, truth, prediction]).collect(),
            );
            counting.advance(1);
        }
    }
    Ok(kept)
}
