//! An autoencoder against the images it is judged by: how much of what is hidden it imagines.

use std::sync::Arc;

use anyhow::{Result, ensure};
use burn::prelude::*;
use cvx_backbone::Fcmae;
use cvx_data::Dataset as _;

use super::data::{self, Images};
use super::model::Architecture;
use crate::classify::Preprocessing;
use crate::report::Metrics;

/// What an evaluation measures, means over images: the loss, and the share of the variation within hidden patches that
/// is predicted.
const METRICS: [&str; 2] = ["loss", EXPLAINED];

/// The metric whose highest value decides which checkpoint is the best.
pub(super) const EXPLAINED: &str = "explained";

/// Refuses a name that no evaluation produces, listing those that exist.
pub(super) fn known_metric(key: &str, name: &str) -> Result<()> {
    ensure!(
        METRICS.contains(&name),
        "{key}: unknown metric `{name}`, expected one of `{}`",
        METRICS.join("`, `")
    );
    Ok(())
}

/// What is needed to judge.
pub(super) struct Judge<'a> {
    pub(super) fcmae: &'a Fcmae,
    pub(super) architecture: &'a Architecture,
    pub(super) preprocessing: &'a Preprocessing,
    pub(super) device: &'a Device,
}

impl Judge<'_> {
    /// The metrics over all images. Of each image the same patches are hidden every time.
    pub(super) fn run(
        &self,
        images: &Arc<Images>,
        batch_size: usize,
        workers: usize,
        count: &mut dyn FnMut(usize),
    ) -> Result<Metrics> {
        let size = self.preprocessing.size;
        let (mut losses, mut explained) = (0.0, 0.0);
        for samples in data::val_loader(images, self.preprocessing, batch_size, workers).epoch(0, 0) {
            let samples = samples?;
            let seeds: Vec<u64> = samples.iter().map(|sample| sample.index as u64).collect();
            let mask = Arc::new(self.architecture.mask(size, &seeds));
            let (loss, share) = self.fcmae.judge(self.preprocessing.images(&samples, self.device), &mask);
            for (total, values) in [(&mut losses, loss), (&mut explained, share)] {
                *total += values.try_into_vec_as::<f32>()?.into_iter().map(f64::from).sum::<f64>();
            }
            count(samples.len());
        }
        let count = images.len() as f64;
        Ok(METRICS.iter().map(|&name| name.to_owned()).zip([losses / count, explained / count]).collect())
    }
}
