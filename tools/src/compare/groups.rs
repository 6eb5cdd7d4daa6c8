//! Which runs stand in one row: those that differ in nothing but their seeds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::exit::Streams;
use crate::run_report::Run;
use crate::sweep::Sweep;
use crate::train::entries::{self, Difference, first_difference};
use crate::train::told::WITHOUT_EFFECT;

/// Entries in which the runs of a group may differ, besides those without effect in every kind of recipe.
const FREE: [&str; 4] = ["seed", "run.folder", "evaluate.batch_size", "data.most_unreadable"];

/// The first entry in which two recipes differ otherwise than the runs of a group may.
pub(crate) fn difference(first: &Value, second: &Value) -> Option<Difference> {
    first_difference(first, second, &[&FREE[..], &WITHOUT_EFFECT].concat())
}

/// Runs of one recipe.
pub(crate) struct Group {
    pub(crate) name: String,
    /// At least one.
    pub(crate) runs: Vec<Run>,
}

impl Group {
    /// The folder of the run, or the one that holds all runs.
    fn place(&self) -> PathBuf {
        let run = self.runs[0].folder();
        let place = if self.runs.len() > 1 { run.parent().unwrap_or(run) } else { run };
        place.to_owned()
    }

    /// The names of all figures of their evaluations.
    pub(super) fn metric_names(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| &run.metrics().evaluations).flat_map(|evaluation| {
            evaluation.metrics.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.as_str())
        })
    }

    /// A figure of each run's best evaluation, or of its last where `best_by` was never defined.
    pub(super) fn values(&self, metric: &str, best_by: &str) -> Vec<f64> {
        let value = |run: &Run| {
            let metrics = run.metrics();
            let best = metrics.best_by(best_by).map(|(evaluation, _)| evaluation);
            *best.or(metrics.evaluations.last())?.metrics.get(metric)?
        };
        self.runs.iter().filter_map(value).collect()
    }
}

/// The groups that were named, in their order; runs that were named one by one join the first of their recipe.
pub(super) fn open(words: &[String]) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for word in words {
        let (name, path) = named(word);
        if path.extension().is_some_and(|extension| extension == "toml") {
            ensure!(name.is_none(), "{word}: a sweep names its cells itself");
            groups.extend(of_sweep(&path)?);
        } else if path.join("recipe.toml").exists() {
            let run = Run::open(&path)?;
            let joins = |group: &&mut Group| differing(&group.runs[0], &run).is_ok_and(|it| it.is_none());
            match groups.iter_mut().find(joins).filter(|_| name.is_none()) {
                Some(group) => group.runs.push(run),
                None => {
                    groups.push(Group { name: name.unwrap_or_else(|| last_part(&path)), runs: vec![run] })
                }
            }
        } else {
            let runs = of_folder(&path)?;
            ensure!(
                !runs.is_empty(),
                "{}: holds no run, nor do the folders in it; possible is a folder that `train` wrote (run.folder in \
                 its recipe), a folder of such, or the file of a sweep",
                path.display()
            );
            groups.push(Group { name: name.unwrap_or_else(|| last_part(&path)), runs });
        }
    }
    for group in &groups {
        for run in &group.runs[1..] {
            if let Some(Difference { path, first, second }) = differing(&group.runs[0], run)? {
                let [one, other] = [&group.runs[0], run].map(|run| run.folder().display());
                bail!(
                    "{one} and {other} are no runs of one recipe under several seeds: `{path}` is {first} and {second}; \
                     name the runs one by one"
                );
            }
        }
    }
    groups.iter().try_for_each(refuse_twins)?;
    tell_apart(&mut groups);
    Ok(groups)
}

