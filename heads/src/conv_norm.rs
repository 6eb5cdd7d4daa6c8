//! Convolution, batch normalisation, ReLU: what UPerNet is made of (mmcv's `ConvModule` with a norm).

use burn::module::{Initializer, Module, Param};
use burn::prelude::*;

use crate::batch_norm::{Affine, BatchNorm2d};
use crate::conv::KAIMING_FAN_OUT;
use crate::conv_op::{Activation, conv};

/// A convolution's weight alone: the norm behind it would take a bias away again.
#[derive(Module, Debug)]
struct UnbiasedConv2d {
    weight: Param<Tensor<4>>,
}

/// The three in a row. Its parameters' paths end in `.conv.weight` and `.bn.*`, as mmcv's.
#[derive(Module, Debug)]
pub struct ConvNorm {
    conv: UnbiasedConv2d,
    bn: BatchNorm2d,
}

impl ConvNorm {
    /// `channels` are those of input and output, `kernel` is odd.
    pub(crate) fn new([inputs, outputs]: [usize; 2], kernel: usize, device: &Device) -> Self {
        let weights: Initializer = KAIMING_FAN_OUT;
        let area = kernel * kernel;
        let weight = weights.init_with(
            [outputs, inputs, kernel, kernel],
            Some(inputs * area),
            Some(outputs * area),
            device,
        );
        Self { conv: UnbiasedConv2d { weight }, bn: BatchNorm2d::new(outputs, device) }
    }

    /// Convolves, normalises, and applies ReLU.
    ///
    /// Without autodiff the norm is a scale and a shift of each channel, which the convolution takes over as its
    /// weight and bias.
    ///
    /// # Shapes
    /// - `x`: `[batch, inputs, height, width]`
    /// - output: `[batch, outputs, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.conv.weight.val();
        let [outputs, _, _, _] = weight.dims();
        if x.device().is_autodiff() {
            let none = Tensor::zeros([outputs], &x.device());
            return self.bn.forward(conv(x, weight, none, Activation::Identity), Activation::Relu);
        }
        let Affine { scale, shift } = self.bn.affine();
        conv(x, weight * scale.reshape([outputs, 1, 1, 1]), shift, Activation::Relu)
    }
}
