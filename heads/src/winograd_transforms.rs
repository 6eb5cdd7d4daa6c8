//! The transforms of Winograd's F(2x2, 3x3): of kernels, of inputs, of products and back.

use cvx_backbone::ops::cpu::dispatch::vectorised;
use rayon::prelude::*;

use crate::conv_flex::Direction;
use crate::conv_op::Activation;

/// Elements of a transformed tile or kernel.
pub(crate) const ELEMENTS: usize = 16;

/// Floats that are handled together.
const LANES: usize = 16;

type Lanes = [f32; LANES];

const ZERO: Lanes = [0.0; LANES];

/// Kernels `[outputs, inputs, 3, 3]` as `[16][to, from]`.
pub(crate) fn kernels(weight: &[f32], [outputs, inputs]: [usize; 2], direction: Direction) -> Vec<f32> {
    const G: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];
    let mut transformed = vec![0.0; ELEMENTS * outputs * inputs];
    transformed.par_chunks_exact_mut(outputs * inputs).enumerate().for_each(|(element, matrix)| {
        let (rows, columns) = (G[element / 4], G[element % 4]);
        // The kernel turned round is the kernel read from its end.
        let mut factors: [f32; 9] = std::array::from_fn(|tap| rows[tap / 3] * columns[tap % 3]);
        if direction == Direction::Backward {
            factors.reverse();
        }
        for (at, kernel) in weight.as_chunks::<9>().0.iter().enumerate() {
            let sum = kernel.iter().zip(factors).map(|(value, factor)| value * factor).sum();
            let position = match direction {
                Direction::Forward => at,
                Direction::Backward => at % inputs * outputs + at / inputs,
            };
            matrix[position] = sum;
        }
    });
    transformed
}

/// The beginnings of blocks that cover `span`; the last one may overlap the one before.
#[inline(always)]
fn blocks(span: usize) -> impl Iterator<Item = usize> {
    let last = span.saturating_sub(LANES);
    (0..span.div_ceil(LANES)).map(move |block| (block * LANES).min(last))
}

/// A block of `values`, zeros beyond its end.
#[inline(always)]
fn load(values: &[f32], at: usize, span: usize) -> Lanes {
    match values[at..].first_chunk::<LANES>() {
        Some(lanes) => *lanes,
        None => {
            std::array::from_fn(
                |lane| if lane < span { values.get(at + lane).copied().unwrap_or(0.0) } else { 0.0 },
            )
        }
    }
}

/// Writes a block, or as much of it as `span` is long.
#[inline(always)]
fn store(lanes: Lanes, values: &mut [f32], at: usize, span: usize) {
    if span >= LANES {
        values[at..at + LANES].copy_from_slice(&lanes);
    } else {
        values[at..at + span].copy_from_slice(&lanes[..span]);
    }
}

#[inline(always)]
fn add(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline(always)]
fn subtract(a: Lanes, b: Lanes) -> Lanes {
    std::array::from_fn(|lane| a[lane] - b[lane])
}

/// `Bt d` of a column.
#[inline(always)]
fn input_column([d0, d1, d2, d3]: [Lanes; 4]) -> [Lanes; 4] {
    [subtract(d0, d2), add(d1, d2), subtract(d2, d1), subtract(d1, d3)]
}

/// `At m` of a column.
#[inline(always)]
fn output_column([m0, m1, m2, m3]: [Lanes; 4]) -> [Lanes; 2] {
    [add(add(m0, m1), m2), subtract(subtract(m1, m2), m3)]
}

/// `A y` of a column.
#[inline(always)]
fn gradient_column([y0, y1]: [Lanes; 2]) -> [Lanes; 4] {
    [y0, add(y0, y1), subtract(y0, y1), subtract(ZERO, y1)]
}

vectorised! {
    /// `Bt d B` of `span` tiles, from quarters that begin at the first of them, to columns `first..` of `[16][tiles]`.
    pub(crate) fn transform_inputs(
        quarters: &[f32],
        quarter: usize,
        pitch: usize,
        span: usize,
        to: &mut [f32],
        tiles: usize,
        first: usize,
    ) {
        for at in blocks(span) {
            let mut columns = [[ZERO; 4]; 4];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut d = [ZERO; 4];
                for (i, d) in d.iter_mut().enumerate() {
                    *d = load(quarters, (i % 2 * 2 + j % 2) * quarter + i / 2 * pitch + j / 2 + at, span);
                }
                *column = input_column(d);
            }
            for i in 0..4 {
                let row = input_column([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                for (j, lanes) in row.into_iter().enumerate() {
                    store(lanes, &mut to[(4 * i + j) * tiles + first..], at, span);
                }
            }
        }
    }
}

vectorised! {
    /// `At M A`, bias and activation, of as many tiles as `to`, `[4][span]`, has room for.
    pub(crate) fn finish_tiles(
        products: &[f32],
        tiles: usize,
        first: usize,
        bias: f32,
        activation: Activation,
        to: &mut [f32],
    ) {
        let span = to.len() / 4;
        for at in blocks(span) {
            let mut rows = [[ZERO; 2]; 4];
            for (i, row) in rows.iter_mut().enumerate() {
                let mut m = [ZERO; 4];
                for (j, m) in m.iter_mut().enumerate() {
                    *m = load(products, (4 * i + j) * tiles + first + at, span);
                }
                *row = output_column(m);
            }
            for j in 0..2 {
                let column = output_column([rows[0][j], rows[1][j], rows[2][j], rows[3][j]]);
                for (i, mut lanes) in column.into_iter().enumerate() {
                    for value in &mut lanes {
                        *value = activation.apply(*value + bias);
                    }
                    store(lanes, &mut to[(2 * i + j) * span..], at, span);
                }
            }
        }
    }
}

vectorised! {
    /// `A dy At` of `span` tiles, from quarters that begin at the first of them, to columns `first..` of `[16][tiles]`.
    pub(crate) fn transform_gradients(
        quarters: &[f32],
        quarter: usize,
        span: usize,
        to: &mut [f32],
        tiles: usize,
        first: usize,
    ) {
        for at in blocks(span) {
            let mut columns = [[ZERO; 4]; 2];
            for (j, column) in columns.iter_mut().enumerate() {
                let y0 = load(quarters, j * quarter + at, span);
                let y1 = load(quarters, (2 + j) * quarter + at, span);
                *column = gradient_column([y0, y1]);
            }
            for i in 0..4 {
                let row = gradient_column([columns[0][i], columns[1][i]]);
                for (j, lanes) in row.into_iter().enumerate() {
                    store(lanes, &mut to[(4 * i + j) * tiles + first..], at, span);
                }
            }
        }
    }
}

/// `Gt . G` of sums `[16][kernels]`: `[kernels][3, 3]`.
pub(crate) fn back_to_kernels(sums: &[f32], count: usize) -> Vec<f32> {
    let mut kernels = vec![0.0; 9 * count];
    kernels.par_chunks_exact_mut(9).enumerate().with_min_len(1 << 10).for_each(|(at, kernel)| {
        let gt = |u: [f32; 4]| {
            let [half_sum, half_difference] = [(u[1] + u[2]) * 0.5, (u[1] - u[2]) * 0.5];
            [u[0] + half_sum, half_difference, half_sum + u[3]]
        };
        let columns: [[f32; 3]; 4] =
            std::array::from_fn(|j| gt(std::array::from_fn(|i| sums[(4 * i + j) * count + at])));
        for i in 0..3 {
            let row = gt(std::array::from_fn(|j| columns[j][i]));
            kernel[3 * i..3 * i + 3].copy_from_slice(&row);
        }
    });
    kernels
}
