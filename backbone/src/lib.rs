//! ConvNeXt V1 and V2 on Burn: images in, four feature maps out.
//!
//! ```
//! use burn::prelude::*;
//! use cvx_backbone::{ConvNextConfig, Variant};
//!
//! let device = Device::flex();
//! let backbone = ConvNextConfig::of(Variant::V2Atto).init(&device);
//! let maps = backbone.forward(Tensor::zeros([1, 3, 64, 64], &device));
//! assert_eq!(maps.c5.dims(), [1, 320, 2, 2]);
//! ```
//!
//! The crate opens no file, reads no clock and prints nothing.

mod block;
mod channel_norm;
mod classifier;
mod convnext;
mod drop_path;
mod fcmae;
mod features;
mod grn;
mod initializer;
mod mask;
pub mod ops;
mod param_names;
pub mod precision;
mod variant;

pub use crate::block::{Block, BlockNorm};
pub use crate::channel_norm::ChannelNorm;
pub use crate::classifier::{Classifier, ClassifierConfig};
pub use crate::convnext::{ConvNext, ConvNextConfig};
pub use crate::fcmae::{Fcmae, FcmaeConfig, Masking, PatchTarget};
pub use crate::features::{FeatureMaps, FeatureSpec};
pub use crate::grn::Grn;
pub use crate::mask::{Mask, PATCH};
pub use crate::param_names::{Layout, NameScheme};
pub use crate::precision::Precision;
pub use crate::variant::{UnknownVariant, Variant};
