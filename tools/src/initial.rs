//! How a model begins: drawn from the seed, or with values of a file; and whether that file's network means the same.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::module::Module;
use cvx_heads::depends_on_classes;
use serde_json::Value;

use crate::recipe::Input;
use crate::train::checkpoint::Checkpoint;
use crate::train::entries::{Difference, first_difference};
use crate::train::params::{self, ParamInfo};
use crate::weights::{self, Published, Strictness, source};
use crate::wording::abridged;

/// Refuses a file whose network was trained with other entries than the recipe has, but for those in `free`.
pub(crate) fn expect_same(path: &Path, theirs: &Value, ours: &Value, free: &[&str]) -> Result<()> {
    match first_difference(theirs, ours, free) {
        None => Ok(()),
        Some(Difference { path: entry, first, second }) => {
            bail!("{}: was trained with `{entry}` = {first}, but the recipe has {second}", path.display())
        }
    }
}

pub(crate) fn strictness(strict: bool) -> Strictness {
    if strict { Strictness::Strict } else { Strictness::Lenient }
}

/// The checkpoint of this program at `path`, if it is one.
pub(crate) fn checkpoint(path: &Path, key: Option<&str>) -> Result<Option<Checkpoint>> {
    let is_checkpoint = source::is_checkpoint(path)?;
    ensure!(
        !is_checkpoint || key.is_none(),
        "{}: a checkpoint of cvx has one set of weights, and no `key`",
        path.display()
    );
    is_checkpoint.then(|| Checkpoint::open_whole(path)).transpose()
}

/// As many classes under other names would be other objects called by wrong names.
pub(crate) fn expect_classes(path: &Path, theirs: Option<&Vec<String>>, classes: &[String]) -> Result<()> {
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
pub(crate) fn other_pixels(published: &Published, input: &Input) -> Option<String> {
    if published.source.told.reads_blue_first() {
        return Some(
            "warning: the file's network was trained on images with blue first, here red comes first".into(),
        );
    }
    let told = &published.source.told.image;
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
pub(crate) fn from_checkpoint<M: Module>(
    checkpoint: &Checkpoint,
    model: M,
    part: &str,
    strictness: Strictness,
) -> Result<(M, Vec<String>)> {
    let name = checkpoint.path.display();
    let theirs = checkpoint.params();
    let (mut differing, mut afresh, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
    let mut ours = params::list(&model);
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
    let model = params::replace_each(model, &mut |path, _| {
        loaded.iter().any(|it| it == path).then(|| checkpoint.param(path)).transpose()
    })?;
    Ok((model, remarks))
}
