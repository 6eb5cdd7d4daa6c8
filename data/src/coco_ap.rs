//! COCO average precision, to the bit as pycocotools 2.0.11 computes it.
//!
//! Detections arrive in any number of batches and keep about a hundred bytes each, plus their compressed mask. `finish`
//! then works category by category, in parallel: only pairs of image and category that hold something are visited
//! (`coco_ap_match`), a category's scores are sorted once for all area ranges and detection limits (`coco_ap_curve`),
//! and the means are summed in numpy's order (`coco_ap_metrics`).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::coco::{Coco, CocoImage};
use crate::coco_ap_curve::{CategoryCurves, curves};
use crate::coco_ap_match::{Cells, match_category};
use crate::coco_ap_metrics::CocoMetrics;
use crate::coco_error::{CocoError, SegmentationError};
use crate::coco_results::CocoResults;
use crate::coco_segmentation::Segmentation;
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
}

/// Thresholds, limits and area ranges of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// IoU from which a detection counts as found, ascending, at most 64.
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
    truth: &'a Coco,
    iou_type: IouType,
    params: Params,
    images: HashMap<u64, usize>,
    image_ranks: HashMap<u64, u32>,
    category_ranks: HashMap<u64, u32>,
    detections: Vec<Stored>,
    added: usize,
    unlisted_categories: usize,
}

/// A detection of a listed image and category.
pub(crate) struct Stored {
    /// Ranks by id.
    pub(crate) image: u32,
    pub(crate) category: u32,
    pub(crate) score: f64,
    pub(crate) bbox: [f64; 4],
    pub(crate) area: f64,
    pub(crate) pixels: Pixels,
    /// Which of all that were added.
    pub(crate) entry: usize,
}

/// Where a detection's mask comes from.
pub(crate) enum Pixels {
    /// Its box, filled.
    Box,
    /// A result file.
    Text(Segmentation),
    /// Memory: a compressed RLE and its height and width.
    Packed(Box<str>, [u32; 2]),
}

impl<'a> CocoEvaluator<'a> {
    /// An evaluator without detections.
    ///
    /// # Panics
    /// If there are more than 64 IoU thresholds.
    pub fn new(truth: &'a Coco, iou_type: IouType, mut params: Params) -> Self {
        assert!(params.iou_thresholds.len() <= 64, "at most 64 IoU thresholds");
        params.max_detections.sort_unstable();
        Self {
            truth,
            iou_type,
            params,
            images: truth.image_positions(),
            image_ranks: ranks(truth.images.iter().map(|image| image.id)),
            category_ranks: ranks(truth.categories.iter().map(|category| category.id)),
            detections: Vec::new(),
            added: 0,
            unlisted_categories: 0,
        }
    }

