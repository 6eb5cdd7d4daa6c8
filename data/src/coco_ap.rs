//! COCO average precision, to the bit as pycocotools 2.0.11 computes it.
//!
//! Detections arrive in any number of batches and keep about a hundred bytes each, plus their compressed mask. `finish`
//! then works category by category, in parallel.
//!
//! How it is fast, in the order of the work:
//! - A file is read and walked once, by all cores (`coco_text`). Segmentations stay text, and a result file without masks
//!   keeps none.
//! - Only pairs of image and category that hold something are visited (`coco_cells`); their boxes or masks are compared
//!   once for all area ranges and thresholds (`coco_overlap`).
//! - A mask is decoded once, into runs; its area and box fall out on the way. Masks whose areas and boxes rule out the
//!   lowest threshold are not compared; where many detections overlap a truth, its pixels become bits with running counts
//!   (`coco_pixels`). A polygon's numbers are read eight bytes at a time (`coco_number`); an edge costs one step per column
//!   that it crosses, four columns at once, and columns are sorted, not crossings (`polygon_fill`).
//! - Matches are one bit per threshold (`coco_ap_match`).
//! - A category's scores are sorted once for all area ranges and detection limits; false alarms of all thresholds are
//!   counted at once, and precision is computed at hits alone (`coco_ap_curve`).
//!
//! The means are summed in numpy's order (`coco_ap_metrics`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::coco::{Coco, CocoImage};
use crate::coco_ap_curve::{CategoryCurves, curves};
use crate::coco_ap_match::match_group;
use crate::coco_ap_metrics::CocoMetrics;
use crate::coco_cells::{Group, Ranks};
use crate::coco_error::{CocoError, SegmentationError};
use crate::coco_results::{CocoResults, ResultEntry};
use crate::coco_text::Span;
use crate::rle::Rle;

/// One detection in image pixels, as a network gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The image it was found in.
    pub image_id: u64,
    /// What it is.
    pub category_id: u64,
    /// How sure the network is; any finite scale.
    pub score: f64,
    /// Left, top, width, height in image pixels.
    pub bbox: [f64; 4],
    /// Its pixels; needed where masks are evaluated.
    pub mask: Option<Rle>,
}

/// What overlaps are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IouType {
    /// Boxes; a detection's area is that of its box.
    Bbox,
    /// Masks; a detection's area is that of its mask.
    Segm,
    /// Masks, of which the part near their edge has to overlap too: the smaller of mask IoU and boundary IoU counts, crowd
    /// regions by mask IoU alone. Boundary IoU, Cheng et al. 2021, <https://arxiv.org/abs/2103.16562>.
    Boundary,
}

/// Thresholds, limits and area ranges of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// IoU from which a detection counts as found, ascending, at most 32.
    pub iou_thresholds: Vec<f64>,
    /// Recalls at which precision is read off, ascending.
    pub recall_thresholds: Vec<f64>,
    /// Detections per image and category that are looked at, ascending. AP is read at 100, everything else at the last.
    pub max_detections: [usize; 3],
    /// Smallest and largest area of all, small, medium and large objects, both inclusive.
    pub area_ranges: [[f64; 2]; 4],
}

impl Default for Params {
    /// pycocotools' values, grids as `numpy.linspace` rounds them.
    fn default() -> Self {
        Self {
            iou_thresholds: linspace(0.5, 0.95, 10),
            recall_thresholds: linspace(0.0, 1.0, 101),
            max_detections: [1, 10, 100],
            area_ranges: [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]],
        }
    }
}

/// `numpy.linspace`: start plus multiples of the rounded step; the last point is exact.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / (count - 1) as f64;
    let mut points: Vec<f64> = (0..count).map(|index| index as f64 * step + start).collect();
    points[count - 1] = stop;
    points
}

/// Collects detections, and compares them with the truth when all are there.
pub struct CocoEvaluator<'a> {
    pub(crate) truth: &'a Coco,
    pub(crate) iou_type: IouType,
    pub(crate) params: Params,
    images: HashMap<u64, usize>,
    pub(crate) image_ranks: Ranks,
    pub(crate) category_ranks: Ranks,
    pub(crate) batches: Vec<Batch>,
    pub(crate) unlisted_categories: usize,
}

/// Detections that arrived together.
pub(crate) struct Batch {
    pub(crate) results: CocoResults,
    /// Ranks of image and category for every entry; [`UNLISTED`] where the category is not listed.
    pub(crate) ranks: Vec<Vec<[u32; 2]>>,
    /// What entries are called in messages.
    list: &'static str,
}

/// The rank of a category that the truth does not list.
pub(crate) const UNLISTED: u32 = u32::MAX;

