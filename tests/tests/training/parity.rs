//! Updates of a classifier, against the same ones in PyTorch.
//!
//! Every folder of kind `train_cls` under `tests/golden` and under `$CVX_GOLDEN` is tested. Optimizer, layer decay, weight decay, backbone and its gradients must all be right for this to pass.

use std::path::PathBuf;

use burn::module::{Initializer, Module, Param};
use burn::nn::Linear;
use burn::store::{ModuleStore, PytorchStore, bridge};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use cvx_backbone::{BlockNorm, ChannelNorm, ConvNext, ConvNextConfig};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::{self, assert_close};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::{NormSquared, ParamGradients};
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params;

#[derive(Module, Debug)]
struct Classifier {
    backbone: ConvNext,
    norm: ChannelNorm,
    head: Linear,
}

impl Classifier {
    fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let c5 = self.backbone.forward(images).c5;
        let [batch, channels, _, _] = c5.dims();
        let pooled = c5.mean_dim(3).mean_dim(2).reshape([batch, 1, 1, channels]);
        self.head.forward(self.norm.forward(pooled).reshape([batch, channels]))
    }
}

#[test]
fn a_classifier_trains_as_in_pytorch() {
    let mut folders = vec![cvx_tests::project_root().join("tests/golden")];
    folders.extend(std::env::var_os("CVX_GOLDEN").map(PathBuf::from));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let goldens = entries
        .map(|entry| Golden { folder: entry.expect("an entry").path() })
        .filter(|golden| golden.file("meta.json").is_file())
        .filter(|golden| golden.json("meta.json")["kind"] == "train_cls");
    let num_tested = goldens.map(|golden| assert_trains_as_in_pytorch(&golden)).count();
    assert!(num_tested > 0, "no folder of kind train_cls under {folders:?}");
}

fn assert_trains_as_in_pytorch(golden: &Golden) {
    println!("{}", golden.folder.display());
    let meta = golden.json("meta.json");
    let options = &meta["optimizer"];
    let trajectory = golden.json("trajectory.json");
    let device = Device::flex().autodiff();
    let mut model = initial(golden, &meta, &device);
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
    for (step, expected) in trajectory["f32"].as_array().expect("steps").iter().enumerate() {
        let shape = &images.shape[1..];
        let values = images.values[step * step_values..][..step_values].to_vec();
        let input = Tensor::from_data(TensorData::new(values, shape.to_vec()), &device);
        let labels = &labels.values[step * batch..][..batch];
        let loss = smoothed_cross_entropy(model.logits(input), labels, smoothing);
        let loss_value = scalar(&loss);
        let gradients = ParamGradients::collect(&model, loss.backward());
        let NormSquared::Host(norm_squared) = gradients.norm_squared() else {
            panic!("Flex is the CPU");
        };
        assert_relative("loss", step, loss_value, number(&expected["loss"]), tolerance::LOSS);
        let norm = norm_squared.sqrt();
        assert_relative("norm", step, norm, number(&expected["total_grad_norm"]), tolerance::GRADIENT);
        model = optimizer.step(model, gradients, number(&expected["lr"]), 1.0);
    }
    let expected = golden.tensors("final.safetensors");
    params::read_each(&model, &mut |path, data| {
        let name = path.trim_start_matches("backbone.");
        let values = data.as_slice::<f32>().expect("f32");
        assert_close(
            name,
            values,
            &as_ours(name, expected.f32(name).values, data.shape()),
            tolerance::FORWARD,
        );
        Ok(())
    })
    .expect("nothing fails");
}

/// The classifier with the checkpoint's values.
fn initial(golden: &Golden, meta: &serde_json::Value, device: &Device) -> Classifier {
    let four = |key: &str| {
        let list: Vec<usize> = serde_json::from_value(meta["arch"][key].clone()).expect("four sizes");
        <[usize; 4]>::try_from(list).expect("four sizes")
    };
    let (depths, dims) = (four("depths"), four("dims"));
    let norm = if meta["version"] == 2 { BlockNorm::Grn } else { BlockNorm::LayerScale { init: 1.0 } };
    let config = ConvNextConfig::new(depths, dims, norm).with_output_norms(false);
    let classes = meta["num_classes"].as_u64().expect("a number") as usize;
    let model = Classifier {
        backbone: config.init(device),
        norm: ChannelNorm::init(dims[3], device),
        head: Linear {
            weight: Initializer::Zeros.init([dims[3], classes], device),
            bias: Some(Param::from_tensor(Tensor::zeros([classes], device)).set_require_grad(true)),
        },
    };
    let path = golden.file("initial.pth");
    let mut store = PytorchStore::from_file(&path).with_top_level_key("model");
    let tensors = store.get_all_tensors().expect("a checkpoint").clone();
    params::replace_each(model, &mut |path, shape| {
        let name = path.trim_start_matches("backbone.");
        let tensor = tensors.get(name).unwrap_or_else(|| panic!("{name} is not in the checkpoint"));
        let values = bridge::to_data(tensor)?.try_into_vec::<f32>().expect("f32");
        Ok(TensorData::new(as_ours(name, values, &shape.to_vec().into()), shape.to_vec()))
    })
    .expect("every parameter")
}

/// PyTorch's linear weights are `[outputs, inputs]`, ours `[inputs, outputs]`.
fn as_ours(name: &str, values: Vec<f32>, shape: &burn::tensor::Shape) -> Vec<f32> {
    let is_linear = ["pwconv1.weight", "pwconv2.weight", "head.weight"].iter().any(|end| name.ends_with(end));
    if !is_linear {
        return values;
    }
    let [inputs, outputs] = [shape[0], shape[1]];
    let transposed = (0..inputs).flat_map(|input| (0..outputs).map(move |output| output * inputs + input));
    transposed.map(|index| values[index]).collect()
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
