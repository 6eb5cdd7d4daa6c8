//! Parameter counts against those of the published architectures.

use burn::prelude::*;
use cvx_backbone::{ConvNextConfig, FeatureSpec, Variant};
use cvx_heads::{BoxRegression, MaskRcnnConfig};

fn specs(dims: [usize; 4]) -> [FeatureSpec; 4] {
    let mut stride = 2;
    dims.map(|channels| {
        stride *= 2;
        FeatureSpec { channels, stride }
    })
}

#[test]
fn the_heads_have_as_many_parameters_as_those_of_mmdet() {
    let detector = MaskRcnnConfig::new(80).init(&specs([352, 704, 1408, 2816]), &cvx_tests::device());
    assert_eq!(detector.rpn_head.num_params(), 593_935);
    // 256 * 49 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * (81 + 320) + 81 + 320
    assert_eq!(detector.bbox_head.num_params(), 14_306_705);
    // 4 * (256 * 256 * 9 + 256) + (256 * 256 * 4 + 256) + (256 * 80 + 80)
    assert_eq!(detector.mask_head.num_params(), 2_643_280);
    // (352 + 704 + 1408 + 2816) * 256 + 4 * 256 + 4 * (256 * 256 * 9 + 256)
    assert_eq!(detector.neck.num_params(), 3_713_024);
}

/// Millions of parameters, computed from the published architectures.
#[test]
fn whole_detectors_have_the_published_sizes() {
    let published = [
        (Variant::V2Atto, 23.45),
        (Variant::V2Femto, 24.94),
        (Variant::V2Pico, 28.71),
        (Variant::V2Nano, 35.20),
        (Variant::V2Tiny, 48.14),
        (Variant::V2Base, 108.09),
        (Variant::V2Large, 217.07),
        (Variant::V2Huge, 678.73),
    ];
    let device = cvx_tests::device();
    for (variant, millions) in published {
        let backbone = ConvNextConfig::of(variant);
        let heads = MaskRcnnConfig::new(80).init(&backbone.feature_specs(), &device);
        let total = backbone.num_params() + heads.num_params();
        assert_eq!(format!("{:.2}", total as f64 / 1e6), format!("{millions:.2}"), "{variant}");
    }
}

#[test]
fn widths_depths_and_shared_deltas_are_configurable() {
    let detector = MaskRcnnConfig::new(3)
        .with_fpn_channels(8)
        .with_fc_channels(16)
        .with_num_fcs(1)
        .with_box_regression(BoxRegression::ClassAgnostic)
        .with_mask_channels(4)
        .with_num_mask_convs(1)
        .with_anchor_scales(vec![4.0, 8.0])
        .init(&specs([2, 3, 4, 5]), &cvx_tests::device());
    assert_eq!(detector.bbox_head.num_params(), (8 * 49 * 16 + 16) + (16 * 4 + 4) + (16 * 4 + 4));
    assert_eq!(
        detector.mask_head.num_params(),
        (8 * 4 * 9 + 4) + (4 * 4 * 4 + 4) + (4 * 3 + 3),
        "one hidden layer of four channels"
    );
    assert_eq!(detector.rpn_head.num_params(), (8 * 8 * 9 + 8) + (8 * 6 + 6) + (8 * 24 + 24));
}
