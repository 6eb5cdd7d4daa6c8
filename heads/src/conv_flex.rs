//! Dense convolution on the CPU as matrix products, without copying patches.
//!
//! An image is stored with a border of zeros, rows `pitch = width + 2` pixels long. In a plane so padded
//! the pixel that a tap of the kernel reads lies at a fixed distance from the output's, so
//!
//! ```text
//! out[outputs, pixels] = sum over taps of weight[tap][outputs, inputs] . padded[inputs, pixels + distance]
//! ```
//!
//! are nine ordinary products whose last two columns of each row are not used. The gradient of the input
//! is the same sum with the kernel turned round; that of the weight multiplies the padded gradient, whose
//! border is zero, by the same views of the input. Tasks are cut by shapes alone and each adds in one
//! order, so the result has the same bits for any number of threads.
//!
//! With channels enough a kernel of three is transformed instead (`winograd.rs`).

use std::borrow::Cow;

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use cvx_backbone::ops::cpu::buffer::zeroed;
use cvx_backbone::ops::cpu::matmul::{Matrix, Write, multiply};
use rayon::prelude::*;

use crate::conv_op::{Activation, ConvBackwardOps, ConvGradients, ConvOps, ConvState};
use crate::winograd;

/// Output pixels of one product: its factors stay in the second-level cache.
const BAND: usize = 1024;

/// Channels of the wider side whose weights' gradients are one product.
const GRADIENT_CHANNELS: usize = 64;

/// Sums kept side by side when a gradient is added up over pixels.
const LANES: usize = 16;

/// Sizes of the maps and of the kernel.
#[derive(Clone, Copy)]
struct Geometry {
    height: usize,
    width: usize,
    kernel: usize,
}

impl Geometry {
    /// Pixels of an image without its border.
    fn area(self) -> usize {
        self.height * self.width
    }

    fn border(self) -> usize {
        self.kernel / 2
    }

    /// Length of a padded row.
    fn pitch(self) -> usize {
        self.width + 2 * self.border()
    }

    /// Length of a padded plane.
    fn plane(self) -> usize {
        (self.height + 2 * self.border()) * self.pitch()
    }

    /// Whether sixteen products of transformed tiles take less time than nine of shifted planes: with channels enough,
    /// the transforms are a small part of it.
    fn suits_winograd(self, channels: [usize; 2]) -> bool {
        self.kernel == 3 && channels.iter().all(|&count| count >= winograd::FEWEST_CHANNELS)
    }

    fn taps(self) -> usize {
        self.kernel * self.kernel
    }

    /// How far behind an output pixel's the pixel lies that `tap` reads, in a padded plane.
    fn distance(self, tap: usize) -> usize {
        tap / self.kernel * self.pitch() + tap % self.kernel
    }

    /// Length of `rows` rows of output in a padded plane, without what follows the last pixel.
    fn span(self, rows: usize) -> usize {
        rows * self.pitch() - 2 * self.border()
    }
}

impl ConvOps for Flex {
    fn conv_op(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, activation: Activation) -> FlexTensor {
        let [batch, inputs, height, width] = shape(&x);
        let [outputs, _, kernel, _] = shape(&weight);
        let geometry = Geometry { height, width, kernel };
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let mut out = zeroed(batch * outputs * geometry.area());
        if geometry.suits_winograd([inputs, outputs]) {
            let weight = winograd::kernels(floats(&weight), [outputs, inputs], Direction::Forward);
            let planes = winograd::Planes { values: floats(&x), channels: inputs, size: [height, width] };
            winograd::convolve(planes, &weight, Some(floats(&bias)), activation, &mut out);
            return tensor(out, [batch, outputs, height, width].into());
        }
        let weight = by_tap(floats(&weight), [outputs, inputs], geometry, Direction::Forward);
        let padded = pad(floats(&x), geometry, None);
        let sizes = [inputs, outputs];
        convolve(&padded, &weight, Some(floats(&bias)), activation, sizes, geometry, &mut out);
        tensor(out, [batch, outputs, height, width].into())
    }
}

