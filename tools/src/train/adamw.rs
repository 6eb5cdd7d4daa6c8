//! AdamW as PyTorch computes it, with state keyed by parameter path and a rate and decay of each parameter's own.
//!
//! Paper: Decoupled Weight Decay Regularization, Loshchilov and Hutter 2019, <https://arxiv.org/abs/1711.05101>.
//!
//! ```text
//! p <- p * (1 - lr * weight_decay)
//! m <- m + (g - m) * (1 - beta1)
//! v <- v * beta2 + g * g * (1 - beta2)
//! p <- p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! Factors are computed in `f64` and rounded once to `f32`, in the order of `torch/optim/adamw.py`.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::train::clip::ParamGradients;
use crate::train::groups::{ParamGroups, ParamRule};
use crate::train::params::{Context, Path};
use crate::train::values::{CHUNK, Values, slice, slice_mut};

/// What AdamW is told besides learning rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root in the denominator.
    pub eps: f64,
}

impl AdamWConfig {
    /// PyTorch's defaults, which the published recipes use.
    pub const TORCH: Self = Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 };
}

/// The running means of one parameter.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    /// Updates that this parameter received; one without a gradient in a step receives none.
    pub(crate) updates: u64,
    pub(crate) mean: Values,
    pub(crate) mean_square: Values,
}

/// The optimizer.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    groups: ParamGroups,
    pub(crate) moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// A fresh optimizer for the parameters that `groups` has rules for.
    pub fn new(config: AdamWConfig, groups: ParamGroups) -> Self {
        Self { config, groups, moments: BTreeMap::new() }
    }

    /// The rules of the parameters.
    pub fn groups(&self) -> &ParamGroups {
        &self.groups
    }

    /// Updates every parameter that has a gradient; `scale` is multiplied into the gradients first.
    ///
    /// # Panics
    /// If a parameter with a gradient is not in the groups, or changed its size.
    pub fn step<M: Module>(&mut self, model: M, gradients: ParamGradients, lr: f64, scale: f64) -> M {
        let mut updater = Updater { path: Path::default(), optimizer: self, gradients, lr, scale };
        model.map(&mut updater)
    }
}

/// The numbers of one update of one parameter.
struct Update {
    scale: f32,
    keep: f32,
    mean_weight: f32,
    beta2: f32,
    square_weight: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl Update {
    fn new(config: AdamWConfig, rule: &ParamRule, updates: u64, lr: f64, scale: f64) -> Self {
        let AdamWConfig { beta1, beta2, eps } = config;
        let lr = lr * rule.lr_scale;
        let power = |beta: f64| beta.powf(updates as f64);
        Self {
            scale: scale as f32,
            keep: (1.0 - lr * rule.weight_decay) as f32,
            mean_weight: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            square_weight: (1.0 - beta2) as f32,
            step_size: (lr / (1.0 - power(beta1))) as f32,
            root_correction: (1.0 - power(beta2)).sqrt() as f32,
            eps: eps as f32,
        }
    }

    /// One pass over the four slices of a parameter.
    fn on_host(&self, param: &mut [f32], gradient: &[f32], mean: &mut [f32], mean_square: &mut [f32]) {
        assert_eq!(param.len(), gradient.len(), "number of gradients");
        assert_eq!(param.len(), mean.len(), "number of moments");
        assert_eq!(param.len(), mean_square.len(), "number of moments");
        let chunks = param
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK).zip(mean_square.par_chunks_mut(CHUNK)));
        chunks.for_each(|((param, gradient), (mean, mean_square))| {
            let values = param.iter_mut().zip(gradient).zip(mean.iter_mut().zip(mean_square));
            for ((p, g), (m, v)) in values {
                let g = g * self.scale;
                *m += (g - *m) * self.mean_weight;
                *v = *v * self.beta2 + g * g * self.square_weight;
                let denominator = v.sqrt() / self.root_correction + self.eps;
                *p = *p * self.keep - self.step_size * *m / denominator;
            }
        });
    }

    /// The same by tensor operations: parameter, mean, mean of squares.
    fn on_device(&self, param: Tensor<1>, gradient: Tensor<1>, m: Tensor<1>, v: Tensor<1>) -> [Tensor<1>; 3] {
        let gradient = gradient * self.scale;
        let m = m.clone() + (gradient.clone() - m) * self.mean_weight;
        let v = v * self.beta2 + gradient.clone() * gradient * self.square_weight;
        let denominator = v.clone().sqrt() / self.root_correction + self.eps;
        let param = param * self.keep - m.clone() * self.step_size / denominator;
        [param, m, v]
    }
}

struct Updater<'a> {
    path: Path,
    optimizer: &'a mut AdamW,
    gradients: ParamGradients,
    lr: f64,
    scale: f64,
}

impl ModuleMapper for Updater<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.joined();
        let Some(gradient) = self.gradients.values.remove(&path) else {
            return param;
        };
        let AdamW { config, groups, moments } = &mut *self.optimizer;
        let Some(rule) = groups.rule(&path) else {
            panic!("parameter `{path}` is in no group");
        };
        let moments = moments.entry(path).or_insert_with(|| Moments {
            updates: 0,
            mean: gradient.zeros_like(),
            mean_square: gradient.zeros_like(),
        });
        moments.updates += 1;
        let update = Update::new(*config, rule, moments.updates, self.lr, self.scale);

        let (id, old, mapper) = param.consume();
        let context = Context::of(&old);
        // Not cloned: the values of a tensor with one owner are updated in place.
        let plain = old.inner();
        let updated = match (gradient, &mut moments.mean, &mut moments.mean_square) {
            (Values::Host(gradient), Values::Host(mean), Values::Host(mean_square)) => {
                let mut data: TensorData = plain.into_data();
                update.on_host(
                    slice_mut(&mut data),
                    slice(&gradient),
                    slice_mut(mean),
                    slice_mut(mean_square),
                );
                Tensor::from_data(data, &context.device)
            }
            (Values::Device(gradient), Values::Device(mean), Values::Device(mean_square)) => {
                let shape = plain.shape();
                let flat = plain.reshape([shape.num_elements()]);
                let [flat, m, v] = update.on_device(flat, gradient, mean.clone(), mean_square.clone());
                (*mean, *mean_square) = (m, v);
                flat.reshape(shape)
            }
            _ => panic!("parameter, gradient and moments lie on two devices"),
        };
        Param::from_mapped_value(id, context.restore(updated), mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn tensor_operations_update_as_the_fused_pass_does() {
        let rule = ParamRule { group: "decay".to_owned(), lr_scale: 0.5, weight_decay: 0.05 };
        let update = Update::new(AdamWConfig::TORCH, &rule, 3, 0.1, 0.25);
        let mut fused = [[1.0, -2.0, 0.0], [0.5, 0.1, -0.2], [0.3, 0.02, 1e-8]];
        let gradient = [0.7, -1e-3, 0.0];
        let tensor = |values: [f32; 3]| Tensor::<1>::from_floats(values, &Device::flex());
        let [param, mean, mean_square] = fused.map(tensor);
        let composed = update.on_device(param, tensor(gradient), mean, mean_square);
        let [param, mean, mean_square] = &mut fused;
        update.on_host(param, &gradient, mean, mean_square);
        for (composed, fused) in composed.into_iter().zip(fused) {
            let data = composed.into_data();
            for (composed, fused) in slice(&data).iter().zip(fused) {
                assert!((composed - fused).abs() <= 1e-6 * fused.abs(), "{composed} {fused}");
            }
        }
    }
}