impl<'a> CocoEvaluator<'a> {
    /// An evaluator without detections.
    ///
    /// # Panics
    /// If there are more than 32 IoU thresholds.
    pub fn new(truth: &'a Coco, iou_type: IouType, mut params: Params) -> Self {
        assert!(params.iou_thresholds.len() <= 32, "at most 32 IoU thresholds");
        params.max_detections.sort_unstable();
        Self {
            truth,
            iou_type,
            params,
            images: truth.image_positions(),
            image_ranks: Ranks::new(truth.images.iter().map(|image| image.id)),
            category_ranks: Ranks::new(truth.categories.iter().map(|category| category.id)),
            batches: Vec::new(),
            unlisted_categories: 0,
        }
    }

    /// What detections are compared with.
    pub fn truth(&self) -> &'a Coco {
        self.truth
    }

    /// Detections so far whose category the truth does not list; see [`CocoMetrics::unlisted_categories`].
    pub fn unlisted_categories(&self) -> usize {
        self.unlisted_categories
    }

    /// Adds a batch of detections. Those of categories that the truth does not list are left out, as in pycocotools,
    /// and counted in [`CocoMetrics::unlisted_categories`].
    ///
    /// A detection keeps about a hundred bytes, and its mask as compressed text where masks are evaluated.
    ///
    /// # Errors
    /// If a detection names an unknown image, has no mask where masks are evaluated, or holds a number that is not
    /// finite.
    pub fn add(&mut self, detections: impl IntoIterator<Item = Detection>) -> Result<(), CocoError> {
        if self.batches.last().is_none_or(|batch| batch.list != "detection") {
            let results = CocoResults {
                path: "detections".into(),
                has_boxes: self.iou_type == IouType::Bbox,
                text: Arc::default(),
                blocks: vec![Vec::new()],
            };
            self.batches.push(Batch { results, ranks: vec![Vec::new()], list: "detection" });
        }
        for detection in detections {
            let entry = self.batches.last().map_or(0, |batch| batch.results.len());
            let Detection { image_id, category_id, score, bbox, mask } = detection;
            let not_finite = |key, found: String| CocoError::Value {
                path: "detections".into(),
                entry: format!("detection {entry} (image {image_id})"),
                key,
                found,
                possible: "finite",
            };
            if !score.is_finite() {
                return Err(not_finite("score", score.to_string()));
            }
            if !bbox.iter().all(|value| value.is_finite()) {
                return Err(not_finite("bbox", format!("{bbox:?}")));
            }
            let path = Path::new("detections");
            let ranks = self
                .find(image_id, category_id)
                .ok_or_else(|| unknown_image(path, "detection", entry, image_id, self.truth))?;
            self.unlisted_categories += usize::from(ranks[1] == UNLISTED);
            let Some(Batch { results, ranks: batch_ranks, .. }) = self.batches.last_mut() else {
                return Ok(());
            };
            let segmentation = match (self.iou_type, mask) {
                (IouType::Bbox, _) => Span::default(),
                (_, Some(mask)) => push_mask(Arc::make_mut(&mut results.text), &mask),
                (_, None) => {
                    return Err(segmentation_error(path, "detection", entry, SegmentationError::Absent));
                }
            };
            let bbox = Some(bbox);
            results.blocks[0].push(ResultEntry { image_id, category_id, score, bbox, segmentation });
            batch_ranks[0].push(ranks);
        }
        Ok(())
    }

    /// Adds the detections of a result file, by the rules of pycocotools' `loadRes`.
    ///
    /// Masks are read when they are compared, in [`CocoEvaluator::finish`].
    ///
    /// # Errors
    /// If an entry names an unknown image.
    pub fn add_results(&mut self, results: CocoResults) -> Result<(), CocoError> {
        let of_block = |block: &Vec<ResultEntry>| {
            let mut last = None;
            let find = |entry: &ResultEntry| {
                // Neighbours are of one image, mostly.
                let image = match last {
                    Some((id, rank)) if id == entry.image_id => rank,
                    _ => self.image_ranks.get(entry.image_id)?,
                };
                last = Some((entry.image_id, image));
                Some([image, self.category_ranks.get(entry.category_id).unwrap_or(UNLISTED)])
            };
            block.iter().map(find).collect::<Option<Vec<_>>>()
        };
        let ranks = results.blocks.par_iter().map(of_block).collect::<Option<Vec<_>>>();
        let Some(ranks) = ranks else {
            let unknown = |entry: &ResultEntry| self.image_ranks.get(entry.image_id).is_none();
            let found = results.blocks.iter().flatten().enumerate().find(|(_, entry)| unknown(entry));
            let (index, id) = found.map_or((0, 0), |(index, entry)| (index, entry.image_id));
            return Err(unknown_image(&results.path, "results", index, id, self.truth));
        };
        self.unlisted_categories += ranks.iter().flatten().filter(|ranks| ranks[1] == UNLISTED).count();
        self.batches.push(Batch { results, ranks, list: "results" });
        Ok(())
    }

    /// Takes over the detections of another evaluator, as if they had been added here after those that were.
    ///
    /// So workers may each evaluate a share of the images and be merged in any order: the results are those of one
    /// evaluator, to the bit, as long as no image was shared. Where one was, its detections of equal score keep the order
    /// of the merge.
    ///
    /// # Panics
    /// If the two compare with different truths, overlaps or parameters.
    pub fn merge(&mut self, other: Self) {
        let Self { truth, iou_type, params, batches, unlisted_categories, .. } = other;
        assert!(std::ptr::eq(self.truth, truth), "evaluators of different truths cannot be merged");
        assert!(
            self.iou_type == iou_type && self.params == params,
            "evaluators of different kinds cannot be merged"
        );
        self.batches.extend(batches);
        self.unlisted_categories += unlisted_categories;
    }

    /// Compares everything that was added with the truth.
    ///
    /// # Errors
    /// If two annotations have one id, or a mask is none, or is compared with one of another size.
    pub fn finish(self) -> Result<CocoMetrics, CocoError> {
        self.metrics()
    }

    /// [`CocoEvaluator::finish`] for an evaluator that is still needed.
    ///
    /// # Errors
    /// Those of [`CocoEvaluator::finish`].
    pub fn metrics(&self) -> Result<CocoMetrics, CocoError> {
        self.check_ids()?;
        let evaluate = |group: &Group<'_>| Ok(curves(&match_group(group, self, &self.params)?, &self.params));
        let groups = self.by_category();
        let categories: Vec<Result<CategoryCurves, CocoError>> = groups.par_iter().map(evaluate).collect();
        let categories: Vec<CategoryCurves> = categories.into_iter().collect::<Result<_, _>>()?;
        Ok(CocoMetrics::new(self, &categories))
    }

    pub(crate) fn check_ids(&self) -> Result<(), CocoError> {
        let ids =
            |annotations: &[crate::coco::Annotation]| annotations.iter().map(|a| a.id).collect::<Vec<_>>();
        let mut ids = ids(&self.truth.annotations);
        if !ids.is_sorted() {
            ids.par_sort_unstable();
        }
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(CocoError::Repeated { path: self.truth.path.clone(), id: twice[0] }),
            None => Ok(()),
        }
    }

    pub(crate) fn image(&self, id: u64) -> &CocoImage {
        &self.truth.images[self.images[&id]]
    }

    /// Ranks of the image and the category; `None` where the image is not listed.
    fn find(&self, image_id: u64, category_id: u64) -> Option<[u32; 2]> {
        Some([self.image_ranks.get(image_id)?, self.category_ranks.get(category_id).unwrap_or(UNLISTED)])
    }
}

