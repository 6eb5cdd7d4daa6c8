//! Parameter counts against those of the published architectures, and the names of mmseg.

use burn::prelude::*;
use cvx_backbone::{ConvNextConfig, Variant};
use cvx_heads::UperNetConfig;
use cvx_tools::train::params::{self, ParamInfo};

/// Millions of parameters, computed from the published architectures; the paper prints 122, 235 and 707 for V2 Base,
/// Large and Huge.
#[test]
fn whole_segmentors_have_the_published_sizes() {
    let published = [
        (Variant::V2Atto, 32.11),
        (Variant::V2Femto, 34.10),
        (Variant::V2Pico, 38.86),
        (Variant::V2Nano, 46.35),
        (Variant::V2Tiny, 60.29),
        (Variant::V2Base, 122.23),
        (Variant::V2Large, 235.18),
        (Variant::V2Huge, 706.81),
    ];
    let device = cvx_tests::device();
    for (variant, millions) in published {
        let backbone = ConvNextConfig::of(variant);
        let heads = UperNetConfig::new(150).init(&backbone.feature_specs(), &device);
        let heads: usize = params::trained(&heads).iter().map(ParamInfo::num_values).sum();
        let total = backbone.num_params() + heads;
        assert_eq!(format!("{:.2}", total as f64 / 1e6), format!("{millions:.2}"), "{variant}");
    }
}

#[test]
fn running_statistics_are_listed_but_not_trained() {
    let specs = ConvNextConfig::of(Variant::V2Atto).feature_specs();
    for device in [cvx_tests::device(), cvx_tests::device().autodiff()] {
        let heads = UperNetConfig::new(2).with_channels(4).init(&specs, &device);
        let (all, trained) = (params::list(&heads), params::trained(&heads));
        let rest: Vec<&ParamInfo> = all.iter().filter(|param| !trained.contains(param)).collect();
        // Thirteen norms: four of pooling, bottleneck, three laterals, three outputs, fusion, and the auxiliary one.
        assert_eq!(rest.len(), 2 * 13);
        assert!(rest.iter().all(|param| param.path.contains(".bn.running_")), "{rest:?}");
    }
}

#[test]
fn a_copy_has_running_statistics_of_its_own() {
    let specs = ConvNextConfig::of(Variant::V2Atto).feature_specs();
    let heads = UperNetConfig::new(2).with_channels(4).init(&specs, &cvx_tests::device());
    let sum = |heads: &cvx_heads::UperNet| {
        let mut sum = 0.0;
        params::read_each(heads, &mut |path, data| {
            if path.ends_with("running_var") {
                sum += data.iter::<f32>().sum::<f32>();
            }
            Ok(())
        })
        .expect("nothing fails");
        sum
    };
    let before = sum(&heads);
    let zeros = |_: &str, shape: &[usize]| Ok(Some(TensorData::zeros::<f32, _>(shape.to_vec())));
    let copy = params::replace_each(heads.clone(), &mut { zeros }).expect("every parameter");
    assert_eq!((sum(&heads), sum(&copy)), (before, 0.0));
}
