//! What the pixels of an image are taken for beside what they are, as pictures.

use std::sync::Arc;

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{ClassList, SegmentationFolder, read_image};

use super::inference::label_image;
use super::model::{Preprocessing, Segmentor};
use super::recipe::{Recipe, palette_of};
use crate::draw::{Legend, label_overlay};
use crate::recipe::Kind as _;
use crate::run_report::Pair;

/// Opacity of the labels on an image.
const OPACITY: f32 = 0.6;

/// The colours in which the classes of a recipe are drawn.
///
/// # Errors
/// Never: every recipe can be written.
pub(super) fn colors_of(recipe: &Recipe, classes: &ClassList) -> Result<Vec<[u8; 3]>> {
    Ok(palette_of(&recipe.to_toml()?).unwrap_or_else(|| classes.colors.clone()))
}

/// What draws predictions beside the truth.
pub(super) struct Pictures<'a> {
    /// On a device without autodiff.
    pub(super) segmentor: &'a Segmentor,
    pub(super) preprocessing: &'a Preprocessing,
    pub(super) recipe: &'a Recipe,
    /// Of the classes.
    pub(super) colors: &'a [[u8; 3]],
    pub(super) device: &'a Device,
}

impl Pictures<'_> {
    /// Image `index` in the colours of what it is taken for, and of what it is.
    ///
    /// # Errors
    /// If it or its labels cannot be read.
    pub(super) fn pair(&self, dataset: &Arc<SegmentationFolder>, index: usize) -> Result<Pair> {
        let image = read_image(dataset.image_file(index))?;
        let look = self.recipe.evaluate.look();
        let predicted = label_image(self.segmentor, &image, self.preprocessing, &look, self.device);
        let names = dataset.class_names();
        let legend = Legend { names: &names, colors: self.colors };
        let truth = dataset.labels(index)?;
        Ok(Pair {
            prediction: label_overlay(&image, &predicted, legend, OPACITY),
            truth: Some(label_overlay(&image, &truth, legend, OPACITY)),
            caption: dataset.stem(index).to_owned(),
        })
    }
}
