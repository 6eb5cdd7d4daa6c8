//! FCMAE: masks, losses, gradients and updates of the official code, and its checkpoints: the sparse encoder of a
//! training run becomes the dense one that was released.
//!
//! These goldens are too large for the project; `formats` has a small file of the kind.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use burn::tensor::TensorData;
use cvx_backbone::{BlockNorm, ConvNextConfig, Fcmae, FcmaeConfig, Layout, Mask, Masking, PatchTarget};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors::{gradients_by_path, norm, tensor, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, LOSS, assert_close};
use cvx_tools::train::adamw::{AdamW, AdamWConfig};
use cvx_tools::train::clip::ParamGradients;
use cvx_tools::train::groups::{DecayExempt, LayerDecay, ParamGroups, WeightDecay};
use cvx_tools::train::params;
use cvx_tools::weights::model::Alone;
use cvx_tools::weights::source::Source;

use crate::as_theirs;
use crate::backbone::{assert_maps, backbone};

/// Goldens of a kind; none where they are not at hand.
fn goldens(kind: &str) -> impl Iterator<Item = Golden> {
    Golden::all().into_iter().filter(move |golden| golden.kind() == kind)
}

/// The official name of a parameter, and how it lies there.
fn theirs(ours: &str) -> (String, Layout) {
    let name = ours.strip_prefix("backbone.").map_or(ours.to_owned(), |rest| format!("encoder.{rest}"));
    let is_linear = ["pwconv1.weight", "pwconv2.weight", "proj.weight", "pred.weight"];
    let is_linear = is_linear.iter().any(|layer| ours.ends_with(layer));
    (name, if is_linear { Layout::Transposed } else { Layout::AsOurs })
}

/// The autoencoder that a golden describes, on `device`, its weights those of a file with dense names.
fn autoencoder(
    golden: &Golden,
    weights: &Path,
    masking: Masking,
    target: PatchTarget,
    device: &Device,
) -> Fcmae {
    let meta = golden.json("meta.json");
    let sizes = |name: &str| -> [usize; 4] {
        std::array::from_fn(|stage| meta["arch"][name][stage].as_u64().expect("a size") as usize)
    };
    let config = FcmaeConfig::new(ConvNextConfig::new(sizes("depths"), sizes("dims"), BlockNorm::Grn))
        .with_decoder_channels(meta["decoder_embed_dim"].as_u64().expect("a width") as usize)
        .with_masking(masking)
        .with_target(target);
    let source = Source::open(weights, None).unwrap_or_else(|e| panic!("{e:?}"));
    let mut unused: Vec<String> = source.names().map(str::to_owned).collect();
    let model = params::replace_each(config.init(device), &mut |path, shape| {
        let (name, layout) = theirs(path);
        unused.retain(|other| *other != name);
        let values = source.read(&name)?;
        // The transpose of a matrix read as its own transpose is the matrix.
        let transposed: Vec<usize> = shape.iter().rev().copied().collect();
        let values = match layout {
            Layout::Transposed => as_theirs(layout, Array { shape: transposed, values }),
            _ => values,
        };
        Ok(Some(TensorData::new(values, shape.to_vec())))
    });
    assert!(unused.is_empty(), "{}: {unused:?}", weights.display());
    model.unwrap_or_else(|e| panic!("{e:?}"))
}

fn mask(golden: &Golden, noise: &[f32], side: usize) -> Arc<Mask> {
    let meta = golden.json("meta.json");
    let ratio = meta["mask_ratio"].as_f64().expect("a ratio");
    let patches = side / meta["patch_size"].as_u64().expect("a size") as usize;
    Arc::new(Mask::from_noise(noise, [patches, patches], ratio))
}

#[test]
fn masks_hide_what_the_official_code_hides() {
    for golden in goldens("fcmae") {
        let expected = golden.tensors("expected.safetensors");
        let side = golden.json("meta.json")["img_size"].as_u64().expect("a size") as usize;
        for (noise, name, side) in [("input_noise.npy", "mask", side), ("input_noise224.npy", "mask224", 224)]
        {
            let mask = mask(&golden, &golden.npy(noise).values, side);
            let hidden: Vec<f32> = mask.is_hidden().map(|hidden| if hidden { 1.0 } else { 0.0 }).collect();
            assert_eq!(hidden, expected.f32(name).values, "{name}");
        }
    }
}

/// GRN pools per image, as the `sample` tensors do.
#[test]
fn losses_maps_predictions_and_gradients_are_the_official_codes() {
    for golden in goldens("fcmae") {
        let expected = golden.tensors("expected.safetensors");
        let images = golden.npy("input_images.npy");
        let mask = mask(&golden, &golden.npy("input_noise.npy").values, images.shape[3]);
        let weights = golden.file("fcmae_dense.safetensors");
        let loss_of = |model: &Fcmae, device: &Device| model.loss(tensor(images.clone(), device), &mask);
        for device in [cvx_tests::device(), cvx_tests::device().autodiff()] {
            for masking in [Masking::Sparse, Masking::Dense] {
                for (target, name) in
                    [(PatchTarget::Normalised, "loss_norm_pix"), (PatchTarget::Raw, "loss_raw_pix")]
                {
                    let model = autoencoder(&golden, &weights, masking, target, &device);
                    let loss = values(loss_of(&model, &device));
                    assert_close(name, &loss, &expected.f32(&format!("sample.{name}")).values, LOSS);
                }
                let model = autoencoder(&golden, &weights, masking, PatchTarget::Raw, &device);
                let maps = model.encode(tensor(images.clone(), &device), &mask);
                assert_maps("masked", maps, |stage| expected.get(&format!("sample.stage{stage}")));
                // A patch's values are the channels there: rows, columns, colours.
                let imagined = model.reconstruct(tensor(images.clone(), &device), &mask);
                assert_close(
                    "pred",
                    &patch_values(imagined),
                    &expected_values(&expected.f32("sample.pred.0")),
                    FORWARD,
                );
            }
        }
        let device = cvx_tests::device().autodiff();
        let norms = &golden.json("grad_norms.json")["sample"];
        for masking in [Masking::Sparse, Masking::Dense] {
            let model = autoencoder(&golden, &weights, masking, PatchTarget::Normalised, &device);
            let gradients = gradients_by_path(&model, loss_of(&model, &device).backward());
            assert_eq!(gradients.len(), norms.as_object().expect("an object").len());
            for (path, ours) in gradients {
                let (name, layout) = theirs(&path);
                let (found, wanted) = (norm(&ours.values), norms[&name].as_f64().expect("a norm"));
                assert!((found / wanted - 1.0).abs() <= GRADIENT, "{name}: {found}, expected {wanted}");
                if let Some(wanted) = expected.get(&format!("sample.grad.{name}")) {
                    assert_close(&name, &as_theirs(layout, ours), &wanted.values, GRADIENT);
                }
            }
        }
    }
}

