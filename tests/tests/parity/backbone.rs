//! Backbones and classifiers with random weights under every naming: outputs and gradients of the reference.

use std::path::PathBuf;

use burn::prelude::*;
use cvx_backbone::{Classifier, ClassifierConfig, ConvNextConfig, FeatureMaps};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors::{gradients_by_path, norm, tensor, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, assert_close, relative_error};
use cvx_tools::weights::model::{Alone, Architecture, Model, Part};
use cvx_tools::weights::{self, Published, Strictness};

fn checkpoints(golden: &Golden) -> Vec<PathBuf> {
    let meta = golden.json("meta.json");
    let names = meta["checkpoints"].as_array().expect("a list").iter();
    names.map(|name| golden.file(name.as_str().expect("a name"))).collect()
}

/// The inputs a golden has, and what its expected tensors begin with for each: `even.` for `input_even.npy`.
fn inputs(golden: &Golden) -> Vec<(&'static str, Array<f32>)> {
    let files = [("input.npy", ""), ("input_even.npy", "even."), ("input_odd.npy", "odd.")];
    let found = files.into_iter().filter(|(file, _)| golden.file(file).is_file());
    found.map(|(file, prefix)| (prefix, golden.npy(file))).collect()
}

/// The network that a checkpoint is of, with its values; nothing may be missing or left over.
pub(crate) fn classifier(file: &std::path::Path, device: &Device) -> Classifier {
    let published = Published::open(file, None).unwrap_or_else(|e| panic!("{e:?}"));
    let (model, _) = Model::open(file, None, Part::Whole).unwrap_or_else(|e| panic!("{e:?}"));
    let Architecture::Classifier(architecture) = model.architecture else {
        panic!("{}: {:?}", file.display(), model.architecture)
    };
    let config = ClassifierConfig::new(architecture.model.config(), architecture.classifier.num_classes);
    let loaded = weights::load(&published, config.init(device), Strictness::Complete);
    loaded.unwrap_or_else(|e| panic!("{e:?}")).0
}

pub(crate) fn backbone(file: &std::path::Path, output_norms: bool, device: &Device) -> Alone {
    let published = Published::open(file, None).unwrap_or_else(|e| panic!("{e:?}"));
    let (model, _) = Model::open(file, None, Part::Backbone).unwrap_or_else(|e| panic!("{e:?}"));
    let config: ConvNextConfig = model.architecture.model().config().with_output_norms(output_norms);
    let alone = Alone { backbone: config.init(device) };
    weights::load(&published, alone, Strictness::Complete).unwrap_or_else(|e| panic!("{e:?}")).0
}

/// Compares those maps of which there is an expected one.
#[track_caller]
pub(crate) fn assert_maps(what: &str, maps: FeatureMaps, expected: impl Fn(usize) -> Option<Array<f32>>) {
    let mut compared = 0;
    for (index, map) in [maps.c2, maps.c3, maps.c4, maps.c5].into_iter().enumerate() {
        let Some(expected) = expected(index) else { continue };
        assert_eq!(map.dims().to_vec(), expected.shape, "{what} {index}");
        assert_close(&format!("{what} {index}"), &values(map), &expected.values, FORWARD);
        compared += 1;
    }
    assert!(compared > 0, "{what}: nothing to compare with");
}

#[test]
fn dense_backbones_return_the_references_maps() {
    for golden in Golden::of_kind("backbone") {
        let expected = golden.tensors("expected.safetensors");
        for checkpoint in checkpoints(&golden) {
            for device in [cvx_tests::device(), cvx_tests::device().autodiff()] {
                let model = backbone(&checkpoint, true, &device);
                for (prefix, images) in inputs(&golden) {
                    let what = format!("{} {prefix}", checkpoint.display());
                    let maps = model.backbone.forward(tensor(images, &device));
                    assert_maps(&what, maps, |stage| expected.get(&format!("{prefix}out{stage}")));
                }
            }
        }
    }
}

#[test]
fn classifiers_have_the_references_stages_features_and_logits_from_every_naming() {
    for golden in Golden::of_kind("classifier") {
        let expected = golden.tensors("expected.safetensors");
        for checkpoint in checkpoints(&golden) {
            let device = cvx_tests::device();
            let model = classifier(&checkpoint, &device);
            for (prefix, images) in inputs(&golden) {
                let what = format!("{} {prefix}", checkpoint.display());
                let images: Tensor<4> = tensor(images, &device);
                let maps = model.backbone.forward(images.clone());
                assert_maps(&what, maps, |stage| expected.get(&format!("{prefix}stage{stage}")));
                let features = expected.f32(&format!("{prefix}features")).values;
                assert_close(&what, &values(model.features(images.clone())), &features, FORWARD);
                let logits = expected.f32(&format!("{prefix}logits")).values;
                assert_close(&what, &values(model.forward(images)), &logits, FORWARD);
            }
        }
    }
}

/// `sum(logits * weight)` differentiated, as the goldens' `loss_for_grads` says.
#[test]
fn gradients_of_a_classifier_are_the_references() {
    let device = cvx_tests::device().autodiff();
    let goldens = Golden::of_kind("classifier");
    let with_gradients = goldens.iter().filter(|golden| golden.file("grad_norms.json").is_file());
    for golden in with_gradients {
        let expected = golden.tensors("expected.safetensors");
        let file = golden.file("official.pth");
        let published = Published::open(&file, None).expect("a checkpoint");
        let model = classifier(&file, &device);
        let images: Tensor<4> = tensor(golden.npy("input_even.npy"), &device).require_grad();
        let upstream: Tensor<2> = tensor(expected.f32("grad.logit_weight"), &device);
        let gradients = (model.forward(images.clone()) * upstream).sum().backward();
        let first = values(images.grad(&gradients).expect("a gradient").narrow(0, 0, 1));
        assert_close("grad.input.0", &first, &expected.f32("grad.input.0").values, GRADIENT);

        let norms = golden.json("grad_norms.json");
        let by_path = gradients_by_path(&model, gradients);
        assert_eq!(by_path.len(), norms.as_object().expect("norms").len(), "every parameter has a gradient");
        for (path, gradient) in by_path {
            let name = published.name(&path).expect("an official name");
            let gradient = crate::as_theirs(published.layout(&path), gradient);
            if let Some(expected) = expected.get(&format!("grad.param.{name}")) {
                assert_close(&name, &gradient, &expected.values, GRADIENT);
            }
            let reference = norms[&name].as_f64().unwrap_or_else(|| panic!("no norm of {name}"));
            let error = relative_error(&name, &[norm(&gradient) as f32], &[reference as f32]);
            assert!(error <= GRADIENT, "{name}: norm {}, expected {reference}", norm(&gradient));
        }
    }
}
