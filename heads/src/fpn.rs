//! Feature pyramid network (FPN): coarse maps lend their meaning to fine ones.
//!
//! Paper: Lin et al. 2017, <https://arxiv.org/abs/1612.03144>; semantics of mmdet 3.3,
//! `mmdet/models/necks/fpn.py`.
//!
//! ```text
//! m5 = lateral(c5);  m[i] = lateral(c[i]) + nearest_upsample(m[i + 1])
//! p[i] = conv3x3(m[i]);  p6 = every second pixel of p5
//! ```

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::module::{interpolate, max_pool2d};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions, MaxPoolOptions};
use cvx_backbone::{FeatureMaps, FeatureSpec};

use crate::conv::{ConvModule, XAVIER};
use crate::conv_op::Activation;

/// The five maps of the pyramid, high resolution first: `[batch, channels, height, width]`.
#[derive(Clone, Debug)]
pub struct Pyramid {
    /// Stride 4.
    pub p2: Tensor<4>,
    /// Stride 8.
    pub p3: Tensor<4>,
    /// Stride 16.
    pub p4: Tensor<4>,
    /// Stride 32.
    pub p5: Tensor<4>,
    /// Stride 64: proposals come from it, but no region's features.
    pub p6: Tensor<4>,
}

impl Pyramid {
    /// All five maps, from which proposals come.
    pub fn levels(&self) -> [Tensor<4>; 5] {
        let Self { p2, p3, p4, p5, p6 } = self.clone();
        [p2, p3, p4, p5, p6]
    }

    /// The four maps that regions are cut from.
    pub fn roi_levels(&self) -> [Tensor<4>; 4] {
        let [p2, p3, p4, p5, _] = self.levels();
        [p2, p3, p4, p5]
    }
}

/// The neck between backbone and heads.
#[derive(Module, Debug)]
pub struct Fpn {
    lateral_convs: Vec<ConvModule>,
    fpn_convs: Vec<ConvModule>,
}

impl Fpn {
    /// A pyramid of `channels` channels over maps as declared by `specs`.
    pub fn new(specs: &[FeatureSpec; 4], channels: usize, device: &Device) -> Self {
        let lateral = |spec: &FeatureSpec| ConvModule::new([spec.channels, channels], 1, XAVIER, device);
        let output = |_: &FeatureSpec| ConvModule::new([channels, channels], 3, XAVIER, device);
        Self {
            lateral_convs: specs.iter().map(lateral).collect(),
            fpn_convs: specs.iter().map(output).collect(),
        }
    }

    /// Builds the pyramid.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - output: `[batch, channels, height, width]`, sizes as in `maps`, p6 half of p5 rounded up
    pub fn forward(&self, maps: FeatureMaps) -> Pyramid {
        let FeatureMaps { c2, c3, c4, c5 } = maps;
        let lateral =
            |level: usize, map: Tensor<4>| self.lateral_convs[level].forward(map, Activation::Identity);
        let m5 = lateral(3, c5);
        let m4 = add_upsampled(lateral(2, c4), m5.clone());
        let m3 = add_upsampled(lateral(1, c3), m4.clone());
        let m2 = add_upsampled(lateral(0, c2), m3.clone());
        let output = |level: usize, map: Tensor<4>| self.fpn_convs[level].forward(map, Activation::Identity);
        let p5 = output(3, m5);
        let p6 = every_second_pixel(p5.clone());
        Pyramid { p2: output(0, m2), p3: output(1, m3), p4: output(2, m4), p5, p6 }
    }
}

/// `fine + coarse`, the coarse map stretched to the exact size of the fine one.
fn add_upsampled(fine: Tensor<4>, coarse: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = fine.dims();
    assert_shape!(coarse, [batch, channels, _, _]);
    let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size([height, width]);
    fine + interpolate(coarse, nearest)
}

/// Max pooling with a window of one pixel and a stride of two.
fn every_second_pixel(map: Tensor<4>) -> Tensor<4> {
    max_pool2d(map, MaxPoolOptions::new([1, 1]).with_stride([2, 2]))
}
