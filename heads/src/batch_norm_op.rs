//! Batch normalisation by the batch's own statistics, followed by an activation, as one op where the device
//! has one.
//!
//! ```text
//! mean, var = over batch, height and width       var biased
//! y = act((x - mean) / sqrt(var + eps) * weight + bias)
//! ```
//!
//! On Flex it is two passes forward and two backward on all threads (`batch_norm_flex.rs`), with sums and
//! differences in `f64`: over the two values of a channel in a pooled map of one pixel, the gradient of the input
//! is what remains of a cancellation of all but one part in ten thousand. On every other device it is composed.

use std::sync::{Arc, OnceLock};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, backend_extension};
use burn::prelude::*;
use burn::tensor::activation::relu;

use crate::conv_op::Activation;
use crate::host::floats;

/// Added to variances; PyTorch's default.
pub(crate) const EPSILON: f64 = 1e-5;

/// A batch normalised by its own statistics.
#[derive(Clone, Debug)]
pub struct BatchNormalised {
    /// The normalised and activated maps: `[batch, channels, height, width]`.
    pub output: Tensor<4>,
    /// Mean of each channel, without autodiff: `[channels]`.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, without autodiff: `[channels]`.
    pub variance: Tensor<1>,
}

/// Normalises by the statistics of the batch, scales, shifts and activates.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`
/// - `weight`, `bias`: `[channels]`
/// - output: see [`BatchNormalised`]
pub fn batch_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    activation: Activation,
) -> BatchNormalised {
    let device = x.device().without_autodiff();
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return batch_norm_composed(x, weight, bias, activation);
    }
    let [_, channels, _, _] = x.dims();
    assert_shape!(weight, [channels]);
    assert_shape!(bias, [channels]);
    let found = Arc::new(OnceLock::new());
    let output = Tensor::from_dispatch(<Dispatch as BatchNormOps>::batch_norm_op(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        activation,
        Arc::clone(&found),
    ));
    let Some(moments) = found.get() else { unreachable!("the forward pass leaves its statistics") };
    let Moments { count: _, mean, variance } = moments;
    let tensor = |values: &[f64]| floats(values.iter().map(|&value| value as f32).collect(), &device);
    BatchNormalised { output, mean: tensor(mean), variance: tensor(variance) }
}

/// [`batch_norm`] by Burn's own operations: for any device, and the oracle of the op.
///
/// # Shapes
/// As [`batch_norm`].
pub fn batch_norm_composed(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    activation: Activation,
) -> BatchNormalised {
    let [_, channels, _, _] = x.dims();
    let over_batch = |values: Tensor<4>| values.mean_dim(0).mean_dim(2).mean_dim(3);
    let per_channel = |values: Tensor<1>| values.reshape([1, channels, 1, 1]);
    let mean = over_batch(x.clone());
    let centred = x - mean.clone();
    let variance = over_batch(centred.clone().square());
    let normalised = centred / (variance.clone() + EPSILON).sqrt();
    let y = normalised * per_channel(weight) + per_channel(bias);
    let output = match activation {
        Activation::Identity => y,
        Activation::Relu => relu(y),
    };
    let [mean, variance] = [mean, variance].map(|values| values.reshape([channels]).without_autodiff());
    BatchNormalised { output, mean, variance }
}

/// Statistics of each channel over a batch.
///
/// This is where statistics of several processes will meet: means and variances of parts merge into those of the
/// whole ([`Moments::merge`]), in the backward pass two sums a channel do (`batch_norm_flex.rs`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    /// Values of one channel.
    pub(crate) count: f64,
    pub(crate) mean: Vec<f64>,
    /// Biased.
    pub(crate) variance: Vec<f64>,
}

impl Moments {
    /// No values of `channels` channels.
    pub(crate) fn none(channels: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; channels], variance: vec![0.0; channels] }
    }

    /// The statistics of both batches together. Chan, Golub and LeVeque 1979, without cancellation.
    pub(crate) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let share = other.count / count;
        for channel in 0..self.mean.len() {
            let difference = other.mean[channel] - self.mean[channel];
            self.mean[channel] += difference * share;
            self.variance[channel] += share * (other.variance[channel] - self.variance[channel])
                + share * (1.0 - share) * difference * difference;
        }
        self.count = count;
    }
}

/// What the backward pass reads again.
#[derive(Clone, Debug)]
pub(crate) struct BatchNormState<T> {
    pub(crate) x: T,
    pub(crate) weight: T,
    pub(crate) bias: T,
    pub(crate) activation: Activation,
    pub(crate) moments: Arc<OnceLock<Moments>>,
}

/// Gradients of the op's parents.
#[derive(Debug)]
pub(crate) struct BatchNormGradients<T> {
    pub(crate) x: T,
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// The op.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait BatchNormOps: Backend {
    /// Normalises and activates; leaves the statistics in `moments`.
    fn batch_norm_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
        moments: Arc<OnceLock<Moments>>,
    ) -> FloatTensor<Self>;
}

/// The backward pass of the op, for backends that compute.
pub(crate) trait BatchNormBackwardOps: BatchNormOps {
    /// The gradients of the parents, given that of the output.
    fn batch_norm_backward(
        state: BatchNormState<FloatTensor<Self>>,
        grad: FloatTensor<Self>,
    ) -> BatchNormGradients<FloatTensor<Self>>;
}

impl<B: BatchNormBackwardOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn batch_norm_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
        moments: Arc<OnceLock<Moments>>,
    ) -> FloatTensor<Self> {
        let parents = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        let output =
            B::batch_norm_op(x.clone(), weight.clone(), bias.clone(), activation, Arc::clone(&moments));
        let prepared = Backward::<B, 3>::prepare::<C>(BatchNormBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish(BatchNormState { x, weight, bias, activation, moments }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// The op's place in the graph: its parents are input, weight and bias.
#[derive(Debug)]
struct BatchNormBackward;

impl<B: BatchNormBackwardOps> Backward<B, 3> for BatchNormBackward {
    type State = BatchNormState<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let BatchNormGradients { x, weight, bias } = B::batch_norm_backward(ops.state, grad);
        for (node, grad) in ops.parents.into_iter().zip([x, weight, bias]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_parts_merge_into_those_of_the_whole() {
        // 1, 3 and then 5: mean 3, variance (4 + 0 + 4) / 3.
        let mut moments = Moments::none(1);
        moments.merge(&Moments { count: 2.0, mean: vec![2.0], variance: vec![1.0] });
        moments.merge(&Moments { count: 1.0, mean: vec![5.0], variance: vec![0.0] });
        assert_eq!((moments.count, moments.mean[0]), (3.0, 3.0));
        assert!((moments.variance[0] - 8.0 / 3.0).abs() < 1e-12);
    }
}
