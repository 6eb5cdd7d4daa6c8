//! What recipes of all kinds say of a run alike, gathered from where each kind says it.

use std::io::Write;

use anyhow::{Result, ensure};
use burn::module::Module;

use super::checks::{self, above_zero, not_negative, positive};
use super::{EarlyStop, Ema, Optimizer, Schedule};
use crate::train::adamw::AdamW;
use crate::train::checkpoint::Description;
use crate::train::ema::EmaConfig;
use crate::train::groups::ParamGroups;
use crate::train::params::{self, ParamInfo};
use crate::train::progress::Progress;
use crate::train::run_folder::RunFolder;
use crate::train::schedule;
use crate::train::trainer::{Every, Patience, Trainer, TrainerConfig, TrainerParts};
use crate::wording::counted;

/// A run as its recipe describes it, but for model and data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    pub(crate) seed: u64,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) accumulation_steps: usize,
    pub(crate) lr_batch_size: Option<usize>,
    pub(crate) max_grad_norm: Option<f64>,
    pub(crate) ema: Option<Ema>,
    pub(crate) freeze: &'a [String],
    pub(crate) early_stop: Option<EarlyStop>,
    pub(crate) recompute_stages: &'a [usize],
    pub(crate) checkpoint_every_steps: usize,
    pub(crate) keep_checkpoints: usize,
    /// `every_epochs` and `every_steps`, which goes before.
    pub(crate) evaluate_every: (Option<usize>, Option<usize>),
    pub(crate) best_by: &'a str,
    pub(crate) optimizer: &'a Optimizer,
    pub(crate) schedule: &'a Schedule,
}

