//! `cvx-det check`: reads the whole data set of a recipe and lists what would stop or hurt a training.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use burn::prelude::Device;
use cvx_data::{
    BatchSampler, Coco, CocoDataset, Dataset as _, Loader, MIN_TRAINING_SIDE, Pipeline, keep_ratio_size,
};
use rayon::prelude::*;

use super::Streams;
use super::data::{self, Split};
use super::initial::initial;
use super::model::{Architecture, Preprocessing};
use crate::args::CheckArgs;
use crate::browse::{Sheet, browse, file_and_size, tell, with_objects};
use crate::check::{self, Course, Decoded};
use crate::exit::Exit;
use crate::findings::Findings;
use crate::recipe::{self, Recipe};
use crate::wording::{abridged, counted};

mod anchors;
mod classes;

/// A half that was read.
struct Half<'a> {
    name: &'static str,
    split: &'a Split,
    coco: Arc<Coco>,
    decoded: Option<Decoded>,
    classes: Vec<String>,
}

/// Checks annotations and images of both halves; ends with [`Exit::BadInput`] if training would stop.
pub fn check(args: &CheckArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let [train, val] = data::splits(&recipe.data)?;
    let mut num_errors = 0;
    let mut halves: Vec<Half<'_>> = Vec::new();
    // Some recipes judge what they train on.
    let num_halves = if train == val { 1 } else { 2 };
    for (name, split) in [("train", &train), ("validation", &val)].into_iter().take(num_halves) {
        let mut findings = Findings::default();
        let half = if name == "train" { data::Half::Train } else { data::Half::Val };
        let coco = match data::read_coco(&recipe.data, half, split) {
            Ok(coco) => coco,
            // The other half may have something to tell, too.
            Err(error) => {
                num_errors += 1;
                writeln!(streams.out, "{name}:\n  error: {error:#}")?;
                continue;
            }
        };
        writeln!(
            streams.out,
            "{name}: {}: {}, {}, {}",
            split.annotations.display(),
            counted(coco.images.len(), "image", "images"),
            counted(coco.annotations.len(), "annotation", "annotations"),
            counted(coco.categories.len(), "class", "classes")
        )?;
        check_annotations(recipe, &coco, split, &mut findings);
        if name == "train" {
            match CocoDataset::for_training(Arc::clone(&coco), split.images.clone()) {
                Ok(dataset) => doubt_course(recipe, dataset, &mut findings),
                Err(error) => findings.error(error.to_string()),
            }
        }
        let decoded = match data::expect_images(&recipe.data, half) {
            Ok(()) => check_images(&coco, split, args.images, &mut findings),
            Err(error) => {
                findings.error(error.to_string());
                None
            }
        };
        if let Some(decoded) = &decoded {
            decoded.doubt_normalisation(&recipe.input.mean, &recipe.input.std, &mut findings);
        }
        let classes = CocoDataset::for_evaluation(Arc::clone(&coco), split.images.clone()).class_names();
        let half = Half { name, split, coco, decoded, classes };
        if let Some(train_half) = halves.first() {
            compare(train_half, &half, &mut findings);
        }
        halves.push(half);
        num_errors += findings.num_errors();
        findings.write(streams.out, args.limit)?;
    }
    let cocos: Vec<(&str, &Coco)> = halves.iter().map(|half| (half.name, half.coco.as_ref())).collect();
    classes::write(&cocos, streams.out)?;
    if num_halves == 1 {
        writeln!(streams.out, "validation: the images of training: what is judged is learnt by heart")?;
    }
    if !args.images {
        writeln!(streams.out, "{}", check::NOT_DECODED)?;
    }
    if num_errors == 0 {
        let initial = initial(recipe, &halves[0].classes, &Device::flex());
        num_errors += check::beginning(initial, &recipe.plan(), &written, streams.out)?;
    }
    if let Some(count) = args.browse {
        for half in &halves {
            let drawn = draw_samples(recipe, half, count, &args.out);
            tell(half.name, "samples with their truth", drawn, num_errors > 0, streams.out)?;
        }
    }
    if num_errors > 0 {
        writeln!(streams.out, "training would stop: {}", counted(num_errors, "error", "errors"))?;
        return Ok(Exit::BadInput);
    }
    writeln!(streams.out, "training would run")?;
    Ok(Exit::Done)
}

/// What the json alone tells.
fn check_annotations(recipe: &Recipe, coco: &Coco, split: &Split, findings: &mut Findings) {
    findings.extend(&coco.problems());
    findings.extend(&coco.doubts());
    let wanted = Architecture::of(recipe).num_classes();
    if coco.categories.len() != wanted {
        findings.error(format!(
            "{}: lists {}, but head.mask-rcnn.num_classes = {wanted}",
            split.annotations.display(),
            counted(coco.categories.len(), "class", "classes")
        ));
    }
    let annotated: HashSet<u64> = coco.annotations.iter().map(|annotation| annotation.image_id).collect();
    let empty = coco.images.iter().filter(|image| !annotated.contains(&image.id)).count();
    if empty == coco.images.len() {
        findings.error(format!("{}: no image has an annotation", split.annotations.display()));
    } else if !data::has_objects(coco) {
        findings.error(data::no_objects(split));
    } else if empty > 0 {
        findings.warn(format!(
            "{}: {} without annotation, evaluated but not trained on",
            split.annotations.display(),
            counted(empty, "image", "images")
        ));
    }
    for image in coco.images.iter().filter(|image| image.width.min(image.height) < MIN_TRAINING_SIDE) {
        let text = format!(
            "{}: image {} has {} x {} pixels; sides below {MIN_TRAINING_SIDE} are not trained on",
            split.annotations.display(),
            image.id,
            image.width,
            image.height
        );
        findings.warning_of("images too small to train on", text);
    }
    anchors::doubt(recipe, coco, findings);
}

