//! Checks of `[train]`, `[optimizer]` and `[schedule]`.

use anyhow::{Result, ensure};

use super::{above_zero, filled, length, not_negative, positive, share};
use crate::recipe::{Decay, Optimizer, Recipe, Schedule, TransformRecipe};

/// More threads than this only wait for each other.
const MOST_WORKERS: usize = 256;

pub(super) fn check_train(recipe: &Recipe) -> Result<()> {
    let train = &recipe.train;
    positive("train.epochs", train.epochs)?;
    length("train.batch_size", train.batch_size)?;
    ensure!(
        train.workers <= MOST_WORKERS,
        "train.workers = {}: must be at most {MOST_WORKERS}",
        train.workers
    );
    positive("train.accumulation_steps", train.accumulation_steps)?;
    positive("train.checkpoint_every_steps", train.checkpoint_every_steps)?;
    ensure!(
        train.batch_size.is_multiple_of(train.accumulation_steps),
        "train.accumulation_steps = {}: must divide train.batch_size = {}",
        train.accumulation_steps,
        train.batch_size
    );
    if let Some(norm) = train.max_grad_norm {
        above_zero("train.max_grad_norm", norm)?;
    }
    train
        .transforms
        .iter()
        .enumerate()
        .try_for_each(|(index, step)| check_transform(&format!("train.transforms.{index}"), step))
}

fn check_transform(key: &str, step: &TransformRecipe) -> Result<()> {
    let side = |name: &str, value: u32| length(&format!("{key}.{name}"), value as usize);
    match step {
        TransformRecipe::Resize { short_side, long_side } => {
            side("resize.short_side", *short_side)?;
            side("resize.long_side", *long_side)
        }
        TransformRecipe::MultiScale { short_sides, long_side } => {
            filled(&format!("{key}.multi-scale.short_sides"), short_sides)?;
            short_sides.iter().try_for_each(|short| side("multi-scale.short_sides", *short))?;
            side("multi-scale.long_side", *long_side)
        }
        TransformRecipe::LargeScaleJitter { side: square, min_scale, max_scale } => {
            side("large-scale-jitter.side", *square)?;
            above_zero(&format!("{key}.large-scale-jitter.min_scale"), *min_scale)?;
            ensure!(
                min_scale <= max_scale,
                "{key}.large-scale-jitter.max_scale = {max_scale}: must not be below min_scale = {min_scale}"
            );
            // What it is scaled to before it is cut.
            length(
                &format!("{key}.large-scale-jitter, its side times max_scale"),
                (f64::from(*square) * max_scale) as usize,
            )
        }
        TransformRecipe::RandomCrop { min_side, max_side, empty: _ } => {
            side("random-crop.min_side", *min_side)?;
            ensure!(
                min_side <= max_side,
                "{key}.random-crop.max_side = {max_side}: must not be below min_side = {min_side}"
            );
            Ok(())
        }
        TransformRecipe::Flip { probability } => share(&format!("{key}.flip.probability"), *probability),
        TransformRecipe::FlipVertical { probability } => {
            share(&format!("{key}.flip-vertical.probability"), *probability)
        }
        TransformRecipe::QuarterTurn { probability } => {
            share(&format!("{key}.quarter-turn.probability"), *probability)
        }
        TransformRecipe::PhotometricDistortion {
            brightness_delta,
            contrast,
            saturation,
            hue_delta,
            swap_probability,
        } => {
            for (name, delta) in [("brightness_delta", brightness_delta), ("hue_delta", hue_delta)] {
                not_negative(&format!("{key}.photometric-distortion.{name}"), f64::from(*delta))?;
            }
            for (name, [low, high]) in [("contrast", contrast), ("saturation", saturation)] {
                ensure!(
                    *low > 0.0 && low <= high && high.is_finite(),
                    "{key}.photometric-distortion.{name} = [{low}, {high}]: must be two factors above 0, rising"
                );
            }
            share(&format!("{key}.photometric-distortion.swap_probability"), *swap_probability)
        }
        TransformRecipe::DropSmall { min_side } => {
            above_zero(&format!("{key}.drop-small.min_side"), f64::from(*min_side))
        }
        TransformRecipe::OneOf(sequences) => {
            filled(&format!("{key}.one-of"), sequences)?;
            for (choice, sequence) in sequences.iter().enumerate() {
                for (index, step) in sequence.iter().enumerate() {
                    check_transform(&format!("{key}.one-of.{choice}.{index}"), step)?;
                }
            }
            Ok(())
        }
    }
}

pub(super) fn check_optimizer(recipe: &Recipe) -> Result<()> {
    let Optimizer::Adamw(adamw) = &recipe.optimizer;
    above_zero("optimizer.adamw.lr", adamw.lr)?;
    above_zero("optimizer.adamw.eps", adamw.eps)?;
    for (index, beta) in adamw.betas.iter().enumerate() {
        ensure!(
            (0.0..1.0).contains(beta),
            "optimizer.adamw.betas.{index} = {beta}: must be at least 0 and below 1"
        );
    }
    not_negative("optimizer.adamw.weight_decay", adamw.weight_decay)?;
    check_schedule(&recipe.schedule, adamw.lr)
}

fn check_schedule(schedule: &Schedule, lr: f64) -> Result<()> {
    let Schedule { warmup_steps: _, warmup_start_factor, decay } = schedule;
    share("schedule.warmup_start_factor", *warmup_start_factor)?;
    let check_min_lr = |name: &str, min_lr: f64| {
        let key = format!("schedule.decay.{name}.min_lr");
        not_negative(&key, min_lr)?;
        ensure!(min_lr <= lr, "{key} = {min_lr}: must not exceed optimizer.adamw.lr = {lr}");
        Ok(())
    };
    match decay {
        Decay::Constant => Ok(()),
        Decay::Step { milestone_epochs, gamma } => {
            ensure!(
                milestone_epochs.windows(2).all(|pair| pair[0] < pair[1]),
                "schedule.decay.step.milestone_epochs = {milestone_epochs:?}: must rise"
            );
            not_negative("schedule.decay.step.gamma", *gamma)
        }
        Decay::Cosine { min_lr } => check_min_lr("cosine", *min_lr),
        Decay::Polynomial { power, min_lr } => {
            above_zero("schedule.decay.polynomial.power", *power)?;
            check_min_lr("polynomial", *min_lr)
        }
    }
}
