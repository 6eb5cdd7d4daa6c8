//! That the goldens would notice: one thing done wrong, and the numbers leave the tolerance.

use std::fs;
use std::path::Path;

use burn::prelude::*;
use cvx_backbone::Classifier;
use cvx_tests::golden::{Golden, Tensors};
use cvx_tests::tensors::{gradient, tensor, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, relative_error};
use cvx_tools::train::params;
use cvx_tools::weights::{self, Published, Strictness};
use serde_json::Value;

use crate::backbone::classifier;

/// Of all norms and of GRN.
const EPSILON: f32 = 1e-6;

/// The classifiers of V2 under all names.
fn goldens() -> Vec<Golden> {
    let goldens = Golden::of_kind("classifier").into_iter();
    let found: Vec<Golden> = goldens
        .filter(|golden| {
            golden.json("meta.json")["version"] == 2 && golden.file("timm.safetensors").is_file()
        })
        .collect();
    assert!(!found.is_empty());
    found
}

/// A safetensors file whose header was changed.
fn with_header(
    golden: &Golden,
    folder: &Path,
    change: impl Fn(&mut serde_json::Map<String, Value>),
) -> Published {
    let bytes = fs::read(golden.file("timm.safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    change(header.as_object_mut().unwrap());
    let header = serde_json::to_vec(&header).unwrap();
    let path = folder.join("model.safetensors");
    fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()).unwrap();
    Published::open(&path, None).unwrap_or_else(|e| panic!("{e:?}"))
}

fn fresh(golden: &Golden) -> Classifier {
    classifier(&golden.file("timm.safetensors"), &cvx_tests::device())
}

#[test]
fn one_name_flipped_is_listed_as_missing_and_as_unexpected() {
    let folder = tempfile::tempdir().unwrap();
    for golden in goldens() {
        for name in ["stages.0.blocks.0.conv_dw.weight", "head.fc.bias", "stages.2.blocks.1.mlp.grn.bias"] {
            let flipped = name.replace("bias", "bais").replace("weight", "wieght");
            let published = with_header(&golden, folder.path(), |header| {
                let entry = header.remove(name).unwrap();
                header.insert(flipped.clone(), entry);
            });
            let Err(error) = weights::load(&published, fresh(&golden), Strictness::Strict) else {
                panic!("{flipped} was loaded")
            };
            let text = error.to_string();
            for expected in [format!("missing: `{name}`"), format!("unexpected: `{flipped}`")] {
                assert!(text.contains(&expected), "{expected} is not in\n{text}");
            }
            assert!(text.contains("`strict = false`"), "{text}");

            let (_, remarks) = weights::load(&published, fresh(&golden), Strictness::Lenient).unwrap();
            assert!(remarks.iter().any(|remark| remark.contains(&flipped)), "{remarks:?}");
        }
    }
}

#[test]
fn a_tensor_of_another_shape_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    for golden in goldens() {
        let name = "stages.0.blocks.0.mlp.fc1.weight";
        let published = with_header(&golden, folder.path(), |header| {
            let shape = header[name]["shape"].as_array().unwrap();
            header[name]["shape"] = shape.iter().rev().cloned().collect();
        });
        let Err(error) = weights::load(&published, fresh(&golden), Strictness::Strict) else {
            panic!("a transposed weight was loaded")
        };
        assert!(error.to_string().contains(&format!("of another shape: `{name}` is ")), "{error}");
    }
}

/// How far the logits are off when the values of one parameter are changed.
fn error_with(golden: &Golden, path: &str, change: impl Fn(Vec<f32>) -> Vec<f32>) -> f64 {
    let device = cvx_tests::device();
    let mut found = false;
    let mut all = std::collections::BTreeMap::new();
    let model = fresh(golden);
    params::read_each(&model, &mut |path, data| {
        all.insert(path.to_owned(), data);
        Ok(())
    })
    .unwrap();
    let model = params::replace_each(model, &mut |at, shape| {
        Ok((at == path).then(|| {
            found = true;
            let values = all[at].clone().try_into_vec::<f32>().unwrap();
            TensorData::new(change(values), shape.to_vec())
        }))
    })
    .unwrap();
    assert!(found, "no parameter {path}");
    let logits = model.forward(tensor(golden.npy("input_even.npy"), &device));
    let expected = golden.tensors("expected.safetensors").f32("even.logits").values;
    relative_error(path, &values(logits), &expected)
}

