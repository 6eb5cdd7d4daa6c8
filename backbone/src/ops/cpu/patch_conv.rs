//! Convolutions whose patches do not overlap, as products of patches gathered tile by tile.

use core::ops::Range;

use rayon::prelude::*;

use super::block_sums::add_to;
use super::buffer::{Shared, with_scratch};
use super::depthwise::Images;
use super::linear::column_sums;
use super::matmul::{Matrix, Write, multiply};
use super::tiles::{chunks, tiles};

/// An NHWC image batch to read, wherever its elements lie.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    /// The elements, from the first of the first image.
    pub(crate) data: &'a [f32],
    /// Steps from an image, a row, a column and a channel to the next.
    pub(crate) strides: [usize; 4],
}

/// Sizes of a patch convolution.
#[derive(Clone, Copy)]
pub(crate) struct Patches {
    /// The input.
    pub(crate) images: Images,
    /// Side of a patch.
    pub(crate) side: usize,
    /// Channels of the output.
    pub(crate) outputs: usize,
}

impl Patches {
    /// Floats of a patch.
    fn depth(self) -> usize {
        self.side * self.side * self.images.channels
    }

    /// Patches of an image in each direction.
    pub(crate) fn grid(self) -> [usize; 2] {
        [self.images.height / self.side, self.images.width / self.side]
    }

    /// Patches of the batch.
    fn count(self) -> usize {
        let [rows, columns] = self.grid();
        self.images.batch * rows * columns
    }

    /// Image, first row and first column of a patch.
    fn corner(self, patch: usize) -> [usize; 3] {
        let [rows, columns] = self.grid();
        let row = patch / columns;
        [row / rows, row % rows * self.side, patch % columns * self.side]
    }

    /// Row, column and channel within a patch of the float `index`.
    fn within(self, index: usize) -> [usize; 3] {
        let Images { channels, .. } = self.images;
        let column = index / channels;
        [column / self.side, column % self.side, index % channels]
    }
}

/// The weight `[outputs, channels, side, side]` as `[side, side, channels, outputs]`.
pub(crate) fn patch_weight(weight: &[f32], patches: Patches) -> Vec<f32> {
    let Patches { side, outputs, images } = patches;
    let taps = side * side;
    let mut turned = vec![0.0; weight.len()];
    for (index, row) in turned.chunks_exact_mut(outputs).enumerate() {
        let (tap, channel) = (index / images.channels, index % images.channels);
        for (output, value) in row.iter_mut().enumerate() {
            *value = weight[(output * images.channels + channel) * taps + tap];
        }
    }
    turned
}

/// The reverse of [`patch_weight`].
fn weight_from_patches(turned: &[f32], patches: Patches) -> Vec<f32> {
    let Patches { side, outputs, images } = patches;
    let taps = side * side;
    let mut weight = vec![0.0; turned.len()];
    for (index, row) in turned.chunks_exact(outputs).enumerate() {
        let (tap, channel) = (index / images.channels, index % images.channels);
        for (output, &value) in row.iter().enumerate() {
            weight[(output * images.channels + channel) * taps + tap] = value;
        }
    }
    weight
}

/// Writes the floats `range` of each patch of `tile`, one patch after the other.
fn gather(x: Strided<'_>, patches: Patches, tile: Range<usize>, range: Range<usize>, output: &mut [f32]) {
    let [image_step, row_step, column_step, channel_step] = x.strides;
    let Images { channels, .. } = patches.images;
    // A run of a patch's row lies together when channels and columns do.
    let run = if channel_step == 1 && column_step == channels { patches.side * channels } else { 1 };
    let mut runs = Vec::new();
    let mut index = range.start;
    while index < range.end {
        let [row, column, channel] = patches.within(index);
        let offset = row * row_step + column * column_step + channel * channel_step;
        let length = (run - index % run).min(range.end - index);
        runs.push((offset, length));
        index += length;
    }
    for (patch, output) in tile.zip(output.chunks_exact_mut(range.len())) {
        let [image, row, column] = patches.corner(patch);
        let corner = &x.data[image * image_step + row * row_step + column * column_step..];
        if run == 1 {
            for (value, &(offset, _)) in output.iter_mut().zip(&runs) {
                *value = corner[offset];
            }
        } else {
            let mut output = output;
            for &(offset, length) in &runs {
                let (part, rest) = output.split_at_mut(length);
                part.copy_from_slice(&corner[offset..offset + length]);
                output = rest;
            }
        }
    }
}

