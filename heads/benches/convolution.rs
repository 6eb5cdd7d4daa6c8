//! How long the 3x3 convolutions of a detector take on the CPU, beside Burn's own.
//!
//! `cargo bench --workspace --bench convolution [-- PART_OF_A_NAME]`. Prints the fastest of several runs in milliseconds.

mod report;

use std::hint::black_box;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_heads::{Activation, conv, conv_composed};

use report::{is_asked_for, is_measuring, report};

fn main() {
    let measures = is_measuring();
    let runs = if measures { 7 } else { 1 };
    // RPN and FPN at 512 x 512 pixels, the mask head on 100 detections, the fewest channels for Winograd, and what joins
    // the maps of UPerNet.
    let cases: &[_] = if measures {
        &[
            ([1, 256, 128, 128], 256),
            ([1, 256, 32, 32], 256),
            ([100, 256, 14, 14], 256),
            ([2, 64, 128, 128], 64),
            ([1, 2048, 128, 128], 512),
        ]
    } else {
        &[([1, 64, 8, 8], 64)]
    };
    for &(shape, outputs) in cases {
        let name = format!("{shape:?} to {outputs}");
        if is_asked_for(&name) {
            compare(&name, shape, outputs, runs);
        }
    }
}

fn compare(name: &str, shape: [usize; 4], outputs: usize, runs: usize) {
    let [_, inputs, _, _] = shape;
    let device = Device::flex().autodiff();
    let normal = |shape| Tensor::<4>::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad();
    let (x, weight) = (normal(shape), normal([outputs, inputs, 3, 3]));
    let bias = Tensor::<1>::zeros([outputs], &device).require_grad();
    let (of_x, of_weight, of_bias) = (x.clone().inner(), weight.clone().inner(), bias.clone().inner());
    for (kind, convolution) in [("ours", conv as Convolution), ("Burn's", conv_composed)] {
        let [forward, backward] =
            ["forward", "forward + backward"].map(|what| format!("{name}, {kind}, {what}"));
        report(&forward, runs, || {
            black_box(convolution(of_x.clone(), of_weight.clone(), of_bias.clone(), Activation::Relu));
        });
        report(&backward, runs, || {
            let y = convolution(x.clone(), weight.clone(), bias.clone(), Activation::Relu);
            black_box(y.sum().backward());
        });
    }
}

type Convolution = fn(Tensor<4>, Tensor<4>, Tensor<1>, Activation) -> Tensor<4>;
