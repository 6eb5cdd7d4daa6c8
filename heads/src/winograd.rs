//! Convolution by a kernel of three with fewer products: Winograd's F(2x2, 3x3) on the CPU.
//!
//! Paper: Lavin and Gray 2016, <https://arxiv.org/abs/1509.09308>. Four outputs, two by two, take 16 products where the
//! sum over taps takes 36; what is added instead is linear in the number of channels.
//!
//! ```text
//! U = G g Gt          kernel, once                          [16][to, from]
//! V = Bt d B          tiles of 4x4 inputs, two apart        [from][16, tiles]
//! M = U . V           sixteen matrix products               [to][16, tiles]
//! y = At M A          tiles of 2x2 outputs
//! ```
//!
//! The gradient of the input is the same convolution with the kernel turned round. That of the kernel is
//! `Gt (sum over tiles of (A dy At) . V) G`.
//!
//! A value that is not finite spreads to the outputs of the tiles that read it, up to one pixel further than its taps.
//!
//! Bands of tiles are cut by shapes alone and each sum adds in one order, so the result has the same bits for any
//! number of threads.

use cvx_backbone::ops::cpu::matmul::{Matrix, Write, multiply};
use rayon::prelude::*;

use crate::conv_op::Activation;
pub(crate) use crate::winograd_tiles::Planes;
use crate::winograd_tiles::{Band, Border, Tiling, bands, interleave, quarters};
pub(crate) use crate::winograd_transforms::kernels;
use crate::winograd_transforms::{
    ELEMENTS, back_to_kernels, finish_tiles, transform_gradients, transform_inputs,
};

/// From so many channels on, of input and of output, the products saved outweigh the transforms.
pub(crate) const FEWEST_CHANNELS: usize = 64;

/// Tiles of one set of products: the fastest of 96, 192 and 256 at the sizes of `benches/convolution.rs`.
const BAND: usize = 192;

/// Tiles of one product where a gradient is added up over them: the fastest of 256, 512, 1024 and 2048 there.
const GRADIENT_BAND: usize = 1024;

/// Output channels whose weights' gradients are one product.
const GRADIENT_CHANNELS: usize = 128;

/// Convolves, adds a bias and activates; `out` is `[batch, to, height, width]`.
pub(crate) fn convolve(
    x: Planes<'_>,
    kernels: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let (from, tiling, area) = (x.channels, x.tiling(), x.area());
    let to = kernels.len() / ELEMENTS / from;
    let batch = x.values.len() / (from * area);
    let quarters = quarters(x, Border::Zeros);
    let [height, width] = x.size;
    let output = Output { values: out.as_mut_ptr(), len: out.len() };
    bands(batch, tiling, BAND).into_par_iter().for_each_init(Scratch::default, |scratch, band| {
        let (tiles, rows) = (band.tiles(tiling), band.pixel_rows(height));
        let Scratch { inputs, products, finished } = scratch;
        inputs.resize(from * ELEMENTS * tiles, 0.0);
        products.resize(to * ELEMENTS * tiles, 0.0);
        finished.resize(4 * band.span(tiling), 0.0);
        for (channel, inputs) in inputs.chunks_exact_mut(ELEMENTS * tiles).enumerate() {
            input_tiles(&quarters, [from, channel], band, tiling, inputs);
        }
        for element in 0..ELEMENTS {
            multiply(
                [to, tiles, from],
                &mut products[element * tiles..],
                ELEMENTS * tiles,
                Write::Replace,
                Matrix::rows(&kernels[element * to * from..], from),
                Matrix::rows(&inputs[element * tiles..], ELEMENTS * tiles),
            );
        }
        for (channel, products) in products.chunks_exact(ELEMENTS * tiles).enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            for image in 0..band.images {
                finish_tiles(products, tiles, image * band.span(tiling), bias, activation, finished);
                let begin = ((band.image + image) * to + channel) * area + rows.start * width;
                // SAFETY: the task of this band alone has these rows of these planes.
                let pixels = unsafe { output.range(begin, rows.len() * width) };
                interleave(finished, tiling, width, pixels);
            }
        }
    });
}

