//! The segmentor: a backbone and UPerNet's heads.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::ConvNext;
use cvx_data::{ClassList, LabelMap};
use cvx_heads::{FcnHeadConfig, UperNet, UperNetConfig, UperNetLosses};
use serde::{Deserialize, Serialize};

use super::inference::Window;
use crate::recipe::{self, Input, checks};
use crate::train::params::{self, ParamInfo};
use crate::weights;
use crate::weights::model::{Model, Part};

/// Backbone and heads. Parameter paths begin with `backbone.` and `heads.`.
#[derive(Module, Debug)]
pub struct Segmentor {
    /// Images in, four feature maps out.
    pub backbone: ConvNext,
    /// Feature maps in, losses or logits out.
    pub heads: UperNet,
}

/// What builds a [`Segmentor`]; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The backbone.
    pub model: recipe::Model,
    /// What stands on it.
    pub upernet: Head,
}

/// UPerNet's heads, as far as their weights go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Classes that a pixel may belong to.
    pub num_classes: usize,
    /// Channels of the decode head.
    pub channels: usize,
    /// Rows and columns of the grids that the coarsest map is averaged over.
    pub pool_scales: Vec<usize>,
    /// The auxiliary head; absent in segmentors without one.
    pub auxiliary: Option<Auxiliary>,
}

/// The head that only helps to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// Channels of its hidden layers.
    pub channels: usize,
    /// How many hidden layers.
    pub num_convs: usize,
}

/// How an image becomes the network's input, and how much of it the network sees at once; a checkpoint carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Normalisation and padding.
    pub input: Input,
    /// Images are scaled so that the shorter side reaches this, input pixels ..
    pub short_side: u32,
    /// .. unless the longer side would pass this.
    pub long_side: u32,
    /// What the network sees at once.
    pub window: Window,
}

impl Head {
    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { num_classes, channels, pool_scales, auxiliary } = self;
        checks::length("upernet.num_classes", *num_classes)?;
        checks::length("upernet.channels", *channels)?;
        checks::filled("upernet.pool_scales", pool_scales)?;
        checks::within("upernet.pool_scales", pool_scales.len(), checks::DEEPEST)?;
        pool_scales.iter().try_for_each(|scale| checks::length("upernet.pool_scales", *scale))?;
        if let Some(Auxiliary { channels, num_convs }) = auxiliary {
            checks::length("upernet.auxiliary.channels", *channels)?;
            checks::within("upernet.auxiliary.num_convs", *num_convs, checks::DEEPEST)?;
        }
        Ok(())
    }
}

impl Preprocessing {
    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a number is out of its range.
    pub fn check(&self) -> Result<()> {
        let Self { input, short_side, long_side, window } = self;
        checks::check_normalisation(&input.mean, &input.std)?;
        checks::length("input.pad_multiple", input.pad_multiple)?;
        checks::check_sides("", *short_side, *long_side)?;
        window.check("window")
    }
}

impl Architecture {
    /// A segmentor with random weights on `device`; seed the device before.
    pub fn init(&self, device: &Device) -> Segmentor {
        let Head { num_classes, channels, pool_scales, auxiliary } = self.upernet.clone();
        let auxiliary = auxiliary.map(|Auxiliary { channels, num_convs }| {
            FcnHeadConfig::new().with_channels(channels).with_num_convs(num_convs)
        });
        let heads = UperNetConfig::new(num_classes)
            .with_channels(channels)
            .with_pool_scales(pool_scales)
            .with_auxiliary(auxiliary);
        let backbone = self.model.config();
        Segmentor { heads: heads.init(&backbone.feature_specs(), device), backbone: backbone.init(device) }
    }
}

impl Segmentor {
    /// The losses of a batch.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised
    /// - `labels`: `[batch, height, width]`, classes or the label that is ignored
    /// - output: `[1]` each
    pub fn losses(&self, images: Tensor<4>, labels: Tensor<3, Int>) -> UperNetLosses {
        self.heads.losses(self.backbone.forward(images), labels)
    }

    /// Logits of the classes at stride 4.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised
    /// - output: `[batch, classes, floor(height / 4), floor(width / 4)]`
    pub fn segment(&self, images: Tensor<4>) -> Tensor<4> {
        self.heads.segment(self.backbone.forward(images))
    }
}

/// A segmentor read for inference.
#[derive(Debug)]
pub struct Trained {
    /// With the file's weights.
    pub segmentor: Segmentor,
    /// What it was built from.
    pub architecture: Architecture,
    /// How images become its input.
    pub preprocessing: Preprocessing,
    /// Names and colours of the classes.
    pub classes: ClassList,
    /// What a person should know of the file, a line each.
    pub remarks: Vec<String>,
}

/// Reads a segmentor from a checkpoint or from published weights, onto a device without autodiff.
///
/// # Errors
/// If the file cannot be read, or holds no segmentor, or one with more classes than label images can tell apart.
pub fn load(path: &Path, device: &Device) -> Result<Trained> {
    let (model, remarks) = Model::open(path, None, Part::Whole)?;
    let weights::model::Architecture::Segmentor(architecture) = model.architecture.clone() else {
        bail!("{}: holds a model, but not of a segmentor", path.display());
    };
    let num_classes = architecture.upernet.num_classes;
    ensure!(
        num_classes <= LabelMap::MOST_CLASSES,
        "{}: has {num_classes} classes; label images tell {} apart",
        path.display(),
        LabelMap::MOST_CLASSES
    );
    ensure!(
        model.classes.len() == num_classes,
        "{}: the model has {num_classes} classes, {} are named",
        path.display(),
        model.classes.len()
    );
    let preprocessing = serde_json::from_value(model.preprocessing.clone())
        .with_context(|| format!("{}: a segmentor whose preprocessing is not described", path.display()))?;
    let segmentor = params::replace_each(architecture.init(device), &mut |path, shape| {
        model.read(&ParamInfo { path: path.to_owned(), shape: shape.to_vec() }).map(Some)
    })?;
    let classes = class_list(model.classes, model.palette);
    Ok(Trained { segmentor, architecture, preprocessing, classes, remarks })
}

/// Classes in the colours that are told, or those of the data set that has these classes, or any.
fn class_list(names: Vec<String>, palette: Option<Vec<[u8; 3]>>) -> ClassList {
    if let Some(colors) = palette.filter(|colors| colors.len() == names.len()) {
        return ClassList { names, colors };
    }
    let known = [ClassList::ade20k(), ClassList::cityscapes(), ClassList::voc()];
    known.into_iter().find(|list| list.names == names).unwrap_or_else(|| ClassList::named(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_told_or_those_of_the_data_set_with_these_names() {
        let names = || vec!["sky".to_owned(), "road".to_owned()];
        let told = class_list(names(), Some(vec![[1, 2, 3], [4, 5, 6]]));
        assert_eq!(told.colors, [[1, 2, 3], [4, 5, 6]]);
        assert_eq!(class_list(names(), Some(vec![[1, 2, 3]])), ClassList::named(names()));
        assert_eq!(class_list(ClassList::cityscapes().names, None), ClassList::cityscapes());
    }
}
