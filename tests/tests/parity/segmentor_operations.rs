//! Resizing, pooling and batch normalisation against PyTorch's, and the fused against the composed ones.

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_heads::{
    Activation, BatchNorm2d, BatchNormalised, adaptive_avg_pool, batch_norm, batch_norm_composed,
    resize_bilinear,
};
use cvx_tests::golden::Golden;
use cvx_tests::tensors::{gradient, tensor, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, ONE_OPERATION, assert_close};
use cvx_tools::train::params;

#[test]
fn maps_are_resized_and_pooled_as_by_pytorch() {
    let device = cvx_tests::device().autodiff();
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("resize_pool.safetensors");
        let x: Tensor<4> = tensor(golden.f32("in.x"), &device).require_grad();
        let names = golden.names();
        let sizes = names.iter().filter_map(|name| name.strip_prefix("out.bilinear."));
        let mut num_sizes = 0;
        for size in sizes {
            let (height, width) = size.split_once('x').expect("two sides");
            let y = resize_bilinear(x.clone(), [height, width].map(|side| side.parse().expect("a side")));
            let upstream = tensor(golden.f32(&format!("in.grad.{size}")), &device);
            let gradients = (y.clone() * upstream).sum().backward();
            assert_close(size, &values(y), &golden.f32(&format!("out.bilinear.{size}")).values, FORWARD);
            let expected = golden.f32(&format!("out.bilinear_grad_in.{size}")).values;
            assert_close(&format!("gradient of {size}"), &gradient(&x, &gradients), &expected, GRADIENT);
            num_sizes += 1;
        }
        assert!(num_sizes > 0, "no sizes among {names:?}");

        for bins in names.iter().filter_map(|name| name.strip_prefix("out.adaptive_avg.")) {
            let expected = golden.f32(&format!("out.adaptive_avg.{bins}")).values;
            let y = adaptive_avg_pool(x.clone(), bins.parse().expect("bins"));
            assert_close(bins, &values(y), &expected, FORWARD);
        }
    }
}

#[test]
fn maps_smaller_than_the_bins_are_pooled_as_by_pytorch() {
    let device = cvx_tests::device();
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("resize_pool.safetensors");
        // The golden pooled this corner.
        let x = tensor::<4>(golden.f32("in.x"), &device).slice(s![.., .., 0..2, 0..5]);
        for bins in [1, 2, 3, 6] {
            let expected = golden.f32(&format!("out.adaptive_avg_small.{bins}")).values;
            let pooled = values(adaptive_avg_pool(x.clone(), bins));
            assert_close(&format!("{bins} bins"), &pooled, &expected, FORWARD);
        }
    }
}

#[test]
fn batches_are_normalised_as_by_pytorch() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("norms.safetensors");
        let norm = |device: &Device| {
            let weight = golden.f32("in.weight");
            let norm = BatchNorm2d::new(weight.values.len(), device);
            params::replace_each(norm, &mut |path, shape| {
                let name = match path {
                    "running_mean" => "in.bn_mean".to_owned(),
                    "running_var" => "in.bn_var".to_owned(),
                    path => format!("in.{path}"),
                };
                Ok(Some(TensorData::new(golden.f32(&name).values, shape.to_vec())))
            })
            .expect("every parameter")
        };
        let device = cvx_tests::device();
        let y = norm(&device).forward(tensor(golden.f32("in.bn_x"), &device), Activation::Identity);
        let expected = golden.f32("out.bn_eval_eps1e-5").values;
        assert_close("by running statistics", &values(y), &expected, FORWARD);

        let device = device.autodiff();
        let norm = norm(&device);
        let y = norm.forward(tensor(golden.f32("in.bn_x"), &device), Activation::Identity);
        assert_close("by the batch's", &values(y), &golden.f32("out.bn_train").values, FORWARD);
        params::read_each(&norm, &mut |path, data| {
            let name = match path {
                "running_mean" => "out.bn_running_mean_after",
                "running_var" => "out.bn_running_var_after",
                _ => return Ok(()),
            };
            let actual = data.try_into_vec::<f32>().expect("f32");
            assert_close(name, &actual, &golden.f32(name).values, FORWARD);
            Ok(())
        })
        .expect("nothing fails");
    }
}

/// A batch normalisation: how it is computed is what the test compares.
type Normalisation = fn(Tensor<4>, Tensor<1>, Tensor<1>, Activation) -> BatchNormalised;

#[test]
fn fused_normalisation_is_the_composed_one() {
    let device = cvx_tests::device().autodiff();
    device.seed(8);
    let normal = Distribution::Normal(0.0, 1.0);
    for shape in [[2, 3, 5, 7], [3, 70, 1, 9], [1, 2, 16, 40]] {
        let [batch, channels, height, width] = shape;
        // Not laid out as it is indexed.
        let x = Tensor::<4>::random([batch, height, width, channels], normal, &device).require_grad();
        let weight = Tensor::<1>::random([channels], normal, &device).require_grad();
        let bias = Tensor::<1>::random([channels], normal, &device).require_grad();
        let slopes = Tensor::<4>::random(shape, normal, &device);
        for activation in [Activation::Identity, Activation::Relu] {
            let run = |normalise: Normalisation| {
                let x_nchw = x.clone().permute([0, 3, 1, 2]) * 2.0 + 3.0;
                let BatchNormalised { output, mean, variance } =
                    normalise(x_nchw, weight.clone(), bias.clone(), activation);
                let gradients = (output.clone() * slopes.clone()).sum().backward();
                let forward = [values(output), values(mean), values(variance)];
                (
                    forward,
                    [gradient(&x, &gradients), gradient(&weight, &gradients), gradient(&bias, &gradients)],
                )
            };
            let ((forward, backward), (forward_composed, backward_composed)) =
                (run(batch_norm), run(batch_norm_composed));
            for (what, (actual, expected)) in
                ["output", "mean", "variance"].iter().zip(forward.iter().zip(&forward_composed))
            {
                assert_close(what, actual, expected, ONE_OPERATION);
            }
            for (what, (actual, expected)) in
                ["of x", "of weight", "of bias"].iter().zip(backward.iter().zip(&backward_composed))
            {
                assert_close(what, actual, expected, GRADIENT);
            }
        }
    }
}
