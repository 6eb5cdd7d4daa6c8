//! The training engine: from the losses of a micro-batch to an updated model, a line in the log, and a checkpoint.
//!
//! A run that was interrupted at any moment and resumed gives the same losses as one that was not, to the last bit on
//! the CPU. Nothing random is carried from step to step: [`Trainer::begin_step`] seeds the device from the run's seed
//! and the number of batches used, so a checkpoint needs no generator's state.
//!
//! ```text
//! loop {
//!     (evaluate if due, which a resumed run may owe, and save)
//!     if trainer.is_finished() { break }
//!     for batch in loader.epoch(trainer.position().epoch, trainer.position().batches_in_epoch) {
//!         let sampling_seed = trainer.begin_step();
//!         let losses = trainer.model().losses(batch, sampling_seed);
//!         trainer.step(losses, num_images)?;
//!         (save if due)
//!     }
//!     trainer.finish_epoch()?;
//!     trainer.save_or_warn();
//! }
//! let model = trainer.finish(&interrupt)?;
//! ```
//!
//! Whatever else fails in the loop goes through [`Trainer::stop`], so that no update is lost. A disk that is full or away
//! stops nothing: see `saving`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use burn::module::Module;
use burn::tensor::Device;

use crate::memory;
use crate::train::adamw::AdamW;
use crate::train::checkpoint::{Description, Position};
use crate::train::ema::{Ema, EmaConfig};
use crate::train::interrupt::Interrupt;
use crate::train::metrics_file::MetricsFile;
use crate::train::params;
use crate::train::pending::{Losses, Measured, Pending};
use crate::train::progress::Progress;
use crate::train::run_folder::{RunFolder, Start};
use crate::train::schedule::Schedule;
use crate::train::seeds::{self, Purpose};
use crate::train::step_log::{StepLog, StepRecord};
use crate::train::tensorboard::EventWriter;

mod evaluations;
mod opening;
mod refusals;
mod saving;
mod stop;
mod visuals;

pub use self::evaluations::Patience;
use self::saving::Saving;

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After every so many epochs.
    Epochs(usize),
    /// After every so many updates.
    Steps(usize),
}

/// How a run goes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerConfig {
    /// What all seeds derive from.
    pub seed: u64,
    /// Length of the run.
    pub epochs: usize,
    /// Micro-batches averaged in an update. What is left at the end of an epoch makes a smaller update.
    pub accumulation: usize,
    /// Largest global norm of a gradient; none is no clipping.
    pub clip_norm: Option<f64>,
    /// The average of the weights that is judged and kept in their place, if any.
    pub ema: Option<EmaConfig>,
    /// When to evaluate; the end of the run is always one.
    pub evaluate: Every,
    /// When to save; the end of the run is always one.
    pub checkpoint: Every,
    /// Checkpoints that are kept, the last among them.
    pub keep_checkpoints: usize,
    /// The metric whose highest value decides which model is the best: `box/ap`.
    pub best_metric: String,
    /// How long to go on without a better evaluation; none is to the end.
    pub patience: Option<Patience>,
}

/// What a trainer is made of, besides the model.
#[derive(Debug)]
pub struct TrainerParts {
    /// A fresh optimizer for the model.
    pub optimizer: AdamW,
    /// Learning rates.
    pub schedule: Schedule,
    /// Where the run writes.
    pub run: RunFolder,
    /// What checkpoints say of the model.
    pub description: Description,
    /// How the run goes.
    pub config: TrainerConfig,
    /// What a person sees.
    pub progress: Progress,
}

/// A run under way.
#[derive(Debug)]
pub struct Trainer<M: Module> {
    /// Absent only while the optimizer holds it.
    model: Option<M>,
    device: Device,
    parts: TrainerParts,
    ema: Option<Ema>,
    log: StepLog,
    /// Absent while it cannot be written.
    events: Option<EventWriter>,
    metrics: MetricsFile,
    position: Position,
    pending: Pending,
    is_seeded: bool,
    step_began: Instant,
    /// When there was last nothing to do but wait for a micro-batch, and how long that took in this step.
    idle_since: Instant,
    waited: Duration,
    saving: Saving<M>,
    last_evaluated: Option<usize>,
    spread: visuals::Spread,
}