/// The convolution, into `output`, `[batch, rows, columns, outputs]`.
pub(crate) fn patch_conv(x: Strided<'_>, patches: Patches, weight: &[f32], bias: &[f32], output: &mut [f32]) {
    let (depth, outputs) = (patches.depth(), patches.outputs);
    let weight = patch_weight(weight, patches);
    let shared = Shared::new(output);
    tiles(patches.count(), depth.max(outputs)).into_par_iter().with_max_len(1).for_each(|tile| {
        // SAFETY: tiles do not overlap.
        let output = unsafe { shared.part(tile.start * outputs, tile.len() * outputs) };
        for row in output.chunks_exact_mut(outputs) {
            row.copy_from_slice(bias);
        }
        with_scratch([tile.len() * depth], |[gathered]| {
            gather(x, patches, tile.clone(), 0..depth, gathered);
            let (left, right) = (Matrix::rows(gathered, depth), Matrix::rows(&weight, outputs));
            multiply([tile.len(), outputs, depth], output, outputs, Write::Add, left, right);
        });
    });
}

/// The gradient with respect to the input, `[batch, height, width, channels]`.
pub(crate) fn patch_conv_input_gradient(patches: Patches, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
    let (depth, outputs) = (patches.depth(), patches.outputs);
    let Images { height, width, channels, .. } = patches.images;
    let weight = patch_weight(weight, patches);
    let mut x = vec![0.0; patches.images.batch * patches.images.floats()];
    let shared = Shared::new(&mut x);
    tiles(patches.count(), depth.max(outputs)).into_par_iter().with_max_len(1).for_each(|tile| {
        with_scratch([tile.len() * depth], |[scattered]| {
            let left = Matrix::rows(&gradient[tile.start * outputs..], outputs);
            let right = Matrix::columns(&weight, outputs);
            multiply([tile.len(), depth, outputs], scattered, depth, Write::Replace, left, right);
            let run = patches.side * channels;
            for (patch, values) in tile.clone().zip(scattered.chunks_exact(depth)) {
                let [image, row, column] = patches.corner(patch);
                for (within_row, values) in values.chunks_exact(run).enumerate() {
                    let row = image * height + row + within_row;
                    // SAFETY: patches do not overlap.
                    let part = unsafe { shared.part((row * width + column) * channels, run) };
                    part.copy_from_slice(values);
                }
            }
        });
    });
    x
}

/// Tasks that a weight's gradient is cut into at least.
const TASKS: usize = 8;

/// Floats of a patch that a task of the weight's gradient takes.
const CHUNK: usize = 128;

/// The gradients with respect to the weight, `[outputs, channels, side, side]`, and the bias.
pub(crate) fn patch_conv_weight_gradient(
    x: Strided<'_>,
    patches: Patches,
    gradient: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let (depth, outputs) = (patches.depth(), patches.outputs);
    let ranges = chunks(depth, CHUNK);
    // Where patches are small, as in the stem, their number is cut instead; sums are added in order.
    let groups = TASKS.div_ceil(ranges.len().max(1));
    let group = patches.count().div_ceil(groups).max(1);
    let tasks: Vec<(Range<usize>, Range<usize>)> = ranges
        .iter()
        .flat_map(|range| {
            let starts = (0..patches.count()).step_by(group);
            starts.map(|start| (range.clone(), start..(start + group).min(patches.count())))
        })
        .collect();
    let parts: Vec<(Range<usize>, Vec<f32>)> = tasks
        .into_par_iter()
        .with_max_len(1)
        .map(|(range, group)| {
            let mut sums = vec![0.0; range.len() * outputs];
            for tile in tiles(group.len(), range.len()) {
                let tile = group.start + tile.start..group.start + tile.end;
                with_scratch([tile.len() * range.len()], |[gathered]| {
                    gather(x, patches, tile.clone(), range.clone(), gathered);
                    let left = Matrix::columns(gathered, range.len());
                    let right = Matrix::rows(&gradient[tile.start * outputs..], outputs);
                    let sizes = [range.len(), outputs, tile.len()];
                    multiply(sizes, &mut sums, outputs, Write::Add, left, right);
                });
            }
            (range, sums)
        })
        .collect();
    let mut turned = vec![0.0; depth * outputs];
    for (range, sums) in parts {
        add_to(&mut turned[range.start * outputs..range.end * outputs], &sums);
    }
    (weight_from_patches(&turned, patches), column_sums(gradient, outputs))
}
