//! The fused operations: equal to the composed ones, to finite differences, and to themselves on any
//! number of threads.

use burn::prelude::*;
use burn::tensor::Gradients;
use burn::tensor::TensorData;
use cvx_backbone::ops::{self, BlockWeights, Inner, Mixing, composed};
use cvx_backbone::{BlockNorm, ConvNextConfig};
use cvx_tests::tensors::{gradient, values};
use cvx_tests::tolerance::{FINITE_DIFFERENCE, GRADIENT, ONE_OPERATION, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Deterministic values in `-size..size`, in Burn tensors.
pub(crate) struct Draw {
    rng: ChaCha8Rng,
    device: Device,
}

impl Draw {
    pub(crate) fn new(seed: u64, device: &Device) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), device: device.clone() }
    }

    pub(crate) fn tensor<const D: usize>(&mut self, shape: [usize; D], size: f32) -> Tensor<D> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| self.rng.random_range(-size..size)).collect();
        let tensor = Tensor::from_data(TensorData::new(values, shape), &self.device);
        if self.device.is_autodiff() { tensor.require_grad() } else { tensor }
    }

    pub(crate) fn weights(&mut self, channels: usize, is_grn: bool) -> BlockWeights {
        let hidden = 4 * channels;
        BlockWeights {
            depthwise_weight: self.tensor([channels, 1, 7, 7], 0.3),
            depthwise_bias: self.tensor([channels], 0.3),
            norm_weight: self.tensor([channels], 1.0),
            norm_bias: self.tensor([channels], 0.3),
            expand_weight: self.tensor([channels, hidden], 0.4),
            expand_bias: self.tensor([hidden], 0.4),
            contract_weight: self.tensor([hidden, channels], 0.3),
            contract_bias: self.tensor([channels], 0.3),
            mixing: if is_grn {
                Mixing::Grn { gamma: self.tensor([hidden], 1.0), beta: self.tensor([hidden], 0.3) }
            } else {
                Mixing::LayerScale { gamma: self.tensor([channels], 1.0) }
            },
        }
    }
}

/// The gradients of a block's parameters, by name.
pub(crate) fn block_gradients(
    weights: &BlockWeights,
    gradients: &Gradients,
) -> Vec<(&'static str, Vec<f32>)> {
    let mut found = vec![
        ("depthwise_weight", gradient(&weights.depthwise_weight, gradients)),
        ("depthwise_bias", gradient(&weights.depthwise_bias, gradients)),
        ("norm_weight", gradient(&weights.norm_weight, gradients)),
        ("norm_bias", gradient(&weights.norm_bias, gradients)),
        ("expand_weight", gradient(&weights.expand_weight, gradients)),
        ("expand_bias", gradient(&weights.expand_bias, gradients)),
        ("contract_weight", gradient(&weights.contract_weight, gradients)),
        ("contract_bias", gradient(&weights.contract_bias, gradients)),
    ];
    match &weights.mixing {
        Mixing::Grn { gamma, beta } => {
            found.push(("gamma", gradient(gamma, gradients)));
            found.push(("beta", gradient(beta, gradients)));
        }
        Mixing::LayerScale { gamma } => found.push(("gamma", gradient(gamma, gradients))),
    }
    found
}

/// Compares both forms of the block, its output and every gradient.
#[track_caller]
fn block_case([batch, height, width, channels]: [usize; 4], is_grn: bool, scales: Option<&[f32]>) {
    let device = Device::flex().autodiff();
    let run = |is_fused: bool| {
        let mut draw = Draw::new(7, &device);
        let x = draw.tensor([batch, height, width, channels], 1.0);
        let weights = draw.weights(channels, is_grn);
        let upstream = draw.tensor([batch, height, width, channels], 1.0);
        let scale = scales.map(|scales| Tensor::from_data(scales, &device));
        let form = if is_fused { ops::block } else { composed::block };
        let y = form(x.clone(), weights.clone(), scale);
        let gradients = (y.clone() * upstream).sum().backward();
        let mut found = vec![("x", gradient(&x, &gradients))];
        found.extend(block_gradients(&weights, &gradients));
        (values(y), found)
    };
    let ((fused, fused_gradients), (reference, reference_gradients)) = (run(true), run(false));
    assert_close("output", &fused, &reference, ONE_OPERATION);
    for ((name, actual), (_, expected)) in fused_gradients.iter().zip(&reference_gradients) {
        assert_close(name, actual, expected, GRADIENT / 4.0);
    }

    let plain = Device::flex();
    let mut draw = Draw::new(7, &plain);
    let x = draw.tensor([batch, height, width, channels], 1.0);
    let weights = draw.weights(channels, is_grn);
    let scale = scales.map(|scales| Tensor::from_data(scales, &plain));
    let inference = values(ops::block(x, weights, scale));
    assert_close("inference", &inference, &fused, ONE_OPERATION);
}