impl<M: Module> Trainer<M> {
    /// Starts a run, or goes on from the run folder's newest sound checkpoint if it was opened to [`Start::Resume`].
    ///
    /// # Errors
    /// If no checkpoint is sound, or one is of another model or beyond the end, or the folder cannot be written.
    pub fn new(model: M, mut parts: TrainerParts) -> Result<Self> {
        let device =
            model.devices().first().cloned().ok_or_else(|| anyhow!("the model has no parameters"))?;
        ensure!(parts.config.accumulation > 0, "accumulation is 0; possible: 1 and above");
        ensure!(parts.config.keep_checkpoints > 0, "checkpoints to keep are 0; possible: 1 and above");
        let opened = match parts.run.start() {
            Start::Resume => opening::resume(model, &mut parts, &device)?,
            Start::Fresh => opening::begin(model, &parts)?,
        };
        let opening::Opened { model, mut position, ema, saving } = opened;
        parts.run.adopt_recipe()?;
        let groups = parts.optimizer.groups();
        let model = params::freeze(model, &|path| groups.is_frozen(path));
        let log = StepLog::open_after(&parts.run.log(), position.step)?;
        let events = Some(EventWriter::open_after(&parts.run.tensorboard(), position.step)?);
        // The file is written after an evaluation and the checkpoint later still, so the file knows more.
        let mut metrics =
            MetricsFile::open_until(&parts.run.metrics(), position.step, position.best.clone())?;
        if let Some((_, best)) = metrics.best_by(&parts.config.best_metric) {
            position.best = Some(best);
        }
        metrics.best = position.best.clone();
        let last_evaluated = metrics.has(position.step).then_some(position.step);
        Ok(Self {
            model: Some(model),
            device,
            parts,
            ema,
            log,
            events,
            metrics,
            pending: Pending::default(),
            is_seeded: false,
            step_began: Instant::now(),
            idle_since: Instant::now(),
            waited: Duration::ZERO,
            saving,
            last_evaluated,
            spread: visuals::Spread::default(),
            position,
        })
    }

    /// The model as of the last update.
    pub fn model(&self) -> &M {
        match &self.model {
            Some(model) => model,
            None => unreachable!("an update gives the model back"),
        }
    }

    /// The model to be judged, on the device without autodiff: the average of the weights, if the run makes one.
    pub fn judged(&self) -> M {
        let model = self.model().valid();
        match &self.ema {
            Some(ema) => ema.averaged(model),
            None => model,
        }
    }

    /// Where the run stands: steps, epochs, and the batches of this epoch that need not be loaded again.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The run's folder.
    pub fn run(&self) -> &RunFolder {
        &self.parts.run
    }

    /// What a person sees, to say something between steps.
    pub fn progress(&mut self) -> &mut Progress {
        &mut self.parts.progress
    }

    /// Whether all epochs are done, or patience is at its end.
    pub fn is_finished(&self) -> bool {
        self.position.epoch >= self.parts.config.epochs || self.is_out_of_patience()
    }

    /// Whether no micro-batch waits for others to make an update: the moment to save, evaluate or end.
    pub fn is_between_updates(&self) -> bool {
        self.pending.batches == 0
    }

    /// Seeds the device for the coming micro-batch, and returns [`Trainer::sampling_seed`].
    pub fn begin_step(&mut self) -> u64 {
        self.waited += self.idle_since.elapsed();
        self.device.seed(self.seed_for(Purpose::Device));
        self.is_seeded = true;
        self.sampling_seed()
    }

    /// The seed of whatever the coming micro-batch draws on the host, such as which boxes a detector samples.
    pub fn sampling_seed(&self) -> u64 {
        self.seed_for(Purpose::Sampling)
    }

    /// Takes the losses of a micro-batch through backward; after the last one of an update, updates the model.
    ///
    /// # Errors
    /// If a loss or the gradient is not finite (the model then is as before the step, and saved), and if the log
    /// cannot be written.
    ///
    /// # Panics
    /// If [`Trainer::begin_step`] was not called for this micro-batch, or there is no loss.
    pub fn step(&mut self, losses: Losses, images: usize) -> Result<()> {
        assert!(self.is_seeded, "begin_step comes before the losses");
        self.is_seeded = false;
        match &self.model {
            Some(model) => self.pending.add(model, losses, images),
            None => unreachable!("an update gives the model back"),
        }
        let is_whole = self.pending.batches == self.parts.config.accumulation;
        let outcome = if is_whole { self.update() } else { Ok(()) };
        self.idle_since = Instant::now();
        outcome
    }

