//! RoIAlign: against its composed version, slopes and hand-made maps, on any number of threads.

use burn::prelude::*;
use cvx_heads::{Roi, roi_align, roi_align_composed, roi_align_levels, roi_align_levels_composed};
use cvx_tests::tensors::values;
use cvx_tests::tolerance::{self, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

type RoiAlign = fn(Tensor<4>, &[Roi], usize, f32, usize, bool) -> Tensor<4>;

type RoiAlignLevels = fn(&[Tensor<4>], &[usize], &[Roi], usize, usize) -> Tensor<4>;

/// The op and its composed version.
const BOTH: [(&str, RoiAlign); 2] = [("own", roi_align), ("composed", roi_align_composed)];

const STRIDES: [usize; 4] = [4, 8, 16, 32];

/// A pyramid of random features for images of `height` x `width` pixels.
fn pyramid(channels: usize, [height, width]: [usize; 2], device: &Device) -> Vec<Tensor<4>> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut map = |stride: usize| {
        let shape = [2, channels, height / stride, width / stride];
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    STRIDES.into_iter().map(&mut map).collect()
}

/// Random RoIs of every size, some reaching over the edge, some of no area, some inverted.
fn random_rois(count: usize, [height, width]: [usize; 2]) -> Vec<Roi> {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut one = |position: usize| {
        let (x0, y0) = (random.random_range(-20.0..width as f32), random.random_range(-20.0..height as f32));
        let size = 8.0 * 100f32.powf(random.random_range(0.0..1.0));
        let (mut w, mut h) = (size, size * random.random_range(0.4..2.5));
        match position % 16 {
            13 => w = 0.0,
            14 => (w, h) = (0.0, 0.0),
            15 => h = -h,
            _ => (),
        }
        Roi { batch_index: position % 2, bbox: [x0, y0, x0 + w, y0 + h] }
    };
    (0..count).map(&mut one).collect()
}

#[test]
fn the_op_equals_its_composed_version_over_a_pyramid() {
    let device = cvx_tests::device().autodiff();
    let size = [256, 320];
    let rois = random_rois(60, size);
    // 21 channels: one block of sixteen and a rest.
    for (side, sampling_ratio) in [(7, 0), (3, 2), (14, 0), (1, 1)] {
        let run = |align: RoiAlignLevels| {
            let levels: Vec<_> = pyramid(21, size, &device).into_iter().map(Tensor::require_grad).collect();
            let out = align(&levels, &STRIDES, &rois, side, sampling_ratio);
            let grads = (out.clone() * out.clone().sin()).sum().backward();
            let grads: Vec<_> = levels
                .iter()
                .map(|level| values(level.grad(&grads).expect("every level is reached")))
                .collect();
            (values(out), grads)
        };
        let (out, grads) = run(roi_align_levels);
        let (expected_out, expected_grads) = run(roi_align_levels_composed);
        assert_close("output", &out, &expected_out, tolerance::ONE_OPERATION);
        for (grad, expected) in grads.iter().zip(&expected_grads) {
            assert_close("gradient", grad, expected, tolerance::ONE_OPERATION);
        }
    }
}

#[test]
fn rows_come_in_the_order_of_the_rois() {
    let device = cvx_tests::device();
    let constant = |level: usize| Tensor::<4>::full([1, 1, 40, 40], level as f32, &device);
    let levels: Vec<_> = (0..4).map(constant).collect();
    let sizes = [500.0, 20.0, 120.0, 300.0, 30.0];
    let roi = |size: f32| Roi { batch_index: 0, bbox: [1.0, 1.0, 1.0 + size, 1.0 + size] };
    let rois = sizes.map(roi);
    let out = roi_align_levels(&levels, &STRIDES, &rois, 1, 0);
    let expected = [3.0, 0.0, 1.0, 2.0, 0.0];
    assert_close("levels", &values(out), &expected, tolerance::ONE_OPERATION);
}

#[test]
fn the_gradient_of_roi_align_is_the_slope_of_its_output() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let shape = [1, 2, 6, 5];
    let features: Vec<f32> = (0..60).map(|_| random.random_range(-1.0..1.0)).collect();
    let bbox = [[3.3, 1.9, 17.2, 21.7], [-6.0, 0.0, 9.0, 30.0], [12.0, 13.0, 12.5, 14.0]];
    let rois = bbox.map(|bbox| Roi { batch_index: 0, bbox });
    for (sampling_ratio, aligned) in [(0, true), (3, true), (0, false), (2, false)] {
        let loss = |features: Vec<f32>| {
            let device = &cvx_tests::device().autodiff();
            let features = Tensor::<4>::from_data(TensorData::new(features, shape), device).require_grad();
            let out = roi_align(features.clone(), &rois, 3, 0.25, sampling_ratio, aligned);
            let weights = Tensor::<1, Int>::arange(0..54, device).float().sin();
            let loss = ((out.clone() * out).reshape([54]) * weights).sum();
            let grads = loss.backward();
            (values(loss)[0], values(features.grad(&grads).expect("a gradient")))
        };
        let (_, grad) = loss(features.clone());
        let step = 1e-2;
        let slopes: Vec<f32> = (0..features.len())
            .map(|i| {
                let at = |value: f32| {
                    let mut moved = features.clone();
                    moved[i] = value;
                    loss(moved).0
                };
                (at(features[i] + step) - at(features[i] - step)) / (2.0 * step)
            })
            .collect();
        assert_close("slope", &grad, &slopes, tolerance::FINITE_DIFFERENCE);
    }
}

