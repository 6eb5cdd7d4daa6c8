//! Fused operations on slices, for the CPU: no tensors here.

pub(crate) mod block_backward;
pub(crate) mod block_contract;
pub(crate) mod block_forward;
pub(crate) mod block_sums;
pub(crate) mod buffer;
pub(crate) mod depthwise;
pub(crate) mod depthwise_weight;
pub(crate) mod dispatch;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod patch_conv;
pub(crate) mod tiles;
