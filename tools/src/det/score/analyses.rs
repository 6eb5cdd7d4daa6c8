//! What can be asked for beyond the twelve lines: each analysis as a table and as JSON, with the program it agrees with.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use cvx_data::{Coco, CocoEvaluator, Resampling, Tide, Verdicts, compare};
use serde_json::{Map, Value, json};

use crate::det::args::ScoreArgs;
use crate::report::{Metrics, number};

/// IoU from which a detection is right, wherever there is one such threshold.
pub(in crate::det) const IOU: f64 = 0.5;
/// Ranges of score, for the calibration.
pub(super) const BINS: usize = 10;
/// Confusions that are listed.
const LISTED: usize = 30;
/// Of the resampled images.
const SEED: u64 = 0;

/// One analysis.
pub(super) struct Analysis {
    /// Its name in JSON.
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    /// The program whose numbers these are; `None` for an extension.
    pub(super) comparable_with: Option<&'static str>,
    pub(super) table: String,
    pub(super) json: Value,
}

/// Those that the flags name; a report has them all but LVIS's.
pub(super) fn asked_for(args: &ScoreArgs, evaluator: &CocoEvaluator<'_>) -> Result<Vec<Analysis>> {
    let truth = evaluator.truth();
    let mut analyses = Vec::new();
    if args.lvis {
        analyses.push(lvis(truth, evaluator)?);
    }
    if args.tide {
        analyses.push(tide(&evaluator.tide()?));
    }
    if let Some(score) = args.confusion {
        ensure!(score.is_finite(), "--confusion {score}: possible are finite scores");
        analyses.push(confusion(truth, evaluator, score)?);
    }
    if args.thresholds || args.calibration {
        let verdicts = evaluator.verdicts(IOU)?;
        if args.thresholds {
            analyses.push(thresholds(truth, &verdicts));
        }
        if args.calibration {
            analyses.push(calibration(truth, &verdicts));
        }
    }
    Ok(analyses)
}

/// Names of the categories by id, as verdicts are ordered.
pub(super) fn names(truth: &Coco) -> Vec<&str> {
    let mut listed: Vec<_> = truth.categories.iter().rev().collect();
    listed.sort_by_key(|category| category.id);
    listed.dedup_by_key(|category| category.id);
    listed.into_iter().map(|category| category.name.as_str()).collect()
}

fn lvis(truth: &Coco, evaluator: &CocoEvaluator<'_>) -> Result<Analysis> {
    ensure!(
        truth.categories.iter().any(|category| category.frequency.is_some()),
        "{}: no category has a `frequency` of `r`, `c` or `f`, so it is no LVIS file",
        truth.path.display()
    );
    let metrics = evaluator.lvis_metrics()?;
    Ok(Analysis {
        key: "lvis",
        title: "LVIS",
        comparable_with: Some("lvis-api 0.5.3"),
        table: metrics.table(),
        json: Metrics::from_iter(metrics.named()).to_json(),
    })
}

pub(super) fn tide(tide: &Tide) -> Analysis {
    let mut table = format!(
        " AP at IoU {:.2} = {:.4}\n {:<9} {:>8} {:>8}\n",
        Tide::IOU,
        tide.ap,
        "error",
        "count",
        "dAP"
    );
    let mut errors = Map::new();
    for (error, count, cost) in tide.errors {
        // Writing to a string does not fail.
        let _ = writeln!(table, " {:<9} {count:>8} {cost:>8.4}", error.name());
        errors.insert(error.name().to_owned(), json!({ "count": count, "dap": cost }));
    }
    for (name, cost) in [("FalsePos", tide.false_positives), ("FalseNeg", tide.false_negatives)] {
        let _ = writeln!(table, " {name:<9} {:>8} {cost:>8.4}", "");
        errors.insert(name.to_owned(), json!({ "dap": cost }));
    }
    Analysis {
        key: "tide",
        title: "TIDE: what errors cost",
        comparable_with: Some("tidecv 1.0.1, divided by 100"),
        table,
        json: json!({ "ap": tide.ap, "errors": errors }),
    }
}

