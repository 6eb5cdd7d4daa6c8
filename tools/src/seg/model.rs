//! The segmentor: a backbone and UPerNet's heads.

use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::ConvNext;
use cvx_heads::{UperNet, UperNetLosses};

/// Backbone and heads. Parameter paths begin with `backbone.` and `heads.`.
#[derive(Module, Debug)]
pub struct Segmentor {
    /// Images in, four feature maps out.
    pub backbone: ConvNext,
    /// Feature maps in, losses or logits out.
    pub heads: UperNet,
}

impl Segmentor {
    /// The losses of a batch.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised
    /// - `labels`: `[batch, height, width]`, classes or the label that is ignored
    /// - output: `[1]` each
    pub fn losses(&self, images: Tensor<4>, labels: Tensor<3, Int>) -> UperNetLosses {
        self.heads.losses(self.backbone.forward(images), labels)
    }

    /// Logits of the classes at stride 4.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised
    /// - output: `[batch, classes, floor(height / 4), floor(width / 4)]`
    pub fn segment(&self, images: Tensor<4>) -> Tensor<4> {
        self.heads.segment(self.backbone.forward(images))
    }
}
