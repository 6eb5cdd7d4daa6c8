//! The folder of one run: which files it holds, and that no run overwrites another.
//!
//! ```text
//! recipe.toml               the resolved recipe
//! log.jsonl                 one object a step
//! metrics.json              every evaluation, and the best
//! curves.png                losses, learning rate and metrics over the steps
//! checkpoints/last.safetensors, best.safetensors, and older ones, step-000001000.safetensors
//! tensorboard/              event files
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::train::atomic_file;
use crate::train::told::{Changes, Told};

/// Whether a folder is expected to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A run that starts here; one that is there already is an error.
    Fresh,
    /// Goes on from the last checkpoint if there is one, else starts.
    Resume,
}

/// The folder of a run, locked against a second process until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    start: Start,
    changes: Changes,
    /// The recipe given, until it takes the place of the one before.
    next_recipe: Option<String>,
    _lock: File,
}

impl RunFolder {
    /// Whether [`RunFolder::open`] would find what it expects; writes nothing.
    ///
    /// # Errors
    /// If a run is there and `start` is [`Start::Fresh`]; if its recipe is another one.
    pub fn expect(path: &Path, told: &Told<'_>) -> Result<Changes> {
        let name = path.display();
        let recipe_path = path.join("recipe.toml");
        if !recipe_path.exists() {
            return Ok(Changes::default());
        }
        if told.start == Start::Fresh {
            bail!(
                "{name} already holds a run; go on with it by --resume, or choose another folder (or remove this \
                 one) to start afresh"
            );
        }
        let old = fs::read_to_string(&recipe_path).with_context(|| recipe_path.display().to_string())?;
        Changes::since(&recipe_path, &old, told)
    }

    /// Creates the folder, or with [`Start::Resume`] enters it.
    ///
    /// # Errors
    /// As [`RunFolder::expect`]; if another process trains in it; if it cannot be created.
    pub fn open(path: &Path, told: &Told<'_>) -> Result<Self> {
        let changes = Self::expect(path, told)?;
        let name = path.display();
        fs::create_dir_all(path.join("checkpoints")).with_context(|| format!("run folder {name}"))?;
        let lock = File::create(path.join(".lock")).with_context(|| format!("run folder {name}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{name} is in use: another process is training in it"),
            // Some network file systems have no locks; the run is then trusted to be alone.
            Err(TryLockError::Error(_)) => {}
        }
        let next_recipe = Some(told.recipe.to_owned());
        let mut run = Self { path: path.to_owned(), start: told.start, changes, next_recipe, _lock: lock };
        if !run.recipe().exists() {
            run.adopt_recipe()?;
        }
        Ok(run)
    }

    /// Keeps the recipe given in place of the one before, as it may once it is known that the run can go on under it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn adopt_recipe(&mut self) -> Result<()> {
        let Some(recipe) = self.next_recipe.take() else { return Ok(()) };
        if fs::read_to_string(self.recipe()).is_ok_and(|kept| kept == recipe) {
            return Ok(());
        }
        atomic_file::replace(&self.recipe(), |file| Ok(file.write_all(recipe.as_bytes())?))
    }

    /// What it is told otherwise than before.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it was opened.
    pub fn start(&self) -> Start {
        self.start
    }

    /// The resolved recipe.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// One object a step.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.jsonl")
    }

    /// Every evaluation, and the best.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.json")
    }

    /// The plot.
    pub fn curves(&self) -> PathBuf {
        self.path.join("curves.png")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// An older checkpoint, after so many steps.
    pub fn step_checkpoint(&self, step: usize) -> PathBuf {
        self.checkpoints().join(format!("step-{step:09}.safetensors"))
    }

    /// The checkpoint that a resumed run goes on from.
    pub fn last_checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints/last.safetensors")
    }

    /// The model of the best evaluation.
    pub fn best_checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints/best.safetensors")
    }

    /// The folder of TensorBoard's event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }
}