/// What a task works in.
#[derive(Default)]
struct Scratch {
    inputs: Vec<f32>,
    products: Vec<f32>,
    finished: Vec<f32>,
}

/// The result, which tasks fill in at different places.
struct Output {
    values: *mut f32,
    len: usize,
}

// SAFETY: see `Output::range`, which is the only way to what it points to.
unsafe impl Sync for Output {}

impl Output {
    /// # Safety
    /// Nobody else may write the same pixels, or read them, at the same time.
    #[expect(clippy::mut_from_ref, reason = "tasks write different pixels of one result")]
    unsafe fn range(&self, begin: usize, len: usize) -> &mut [f32] {
        assert!(begin + len <= self.len, "beyond the result");
        // SAFETY: within the slice that this was made of, as was just checked; the caller keeps others out.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(begin), len) }
    }
}

/// The transformed tiles of a band in one channel: `[16][tiles]`.
fn input_tiles(
    quarters: &[f32],
    [channels, channel]: [usize; 2],
    band: Band,
    tiling: Tiling,
    to: &mut [f32],
) {
    let (span, quarter, pitch) = (band.span(tiling), tiling.quarter(), tiling.pitch());
    let tiles = to.len() / ELEMENTS;
    for image in 0..band.images {
        let plane = (band.image + image) * channels + channel;
        let quarters = &quarters[plane * 4 * quarter..][..4 * quarter];
        transform_inputs(&quarters[band.row * pitch..], quarter, pitch, span, to, tiles, image * span);
    }
}

/// The gradient `[outputs, inputs, 3, 3]` of the kernel, from the gradient of the output and from the input.
pub(crate) fn weight_gradient(grad: Planes<'_>, x: Planes<'_>) -> Vec<f32> {
    let (outputs, inputs, tiling) = (grad.channels, x.channels, x.tiling());
    let batch = x.values.len() / (inputs * x.area());
    let of_grad = quarters(grad, Border::None);
    let of_x = quarters(x, Border::Zeros);
    let (quarter, pitch) = (tiling.quarter(), tiling.pitch());
    let mut sums = vec![0.0; ELEMENTS * outputs * inputs];
    let (mut slopes, mut tiles_of_x) = (Vec::new(), Vec::new());
    for (index, band) in bands(batch, tiling, GRADIENT_BAND).into_iter().enumerate() {
        let (tiles, span) = (band.tiles(tiling), band.span(tiling));
        slopes.resize(outputs * ELEMENTS * tiles, 0.0);
        tiles_of_x.resize(inputs * ELEMENTS * tiles, 0.0);
        slopes.par_chunks_exact_mut(ELEMENTS * tiles).enumerate().for_each(|(channel, slopes)| {
            for image in 0..band.images {
                let plane = (band.image + image) * outputs + channel;
                let quarters = &of_grad[plane * 4 * quarter..][..4 * quarter];
                transform_gradients(
                    &quarters[band.row * pitch..],
                    quarter,
                    span,
                    slopes,
                    tiles,
                    image * span,
                );
            }
        });
        tiles_of_x.par_chunks_exact_mut(ELEMENTS * tiles).enumerate().for_each(|(channel, tiles_of_x)| {
            input_tiles(&of_x, [inputs, channel], band, tiling, tiles_of_x);
        });
        let stride = ELEMENTS * tiles;
        let matrices = sums.par_chunks_exact_mut(outputs * inputs).enumerate();
        matrices.for_each(|(element, sums)| {
            sums.par_chunks_mut(GRADIENT_CHANNELS * inputs).enumerate().for_each(|(block, sums)| {
                let first = block * GRADIENT_CHANNELS;
                let left = &slopes[first * stride + element * tiles..];
                multiply(
                    [sums.len() / inputs, inputs, tiles],
                    sums,
                    inputs,
                    Write::term(index),
                    Matrix::rows(left, stride),
                    Matrix::columns(&tiles_of_x[element * tiles..], stride),
                );
            });
        });
    }
    back_to_kernels(&sums, outputs * inputs)
}
