//! The numbers of a COCO evaluation: the arrays, the twelve figures, the table and the names.

use std::fmt::Write;

use rayon::prelude::*;

use crate::coco_ap::{CocoEvaluator, IouType, Params};
use crate::coco_ap_curve::CategoryCurves;

/// What a COCO evaluation found. Every figure is -1 where nothing counts, as in pycocotools.
#[derive(Clone, Debug, PartialEq)]
pub struct CocoMetrics {
    /// What overlaps were measured on.
    pub iou_type: IouType,
    /// Thresholds, limits and ranges.
    pub params: Params,
    /// The twelve figures of pycocotools' `stats`, in its order: AP, AP50, AP75, AP small, medium, large, AR at the
    /// three detection limits, AR small, medium, large.
    pub stats: [f64; 12],
    /// The categories, by id.
    pub classes: Vec<ClassMetrics>,
    /// `[iou, recall, category, area, limit]`, row-major.
    pub precision: Vec<f64>,
    /// `[iou, category, area, limit]`, row-major.
    pub recall: Vec<f64>,
    /// The score from which a recall is reached, in the layout of `precision`.
    pub scores: Vec<f64>,
    /// Detections that were left out because the truth does not list their category. Many of them mean that the
    /// detections use other category ids.
    pub unlisted_categories: usize,
}

/// The figures of one category, at the last detection limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMetrics {
    /// The id.
    pub category_id: u64,
    /// The name.
    pub name: String,
    /// Over all IoU thresholds.
    pub ap: f64,
    /// At IoU 0.50.
    pub ap50: f64,
    /// At IoU 0.75.
    pub ap75: f64,
    /// Over all IoU thresholds, small, medium and large objects.
    pub ap_by_area: [f64; 3],
    /// Recall over all IoU thresholds.
    pub ar: f64,
}

/// The names of the twelve figures, after `box/` or `mask/`.
const NAMES: [&str; 12] = [
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar1",
    "ar10",
    "ar100",
    "ar_small",
    "ar_medium",
    "ar_large",
];

const AREAS: [&str; 4] = ["all", "small", "medium", "large"];

/// One of the twelve figures: precision or recall, at which IoU, area range and detection limit.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) is_precision: bool,
    pub(crate) iou: Option<f64>,
    pub(crate) area: usize,
    /// A position in the limits; `None` means the limit 100, wherever it stands.
    pub(crate) limit: Option<usize>,
}

/// One of the twelve figures, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct FigureRow {
    /// Average precision, else average recall.
    pub is_precision: bool,
    /// The threshold, or the first and the last: `0.50:0.95`.
    pub iou: String,
    /// `all`, `small`, `medium` or `large`.
    pub area: &'static str,
    /// Detections of an image that count.
    pub limit: usize,
    /// -1 where there is no object of that size.
    pub value: f64,
}

/// pycocotools' `_summarizeDets`: the first asks for 100 detections by number, the others for the last limit.
const FIGURES: [Figure; 12] = {
    const fn ap(iou: Option<f64>, area: usize) -> Figure {
        Figure { is_precision: true, iou, area, limit: Some(2) }
    }
    const fn ar(area: usize, limit: usize) -> Figure {
        Figure { is_precision: false, iou: None, area, limit: Some(limit) }
    }
    [
        Figure { limit: None, ..ap(None, 0) },
        ap(Some(0.5), 0),
        ap(Some(0.75), 0),
        ap(None, 1),
        ap(None, 2),
        ap(None, 3),
        ar(0, 0),
        ar(0, 1),
        ar(0, 2),
        ar(1, 2),
        ar(2, 2),
        ar(3, 2),
    ]
};

impl CocoMetrics {
    pub(crate) fn new(evaluator: &CocoEvaluator<'_>, categories: &[CategoryCurves]) -> Self {
        let refs: Vec<&CategoryCurves> = categories.iter().collect();
        let CocoEvaluator { truth, iou_type, params, unlisted_categories, .. } = evaluator;
        let mut listed: Vec<_> =
            truth.categories.iter().map(|category| (category.id, &category.name)).collect();
        // The last of a repeated id counts, as in pycocotools.
        listed.reverse();
        listed.sort_by_key(|(id, _)| *id);
        listed.dedup_by_key(|(id, _)| *id);
        let num_ious = params.iou_thresholds.len();
        let num_rows = num_ious * params.recall_thresholds.len();
        let mut metrics = Self {
            iou_type: *iou_type,
            stats: [-1.0; 12],
            classes: Vec::new(),
            precision: interleaved(num_rows, &refs, |category| &category.precision),
            recall: interleaved(num_ious, &refs, |category| &category.recall),
            scores: interleaved(num_rows, &refs, |category| &category.scores),
            unlisted_categories: *unlisted_categories,
            params: params.clone(),
        };
        let figure = |figure: &Figure| {
            let values = if figure.is_precision { &metrics.precision } else { &metrics.recall };
            metrics.params.figure(*figure, values, categories.len())
        };
        let stats: Vec<f64> = FIGURES.par_iter().map(figure).collect();
        metrics.stats.copy_from_slice(&stats);
        let of_class = |((category_id, name), curves): ((u64, &String), &CategoryCurves)| {
            let at_last_limit = |figure: usize| {
                let figure = Figure { limit: Some(2), ..FIGURES[figure] };
                let values = if figure.is_precision { &curves.precision } else { &curves.recall };
                params.figure(figure, values, 1)
            };
            ClassMetrics {
                category_id,
                name: name.clone(),
                ap: at_last_limit(0),
                ap50: at_last_limit(1),
                ap75: at_last_limit(2),
                ap_by_area: [3, 4, 5].map(at_last_limit),
                ar: at_last_limit(8),
            }
        };
        metrics.classes = listed.into_iter().zip(categories).map(of_class).collect();
        metrics
    }

