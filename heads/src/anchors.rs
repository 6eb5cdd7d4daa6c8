//! Anchors: boxes of fixed sizes and shapes around every cell of every level.
//!
//! Semantics of mmdet 3.3, `mmdet/models/task_modules/prior_generators/anchor_generator.py`: the
//! first anchor is centred on the pixel corner (0, 0), and nothing is rounded.

use crate::target::ImageSize;

/// The anchors of all levels, relative to a cell.
#[derive(Clone, Debug)]
pub struct Anchors {
    levels: Vec<AnchorLevel>,
}

#[derive(Clone, Debug)]
struct AnchorLevel {
    stride: usize,
    base: Vec<[f32; 4]>,
}

impl Anchors {
    /// Anchors of `scales` times the stride of a level, in every one of `ratios` (height to width).
    pub fn new(strides: &[usize], scales: &[f32], ratios: &[f32]) -> Self {
        let base = |stride: usize| {
            let anchor = |ratio: f32, scale: f32| {
                let height_factor = ratio.sqrt();
                let width = stride as f32 * (1.0 / height_factor) * scale;
                let height = stride as f32 * height_factor * scale;
                [-0.5 * width, -0.5 * height, 0.5 * width, 0.5 * height]
            };
            ratios.iter().flat_map(|&ratio| scales.iter().map(move |&scale| anchor(ratio, scale))).collect()
        };
        let levels = strides.iter().map(|&stride| AnchorLevel { stride, base: base(stride) }).collect();
        Self { levels }
    }

    /// How many anchors every cell has.
    pub fn num_per_cell(&self) -> usize {
        self.levels.first().map_or(0, |level| level.base.len())
    }

    /// The anchors around the origin of one level.
    pub fn base(&self, level: usize) -> &[[f32; 4]] {
        &self.levels[level].base
    }

    /// How many anchors each level has, where `map_sizes` are heights and widths of the maps.
    pub fn counts(&self, map_sizes: &[[usize; 2]]) -> Vec<usize> {
        assert_eq!(map_sizes.len(), self.levels.len(), "one map size a level");
        map_sizes.iter().map(|[height, width]| height * width * self.num_per_cell()).collect()
    }

    /// All anchors in input pixels: level by level, within a level row by row, the anchors of a
    /// cell together.
    pub fn grid(&self, map_sizes: &[[usize; 2]]) -> Vec<[f32; 4]> {
        let mut grid = Vec::with_capacity(self.counts(map_sizes).iter().sum());
        for (level, &[height, width]) in self.levels.iter().zip(map_sizes) {
            for row in 0..height {
                for column in 0..width {
                    let (x, y) = ((column * level.stride) as f32, (row * level.stride) as f32);
                    let shifted = level.base.iter().map(|[x0, y0, x1, y1]| [x0 + x, y0 + y, x1 + x, y1 + y]);
                    grid.extend(shifted);
                }
            }
        }
        grid
    }

    /// The indices into [`Anchors::grid`] of the anchors whose cell begins within the image's own
    /// padding; the rest of the batch's padding is not theirs to learn from.
    pub fn valid(&self, map_sizes: &[[usize; 2]], size: &ImageSize) -> Vec<usize> {
        assert_eq!(map_sizes.len(), self.levels.len(), "one map size a level");
        let mut valid = Vec::new();
        let mut first = 0;
        for (level, &[height, width]) in self.levels.iter().zip(map_sizes) {
            let valid_height = size.padded_height.div_ceil(level.stride).min(height);
            let valid_width = size.padded_width.div_ceil(level.stride).min(width);
            let per_cell = level.base.len();
            for row in 0..valid_height {
                let start = first + row * width * per_cell;
                valid.extend(start..start + valid_width * per_cell);
            }
            first += height * width * per_cell;
        }
        valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_anchor_of_scale_eight_is_eight_strides_wide_around_the_cell_corner() {
        let anchors = Anchors::new(&[4], &[8.0], &[1.0]);
        let grid = anchors.grid(&[[1, 2]]);
        assert_eq!(grid, [[-16.0, -16.0, 16.0, 16.0], [-12.0, -16.0, 20.0, 16.0]]);
    }

    #[test]
    fn cells_beyond_the_images_own_padding_are_not_valid() {
        let anchors = Anchors::new(&[4, 8], &[8.0], &[0.5, 2.0]);
        let size = ImageSize { height: 7, width: 3, padded_height: 8, padded_width: 4 };
        // Level 0: rows 0 and 1 of column 0; level 1: the only row, column 0 of two.
        assert_eq!(anchors.valid(&[[3, 2], [1, 2]], &size), [0, 1, 4, 5, 12, 13]);
    }
}
