//! Our numbers against those of the reference implementations, folder by folder.
//!
//! Every folder under `tests/golden`, and under `$CVX_GOLDEN`, has a `meta.json` that names its kind; each test runs all
//! folders of its kind, with weights read by the program's own loader. Tolerances are those of `cvx_tests::tolerance`.

mod backbone;
mod box_ops;
mod detector_inference;
mod detector_reference;
mod detector_training;
mod fcmae;
mod formats;
mod mask_paste;
mod metrics;
mod mutations;
mod norms;
mod pixels;
mod roi_ops;
mod segmentor_inference;
mod segmentor_losses;
mod segmentor_operations;
mod segmentor_reference;
mod segmentor_training;
mod segmentor_trajectory;
mod segmentor_views;
mod tables;
mod trajectory;

use cvx_backbone::Layout;
use cvx_tests::golden::{Array, Golden};

/// What the modules above test.
const KINDS: [&str; 12] = [
    "backbone",
    "classifier",
    "fcmae",
    "formats",
    "mask_rcnn",
    "metrics",
    "ops",
    "train_cls",
    "train_fcmae",
    "train_upernet",
    "upernet",
    "upernet_views",
];

#[test]
fn every_golden_is_of_a_kind_that_is_tested() {
    for golden in Golden::all() {
        let kind = golden.kind();
        // A set of a kind that does not exist here yet is no failure of what does.
        if !KINDS.contains(&kind.as_str()) {
            println!("skipped: {} is of kind {kind}", golden.folder.display());
            assert!(
                !golden.folder.starts_with(cvx_tests::project_root()),
                "{} is tested nowhere",
                golden.folder.display()
            );
        }
    }
}

/// Values in our layout, in the order in which PyTorch holds them.
fn as_theirs(layout: Layout, ours: Array<f32>) -> Vec<f32> {
    let (Layout::Transposed, &[inputs, outputs]) = (layout, &ours.shape[..]) else { return ours.values };
    let transposed = (0..outputs).flat_map(|output| (0..inputs).map(move |input| input * outputs + output));
    transposed.map(|index| ours.values[index]).collect()
}
