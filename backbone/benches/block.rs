//! How long one ConvNeXt block takes on the CPU, fused and composed of Burn's operations.
//!
//! `cargo bench -p cvx-backbone --bench block`: the four stages of V2 tiny at 224 x 224, 8 images; milliseconds, the
//! fastest of several runs.

use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::ops::{self, BlockWeights, Mixing, composed};

type BlockOperation = fn(Tensor<4>, BlockWeights, Option<Tensor<1>>) -> Tensor<4>;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let shapes: &[_] = if is_measuring {
        &[[8, 56, 56, 96], [8, 28, 28, 192], [8, 14, 14, 384], [8, 7, 7, 768]]
    } else {
        &[[1, 8, 8, 16]]
    };
    let runs = if is_measuring { 7 } else { 1 };
    let device = Device::flex();
    for &shape in shapes {
        for (kind, block) in [("fused", ops::block as BlockOperation), ("composed", composed::block)] {
            let (x, weights) = drawn(shape, &device);
            report(&format!("{shape:?}, {kind}, forward"), runs, || {
                black_box(block(x.clone(), weights.clone(), None));
            });
            let (x, weights) = drawn(shape, &device.clone().autodiff());
            report(&format!("{shape:?}, {kind}, forward + backward"), runs, || {
                black_box(block(x.clone(), weights.clone(), None).sum().backward());
            });
        }
    }
}

fn drawn(shape: [usize; 4], device: &Device) -> (Tensor<4>, BlockWeights) {
    fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        let tensor = Tensor::random(shape, Distribution::Normal(0.0, 0.1), device);
        if device.is_autodiff() { tensor.require_grad() } else { tensor }
    }
    let [_, _, _, channels] = shape;
    let hidden = 4 * channels;
    let weights = BlockWeights {
        depthwise_weight: normal([channels, 1, 7, 7], device),
        depthwise_bias: normal([channels], device),
        norm_weight: normal([channels], device),
        norm_bias: normal([channels], device),
        expand_weight: normal([channels, hidden], device),
        expand_bias: normal([hidden], device),
        contract_weight: normal([hidden, channels], device),
        contract_bias: normal([channels], device),
        mixing: Mixing::Grn { gamma: normal([hidden], device), beta: normal([hidden], device) },
    };
    (normal(shape, device), weights)
}

fn report(what: &str, runs: usize, mut run: impl FnMut()) {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64() * 1e3
    };
    println!("{what:45} {:9.2} ms", (0..runs).map(time).fold(f64::MAX, f64::min));
}
