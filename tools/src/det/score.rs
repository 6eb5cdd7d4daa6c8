//! `cvx-det score`: existing results against existing truth, with no model, as pycocotools would.
//!
//! What else is asked for is printed below, each with the program whose numbers it equals, or the remark that it is an
//! extension.

use anyhow::Result;
use cvx_data::{Coco, CocoEvaluator, CocoMetrics, CocoResults, IouType, PanopticFile, Params};
use serde_json::{Map, Value, json};

use self::analyses::Analysis;
use super::Streams;
use super::args::{ScoreArgs, ScoreType};
use super::judge::Judgement;
use crate::exit::Exit;
use crate::report::{self, Metrics, number};

mod analyses;
pub(super) mod html;
mod worst;

/// Prints pycocotools' twelve lines, and what else is asked for.
pub fn score(args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let (iou_type, kind, title) = match args.score_type {
        ScoreType::Bbox => (IouType::Bbox, "box", "Boxes"),
        ScoreType::Segm => (IouType::Segm, "mask", "Masks"),
        ScoreType::Boundary => (IouType::Boundary, "boundary", "Boundaries"),
        ScoreType::Panoptic => return panoptic(args, streams),
    };
    let truth = Coco::open_for_scoring(&args.truth)?;
    let evaluator = with_results(&truth, iou_type, &args.predictions, streams)?;
    let metrics = evaluator.metrics()?;
    let mut judgement = Judgement::empty();
    judgement.add(kind, title, &metrics);
    streams.out.write_all(judgement.tables.as_bytes())?;
    if args.per_class {
        writeln!(streams.out, "{title}, by class")?;
        streams.out.write_all(best_first(&metrics).class_table().as_bytes())?;
    }

    let mut analyses = analyses::asked_for(args, &evaluator)?;
    if let Some(path) = &args.compare {
        let other = with_results(&truth, iou_type, path, streams)?;
        analyses.push(analyses::comparison(args, path, &evaluator, &other)?);
    }
    for Analysis { title, comparable_with, table, .. } in &analyses {
        match comparable_with {
            Some(program) => writeln!(streams.out, "{title} (comparable with {program})")?,
            None => writeln!(streams.out, "{title} (an extension, comparable with itself alone)")?,
        }
        streams.out.write_all(table.as_bytes())?;
    }
    if let Some(path) = &args.json {
        let mut extra = judgement.classes_entry();
        extra.extend(extra_entries(iou_type, &analyses));
        report::write_json(path, &judgement.metrics, extra)?;
    }
    if let Some(path) = &args.html {
        html::write(path, args, &truth, &evaluator, &metrics)?;
    }
    Ok(Exit::Done)
}

fn with_results<'a>(
    truth: &'a Coco,
    iou_type: IouType,
    path: &std::path::Path,
    streams: &mut Streams<'_>,
) -> Result<CocoEvaluator<'a>> {
    let results = CocoResults::open(path)?;
    let num_results = results.len();
    let mut evaluator = CocoEvaluator::new(truth, iou_type, Params::default());
    evaluator.add_results(results)?;
    let unlisted = evaluator.unlisted_categories();
    if unlisted > 0 {
        writeln!(
            streams.err,
            "warning: {unlisted} of {num_results} entries of {} have a category that {} does not list; they were left out",
            path.display(),
            truth.path.display()
        )?;
    }
    Ok(evaluator)
}

/// The same figures, classes by falling AP.
fn best_first(metrics: &CocoMetrics) -> CocoMetrics {
    let mut sorted = metrics.clone();
    sorted.classes.sort_by(|a, b| b.ap.total_cmp(&a.ap));
    sorted
}

/// The analyses by name, and what each number may be compared with.
fn extra_entries(iou_type: IouType, analyses: &[Analysis]) -> Map<String, Value> {
    let (kind, official) = official(iou_type);
    let mut comparable = Map::from_iter([(kind.to_owned(), json!(official))]);
    comparable.insert("classes".to_owned(), json!(official));
    let mut entries = Map::new();
    for Analysis { key, comparable_with, json, .. } in analyses {
        comparable.insert((*key).to_owned(), json!(comparable_with));
        entries.insert((*key).to_owned(), json.clone());
    }
    entries.insert("comparable_with".to_owned(), Value::Object(comparable));
    entries
}

/// The prefix of the figures, and the program whose numbers they are.
fn official(iou_type: IouType) -> (&'static str, &'static str) {
    match iou_type {
        IouType::Bbox => ("box", "pycocotools 2.0.11"),
        IouType::Segm => ("mask", "pycocotools 2.0.11"),
        IouType::Boundary => ("boundary", "boundary-iou-api"),
    }
}

fn panoptic(args: &ScoreArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let truth = PanopticFile::open(&args.truth, None)?;
    let metrics = truth.score(&PanopticFile::open(&args.predictions, None)?)?;
    streams.out.write_all(metrics.table().as_bytes())?;
    let mut classes = Map::new();
    for class in &metrics.classes {
        let quality = class.quality.map_or([-1.0; 3], |quality| [quality.pq, quality.sq, quality.rq]);
        let [pq, sq, rq] = quality;
        if args.per_class {
            writeln!(streams.out, " {:<20} {pq:>6.3} {sq:>6.3} {rq:>6.3}", class.category.name)?;
        }
        let entry = json!({
            "pq": number(pq), "sq": number(sq), "rq": number(rq), "true_positives": class.true_positives,
            "false_positives": class.false_positives, "false_negatives": class.false_negatives,
        });
        classes.insert(class.category.name.clone(), entry);
    }
    if let Some(path) = &args.json {
        let extra = Map::from_iter([
            ("classes".to_owned(), json!({ "panoptic": classes })),
            ("comparable_with".to_owned(), json!({ "panoptic": "panopticapi" })),
        ]);
        report::write_json(path, &Metrics::from_iter(metrics.named()), extra)?;
    }
    Ok(Exit::Done)
}
