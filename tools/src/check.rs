//! What the checks of all programs look for: a recipe and data that are each sound and do not belong together, and image
//! files that are damaged or copies of each other.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use burn::module::Module;
use cvx_data::decode_image;
use image::{ColorType, ImageDecoder as _, ImageReader};
use rayon::prelude::*;

use crate::counting::Counting;
use crate::findings::Findings;
use crate::recipe::plan::Plan;
use crate::recipe::{Decay, Kind, Resolved};
use crate::train::params;
use crate::wording::counted;

/// AdamW's rates in published recipes of these networks lie from 1e-5 to 4e-3; what is far above diverges.
const HIGHEST_USUAL_LR: f64 = 1e-2;

/// Pixels of which one is looked at for the mean.
const PIXEL_STRIDE: usize = 17;

/// The length of a training, and what happens in it.
pub(crate) struct Course<'a> {
    plan: Plan<'a>,
    images: usize,
    batches_per_epoch: usize,
}

impl<'a> Course<'a> {
    /// Of a plan and so many images, in so many micro-batches an epoch.
    pub(crate) fn of(plan: &Plan<'a>, images: usize, batches_per_epoch: usize) -> Self {
        Self { plan: *plan, images, batches_per_epoch }
    }

    /// Notes what will not happen as it is written.
    pub(crate) fn doubt(&self, findings: &mut Findings) {
        let Self { plan, images, batches_per_epoch } = *self;
        let Plan { batch_size, epochs, schedule, .. } = plan;
        if images < batch_size {
            findings.warn(format!(
                "train.batch_size = {batch_size}: with {} to train on, every batch is a smaller one",
                counted(images, "image", "images")
            ));
        }
        if let Some(doubt) = plan.doubt_warmup(batches_per_epoch) {
            findings.warn(doubt);
        }
        if let Decay::Step { milestone_epochs, .. } = &schedule.decay {
            for milestone in milestone_epochs.iter().filter(|milestone| **milestone >= epochs) {
                findings.warn(format!(
                    "schedule.decay.step.milestone_epochs: {milestone} is never reached, since train.epochs = {epochs}"
                ));
            }
        }
        let lr = plan.lr();
        if lr > HIGHEST_USUAL_LR {
            findings.warn(format!(
                "optimizer.adamw.lr = {lr}: published recipes have at most 0.004, and AdamW's losses become NaN at rates far above"
            ));
        }
    }
}

/// Notes a mean and deviation that are meant for pixels from 0 to 1.
pub(crate) fn doubt_normalisation(mean: &[f32; 3], std: &[f32; 3], findings: &mut Findings) {
    // A mean of 0 beside a deviation of 255, or a deviation of 1 beside a mean of 100, is right for weights trained so.
    let small_mean = mean.iter().all(|mean| mean.abs() <= 1.0);
    let small_std = std.iter().all(|std| *std <= 1.0);
    let is_share = |value: &f32| *value > 0.0 && *value < 1.0;
    if (small_mean && small_std) || mean.iter().all(is_share) || std.iter().all(is_share) {
        findings.warn(format!(
            "input.mean = {mean:?}, input.std = {std:?}: look like those of pixels from 0 to 1; here pixels go from 0 to 255, so multiply them by 255"
        ));
    }
}

/// Whether a training could begin with its weights and its optimizer, which is known once it has been tried; tells what it
/// would say, and returns the number of errors.
pub(crate) fn beginning<M: Module, R: Kind>(
    initial: Result<(M, Vec<String>)>,
    plan: &Plan<'_>,
    written: &Resolved<R>,
    out: &mut dyn Write,
) -> Result<usize> {
    let began = initial.and_then(|(model, remarks)| {
        remarks.iter().try_for_each(|remark| writeln!(out, "weights: {remark}"))?;
        plan.groups(&params::trained(&model))
    });
    match began {
        Ok(_) => Ok(0),
        Err(error) => {
            let place = written.place_of_error(&error).replace('\n', "\n    ");
            writeln!(out, "  error: {error:#}{place}")?;
            Ok(1)
        }
    }
}

/// What images are called together that stop a training.
const UNUSABLE: &str = "images that cannot be used";

/// Notes images that cannot be read, of which `limit` may be left out.
pub(crate) fn doubt_unreadable(failures: &[String], limit: usize, findings: &mut Findings) {
    if failures.len() <= limit {
        failures.iter().for_each(|text| {
            findings.warning_of("images that cannot be read, and are left out", text.clone());
        });
        return;
    }
    failures.iter().for_each(|text| findings.error_of(UNUSABLE, text.clone()));
    if limit > 0 {
        findings.error(format!(
            "data.most_unreadable = {limit}: {} cannot be read",
            counted(failures.len(), "image", "images")
        ));
    }
}

/// What decoding all images of a half showed.
pub(crate) struct Decoded {
    /// By a hash of the bytes.
    files: HashMap<u64, PathBuf>,
    /// Of each channel, red first.
    pub(crate) mean: [f64; 3],
    pub(crate) std: [f64; 3],
    /// What cannot be used, and why.
    pub(crate) failures: Vec<String>,
    /// Of the rest, `(width, height)`.
    pub(crate) sizes: Vec<(PathBuf, (u32, u32))>,
    /// Images without colour, and those that say how transparent they are.
    pub(crate) grey: usize,
    pub(crate) transparent: usize,
}

