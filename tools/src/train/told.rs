//! What a run is told by its recipe, and what may be told otherwise when it is resumed.

use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::train::checkpoint::Position;
use crate::train::entries::{self, Difference};
use crate::train::run_folder::Start;

/// Entries of every kind of recipe that change no result beyond rounding: a resumed run may have others.
pub(crate) const WITHOUT_EFFECT: [&str; 6] = [
    "train.workers",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.recompute_stages",
    "evaluate.histograms",
    "expect",
];

/// A run that was moved is the same run.
const FOLDER: &str = "run.folder";

/// Entries that say when a run ends: a resumed one may end otherwise.
const EPOCHS: &str = "train.epochs";
const EARLY_STOP: &str = "train.early_stop";

/// What a run is told, as far as its folder is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The resolved recipe, TOML.
    pub recipe: &'a str,
    /// Entries of this kind of recipe that change no result, besides those of every kind.
    pub without_effect: &'a [&'a str],
    /// Whether the folder is expected to be new.
    pub start: Start,
}

/// What a resumed run is told otherwise than before, as far as it changes results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The number of epochs now, and before.
    epochs: Option<[Value; 2]>,
    /// The same of when to end early.
    early_stop: Option<[Value; 2]>,
}

impl Changes {
    /// Of a run whose recipe in the file `path` is `old`.
    ///
    /// # Errors
    /// If more differs than may: a resumed run is only the same run under the same recipe.
    pub(super) fn since(path: &Path, old: &str, told: &Told<'_>) -> Result<Self> {
        let name = path.display();
        let old: Value = toml::from_str(old).map_err(|e| anyhow!("{name}: not a recipe: {e}"))?;
        let new: Value = toml::from_str(told.recipe).context("the recipe given is not one")?;
        let allowed = [&WITHOUT_EFFECT[..], told.without_effect, &[EPOCHS, EARLY_STOP, FOLDER]].concat();
        if let Some(Difference { path, first, second }) = entries::first_difference(&old, &new, &allowed) {
            bail!(
                "{name} is not the recipe given: `{path}` is {first}, given is {second}; resume with the run's own \
                 recipe, in which train.epochs and train.early_stop may be others, or train into another folder"
            );
        }
        let changed = |path: &str| {
            let [new, old] = [&new, &old].map(|recipe| entries::at(recipe, path));
            (new != old).then_some([new, old])
        };
        Ok(Self { epochs: changed(EPOCHS), early_stop: changed(EARLY_STOP) })
    }

    /// Says what a run is told otherwise, a line each.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub(crate) fn tell(&self, out: &mut dyn Write) -> Result<()> {
        if let Some([now, before]) = &self.epochs {
            writeln!(
                out,
                "epochs      {now}, was {before} so far: the schedule is that of {now} epochs from here on"
            )?;
        }
        if let Some([now, before]) = &self.early_stop {
            writeln!(out, "early stop  {}, was {} so far", Ending(now), Ending(before))?;
        }
        Ok(())
    }
}

/// Refuses an end that lies before where the run is.
pub(super) fn expect_ahead(epochs: usize, position: &Position) -> Result<()> {
    let begun = position.epoch + usize::from(position.batches_in_epoch > 0);
    ensure!(
        epochs >= begun,
        "{EPOCHS} = {epochs}: this run has {} {begun} already; possible when it is resumed: {begun} and above",
        if position.batches_in_epoch > 0 { "begun epoch" } else { "done epoch" }
    );
    Ok(())
}

/// An entry `train.early_stop`, for a person.
struct Ending<'a>(&'a Value);

impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.get("patience"), self.0.get("min_delta")) {
            (Some(patience), Some(delta)) => write!(f, "patience {patience} with min_delta {delta}"),
            _ => f.write_str("none"),
        }
    }
}
