//! An exponential moving average of the weights over the updates.
//!
//! Paper: Acceleration of Stochastic Approximation by Averaging, Polyak and Juditsky 1992; with exponential weights as in
//! ConvNeXt's `main.py` (timm's `ModelEma`).
//!
//! ```text
//! average <- average + (weights - average) * (1 - decay)
//! ```
//!
//! The warm-up is that of TensorFlow's `ExponentialMovingAverage`: before update `n + 1` the decay is
//! `min(decay, (1 + n) / (10 + n))`. Running statistics of batch norms are averages already and are copied, as in mmengine
//! (`update_buffers = False`); timm averages them once more.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use cvx_heads::is_running_statistic;

use crate::train::params::{self, ParamInfo, Path};
use crate::train::values::Values;

/// How fast the average follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmaConfig {
    /// Share of the average that an update leaves, in the long run.
    pub decay: f64,
    /// Whether the share is smaller at first.
    pub warmup: bool,
}

impl EmaConfig {
    /// The share of the average that is left by the update after `updates` others.
    pub fn decay_after(self, updates: usize) -> f64 {
        let Self { decay, warmup } = self;
        let n = updates as f64;
        if warmup { decay.min((1.0 + n) / (10.0 + n)) } else { decay }
    }
}

/// The average of a model's parameters, by path.
#[derive(Clone, Debug)]
pub struct Ema {
    config: EmaConfig,
    values: BTreeMap<String, Values>,
}

impl Ema {
    /// The average of a model that was never updated: the model.
    pub fn new<M: Module>(config: EmaConfig, model: &M) -> Self {
        let mut ema = Self { config, values: BTreeMap::new() };
        ema.visit(model, 1.0);
        ema
    }

    /// An average read from a file.
    pub(crate) fn from_values(config: EmaConfig, values: BTreeMap<String, Values>) -> Self {
        Self { config, values }
    }

    /// Follows an update of the model that came after `updates` others.
    ///
    /// # Panics
    /// If the model has other parameters than the one it was made of.
    pub fn follow<M: Module>(&mut self, model: &M, updates: usize) {
        self.visit(model, 1.0 - self.config.decay_after(updates));
    }

    /// The model with the average in the place of its weights.
    ///
    /// # Panics
    /// As [`Ema::follow`].
    pub fn averaged<M: Module>(&self, model: M) -> M {
        let replaced = params::replace_each(model, &mut |path, shape| {
            let info = ParamInfo { path: path.to_owned(), shape: shape.to_vec() };
            Ok(Some(self.value(&info)))
        });
        replaced.unwrap_or_else(|_| unreachable!("no value is an error"))
    }

    /// The average of one parameter.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn value(&self, info: &ParamInfo) -> TensorData {
        match self.values.get(&info.path) {
            Some(values) => values.to_data(&info.shape),
            None => panic!("the average has no parameter `{}`", info.path),
        }
    }

    fn visit<M: Module>(&mut self, model: &M, weight: f64) {
        model.visit(&mut Follower { path: Path::default(), values: &mut self.values, weight });
    }
}

struct Follower<'a> {
    path: Path,
    values: &'a mut BTreeMap<String, Values>,
    /// How far towards the model.
    weight: f64,
}

impl ModuleVisitor for Follower<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.joined();
        let now = Values::new(param.base().inner());
        let average = match self.values.remove(&path) {
            Some(average) if !is_running_statistic(&path) => average.towards(now, self.weight),
            _ => now,
        };
        self.values.insert(path, average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decay_warms_up_to_its_value() {
        let config = EmaConfig { decay: 0.9, warmup: true };
        let decays: Vec<f64> = [0, 1, 10, 80, 81, 1000].iter().map(|&n| config.decay_after(n)).collect();
        assert_eq!(decays, [0.1, 2.0 / 11.0, 0.55, 0.9, 0.9, 0.9]);
        assert_eq!(EmaConfig { warmup: false, ..config }.decay_after(0), 0.9);
    }
}