#[test]
fn the_fused_block_equals_the_composed_one() {
    for is_grn in [true, false] {
        block_case([2, 9, 13, 8], is_grn, None);
        block_case([1, 1, 1, 3], is_grn, None);
        block_case([3, 7, 7, 20], is_grn, Some(&[0.0, 1.0, 1.25]));
        block_case([2, 17, 30, 40], is_grn, Some(&[2.0, 0.5]));
        block_case([1, 3, 2, 129], is_grn, None);
    }
}

#[test]
fn inner_values_that_are_recomputed_give_the_same_bits() {
    let device = Device::flex().autodiff();
    for is_grn in [true, false] {
        let run = |inner: Inner| {
            let mut draw = Draw::new(5, &device);
            let x = draw.tensor([3, 9, 13, 24], 1.0);
            let weights = draw.weights(24, is_grn);
            let scale = Tensor::from_data([0.0, 1.0, 1.25], &device);
            let y = ops::block_with(x.clone(), weights.clone(), Some(scale), inner);
            let gradients = y.clone().powi_scalar(2).sum().backward();
            let mut found = vec![("x", gradient(&x, &gradients)), ("output", values(y))];
            found.extend(block_gradients(&weights, &gradients));
            found
        };
        let (kept, recomputed) = (run(Inner::Kept), run(Inner::Recomputed));
        for ((name, kept), (_, recomputed)) in kept.iter().zip(&recomputed) {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(kept), bits(recomputed), "{name}");
        }
    }
}

#[test]
fn a_hidden_channel_that_is_zero_everywhere_has_finite_gradients() {
    let device = Device::flex().autodiff();
    for form in [ops::block, composed::block] {
        let mut draw = Draw::new(3, &device);
        let x = draw.tensor([2, 4, 5, 4], 1.0);
        let mut weights = draw.weights(4, true);
        // The first three of the sixteen hidden channels hear nothing.
        let mut audible = [1.0f32; 16];
        audible[..3].fill(0.0);
        let audible = Tensor::<1>::from_data(audible, &device);
        weights.expand_weight = weights.expand_weight * audible.clone().unsqueeze();
        weights.expand_bias = weights.expand_bias * audible;
        let y = form(x.clone(), weights.clone(), None);
        let gradients = y.powi_scalar(2).sum().backward();
        assert!(gradient(&x, &gradients).iter().all(|value| value.is_finite()));
        assert!(gradient(&weights.contract_weight, &gradients).iter().all(|value| value.is_finite()));
    }
}

/// `f(parameters + step * direction)` through the fused block, in double precision outside of it.
#[test]
fn the_fused_block_agrees_with_finite_differences() {
    const STEP: f32 = 1e-2;
    let shape = [2, 5, 6, 8];
    let autodiff = Device::flex().autodiff();
    for is_grn in [true, false] {
        let mut draw = Draw::new(11, &autodiff);
        let (x, weights) = (draw.tensor(shape, 1.0), draw.weights(8, is_grn));
        let upstream = draw.tensor(shape, 1.0);
        let loss = (ops::block(x.clone(), weights.clone(), None) * upstream.clone()).sum();
        let gradients = loss.backward();
        let mut analytic = vec![("x", gradient(&x, &gradients))];
        analytic.extend(block_gradients(&weights, &gradients));

        let upstream: Vec<f64> = values(upstream).into_iter().map(f64::from).collect();
        for (name, analytic) in &analytic {
            let at = |step: f32| {
                let mut draw = Draw::new(11, &Device::flex());
                let (x, weights) = (draw.tensor(shape, 1.0), draw.weights(8, is_grn));
                let (x, weights) = moved(name, analytic, step, x, weights);
                let y = values(ops::block(x, weights, None));
                y.iter().zip(&upstream).map(|(&y, upstream)| f64::from(y) * upstream).sum::<f64>()
            };
            // Along the gradient itself, normalised: the slope is its length.
            let length = analytic.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let numeric = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            let error = (numeric / length - 1.0).abs();
            assert!(error < FINITE_DIFFERENCE, "{name}, GRN {is_grn}: {numeric} against {length}");
        }
    }
}

