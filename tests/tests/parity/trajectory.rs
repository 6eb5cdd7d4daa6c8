//! Updates of a classifier, against the same ones in PyTorch. Optimizer, layer decay, weight decay, backbone and its
//! gradients must all be right for this to pass.

use std::path::Path;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use cvx_backbone::Classifier;
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tolerance::{self, assert_close};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::{NormSquared, ParamGradients};
use cvx_tools::train::ema::{Ema, EmaConfig};
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params;
use cvx_tools::weights::Published;

use crate::backbone::classifier;

#[test]
fn a_classifier_trains_as_in_pytorch() {
    Golden::of_kind("train_cls").iter().for_each(assert_trains_as_in_pytorch);
}

fn assert_trains_as_in_pytorch(golden: &Golden) {
    let meta = golden.json("meta.json");
    let options = &meta["optimizer"];
    let trajectory = golden.json("trajectory.json");
    let device = cvx_tests::device().autodiff();
    let initial = golden.file("initial.pth");
    let mut model = classifier(&initial, &device);
    let llrd: Vec<&str> = options["llrd"].as_str().expect("layer decay").split(' ').collect();
    let rate = llrd[2].parse().expect("a rate");
    let decay = match llrd[1] {
        "single" => LayerDecay::Single { rate },
        "group" => LayerDecay::Group { rate },
        other => panic!("{other}"),
    };
    let weight_decay =
        WeightDecay { value: number(&options["wd"]), exempt: DecayExempt::OneAxisBiasGammaBeta };
    let groups = ParamGroups::new(&params::list(&model), decay, weight_decay).expect("groups");
    let [beta1, beta2] = [0, 1].map(|index| number(&options["betas"][index]));
    let mut optimizer = AdamW::new(AdamWConfig { beta1, beta2, eps: number(&options["eps"]) }, groups);
    let loss_name = meta["loss"].as_str().expect("a loss");
    let smoothing =
        loss_name.strip_prefix("CrossEntropy label_smoothing ").expect("a smoothed cross entropy");
    let smoothing = smoothing.parse().expect("a number");
    let images = golden.npy("input_images.npy");
    let labels = golden.npy("input_labels.npy");
    let batch = images.shape[1];
    let step_values = images.values.len() / images.shape[0];
    let (decay, mut averages) = (number(&meta["ema_decay"]), 0);
    let mut ema = Ema::new(EmaConfig { decay, warmup: false }, &model);
    for (step, expected) in trajectory["f32"].as_array().expect("steps").iter().enumerate() {
        let shape = &images.shape[1..];
        let values = images.values[step * step_values..][..step_values].to_vec();
        let input = Tensor::from_data(TensorData::new(values, shape.to_vec()), &device);
        let labels = &labels.values[step * batch..][..batch];
        let loss = smoothed_cross_entropy(model.forward(input), labels, smoothing);
        let loss_value = scalar(&loss);
        let gradients = ParamGradients::collect(&model, loss.backward());
        let norm_squared = match gradients.norm_squared() {
            NormSquared::Host(value) => value,
            NormSquared::Device(value) => scalar(&value),
        };
        assert_relative("loss", step, loss_value, number(&expected["loss"]), tolerance::LOSS);
        let norm = norm_squared.sqrt();
        assert_relative("norm", step, norm, number(&expected["total_grad_norm"]), tolerance::GRADIENT);
        model = optimizer.step(model, gradients, number(&expected["lr"]), 1.0);
        ema.follow(&model, step);
        if let Some(norms) = expected.get("ema_norms") {
            assert_norms(&ema.averaged(model.clone()), norms, &initial);
            averages += 1;
        }
    }
    assert_eq!(averages, 1, "{}", golden.file("meta.json").display());
    let expected = golden.tensors("final.safetensors");
    let published = Published::open(&initial, None).expect("a checkpoint");
    params::read_each(&model, &mut |path, data| {
        let name = published.name(path).expect("an official name");
        let shape = data.shape().to_vec();
        let ours = Array { shape, values: data.try_into_vec().expect("f32") };
        let ours = crate::as_theirs(published.layout(path), ours);
        assert_close(&name, &ours, &expected.f32(&name).values, tolerance::FORWARD);
        Ok(())
    })
    .expect("nothing fails");
}

/// The norm of every parameter of an average of weights.
fn assert_norms(average: &Classifier, expected: &serde_json::Value, initial: &Path) {
    let published = Published::open(initial, None).expect("a checkpoint");
    let mut compared = 0;
    params::read_each(average, &mut |path, data| {
        let name = published.name(path).expect("an official name");
        let squares = data.as_slice::<f32>().expect("f32").iter().map(|&value| f64::from(value).powi(2));
        let (norm, expected) = (squares.sum::<f64>().sqrt(), number(&expected[&name]));
        assert!(
            (norm - expected).abs() <= tolerance::FORWARD * expected,
            "{name}: {norm}, expected {expected}"
        );
        compared += 1;
        Ok(())
    })
    .expect("nothing fails");
    assert_eq!(Some(compared), expected.as_object().map(serde_json::Map::len));
}

fn smoothed_cross_entropy(logits: Tensor<2>, labels: &[f32], smoothing: f32) -> Tensor<1> {
    let [batch, classes] = logits.dims();
    let mut targets = vec![smoothing / classes as f32; batch * classes];
    for (row, &label) in labels.iter().enumerate() {
        targets[row * classes + label as usize] += 1.0 - smoothing;
    }
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [batch, classes]), &logits.device());
    (log_softmax(logits, 1) * targets).sum().neg() / batch as f32
}

fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(tensor.to_data().as_slice::<f32>().expect("f32")[0])
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().expect("a number")
}

#[track_caller]
fn assert_relative(what: &str, step: usize, value: f64, expected: f64, tolerance: f64) {
    let error = (value / expected - 1.0).abs();
    assert!(error <= tolerance, "step {step}, {what}: {value}, expected {expected}");
}
