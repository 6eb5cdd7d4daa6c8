//! Ends of a run before its time, and what is kept then.

use anyhow::{Result, bail, ensure};
use burn::module::Module;

use super::{Every, Trainer};
use crate::train::metrics_file::MetricsFile;
use crate::train::params;
use crate::train::pending::Measured;
use crate::train::run_folder::RunFolder;
use crate::train::step_log;
use crate::train::values::slice;

impl<M: Module> Trainer<M> {
    /// Saves what was learned before the run ends by an error that is not the model's: an image that cannot be read.
    /// Returns the error, and where the run can go on.
    pub fn stop(&mut self, error: anyhow::Error) -> anyhow::Error {
        let step = self.position.step;
        if step == 0 {
            return error;
        }
        let kept = if self.is_saved() { Ok(()) } else { self.save() };
        self.parts.progress.finish();
        let last = self.parts.run.last_checkpoint();
        let last = last.display();
        error.context(match kept {
            Ok(()) => format!(
                "training stopped after step {step}, which is saved in {last}; when the cause is gone, --resume goes \
                 on there"
            ),
            Err(error) => format!("training stopped after step {step}; {last} stays as it was: {error:#}"),
        })
    }

    /// The gradient is useless and the model still good: keeps it, and says what happened.
    pub(super) fn stop_before_update(&mut self, measured: &Measured) -> Result<()> {
        let last = self.parts.run.last_checkpoint();
        let is_finite = |data: &_| slice(data).iter().all(|value| value.is_finite());
        let damaged = params::read_each(self.model(), &mut |path, data| {
            ensure!(is_finite(&data), "`{path}` already holds values that are not finite");
            Ok(())
        });
        let kept = match damaged.and_then(|()| self.save()) {
            Ok(()) => format!("the model before this step is saved in {}", last.display()),
            Err(error) => format!("{} stays as it was: {error:#}", last.display()),
        };
        self.parts.progress.finish();
        bail!(
            "step {} is not finite: {}\n{kept}; resumed, this run would stop here again: train in another folder, \
             with a lower learning rate or a longer warm-up",
            self.position.step + 1,
            measured.terms()
        );
    }
}

/// Starting over where a checkpoint was saved and is gone would overwrite what is left of that run.
pub(super) fn expect_nothing_saved(run: &RunFolder, checkpoint: Every) -> Result<()> {
    let (log, best) = (run.log(), run.best_checkpoint());
    let records = if log.exists() { step_log::read(&log)? } else { Vec::new() };
    // A run that ended before its first checkpoint was due has nothing to lose. One is saved after every epoch, too.
    let was_due = records.last().is_some_and(|last| match checkpoint {
        Every::Steps(steps) => last.step > steps || last.epoch > 1,
        Every::Epochs(_) => last.epoch > 1,
    });
    let is_evaluated = !MetricsFile::open_until(&run.metrics(), usize::MAX, None)?.evaluations.is_empty();
    let witness = if best.exists() {
        format!("{} is there", best.display())
    } else if is_evaluated {
        format!("{} holds evaluations", run.metrics().display())
    } else if was_due {
        format!("{} holds {} steps", log.display(), records.len())
    } else {
        return Ok(());
    };
    bail!(
        "{} is missing, but {witness}: resumed without it, the run would start over and overwrite them; put the \
         checkpoint back, or train into another folder",
        run.last_checkpoint().display()
    )
}
