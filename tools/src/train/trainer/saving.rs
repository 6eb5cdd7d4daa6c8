//! What a run writes besides its log, and that a disk which is full or away for a while stops no training.
//!
//! A checkpoint is only written after everything that it presupposes: the log of its steps, the evaluations before it, and
//! the best of these. So a run that goes on from it finds them, whatever could not be written in between.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::module::Module;

use super::Trainer;
use super::refusals::Refusals;
use crate::train::checkpoint::{self, Position, Training};
use crate::train::curves;
use crate::train::interrupt::Interrupt;
use crate::train::kept;
use crate::train::step_log;
use crate::train::tensorboard::EventWriter;
use crate::wording::counted;

/// Time between attempts to save on a disk that refused it.
const RETRY: Duration = Duration::from_secs(20);

/// The same for the end of a run, after which nobody would try again: the first wait, each next one being twice as long,
/// and all of them together.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MOST_WAITING: Duration = Duration::from_secs(30 * 60);

/// What is saved, and what still has to be.
#[derive(Debug)]
pub(super) struct Saving<M> {
    /// The step of the checkpoint `last`, if that is sound.
    pub(super) last_step: Option<usize>,
    /// The step that was saved by this process last.
    pub(super) saved: Option<usize>,
    /// The model of the best evaluation, until it is written.
    pub(super) best: Option<(M, Position)>,
    /// Whether there are evaluations that `metrics.json` does not hold.
    pub(super) is_metrics_due: bool,
    /// Checkpoints that are of no use, and go when there is a new one.
    pub(super) damaged: Vec<PathBuf>,
    /// When the disk last refused.
    pub(super) refused: Option<Instant>,
    /// What it refused since it last did not.
    pub(super) refusals: Refusals,
    /// Whether it was told that the log waits.
    pub(super) is_log_waiting: bool,
}

impl<M> Default for Saving<M> {
    fn default() -> Self {
        Self {
            last_step: None,
            saved: None,
            best: None,
            is_metrics_due: false,
            damaged: Vec::new(),
            refused: None,
            refusals: Refusals::default(),
            is_log_waiting: false,
        }
    }
}

impl<M: Module> Trainer<M> {
    /// Whether to save now.
    pub fn checkpoint_due(&self) -> bool {
        let retries = self.saving.refused.is_some_and(|refused| refused.elapsed() >= RETRY);
        !self.is_saved()
            && (self.is_due(self.parts.config.checkpoint) || (retries && self.pending.batches == 0))
    }

    /// Whether the last update is in a checkpoint.
    pub fn is_saved(&self) -> bool {
        self.saving.saved == Some(self.position.step)
    }

    /// Saves the checkpoint that a resumed run goes on from.
    ///
    /// # Errors
    /// If the disk is full, for example; the older checkpoint stays usable.
    pub fn save(&mut self) -> Result<()> {
        let saved = self.save_all();
        self.saving.refused = saved.is_err().then(Instant::now);
        self.restart_clock();
        saved
    }

    /// As [`Trainer::save`], but a refusal is told, and tried again later: training goes on.
    pub fn save_or_warn(&mut self) {
        match self.save() {
            Ok(()) => self.tell_recovery(),
            Err(error) => {
                let (step, newest) = (self.position.step, self.newest_checkpoint());
                // A save at the end of an epoch may follow one of the same step.
                let what = if self.saving.saved == Some(step) { "what came after step" } else { "step" };
                self.warn_of_refusal(&format!(
                    "{what} {step} is NOT saved: {error:#}\n  {newest}; training goes on, and saving is tried again"
                ));
            }
        }
    }

