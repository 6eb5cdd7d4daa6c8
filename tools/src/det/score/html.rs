//! The report of an evaluation as one HTML file.

use std::path::Path;

use anyhow::Result;
use cvx_data::{Coco, CocoEvaluator, CocoMetrics, FigureRow, Verdicts};

pub(in crate::det) use super::analyses::IOU;
use super::analyses::{self, Analysis, BINS};
use super::{best_first, official, worst};
use crate::det::args::ScoreArgs;
use crate::page::{COLOURS, Chart, Line, Page};

/// The score from which detections are shown and confused, unless `--confusion` says another.
const MIN_SCORE: f64 = 0.3;

/// Writes the report.
pub(super) fn write(
    path: &Path,
    args: &ScoreArgs,
    truth: &Coco,
    evaluator: &CocoEvaluator<'_>,
    metrics: &CocoMetrics,
) -> Result<()> {
    let min_score = args.confusion.unwrap_or(MIN_SCORE);
    let mut page = Page::new(&format!("{} against {}", args.predictions.display(), args.truth.display()));
    figures(&mut page, evaluator, metrics)?;
    let verdicts = evaluator.verdicts(IOU)?;
    push(&mut page, &analyses::tide(&evaluator.tide()?));
    push(&mut page, &analyses::confusion(truth, evaluator, min_score)?);
    push(&mut page, &analyses::thresholds(truth, &verdicts));
    reliability(&mut page, &verdicts);

    if let Some(folder) = &args.images {
        page.section("The images with the most errors", None);
        page.paragraph(&format!(
            "Detections from a score of {min_score} on, at IoU {IOU:.2}. Green: found. Red: false alarms. Dashed: missed objects."
        ));
        page.raw(&worst::figures(truth, evaluator.image_verdicts(IOU, min_score)?, folder)?);
    }
    page.write(path)
}

/// The twelve figures, precision over recall, and the figures of each class.
pub(in crate::det) fn figures(
    page: &mut Page,
    evaluator: &CocoEvaluator<'_>,
    metrics: &CocoMetrics,
) -> Result<()> {
    let (_, program) = official(metrics.iou_type);
    page.section("The twelve figures", Some(program));
    let row = |FigureRow { is_precision, iou, area, limit, value }| {
        let name = if is_precision { "AP" } else { "AR" };
        vec![name.to_owned(), iou, area.to_owned(), limit.to_string(), format!("{value:.3}")]
    };
    page.table(&["", "IoU", "area", "maxDets", "value"], &metrics.figures().map(row).collect::<Vec<_>>());
    page.section("Precision over recall, mean of all classes", Some(program));
    page.chart(&Chart::of_shares("recall", "precision", curves(metrics)));
    page.section("By class, the best first", Some(program));
    classes(page, evaluator.truth(), metrics, &evaluator.verdicts(IOU)?);
    Ok(())
}

fn push(page: &mut Page, analysis: &Analysis) {
    page.section(analysis.title, analysis.comparable_with);
    page.preformatted(&analysis.table);
}

/// At IoU 0.50, 0.75, and the mean of all thresholds.
fn curves(metrics: &CocoMetrics) -> Vec<Line> {
    let thresholds = &metrics.params.iou_thresholds;
    let line = |is_chosen: &dyn Fn(f64) -> bool| {
        let chosen: Vec<usize> = (0..thresholds.len()).filter(|&iou| is_chosen(thresholds[iou])).collect();
        let recalls = metrics.params.recall_thresholds.iter().enumerate();
        recalls
            .filter_map(|(index, &recall)| {
                let precisions: Vec<f64> = chosen
                    .iter()
                    .flat_map(|&iou| metrics.precisions(iou, index))
                    .filter(|&precision| precision >= 0.0)
                    .collect();
                let mean = precisions.iter().sum::<f64>() / precisions.len() as f64;
                (!precisions.is_empty()).then_some([recall, mean])
            })
            .collect()
    };
    vec![
        Line::new("IoU 0.50", COLOURS[0], line(&|iou| iou == 0.5)),
        Line::new("IoU 0.75", COLOURS[1], line(&|iou| iou == 0.75)),
        Line::new("IoU 0.50 to 0.95", COLOURS[6], line(&|_| true)),
    ]
}

fn classes(page: &mut Page, truth: &Coco, metrics: &CocoMetrics, verdicts: &[Verdicts]) {
    let names = analyses::names(truth);
    let text = |value: f64| if value < 0.0 { "-".to_owned() } else { format!("{value:.3}") };
    let rows: Vec<Vec<String>> = best_first(metrics)
        .classes
        .iter()
        .map(|class| {
            let own = names.iter().position(|name| *name == class.name).and_then(|at| verdicts.get(at));
            let objects = own.map_or(0, |verdicts| verdicts.num_truths);
            let [small, medium, large] = class.ap_by_area;
            let mut row = vec![class.name.clone(), objects.to_string()];
            row.extend([class.ap, class.ap50, class.ap75, small, medium, large, class.ar].map(text));
            row
        })
        .collect();
    page.table(&["class", "objects", "AP", "AP50", "AP75", "APs", "APm", "APl", "AR"], &rows);
}

fn reliability(page: &mut Page, verdicts: &[Verdicts]) {
    let calibration = Verdicts::together(verdicts).calibration(BINS);
    page.section("Calibration: share of hits over score, at IoU 0.50", None);
    match calibration.ece {
        Some(ece) => page.paragraph(&format!("Expected calibration error {ece:.3}")),
        None => page.paragraph("There are no detections, or their scores are no probabilities."),
    }
    let bins = calibration.bins.iter().filter(|bin| bin.count > 0 && calibration.ece.is_some());
    let points = bins.map(|bin| [bin.confidence, bin.accuracy]).collect();
    let ideal = vec![[0.0, 0.0], [1.0, 1.0]];
    let lines = vec![Line::new("measured", COLOURS[0], points), Line::new("calibrated", COLOURS[6], ideal)];
    page.chart(&Chart::of_shares("score", "share of hits", lines));
}