/// Decodes files, and compares their sizes with those expected, where there are any; what cannot be used is an error.
pub(crate) fn decode(files: &[(PathBuf, Option<(u32, u32)>)], findings: &mut Findings) -> Decoded {
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let decoded = decode_each(&paths, &|index| read(&paths[index]), &|index| files[index].1, findings);
    decoded.failures.iter().for_each(|text| findings.error_of(UNUSABLE, text.clone()));
    decoded
}

/// The bytes of a file, or why there are none.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|cause| format!("{}: {cause}", path.display()))
}

/// Decodes what `read` gives under these names.
pub(crate) fn decode_each(
    names: &[PathBuf],
    read: &(dyn Fn(usize) -> Result<Vec<u8>, String> + Sync),
    expected: &(dyn Fn(usize) -> Option<(u32, u32)> + Sync),
    findings: &mut Findings,
) -> Decoded {
    let counting = Mutex::new(Counting::on_stderr("read", names.len()));
    let look = |(index, path): (usize, &PathBuf)| {
        let seen = read(index).and_then(|bytes| look(&bytes, path, expected(index)));
        counting.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
        seen
    };
    let seen: Vec<Result<Seen, String>> = names.par_iter().enumerate().map(look).collect();
    let mut decoded = Decoded {
        files: HashMap::new(),
        mean: [0.0; 3],
        std: [0.0; 3],
        failures: Vec::new(),
        sizes: Vec::new(),
        grey: 0,
        transparent: 0,
    };
    let (mut count, mut sums, mut squares) = (0.0, [0.0; 3], [0.0; 3]);
    for (path, seen) in names.iter().zip(seen) {
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                decoded.failures.push(error);
                continue;
            }
        };
        decoded.sizes.push((path.clone(), seen.size));
        decoded.grey += usize::from(!seen.colour.has_color());
        decoded.transparent += usize::from(seen.colour.has_alpha());
        if let Some(earlier) = decoded.files.insert(seen.hash, path.clone()).filter(|earlier| earlier != path)
        {
            let text = format!("{}: is a copy of {}", path.display(), earlier.display());
            findings.warning_of("copied images", text);
        }
        count += seen.count;
        for (total, more) in sums.iter_mut().zip(seen.sums).chain(squares.iter_mut().zip(seen.squares)) {
            *total += more;
        }
    }
    if count > 0.0 {
        decoded.mean = sums.map(|sum| sum / count);
        for ((std, square), mean) in decoded.std.iter_mut().zip(squares).zip(decoded.mean) {
            *std = (square / count - mean.powi(2)).max(0.0).sqrt();
        }
    }
    decoded
}

impl Decoded {
    /// Notes a normalisation that leaves pixels far from mean 0 and deviation 1.
    pub(crate) fn doubt_normalisation(&self, mean: &[f32; 3], std: &[f32; 3], findings: &mut Findings) {
        let is_far = (0..3).any(|channel| {
            let offset = (self.mean[channel] - f64::from(mean[channel])) / f64::from(std[channel]);
            let spread = self.std[channel] / f64::from(std[channel]);
            self.std[channel] > 0.0 && (offset.abs() > 3.0 || !(0.2..5.0).contains(&spread))
        });
        if is_far {
            let rounded = |values: [f64; 3]| values.map(|value| (value * 10.0).round() / 10.0);
            findings.warn(format!(
                "input.mean = {mean:?}, input.std = {std:?}: the pixels have mean {:?} and deviation {:?}; that is right for weights pretrained so, and else leaves the network with inputs far from 0",
                rounded(self.mean),
                rounded(self.std)
            ));
        }
    }

    /// Notes pictures of the validation half that were trained on.
    pub(crate) fn doubt_copies(train: &Self, val: &Self, findings: &mut Findings) {
        let copies = val.files.iter().filter_map(|(hash, path)| Some((path, train.files.get(hash)?)));
        let mut copies: Vec<_> = copies.collect();
        copies.sort();
        for (path, other) in copies {
            let text = format!("{}: is trained on as {}", path.display(), other.display());
            findings.warning_of("validation images that are trained on", text);
        }
    }
}

/// One image.
struct Seen {
    hash: u64,
    count: f64,
    sums: [f64; 3],
    squares: [f64; 3],
    size: (u32, u32),
    colour: ColorType,
}

fn look(bytes: &[u8], path: &Path, expected: Option<(u32, u32)>) -> Result<Seen, String> {
    let image = decode_image(bytes, path).map_err(|error| error.to_string())?;
    // What was decoded is in colour, whatever the file holds.
    let colour = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok();
    let colour = colour.and_then(|reader| reader.into_decoder().ok()).map(|decoder| decoder.color_type());
    let (width, height) = image.dimensions();
    if let Some((expected_width, expected_height)) = expected.filter(|size| *size != (width, height)) {
        return Err(format!(
            "{}: has {width} x {height} pixels (width x height), but the annotations say {expected_width} x {expected_height}",
            path.display()
        ));
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let mut seen = Seen {
        hash: hasher.finish(),
        count: 0.0,
        sums: [0.0; 3],
        squares: [0.0; 3],
        size: (width, height),
        colour: colour.unwrap_or(ColorType::Rgb8),
    };
    for pixel in image.pixels().step_by(PIXEL_STRIDE) {
        seen.count += 1.0;
        for (channel, value) in pixel.0.iter().enumerate() {
            seen.sums[channel] += f64::from(*value);
            seen.squares[channel] += f64::from(*value).powi(2);
        }
    }
    Ok(seen)
}

/// What to say of images that were not looked into.
pub(crate) const NOT_DECODED: &str = "images were not decoded; --images does";