    /// As [`Trainer::save`], but a refusal is told and waited for: half an hour at most, or until a signal comes.
    ///
    /// # Errors
    /// If the disk refuses for all that time.
    pub(super) fn save_in_the_end(&mut self, interrupt: &Interrupt) -> Result<()> {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        self.saving.refusals.tell_next();
        loop {
            let Err(error) = self.save() else {
                self.tell_recovery();
                return Ok(());
            };
            self.warn_of_refusal(&format!(
                "the end of the run is NOT saved: {error:#}\n  make room; it is tried again for half an hour, and Ctrl-C \
                 gives it up"
            ));
            if began.elapsed() >= MOST_WAITING || interrupt.signalled_within(wait) {
                let (step, newest) = (self.position.step, self.newest_checkpoint());
                self.parts.progress.finish();
                return Err(error.context(format!(
                    "the end of the run, step {step}, is NOT saved; {newest}, and --resume goes on there"
                )));
            }
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    /// Which step a run would go on from, if this process ended now.
    pub(super) fn newest_checkpoint(&self) -> String {
        let path = self.parts.run.last_checkpoint();
        match self.saving.last_step {
            Some(step) => format!("the newest checkpoint is that of step {step}, {}", path.display()),
            None => "there is no checkpoint yet".to_owned(),
        }
    }

    fn tell_recovery(&mut self) {
        let count = std::mem::take(&mut self.saving.refusals).count;
        if count > 0 {
            let (step, times) = (self.position.step, counted(count, "time", "times"));
            self.parts.progress.say(&format!("step {step} is saved, after saving had failed {times}"));
        }
    }

    fn save_all(&mut self) -> Result<()> {
        // First the log: it then holds every step that the checkpoint has done.
        self.log.sync()?;
        self.saving.is_log_waiting = false;
        self.save_results()?;
        let (run, step) = (&self.parts.run, self.position.step);
        if let Some(last) = self.saving.last_step.filter(|&last| last != step)
            && self.parts.config.keep_checkpoints > 1
        {
            kept::keep(run, last)?;
        }
        let training = Training { optimizer: &self.parts.optimizer, ema: self.ema.as_ref() };
        let (path, description) = (run.last_checkpoint(), &self.parts.description);
        checkpoint::save(&path, self.model(), Some(training), description, &self.position)?;
        // The new one is on the disk, and older ones may go.
        (self.saving.last_step, self.saving.saved) = (Some(step), Some(step));
        for path in self.saving.damaged.drain(..).filter(|damaged| *damaged != path) {
            let _ = fs::remove_file(path);
        }
        kept::remove_beyond(&self.parts.run, self.parts.config.keep_checkpoints - 1);
        if self.events.is_none() {
            self.events = EventWriter::open_after(&self.parts.run.tensorboard(), step).ok();
        }
        Ok(())
    }

    /// Writes the best model and the evaluations, as far as they are not written yet.
    pub(super) fn save_results(&mut self) -> Result<()> {
        let folder = self.parts.run.checkpoints();
        if !folder.exists() {
            // Where the run's own folder is away, so is this.
            fs::create_dir(&folder)?;
        }
        if let Some((model, position)) = &self.saving.best {
            let path = self.parts.run.best_checkpoint();
            checkpoint::save(&path, model, None, &self.parts.description, position)?;
            self.saving.best = None;
        }
        if self.saving.is_metrics_due {
            self.metrics.save(&self.parts.run.metrics())?;
            self.saving.is_metrics_due = false;
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, what: &str) {
        self.parts.progress.warn(what);
    }

    /// Something that could not be written, unless the same was told a short while ago.
    pub(super) fn warn_of_refusal(&mut self, what: &str) {
        match self.saving.refusals.note(Instant::now()) {
            None => {}
            Some(0) => self.warn(what),
            Some(untold) => {
                let times = counted(untold, "time", "times");
                self.warn(&format!("{what}\n  it failed {times} more since this was last told"));
            }
        }
    }

    /// Once, and not for every step: the lines are kept.
    pub(super) fn warn_of_log(&mut self, error: &anyhow::Error) {
        if !std::mem::replace(&mut self.saving.is_log_waiting, true) {
            self.warn(&format!(
                "the log is NOT written: {error:#}\n  its lines wait in memory; training goes on"
            ));
        }
    }

    /// Values for TensorBoard. After a failure there are none until a checkpoint can be saved again.
    pub(super) fn add_events(&mut self, step: usize, scalars: Vec<(String, f64)>) {
        let scalars = scalars.iter().map(|(tag, value)| (tag.as_str(), *value));
        self.show(|events| events.scalars(step, scalars));
    }

    /// As [`Self::add_events`], for whatever TensorBoard shows.
    pub(super) fn show(&mut self, write: impl FnOnce(&mut EventWriter) -> Result<()>) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = write(events) {
            self.events = None;
            self.warn(&format!("TensorBoard's file is NOT written: {error:#}"));
        }
    }

    /// A picture that cannot be drawn is no reason to stop training.
    pub(super) fn draw_curves(&mut self) {
        let drawn = step_log::read(&self.parts.run.log())
            .and_then(|records| curves::draw(&self.parts.run.curves(), &records, &self.metrics.evaluations));
        match drawn {
            Ok(()) => {}
            // The same trouble, told already.
            Err(error) if self.saving.refused.is_some() => self.warn_of_refusal(&format!("{error:#}")),
            Err(error) => self.warn(&format!("{error:#}")),
        }
    }
}