    /// Ends the epoch; micro-batches that were not enough for a whole update make a smaller one.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn finish_epoch(&mut self) -> Result<()> {
        if self.pending.batches > 0 {
            self.update()?;
        }
        self.position.epoch += 1;
        self.position.batches_in_epoch = 0;
        Ok(())
    }

    /// Ends the run: saves, draws the curves, and returns the model. A disk that is full is waited for, half an hour at
    /// most, and no longer than until a signal comes.
    ///
    /// # Errors
    /// If it is full for longer; the older checkpoint stays usable.
    pub fn finish(mut self, interrupt: &Interrupt) -> Result<M> {
        self.save_in_the_end(interrupt)?;
        self.draw_curves();
        self.parts.progress.finish();
        match self.model {
            Some(model) => Ok(model),
            None => unreachable!("an update gives the model back"),
        }
    }

    /// Saves and draws the curves, for a run that goes on in another process.
    ///
    /// # Errors
    /// If the disk is full, for example; the older checkpoint stays usable.
    pub fn pause(&mut self) -> Result<()> {
        let saved = self.save();
        saved.with_context(|| {
            let (step, newest) = (self.position.step, self.newest_checkpoint());
            format!("step {step} is NOT saved; {newest}, and --resume goes on there")
        })?;
        self.draw_curves();
        self.parts.progress.finish();
        Ok(())
    }

    /// What was done between two steps is no part of either.
    fn restart_clock(&mut self) {
        self.step_began = Instant::now();
        self.idle_since = self.step_began;
    }

    fn seed_for(&self, purpose: Purpose) -> u64 {
        let batch = self.position.batches + self.pending.batches as u64;
        seeds::seed(self.parts.config.seed, batch, purpose)
    }

    fn update(&mut self) -> Result<()> {
        let measured = std::mem::take(&mut self.pending).measure(self.parts.config.clip_norm);
        if !measured.is_finite() {
            return self.stop_before_update(&measured);
        }
        let means = measured.mean_losses();
        let Measured { gradients, losses: _, clipped, batches, images } = measured;
        self.spread.note(&gradients, batches);
        let lr = self.parts.schedule.lr(self.position.step);
        self.model =
            self.model.take().map(|model| self.parts.optimizer.step(model, gradients, lr, clipped.scale));
        if let (Some(ema), Some(model)) = (&mut self.ema, &self.model) {
            ema.follow(model, self.position.step);
        }
        self.position.step += 1;
        self.position.batches += batches as u64;
        self.position.batches_in_epoch += batches;
        self.position.images += images as u64;

        let seconds = self.step_began.elapsed().as_secs_f64();
        let data_s = std::mem::take(&mut self.waited).as_secs_f64();
        self.step_began = Instant::now();
        let record = StepRecord {
            step: self.position.step,
            epoch: self.position.epoch + 1,
            loss: means.values().sum::<f64>() as f32,
            losses: means.into_iter().map(|(name, mean)| (name, mean as f32)).collect(),
            lr,
            grad_norm: clipped.norm as f32,
            seconds,
            data_s,
            images_per_s: images as f64 / seconds.max(f64::MIN_POSITIVE),
            peak_mb: memory::peak_resident().map(|bytes| bytes / 1_000_000),
        };
        if let Err(error) = self.log.append(&record) {
            self.warn_of_log(&error);
        }
        self.write_events(&record);
        self.parts.progress.step(&record);
        Ok(())
    }

    fn write_events(&mut self, record: &StepRecord) {
        let mut scalars = vec![("loss/total".to_owned(), f64::from(record.loss))];
        scalars.extend(record.losses.iter().map(|(name, &loss)| (format!("loss/{name}"), f64::from(loss))));
        scalars.push(("grad_norm".to_owned(), f64::from(record.grad_norm)));
        scalars.push(("images_per_s".to_owned(), record.images_per_s));
        let rows = self.parts.optimizer.groups().rows();
        scalars.extend(rows.iter().map(|row| (format!("lr/{}", row.group), record.lr * row.lr_scale)));
        self.add_events(record.step, scalars);
    }
}
