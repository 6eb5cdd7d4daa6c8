//! Dense convolution as an op of its own, with its own backward, where the device has one.
//!
//! On Flex the work is one matrix product for every tap of the kernel, on shifted views of a padded image
//! (`conv_flex.rs`), with the activation in the same pass. On every other device it is Burn's convolution.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, backend_extension};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::ops::ConvOptions;
use cvx_backbone::precision::dense_conv2d;

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// Negative values become zero.
    Relu,
}

impl Activation {
    /// The activation of one value.
    #[inline(always)]
    pub(crate) fn apply(self, value: f32) -> f32 {
        match self {
            Self::Identity => value,
            // Not `max`, which would hide what is not a number.
            Self::Relu if value < 0.0 => 0.0,
            Self::Relu => value,
        }
    }
}

/// A convolution of stride 1 that keeps height and width.
///
/// # Shapes
/// - `x`: `[batch, inputs, height, width]`
/// - `weight`: `[outputs, inputs, kernel, kernel]`, a kernel of 1 or 3
/// - `bias`: `[outputs]`
/// - output: `[batch, outputs, height, width]`
pub fn conv(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, activation: Activation) -> Tensor<4> {
    let device = x.device().without_autodiff();
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return conv_composed(x, weight, bias, activation);
    }
    let [_, inputs, _, _] = x.dims();
    let [outputs, _, kernel, _] = weight.dims();
    assert!(kernel == 1 || kernel == 3, "a kernel of {kernel} is neither 1 nor 3");
    assert_shape!(weight, [outputs, inputs, kernel, kernel]);
    assert_shape!(bias, [outputs]);
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as ConvOps>::conv_op(x, weight, bias.into_dispatch(), activation))
}

/// [`conv`] by Burn's own operations: for any device, and the oracle of the op.
///
/// # Shapes
/// As [`conv`].
pub fn conv_composed(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, activation: Activation) -> Tensor<4> {
    let [_, _, kernel, _] = weight.dims();
    let padding = kernel / 2;
    let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
    let y = dense_conv2d(x, weight, bias, options);
    match activation {
        Activation::Identity => y,
        Activation::Relu => relu(y),
    }
}

/// What a backward pass reads again.
#[derive(Clone, Debug)]
pub(crate) struct ConvState<T> {
    pub(crate) x: T,
    pub(crate) weight: T,
    /// After the activation.
    pub(crate) output: T,
    pub(crate) activation: Activation,
}

/// Gradients of a convolution's parents.
#[derive(Debug)]
pub(crate) struct ConvGradients<T> {
    /// Absent where nobody asked.
    pub(crate) x: Option<T>,
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// The convolution as an op.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ConvOps: Backend {
    /// Convolves and activates.
    fn conv_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
}

/// The backward pass of the op, for backends that compute.
pub(crate) trait ConvBackwardOps: ConvOps {
    /// The gradients of the parents, given that of the output.
    fn conv_backward(
        state: ConvState<FloatTensor<Self>>,
        grad: FloatTensor<Self>,
        wants_x: bool,
    ) -> ConvGradients<FloatTensor<Self>>;
}

impl<B: ConvBackwardOps, C: CheckpointStrategy> ConvOps for Autodiff<B, C> {
    fn conv_op(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let parents = [x.node(), weight.node(), bias.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        let output = B::conv_op(x.clone(), weight.clone(), bias.into_primitive(), activation);
        let prepared = Backward::<B, 3>::prepare::<C>(ConvBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = ConvState { x, weight, output: output.clone(), activation };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// The op's place in the graph: its parents are input, weight and bias.
#[derive(Debug)]
struct ConvBackward;

impl<B: ConvBackwardOps> Backward<B, 3> for ConvBackward {
    type State = ConvState<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [of_x, of_weight, of_bias] = ops.parents;
        let found = B::conv_backward(ops.state, grad, of_x.is_some());
        if let (Some(node), Some(grad)) = (of_x, found.x) {
            grads.register::<B>(node.id, grad);
        }
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, found.weight);
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, found.bias);
        }
    }
}
