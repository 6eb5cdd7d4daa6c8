//! Global Response Normalization (GRN): lets channels compete, so that no feature map collapses.
//!
//! Paper: ConvNeXt V2, Woo et al. 2023, <https://arxiv.org/abs/2301.00808>, section 3.
//!
//! ```text
//! g[c] = ||x[.., .., c]||_2            over height and width of one image
//! n[c] = g[c] / (mean_c g + 1e-6)
//! y    = gamma * (x * n) + beta + x
//! ```
//!
//! The paper's equation divides by the sum; all published code divides by the mean, and so do we.

use burn::module::{Initializer, Param};
use burn::prelude::*;

/// The two parameters of GRN. The arithmetic is part of the block's (see `ops`).
#[derive(Module, Debug)]
pub struct Grn {
    /// Strength of the competition: `[channels]`, zero at the start.
    pub gamma: Param<Tensor<1>>,
    /// Shift: `[channels]`, zero at the start.
    pub beta: Param<Tensor<1>>,
}

impl Grn {
    /// A fresh layer, which is the identity.
    pub fn init(channels: usize, device: &Device) -> Self {
        Self {
            gamma: Initializer::Zeros.init([channels], device),
            beta: Initializer::Zeros.init([channels], device),
        }
    }
}
