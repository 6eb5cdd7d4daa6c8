//! `cvx-det report`: one page about a run.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Result;
use cvx_data::{CocoEvaluator, Detection, ImageVerdict, IouType, Params};

use super::inference::Inference;
use super::model::{self, Architecture, Preprocessing};
use super::pictures::{DRAWN_FROM, pair};
use super::score::html;
use super::{Streams, data};
use crate::args::ReportArgs;
use crate::collate::results;
use crate::counting::Counting;
use crate::exit::Exit;
use crate::page::Page;
use crate::recipe::{self, Recipe};
use crate::run_report::{Run, chosen, pictures};
use crate::waiting::Waiting;

/// Writes the page; what needs the validation images is left out, with a warning, where they cannot be read.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let run = Run::open(&args.run)?;
    let recipe: Recipe = recipe::load(&run.recipe_path(), &args.set)?;
    let mut page = run.begin(&recipe.evaluate.best_by);
    if let Err(error) = judge(args, &recipe, &run, &mut page, streams.err) {
        writeln!(streams.err, "warning: the page has no predictions: {error:#}")?;
        page.paragraph(&format!("There are no predictions on this page: {error:#}"));
    }
    let path = run.end(page, args)?;
    writeln!(streams.out, "{}", path.display())?;
    Ok(Exit::Done)
}

/// What the best model finds in the validation images.
fn judge(args: &ReportArgs, recipe: &Recipe, run: &Run, page: &mut Page, err: &mut dyn Write) -> Result<()> {
    let checkpoint = run.judged(page, err)?;
    model::expect_recipe(&checkpoint, recipe, &[])?;
    let device = args.device.open()?;
    let [_, split] = data::splits(&recipe.data)?;
    let val_set = data::open_val(recipe, &split)?;
    let architecture = Architecture::of(recipe);
    let detector = checkpoint.load_model(architecture.init(&device))?;
    let preprocessing = Preprocessing::of(recipe);
    let inference = Inference {
        detector: &detector,
        preprocessing: &preprocessing,
        mask_threshold: architecture.mask_threshold(),
        device: &device,
    };

    let loader = data::val_loader(&val_set, &preprocessing, recipe.evaluate.batch_size, recipe.train.workers);
    let category_ids = data::category_ids(&val_set);
    let evaluator = |iou_type| CocoEvaluator::new(val_set.coco(), iou_type, Params::default());
    let (mut boxes, mut masks) = (evaluator(IouType::Bbox), evaluator(IouType::Segm));
    let mut positions = HashMap::new();
    let mut counting = Counting::on_stderr("evaluated", cvx_data::Dataset::len(val_set.as_ref()));
    inference.run(&loader, &mut |sample, located| {
        positions.insert(sample.image_id, sample.index);
        let found = results(&located, sample.image_id, &category_ids);
        boxes
            .add(found.iter().map(|detection| Detection { mask: None, ..*detection }).collect::<Vec<_>>())?;
        masks.add(found)?;
        counting.advance(1);
        Ok(())
    })?;
    drop(counting);

    let waiting = Waiting::on_stderr("comparing detections with the truth".to_owned());
    for (title, evaluator) in [("Boxes", &boxes), ("Masks", &masks)] {
        let metrics = evaluator.metrics()?;
        page.heading(title);
        html::figures(page, evaluator, &metrics)?;
    }
    let verdicts = boxes.image_verdicts(html::IOU, DRAWN_FROM)?;
    drop(waiting);
    page.heading("What it looks like");
    page.note(&format!(
        "First what was found, from a score of {DRAWN_FROM} on, then what is there; images are ordered by the F1 of their boxes at IoU {:.2}.",
        html::IOU
    ));
    let scores: Vec<f64> = verdicts.iter().map(f1).collect();
    let index = |verdict: usize| positions.get(&verdicts[verdict].image_id).copied().unwrap_or_default();
    pictures(page, &chosen(&scores, args.pictures), &mut |verdict| {
        let mut pair = pair(&inference, &val_set, index(verdict))?;
        pair.caption += &format!(", F1 {:.2}", scores[verdict]);
        Ok(pair)
    })
}

/// How well the objects of an image were found; NaN where there are none and none was found.
fn f1(verdict: &ImageVerdict) -> f64 {
    let hits = (verdict.truths.len() - verdict.misses()) as f64;
    2.0 * hits / (verdict.truths.len() + verdict.found.len()) as f64
}
