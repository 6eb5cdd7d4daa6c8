//! The recipe of a pretraining: what `cvx-pretrain train` reads. Model, optimizer and schedule are written as in a
//! detector's.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::judge;
use crate::precision::Precision;
use crate::recipe::training::usual_checkpoints;
use crate::recipe::{
    EarlyStop, Ema, Expectation, Init, Kind, Model, Optimizer, Plan, Run, Schedule, ShapesData, checks,
};

/// One run, as written in a TOML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides initial weights, sample order, augmentation and masks.
    pub seed: u64,
    /// What a GPU computes products in; absent: in f32.
    pub precision: Option<Precision>,
    /// Where the run is written.
    pub run: Run,
    /// Images.
    pub data: Data,
    /// How images become the network's input.
    pub input: Input,
    /// The encoder, which is what remains.
    pub model: Model,
    /// What is hidden from it, and what is to be made of the rest.
    pub autoencoder: Autoencoder,
    /// The training loop.
    pub train: Train,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// How the model is judged.
    pub evaluate: Evaluate,
    /// What the judgement should be, by metric name (`explained`).
    pub expect: Option<BTreeMap<String, Expectation>>,
}

/// Images to learn from, and images to be judged by. They need no truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Where they lie.
    pub source: Source,
    /// So many images may be unreadable, and are left out; one more ends the run.
    pub most_unreadable: usize,
}

/// Where images lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// Folders of JPEG and PNG files, at any depth.
    Folders(Halves),
    /// Tar files, or folders of tar files, in the layout of WebDataset.
    Shards(Halves),
    /// Generated images of textured, overlapping shapes.
    Shapes(ShapesData),
}

/// Where the two halves lie.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halves {
    /// To learn from.
    pub train: Vec<String>,
    /// To be judged by.
    pub val: Vec<String>,
}

/// How images become the network's input: `(value - mean) / std`, channels in the order red, green, blue, values 0 to
/// 255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Each channel is divided by it.
    pub std: [f32; 3],
    /// Side of the network's input, pixels: a multiple of 32.
    pub side: u32,
    /// Images are judged by their centre, cut out after the shorter side was resized to `side / crop_pct`.
    pub crop_pct: f64,
}

/// What is hidden, and what is to be made of the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoencoder {
    /// Share of the patches of 32 x 32 pixels that is hidden.
    pub mask_ratio: f64,
    /// How the encoder is kept from seeing them.
    pub masking: Masking,
    /// What is to be predicted of them.
    pub target: Target,
    /// Channels of the decoder.
    pub decoder_channels: usize,
    /// Blocks of the decoder.
    pub decoder_depth: usize,
}

/// How the encoder is kept from seeing hidden patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Masking {
    /// Only visible positions are computed.
    Sparse,
    /// All positions are computed and hidden ones set to zero: the same numbers, slower.
    Dense,
    /// The input alone is masked, and convolutions fill in what is hidden: an ablation.
    InputOnly,
}

/// What is to be predicted of a hidden patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    /// Its pixels, less their mean, over their deviation.
    Normalised,
    /// Its pixels.
    Raw,
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Times every image is seen.
    pub epochs: usize,
    /// Images whose gradients make one update.
    pub batch_size: usize,
    /// Parts a batch is split into, one after the other, to save memory.
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
    /// Threads that read and transform images; 0: the training thread does. No effect on results.
    pub workers: usize,
    /// `checkpoints/last` is written every so many steps, and after every epoch. No effect on results.
    pub checkpoint_every_steps: usize,
    /// So many of the newest checkpoints are kept, `last` among them: a damaged one is replaced by the one before.
    /// Absent: 2. No effect on results.
    #[serde(default = "usual_checkpoints")]
    pub keep_checkpoints: usize,
}

/// How the model is judged: by what it imagines of the same patches of the same images every time.
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
            best_by: judge::EXPLAINED,
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
            data,
            input,
            model,
            autoencoder,
            train,
            optimizer,
            schedule,
            evaluate,
            expect,
        } = self;
        ensure!(!run.folder.as_os_str().is_empty(), "run.folder = \"\": must name a folder");
        data.check()?;
        input.check()?;
        checks::check_model(model)?;
        match &model.init {
            Init::Random | Init::Backbone(_) => {}
            Init::Detector(_) | Init::Segmentor(_) => {
                bail!("model.init: pretraining begins with `random` or with a `backbone`")
            }
        }
        autoencoder.check()?;
        autoencoder.check_grid(input.side)?;
        train.check()?;
        checks::training::check_optimizer(optimizer, schedule)?;
        self.plan().check()?;
        checks::length("evaluate.batch_size", evaluate.batch_size)?;
        checks::check_expect(expect, judge::known_metric)
    }
}

impl Data {
    fn check(&self) -> Result<()> {
        let halves = match &self.source {
            Source::Folders(halves) => ("folders", halves),
            Source::Shards(halves) => ("shards", halves),
            Source::Shapes(shapes) => return checks::check_shapes(shapes),
        };
        let (name, Halves { train, val }) = halves;
        checks::filled(&format!("data.source.{name}.train"), train)?;
        checks::filled(&format!("data.source.{name}.val"), val)
    }
}

impl Input {
    fn check(&self) -> Result<()> {
        let Self { mean, std, side, crop_pct } = self;
        checks::check_normalisation(mean, std)?;
        checks::length("input.side", *side as usize)?;
        ensure!(
            side.is_multiple_of(32),
            "input.side = {side}: must be a multiple of 32, the side of a patch"
        );
        ensure!(
            *crop_pct > 0.0 && *crop_pct <= 1.0,
            "input.crop_pct = {crop_pct}: must be above 0, and at most 1"
        );
        Ok(())
    }
}

impl Autoencoder {
    /// Refuses what cannot be, of a recipe or of a checkpoint.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { mask_ratio, masking: _, target: _, decoder_channels, decoder_depth } = self;
        ensure!(
            *mask_ratio > 0.0 && *mask_ratio < 1.0,
            "autoencoder.mask_ratio = {mask_ratio}: must be above 0 and below 1"
        );
        checks::length("autoencoder.decoder_channels", *decoder_channels)?;
        checks::within("autoencoder.decoder_depth", *decoder_depth, checks::DEEPEST)
    }

    /// Refuses a share that leaves an image of this side all visible or all hidden.
    ///
    /// # Errors
    /// If it does.
    pub fn check_grid(&self, side: u32) -> Result<()> {
        let patches = (side as usize / 32).pow(2);
        let visible = (patches as f64 * (1.0 - self.mask_ratio)) as usize;
        ensure!(
            visible > 0 && visible < patches,
            "autoencoder.mask_ratio = {}: leaves {visible} of the {patches} patches of a {side} x {side} image visible; \
             some must be visible and some hidden",
            self.mask_ratio
        );
        Ok(())
    }
}

impl Train {
    fn check(&self) -> Result<()> {
        checks::training::check_workers("train.workers", self.workers)?;
        checks::training::check_crop("train", self.crop_scale, self.crop_ratio)?;
        checks::share("train.flip", self.flip)
    }
}
