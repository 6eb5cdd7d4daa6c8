//! `cvx-det info --bench`: how fast a recipe's network runs on this machine, on invented images, as JSON.
//!
//! Inference goes from normalised pixels to a hundred pasted masks. A training step is losses, backward and AdamW, on
//! ten ellipses an image, at a learning rate of 0: so the weights stay, and with them the number of regions that the mask
//! head looks at, on which the time depends. That number is told, because two programs can only be compared where it is
//! the same.

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::TensorData;
use cvx_data::Geometry;
use cvx_heads::{BoxCoder, ImageSize, RoiTargets, Target, TargetMask};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::model::{Architecture, Detector};
use crate::bench::Setting;
use crate::collate::locate;
use crate::recipe::{Head, Optimizer, Recipe};
use crate::train::adamw::AdamW;
use crate::train::clip::ParamGradients;
use crate::train::groups::ParamGroups;
use crate::train::params;

/// Classes of 80 on a background: what a random network finds is thinned out to as many as this.
const DETECTIONS: usize = 100;
/// Objects of an invented image.
const OBJECTS: usize = 10;

/// What is measured.
pub(super) struct Bench<'a> {
    pub(super) recipe: &'a Recipe,
    pub(super) setting: Setting,
}

impl Bench<'_> {
    /// Medians of inference and of a training step.
    pub(super) fn run(&self) -> Result<Value> {
        self.setting.report(|| self.inference(), || self.training_step())
    }

    fn inference(&self) -> Result<Value> {
        let architecture = Architecture::of(self.recipe);
        self.setting.device.seed(0);
        let mut detector = architecture.init(&self.setting.device);
        let (images, sizes) = (self.setting.images(&self.setting.device), self.sizes());
        let geometry = Geometry::identity(self.setting.size[1], self.setting.size[0]);
        let look = |detector: &Detector| {
            let found = detector.detect(images.clone(), &sizes);
            let masks: usize =
                found.iter().map(|found| locate(found, &geometry, architecture.mask_threshold()).len()).sum();
            masks / found.len().max(1)
        };
        // A random network is sure of nothing: its last layer is sharpened until it finds something.
        for _ in 0..SHARPENINGS {
            if look(&detector) >= DETECTIONS.min(detector.heads.detection.max_per_image) {
                break;
            }
            detector = sharpened(detector)?;
        }
        let found = look(&detector);
        let mut told = self.setting.measure(|| {
            std::hint::black_box(look(&detector));
        })?;
        told["detections"] = found.into();
        Ok(told)
    }

    fn training_step(&self) -> Result<Value> {
        let device = self.setting.device.clone().autodiff();
        device.seed(0);
        let mut begun = Architecture::of(self.recipe).init(&device);
        begun.backbone = begun.backbone.recomputing(&self.recipe.train.recompute_stages);
        let mut detector = Some(begun);
        let (images, sizes, targets) = (self.setting.images(&device), self.sizes(), self.targets());
        let Optimizer::Adamw(adamw) = &self.recipe.optimizer;
        let params = params::trained(detector.as_ref().unwrap_or_else(|| unreachable!("it was just made")));
        let groups = ParamGroups::new(&params, adamw.layer_decay(), adamw.weight_decay())?;
        let mut optimizer = AdamW::new(adamw.config(), groups);
        let positives = self.mask_positives(detector.as_ref(), &images, &targets);
        let mut told = self.setting.measure(|| {
            let before = detector.take().unwrap_or_else(|| unreachable!("every step puts one back"));
            let losses = before.losses(images.clone(), &targets, &sizes, 0);
            let total = losses.into_iter().map(|(_, loss)| loss).reduce(|sum, loss| sum + loss);
            let gradients = total.unwrap_or_else(|| unreachable!("there are five losses")).backward();
            let gradients = ParamGradients::collect(&before, gradients);
            detector = Some(optimizer.step(before, gradients, 0.0, 1.0));
        })?;
        told["mask_positives"] = positives.into();
        Ok(told)
    }

    fn sizes(&self) -> Vec<ImageSize> {
        let [height, width] = self.setting.size;
        vec![ImageSize { height, width, padded_height: height, padded_width: width }; self.setting.batch]
    }

    /// Ellipses whose sides are a twentieth to two fifths of the image's.
    fn targets(&self) -> Vec<Target> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let Head::MaskRcnn(head) = &self.recipe.head;
        (0..self.setting.batch)
            .map(|_| {
                let mut target = Target::default();
                for _ in 0..OBJECTS {
                    let [height, width] = self
                        .setting
                        .size
                        .map(|side| ((side as f64 * rng.random_range(0.05..0.4)) as usize).max(2));
                    let y0 = rng.random_range(0..=self.setting.size[0] - height);
                    let x0 = rng.random_range(0..=self.setting.size[1] - width);
                    target.boxes.push([x0, y0, x0 + width, y0 + height].map(|side| side as f32));
                    target.labels.push(rng.random_range(0..head.num_classes));
                    target.masks.push(ellipse(self.setting.size, [y0, x0], [height, width]));
                }
                target
            })
            .collect()
    }

    /// How many regions of each image the mask head is trained on.
    fn mask_positives(
        &self,
        detector: Option<&Detector>,
        images: &Tensor<4>,
        targets: &[Target],
    ) -> Vec<usize> {
        let Some(detector) = detector else { return Vec::new() };
        let Head::MaskRcnn(head) = &self.recipe.head;
        let config = head.config();
        let proposals = detector.heads.propose(detector.backbone.forward(images.clone()), &self.sizes());
        let coder = BoxCoder { stds: config.roi_delta_stds };
        let positives = proposals.iter().zip(targets).map(|(proposals, target)| {
            let boxes: Vec<[f32; 4]> = proposals.iter().map(|proposal| proposal.bbox).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let (assigner, sampler) = (&config.roi_assigner, &config.roi_sampler);
            RoiTargets::new(&boxes, target, assigner, sampler, &coder, &mut rng).positive.len()
        });
        positives.collect()
    }
}

