//! The second half of Mask R-CNN: what is in each region, in training and in detection.

use burn::prelude::*;
use rayon::prelude::*;

use crate::box_coder::BoxCoder;
use crate::box_head::{BoxLosses, BoxTarget};
use crate::detections::Detection;
use crate::mask_rcnn::MaskRcnn;
use crate::mask_target::mask_targets;
use crate::proposals::Proposal;
use crate::roi_align::{Roi, roi_align_levels};
use crate::roi_targets::RoiTargets;
use crate::target::{ImageSize, Target};

/// Strides of the levels that regions are cut from.
const STRIDES: [usize; 4] = [4, 8, 16, 32];

/// RoIAlign takes as many samples of a cell as it is pixels long.
const ADAPTIVE: usize = 0;

/// A region that stands in for none, so that a step without any reaches all parameters.
const STAND_IN: Roi = Roi { batch_index: 0, bbox: [0.0, 0.0, 1.0, 1.0] };

impl MaskRcnn {
    pub(crate) fn box_losses(&self, levels: &[Tensor<4>; 4], sampled: &[RoiTargets]) -> BoxLosses {
        let mut rois = Vec::new();
        let mut targets = Vec::new();
        for (batch_index, RoiTargets { positive, negative }) in sampled.iter().enumerate() {
            for region in positive {
                rois.push(Roi { batch_index, bbox: region.bbox });
                targets.push(BoxTarget::Object { label: region.label, deltas: region.deltas });
            }
            for &bbox in negative {
                rois.push(Roi { batch_index, bbox });
                targets.push(BoxTarget::Background);
            }
        }
        let side = self.bbox_head.roi_side;
        if rois.is_empty() {
            return self.bbox_head.forward(cut(levels, &[STAND_IN], side)).zero_losses();
        }
        self.bbox_head.forward(cut(levels, &rois, side)).losses(&targets)
    }

    pub(crate) fn mask_loss(
        &self,
        levels: &[Tensor<4>; 4],
        sampled: &[RoiTargets],
        targets: &[Target],
    ) -> Tensor<1> {
        let roi_side = self.mask_head.roi_side;
        let side = 2 * roi_side;
        let mut rois = Vec::new();
        let mut labels = Vec::new();
        let mut pixels = Vec::new();
        for (batch_index, (regions, target)) in sampled.iter().zip(targets).enumerate() {
            let boxes: Vec<[f32; 4]> = regions.positive.iter().map(|region| region.bbox).collect();
            let truths: Vec<usize> = regions.positive.iter().map(|region| region.truth).collect();
            pixels.extend(mask_targets(&boxes, &truths, &target.masks, side));
            rois.extend(boxes.into_iter().map(|bbox| Roi { batch_index, bbox }));
            labels.extend(regions.positive.iter().map(|region| region.label));
        }
        if rois.is_empty() {
            return self.mask_head.forward(cut(levels, &[STAND_IN], roi_side)).zero_loss();
        }
        self.mask_head.forward(cut(levels, &rois, roi_side)).losses(&labels, &pixels)
    }

    /// Detections whose masks are still empty.
    pub(crate) fn detect_boxes(
        &self,
        levels: &[Tensor<4>; 4],
        proposals: &[Vec<Proposal>],
        sizes: &[ImageSize],
    ) -> Vec<Vec<Detection>> {
        let rois: Vec<Roi> = proposals
            .iter()
            .enumerate()
            .flat_map(|(batch_index, proposals)| {
                proposals.iter().map(move |proposal| Roi { batch_index, bbox: proposal.bbox })
            })
            .collect();
        if rois.is_empty() {
            return vec![Vec::new(); sizes.len()];
        }
        let regions = cut(levels, &rois, self.bbox_head.roi_side);
        let predictions = self.bbox_head.forward(regions).read();
        let coder = BoxCoder { stds: self.config.roi_delta_stds };
        sizes
            .par_iter()
            .enumerate()
            .map(|(image, size)| {
                let first = rois.partition_point(|roi| roi.batch_index < image);
                let last = rois.partition_point(|roi| roi.batch_index <= image);
                let (rois, predictions) = (&rois[first..last], &predictions[first..last]);
                self.detection
                    .boxes(rois, predictions, self.config.num_classes, &coder, size)
                    .into_iter()
                    .map(|found| Detection {
                        bbox: found.bbox,
                        score: found.score,
                        label: found.label,
                        mask: Vec::new(),
                    })
                    .collect()
            })
            .collect()
    }

    pub(crate) fn detect_masks(&self, levels: &[Tensor<4>; 4], found: &mut [Vec<Detection>]) {
        let mut rois = Vec::new();
        let mut detections = Vec::new();
        for (batch_index, of_image) in found.iter_mut().enumerate() {
            for detection in of_image {
                rois.push(Roi { batch_index, bbox: detection.bbox });
                detections.push(detection);
            }
        }
        if rois.is_empty() {
            return;
        }
        let labels: Vec<usize> = detections.iter().map(|detection| detection.label).collect();
        let regions = cut(levels, &rois, self.mask_head.roi_side);
        let masks = self.mask_head.forward(regions).read(&labels);
        for (detection, mask) in detections.into_iter().zip(masks) {
            detection.mask = mask;
        }
    }
}

/// The features of `rois`, each from the level of its size.
fn cut(levels: &[Tensor<4>; 4], rois: &[Roi], side: usize) -> Tensor<4> {
    roi_align_levels(levels, &STRIDES, rois, side, ADAPTIVE)
}
