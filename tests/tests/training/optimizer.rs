//! What layer decay refuses and weight decay spares; AdamW against figures computed by hand.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use cvx_tests::tolerance::{ACCUMULATION, ONE_OPERATION, assert_close};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params::{self, ParamInfo};
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::{Trainer, TrainerConfig};

use crate::toy::{MMDET_DECAY, config, generator, parts};

const OFFICIAL_DECAY: WeightDecay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisBiasGammaBeta };

#[test]
fn a_depth_that_num_layers_cannot_count_is_refused() {
    let path = |block| format!("backbone.stages.2.{block}.dwconv.weight");
    let blocks = (0..27).map(|block| ParamInfo { path: path(block), shape: vec![8, 1, 7, 7] });
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

/// Two layers between which nothing is random and nothing is a matter of the batch.
#[derive(Module, Debug)]
struct Plain {
    first: Linear,
    second: Linear,
}

impl Plain {
    fn loss(&self, examples: std::ops::Range<usize>) -> Tensor<1> {
        let (count, device) = (examples.len(), self.first.weight.device());
        let values =
            examples.flat_map(|example| (0..6).map(move |input| ((example * 6 + input) as f32 * 0.37).sin()));
        let inputs = Tensor::<2>::from_data(TensorData::new(values.collect(), [count, 6]), &device);
        let error = self.second.forward(self.first.forward(inputs.clone()).tanh()) - inputs.sum_dim(1);
        error.square().mean()
    }
}

#[test]
fn four_parts_of_a_batch_update_as_the_whole_batch_does() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let trained = |parts_of_batch: usize| {
        let device = Device::flex().autodiff();
        device.seed(3);
        let model = Plain {
            first: LinearConfig::new(6, 5).init(&device),
            second: LinearConfig::new(5, 1).init(&device),
        };
        let run = folder.path().join(parts_of_batch.to_string());
        // Clipping, too, is of the whole batch's gradient.
        let config = TrainerConfig { clip_norm: Some(0.5), ..config(parts_of_batch) };
        let parts = parts(&run, Start::Fresh, config, &model, &[]).expect("parts");
        let mut trainer = Trainer::new(model, parts).expect("a run");
        for step in 0..5 {
            let size = 8 / parts_of_batch;
            for part in 0..parts_of_batch {
                trainer.begin_step();
                let begin = step * 8 + part * size;
                let loss = trainer.model().loss(begin..begin + size);
                trainer.step(vec![("square", loss)], size).expect("a step");
            }
        }
        let mut found = Vec::new();
        params::read_each(trainer.model(), &mut |_, data| {
            found.extend(data.as_slice::<f32>().expect("f32"));
            Ok(())
        })
        .expect("nothing fails");
        assert_eq!(trainer.position().step, 5);
        found
    };
    let (whole, parts) = (trained(1), trained(4));
    assert_eq!(whole.len(), 41);
    assert_close("weights after five updates", &parts, &whole, ACCUMULATION);
}

trait ScalarF32 {
    fn into_scalar_f32(self) -> f32;
}

impl<const D: usize> ScalarF32 for Tensor<D> {
    fn into_scalar_f32(self) -> f32 {
        self.into_data().as_slice::<f32>().expect("f32")[0]
    }
}
