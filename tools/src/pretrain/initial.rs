//! A recipe's autoencoder as it is before the first step: drawn from the seed, or with an encoder of a file.

use anyhow::{Result, bail};
use burn::prelude::*;
use cvx_backbone::Fcmae;

use super::model::Architecture;
use super::recipe::Recipe;
use crate::initial::{checkpoint, from_checkpoint, other_pixels, strictness};
use crate::recipe::{self, Init, WeightsFile, paths};
use crate::weights::model::Alone;
use crate::weights::{self, Published};

/// The autoencoder, and what a person should know of its weights, a line each.
///
/// # Errors
/// If the recipe names a file that cannot be read, or does not fit.
pub(super) fn initial(recipe: &Recipe, device: &Device) -> Result<(Fcmae, Vec<String>)> {
    device.seed(recipe.seed);
    let mut fcmae = Architecture::of(recipe).init(device);
    match &recipe.model.init {
        Init::Random => Ok((fcmae, Vec::new())),
        Init::Detector(_) | Init::Segmentor(_) => {
            bail!("model.init: pretraining begins with `random` or with a `backbone`")
        }
        Init::Backbone(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.backbone", file)?;
            if let Some(checkpoint) = checkpoint(&path, key.as_deref())? {
                return from_checkpoint(&checkpoint, fcmae, "backbone.", strictness(*strict));
            }
            let published = Published::open(&path, key.as_deref())?;
            let backbone = fcmae.backbone.clone();
            let (alone, mut remarks) = weights::load(&published, Alone { backbone }, strictness(*strict))?;
            let (mean, std) = (recipe.input.mean, recipe.input.std);
            remarks.extend(other_pixels(&published, &recipe::Input { mean, std, pad_multiple: 32 }));
            fcmae.backbone = alone.backbone;
            Ok((fcmae, remarks))
        }
    }
}
