//! How long UPerNet's heads take on the CPU at the sizes of ADE20K training, and what their parts do.
//!
//! `cargo bench -p cvx-heads --bench upernet`. Prints the fastest of several runs in milliseconds.

mod report;

use std::hint::black_box;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::{FeatureMaps, FeatureSpec};
use cvx_heads::{
    Activation, Mirroring, Mosaic, PixelMean, PixelWeights, UperNetConfig, Wanted, batch_norm,
    batch_norm_composed, classify_rows, pixel_loss, pixel_loss_composed, resize_bilinear,
};

use report::{is_measuring, report};

/// Side of a training crop.
const CROP: usize = 512;
/// Classes of ADE20K.
const CLASSES: usize = 150;
/// Stages of ConvNeXt V2 Atto.
const DIMS: [usize; 4] = [40, 80, 160, 320];

fn main() {
    if !is_measuring() {
        return heads(64, 16, 1);
    }
    normalise();
    compare();
    resize();
    classify();
    heads(CROP, 512, 2);
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn normalise() {
    let device = Device::flex().autodiff();
    let x = random([2, 512, CROP / 4, CROP / 4], &device).require_grad();
    let slopes = random([2, 512, CROP / 4, CROP / 4], &device);
    let [weight, bias] = [0, 1].map(|_| random([512], &device).require_grad());
    for (what, norm) in [("fused", batch_norm as fn(_, _, _, _) -> _), ("composed", batch_norm_composed)] {
        let forward = || norm(x.clone(), weight.clone(), bias.clone(), Activation::Relu).output;
        report(&format!("batch norm and ReLU, 2 x 512 x 128 x 128, {what}"), 3, || {
            black_box(forward());
        });
        report(&format!("  with gradients, {what}"), 3, || {
            black_box((forward() * slopes.clone()).sum().backward());
        });
    }
}

fn labels(device: &Device) -> Tensor<3, Int> {
    let label = |at: usize| if at.is_multiple_of(11) { 255 } else { (at / 37 % CLASSES) as i32 };
    let labels: Vec<i32> = (0..2 * CROP * CROP).map(label).collect();
    Tensor::from_data(TensorData::new(labels, [2, CROP, CROP]), device)
}

fn compare() {
    let device = Device::flex().autodiff();
    let logits = random([2, CLASSES, CROP / 4, CROP / 4], &device).require_grad();
    let labels = labels(&device);
    let weights = PixelWeights { ignore_label: 255, mean: PixelMean::All, by_class: None };
    for (what, loss) in [("fused", pixel_loss as fn(_, _, _) -> _), ("composed", pixel_loss_composed)] {
        report(&format!("cross-entropy, 2 x 150 x 512 x 512, with gradients, {what}"), 2, || {
            black_box(loss(logits.clone(), labels.clone(), weights).cross_entropy.backward());
        });
    }
}

fn resize() {
    let device = Device::flex();
    let map = random([2, 512, CROP / 8, CROP / 8], &device);
    report("2 x 512 maps from 64 x 64 to 128 x 128", 3, || {
        black_box(resize_bilinear(map.clone(), [CROP / 4; 2]));
    });
    let logits = random([1, CLASSES, CROP / 4, CROP / 4], &device);
    report("150 maps from 128 x 128 to 512 x 512", 3, || {
        black_box(resize_bilinear(logits.clone(), [CROP; 2]));
    });
}

/// What is left to do of an image when the network is done with it.
#[expect(clippy::single_range_in_vec_init, reason = "an axis with one window has one span")]
fn classify() {
    let device = Device::flex();
    let logits = random([1, CLASSES, CROP / 4, CROP / 4], &device);
    for size in [[CROP, CROP], [CROP, 683], [2 * CROP, 3 * CROP]] {
        let [height, width] = size;
        let what = format!("150 maps from 128 x 128 to classes of {height} x {width}");
        report(&format!("{what}, in bands"), 3, || {
            let mut mosaic = Mosaic::new(vec![0..CROP], vec![0..CROP], [CROP; 2], Mirroring::None);
            mosaic.advance(size, &(0..height), &mut |_, _| logits.clone());
            black_box(classify_rows(&[mosaic], size, 0..height, Wanted::Classes));
        });
        report(&format!("{what}, at once"), 2, || {
            let full = resize_bilinear(logits.clone(), [CROP; 2]);
            black_box(resize_bilinear(full, size).argmax(1).into_data());
        });
        report(&format!("{what}, of two views, in bands"), 2, || {
            let views = [Mirroring::None, Mirroring::Horizontal].map(|mirroring| {
                let mut mosaic = Mosaic::new(vec![0..CROP], vec![0..CROP], [CROP; 2], mirroring);
                mosaic.advance(size, &(0..height), &mut |_, _| logits.clone());
                mosaic
            });
            black_box(classify_rows(&views, size, 0..height, Wanted::Classes));
        });
    }
}

fn heads(crop: usize, channels: usize, runs: usize) {
    let mut stride = 2;
    let specs = DIMS.map(|channels| {
        stride *= 2;
        FeatureSpec { channels, stride }
    });
    let maps = |device: &Device| {
        let [c2, c3, c4, c5] = specs.map(|FeatureSpec { channels, stride }| {
            random([2, channels, crop / stride, crop / stride], device)
        });
        FeatureMaps { c2, c3, c4, c5 }
    };
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let config = UperNetConfig::new(CLASSES).with_channels(channels);
    let heads = config.init(&specs, &plain);
    let inputs = maps(&plain);
    report(&format!("heads of {channels} channels, 2 x {crop} x {crop}, logits"), runs, || {
        black_box(heads.segment(inputs.clone()));
    });
    let heads = config.init(&specs, &device);
    let inputs = maps(&device);
    let labels = labels(&device).slice(s![.., 0..crop, 0..crop]);
    report("  with losses and gradients", runs, || {
        black_box(heads.losses(inputs.clone(), labels.clone()).total().backward());
    });
}
