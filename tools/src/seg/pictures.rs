//! What the pixels of an image are taken for beside what they are, as pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{ClassList, LabelMap, SegmentationFolder, read_image};
use image::RgbImage;

use super::inference::label_image;
use super::model::{Preprocessing, Segmentor};
use super::recipe::{Recipe, palette_of};
use crate::draw::{Legend, class_shares, label_overlay, label_tint, percent};
use crate::recipe::Kind as _;
use crate::run_report::{Key, Pair};

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
    /// Image `index` in the colours of what it is taken for, and of what it is, each beside its legend.
    ///
    /// # Errors
    /// If it or its labels cannot be read.
    pub(super) fn pair(&self, dataset: &Arc<SegmentationFolder>, index: usize) -> Result<Pair> {
        let Looked { image, predicted, truth, names } = self.look(dataset, index)?;
        let legend = Legend { names: &names, colors: self.colors };
        Ok(Pair {
            prediction: label_overlay(&image, &predicted, legend, OPACITY),
            truth: Some(label_overlay(&image, &truth, legend, OPACITY)),
            caption: dataset.stem(index).to_owned(),
            key: Vec::new(),
        })
    }

    /// The same with one legend for both, in words that a page can set: a phone shows pictures too small for letters.
    ///
    /// # Errors
    /// As [`Pictures::pair`].
    pub(super) fn pair_with_key(&self, dataset: &Arc<SegmentationFolder>, index: usize) -> Result<Pair> {
        let Looked { image, predicted, truth, names } = self.look(dataset, index)?;
        let legend = Legend { names: &names, colors: self.colors };
        let shares = |labels: &LabelMap| -> BTreeMap<usize, f64> {
            let known = class_shares(labels, names.len()).into_iter();
            known.filter_map(|share| Some((share.class?, share.share))).collect()
        };
        let (found, there) = (shares(&predicted), shares(&truth));
        let mut classes: Vec<(usize, [f64; 2])> = (0..names.len())
            .map(|class| (class, [&found, &there].map(|shares| shares.get(&class).copied().unwrap_or(0.0))))
            .filter(|(_, [found, there])| found + there > 0.0)
            .collect();
        classes.sort_by(|(_, a), (_, b)| b[1].total_cmp(&a[1]).then(b[0].total_cmp(&a[0])));
        let key = |(class, [found, there]): (usize, [f64; 2])| Key {
            colour: self.colors[class],
            text: format!("{} {}, is {}", names[class], percent(found), percent(there)),
        };
        Ok(Pair {
            prediction: label_tint(&image, &predicted, legend, OPACITY),
            truth: Some(label_tint(&image, &truth, legend, OPACITY)),
            caption: dataset.stem(index).to_owned(),
            key: classes.into_iter().map(key).collect(),
        })
    }

    fn look(&self, dataset: &Arc<SegmentationFolder>, index: usize) -> Result<Looked> {
        let image = read_image(dataset.image_file(index))?;
        let look = self.recipe.evaluate.look();
        let predicted = label_image(self.segmentor, &image, self.preprocessing, &look, self.device);
        Ok(Looked { image, predicted, truth: dataset.labels(index)?, names: dataset.class_names() })
    }
}

/// An image, what its pixels are taken for, and what they are.
struct Looked {
    image: RgbImage,
    predicted: LabelMap,
    truth: LabelMap,
    names: Vec<String>,
}