#[test]
fn one_parameter_done_wrong_moves_the_logits_out_of_the_tolerance() {
    for golden in goldens() {
        let path = "backbone.stages.2.1.dwconv.weight";
        assert!(error_with(&golden, path, |values| values) <= FORWARD);

        let transposed = |values: Vec<f32>| -> Vec<f32> {
            let kernel =
                |kernel: &[f32]| -> Vec<f32> { (0..49).map(|at| kernel[at % 7 * 7 + at / 7]).collect() };
            values.chunks_exact(49).flat_map(kernel).collect()
        };
        let zeros = |values: Vec<f32>| vec![0.0; values.len()];
        let cases: [(&str, f64); 4] = [
            ("one kernel transposed", error_with(&golden, path, transposed)),
            ("GRN's beta dropped", error_with(&golden, "backbone.stages.1.0.grn.beta", zeros)),
            ("GRN's gamma dropped", error_with(&golden, "backbone.stages.3.0.grn.gamma", zeros)),
            ("one bias dropped", error_with(&golden, "backbone.downsample_layers.2.1.bias", zeros)),
        ];
        for (what, error) in cases {
            assert!(error > 10.0 * FORWARD, "{what}: nobody would notice, the error is {error:.1e}");
        }
    }
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` over channels.
fn layer_norm(file: &Tensors, epsilon: f32) -> Vec<f32> {
    let device = cvx_tests::device();
    let x: Tensor<4> = tensor(file.f32("in.ln_x"), &device);
    let weight: Tensor<1> = tensor(file.f32("in.weight"), &device);
    let bias: Tensor<1> = tensor(file.f32("in.bias"), &device);
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().powi_scalar(2).mean_dim(1);
    let channels = |row: Tensor<1>| {
        let [channels] = row.dims();
        row.reshape([1, channels, 1, 1])
    };
    values(centred / (variance + epsilon).sqrt() * channels(weight) + channels(bias))
}

/// GRN with a mean, or with a sum, over the channels' norms: its output, and the gradient of its input, where alone
/// epsilon shows.
fn response_norm(file: &Tensors, epsilon: f32, is_mean: bool) -> [Vec<f32>; 2] {
    let device = cvx_tests::device().autodiff();
    let x: Tensor<4> = tensor(file.f32("in.grn_x_nhwc"), &device).require_grad();
    let weight: Tensor<1> = tensor(file.f32("in.weight"), &device);
    let bias: Tensor<1> = tensor(file.f32("in.bias"), &device);
    // A dead channel has a norm of zero, whose slope is infinite without this.
    let norms = (x.clone().powi_scalar(2).sum_dims(&[1, 2]) + f32::MIN_POSITIVE).sqrt();
    let whole = if is_mean { norms.clone().mean_dim(3) } else { norms.clone().sum_dim(3) };
    let scaled = x.clone() * (norms / (whole + epsilon));
    let y = scaled * weight.unsqueeze() + bias.unsqueeze() + x.clone();
    let upstream: Tensor<4> = tensor(file.f32("in.grn_grad"), &device);
    let gradients = (y.clone() * upstream).sum().backward();
    [values(y), gradient(&x, &gradients)]
}

#[test]
fn another_epsilon_or_a_sum_for_a_mean_leaves_the_tolerance() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("norms.safetensors");
        let norm = file.f32("out.ln2d_eps1e-6").values;
        let error = |epsilon| relative_error("layer norm", &layer_norm(&file, epsilon), &norm);
        let (right, wrong) = (error(EPSILON), error(10.0 * EPSILON));
        assert!(right <= FORWARD && wrong > 10.0 * FORWARD, "layer norm's epsilon: {right:.1e} {wrong:.1e}");

        let expected = ["out.grn", "out.grn_grad_x"].map(|name| file.f32(name).values);
        let errors = |epsilon, is_mean| {
            let [output, slope] = response_norm(&file, epsilon, is_mean);
            [relative_error("GRN", &output, &expected[0]), relative_error("slope", &slope, &expected[1])]
        };
        let [output, slope] = errors(EPSILON, true);
        assert!(output <= FORWARD && slope <= GRADIENT, "{output:.1e} {slope:.1e}");
        let [_, slope] = errors(10.0 * EPSILON, true);
        assert!(slope > 10.0 * GRADIENT, "GRN's epsilon: {slope:.1e}");
        let [output, _] = errors(EPSILON, false);
        assert!(output > 10.0 * FORWARD, "a sum in GRN: {output:.1e}");
    }
}
