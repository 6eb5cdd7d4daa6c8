//! The course of a run: epochs of steps, with evaluations and checkpoints when they are due, until there is a reason to
//! stop. Every task's training is this.

use std::io::Write;

use anyhow::Result;
use burn::module::Module;
use cvx_backbone::Precision;
use cvx_data::{Loader, Sample};

use crate::exit::{Exit, Streams};
use crate::report::Metrics;
use crate::run_report::Pair;
use crate::train::interrupt::{Interrupt, Reason};
use crate::train::pending::Losses;
use crate::train::trainer::Trainer;
use crate::verbosity::{Verbosity, verbosity};
use crate::verdict::{self, Expect};

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
    /// What its products are computed in.
    pub(crate) precision: Precision,
    /// Judges the model as it is.
    pub(crate) evaluate: &'a dyn Fn(&mut Trainer<M>) -> Result<Evaluated>,
}

/// How a course ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// All of it was run, or patience was at its end.
    Finished,
    /// There is more to do, in another process: everything until here is saved.
    Interrupted(Reason),
}

impl<M: Module, B> Task<'_, M, B> {
    /// Goes on until all epochs are done, or there is a reason to stop; the tables of evaluations go to `out`.
    ///
    /// # Errors
    /// If a sample cannot be read, or a loss is not finite; what was learnt until then is saved.
    pub(crate) fn run(
        &self,
        trainer: &mut Trainer<M>,
        loader: &Loader,
        interrupt: &mut Interrupt,
        out: &mut dyn Write,
    ) -> Result<Ended> {
        interrupt.listen()?;
        self.precision.scope(|| self.course(trainer, loader, interrupt, out))
    }

    fn course(
        &self,
        trainer: &mut Trainer<M>,
        loader: &Loader,
        interrupt: &mut Interrupt,
        out: &mut dyn Write,
    ) -> Result<Ended> {
        loop {
            // Here, not at the loop's end: a run that stopped in an evaluation is resumed with it.
            self.evaluate_if_due(trainer, out)?;
            if trainer.is_finished() {
                return finished(trainer, out);
            }
            if let Some(reason) = interrupt.reason() {
                return interrupted(trainer, reason);
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
                if !trainer.is_between_updates() {
                    continue;
                }
                if let Some(reason) = interrupt.reason() {
                    return interrupted(trainer, reason);
                }
                self.evaluate_if_due(trainer, out)?;
                if trainer.is_finished() {
                    return finished(trainer, out);
                }
                if trainer.checkpoint_due() {
                    trainer.save_or_warn();
                }
            }
            trainer.finish_epoch()?;
            trainer.save_or_warn();
        }
    }

    fn evaluate_if_due(&self, trainer: &mut Trainer<M>, out: &mut dyn Write) -> Result<()> {
        if !trainer.evaluation_due() {
            return Ok(());
        }
        // It may take long, and whoever ends the process meanwhile takes no step back.
        if !trainer.is_saved() {
            trainer.save_or_warn();
        }
        let evaluated = match (self.evaluate)(trainer) {
            Ok(evaluated) => evaluated,
            Err(error) => return Err(trainer.stop(error)),
        };
        trainer.record_evaluation(&evaluated.metrics.defined())?;
        trainer.record_pictures(&evaluated.pictures)?;
        trainer.record_spread()?;
        trainer.save_or_warn();
        out.write_all(evaluated.tables.as_bytes())?;
        Ok(())
    }
}

fn finished<M: Module>(trainer: &Trainer<M>, out: &mut dyn Write) -> Result<Ended> {
    if trainer.is_out_of_patience() {
        let step = trainer.position().step;
        writeln!(
            out,
            "\nended after step {step}: no better evaluation for as long as train.early_stop allows"
        )?;
    }
    Ok(Ended::Finished)
}

fn interrupted<M: Module>(trainer: &mut Trainer<M>, reason: Reason) -> Result<Ended> {
    if trainer.position().step > 0 {
        trainer.pause()?;
    }
    Ok(Ended::Interrupted(reason))
}

/// Where what is about to happen is told: nowhere, with `-q`.
pub(crate) fn header<'a>(out: &'a mut dyn Write) -> Box<dyn Write + 'a> {
    match verbosity() {
        Verbosity::Quiet => Box::new(std::io::sink()),
        Verbosity::Normal | Verbosity::Verbose => Box::new(out),
    }
}

/// The end of a run in this process: what came out of it, or what to type to go on with it.
///
/// # Errors
/// If the end cannot be saved.
pub(crate) fn conclude<M: Module>(
    trainer: Trainer<M>,
    (ended, interrupt): (Ended, &Interrupt),
    program: &str,
    command: &str,
    best_by: &str,
    expect: &Expect,
    streams: &mut Streams<'_>,
) -> Result<Exit> {
    let run = trainer.run();
    if let Ended::Interrupted(reason) = ended {
        let kept = match trainer.position().step {
            0 => "before the first step".to_owned(),
            step => format!("after step {step}, which is saved in {}", run.last_checkpoint().display()),
        };
        writeln!(streams.out, "\n{reason}: training stopped {kept}\ngo on by:  {command}")?;
        return Ok(Exit::Done);
    }
    let (metrics, best) = (run.metrics(), run.best_checkpoint());
    trainer.finish(interrupt)?;
    verdict::of_run(best_by, expect, &metrics, &best, program, streams)
}
