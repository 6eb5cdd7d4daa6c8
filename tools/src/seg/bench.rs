//! `cvx-seg info --bench`: how fast a recipe's network runs on this machine.
//!
//! Inference goes from normalised pixels to the best class of every pixel, the image seen at once. A training step is the
//! losses of both heads on invented labels, backward and AdamW; it takes two images or more.

use std::hint::black_box;
use std::iter;

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::TensorData;
use cvx_heads::{Mirroring, Mosaic, Wanted, classify_rows};
use serde_json::Value;

use super::initial::random;
use super::recipe::{Head, Recipe};
use crate::bench::Setting;
use crate::recipe::Optimizer;
use crate::train::adamw::AdamW;
use crate::train::clip::ParamGradients;
use crate::train::groups::ParamGroups;
use crate::train::params;

/// Side of the squares of one class that invented labels are made of, pixels.
const SQUARE: usize = 8;

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
        let device = &self.setting.device;
        device.seed(0);
        let segmentor = random(self.recipe, device);
        let images = self.setting.images(device);
        let size @ [height, width] = self.setting.size;
        self.setting.measure(|| {
            let logits = segmentor.segment(images.clone());
            for image in 0..self.setting.batch {
                let whole = |side: usize| iter::once(0..side).collect();
                let mut mosaic = Mosaic::new(whole(height), whole(width), size, Mirroring::None);
                mosaic.advance(size, &(0..height), &mut |_, _| logits.clone().slice(s![image..image + 1]));
                black_box(classify_rows(&[mosaic], size, 0..height, Wanted::Classes));
            }
        })
    }

    /// Nothing of a single image: batch normalisation needs two.
    fn training_step(&self) -> Result<Value> {
        if self.setting.batch < 2 {
            return Ok(Value::Null);
        }
        let device = self.setting.device.clone().autodiff();
        device.seed(0);
        let mut begun = random(self.recipe, &device);
        begun.backbone = begun.backbone.recomputing(&self.recipe.train.recompute_stages);
        let mut segmentor = Some(begun);
        let (images, labels) = (self.setting.images(&device), self.labels(&device));
        let Optimizer::Adamw(adamw) = &self.recipe.optimizer;
        let params = params::trained(segmentor.as_ref().unwrap_or_else(|| unreachable!("it was just made")));
        let groups = ParamGroups::new(&params, adamw.layer_decay(), adamw.weight_decay())?;
        let mut optimizer = AdamW::new(adamw.config(), groups);
        self.setting.measure(|| {
            let before = segmentor.take().unwrap_or_else(|| unreachable!("every step puts one back"));
            let loss = before.losses(images.clone(), labels.clone()).total();
            let gradients = ParamGradients::collect(&before, loss.backward());
            segmentor = Some(optimizer.step(before, gradients, adamw.lr, 1.0));
        })
    }

    fn labels(&self, device: &Device) -> Tensor<3, Int> {
        let Head::Upernet(head) = &self.recipe.head;
        let [height, width] = self.setting.size;
        let pixels =
            (0..self.setting.batch * height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let square = |(row, column): (usize, usize)| row / SQUARE * width.div_ceil(SQUARE) + column / SQUARE;
        let labels: Vec<i32> = pixels.map(|pixel| (square(pixel) % head.num_classes) as i32).collect();
        Tensor::from_data(TensorData::new(labels, [self.setting.batch, height, width]), device)
    }
}