    /// The twelve figures by name: `box/ap`, `box/ap50`, .. or `mask/ap`, ..
    pub fn named(&self) -> Vec<(String, f64)> {
        let kind = match self.iou_type {
            IouType::Bbox => "box",
            IouType::Segm => "mask",
            IouType::Boundary => "boundary",
        };
        NAMES.iter().zip(self.stats).map(|(name, value)| (format!("{kind}/{name}"), value)).collect()
    }

    /// The precision of every category at an IoU and a recall threshold (by position), for all areas and the last
    /// detection limit; -1 where nothing counts.
    pub fn precisions(&self, iou: usize, recall: usize) -> impl Iterator<Item = f64> {
        let row = (iou * self.params.recall_thresholds.len() + recall) * self.classes.len();
        self.precision.as_chunks::<12>().0[row..][..self.classes.len()].iter().map(|cells| cells[2])
    }

    /// The twelve lines that pycocotools prints.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for FigureRow { is_precision, iou, area, limit, value } in self.figures() {
            let (title, kind) =
                if is_precision { ("Average Precision", "(AP)") } else { ("Average Recall", "(AR)") };
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                " {title:<18} {kind} @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:.3}"
            );
        }
        table
    }

    /// The same twelve figures in parts.
    pub fn figures(&self) -> impl Iterator<Item = FigureRow> {
        let thresholds = &self.params.iou_thresholds;
        FIGURES.iter().zip(self.stats).map(|(figure, value)| FigureRow {
            is_precision: figure.is_precision,
            iou: match (figure.iou, thresholds.first(), thresholds.last()) {
                (Some(iou), ..) => format!("{iou:.2}"),
                (None, Some(first), Some(last)) => format!("{first:.2}:{last:.2}"),
                _ => String::new(),
            },
            area: AREAS[figure.area],
            limit: figure.limit.map_or(100, |limit| self.params.max_detections[limit]),
            value,
        })
    }

    /// A line per category: name, AP, AP50, AP75, AP small, medium, large, AR.
    pub fn class_table(&self) -> String {
        let width = self.classes.iter().map(|class| class.name.chars().count()).max().unwrap_or(0).max(8);
        let headings = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR"];
        let mut table = format!(" {:<width$}", "category");
        headings.iter().for_each(|heading| table.push_str(&format!(" {heading:>6}")));
        table.push('\n');
        for class in &self.classes {
            table.push_str(&format!(" {:<width$}", class.name));
            let ClassMetrics { ap, ap50, ap75, ap_by_area: [small, medium, large], ar, .. } = class;
            for value in [ap, ap50, ap75, small, medium, large, ar] {
                table.push_str(&format!(" {value:>6.3}"));
            }
            table.push('\n');
        }
        table
    }
}

impl Params {
    /// pycocotools' `_summarize`: the mean of all cells that count.
    pub(crate) fn figure(&self, figure: Figure, values: &[f64], num_categories: usize) -> f64 {
        let Figure { is_precision, iou, area, limit } = figure;
        let Some(limit) = limit.or_else(|| self.max_detections.iter().position(|&limit| limit == 100)) else {
            return -1.0;
        };
        let num_recalls = if is_precision { self.recall_thresholds.len() } else { 1 };
        let mut cells = Vec::with_capacity(values.len() / 12);
        for (index, &threshold) in self.iou_thresholds.iter().enumerate() {
            if iou.is_none_or(|iou| iou == threshold) {
                let rows = values.as_chunks::<12>().0[index * num_recalls * num_categories..].iter();
                let of_threshold = rows.take(num_recalls * num_categories).map(|row| row[area * 3 + limit]);
                cells.extend(of_threshold.filter(|&value| value > -1.0));
            }
        }
        if cells.is_empty() { -1.0 } else { pairwise_sum(&cells) / cells.len() as f64 }
    }
}

/// The rows of all categories, category by category within a row.
pub(crate) fn interleaved(
    num_rows: usize,
    categories: &[&CategoryCurves],
    of: impl Fn(&CategoryCurves) -> &[f64] + Sync,
) -> Vec<f64> {
    let row_len = categories.len() * 12;
    let mut all = vec![0.0; num_rows * row_len];
    let fill = |(row, target): (usize, &mut [f64])| {
        for (target, category) in target.as_chunks_mut::<12>().0.iter_mut().zip(categories) {
            target.copy_from_slice(&of(category)[row * 12..][..12]);
        }
    };
    all.par_chunks_mut(row_len.max(1)).with_min_len(16).enumerate().for_each(fill);
    all
}

/// numpy's summation order: eight running sums over blocks of up to 128, blocks added as a tree. The mean depends on it
/// in its last digit.
fn pairwise_sum(values: &[f64]) -> f64 {
    let count = values.len();
    if count < 8 {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if count > 128 {
        let half = count / 2 / 8 * 8;
        return pairwise_sum(&values[..half]) + pairwise_sum(&values[half..]);
    }
    let (blocks, rest) = values.as_chunks::<8>();
    let mut sums = blocks[0];
    for block in &blocks[1..] {
        sums.iter_mut().zip(block).for_each(|(sum, value)| *sum += value);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}
