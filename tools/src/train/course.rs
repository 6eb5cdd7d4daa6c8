//! The course of a run: epochs of steps, with evaluations and checkpoints when they are due. Every task's training is
//! this.

use std::io::Write;

use anyhow::Result;
use burn::module::Module;
use cvx_data::{Loader, Sample};

use crate::report::Metrics;
use crate::run_report::Pair;
use crate::train::pending::Losses;
use crate::train::trainer::Trainer;

/// What an evaluation came to.
pub(crate) struct Evaluated {
    pub(crate) metrics: Metrics,
    /// For a person.
    pub(crate) tables: String,
    /// A few predictions beside the truth.
    pub(crate) pictures: Vec<Pair>,
}

/// What a task does in its training.
pub(crate) struct Task<'a, M: Module, B> {
    /// Puts samples into a batch.
    pub(crate) collate: &'a dyn Fn(&[Sample]) -> B,
    /// The losses of a batch; the number seeds whatever is drawn on the host.
    pub(crate) losses: &'a dyn Fn(&M, B, u64) -> Losses,
    /// Judges the model as it is.
    pub(crate) evaluate: &'a dyn Fn(&mut Trainer<M>) -> Result<Evaluated>,
}

impl<M: Module, B> Task<'_, M, B> {
    /// Goes on until all epochs are done; the tables of evaluations go to `out`.
    ///
    /// # Errors
    /// If a sample cannot be read, a loss is not finite, or the run's folder cannot be written; what was learnt until
    /// then is saved.
    pub(crate) fn run(&self, trainer: &mut Trainer<M>, loader: &Loader, out: &mut dyn Write) -> Result<()> {
        loop {
            // Here, not at the loop's end: a run that stopped in an evaluation is resumed with it.
            if trainer.evaluation_due() {
                let evaluated = match (self.evaluate)(trainer) {
                    Ok(evaluated) => evaluated,
                    Err(error) => return Err(trainer.stop(error)),
                };
                trainer.record_evaluation(&evaluated.metrics.defined())?;
                trainer.record_pictures(&evaluated.pictures)?;
                trainer.record_spread()?;
                trainer.save()?;
                out.write_all(evaluated.tables.as_bytes())?;
            }
            if trainer.is_finished() {
                return Ok(());
            }
            let position = trainer.position().clone();
            for samples in loader.epoch(position.epoch as u64, position.batches_in_epoch) {
                let samples = match samples {
                    Ok(samples) => samples,
                    Err(error) => return Err(trainer.stop(error.into())),
                };
                let batch = (self.collate)(&samples);
                let sampling_seed = trainer.begin_step();
                let losses = (self.losses)(trainer.model(), batch, sampling_seed);
                trainer.step(losses, samples.len())?;
                if trainer.checkpoint_due() {
                    trainer.save()?;
                }
            }
            trainer.finish_epoch()?;
            trainer.save()?;
        }
    }
}
