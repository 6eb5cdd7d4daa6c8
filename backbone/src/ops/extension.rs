//! The fused operations as a Burn backend extension: on Flex, and with a backward on top of it.
//!
//! No other device has them; `ops` asks [`is_fused`] before it comes here.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DispatchDevice, backend_extension};
use burn::prelude::*;
use burn::tensor::DType;

use crate::mask::Mask;

/// Whether the fused operations run where this tensor lives: in single precision on Flex.
pub(super) fn is_fused<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && matches!(tensor.device().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// How many tensors [`FusedOps::fused_block`] takes.
pub(super) const BLOCK_TENSORS: usize = 12;

/// The fused operations on primitives.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedOps: Backend {
    /// `ops::block`, or `ops::block_of_visible` with a mask. For V1, `gamma` is layer scale and `beta` is not read;
    /// `scale` is read if `is_scaled`; `is_recomputed` says what the backward pass does for inner values.
    #[allow(clippy::too_many_arguments, reason = "the macro takes tensors one by one, and copies this")]
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
    ) -> FloatTensor<Self>;

    /// `ops::layer_norm`.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `ops::patch_conv`.
    fn fused_patch_conv(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `ops::linear` of `[rows, inputs]`.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}
