//! A recipe's detector as it is before the first step: drawn from the seed, or from a file of weights.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::prelude::*;
use cvx_heads::depends_on_classes;

use super::model::{Architecture, Detector, expect_recipe, expect_recipe_of};
use crate::recipe::{Init, Recipe, WeightsFile, resolve_path};
use crate::train::checkpoint::Checkpoint;
use crate::train::params::{self, ParamInfo};
use crate::weights::{self, Published, Strictness, source};
use crate::wording::abridged;

/// The entry of an architecture that a file to start from may differ in: layers that depend on it are drawn afresh.
const NUM_CLASSES: &str = "head.mask-rcnn.num_classes";

/// The detector, to tell `classes` apart, and what a person should know of its weights, a line each.
///
/// # Errors
/// If the recipe names a file that cannot be read, or does not fit.
pub(super) fn initial(
    recipe: &Recipe,
    classes: &[String],
    device: &Device,
) -> Result<(Detector, Vec<String>)> {
    device.seed(recipe.seed);
    let detector = Architecture::of(recipe).init(device);
    match &recipe.model.init {
        Init::Random => Ok((detector, Vec::new())),
        Init::Detector(WeightsFile { file, strict, key }) => {
            let path = resolve_path("model.init.detector", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => {
                    if *strict {
                        expect_recipe(&checkpoint, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, Some(&checkpoint.description.classes), classes)?;
                    from_checkpoint(&checkpoint, detector, "", strictness(*strict))
                }
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    if *strict {
                        expect_recipe_of(&published, recipe, &[NUM_CLASSES])?;
                    }
                    expect_classes(&path, published.source.told.classes.as_ref(), classes)?;
                    let (detector, mut remarks) = weights::load(&published, detector, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, recipe));
                    Ok((detector, remarks))
                }
            }
        }
        Init::Backbone(WeightsFile { file, strict, key }) => {
            let path = resolve_path("model.init.backbone", file)?;
            match checkpoint(&path, key.as_deref())? {
                Some(checkpoint) => from_checkpoint(&checkpoint, detector, "backbone.", strictness(*strict)),
                None => {
                    let published = Published::open(&path, key.as_deref())?;
                    let Detector { backbone, heads } = detector;
                    let alone = weights::model::Alone { backbone };
                    let (alone, mut remarks) = weights::load(&published, alone, strictness(*strict))?;
                    remarks.extend(other_pixels(&published, recipe));
                    Ok((Detector { backbone: alone.backbone, heads }, remarks))
                }
            }
        }
    }
}

fn strictness(strict: bool) -> Strictness {
    if strict { Strictness::Strict } else { Strictness::Lenient }
}

/// The checkpoint of this program at `path`, if it is one.
fn checkpoint(path: &Path, key: Option<&str>) -> Result<Option<Checkpoint>> {
    let is_checkpoint = source::is_checkpoint(path)?;
    ensure!(
        !is_checkpoint || key.is_none(),
        "{}: a checkpoint of cvx has one set of weights, and no `key`",
        path.display()
    );
    is_checkpoint.then(|| Checkpoint::open(path)).transpose()
}

/// As many classes under other names would be other objects called by wrong names.
fn expect_classes(path: &Path, theirs: Option<&Vec<String>>, classes: &[String]) -> Result<()> {
    let Some(theirs) = theirs.filter(|theirs| theirs.len() == classes.len()) else { return Ok(()) };
    ensure!(
        theirs == classes,
        "{}: was trained on the classes {}, but the data list {}",
        path.display(),
        abridged(theirs),
        abridged(classes)
    );
    Ok(())
}

/// Weights see other images than they were trained on when pixels become other numbers.
fn other_pixels(published: &Published, recipe: &Recipe) -> Option<String> {
    if published.source.told.reads_blue_first() {
        return Some(
            "warning: the file's network was trained on images with blue first, here red comes first".into(),
        );
    }
    let (told, input) = (&published.source.told.image, &recipe.input);
    let (mean, std) = (told.mean.unwrap_or(input.mean), told.std.unwrap_or(input.std));
    (mean != input.mean || std != input.std).then(|| {
        format!(
            "warning: the file's network was trained with mean {mean:?} and std {std:?}, the recipe's input has {:?} \
             and {:?}",
            input.mean, input.std
        )
    })
}

/// Those values of a checkpoint whose paths begin with `part`.
fn from_checkpoint(
    checkpoint: &Checkpoint,
    detector: Detector,
    part: &str,
    strictness: Strictness,
) -> Result<(Detector, Vec<String>)> {
    let name = checkpoint.path.display();
    let theirs = checkpoint.params();
    let (mut differing, mut afresh, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    let mut ours = params::list(&detector);
    ours.retain(|param| param.path.starts_with(part));
    for ParamInfo { path, shape } in &ours {
        let found = theirs.iter().find(|param| param.path == *path).map(|param| &param.shape);
        let is_last = path.strip_prefix("heads.").is_some_and(depends_on_classes);
        match found {
            Some(found) if found == shape => loaded.push(path.clone()),
            Some(_) if is_last => afresh.push(path.as_str()),
            Some(found) => differing.push(format!("`{path}` is {found:?}, expected {shape:?}")),
            // A classifier has no norms of maps.
            None if path.starts_with("backbone.norm") => afresh.push(path),
            None => differing.push(format!("`{path}` {shape:?} is missing")),
        }
    }
    if strictness == Strictness::Strict && !differing.is_empty() {
        bail!("{name} does not fit the recipe's network:\n{}", weights::fit::listed(&differing));
    }
    let mut remarks = vec![format!(
        "{name}: a checkpoint of cvx; {} of {} parameters are the file's",
        loaded.len(),
        ours.len()
    )];
    if !afresh.is_empty() {
        let afresh: Vec<String> = afresh.into_iter().map(str::to_owned).collect();
        remarks.push(format!(
            "afresh, since the file has none, or other classes: {}",
            weights::fit::listed(&afresh)
        ));
    }
    if !differing.is_empty() {
        remarks.push(weights::fit::listed(&differing));
    }
    let detector = params::replace_each(detector, &mut |path, _| {
        loaded.iter().any(|it| it == path).then(|| checkpoint.param(path)).transpose()
    })?;
    Ok((detector, remarks))
}
