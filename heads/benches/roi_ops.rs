//! How long RoIAlign, suppression and mask targets take on the CPU at the sizes of COCO training.
//!
//! `cargo bench -p cvx-heads --bench roi_ops`. Prints the fastest of several runs in milliseconds.

mod report;

use std::hint::black_box;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_heads::{
    Roi, SoftNms, TargetMask, batched_nms, mask_targets, nms, roi_align_levels, roi_align_levels_composed,
    soft_nms,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use report::{is_measuring, report};

/// Two images of 800 x 1333 pixels, padded to a multiple of 32.
const PADDED: [usize; 2] = [800, 1344];
const STRIDES: [usize; 4] = [4, 8, 16, 32];

fn main() {
    let runs = if is_measuring() { 7 } else { 1 };
    for (rois, side) in [(1024, 7), (256, 14)] {
        align("RoIAlign", roi_align_levels, rois, side, runs);
    }
    align("RoIAlign, composed", roi_align_levels_composed, 1024, 7, runs.min(2));
    for count in [1000, 4000] {
        suppress(count, runs);
    }
    draw_targets(runs);
}

type AlignLevels = fn(&[Tensor<4>], &[usize], &[Roi], usize, usize) -> Tensor<4>;

fn align(what: &str, align: AlignLevels, count: usize, side: usize, runs: usize) {
    let [height, width] = PADDED;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let rois: Vec<Roi> = (0..count)
        .map(|position| {
            // From 16 to 480 pixels, as many of each octave.
            let size = 16.0 * 30f32.powf(random.random());
            let (w, h) = (size * random.random_range(0.6..1.4), size * random.random_range(0.6..1.4));
            let x0 = random.random_range(0.0..width as f32 - w);
            let y0 = random.random_range(0.0..height as f32 - h);
            Roi { batch_index: position * 2 / count, bbox: [x0, y0, x0 + w, y0 + h] }
        })
        .collect();
    let device = Device::flex().autodiff();
    let map = |stride: usize| {
        let shape = [2, 256, height / stride, width / stride];
        Tensor::<4>::random(shape, Distribution::Default, &device).require_grad()
    };
    let levels = STRIDES.map(map);
    let features: Vec<_> = levels.iter().map(|level| level.clone().inner()).collect();
    let name = format!("{what}, {count} RoIs, side {side}");
    report(&format!("{name}, forward"), runs, || {
        black_box(align(&features, &STRIDES, &rois, side, 0));
    });
    report(&format!("{name}, forward + backward"), runs, || {
        let out = align(&levels, &STRIDES, &rois, side, 0);
        black_box(out.sum().backward());
    });
}

fn suppress(count: usize, runs: usize) {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    // Eight boxes to an object, as a detector proposes them.
    let boxes: Vec<[f32; 4]> = (0..count)
        .map(|position| {
            let object = position % (count / 8);
            let mut jitter = || random.random_range(0.0..12.0f32);
            let (x0, y0) = ((object * 37 % 1200) as f32 + jitter(), (object * 91 % 700) as f32 + jitter());
            [x0, y0, x0 + 60.0 + jitter(), y0 + 50.0 + jitter()]
        })
        .collect();
    let scores: Vec<f32> = (0..count).map(|_| random.random()).collect();
    let classes: Vec<usize> = (0..count).map(|_| random.random_range(0..5)).collect();
    report(&format!("NMS, {count} boxes, one class"), runs, || {
        black_box(nms(&boxes, &scores, 0.7));
    });
    report(&format!("NMS, {count} boxes, five classes"), runs, || {
        black_box(batched_nms(&boxes, &scores, &classes, 0.7));
    });
    report(&format!("soft-NMS, {count} boxes, one class"), runs, || {
        black_box(soft_nms(&boxes, &scores, 0.5, SoftNms::Linear, 1e-3));
    });
}

fn draw_targets(runs: usize) {
    let [frame_height, frame_width] = PADDED;
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let ellipse = |number: usize| {
        let (width, height) = (60 + number * 25, 50 + number * 20);
        let inside = |i: usize| {
            let x = (i % width) as f32 / width as f32 - 0.5;
            let y = (i / width) as f32 / height as f32 - 0.5;
            u8::from(x * x + y * y < 0.25)
        };
        let pixels = (0..width * height).map(inside).collect();
        TargetMask { frame_width, frame_height, x0: 40, y0: 30, width, height, pixels }
    };
    let masks: Vec<TargetMask> = (0..20).map(ellipse).collect();
    let assigned: Vec<usize> = (0..256).map(|position| position % masks.len()).collect();
    let proposals: Vec<[f32; 4]> = assigned
        .iter()
        .map(|&mask| {
            let (width, height) = (masks[mask].width as f32, masks[mask].height as f32);
            let mut off = |size: f32| size * random.random_range(-0.15..0.15);
            [40.0 + off(width), 30.0 + off(height), 40.0 + width + off(width), 30.0 + height + off(height)]
        })
        .collect();
    report("mask targets, 256 proposals of 20 masks, side 28", runs, || {
        black_box(mask_targets(&proposals, &assigned, &masks, 28));
    });
}
