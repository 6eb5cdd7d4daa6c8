//! FCMAE checkpoints: the sparse encoder of a training run becomes the dense one that was released.
//!
//! These goldens are too large for the project; `formats` has a small file of the kind.

use burn::prelude::*;
use cvx_tests::golden::Golden;
use cvx_tests::tensors::tensor;
use cvx_tools::train::params;
use cvx_tools::weights::model::Alone;

use crate::backbone::{assert_maps, backbone};

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
    let device = Device::flex();
    for golden in Golden::all().into_iter().filter(|golden| golden.kind() == "fcmae") {
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