/// What the recipe's course makes of so many images.
fn doubt_course(recipe: &Recipe, dataset: CocoDataset, findings: &mut Findings) {
    let dataset = Arc::new(dataset);
    let loader = data::train_loader(recipe, &dataset);
    Course::of(&recipe.plan(), dataset.len(), loader.batches_per_epoch()).doubt(findings);
    check::doubt_normalisation(&recipe.input.mean, &recipe.input.std, findings);
}

/// Looks for every image, and into it if it is to be decoded.
fn check_images(coco: &Coco, split: &Split, decode: bool, findings: &mut Findings) -> Option<Decoded> {
    let listed: HashSet<&Path> = coco.images.iter().map(|image| Path::new(&image.file_name)).collect();
    let is_image = |name: &Path| {
        let extension = name.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["jpg", "jpeg", "png"].contains(&extension.as_str())
    };
    let names = fs::read_dir(&split.images).into_iter().flatten().flatten();
    let names = names.map(|entry| PathBuf::from(entry.file_name())).filter(|name| is_image(name));
    let mut unlisted: Vec<PathBuf> = names.filter(|name| !listed.contains(name.as_path())).collect();
    unlisted.sort();
    for name in unlisted {
        let text =
            format!("{}: {} does not list it", split.images.join(&name).display(), coco.path.display());
        findings.warning_of("images that no entry names", text);
    }
    if decode {
        let file = |image: &cvx_data::CocoImage| {
            (split.images.join(&image.file_name), Some((image.width, image.height)))
        };
        let files: Vec<_> = coco.images.iter().map(file).collect();
        return Some(check::decode(&files, findings));
    }
    let missing = |image: &cvx_data::CocoImage| {
        let path = split.images.join(&image.file_name);
        fs::metadata(&path).err().map(|error| format!("{}: {error}", path.display()))
    };
    let missing: Vec<String> = coco.images.par_iter().filter_map(missing).collect();
    missing.into_iter().for_each(|text| findings.error_of("images that cannot be used", text));
    None
}

/// What only the two halves together tell.
fn compare(train_half: &Half<'_>, val_half: &Half<'_>, findings: &mut Findings) {
    let (train, val) = (train_half.split, val_half.split);
    if train_half.classes != val_half.classes {
        findings.error(format!(
            "{}: lists the classes {}, but {} lists {}",
            val.annotations.display(),
            abridged(&val_half.classes),
            train.annotations.display(),
            abridged(&train_half.classes)
        ));
    }
    let objects = |coco: &Coco| {
        let mut objects: HashMap<u64, usize> = HashMap::new();
        for annotation in coco.annotations.iter().filter(|annotation| !annotation.iscrowd) {
            *objects.entry(annotation.category_id).or_default() += 1;
        }
        objects
    };
    let (in_train, in_val) = (objects(&train_half.coco), objects(&val_half.coco));
    for category in &val_half.coco.categories {
        if let (Some(count), None) = (in_val.get(&category.id), in_train.get(&category.id)) {
            let text = format!(
                "category {}: `{}` has {} to be found and none to learn from, so its AP will be 0",
                category.id,
                category.name,
                counted(*count, "object", "objects")
            );
            findings.warning_of("classes that cannot be learnt", text);
        }
    }
    if let (Some(train), Some(val)) = (&train_half.decoded, &val_half.decoded) {
        Decoded::doubt_copies(train, val, findings);
    } else if train.images == val.images {
        let trained: HashSet<&str> =
            train_half.coco.images.iter().map(|image| image.file_name.as_str()).collect();
        for image in val_half.coco.images.iter().filter(|image| trained.contains(image.file_name.as_str())) {
            let text = format!("{}: is in both halves", val.images.join(&image.file_name).display());
            findings.warning_of("validation images that are trained on", text);
        }
    }
}

/// A sheet of samples: of training as its first epoch sees them, of validation resized as they are judged.
fn draw_samples(recipe: &Recipe, half: &Half<'_>, count: usize, folder: &Path) -> Result<Sheet> {
    let dataset = Arc::new(CocoDataset::for_training(Arc::clone(&half.coco), half.split.images.clone())?);
    let loader = if half.name == "train" {
        data::train_loader(recipe, &dataset)
    } else {
        let Pipeline { transforms } = data::pipeline(&Preprocessing::of(recipe));
        let sampler = BatchSampler::shuffled(&vec![(1, 1); dataset.len()], 1, recipe.seed);
        Loader::new(dataset, Arc::new(Pipeline { transforms }), sampler, recipe.train.workers)
    };
    browse(&loader, count, &|sample| with_objects(sample, &half.classes), &file_and_size, folder, half.name)
}

/// How much larger the network sees an image than it is.
fn scale(recipe: &Recipe, width: u32, height: u32) -> f64 {
    let (resized, _) = keep_ratio_size(width, height, recipe.evaluate.long_side, recipe.evaluate.short_side);
    f64::from(resized) / f64::from(width.max(1))
}
