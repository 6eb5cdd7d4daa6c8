//! `cvx-det check`: reads the whole data set of a recipe and lists what would stop or hurt a training.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{Coco, CocoDataset, Dataset, MIN_TRAINING_SIDE};
use rayon::prelude::*;

use super::Streams;
use super::data::{self, Split};
use super::initial::initial;
use super::model::Architecture;
use crate::args::CheckArgs;
use crate::counting::Counting;
use crate::exit::Exit;
use crate::findings::Findings;
use crate::recipe::{self, Recipe};
use crate::wording::{abridged, counted};

/// Checks annotations and images of both halves; ends with [`Exit::BadInput`] if training would stop.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let [train, val] = data::splits(&recipe.data)?;
    let mut num_errors = 0;
    let mut classes = Vec::new();
    let halves = [("train", &train), ("validation", &val)];
    // Some recipes judge what they train on.
    let num_halves = if train == val { 1 } else { 2 };
    for (name, split) in halves.into_iter().take(num_halves) {
        let mut findings = Findings::default();
        let coco = data::read_coco(&recipe.data, split)?;
        writeln!(
            streams.out,
            "{name}: {}: {}, {}, {}",
            split.annotations.display(),
            counted(coco.images.len(), "image", "images"),
            counted(coco.annotations.len(), "annotation", "annotations"),
            counted(coco.categories.len(), "class", "classes")
        )?;
        check_annotations(&recipe, &coco, split, &mut findings);
        if name == "train"
            && let Err(error) = CocoDataset::for_training(Arc::clone(&coco), split.images.clone())
        {
            findings.errors.push(error.to_string());
        }
        check_images(&coco, split, &mut findings);
        classes.push(class_names(&coco, split));
        if let [train_classes, val_classes] = classes.as_slice()
            && train_classes != val_classes
        {
            findings.errors.push(format!(
                "{}: lists the classes {}, but {} lists {}",
                split.annotations.display(),
                abridged(val_classes),
                train.annotations.display(),
                abridged(train_classes)
            ));
        }
        num_errors += findings.errors.len();
        findings.write(streams.out, args.limit)?;
    }
    // Whether the weights to start from load is known once they have been.
    if num_errors == 0
        && let Some(names) = classes.first()
    {
        match initial(&recipe, names, &Device::flex()) {
            Ok((_, remarks)) => {
                remarks.iter().try_for_each(|remark| writeln!(streams.out, "weights: {remark}"))?;
            }
            Err(error) => {
                num_errors += 1;
                let findings = Findings { errors: vec![format!("{error:#}")], warnings: Vec::new() };
                findings.write(streams.out, args.limit)?;
            }
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

fn class_names(coco: &Arc<Coco>, split: &Split) -> Vec<String> {
    CocoDataset::for_evaluation(Arc::clone(coco), split.images.clone()).class_names()
}

/// What the json alone tells.
fn check_annotations(recipe: &Recipe, coco: &Coco, split: &Split, findings: &mut Findings) {
    findings.extend(&coco.problems());
    let wanted = Architecture::of(recipe).num_classes();
    if coco.categories.len() != wanted {
        findings.errors.push(format!(
            "{}: lists {}, but head.mask-rcnn.num_classes = {wanted}",
            split.annotations.display(),
            counted(coco.categories.len(), "class", "classes")
        ));
    }
    let annotated: HashSet<u64> = coco.annotations.iter().map(|annotation| annotation.image_id).collect();
    let empty = coco.images.iter().filter(|image| !annotated.contains(&image.id)).count();
    if empty == coco.images.len() {
        findings.errors.push(format!("{}: no image has an annotation", split.annotations.display()));
    } else if !data::has_objects(coco) {
        findings.errors.push(data::no_objects(split));
    } else if empty > 0 {
        findings.warnings.push(format!(
            "{}: {} without annotation, evaluated but not trained on",
            split.annotations.display(),
            counted(empty, "image", "images")
        ));
    }
    for image in coco.images.iter().filter(|image| image.width.min(image.height) < MIN_TRAINING_SIDE) {
        findings.warnings.push(format!(
            "{}: image {} has {} x {} pixels; sides below {MIN_TRAINING_SIDE} are not trained on",
            split.annotations.display(),
            image.id,
            image.width,
            image.height
        ));
    }
}

/// Decodes every image.
fn check_images(coco: &Arc<Coco>, split: &Split, findings: &mut Findings) {
    if !split.images.is_dir() {
        findings.errors.push(format!("{}: no such folder of images", split.images.display()));
        return;
    }
    let dataset = CocoDataset::for_evaluation(Arc::clone(coco), split.images.clone());
    let counting = Mutex::new(Counting::on_stderr("read", dataset.len()));
    let errors: Vec<String> = (0..dataset.len())
        .into_par_iter()
        .filter_map(|index| {
            let error = dataset.get(index).err().map(|error| error.to_string());
            counting.lock().unwrap_or_else(PoisonError::into_inner).advance(1);
            error
        })
        .collect();
    findings.errors.extend(errors);
    let mut seen = HashSet::new();
    for image in coco.images.iter().filter(|image| !seen.insert(Path::new(&image.file_name))) {
        findings.warnings.push(format!(
            "{}: image {} repeats the file {}",
            split.annotations.display(),
            image.id,
            image.file_name
        ));
    }
}
