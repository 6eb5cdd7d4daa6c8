//! Four channels become the four pixels of a square.
//!
//! Burn's permutation of six axes copies float by float on one thread, forward and backward; on Flex this is an op whose
//! planes are laid out by all threads. On every other device it is Burn's own.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, Flex, backend_extension};
use burn::prelude::*;
use burn::tensor::{Bytes, DType};
use cvx_backbone::ops::cpu::buffer::zeroed;
use rayon::prelude::*;

/// Doubles height and width: channel `4 c + 2 dy + dx` has the pixels `(2 y + dy, 2 x + dx)` of channel `c`, as in
/// `torch.nn.PixelShuffle(2)`.
///
/// # Shapes
/// - `x`: `[batch, 4 * channels, height, width]`
/// - output: `[batch, channels, 2 * height, 2 * width]`
///
/// # Panics
/// If the channels are no multiple of four, or there are no pixels.
pub fn pixel_shuffle(x: Tensor<4>) -> Tensor<4> {
    let [_, planes, _, _] = x.dims();
    assert_eq!(planes % 4, 0, "{planes} channels are no multiple of four");
    let device = x.device().without_autodiff();
    if x.dtype() != DType::F32 || !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return pixel_shuffle_composed(x);
    }
    Tensor::from_dispatch(<Dispatch as ShuffleOps>::shuffle_op(x.into_dispatch()))
}

/// [`pixel_shuffle`] by Burn's own operations: for any device, and the oracle of the op.
///
/// # Shapes
/// As [`pixel_shuffle`].
///
/// # Panics
/// As [`pixel_shuffle`].
pub fn pixel_shuffle_composed(x: Tensor<4>) -> Tensor<4> {
    let [batch, planes, height, width] = x.dims();
    assert_eq!(planes % 4, 0, "{planes} channels are no multiple of four");
    let squares = x.reshape([batch, planes / 4, 2, 2, height, width]).permute([0, 1, 4, 2, 5, 3]);
    squares.reshape([batch, planes / 4, 2 * height, 2 * width])
}

/// The op; its gradient is laid out the other way round.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ShuffleOps: Backend {
    /// Four planes to one.
    fn shuffle_op(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The op's backward pass, for backends that compute.
pub(crate) trait ShuffleBackwardOps: ShuffleOps {
    /// One plane to four.
    fn shuffle_backward(grad: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl ShuffleOps for Flex {
    fn shuffle_op(x: FlexTensor) -> FlexTensor {
        let [batch, planes, height, width] = x.layout().shape().dims();
        let shape = [batch, planes / 4, 2 * height, 2 * width];
        laid_out(&x, shape, 4 * height * width, |planes, square| {
            for (row, pairs) in square.chunks_exact_mut(2 * width).enumerate() {
                let [even, odd] = [0, 1].map(|column| &planes[source(row, column, [height, width])..]);
                for ((pair, &even), &odd) in pairs.as_chunks_mut().0.iter_mut().zip(even).zip(odd) {
                    *pair = [even, odd];
                }
            }
        })
    }
}

impl ShuffleBackwardOps for Flex {
    fn shuffle_backward(grad: FlexTensor) -> FlexTensor {
        let [batch, channels, rows, columns] = grad.layout().shape().dims();
        let [height, width] = [rows / 2, columns / 2];
        laid_out(&grad, [batch, 4 * channels, height, width], rows * columns, |square, planes| {
            for (row, pairs) in square.chunks_exact(columns).enumerate() {
                for column in [0, 1] {
                    let slopes = &mut planes[source(row, column, [height, width])..][..width];
                    for (slope, pair) in slopes.iter_mut().zip(pairs.as_chunks::<2>().0) {
                        *slope = pair[column];
                    }
                }
            }
        })
    }
}

/// Where in four planes the pixels begin that row `row` of their square has in its even or odd columns.
fn source(row: usize, column: usize, [height, width]: [usize; 2]) -> usize {
    let plane = row % 2 * 2 + column;
    (plane * height + row / 2) * width
}

/// A tensor that `write` makes of another, `four` floats at a time: four planes, or the one that they become.
fn laid_out(
    from: &FlexTensor,
    shape: [usize; 4],
    four: usize,
    write: impl Fn(&[f32], &mut [f32]) + Sync,
) -> FlexTensor {
    let from = from.to_contiguous();
    let values = from.as_slice::<f32>().expect("the op was asked for f32");
    let mut out = zeroed(values.len());
    out.par_chunks_exact_mut(four).zip(values.par_chunks_exact(four)).for_each(|(out, values)| {
        write(values, out);
    });
    FlexTensor::new(Bytes::from_elems(out), Layout::contiguous(shape.into()), DType::F32)
}

impl<B: ShuffleBackwardOps, C: CheckpointStrategy> ShuffleOps for Autodiff<B, C> {
    fn shuffle_op(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let parents = [x.node()];
        let output = B::shuffle_op(x.into_primitive());
        match Backward::<B, 1>::prepare::<C>(ShuffleBackward, parents).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish((), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}

/// The op's place in the graph.
#[derive(Debug)]
struct ShuffleBackward;

impl<B: ShuffleBackwardOps> Backward<B, 1> for ShuffleBackward {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<B>(node.id, B::shuffle_backward(grad));
        }
    }
}
