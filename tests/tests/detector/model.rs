//! A detector whole enough to test: a backbone and the heads, truth, and gradients by name.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;
use cvx_backbone::ConvNext;
use cvx_heads::{ImageSize, MaskRcnn, TargetMask};

/// A backbone and the heads on it.
#[derive(Module, Debug)]
pub(crate) struct Detector {
    pub(crate) backbone: ConvNext,
    pub(crate) heads: MaskRcnn,
}

/// The gradients of a module's parameters by path; a parameter without one is missing.
pub(crate) fn gradients_by_path<M: Module>(module: &M, gradients: Gradients) -> BTreeMap<String, Vec<f32>> {
    let gradients = GradientsParams::from_grads(gradients, module);
    let mut by_path = ByPath { gradients, path: Vec::new(), found: BTreeMap::new() };
    module.visit(&mut by_path);
    by_path.found
}

/// The paths of all of a module's parameters.
pub(crate) fn paths<M: Module>(module: &M) -> Vec<String> {
    let mut paths = Paths::default();
    module.visit(&mut paths);
    paths.found
}

struct ByPath {
    gradients: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for ByPath {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let values = gradient.try_into_vec_as::<f32>().unwrap();
            self.found.insert(self.path.join("."), values);
        }
    }
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    found: Vec<String>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        self.found.push(self.path.join("."));
    }
}

/// The values of a tensor, row-major.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// A size whose own padding fills the batch.
pub(crate) fn padded_size(height: usize, width: usize, divisor: usize) -> ImageSize {
    let pad = |side: usize| side.next_multiple_of(divisor);
    ImageSize { height, width, padded_height: pad(height), padded_width: pad(width) }
}

/// A mask that fills a rectangle of whole pixels.
pub(crate) fn rectangle([x0, y0, x1, y1]: [usize; 4], size: &ImageSize) -> TargetMask {
    let (width, height) = (x1 - x0, y1 - y0);
    TargetMask {
        frame_width: size.width,
        frame_height: size.height,
        x0,
        y0,
        width,
        height,
        pixels: vec![1; width * height],
    }
}
