//! `cvx-det score`: existing results against existing truth, with no model, as pycocotools would.

use anyhow::Result;
use cvx_data::{Coco, CocoEvaluator, CocoResults, IouType, Params};

use super::Streams;
use super::args::{ScoreArgs, ScoreType};
use super::judge::Judgement;
use crate::exit::Exit;
use crate::report;

/// Prints pycocotools' twelve lines and AP by class.
pub fn score(args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let truth = Coco::open_for_scoring(&args.truth)?;
    let results = CocoResults::open(&args.predictions)?;
    let (iou_type, kind, title) = match args.score_type {
        ScoreType::Bbox => (IouType::Bbox, "box", "Boxes"),
        ScoreType::Segm => (IouType::Segm, "mask", "Masks"),
    };
    let num_results = results.len();
    let mut evaluator = CocoEvaluator::new(&truth, iou_type, Params::default());
    evaluator.add_results(results)?;
    let metrics = evaluator.finish()?;
    if metrics.unlisted_categories > 0 {
        writeln!(
            streams.err,
            "warning: {} of {num_results} entries of {} have a category that {} does not list; they were left out",
            metrics.unlisted_categories,
            args.predictions.display(),
            args.truth.display()
        )?;
    }
    let mut judgement = Judgement::empty();
    judgement.add(kind, title, &metrics);
    streams.out.write_all(judgement.tables.as_bytes())?;
    streams.out.write_all(judgement.class_tables.as_bytes())?;
    if let Some(path) = &args.json {
        report::write_json(path, &judgement.metrics, judgement.classes_entry())?;
    }
    Ok(Exit::Done)
}