/// One of the tensors, a step along the direction.
fn moved(
    name: &str,
    direction: &[f32],
    step: f32,
    x: Tensor<4>,
    mut weights: BlockWeights,
) -> (Tensor<4>, BlockWeights) {
    fn add<const D: usize>(tensor: &mut Tensor<D>, direction: &[f32], step: f32) {
        let length = direction.iter().map(|value| value * value).sum::<f32>().sqrt();
        let data = TensorData::new(direction.to_vec(), tensor.dims());
        let direction = Tensor::from_data(data, &tensor.device());
        *tensor = tensor.clone() + direction.mul_scalar(step / length);
    }
    let mut x = x;
    match (name, &mut weights.mixing) {
        ("gamma", Mixing::Grn { gamma, .. } | Mixing::LayerScale { gamma }) => add(gamma, direction, step),
        ("beta", Mixing::Grn { beta, .. }) => add(beta, direction, step),
        ("x", _) => add(&mut x, direction, step),
        ("depthwise_weight", _) => add(&mut weights.depthwise_weight, direction, step),
        ("depthwise_bias", _) => add(&mut weights.depthwise_bias, direction, step),
        ("norm_weight", _) => add(&mut weights.norm_weight, direction, step),
        ("norm_bias", _) => add(&mut weights.norm_bias, direction, step),
        ("expand_weight", _) => add(&mut weights.expand_weight, direction, step),
        ("expand_bias", _) => add(&mut weights.expand_bias, direction, step),
        ("contract_weight", _) => add(&mut weights.contract_weight, direction, step),
        ("contract_bias", _) => add(&mut weights.contract_bias, direction, step),
        (other, _) => panic!("no parameter {other}"),
    }
    (x, weights)
}

#[test]
fn layer_norm_and_patches_equal_the_composed_ones() {
    let device = Device::flex().autodiff();
    let run = |is_fused: bool, side: usize, [height, width]: [usize; 2], channels: usize| {
        let mut draw = Draw::new(5, &device);
        // As the stem reads its images: NHWC in name, NCHW in memory.
        let x_nchw = draw.tensor([2, channels, height, width], 1.0);
        let (weight, bias) = (draw.tensor([channels], 1.0), draw.tensor([channels], 1.0));
        let kernel = draw.tensor([24, channels, side, side], 1.0);
        let kernel_bias = draw.tensor([24], 1.0);
        let x_nhwc = x_nchw.clone().permute([0, 2, 3, 1]);
        let (norm, conv) = if is_fused {
            (ops::layer_norm as fn(_, _, _) -> _, ops::patch_conv as fn(_, _, _) -> _)
        } else {
            (composed::layer_norm as fn(_, _, _) -> _, composed::patch_conv as fn(_, _, _) -> _)
        };
        let direct: Tensor<4> = conv(x_nhwc.clone(), kernel.clone(), kernel_bias.clone());
        let normed: Tensor<4> = norm(x_nhwc, weight.clone(), bias.clone());
        let patched: Tensor<4> = conv(normed, kernel.clone(), kernel_bias.clone());
        let gradients = (patched.clone() * direct.clone()).sum().backward();
        vec![
            values(direct),
            values(patched),
            gradient(&x_nchw, &gradients),
            gradient(&weight, &gradients),
            gradient(&bias, &gradients),
            gradient(&kernel, &gradients),
            gradient(&kernel_bias, &gradients),
        ]
    };
    for (side, size, channels) in [(2, [8, 6], 20), (2, [7, 9], 40), (4, [13, 19], 3), (4, [4, 4], 3)] {
        let forms = run(true, side, size, channels).into_iter().zip(run(false, side, size, channels));
        for (index, (fused, reference)) in forms.enumerate() {
            assert_close(&format!("{side} {size:?} {index}"), &fused, &reference, ONE_OPERATION);
        }
    }
}

#[test]
fn linear_layers_equal_the_composed_ones_however_many_rows_there_are() {
    let device = Device::flex().autodiff();
    let run = |is_fused: bool, rows: usize, [inputs, outputs]: [usize; 2]| {
        let mut draw = Draw::new(9, &device);
        // Neither is contiguous, and the input is the last rows of what is stored.
        let x = draw.tensor([inputs, rows + 2], 1.0);
        let of_x = |x: Tensor<2>| x.transpose().slice_dim(0, 2..rows + 2);
        let (weight, bias) = (draw.tensor([outputs, inputs], 1.0), draw.tensor([outputs], 1.0));
        let linear = if is_fused { ops::linear::<2> } else { composed::linear::<2> };
        let y = linear(of_x(x.clone()), weight.clone().transpose(), bias.clone());
        let gradients = y.clone().powi_scalar(2).sum().backward();
        [values(y), gradient(&x, &gradients), gradient(&weight, &gradients), gradient(&bias, &gradients)]
    };
    let sizes =
        [(1, [3, 2]), (2, [770, 81]), (17, [33, 1]), (300, [24, 530]), (1030, [40, 5]), (2100, [1, 70])];
    for (rows, sizes) in sizes {
        let forms = run(true, rows, sizes).into_iter().zip(run(false, rows, sizes));
        for (index, (fused, reference)) in forms.enumerate() {
            assert_close(&format!("{rows} {sizes:?} {index}"), &fused, &reference, ONE_OPERATION);
        }
    }
}

