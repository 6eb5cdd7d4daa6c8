//! `cvx-cls check`: looks through the folders of a recipe and lists what would stop or hurt a training.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{BatchSampler, Dataset as _, ImageFolder, Loader, Sample, Unreadable, image_size};
use image::RgbImage;
use rayon::prelude::*;

use super::recipe::Recipe;
use super::{data, model};
use crate::args::CheckArgs;
use crate::browse::{Sheet, browse, tell};
use crate::check::{self, Course, Decoded};
use crate::exit::{Exit, Streams};
use crate::findings::Findings;
use crate::recipe::{self, paths, resolve_path};
use crate::verbosity::{Verbosity, verbosity};
use crate::wording::{abridged, counted};

/// Classes that are listed; of more, the rarest.
const LISTED: usize = 20;
/// How many times as many images the commonest class may have as the rarest.
const UNEVEN: usize = 50;

/// Checks the images of both halves; ends with [`Exit::BadInput`] if training would stop.
///
/// # Errors
/// If the recipe cannot be used.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let mut num_errors = 0;
    // Those that could be opened, and what they are called.
    let mut halves: Vec<Arc<ImageFolder>> = Vec::new();
    let mut names = Vec::new();
    let mut decoded: Vec<Decoded> = Vec::new();
    let entries = [("train", "data.train", &recipe.data.train), ("validation", "data.val", &recipe.data.val)];
    for (name, key, text) in entries {
        let folder = resolve_path(key, text)?;
        let mut findings = Findings::default();
        let opened = paths::folder(key, text)
            .and_then(|folder| Ok(ImageFolder::with_classes(&folder, Unreadable::at_most(usize::MAX))?));
        let set = match opened {
            Ok(set) => Arc::new(set),
            Err(error) => {
                let error = error.to_string();
                findings.error(if error.starts_with(key) { error } else { format!("{key}: {error}") });
                num_errors += 1;
                writeln!(streams.out, "{name}: {}", folder.display())?;
                findings.write(streams.out, args.limit)?;
                continue;
            }
        };
        let (images, classes) = (set.len(), set.class_names().len());
        writeln!(
            streams.out,
            "{name}: {}: {}, {}",
            folder.display(),
            counted(images, "image", "images"),
            counted(classes, "class", "classes")
        )?;
        if classes != recipe.head.num_classes {
            findings.error(format!(
                "{}: holds folders of {} ({}), but head.num_classes = {}",
                folder.display(),
                counted(classes, "class", "classes"),
                abridged(set.class_names()),
                recipe.head.num_classes
            ));
        }
        if let Some(train) = halves.first() {
            compare(train, &set, &mut findings);
        } else if name == "train" {
            doubt_course(recipe, &set, &mut findings);
            doubt_evenness(&set, &mut findings);
        }
        // Of those to be judged by, none may be left out.
        let limit = if name == "train" { recipe.data.most_unreadable } else { 0 };
        let files: Vec<PathBuf> = (0..set.len()).map(|index| set.file(index).to_owned()).collect();
        if args.images {
            let seen =
                check::decode_each(&files, &|index| check::read(&files[index]), &|_| None, &mut findings);
            check::doubt_unreadable(&seen.failures, limit, &mut findings);
            seen.doubt_normalisation(&recipe.input.mean, &recipe.input.std, &mut findings);
            if let Some(train) = decoded.first() {
                Decoded::doubt_copies(train, &seen, &mut findings);
            }
            decoded.push(seen);
        } else {
            let damaged = |file: &PathBuf| image_size(file).err().map(|error| error.to_string());
            let damaged: Vec<String> = files.par_iter().filter_map(damaged).collect();
            check::doubt_unreadable(&damaged, limit, &mut findings);
        }
        num_errors += findings.num_errors();
        findings.write(streams.out, args.limit)?;
        halves.push(set);
        names.push(name);
    }
    write_classes(&halves, streams.out)?;
    if !args.images {
        writeln!(streams.out, "{}", check::NOT_DECODED)?;
    }
    if num_errors == 0 {
        let initial = model::initial(recipe, &Device::flex());
        num_errors += check::beginning(initial, &recipe.plan(), &written, streams.out)?;
    }
    if let Some(count) = args.browse {
        for (half, name) in halves.iter().zip(&names) {
            let drawn = draw_samples(recipe, half, name, count, args);
            tell(name, "samples", drawn, num_errors > 0, streams.out)?;
        }
        if names.is_empty() {
            writeln!(streams.out, "no samples are drawn: there is no folder of images")?;
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

/// What only the two halves together tell.
fn compare(train: &ImageFolder, val: &ImageFolder, findings: &mut Findings) {
    let missing = |of: &ImageFolder, from: &ImageFolder| -> Vec<String> {
        of.class_names().iter().filter(|name| !from.class_names().contains(name)).cloned().collect()
    };
    for (only, half) in [(missing(val, train), "validation"), (missing(train, val), "training")] {
        if !only.is_empty() {
            findings.error(format!("only the {half} half has the classes {}", abridged(&only)));
        }
    }
    if train.file(0) == val.file(0) {
        findings.warn("both halves are the same folder: what is judged was learnt by heart".to_owned());
    }
}

/// What the recipe's course makes of so many images.
fn doubt_course(recipe: &Recipe, set: &Arc<ImageFolder>, findings: &mut Findings) {
    let loader = data::train_loader(recipe, set);
    Course::of(&recipe.plan(), set.len(), loader.batches_per_epoch()).doubt(findings);
    check::doubt_normalisation(&recipe.input.mean, &recipe.input.std, findings);
}

/// Images of each class.
fn counts(set: &ImageFolder) -> Vec<usize> {
    let mut counts = vec![0; set.class_names().len()];
    (0..set.len()).for_each(|index| counts[set.class(index)] += 1);
    counts
}

fn doubt_evenness(set: &ImageFolder, findings: &mut Findings) {
    let counts = counts(set);
    let by_count = |of: fn(&usize, &usize) -> bool| {
        (0..counts.len()).reduce(|best, next| if of(&counts[next], &counts[best]) { next } else { best })
    };
    if let (Some(rarest), Some(commonest)) = (by_count(|a, b| a < b), by_count(|a, b| a > b))
        && counts[commonest] > UNEVEN * counts[rarest]
    {
        let names = set.class_names();
        findings.warn(format!(
            "`{}` has {} and `{}` {}: top1 can be high without a single image of the rarer one being told",
            names[rarest],
            counted(counts[rarest], "image", "images"),
            names[commonest],
            counts[commonest]
        ));
    }
}

fn write_classes(halves: &[Arc<ImageFolder>], out: &mut dyn std::io::Write) -> Result<()> {
    // Side by side, or not at all.
    let [train, _] = halves else { return Ok(()) };
    let all: Vec<Vec<usize>> = halves.iter().map(|half| counts(half)).collect();
    let mut classes: Vec<(usize, &String)> = train.class_names().iter().enumerate().collect();
    classes.sort_by_key(|(class, _)| (all[0][*class], *class));
    let listed = if verbosity() == Verbosity::Verbose { classes.len() } else { LISTED };
    let width = classes.iter().take(listed).map(|(_, name)| name.chars().count()).max().unwrap_or(0).max(5);
    writeln!(out, "{:<width$} {:>10} {:>10}", "class", "train", "validation")?;
    for (class, name) in classes.iter().take(listed) {
        let judged = halves[1].class_names().iter().position(|other| other == *name);
        let judged = judged.map_or(0, |class| all[1][class]);
        writeln!(out, "{name:<width$} {:>10} {judged:>10}", all[0][*class])?;
    }
    if classes.len() > listed {
        writeln!(out, "and {} classes with more images, shown with -v", classes.len() - listed)?;
    }
    Ok(())
}

/// A sheet of samples: of training as its first epoch sees them, of validation as they are judged.
fn draw_samples(
    recipe: &Recipe,
    half: &Arc<ImageFolder>,
    name: &str,
    count: usize,
    args: &CheckArgs,
) -> Result<Sheet> {
    let loader = if name == "train" {
        data::train_loader(recipe, half)
    } else {
        let sampler = BatchSampler::shuffled(&vec![(1, 1); half.len()], 1, recipe.seed);
        let pipeline = Arc::new(recipe.input.pipeline());
        Loader::new(Arc::<ImageFolder>::clone(half), pipeline, sampler, recipe.train.workers)
    };
    let draw = |sample: &Sample| -> RgbImage { sample.image.clone() };
    let caption = |sample: &Sample| half.class_names()[half.class(sample.index)].clone();
    browse(&loader, count, &draw, &caption, &args.out, name)
}
