//! Mask R-CNN and UPerNet on Burn: feature maps in; losses, detections or class logits out.
//!
//! ```
//! use burn::prelude::*;
//! use cvx_backbone::{ConvNextConfig, Variant};
//! use cvx_heads::{ImageSize, MaskRcnnConfig, UperNetConfig};
//!
//! let device = Device::flex();
//! let config = ConvNextConfig::of(Variant::V2Atto);
//! let backbone = config.init(&device);
//! let detector = MaskRcnnConfig::new(3)
//!     .with_fpn_channels(16)
//!     .with_fc_channels(32)
//!     .with_mask_channels(16)
//!     .init(&config.feature_specs(), &device);
//!
//! let maps = backbone.forward(Tensor::zeros([1, 3, 64, 64], &device));
//! let size = ImageSize { height: 60, width: 50, padded_height: 64, padded_width: 64 };
//! for found in detector.detect(maps.clone(), &[size]).concat() {
//!     assert_eq!(found.mask.len(), 28 * 28);
//! }
//!
//! let segmenter = UperNetConfig::new(5).with_channels(16).init(&config.feature_specs(), &device);
//! assert_eq!(segmenter.segment(maps).dims(), [1, 5, 16, 16]);
//! ```
//!
//! The crate opens no file, reads no clock and prints nothing. Boxes are `[x0, y0, x1, y1]` in
//! input pixels throughout; heads never learn an image's original size.

mod anchors;
mod assign;
mod axis_map;
mod batch_norm;
mod batch_norm_flex;
mod batch_norm_op;
mod box_coder;
mod box_head;
mod conv;
mod conv_flex;
mod conv_norm;
mod conv_op;
mod detections;
mod dropout;
mod fcn_head;
mod fpn;
mod host;
mod lovasz;
mod mask_head;
mod mask_rcnn;
mod mask_target;
mod mosaic;
mod mosaic_composed;
mod mosaic_flex;
mod nms;
mod nms_soft;
mod param_names;
mod pixel_loss;
mod pixel_loss_flex;
mod pixel_shuffle;
mod ppm;
mod proposals;
mod regions;
mod resample;
mod roi_align;
mod roi_align_composed;
mod roi_align_flex;
mod roi_align_plan;
mod roi_targets;
mod rpn;
mod rpn_targets;
mod running_value;
mod sample;
mod scattered;
mod segmentation_loss;
mod target;
mod truth;
mod uper_head;
mod upernet;
mod winograd;
mod winograd_tiles;
mod winograd_transforms;

pub use crate::anchors::Anchors;
pub use crate::assign::{Assigned, LowQualityMatch, MaxIouAssigner, iou};
pub use crate::batch_norm::{BatchNorm2d, is_running_statistic};
pub use crate::batch_norm_op::{BatchNormalised, batch_norm, batch_norm_composed};
pub use crate::box_coder::{BoxCoder, clip};
pub use crate::box_head::{
    BoxHead, BoxHeadConfig, BoxLosses, BoxPredictions, BoxRegression, BoxTarget, RegionPrediction,
};
pub use crate::conv::{Conv2d, ConvModule, ConvTranspose2d, Linear};
pub use crate::conv_norm::ConvNorm;
pub use crate::conv_op::{Activation, conv, conv_composed};
pub use crate::detections::{Detection, DetectionConfig};
pub use crate::fcn_head::{FcnHead, FcnHeadConfig};
pub use crate::fpn::{Fpn, Pyramid};
pub use crate::mask_head::{MaskHead, MaskHeadConfig, MaskPredictions};
pub use crate::mask_rcnn::{MaskRcnn, MaskRcnnConfig, MaskRcnnLosses};
pub use crate::mask_target::{TargetMask, mask_targets};
pub use crate::mosaic::{Band, Mirroring, Mosaic, Wanted, classify_rows};
pub use crate::nms::{ClassifiedBox, Suppression, batched_nms, multiclass_nms, nms};
pub use crate::nms_soft::{Kept, SoftNms, batched_soft_nms, soft_nms};
pub use crate::param_names::{
    depends_on_classes, detectron2_name, is_linear_weight, mmdet_name, transformers_upernet_name,
};
pub use crate::pixel_loss::{PixelLoss, PixelMean, PixelWeights, pixel_loss, pixel_loss_composed};
pub use crate::pixel_shuffle::{pixel_shuffle, pixel_shuffle_composed};
pub use crate::ppm::{AreaMeans, PoolingBranch};
pub use crate::proposals::{Proposal, ProposalConfig};
pub use crate::resample::{adaptive_avg_pool, resize_bilinear};
pub use crate::roi_align::{
    Roi, roi_align, roi_align_composed, roi_align_levels, roi_align_levels_composed, roi_level,
};
pub use crate::roi_targets::{PositiveRoi, RoiTargets};
pub use crate::rpn::{AnchorPredictions, RpnHead, RpnLevel, RpnLosses, RpnPredictions};
pub use crate::rpn_targets::AnchorTargets;
pub use crate::sample::{RandomSampler, Samples, SamplingStage};
pub use crate::segmentation_loss::{SegmentationLossConfig, SegmentationTerms};
pub use crate::target::{ImageSize, Target};
pub use crate::uper_head::UperHead;
pub use crate::upernet::{UperNet, UperNetConfig, UperNetLosses};
