//! Checks of `[train]`, `[optimizer]` and `[schedule]`.

use anyhow::{Result, ensure};

use super::{above_zero, filled, length, not_negative, share};
use crate::recipe::{Decay, Optimizer, Schedule, Train, TransformRecipe};

/// More threads than this only wait for each other.
const MOST_WORKERS: usize = 256;

/// The training loop's transforms and threads; the rest is in [`Plan::check`](crate::recipe::Plan::check).
pub(crate) fn check_train(train: &Train) -> Result<()> {
    check_workers("train.workers", train.workers)?;
    train
        .transforms
        .iter()
        .enumerate()
        .try_for_each(|(index, step)| check_transform(&format!("train.transforms.{index}"), step))
}

/// A number of threads.
pub(crate) fn check_workers(key: &str, workers: usize) -> Result<()> {
    ensure!(workers <= MOST_WORKERS, "{key} = {workers}: must be at most {MOST_WORKERS}");
    Ok(())
}

/// Shares of the area and ratios of the sides of a random crop.
pub(crate) fn check_crop(key: &str, scale: [f64; 2], ratio: [f64; 2]) -> Result<()> {
    for (name, [low, high], most) in [("crop_scale", scale, 1.0), ("crop_ratio", ratio, f64::MAX)] {
        ensure!(
            low > 0.0 && low <= high && high <= most,
            "{key}.{name} = [{low}, {high}]: must be two numbers above 0{}, rising",
            if most == 1.0 { " and at most 1" } else { "" }
        );
    }
    Ok(())
}

/// A crop that looks at labels has nothing to look at where objects are the truth.
pub(super) fn refuse_category_crops(train: &Train) -> Result<()> {
    fn any(steps: &[TransformRecipe]) -> bool {
        steps.iter().any(|step| match step {
            TransformRecipe::CategoryCrop { .. } => true,
            TransformRecipe::OneOf(sequences) => sequences.iter().any(|sequence| any(sequence)),
            _ => false,
        })
    }
    ensure!(
        !any(&train.transforms),
        "train.transforms: `category-crop` is for semantic segmentation; possible here: `random-crop`, `large-scale-jitter`"
    );
    Ok(())
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
            check_scales(&format!("{key}.large-scale-jitter"), *square, *min_scale, *max_scale)
        }
        TransformRecipe::RandomCrop { min_side, max_side, empty: _ } => {
            side("random-crop.min_side", *min_side)?;
            ensure!(
                min_side <= max_side,
                "{key}.random-crop.max_side = {max_side}: must not be below min_side = {min_side}"
            );
            Ok(())
        }
        TransformRecipe::RandomResize { short_side, long_side, min_scale, max_scale } => {
            side("random-resize.short_side", *short_side)?;
            side("random-resize.long_side", *long_side)?;
            check_scales(&format!("{key}.random-resize"), *long_side, *min_scale, *max_scale)
        }
        TransformRecipe::CategoryCrop { height, width, max_category_share } => {
            side("category-crop.height", *height)?;
            side("category-crop.width", *width)?;
            above_zero(&format!("{key}.category-crop.max_category_share"), *max_category_share)?;
            share(&format!("{key}.category-crop.max_category_share"), *max_category_share)
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
            let key = format!("{key}.photometric-distortion");
            not_negative(&format!("{key}.hue_delta"), f64::from(*hue_delta))?;
            check_light(&key, *brightness_delta, *contrast, *saturation)?;
            share(&format!("{key}.swap_probability"), *swap_probability)
        }
        TransformRecipe::PhotometricDistortion8Bit { brightness_delta, contrast, saturation, hue_delta } => {
            let key = format!("{key}.photometric-distortion-8-bit");
            ensure!(*hue_delta < 90, "{key}.hue_delta = {hue_delta}: must be below 90");
            check_light(&key, *brightness_delta, *contrast, *saturation)
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

/// How brightness, contrast and saturation change.
fn check_light(key: &str, brightness_delta: f32, contrast: [f32; 2], saturation: [f32; 2]) -> Result<()> {
    not_negative(&format!("{key}.brightness_delta"), f64::from(brightness_delta))?;
    for (name, [low, high]) in [("contrast", contrast), ("saturation", saturation)] {
        ensure!(
            low > 0.0 && low <= high && high.is_finite(),
            "{key}.{name} = [{low}, {high}]: must be two factors above 0, rising"
        );
    }
    Ok(())
}

/// Random scales of a side, and what the largest makes of it.
fn check_scales(key: &str, side: u32, min_scale: f64, max_scale: f64) -> Result<()> {
    above_zero(&format!("{key}.min_scale"), min_scale)?;
    ensure!(
        min_scale <= max_scale,
        "{key}.max_scale = {max_scale}: must not be below min_scale = {min_scale}"
    );
    length(&format!("{key}, its side times max_scale"), (f64::from(side) * max_scale) as usize)
}

/// The optimizer and its rates, of any kind of recipe.
pub(crate) fn check_optimizer(optimizer: &Optimizer, schedule: &Schedule) -> Result<()> {
    let Optimizer::Adamw(adamw) = optimizer;
    above_zero("optimizer.adamw.lr", adamw.lr)?;
    above_zero("optimizer.adamw.eps", adamw.eps)?;
    for (index, beta) in adamw.betas.iter().enumerate() {
        ensure!(
            (0.0..1.0).contains(beta),
            "optimizer.adamw.betas.{index} = {beta}: must be at least 0 and below 1"
        );
    }
    not_negative("optimizer.adamw.weight_decay", adamw.weight_decay)?;
    check_schedule(schedule, adamw.lr)
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
