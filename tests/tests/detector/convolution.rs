//! The convolution of the heads against Burn's, forward and backward.

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_heads::{Activation, conv, conv_composed, pixel_shuffle, pixel_shuffle_composed};
use cvx_tests::tensors::values;
use cvx_tests::tolerance::{GRADIENT, ONE_OPERATION, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A convolution: how it is computed is what the tests compare.
type Convolution = fn(Tensor<4>, Tensor<4>, Tensor<1>, Activation) -> Tensor<4>;

/// How far from zero a sum is that no order of summation gives the other sign.
const DECIDED: f32 = 1e-3;

/// Values of this test alone: the device's own numbers are drawn by all tests at once.
fn drawn<const D: usize>(shape: [usize; D], rng: &mut ChaCha8Rng, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[track_caller]
fn case([batch, inputs, outputs]: [usize; 3], [height, width]: [usize; 2], kernel: usize) {
    let device = cvx_tests::device().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let x = drawn([batch, inputs, height, width], &mut rng, &device).require_grad();
    let weight = drawn([outputs, inputs, kernel, kernel], &mut rng, &device).require_grad();
    let bias = drawn([outputs], &mut rng, &device).require_grad();
    let slopes: Tensor<4> = drawn([batch, outputs, height, width], &mut rng, &device);
    // Where rounding decides whether ReLU lets a gradient pass, there is none.
    let sums = conv_composed(x.clone(), weight.clone(), bias.clone(), Activation::Identity).detach();
    let slopes = slopes * sums.abs().greater_scalar(DECIDED).float();
    for activation in [Activation::Identity, Activation::Relu] {
        let run = |convolution: Convolution| {
            let y = convolution(x.clone(), weight.clone(), bias.clone(), activation);
            let gradients = (y.clone() * slopes.clone()).sum().backward();
            [
                values(y),
                values(x.grad(&gradients).unwrap()),
                values(weight.grad(&gradients).unwrap()),
                values(bias.grad(&gradients).unwrap()),
            ]
        };
        let ([y, of_x, of_weight, of_bias], expected) = (run(conv), run(conv_composed));
        assert_close("output", &y, &expected[0], ONE_OPERATION);
        assert_close("gradient of the input", &of_x, &expected[1], GRADIENT);
        assert_close("gradient of the weight", &of_weight, &expected[2], GRADIENT);
        assert_close("gradient of the bias", &of_bias, &expected[3], GRADIENT);
    }
}

#[test]
fn convolution_is_burns_in_every_shape() {
    for kernel in [1, 3] {
        case([1, 1, 1], [1, 1], kernel);
        case([2, 3, 5], [1, 7], kernel);
        case([2, 3, 5], [7, 1], kernel);
        case([1, 70, 130], [5, 6], kernel);
        case([2, 130, 7], [5, 6], kernel);
        case([2, 7, 130], [5, 6], kernel);
        case([9, 4, 3], [14, 14], kernel);
        case([1, 2, 3], [3, 1100], kernel);
        case([2, 5, 4], [40, 60], kernel);
    }
}

/// The channels from which on a kernel of three takes fewer products, on maps that cut its tiles in every way.
#[test]
fn convolution_of_many_channels_is_burns_in_every_shape() {
    for size in
        [[1, 1], [1, 2], [2, 1], [2, 3], [4, 4], [1, 37], [37, 1], [7, 7], [14, 14], [31, 30], [30, 31]]
    {
        case([3, 64, 72], size, 3);
    }
    case([1, 72, 64], [3, 1100], 3);
    case([2, 65, 64], [40, 61], 3);
    case([70, 64, 64], [7, 7], 3);
    case([2, 256, 256], [14, 14], 3);
    case([1, 63, 64], [9, 9], 3);
}

/// Transforms add and subtract what is larger than their result, so how much is lost to rounding is measured, against
/// sums in f64: at most six times what Burn's sums over taps lose (seen: four).
#[test]
fn fewer_products_lose_little_more_to_rounding_than_sums_over_taps() {
    let (channels, outputs, side) = (256, 64, 16);
    let device = cvx_tests::device();
    device.seed(5);
    let x = Tensor::<4>::random([1, channels, side, side], Distribution::Normal(0.0, 1.0), &device);
    let weight = Tensor::<4>::random([outputs, channels, 3, 3], Distribution::Normal(0.0, 1.0), &device);
    let (of_x, of_weight) = (values(x.clone()), values(weight.clone()));
    let exact = |output: usize, row: usize, column: usize| -> f64 {
        let term = |channel: usize, i: usize, j: usize| {
            let (row, column) = ((row + i).checked_sub(1), (column + j).checked_sub(1));
            let (Some(row), Some(column)) = (row, column) else { return 0.0 };
            if row >= side || column >= side {
                return 0.0;
            }
            let at = (channel * side + row) * side + column;
            f64::from(of_x[at]) * f64::from(of_weight[((output * channels + channel) * 3 + i) * 3 + j])
        };
        let taps = (0..channels).flat_map(|channel| (0..9).map(move |tap| (channel, tap / 3, tap % 3)));
        taps.map(|(channel, i, j)| term(channel, i, j)).sum()
    };
    let loss = |convolution: Convolution| {
        let y = values(convolution(
            x.clone(),
            weight.clone(),
            Tensor::zeros([outputs], &device),
            Activation::Identity,
        ));
        let squares = y.iter().enumerate().map(|(at, &value)| {
            let (output, row, column) = (at / (side * side), at / side % side, at % side);
            (f64::from(value) - exact(output, row, column)).powi(2)
        });
        (squares.sum::<f64>() / y.len() as f64).sqrt()
    };
    let (ours, burns) = (loss(conv), loss(conv_composed));
    assert!(ours < 6.0 * burns, "root mean square {ours:e}, Burn's {burns:e}");
}

#[test]
fn a_convolution_has_the_same_bits_for_any_number_of_threads() {
    let device = cvx_tests::device().autodiff();
    device.seed(5);
    let normal = Distribution::Normal(0.0, 1.0);
    for (inputs, outputs, kernel) in [(72, 80, 1), (72, 80, 3), (130, 7, 1), (130, 7, 3), (7, 130, 3)] {
        let x = Tensor::<4>::random([3, inputs, 33, 50], normal, &device).require_grad();
        let weight = Tensor::<4>::random([outputs, inputs, kernel, kernel], normal, &device).require_grad();
        let bias = Tensor::<1>::random([outputs], normal, &device).require_grad();
        let run = || {
            let y = conv(x.clone(), weight.clone(), bias.clone(), Activation::Relu);
            let gradients = y.clone().powi_scalar(2).sum().backward();
            let of = [
                values(y),
                values(x.grad(&gradients).unwrap()),
                values(weight.grad(&gradients).unwrap()),
                values(bias.grad(&gradients).unwrap()),
            ];
            of.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
        };
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
        let one = on(1);
        for threads in [2, 5] {
            assert!(on(threads) == one, "{inputs} to {outputs}, kernel {kernel}, {threads} threads");
        }
    }
}

#[test]
fn a_convolution_reads_a_permuted_map_as_it_is_meant() {
    let device = cvx_tests::device();
    let normal = Distribution::Normal(0.0, 1.0);
    let x = Tensor::<4>::random([2, 6, 5, 3], normal, &device).permute([0, 3, 1, 2]);
    let weight = Tensor::<4>::random([3, 3, 3, 4], normal, &device).permute([3, 0, 1, 2]);
    let bias = Tensor::<1>::random([4], normal, &device);
    let y = conv(x.clone(), weight.clone(), bias.clone(), Activation::Identity);
    let expected = conv_composed(x, weight, bias, Activation::Identity);
    assert_close("output", &values(y), &values(expected), ONE_OPERATION);
}

#[test]
fn relu_lets_pass_what_is_not_a_number() {
    let device = cvx_tests::device();
    for (channels, kernel) in [(1, 1), (1, 3), (64, 3)] {
        let x = Tensor::<4>::full([1, channels, 2, 2], f32::NAN, &device);
        let weight = Tensor::ones([channels, channels, kernel, kernel], &device);
        let y = conv(x, weight, Tensor::zeros([channels], &device), Activation::Relu);
        assert!(values(y).iter().all(|value| value.is_nan()), "{channels} channels, kernel of {kernel}");
    }
}

#[test]
fn a_pixel_shuffle_is_burns_permutation_forward_and_backward() {
    let device = cvx_tests::device().autodiff();
    device.seed(5);
    let normal = Distribution::Normal(0.0, 1.0);
    for [batch, channels, height, width] in
        [[1, 1, 1, 1], [2, 3, 1, 5], [3, 2, 4, 1], [2, 5, 14, 14], [0, 2, 3, 3]]
    {
        // Not contiguous, and the gradient is not either.
        let x = Tensor::<4>::random([4 * channels, batch, width, height], normal, &device).require_grad();
        let slopes = Tensor::<4>::random([batch, channels, 2 * width, 2 * height], normal, &device);
        let run = |shuffle: fn(Tensor<4>) -> Tensor<4>| {
            let y = shuffle(x.clone().permute([1, 0, 3, 2]));
            let gradients = (y.clone().swap_dims(2, 3) * slopes.clone()).sum().backward();
            [values(y), values(x.grad(&gradients).unwrap())]
        };
        assert_eq!(run(pixel_shuffle), run(pixel_shuffle_composed), "{batch} {channels} {height} {width}");
    }
}
