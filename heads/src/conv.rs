//! The three parametrised layers of the heads, with the initial values chosen where they are used.
//!
//! They are named and their parameters are laid out as Burn's own (`Linear` holds its weight as
//! `[inputs, outputs]`), so that Burn's adapters translate PyTorch checkpoints; in contrast to
//! Burn's own, biases begin at zero, as everywhere in mmdet.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::prelude::*;
use burn::tensor::module::{conv_transpose2d, conv2d, linear};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};

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

    /// Convolves.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, kernel, _] = self.weight.dims();
        let padding = kernel / 2;
        let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
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

    /// Convolves; no normalisation, no activation.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
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

    /// Doubles height and width.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, 2 * height, 2 * width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvTransposeOptions::new([2, 2], [0, 0], [0, 0], [1, 1], 1);
        conv_transpose2d(x, self.weight.val(), Some(self.bias.val()), options)
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
        linear(x, self.weight.val(), Some(self.bias.val()))
    }
}
