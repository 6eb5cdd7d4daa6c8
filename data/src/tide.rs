//! TIDE: how much AP each kind of error costs.
//!
//! Paper: TIDE: A General Toolbox for Identifying Object Detection Errors, Bolya et al. 2020,
//! <https://arxiv.org/abs/2008.08115>. The numbers are those of its program tidecv 1.0.1, as fractions of 1: matching
//! without regard to pycocotools' rules (a crowd region only excuses what overlaps it), at most 100 detections an image
//! over all categories, AP at one IoU without pycocotools' epsilon, and detections of equal score in the order in which
//! tidecv happens to list them.

use rayon::prelude::*;

use crate::coco_ap::CocoEvaluator;
use crate::coco_cells::{Cell, falling};
use crate::coco_error::CocoError;
use crate::coco_overlap::Overlaps;

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TideError {
    /// The right place, the wrong category.
    Classification,
    /// The right category, not quite the place.
    Localization,
    /// Neither.
    Both,
    /// The object was found already.
    Duplicate,
    /// Nothing is there.
    Background,
    /// An object that nothing found, and no correction of another error would.
    Missed,
}

impl TideError {
    /// All kinds, in tidecv's order.
    pub const ALL: [Self; 6] = [
        Self::Classification,
        Self::Localization,
        Self::Both,
        Self::Duplicate,
        Self::Background,
        Self::Missed,
    ];

    /// tidecv's short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classification => "Cls",
            Self::Localization => "Loc",
            Self::Both => "Both",
            Self::Duplicate => "Dupe",
            Self::Background => "Bkg",
            Self::Missed => "Miss",
        }
    }
}

/// What the errors of an evaluation cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Tide {
    /// AP at [`Tide::IOU`].
    pub ap: f64,
    /// For each kind: how many errors, and how much AP would rise without them.
    pub errors: [(TideError, usize, f64); 6],
    /// How much AP would rise if every false alarm had the lowest score.
    pub false_positives: f64,
    /// How much AP would rise without misses.
    pub false_negatives: f64,
}

impl Tide {
    /// IoU from which an object is found.
    pub const IOU: f64 = 0.5;
    /// IoU up to which nothing is there.
    pub const BACKGROUND_IOU: f64 = 0.1;
    /// Detections of an image that are looked at.
    pub const MAX_DETECTIONS: usize = 100;
}

/// A false alarm or a miss.
struct Fault {
    kind: TideError,
    category: u32,
    score: f64,
    /// Whether it counts as a false alarm; what a crowd region excuses does not, and neither does a miss.
    is_counted: bool,
    /// The category in which it would be a hit if corrected.
    corrected: Option<u32>,
}

/// What one image, or all of them, come to.
#[derive(Default)]
struct Findings {
    /// Categories of the objects.
    positives: Vec<u32>,
    /// Categories of the objects that were not found.
    missed: Vec<u32>,
    /// Category and score of each hit.
    hits: Vec<(u32, f64)>,
    /// Category and score of what counts, with whether it is a hit, in order.
    baseline: Vec<(u32, f64, bool)>,
    faults: Vec<Fault>,
}

impl CocoEvaluator<'_> {
    /// What errors cost, by kind.
    ///
    /// # Errors
    /// If a mask is none, or is compared with one of another size.
    pub fn tide(&self) -> Result<Tide, CocoError> {
        let group = self.together();
        let of_chunk = |chunk: &[Cell<'_, '_>]| {
            let mut overlaps = Overlaps::default();
            let mut findings = Findings::default();
            chunk.iter().try_for_each(|cell| findings.add(cell, &mut overlaps, self))?;
            Ok(findings)
        };
        let chunks: Vec<Result<Findings, CocoError>> = group.cells().par_chunks(64).map(of_chunk).collect();
        let mut findings = Findings::default();
        for chunk in chunks {
            let Findings { positives, missed, hits, baseline, faults } = chunk?;
            findings.positives.extend(positives);
            findings.missed.extend(missed);
            findings.hits.extend(hits);
            findings.baseline.extend(baseline);
            findings.faults.extend(faults);
        }
        Ok(findings.weigh(self.category_ranks.len()))
    }
}

