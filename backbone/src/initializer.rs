//! How ConvNeXt's weights start: normal with a standard deviation of 0.02, biases zero.
//!
//! The reference calls `trunc_normal_(std=.02)`, whose cut is absolute at +-2: a hundred standard
//! deviations out, so that no draw ever meets it. (The table of the V1 paper prints 0.2.)

use burn::module::{Initializer, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, PaddingConfig2d};
use burn::prelude::*;

/// Standard deviation of every convolution and linear weight.
pub(crate) const STANDARD_DEVIATION: f64 = 0.02;

fn weight<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let normal = Initializer::Normal { mean: 0.0, std: STANDARD_DEVIATION };
    normal.init(shape, device)
}

/// A fresh linear layer `[inputs] -> [outputs]`.
pub(crate) fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    Linear {
        weight: weight([inputs, outputs], device),
        bias: Some(Initializer::Zeros.init([outputs], device)),
    }
}

/// As [`linear`], with weights `scale` times as large.
pub(crate) fn scaled_linear(inputs: usize, outputs: usize, scale: f64, device: &Device) -> Linear {
    let normal = Initializer::Normal { mean: 0.0, std: scale * STANDARD_DEVIATION };
    Linear {
        weight: normal.init([inputs, outputs], device),
        bias: Some(Initializer::Zeros.init([outputs], device)),
    }
}

/// A fresh convolution that cuts its input into patches of `side` by `side`, without overlap.
pub(crate) fn patch_conv(channels: [usize; 2], side: usize, device: &Device) -> Conv2d {
    let config = Conv2dConfig::new(channels, [side, side]).with_stride([side, side]);
    fresh(config, device)
}

/// A fresh depthwise convolution of `side` by `side` that keeps height and width.
pub(crate) fn depthwise_conv(channels: usize, side: usize, device: &Device) -> Conv2d {
    let margin = side / 2;
    let config = Conv2dConfig::new([channels, channels], [side, side])
        .with_groups(channels)
        .with_padding(PaddingConfig2d::Explicit(margin, margin, margin, margin));
    fresh(config, device)
}

fn fresh(config: Conv2dConfig, device: &Device) -> Conv2d {
    let outputs = config.channels[1];
    let inputs = config.channels[0] / config.groups;
    let [height, width] = config.kernel_size;
    let mut conv = config.init(device);
    conv.weight = weight([outputs, inputs, height, width], device);
    conv.bias = Some(Initializer::Zeros.init([outputs], device));
    conv
}
