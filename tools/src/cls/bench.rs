//! `cvx-cls info --bench`: how fast a classifier runs on this machine.
//!
//! Inference goes from normalised pixels to logits. A training step is the cross-entropy with invented classes, backward
//! and AdamW.

use std::hint::black_box;

use anyhow::Result;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::prelude::*;
use cvx_backbone::ClassifierConfig;
use serde_json::Value;

use crate::bench::Setting;
use crate::train::adamw::{AdamW, AdamWConfig};
use crate::train::clip::ParamGradients;
use crate::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use crate::train::params;

/// A usual learning rate and weight decay of fine-tuning; the speed does not depend on them.
const LEARNING_RATE: f64 = 1e-4;
const WEIGHT_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisBiasGammaBeta };

/// What is measured.
pub(super) struct Bench<'a> {
    pub(super) config: &'a ClassifierConfig,
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
        let classifier = self.config.init(device);
        let images = self.setting.images(device);
        self.setting.measure(|| {
            black_box(classifier.forward(images.clone()));
        })
    }

    fn training_step(&self) -> Result<Value> {
        let device = self.setting.device.clone().autodiff();
        device.seed(0);
        let mut classifier = Some(self.config.init(&device));
        let images = self.setting.images(&device);
        let (batch, classes) = (self.setting.batch, self.config.num_classes);
        let labels: Vec<i64> = (0..batch).map(|image| (image % classes) as i64).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::from(labels.as_slice()), &device);
        let params = params::trained(classifier.as_ref().unwrap_or_else(|| unreachable!("it was just made")));
        let groups = ParamGroups::new(&params, LayerDecay::None, WEIGHT_DECAY)?;
        let mut optimizer = AdamW::new(AdamWConfig::TORCH, groups);
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        self.setting.measure(|| {
            let before = classifier.take().unwrap_or_else(|| unreachable!("every step puts one back"));
            let loss = cross_entropy.forward(before.forward(images.clone()), labels.clone());
            let gradients = ParamGradients::collect(&before, loss.backward());
            classifier = Some(optimizer.step(before, gradients, LEARNING_RATE, 1.0));
        })
    }
}
