//! Depthwise 7x7 convolution of NHWC images, and its gradient with respect to them.
//!
//! A task takes a band of one image's rows. It keeps the seven rows it needs in a ring, cut into
//! vectors of channels and padded on both sides, so that the inner loops have no edges: eight
//! outputs stay in registers while the 49 weights pass. Positions that are not in memory, where a [`Field`]
//! is sparse, are zeros to it, and it computes nothing for them.

use core::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::buffer::with_scratch;
use super::dispatch::run;
use super::field::{Field, Runs, Segment};
use crate::block::KERNEL;

/// Rows and columns on each side of an output that it depends on.
pub(super) const MARGIN: usize = KERNEL / 2;

/// Weights of a channel.
pub(super) const TAPS: usize = KERNEL * KERNEL;

/// Outputs of a row that are computed together.
const TOGETHER: usize = 8;

/// Bands that a batch is cut into, where rows suffice: enough for the threads of a large machine.
const BANDS: usize = 32;

/// Sizes of an NHWC tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images {
    /// Number of images.
    pub(crate) batch: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Columns.
    pub(crate) width: usize,
    /// Channels.
    pub(crate) channels: usize,
}

impl Images {
    /// Positions of one image.
    pub(crate) fn positions(self) -> usize {
        self.height * self.width
    }

    /// Floats of one image.
    pub(crate) fn floats(self) -> usize {
        self.positions() * self.channels
    }

    /// Image and rows of each task; depends on the sizes alone.
    pub(super) fn bands(self) -> Vec<(usize, Range<usize>)> {
        let per_image = BANDS.div_ceil(self.batch.max(1));
        let rows = self.height.div_ceil(per_image).max(KERNEL);
        let starts = (0..self.height).step_by(rows);
        (0..self.batch)
            .flat_map(|image| {
                starts.clone().map(move |start| (image, start..(start + rows).min(self.height)))
            })
            .collect()
    }
}

/// Which way the kernel is laid over the image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// As the convolution does.
    Forward,
    /// Mirrored, as its gradient with respect to the input does.
    Backward,
}

/// What happens to the results of a few positions, `[positions, stride]` with `channels` of each `stride` in use.
pub(crate) trait FinishRow: Sync {
    /// Takes `len` positions, the first of which is number `position` of the batch.
    fn finish<S: Simd>(&self, simd: S, position: usize, len: usize, results: &[f32], stride: usize);
}

/// Convolves `x`, `[positions, channels]`, and hands the results to `finish`.
///
/// `weight` is `[channels, 1, 7, 7]`.
pub(crate) fn depthwise(
    x: &[f32],
    field: Field<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    direction: Direction,
    finish: &impl FinishRow,
) {
    run(Convolve { x, field, weight, bias, direction, finish });
}

struct Convolve<'a, F> {
    x: &'a [f32],
    field: Field<'a>,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    direction: Direction,
    finish: &'a F,
}

impl<F: FinishRow> pulp::WithSimd for Convolve<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Images { channels, .. } = self.field.maps;
        let lanes = S::F32_LANES;
        let blocks = channels.div_ceil(lanes);
        // Weights as [block of channels][tap][lane], then biases as [block][lane].
        let mut packed = vec![0.0; blocks * (TAPS + 1) * lanes];
        let (weight, bias) = packed.split_at_mut(blocks * TAPS * lanes);
        for (channel, taps) in self.weight.chunks_exact(TAPS).enumerate() {
            let start = channel / lanes * TAPS * lanes + channel % lanes;
            for (tap, &value) in taps.iter().enumerate() {
                let tap = match self.direction {
                    Direction::Forward => tap,
                    Direction::Backward => TAPS - 1 - tap,
                };
                weight[start + tap * lanes] = value;
            }
        }
        if let Some(values) = self.bias {
            bias[..channels].copy_from_slice(values);
        }
        let (weight, bias) = (&*weight, &*bias);
        let ring = Ring::<S>::new(self.field);
        let sizes = [ring.len(), ring.outputs * ring.blocks * lanes];
        self.field.maps.bands().into_par_iter().with_max_len(1).for_each(|(image, rows)| {
            with_scratch(sizes, |[floats, results]| {
                run(ConvolveBand {
                    x: self.x,
                    field: self.field,
                    weight,
                    bias,
                    image,
                    rows,
                    floats,
                    results,
                    finish: self.finish,
                });
            });
        });
    }
}

struct ConvolveBand<'a, F> {
    x: &'a [f32],
    field: Field<'a>,
    weight: &'a [f32],
    bias: &'a [f32],
    image: usize,
    rows: Range<usize>,
    floats: &'a mut [f32],
    results: &'a mut [f32],
    finish: &'a F,
}

