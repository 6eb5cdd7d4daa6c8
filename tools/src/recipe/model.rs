//! The recipe's network: `[model]` and `[head]`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its size.
    pub backbone: Backbone,
    /// Largest probability to drop a block; the first block is never dropped, the last with this.
    pub drop_path_rate: f64,
    /// Initial value of V1's layer scale; absent in V2, which has none.
    pub layer_scale_init: Option<f64>,
    /// Where the first weights come from.
    pub init: Init,
}

/// Published backbone sizes, or one's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Backbone {
    /// ConvNeXt V2 of the named size.
    V2Atto,
    /// ConvNeXt V2 of the named size.
    V2Femto,
    /// ConvNeXt V2 of the named size.
    V2Pico,
    /// ConvNeXt V2 of the named size.
    V2Nano,
    /// ConvNeXt V2 of the named size.
    V2Tiny,
    /// ConvNeXt V2 of the named size.
    V2Small,
    /// ConvNeXt V2 of the named size.
    V2Base,
    /// ConvNeXt V2 of the named size.
    V2Large,
    /// ConvNeXt V2 of the named size.
    V2Huge,
    /// ConvNeXt V1 of the named size.
    V1Atto,
    /// ConvNeXt V1 of the named size.
    V1Femto,
    /// ConvNeXt V1 of the named size.
    V1Pico,
    /// ConvNeXt V1 of the named size.
    V1Nano,
    /// ConvNeXt V1 of the named size.
    V1Tiny,
    /// ConvNeXt V1 of the named size.
    V1Small,
    /// ConvNeXt V1 of the named size.
    V1Base,
    /// ConvNeXt V1 of the named size.
    V1Large,
    /// ConvNeXt V1 of the named size.
    V1Xlarge,
    /// Depths and widths of one's own.
    Custom(CustomBackbone),
}

/// Depths and widths of one's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomBackbone {
    /// Which block.
    pub version: Version,
    /// Blocks in each stage.
    pub depths: [usize; 4],
    /// Channels of each stage.
    pub dims: [usize; 4],
}

/// Which ConvNeXt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Version {
    /// Layer scale after the second product.
    V1,
    /// Global response normalisation after the activation.
    V2,
}

/// Where the first weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Init {
    /// Nowhere: drawn from the seed.
    Random,
    /// The backbone from a file of weights: published ones of any kind, or a checkpoint of this
    /// program; the heads are drawn from the seed.
    Backbone(WeightsFile),
    /// Backbone and heads from a file of weights; layers that depend on the classes are drawn from
    /// the seed where the file has another number of classes.
    Detector(WeightsFile),
    /// As `detector`, of a segmentor.
    Segmentor(WeightsFile),
}

/// A file of weights. Where it must fit to the last name, its name alone will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightsFile {
    /// Where it lies.
    pub file: String,
    /// Whether anything missing, unexpected or of another shape is an error; otherwise it is told,
    /// and such parameters are drawn from the seed.
    pub strict: bool,
    /// Which weights to take of a PyTorch file that holds several, such as `model_ema`; absent in files with one set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What stands on the backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Head {
    /// FPN, region proposals, a box head and a mask head.
    MaskRcnn(MaskRcnn),
}

/// FPN, region proposals, a box head and a mask head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskRcnn {
    /// Classes, background not counted; must equal what the annotation file lists.
    pub num_classes: usize,
    /// Channels of every pyramid level and of the proposal head.
    pub fpn_channels: usize,
    /// Hidden layers of the box head.
    pub num_fcs: usize,
    /// Width of the box head's hidden layers.
    pub fc_channels: usize,
    /// 3x3 convolutions in the mask head.
    pub num_mask_convs: usize,
    /// Channels of the mask head's convolutions.
    pub mask_channels: usize,
    /// Which box deltas the box head predicts.
    pub box_regression: BoxRegression,
    /// Region proposals.
    pub rpn: Rpn,
    /// The second stage's training samples.
    pub roi: Roi,
    /// From class scores to the detections that count.
    pub test: Test,
}

/// Which box deltas the box head predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BoxRegression {
    /// Four deltas a class.
    ClassSpecific,
    /// Four deltas for all classes together.
    ClassAgnostic,
}

