//! Which categories are taken for which: a confusion matrix of detections. An extension; pycocotools has none.

use rayon::prelude::*;

use crate::coco_ap::CocoEvaluator;
use crate::coco_cells::Cell;
use crate::coco_error::CocoError;
use crate::coco_overlap::Overlaps;

/// Counts of objects by what they are and what they were taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionConfusion {
    /// Ids of the categories, ascending.
    pub category_ids: Vec<u64>,
    /// `[categories + 1, categories + 1]`, row-major: a row for what an object is, a column for what it was taken for. The
    /// last row are detections of nothing, the last column objects that were missed.
    pub counts: Vec<u64>,
}

impl DetectionConfusion {
    /// Objects of one category (by position) that were taken for another; `None` is background.
    pub fn get(&self, truth: Option<usize>, found: Option<usize>) -> u64 {
        let background = self.category_ids.len();
        let side = background + 1;
        self.counts[truth.unwrap_or(background) * side + found.unwrap_or(background)]
    }
}

impl CocoEvaluator<'_> {
    /// Takes the detections of an image from `min_score` on, at most the last limit of them, by falling score; each is
    /// matched with the free object that it overlaps most, of whatever category, from `iou_threshold` on. Crowd regions
    /// are left out. Of equal scores the smaller category comes first, of equal overlaps the later object is taken.
    ///
    /// # Errors
    /// If a mask is none, or is compared with one of another size.
    pub fn confusion_matrix(
        &self,
        iou_threshold: f64,
        min_score: f64,
    ) -> Result<DetectionConfusion, CocoError> {
        let mut group = self.together();
        group.truths.retain(|truth| !truth.is_crowd);
        group.found.retain(|found| found.entry.score >= min_score);
        group.truths.sort_by_key(|truth| (truth.image, truth.category));
        group.found.sort_by(|a, b| {
            a.image
                .cmp(&b.image)
                .then(b.entry.score.total_cmp(&a.entry.score))
                .then(a.category.cmp(&b.category))
        });
        let limit = self.params.max_detections[2];
        let side = self.category_ranks.len() + 1;
        let add = |mut state: (Overlaps, Vec<u64>), cell: &Cell<'_, '_>| {
            let (overlaps, counts) = &mut state;
            let cell = Cell { found: &cell.found[..cell.found.len().min(limit)], ..*cell };
            overlaps.measure(&cell, self)?;
            let mut is_free = vec![true; cell.truths.len()];
            for (row, found) in cell.found.iter().enumerate() {
                let mut best = iou_threshold;
                let mut chosen = None;
                for (column, _) in is_free.iter().enumerate().filter(|(_, is_free)| **is_free) {
                    let iou = overlaps.ious[row * cell.truths.len() + column];
                    if iou >= best {
                        (best, chosen) = (iou, Some(column));
                    }
                }
                let truth = chosen.map_or(side - 1, |column| cell.truths[column].category as usize);
                counts[truth * side + found.category as usize] += 1;
                if let Some(column) = chosen {
                    is_free[column] = false;
                }
            }
            for (truth, _) in cell.truths.iter().zip(is_free).filter(|(_, is_free)| *is_free) {
                counts[truth.category as usize * side + side - 1] += 1;
            }
            Ok(state)
        };
        let cells = group.cells();
        let of_chunk = |chunk: &[Cell<'_, '_>]| {
            let start = (Overlaps::default(), vec![0; side * side]);
            chunk.iter().try_fold(start, add).map(|(_, counts)| counts)
        };
        let chunks: Vec<Result<Vec<u64>, CocoError>> =
            cells.par_chunks(cells.len().div_ceil(64).max(16)).map(of_chunk).collect();
        let mut counts = vec![0; side * side];
        for chunk in chunks {
            counts.iter_mut().zip(chunk?).for_each(|(sum, count)| *sum += count);
        }
        let mut category_ids: Vec<u64> = self.truth.categories.iter().map(|category| category.id).collect();
        category_ids.sort_unstable();
        category_ids.dedup();
        Ok(DetectionConfusion { category_ids, counts })
    }
}
