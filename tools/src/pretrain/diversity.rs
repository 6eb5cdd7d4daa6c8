//! `cvx-pretrain diversity`: how different the channels of every layer are, from image to image.
//!
//! ConvNeXt V2, Woo et al. 2023, <https://arxiv.org/abs/2301.00808>, section 3: the cosine distance between feature maps,
//! each flattened, averaged over all pairs of channels and over images:
//!
//! ```text
//! distance = mean over i, j of (1 - cos(X_i, X_j)) / 2
//! ```
//!
//! A layer is the hidden layer of a block, where V1's channels die or saturate when it is pretrained by masking and where
//! V2 lets them compete. A channel that is zero everywhere has no direction; its cosine with any other counts as 0.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use burn::prelude::*;
use cvx_backbone::ConvNext;
use cvx_data::{Sample, read_image};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::args::DiversityArgs;
use super::diversity_plot;
use crate::classify::Preprocessing;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::image_files::image_files;
use crate::train::atomic_file;
use crate::train::params::{self, ParamInfo};
use crate::weights::model::{Alone, Maps, Model, Part};

/// Images at a time.
const BATCH: usize = 8;

/// Added to the length of a channel before it is divided by (PyTorch's `cosine_similarity`).
const SHORTEST: f64 = 1e-8;

/// What one model came to.
pub(super) struct Curve {
    /// What the model is called.
    pub(super) name: String,
    /// Mean distance of every layer, the first block's first.
    pub(super) distances: Vec<f64>,
}

/// Measures every model on the same images, prints the means, and plots the layers.
///
/// # Errors
/// If weights or images cannot be read, or the picture not be written.
pub fn diversity(args: &DiversityArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    ensure!(
        args.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png")),
        "{}: the picture is a PNG file, so the name must end in `.png`",
        args.out.display()
    );
    let device = args.device.open()?;
    let files = image_files(&args.images, None)?;
    let files = spread(&files, args.most as usize);
    let mut curves = Vec::new();
    for named in &args.weights {
        let (name, path) = parted(named)?;
        let (backbone, preprocessing, remarks) = open(&path, args.size, &device)?;
        remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
        let distances = measure(&backbone, &preprocessing, &files, &device)?;
        let mean = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
        writeln!(streams.out, "{name}: mean distance {mean:.4} over {} layers", distances.len())?;
        curves.push(Curve { name, distances });
    }
    if let Some(json) = &args.json {
        let models: Vec<Value> = curves
            .iter()
            .map(|Curve { name, distances }| json!({ "name": name, "distances": distances }))
            .collect();
        let text = serde_json::to_string_pretty(&json!({ "images": files.len(), "models": models }))? + "\n";
        atomic_file::replace(json, |file| Ok(file.write_all(text.as_bytes())?))?;
    }
    if let Some(folder) = args.out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
    }
    diversity_plot::draw(&args.out, &curves)?;
    writeln!(streams.out, "-> {}", args.out.display())?;
    Ok(Exit::Done)
}

/// `NAME=FILE`, or a file that is its own name.
fn parted(named: &str) -> Result<(String, PathBuf)> {
    // A file may have an equals sign in its name.
    if Path::new(named).exists() {
        return Ok((named.to_owned(), named.into()));
    }
    match named.split_once('=') {
        Some((name, path)) if !name.is_empty() => Ok((name.to_owned(), path.into())),
        _ => bail!("--weights {named}: no such file, and not NAME=FILE"),
    }
}

/// Some of the files, evenly spread.
fn spread(files: &[PathBuf], most: usize) -> Vec<PathBuf> {
    let count = files.len().min(most);
    (0..count).map(|index| files[index * files.len() / count].clone()).collect()
}