impl Plan<'_> {
    /// Refuses what cannot be; the message names the entry, its value and what is allowed.
    ///
    /// # Errors
    /// If an entry is out of its range, or two do not agree.
    pub(crate) fn check(&self) -> Result<()> {
        positive("train.epochs", self.epochs)?;
        checks::length("train.batch_size", self.batch_size)?;
        positive("train.accumulation_steps", self.accumulation_steps)?;
        ensure!(
            self.batch_size.is_multiple_of(self.accumulation_steps),
            "train.accumulation_steps = {}: must divide train.batch_size = {}",
            self.accumulation_steps,
            self.batch_size
        );
        if let Some(size) = self.lr_batch_size {
            positive("train.lr_batch_size", size)?;
        }
        if let Some(norm) = self.max_grad_norm {
            above_zero("train.max_grad_norm", norm)?;
        }
        if let Some(Ema { decay, warmup: _ }) = self.ema {
            ensure!(
                (0.0..1.0).contains(&decay),
                "train.ema.decay = {decay}: must be at least 0 and below 1; 0.9999 is usual"
            );
        }
        if let Some(EarlyStop { patience, min_delta }) = self.early_stop {
            positive("train.early_stop.patience", patience)?;
            not_negative("train.early_stop.min_delta", min_delta)?;
        }
        for (index, stage) in self.recompute_stages.iter().enumerate() {
            ensure!(*stage < 4, "train.recompute_stages.{index} = {stage}: must be a stage, 0 to 3");
        }
        positive("train.checkpoint_every_steps", self.checkpoint_every_steps)?;
        positive("train.keep_checkpoints", self.keep_checkpoints)?;
        match self.evaluate_every {
            (_, Some(steps)) => positive("evaluate.every_steps", steps),
            (Some(epochs), None) => positive("evaluate.every_epochs", epochs),
            (None, None) => {
                anyhow::bail!(
                    "evaluate.every_epochs is missing: say when to evaluate; possible: every_epochs, every_steps"
                )
            }
        }
    }

    /// The learning rate after the warm-up, before layer decay.
    pub(crate) fn lr(&self) -> f64 {
        let Optimizer::Adamw(adamw) = self.optimizer;
        self.lr_batch_size.map_or(adamw.lr, |size| adamw.lr * self.batch_size as f64 / size as f64)
    }

    /// How the learning rate came about, for a person.
    pub(crate) fn lr_told(&self) -> String {
        let Optimizer::Adamw(adamw) = self.optimizer;
        match self.lr_batch_size {
            None => format!("{}", adamw.lr),
            Some(size) => {
                let Self { batch_size, .. } = self;
                format!(
                    "{:e}: {} x {batch_size} / {size}, the batch over train.lr_batch_size",
                    self.lr(),
                    adamw.lr
                )
            }
        }
    }

    /// Says what a person might not expect: a rate that was scaled, weights that are averaged, parts that stay.
    pub(crate) fn tell(&self, out: &mut dyn Write) -> Result<()> {
        if self.lr_batch_size.is_some() {
            writeln!(out, "rate        {}", self.lr_told())?;
        }
        if let Some(Ema { decay, warmup: _ }) = self.ema {
            writeln!(
                out,
                "average     of the weights, decay {decay}; it is what is judged and kept as the best"
            )?;
        }
        if !self.freeze.is_empty() {
            writeln!(out, "frozen      {}", self.freeze.join(", "))?;
        }
        Ok(())
    }

    /// That the learning rate never arrives, if so.
    pub(crate) fn doubt_warmup(&self, batches_per_epoch: usize) -> Option<String> {
        let (warmup, steps_per_epoch) = (self.schedule.warmup_steps, self.steps_per_epoch(batches_per_epoch));
        let (total, epochs, lr) = (self.total_steps(batches_per_epoch), self.epochs, self.lr());
        // A warm-up of one step is none.
        (warmup >= total && total > 0 && warmup > 1).then(|| {
            let (steps, epochs) = (counted(total, "step", "steps"), counted(epochs, "epoch", "epochs"));
            let when = if warmup > total { "before" } else { "as" };
            format!(
                "schedule.warmup_steps = {warmup}: the training has {steps} ({epochs} of {steps_per_epoch}), so it ends \
                 {when} its rate reaches {lr}"
            )
        })
    }

    /// Which parameter is updated how.
    ///
    /// # Errors
    /// If layer decay does not fit the model, or `train.freeze` names a part that it does not have.
    pub(crate) fn groups(&self, params: &[ParamInfo]) -> Result<ParamGroups> {
        let Optimizer::Adamw(adamw) = self.optimizer;
        ParamGroups::new(params, adamw.layer_decay(), adamw.weight_decay())?.freezing(params, self.freeze)
    }

    /// Updates in an epoch of so many micro-batches.
    pub(crate) fn steps_per_epoch(&self, batches_per_epoch: usize) -> usize {
        batches_per_epoch.div_ceil(self.accumulation_steps)
    }

    /// Updates in the whole run.
    pub(crate) fn total_steps(&self, batches_per_epoch: usize) -> usize {
        self.steps_per_epoch(batches_per_epoch) * self.epochs
    }

    /// The learning rate of every step.
    pub(crate) fn schedule(&self, batches_per_epoch: usize) -> schedule::Schedule {
        let steps_per_epoch = self.steps_per_epoch(batches_per_epoch);
        self.schedule.config(self.lr(), steps_per_epoch, steps_per_epoch * self.epochs)
    }

    /// The run, begun or resumed as its folder was opened.
    ///
    /// # Errors
    /// As [`Plan::groups`] and [`Trainer::new`].
    pub(crate) fn trainer<M: Module>(
        &self,
        model: M,
        run: RunFolder,
        description: Description,
        batches_per_epoch: usize,
    ) -> Result<Trainer<M>> {
        let Optimizer::Adamw(adamw) = self.optimizer;
        let groups = self.groups(&params::trained(&model))?;
        let parts = TrainerParts {
            optimizer: AdamW::new(adamw.config(), groups),
            schedule: self.schedule(batches_per_epoch),
            run,
            description,
            config: self.config(),
            progress: Progress::on_stderr(self.total_steps(batches_per_epoch)),
        };
        Trainer::new(model, parts)
    }

    fn config(&self) -> TrainerConfig {
        TrainerConfig {
            seed: self.seed,
            epochs: self.epochs,
            accumulation: self.accumulation_steps,
            clip_norm: self.max_grad_norm,
            ema: self.ema.map(|Ema { decay, warmup }| EmaConfig { decay, warmup }),
            evaluate: match self.evaluate_every {
                (_, Some(steps)) => Every::Steps(steps),
                (epochs, None) => Every::Epochs(epochs.unwrap_or(1)),
            },
            checkpoint: Every::Steps(self.checkpoint_every_steps),
            keep_checkpoints: self.keep_checkpoints,
            best_metric: self.best_by.to_owned(),
            patience: self
                .early_stop
                .map(|EarlyStop { patience, min_delta }| Patience { evaluations: patience, min_delta }),
        }
    }
}