#[test]
fn a_linear_layer_takes_any_number_of_axes_and_learns_where_it_is_asked_to() {
    fn check<const D: usize>(shape: [usize; D]) {
        let (plain, autodiff) = (Device::flex(), Device::flex().autodiff());
        let outputs = 4;
        let run = |linear: fn(Tensor<D>, Tensor<2>, Tensor<1>) -> Tensor<D>| {
            let mut fixed = Draw::new(3, &plain);
            let x = fixed.tensor(shape, 1.0);
            let bias = fixed.tensor([outputs], 1.0);
            let weight = Draw::new(4, &autodiff).tensor([shape[D - 1], outputs], 1.0);
            let y = linear(Tensor::from_inner(x), weight.clone(), Tensor::from_inner(bias));
            let gradients = y.clone().powi_scalar(2).sum().backward();
            (y.dims(), values(y), gradient(&weight, &gradients))
        };
        let (fused, reference) = (run(ops::linear::<D>), run(composed::linear::<D>));
        assert_eq!(fused.0, reference.0);
        assert_close(&format!("{shape:?}"), &fused.1, &reference.1, ONE_OPERATION);
        assert_close(&format!("{shape:?}, weight"), &fused.2, &reference.2, ONE_OPERATION);
    }
    check([0, 40]);
    check([6]);
    check([5, 6]);
    check([2, 5, 6]);
    check([2, 3, 5, 6]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = Device::flex().autodiff();
            let mut draw = Draw::new(1, &device);
            let (x, weights) = (draw.tensor([3, 21, 19, 24], 1.0), draw.weights(24, true));
            let y = ops::block(x.clone(), weights.clone(), None);
            let projection = draw.tensor([24, 300], 1.0);
            let bias = draw.tensor([300], 1.0);
            let projected = ops::linear(y.clone(), projection.clone(), bias.clone());
            let loss = y.clone().powi_scalar(2).sum() + projected.clone().powi_scalar(2).sum();
            let gradients = loss.backward();
            let mut found = block_gradients(&weights, &gradients);
            found.push(("projection", gradient(&projection, &gradients)));
            found.push(("bias", gradient(&bias, &gradients)));
            found.push(("projected", values(projected)));
            found.push(("x", gradient(&x, &gradients)));
            found.push(("output", values(y)));
            found
        })
    };
    let alone = run(1);
    assert_eq!(alone, run(1));
    assert_eq!(alone, run(3));
}

#[test]
fn every_parameter_receives_a_gradient() {
    struct Visitor<'a> {
        gradients: &'a Gradients,
        silent: Vec<String>,
        path: Vec<String>,
    }
    impl burn::module::ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let gradient = param.val().grad(self.gradients).map(values);
            let heard = gradient.is_some_and(|gradient| {
                gradient.iter().all(|value| value.is_finite()) && gradient.iter().any(|&value| value != 0.0)
            });
            if !heard {
                self.silent.push(self.path.join("."));
            }
        }
    }
    let device = Device::flex().autodiff();
    device.seed(0);
    for norm in [BlockNorm::Grn, BlockNorm::LayerScale { init: 1.0 }] {
        let model = ConvNextConfig::new([1, 1, 2, 1], [8, 12, 16, 20], norm).init(&device);
        let images = Draw::new(2, &device).tensor([2, 3, 64, 96], 1.0);
        let maps = model.forward(images);
        let [c2, c3, c4, c5] = [maps.c2, maps.c3, maps.c4, maps.c5].map(|map| map.powi_scalar(3).sum());
        let gradients = (c2 + c3 + c4 + c5).backward();
        let mut visitor = Visitor { gradients: &gradients, silent: Vec::new(), path: Vec::new() };
        model.visit(&mut visitor);
        assert!(visitor.silent.is_empty(), "without gradient: {:?}", visitor.silent);
    }
}
