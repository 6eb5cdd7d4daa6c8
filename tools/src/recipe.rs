//! What a person writes to describe one run: model, data, training, evaluation, expectation.
//!
//! A recipe is complete: nothing that changes a result has a default, so two recipes differ in
//! what their text differs in. Where a key may be left out, its absence means that the thing
//! itself is absent (no clipping, no class subset), never "the usual value". Choices are enums
//! whose names are the keys (`[data.shapes]`), so that a typo is met by the list of what exists.
//!
//! A recipe may name another as its `base` and hold only what differs: tables merge, values and lists replace, and of a
//! choice (`decay = { cosine = { .. } }`) another variant replaces all that the base says of it. Beside `base`, `without =
//! ["train.ema"]` lists entries that are taken out of the base before anything merges.
//!
//! Paths are relative to the folder the command is started in, as on any command line, or start
//! with `$CVX_DATA/`, which stands for the value of that environment variable.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::precision::Precision;

mod file;

mod bases;
mod overrides;
mod without;

mod dump;
mod fault;
mod layered;
mod source;

mod model;
pub(crate) mod plan;
pub(crate) mod training;
mod transform;

mod bridge;
pub(crate) mod checks;
pub(crate) mod paths;

pub use self::file::{Kind, Resolved, load, resolve};
pub use self::model::{
    Backbone, BoxRegression, CustomBackbone, Head, Init, MaskRcnn, Model, Nms, Roi, Rpn, Test, Version,
    WeightsFile,
};
pub use self::paths::resolve as resolve_path;
pub(crate) use self::plan::Plan;
pub use self::training::{
    Adamw, Decay, EarlyStop, Ema, LayerDecay, Optimizer, Schedule, Train, WeightDecaySpares,
};
pub use self::transform::{EmptyCrop, TransformRecipe};

/// One run, as written in a TOML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides initial weights, sample order, augmentation, drop path and sampling.
    pub seed: u64,
    /// What a GPU computes products in; absent: in f32.
    pub precision: Option<Precision>,
    /// Where the run is written.
    pub run: Run,
    /// Images and their truth.
    pub data: Data,
    /// How pixels become numbers.
    pub input: Input,
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
    /// What the judgement should be, by metric name (`box/ap`, `mask/ap50`, ..).
    pub expect: Option<BTreeMap<String, Expectation>>,
}

/// Where the run is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The run folder; created when absent.
    pub folder: PathBuf,
}

/// Where images and truth come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Data {
    /// Files in COCO format.
    Coco(CocoData),
    /// Generated images of textured, overlapping shapes.
    Shapes(ShapesData),
}

/// Files in COCO format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CocoData {
    /// Truth to train on.
    pub train_annotations: String,
    /// Folder of the images that `train_annotations` names.
    pub train_images: String,
    /// Truth to evaluate on.
    pub val_annotations: String,
    /// Folder of the images that `val_annotations` names.
    pub val_images: String,
    /// The classes to keep; absent: all that the files list. The model counts classes in the order
    /// of their category ids either way.
    pub classes: Option<Vec<String>>,
    /// Keep only so many images at the head of each file; absent: all.
    pub first_images: Option<usize>,
}

/// Generated images of textured, overlapping shapes, written once in COCO format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapesData {
    /// Folder the images and the two json files are written to.
    pub folder: String,
    /// Decides every pixel.
    pub seed: u64,
    /// Number of images to train on.
    pub train_images: usize,
    /// Number of images to evaluate on.
    pub val_images: usize,
    /// Longer side of an image, 64 to 2048 pixels; the shorter one varies from 3/4 of it up.
    pub long_side: u32,
}

/// How pixels become numbers: `(value - mean) / std`, channels in the order red, green, blue,
/// values 0 to 255.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Each channel is divided by it.
    pub std: [f32; 3],
    /// Height and width are padded with zeros, after the normalisation, to a multiple of it.
    pub pad_multiple: usize,
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
    /// Images are scaled, keeping their ratio, so that the shorter side reaches this ..
    pub short_side: u32,
    /// .. unless the longer side would pass this, pixels.
    pub long_side: u32,
    /// The metric whose highest value decides which checkpoint is the best.
    pub best_by: String,
    /// Whether every evaluation records in TensorBoard how weights and gradients are spread. No effect on results.
    #[serde(default)]
    pub histograms: bool,
}

/// What one metric should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Expectation {
    /// This or more.
    AtLeast(f64),
    /// No further than `tolerance` from `value`, either way.
    Within {
        /// The published or measured figure.
        value: f64,
        /// Allowed distance, inclusive.
        tolerance: f64,
    },
}

impl Recipe {
    /// What it says of the run.
    pub(crate) fn plan(&self) -> Plan<'_> {
        let evaluate_every = (self.evaluate.every_epochs, self.evaluate.every_steps);
        self.train.plan(self.seed, evaluate_every, &self.evaluate.best_by, (&self.optimizer, &self.schedule))
    }
}
