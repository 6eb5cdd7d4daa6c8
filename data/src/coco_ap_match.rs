//! Detections of one category against the truth, image by image.

use rayon::prelude::*;

use crate::coco_ap::{CocoEvaluator, Params};
use crate::coco_cells::{Cell, Group, Truth};
use crate::coco_error::CocoError;
use crate::coco_overlap::Overlaps;

/// What became of the detections of a category.
pub(crate) struct Matched {
    /// In the order of their images, and within an image by falling score.
    pub(crate) outcomes: Vec<Outcome>,
    /// Truth that counts, per area range.
    pub(crate) num_truths: [usize; 4],
}

/// One bit per IoU threshold, for each area range.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) score: f64,
    /// Position in its image by falling score, from 0.
    pub(crate) rank: u32,
    pub(crate) matched: [u32; 4],
    pub(crate) ignored: [u32; 4],
}

/// The highest IoU that is asked for, so that equal masks match at a threshold of 1.
const BELOW_ONE: f64 = 1.0 - 1e-10;

/// Cells that a worker takes at a time.
const CELLS_PER_TASK: usize = 256;

/// pycocotools' `evaluateImg` over all images and area ranges of a category.
pub(crate) fn match_group(
    group: &Group<'_>,
    evaluator: &CocoEvaluator<'_>,
    params: &Params,
) -> Result<Matched, CocoError> {
    let limit = params.max_detections[2];
    let least = params.iou_thresholds.iter().copied().fold(BELOW_ONE, f64::min);
    let cells = group.cells();
    let num_seen = |cell: &Cell<'_, '_>| cell.found.len().min(limit);
    let mut outcomes = vec![Outcome::default(); cells.iter().map(num_seen).sum()];
    let mut tasks = Vec::new();
    let mut rest = outcomes.as_mut_slice();
    for chunk in cells.chunks(CELLS_PER_TASK) {
        let (own, others) = rest.split_at_mut(chunk.iter().map(num_seen).sum());
        tasks.push((chunk, own));
        rest = others;
    }
    let match_chunk = |(chunk, mut outcomes): (&[Cell<'_, '_>], &mut [Outcome])| {
        let mut overlaps = Overlaps::from(least);
        let mut scratch = Scratch::default();
        let mut num_truths = [0; 4];
        for cell in chunk {
            let cell = Cell { found: &cell.found[..num_seen(cell)], ..*cell };
            let (own, others) = outcomes.split_at_mut(cell.found.len());
            outcomes = others;
            if !cell.found.is_empty() {
                overlaps.measure(&cell, evaluator)?;
            }
            for (area, count) in num_truths.iter_mut().enumerate() {
                *count += match_area(&cell, &overlaps, params, area, own, &mut scratch);
            }
        }
        Ok(num_truths)
    };
    let counts: Vec<Result<[usize; 4], CocoError>> = tasks.into_par_iter().map(match_chunk).collect();
    let mut num_truths = [0; 4];
    for counts in counts {
        num_truths.iter_mut().zip(counts?).for_each(|(sum, count)| *sum += count);
    }
    Ok(Matched { outcomes, num_truths })
}

/// What matching needs for each truth of a cell.
#[derive(Default)]
pub(crate) struct Scratch {
    ignored: Vec<bool>,
    /// Those that count first, each kind in the order of the file.
    order: Vec<usize>,
    /// One bit per threshold: the truth is taken.
    pub(crate) taken: Vec<u32>,
}

/// pycocotools' `evaluateImg` for one image and area range; the number of truths that count.
pub(crate) fn match_area(
    cell: &Cell<'_, '_>,
    overlaps: &Overlaps,
    params: &Params,
    area: usize,
    outcomes: &mut [Outcome],
    scratch: &mut Scratch,
) -> usize {
    let [low, high] = params.area_ranges[area];
    let outside = |area: f64| area < low || area > high;
    let Scratch { ignored, order, taken } = scratch;
    let num_truths = cell.truths.len();
    ignored.clear();
    ignored.extend(cell.truths.iter().map(|truth| truth.is_crowd || outside(truth.annotation.area)));
    order.clear();
    order.extend((0..num_truths).filter(|&truth| !ignored[truth]));
    let num_counted = order.len();
    order.extend((0..num_truths).filter(|&truth| ignored[truth]));
    taken.clear();
    taken.resize(num_truths, 0);
    for (index, ((found, outcome), &area_of_found)) in
        cell.found.iter().zip(outcomes).zip(&overlaps.areas).enumerate()
    {
        outcome.score = found.entry.score;
        outcome.rank = index as u32;
        let row = if num_truths == 0 { &[] } else { &overlaps.ious[index * num_truths..][..num_truths] };
        let best = row.iter().copied().fold(0.0, f64::max);
        for (bit, &threshold) in params.iou_thresholds.iter().enumerate() {
            let flag = 1 << bit;
            let threshold = threshold.min(BELOW_ONE);
            if best < threshold {
                continue;
            }
            if let Some(truth) = best_truth(row, order, ignored, cell.truths, taken, flag, threshold) {
                taken[truth] |= flag;
                if ignored[truth] {
                    outcome.ignored[area] |= flag;
                }
                // pycocotools remembers a match by the id of the truth, so the id 0 looks like none.
                if cell.truths[truth].annotation.id != 0 {
                    outcome.matched[area] |= flag;
                }
            }
        }
        if found.is_excused || outside(area_of_found) {
            outcome.ignored[area] |= !outcome.matched[area];
        }
    }
    num_counted
}

/// The free truth with the largest IoU, the later of equal ones; one that counts before all that do not.
fn best_truth(
    row: &[f64],
    order: &[usize],
    ignored: &[bool],
    truths: &[Truth<'_>],
    taken: &[u32],
    flag: u32,
    threshold: f64,
) -> Option<usize> {
    let mut best = threshold;
    let mut chosen: Option<usize> = None;
    for &truth in order {
        // A crowd may be matched any number of times.
        if taken[truth] & flag != 0 && !truths[truth].is_crowd {
            continue;
        }
        if chosen.is_some_and(|chosen| !ignored[chosen]) && ignored[truth] {
            break;
        }
        if row[truth] < best {
            continue;
        }
        best = row[truth];
        chosen = Some(truth);
    }
    chosen
}
