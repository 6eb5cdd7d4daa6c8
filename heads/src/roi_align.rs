//! RoIAlign: cuts every region of interest (RoI) out of a feature map, resampled to one size.
//!
//! Paper: Mask R-CNN, He et al. 2017, <https://arxiv.org/abs/1703.06870>, section 3. Semantics of mmcv's
//! `roi_align` with average pooling:
//!
//! ```text
//! out[roi, c, i, j] = mean over the cell's samples (y, x) of bilinear(features[c], y, x)
//! ```
//!
//! A cell has `sampling_ratio` samples an axis, or as many as it is pixels long, rounded up, where the
//! ratio is 0 (adaptive). A sample more than a pixel outside reads 0, one less far outside the nearest
//! pixel. With `aligned`, pixel centres lie at one half and a RoI may be as small as it is; without, at 0,
//! and a RoI is at least one pixel long.
//!
//! On Flex this is one op with its own backward (`roi_align_flex.rs`); on every other device it is
//! composed of gathers and products (`roi_align_composed.rs`), which also is the oracle of the tests.
//!
//! # No RoIs
//! Zero RoIs are an input like any other: the output is `[0, channels, side, side]`, and backward gives
//! zeros. Flex computes with empty tensors, but not every op of every device does: a head that would go
//! on to a convolution or a mean over RoIs should return early when there are none.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchDevice, backend_extension};
use burn::prelude::*;

use crate::roi_align_composed as composed;
use crate::roi_align_plan::{Pooling, RoiAlignPlan};

/// A region of interest of one image of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// Which image of the batch.
    pub batch_index: usize,
    /// Corners (x0, y0, x1, y1) in input pixels.
    pub bbox: [f32; 4],
}

/// RoIAlign on one feature map.
///
/// `spatial_scale` is one over the map's stride; `sampling_ratio` 0 is adaptive.
///
/// # Shapes
/// - `features`: `[batch, channels, height, width]`
/// - output: `[rois, channels, output_side, output_side]`, in the order of the RoIs, also if there are none
///
/// # Panics
/// If a RoI names an image that the batch lacks.
pub fn roi_align(
    features: Tensor<4>,
    rois: &[Roi],
    output_side: usize,
    spatial_scale: f32,
    sampling_ratio: usize,
    aligned: bool,
) -> Tensor<4> {
    let pooling = Pooling { side: output_side, sampling_ratio, aligned };
    align(vec![features], &[spatial_scale], &vec![0; rois.len()], rois, pooling)
}

/// Aligned RoIAlign over a pyramid: each RoI is cut out of the level that fits its size.
///
/// `sampling_ratio` 0 is adaptive. The levels' channels are equal, and `strides[0]` is the finest.
///
/// # Shapes
/// - `levels`: one to four maps `[batch, channels, height, width]`
/// - output: `[rois, channels, output_side, output_side]`, in the order of the RoIs, also if there are none
///
/// # Panics
/// If there are not one to four levels with one stride each, or a RoI names an image that the batch lacks.
pub fn roi_align_levels(
    levels: &[Tensor<4>],
    strides: &[usize],
    rois: &[Roi],
    output_side: usize,
    sampling_ratio: usize,
) -> Tensor<4> {
    let pooling = Pooling { side: output_side, sampling_ratio, aligned: true };
    let (scales, level_of) = pyramid(strides, rois);
    align(levels.to_vec(), &scales, &level_of, rois, pooling)
}

/// [`roi_align`] composed of Burn's own ops: slower, for any device, and the oracle of the op.
///
/// # Shapes
/// As [`roi_align`].
pub fn roi_align_composed(
    features: Tensor<4>,
    rois: &[Roi],
    output_side: usize,
    spatial_scale: f32,
    sampling_ratio: usize,
    aligned: bool,
) -> Tensor<4> {
    let pooling = Pooling { side: output_side, sampling_ratio, aligned };
    composed::align(&[features], &[spatial_scale], &vec![0; rois.len()], rois, pooling)
}

/// [`roi_align_levels`] composed of Burn's own ops: slower, for any device, and the oracle of the op.
///
/// # Shapes
/// As [`roi_align_levels`].
pub fn roi_align_levels_composed(
    levels: &[Tensor<4>],
    strides: &[usize],
    rois: &[Roi],
    output_side: usize,
    sampling_ratio: usize,
) -> Tensor<4> {
    let pooling = Pooling { side: output_side, sampling_ratio, aligned: true };
    let (scales, level_of) = pyramid(strides, rois);
    composed::align(levels, &scales, &level_of, rois, pooling)
}

