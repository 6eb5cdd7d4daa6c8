//! The recipe of a classifier: what `cvx-cls train` reads. Model, optimizer and schedule are written as in a detector's.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::judge;
use crate::classify::Preprocessing;
use crate::precision::Precision;
use crate::recipe::training::usual_checkpoints;
use crate::recipe::{EarlyStop, Ema, Expectation, Init, Kind, Model, Optimizer, Plan, Run, Schedule, checks};

/// One run, as written in a TOML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides initial weights, sample order, augmentation, mixing and drop path.
    pub seed: u64,
    /// What a GPU computes products in; absent: in f32.
    pub precision: Option<Precision>,
    /// Where the run is written.
    pub run: Run,
    /// Images and their classes.
    pub data: Data,
    /// How images become the network's input, where it is judged. In training, its size and normalisation hold.
    pub input: Preprocessing,
    /// The backbone.
    pub model: Model,
    /// What stands on the backbone.
    pub head: Head,
    /// The training loop.
    pub train: Train,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// How the model is judged.
    pub evaluate: Evaluate,
    /// What the judgement should be, by metric name (`top1`).
    pub expect: Option<BTreeMap<String, Expectation>>,
}

/// Folders that hold a folder of images for each class, named alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// To learn from.
    pub train: String,
    /// To be judged by.
    pub val: String,
    /// So many images to learn from may be unreadable, and are left out; one more ends the run. To judge, all must be
    /// readable.
    pub most_unreadable: usize,
}

/// What stands on the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Classes; must equal the number of folders.
    pub num_classes: usize,
    /// The last layer's first weights are multiplied by it: 0.001 in ConvNeXt V2's fine-tuning, else 1.
    pub init_scale: f64,
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Times every image is seen.
    pub epochs: usize,
    /// Images whose gradients make one update.
    pub batch_size: usize,
    /// Parts a batch is split into, one after the other, to save memory. Images are mixed within a part.
    pub accumulation_steps: usize,
    /// The optimizer's rate is for a batch of so many images, and is scaled in proportion: 256 in the paper.
    pub lr_batch_size: usize,
    /// Upper bound of the gradient's global L2 norm; absent: not clipped.
    pub max_grad_norm: Option<f64>,
    /// An average of the weights that is judged and kept in their place; absent: none.
    pub ema: Option<Ema>,
    /// Parts that stay as they begin, as their parameters' paths begin: `backbone.stages.0`; absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// When to end before all epochs are done; absent: never.
    pub early_stop: Option<EarlyStop>,
    /// Stages of the backbone (0 to 3) that hold no inner values of their blocks until the backward pass, but compute them
    /// once more: less memory for more time, on a CPU. Absent: none. No effect on results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recompute_stages: Vec<usize>,
    /// Smallest and largest share of an image's area that is cut out.
    pub crop_scale: [f64; 2],
    /// Smallest and largest width over height of what is cut out.
    pub crop_ratio: [f64; 2],
    /// Share of the images that is mirrored.
    pub flip: f64,
    /// Operations that are drawn for each image, after it was cut out and mirrored; absent: none.
    pub rand_augment: Option<RandAugment>,
    /// Share of the images a rectangle of which becomes noise.
    pub erase: f64,
    /// How two images become one, and their classes with them.
    pub mix: Mix,
    /// Share of the truth that is spread over all classes.
    pub label_smoothing: f64,
    /// Threads that read and transform images; 0: the training thread does. No effect on results.
    pub workers: usize,
    /// `checkpoints/last` is written every so many steps, and after every epoch. No effect on results.
    pub checkpoint_every_steps: usize,
    /// So many of the newest checkpoints are kept, `last` among them: a damaged one is replaced by the one before.
    /// Absent: 2. No effect on results.
    #[serde(default = "usual_checkpoints")]
    pub keep_checkpoints: usize,
}

/// RandAugment as timm has it, its magnitudes increasing: `rand-m9-mstd0.5-inc1` is 2 layers, magnitude 9.0, deviation 0.5,
/// probability 0.5.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Operations that are drawn for an image.
    pub layers: usize,
    /// Mean of their magnitudes, 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of their magnitudes, which are cut off at 0 and 10.
    pub deviation: f64,
    /// How often an operation that was drawn is applied.
    pub probability: f64,
}

