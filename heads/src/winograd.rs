//! Convolution by a kernel of three with fewer products: Winograd's F(4x4, 3x3) on the CPU.
//!
//! Paper: Lavin and Gray 2016, <https://arxiv.org/abs/1509.09308>. Sixteen outputs, four by four, take 36 products where
//! the sum over taps takes 144; what is added instead is linear in the number of channels.
//!
//! ```text
//! U = G g Gt          kernel, once                          [36][to, from]
//! V = Bt d B          tiles of 6x6 inputs, four apart       [36][from, tiles]
//! M = U . V           36 matrix products                    [36][to, tiles]
//! y = At M A          tiles of 4x4 outputs
//! ```
//!
//! The gradient of the input is the same convolution with the kernel turned round. That of the kernel is
//! `Gt (sum over tiles of (A dy At) . V) G`.
//!
//! A value that is not finite spreads to the outputs of the tiles that read it, up to three pixels further than its taps.
//!
//! Bands of tiles are cut by shapes alone and each sum adds in one order, so the result has the same bits for any
//! number of threads.

use cvx_backbone::ops::cpu::matmul::{Matrix, Write, multiply};
use rayon::prelude::*;

use crate::conv_op::Activation;
use crate::scattered::Scattered;
use crate::winograd_tiles::Band;
pub(crate) use crate::winograd_tiles::Planes;
pub(crate) use crate::winograd_transforms::kernels;
use crate::winograd_transforms::{
    ELEMENTS, PIXELS, back_to_kernels, finish_tiles, transform_gradients, transform_inputs,
};

/// From so many channels on, of input and of output, the products saved outweigh the transforms.
pub(crate) const FEWEST_CHANNELS: usize = 64;

/// Tiles of one set of products: a multiple of what `gemm` works on at a time.
const BAND: usize = 256;

/// Output channels of one product.
const CHANNELS: usize = 256;

/// Convolves, adds a bias and activates; `out` is `[batch, to, height, width]`.
pub(crate) fn convolve(
    x: Planes<'_>,
    kernels: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    let (from, area) = (x.channels, x.area());
    let to = kernels.len() / ELEMENTS / from;
    let out = Scattered::new(out);
    let (mut inputs, mut products) = (Vec::new(), Vec::new());
    for band in x.bands(BAND) {
        let run = band.run();
        transform_band(&band, x, &mut inputs);
        products.resize(ELEMENTS * to * run, 0.0);
        let matrices = products.par_chunks_exact_mut(to * run).enumerate();
        matrices.for_each(|(element, products)| {
            products.par_chunks_mut(CHANNELS * run).enumerate().for_each(|(block, products)| {
                let first = element * to + block * CHANNELS;
                multiply(
                    [products.len() / run, run, from],
                    products,
                    run,
                    Write::Replace,
                    Matrix::rows(&kernels[first * from..], from),
                    Matrix::rows(&inputs[element * from * run..], run),
                );
            });
        });
        let finish = |finished: &mut Vec<f32>, channel: usize| {
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            finished.resize(PIXELS * run, 0.0);
            finish_tiles(&products[channel * run..], to * run, bias, activation, finished);
            let rows = band.pixels();
            for (index, image) in band.images.clone().enumerate() {
                // SAFETY: this task alone has these rows of this plane.
                let pixels = unsafe { out.range((image * to + channel) * area + rows.start, rows.len()) };
                band.collect_outputs(finished, index, pixels);
            }
        };
        (0..to).into_par_iter().for_each_init(Vec::new, finish);
    }
}

/// The transformed inputs of a band: `[36][channels][run]`.
fn transform_band(band: &Band, x: Planes<'_>, to: &mut Vec<f32>) {
    let run = band.run();
    to.resize(ELEMENTS * x.channels * run, 0.0);
    let to = Scattered::new(to);
    (0..x.channels).into_par_iter().for_each_init(Vec::new, |tiles, channel| {
        tiles.resize(ELEMENTS * run, 0.0);
        band.deal_inputs(x, channel, tiles);
        transform_inputs(tiles);
        scatter(tiles, &to, x.channels, channel);
    });
}

/// One channel of `[36][channels][run]`.
fn scatter(tiles: &[f32], to: &Scattered<'_>, channels: usize, channel: usize) {
    let run = tiles.len() / ELEMENTS;
    for (element, tiles) in tiles.chunks_exact(run).enumerate() {
        // SAFETY: each channel is written by one task alone.
        unsafe { to.range((element * channels + channel) * run, run) }.copy_from_slice(tiles);
    }
}

/// The gradient `[outputs, inputs, 3, 3]` of the kernel, from the gradient of the output and from the input.
pub(crate) fn weight_gradient(grad: Planes<'_>, x: Planes<'_>) -> Vec<f32> {
    let (outputs, inputs) = (grad.channels, x.channels);
    let mut sums = vec![0.0; ELEMENTS * outputs * inputs];
    let (mut slopes, mut tiles_of_x) = (Vec::new(), Vec::new());
    for (index, band) in x.bands(BAND).into_iter().enumerate() {
        let run = band.run();
        transform_band(&band, x, &mut tiles_of_x);
        slopes.resize(ELEMENTS * outputs * run, 0.0);
        let of_grad = Scattered::new(&mut slopes);
        (0..outputs).into_par_iter().for_each_init(
            || (Vec::new(), Vec::new()),
            |(dealt, tiles), channel| {
                dealt.resize(PIXELS * run, 0.0);
                tiles.resize(ELEMENTS * run, 0.0);
                band.deal_outputs(grad, channel, dealt);
                transform_gradients(dealt, tiles);
                scatter(tiles, &of_grad, outputs, channel);
            },
        );
        let matrices = sums.par_chunks_exact_mut(outputs * inputs).enumerate();
        matrices.for_each(|(element, sums)| {
            sums.par_chunks_mut(CHANNELS * inputs).enumerate().for_each(|(block, sums)| {
                let first = element * outputs + block * CHANNELS;
                multiply(
                    [sums.len() / inputs, inputs, run],
                    sums,
                    inputs,
                    Write::term(index),
                    Matrix::rows(&slopes[first * run..], run),
                    Matrix::columns(&tiles_of_x[element * inputs * run..], run),
                );
            });
        });
    }
    back_to_kernels(&sums, outputs * inputs)
}
