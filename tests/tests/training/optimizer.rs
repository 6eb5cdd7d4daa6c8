//! Layer decay and schedules against the references' tables, AdamW against figures computed by hand.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::{ONE_OPERATION, STATISTIC, assert_close};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params::{self, ParamInfo};
use cvx_tools::train::schedule::{Decay, Schedule, Warmup};

use crate::toy::MMDET_DECAY;

const OFFICIAL_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisBiasGammaBeta };

#[test]
fn layer_decay_is_that_of_the_references() {
    let golden = Golden::named("ops").json("layer_decay.json");
    let variants = golden.as_object().expect("an object");
    assert!(variants.len() >= 16);
    for (name, expected) in variants {
        let table = expected["table"].as_object().expect("a table");
        let decays = expected["weight_decay"].as_object().expect("decays");
        let mut parameters: Vec<ParamInfo> = decays.keys().map(|path| parameter(path)).collect();
        parameters.extend(table.keys().map(|module| parameter(&format!("{module}.some.weight"))));
        let is_official = name.starts_with("official");
        let weight_decay = if is_official { OFFICIAL_DECAY } else { MMDET_DECAY };
        let groups = ParamGroups::new(&parameters, layer_decay(name), weight_decay).expect(name);
        for (module, id_and_scale) in table {
            let rule = groups.rule(&format!("{module}.some.weight")).expect(module);
            let scale = id_and_scale[1].as_f64().expect("a scale");
            assert!(
                (rule.lr_scale / scale - 1.0).abs() < STATISTIC,
                "{name} {module}: {} {scale}",
                rule.lr_scale
            );
            assert!(
                rule.group.starts_with(&format!("layer_{}_", id_and_scale[0])),
                "{name} {module}: {rule:?}"
            );
        }
        for (path, decay) in decays {
            let rule = groups.rule(path).expect(path);
            assert_eq!(rule.weight_decay, decay.as_f64().expect("a decay"), "{name} {path}");
        }
    }
}

/// A parameter with as many axes as the references give one of that name.
fn parameter(path: &str) -> ParamInfo {
    let names: Vec<&str> = path.split('.').collect();
    let is_norm = |name: &&str| name.starts_with("norm") || *name == "grn";
    let is_downsample_norm = path.contains("downsample_layers.")
        && names[names.len() - 2] == "0"
        && !path.contains("downsample_layers.0.");
    let has_one_axis = names.iter().any(is_norm) || is_downsample_norm || path.ends_with(".bias");
    let shape = if has_one_axis { vec![8] } else { vec![8, 4] };
    ParamInfo { path: path.to_owned(), shape }
}

/// `mmdet.layer_wise.tiny.decay0.95.num_layers6` and the like.
fn layer_decay(name: &str) -> LayerDecay {
    let (_, after) = name.split_once("decay").expect(name);
    let (rate, num_layers) = after.split_once(".num_layers").unwrap_or((after, "0"));
    let (rate, num_layers) = (rate.parse().expect(name), num_layers.parse().expect(name));
    match name.split('.').nth(1).expect(name) {
        "single" => LayerDecay::Single { rate },
        "group" => LayerDecay::Group { rate },
        "layer_wise" => LayerDecay::LayerWise { rate, num_layers },
        "stage_wise" => LayerDecay::StageWise { rate, num_layers },
        other => panic!("{other}"),
    }
}

#[test]
fn a_depth_that_num_layers_cannot_count_is_refused() {
    let blocks = (0..27).map(|block| parameter(&format!("backbone.stages.2.{block}.dwconv.weight")));
    let blocks: Vec<ParamInfo> = blocks.collect();
    let decay = LayerDecay::LayerWise { rate: 0.95, num_layers: 6 };
    let error = ParamGroups::new(&blocks, decay, MMDET_DECAY).expect_err("27 blocks").to_string();
    assert!(error.contains("num_layers 11 and above"), "{error}");
}

#[test]
fn only_the_official_rule_spares_response_normalization_with_four_axes() {
    let path = "backbone.stages.0.0.grn.gamma";
    let gamma = ParamInfo { path: path.to_owned(), shape: vec![1, 1, 1, 32] };
    for (weight_decay, expected) in [(MMDET_DECAY, 0.05), (OFFICIAL_DECAY, 0.0)] {
        let groups = ParamGroups::new(std::slice::from_ref(&gamma), LayerDecay::None, weight_decay);
        let groups = groups.expect("a group");
        assert_eq!(groups.rule(path).expect(path).weight_decay, expected);
    }
}