impl ConvBackwardOps for Flex {
    fn conv_backward(
        state: ConvState<FlexTensor>,
        grad: FlexTensor,
        wants_x: bool,
    ) -> ConvGradients<FlexTensor> {
        let ConvState { x, weight, output, activation } = state;
        let [batch, inputs, height, width] = shape(&x);
        let [outputs, _, kernel, _] = shape(&weight);
        let geometry = Geometry { height, width, kernel };
        let (x, weight, grad) = (x.to_contiguous(), weight.to_contiguous(), grad.to_contiguous());
        let output = output.to_contiguous();
        let active = (activation == Activation::Relu).then(|| floats(&output));
        if geometry.suits_winograd([inputs, outputs]) {
            return winograd_backward(&x, &weight, floats(&grad), active, wants_x);
        }
        let grad = pad(floats(&grad), geometry, active);

        let x_grad = wants_x.then(|| {
            let weight = by_tap(floats(&weight), [outputs, inputs], geometry, Direction::Backward);
            let mut out = zeroed(batch * inputs * geometry.area());
            let sizes = [outputs, inputs];
            convolve(&grad, &weight, None, Activation::Identity, sizes, geometry, &mut out);
            tensor(out, [batch, inputs, height, width].into())
        });
        let padded = pad(floats(&x), geometry, None);
        let weight = weight_gradient(&grad, &padded, [outputs, inputs], geometry);
        let bias = bias_gradient(&grad, outputs, geometry.plane());
        ConvGradients {
            x: x_grad,
            weight: tensor(weight, [outputs, inputs, kernel, kernel].into()),
            bias: tensor(bias, [outputs].into()),
        }
    }
}

/// The gradients of a convolution that suits Winograd.
fn winograd_backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    grad: &[f32],
    active: Option<&[f32]>,
    wants_x: bool,
) -> ConvGradients<FlexTensor> {
    let [batch, inputs, height, width] = shape(x);
    let [outputs, _, kernel, _] = shape(weight);
    let whole = Geometry { height, width, kernel: 1 };
    let grad = pad(grad, whole, active);
    let planes = |values, channels| winograd::Planes { values, channels, size: [height, width] };
    let x_grad = wants_x.then(|| {
        let weight = winograd::kernels(floats(weight), [outputs, inputs], Direction::Backward);
        let mut out = zeroed(batch * inputs * height * width);
        winograd::convolve(planes(&grad, outputs), &weight, None, Activation::Identity, &mut out);
        tensor(out, [batch, inputs, height, width].into())
    });
    let of_weight = winograd::weight_gradient(planes(&grad, outputs), planes(floats(x), inputs));
    ConvGradients {
        x: x_grad,
        weight: tensor(of_weight, [outputs, inputs, kernel, kernel].into()),
        bias: tensor(bias_gradient(&grad, outputs, height * width), [outputs].into()),
    }
}

/// Sums over the planes of each channel.
fn bias_gradient(grad: &[f32], outputs: usize, plane: usize) -> Vec<f32> {
    let of_channel = |channel| {
        let planes = grad.chunks_exact(plane).skip(channel).step_by(outputs);
        planes.map(sum).sum::<f64>() as f32
    };
    (0..outputs).into_par_iter().map(of_channel).collect()
}

fn shape(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims::<4>()
}

fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("convolution works on contiguous f32")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// Planes with a border of zeros; where `active` is given, what is not positive there becomes zero.
fn pad<'a>(planes: &'a [f32], geometry: Geometry, active: Option<&[f32]>) -> Cow<'a, [f32]> {
    if geometry.border() == 0 && active.is_none() {
        return Cow::Borrowed(planes);
    }
    let (pitch, border, width) = (geometry.pitch(), geometry.border(), geometry.width);
    let mut padded = zeroed(planes.len() / geometry.area() * geometry.plane());
    padded.par_chunks_exact_mut(geometry.plane()).enumerate().for_each(|(plane, padded)| {
        for row in 0..geometry.height {
            let from = plane * geometry.area() + row * width;
            let source = &planes[from..from + width];
            let target = &mut padded[(row + border) * pitch + border..][..width];
            match active {
                None => target.copy_from_slice(source),
                Some(active) => {
                    let active = &active[from..from + width];
                    for ((target, &value), &active) in target.iter_mut().zip(source).zip(active) {
                        *target = if active > 0.0 { value } else { 0.0 };
                    }
                }
            }
        }
    });
    Cow::Owned(padded)
}

/// Which way a kernel is applied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    /// From gradients of outputs to gradients of inputs: turned round, outputs for inputs.
    Backward,
}

/// `[outputs, inputs, kernel, kernel]` as one matrix a tap: `[tap][to, from]`.
fn by_tap(
    weight: &[f32],
    [outputs, inputs]: [usize; 2],
    geometry: Geometry,
    direction: Direction,
) -> Vec<f32> {
    let taps = geometry.taps();
    let matrix = outputs * inputs;
    let mut matrices = vec![0.0; taps * matrix];
    for (at, kernel) in weight.chunks_exact(taps).enumerate() {
        let (output, input) = (at / inputs, at % inputs);
        for (tap, &value) in kernel.iter().enumerate() {
            let position = match direction {
                Direction::Forward => tap * matrix + at,
                Direction::Backward => (taps - 1 - tap) * matrix + input * outputs + output,
            };
            matrices[position] = value;
        }
    }
    matrices
}