/// The backbone of a file, how images become its input, and what a person should know of it.
fn open(path: &Path, size: u32, device: &Device) -> Result<(ConvNext, Preprocessing, Vec<String>)> {
    let (model, remarks) = Model::open(path, None, Part::Backbone)?;
    let config = model.architecture.model().config();
    let has_norms = matches!(&model.architecture,
        crate::weights::model::Architecture::Backbone(alone) if alone.maps == Maps::Normalised);
    let alone = Alone { backbone: config.with_output_norms(has_norms).init(device) };
    let alone = params::replace_each(alone, &mut |path, shape| {
        model.read(&ParamInfo { path: path.to_owned(), shape: shape.to_vec() }).map(Some)
    })?;
    // A classifier's preprocessing has them at the top, a detector's in its input.
    let told = |key: &str| -> Option<[f32; 3]> {
        let told = &model.preprocessing;
        let value = told.get(key).or_else(|| told.get("input")?.get(key))?;
        serde_json::from_value(value.clone()).ok()
    };
    let official = Preprocessing::official(size);
    let preprocessing = Preprocessing {
        mean: told("mean").unwrap_or(official.mean),
        std: told("std").unwrap_or(official.std),
        ..official
    };
    Ok((alone.backbone, preprocessing, remarks))
}

/// The mean distance of every layer.
fn measure(
    backbone: &ConvNext,
    preprocessing: &Preprocessing,
    files: &[PathBuf],
    device: &Device,
) -> Result<Vec<f64>> {
    let pipeline = preprocessing.pipeline();
    let mut sums: Vec<f64> = Vec::new();
    let mut counting = Counting::on_stderr("measured", files.len());
    for (batch, files) in files.chunks(BATCH).enumerate() {
        let samples = files.iter().enumerate().map(|(index, file)| {
            let sample = Sample::of_image(batch * BATCH + index, file.clone(), read_image(file)?);
            Ok(pipeline.apply(sample, &mut ChaCha8Rng::seed_from_u64(0)))
        });
        let samples = samples.collect::<Result<Vec<Sample>>>()?;
        let images = preprocessing.images(&samples, device);
        let mut layers = Vec::new();
        backbone.look_at_hidden(images, &mut |hidden| layers.push(distances(hidden).sum()));
        sums.resize(layers.len(), 0.0);
        for (sum, layer) in sums.iter_mut().zip(layers) {
            *sum += f64::from(layer.into_scalar::<f32>());
        }
        counting.advance(samples.len());
    }
    Ok(sums.into_iter().map(|sum| sum / files.len() as f64).collect())
}

/// The distance of each image. With `u` the channels divided by their lengths, the cosines of all pairs add up to the
/// square of the length of the sum of all `u`.
///
/// # Shapes
/// - `hidden`: `[batch, positions, channels]`
/// - output: `[batch]`
fn distances(hidden: Tensor<3>) -> Tensor<1> {
    let [batch, _, channels] = hidden.dims();
    let lengths = (hidden.clone() * hidden.clone()).sum_dim(1).sqrt();
    let directions = hidden / (lengths + SHORTEST);
    let sum = directions.sum_dim(2);
    let cosines = (sum.clone() * sum).sum_dim(1).reshape([batch]) / (channels * channels) as f64;
    (cosines.neg() + 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance of one image whose channels are the columns.
    #[track_caller]
    fn case<const POSITIONS: usize, const CHANNELS: usize>(
        hidden: [[f32; CHANNELS]; POSITIONS],
        expected: f32,
    ) {
        let hidden = Tensor::<2>::from_data(hidden, &Device::flex()).unsqueeze::<3>();
        let distance: f32 = distances(hidden).into_scalar();
        assert!((distance - expected).abs() < 1e-6, "{distance}, expected {expected}");
    }

    #[test]
    fn alike_channels_have_no_distance_and_opposite_ones_a_half_on_average() {
        // Cosines of the four pairs: 1, 1, 1, 1.
        case([[1.0, 2.0], [3.0, 6.0]], 0.0);
        // 1, -1, -1, 1.
        case([[1.0, -1.0], [3.0, -3.0]], 0.5);
        // 1, 0, 0, 1.
        case([[1.0, 0.0], [0.0, 5.0]], 0.25);
        // A dead channel is at right angles to all, itself included: 1, 0, 0, 0.
        case([[1.0, 0.0], [2.0, 0.0]], 0.375);
    }

    #[test]
    fn images_are_spread_over_those_given() {
        let files: Vec<PathBuf> = (0..10).map(|index| index.to_string().into()).collect();
        assert_eq!(spread(&files, 4), ["0", "2", "5", "7"].map(PathBuf::from));
        assert_eq!(spread(&files, 99).len(), 10);
    }
}
