//! A product with a matrix of weights, in blocks of the output.
//!
//! A block is summed in a task's own memory and copied out row by row: many rows of few outputs and few rows of many
//! are both work for every thread. Blocks are cut by sizes alone, and each is added up in one order.

use core::ops::Range;

use rayon::prelude::*;

use super::block_sums::column_sums;
use super::buffer::{Shared, with_scratch, zeroed};
use super::matmul::{Matrix, Write, multiply};
use super::tiles::pieces;

/// Rows of a block at most. The gradients of a box head take 40% longer with 128.
const BLOCK_ROWS: usize = 1024;

/// Columns of a block at most.
const BLOCK_COLUMNS: usize = 128;

/// Blocks that a product is cut into at least.
const TASKS: usize = 8;

/// Sizes of a linear layer and of what it is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// The layer: `x[rows, inputs] . weight[inputs, outputs] + bias`.
pub(crate) fn linear(sizes: Linear, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let Linear { rows, inputs, outputs } = sizes;
    product([rows, outputs, inputs], Some(bias), |block_rows, columns| {
        (
            Matrix::rows(&x[block_rows.start * inputs..], inputs),
            Matrix::rows(&weight[columns.start..], outputs),
        )
    })
}

/// The gradient with respect to the input, `[rows, inputs]`.
pub(crate) fn linear_input_gradient(sizes: Linear, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
    let Linear { rows, inputs, outputs } = sizes;
    product([rows, inputs, outputs], None, |block_rows, columns| {
        (
            Matrix::rows(&gradient[block_rows.start * outputs..], outputs),
            Matrix::columns(&weight[columns.start * outputs..], outputs),
        )
    })
}

/// The gradient with respect to the weight, `[inputs, outputs]`.
pub(crate) fn linear_weight_gradient(sizes: Linear, x: &[f32], gradient: &[f32]) -> Vec<f32> {
    let Linear { rows, inputs, outputs } = sizes;
    product([inputs, outputs, rows], None, |block_rows, columns| {
        (Matrix::columns(&x[block_rows.start..], inputs), Matrix::rows(&gradient[columns.start..], outputs))
    })
}

/// The gradient with respect to the bias, `[outputs]`.
pub(crate) fn linear_bias_gradient(sizes: Linear, gradient: &[f32]) -> Vec<f32> {
    column_sums(gradient, sizes.outputs)
}

/// `[rows, columns]`, each block the product of the factors that `factors` gives for its rows and columns.
fn product<'a>(
    [rows, columns, depth]: [usize; 3],
    bias: Option<&[f32]>,
    factors: impl Fn(&Range<usize>, &Range<usize>) -> (Matrix<'a>, Matrix<'a>) + Sync,
) -> Vec<f32> {
    let mut output = zeroed(rows * columns);
    let shared = Shared::new(&mut output);
    let across = pieces(columns, columns.div_ceil(BLOCK_COLUMNS));
    let down = TASKS.div_ceil(across.len().max(1)).max(rows.div_ceil(BLOCK_ROWS));
    let blocks: Vec<(Range<usize>, Range<usize>)> = pieces(rows, down)
        .into_iter()
        .flat_map(|rows| across.iter().map(move |columns| (rows.clone(), columns.clone())))
        .collect();
    blocks.into_par_iter().with_max_len(1).for_each(|(rows, block_columns)| {
        let width = block_columns.len();
        with_scratch([rows.len() * width], |[sums]| {
            let (left, right) = factors(&rows, &block_columns);
            multiply([rows.len(), width, depth], sums, width, Write::Replace, left, right);
            for (row, sums) in rows.zip(sums.chunks_exact(width)) {
                // SAFETY: blocks do not overlap.
                let output = unsafe { shared.part(row * columns + block_columns.start, width) };
                match bias {
                    None => output.copy_from_slice(sums),
                    Some(bias) => {
                        let terms = sums.iter().zip(&bias[block_columns.clone()]);
                        for (value, (sum, bias)) in output.iter_mut().zip(terms) {
                            *value = sum + bias;
                        }
                    }
                }
            }
        });
    });
    output
}
