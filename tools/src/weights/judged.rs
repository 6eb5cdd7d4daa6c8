//! The weights that `eval` judges: a checkpoint of the recipe's network, or published ones.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use burn::module::Module;

use super::{Published, Strictness, source};
use crate::recipe::Run;
use crate::train::checkpoint::Checkpoint;
use crate::weights;
use crate::wording::abridged;

/// What is evaluated.
pub(crate) enum Weights {
    /// A checkpoint of the recipe's network.
    Checkpoint(Box<Checkpoint>),
    /// Published weights of such a network.
    Published(Box<Published>),
}

impl Weights {
    /// The file named, or the best checkpoint of the recipe's run.
    ///
    /// # Errors
    /// If it cannot be read, or there is none.
    pub(crate) fn open(path: Option<&Path>, run: &Run) -> Result<Self> {
        if let Some(path) = path
            && path.exists()
            && !source::is_checkpoint(path)?
        {
            return Ok(Self::Published(Box::new(Published::open(path, None)?)));
        }
        let checkpoint = match path {
            Some(path) => Checkpoint::open_whole(path),
            None => Checkpoint::open_whole(&run.folder.join("checkpoints/best.safetensors"))
                .context("without --weights the best checkpoint of the recipe's run folder is evaluated"),
        }?;
        Ok(Self::Checkpoint(Box::new(checkpoint)))
    }

    /// Class indices only mean something when model and truth name them alike.
    ///
    /// # Errors
    /// If they do not; `truth` is where `theirs` were read.
    pub(crate) fn compare_classes(&self, theirs: &[String], truth: &Path) -> Result<()> {
        let (path, ours) = match self {
            Self::Checkpoint(checkpoint) => (&checkpoint.path, Some(&checkpoint.description.classes)),
            Self::Published(published) => (&published.source.path, published.source.told.classes.as_ref()),
        };
        ensure!(
            ours.is_none_or(|ours| ours == theirs),
            "{}: was trained on the classes {}, but {} lists {}",
            path.display(),
            abridged(ours.map_or(&[], Vec::as_slice)),
            truth.display(),
            abridged(theirs)
        );
        Ok(())
    }

    /// The network with these values, and what a person should know of them, a line each.
    ///
    /// # Errors
    /// If they do not fit.
    pub(crate) fn load<M: Module>(&self, model: M) -> Result<(M, Vec<String>)> {
        match self {
            Self::Checkpoint(checkpoint) => Ok((checkpoint.load_model(model)?, Vec::new())),
            Self::Published(published) => weights::load(published, model, Strictness::Complete),
        }
    }
}