impl Findings {
    fn add(
        &mut self,
        cell: &Cell<'_, '_>,
        overlaps: &mut Overlaps,
        evaluator: &CocoEvaluator<'_>,
    ) -> Result<(), CocoError> {
        let cell = Cell { found: &cell.found[..cell.found.len().min(Tide::MAX_DETECTIONS)], ..*cell };
        overlaps.measure(&cell, evaluator)?;
        let num_truths = cell.truths.len();
        let iou = |row: usize, column: usize| overlaps.ious[row * num_truths + column];
        let objects: Vec<usize> = (0..num_truths).filter(|&column| !cell.truths[column].is_crowd).collect();
        let category_of = |column: usize| cell.truths[column].category;
        self.positives.extend(objects.iter().map(|&column| category_of(column)));

        // Which detection found an object; each takes the free one of its category that it overlaps most.
        let mut is_used = vec![false; num_truths];
        let mut is_hit = vec![false; cell.found.len()];
        for (row, found) in cell.found.iter().enumerate() {
            let free = objects
                .iter()
                .copied()
                .filter(|&column| !is_used[column] && category_of(column) == found.category);
            if let Some(column) = largest(free, |column| iou(row, column))
                && iou(row, column) >= Tide::IOU
            {
                (is_used[column], is_hit[row]) = (true, true);
            }
        }
        // The best false alarm that would find a free object if corrected: its position in `faults`, and its score.
        let mut best = vec![None; num_truths];
        for (row, found) in cell.found.iter().enumerate() {
            let (category, score) = (found.category, found.entry.score);
            if is_hit[row] {
                self.hits.push((category, score));
                self.baseline.push((category, score, true));
                continue;
            }
            let excuses = |column: usize| {
                cell.truths[column].is_crowd
                    && category_of(column) == category
                    && iou(row, column) > Tide::IOU
            };
            let is_counted = !(0..num_truths).any(excuses);
            if is_counted {
                self.baseline.push((category, score, false));
            }
            let own = objects.iter().copied().filter(|&column| category_of(column) == category);
            let others = objects.iter().copied().filter(|&column| category_of(column) != category);
            let largest_iou = |columns: &mut dyn Iterator<Item = usize>| {
                let column = largest(columns, |column| iou(row, column));
                (column, column.map_or(0.0, |column| iou(row, column)))
            };
            let (own_truth, own_iou) = largest_iou(&mut own.clone());
            let (other_truth, other_iou) = largest_iou(&mut others.clone());
            let (_, used_iou) = largest_iou(&mut own.filter(|&column| is_used[column]));
            let (kind, aim) = if objects.is_empty() {
                (TideError::Background, None)
            } else if (Tide::BACKGROUND_IOU..=Tide::IOU).contains(&own_iou) {
                (TideError::Localization, own_truth)
            } else if other_iou >= Tide::IOU {
                (TideError::Classification, other_truth)
            } else if used_iou >= Tide::IOU {
                (TideError::Duplicate, None)
            } else if own_iou.max(other_iou) <= Tide::BACKGROUND_IOU {
                (TideError::Background, None)
            } else {
                (TideError::Both, None)
            };
            if let Some(column) = aim.filter(|&column| !is_used[column]) {
                let best: &mut Option<(usize, f64)> = &mut best[column];
                if best.is_none_or(|(_, other)| other < score) {
                    *best = Some((self.faults.len(), score));
                }
            }
            self.faults.push(Fault { kind, category, score, is_counted, corrected: None });
        }
        for column in objects {
            if let Some((fault, _)) = best[column] {
                self.faults[fault].corrected = Some(category_of(column));
            }
            if !is_used[column] {
                self.missed.push(category_of(column));
                if best[column].is_none() {
                    let (kind, category) = (TideError::Missed, category_of(column));
                    self.faults.push(Fault {
                        kind,
                        category,
                        score: 0.0,
                        is_counted: false,
                        corrected: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn weigh(&self, num_categories: usize) -> Tide {
        let mut positives = vec![0usize; num_categories];
        self.positives.iter().for_each(|&category| positives[category as usize] += 1);
        let ap = mean_ap(self.baseline.iter().copied(), &positives);
        let originals = || self.faults.iter().filter(|fault| fault.is_counted);
        let hits = || self.hits.iter().map(|&(category, score)| (category, score, true));

        let without = |kind: TideError| {
            let mut positives = positives.clone();
            for fault in self.faults.iter().filter(|fault| fault.kind == kind && kind == TideError::Missed) {
                positives[fault.category as usize] -= 1;
            }
            let points = self.faults.iter().filter_map(|fault| match fault.corrected {
                _ if fault.kind != kind => fault.is_counted.then_some((fault.category, fault.score, false)),
                corrected => corrected.map(|category| (category, fault.score, true)),
            });
            (mean_ap(points.chain(hits()), &positives) - ap).max(0.0)
        };
        let errors = TideError::ALL
            .map(|kind| (kind, self.faults.iter().filter(|fault| fault.kind == kind).count(), without(kind)));
        let last = originals().map(|fault| (fault.category, 0.0, false));
        let first = hits().map(|(category, _, is_hit)| (category, 1.0, is_hit));
        let false_positives = mean_ap(last.chain(first), &positives) - ap;
        let as_they_are = originals().map(|fault| (fault.category, fault.score, false)).chain(hits());
        let mut found = positives.clone();
        self.missed.iter().for_each(|&category| found[category as usize] -= 1);
        let false_negatives = mean_ap(as_they_are, &found) - ap;
        Tide { ap, errors, false_positives, false_negatives }
    }
}

/// The first of those with the largest value.
fn largest(columns: impl Iterator<Item = usize>, value: impl Fn(usize) -> f64) -> Option<usize> {
    columns.fold(None, |best, column| match best {
        Some(best) if value(best) >= value(column) => Some(best),
        _ => Some(column),
    })
}

/// The mean over categories that have objects or detections; 0 without any.
fn mean_ap(points: impl Iterator<Item = (u32, f64, bool)>, positives: &[usize]) -> f64 {
    let mut by_category: Vec<Vec<(f64, bool)>> = vec![Vec::new(); positives.len()];
    points.for_each(|(category, score, is_hit)| by_category[category as usize].push((score, is_hit)));
    let aps: Vec<f64> = by_category
        .par_iter_mut()
        .zip(positives)
        .filter(|(points, positives)| !points.is_empty() || **positives > 0)
        .map(|(points, &positives)| average_precision(points, positives))
        .collect();
    if aps.is_empty() { 0.0 } else { aps.iter().sum::<f64>() / aps.len() as f64 }
}

/// The mean of the best precisions from 101 recalls on.
fn average_precision(points: &mut [(f64, bool)], positives: usize) -> f64 {
    if positives == 0 {
        return 0.0;
    }
    points.sort_by(|a, b| falling(a.0, b.0));
    let mut curve = Vec::new();
    let mut hits = 0;
    for (index, (_, is_hit)) in points.iter().enumerate() {
        if *is_hit {
            hits += 1;
            curve.push((hits as f64 / positives as f64, hits as f64 / (index + 1) as f64));
        }
    }
    let mut best = 0.0;
    for (_, precision) in curve.iter_mut().rev() {
        best = precision.max(best);
        *precision = best;
    }
    let mut from = 0;
    let mut sum = 0.0;
    for step in 0..=100 {
        while curve.get(from).is_some_and(|(recall, _)| *recall < f64::from(step) / 100.0) {
            from += 1;
        }
        sum += curve.get(from).map_or(0.0, |(_, precision)| *precision);
    }
    sum / 101.0
}
