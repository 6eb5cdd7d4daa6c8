//! A product with a matrix of weights, in blocks of the output.
//!
//! A block is summed in a task's own memory and copied out row by row: many rows of few outputs and few rows of many
//! are both work for every thread. Blocks are cut by sizes alone, and each is added up in one order.

use core::ops::Range;

use rayon::prelude::*;

use super::block_sums::add_to;
use super::buffer::{Shared, with_scratch, zeroed};
use super::matmul::{Matrix, Write, multiply};
use super::tiles::{pieces, tiles};

// Every block packs its factors anew, a long one least for what it computes. `cargo bench -p cvx-backbone --bench linear`
// with other constants, 1024 rows of 12,544 to 1024, two threads, 2026-11-28: gradients take 300 ms in blocks of 1024 x 128,
// 308 in 1024 x 64, 349 in 256 x 128, 370 in 256 x 256; forward 122, 124, 136, 129.

/// Rows of a block at most.
const BLOCK_ROWS: usize = 1024;

/// Columns of a block at most: few, so that there are blocks for many threads.
const BLOCK_COLUMNS: usize = 64;

/// Blocks that rows are cut into where columns alone give fewer, as long as each has sixteen rows.
const TASKS: usize = 16;

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

/// The sum of the rows of a matrix: the gradient with respect to a bias, `[columns]`.
pub(crate) fn column_sums(rows: &[f32], columns: usize) -> Vec<f32> {
    let sums: Vec<Vec<f32>> = tiles(rows.len() / columns.max(1), columns)
        .into_par_iter()
        .with_max_len(1)
        .map(|tile| {
            let mut sums = vec![0.0; columns];
            for row in rows[tile.start * columns..tile.end * columns].chunks_exact(columns) {
                add_to(&mut sums, row);
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; columns];
    for sums in sums {
        add_to(&mut total, &sums);
    }
    total
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
                // SAFETY: blocks do not overlap, and `output` outlives the loop.
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
