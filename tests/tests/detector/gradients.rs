//! Gradients reach every parameter, and batches without objects, proposals or classes to choose
//! from are batches like any other.

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::{FeatureMaps, FeatureSpec};
use cvx_heads::{BoxRegression, ImageSize, MaskRcnn, MaskRcnnConfig, MaskRcnnLosses, ProposalConfig, Target};
use cvx_tests::tensors::{gradients_by_path, values};

use crate::model::{padded_size, paths, rectangle};

const DIMS: [usize; 4] = [4, 6, 8, 10];

fn specs() -> [FeatureSpec; 4] {
    let mut stride = 2;
    DIMS.map(|channels| {
        stride *= 2;
        FeatureSpec { channels, stride }
    })
}

fn config(num_classes: usize) -> MaskRcnnConfig {
    MaskRcnnConfig::new(num_classes)
        .with_fpn_channels(8)
        .with_fc_channels(16)
        .with_mask_channels(8)
        .with_num_mask_convs(2)
}

/// Random maps of a batch of two inputs of 96 x 64 pixels.
fn maps(device: &Device) -> FeatureMaps {
    device.seed(3);
    let map = |level: usize| {
        let [height, width] = [96, 64].map(|side| side / (4 << level));
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::random([2, DIMS[level], height, width], normal, device)
    };
    FeatureMaps { c2: map(0), c3: map(1), c4: map(2), c5: map(3) }
}

fn sizes() -> [ImageSize; 2] {
    [padded_size(90, 64, 32), padded_size(64, 50, 32)]
}

fn target(boxes: &[[usize; 4]], labels: &[usize], size: &ImageSize) -> Target {
    Target {
        boxes: boxes.iter().map(|corners| corners.map(|corner| corner as f32)).collect(),
        labels: labels.to_vec(),
        masks: boxes.iter().map(|&corners| rectangle(corners, size)).collect(),
    }
}

/// One image with two objects, one without any.
fn targets() -> [Target; 2] {
    let [first, _] = sizes();
    [target(&[[4, 8, 40, 60], [30, 20, 62, 50]], &[0, 0], &first), Target::default()]
}

fn terms(losses: &MaskRcnnLosses) -> Vec<f32> {
    let MaskRcnnLosses { rpn_cls, rpn_bbox, cls, bbox, mask } = losses.clone();
    [rpn_cls, rpn_bbox, cls, bbox, mask].into_iter().flat_map(values).collect()
}

/// Every parameter has a finite gradient; those that are wholly zero are returned.
#[track_caller]
fn parameters_without_slope(detector: &MaskRcnn, losses: MaskRcnnLosses) -> Vec<String> {
    let terms = terms(&losses);
    assert!(terms.iter().all(|term| term.is_finite()), "{terms:?}");
    let gradients = gradients_by_path(detector, losses.total().backward());
    let mut without = Vec::new();
    for path in paths(detector) {
        let gradient = gradients.get(&path).unwrap_or_else(|| panic!("{path} has no gradient"));
        assert!(gradient.values.iter().all(|slope| slope.is_finite()), "{path}: {gradient:?}");
        if gradient.values.iter().all(|&slope| slope == 0.0) {
            without.push(path);
        }
    }
    without
}

#[test]
fn every_parameter_gets_a_finite_gradient_that_is_not_zero() {
    let device = cvx_tests::device().autodiff();
    let detector = config(3).init(&specs(), &device);
    let losses = detector.losses(maps(&device), &targets(), &sizes(), 0);
    assert!(terms(&losses).iter().all(|&term| term > 0.0), "{:?}", terms(&losses));
    assert_eq!(parameters_without_slope(&detector, losses), Vec::<String>::new());
}

#[test]
fn parameters_carry_the_names_of_mmdet() {
    let detector = config(3).init(&specs(), &cvx_tests::device());
    let paths = paths(&detector);
    let theirs: Vec<String> = paths.iter().map(|path| cvx_heads::mmdet_name(path)).collect();
    for name in [
        "neck.lateral_convs.0.conv.weight",
        "neck.fpn_convs.3.conv.bias",
        "rpn_head.rpn_conv.weight",
        "roi_head.bbox_head.shared_fcs.1.weight",
        "roi_head.bbox_head.fc_reg.bias",
        "roi_head.mask_head.convs.1.conv.weight",
        "roi_head.mask_head.upsample.bias",
        "roi_head.mask_head.conv_logits.weight",
    ] {
        assert!(theirs.iter().any(|theirs| theirs == name), "{name} is none of {theirs:?}");
    }
}