/// How often a random network is sharpened at most.
const SHARPENINGS: usize = 40;

/// The detector with larger weights in its classifier.
fn sharpened(detector: Detector) -> Result<Detector> {
    const PATH: &str = "heads.bbox_head.fc_cls.weight";
    const FACTOR: f32 = 1.5;
    let mut weight = None;
    params::read_each(&detector, &mut |path, data| {
        if path == PATH {
            weight = Some(data);
        }
        Ok(())
    })?;
    params::replace_each(detector, &mut |path, _| {
        let data = weight.clone().filter(|_| path == PATH);
        Ok(data.map(|data| {
            let shape = data.shape().to_vec();
            let values = data.iter::<f32>().map(|value| FACTOR * value).collect::<Vec<f32>>();
            TensorData::new(values, shape)
        }))
    })
}

fn ellipse(
    [frame_height, frame_width]: [usize; 2],
    [y0, x0]: [usize; 2],
    [height, width]: [usize; 2],
) -> TargetMask {
    let from_centre = |at: usize, side: usize| (2.0 * at as f64 + 1.0 - side as f64) / side as f64;
    let is_inside = |row: usize, column: usize| {
        from_centre(row, height).powi(2) + from_centre(column, width).powi(2) <= 1.0
    };
    let pixels = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
    let pixels = pixels.map(|(row, column)| u8::from(is_inside(row, column))).collect();
    TargetMask { frame_width, frame_height, x0, y0, width, height, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipse_fills_its_box_but_for_the_corners() {
        let mask = ellipse([20, 30], [2, 3], [10, 12]);
        assert_eq!((mask.pixels[0], mask.pixels[5 * 12 + 6]), (0, 1));
        let share = mask.pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / 120.0;
        assert!((share - std::f64::consts::FRAC_PI_4).abs() < 0.05, "{share}");
    }
}
