//! The detectors of the golden folders: weights, images, boxes.
//!
//! Every folder of kind `mask_rcnn` under `tests/golden` and under `$CVX_GOLDEN` is tested.

use std::path::PathBuf;

use burn::prelude::*;
use burn::store::{KeyRemapper, ModuleSnapshot, PytorchStore};
use cvx_backbone::{BlockNorm, ConvNextConfig};
use cvx_heads::{ImageSize, MaskRcnnConfig, Proposal, from_mmdet};
use cvx_tests::golden::{Array, Golden, Tensors};
use cvx_tests::tolerance::{PROPOSAL_PIXELS, SCORE};
use serde_json::Value;

use crate::model::{Detector, padded_size};

pub(crate) fn goldens() -> Vec<Golden> {
    let mut folders = vec![cvx_tests::project_root().join("tests/golden")];
    folders.extend(std::env::var_os("CVX_GOLDEN").map(PathBuf::from));
    let mut goldens: Vec<Golden> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| Golden { folder: entry.unwrap().path() })
        .filter(|golden| golden.file("meta.json").is_file())
        .filter(|golden| golden.json("meta.json")["kind"] == "mask_rcnn")
        .collect();
    goldens.sort_by(|a, b| a.folder.cmp(&b.folder));
    assert!(!goldens.is_empty(), "no folder of kind mask_rcnn under {folders:?}");
    goldens
}

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub(crate) fn four(value: &Value) -> [usize; 4] {
    std::array::from_fn(|index| number(&value[index]))
}

pub(crate) fn size(meta: &Value) -> ImageSize {
    let [height, width] = [0, 1].map(|axis| number(&meta["img_shape"][axis]));
    let [padded_height, padded_width] = [0, 1].map(|axis| number(&meta["pad_shape"][axis]));
    assert_eq!(padded_size(height, width, 32), ImageSize { height, width, padded_height, padded_width });
    ImageSize { height, width, padded_height, padded_width }
}

/// The detector of a golden with its weights; `change` may alter the configuration of the heads.
pub(crate) fn detector(
    golden: &Golden,
    device: &Device,
    change: impl Fn(MaskRcnnConfig) -> MaskRcnnConfig,
) -> Detector {
    let meta = golden.json("meta.json");
    let norm = if meta["version"] == 2 { BlockNorm::Grn } else { BlockNorm::LayerScale { init: 1.0 } };
    let backbone = ConvNextConfig::new(four(&meta["arch"]["depths"]), four(&meta["arch"]["dims"]), norm);
    let fpn_channels = number(&meta["head"]["fpn_channels"]);
    let heads = MaskRcnnConfig::new(number(&meta["num_classes"]))
        .with_fpn_channels(fpn_channels)
        .with_mask_channels(fpn_channels)
        .with_fc_channels(number(&meta["head"]["fc_channels"]));
    let mut detector = Detector {
        heads: change(heads).init(&backbone.feature_specs(), device),
        backbone: backbone.init(device),
    };
    let names = KeyRemapper::new()
        .add_pattern(r"\.depthwise_conv\.", ".dwconv.")
        .and_then(|names| names.add_pattern(r"\.pointwise_conv([12])\.", ".pwconv$1."))
        .and_then(|names| {
            names.add_pattern(r"^(roi_head\.)?(neck|rpn_head|bbox_head|mask_head)\.", "heads.$2.")
        })
        .unwrap();
    let mut store = PytorchStore::from_file(golden.file("mmdet.pth"))
        .with_top_level_key("state_dict")
        .map_indices_contiguous(false)
        .remap(names);
    let loaded = detector.load_from(&mut store).unwrap();
    assert!(loaded.errors.is_empty() && loaded.missing.is_empty(), "{loaded}");
    assert!(loaded.unused.is_empty(), "{:?}", loaded.unused);
    detector
}

/// Our path of a parameter of mmdet's.
pub(crate) fn path(name: &str) -> String {
    match from_mmdet(name) {
        Some(ours) => format!("heads.{ours}"),
        None => name.replace("depthwise_conv", "dwconv").replace("pointwise_conv", "pwconv"),
    }
}

/// Normalised images, padded with zeros at right and bottom: `[images, 3, height, width]`.
///
/// `rgb` are planes of one image each.
pub(crate) fn input(images: &[([usize; 2], Vec<u8>)], padded: [usize; 2], device: &Device) -> Tensor<4> {
    const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
    const STD: [f32; 3] = [58.395, 57.12, 57.375];
    let [padded_height, padded_width] = padded;
    let mut input = vec![0.0; images.len() * 3 * padded_height * padded_width];
    for (image, ([height, width], planes)) in images.iter().enumerate() {
        for channel in 0..3 {
            for row in 0..*height {
                for column in 0..*width {
                    let value = f32::from(planes[(channel * height + row) * width + column]);
                    let at = ((image * 3 + channel) * padded_height + row) * padded_width + column;
                    input[at] = (value - MEAN[channel]) / STD[channel];
                }
            }
        }
    }
    let shape = [images.len(), 3, padded_height, padded_width];
    Tensor::from_data(TensorData::new(input, shape), device)
}

pub(crate) fn png(golden: &Golden, name: &str) -> ([usize; 2], Vec<u8>) {
    let image = image::open(golden.file(name)).unwrap().to_rgb8();
    let (width, height) = image.dimensions();
    let planes = (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel[channel]));
    ([height as usize, width as usize], planes.collect())
}

/// Both images as one batch, and their sizes.
pub(crate) fn batch(golden: &Golden, device: &Device) -> (Tensor<4>, Vec<ImageSize>) {
    let meta = golden.json("meta.json");
    let images = [png(golden, "img0.png"), png(golden, "img1.png")];
    let shape = &meta["images"][0]["batch_input_shape"];
    let padded = [number(&shape[0]), number(&shape[1])];
    let sizes = [0, 1].map(|image| size(&meta["images"][image]));
    (input(&images, padded, device), sizes.to_vec())
}

pub(crate) fn boxes(tensors: &Tensors, name: &str) -> Vec<[f32; 4]> {
    let Array { values, .. } = tensors.f32(name);
    values.as_chunks::<4>().0.to_vec()
}

/// Each of `expected` has a partner of its own in `actual`, and the other way round.
pub(crate) fn assert_same_set(what: &str, actual: &[Proposal], expected: &[Proposal]) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of proposals");
    let mut taken = vec![false; actual.len()];
    for wanted in expected {
        let near = |candidate: &Proposal| {
            let corners = candidate.bbox.iter().zip(&wanted.bbox);
            corners.into_iter().all(|(a, b)| f64::from((a - b).abs()) <= PROPOSAL_PIXELS)
                && f64::from((candidate.score - wanted.score).abs()) <= SCORE
        };
        let partner = (0..actual.len()).find(|&at| !taken[at] && near(&actual[at]));
        taken[partner.unwrap_or_else(|| panic!("{what}: {wanted:?} is missing"))] = true;
    }
}

pub(crate) fn expected_proposals(tensors: &Tensors, prefix: &str) -> Vec<Proposal> {
    let scores = tensors.f32(&format!("{prefix}.scores")).values;
    let boxes = boxes(tensors, &format!("{prefix}.boxes"));
    boxes.into_iter().zip(scores).map(|(bbox, score)| Proposal { bbox, score }).collect()
}
