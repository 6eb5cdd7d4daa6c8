//! Gradients reach every parameter; dropout acts in training alone; small batches and maps are batches like any other.

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::{FeatureMaps, FeatureSpec};
use cvx_heads::{UperNet, UperNetConfig, UperNetLosses};
use cvx_tests::tensors::{gradients_by_path, values};
use cvx_tools::train::params;

const DIMS: [usize; 4] = [4, 6, 8, 10];
const HEIGHT: usize = 96;
const WIDTH: usize = 64;

fn heads(device: &Device, change: impl Fn(UperNetConfig) -> UperNetConfig) -> UperNet {
    let mut stride = 2;
    let specs = DIMS.map(|channels| {
        stride *= 2;
        FeatureSpec { channels, stride }
    });
    device.seed(4);
    change(UperNetConfig::new(3).with_channels(8)).init(&specs, device)
}

/// Random maps of a batch of inputs of 96 x 64 pixels.
fn maps(batch: usize, device: &Device) -> FeatureMaps {
    device.seed(3);
    let map = |level: usize| {
        let [height, width] = [HEIGHT, WIDTH].map(|side| side / (4 << level));
        Tensor::random([batch, DIMS[level], height, width], Distribution::Normal(0.0, 1.0), device)
    };
    FeatureMaps { c2: map(0), c3: map(1), c4: map(2), c5: map(3) }
}

/// Stripes of the three classes, and ignored rows.
fn labels(batch: usize, device: &Device) -> Tensor<3, Int> {
    let label = |at: usize| if at / WIDTH % 10 == 9 { 255 } else { at % WIDTH / 8 % 3 };
    let values: Vec<i32> = (0..batch * HEIGHT * WIDTH).map(|at| label(at) as i32).collect();
    Tensor::from_data(TensorData::new(values, [batch, HEIGHT, WIDTH]), device)
}

#[track_caller]
fn assert_every_parameter_has_a_slope(heads: &UperNet, losses: UperNetLosses) {
    let gradients = gradients_by_path(heads, losses.total().backward());
    let trained = params::trained(heads);
    assert_eq!(gradients.len(), trained.len(), "running statistics have no gradient, everything else has");
    for param in trained {
        let gradient = &gradients[&param.path].values;
        assert!(gradient.iter().all(|slope| slope.is_finite()), "{}: {gradient:?}", param.path);
        assert!(gradient.iter().any(|&slope| slope != 0.0), "{} has a gradient of zero", param.path);
    }
}

#[test]
fn every_parameter_gets_a_finite_gradient_that_is_not_zero() {
    let device = cvx_tests::device().autodiff();
    let heads = heads(&device, |config| config);
    let losses = heads.losses(maps(2, &device), labels(2, &device));
    assert_every_parameter_has_a_slope(&heads, losses);
}

#[test]
fn other_pooling_scales_and_no_auxiliary_head_train() {
    let device = cvx_tests::device().autodiff();
    let heads = heads(&device, |config| config.with_pool_scales(vec![2, 5]).with_auxiliary(None));
    // One image is enough where nothing is pooled to a single pixel.
    let losses = heads.losses(maps(1, &device), labels(1, &device));
    assert!(losses.auxiliary.is_none());
    assert_every_parameter_has_a_slope(&heads, losses);
}

#[test]
#[should_panic(expected = "train on batches of two images or more")]
fn a_single_value_is_not_normalised() {
    let device = cvx_tests::device().autodiff();
    heads(&device, |config| config).losses(maps(1, &device), labels(1, &device));
}

#[test]
fn maps_that_are_not_numbers_leave_the_running_statistics_as_they_were() {
    let device = cvx_tests::device().autodiff();
    let heads = heads(&device, |config| config);
    let statistics = || {
        let mut found = Vec::new();
        params::read_each(&heads, &mut |path, data| {
            if cvx_heads::is_running_statistic(path) {
                found.extend(data.iter::<f32>());
            }
            Ok(())
        })
        .expect("nothing fails");
        found
    };
    let before = statistics();
    let FeatureMaps { c2, c3, c4, c5 } = maps(2, &device);
    let broken =
        FeatureMaps { c2: c2 * f32::NAN, c3: c3 * f32::NAN, c4: c4 * f32::NAN, c5: c5 * f32::INFINITY };
    let total = heads.losses(broken, labels(2, &device)).total();
    assert!(values(total)[0].is_nan());
    assert_eq!(statistics(), before);
}

#[test]
fn dropout_acts_in_training_alone() {
    let often = |device: &Device| heads(device, |config| config.with_dropout(0.5));
    // Whether two looks at the same maps differ; the test does not say how, that would print thousands of numbers.
    let varies = |device: &Device| {
        let (heads, maps) = (often(device), maps(2, device));
        values(heads.segment(maps.clone())) != values(heads.segment(maps))
    };
    assert!(!varies(&cvx_tests::device()));
    assert!(varies(&cvx_tests::device().autodiff()));
}

#[test]
fn what_training_left_behind_is_used_without_gradients() {
    use burn::module::Module;

    let device = cvx_tests::device().autodiff();
    let heads = heads(&device, |config| config.with_dropout(0.0));
    let before = values(heads.valid().segment(maps(2, &cvx_tests::device())));
    // Ninety observations leave less than a ten-thousandth of the first values.
    for _ in 0..90 {
        heads.losses(maps(2, &device), labels(2, &device));
    }
    let after = values(heads.valid().segment(maps(2, &cvx_tests::device())));
    let in_training = values(heads.segment(maps(2, &device)));
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Running variances are the unbiased ones, so the two stay apart a little.
    assert!(
        distance(&after, &in_training) < distance(&before, &in_training) / 2.0,
        "{} {}",
        distance(&after, &in_training),
        distance(&before, &in_training)
    );
}
