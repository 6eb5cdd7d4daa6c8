//! A recipe's detector as it is before the first step: drawn from the seed, or from a file of weights.

use anyhow::{Result, bail};
use burn::prelude::*;

use super::model::{Architecture, Detector, expect_recipe, expect_recipe_of};
use crate::initial::{checkpoint, expect_classes, from_checkpoint, other_pixels, strictness};
use crate::recipe::{Init, Recipe, WeightsFile, paths};
use crate::weights::{self, Published};

/// The entry of an architecture that a file to start from may differ in: layers that depend on it are drawn afresh.
const NUM_CLASSES: &str = "head.mask-rcnn.num_classes";

/// The detector, to tell `classes` apart, and what a person should know of its weights, a line each.
///
/// # Errors
/// If the recipe names a file that cannot be read, or does not fit.
pub(super) fn initial(
    recipe: &Recipe,
    classes: &[String],
    device: &Device,
) -> Result<(Detector, Vec<String>)> {
    device.seed(recipe.seed);
    let detector = Architecture::of(recipe).init(device);
    match &recipe.model.init {
        Init::Random => Ok((detector, Vec::new())),
        Init::Segmentor(_) => {
            bail!("model.init.segmentor: holds no detector; possible: `detector`, `backbone`, \"random\"")
        }
        Init::Detector(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.detector", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => {
                    if *strict {
                        expect_recipe(&checkpoint, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, Some(&checkpoint.description.classes), classes)?;
                    from_checkpoint(&checkpoint, detector, "", strictness(*strict))
                }
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    if *strict {
                        expect_recipe_of(&published, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, published.source.told.classes.as_ref(), classes)?;
                    let (detector, mut remarks) = weights::load(&published, detector, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, &recipe.input));
                    Ok((detector, remarks))
                }
            }
        }
        Init::Backbone(WeightsFile { file, strict, key }) => {
            let path = paths::file_or_folder("model.init.backbone", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => from_checkpoint(&checkpoint, detector, "backbone.", strictness(*strict)),
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    let Detector { backbone, heads } = detector;
                    let alone = weights::model::Alone { backbone };
                    let (alone, mut remarks) = weights::load(&published, alone, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, &recipe.input));
                    Ok((Detector { backbone: alone.backbone, heads }, remarks))
                }
            }
        }
    }
}