/// A RoI of this size (square root of its area, input pixels) or less belongs to the finest level up to
/// twice as large. mmdet, `single_level_roi_extractor.py`, `finest_scale`.
const FINEST_SIZE: f32 = 56.0;

/// The pyramid level, finest first, that a RoI is cut out of: `log2(sqrt(area) / 56 + 1e-6)`, rounded
/// down and kept within the levels.
pub fn roi_level([x0, y0, x1, y1]: [f32; 4], num_levels: usize) -> usize {
    let size = ((x1 - x0) * (y1 - y0)).sqrt();
    let level = (size / FINEST_SIZE + 1e-6).log2().floor();
    // `as` takes what is below zero, or not a number, to 0.
    (level as usize).min(num_levels - 1)
}

fn pyramid(strides: &[usize], rois: &[Roi]) -> (Vec<f32>, Vec<usize>) {
    let scales = strides.iter().map(|&stride| 1.0 / stride as f32).collect();
    let level_of = rois.iter().map(|roi| roi_level(roi.bbox, strides.len())).collect();
    (scales, level_of)
}

fn align(
    levels: Vec<Tensor<4>>,
    scales: &[f32],
    level_of: &[usize],
    rois: &[Roi],
    pooling: Pooling,
) -> Tensor<4> {
    let num_levels = levels.len();
    assert!((1..=LEVELS).contains(&num_levels), "{num_levels} levels are not one to four");
    assert_eq!(num_levels, scales.len(), "one stride a level");
    let device = levels[0].device().without_autodiff();
    if !matches!(device.as_dispatch(), DispatchDevice::Flex(_)) {
        return composed::align(&levels, scales, level_of, rois, pooling);
    }
    let [batch, channels, _, _] = levels[0].dims();
    let absent = || Tensor::<4>::zeros([batch, channels, 1, 1], &device);
    let mut levels = levels.into_iter();
    let levels: [_; LEVELS] = std::array::from_fn(|_| levels.next().unwrap_or_else(absent));
    let plan =
        RoiAlignPlan::new(levels.each_ref().map(|level| level.dims()), scales, level_of, rois, pooling);
    let [finest, second, third, coarsest] = levels.map(Tensor::into_dispatch);
    let plan = Arc::new(plan);
    Tensor::from_dispatch(<Dispatch as RoiAlignOps>::roi_align_op(finest, second, third, coarsest, plan))
}

/// Levels of the op. It takes each as an argument of its own, because extensions of Burn 0.22 take no
/// lists of tensors; where there are fewer, a map of one pixel stands in that no RoI is cut out of.
pub(crate) const LEVELS: usize = 4;

/// RoIAlign as an op of its own, where the device has one.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait RoiAlignOps: Backend {
    /// Cuts the RoIs of the plan out of the levels.
    fn roi_align_op(
        finest: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        coarsest: FloatTensor<Self>,
        plan: Arc<RoiAlignPlan>,
    ) -> FloatTensor<Self>;

    /// The gradient of every level, given that of the output.
    fn roi_align_backward(grad: FloatTensor<Self>, plan: Arc<RoiAlignPlan>) -> Vec<FloatTensor<Self>>;
}

impl<B: RoiAlignOps, C: CheckpointStrategy> RoiAlignOps for Autodiff<B, C> {
    fn roi_align_op(
        finest: FloatTensor<Self>,
        second: FloatTensor<Self>,
        third: FloatTensor<Self>,
        coarsest: FloatTensor<Self>,
        plan: Arc<RoiAlignPlan>,
    ) -> FloatTensor<Self> {
        let parents = [finest.node(), second.node(), third.node(), coarsest.node()];
        let out = B::roi_align_op(
            finest.into_primitive(),
            second.into_primitive(),
            third.into_primitive(),
            coarsest.into_primitive(),
            plan.clone(),
        );
        let prepared = Backward::<B, LEVELS>::prepare::<C>(RoiAlignBackward, parents);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(plan, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }

    fn roi_align_backward(_grad: FloatTensor<Self>, _plan: Arc<RoiAlignPlan>) -> Vec<FloatTensor<Self>> {
        panic!("RoIAlign has a first derivative only")
    }
}

/// The op's place in the graph: its parents are the levels.
#[derive(Debug)]
struct RoiAlignBackward;

impl<B: RoiAlignOps> Backward<B, LEVELS> for RoiAlignBackward {
    type State = Arc<RoiAlignPlan>;

    fn backward(
        self,
        ops: Ops<Self::State, LEVELS>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let of_levels = B::roi_align_backward(grad, ops.state);
        for (parent, grad) in ops.parents.into_iter().zip(of_levels) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}
