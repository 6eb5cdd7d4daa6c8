//! A recipe's segmentor as it is before the first step: drawn from the seed, or from a file of weights.

use anyhow::{Result, bail};
use burn::prelude::*;

use super::description::{expect_recipe, expect_recipe_of};
use super::model::Segmentor;
use super::recipe::{Head, Recipe};
use crate::initial::{checkpoint, expect_classes, from_checkpoint, other_pixels, strictness};
use crate::recipe::{Init, WeightsFile, paths};
use crate::weights::{self, Published};

/// The entry of an architecture that a file to start from may differ in: layers that depend on it are drawn afresh.
const NUM_CLASSES: &str = "upernet.num_classes";

/// A segmentor with random weights, which learns as the recipe says.
pub(super) fn random(recipe: &Recipe, device: &Device) -> Segmentor {
    let backbone = recipe.model.config();
    let Head::Upernet(head) = &recipe.head;
    Segmentor {
        heads: head.config().init(&backbone.feature_specs(), device),
        backbone: backbone.init(device),
    }
}

/// The segmentor, to tell `classes` apart, and what a person should know of its weights, a line each.
///
/// # Errors
/// If the recipe names a file that cannot be read, or does not fit.
pub(super) fn initial(
    recipe: &Recipe,
    classes: &[String],
    device: &Device,
) -> Result<(Segmentor, Vec<String>)> {
    device.seed(recipe.seed);
    let segmentor = random(recipe, device);
    match &recipe.model.init {
        Init::Random => Ok((segmentor, Vec::new())),
        Init::Detector(_) => bail!("model.init.detector: holds no segmentor"),
        Init::Segmentor(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.segmentor", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => {
                    if *strict {
                        expect_recipe(&checkpoint, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, Some(&checkpoint.description.classes), classes)?;
                    from_checkpoint(&checkpoint, segmentor, "", strictness(*strict))
                }
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    if *strict {
                        expect_recipe_of(&published, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, published.source.told.classes.as_ref(), classes)?;
                    let (segmentor, mut remarks) = weights::load(&published, segmentor, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, &recipe.input));
                    Ok((segmentor, remarks))
                }
            }
        }
        Init::Backbone(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.backbone", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => from_checkpoint(&checkpoint, segmentor, "backbone.", strictness(*strict)),
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    let Segmentor { backbone, heads } = segmentor;
                    let alone = weights::model::Alone { backbone };
                    let (alone, mut remarks) = weights::load(&published, alone, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, &recipe.input));
                    Ok((Segmentor { backbone: alone.backbone, heads }, remarks))
                }
            }
        }
    }
}
