//! The transforms of Winograd's F(4x4, 3x3): of kernels, of inputs, of products and back.
//!
//! A kernel `g` and a row of inputs are polynomials; their product is found from its values at six points. These are
//! `0, a, -a, b, -b` and infinity with `a = 5/8` and `b = 3/2`, of which every factor but the kernels' is exact in
//! f32. How much is lost by rounding depends on the points (Barabasz et al. 2020, <https://arxiv.org/abs/1803.10986>):
//! these lose less than half of what the usual `1` and `2` do. It is 1.4 parts in a million of a typical output, at 256
//! channels; a sum over taps loses a quarter of it.

use cvx_backbone::ops::cpu::buffer::zeroed;
use cvx_backbone::ops::cpu::dispatch::vectorised;
use rayon::prelude::*;

use crate::conv_flex::Direction;
use crate::conv_op::Activation;
use crate::scattered::Scattered;
use crate::winograd_tiles::{LANES, SIDE, STEP};

/// Elements of a transformed tile or kernel.
pub(crate) const ELEMENTS: usize = SIDE * SIDE;

/// Pixels of a tile of outputs.
pub(crate) const PIXELS: usize = STEP * STEP;

const A: f32 = 0.625;
const B: f32 = 1.5;
/// Their squares.
const AA: f32 = A * A;
const BB: f32 = B * B;

/// Factors of the kernel's values at the points: one over the product of a point's distances to the others.
const AT_ZERO: f32 = 1.0 / (AA * BB);
const AT_A: f32 = 1.0 / (2.0 * AA * (AA - BB));
const AT_B: f32 = 1.0 / (2.0 * BB * (BB - AA));

type Lanes = [f32; LANES];

const ZERO: Lanes = [0.0; LANES];

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

#[inline(always)]
fn scale(factor: f32, a: Lanes) -> Lanes {
    std::array::from_fn(|lane| factor * a[lane])
}

/// `G g` of a column.
#[inline(always)]
fn kernel_column([g0, g1, g2]: [Lanes; 3]) -> [Lanes; SIDE] {
    let (even_a, odd_a) = (add(g0, scale(AA, g2)), scale(A, g1));
    let (even_b, odd_b) = (add(g0, scale(BB, g2)), scale(B, g1));
    [
        scale(AT_ZERO, g0),
        scale(AT_A, add(even_a, odd_a)),
        scale(AT_A, subtract(even_a, odd_a)),
        scale(AT_B, add(even_b, odd_b)),
        scale(AT_B, subtract(even_b, odd_b)),
        g2,
    ]
}

/// `Gt u` of a column.
#[inline(always)]
fn kernel_gradient_column([u0, u1, u2, u3, u4, u5]: [Lanes; SIDE]) -> [Lanes; 3] {
    let (even_a, odd_a) = (scale(AT_A, add(u1, u2)), scale(AT_A, subtract(u1, u2)));
    let (even_b, odd_b) = (scale(AT_B, add(u3, u4)), scale(AT_B, subtract(u3, u4)));
    [
        add(scale(AT_ZERO, u0), add(even_a, even_b)),
        add(scale(A, odd_a), scale(B, odd_b)),
        add(add(scale(AA, even_a), scale(BB, even_b)), u5),
    ]
}

/// `Bt d` of a column.
#[inline(always)]
fn input_column([d0, d1, d2, d3, d4, d5]: [Lanes; SIDE]) -> [Lanes; SIDE] {
    let (even_a, odd_a) = (subtract(d4, scale(BB, d2)), scale(A, subtract(d3, scale(BB, d1))));
    let (even_b, odd_b) = (subtract(d4, scale(AA, d2)), scale(B, subtract(d3, scale(AA, d1))));
    [
        add(subtract(scale(AA * BB, d0), scale(AA + BB, d2)), d4),
        add(even_a, odd_a),
        subtract(even_a, odd_a),
        add(even_b, odd_b),
        subtract(even_b, odd_b),
        add(subtract(scale(AA * BB, d1), scale(AA + BB, d3)), d5),
    ]
}

