//! How long a linear layer takes on the CPU, in blocks of our own and by Burn's operation.
//!
//! `cargo bench -p cvx-backbone --bench linear`: the two hidden layers of a detector's box head for the regions that two
//! images are trained with, and a classifier's last layer; milliseconds, the fastest of several runs.

use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::ops::{self, composed};

type Linear = fn(Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<2>;

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[_] = if is_measuring {
        &[[1024, 12_544, 1024], [1024, 1024, 1024], [64, 768, 1000]]
    } else {
        &[[4, 8, 5]]
    };
    let runs = if is_measuring { 9 } else { 1 };
    let device = Device::flex().autodiff();
    for &[rows, inputs, outputs] in sizes {
        let normal = Distribution::Normal(0.0, 0.1);
        let x = Tensor::<2>::random([rows, inputs], normal, &device).require_grad();
        let weight = Tensor::<2>::random([inputs, outputs], normal, &device).require_grad();
        let bias = Tensor::<1>::random([outputs], normal, &device).require_grad();
        for (kind, linear) in [("blocks", ops::linear::<2> as Linear), ("composed", composed::linear::<2>)] {
            let [mut forward, mut backward] = [f64::MAX; 2];
            for _ in 0..runs {
                let start = Instant::now();
                let y = black_box(linear(x.clone(), weight.clone(), bias.clone()));
                forward = forward.min(start.elapsed().as_secs_f64());
                let loss = y.sum();
                let start = Instant::now();
                black_box(loss.backward());
                backward = backward.min(start.elapsed().as_secs_f64());
            }
            let [forward, backward] = [forward, backward].map(|seconds| seconds * 1e3);
            println!(
                "{rows} x {inputs} to {outputs}, {kind:8}  forward {forward:8.2} ms, backward {backward:8.2} ms"
            );
        }
    }
}
