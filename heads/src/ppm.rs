//! Pyramid pooling: the coarsest map averaged over areas of several sizes, so that every pixel sees its context.
//!
//! Paper: PSPNet, Zhao et al. 2017, <https://arxiv.org/abs/1612.01105>; semantics of mmseg 1.2.2,
//! `mmseg/models/decode_heads/psp_head.py`.

use burn::module::Module;
use burn::prelude::*;

use crate::conv_norm::ConvNorm;
use crate::resample::{adaptive_avg_pool, resize_bilinear};

/// Averages over a grid of areas; it stands before the convolution, where mmseg has a module too.
#[derive(Module, Debug)]
pub struct AreaMeans {
    /// The grid has this many rows and columns.
    bins: usize,
}

/// One size of area: means, then a convolution. Paths are `0` and `1`, as in mmseg's `nn.Sequential`.
pub type PoolingBranch = (AreaMeans, ConvNorm);

/// One branch for each of `scales`, from and to as many `channels`.
pub(crate) fn pooling_branches(
    scales: &[usize],
    channels: [usize; 2],
    device: &Device,
) -> Vec<PoolingBranch> {
    scales.iter().map(|&bins| (AreaMeans { bins }, ConvNorm::new(channels, 1, device))).collect()
}

/// What each branch makes of a map, stretched to the map's size.
///
/// # Shapes
/// - `map`: `[batch, inputs, height, width]`
/// - outputs: `[batch, outputs, height, width]` each
pub(crate) fn pool_pyramid(branches: &[PoolingBranch], map: &Tensor<4>) -> Vec<Tensor<4>> {
    let [_, _, height, width] = map.dims();
    let pool = |(means, conv): &PoolingBranch| {
        let pooled = adaptive_avg_pool(map.clone(), means.bins);
        resize_bilinear(conv.forward(pooled), [height, width])
    };
    branches.iter().map(pool).collect()
}
