//! What products are computed in on a GPU.
//!
//! Mixed precision as PyTorch's autocast has it (<https://docs.pytorch.org/docs/stable/amp.html>), but of products alone:
//! inputs and weights of linear layers and dense convolutions are rounded to bfloat16 just before, products are summed in
//! f32, and the sums are rounded once more and widened. Parameters, the residual stream, LayerNorm, GRN, depthwise
//! convolutions, losses and the optimizer stay f32. Gradients go the same way back, and no loss needs scaling: bfloat16
//! reaches as far as f32 does.

use std::cell::Cell;

use burn::prelude::*;
use burn::tensor::FloatDType;
use burn::tensor::module::{self, conv2d};
use burn::tensor::ops::ConvOptions;

thread_local! {
    static OF_THIS_THREAD: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// What products are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As everything else.
    #[default]
    F32,
    /// Inputs and results have 8 bits of precision, sums of products 24.
    Bf16,
}

impl Precision {
    /// Does `work`; all products that this thread begins meanwhile, and their gradients, are in this precision.
    ///
    /// The fused operations on Flex are not concerned: a CPU has no faster bfloat16.
    pub fn scope<R>(self, work: impl FnOnce() -> R) -> R {
        // Also when `work` panics, and a test or a server goes on with the thread.
        struct Restored(Precision);
        impl Drop for Restored {
            fn drop(&mut self) {
                OF_THIS_THREAD.set(self.0);
            }
        }
        let _restored = Restored(OF_THIS_THREAD.replace(self));
        work()
    }

    /// That of the innermost scope on this thread.
    pub fn current() -> Self {
        OF_THIS_THREAD.get()
    }
}

/// A linear layer in the current precision; its bias is added in f32.
///
/// # Shapes
/// - `x`: `[.., inputs]`
/// - `weight`: `[inputs, outputs]`
/// - `bias`: `[outputs]`
/// - output: `[.., outputs]`
pub(crate) fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    match Precision::current() {
        Precision::F32 => module::linear(x, weight, Some(bias)),
        Precision::Bf16 => widened(module::linear(rounded(x), rounded(weight), None)) + bias.unsqueeze(),
    }
}

/// A dense convolution in the current precision; its bias is added in f32.
///
/// # Shapes
/// - `x`: `[batch, inputs, height, width]`
/// - `weight`: `[outputs, inputs, kernel height, kernel width]`
/// - `bias`: `[outputs]`
/// - output: `[batch, outputs, ..]`, as the options have it
pub fn dense_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, options: ConvOptions<2>) -> Tensor<4> {
    match Precision::current() {
        Precision::F32 => conv2d(x, weight, Some(bias), options),
        Precision::Bf16 => {
            let [outputs] = bias.dims();
            let y = conv2d(rounded(x), rounded(weight), None, options);
            widened(y) + bias.reshape([1, outputs, 1, 1])
        }
    }
}

fn rounded<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::BF16)
}

fn widened<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.cast(FloatDType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_ends_with_its_scope_even_when_the_work_panics() {
        assert_eq!(Precision::current(), Precision::F32);
        let inner = Precision::Bf16.scope(|| {
            let inner = Precision::F32.scope(Precision::current);
            [inner, Precision::current()]
        });
        assert_eq!(inner, [Precision::F32, Precision::Bf16]);
        let failed = std::panic::catch_unwind(|| Precision::Bf16.scope(|| panic!("as it may")));
        assert!(failed.is_err());
        assert_eq!(Precision::current(), Precision::F32);
    }
}
