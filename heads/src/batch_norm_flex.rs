//! Batch normalisation on the CPU: all threads over planes, sums in `f64` and in one order whatever their number.

use std::sync::{Arc, OnceLock};

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use cvx_backbone::ops::cpu::buffer::zeroed;
use cvx_backbone::ops::cpu::dispatch::vectorised;
use rayon::prelude::*;

use crate::batch_norm_op::{
    BatchNormBackwardOps, BatchNormGradients, BatchNormOps, BatchNormState, EPSILON, Moments,
};
use crate::conv_op::Activation;

/// Sums kept side by side, so that the compiler adds vectors.
const LANES: usize = 16;

/// What one channel's values go through: `(x - mean) * inverse` is normalised, then scaled and shifted.
#[derive(Clone, Copy)]
struct Channel {
    mean: f64,
    inverse: f64,
    weight: f64,
    bias: f64,
}

impl Channel {
    #[inline(always)]
    fn normalise(self, x: f32) -> f64 {
        (f64::from(x) - self.mean) * self.inverse
    }

    #[inline(always)]
    fn scale(self, normalised: f64) -> f64 {
        normalised * self.weight + self.bias
    }

    /// The gradient in front of the activation.
    #[inline(always)]
    fn pass_back(self, normalised: f64, grad: f32, relu: bool) -> f64 {
        if relu && self.scale(normalised) <= 0.0 { 0.0 } else { f64::from(grad) }
    }
}

fn channels(moments: &Moments, weight: &[f32], bias: &[f32]) -> Vec<Channel> {
    let channel = |at: usize| Channel {
        mean: moments.mean[at],
        inverse: (moments.variance[at] + EPSILON).sqrt().recip(),
        weight: f64::from(weight[at]),
        bias: f64::from(bias[at]),
    };
    (0..weight.len()).map(channel).collect()
}

impl BatchNormOps for Flex {
    fn batch_norm_op(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
        found: Arc<OnceLock<Moments>>,
    ) -> FlexTensor {
        let shape = x.layout().shape().clone();
        let [_, num_channels, height, width] = shape.dims::<4>();
        let area = height * width;
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let x = floats(&x);
        let moments = moments(x, num_channels, area);
        let channels = channels(&moments, floats(&weight), floats(&bias));
        let mut out = zeroed(x.len());
        let relu = activation == Activation::Relu;
        let planes = out.par_chunks_exact_mut(area).zip(x.par_chunks_exact(area)).enumerate();
        planes.for_each(|(plane, (out, x))| {
            normalise_plane(x, channels[plane % num_channels], relu, out);
        });
        // Nobody set it: the caller's cell is new.
        let _ = found.set(moments);
        tensor(out, shape)
    }
}

/// Mean and biased variance of each channel.
fn moments(x: &[f32], num_channels: usize, area: usize) -> Moments {
    let planes: Vec<(f64, f64)> = x.par_chunks_exact(area).map(plane_moments).collect();
    let mut moments = Moments::none(num_channels);
    for image in planes.chunks_exact(num_channels) {
        let (mean, variance) = image.iter().copied().unzip();
        moments.merge(&Moments { count: area as f64, mean, variance });
    }
    moments
}

