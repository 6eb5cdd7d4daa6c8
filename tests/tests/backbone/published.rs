//! Backbones with published names and random weights: outputs and gradients of the reference.
//!
//! Every folder of kind `backbone` or `classifier` under `tests/golden` and under `$CVX_GOLDEN` is
//! tested, with every checkpoint it holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore, bridge};
use burn::tensor::{Gradients, TensorData};
use cvx_backbone::{BlockNorm, ConvNext, ConvNextConfig, FeatureMaps, ops, published_name};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tolerance::{FORWARD, GRADIENT, assert_close, relative_error};
use serde_json::Value;

fn goldens(kind: &str) -> Vec<Golden> {
    let mut folders = vec![cvx_tests::project_root().join("tests/golden")];
    folders.extend(std::env::var_os("CVX_GOLDEN").map(PathBuf::from));
    let mut goldens: Vec<Golden> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| Golden { folder: entry.unwrap().path() })
        .filter(|golden| golden.file("meta.json").is_file())
        .filter(|golden| golden.json("meta.json")["kind"] == kind)
        .collect();
    goldens.sort_by(|a, b| a.folder.cmp(&b.folder));
    assert!(!goldens.is_empty(), "no folder of kind {kind} under {folders:?}");
    goldens
}

fn checkpoints(golden: &Golden) -> Vec<PathBuf> {
    let meta = golden.json("meta.json");
    let names = meta["checkpoints"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let files = names.map(|name| golden.file(name));
    files.map(|file| if file.is_dir() { file.join("model.safetensors") } else { file }).collect()
}

/// The tensors of a checkpoint as they are named and laid out in it.
fn read(path: &Path) -> BTreeMap<String, TensorData> {
    fn all(store: &mut impl ModuleStore) -> BTreeMap<String, TensorData> {
        let tensors = store.get_all_tensors().unwrap();
        tensors.iter().map(|(name, tensor)| (name.clone(), bridge::to_data(tensor).unwrap())).collect()
    }
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return all(&mut SafetensorsStore::from_file(path));
    }
    for key in ["model", "state_dict"] {
        let mut store = PytorchStore::from_file(path).with_top_level_key(key).map_indices_contiguous(false);
        if store.get_all_tensors().is_ok_and(|tensors| !tensors.is_empty()) {
            return all(&mut store);
        }
    }
    panic!("{}: neither `model` nor `state_dict`", path.display());
}

/// Puts a checkpoint's values into a model, by our names, whatever their singleton axes.
struct Loader {
    values: BTreeMap<String, TensorData>,
    path: Vec<String>,
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let data = self.values.remove(&path).unwrap_or_else(|| panic!("no {path}"));
        let values: Vec<f32> = data.convert::<f32>().try_into_vec().unwrap();
        param.map(|tensor| {
            let shape = tensor.dims();
            let loaded = if path.contains("pwconv") && D == 2 {
                let [inputs, outputs] = [shape[0], shape[1]];
                let data = TensorData::new(values, [outputs, inputs]);
                Tensor::<2>::from_data(data, &tensor.device()).transpose().reshape(shape)
            } else {
                Tensor::from_data(TensorData::new(values, shape), &tensor.device())
            };
            if tensor.device().is_autodiff() { loaded.require_grad() } else { loaded }
        })
    }
}

/// The model of a golden and what its checkpoint holds besides.
fn model(
    golden: &Golden,
    checkpoint: &Path,
    output_norms: bool,
    device: &Device,
) -> (ConvNext, BTreeMap<String, TensorData>) {
    let meta = golden.json("meta.json");
    let four = |value: &Value| std::array::from_fn(|index| value[index].as_u64().unwrap() as usize);
    let (depths, dims) = (four(&meta["arch"]["depths"]), four(&meta["arch"]["dims"]));
    let norm = match meta["version"].as_u64() {
        Some(2) => BlockNorm::Grn,
        _ => BlockNorm::LayerScale { init: 1e-6 },
    };
    let config = ConvNextConfig::new(depths, dims, norm).with_output_norms(output_norms);
    let is_norm = |name: &String| name.starts_with("norm") && !output_norms;
    let (ours, rest): (Vec<_>, Vec<_>) = read(checkpoint)
        .into_iter()
        .map(|(name, data)| (published_name(&name).filter(|name| !is_norm(name)), name, data))
        .partition(|(ours, ..)| ours.is_some());
    let values = ours.into_iter().map(|(ours, _, data)| (ours.unwrap(), data)).collect();
    let mut loader = Loader { values, path: Vec::new() };
    let model = config.init(device).map(&mut loader);
    assert!(loader.values.is_empty(), "not used: {:?}", loader.values.keys());
    (model, rest.into_iter().map(|(_, name, data)| (name, data)).collect())
}

