//! Published weights, recognised: whose names they carry, what network they are of, and a value for each of our paths.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::tensor::TensorData;
use cvx_backbone::{Layout, NameScheme};
use cvx_heads::{detectron2_name, is_linear_weight, mmdet_name, transformers_upernet_name};

use super::source::Source;
use super::{layout, recognise};
use crate::recipe::Version;

/// A file of weights that somebody else's program wrote.
pub struct Published {
    /// Its tensors.
    pub source: Source,
    /// Whose names the backbone carries.
    pub scheme: NameScheme,
    /// What stands on the backbone.
    pub top: Top,
    /// V1 or V2 blocks.
    pub version: Version,
    /// Number of blocks of each stage.
    pub depths: [usize; 4],
    /// Number of channels of each stage.
    pub dims: [usize; 4],
    /// Whether no block has a layer scale, which then is one everywhere.
    pub lacks_layer_scale: bool,
    /// What stands before the backbone's names.
    pub(super) prefix: String,
}

/// What stands on the backbone in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// Nothing, or norms of the returned maps.
    Nothing,
    /// A classifier; without classes it only gives features.
    Classifier {
        /// Number of classes.
        num_classes: usize,
    },
    /// Mask R-CNN, as mmdet or as detectron2 names it.
    MaskRcnn(DetectorNames),
    /// UPerNet, as mmseg or as transformers names it.
    UperNet(SegmentorNames),
    /// The decoder of a masked autoencoder.
    Decoder,
    /// Something that this program has no network for.
    Other(&'static str),
}

/// Whose names a detector's heads carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectorNames {
    /// mmdet 2 and 3.
    Mmdet,
    /// detectron2.
    Detectron2,
}

/// Whose names a segmentor's heads carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentorNames {
    /// mmseg, before and since its version 1.
    Mmseg,
    /// transformers' `UperNetForSemanticSegmentation`.
    Transformers,
}

impl Published {
    /// Opens and recognises a file, or a folder as transformers and timm save it.
    ///
    /// # Errors
    /// If it cannot be read, or holds no ConvNeXt.
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        recognise::recognise(Source::open(path, key)?)
    }

    /// The file's name of our parameter; nothing where such files have none.
    pub fn name(&self, ours: &str) -> Option<String> {
        if let Some(ours) = ours.strip_prefix("backbone.") {
            self.scheme.backbone_name(&self.prefix, ours)
        } else if let Some(ours) = ours.strip_prefix("heads.") {
            match self.top {
                Top::MaskRcnn(DetectorNames::Mmdet) => Some(mmdet_name(ours)),
                Top::MaskRcnn(DetectorNames::Detectron2) => detectron2_name(ours),
                Top::UperNet(SegmentorNames::Mmseg) => Some(ours.to_owned()),
                Top::UperNet(SegmentorNames::Transformers) => Some(transformers_upernet_name(ours)),
                _ => None,
            }
        } else {
            self.scheme.classifier_name(&self.prefix, ours)
        }
    }

    /// How the tensor of our parameter lies in the file.
    pub fn layout(&self, ours: &str) -> Layout {
        match ours.strip_prefix("heads.") {
            Some(ours) if is_linear_weight(ours) => Layout::Transposed,
            Some(_) => Layout::AsOurs,
            None => self.scheme.layout(ours.strip_prefix("backbone.").unwrap_or(ours)),
        }
    }

    /// The value of our parameter, in our layout.
    ///
    /// # Errors
    /// If the file has none, or one that does not fit `shape`, or it cannot be read.
    pub fn read(&self, ours: &str, shape: &[usize]) -> Result<TensorData> {
        let path = self.source.path.display();
        let Some(name) = self.name(ours) else { bail!("{path}: such files have no `{ours}`") };
        let layout = self.layout(ours);
        let found = self.source.shape(&name).unwrap_or_default().to_vec();
        ensure!(
            layout::fits(layout, &found, shape),
            "{path}: `{name}` has shape {found:?}, expected one for {shape:?}"
        );
        Ok(layout::to_ours(layout, self.source.read(&name)?, &found, shape))
    }

    /// Whether the file has norms of the returned maps; a classifier's own norm is none.
    pub fn has_output_norms(&self) -> bool {
        let is_classifier = matches!(self.top, Top::Classifier { .. });
        !is_classifier
            && (0..4).any(|stage| {
                has_tensor(
                    &self.source,
                    self.scheme.backbone_name(&self.prefix, &format!("norm{stage}.weight")),
                )
            })
    }

    /// Whether a tensor belongs to the backbone, and not to what stands on it.
    pub fn is_in_backbone(&self, name: &str) -> bool {
        // FPN lies beside the body there.
        name.starts_with(&self.prefix) && !name.starts_with("backbone.fpn")
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.scheme {
            NameScheme::Official => "the official repository",
            NameScheme::Minkowski => "ConvNeXt-V2's sparse pretraining",
            NameScheme::Openmmlab => "OpenMMLab",
            NameScheme::Timm => "timm",
            NameScheme::HuggingFace => "transformers",
            NameScheme::Dinov3 => "transformers (DINOv3)",
            NameScheme::Torchvision => "torchvision",
        };
        let version = if self.version == Version::V2 { "V2" } else { "V1" };
        write!(f, "ConvNeXt {version}, depths {:?}, dims {:?}, names of {names}", self.depths, self.dims)?;
        match self.top {
            Top::Nothing => Ok(()),
            Top::Classifier { num_classes: 0 } => f.write_str(", with the norm of its features"),
            Top::Classifier { num_classes } => write!(f, ", with a classifier of {num_classes} classes"),
            Top::MaskRcnn(DetectorNames::Mmdet) => f.write_str(", with mmdet's Mask R-CNN"),
            Top::MaskRcnn(DetectorNames::Detectron2) => f.write_str(", with detectron2's Mask R-CNN"),
            Top::UperNet(SegmentorNames::Mmseg) => f.write_str(", with mmseg's UPerNet"),
            Top::UperNet(SegmentorNames::Transformers) => f.write_str(", with transformers' UPerNet"),
            Top::Decoder => f.write_str(", with the decoder of its pretraining"),
            Top::Other(what) => write!(f, ", with {what}"),
        }
    }
}

/// Whether there is a tensor of a name that may not exist.
pub(super) fn has_tensor(source: &Source, name: Option<String>) -> bool {
    name.is_some_and(|name| source.shape(&name).is_some())
}