    /// Adds a batch of detections. Those of categories that the truth does not list are left out, as in pycocotools,
    /// and counted in [`CocoMetrics::unlisted_categories`].
    ///
    /// # Errors
    /// If a detection names an unknown image, has no mask where masks are evaluated, or holds a number that is not
    /// finite.
    pub fn add(&mut self, detections: impl IntoIterator<Item = Detection>) -> Result<(), CocoError> {
        for detection in detections {
            let Detection { image_id, category_id, score, bbox, mask } = detection;
            let entry = self.added;
            self.added += 1;
            let not_finite = |key, found: String| CocoError::Value {
                path: PathBuf::from("detections"),
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
            let Some((image, category)) = self.find(path, "detection", entry, image_id, category_id)? else {
                self.unlisted_categories += 1;
                continue;
            };
            let (area, pixels) = match (self.iou_type, mask) {
                (IouType::Bbox, _) => (bbox[2] * bbox[3], Pixels::Box),
                (IouType::Segm, Some(mask)) => {
                    let text = mask.to_compressed().into_boxed_str();
                    (mask.area() as f64, Pixels::Packed(text, [mask.height, mask.width]))
                }
                (IouType::Segm, None) => {
                    let reason = SegmentationError::Absent;
                    return Err(segmentation_error(path.to_owned(), "detection", entry, reason));
                }
            };
            self.detections.push(Stored { image, category, score, bbox, area, pixels, entry });
        }
        Ok(())
    }

    /// Adds the detections of a result file, by the rules of pycocotools' `loadRes`.
    ///
    /// # Errors
    /// If an entry names an unknown image or its mask is none.
    pub fn add_results(&mut self, results: CocoResults) -> Result<(), CocoError> {
        let first = self.added;
        self.added += results.entries.len();
        let path = results.path.as_path();
        let has_boxes = results.has_boxes;
        let read = |(index, found): (usize, &crate::coco_results::ResultEntry)| {
            let ids = (found.image_id, found.category_id);
            let Some((image, category)) = self.find(path, "results", index, ids.0, ids.1)? else {
                return Ok(None);
            };
            let (bbox, area, pixels) = match (found.bbox, &found.segmentation) {
                (Some(bbox), None) => (bbox, bbox[2] * bbox[3], Pixels::Box),
                (Some(bbox), Some(text)) if has_boxes => {
                    (bbox, bbox[2] * bbox[3], Pixels::Text(text.clone()))
                }
                (bbox, Some(text)) => {
                    let CocoImage { height, width, .. } = self.image(ids.0);
                    let measured =
                        text.measure(*height, *width).and_then(|m| m.ok_or(SegmentationError::Absent));
                    let (area, around) = measured
                        .map_err(|reason| segmentation_error(path.to_owned(), "results", index, reason))?;
                    (bbox.unwrap_or(around), area as f64, Pixels::Text(text.clone()))
                }
                (None, None) => {
                    return Err(segmentation_error(
                        path.to_owned(),
                        "results",
                        index,
                        SegmentationError::Absent,
                    ));
                }
            };
            let entry = first + index;
            Ok(Some(Stored { image, category, score: found.score, bbox, area, pixels, entry }))
        };
        let stored: Vec<_> = results.entries.par_iter().enumerate().map(read).collect();
        for detection in stored {
            match detection? {
                Some(detection) => self.detections.push(detection),
                None => self.unlisted_categories += 1,
            }
        }
        Ok(())
    }

    /// Compares everything that was added with the truth.
    ///
    /// # Errors
    /// If two annotations have one id, or a mask is none, or is compared with one of another size.
    pub fn finish(self) -> Result<CocoMetrics, CocoError> {
        let mut ids: Vec<u64> = self.truth.annotations.iter().map(|annotation| annotation.id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(CocoError::Repeated { path: self.truth.path.clone(), id: twice[0] });
        }
        let num_categories = self.category_ranks.len();
        let mut cells: Vec<Cells<'_>> = (0..num_categories).map(|_| Cells::default()).collect();
        for annotation in &self.truth.annotations {
            let category = self.category_ranks.get(&annotation.category_id);
            let image = self.image_ranks.get(&annotation.image_id);
            if let (Some(&category), Some(&image)) = (category, image) {
                cells[category as usize].truths.push((image, annotation));
            }
        }
        for detection in &self.detections {
            cells[detection.category as usize].detections.push(detection);
        }
        let evaluate = |mut cells: Cells<'_>| -> Result<CategoryCurves, CocoError> {
            cells.sort();
            Ok(curves(
                &match_category(&cells, self.iou_type, &self.params, |id| self.image(id))?,
                &self.params,
            ))
        };
        let categories: Vec<Result<CategoryCurves, CocoError>> =
            cells.into_par_iter().map(evaluate).collect();
        let categories: Vec<CategoryCurves> = categories.into_iter().collect::<Result<_, _>>()?;
        Ok(CocoMetrics::new(
            self.truth,
            self.iou_type,
            self.params.clone(),
            &categories,
            self.unlisted_categories,
        ))
    }

    fn image(&self, id: u64) -> &CocoImage {
        &self.truth.images[self.images[&id]]
    }

    /// Ranks of the image and the category; `None` where the category is not listed.
    fn find(
        &self,
        path: &Path,
        list: &str,
        entry: usize,
        image_id: u64,
        category_id: u64,
    ) -> Result<Option<(u32, u32)>, CocoError> {
        let image = self.image_ranks.get(&image_id).ok_or_else(|| CocoError::Unlisted {
            path: path.to_owned(),
            entry: format!("{list}[{entry}]"),
            key: "image_id",
            found: image_id,
            list: "images",
            truth: self.truth.path.clone(),
        })?;
        Ok(self.category_ranks.get(&category_id).map(|category| (*image, *category)))
    }
}

pub(crate) fn segmentation_error(
    path: PathBuf,
    list: &str,
    entry: usize,
    reason: SegmentationError,
) -> CocoError {
    CocoError::Segmentation { path, entry: format!("{list}[{entry}]"), reason }
}

/// Falling scores. They are finite, so they compare; a negative zero equals zero, as in numpy.
pub(crate) fn falling(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// The rank of every id among the distinct ids.
fn ranks(ids: impl Iterator<Item = u64>) -> HashMap<u64, u32> {
    let mut sorted: Vec<u64> = ids.collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.into_iter().enumerate().map(|(rank, id)| (id, rank as u32)).collect()
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
