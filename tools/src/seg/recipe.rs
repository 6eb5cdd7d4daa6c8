//! The recipe of a segmentor: what `cvx-seg` reads. Model, training, optimizer and schedule are written as in a
//! detector's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::inference::{Look, Window};
use crate::precision::Precision;
use crate::recipe::{Expectation, Input, Model, Optimizer, Plan, Run, Schedule, ShapesData, Train};

mod bridge;
mod checks;

pub(crate) use self::bridge::palette_of;

/// One run, as written in a TOML file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Decides initial weights, sample order, augmentation, drop path and dropout.
    pub seed: u64,
    /// What a GPU computes products in; absent: in f32.
    pub precision: Option<Precision>,
    /// Where the run is written.
    pub run: Run,
    /// Images and their truth.
    pub data: Data,
    /// How pixels become numbers. Training batches are padded to the size of their crop, if there is one.
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
    /// What the judgement should be, by metric name (`miou`, `iou/car`, ..).
    pub expect: Option<BTreeMap<String, Expectation>>,
}

/// Where images and truth come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "a recipe has one")]
pub enum Data {
    /// Folders of images beside folders of label images of the same names, as ADE20K, CamVid, Cityscapes, PASCAL VOC and
    /// COCO-Stuff have.
    Folders(FolderData),
    /// Generated images of textured, overlapping shapes before a background; five classes.
    Shapes(ShapesData),
}

/// Folders of images beside folders of label images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderData {
    /// Images to train on.
    pub train_images: String,
    /// Their labels.
    pub train_labels: String,
    /// A text file that names those to train on, one a line; absent: all.
    pub train_list: Option<String>,
    /// Images to evaluate on.
    pub val_images: String,
    /// Their labels.
    pub val_labels: String,
    /// A text file that names those to evaluate on, one a line; absent: all.
    pub val_list: Option<String>,
    /// Endings of image files; absent: `.jpg`, `.jpeg`, `.png`.
    pub image_suffixes: Option<Vec<String>>,
    /// Ending of label files; absent: `.png`. Cityscapes' is `_gtFine_labelTrainIds.png`.
    pub label_suffix: Option<String>,
    /// The classes, in the order of their indices.
    pub classes: Classes,
    /// Red, green and blue in which each class is shown; absent: the data set's own, or PASCAL VOC's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colors: Option<Vec<[u8; 3]>>,
    /// What the values of label images mean.
    pub labels: Labels,
    /// Keep only so many images at the head of each half, by name; absent: all.
    pub first_images: Option<usize>,
}

/// The classes, in the order of their indices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Classes {
    /// The 150 of ADE20K's scene parsing challenge.
    Ade20k,
    /// The background and 20 classes of PASCAL VOC.
    Voc,
    /// The 19 of Cityscapes.
    Cityscapes,
    /// By name.
    Named(Vec<String>),
}

/// What the values of label images mean. 255 is ignored unless it is a class's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Labels {
    /// Class indices.
    Index {
        /// What 0 means.
        zero: Zero,
        /// Values that are ignored besides 255, before any shift.
        ignored: Vec<u8>,
    },
    /// A value of its own for each class, as 0 and 255 in binary masks.
    Values {
        /// In the order of the classes.
        values: Vec<u8>,
        /// Values that are ignored.
        ignored: Vec<u8>,
    },
    /// A colour of its own for each class.
    Palette {
        /// Red, green, blue, in the order of the classes.
        colors: Vec<[u8; 3]>,
        /// Colours that are ignored.
        ignored: Vec<[u8; 3]>,
    },
}

/// What 0 means in a label image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Zero {
    /// The first class.
    Class,
    /// Nothing; 1 is the first class (ADE20K, mmseg's `reduce_zero_label`).
    Ignored,
}

/// What stands on the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// UPerNet with, if wanted, an auxiliary head.
    Upernet(Upernet),
}

/// UPerNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upernet {
    /// Classes that a pixel may belong to; must equal what the data have.
    pub num_classes: usize,
    /// Channels of the decode head.
    pub channels: usize,
    /// Rows and columns of the grids that the coarsest map is averaged over.
    pub pool_scales: Vec<usize>,
    /// Probability with which a channel is left out before classification, in both heads.
    pub dropout: f64,
    /// The head on stride 16 that only helps to train; absent: none.
    pub auxiliary: Option<Auxiliary>,
    /// What is minimised, of both heads.
    pub loss: Loss,
}

/// The head that only helps to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// Channels of its hidden layers.
    pub channels: usize,
    /// How many hidden layers.
    pub num_convs: usize,
    /// What its loss is multiplied by.
    pub loss_weight: f64,
}

/// What is minimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Weight of the cross-entropy.
    pub cross_entropy: f64,
    /// What the cross-entropy is averaged over, where no class has a weight of its own.
    pub mean_over: MeanOver,
    /// A factor for each class, on cross-entropy and Lovasz; absent: all alike.
    pub class_weights: Option<Vec<f32>>,
    /// Weight of the Dice loss; absent: none.
    pub dice: Option<f64>,
    /// Weight of the Lovasz-softmax loss; absent: none.
    pub lovasz: Option<f64>,
}

/// What the cross-entropy is averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MeanOver {
    /// All pixels, ignored ones too (mmseg's default).
    AllPixels,
    /// Those that are not ignored.
    LabelledPixels,
}

/// How the model is judged, image by image, each at its own size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Evaluate after every so many epochs, and after the last. `every_steps` goes before.
    pub every_epochs: Option<usize>,
    /// Evaluate after every so many steps, and after the last, whatever `every_epochs` is.
    pub every_steps: Option<usize>,
    /// Images are scaled, keeping their ratio, so that the shorter side reaches this ..
    pub short_side: u32,
    /// .. unless the longer side would pass this, pixels.
    pub long_side: u32,
    /// How much of an image the network sees at once.
    pub window: Window,
    /// Test-time augmentation: the image is looked at with both sides times each of these, and the probabilities are
    /// averaged; `[1.0]`: once.
    pub scales: Vec<f64>,
    /// Whether it is each time also looked at with left and right exchanged.
    pub flip: bool,
    /// By whose rules figures are averaged.
    pub convention: Convention,
    /// The metric whose highest value decides which checkpoint is the best.
    pub best_by: String,
    /// Whether every evaluation records in TensorBoard how weights and gradients are spread. No effect on results.
    #[serde(default)]
    pub histograms: bool,
}

/// By whose rules figures are averaged over the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Convention {
    /// Classes that neither occur nor are predicted are left out: mmseg, Hugging Face.
    Mmseg,
    /// They count as 0: ADE20K's scene parsing toolkit.
    Ade,
    /// Classes that do not occur are left out, predicted or not: Detectron2.
    Detectron2,
    /// Classes that are predicted but do not occur count as 0: torchmetrics.
    Torchmetrics,
}

impl Evaluate {
    /// How each image is looked at.
    pub fn look(&self) -> Look {
        Look { window: self.window, scales: self.scales.clone(), flip: self.flip }
    }
}

impl Recipe {
    /// What it says of the run.
    pub(crate) fn plan(&self) -> Plan<'_> {
        let evaluate_every = (self.evaluate.every_epochs, self.evaluate.every_steps);
        self.train.plan(self.seed, evaluate_every, &self.evaluate.best_by, (&self.optimizer, &self.schedule))
    }
}
