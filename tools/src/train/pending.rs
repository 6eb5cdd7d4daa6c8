//! The micro-batches of one update: their gradients summed, their losses kept until one reading of the device.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Tensor, Transaction};

use crate::train::clip::{Clipped, NormSquared, ParamGradients};
use crate::train::values::slice;

/// The losses of a micro-batch, by name.
pub type Losses = Vec<(&'static str, Tensor<1>)>;

/// The micro-batches since the last update.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    gradients: ParamGradients,
    losses: Losses,
    pub(crate) batches: usize,
    images: usize,
}

/// What an update needs and a log records.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) gradients: ParamGradients,
    /// In the order of the micro-batches.
    pub(crate) losses: Vec<(&'static str, f32)>,
    pub(crate) clipped: Clipped,
    pub(crate) batches: usize,
    pub(crate) images: usize,
}

impl Pending {
    /// Takes the losses of a micro-batch through backward.
    ///
    /// # Panics
    /// If there is no loss.
    pub(crate) fn add<M: Module>(&mut self, model: &M, losses: Losses, images: usize) {
        let total = losses.iter().map(|(_, loss)| loss.clone()).reduce(|sum, loss| sum + loss);
        let Some(total) = total else {
            panic!("a step without losses");
        };
        self.gradients.add(ParamGradients::collect(model, total.backward()));
        // Without autodiff, so that the graph is freed before the next micro-batch.
        self.losses.extend(losses.into_iter().map(|(name, loss)| (name, loss.inner())));
        self.batches += 1;
        self.images += images;
    }

    /// Reads losses and gradient norm from the device, in one synchronisation.
    pub(crate) fn measure(self, max_norm: Option<f64>) -> Measured {
        let Self { gradients, losses, batches, images } = self;
        let mut transaction = Transaction::default();
        let mut names = Vec::with_capacity(losses.len());
        for (name, loss) in losses {
            names.push(name);
            transaction = transaction.register(loss);
        }
        let on_host = match gradients.norm_squared() {
            NormSquared::Host(value) => Some(value),
            NormSquared::Device(tensor) => {
                transaction = transaction.register(*tensor);
                None
            }
        };
        let data = transaction.execute();
        let mut values = data.iter().map(|data| slice(data).iter().sum::<f32>());
        let losses = names.into_iter().zip(values.by_ref()).collect();
        let norm_squared = on_host.unwrap_or_else(|| values.next().map_or(f64::NAN, f64::from));
        let clipped = Clipped::new(norm_squared, batches, max_norm);
        Measured { gradients, losses, clipped, batches, images }
    }
}

impl Measured {
    /// Whether the update may be made.
    pub(crate) fn is_finite(&self) -> bool {
        self.clipped.norm.is_finite() && self.losses.iter().all(|(_, loss)| loss.is_finite())
    }

    /// Each loss, averaged over the micro-batches.
    pub(crate) fn mean_losses(&self) -> BTreeMap<String, f64> {
        let mut means = BTreeMap::new();
        for (name, loss) in &self.losses {
            *means.entry((*name).to_owned()).or_default() += f64::from(*loss) / self.batches as f64;
        }
        means
    }

    /// All terms with their values, for a message.
    pub(crate) fn terms(&self) -> String {
        let losses = self.losses.iter().map(|(name, loss)| format!("{name} = {loss}, "));
        format!("{}gradient norm = {}", losses.collect::<String>(), self.clipped.norm)
    }
}
