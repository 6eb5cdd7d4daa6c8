//! What RoIAlign reads: for each RoI the pixels of both axes with their weights, found once on the host.
//!
//! The samples of a RoI form a grid, so its output is a product of two small sparse matrices with the
//! features, `rows * features * columns^T`. Samples of one cell that read the same pixel are one tap.
//! This is what makes the op fast: a cell of n x n samples costs n + 1 taps an axis, not 4 n^2 reads.

use std::ops::Range;

use crate::roi_align::{LEVELS, Roi};

/// How cells are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pooling {
    /// Cells an axis.
    pub(crate) side: usize,
    /// Samples of a cell an axis; 0 is adaptive.
    pub(crate) sampling_ratio: usize,
    /// Whether pixel centres lie at one half.
    pub(crate) aligned: bool,
}

/// Most samples of a cell along one axis, where their number is adaptive.
///
/// Cells that long lie mostly outside any map: it takes a RoI of 7 * 4096 pixels of its map. Beyond, samples
/// are further apart than a pixel, so that a RoI without bounds costs no time without bounds.
const MOST_SAMPLES: usize = 4096;

/// One axis of a RoI on its feature map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Coordinate of the first cell's edge, in pixels of the map; pixel centres lie at integers.
    first: f32,
    /// Length of a cell.
    cell: f32,
    /// Samples of a cell.
    pub(crate) samples: usize,
}

impl Axis {
    /// `from` and `to` are the RoI's edges in input pixels.
    pub(crate) fn new(from: f32, to: f32, scale: f32, pooling: Pooling) -> Self {
        let offset = if pooling.aligned { 0.5 } else { 0.0 };
        let first = from * scale - offset;
        let mut length = (to * scale - offset) - first;
        if !pooling.aligned {
            length = length.max(1.0);
        }
        let cell = length / pooling.side as f32;
        let samples = match pooling.sampling_ratio {
            // A RoI of infinities or of no numbers has no samples, and nor has an inverted one.
            _ if !(first.is_finite() && cell.is_finite()) => 0,
            0 => (cell.ceil() as usize).min(MOST_SAMPLES),
            fixed => fixed,
        };
        Self { first, cell, samples }
    }

    /// The pixels below and above a sample with their weights; none more than a pixel outside `size`.
    pub(crate) fn sample(self, cell: usize, sample: usize, size: usize) -> Option<[(usize, f32); 2]> {
        let within = (sample as f32 + 0.5) * self.cell / self.samples as f32;
        let at = self.first + cell as f32 * self.cell + within;
        if !(at >= -1.0 && at <= size as f32) {
            return None;
        }
        let at = at.max(0.0);
        let low = at as usize;
        if low + 1 >= size {
            return Some([(size - 1, 1.0), (size - 1, 0.0)]);
        }
        let far = at - low as f32;
        Some([(low, 1.0 - far), (low + 1, far)])
    }

    /// Appends the taps of the whole axis, by rising cell. The mean over samples is in the weights.
    fn push_taps(self, side: usize, size: usize, taps: &mut Vec<Tap>) {
        let share = 1.0 / self.samples.max(1) as f32;
        let begin = taps.len();
        for cell in 0..side {
            for sample in 0..self.samples {
                for (pixel, weight) in self.sample(cell, sample, size).into_iter().flatten() {
                    if weight == 0.0 {
                        continue;
                    }
                    let tap = Tap { pixel: pixel as u32, cell: cell as u32, weight: weight * share };
                    // Samples advance, so only the last two taps can be met again.
                    let recent = taps.len().saturating_sub(2).max(begin);
                    match taps[recent..].iter_mut().find(|old| old.place() == tap.place()) {
                        Some(old) => old.weight += tap.weight,
                        None => taps.push(tap),
                    }
                }
            }
        }
    }
}

/// One cell's weight for one pixel, along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap {
    pub(crate) pixel: u32,
    pub(crate) cell: u32,
    pub(crate) weight: f32,
}

impl Tap {
    fn place(self) -> (u32, u32) {
        (self.pixel, self.cell)
    }
}

/// Where one RoI reads; the ranges are into the plan's taps.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) level: usize,
    pub(crate) image: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// All that RoIAlign must know besides the features.
#[derive(Debug)]
pub(crate) struct RoiAlignPlan {
    /// Cells an axis.
    pub(crate) side: usize,
    /// Shape of each level: `[batch, channels, height, width]`.
    pub(crate) shapes: [[usize; 4]; LEVELS],
    /// One for each RoI, in their order.
    pub(crate) regions: Vec<Region>,
    rows: Vec<Tap>,
    columns: Vec<Tap>,
    columns_by_pixel: Vec<Tap>,
}

