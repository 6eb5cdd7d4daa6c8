//! The auxiliary head: convolutions and a classifier on the map of stride 16, for its gradient's sake.
//!
//! Paper: Long et al. 2015, <https://arxiv.org/abs/1411.4038>; semantics of mmseg 1.2.2,
//! `mmseg/models/decode_heads/fcn_head.py` with `concat_input=False`.

use burn::module::Module;
use burn::prelude::*;

use crate::conv::{Conv2d, normal};
use crate::conv_norm::ConvNorm;
use crate::conv_op::Activation;
use crate::dropout::dropout2d;
use crate::uper_head::CLASSIFIER_STD;

/// Configuration of the auxiliary head.
#[derive(Config, Debug)]
pub struct FcnHeadConfig {
    /// Channels of the hidden layers.
    #[config(default = 256)]
    pub channels: usize,
    /// How many hidden layers, one or more.
    #[config(default = 1)]
    pub num_convs: usize,
    /// What its loss is multiplied by.
    #[config(default = 0.4)]
    pub loss_weight: f64,
}

/// Convolutions of 3x3, then a classifier of every pixel. Parameters are called as in mmseg.
#[derive(Module, Debug)]
pub struct FcnHead {
    convs: Vec<ConvNorm>,
    conv_seg: Conv2d,
    dropout: f64,
}

impl FcnHeadConfig {
    /// A head with random weights on a map of `inputs` channels.
    pub(crate) fn init(&self, inputs: usize, num_classes: usize, dropout: f64, device: &Device) -> FcnHead {
        let conv = |at: usize| {
            let inputs = if at == 0 { inputs } else { self.channels };
            ConvNorm::new([inputs, self.channels], 3, device)
        };
        FcnHead {
            convs: (0..self.num_convs).map(conv).collect(),
            conv_seg: Conv2d::new([self.channels, num_classes], 1, normal(CLASSIFIER_STD), device),
            dropout,
        }
    }
}

impl FcnHead {
    /// Logits of the classes.
    ///
    /// # Shapes
    /// - `map`: `[batch, inputs, height, width]`
    /// - output: `[batch, classes, height, width]`
    pub fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let hidden = self.convs.iter().fold(map, |map, conv| conv.forward(map));
        self.conv_seg.forward(dropout2d(hidden, self.dropout), Activation::Identity)
    }
}
