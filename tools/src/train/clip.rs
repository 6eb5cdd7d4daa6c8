//! Gradients by parameter path: collected after backward, summed over micro-batches, measured by their global norm.
//!
//! The norm and the number of micro-batches become one factor ([`Clipped::scale`]) that the optimizer multiplies in,
//! so that no gradient is rewritten.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use rayon::prelude::*;

use crate::train::params::Path;
use crate::train::values::{CHUNK, Values, slice};

/// Keeps the clipping factor finite; as `torch.nn.utils.clip_grad_norm_`.
const CLIP_EPSILON: f64 = 1e-6;

/// The gradients of a model's parameters, by path. A parameter that the loss does not reach has none.
#[derive(Debug, Default)]
pub struct ParamGradients {
    pub(crate) values: BTreeMap<String, Values>,
}

/// The sum of the squares of all gradients, before it is read from the device.
#[derive(Debug)]
pub enum NormSquared {
    /// Known.
    Host(f64),
    /// One value on the device, to be read together with the losses.
    Device(Box<Tensor<1>>),
}

/// What the global norm asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    /// Global L2 norm of the mean gradient, before clipping.
    pub norm: f64,
    /// The factor on the summed gradients that makes them the clipped mean.
    pub scale: f64,
}

impl ParamGradients {
    /// Takes the gradients of the module's parameters out of what backward returned.
    pub fn collect<M: Module>(module: &M, gradients: Gradients) -> Self {
        let mut visitor = Collector { path: Path::default(), gradients, found: BTreeMap::new() };
        module.visit(&mut visitor);
        Self { values: visitor.found }
    }

    /// Adds the gradients of another micro-batch.
    pub fn add(&mut self, other: Self) {
        for (path, values) in other.values {
            let sum = match self.values.remove(&path) {
                Some(sum) => sum.add(values),
                None => values,
            };
            self.values.insert(path, sum);
        }
    }

    /// Number of parameters that have a gradient.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no parameter has one.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The sum of all squares, over all parameters.
    pub fn norm_squared(&self) -> NormSquared {
        let mut on_host = 0.0;
        let mut on_device = Vec::new();
        for values in self.values.values() {
            match values {
                Values::Host(data) => on_host += sum_of_squares(slice(data)),
                Values::Device(tensor) => on_device.push(tensor.clone().square().sum()),
            }
        }
        if on_device.is_empty() {
            NormSquared::Host(on_host)
        } else {
            NormSquared::Device(Box::new(Tensor::cat(on_device, 0).sum()))
        }
    }
}

impl Clipped {
    /// From the sum of squares of gradients summed over micro-batches; `max_norm` none is no clipping.
    pub fn new(norm_squared: f64, num_micro_batches: usize, max_norm: Option<f64>) -> Self {
        let mean = 1.0 / num_micro_batches as f64;
        let norm = norm_squared.sqrt() * mean;
        let clip = max_norm.map_or(1.0, |max| (max / (norm + CLIP_EPSILON)).min(1.0));
        Self { norm, scale: mean * clip }
    }
}

/// In `f64`, by chunks of a fixed size added in order: the same for any number of threads.
fn sum_of_squares(values: &[f32]) -> f64 {
    let square = |&value: &f32| f64::from(value) * f64::from(value);
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(|chunk| chunk.iter().map(square).sum()).collect();
    sums.into_iter().sum()
}

struct Collector {
    path: Path,
    gradients: Gradients,
    found: BTreeMap<String, Values>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        if let Some(gradient) = param.base().grad_remove(&mut self.gradients) {
            self.found.insert(self.path.joined(), Values::new(gradient));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_gradient_is_not_clipped() {
        let clipped = Clipped::new(9.0, 1, Some(4.0));
        assert_eq!(clipped, Clipped { norm: 3.0, scale: 1.0 });
    }

    #[test]
    fn a_long_gradient_gets_the_largest_norm_allowed() {
        let clipped = Clipped::new(64.0, 2, Some(1.0));
        assert_eq!(clipped.norm, 4.0);
        assert!((8.0 * clipped.scale - 1.0).abs() < 1e-6);
    }

    #[test]
    fn squares_are_summed_in_double_precision() {
        let values = vec![0.1_f32; 3 * CHUNK + 1];
        let exact = f64::from(0.1_f32).powi(2) * values.len() as f64;
        assert!((sum_of_squares(&values) / exact - 1.0).abs() < 1e-12);
    }
}
