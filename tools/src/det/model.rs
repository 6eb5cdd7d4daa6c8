//! The detector: backbone and heads as one module, and what a checkpoint says of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::prelude::*;
use cvx_backbone::ConvNext;
use cvx_heads::{Detection, ImageSize, MaskRcnn, Target};
use serde::{Deserialize, Serialize};

use crate::initial;
use crate::recipe::{self, Head, Input, Kind as _, Recipe, checks};
use crate::train::checkpoint::{Checkpoint, Description};
use crate::train::params::{self, ParamInfo};
use crate::weights::model::{Model, Part};
use crate::weights::{self, Published};

/// Backbone and heads. Parameter paths begin with `backbone.` and `heads.`.
#[derive(Module, Debug)]
pub struct Detector {
    /// Images in, four feature maps out.
    pub backbone: ConvNext,
    /// Feature maps in, losses or detections out.
    pub heads: MaskRcnn,
}

/// What builds a [`Detector`]; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The backbone.
    pub model: recipe::Model,
    /// What stands on it.
    pub head: Head,
}

/// How an image becomes the network's input; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Normalisation and padding.
    pub input: Input,
    /// Images are scaled so that the shorter side reaches this, input pixels ..
    pub short_side: u32,
    /// .. unless the longer side would pass this.
    pub long_side: u32,
}

impl Architecture {
    /// The architecture a recipe asks for.
    pub fn of(recipe: &Recipe) -> Self {
        Self { model: recipe.model.clone(), head: recipe.head.clone() }
    }

    /// A detector with random weights on `device`; seed the device before.
    pub fn init(&self, device: &Device) -> Detector {
        let Head::MaskRcnn(head) = &self.head;
        let backbone = self.model.config();
        let mut heads = head.config().init(&backbone.feature_specs(), device);
        heads.detection = head.test.config();
        Detector { backbone: backbone.init(device), heads }
    }

    /// Classes, background not counted.
    pub fn num_classes(&self) -> usize {
        let Head::MaskRcnn(head) = &self.head;
        head.num_classes
    }

    /// Probability from which on a pixel belongs to a mask.
    pub fn mask_threshold(&self) -> f32 {
        let Head::MaskRcnn(head) = &self.head;
        head.test.mask_threshold
    }
}

impl Preprocessing {
    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { input, short_side, long_side } = self;
        checks::check_input(input)?;
        checks::check_sides("", *short_side, *long_side)
    }

    /// The preprocessing a recipe evaluates with.
    pub fn of(recipe: &Recipe) -> Self {
        Self {
            input: recipe.input.clone(),
            short_side: recipe.evaluate.short_side,
            long_side: recipe.evaluate.long_side,
        }
    }
}

impl Detector {
    /// The losses of a batch by name, in the order in which they are shown.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`
    /// - `targets`, `sizes`: one an image
    /// - output: `[1]` each
    pub fn losses(
        &self,
        images: Tensor<4>,
        targets: &[Target],
        sizes: &[ImageSize],
        sampling_seed: u64,
    ) -> Vec<(&'static str, Tensor<1>)> {
        let maps = self.backbone.forward(images);
        let losses = self.heads.losses(maps, targets, sizes, sampling_seed);
        let cvx_heads::MaskRcnnLosses { rpn_cls, rpn_bbox, cls, bbox, mask } = losses;
        vec![("rpn_cls", rpn_cls), ("rpn_bbox", rpn_bbox), ("cls", cls), ("bbox", bbox), ("mask", mask)]
    }

    /// The detections in each image, best first, in input pixels.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`
    /// - `sizes`: one an image
    pub fn detect(&self, images: Tensor<4>, sizes: &[ImageSize]) -> Vec<Vec<Detection>> {
        self.heads.detect(self.backbone.forward(images), sizes)
    }
}

/// What a checkpoint of this recipe's model says of it.
pub(super) fn describe(recipe: &Recipe, classes: &[String]) -> Result<Description> {
    Ok(Description {
        architecture: serde_json::to_value(Architecture::of(recipe))?,
        classes: classes.to_vec(),
        preprocessing: serde_json::to_value(Preprocessing::of(recipe))?,
        recipe: recipe.to_toml()?,
    })
}