impl<F: FinishRow> pulp::WithSimd for ConvolveBand<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, field, image, floats, results, .. } = self;
        let ring = Ring::<S>::new(field);
        let stride = ring.blocks * S::F32_LANES;
        floats.fill(0.0);
        for row in self.rows.start.saturating_sub(MARGIN)..self.rows.start + MARGIN {
            ring.load(simd, floats, x, image, row);
        }
        for row in self.rows {
            ring.load(simd, floats, x, image, row + MARGIN);
            convolve_row(simd, ring, floats, self.weight, self.bias, image, row, results);
            for Segment { column, len, position } in field.segments(image, row) {
                let results = &results[column * stride..][..len * stride];
                self.finish.finish(simd, position, len, results, stride);
            }
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of a band, which are borrowed apart")]
fn convolve_row<S: Simd>(
    simd: S,
    ring: Ring<'_, S>,
    floats: &[f32],
    weight: &[f32],
    bias: &[f32],
    image: usize,
    row: usize,
    results: &mut [f32],
) {
    let lanes = S::F32_LANES;
    for block in 0..ring.blocks {
        let weight = &weight[block * TAPS * lanes..][..TAPS * lanes];
        let bias = vector::<S>(bias, block * lanes);
        for first in ring.groups(image, row) {
            let mut sums = [bias; TOGETHER];
            for tap_row in ring.tap_rows(row) {
                let start = ring.start(row + tap_row - MARGIN, block) + first * lanes;
                let inputs = &floats[start..][..(TOGETHER + KERNEL - 1) * lanes];
                let weight = &weight[tap_row * KERNEL * lanes..][..KERNEL * lanes];
                for tap in 0..KERNEL {
                    let weight = vector::<S>(weight, tap * lanes);
                    for (output, sum) in sums.iter_mut().enumerate() {
                        let input = vector::<S>(inputs, (output + tap) * lanes);
                        *sum = simd.mul_add_e_f32s(input, weight, *sum);
                    }
                }
            }
            for (output, sum) in sums.into_iter().enumerate() {
                let start = ((first + output) * ring.blocks + block) * lanes;
                set_vector::<S>(results, start, sum);
            }
        }
    }
}

/// Seven rows of an image as `[row mod 7][block of channels][column, with margins][lane]`.
#[derive(Clone, Copy)]
pub(super) struct Ring<'a, S> {
    field: Field<'a>,
    pub(super) blocks: usize,
    /// Columns that may be computed: the width, and as many as groups of outputs reach beyond it.
    outputs: usize,
    simd: core::marker::PhantomData<S>,
}

impl<'a, S: Simd> Ring<'a, S> {
    #[inline(always)]
    pub(super) fn new(field: Field<'a>) -> Self {
        let Images { width, channels, .. } = field.maps;
        Self {
            field,
            blocks: channels.div_ceil(S::F32_LANES),
            outputs: if field.is_sparse() { width + TOGETHER - 1 } else { width.next_multiple_of(TOGETHER) },
            simd: core::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn columns(self) -> usize {
        self.outputs + 2 * MARGIN
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        KERNEL * self.blocks * self.columns() * S::F32_LANES
    }

    /// Where a block of a row starts.
    #[inline(always)]
    pub(super) fn start(self, row: usize, block: usize) -> usize {
        (row % KERNEL * self.blocks + block) * self.columns() * S::F32_LANES
    }

    /// Rows of the kernel that meet the image when its centre is in row `row`.
    #[inline(always)]
    pub(super) fn tap_rows(self, row: usize) -> Range<usize> {
        MARGIN.saturating_sub(row)..KERNEL.min(self.field.maps.height + MARGIN - row)
    }

    /// The first columns of the groups of outputs that a row needs.
    #[inline(always)]
    fn groups(self, image: usize, row: usize) -> Groups<'a> {
        Groups { runs: self.field.runs(image, row), run: 0..0 }
    }

    /// Copies a row of an image in, if it has one.
    #[inline(always)]
    pub(super) fn load(self, simd: S, floats: &mut [f32], x: &[f32], image: usize, row: usize) {
        let Images { height, channels, .. } = self.field.maps;
        if row >= height {
            return;
        }
        let stride = self.columns() * S::F32_LANES;
        let floats = &mut floats[self.start(row, 0)..][..self.blocks * stride];
        if self.field.is_sparse() {
            // What another row left where this one has nothing.
            floats.fill(0.0);
        }
        for Segment { column, len, position } in self.field.segments(image, row) {
            let floats = &mut floats[(MARGIN + column) * S::F32_LANES..];
            blocked(simd, &x[position * channels..][..len * channels], channels, floats, stride);
        }
    }
}

/// See [`Ring::groups`].
struct Groups<'a> {
    runs: Runs<'a>,
    run: Range<usize>,
}

impl Iterator for Groups<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.run.is_empty() {
            self.run = self.runs.next()?;
        }
        let first = self.run.start;
        self.run.start += TOGETHER;
        Some(first)
    }
}

/// Copies `[column, channel]` to `[block of channels][column][lane]`, blocks `stride` floats apart.
#[inline(always)]
pub(super) fn blocked<S: Simd>(simd: S, row: &[f32], channels: usize, blocks: &mut [f32], stride: usize) {
    let lanes = S::F32_LANES;
    for (column, position) in row.chunks_exact(channels).enumerate() {
        let (whole, rest) = S::as_simd_f32s(position);
        for (block, &value) in whole.iter().enumerate() {
            set_vector::<S>(blocks, block * stride + column * lanes, value);
        }
        if !rest.is_empty() {
            let value = simd.partial_load_f32s(rest);
            set_vector::<S>(blocks, whole.len() * stride + column * lanes, value);
        }
    }
}

/// The vector that starts at `start`.
#[inline(always)]
pub(super) fn vector<S: Simd>(floats: &[f32], start: usize) -> S::f32s {
    debug_assert!(start + S::F32_LANES <= floats.len());
    // SAFETY: every caller cuts or sizes `floats` by `Ring`, whose rows hold what is read here; the
    // assertion checks it where debug assertions are on, as in the tests.
    unsafe { floats.as_ptr().add(start).cast::<S::f32s>().read_unaligned() }
}

/// Replaces the vector that starts at `start`.
#[inline(always)]
pub(super) fn set_vector<S: Simd>(floats: &mut [f32], start: usize, value: S::f32s) {
    debug_assert!(start + S::F32_LANES <= floats.len());
    // SAFETY: as in `vector`.
    unsafe { floats.as_mut_ptr().add(start).cast::<S::f32s>().write_unaligned(value) }
}
