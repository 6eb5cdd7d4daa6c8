//! `cvx-seg check`: reads the whole data set of a recipe and lists what would stop or hurt a training.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{
    BatchSampler, ClassCount, Dataset as _, ImagesRead, Loader, Pipeline, Sample, SegmentationFolder,
    SegmentationReport, Transform, check_segmentation,
};
use image::RgbImage;

use super::data::{self, Source};
use super::initial::initial;
use super::pictures::colors_of;
use super::recipe::Recipe;
use crate::args::CheckArgs;
use crate::browse::{Sheet, browse, file_and_size, tell};
use crate::check::{self, Course, Decoded};
use crate::counting::Counting;
use crate::draw::{Legend, label_overlay};
use crate::exit::{Exit, Streams};
use crate::findings::Findings;
use crate::recipe::{self, TransformRecipe};
use crate::verbosity::verbosity;
use crate::wording::counted;

/// Share of the pixels that are ignored from which that is doubtful.
const MANY_IGNORED: f64 = 0.5;
/// Share of the labelled pixels from which a class is nearly everything.
const NEARLY_ALL: f64 = 0.99;
/// Opacity of the labels on a browsed sample.
const OPACITY: f32 = 0.55;

/// Checks images and labels of both halves; ends with [`Exit::BadInput`] if training would stop.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let source = Source::of(&recipe.data)?;
    let names = &source.classes.names;
    let read = if args.images { ImagesRead::Pixels } else { ImagesRead::Headers };
    let mut num_errors = 0;
    let mut decoded: Vec<Decoded> = Vec::new();
    let mut reports: Vec<SegmentationReport> = Vec::new();
    let halves = [("train", &source.train), ("validation", &source.val)];
    // Some recipes judge what they train on.
    let num_halves = if source.train == source.val { 1 } else { 2 };
    for (name, half) in halves.into_iter().take(num_halves) {
        let (counting, told): (Mutex<Option<Counting>>, _) = (Mutex::new(None), verbosity());
        let progress = |pairs, total| {
            let mut counting = counting.lock().unwrap_or_else(PoisonError::into_inner);
            counting.get_or_insert_with(|| Counting::on_stderr_at(told, "read", total)).advance(pairs);
        };
        let expected = if name == "train" { source.expect_train() } else { source.expect_val() };
        let encoding = &source.encoding;
        let report = expected.and_then(|()| {
            Ok(check_segmentation(half, encoding, names, source.first_images, read, &progress)?)
        });
        drop(counting);
        let out = &mut *streams.out;
        let report = match report {
            Ok(report) => report,
            // The other half may have something to tell, too.
            Err(error) => {
                num_errors += 1;
                writeln!(out, "{name}:\n  error: {error:#}")?;
                continue;
            }
        };
        writeln!(out, "{name}: {}: {}", half.images.display(), counted(report.images, "image", "images"))?;
        let mut findings = Findings::default();
        findings.extend(&report.problems);
        doubt_shares(&report, names, &mut findings);
        let opened = if name == "train" { source.open_train() } else { source.open_val() };
        // What keeps it from being opened is among the problems.
        if let Ok(folder) = &opened {
            if name == "train" {
                doubt_course(recipe, folder, &mut findings);
            }
            if args.images {
                let files: Vec<(PathBuf, _)> =
                    (0..folder.len()).map(|index| (folder.image_file(index).to_owned(), None)).collect();
                let seen = check::decode(&files, &mut findings);
                seen.doubt_normalisation(&recipe.input.mean, &recipe.input.std, &mut findings);
                if let Some(train) = decoded.first() {
                    Decoded::doubt_copies(train, &seen, &mut findings);
                }
                decoded.push(seen);
            }
        }
        if let Some(train) = reports.first() {
            doubt_classes(train, &report, names, &mut findings);
        }
        num_errors += findings.num_errors();
        findings.write(out, args.limit)?;
        write_shares(&report, names, out)?;
        reports.push(report);
    }
    if num_halves == 1 {
        writeln!(streams.out, "validation: the images of training: what is judged is learnt by heart")?;
    }
    if !args.images {
        writeln!(streams.out, "{}", check::NOT_DECODED)?;
    }
    if let Err(error) = source.compare_classes(recipe) {
        num_errors += 1;
        writeln!(streams.out, "  error: {error}")?;
    }
    if num_errors == 0 {
        let initial = initial(recipe, names, &Device::flex());
        num_errors += check::beginning(initial, &recipe.plan(), &written, streams.out)?;
    }
    if let Some(count) = args.browse {
        for name in ["train", "validation"] {
            let drawn = draw_samples(recipe, &source, count, args, name);
            tell(name, "samples with their truth", drawn, num_errors > 0, streams.out)?;
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

/// What the labels of a half say together.
fn doubt_shares(report: &SegmentationReport, names: &[String], findings: &mut Findings) {
    let labelled: u64 = report.classes.iter().map(|class| class.pixels).sum();
    let all = labelled + report.ignored_pixels;
    if all > 0 && labelled == 0 {
        return findings
            .error("every pixel is ignored: there is nothing to learn from or to judge by".to_owned());
    }
    if all > 0 && report.ignored_pixels as f64 > MANY_IGNORED * all as f64 {
        findings.warn(format!(
            "{:.1} % of the pixels are ignored: labels of a class that is not declared, or a value that is ignored by mistake?",
            100.0 * report.ignored_pixels as f64 / all as f64
        ));
    }
    let nearly_all = |class: &ClassCount| labelled > 0 && class.pixels as f64 > NEARLY_ALL * labelled as f64;
    if names.len() > 1
        && let Some((name, class)) = names.iter().zip(&report.classes).find(|(_, class)| nearly_all(class))
    {
        findings.warn(format!(
            "{:.2} % of the labelled pixels are `{name}`: a network that says so everywhere is nearly always right, and learns nothing else",
            100.0 * class.pixels as f64 / labelled as f64
        ));
    }
}

/// Classes that are judged and were never learnt.
fn doubt_classes(
    train: &SegmentationReport,
    val: &SegmentationReport,
    names: &[String],
    findings: &mut Findings,
) {
    for ((name, train), val) in names.iter().zip(&train.classes).zip(&val.classes) {
        if train.pixels == 0 && val.pixels > 0 {
            let text = format!(
                "`{name}` is in {} to be judged by and in none to learn from, so its IoU will be 0",
                counted(val.images as usize, "image", "images")
            );
            findings.warning_of("classes that cannot be learnt", text);
        }
    }
}

/// What the recipe's course makes of so many images, and of their sizes.
fn doubt_course(recipe: &Recipe, folder: &Arc<SegmentationFolder>, findings: &mut Findings) {
    check::doubt_normalisation(&recipe.input.mean, &recipe.input.std, findings);
    let loader = match data::train_loader(recipe, folder) {
        Ok(loader) => loader,
        Err(error) => return findings.error(format!("{error:#}")),
    };
    Course::of(&recipe.plan(), folder.len(), loader.batches_per_epoch()).doubt(findings);
    let crop = match recipe.train.transforms.as_slice() {
        // Where nothing is resized before, the files' own sizes are what is cut.
        [TransformRecipe::CategoryCrop { height, width, .. }, ..] => (*width, *height),
        _ => return,
    };
    // Sizes that cannot be read are among the problems.
    for (index, (width, height)) in folder.sizes().unwrap_or_default().into_iter().enumerate() {
        if width < crop.0 || height < crop.1 {
            let text = format!(
                "{}: {width} x {height} is smaller than the crop of {} x {}, and is padded",
                folder.image_file(index).display(),
                crop.0,
                crop.1
            );
            findings.warning_of("images smaller than the crop", text);
        }
    }
}

/// A sheet of samples: of training as its first epoch sees them, of validation resized as they are judged.
fn draw_samples(
    recipe: &Recipe,
    source: &Source,
    count: usize,
    args: &CheckArgs,
    name: &str,
) -> Result<Sheet> {
    let names = &source.classes.names;
    let colors = colors_of(recipe, &source.classes)?;
    let draw = |sample: &Sample| -> RgbImage {
        let legend = Legend { names, colors: &colors };
        match &sample.labels {
            Some(labels) => label_overlay(&sample.image, labels, legend, OPACITY),
            None => sample.image.clone(),
        }
    };
    let loader = if name == "train" {
        data::train_loader(recipe, &source.open_train()?)?
    } else {
        val_with_labels(recipe, source)?
    };
    browse(&loader, count, &draw, &file_and_size, &args.out, name)
}

/// Validation images with their labels, resized as they are judged.
fn val_with_labels(recipe: &Recipe, source: &Source) -> Result<Loader> {
    let names = source.classes.names.clone();
    let folder = SegmentationFolder::for_training(&source.val, source.encoding.clone(), names)?;
    let (long, short) = (recipe.evaluate.long_side, recipe.evaluate.short_side);
    let pipeline = Pipeline { transforms: vec![Transform::ResizeKeepRatio { long, short }] };
    let sampler = BatchSampler::shuffled(&vec![(1, 1); folder.len()], 1, recipe.seed);
    Ok(Loader::new(Arc::new(folder), Arc::new(pipeline), sampler, recipe.train.workers))
}

/// How much of the pixels, and of the images, each class has.
fn write_shares(report: &SegmentationReport, names: &[String], out: &mut dyn std::io::Write) -> Result<()> {
    let labelled: u64 = report.classes.iter().map(|class| class.pixels).sum();
    let share = |pixels: u64| 100.0 * pixels as f64 / (labelled + report.ignored_pixels).max(1) as f64;
    writeln!(out, "  {:<24} {:>10} {:>10}", "class", "% pixels", "images")?;
    for (name, ClassCount { pixels, images }) in names.iter().zip(&report.classes) {
        writeln!(out, "  {name:<24} {:>10.3} {images:>10}", share(*pixels))?;
    }
    writeln!(out, "  {:<24} {:>10.3}", "(ignored)", share(report.ignored_pixels))?;
    Ok(())
}
