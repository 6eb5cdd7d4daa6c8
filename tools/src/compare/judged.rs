//! What a run's best model makes of the validation images: found out once, and kept beside the run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::run_report::Run;
use crate::train::atomic_file;

/// What is kept, and of which model.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    /// Bytes of the checkpoint, and when it was written, nanoseconds since 1970.
    checkpoint: (u64, u128),
    /// What the model says.
    said: T,
}

/// What the best model of `run` says: as it was kept, or by `ask`.
///
/// # Errors
/// If it must be asked and cannot.
pub(crate) fn of_run<T: Serialize + DeserializeOwned>(
    run: &Run,
    is_own_recipe: bool,
    ask: impl FnOnce() -> Result<T>,
) -> Result<T> {
    // Under a changed recipe it says something else.
    if !is_own_recipe {
        return ask();
    }
    let path = kept_at(run);
    let checkpoint = stamp(run)?;
    if let Some(Kept { said, .. }) = read(&path).filter(|kept: &Kept<T>| kept.checkpoint == checkpoint) {
        return Ok(said);
    }
    let kept = Kept { checkpoint, said: ask()? };
    let text = serde_json::to_vec(&kept)?;
    // A run folder that cannot be written to, such as somebody else's, can still be compared.
    let _ = atomic_file::replace(&path, |file| Ok(file.write_all(&text)?));
    Ok(kept.said)
}

fn kept_at(run: &Run) -> PathBuf {
    run.folder().join("judged.json")
}

/// What is not there, damaged, or of another version is not kept.
fn read<T: DeserializeOwned>(path: &std::path::Path) -> Option<Kept<T>> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn stamp(run: &Run) -> Result<(u64, u128)> {
    let path = run.best_checkpoint();
    let about = fs::metadata(&path).with_context(|| path.display().to_string())?;
    let written = about.modified()?.duration_since(std::time::UNIX_EPOCH)?;
    Ok((about.len(), written.as_nanos()))
}
