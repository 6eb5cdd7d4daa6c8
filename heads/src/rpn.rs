//! Region proposal network (RPN): at every anchor, whether there is an object and where.
//!
//! Paper: Ren et al. 2015, <https://arxiv.org/abs/1506.01497>; semantics of mmdet 3.3,
//! `rpn_head.py` and `anchor_head.py`.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::log_sigmoid;

use crate::conv::{Conv2d, normal};
use crate::conv_op::Activation;
use crate::host::{connected_zero, floats, indices, read_floats};
use crate::rpn_targets::AnchorTargets;

/// The head that slides over all levels of the pyramid.
#[derive(Module, Debug)]
pub struct RpnHead {
    rpn_conv: Conv2d,
    rpn_cls: Conv2d,
    rpn_reg: Conv2d,
}

/// What the head says about one level.
#[derive(Clone, Debug)]
pub struct RpnLevel {
    /// Logits of there being an object: `[batch, anchors of a cell, height, width]`.
    pub objectness: Tensor<4>,
    /// Deltas from the anchors: `[batch, 4 * anchors of a cell, height, width]`.
    pub deltas: Tensor<4>,
}

/// What the head says about all anchors, in the order of [`Anchors::grid`](crate::Anchors::grid).
#[derive(Clone, Debug)]
pub struct RpnPredictions {
    /// Logits of there being an object: `[batch, anchors]`.
    pub objectness: Tensor<2>,
    /// Deltas from the anchors: `[batch, anchors, 4]`.
    pub deltas: Tensor<3>,
    /// Height and width of each level.
    pub map_sizes: Vec<[usize; 2]>,
}

/// The predictions for one image in host memory.
#[derive(Clone, Debug)]
pub struct AnchorPredictions {
    /// One logit an anchor.
    pub objectness: Vec<f32>,
    /// Four deltas an anchor.
    pub deltas: Vec<[f32; 4]>,
}

/// The two terms of the proposals' loss.
#[derive(Clone, Debug)]
pub struct RpnLosses {
    /// Binary cross-entropy of the sampled anchors.
    pub cls: Tensor<1>,
    /// L1 distance of the positive anchors' deltas.
    pub bbox: Tensor<1>,
}

impl RpnHead {
    /// A head for maps of `channels` channels and `num_anchors` anchors a cell.
    pub fn new(channels: usize, num_anchors: usize, device: &Device) -> Self {
        let conv = |outputs, kernel| Conv2d::new([channels, outputs], kernel, normal(0.01), device);
        Self { rpn_conv: conv(channels, 3), rpn_cls: conv(num_anchors, 1), rpn_reg: conv(4 * num_anchors, 1) }
    }

    /// Looks at every level on its own.
    ///
    /// # Shapes
    /// - `levels`: `[batch, channels, height, width]`, one a level
    /// - output: see [`RpnLevel`], one a level
    pub fn forward(&self, levels: &[Tensor<4>]) -> Vec<RpnLevel> {
        let level = |map: &Tensor<4>| {
            let hidden = self.rpn_conv.forward(map.clone(), Activation::Relu);
            RpnLevel {
                objectness: self.rpn_cls.forward(hidden.clone(), Activation::Identity),
                deltas: self.rpn_reg.forward(hidden, Activation::Identity),
            }
        };
        levels.iter().map(level).collect()
    }
}

impl RpnPredictions {
    /// Lines up all levels, within a level row by row, the anchors of a cell together.
    pub fn from_levels(levels: Vec<RpnLevel>) -> Self {
        let mut objectness = Vec::with_capacity(levels.len());
        let mut deltas = Vec::with_capacity(levels.len());
        let mut map_sizes = Vec::with_capacity(levels.len());
        for level in levels {
            let [batch, per_cell, height, width] = level.objectness.dims();
            assert_shape!(level.deltas, [batch, per_cell * 4, height, width]);
            let anchors = per_cell * height * width;
            objectness.push(level.objectness.permute([0, 2, 3, 1]).reshape([batch, anchors]));
            deltas.push(level.deltas.permute([0, 2, 3, 1]).reshape([batch, anchors, 4]));
            map_sizes.push([height, width]);
        }
        Self { objectness: Tensor::cat(objectness, 1), deltas: Tensor::cat(deltas, 1), map_sizes }
    }

    /// Copies the predictions to the host, one entry an image, in one read.
    pub fn read(&self) -> Vec<AnchorPredictions> {
        let [batch, anchors, _] = self.deltas.dims();
        let deltas = self.deltas.clone().detach().reshape([batch, anchors * 4]);
        let joined = Tensor::cat(vec![self.objectness.clone().detach(), deltas], 1);
        let values = read_floats(joined);
        values
            .chunks_exact(anchors * 5)
            .map(|image| {
                let (objectness, deltas) = image.split_at(anchors);
                let (deltas, _) = deltas.as_chunks::<4>();
                AnchorPredictions { objectness: objectness.to_vec(), deltas: deltas.to_vec() }
            })
            .collect()
    }

    /// Both terms are sums over the batch, divided by the number of sampled anchors of the batch,
    /// where an image without positive or negative samples counts one in their place.
    ///
    /// # Shapes
    /// - `targets`: one an image
    /// - output: `[1]` each
    pub fn losses(&self, targets: &[AnchorTargets]) -> RpnLosses {
        let [batch, anchors, _] = self.deltas.dims();
        assert_eq!(targets.len(), batch, "one set of targets an image");
        let device = self.objectness.device();
        let mut sampled: Vec<i32> = Vec::new();
        let mut is_object: Vec<f32> = Vec::new();
        let mut positive: Vec<i32> = Vec::new();
        let mut delta_targets: Vec<f32> = Vec::new();
        let mut divisor = 0;
        for (image, targets) in targets.iter().enumerate() {
            let AnchorTargets { samples, deltas } = targets;
            assert_eq!(samples.positive.len(), deltas.len(), "deltas for each positive anchor");
            let row = |&anchor: &usize| (image * anchors + anchor) as i32;
            positive.extend(samples.positive.iter().map(row));
            sampled.extend(samples.positive.iter().map(row));
            sampled.extend(samples.negative.iter().map(row));
            is_object.extend(samples.positive.iter().map(|_| 1.0));
            is_object.extend(samples.negative.iter().map(|_| 0.0));
            delta_targets.extend(deltas.as_flattened());
            divisor += samples.positive.len().max(1) + samples.negative.len().max(1);
        }
        let divisor = divisor as f32;
        let objectness = self.objectness.clone().reshape([batch * anchors]);
        // An index of length zero is a case that no device handles well.
        let cls = if sampled.is_empty() {
            connected_zero(objectness)
        } else {
            let logits = objectness.select(0, indices(sampled, &device));
            let is_object = floats(is_object, &device);
            binary_cross_entropy(logits, is_object).sum() / divisor
        };
        let deltas = self.deltas.clone().reshape([batch * anchors, 4]);
        let bbox = if positive.is_empty() {
            connected_zero(deltas)
        } else {
            let targets = floats(delta_targets, &device).reshape([positive.len(), 4]);
            let deltas = deltas.select(0, indices(positive, &device));
            (deltas - targets).abs().sum() / divisor
        };
        RpnLosses { cls, bbox }
    }
}

/// Binary cross-entropy with logits, element by element: `softplus(x) - x * target`, finite for
/// every finite logit and with the exact slope `sigmoid(x) - target` everywhere.
pub(crate) fn binary_cross_entropy<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    log_sigmoid(logits.clone().neg()).neg() - logits * targets
}
