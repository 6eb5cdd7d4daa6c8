//! The three parametrised layers of the heads, with the initial values chosen where they are used.
//!
//! They are named and their parameters are laid out as Burn's own (`Linear` holds its weight as
//! `[inputs, outputs]`), so that Burn's adapters translate PyTorch checkpoints; in contrast to
//! Burn's own, biases begin at zero, as everywhere in mmdet.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::prelude::*;
use cvx_backbone::ops::linear;

use crate::conv_op::{Activation, conv};
use crate::pixel_shuffle::pixel_shuffle;

/// Weights drawn as in `torch.nn.init.kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
pub(crate) const KAIMING_FAN_OUT: Initializer =
    Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true };

/// Weights drawn as in `torch.nn.init.xavier_uniform_`.
pub(crate) const XAVIER: Initializer = Initializer::XavierUniform { gain: 1.0 };

/// Weights drawn from a normal distribution around zero.
pub(crate) const fn normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

/// A dense convolution of odd kernel, stride 1, that keeps height and width.
#[derive(Module, Debug)]
pub struct Conv2d {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Conv2d {
    /// `channels` are those of input and output, `kernel` is odd.
    pub(crate) fn new(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        weights: Initializer,
        device: &Device,
    ) -> Self {
        let area = kernel * kernel;
        Self {
            weight: weights.init_with(
                [outputs, inputs, kernel, kernel],
                Some(inputs * area),
                Some(outputs * area),
                device,
            ),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    /// Convolves, and activates.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        conv(x, self.weight.val(), self.bias.val(), activation)
    }
}

/// A convolution one level deeper, where mmdet's `ConvModule` keeps it: its path ends in `.conv`.
#[derive(Module, Debug)]
pub struct ConvModule {
    conv: Conv2d,
}

impl ConvModule {
    pub(crate) fn new(channels: [usize; 2], kernel: usize, weights: Initializer, device: &Device) -> Self {
        Self { conv: Conv2d::new(channels, kernel, weights, device) }
    }

    /// Convolves, and activates; no normalisation.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        self.conv.forward(x, activation)
    }
}

/// A transposed convolution with a kernel of 2 and a stride of 2: each pixel becomes four.
#[derive(Module, Debug)]
pub struct ConvTranspose2d {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl ConvTranspose2d {
    pub(crate) fn new([inputs, outputs]: [usize; 2], weights: Initializer, device: &Device) -> Self {
        // PyTorch computes the fans from `[inputs, outputs, 2, 2]` as if it were a convolution's.
        Self {
            weight: weights.init_with([inputs, outputs, 2, 2], Some(outputs * 4), Some(inputs * 4), device),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    /// Doubles height and width, and activates.
    ///
    /// A window of four output pixels belongs to one input pixel alone, so this is a product at every
    /// pixel, whose four results are then laid out.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, 2 * height, 2 * width]`
    pub fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let [inputs, outputs, _, _] = self.weight.dims();
        let weight = self.weight.val().permute([1, 2, 3, 0]).reshape([outputs * 4, inputs, 1, 1]);
        let bias = self.bias.val().reshape([outputs, 1]).repeat_dim(1, 4).reshape([outputs * 4]);
        pixel_shuffle(conv(x, weight, bias, activation))
    }
}

/// A product with a matrix, and a bias.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Linear {
    pub(crate) fn new([inputs, outputs]: [usize; 2], weights: Initializer, device: &Device) -> Self {
        Self {
            weight: weights.init_with([inputs, outputs], Some(inputs), Some(outputs), device),
            bias: Initializer::Zeros.init([outputs], device),
        }
    }

    /// Multiplies.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - output: `[rows, outputs]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        linear(x, self.weight.val(), self.bias.val())
    }
}
