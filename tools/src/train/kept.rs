//! Which checkpoints of a run are kept: `last`, and before it `step-000001000`, the newest of the older ones.
//!
//! An older one is a second name of what `last` was (a hard link), so that it costs no copy, and at every moment there is
//! at least one whole checkpoint in the folder.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::train::checkpoint::Checkpoint;
use crate::train::run_folder::RunFolder;

/// The newest checkpoint that a run can go on from.
#[derive(Debug)]
pub struct Newest {
    /// Opened, with its values checked; none where there are no checkpoints.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that are damaged, and in what way.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Finds the newest sound checkpoint.
///
/// # Errors
/// If there are some, and none is sound.
pub fn newest(run: &RunFolder) -> Result<Newest> {
    let last = run.last_checkpoint();
    let mut candidates: Vec<PathBuf> = older(run)?.into_iter().map(|(_, path)| path).collect();
    if last.exists() {
        candidates.insert(0, last);
    }
    let mut failures = Vec::new();
    for path in &candidates {
        match sound(path) {
            Ok(checkpoint) => {
                let told = failures.iter().map(|error| format!("{error:#}"));
                let skipped = candidates.iter().cloned().zip(told).collect();
                return Ok(Newest { checkpoint: Some(checkpoint), skipped });
            }
            Err(error) => failures.push(error),
        }
    }
    let told: Vec<String> = failures.iter().map(|error| format!("{error:#}\n")).collect();
    let which = match told.len() {
        0 => return Ok(Newest { checkpoint: None, skipped: Vec::new() }),
        1 => "the only checkpoint of this run cannot be used".to_owned(),
        several => format!("none of the {several} checkpoints of this run can be used"),
    };
    let best = run.best_checkpoint();
    let from_best = if best.exists() {
        format!("; a new run may begin with the weights of {}, as its model.init", best.display())
    } else {
        String::new()
    };
    bail!("{which}:\n{}put a copy back, or train into another folder{from_best}", told.concat())
}

/// Gives what `last` is, after `step` steps, a second name, before another takes its place.
///
/// # Errors
/// If the folder cannot be written.
pub(crate) fn keep(run: &RunFolder, step: usize) -> Result<()> {
    let (last, name) = (run.last_checkpoint(), run.step_checkpoint(step));
    if name.exists() || !last.exists() {
        return Ok(());
    }
    // Where files have one name only, `last` is away until the next one is written, and found by its step.
    fs::hard_link(&last, &name)
        .or_else(|error| match error.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => fs::rename(&last, &name),
            _ => Err(error),
        })
        .with_context(|| name.display().to_string())
}

/// Removes all but the `most` newest of the older checkpoints. What cannot be removed stays, and harms nobody.
pub(crate) fn remove_beyond(run: &RunFolder, most: usize) {
    for (_, path) in older(run).unwrap_or_default().into_iter().skip(most) {
        let _ = fs::remove_file(path);
    }
}

/// The older checkpoints, the newest first.
fn older(run: &RunFolder) -> Result<Vec<(usize, PathBuf)>> {
    let folder = run.checkpoints();
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let paths = read().with_context(|| folder.display().to_string())?;
    let mut found: Vec<(usize, PathBuf)> =
        paths.into_iter().filter_map(|path| Some((step_of(&path)?, path))).collect();
    found.sort_by_key(|(step, _)| Reverse(*step));
    Ok(found)
}

fn step_of(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

fn sound(path: &Path) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?;
    checkpoint.check_values()?;
    Ok(checkpoint)
}
