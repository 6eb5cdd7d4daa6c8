//! Cross-entropy of every pixel against logits of a coarser map, as one op where the device has one.
//!
//! ```text
//! z = logits stretched to the labels' size;  loss = sum of w (log sum exp z - z[label]) / divisor
//! ```
//!
//! Of 150 classes at 512 x 512 pixels the stretched logits of one image are 150 MiB, and what autodiff keeps of them
//! is several times as much. On Flex they never exist: `pixel_loss_flex.rs` goes row by row and leaves the gradient
//! of the coarse logits behind. On every other device the loss is composed.

use std::sync::{Arc, OnceLock};

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, backend_extension};
use burn::prelude::*;
use burn::tensor::activation::log_softmax;

use crate::axis_map::AxisMap;
use crate::host::{floats, read_labels};
use crate::resample::resize_bilinear;
use crate::truth::Truth;

/// Keeps quotients finite where every pixel is ignored: `torch.finfo(torch.float32).eps`.
const TINY: f64 = f32::EPSILON as f64;

/// What a sum of cross-entropies is divided by.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum PixelMean {
    /// The number of all pixels, ignored ones included (`avg_non_ignore=False`).
    All,
    /// The number of pixels that are not ignored (`avg_non_ignore=True`).
    NotIgnored,
}

/// Which pixels count how much.
#[derive(Clone, Copy, Debug)]
pub struct PixelWeights<'a> {
    /// Pixels with this label are not learnt from.
    pub ignore_label: usize,
    /// What the sum is divided by, where no class has a weight.
    pub mean: PixelMean,
    /// One factor a class; the sum is then divided by that of the factors of the pixels that are not ignored.
    pub by_class: Option<&'a [f32]>,
}

/// What pixels say about logits.
#[derive(Clone, Debug)]
pub struct PixelLoss {
    /// `[1]`
    pub cross_entropy: Tensor<1>,
    /// Pixels whose most likely class is right, per cent of those not ignored: `[1]`, without gradient.
    pub accuracy: Tensor<1>,
}

/// Stretches logits to the labels' size and compares.
///
/// # Shapes
/// - `logits`: `[batch, classes, height, width]`
/// - `labels`: `[batch, image height, image width]`
/// - output: `[1]` each
///
/// # Panics
/// On Flex, if a label is neither a class nor the one that is ignored.
pub fn pixel_loss(logits: Tensor<4>, labels: Tensor<3, Int>, weights: PixelWeights<'_>) -> PixelLoss {
    let device = logits.device().without_autodiff();
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return pixel_loss_composed(logits, labels, weights);
    }
    let [_, num_classes, height, width] = logits.dims();
    let [_, image_height, image_width] = labels.dims();
    let labels = read_labels(labels, weights.ignore_label, num_classes);
    let counted = labels.iter().flatten().count();
    let by_class = weights.by_class.map_or_else(|| vec![1.0; num_classes], <[f32]>::to_vec);
    let divisor = match (weights.by_class, weights.mean) {
        (None, PixelMean::All) => labels.len() as f64,
        (None, PixelMean::NotIgnored) => counted as f64,
        (Some(by_class), _) => {
            labels.iter().flatten().map(|&class| f64::from(by_class[class as usize])).sum()
        }
    };
    let right = Arc::new(OnceLock::new());
    let task = PixelTask {
        labels: labels.into(),
        by_class: by_class.into(),
        divisor: divisor + TINY,
        rows: AxisMap::linear(height, image_height),
        columns: AxisMap::linear(width, image_width),
        right: Arc::clone(&right),
    };
    let output = <Dispatch as PixelLossOps>::pixel_loss_op(logits.into_dispatch(), task);
    let right = right.get().copied().unwrap_or_default() as f64;
    let accuracy = (100.0 * (right + TINY) / (counted as f64 + TINY)) as f32;
    PixelLoss { cross_entropy: Tensor::from_dispatch(output), accuracy: floats(vec![accuracy], &device) }
}

/// [`pixel_loss`] by Burn's own operations: for any device, and the oracle of the op.
///
/// # Shapes
/// As [`pixel_loss`].
pub fn pixel_loss_composed(
    logits: Tensor<4>,
    labels: Tensor<3, Int>,
    weights: PixelWeights<'_>,
) -> PixelLoss {
    let PixelWeights { ignore_label, mean, by_class } = weights;
    let [_, height, width] = labels.dims();
    let logits = resize_bilinear(logits, [height, width]);
    let Truth { classes, counted } = Truth::new(labels, ignore_label);
    let num_pixels = classes.shape().num_elements();
    let weights = match by_class {
        None => counted.clone(),
        Some(by_class) => {
            let by_class = floats(by_class.to_vec(), &counted.device());
            let of_pixels = by_class.select(0, classes.clone().reshape([num_pixels]));
            counted.clone() * of_pixels.reshape(counted.shape())
        }
    };
    let log_likelihood = log_softmax(logits.clone(), 1).gather(1, classes.clone());
    let sum = (log_likelihood * weights.clone()).sum().neg();
    let cross_entropy = match (by_class, mean) {
        (None, PixelMean::All) => sum / (num_pixels as f64 + TINY),
        (None, PixelMean::NotIgnored) | (Some(_), _) => sum / (weights.sum() + TINY),
    };
    let right = logits.detach().argmax(1).equal(classes).float() * counted.clone();
    let accuracy = (right.sum() + TINY) * 100.0 / (counted.sum() + TINY);
    PixelLoss { cross_entropy, accuracy }
}

/// What the op is told besides the logits.
#[derive(Clone, Debug)]
pub(crate) struct PixelTask {
    /// The class of each pixel of `[batch, image height, image width]`, nothing where it is ignored.
    pub(crate) labels: Arc<[Option<u32>]>,
    /// One factor a class.
    pub(crate) by_class: Arc<[f32]>,
    pub(crate) divisor: f64,
    /// From rows of logits to rows of labels.
    pub(crate) rows: AxisMap,
    pub(crate) columns: AxisMap,
    /// Filled with the number of pixels whose most likely class is right.
    pub(crate) right: Arc<OnceLock<usize>>,
}

/// The loss as an op.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait PixelLossOps: Backend {
    /// The loss: `[1]`.
    fn pixel_loss_op(logits: FloatTensor<Self>, task: PixelTask) -> FloatTensor<Self>;
}

/// The op with its gradient, for backends that compute.
pub(crate) trait PixelLossBackwardOps: PixelLossOps {
    /// The loss, and its gradient by the logits.
    fn pixel_loss_and_gradient(logits: FloatTensor<Self>, task: PixelTask) -> [FloatTensor<Self>; 2];
}

impl<B: PixelLossBackwardOps, C: CheckpointStrategy> PixelLossOps for Autodiff<B, C> {
    fn pixel_loss_op(logits: FloatTensor<Self>, task: PixelTask) -> FloatTensor<Self> {
        let parent = logits.node();
        let logits = logits.into_primitive();
        let prepared = Backward::<B, 1>::prepare::<C>(PixelLossBackward, [parent]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let [loss, gradient] = B::pixel_loss_and_gradient(logits, task);
                prepared.finish(gradient, loss)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::pixel_loss_op(logits, task)),
        }
    }
}

/// The op's place in the graph; its state is the gradient, ready to be scaled.
#[derive(Debug)]
struct PixelLossBackward;

impl<B: PixelLossBackwardOps> Backward<B, 1> for PixelLossBackward {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::float_mul(gradient, B::float_reshape(grad, [1, 1, 1, 1].into()))
        });
    }
}