impl RoiAlignPlan {
    pub(crate) fn new(
        shapes: [[usize; 4]; LEVELS],
        scales: &[f32],
        level_of: &[usize],
        rois: &[Roi],
        pooling: Pooling,
    ) -> Self {
        let [batch, channels, _, _] = shapes[0];
        for shape in &shapes {
            assert_eq!(shape[..2], [batch, channels], "levels share batch and channels");
        }
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        let regions = rois
            .iter()
            .zip(level_of)
            .map(|(roi, &level)| {
                let Roi { batch_index: image, bbox: [x0, y0, x1, y1] } = *roi;
                assert!(image < batch, "a RoI names image {image} of a batch of {batch}");
                let [_, _, height, width] = shapes[level];
                let across = Axis::new(x0, x1, scales[level], pooling);
                let down = Axis::new(y0, y1, scales[level], pooling);
                let (first_row, first_column) = (rows.len(), columns.len());
                if across.samples > 0 && down.samples > 0 {
                    down.push_taps(pooling.side, height, &mut rows);
                    across.push_taps(pooling.side, width, &mut columns);
                }
                // By pixel, so that a row of the map is read or written once.
                rows[first_row..].sort_unstable_by_key(|tap| tap.place());
                let (rows, columns) = (first_row..rows.len(), first_column..columns.len());
                Region { level, image, rows, columns }
            })
            .collect::<Vec<_>>();
        let mut columns_by_pixel = columns.clone();
        for region in &regions {
            columns_by_pixel[region.columns.clone()].sort_unstable_by_key(|tap| tap.place());
        }
        Self { side: pooling.side, shapes, regions, rows, columns, columns_by_pixel }
    }

    /// The vertical taps of a RoI, by rising pixel.
    pub(crate) fn rows(&self, region: &Region) -> &[Tap] {
        &self.rows[region.rows.clone()]
    }

    /// The horizontal taps of a RoI, by rising cell.
    pub(crate) fn columns(&self, region: &Region) -> &[Tap] {
        &self.columns[region.columns.clone()]
    }

    /// The horizontal taps of a RoI, by rising pixel.
    pub(crate) fn columns_by_pixel(&self, region: &Region) -> &[Tap] {
        &self.columns_by_pixel[region.columns.clone()]
    }

    /// Cells of a RoI.
    pub(crate) fn cells(&self) -> usize {
        self.side * self.side
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(from: f32, to: f32, pooling: Pooling, size: usize, expected: &[(u32, u32, f32)]) {
        let mut taps = Vec::new();
        Axis::new(from, to, 1.0, pooling).push_taps(pooling.side, size, &mut taps);
        let taps: Vec<_> = taps.iter().map(|tap| (tap.cell, tap.pixel, tap.weight)).collect();
        assert_eq!(taps, expected);
    }

    const ADAPTIVE: Pooling = Pooling { side: 2, sampling_ratio: 0, aligned: true };

    #[test]
    fn a_cell_over_one_pixel_reads_that_pixel() {
        case(1.0, 3.0, ADAPTIVE, 5, &[(0, 1, 1.0), (1, 2, 1.0)]);
    }

    #[test]
    fn a_cell_over_two_pixels_reads_half_of_each() {
        case(0.0, 4.0, ADAPTIVE, 5, &[(0, 0, 0.5), (0, 1, 0.5), (1, 2, 0.5), (1, 3, 0.5)]);
    }

    #[test]
    fn half_a_pixel_further_the_neighbours_share() {
        let expected = [(0, 0, 0.25), (0, 1, 0.5), (0, 2, 0.25), (1, 2, 0.25), (1, 3, 0.5), (1, 4, 0.25)];
        case(0.5, 4.5, ADAPTIVE, 5, &expected);
    }

    #[test]
    fn unaligned_rois_are_at_least_a_pixel_long() {
        let unaligned = Pooling { side: 1, sampling_ratio: 0, aligned: false };
        case(2.0, 2.0, unaligned, 5, &[(0, 2, 0.5), (0, 3, 0.5)]);
        case(2.0, 2.0, Pooling { aligned: true, ..unaligned }, 5, &[]);
    }

    #[test]
    fn a_roi_without_bounds_reads_nothing() {
        let (far, none) = (f32::INFINITY, f32::NAN);
        for pooling in [ADAPTIVE, Pooling { sampling_ratio: 2, ..ADAPTIVE }] {
            for (from, to) in [(0.0, far), (-far, 3.0), (-far, far), (none, 3.0), (0.0, none)] {
                case(from, to, pooling, 5, &[]);
            }
            case(-3e38, 3e38, pooling, 5, &[]);
        }
    }

    #[test]
    fn a_huge_roi_takes_few_samples_and_reads_what_lies_within() {
        let axis = Axis::new(0.0, 2e30, 1.0, ADAPTIVE);
        assert_eq!(axis.samples, MOST_SAMPLES);
        case(0.0, 2e30, ADAPTIVE, 5, &[]);
        // 8192 pixels a cell: samples at 0.5, 2.5, 4.5 and on, of which three lie on the map.
        let share = 1.0 / MOST_SAMPLES as f32;
        let expected = [
            (0, 0, 0.5 * share),
            (0, 1, 0.5 * share),
            (0, 2, 0.5 * share),
            (0, 3, 0.5 * share),
            (0, 4, share),
        ];
        case(0.0, 16384.0, ADAPTIVE, 5, &expected);
    }

    #[test]
    fn samples_far_outside_read_nothing() {
        let fixed = Pooling { side: 2, sampling_ratio: 1, aligned: true };
        // Samples at -1.5 and 0.5, then at -1 (inclusive) and 0.
        case(-2.0, 2.0, fixed, 5, &[(1, 0, 0.5), (1, 1, 0.5)]);
        case(-1.0, 1.0, fixed, 5, &[(0, 0, 1.0), (1, 0, 1.0)]);
        // At the far end the last pixel is read up to `size`.
        case(4.5, 6.5, fixed, 5, &[(0, 4, 1.0)]);
    }
}
