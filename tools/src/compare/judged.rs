//! What a run's best model makes of the validation images: found out once, and kept beside the run.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recipe::Kind;
use crate::run_report::Run;
use crate::train::atomic_file;

/// What is kept, and of what.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    /// Of checkpoint, recipe, files and program.
    asked: u64,
    /// What the model says.
    said: T,
}

/// What a model is asked: its answer is kept until any of it is another. Files count by path, size and time.
pub(crate) struct Question(DefaultHasher);

impl Question {
    /// About the best model of a run, under a recipe.
    ///
    /// # Errors
    /// If there is no such model.
    pub(crate) fn of(run: &Run, recipe: &impl Kind) -> Result<Self> {
        let mut question = Self(DefaultHasher::new());
        env!("CARGO_PKG_VERSION").hash(&mut question.0);
        recipe.to_toml()?.hash(&mut question.0);
        question.about(&run.best_checkpoint())?;
        Ok(question)
    }

    /// About a file, too.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn about(&mut self, path: &Path) -> Result<()> {
        let about = fs::metadata(path).with_context(|| path.display().to_string())?;
        let written = about.modified()?.duration_since(UNIX_EPOCH)?;
        (path, about.len(), written.as_nanos()).hash(&mut self.0);
        Ok(())
    }

    /// The answer as it is kept beside the run, where it `fits` what was asked, or else that of `ask`.
    ///
    /// # Errors
    /// If it must be asked and cannot.
    pub(crate) fn answer<T: Serialize + DeserializeOwned>(
        self,
        run: &Run,
        fits: impl Fn(&T) -> bool,
        ask: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let path = kept_at(run);
        let asked = self.0.finish();
        let is_answer = |kept: &Kept<T>| kept.asked == asked && fits(&kept.said);
        if let Some(Kept { said, .. }) = read(&path).filter(is_answer) {
            return Ok(said);
        }
        let kept = Kept { asked, said: ask()? };
        let text = serde_json::to_vec(&kept)?;
        // A run folder that cannot be written to, such as somebody else's, can still be compared.
        let _ = atomic_file::replace(&path, |file| Ok(file.write_all(&text)?));
        Ok(kept.said)
    }
}

fn kept_at(run: &Run) -> PathBuf {
    run.folder().join("judged.json")
}

/// What is not there, damaged, or of another version is not kept.
fn read<T: DeserializeOwned>(path: &Path) -> Option<Kept<T>> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