/// `out[batch, to, height, width]` from padded planes `[batch, from, ..]` and matrices `[tap][to, from]`.
fn convolve(
    padded: &[f32],
    matrices: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    [from, to]: [usize; 2],
    geometry: Geometry,
    out: &mut [f32],
) {
    let (area, pitch, width) = (geometry.area(), geometry.pitch(), geometry.width);
    let images = padded.chunks_exact(from * geometry.plane());
    // Few images are cut by channels as well, so that there are tasks for every thread.
    let channels = if images.len() < 8 { to.min(64) } else { to };
    let rows_of_band = (BAND / pitch).clamp(1, geometry.height);
    let images: Vec<&[f32]> = images.collect();
    out.par_chunks_exact_mut(to * area).zip(images).for_each(|(out, image)| {
        out.par_chunks_mut(channels * area).enumerate().for_each_init(Vec::new, |scratch, (block, out)| {
            let first = block * channels;
            let channels = out.len() / area;
            for top in (0..geometry.height).step_by(rows_of_band) {
                let rows = rows_of_band.min(geometry.height - top);
                let pixels = geometry.span(rows);
                scratch.resize(channels * pixels, 0.0);
                for tap in 0..geometry.taps() {
                    let left = &matrices[(tap * to + first) * from..];
                    let right = &image[top * pitch + geometry.distance(tap)..];
                    multiply(
                        [channels, pixels, from],
                        scratch,
                        pixels,
                        Write::term(tap),
                        Matrix::rows(left, from),
                        Matrix::rows(right, geometry.plane()),
                    );
                }
                for (channel, sums) in scratch.chunks_exact(pixels).enumerate() {
                    let bias = bias.map_or(0.0, |bias| bias[first + channel]);
                    let out = &mut out[channel * area + top * width..][..rows * width];
                    for (out, sums) in out.chunks_exact_mut(width).zip(sums.chunks(pitch)) {
                        for (out, &sum) in out.iter_mut().zip(sums) {
                            *out = activation.apply(sum + bias);
                        }
                    }
                }
            }
        });
    });
}

/// The gradient `[outputs, inputs, kernel, kernel]` of the weight, from padded planes of both sides.
fn weight_gradient(
    grad: &[f32],
    padded: &[f32],
    [outputs, inputs]: [usize; 2],
    geometry: Geometry,
) -> Vec<f32> {
    let (taps, plane) = (geometry.taps(), geometry.plane());
    let pixels = geometry.span(geometry.height);
    // The first pixel within the border.
    let inside = geometry.border() * (geometry.pitch() + 1);
    // The side with more channels is cut into tasks: RPN has three outputs, which would be one.
    let (rows, columns) = (outputs.max(inputs), outputs.min(inputs));
    let rows_are_outputs = rows == outputs;
    let mut by_tap = vec![0.0; taps * rows * columns];
    by_tap.par_chunks_exact_mut(rows * columns).enumerate().for_each(|(tap, sums)| {
        let blocks = sums.par_chunks_mut(GRADIENT_CHANNELS * columns).enumerate();
        blocks.with_max_len(1).for_each(|(block, sums)| {
            let first = block * GRADIENT_CHANNELS * plane;
            let images = grad.chunks_exact(outputs * plane).zip(padded.chunks_exact(inputs * plane));
            for (image, (grad, padded)) in images.enumerate() {
                let (grad, padded) = (&grad[inside..], &padded[geometry.distance(tap)..]);
                let (left, right) = if rows_are_outputs { (grad, padded) } else { (padded, grad) };
                multiply(
                    [sums.len() / columns, columns, pixels],
                    sums,
                    columns,
                    Write::term(image),
                    Matrix::rows(&left[first..], plane),
                    Matrix::columns(right, plane),
                );
            }
        });
    });
    let [of_output, of_input] = if rows_are_outputs { [columns, 1] } else { [1, columns] };
    let mut weight = vec![0.0; by_tap.len()];
    for (at, kernel) in weight.chunks_exact_mut(taps).enumerate() {
        let from = at / inputs * of_output + at % inputs * of_input;
        for (tap, slope) in kernel.iter_mut().enumerate() {
            *slope = by_tap[tap * rows * columns + from];
        }
    }
    weight
}

/// A sum over a plane, in a fixed order and with little rounding.
fn sum(plane: &[f32]) -> f64 {
    let (chunks, rest) = plane.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).copied().map(f64::from).sum()
}
