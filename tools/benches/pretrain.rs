//! Seconds and memory of a pretraining step: `cargo bench --workspace --bench pretrain -- [VARIANT] [MASKING] [RUNS]`.
//!
//! A step draws a mask, computes the loss of a batch of 16 random images of 224 x 224, goes backward and updates by AdamW.
//! MASKING is `sparse` (visible positions only), `dense` (all positions, hidden ones set to zero, plain tensor
//! operations) or `input-only` (all positions, in the same fused operations as `sparse`). One case a process, so that
//! the peak of memory is the case's own; it is read where Linux tells it.

use std::sync::Arc;
use std::time::Instant;

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_backbone::{ConvNextConfig, FcmaeConfig, Mask, Masking, Variant};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params;
use cvx_tools::{exit, memory};

const BATCH: usize = 16;
const WARM_UP: usize = 3;

fn main() {
    memory::keep_freed();
    exit::work_in_this_thread();
    let arguments: Vec<String> = std::env::args().collect();
    let variant = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(Variant::V2Atto);
    let runs = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let maskings =
        [("sparse", Masking::Sparse), ("dense", Masking::Dense), ("input-only", Masking::InputOnly)];
    let named = maskings.into_iter().find(|(name, _)| arguments.iter().any(|argument| argument == name));
    let (name, masking) = named.unwrap_or(maskings[0]);

    let device = Device::flex().autodiff();
    let config = FcmaeConfig::new(ConvNextConfig::of(variant)).with_masking(masking);
    let mut model = config.init(&device);
    let decay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisOrBiasButGrn };
    let groups = ParamGroups::new(&params::list(&model), LayerDecay::None, decay).expect("groups");
    let mut optimizer = AdamW::new(AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8 }, groups);
    let images = Tensor::<4>::random([BATCH, 3, 224, 224], Distribution::Normal(0.0, 1.0), &device);
    let mut seconds = Vec::new();
    for step in 0..WARM_UP + runs {
        let start = Instant::now();
        let mask = Arc::new(Mask::draw(BATCH, [7, 7], 0.6, step as u64));
        let loss = model.loss(images.clone(), &mask);
        let gradients = ParamGradients::collect(&model, loss.backward());
        model = optimizer.step(model, gradients, 1e-4, 1.0);
        seconds.push(start.elapsed().as_secs_f64());
    }
    let mut seconds = seconds.split_off(WARM_UP);
    seconds.sort_by(f64::total_cmp);
    println!(
        "{variant} {name}, {BATCH} images: median {:.4} s, minimum {:.4} s, peak {} MB",
        seconds[seconds.len() / 2],
        seconds[0],
        memory::peak_resident().map_or("?".to_owned(), |peak| (peak / 1_000_000).to_string())
    );
}
