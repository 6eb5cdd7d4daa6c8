//! What became of every object and detection of an image, at one IoU threshold: to look at, and to find the worst images.
//! An extension; the matches are pycocotools', at all areas.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::coco_ap::{CocoEvaluator, Params};
use crate::coco_ap_match::{Outcome, Scratch, match_area};
use crate::coco_cells::Group;
use crate::coco_error::CocoError;
use crate::coco_overlap::Overlaps;

/// An object or a detection, and whether it found its counterpart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// What it is.
    pub category_id: u64,
    /// Left, top, width, height in image pixels.
    pub bbox: [f64; 4],
    /// Of a detection; of an object, 1.
    pub score: f64,
    /// Whether a detection found an object, or an object was found.
    pub is_matched: bool,
}

/// What became of one image. Crowd regions, and what they excuse, are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageVerdict {
    /// The image.
    pub image_id: u64,
    /// Its objects.
    pub truths: Vec<Judged>,
    /// Its detections.
    pub found: Vec<Judged>,
}

impl ImageVerdict {
    /// Detections that found nothing.
    pub fn false_alarms(&self) -> usize {
        self.found.iter().filter(|judged| !judged.is_matched).count()
    }

    /// Objects that were not found.
    pub fn misses(&self) -> usize {
        self.truths.iter().filter(|judged| !judged.is_matched).count()
    }
}

impl CocoEvaluator<'_> {
    /// The images that hold something, by id; of the detections, those from `min_score` on.
    ///
    /// # Errors
    /// If a mask is none, or is compared with one of another size.
    pub fn image_verdicts(&self, iou_threshold: f64, min_score: f64) -> Result<Vec<ImageVerdict>, CocoError> {
        let params = Params { iou_thresholds: vec![iou_threshold], ..self.params.clone() };
        let judge = |group: &mut Group<'_>| {
            group.found.retain(|found| found.entry.score >= min_score);
            let (mut overlaps, mut scratch) = (Overlaps::default(), Scratch::default());
            let mut judged = Vec::new();
            for cell in group.cells() {
                overlaps.measure(&cell, self)?;
                let mut outcomes = vec![Outcome::default(); cell.found.len()];
                match_area(&cell, &overlaps, &params, 0, &mut outcomes, &mut scratch);
                let mut verdict = ImageVerdict::default();
                for (truth, taken) in
                    cell.truths.iter().zip(&scratch.taken).filter(|(truth, _)| !truth.is_crowd)
                {
                    let annotation = truth.annotation;
                    verdict.truths.push(Judged {
                        category_id: annotation.category_id,
                        bbox: annotation.bbox,
                        score: 1.0,
                        is_matched: *taken != 0,
                    });
                }
                for ((found, outcome), &bbox) in cell.found.iter().zip(outcomes).zip(&overlaps.boxes) {
                    if outcome.ignored[0] & 1 == 0 {
                        verdict.found.push(Judged {
                            category_id: found.entry.category_id,
                            bbox,
                            score: found.entry.score,
                            is_matched: outcome.matched[0] & 1 != 0,
                        });
                    }
                }
                judged.push((cell.image, verdict));
            }
            Ok(judged)
        };
        let mut groups = self.by_category();
        let judged: Vec<Result<Vec<(u32, ImageVerdict)>, CocoError>> =
            groups.par_iter_mut().map(judge).collect();
        let mut ids: Vec<u64> = self.truth.images.iter().map(|image| image.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut images: BTreeMap<u32, ImageVerdict> = BTreeMap::new();
        for of_category in judged {
            for (rank, verdict) in of_category? {
                let image = images.entry(rank).or_default();
                image.image_id = ids[rank as usize];
                image.truths.extend(verdict.truths);
                image.found.extend(verdict.found);
            }
        }
        Ok(images.into_values().collect())
    }
}
