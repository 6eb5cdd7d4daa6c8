//! From the layouts of published tensors to ours, and back.

use burn::tensor::TensorData;
use cvx_backbone::Layout;

/// Whether a tensor of shape `theirs` can be ours of shape `ours`. Axes of length one do not count.
pub(super) fn fits(layout: Layout, theirs: &[usize], ours: &[usize]) -> bool {
    match (layout, ours) {
        (Layout::Transposed, &[inputs, outputs]) => {
            // A linear layer, or a convolution with a kernel of one.
            theirs.starts_with(&[outputs, inputs]) && theirs[2..].iter().all(|&side| side == 1)
        }
        (Layout::SparseKernel, &[outputs, inputs, height, width]) => {
            let positions = height * width;
            let is_depthwise = inputs == 1 && *theirs == [positions, outputs];
            height == width && (is_depthwise || *theirs == [positions, inputs, outputs])
        }
        (Layout::Transposed | Layout::SparseKernel, _) => false,
        (Layout::AsOurs, _) => long_axes(theirs) == long_axes(ours),
    }
}

fn long_axes(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&side| side != 1).collect()
}

/// The values of a tensor that [`fits`], in our order.
pub(super) fn to_ours(layout: Layout, values: Vec<f32>, theirs: &[usize], ours: &[usize]) -> TensorData {
    let values = match (layout, ours) {
        (Layout::Transposed, &[inputs, outputs]) => transposed(&values, outputs, inputs),
        (Layout::SparseKernel, &[outputs, inputs, height, width]) => {
            // ConvNeXt-V2 `remap_checkpoint_keys`: positions run down a column first.
            let channels = theirs[1..].iter().product::<usize>();
            let mut kernel = Vec::with_capacity(values.len());
            for output in 0..outputs {
                for input in 0..inputs {
                    for row in 0..height {
                        let positions = (0..width).map(|column| column * height + row);
                        kernel.extend(
                            positions.map(|position| values[position * channels + input * outputs + output]),
                        );
                    }
                }
            }
            kernel
        }
        _ => values,
    };
    TensorData::new(values, ours.to_vec())
}

/// A matrix of `rows` by `columns`, columns becoming rows.
pub(super) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Side of the squares that are turned at a time, so that both sides stay in the cache.
    const TILE: usize = 32;
    let mut turned = vec![0.0; values.len()];
    for row_begin in (0..rows).step_by(TILE) {
        for column_begin in (0..columns).step_by(TILE) {
            for row in row_begin..rows.min(row_begin + TILE) {
                for column in column_begin..columns.min(column_begin + TILE) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(layout: Layout, values: Vec<f32>, theirs: &[usize], ours: &[usize]) -> Vec<f32> {
        assert!(fits(layout, theirs, ours));
        to_ours(layout, values, theirs, ours).try_into_vec().expect("floats")
    }

    #[test]
    fn linear_weights_are_transposed_also_where_they_are_convolutions() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        for theirs in [&[2, 3][..], &[2, 3, 1, 1]] {
            let turned = ours(Layout::Transposed, values.clone(), theirs, &[3, 2]);
            assert_eq!(turned, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        }
        assert!(!fits(Layout::Transposed, &[3, 2], &[3, 2]));
        assert!(!fits(Layout::Transposed, &[2, 3, 2], &[3, 2]));
    }

    #[test]
    fn axes_of_length_one_do_not_count() {
        assert!(fits(Layout::AsOurs, &[1, 1, 1, 2], &[2]));
        assert!(!fits(Layout::AsOurs, &[1, 1, 1, 2], &[3]));
    }

    #[test]
    fn positions_of_a_sparse_kernel_run_down_the_columns() {
        // Four positions of one input and two outputs: the second position is below the first.
        let values = vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
        let kernel = ours(Layout::SparseKernel, values.clone(), &[4, 1, 2], &[2, 1, 2, 2]);
        assert_eq!(kernel, [0.0, 2.0, 1.0, 3.0, 0.5, 2.5, 1.5, 3.5]);
        let depthwise = ours(Layout::SparseKernel, values, &[4, 2], &[2, 1, 2, 2]);
        assert_eq!(depthwise, kernel);
    }

    #[test]
    fn a_matrix_larger_than_a_tile_is_turned_and_turned_back() {
        let values: Vec<f32> = (0..40 * 70).map(|value| value as f32).collect();
        let turned = transposed(&values, 40, 70);
        assert_eq!(turned[39], values[39 * 70]);
        assert_eq!(transposed(&turned, 70, 40), values);
    }
}
