//! The detectors of the golden folders: weights, images, boxes.

use std::collections::BTreeMap;

use burn::prelude::*;
use cvx_heads::{ImageSize, MaskRcnnConfig, Proposal};
use cvx_tests::golden::{Array, Golden, Tensors};
use cvx_tests::tolerance::{PROPOSAL_PIXELS, SCORE};
use cvx_tools::det::Detector;
use cvx_tools::recipe::Head;
use cvx_tools::train::params;
use cvx_tools::weights::model::{Architecture, Model, Part};
use cvx_tools::weights::{self, Published, Strictness};
use serde_json::Value;

pub(crate) fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

pub(crate) fn size(meta: &Value) -> ImageSize {
    let [height, width] = [0, 1].map(|axis| number(&meta["img_shape"][axis]));
    let [padded_height, padded_width] = [0, 1].map(|axis| number(&meta["pad_shape"][axis]));
    assert_eq!([height, width].map(|side| side.next_multiple_of(32)), [padded_height, padded_width]);
    ImageSize { height, width, padded_height, padded_width }
}

/// A golden's detector with its weights, and its parameters' names there.
pub(crate) struct Reference {
    pub(crate) detector: Detector,
    published: Published,
    /// Our paths by mmdet's names.
    paths: BTreeMap<String, String>,
}

impl Reference {
    /// `change` may alter the configuration of the heads.
    pub(crate) fn new(
        golden: &Golden,
        device: &Device,
        change: impl Fn(MaskRcnnConfig) -> MaskRcnnConfig,
    ) -> Self {
        let file = golden.file("mmdet.pth");
        let (model, _) = Model::open(&file, None, Part::Whole).unwrap_or_else(|e| panic!("{e:?}"));
        let Architecture::Detector(architecture) = model.architecture else {
            panic!("{}: {:?}", file.display(), model.architecture)
        };
        let Head::MaskRcnn(head) = &architecture.head;
        let backbone = architecture.model.config();
        let detector = Detector {
            heads: change(head.config()).init(&backbone.feature_specs(), device),
            backbone: backbone.init(device),
        };
        let published = Published::open(&file, None).expect("a checkpoint");
        let loaded = weights::load(&published, detector, Strictness::Complete);
        let (detector, _) = loaded.unwrap_or_else(|e| panic!("{e:?}"));
        let params = params::list(&detector).into_iter().map(|param| param.path);
        let paths = params.map(|ours| (published.name(&ours).expect("a name of mmdet's"), ours)).collect();
        Self { detector, published, paths }
    }

    /// The gradient that mmdet knows under `name`, in its order.
    pub(crate) fn gradient(&self, name: &str, by_path: &BTreeMap<String, Array<f32>>) -> Vec<f32> {
        let path = self.paths.get(name).unwrap_or_else(|| panic!("no parameter is mmdet's {name}"));
        crate::as_theirs(self.published.layout(path), by_path[path].clone())
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
