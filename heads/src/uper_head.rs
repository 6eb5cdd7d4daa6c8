//! UPerNet's decode head: pyramid pooling on the coarsest map, then a feature pyramid whose levels are fused.
//!
//! Paper: Xiao et al. 2018, <https://arxiv.org/abs/1807.10221>; semantics of mmseg 1.2.2,
//! `mmseg/models/decode_heads/uper_head.py`.
//!
//! ```text
//! m5 = bottleneck([c5, pooled c5 ..]);  m[i] = lateral(c[i]) + bilinear_upsample(m[i + 1])
//! p5 = m5;  p[i] = conv3x3(m[i])
//! logits = conv_seg(dropout(fpn_bottleneck([p2, p3, p4, p5 upsampled to stride 4])))
//! ```

use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::{FeatureMaps, FeatureSpec};

use crate::conv::{Conv2d, normal};
use crate::conv_norm::ConvNorm;
use crate::conv_op::Activation;
use crate::dropout::dropout2d;
use crate::ppm::{PoolingBranch, pool_pyramid, pooling_branches};
use crate::resample::resize_bilinear;

/// Standard deviation of a segmentation head's last weights; mmseg, `decode_head.py`, `init_cfg`.
pub(crate) const CLASSIFIER_STD: f64 = 0.01;

/// The head that is asked for the result. Parameters are called as in mmseg.
#[derive(Module, Debug)]
pub struct UperHead {
    psp_modules: Vec<PoolingBranch>,
    bottleneck: ConvNorm,
    lateral_convs: Vec<ConvNorm>,
    fpn_convs: Vec<ConvNorm>,
    fpn_bottleneck: ConvNorm,
    conv_seg: Conv2d,
    dropout: f64,
}

/// Sizes of an [`UperHead`].
pub(crate) struct UperHeadSizes<'a> {
    pub(crate) channels: usize,
    pub(crate) pool_scales: &'a [usize],
    pub(crate) num_classes: usize,
    pub(crate) dropout: f64,
}

impl UperHead {
    /// A head with random weights over maps as declared by `specs`.
    pub(crate) fn new(specs: &[FeatureSpec; 4], sizes: UperHeadSizes<'_>, device: &Device) -> Self {
        let UperHeadSizes { channels, pool_scales, num_classes, dropout } = sizes;
        let [fine @ .., coarsest] = specs;
        let pooled = coarsest.channels + pool_scales.len() * channels;
        let lateral = |spec: &FeatureSpec| ConvNorm::new([spec.channels, channels], 1, device);
        let output = |_: &FeatureSpec| ConvNorm::new([channels, channels], 3, device);
        Self {
            psp_modules: pooling_branches(pool_scales, [coarsest.channels, channels], device),
            bottleneck: ConvNorm::new([pooled, channels], 3, device),
            lateral_convs: fine.iter().map(lateral).collect(),
            fpn_convs: fine.iter().map(output).collect(),
            fpn_bottleneck: ConvNorm::new([specs.len() * channels, channels], 3, device),
            conv_seg: Conv2d::new([channels, num_classes], 1, normal(CLASSIFIER_STD), device),
            dropout,
        }
    }

    /// Logits of the classes at stride 4.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - output: `[batch, classes, height, width]` of the first map
    pub fn forward(&self, maps: FeatureMaps) -> Tensor<4> {
        let features = dropout2d(self.fuse(maps), self.dropout);
        self.conv_seg.forward(features, Activation::Identity)
    }

    /// What the classes are told from.
    ///
    /// # Shapes
    /// - `maps`: as [`UperHead::forward`]'s
    /// - output: `[batch, channels, height, width]` of the first map
    pub fn fuse(&self, maps: FeatureMaps) -> Tensor<4> {
        let FeatureMaps { c2, c3, c4, c5 } = maps;
        let [batch, _, height, width] = c2.dims();
        assert_shape!(c5, [batch, _, _, _]);
        let lateral = |level: usize, map: Tensor<4>| self.lateral_convs[level].forward(map);
        let (_, m5) = self.pool(c5);
        let m4 = add_upsampled(lateral(2, c4), m5.clone());
        let m3 = add_upsampled(lateral(1, c3), m4.clone());
        let m2 = add_upsampled(lateral(0, c2), m3.clone());
        let output = |level: usize, map: Tensor<4>| self.fpn_convs[level].forward(map);
        let finest = |map: Tensor<4>| resize_bilinear(map, [height, width]);
        let levels = vec![output(0, m2), finest(output(1, m3)), finest(output(2, m4)), finest(m5)];
        self.fpn_bottleneck.forward(Tensor::cat(levels, 1))
    }

    /// The coarsest map's pooled versions, one a scale, and what becomes of them and of the map.
    ///
    /// # Shapes
    /// - `c5`: `[batch, channels of the stage, height, width]`
    /// - outputs: `[batch, channels, height, width]` each
    pub fn pool(&self, c5: Tensor<4>) -> (Vec<Tensor<4>>, Tensor<4>) {
        let pooled = pool_pyramid(&self.psp_modules, &c5);
        let mut all = vec![c5];
        all.extend(pooled.iter().cloned());
        (pooled, self.bottleneck.forward(Tensor::cat(all, 1)))
    }
}

/// `fine + coarse`, the coarse map stretched to the size of the fine one.
fn add_upsampled(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = fine.dims();
    assert_shape!(coarse, [batch, channels, _, _]);
    fine + resize_bilinear(coarse, [height, width])
}
