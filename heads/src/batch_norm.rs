//! Batch normalisation with running statistics, as PyTorch's `BatchNorm2d`.
//!
//! Paper: Ioffe and Szegedy 2015, <https://arxiv.org/abs/1502.03167>.
//!
//! A batch on an autodiff device is normalised by its own statistics, which also move the running ones; elsewhere, and
//! where the layer's weights are frozen, the running ones are used and stay. As in PyTorch the batch is divided by its
//! biased deviation, while the running variance takes the unbiased one.
//!
//! Deviations: a batch that is not finite does not move the running statistics. And mmseg synchronises the statistics over
//! processes (`SyncBN`); here they are the process's own so far, `batch_norm_op.rs` says where others will join.

use burn::module::{Initializer, Module, Param};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::batch_norm_op::{BatchNormalised, EPSILON, batch_norm};
use crate::conv_op::Activation;
use crate::running_value::RunningValue;

/// How far running statistics move towards those of a batch; PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// Normalises each channel over batch, height and width.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: RunningValue,
    running_var: RunningValue,
}

/// Whether the parameter of this path is a running statistic, which is kept with the weights but not trained.
///
/// ```
/// use cvx_heads::is_running_statistic;
///
/// assert!(is_running_statistic("decode_head.bottleneck.bn.running_var"));
/// assert!(!is_running_statistic("decode_head.bottleneck.bn.weight"));
/// ```
pub fn is_running_statistic(path: &str) -> bool {
    ["running_mean", "running_var"].contains(&path.rsplit('.').next().unwrap_or_default())
}

/// What normalisation by running statistics amounts to: `x * scale + shift`.
pub(crate) struct Affine {
    /// `[channels]`
    pub(crate) scale: Tensor<1>,
    /// `[channels]`
    pub(crate) shift: Tensor<1>,
}

impl BatchNorm2d {
    /// Scale and variance one, shift and mean zero.
    pub fn new(channels: usize, device: &Device) -> Self {
        let plain = device.clone().without_autodiff();
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: RunningValue::new(Tensor::zeros([channels], &plain)),
            running_var: RunningValue::new(Tensor::ones([channels], &plain)),
        }
    }

    /// Normalises, and activates.
    ///
    /// # Shapes
    /// - `x`, output: `[batch, channels, height, width]`
    ///
    /// # Panics
    /// On an autodiff device, if a channel has one value only: it has no variance.
    pub fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let is_autodiff = x.device().is_autodiff();
        if is_autodiff && self.weight.is_require_grad() {
            return self.by_batch(x, activation);
        }
        let [_, channels, _, _] = x.dims();
        let Affine { mut scale, mut shift } = self.affine();
        if is_autodiff {
            (scale, shift) = (Tensor::from_inner(scale), Tensor::from_inner(shift));
        }
        let y = x * scale.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1]);
        match activation {
            Activation::Identity => y,
            Activation::Relu => relu(y),
        }
    }

    /// By the statistics of the batch, which the running ones follow.
    fn by_batch(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let [batch, _, height, width] = x.dims();
        let count = batch * height * width;
        assert!(count > 1, "batch normalisation over one value: train on batches of two images or more");
        let BatchNormalised { output, mean, variance } =
            batch_norm(x, self.weight.val(), self.bias.val(), activation);
        self.running_mean.observe(mean, MOMENTUM);
        self.running_var.observe(variance * (count as f64 / (count - 1) as f64), MOMENTUM);
        output
    }

    /// Normalisation by the running statistics, without autodiff.
    pub(crate) fn affine(&self) -> Affine {
        let (weight, bias) = (self.weight.val().without_autodiff(), self.bias.val().without_autodiff());
        let scale = weight / (self.running_var.get() + EPSILON).sqrt();
        let shift = bias - self.running_mean.get() * scale.clone();
        Affine { scale, shift }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn a_frozen_layer_keeps_and_uses_its_running_statistics() {
        let device = Device::flex().autodiff();
        let layer = BatchNorm2d::new(3, &device);
        let batch = || Tensor::<4>::random([2, 3, 4, 5], Distribution::Normal(2.0, 3.0), &device);
        layer.forward(batch(), Activation::Identity);
        let statistics = |layer: &BatchNorm2d| {
            [&layer.running_mean, &layer.running_var].map(|value| value.get().into_data())
        };
        let before = statistics(&layer);
        let frozen = layer.no_grad();
        let x = batch().require_grad();
        let y = frozen.forward(x.clone(), Activation::Relu);
        assert_eq!(statistics(&frozen), before);
        let plain = frozen.valid().forward(x.clone().inner(), Activation::Relu);
        y.clone().into_data().assert_approx_eq::<f32>(&plain.into_data(), burn::tensor::Tolerance::default());
        // What lies before it learns all the same.
        let gradients = y.sum().backward();
        assert!(x.grad(&gradients).is_some());
    }
}