pub(super) fn confusion(truth: &Coco, evaluator: &CocoEvaluator<'_>, min_score: f64) -> Result<Analysis> {
    let matrix = evaluator.confusion_matrix(IOU, min_score)?;
    let mut names = names(truth);
    names.push("(nothing)");
    let side = names.len();
    let mut pairs: Vec<(u64, usize)> = matrix
        .counts
        .iter()
        .copied()
        .zip(0..)
        .filter(|(count, at)| *count > 0 && at / side != at % side)
        .collect();
    pairs.sort_by_key(|&(count, at)| (std::cmp::Reverse(count), at));
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut table = format!(" {:>8}  {:<width$}  taken for\n", "count", "what it is");
    for (count, at) in pairs.iter().take(LISTED) {
        let _ = writeln!(table, " {count:>8}  {:<width$}  {}", names[at / side], names[at % side]);
    }
    if pairs.len() > LISTED {
        let _ = writeln!(table, " .. and {} rarer pairs (all are in --json)", pairs.len() - LISTED);
    }
    let rows: Vec<&[u64]> = matrix.counts.chunks(side).collect();
    Ok(Analysis {
        key: "confusion",
        title: "Confusion: the most frequent errors",
        comparable_with: None,
        table,
        json: json!({ "iou": IOU, "min_score": min_score, "classes": names, "counts": rows }),
    })
}

pub(super) fn thresholds(truth: &Coco, verdicts: &[Verdicts]) -> Analysis {
    let names = names(truth);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    let mut table =
        format!(" {:<width$} {:>9} {:>6} {:>9} {:>6}\n", "category", "score", "F1", "precision", "recall");
    let mut json = Map::new();
    for (name, verdicts) in names.into_iter().zip(verdicts) {
        let entry = match verdicts.operating_point() {
            Some(point) => {
                let _ = writeln!(
                    table,
                    " {name:<width$} {:>9.4} {:>6.3} {:>9.3} {:>6.3}",
                    point.score, point.f1, point.precision, point.recall
                );
                json!({ "score": point.score, "f1": point.f1, "precision": point.precision, "recall": point.recall })
            }
            None => Value::Null,
        };
        json.insert(name.to_owned(), entry);
    }
    Analysis {
        key: "thresholds",
        title: "Scores from which F1 is best, at IoU 0.50",
        comparable_with: None,
        table,
        json: Value::Object(json),
    }
}

pub(super) fn calibration(truth: &Coco, verdicts: &[Verdicts]) -> Analysis {
    let names = names(truth);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(8);
    let together = Verdicts::together(verdicts).calibration(BINS);
    let mut table = format!(" {:<width$} {:>6}\n", "category", "ECE");
    let text = |ece: Option<f64>| ece.map_or_else(|| "-".to_owned(), |ece| format!("{ece:.3}"));
    let _ = writeln!(table, " {:<width$} {:>6}", "(all)", text(together.ece));
    let mut classes = Map::new();
    for (name, verdicts) in names.into_iter().zip(verdicts) {
        let ece = verdicts.calibration(BINS).ece;
        let _ = writeln!(table, " {name:<width$} {:>6}", text(ece));
        classes.insert(name.to_owned(), json!(ece));
    }
    let bins: Vec<Value> = together
        .bins
        .iter()
        .map(|bin| json!({ "count": bin.count, "confidence": bin.confidence, "accuracy": bin.accuracy }))
        .collect();
    Analysis {
        key: "calibration",
        title: "Calibration: expected error of scores as probabilities, at IoU 0.50",
        comparable_with: None,
        table,
        json: json!({ "ece": together.ece, "bins": bins, "classes": classes }),
    }
}

/// `other` against what was scored.
pub(super) fn comparison(
    args: &ScoreArgs,
    path: &Path,
    evaluator: &CocoEvaluator<'_>,
    other: &CocoEvaluator<'_>,
) -> Result<Analysis> {
    let resampling = Resampling { draws: args.resamples as usize, seed: SEED };
    let figures = compare(&[evaluator], &[other], resampling)?;
    let mut table = format!(
        " second: {}\n {:<5} {:>7} {:>7} {:>8}  {:<19} {}\n",
        path.display(),
        "",
        "first",
        "second",
        "change",
        "95 of 100 within",
        "second is better"
    );
    let mut json = Map::new();
    for figure in figures {
        let [low, high] = figure.interval;
        let _ = writeln!(
            table,
            " {:<5} {:>7.4} {:>7.4} {:>+8.4}  {low:>+8.4} to {high:>+8.4} {:>6.1} %",
            figure.name,
            figure.first,
            figure.second,
            figure.difference,
            figure.second_is_better * 100.0
        );
        let entry = json!({
            "first": number(figure.first), "second": number(figure.second), "difference": figure.difference,
            "interval": [low, high], "second_is_better": figure.second_is_better,
        });
        json.insert(figure.name.to_owned(), entry);
    }
    json.insert("resamples".to_owned(), json!(args.resamples));
    json.insert("seed".to_owned(), json!(SEED));
    Ok(Analysis {
        key: "comparison",
        title: "Comparison on resampled images",
        comparable_with: None,
        table,
        json: Value::Object(json),
    })
}
