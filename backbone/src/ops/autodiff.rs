//! The fused operations under autodiff: one node each, with its own backward.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::TensorData;

use super::cpu::block_backward::{BlockGradients, block_backward};
use super::cpu::block_forward::{Keep, Saved};
use super::cpu::layer_norm::{Normalised, layer_norm_backward};
use super::cpu::linear::{column_sums, linear_input_gradient, linear_weight_gradient};
use super::cpu::patch_conv::{patch_conv_input_gradient, patch_conv_weight_gradient};
use super::extension::{BLOCK_TENSORS, FusedOps};
use super::flex::{
    BlockTensors, floats, linear_sizes, norm_forward, patch_forward, patches, sizes, tensor, with_strided,
};
use crate::mask::Mask;

#[derive(Debug)]
struct Block;

impl Backward<Flex, BLOCK_TENSORS> for Block {
    /// Without what was saved, it is computed once more.
    type State = (BlockTensors, Option<Saved>);

    fn backward(
        self,
        ops: Ops<Self::State, BLOCK_TENSORS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (tensors, saved) = ops.state;
        let saved = saved.or_else(|| tensors.forward(Keep::ForBackward).1);
        let Some(saved) = saved else { unreachable!("`ForBackward` keeps something") };
        let shapes = tensors.shapes();
        let is_grn = tensors.is_grn();
        let BlockGradients {
            x,
            depthwise_weight,
            depthwise_bias,
            norm_weight,
            norm_bias,
            expand_weight,
            expand_bias,
            contract_weight,
            contract_bias,
            gamma,
            beta,
        } = block_backward(tensors.inputs(), tensors.field(), saved, floats(&gradient));
        let gradients = [
            Some(x),
            Some(depthwise_weight),
            Some(depthwise_bias),
            Some(norm_weight),
            Some(norm_bias),
            Some(expand_weight),
            Some(expand_bias),
            Some(contract_weight),
            Some(contract_bias),
            Some(gamma),
            is_grn.then_some(beta),
            None,
        ];
        let parents = ops.parents.into_iter().zip(gradients).zip(shapes);
        for ((parent, gradient), shape) in parents {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                let gradient = FlexTensor::from_data(TensorData::new(gradient, shape));
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct LayerNorm;

impl Backward<Flex, 3> for LayerNorm {
    type State = (FlexTensor, Normalised);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (weight, normalised) = ops.state;
        let weight = weight.to_contiguous();
        let gradients = layer_norm_backward(&normalised, floats(&weight), floats(&gradient));
        let channels = floats(&weight).len();
        let [x, weight, bias] = ops.parents;
        if let Some(x) = x {
            grads.register::<Flex>(x.id, tensor(gradients.x, sizes(&gradient)));
        }
        if let Some(weight) = weight {
            grads.register::<Flex>(weight.id, tensor(gradients.weight, [channels]));
        }
        if let Some(bias) = bias {
            grads.register::<Flex>(bias.id, tensor(gradients.bias, [channels]));
        }
    }
}

#[derive(Debug)]
struct PatchConv;

impl Backward<Flex, 3> for PatchConv {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let gradient = floats(&gradient);
        let (x, weight) = ops.state;
        let weight = weight.to_contiguous();
        let patches = patches(&x, &weight);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = x_node {
            let values = patch_conv_input_gradient(patches, floats(&weight), gradient);
            grads.register::<Flex>(node.id, tensor(values, sizes(&x)));
        }
        if weight_node.is_none() && bias_node.is_none() {
            return;
        }
        let (weight_gradient, bias_gradient) =
            with_strided(&x, |x| patch_conv_weight_gradient(x, patches, gradient));
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, tensor(weight_gradient, sizes(&weight)));
        }
        if let Some(node) = bias_node {
            grads.register::<Flex>(node.id, tensor(bias_gradient, [patches.outputs]));
        }
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 3> for Linear {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node).to_contiguous();
        let gradient = floats(&gradient);
        let (x, weight) = ops.state;
        let sizes = linear_sizes(&x, &weight);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = x_node {
            let values = linear_input_gradient(sizes, floats(&weight), gradient);
            grads.register::<Flex>(node.id, tensor(values, [sizes.rows, sizes.inputs]));
        }
        if let Some(node) = weight_node {
            let values = linear_weight_gradient(sizes, floats(&x), gradient);
            grads.register::<Flex>(node.id, tensor(values, [sizes.inputs, sizes.outputs]));
        }
        if let Some(node) = bias_node {
            let values = column_sums(gradient, sizes.outputs);
            grads.register::<Flex>(node.id, tensor(values, [sizes.outputs]));
        }
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_block(
        x: FloatTensor<Self>,
        depthwise_weight: FloatTensor<Self>,
        depthwise_bias: FloatTensor<Self>,
        norm_weight: FloatTensor<Self>,
        norm_bias: FloatTensor<Self>,
        expand_weight: FloatTensor<Self>,
        expand_bias: FloatTensor<Self>,
        contract_weight: FloatTensor<Self>,
        contract_bias: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        is_grn: bool,
        is_scaled: bool,
        is_recomputed: bool,
        mask: Option<Arc<Mask>>,
    ) -> FloatTensor<Self> {
        let tensors = [
            x,
            depthwise_weight,
            depthwise_bias,
            norm_weight,
            norm_bias,
            expand_weight,
            expand_bias,
            contract_weight,
            contract_bias,
            gamma,
            beta,
            scale,
        ];
        let nodes = tensors.each_ref().map(|tensor| tensor.node());
        let tensors = tensors.map(|tensor| tensor.into_primitive());
        let tensors = BlockTensors::new(tensors, is_grn, is_scaled, mask);
        match Block.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                // The same pass either way: one that keeps nothing adds in another order.
                let (output, saved) = tensors.forward(Keep::ForBackward);
                prepared.finish((tensors, saved.filter(|_| !is_recomputed)), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(tensors.forward(Keep::Nothing).0),
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let kept = norm_forward(x, weight.clone(), bias, Keep::ForBackward);
                match kept {
                    (output, Some(normalised)) => prepared.finish((weight, normalised), output),
                    (_, None) => unreachable!("`ForBackward` keeps something"),
                }
            }
            OpsKind::UnTracked(prepared) => prepared.finish(norm_forward(x, weight, bias, Keep::Nothing).0),
        }
    }

    fn fused_patch_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive());
        let output = patch_forward(&x, &weight, &bias);
        match PatchConv.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.into_primitive().to_contiguous());
        let output = Flex::fused_linear(x.clone(), weight.clone(), bias);
        match Linear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((x, weight), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
