//! RoIAlign composed of gathers and products: runs on any device and checks the op that runs on Flex.
//!
//! Every cell lists the pixels that its samples read with their weights, as mmcv's kernel goes through
//! them; the pixels are gathered and summed as one batched matrix product. RoIs are grouped by level and
//! by the length of their longest list, rounded up to a power of two, so that few of the terms are
//! padding. Differentiable through Burn's own ops (`gather` alone adds up repeated indices without a race
//! on a GPU).

use std::collections::BTreeMap;

use burn::prelude::*;
use burn::tensor::TensorData;

use crate::roi_align::Roi;
use crate::roi_align_plan::{Axis, Pooling};

/// The pixels of one cell, with their weights: positions in `[batch * height * width]`.
type Terms = Vec<(usize, f32)>;

/// RoIs computed together: their positions and their cells.
type Group = Vec<(usize, Vec<Terms>)>;

/// Cuts each RoI out of its level.
///
/// # Shapes
/// - `levels`: `[batch, channels, height, width]`
/// - output: `[rois, channels, side, side]`
pub(crate) fn align(
    levels: &[Tensor<4>],
    scales: &[f32],
    level_of: &[usize],
    rois: &[Roi],
    pooling: Pooling,
) -> Tensor<4> {
    let [_, channels, _, _] = levels[0].dims();
    let side = pooling.side;
    if rois.is_empty() {
        return Tensor::zeros([0, channels, side, side], &levels[0].device());
    }
    let mut groups: BTreeMap<(usize, usize), Group> = BTreeMap::new();
    for (position, (roi, &level)) in rois.iter().zip(level_of).enumerate() {
        let cells = cells(roi, levels[level].dims(), scales[level], pooling);
        let longest = cells.iter().map(Vec::len).max().unwrap_or(0).next_power_of_two();
        groups.entry((level, longest)).or_default().push((position, cells));
    }
    let order: Vec<usize> = groups.values().flatten().map(|&(position, _)| position).collect();
    let pooled = groups
        .into_iter()
        .map(|((level, longest), group)| {
            let cells: Vec<_> = group.into_iter().flat_map(|(_, cells)| cells).collect();
            let rows = weigh(levels[level].clone(), &cells, longest);
            let num_rois = cells.len() / (side * side);
            rows.reshape([num_rois, side, side, channels]).permute([0, 3, 1, 2])
        })
        .collect();
    let mut place = vec![0; rois.len()];
    for (row, &position) in order.iter().enumerate() {
        place[position] = row as i32;
    }
    let place = Tensor::<1, Int>::from_data(TensorData::from(&place[..]), &levels[0].device());
    Tensor::cat(pooled, 0).select(0, place)
}

/// Weighted sums of pixels, one for each list: `[cells, channels]`.
fn weigh(features: Tensor<4>, cells: &[Terms], longest: usize) -> Tensor<2> {
    let [batch, channels, height, width] = features.dims();
    let device = features.device();
    let padded = |cell: &Terms| {
        let mut terms = cell.clone();
        terms.resize(longest, (0, 0.0));
        terms
    };
    let (pixels, weights): (Vec<i32>, Vec<f32>) =
        cells.iter().flat_map(padded).map(|(pixel, weight)| (pixel as i32, weight)).unzip();
    let terms = pixels.len();
    let pixels = Tensor::<2, Int>::from_data(TensorData::new(pixels, [terms, 1]), &device);
    let weights = TensorData::new(weights, [cells.len(), 1, longest]);
    let weights = Tensor::<3>::from_data(weights, &device);
    let rows = features.permute([0, 2, 3, 1]).reshape([batch * height * width, channels]);
    let gathered = rows.gather(0, pixels.expand([terms, channels]));
    let gathered = gathered.reshape([cells.len(), longest, channels]);
    weights.matmul(gathered).reshape([cells.len(), channels])
}

/// The terms of each cell of a RoI, row-major.
fn cells(roi: &Roi, shape: [usize; 4], scale: f32, pooling: Pooling) -> Vec<Terms> {
    let [batch, _, height, width] = shape;
    let Roi { batch_index: image, bbox: [x0, y0, x1, y1] } = *roi;
    assert!(image < batch, "a RoI names image {image} of a batch of {batch}");
    let across = Axis::new(x0, x1, scale, pooling);
    let down = Axis::new(y0, y1, scale, pooling);
    let share = 1.0 / (across.samples * down.samples).max(1) as f32;
    let mut cells = Vec::with_capacity(pooling.side * pooling.side);
    for i in 0..pooling.side {
        for j in 0..pooling.side {
            let mut terms = BTreeMap::new();
            for y in (0..down.samples).filter_map(|sample| down.sample(i, sample, height)) {
                for x in (0..across.samples).filter_map(|sample| across.sample(j, sample, width)) {
                    for (row, near_row) in y {
                        for (column, near_column) in x {
                            let pixel = (image * height + row) * width + column;
                            *terms.entry(pixel).or_insert(0.0) += near_row * near_column * share;
                        }
                    }
                }
            }
            cells.push(terms.into_iter().collect());
        }
    }
    cells
}
