//! Products in bfloat16: rounded where they should be, and nowhere else.
//!
//! Flex computes them too, in f32 with rounded inputs, so that what a GPU is asked for is tested without one.

use burn::prelude::*;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, bf16};
use cvx_backbone::Precision;
use cvx_backbone::ops::composed;
use cvx_backbone::precision::dense_conv2d;
use cvx_tests::tensors::{gradient, values};
use cvx_tests::tolerance::{BF16_ROUNDING, ONE_OPERATION, relative_error};

use crate::operations::{Draw, block_gradients};

fn rounded(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(bf16::from_f32(value).to_f32())).collect()
}

#[test]
fn a_product_is_that_of_rounded_numbers_rounded_once() {
    let device = Device::flex();
    let mut draw = Draw::new(21, &device);
    let [rows, inputs, outputs] = [5, 40, 7];
    let (x, weight) = (draw.tensor([rows, inputs], 1.0), draw.tensor([inputs, outputs], 1.0));
    let bias: Tensor<1> = draw.tensor([outputs], 100.0);
    let actual = Precision::Bf16.scope(|| composed::linear(x.clone(), weight.clone(), bias.clone()));
    assert_eq!(actual.dtype(), DType::F32);
    let actual = values(actual);
    let (x, weight, bias) = (rounded(&values(x)), rounded(&values(weight)), values(bias));
    for row in 0..rows {
        for output in 0..outputs {
            let product: f64 =
                (0..inputs).map(|input| x[row * inputs + input] * weight[input * outputs + output]).sum();
            // The bias is a hundred times as large as the product: rounded, it would hide it.
            let found = f64::from(actual[row * outputs + output] - bias[output]);
            let off = (found - product).abs();
            let of_the_sum = f64::from(actual[row * outputs + output].abs() * f32::EPSILON);
            assert!(
                off <= BF16_ROUNDING * product.abs() + of_the_sum,
                "{row} {output}: {found} is not {product}"
            );
        }
    }
}

#[test]
fn a_convolution_is_rounded_like_a_product() {
    let device = Device::flex();
    let mut draw = Draw::new(22, &device);
    let (x, weight) = (draw.tensor([2, 3, 9, 8], 1.0), draw.tensor([4, 3, 3, 3], 1.0));
    let bias: Tensor<1> = draw.tensor([4], 1.0);
    let options = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let run = |precision: Precision, x: &Tensor<4>, weight: &Tensor<4>| {
        values(precision.scope(|| dense_conv2d(x.clone(), weight.clone(), bias.clone(), options())))
    };
    let narrow = |tensor: &Tensor<4>| {
        let values = rounded(&values(tensor.clone())).into_iter().map(|value| value as f32);
        Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), tensor.dims()), &device)
    };
    let expected = run(Precision::F32, &narrow(&x), &narrow(&weight));
    let actual = run(Precision::Bf16, &x, &weight);
    assert!(relative_error("rounded inputs", &actual, &expected) <= BF16_ROUNDING);
    assert!(
        relative_error("exact inputs", &actual, &run(Precision::F32, &x, &weight)) > BF16_ROUNDING / 16.0
    );
}

#[test]
fn a_block_in_bfloat16_is_near_that_in_f32_and_its_gradients_are_f32() {
    let device = Device::flex().autodiff();
    for is_grn in [true, false] {
        let run = |precision: Precision| {
            let mut draw = Draw::new(7, &device);
            let x = draw.tensor([2, 9, 13, 16], 1.0);
            let weights = draw.weights(16, is_grn);
            let upstream = draw.tensor([2, 9, 13, 16], 1.0);
            let y = precision.scope(|| composed::block(x.clone(), weights.clone(), None));
            assert_eq!(y.dtype(), DType::F32);
            let gradients = (y.clone() * upstream).sum().backward();
            let of_product = weights.expand_weight.grad(&gradients).expect("a gradient");
            assert_eq!(of_product.dtype(), DType::F32);
            let mut found = vec![("output", values(y)), ("x", gradient(&x, &gradients))];
            found.extend(block_gradients(&weights, &gradients));
            found
        };
        let (wide, narrow) = (run(Precision::F32), run(Precision::Bf16));
        for ((name, wide), (_, narrow)) in wide.iter().zip(&narrow) {
            let error = relative_error(name, narrow, wide);
            // A few roundings follow one another; the last bias alone has nothing rounded before its gradient.
            assert!(error < 4.0 * BF16_ROUNDING, "{name}, GRN {is_grn}: {error:.1e}");
            assert!(
                error > ONE_OPERATION || *name == "contract_bias",
                "{name}, GRN {is_grn}: {error:.1e}, as in f32"
            );
        }
    }
}
