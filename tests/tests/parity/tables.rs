//! Layer decay and schedules against the references' tables.

use cvx_tests::golden::Golden;
use cvx_tests::tolerance::{ONE_OPERATION, STATISTIC};
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params::ParamInfo;
use cvx_tools::train::schedule::{Decay, Schedule, Warmup};

const OFFICIAL_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisBiasGammaBeta };
const MMDET_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisOrBias };

#[test]
fn layer_decay_is_that_of_the_references() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.json("layer_decay.json");
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
fn schedules_are_those_of_the_references() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.json("schedules.json");
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
            (
                "mmseg small",
                warmup(4, 1e-6),
                Decay::Polynomial { begin: 4, end: 16, power: 1.0, min_lr: 0.0 },
            ),
            (
                "poly power .9",
                Warmup::NONE,
                Decay::Polynomial { begin: 0, end: 12, power: 0.9, min_lr: 1e-6 },
            ),
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
