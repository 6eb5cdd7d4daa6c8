//! The autoencoder as a recipe describes it, and what a checkpoint says of it.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use burn::prelude::*;
use cvx_backbone::{Fcmae, FcmaeConfig, Mask, PATCH, PatchTarget};
use serde::{Deserialize, Serialize};

use super::recipe::{Autoencoder, Masking, Recipe, Target};
use crate::classify::{Interpolation, Preprocessing};
use crate::recipe::{self, Kind as _};
use crate::train::checkpoint::Description;
use crate::train::params::{self, ParamInfo};
use crate::weights;
use crate::weights::model::{Model, Part};

/// What builds an [`Fcmae`]; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The encoder.
    pub model: recipe::Model,
    /// What is around it.
    pub autoencoder: Autoencoder,
}

impl Architecture {
    /// The architecture a recipe asks for.
    pub fn of(recipe: &Recipe) -> Self {
        Self { model: recipe.model.clone(), autoencoder: recipe.autoencoder.clone() }
    }

    /// An autoencoder with random weights on `device`; seed the device before.
    pub fn init(&self, device: &Device) -> Fcmae {
        let Autoencoder { mask_ratio: _, masking, target, decoder_channels, decoder_depth } =
            self.autoencoder.clone();
        FcmaeConfig::new(self.model.config())
            .with_decoder_channels(decoder_channels)
            .with_decoder_depth(decoder_depth)
            .with_target(match target {
                Target::Normalised => PatchTarget::Normalised,
                Target::Raw => PatchTarget::Raw,
            })
            .with_masking(match masking {
                Masking::Sparse => cvx_backbone::Masking::Sparse,
                Masking::Dense => cvx_backbone::Masking::Dense,
                Masking::InputOnly => cvx_backbone::Masking::InputOnly,
            })
            .init(device)
    }

    /// A mask for a batch of images of this side. Each image has a seed of its own, so that the batch it is in does not
    /// matter.
    pub fn mask(&self, side: u32, seeds: &[u64]) -> Mask {
        let grid = [side as usize / PATCH; 2];
        let of_image = |&seed: &u64| Mask::draw(1, grid, self.autoencoder.mask_ratio, seed);
        let hidden: Vec<bool> =
            seeds.iter().map(of_image).flat_map(|mask| mask.is_hidden().collect::<Vec<_>>()).collect();
        Mask::from_hidden(&hidden, grid)
    }
}

/// How an image becomes the input of the autoencoder that is judged or shown.
pub(super) fn preprocessing(recipe: &Recipe) -> Preprocessing {
    let super::recipe::Input { mean, std, side, crop_pct } = recipe.input;
    Preprocessing { mean, std, size: side, crop_pct, interpolation: Interpolation::Bicubic }
}

/// What a checkpoint of this recipe's model says of it.
pub(super) fn describe(recipe: &Recipe) -> Result<Description> {
    Ok(Description {
        architecture: serde_json::to_value(Architecture::of(recipe))?,
        classes: Vec::new(),
        preprocessing: serde_json::to_value(preprocessing(recipe))?,
        recipe: recipe.to_toml()?,
    })
}

/// An autoencoder read from a checkpoint.
#[derive(Debug)]
pub struct Trained {
    /// With the file's weights.
    pub fcmae: Fcmae,
    /// What it was built from.
    pub architecture: Architecture,
    /// How images become its input.
    pub preprocessing: Preprocessing,
}

/// Reads an autoencoder onto a device without autodiff.
///
/// # Errors
/// If the file is no checkpoint of one, or damaged.
pub fn load(path: &Path, device: &Device) -> Result<Trained> {
    let (model, _) = Model::open(path, None, Part::Whole)?;
    let Model { architecture: weights::model::Architecture::Autoencoder(architecture), .. } = &model else {
        bail!(
            "{}: holds no masked autoencoder as `cvx-pretrain train` saves it, decoder included",
            path.display()
        );
    };
    let preprocessing = serde_json::from_value(model.preprocessing.clone()).with_context(|| {
        format!("{}: an autoencoder whose preprocessing is not described", path.display())
    })?;
    let fcmae = params::replace_each(architecture.init(device), &mut |path, shape| {
        model.read(&ParamInfo { path: path.to_owned(), shape: shape.to_vec() }).map(Some)
    })?;
    Ok(Trained { fcmae, architecture: architecture.clone(), preprocessing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_an_image_does_not_depend_on_its_batch() {
        let architecture: Architecture = serde_json::from_value(serde_json::json!({
            "model": { "backbone": "v2-atto", "drop_path_rate": 0.0, "init": "random" },
            "autoencoder": {
                "mask_ratio": 0.6, "masking": "sparse", "target": "raw", "decoder_channels": 8, "decoder_depth": 1,
            },
        }))
        .expect("valid");
        let together: Vec<bool> = architecture.mask(64, &[5, 6]).is_hidden().collect();
        let apart = [5, 6].map(|seed| architecture.mask(64, &[seed]).is_hidden().collect::<Vec<_>>());
        assert_eq!(together, apart.concat());
    }
}