/// Region proposals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpn {
    /// Side of the square anchor in strides of its level (8: 32 pixels on p2, 512 on p6).
    pub anchor_scales: Vec<f32>,
    /// Height over width of the anchors.
    pub anchor_ratios: Vec<f32>,
    /// Anchors sampled an image.
    pub samples_per_image: usize,
    /// At most this share of the samples is positive.
    pub positive_fraction: f64,
    /// An anchor with at least this IoU is positive.
    pub positive_iou: f32,
    /// An anchor below this IoU is negative.
    pub negative_iou: f32,
    /// An object without a positive anchor gets its best ones if they reach this IoU; absent: never.
    pub low_quality_iou: Option<f32>,
    /// Candidates a level before NMS, in training.
    pub train_pre_nms_per_level: usize,
    /// Proposals an image after NMS, in training.
    pub train_proposals_per_image: usize,
    /// Candidates a level before NMS, in testing.
    pub test_pre_nms_per_level: usize,
    /// Proposals an image after NMS, in testing.
    pub test_proposals_per_image: usize,
    /// Proposals that overlap more than this (strictly) are one.
    pub nms_iou: f32,
}

/// The second stage's training samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roi {
    /// Proposals sampled an image.
    pub samples_per_image: usize,
    /// At most this share of the samples is positive.
    pub positive_fraction: f64,
    /// A proposal with at least this IoU is positive.
    pub positive_iou: f32,
    /// A proposal below this IoU is negative.
    pub negative_iou: f32,
    /// An object without a positive proposal gets its best ones if they reach this IoU; absent: never.
    pub low_quality_iou: Option<f32>,
}

/// From class scores to the detections that count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Scores must exceed this.
    pub score_threshold: f32,
    /// How overlapping detections of one class are thinned out.
    pub nms: Nms,
    /// Detections kept an image.
    pub detections_per_image: usize,
    /// A pixel belongs to the mask from this probability on (inclusive).
    pub mask_threshold: f32,
}

/// How overlapping detections of one class are thinned out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Nms {
    /// Those that overlap a better one by more than `iou` (exclusive) are dropped.
    Hard {
        /// Allowed overlap.
        iou: f32,
    },
    /// Their scores are multiplied by `1 - overlap` where it reaches `iou` (inclusive, as in mmcv).
    SoftLinear {
        /// Overlap from which scores fall.
        iou: f32,
        /// Detections below this score are dropped.
        min_score: f32,
    },
    /// Their scores are multiplied by `exp(-overlap^2 / sigma)`, whatever the overlap.
    SoftGaussian {
        /// Width of the bell.
        sigma: f32,
        /// Detections below this score are dropped.
        min_score: f32,
    },
}

impl<'de> Deserialize<'de> for WeightsFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WeightsFileVisitor)
    }
}

struct WeightsFileVisitor;

impl<'de> Visitor<'de> for WeightsFileVisitor {
    type Value = WeightsFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file's name, or a table of `file` and `strict`")
    }

    fn visit_str<E>(self, file: &str) -> Result<WeightsFile, E> {
        Ok(WeightsFile { file: file.to_owned(), strict: true, key: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WeightsFile, A::Error> {
        /// The long form, read as strictly as every other table.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            file: String,
            strict: bool,
            key: Option<String>,
        }
        let Table { file, strict, key } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(WeightsFile { file, strict, key })
    }
}

impl Backbone {
    /// V1 or V2.
    pub fn version(&self) -> Version {
        match self {
            Self::V2Atto
            | Self::V2Femto
            | Self::V2Pico
            | Self::V2Nano
            | Self::V2Tiny
            | Self::V2Small
            | Self::V2Base
            | Self::V2Large
            | Self::V2Huge => Version::V2,
            Self::V1Atto
            | Self::V1Femto
            | Self::V1Pico
            | Self::V1Nano
            | Self::V1Tiny
            | Self::V1Small
            | Self::V1Base
            | Self::V1Large
            | Self::V1Xlarge => Version::V1,
            Self::Custom(custom) => custom.version,
        }
    }
}