/// `At m` of a column.
#[inline(always)]
fn output_column([m0, m1, m2, m3, m4, m5]: [Lanes; SIDE]) -> [Lanes; STEP] {
    let (even_a, odd_a) = (add(m1, m2), subtract(m1, m2));
    let (even_b, odd_b) = (add(m3, m4), subtract(m3, m4));
    [
        add(m0, add(even_a, even_b)),
        add(scale(A, odd_a), scale(B, odd_b)),
        add(scale(AA, even_a), scale(BB, even_b)),
        add(add(scale(A * AA, odd_a), scale(B * BB, odd_b)), m5),
    ]
}

/// `A y` of a column.
#[inline(always)]
fn gradient_column([y0, y1, y2, y3]: [Lanes; STEP]) -> [Lanes; SIDE] {
    let (even_a, odd_a) = (add(y0, scale(AA, y2)), scale(A, add(y1, scale(AA, y3))));
    let (even_b, odd_b) = (add(y0, scale(BB, y2)), scale(B, add(y1, scale(BB, y3))));
    [y0, add(even_a, odd_a), subtract(even_a, odd_a), add(even_b, odd_b), subtract(even_b, odd_b), y3]
}

/// Kernels `[outputs, inputs, 3, 3]` as `[36][to][from]`.
pub(crate) fn kernels(weight: &[f32], [outputs, inputs]: [usize; 2], direction: Direction) -> Vec<f32> {
    let [to, from] = match direction {
        Direction::Forward => [outputs, inputs],
        Direction::Backward => [inputs, outputs],
    };
    let mut transformed = zeroed(ELEMENTS * to * from);
    let matrices = Scattered::new(&mut transformed);
    (0..to).into_par_iter().for_each_init(
        || vec![0.0; ELEMENTS * from],
        |scratch, row| {
            match direction {
                Direction::Forward => transform_kernels(&weight[9 * row * from..], 9, false, scratch, from),
                Direction::Backward => transform_kernels(&weight[9 * row..], 9 * to, true, scratch, from),
            }
            for (element, scratch) in scratch.chunks_exact(from).enumerate() {
                // SAFETY: this task alone has this row of the matrices.
                let row = unsafe { matrices.range((element * to + row) * from, from) };
                row.copy_from_slice(scratch);
            }
        },
    );
    transformed
}

vectorised! {
    /// `G g Gt` of `from` kernels, one each `stride` floats, to `[36][from]`; `turned` reads a kernel from its end.
    fn transform_kernels(weight: &[f32], stride: usize, turned: bool, to: &mut [f32], from: usize) {
        for at in blocks(from) {
            let mut taps = [ZERO; 9];
            for lane in 0..LANES.min(from) {
                let kernel = &weight[(at + lane) * stride..][..9];
                for (tap, lanes) in taps.iter_mut().enumerate() {
                    lanes[lane] = if turned { kernel[8 - tap] } else { kernel[tap] };
                }
            }
            let mut columns = [[ZERO; SIDE]; 3];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = kernel_column([taps[j], taps[3 + j], taps[6 + j]]);
            }
            for i in 0..SIDE {
                let row = kernel_column([columns[0][i], columns[1][i], columns[2][i]]);
                for (j, lanes) in row.into_iter().enumerate() {
                    store(lanes, &mut to[(SIDE * i + j) * from..], at, from);
                }
            }
        }
    }
}

vectorised! {
    /// `Bt d B` of tiles `[36][run]`, each in its place.
    pub(crate) fn transform_inputs(tiles: &mut [f32]) {
        let run = tiles.len() / ELEMENTS;
        for at in blocks(run) {
            let mut columns = [[ZERO; SIDE]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut d = [ZERO; SIDE];
                for (i, d) in d.iter_mut().enumerate() {
                    *d = load(tiles, (SIDE * i + j) * run + at, run);
                }
                *column = input_column(d);
            }
            for i in 0..SIDE {
                let [c0, c1, c2, c3, c4, c5] = &columns;
                let row = input_column([c0[i], c1[i], c2[i], c3[i], c4[i], c5[i]]);
                for (j, lanes) in row.into_iter().enumerate() {
                    store(lanes, &mut tiles[(SIDE * i + j) * run..], at, run);
                }
            }
        }
    }
}

