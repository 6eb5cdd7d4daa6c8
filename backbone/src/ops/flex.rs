//! The fused operations on Flex tensors: from tensors to slices and back.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::tensor::TensorData;

use super::cpu::block_forward::{BlockInputs, Keep, MixingInputs, Saved, block_forward};
use super::cpu::buffer::Buffer;
use super::cpu::depthwise::Images;
use super::cpu::field::Field;
use super::cpu::layer_norm::{Normalised, layer_norm};
use super::cpu::linear::{Linear, linear};
use super::cpu::patch_conv::{Patches, Strided, patch_conv};
use super::extension::{BLOCK_TENSORS, FusedOps};
use crate::mask::Mask;

/// The values of a contiguous tensor.
pub(super) fn floats(tensor: &FlexTensor) -> &[f32] {
    match tensor.as_slice() {
        Some(floats) => floats,
        None => unreachable!("the tensor was made contiguous, and `is_fused` asked for f32"),
    }
}

/// A tensor of these values.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// The sizes of a tensor with four axes.
pub(super) fn sizes(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims()
}

/// The sizes of an NHWC tensor.
pub(super) fn images(x: &FlexTensor) -> Images {
    let [batch, height, width, channels] = sizes(x);
    Images { batch, height, width, channels }
}

/// Everything a block reads, contiguous, in the order of [`FusedOps::fused_block`].
#[derive(Clone, Debug)]
pub(super) struct BlockTensors {
    tensors: [FlexTensor; BLOCK_TENSORS],
    is_grn: bool,
    is_scaled: bool,
    mask: Option<Arc<Mask>>,
}

impl BlockTensors {
    pub(super) fn new(
        tensors: [FlexTensor; BLOCK_TENSORS],
        is_grn: bool,
        is_scaled: bool,
        mask: Option<Arc<Mask>>,
    ) -> Self {
        Self { tensors: tensors.map(|tensor| tensor.to_contiguous()), is_grn, is_scaled, mask }
    }

    pub(super) fn is_grn(&self) -> bool {
        self.is_grn
    }

    pub(super) fn field(&self) -> Field<'_> {
        let [x, ..] = &self.tensors;
        let images = images(x);
        match &self.mask {
            None => Field::whole(images),
            Some(mask) => Field::visible(mask, images.width, images.channels),
        }
    }

    /// The shapes, in the same order.
    pub(super) fn shapes(&self) -> [burn::tensor::Shape; BLOCK_TENSORS] {
        self.tensors.each_ref().map(|tensor| tensor.layout().shape().clone())
    }

    pub(super) fn inputs(&self) -> BlockInputs<'_> {
        let [
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
        ] = self.tensors.each_ref().map(floats);
        BlockInputs {
            x,
            depthwise_weight,
            depthwise_bias,
            norm_weight,
            norm_bias,
            expand_weight,
            expand_bias,
            contract_weight,
            contract_bias,
            mixing: if self.is_grn {
                MixingInputs::Grn { gamma, beta }
            } else {
                MixingInputs::LayerScale { gamma }
            },
            scale: self.is_scaled.then_some(scale),
        }
    }

    pub(super) fn forward(&self, keep: Keep) -> (FlexTensor, Option<Saved>) {
        let [x, ..] = &self.tensors;
        let shape = sizes(x);
        let mut output = vec![0.0; shape.iter().product()];
        let saved = block_forward(self.inputs(), self.field(), keep, &mut output);
        (tensor(output, shape), saved)
    }
}

/// LayerNorm, and what its backward needs if that follows.
pub(super) fn norm_forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    keep: Keep,
) -> (FlexTensor, Option<Normalised>) {
    let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.to_contiguous());
    let values = floats(&x);
    let positions = values.len() / floats(&weight).len().max(1);
    let mut normalised = (keep == Keep::ForBackward)
        .then(|| Normalised { values: Buffer::new(values.len()), inverse: Buffer::new(positions) });
    let mut output = vec![0.0; values.len()];
    layer_norm(values, floats(&weight), floats(&bias), &mut output, normalised.as_mut());
    (tensor(output, sizes(&x)), normalised)
}

/// Sizes of a patch convolution.
pub(super) fn patches(x: &FlexTensor, weight: &FlexTensor) -> Patches {
    let [outputs, _, side, _] = sizes(weight);
    Patches { images: images(x), side, outputs }
}

/// Calls `work` with a view of an NHWC tensor as it lies in memory.
pub(super) fn with_strided<R>(x: &FlexTensor, work: impl FnOnce(Strided<'_>) -> R) -> R {
    let layout = x.layout();
    let copy;
    let x = if layout.strides().iter().all(|&stride| stride >= 0) {
        x
    } else {
        copy = x.to_contiguous();
        &copy
    };
    let layout = x.layout();
    let mut strides = [0; 4];
    for (stride, &from) in strides.iter_mut().zip(layout.strides()) {
        *stride = from.unsigned_abs();
    }
    work(Strided { data: &x.storage::<f32>()[layout.start_offset()..], strides })
}

pub(super) fn patch_forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
    let patches = patches(x, &weight);
    let [rows, columns] = patches.grid();
    let shape = [patches.images.batch, rows, columns, patches.outputs];
    let mut output = vec![0.0; shape.iter().product()];
    with_strided(x, |x| {
        patch_conv(x, patches, floats(&weight), floats(&bias), &mut output);
    });
    tensor(output, shape)
}

/// Sizes of a linear layer.
pub(super) fn linear_sizes(x: &FlexTensor, weight: &FlexTensor) -> Linear {
    let [rows, inputs] = x.layout().shape().dims();
    let [_, outputs] = weight.layout().shape().dims();
    Linear { rows, inputs, outputs }
}

impl FusedOps for Flex {
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
        _is_recomputed: bool,
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
        let (output, _) = BlockTensors::new(tensors, is_grn, is_scaled, mask).forward(Keep::Nothing);
        output
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        norm_forward(x, weight, bias, Keep::Nothing).0
    }

    fn fused_patch_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        patch_forward(&x, &weight, &bias)
    }

    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [x, weight, bias] = [x, weight, bias].map(|tensor| tensor.to_contiguous());
        let sizes = linear_sizes(&x, &weight);
        let output = linear(sizes, floats(&x), floats(&weight), floats(&bias));
        tensor(output, [sizes.rows, sizes.outputs])
    }
}
