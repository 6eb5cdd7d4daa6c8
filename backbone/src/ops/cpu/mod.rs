//! Fused operations on slices, for the CPU: no tensors here.
//!
//! What is public serves the kernels of cvx-heads, and nobody else.

pub(crate) mod block_backward;
pub(crate) mod block_contract;
pub(crate) mod block_forward;
pub(crate) mod block_sums;
pub mod buffer;
pub(crate) mod depthwise;
pub(crate) mod depthwise_weight;
pub mod dispatch;
pub mod exponential;
pub(crate) mod field;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub mod matmul;
pub(crate) mod norm;
pub(crate) mod patch_conv;
pub(crate) mod tiles;