impl BatchNormBackwardOps for Flex {
    fn batch_norm_backward(
        state: BatchNormState<FlexTensor>,
        grad: FlexTensor,
    ) -> BatchNormGradients<FlexTensor> {
        let BatchNormState { x, weight, bias, activation, moments } = state;
        let Some(moments) = moments.get() else { unreachable!("the forward pass left its statistics") };
        let shape = x.layout().shape().clone();
        let [_, num_channels, height, width] = shape.dims::<4>();
        let area = height * width;
        let (x, grad) = (x.to_contiguous(), grad.to_contiguous());
        let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
        let (x, grad) = (floats(&x), floats(&grad));
        let channels = channels(moments, floats(&weight), floats(&bias));
        let relu = activation == Activation::Relu;

        let sums: Vec<[f64; 2]> = x
            .par_chunks_exact(area)
            .zip(grad.par_chunks_exact(area))
            .enumerate()
            .map(|(plane, (x, grad))| gradient_sums(x, grad, channels[plane % num_channels], relu))
            .collect();
        let mut totals = vec![[0.0; 2]; num_channels];
        for image in sums.chunks_exact(num_channels) {
            for (total, sums) in totals.iter_mut().zip(image) {
                total[0] += sums[0];
                total[1] += sums[1];
            }
        }
        // Statistics over several processes would add these totals up here.
        let mut x_grad = zeroed(x.len());
        let planes =
            x_grad.par_chunks_exact_mut(area).zip(x.par_chunks_exact(area).zip(grad.par_chunks_exact(area)));
        planes.enumerate().for_each(|(plane, (out, (x, grad)))| {
            let (channel, [total, along]) = (channels[plane % num_channels], totals[plane % num_channels]);
            let means = [total / moments.count, along / moments.count];
            gradient_plane(x, grad, channel, relu, means, out);
        });
        let column = |at: usize| totals.iter().map(|total| total[at] as f32).collect();
        BatchNormGradients {
            x: tensor(x_grad, shape),
            weight: tensor(column(1), [num_channels].into()),
            bias: tensor(column(0), [num_channels].into()),
        }
    }
}

vectorised! {
    /// Mean and biased variance of a plane, in two passes while it is in the cache.
    fn plane_moments(plane: &[f32]) -> (f64, f64) {
        let area = plane.len() as f64;
        let mean = sum(plane, |x| x) / area;
        (mean, sum(plane, |x| (x - mean) * (x - mean)) / area)
    }
}

vectorised! {
    /// Normalises, scales, shifts and activates.
    fn normalise_plane(x: &[f32], channel: Channel, relu: bool, out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            let y = channel.scale(channel.normalise(x)) as f32;
            // Not `max`, which would hide what is not a number.
            *out = if y < 0.0 && relu { 0.0 } else { y };
        }
    }
}

vectorised! {
    /// Sums over a plane of the gradient before the activation, and of its product with the normalised values.
    fn gradient_sums(x: &[f32], grad: &[f32], channel: Channel, relu: bool) -> [f64; 2] {
        sum_pairs(x, grad, |x, grad| {
            let normalised = channel.normalise(x);
            let grad = channel.pass_back(normalised, grad, relu);
            [grad, grad * normalised]
        })
    }
}

vectorised! {
    /// The gradient of a plane's values, from that of its output and from the means of both sums.
    fn gradient_plane(
        x: &[f32],
        grad: &[f32],
        channel: Channel,
        relu: bool,
        means: [f64; 2],
        out: &mut [f32],
    ) {
        let (scale, [mean, along]) = (channel.weight * channel.inverse, means);
        for ((out, &x), &grad) in out.iter_mut().zip(x).zip(grad) {
            let normalised = channel.normalise(x);
            let grad = channel.pass_back(normalised, grad, relu);
            *out = (scale * (grad - mean - normalised * along)) as f32;
        }
    }
}

/// The sum of `term` over a plane, in lanes of its own.
#[inline(always)]
fn sum(plane: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let (chunks, rest) = plane.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(f64::from(value));
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| term(f64::from(value))).sum::<f64>()
}

/// The sums of both of `terms` over two planes of one size.
#[inline(always)]
fn sum_pairs(left: &[f32], right: &[f32], terms: impl Fn(f32, f32) -> [f64; 2]) -> [f64; 2] {
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    let mut lanes = [[0.0; LANES]; 2];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            let [first, second] = terms(left[lane], right[lane]);
            lanes[0][lane] += first;
            lanes[1][lane] += second;
        }
    }
    let mut sums = lanes.map(|lanes| lanes.iter().sum::<f64>());
    for (&left, &right) in left_rest.iter().zip(right_rest) {
        let [first, second] = terms(left, right);
        sums[0] += first;
        sums[1] += second;
    }
    sums
}

fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("batch normalisation works on contiguous f32")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
