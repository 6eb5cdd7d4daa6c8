//! The contract between a backbone and its heads: four feature maps and their declared shapes.

use burn::prelude::*;

/// Feature maps of one batch, high resolution first: `[batch, channels, height, width]`.
///
/// Stage `n` has stride `2^n`. A map whose image side is not a multiple of the stride is rounded
/// down, as the strided convolutions of the network do.
#[derive(Clone, Debug)]
pub struct FeatureMaps {
    /// Stride 4.
    pub c2: Tensor<4>,
    /// Stride 8.
    pub c3: Tensor<4>,
    /// Stride 16.
    pub c4: Tensor<4>,
    /// Stride 32.
    pub c5: Tensor<4>,
}

/// What a backbone declares about one of its maps, so that heads are built without a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureSpec {
    /// Number of channels of the map.
    pub channels: usize,
    /// Input pixels a step of the map covers, in both directions.
    pub stride: usize,
}
