//! From what the box head says about regions to detected boxes.
//!
//! Semantics of mmdet 3.3, `bbox_head.py` and `bbox_nms.py`; everything is in input pixels, where
//! mmdet's Mask R-CNN does its suppression as well.

use crate::box_coder::{BoxCoder, clip};
use crate::box_head::RegionPrediction;
use crate::nms::{ClassifiedBox, Suppression, multiclass_nms};
use crate::roi_align::Roi;
use crate::target::ImageSize;

/// An object found in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Corners in input pixels.
    pub bbox: [f32; 4],
    /// Probability of its class, lowered if the suppression was soft.
    pub score: f32,
    /// Its class.
    pub label: usize,
    /// Probability of each cell of the box to belong to the object, `side * side`, row-major.
    pub mask: Vec<f32>,
}

/// Which of the heads' predictions become detections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectionConfig {
    /// A score must exceed this.
    pub score_threshold: f32,
    /// What happens to boxes that overlap a better one of their class.
    pub suppression: Suppression,
    /// How many detections an image keeps.
    pub max_per_image: usize,
}

impl Default for DetectionConfig {
    /// Mask R-CNN's in mmdet: above .05, hard suppression at .5, 100 an image.
    fn default() -> Self {
        Self { score_threshold: 0.05, suppression: Suppression::Hard { iou: 0.5 }, max_per_image: 100 }
    }
}

impl DetectionConfig {
    /// The detected boxes of one image, best first.
    ///
    /// # Panics
    /// Without one prediction a region.
    pub fn boxes(
        &self,
        rois: &[Roi],
        predictions: &[RegionPrediction],
        num_classes: usize,
        coder: &BoxCoder,
        size: &ImageSize,
    ) -> Vec<ClassifiedBox> {
        assert_eq!(rois.len(), predictions.len(), "one prediction a region");
        let mut boxes = Vec::new();
        let mut scores = Vec::with_capacity(rois.len() * (num_classes + 1));
        for (roi, prediction) in rois.iter().zip(predictions) {
            let decode = |&deltas| clip(coder.decode(roi.bbox, deltas), size);
            boxes.extend(prediction.deltas.iter().map(decode));
            scores.extend_from_slice(&prediction.probabilities);
        }
        let mut kept = multiclass_nms(
            &boxes,
            &scores,
            num_classes,
            self.score_threshold,
            self.suppression,
            self.max_per_image,
        );
        kept.retain(|found| found.bbox.iter().all(|corner| corner.is_finite()));
        kept
    }
}
