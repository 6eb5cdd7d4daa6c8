//! Norms and GELU against values computed in f64, on inputs so small that epsilon matters.

use burn::prelude::*;
use cvx_backbone::ops::{self, composed};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors::{gradient, tensor, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, assert_close};

#[test]
fn norms_and_gelu_have_the_references_values_where_epsilon_matters() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("norms.safetensors");
        let device = cvx_tests::device().autodiff();
        let load = |name: &str| golden.f32(name);

        let x: Tensor<4> = tensor(load("in.ln_x"), &device).require_grad();
        let weight: Tensor<1> = tensor(load("in.weight"), &device);
        let bias: Tensor<1> = tensor(load("in.bias"), &device);
        for form in [ops::layer_norm, composed::layer_norm] {
            let y = form(x.clone().permute([0, 2, 3, 1]), weight.clone(), bias.clone()).permute([0, 3, 1, 2]);
            let upstream = tensor(load("in.ln_grad"), &device);
            let gradients = (y.clone() * upstream).sum().backward();
            assert_close("layer norm", &values(y), &load("out.ln2d_eps1e-6").values, FORWARD);
            let actual = gradient(&x, &gradients);
            assert_close("its gradient", &actual, &load("out.ln2d_grad_x").values, GRADIENT);
        }

        let x = load("in.grn_x_nhwc");
        let [batch, height, width, channels] = [x.shape[0], x.shape[1], x.shape[2], x.shape[3]];
        let flat = |array: Array<f32>| tensor::<4>(array, &device).reshape([batch, height * width, channels]);
        let (x, upstream) = (flat(x).require_grad(), flat(load("in.grn_grad")));
        let (gamma, beta) = (weight.clone().require_grad(), bias.clone().require_grad());
        let y = composed::global_response_norm(x.clone(), gamma.clone(), beta.clone());
        let zero = Tensor::<3>::zeros([1, 4, channels], &device).require_grad();
        let of_zero = composed::global_response_norm(zero.clone(), gamma.clone(), beta.clone());
        // The reference differentiated both sums without clearing the parameters' gradients between.
        let gradients = ((y.clone() * upstream).sum() + of_zero.clone().sum()).backward();
        assert_close("GRN", &values(y), &load("out.grn").values, FORWARD);
        let actual = gradient(&x, &gradients);
        assert_close("its gradient", &actual, &load("out.grn_grad_x").values, GRADIENT);
        let actual = gradient(&gamma, &gradients);
        assert_close("gamma's", &actual, &load("out.grn_grad_gamma").values, GRADIENT);
        let actual = gradient(&beta, &gradients);
        assert_close("beta's", &actual, &load("out.grn_grad_beta").values, GRADIENT);

        assert_close("GRN of nothing", &values(of_zero), &load("out.grn_zero").values, FORWARD);
        let expected = load("out.grn_zero_grad").values;
        assert_close("its gradient", &gradient(&zero, &gradients), &expected, GRADIENT);

        let x: Tensor<1> = tensor(load("in.gelu_x"), &device);
        assert_close("GELU", &values(composed::gelu(x)), &load("out.gelu_erf").values, FORWARD);
    }
}
