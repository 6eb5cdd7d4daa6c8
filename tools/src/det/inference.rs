//! A detector at work on many images: read, resized, looked at, and brought back to image pixels.

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{Loader, Sample};

use super::model::{Detector, Preprocessing};
use crate::collate::{Located, collate, locate};

/// What turns a network's output into pixels, and where it runs.
pub(super) struct Inference<'a> {
    /// On a device without autodiff.
    pub(super) detector: &'a Detector,
    /// How images become its input.
    pub(super) preprocessing: &'a Preprocessing,
    /// Probability from which on a pixel belongs to a mask.
    pub(super) mask_threshold: f32,
    /// The detector's device.
    pub(super) device: &'a Device,
}

impl Inference<'_> {
    /// Hands what is found in every image of `loader` to `take`, in the loader's order.
    pub(super) fn run(
        &self,
        loader: &Loader,
        take: &mut dyn FnMut(&Sample, Vec<Located>) -> Result<()>,
    ) -> Result<()> {
        for samples in loader.epoch(0, 0) {
            let samples = samples?;
            let found = self.batch(&samples);
            for (sample, located) in samples.iter().zip(found) {
                take(sample, located)?;
            }
        }
        Ok(())
    }

    /// What is found in each of some resized images, in pixels of the originals.
    pub(super) fn batch(&self, samples: &[Sample]) -> Vec<Vec<Located>> {
        let batch = collate(samples, &self.preprocessing.input, self.device);
        let found = self.detector.detect(batch.images, &batch.sizes);
        let images = samples.iter().zip(&found);
        images.map(|(sample, found)| locate(found, &sample.geometry, self.mask_threshold)).collect()
    }
}