/// Entries of an architecture that weights do not depend on: where they came from, and what only training or the
/// choice among proposals and detections looks at.
const FREE_ENTRIES: [&str; 15] = [
    "model.init",
    "model.drop_path_rate",
    "model.layer_scale_init",
    "head.mask-rcnn.rpn.samples_per_image",
    "head.mask-rcnn.rpn.positive_fraction",
    "head.mask-rcnn.rpn.positive_iou",
    "head.mask-rcnn.rpn.negative_iou",
    "head.mask-rcnn.rpn.low_quality_iou",
    "head.mask-rcnn.rpn.train_pre_nms_per_level",
    "head.mask-rcnn.rpn.train_proposals_per_image",
    "head.mask-rcnn.rpn.test_pre_nms_per_level",
    "head.mask-rcnn.rpn.test_proposals_per_image",
    "head.mask-rcnn.rpn.nms_iou",
    "head.mask-rcnn.roi",
    "head.mask-rcnn.test",
];

/// Refuses a checkpoint whose weights mean something else in the recipe's network: other anchors or other
/// normalisation have the same shapes, and give wrong numbers without a word. What stands in `free` may differ.
pub(super) fn expect_recipe(checkpoint: &Checkpoint, recipe: &Recipe, free: &[&str]) -> Result<()> {
    let Described { architecture, preprocessing } = Described::of(checkpoint)?;
    expect_same(&checkpoint.path, &architecture, &preprocessing.input, recipe, free)
}

/// As [`expect_recipe`], of published weights as far as their file tells what they mean.
pub(super) fn expect_recipe_of(published: &Published, recipe: &Recipe, free: &[&str]) -> Result<()> {
    let Some((architecture, preprocessing)) = weights::describe::told(published)? else { return Ok(()) };
    let path = &published.source.path;
    let weights::model::Architecture::Detector(architecture) = architecture else {
        bail!("{}: holds a model, but not of a detector", path.display());
    };
    let preprocessing: Preprocessing = serde_json::from_value(preprocessing)?;
    // Its shapes tell the backbone, under whatever name a recipe has for it.
    let free = [&["model"], free].concat();
    expect_same(path, &architecture, &preprocessing.input, recipe, &free)
}

fn expect_same(
    path: &Path,
    architecture: &Architecture,
    input: &Input,
    recipe: &Recipe,
    free: &[&str],
) -> Result<()> {
    let theirs =
        [serde_json::to_value(architecture)?, serde_json::json!({ "input": serde_json::to_value(input)? })];
    let ours = [
        serde_json::to_value(Architecture::of(recipe))?,
        serde_json::json!({ "input": serde_json::to_value(&recipe.input)? }),
    ];
    let free = [&FREE_ENTRIES, free].concat();
    theirs.iter().zip(&ours).try_for_each(|(theirs, ours)| initial::expect_same(path, theirs, ours, &free))
}

/// What a checkpoint says of its detector.
struct Described {
    architecture: Architecture,
    preprocessing: Preprocessing,
}

impl Described {
    fn of(checkpoint: &Checkpoint) -> Result<Self> {
        let foreign = || format!("{} is a checkpoint, but not of a detector", checkpoint.path.display());
        let Description { architecture, classes: _, preprocessing, recipe: _ } =
            checkpoint.description.clone();
        Ok(Self {
            architecture: serde_json::from_value(architecture).with_context(foreign)?,
            preprocessing: serde_json::from_value(preprocessing).with_context(foreign)?,
        })
    }
}

/// A detector read for inference.
#[derive(Debug)]
pub struct Trained {
    /// With the file's weights.
    pub detector: Detector,
    /// What it was built from.
    pub architecture: Architecture,
    /// How images become its input.
    pub preprocessing: Preprocessing,
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// What a person should know of the file, a line each.
    pub remarks: Vec<String>,
}

/// Reads a detector from a checkpoint or from published weights, onto a device without autodiff.
pub fn load(path: &Path, device: &Device) -> Result<Trained> {
    let (model, remarks) = Model::open(path, None, Part::Whole)?;
    let Model { architecture: weights::model::Architecture::Detector(architecture), classes, .. } = &model
    else {
        bail!("{}: holds a model, but not of a detector", path.display());
    };
    if classes.len() != architecture.num_classes() {
        bail!(
            "{}: the model has {} classes, {} are named",
            path.display(),
            architecture.num_classes(),
            classes.len()
        );
    }
    let preprocessing = serde_json::from_value(model.preprocessing.clone())
        .with_context(|| format!("{}: a detector whose preprocessing is not described", path.display()))?;
    let detector = params::replace_each(architecture.init(device), &mut |path, shape| {
        model.read(&ParamInfo { path: path.to_owned(), shape: shape.to_vec() }).map(Some)
    })?;
    let (architecture, classes) = (Architecture::clone(architecture), classes.clone());
    Ok(Trained { detector, architecture, preprocessing, classes, remarks })
}
