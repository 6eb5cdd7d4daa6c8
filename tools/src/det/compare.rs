//! `cvx-det compare`: detectors side by side.

use std::io;

use anyhow::{Context as _, Result, anyhow};
use cvx_data::{
    CocoDataset, CocoEvaluator, Comparison, Dataset as _, Detection, IouType, Params, Rle, Sample, compare,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::flops::Flops;
use super::inference::Inference;
use super::model::{self, Architecture, Preprocessing};
use super::{Streams, data};
use crate::collate::{Located, results};
use crate::compare::judged::Question;
use crate::compare::{self, CompareArgs, Differences, Group, Known, Task, Weighed};
use crate::counting::Counting;
use crate::exit::Exit;
use crate::precision::Precision;
use crate::recipe::{self, Head, Recipe};
use crate::run_report::Run;
use crate::train::checkpoint::Checkpoint;
use crate::train::entries::{Difference, first_difference};
use crate::train::params;
use crate::waiting::Waiting;

/// Figures that are compared unless others are asked for.
const METRICS: [&str; 4] = ["box/ap", "box/ap50", "mask/ap", "mask/ap50"];

/// The size at which multiply-adds are counted, as in the papers' tables of COCO.
const SIZE: [usize; 2] = [800, 1280];

/// A detection as it is kept beside a run.
#[derive(Debug, Serialize, Deserialize)]
struct KeptDetection {
    image_id: u64,
    category_id: u64,
    score: f64,
    bbox: [f64; 4],
    /// Height and width of the mask's frame, and its compressed RLE.
    mask: (u32, u32, String),
}

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
    let Head::MaskRcnn(head) = &recipe.head;
    let detector = Architecture::of(recipe).init(&burn::tensor::Device::flex());
    let flops = Flops::count(&recipe.model.config(), &head.config(), SIZE).total();
    let weighed = Weighed { parameters: params::count_trained(&detector), flops, size: SIZE };
    Ok(Known::of(&recipe.plan(), weighed))
}

/// AP of every group less that of the first, on resampled images.
fn differences(args: &CompareArgs, groups: &[Group]) -> Result<Vec<Differences>> {
    let first = &groups[0].runs[0];
    let recipe: Recipe = recipe::load(&first.recipe_path(), &args.set)?;
    let [_, split] = data::splits(&recipe.data)?;
    let val_set = data::open_val(&recipe, &split)?;
    let mut judged: Vec<[Vec<CocoEvaluator<'_>>; 2]> = Vec::new();
    for group in groups {
        let mut evaluators = [Vec::new(), Vec::new()];
        for run in &group.runs {
            let [boxes, masks] = evaluated(args, (&recipe, first), run, &val_set)?;
            evaluators[0].push(boxes);
            evaluators[1].push(masks);
        }
        judged.push(evaluators);
    }
    let _waiting = Waiting::on_stderr("resampling the images".to_owned());
    let of_group = |group: &[Vec<CocoEvaluator<'_>>; 2]| {
        let mut found = Differences::new();
        for ((kind, first), group) in ["box", "mask"].iter().zip(&judged[0]).zip(group) {
            let [first, group]: [Vec<&CocoEvaluator<'_>>; 2] =
                [first, group].map(|runs| runs.iter().collect());
            let figures: [Comparison; 4] = compare(&first, &group, args.resampling())?;
            found.extend(figures.map(|figure| (format!("{kind}/{}", figure.name), figure)));
        }
        Ok(found)
    };
    judged[1..].iter().map(of_group).collect()
}

/// What the best model of a run finds in the images, boxes and masks, ready to be compared with the truth.
fn evaluated<'a>(
    args: &CompareArgs,
    (reference, reference_run): (&Recipe, &Run),
    run: &Run,
    val_set: &'a std::sync::Arc<CocoDataset>,
) -> Result<[CocoEvaluator<'a>; 2]> {
    let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
    judges_the_same(&reference.data, &recipe.data).with_context(|| {
        let [one, other] = [reference_run, run].map(|run| run.folder().display());
        format!("{one} and {other} were judged by different images")
    })?;
    let mut question = Question::of(run, &recipe)?;
    (0..val_set.len()).try_for_each(|index| question.about(&val_set.image_file(index)))?;
    // An image may have no detections, and those of images that are unknown are refused where they are added.
    let fits = |_: &Vec<KeptDetection>| true;
    let kept = question.answer(run, fits, || detect(args, &recipe, run, val_set))?;
    let evaluator = |iou_type| CocoEvaluator::new(val_set.coco(), iou_type, Params::default());
    let (mut boxes, mut masks) = (evaluator(IouType::Bbox), evaluator(IouType::Segm));
    for KeptDetection { image_id, category_id, score, bbox, mask: (height, width, counts) } in kept {
        let mask = Rle::from_compressed(&counts, height, width)
            .map_err(|error| anyhow!("{}: what is kept of it is damaged: {error}", run.folder().display()))?;
        boxes.add([Detection { image_id, category_id, score, bbox, mask: None }])?;
        masks.add([Detection { image_id, category_id, score, bbox, mask: Some(mask) }])?;
    }
    Ok([boxes, masks])
}

/// Refuses recipes whose validation images or classes differ.
fn judges_the_same(first: &recipe::Data, second: &recipe::Data) -> Result<()> {
    let tree = |data: &recipe::Data| -> Result<Value> { Ok(serde_json::to_value(data)?) };
    let free = ["coco.train_annotations", "coco.train_images", "shapes.train_images"];
    let difference = first_difference(&tree(first)?, &tree(second)?, &free);
    let Some(Difference { path, first, second }) = difference else { return Ok(()) };
    Err(anyhow!("`data.{path}` is {first} and {second}"))
}

fn detect(
    args: &CompareArgs,
    recipe: &Recipe,
    run: &Run,
    val_set: &std::sync::Arc<CocoDataset>,
) -> Result<Vec<KeptDetection>> {
    let checkpoint = Checkpoint::open_whole(&run.best_checkpoint())?;
    model::expect_recipe(&checkpoint, recipe, &[])?;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, &mut io::stderr())?;
    let architecture = Architecture::of(recipe);
    let detector = checkpoint.load_model(architecture.init(&device))?;
    let preprocessing = Preprocessing::of(recipe);
    let inference = Inference {
        detector: &detector,
        preprocessing: &preprocessing,
        mask_threshold: architecture.mask_threshold(),
        device: &device,
    };
    let loader = data::val_loader(val_set, &preprocessing, recipe.evaluate.batch_size, recipe.train.workers);
    let category_ids = data::category_ids(val_set);
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let mut kept = Vec::new();
    let mut take = |sample: &Sample, located: Vec<Located>| {
        for Detection { image_id, category_id, score, bbox, mask } in
            results(&located, sample.image_id, &category_ids)
        {
            let mask = mask.context("a detector of masks gives masks")?;
            let mask = (mask.height, mask.width, mask.to_compressed());
            kept.push(KeptDetection { image_id, category_id, score, bbox, mask });
        }
        counting.advance(1);
        Ok(())
    };
    precision.scope(|| inference.run(&loader, &mut take))?;
    Ok(kept)
}
