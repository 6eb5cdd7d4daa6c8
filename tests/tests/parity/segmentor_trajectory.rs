//! Updates of a segmentor, against the same ones in mmseg: heads, batch statistics, stage-wise layer decay and
//! optimizer must all be right for this to pass.

use std::collections::BTreeMap;

use burn::prelude::*;
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors::norm;
use cvx_tests::tolerance::{FORWARD, GRADIENT, assert_close, relative_error};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params;
use serde_json::Value;

use crate::segmentor_reference::{Reference, float, labels, number};
use crate::segmentor_training::assert_losses;

#[test]
fn a_segmentor_trains_as_in_mmseg() {
    Golden::of_kind("train_upernet").iter().for_each(assert_trains_as_in_mmseg);
}

fn assert_trains_as_in_mmseg(golden: &Golden) {
    let meta = golden.json("meta.json");
    let device = cvx_tests::device().autodiff();
    let reference = Reference::new(golden, "initial.pth", &device, |heads| heads);
    let mut segmentor = reference.segmentor.clone();

    let wrapper = &meta["optim_wrapper"];
    let (options, paramwise) = (&wrapper["optimizer"], &wrapper["paramwise_cfg"]);
    assert_eq!(paramwise["decay_type"], "stage_wise");
    let (rate, num_layers) = (float(&paramwise["decay_rate"]), number(&paramwise["num_layers"]));
    let decay = LayerDecay::StageWise { rate, num_layers };
    let weight_decay =
        WeightDecay { value: float(&options["weight_decay"]), exempt: DecayExempt::OneAxisOrBias };
    let groups = ParamGroups::new(&params::trained(&segmentor), decay, weight_decay).expect("groups");
    let lr = float(&options["lr"]);
    assert_groups(&groups, lr, &meta["param_groups"]);
    let [beta1, beta2] = [0, 1].map(|index| float(&options["betas"][index]));
    let mut optimizer = AdamW::new(AdamWConfig { beta1, beta2, ..AdamWConfig::TORCH }, groups);

    // Adam makes steps of full length of the noise in a gradient that is zero, and the means follow.
    let zero = meta["analytically_zero_gradient"].as_array().expect("a list");
    let zero: Vec<String> = zero.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
    let mut noise = zero.clone();
    noise.extend(
        (0..3)
            .filter(|level| zero.contains(&format!("backbone.norm{level}.bias")))
            .map(|level| format!("decode_head.lateral_convs.{level}.bn.running_mean")),
    );

    let mut unsure: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    let (images, truth) = (golden.npy("input_images.npy"), golden.npy("input_labels.npy"));
    let steps = golden.json("trajectory.json")["f32"].as_array().expect("steps").clone();
    for (step, expected) in steps.iter().enumerate() {
        let batch = step % images.shape[0];
        let images: Tensor<4> = cvx_tests::tensors::tensor(entry(&images, batch), &device);
        let labels = labels(entry(&truth, batch), &device);
        // A copy has running statistics of its own, so that looking does not move them.
        let twin = segmentor.clone();
        let total = twin.losses(images.clone(), labels.clone()).total();
        let found = reference.gradients(&twin, total);
        if let Some(norms) = expected.get("grad_norms") {
            assert_norms(&format!("step {step}, gradient"), &found, norms, &zero, GRADIENT);
        }
        for (name, gradient) in found {
            note_unsure(unsure.entry(name).or_default(), &gradient);
        }
        let losses = segmentor.losses(images, labels);
        assert_losses(&format!("step {step}"), &losses, expected);
        let gradients = ParamGradients::collect(&segmentor, losses.total().backward());
        segmentor = optimizer.step(segmentor, gradients, lr, 1.0);
        let now = reference.by_their_name(&segmentor);
        assert_norms(&format!("step {step}"), &now, &expected["param_norms"], &noise, FORWARD);
    }

    let expected = golden.tensors("final.safetensors");
    let now = reference.by_their_name(&segmentor);
    let mut worst = (0.0, "");
    let (mut num_values, mut num_unsure) = (0, 0);
    for (name, actual) in now.iter().filter(|(name, _)| !noise.contains(name)) {
        let mut expected = expected.f32(name).values;
        num_values += expected.len();
        let unsure = unsure.get(name).map_or(&[][..], Vec::as_slice);
        for ((expected, &actual), _) in
            expected.iter_mut().zip(actual).zip(unsure).filter(|(_, unsure)| **unsure)
        {
            *expected = actual;
            num_unsure += 1;
        }
        assert_close(name, actual, &expected, FORWARD);
        let error = relative_error(name, actual, &expected);
        if error > worst.0 {
            worst = (error, name);
        }
    }
    println!("worst value after {} steps {:.1e} off: {}", steps.len(), worst.0, worst.1);
    println!("{num_unsure} of {num_values} values had a gradient that is no more than rounding");
    assert!(num_unsure * 100 < num_values, "too many values are left out: {num_unsure} of {num_values}");
}

/// Notes which values had a gradient that two implementations need not agree on, though it is not zero.
///
/// Adam's first step is `lr * g / (|g| + 1e-8)`: of a gradient of a millionth of its tensor's largest, which is all
/// rounding, it makes a step of nearly full length.
fn note_unsure(unsure: &mut Vec<bool>, gradient: &[f32]) {
    let largest = gradient.iter().fold(0.0_f32, |largest, slope| largest.max(slope.abs()));
    unsure.resize(gradient.len(), false);
    for (unsure, slope) in unsure.iter_mut().zip(gradient) {
        *unsure |= *slope != 0.0 && f64::from(slope.abs()) < FORWARD * f64::from(largest);
    }
}

/// One batch of several.
fn entry(all: &Array<f32>, index: usize) -> Array<f32> {
    let shape = all.shape[1..].to_vec();
    let count = shape.iter().product();
    Array { shape, values: all.values[index * count..][..count].to_vec() }
}

/// Rates, weight decays and numbers of tensors of mmengine's groups.
fn assert_groups(groups: &ParamGroups, lr: f64, expected: &Value) {
    let describe =
        |lr: f64, weight_decay: f64, count: usize| (format!("{lr:.9}"), weight_decay.to_string(), count);
    let mut ours: Vec<_> = groups
        .rows()
        .iter()
        .map(|row| describe(lr * row.lr_scale, row.weight_decay, row.num_tensors))
        .collect();
    let expected = expected.as_array().expect("groups");
    let mut theirs: Vec<_> = expected
        .iter()
        .map(|group| describe(float(&group["lr"]), float(&group["wd"]), number(&group["n"])))
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

fn assert_norms(
    what: &str,
    now: &BTreeMap<String, Vec<f32>>,
    expected: &Value,
    left_out: &[String],
    tolerance: f64,
) {
    for (name, expected) in expected.as_object().expect("norms") {
        if left_out.contains(name) {
            continue;
        }
        let (actual, expected) = (norm(&now[name]), float(expected));
        let error = (actual - expected).abs() / expected;
        assert!(error <= tolerance, "{what}: {name}: norm {actual} is not {expected}");
    }
}