#[test]
fn a_batch_without_objects_reaches_every_parameter_with_terms_of_zero() {
    let device = cvx_tests::device().autodiff();
    let detector = config(3).init(&specs(), &device);
    let none = [Target::default(), Target::default()];
    let losses = detector.losses(maps(&device), &none, &sizes(), 0);
    let [rpn_cls, rpn_bbox, cls, bbox, mask] = terms(&losses).try_into().unwrap();
    assert!(rpn_cls > 0.0 && cls > 0.0, "background is learnt: {rpn_cls} {cls}");
    assert_eq!([rpn_bbox, bbox, mask], [0.0; 3]);
    let without = parameters_without_slope(&detector, losses);
    assert!(without.iter().any(|path| path == "mask_head.conv_logits.bias"), "{without:?}");
    assert!(!without.iter().any(|path| path.starts_with("rpn_head.rpn_cls")), "{without:?}");
}

#[test]
fn a_batch_without_proposals_or_objects_reaches_every_parameter() {
    let device = cvx_tests::device().autodiff();
    // No region is larger than the image, so none is proposed.
    let nothing = ProposalConfig::train().with_min_size(1000.0);
    let config = config(3).with_train_proposals(nothing.clone()).with_test_proposals(nothing);
    let detector = config.init(&specs(), &device);
    let none = [Target::default(), Target::default()];
    let losses = detector.losses(maps(&device), &none, &sizes(), 0);
    assert_eq!(terms(&losses)[1..], [0.0; 4]);
    parameters_without_slope(&detector, losses);
    assert_eq!(detector.detect(maps(&device), &sizes()), [vec![], vec![]]);
}

#[test]
fn objects_are_learnt_from_even_without_proposals() {
    let device = cvx_tests::device().autodiff();
    let nothing = ProposalConfig::train().with_min_size(1000.0);
    let detector = config(3).with_train_proposals(nothing).init(&specs(), &device);
    let losses = detector.losses(maps(&device), &targets(), &sizes(), 0);
    let [.., mask] = terms(&losses)[..] else { unreachable!("there are five terms") };
    assert!(mask > 0.0, "the true boxes are proposals too");
    parameters_without_slope(&detector, losses);
}

#[test]
fn one_class_and_deltas_for_all_classes_together_train_and_detect() {
    let device = cvx_tests::device().autodiff();
    for regression in [BoxRegression::ClassSpecific, BoxRegression::ClassAgnostic] {
        let config = config(1).with_box_regression(regression);
        let mut detector = config.init(&specs(), &device);
        let losses = detector.losses(maps(&device), &targets(), &sizes(), 0);
        assert_eq!(parameters_without_slope(&detector, losses), Vec::<String>::new());

        detector.detection.score_threshold = 0.0;
        let found = detector.detect(maps(&device), &sizes());
        for (found, size) in found.iter().zip(sizes()) {
            assert_eq!(found.len(), detector.detection.max_per_image.min(found.len()));
            assert!(!found.is_empty());
            for detection in found {
                let [x0, y0, x1, y1] = detection.bbox;
                assert!(0.0 <= x0 && x0 <= x1 && x1 <= size.width as f32, "{:?}", detection.bbox);
                assert!(0.0 <= y0 && y0 <= y1 && y1 <= size.height as f32, "{:?}", detection.bbox);
                assert_eq!(detection.label, 0);
                assert_eq!(detection.mask.len(), 28 * 28);
                assert!(detection.mask.iter().all(|p| (0.0..=1.0).contains(p)));
            }
            assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}

#[test]
fn losses_depend_on_the_sampling_seed_and_on_nothing_else() {
    let device = cvx_tests::device().autodiff();
    let detector = config(3).init(&specs(), &device);
    let losses = |seed| terms(&detector.losses(maps(&device), &targets(), &sizes(), seed));
    let first = losses(1);
    assert_eq!(first, losses(1));
    assert_ne!(first, losses(2));
}

#[test]
fn maps_that_are_not_numbers_make_no_detections_and_no_panic() {
    let device = cvx_tests::device();
    let detector = config(3).init(&specs(), &device);
    let FeatureMaps { c2, c3, c4, c5 } = maps(&device);
    let maps = FeatureMaps { c2: c2 * f32::NAN, c3, c4, c5: c5 * f32::INFINITY };
    assert_eq!(detector.detect(maps.clone(), &sizes()), [vec![], vec![]]);
    detector.losses(maps, &targets(), &sizes(), 0);
}