/// Writes a mask as a result file has it.
fn push_mask(text: &mut Vec<u8>, mask: &Rle) -> Span {
    let start = text.len();
    let counts = mask.to_compressed().replace('\\', r"\\");
    text.extend_from_slice(
        format!(r#"{{"size":[{},{}],"counts":"{counts}"}}"#, mask.height, mask.width).as_bytes(),
    );
    // A mask has at most 2^32 pixels and, in any order of its runs, less text than that.
    Span::of(start..text.len()).unwrap_or_default()
}

fn unknown_image(path: &Path, list: &str, entry: usize, id: u64, truth: &Coco) -> CocoError {
    CocoError::Unlisted {
        path: path.to_owned(),
        entry: format!("{list}[{entry}]"),
        key: "image_id",
        found: id,
        list: "images",
        truth: truth.path.clone(),
    }
}

pub(crate) fn segmentation_error(
    path: &Path,
    list: &str,
    entry: usize,
    reason: SegmentationError,
) -> CocoError {
    CocoError::Segmentation { path: path.to_owned(), entry: format!("{list}[{entry}]"), reason }
}

impl Batch {
    /// What is wrong with an entry's mask.
    pub(crate) fn mask_error(&self, entry: &ResultEntry, reason: SegmentationError) -> CocoError {
        let mut entries = self.results.blocks.iter().flatten();
        let index = entries.position(|other| std::ptr::eq(other, entry)).unwrap_or(0);
        segmentation_error(&self.results.path, self.list, index, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_are_rounded_as_numpy_rounds_them() {
        let Params { iou_thresholds, recall_thresholds, .. } = Params::default();
        assert_eq!(iou_thresholds[8], 0.8999999999999999);
        assert_eq!(iou_thresholds[9], 0.95);
        let differing = |i: &usize| recall_thresholds[*i] != *i as f64 / 100.0;
        let expected = [35, 41, 47, 57, 69, 70, 82, 83, 94, 95];
        assert_eq!((0..101).filter(differing).collect::<Vec<_>>(), expected);
    }
}