#[test]
fn schedules_are_those_of_the_references() {
    let golden = Golden::named("ops").json("schedules.json");
    let warmup = |steps, start_factor| Warmup { steps, start_factor };
    let base_lr = 5e-5;
    let milestones = vec![27 * 50, 33 * 50];
    let cases = [
        ("mmdet_3x", warmup(1000, 0.001), Decay::Step { milestones, gamma: 0.1 }),
        ("mmdet small", warmup(5, 0.001), Decay::Step { milestones: vec![8, 12], gamma: 0.1 }),
        (
            "mmseg: ",
            warmup(1500, 1e-6),
            Decay::Polynomial { begin: 1500, end: 4000, power: 1.0, min_lr: 0.0 },
        ),
        ("mmseg small", warmup(4, 1e-6), Decay::Polynomial { begin: 4, end: 16, power: 1.0, min_lr: 0.0 }),
        ("poly power .9", Warmup::NONE, Decay::Polynomial { begin: 0, end: 12, power: 0.9, min_lr: 1e-6 }),
    ];
    for (prefix, warmup, decay) in cases {
        let schedule = Schedule { base_lr, warmup, decay };
        let (name, expected) = entry(&golden, prefix);
        for pair in expected.as_array().expect("pairs") {
            let step = pair[0].as_u64().expect("a step") as usize;
            assert_lr(name, step, schedule.lr(step), pair[1].as_f64().expect("a rate"));
        }
    }
    // The references' own schedules reach their ends one step later, so `steps` and `end` are one larger.
    let cosine = |begin, end, min_lr| Decay::Cosine { begin, end, min_lr };
    let cases = [
        ("official_v2_adjust_learning_rate.finetune", 8e-4, warmup(21, 0.0), cosine(20, 61, 1e-6)),
        ("official_v2_adjust_learning_rate.pretrain", 6e-4, warmup(11, 0.0), cosine(10, 41, 0.0)),
        ("official_v2_adjust_learning_rate.no_warmup", 2e-4, Warmup::NONE, cosine(0, 51, 1e-6)),
    ];
    for (prefix, base_lr, warmup, decay) in cases {
        let schedule = Schedule { base_lr, warmup, decay };
        let (name, expected) = entry(&golden, prefix);
        for (step, expected) in expected["lr"].as_array().expect("rates").iter().enumerate() {
            assert_lr(name, step, schedule.lr(step), expected.as_f64().expect("a rate"));
        }
    }
}

fn entry<'a>(golden: &'a serde_json::Value, prefix: &str) -> (&'a str, &'a serde_json::Value) {
    let mut entries = golden.as_object().expect("an object").iter();
    let found = entries.find(|(name, _)| name.starts_with(prefix));
    let (name, value) = found.unwrap_or_else(|| panic!("no entry {prefix}"));
    (name, value)
}

#[track_caller]
fn assert_lr(name: &str, step: usize, lr: f64, expected: f64) {
    // The references multiply step by step, the closed form does not.
    assert!(
        (lr - expected).abs() <= STATISTIC.min(ONE_OPERATION * expected),
        "{name}, step {step}: {lr:e}, expected {expected:e}"
    );
}

#[derive(Module, Debug)]
struct TwoScalars {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

#[test]
fn adamw_moves_as_computed_by_hand() {
    // p = 1: gradients 0.5, -0.25, 2 and weight decay 0.05; p = -2: gradients 1e-7, 0, 3e-7, near eps, without decay.
    let gradients = [[0.5, 1e-7], [-0.25, 0.0], [2.0, 3e-7]];
    let lrs = [0.1, 0.1, 0.05];
    let expected: [[f32; 2]; 3] =
        [[0.895, -2.090_909], [0.863_891_3, -2.149_611], [0.828_199_2, -2.186_100_3]];
    let device = Device::flex().autodiff();
    let mut model = TwoScalars {
        weight: Param::from_data([[1.0_f32]], &device),
        bias: Param::from_data([-2.0_f32], &device),
    };
    let groups = ParamGroups::new(&params::list(&model), LayerDecay::None, MMDET_DECAY).expect("groups");
    let mut optimizer = AdamW::new(AdamWConfig::TORCH, groups);
    for ((gradient, lr), expected) in gradients.into_iter().zip(lrs).zip(expected) {
        let [for_weight, for_bias] = gradient;
        // Twice the gradient and half the scale: what two accumulated micro-batches look like.
        let loss = model.weight.val().reshape([1]) * (2.0 * for_weight) + model.bias.val() * (2.0 * for_bias);
        let gradients = ParamGradients::collect(&model, loss.backward());
        model = optimizer.step(model, gradients, lr, 0.5);
        let values = [model.weight.val().into_scalar_f32(), model.bias.val().into_scalar_f32()];
        assert_close("parameters", &values, &expected, ONE_OPERATION);
    }
}

trait ScalarF32 {
    fn into_scalar_f32(self) -> f32;
}

impl<const D: usize> ScalarF32 for Tensor<D> {
    fn into_scalar_f32(self) -> f32 {
        self.into_data().as_slice::<f32>().expect("f32")[0]
    }
}