/// How two images become one: each batch by one of the two ways, drawn with equal chances where both are on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Weighted sum (mixup), the weight drawn from a beta distribution with this parameter twice; 0: off.
    pub mixup: f64,
    /// A rectangle of one in the other (cutmix), its share drawn likewise; 0: off.
    pub cutmix: f64,
}

/// How the model is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Evaluate after every so many epochs, and after the last. `every_steps` goes before.
    pub every_epochs: Option<usize>,
    /// Evaluate after every so many steps, and after the last, whatever `every_epochs` is.
    pub every_steps: Option<usize>,
    /// Images at a time. No effect on results beyond rounding.
    pub batch_size: usize,
    /// Whether every evaluation records in TensorBoard how weights and gradients are spread. No effect on results.
    #[serde(default)]
    pub histograms: bool,
}

impl Recipe {
    /// What it says of the run.
    pub(crate) fn plan(&self) -> Plan<'_> {
        Plan {
            seed: self.seed,
            epochs: self.train.epochs,
            batch_size: self.train.batch_size,
            accumulation_steps: self.train.accumulation_steps,
            lr_batch_size: Some(self.train.lr_batch_size),
            max_grad_norm: self.train.max_grad_norm,
            ema: self.train.ema,
            freeze: &self.train.freeze,
            early_stop: self.train.early_stop,
            recompute_stages: &self.train.recompute_stages,
            checkpoint_every_steps: self.train.checkpoint_every_steps,
            keep_checkpoints: self.train.keep_checkpoints,
            evaluate_every: (self.evaluate.every_epochs, self.evaluate.every_steps),
            best_by: judge::TOP1,
            optimizer: &self.optimizer,
            schedule: &self.schedule,
        }
    }
}

impl Kind for Recipe {
    fn check(&self) -> Result<()> {
        let Self {
            seed: _,
            precision: _,
            run,
            data: _,
            input,
            model,
            head,
            train,
            optimizer,
            schedule,
            evaluate,
            expect,
        } = self;
        ensure!(!run.folder.as_os_str().is_empty(), "run.folder = \"\": must name a folder");
        input.check()?;
        ensure!(
            input.size.is_multiple_of(32),
            "input.size = {}: must be a multiple of 32, the coarsest stride of the backbone",
            input.size
        );
        checks::check_model(model)?;
        match &model.init {
            Init::Random | Init::Backbone(_) => {}
            Init::Detector(_) | Init::Segmentor(_) => {
                bail!("model.init: a classifier begins with `random` or with a `backbone`")
            }
        }
        checks::length("head.num_classes", head.num_classes)?;
        checks::not_negative("head.init_scale", head.init_scale)?;
        train.check()?;
        checks::training::check_optimizer(optimizer, schedule)?;
        self.plan().check()?;
        checks::length("evaluate.batch_size", evaluate.batch_size)?;
        checks::check_expect(expect, judge::known_metric)
    }
}

impl Train {
    fn check(&self) -> Result<()> {
        checks::training::check_workers("train.workers", self.workers)?;
        checks::training::check_crop("train", self.crop_scale, self.crop_ratio)?;
        checks::share("train.flip", self.flip)?;
        checks::share("train.erase", self.erase)?;
        if let Some(RandAugment { layers, magnitude, deviation, probability }) = self.rand_augment {
            checks::positive("train.rand_augment.layers", layers)?;
            ensure!(
                (0.0..=10.0).contains(&magnitude),
                "train.rand_augment.magnitude = {magnitude}: must be from 0 to 10"
            );
            checks::not_negative("train.rand_augment.deviation", deviation)?;
            checks::share("train.rand_augment.probability", probability)?;
        }
        checks::not_negative("train.mix.mixup", self.mix.mixup)?;
        checks::not_negative("train.mix.cutmix", self.mix.cutmix)?;
        ensure!(
            (0.0..1.0).contains(&self.label_smoothing),
            "train.label_smoothing = {}: must be at least 0 and below 1",
            self.label_smoothing
        );
        Ok(())
    }
}