/// The patches of the first image of a batch, values in the order of rows, columns, colours.
fn patch_values(images: Tensor<4>) -> Vec<f32> {
    let [_, _, height, width] = images.dims();
    let grid = [height / 32, width / 32];
    values(Mask::none(1, grid).visible_of(images.slice(s![0..1]).permute([0, 2, 3, 1])))
}

/// `[1, values, rows, columns]` as patch after patch.
fn expected_values(map: &Array<f32>) -> Vec<f32> {
    let [_, count, rows, columns] = map.shape[..] else { panic!("{:?}", map.shape) };
    let patches = rows * columns;
    (0..patches).flat_map(|patch| (0..count).map(move |value| map.values[value * patches + patch])).collect()
}

#[test]
fn an_autoencoder_trains_as_in_pytorch() {
    for golden in goldens("train_fcmae") {
        let device = cvx_tests::device().autodiff();
        let optimizer = golden.json("meta.json")["optimizer"].as_str().expect("words").to_owned();
        assert!(optimizer.starts_with("AdamW lr 1e-3 betas (.9,.95) eps 1e-8 wd .05; "), "{optimizer}");
        let trajectory = golden.json("trajectory.json");
        let initial = golden.file("initial.pth");
        let mut model = autoencoder(&golden, &initial, Masking::Sparse, PatchTarget::Normalised, &device);
        let decay = WeightDecay { value: 0.05, exempt: DecayExempt::OneAxisOrBiasButGrn };
        let groups = ParamGroups::new(&params::list(&model), LayerDecay::None, decay).expect("groups");
        let config = AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8 };
        let mut optimizer = AdamW::new(config, groups);
        let (images, noise) = (golden.npy("input_images.npy"), golden.npy("input_noise.npy"));
        let steps = trajectory["f32"].as_array().expect("steps");
        for (noise, expected) in noise.values.chunks(noise.values.len() / steps.len()).zip(steps) {
            // The same images in every step, and other masks.
            let input = || tensor(images.clone(), &device);
            let mask = mask(&golden, noise, images.shape[3]);
            let mut loss = model.loss(input(), &mask);
            let value = values(loss.clone());
            assert_close("loss", &value, &[expected["loss"].as_f64().expect("a loss") as f32], LOSS);
            if let Some(norms) = expected.get("grad_norms") {
                for (path, ours) in gradients_by_path(&model, loss.clone().backward()) {
                    let wanted = norms[theirs(&path).0].as_f64().expect("a norm");
                    assert!((norm(&ours.values) / wanted - 1.0).abs() <= GRADIENT, "{path}");
                }
                // A graph is used up by its backward pass.
                loss = model.loss(input(), &mask);
            }
            let gradients = ParamGradients::collect(&model, loss.backward());
            model = optimizer.step(model, gradients, 1e-3, 1.0);
        }
        let expected = golden.tensors("final.safetensors");
        params::read_each(&model, &mut |path, data| {
            let (name, layout) = theirs(path);
            let shape = data.shape().to_vec();
            let ours = as_theirs(layout, Array { shape, values: data.try_into_vec().expect("f32") });
            assert_close(&name, &ours, &expected.f32(&name).values, FORWARD);
            Ok(())
        })
        .expect("nothing fails");
    }
}

/// Bits by path.
fn bits(model: &Alone) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    params::read_each(model, &mut |path, data| {
        let values = data.try_into_vec::<f32>().expect("f32");
        all.push((path.to_owned(), values.into_iter().map(f32::to_bits).collect()));
        Ok(())
    })
    .expect("nothing fails");
    all
}

#[test]
fn a_sparse_encoder_is_remapped_as_by_the_official_code_and_computes_the_same() {
    let device = cvx_tests::device();
    for golden in goldens("fcmae") {
        let expected = golden.tensors("expected.safetensors");
        let sparse = backbone(&golden.file("fcmae_minkowski_training.pth"), false, &device);
        for dense in ["encoder_dense.pth", "fcmae_dense.safetensors"] {
            let dense = backbone(&golden.file(dense), false, &device);
            assert!(bits(&sparse) == bits(&dense), "{}", golden.folder.display());
        }
        let maps = sparse.backbone.forward(tensor(golden.npy("input_images.npy"), &device));
        assert_maps("without a mask", maps, |stage| expected.get(&format!("encoder_unmasked.stage{stage}")));
    }
}