vectorised! {
    /// `At M A`, bias and activation, of products whose elements lie `stride` floats apart, to `[16][run]`.
    pub(crate) fn finish_tiles(
        products: &[f32],
        stride: usize,
        bias: f32,
        activation: Activation,
        to: &mut [f32],
    ) {
        let run = to.len() / PIXELS;
        for at in blocks(run) {
            let mut rows = [[ZERO; STEP]; SIDE];
            for (i, row) in rows.iter_mut().enumerate() {
                let mut m = [ZERO; SIDE];
                for (j, m) in m.iter_mut().enumerate() {
                    *m = load(products, (SIDE * i + j) * stride + at, run);
                }
                *row = output_column(m);
            }
            for j in 0..STEP {
                let [r0, r1, r2, r3, r4, r5] = &rows;
                let column = output_column([r0[j], r1[j], r2[j], r3[j], r4[j], r5[j]]);
                for (i, mut lanes) in column.into_iter().enumerate() {
                    for value in &mut lanes {
                        *value = activation.apply(*value + bias);
                    }
                    store(lanes, &mut to[(STEP * i + j) * run..], at, run);
                }
            }
        }
    }
}

vectorised! {
    /// `A dy At` of outputs `[16][run]`, to `[36][run]`.
    pub(crate) fn transform_gradients(outputs: &[f32], to: &mut [f32]) {
        let run = outputs.len() / PIXELS;
        for at in blocks(run) {
            let mut columns = [[ZERO; SIDE]; STEP];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut y = [ZERO; STEP];
                for (i, y) in y.iter_mut().enumerate() {
                    *y = load(outputs, (STEP * i + j) * run + at, run);
                }
                *column = gradient_column(y);
            }
            for i in 0..SIDE {
                let row = gradient_column([columns[0][i], columns[1][i], columns[2][i], columns[3][i]]);
                for (j, lanes) in row.into_iter().enumerate() {
                    store(lanes, &mut to[(SIDE * i + j) * run..], at, run);
                }
            }
        }
    }
}

/// `Gt . G` of sums `[36][kernels]`: `[kernels][3, 3]`.
pub(crate) fn back_to_kernels(sums: &[f32], count: usize) -> Vec<f32> {
    let mut kernels = vec![0.0; 9 * count];
    kernels.par_chunks_mut(9 * KERNELS).enumerate().for_each(|(block, kernels)| {
        transform_back(&sums[block * KERNELS..], count, kernels);
    });
    kernels
}

/// Kernels of one task.
const KERNELS: usize = 1 << 10;

vectorised! {
    /// As many kernels as `kernels` has room for, from the first columns of `[36][count]`.
    fn transform_back(sums: &[f32], count: usize, kernels: &mut [f32]) {
        let span = kernels.len() / 9;
        for at in blocks(span) {
            let mut columns = [[ZERO; 3]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut u = [ZERO; SIDE];
                for (i, u) in u.iter_mut().enumerate() {
                    *u = load(sums, (SIDE * i + j) * count + at, span);
                }
                *column = kernel_gradient_column(u);
            }
            for i in 0..3 {
                let [c0, c1, c2, c3, c4, c5] = &columns;
                let row = kernel_gradient_column([c0[i], c1[i], c2[i], c3[i], c4[i], c5[i]]);
                for lane in 0..LANES.min(span) {
                    let kernel = &mut kernels[9 * (at + lane) + 3 * i..][..3];
                    for (value, lanes) in kernel.iter_mut().zip(&row) {
                        *value = lanes[lane];
                    }
                }
            }
        }
    }
}
