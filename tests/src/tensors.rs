//! Between goldens and Burn: arrays as tensors, tensors as values, gradients by path.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Gradients;

use crate::golden::Array;

/// An array on a device.
pub fn tensor<const D: usize>(array: Array<f32>, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.values, array.shape), device)
}

/// The values of a tensor, row-major.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("an f32 tensor")
}

/// The gradient of a tensor.
///
/// # Panics
/// If it has none.
pub fn gradient<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    values(tensor.grad(gradients).expect("a gradient"))
}

/// The gradients of a module's parameters by path; a parameter without one is missing.
pub fn gradients_by_path<M: Module>(module: &M, gradients: Gradients) -> BTreeMap<String, Array<f32>> {
    let gradients = GradientsParams::from_grads(gradients, module);
    let mut by_path = ByPath { gradients, path: Vec::new(), found: BTreeMap::new() };
    module.visit(&mut by_path);
    by_path.found
}

/// The square root of the sum of squares.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

struct ByPath {
    gradients: GradientsParams,
    path: Vec<String>,
    found: BTreeMap<String, Array<f32>>,
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
            let array = Array { shape: gradient.dims().to_vec(), values: values(gradient) };
            self.found.insert(self.path.join("."), array);
        }
    }
}
