//! `cvx-seg predict`: a class for every pixel of images, as label images and drawn on them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::prelude::*;
use cvx_data::{LabelMap, read_image, write_label_png};
use cvx_heads::{Band, Wanted};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::args_predict::PredictArgs;
use super::inference::{Look, each_band};
use super::model::{self, Preprocessing, Trained};
use super::probability_file::ProbabilityFile;
use crate::counting::Counting;
use crate::draw::{Legend, class_shares, label_overlay, percent};
use crate::exit::{self, Exit, Streams};
use crate::image_files::{FreshNames, image_files};
use crate::recipe::checks;
use crate::train::atomic_file;
use crate::wording::counted;

/// Classes that are told of each image.
const TOLD: usize = 4;

/// Classifies the pixels of every image; one that cannot be read or written is reported, and the others go on.
pub fn predict(args: &PredictArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    ensure!((0.0..=1.0).contains(&args.opacity), "--opacity {}: possible are shares, 0 to 1", args.opacity);
    let device = args.device.open()?;
    let mut trained = model::load(&args.weights, &device)?;
    change(&mut trained.preprocessing, args)?;
    let look = Look { window: trained.preprocessing.window, scales: args.scales.clone(), flip: args.flip };
    look.check("--")?;
    let most = LabelMap::MOST_CLASSES - 1;
    ensure!(
        !args.zero_label_offset || trained.classes.names.len() <= most,
        "--zero-label-offset: {} has {} classes; possible are {most}, as the last would be 255, which is ignored",
        args.weights.display(),
        trained.classes.names.len()
    );
    trained.remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
    let files = image_files(&args.images, Some(&args.out))?;

    let folders = Folders::create(args)?;
    let mut prediction = Prediction {
        trained: &trained,
        look: &look,
        device: &device,
        args,
        probabilities: folders.probabilities.as_deref(),
        labels: FreshNames::new(&folders.labels, &args.images, &files),
        overlays: FreshNames::new(&folders.overlays, &args.images, &files),
    };
    let mut failed = Vec::new();
    let mut counting = Counting::on_stderr("predicted", files.len());
    for file in &files {
        counting.advance(1);
        match prediction.of(file) {
            Ok(said) => writeln!(streams.out, "{said}")?,
            Err(error) => {
                write!(streams.err, "{}", exit::describe(&error))?;
                failed.push(file);
            }
        }
    }
    drop(counting);
    let names: String = failed.iter().map(|file| format!("\n{}", file.display())).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} failed:{names}",
        failed.len(),
        counted(files.len(), "image", "images")
    );
    Ok(Exit::Done)
}

/// What the command line says instead of the weights.
fn change(preprocessing: &mut Preprocessing, args: &PredictArgs) -> Result<()> {
    if let Some(window) = args.window {
        preprocessing.window = window;
    }
    if let Some(short_side) = args.short_side {
        preprocessing.short_side = short_side;
    }
    if let Some(long_side) = args.long_side {
        preprocessing.long_side = long_side;
    }
    let Preprocessing { short_side, long_side, .. } = *preprocessing;
    checks::check_sides("", short_side, long_side)
        .with_context(|| format!("--short-side and --long-side do not fit {}", args.weights.display()))
}

/// The folders of a run.
struct Folders {
    labels: PathBuf,
    overlays: PathBuf,
    /// Absent unless probabilities are asked for.
    probabilities: Option<PathBuf>,
}

impl Folders {
    fn create(args: &PredictArgs) -> Result<Self> {
        let create = |name: &str| -> Result<PathBuf> {
            let folder = args.out.join(name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("{}: cannot be created", folder.display()))?;
            Ok(folder)
        };
        let probabilities = args.probabilities.then(|| create("probabilities")).transpose()?;
        Ok(Self { labels: create("labels")?, overlays: create("overlays")?, probabilities })
    }
}

/// What does the work on an image.
struct Prediction<'a> {
    trained: &'a Trained,
    look: &'a Look,
    device: &'a Device,
    args: &'a PredictArgs,
    probabilities: Option<&'a Path>,
    labels: FreshNames<'a>,
    overlays: FreshNames<'a>,
}

impl Prediction<'_> {
    /// Writes all that is asked for of one image, and returns what is to be told of it.
    fn of(&mut self, file: &Path) -> Result<String> {
        let (labels_path, overlay_path) = (self.labels.next(file)?, self.overlays.next(file)?);
        let image = read_image(file)?;
        let labels = self.labels_of(&image, &labels_path)?;
        let classes = &self.trained.classes;
        let legend = Legend { names: &classes.names, colors: &classes.colors };
        write_png(&overlay_path, &label_overlay(&image, &labels, legend, self.args.opacity))?;
        let shares = class_shares(&labels, classes.names.len());
        self.write_labels(&labels_path, labels)?;

        let told = shares.iter().take(TOLD).filter_map(|share| Some((share.class?, share.share)));
        let mut told: Vec<String> =
            told.map(|(class, share)| format!("{} {}", classes.names[class], percent(share))).collect();
        if shares.len() > TOLD {
            told.push(format!("{} more", counted(shares.len() - TOLD, "class", "classes")));
        }
        Ok(format!("{}: {} -> {}", file.display(), told.join(", "), labels_path.display()))
    }

    /// The classes of an image's pixels. Their probabilities are written on the way, if they are asked for.
    fn labels_of(&self, image: &RgbImage, labels_path: &Path) -> Result<LabelMap> {
        let Trained { segmentor, preprocessing, classes, .. } = self.trained;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let begin = |folder: &Path| -> Result<ProbabilityFile> {
            let name = labels_path.strip_prefix(self.labels.folder()).unwrap_or(labels_path);
            let path = folder.join(name).with_extension("npy");
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("{}: cannot be created", folder.display()))?;
            }
            ProbabilityFile::begin(&path, classes.names.len(), height, width)
        };
        let mut file = self.probabilities.map(begin).transpose()?;
        let wanted = if file.is_some() { Wanted::Probabilities } else { Wanted::Classes };
        let mut pixels = Vec::with_capacity(width * height);
        let mut take = |band: Band| {
            if let Some(file) = &mut file {
                file.write(&band)?;
            }
            pixels.extend(band.classes);
            Ok(())
        };
        each_band(segmentor, image, preprocessing, self.look, wanted, self.device, &mut take)?;
        file.map_or(Ok(()), ProbabilityFile::commit)?;
        Ok(LabelMap { width, height, pixels })
    }

    fn write_labels(&self, path: &Path, mut labels: LabelMap) -> Result<()> {
        let mut palette = self.trained.classes.colors.clone();
        if self.args.zero_label_offset {
            labels.pixels.iter_mut().for_each(|pixel| *pixel += 1);
            palette.insert(0, [0; 3]);
        }
        Ok(write_label_png(path, &labels, &palette)?)
    }
}

fn write_png(path: &Path, image: &RgbImage) -> Result<()> {
    atomic_file::replace(path, |file| {
        let (width, height) = image.dimensions();
        Ok(PngEncoder::new(file).write_image(image, width, height, ExtendedColorType::Rgb8)?)
    })
}