fn tensor<const D: usize>(array: Array<f32>, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values, array.shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[track_caller]
fn assert_maps(what: &str, maps: FeatureMaps, expected: impl Fn(usize) -> Array<f32>) {
    for (index, map) in [maps.c2, maps.c3, maps.c4, maps.c5].into_iter().enumerate() {
        let expected = expected(index);
        assert_eq!(map.dims().to_vec(), expected.shape, "{what} {index}");
        assert_close(&format!("{what} {index}"), &values(map), &expected.values, FORWARD);
    }
}

#[test]
fn dense_backbones_return_the_references_maps() {
    for golden in goldens("backbone") {
        let expected = golden.tensors("expected.safetensors");
        for checkpoint in checkpoints(&golden) {
            for device in [Device::flex(), Device::flex().autodiff()] {
                let (model, rest) = model(&golden, &checkpoint, true, &device);
                assert!(rest.is_empty(), "{}: {:?}", checkpoint.display(), rest.keys());
                for size in ["even", "odd"] {
                    let images = tensor(golden.npy(&format!("input_{size}.npy")), &device);
                    let what = format!("{} {size}", checkpoint.display());
                    assert_maps(&what, model.forward(images), |stage| {
                        expected.f32(&format!("{size}.out{stage}"))
                    });
                }
            }
        }
    }
}

#[test]
fn classifiers_have_the_references_stages_from_every_naming() {
    for golden in goldens("classifier") {
        let expected = golden.tensors("expected.safetensors");
        for checkpoint in checkpoints(&golden) {
            let (model, _) = model(&golden, &checkpoint, false, &Device::flex());
            for size in ["even", "odd"] {
                let file = format!("input_{size}.npy");
                if !golden.file(&file).is_file() {
                    continue;
                }
                let images = tensor(golden.npy(&file), &Device::flex());
                let what = format!("{} {size}", checkpoint.display());
                assert_maps(&what, model.forward(images), |stage| {
                    expected.f32(&format!("{size}.stage{stage}"))
                });
            }
        }
    }
}

/// Collects the gradient of every parameter by its path.
struct Collector<'a> {
    gradients: &'a Gradients,
    found: BTreeMap<String, Vec<f32>>,
    path: Vec<String>,
}

impl ModuleVisitor for Collector<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let mut gradient = param.val().grad(self.gradients).unwrap();
        if path.contains("pwconv") && D == 2 {
            gradient = gradient.swap_dims(0, 1);
        }
        self.found.insert(path, values(gradient));
    }
}

/// `sum(logits * weight)` differentiated, as the goldens' `loss_for_grads` says.
#[test]
fn gradients_of_a_classifier_are_the_references() {
    let device = Device::flex().autodiff();
    for golden in goldens("classifier") {
        if !golden.file("grad_norms.json").is_file() {
            continue;
        }
        let expected = golden.tensors("expected.safetensors");
        let (model, head) = model(&golden, &golden.file("official.pth"), false, &device);
        let take = |name: &str| Tensor::<1>::from_data(head[name].clone(), &device);
        let images: Tensor<4> = tensor(golden.npy("input_even.npy"), &device).require_grad();
        let c5 = model.forward(images.clone()).c5;
        let [batch, channels, _, _] = c5.dims();
        let pooled = c5.mean_dims(&[2, 3]).reshape([batch, 1, 1, channels]);
        let features = ops::layer_norm(pooled, take("norm.weight"), take("norm.bias"));
        let features: Tensor<2> = features.reshape([batch, channels]);
        let weight = Tensor::<2>::from_data(head["head.weight"].clone(), &device);
        let logits = features.matmul(weight.transpose()) + take("head.bias").unsqueeze();
        let reference = expected.f32("even.logits").values;
        assert_close("logits", &values(logits.clone()), &reference, FORWARD);

        let upstream: Tensor<2> = tensor(expected.f32("grad.logit_weight"), &device);
        let gradients = (logits * upstream).sum().backward();
        let first = values(images.grad(&gradients).unwrap().narrow(0, 0, 1));
        assert_close("grad.input.0", &first, &expected.f32("grad.input.0").values, GRADIENT);

        let mut collector = Collector { gradients: &gradients, found: BTreeMap::new(), path: Vec::new() };
        model.visit(&mut collector);
        let norms = golden.json("grad_norms.json");
        for (path, gradient) in collector.found {
            let name = format!("grad.param.{path}");
            if expected.contains(&name) {
                assert_close(&name, &gradient, &expected.f32(&name).values, GRADIENT);
            }
            let norm = gradient.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            let reference = norms[&path].as_f64().unwrap_or_else(|| panic!("no norm of {path}"));
            let error = relative_error(&path, &[norm as f32], &[reference as f32]);
            assert!(error <= GRADIENT, "{path}: norm {norm}, expected {reference}");
        }
    }
}