#[test]
fn a_constant_map_gives_its_value_inside_and_zero_far_outside() {
    let features = Tensor::<4>::full([1, 3, 8, 8], 2.5, &cvx_tests::device());
    let inside = Roi { batch_index: 0, bbox: [1.0, 1.0, 6.0, 7.0] };
    let outside = Roi { batch_index: 0, bbox: [20.0, 20.0, 30.0, 30.0] };
    for (_, align) in BOTH {
        let out = values(align(features.clone(), &[inside, outside], 7, 1.0, 0, true));
        assert_close("inside", &out[..3 * 49], &[2.5; 3 * 49], tolerance::ONE_OPERATION);
        assert_eq!(out[3 * 49..], [0.0; 3 * 49]);
    }
}

#[test]
fn rois_on_a_grid_of_rising_numbers_give_the_numbers_between() {
    // Detectron2's example (`tests/layers/test_roi_align.py`): a 5 x 5 map of 0..25, one RoI from (1, 1)
    // to (3, 3). Aligned, its samples are half a pixel to the upper left of those of the first version.
    let features = Tensor::<1, Int>::arange(0..25, &cvx_tests::device()).float().reshape([1, 1, 5, 5]);
    let roi = [Roi { batch_index: 0, bbox: [1.0, 1.0, 3.0, 3.0] }];
    let rows = |first: f32| -> Vec<f32> {
        (0..16).map(|i| first + 2.5 * (i / 4) as f32 + 0.5 * (i % 4) as f32).collect()
    };
    for (_, align) in BOTH {
        let old = values(align(features.clone(), &roi, 4, 1.0, 0, false));
        assert_close("first version", &old, &rows(7.5), tolerance::ONE_OPERATION);
        let new = values(align(features.clone(), &roi, 4, 1.0, 0, true));
        assert_close("aligned", &new, &rows(4.5), tolerance::ONE_OPERATION);
    }
}

#[test]
fn zero_rois_give_zero_rows_and_a_gradient_of_zeros() {
    let device = cvx_tests::device().autodiff();
    let features = Tensor::<4>::ones([2, 3, 8, 8], &device).require_grad();
    let out = roi_align(features.clone(), &[], 7, 0.25, 0, true);
    assert_eq!(out.dims(), [0, 3, 7, 7]);
    let grads = (out.sum() + features.clone().sum() * 0.0).backward();
    assert_eq!(values(features.grad(&grads).expect("a gradient")), [0.0; 2 * 3 * 64]);
    let composed = roi_align_composed(features, &[], 7, 0.25, 0, true);
    assert_eq!(composed.dims(), [0, 3, 7, 7]);
}

#[test]
fn a_permuted_map_is_read_as_it_is_seen() {
    let device = cvx_tests::device();
    let features_nchw = pyramid(5, [64, 96], &device).swap_remove(0);
    let features_nhwc = features_nchw.clone().permute([0, 2, 3, 1]);
    let stored = Tensor::<4>::from_data(features_nhwc.into_data(), &device);
    let rois = random_rois(12, [64, 96]);
    let straight = roi_align(features_nchw.clone(), &rois, 7, 0.25, 0, true);
    let permuted = roi_align(stored.permute([0, 3, 1, 2]), &rois, 7, 0.25, 0, true);
    assert_eq!(values(straight), values(permuted));
    let flipped = roi_align(features_nchw.clone().flip([3]).flip([3]), &rois, 7, 0.25, 0, true);
    assert_eq!(values(flipped), values(roi_align(features_nchw, &rois, 7, 0.25, 0, true)));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let device = Device::flex().autodiff();
    let size = [256, 320];
    let rois = random_rois(80, size);
    let run = || {
        let levels: Vec<_> = pyramid(40, size, &device).into_iter().map(Tensor::require_grad).collect();
        let out = roi_align_levels(&levels, &STRIDES, &rois, 7, 0);
        let grads = (out.clone() * out.clone()).sum().backward();
        let of_level = |level: &Tensor<4>| values(level.grad(&grads).expect("a gradient"));
        (values(out), levels.iter().map(of_level).collect::<Vec<_>>())
    };
    let in_pool = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool of threads").install(run)
    };
    let alone = in_pool(1);
    for threads in [2, 5] {
        assert!(in_pool(threads) == alone, "{threads} threads give other bits than one");
    }
}
