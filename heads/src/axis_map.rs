//! A linear map of one axis of an image: every output is a weighted sum of neighbouring inputs.
//!
//! Bilinear resizing and adaptive average pooling are one such map for the rows and one for the columns;
//! the gradient of either is the same with both maps transposed.

use std::ops::Range;

/// A sparse matrix whose rows have their non-zero weights side by side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AxisMap {
    inputs: usize,
    rows: Vec<Taps>,
    weights: Vec<f32>,
}

/// Where an output's weights are, and which inputs they are for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Taps {
    first_input: usize,
    begin: usize,
    end: usize,
}

impl AxisMap {
    /// Linear interpolation between pixel centres that are aligned as areas (`align_corners=False`), in the
    /// arithmetic of PyTorch's `upsample_bilinear2d`: indices in `f32`, clamped at both ends.
    pub(crate) fn linear(inputs: usize, outputs: usize) -> Self {
        let mut map = Self::empty(inputs);
        let scale = inputs as f32 / outputs as f32;
        for output in 0..outputs {
            let source = (scale * (output as f32 + 0.5) - 0.5).max(0.0);
            let left = (source as usize).min(inputs - 1);
            let fraction = (source - left as f32).clamp(0.0, 1.0);
            if left + 1 < inputs {
                map.push(left, [1.0 - fraction, fraction]);
            } else {
                map.push(left, [1.0]);
            }
        }
        map
    }

    /// The means of bins `[floor(i * inputs / bins), ceil((i + 1) * inputs / bins))`, as PyTorch's
    /// `AdaptiveAvgPool2d` cuts them: they overlap where the sizes do not divide, and repeat where there are
    /// more bins than inputs.
    pub(crate) fn bin_means(inputs: usize, bins: usize) -> Self {
        let mut map = Self::empty(inputs);
        for bin in 0..bins {
            let begin = bin * inputs / bins;
            let end = ((bin + 1) * inputs).div_ceil(bins);
            let weight = 1.0 / (end - begin) as f32;
            map.push(begin, (begin..end).map(|_| weight));
        }
        map
    }

    fn empty(inputs: usize) -> Self {
        assert!(inputs > 0, "an axis without pixels");
        Self { inputs, rows: Vec::new(), weights: Vec::new() }
    }

    fn push(&mut self, first_input: usize, weights: impl IntoIterator<Item = f32>) {
        let begin = self.weights.len();
        self.weights.extend(weights);
        self.rows.push(Taps { first_input, begin, end: self.weights.len() });
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn outputs(&self) -> usize {
        self.rows.len()
    }

    /// The first input that an output looks at, and the weights of this and the following ones.
    pub(crate) fn taps(&self, output: usize) -> (usize, &[f32]) {
        let Taps { first_input, begin, end } = self.rows[output];
        (first_input, &self.weights[begin..end])
    }

    /// The inputs that some of the outputs look at.
    pub(crate) fn reach(&self, outputs: &Range<usize>) -> Range<usize> {
        let taps = outputs.clone().map(|output| self.taps(output));
        let ranges = taps.map(|(first, weights)| first..first + weights.len());
        ranges.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end)).unwrap_or(0..0)
    }

    /// Some of the outputs, from the inputs that [they look at](Self::reach).
    pub(crate) fn part(&self, outputs: &Range<usize>) -> Self {
        let reach = self.reach(outputs);
        let mut part = Self::empty(reach.len());
        for output in outputs.clone() {
            let (first_input, weights) = self.taps(output);
            part.push(first_input - reach.start, weights.iter().copied());
        }
        part
    }

    /// The outputs for a line of inputs.
    #[inline(always)]
    pub(crate) fn apply(&self, line: &[f32], out: &mut [f32]) {
        assert_eq!((line.len(), out.len()), (self.inputs, self.rows.len()), "inputs and outputs");
        for (out, taps) in out.iter_mut().zip(&self.rows) {
            let weights = &self.weights[taps.begin..taps.end];
            let values = &line[taps.first_input..][..weights.len()];
            // Interpolation has two, and a loop costs more than they do.
            *out = match (weights, values) {
                (&[left, right], &[first, second]) => left * first + right * second,
                _ => weights.iter().zip(values).map(|(weight, value)| weight * value).sum(),
            };
        }
    }

    /// From outputs to inputs.
    pub(crate) fn transposed(&self) -> Self {
        let mut columns: Vec<(usize, Vec<f32>)> = vec![(0, Vec::new()); self.inputs];
        for output in 0..self.outputs() {
            let (first_input, weights) = self.taps(output);
            for (column, &weight) in columns[first_input..].iter_mut().zip(weights) {
                if column.1.is_empty() {
                    column.0 = output;
                }
                // Both ends of an output's range only ever move forwards, so none is skipped.
                assert_eq!(column.0 + column.1.len(), output, "the weights of an input lie side by side");
                column.1.push(weight);
            }
        }
        let mut map = Self::empty(self.outputs());
        for (first_output, weights) in columns {
            map.push(first_output, weights);
        }
        map
    }

    /// The matrix `[outputs, inputs]`, row-major, zeros written out.
    pub(crate) fn dense(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.outputs() * self.inputs];
        for (output, row) in matrix.chunks_exact_mut(self.inputs).enumerate() {
            let (first_input, weights) = self.taps(output);
            row[first_input..][..weights.len()].copy_from_slice(weights);
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_pixels_become_two_bins_that_share_the_middle_one() {
        assert_eq!(AxisMap::bin_means(3, 2).dense(), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn more_bins_than_pixels_repeat_them() {
        assert_eq!(AxisMap::bin_means(1, 3).dense(), [1.0, 1.0, 1.0]);
        assert_eq!(AxisMap::bin_means(2, 3).dense(), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
    }

    #[test]
    fn two_pixels_become_four_by_quarters() {
        let expected = [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 0.0, 1.0];
        assert_eq!(AxisMap::linear(2, 4).dense(), expected);
    }

    #[test]
    fn the_same_size_is_the_identity() {
        assert_eq!(AxisMap::linear(3, 3).dense(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_part_is_some_rows_of_the_matrix_and_the_columns_that_they_use() {
        let map = AxisMap::linear(2, 4);
        assert_eq!((map.reach(&(0..1)), map.reach(&(0..2)), map.reach(&(3..4))), (0..2, 0..2, 1..2));
        assert_eq!(map.part(&(1..3)).dense(), [0.75, 0.25, 0.25, 0.75]);
        assert_eq!(map.part(&(3..4)).dense(), [1.0]);
        assert_eq!(map.part(&(0..4)), map);
    }

    #[test]
    fn transposing_turns_the_matrix_over() {
        for map in [AxisMap::linear(7, 3), AxisMap::linear(3, 7), AxisMap::bin_means(5, 3)] {
            let (dense, transposed) = (map.dense(), map.transposed().dense());
            for output in 0..map.outputs() {
                for input in 0..map.inputs() {
                    let (there, back) = (output * map.inputs() + input, input * map.outputs() + output);
                    assert_eq!(dense[there], transposed[back]);
                }
            }
        }
    }
}
