//! The masked encoder: sparse, masked-dense and dense computing agree where they should, and nothing leaks.

use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorData;
use cvx_backbone::ops::{self, BlockWeights, composed};
use cvx_backbone::{BlockNorm, ConvNextConfig, Fcmae, FcmaeConfig, Mask, Masking};
use cvx_tests::tensors::{gradient, gradients_by_path, values};
use cvx_tests::tolerance::{GRADIENT, ONE_OPERATION, assert_close};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::operations::{Draw, block_gradients};

/// The output of a block on the visible patches, and every gradient.
type Outcome = (Vec<f32>, Vec<(&'static str, Vec<f32>)>);

/// Runs one form of the block on the patches that `mask` leaves of a map.
fn run(
    mask: &Arc<Mask>,
    side: usize,
    channels: usize,
    is_grn: bool,
    form: impl Fn(Tensor<4>, BlockWeights, Option<Tensor<1>>) -> Tensor<4>,
) -> Outcome {
    let device = cvx_tests::device().autodiff();
    let mut draw = Draw::new(7, &device);
    let [rows, columns] = mask.grid();
    let shape = [mask.batch(), rows * side, columns * side, channels];
    let x = draw.tensor(shape, 1.0);
    let weights = draw.weights(channels, is_grn);
    let upstream = mask.visible_of(draw.tensor(shape, 1.0));
    let scales: Vec<f32> = (0..mask.batch()).map(|image| 0.5 + image as f32).collect();
    let scale = Tensor::from_data(&scales[..], &device);
    let y = form(x.clone(), weights.clone(), Some(scale));
    let gradients = (y.clone() * upstream).sum().backward();
    let mut found = vec![("x", gradient(&x, &gradients))];
    found.extend(block_gradients(&weights, &gradients));
    (values(y), found)
}

#[track_caller]
fn case(mask: Mask, side: usize, channels: usize, is_grn: bool) {
    let mask = Arc::new(mask);
    let run = |form: &dyn Fn(Tensor<4>, BlockWeights, Option<Tensor<1>>) -> Tensor<4>| {
        run(&mask, side, channels, is_grn, form)
    };
    let sparse = run(&|x, weights, scale| ops::block_of_visible(mask.visible_of(x), &mask, weights, scale));
    let gathered =
        run(&|x, weights, scale| composed::block_of_visible(mask.visible_of(x), &mask, weights, scale));
    let masked = run(&|x, weights, scale| {
        let keep = mask.keep(side, &x.device());
        mask.visible_of(composed::masked_block(x * keep.clone(), keep, weights, scale))
    });
    for (name, (output, gradients)) in [("gathered", gathered), ("masked", masked)] {
        assert_close(name, &sparse.0, &output, ONE_OPERATION);
        for ((parameter, actual), (_, expected)) in sparse.1.iter().zip(&gradients) {
            assert_close(&format!("{name} {parameter}"), actual, expected, GRADIENT / 4.0);
        }
    }

    let plain = cvx_tests::device();
    let mut draw = Draw::new(7, &plain);
    let [rows, columns] = mask.grid();
    let x = draw.tensor([mask.batch(), rows * side, columns * side, channels], 1.0);
    let weights = draw.weights(channels, is_grn);
    let scales: Vec<f32> = (0..mask.batch()).map(|image| 0.5 + image as f32).collect();
    let scale = Tensor::from_data(&scales[..], &plain);
    let inference = values(ops::block_of_visible(mask.visible_of(x), &mask, weights, Some(scale)));
    assert_close("inference", &inference, &sparse.0, ONE_OPERATION);
}

#[test]
fn a_sparse_block_equals_the_masked_dense_one_forward_and_backward() {
    for is_grn in [true, false] {
        case(Mask::draw(2, [3, 5], 0.6, 1), 8, 40, is_grn);
        case(Mask::draw(3, [7, 7], 0.6, 2), 4, 12, is_grn);
        case(Mask::draw(2, [7, 6], 0.6, 3), 2, 20, is_grn);
        case(Mask::draw(2, [7, 7], 0.6, 4), 1, 33, is_grn);
        case(Mask::draw(1, [1, 2], 0.5, 5), 8, 3, is_grn);
        case(Mask::none(2, [2, 3]), 4, 16, is_grn);
    }
}

fn images(batch: usize, grid: [usize; 2], seed: u64, device: &Device) -> Tensor<4> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = [batch, 3, 32 * grid[0], 32 * grid[1]];
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The same weights whatever the masking, GRN and layer scale not at their neutral start.
fn autoencoder(masking: Masking, norm: BlockNorm, device: &Device) -> Fcmae {
    device.seed(3);
    let backbone = ConvNextConfig::new([1, 2, 2, 1], [8, 12, 20, 24], norm);
    let config = FcmaeConfig::new(backbone).with_decoder_channels(16).with_masking(masking);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    cvx_tools::train::params::replace_each(config.init(device), &mut |path, shape| {
        let size = if path.ends_with("norm.weight") { 1.0 } else { 0.3 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-size..size)).collect();
        Ok(Some(TensorData::new(values, shape.to_vec())))
    })
    .expect("nothing fails")
}

const NORMS: [BlockNorm; 2] = [BlockNorm::Grn, BlockNorm::LayerScale { init: 0.5 }];

#[test]
fn a_sparse_autoencoder_equals_the_masked_dense_one_forward_and_backward() {
    let device = cvx_tests::device().autodiff();
    let grid = [3, 4];
    let mask = Arc::new(Mask::draw(2, grid, 0.6, 9));
    for norm in NORMS {
        let run = |masking| {
            let model = autoencoder(masking, norm.clone(), &device);
            let loss = model.loss(images(2, grid, 1, &device), &mask);
            let value = values(loss.clone());
            (value, gradients_by_path(&model, loss.backward()))
        };
        let ((sparse, sparse_gradients), (dense, dense_gradients)) =
            (run(Masking::Sparse), run(Masking::Dense));
        assert_close("loss", &sparse, &dense, ONE_OPERATION);
        assert_eq!(sparse_gradients.len(), dense_gradients.len());
        for (path, gradient) in &sparse_gradients {
            assert_close(path, &gradient.values, &dense_gradients[path].values, GRADIENT);
            assert!(gradient.values.iter().any(|&value| value != 0.0), "{path} learns nothing");
        }
    }
}

#[test]
fn what_is_seen_does_not_depend_on_what_is_hidden() {
    let device = cvx_tests::device();
    let grid = [4, 3];
    let mask = Arc::new(Mask::draw(2, grid, 0.6, 2));
    let keep = mask.keep(32, &device).permute([0, 3, 1, 2]);
    let (one, other) = (images(2, grid, 1, &device), images(2, grid, 2, &device));
    let mixed = one.clone() * keep.clone() + other * (1.0 - keep);
    for masking in [Masking::Sparse, Masking::Dense, Masking::InputOnly] {
        let model = autoencoder(masking, BlockNorm::Grn, &device);
        let [seen, changed] = [&one, &mixed].map(|images| model.encode(images.clone(), &mask));
        for (seen, changed) in
            [(seen.c2, changed.c2), (seen.c3, changed.c3), (seen.c4, changed.c4), (seen.c5, changed.c5)]
        {
            assert_eq!(values(seen), values(changed), "{masking:?}");
        }
        // The images do differ, and so does what is to be imagined.
        let [first, second] = [&one, &mixed].map(|images| values(model.loss(images.clone(), &mask)));
        assert_ne!(first, second);
    }
}

#[test]
fn without_a_mask_every_encoder_is_the_dense_network() {
    let device = cvx_tests::device();
    let grid = [2, 3];
    let mask = Arc::new(Mask::none(2, grid));
    for norm in NORMS {
        for masking in [Masking::Sparse, Masking::Dense, Masking::InputOnly] {
            let model = autoencoder(masking, norm.clone(), &device);
            let images = images(2, grid, 1, &device);
            let (dense, masked) = (model.backbone.forward(images.clone()), model.encode(images, &mask));
            for (dense, masked) in
                [(dense.c2, masked.c2), (dense.c3, masked.c3), (dense.c4, masked.c4), (dense.c5, masked.c5)]
            {
                assert_close("map", &values(masked), &values(dense), ONE_OPERATION);
            }
        }
    }
}

#[test]
fn masking_the_input_alone_lets_convolutions_fill_what_is_hidden() {
    let device = cvx_tests::device();
    let grid = [3, 3];
    let mask = Arc::new(Mask::draw(1, grid, 0.6, 2));
    let hidden = |masking| {
        let maps = autoencoder(masking, BlockNorm::Grn, &device).encode(images(1, grid, 1, &device), &mask);
        let hidden = mask.hidden_of(maps.c5.permute([0, 2, 3, 1]));
        values(hidden).iter().any(|&value| value != 0.0)
    };
    assert!(hidden(Masking::InputOnly));
    assert!(!hidden(Masking::Sparse) && !hidden(Masking::Dense));
}

#[test]
fn the_same_bits_come_out_of_any_number_of_threads() {
    let device = cvx_tests::device().autodiff();
    let grid = [7, 7];
    let mask = Arc::new(Mask::draw(3, grid, 0.6, 2));
    let run = || {
        let model = autoencoder(Masking::Sparse, BlockNorm::Grn, &device);
        let loss = model.loss(images(3, grid, 1, &device), &mask);
        let value = values(loss.clone());
        (value, gradients_by_path(&model, loss.backward()))
    };
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    assert!(pool(1).install(run) == pool(4).install(run));
}

#[test]
fn a_deeper_decoder_has_more_blocks_and_every_one_learns() {
    let device = cvx_tests::device().autodiff();
    let backbone = ConvNextConfig::new([1, 1, 1, 1], [4, 4, 4, 4], BlockNorm::Grn);
    let config = FcmaeConfig::new(backbone).with_decoder_channels(8).with_decoder_depth(3);
    let model = config.init(&device);
    let mask = Arc::new(Mask::draw(2, [2, 2], 0.5, 1));
    let gradients = gradients_by_path(&model, model.loss(images(2, [2, 2], 1, &device), &mask).backward());
    for block in 0..3 {
        let gradient = &gradients[&format!("decoder.{block}.pwconv1.weight")];
        assert!(gradient.values.iter().any(|&value| value != 0.0));
    }
}
