//! A recipe's classifier: as it is before the first step, what its checkpoint says of it, and read again.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use burn::prelude::*;
use cvx_backbone::{Classifier, ClassifierConfig};
use serde_json::json;

use super::recipe::Recipe;
use crate::classify::{Architecture, Head, Preprocessing};
use crate::initial::{checkpoint, expect_same, from_checkpoint, other_pixels, strictness};
use crate::recipe::{Init, Input, Kind as _, WeightsFile, paths};
use crate::train::checkpoint::{Checkpoint, Description};
use crate::train::params::{self, ParamInfo};
use crate::weights::model::{Alone, Model, Part};
use crate::weights::{self, Published};

/// Entries of an architecture that weights do not depend on.
const FREE_ENTRIES: [&str; 3] = ["model.init", "model.drop_path_rate", "model.layer_scale_init"];

/// The architecture a recipe asks for.
pub(super) fn architecture(recipe: &Recipe) -> Architecture {
    Architecture { model: recipe.model.clone(), classifier: Head { num_classes: recipe.head.num_classes } }
}

/// What a checkpoint of this recipe's model says of it.
pub(super) fn describe(recipe: &Recipe, classes: &[String]) -> Result<Description> {
    Ok(Description {
        architecture: serde_json::to_value(architecture(recipe))?,
        classes: classes.to_vec(),
        preprocessing: serde_json::to_value(&recipe.input)?,
        recipe: recipe.to_toml()?,
    })
}

/// Refuses a checkpoint whose weights mean something else in the recipe's network.
pub(super) fn expect_recipe(checkpoint: &Checkpoint, recipe: &Recipe) -> Result<()> {
    let Description { architecture: mut theirs, preprocessing, .. } = checkpoint.description.clone();
    let mut ours = serde_json::to_value(architecture(recipe))?;
    // Sizes and cuts may differ, and are what one compares; what a pixel's value means may not.
    theirs["input"] = json!({ "mean": preprocessing["mean"], "std": preprocessing["std"] });
    ours["input"] = json!({ "mean": recipe.input.mean, "std": recipe.input.std });
    expect_same(&checkpoint.path, &theirs, &ours, &FREE_ENTRIES)
}

/// The classifier, and what a person should know of its weights, a line each.
///
/// # Errors
/// If the recipe names a file that cannot be read, or does not fit.
pub(super) fn initial(recipe: &Recipe, device: &Device) -> Result<(Classifier, Vec<String>)> {
    device.seed(recipe.seed);
    let config = ClassifierConfig::new(recipe.model.config(), recipe.head.num_classes);
    let mut classifier = config.with_head_init_scale(recipe.head.init_scale).init(device);
    match &recipe.model.init {
        Init::Random => Ok((classifier, Vec::new())),
        Init::Detector(_) | Init::Segmentor(_) => {
            bail!("model.init: a classifier begins with `random` or with a `backbone`")
        }
        Init::Backbone(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.backbone", file)?;
            if let Some(checkpoint) = checkpoint(&path, key.as_deref())? {
                return from_checkpoint(&checkpoint, classifier, "backbone.", strictness(*strict));
            }
            let published = Published::open(&path, key.as_deref())?;
            let alone = Alone { backbone: classifier.backbone.clone() };
            let (alone, mut remarks) = weights::load(&published, alone, strictness(*strict))?;
            let Preprocessing { mean, std, .. } = recipe.input;
            remarks.extend(other_pixels(&published, &Input { mean, std, pad_multiple: 32 }));
            classifier.backbone = alone.backbone;
            Ok((classifier, remarks))
        }
    }
}

/// A classifier read for inference.
pub(super) struct Trained {
    pub(super) classifier: Classifier,
    pub(super) preprocessing: Preprocessing,
    /// By index; the index itself where the file does not say.
    pub(super) classes: Vec<String>,
    /// What a person should know of the file, a line each.
    pub(super) remarks: Vec<String>,
}

/// Reads a classifier from a checkpoint or from published weights, onto a device without autodiff.
///
/// # Errors
/// If the file cannot be read, or holds none.
pub(super) fn load(path: &Path, device: &Device) -> Result<Trained> {
    let (model, remarks) = Model::open(path, None, Part::Whole)?;
    let architecture = match &model.architecture {
        weights::model::Architecture::Classifier(architecture) if architecture.classifier.num_classes > 0 => {
            architecture.clone()
        }
        _ => bail!("{}: holds no classifier", path.display()),
    };
    let preprocessing = serde_json::from_value(model.preprocessing.clone())
        .with_context(|| format!("{}: a classifier whose preprocessing is not described", path.display()))?;
    let classifier = params::replace_each(architecture.init(device), &mut |path, shape| {
        model.read(&ParamInfo { path: path.to_owned(), shape: shape.to_vec() }).map(Some)
    })?;
    let mut classes = model.classes.clone();
    if classes.len() != architecture.classifier.num_classes {
        classes = (0..architecture.classifier.num_classes).map(|class| class.to_string()).collect();
    }
    Ok(Trained { classifier, preprocessing, classes, remarks })
}
