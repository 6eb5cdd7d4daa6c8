//! Published weights, recognised: whose names they carry, what network they are of, and a value for each of our paths.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::tensor::TensorData;
use cvx_backbone::{Layout, NameScheme};
use cvx_heads::{detectron2_name, is_linear_weight, mmdet_name};

use super::layout;
use super::source::Source;
use crate::recipe::Version;

/// More blocks in a stage than any network has.
const DEEPEST: usize = 1 << 10;
/// More channels than any network has.
const WIDEST: usize = 1 << 16;
/// Depths and dims of timm's largest ConvNeXt.
const XXLARGE: ([usize; 4], [usize; 4]) = ([3, 4, 30, 3], [384, 768, 1536, 3072]);

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
    /// What stands before the backbone's names.
    prefix: String,
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

impl Published {
    /// Opens and recognises a file, or a folder as transformers and timm save it.
    ///
    /// # Errors
    /// If it cannot be read, or holds no ConvNeXt.
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        Self::recognise(Source::open(path, key)?)
    }

    fn recognise(source: Source) -> Result<Self> {
        let Some((scheme, prefix)) = scheme_and_prefix(&source) else {
            let shown: Vec<&str> = source.names().take(4).collect();
            bail!(
                "{}: no ConvNeXt: its tensors are called `{}` and so on, which are names of none of the ConvNeXt \
                 repositories, timm, transformers, torchvision, detectron2 and OpenMMLab",
                source.path.display(),
                shown.join("`, `")
            );
        };
        let has = |ours: &str| has_tensor(&source, scheme.backbone_name(&prefix, ours));
        let depths: [usize; 4] = std::array::from_fn(|stage| {
            let has_block = |block: usize| {
                let layers = ["dwconv.weight", "norm.weight", "pwconv1.weight", "pwconv2.weight"];
                layers.iter().any(|layer| has(&format!("stages.{stage}.{block}.{layer}")))
            };
            (0..DEEPEST).take_while(|&block| has_block(block)).count()
        });
        let mut dims = [0; 4];
        for (stage, dim) in dims.iter_mut().enumerate() {
            let places = [1, 0].map(|place| format!("downsample_layers.{stage}.{place}.bias"));
            let place = if stage == 0 { &places[0..2] } else { &places[0..1] };
            let mut one_axis = place.to_vec();
            one_axis.extend(
                ["norm.bias", "dwconv.bias", "pwconv2.bias"].map(|l| format!("stages.{stage}.0.{l}")),
            );
            let names = one_axis.iter().filter_map(|ours| scheme.backbone_name(&prefix, ours));
            let sides = names.into_iter().find_map(|name| source.shape(&name)?.last().copied());
            *dim = sides.unwrap_or(0);
            ensure!(
                (1..=WIDEST).contains(dim) && depths[stage] > 0,
                "{}: no ConvNeXt: stage {stage} has {} blocks of {dim} channels",
                source.path.display(),
                depths[stage]
            );
        }
        let blocks = || (0..4).flat_map(|stage| (0..depths[stage]).map(move |block| (stage, block)));
        let is_v2 = blocks().any(|(stage, block)| {
            ["gamma", "beta"].iter().any(|it| has(&format!("stages.{stage}.{block}.grn.{it}")))
        });
        let version = if is_v2 { Version::V2 } else { Version::V1 };
        // timm `models/convnext.py`, `convnext_xxlarge`: weights of this size were trained with it alone.
        ensure!(
            scheme != NameScheme::Timm || (depths, dims) != XXLARGE,
            "{}: timm's convnext_xxlarge has norms with an epsilon of 1e-5, those of this program have 1e-6",
            source.path.display()
        );
        let top = top(&source, scheme, &prefix);
        Ok(Self { source, scheme, top, version, depths, dims, prefix })
    }

    /// The file's name of our parameter; nothing where such files have none.
    pub fn name(&self, ours: &str) -> Option<String> {
        if let Some(ours) = ours.strip_prefix("backbone.") {
            self.scheme.backbone_name(&self.prefix, ours)
        } else if let Some(ours) = ours.strip_prefix("heads.") {
            match self.top {
                Top::MaskRcnn(DetectorNames::Mmdet) => Some(mmdet_name(ours)),
                Top::MaskRcnn(DetectorNames::Detectron2) => detectron2_name(ours),
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

    /// Whether no block has a layer scale, which then is one everywhere.
    pub fn lacks_layer_scale(&self) -> bool {
        self.version == Version::V1
            && !(0..4).any(|stage| {
                (0..self.depths[stage]).any(|block| {
                    let ours = format!("stages.{stage}.{block}.gamma");
                    has_tensor(&self.source, self.scheme.backbone_name(&self.prefix, &ours))
                })
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
            Top::Decoder => f.write_str(", with the decoder of its pretraining"),
            Top::Other(what) => write!(f, ", with {what}"),
        }
    }
}

fn has_tensor(source: &Source, name: Option<String>) -> bool {
    name.is_some_and(|name| source.shape(&name).is_some())
}

/// The scheme under which most first blocks are found, and what stands before their names.
fn scheme_and_prefix(source: &Source) -> Option<(NameScheme, String)> {
    let mut found: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (index, scheme) in NameScheme::ALL.into_iter().enumerate() {
        let ours = (0..4).map(|stage| format!("stages.{stage}.0.dwconv.weight"));
        for ending in ours.filter_map(|ours| scheme.backbone_name("", &ours)) {
            let prefixes = source.names().filter_map(|name| name.strip_suffix(&ending));
            for prefix in prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')) {
                *found.entry((index, prefix.to_owned())).or_default() += 1;
            }
        }
    }
    // A copy of the weights beside them (`ema_backbone.`) has as many, under a longer prefix.
    let best = found.into_iter().min_by_key(|((index, prefix), hits)| (4 - hits, prefix.len(), *index));
    best.map(|((index, prefix), _)| (NameScheme::ALL[index], prefix))
}

/// What stands on the backbone, by the names beside it.
fn top(source: &Source, scheme: NameScheme, prefix: &str) -> Top {
    let starts = |with: &str| source.names().any(|name| name.starts_with(with));
    let classifier = |ours: &str| scheme.classifier_name(prefix, ours).and_then(|name| source.shape(&name));
    if starts("roi_head.bbox_head.0.") {
        Top::Other("mmdet's Cascade R-CNN")
    } else if starts("roi_head.mask_head.") {
        Top::MaskRcnn(DetectorNames::Mmdet)
    } else if starts("roi_head.") {
        Top::Other("a detector without masks")
    } else if starts("proposal_generator.") && starts("roi_heads.mask_head.") {
        Top::MaskRcnn(DetectorNames::Detectron2)
    } else if starts("rpn.head.") {
        Top::Other(
            "torchvision's Mask R-CNN, whose anchors are rounded and whose RoIAlign is shifted by half a pixel",
        )
    } else if starts("decode_head.") {
        Top::Other("a segmentor")
    } else if scheme == NameScheme::Minkowski || source.names().any(|name| name.ends_with("mask_token")) {
        Top::Decoder
    } else if starts("norm_pre.") {
        Top::Other("a classifier that normalises before its mean")
    } else if let Some(weight) = classifier("head.weight") {
        Top::Classifier { num_classes: weight.first().copied().unwrap_or(0) }
    } else if classifier("norm.weight").is_some()
        && !has_tensor(source, scheme.backbone_name(prefix, "norm0.weight"))
    {
        Top::Classifier { num_classes: 0 }
    } else {
        Top::Nothing
    }
}