/// A run that counts twice would look like a seed.
fn refuse_twins(group: &Group) -> Result<()> {
    let mut seeds: Vec<(Value, &Run)> = Vec::new();
    for run in &group.runs {
        let seed = entries::at(&tree(run)?, "seed");
        if let Some((_, twin)) = seeds.iter().find(|(other, _)| *other == seed) {
            let [one, other] = [twin, run].map(|run| run.folder().display());
            bail!("{one} and {other} are runs of one recipe under one seed, {seed}: leave one out");
        }
        seeds.push((seed, run));
    }
    Ok(())
}

/// Runs that were not evaluated yet have nothing to compare.
pub(super) fn leave_out_unjudged(groups: &mut Vec<Group>, streams: &mut Streams<'_>) -> Result<()> {
    for group in groups.iter_mut() {
        let (judged, others) = std::mem::take(&mut group.runs)
            .into_iter()
            .partition(|run| !run.metrics().evaluations.is_empty());
        group.runs = judged;
        for run in &others as &Vec<Run> {
            writeln!(
                streams.err,
                "warning: {} was not evaluated yet and is left out",
                run.folder().display()
            )?;
        }
    }
    groups.retain(|group| !group.runs.is_empty());
    ensure!(!groups.is_empty(), "no run was evaluated yet");
    Ok(())
}

/// `NAME=PATH`, unless the whole is a path.
fn named(word: &str) -> (Option<String>, PathBuf) {
    match word.split_once('=') {
        Some((name, path)) if !name.is_empty() && !Path::new(word).exists() => {
            (Some(name.to_owned()), PathBuf::from(path))
        }
        _ => (None, PathBuf::from(word)),
    }
}

/// The cells of a sweep that were begun.
fn of_sweep(path: &Path) -> Result<Vec<Group>> {
    let sweep = Sweep::open(path)?;
    let mut groups = Vec::new();
    for cell in &sweep.cells {
        let mut folders = sweep.run_folders(cell);
        folders.retain(|folder| folder.join("recipe.toml").exists());
        let runs = folders.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<_>>>()?;
        if !runs.is_empty() {
            groups.push(Group { name: cell.name.clone(), runs });
        }
    }
    ensure!(!groups.is_empty(), "{}: none of its runs was begun", path.display());
    Ok(groups)
}

/// The runs that lie in a folder, by name.
fn of_folder(path: &Path) -> Result<Vec<Run>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut folders = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()
        .with_context(|| path.display().to_string())?;
    folders.retain(|folder| folder.join("recipe.toml").exists());
    folders.sort();
    folders.iter().map(|folder| Run::open(folder)).collect()
}

/// The first entry in which two runs differ, but for what a group may differ in.
fn differing(first: &Run, second: &Run) -> Result<Option<Difference>> {
    Ok(difference(&tree(first)?, &tree(second)?))
}

/// A run's recipe as a tree.
fn tree(run: &Run) -> Result<Value> {
    toml::from_str(run.recipe()).map_err(|e| anyhow!("{}: not a recipe: {e}", run.recipe_path().display()))
}

fn last_part(path: &Path) -> String {
    let part = path.file_name().unwrap_or(path.as_os_str());
    part.to_string_lossy().into_owned()
}

/// Groups of the same name are called after their place, the folder of the run or the one that holds all runs, where that tells
/// them apart (`v1/seed-0`, `v2/seed-0`), and otherwise get its path as well.
fn tell_apart(groups: &mut [Group]) {
    fn is_one_of_several(names: &[String], name: &String) -> bool {
        names.iter().filter(|other| *other == name).count() > 1
    }
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    let places: Vec<PathBuf> = groups.iter().map(Group::place).collect();
    let by_place = |(name, place): (&String, &PathBuf)| {
        if is_one_of_several(&names, name) { last_part(place) } else { name.clone() }
    };
    let better: Vec<String> = names.iter().zip(&places).map(by_place).collect();
    for ((group, better_name), place) in groups.iter_mut().zip(&better).zip(&places) {
        group.name = if is_one_of_several(&better, better_name) {
            format!("{} ({})", group.name, place.display())
        } else {
            better_name.clone()
        };
    }
}
