//! Seconds for a batch through ConvNeXt V2: `cargo bench -p cvx-backbone -- [repetitions]`.
//!
//! Prints minimum and median of the forward pass without gradients, and of forward and backward
//! together (the loss is the sum of the last map), for random images of 224 x 224.

use std::hint::black_box;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::{ConvNextConfig, Variant};

fn main() {
    let repetitions = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(7);
    for (variant, batch) in [(Variant::V2Atto, 8), (Variant::V2Tiny, 8)] {
        let config = ConvNextConfig::of(variant).with_output_norms(false);

        let device = Device::flex();
        let model = config.init(&device);
        let images = Tensor::<4>::random([batch, 3, 224, 224], Distribution::Default, &device);
        measure(&format!("{variant} forward, {batch} images"), repetitions, || {
            black_box(model.forward(images.clone()).c5);
        });

        let device = device.autodiff();
        let model = config.init(&device);
        let images = Tensor::<4>::random([batch, 3, 224, 224], Distribution::Default, &device);
        measure(&format!("{variant} forward and backward, {batch} images"), repetitions, || {
            black_box(model.forward(images.clone()).c5.sum().backward());
        });
    }
}

fn measure(what: &str, repetitions: usize, mut work: impl FnMut()) {
    const WARM_UP: usize = 2;
    let mut seconds: Vec<f64> = (0..WARM_UP + repetitions)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .skip(WARM_UP)
        .collect();
    seconds.sort_by(f64::total_cmp);
    println!("{what}: minimum {:.3} s, median {:.3} s", seconds[0], seconds[seconds.len() / 2]);
}
