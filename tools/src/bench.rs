//! What all `info --bench` share: how fast a network runs on this machine, on invented images, as JSON.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use burn::prelude::*;
use burn::tensor::TensorData;
use clap::Args;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::device_spec::DeviceSpec;
use crate::memory;
use crate::precision::Precision;

/// Steps before the first that counts: memory is laid out, and on a GPU kernels are compiled and chosen.
const WARM_UP: usize = 3;

/// Whether and how to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Measure instead, at this size: seconds of inference and of a training step, as JSON
    #[arg(long)]
    pub bench: bool,
    /// Images at a time, for --bench
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// Steps that count, after three that do not, for --bench
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs: u16,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX, for --bench
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

impl BenchArgs {
    /// The setting asked for, at `size`: height and width, input pixels.
    pub(crate) fn setting(
        &self,
        size: [usize; 2],
        precision: Option<Precision>,
        err: &mut dyn Write,
    ) -> Result<Setting> {
        let device_spec = self.device.resolve();
        let device = device_spec.open()?;
        let precision = Precision::on(precision, &device, err)?;
        let (batch, runs) = (self.batch.into(), self.runs.into());
        Ok(Setting { device_spec, device, precision, size, batch, runs })
    }
}

/// A size as typed: `HEIGHTxWIDTH`.
pub(crate) fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let sides = text
        .split_once('x')
        .and_then(|(height, width)| Some([height.parse::<usize>().ok()?, width.parse::<usize>().ok()?]));
    match sides {
        Some(sides) if sides.iter().all(|side| (32..=65536).contains(side)) => Ok(sides),
        _ => Err("expected HEIGHTxWIDTH in pixels, each from 32 to 65536, as in `800x1280`".to_owned()),
    }
}

/// Where, at which size and how often it is measured.
pub(crate) struct Setting {
    /// A choice, not `auto`.
    device_spec: DeviceSpec,
    pub(crate) device: Device,
    /// What products are computed in.
    precision: cvx_backbone::Precision,
    /// Height and width, input pixels.
    pub(crate) size: [usize; 2],
    /// Images at a time.
    pub(crate) batch: usize,
    /// Steps that count.
    runs: usize,
}

impl Setting {
    /// The setting and what was measured in it. Inference comes first: its peak of memory is then its own, on a CPU.
    pub(crate) fn report(
        &self,
        inference: impl FnOnce() -> Result<Value>,
        training_step: impl FnOnce() -> Result<Value>,
    ) -> Result<Value> {
        let [height, width] = self.size;
        Ok(json!({
            "device": self.device_spec.to_string(),
            "precision": match self.precision {
                cvx_backbone::Precision::F32 => "f32",
                cvx_backbone::Precision::Bf16 => "bf16",
            },
            "threads": rayon::current_num_threads(),
            "batch": self.batch,
            "height": height,
            "width": width,
            "inference": self.precision.scope(inference)?,
            "training_step": self.precision.scope(training_step)?,
        }))
    }

    /// Seconds of `work`; each run ends when the device has done all of it.
    pub(crate) fn measure(&self, mut work: impl FnMut()) -> Result<Value> {
        let mut seconds = Vec::with_capacity(self.runs);
        for run in 0..WARM_UP + self.runs {
            let begin = Instant::now();
            work();
            self.device.sync()?;
            if run >= WARM_UP {
                seconds.push(begin.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        Ok(json!({
            "median_s": median,
            "min_s": seconds[0],
            "max_s": seconds[seconds.len() - 1],
            "images_per_s": self.batch as f64 / median,
            "peak_rss_mb": memory::peak_resident().map(|bytes| bytes / 1_000_000),
        }))
    }

    /// Noise, as if it were normalised pixels: `[batch, 3, height, width]`.
    pub(crate) fn images(&self, device: &Device) -> Tensor<4> {
        let [height, width] = self.size;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let count = self.batch * 3 * height * width;
        let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.7..1.7)).collect();
        Tensor::from_data(TensorData::new(values, [self.batch, 3, height, width]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_height_then_width() {
        assert_eq!(parse_size("800x1280"), Ok([800, 1280]));
        assert!(parse_size("800").is_err() && parse_size("8x8").is_err());
    }
}
