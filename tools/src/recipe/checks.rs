//! What types cannot say about a recipe: ranges, and entries that must agree.

use anyhow::{Result, bail, ensure};

use super::{Backbone, Data, Decay, Head, Optimizer, Recipe, TransformRecipe, Version};
use crate::report;

/// Refuses a recipe that cannot work; the message names the entry, its value and what is allowed.
pub(super) fn check(recipe: &Recipe) -> Result<()> {
    check_data(recipe)?;
    check_model(recipe)?;
    check_head(recipe)?;
    check_train(recipe)?;
    check_optimizer(recipe)?;
    check_evaluation(recipe)
}

/// A count that must be 1 or more.
fn positive(key: &str, value: usize) -> Result<()> {
    ensure!(value >= 1, "{key} = {value}: must be at least 1");
    Ok(())
}

/// A share: 0 to 1, both allowed.
fn share(key: &str, value: f64) -> Result<()> {
    ensure!((0.0..=1.0).contains(&value), "{key} = {value}: must lie between 0 and 1");
    Ok(())
}

/// A number above 0.
fn above_zero(key: &str, value: f64) -> Result<()> {
    ensure!(value > 0.0 && value.is_finite(), "{key} = {value}: must be above 0");
    Ok(())
}

fn check_data(recipe: &Recipe) -> Result<()> {
    match &recipe.data {
        Data::Coco(coco) => {
            if let Some(first_images) = coco.first_images {
                positive("data.coco.first_images", first_images)?;
            }
            if let Some(classes) = &coco.classes {
                positive("data.coco.classes, its length", classes.len())?;
            }
        }
        Data::Shapes(shapes) => {
            positive("data.shapes.train_images", shapes.train_images)?;
            positive("data.shapes.val_images", shapes.val_images)?;
            ensure!(
                (64..=2048).contains(&shapes.long_side),
                "data.shapes.long_side = {}: must lie between 64 and 2048",
                shapes.long_side
            );
        }
    }
    for (channel, std) in recipe.input.std.iter().enumerate() {
        above_zero(&format!("input.std.{channel}"), f64::from(*std))?;
    }
    ensure!(
        recipe.input.pad_multiple >= 32 && recipe.input.pad_multiple.is_multiple_of(32),
        "input.pad_multiple = {}: must be a multiple of 32, the coarsest stride of the backbone",
        recipe.input.pad_multiple
    );
    Ok(())
}

fn check_model(recipe: &Recipe) -> Result<()> {
    let model = &recipe.model;
    ensure!(
        (0.0..1.0).contains(&model.drop_path_rate),
        "model.drop_path_rate = {}: must be at least 0 and below 1",
        model.drop_path_rate
    );
    if let Backbone::Custom(custom) = &model.backbone {
        for (stage, (depth, dim)) in custom.depths.iter().zip(custom.dims).enumerate() {
            positive(&format!("model.backbone.custom.depths.{stage}"), *depth)?;
            positive(&format!("model.backbone.custom.dims.{stage}"), dim)?;
        }
    }
    match (model.backbone.version(), model.layer_scale_init) {
        (Version::V1, None) => {
            bail!(
                "model.layer_scale_init is missing: a V1 backbone has layer scale, say where it starts (1.0 in the published detectors)"
            )
        }
        (Version::V2, Some(init)) => {
            bail!("model.layer_scale_init = {init}: a V2 backbone has no layer scale; remove the key")
        }
        _ => Ok(()),
    }
}

fn check_head(recipe: &Recipe) -> Result<()> {
    let Head::MaskRcnn(head) = &recipe.head;
    positive("head.mask-rcnn.num_classes", head.num_classes)?;
    positive("head.mask-rcnn.fpn_channels", head.fpn_channels)?;
    positive("head.mask-rcnn.num_fcs", head.num_fcs)?;
    positive("head.mask-rcnn.fc_channels", head.fc_channels)?;
    positive("head.mask-rcnn.num_mask_convs", head.num_mask_convs)?;
    positive("head.mask-rcnn.mask_channels", head.mask_channels)?;
    positive("head.mask-rcnn.rpn.anchor_scales, its length", head.rpn.anchor_scales.len())?;
    positive("head.mask-rcnn.rpn.anchor_ratios, its length", head.rpn.anchor_ratios.len())?;
    for value in &head.rpn.anchor_scales {
        above_zero("head.mask-rcnn.rpn.anchor_scales", f64::from(*value))?;
    }
    for value in &head.rpn.anchor_ratios {
        above_zero("head.mask-rcnn.rpn.anchor_ratios", f64::from(*value))?;
    }
    positive("head.mask-rcnn.rpn.samples_per_image", head.rpn.samples_per_image)?;
    positive("head.mask-rcnn.roi.samples_per_image", head.roi.samples_per_image)?;
    share("head.mask-rcnn.rpn.positive_fraction", head.rpn.positive_fraction)?;
    share("head.mask-rcnn.roi.positive_fraction", head.roi.positive_fraction)?;
    for (stage, negative_iou, positive_iou) in [
        ("rpn", head.rpn.negative_iou, head.rpn.positive_iou),
        ("roi", head.roi.negative_iou, head.roi.positive_iou),
    ] {
        ensure!(
            negative_iou <= positive_iou,
            "head.mask-rcnn.{stage}.negative_iou = {negative_iou}: must not exceed positive_iou = {positive_iou}"
        );
    }
    positive("head.mask-rcnn.test.detections_per_image", head.test.detections_per_image)?;
    share("head.mask-rcnn.test.score_threshold", f64::from(head.test.score_threshold))?;
    above_zero("head.mask-rcnn.test.mask_threshold", f64::from(head.test.mask_threshold))?;
    share("head.mask-rcnn.test.mask_threshold", f64::from(head.test.mask_threshold))
}

fn check_train(recipe: &Recipe) -> Result<()> {
    let train = &recipe.train;
    positive("train.epochs", train.epochs)?;
    positive("train.batch_size", train.batch_size)?;
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
    let side = |name: &str, value: u32| positive(&format!("{key}.{name}"), value as usize);
    match step {
        TransformRecipe::Resize { short_side, long_side } => {
            side("resize.short_side", *short_side)?;
            side("resize.long_side", *long_side)
        }
        TransformRecipe::MultiScale { short_sides, long_side } => {
            positive(&format!("{key}.multi-scale.short_sides, its length"), short_sides.len())?;
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
            Ok(())
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
        TransformRecipe::PhotometricDistortion { contrast, saturation, swap_probability, .. } => {
            for (name, [low, high]) in [("contrast", contrast), ("saturation", saturation)] {
                ensure!(
                    *low > 0.0 && low <= high,
                    "{key}.photometric-distortion.{name} = [{low}, {high}]: must be two factors above 0, rising"
                );
            }
            share(&format!("{key}.photometric-distortion.swap_probability"), *swap_probability)
        }
        TransformRecipe::DropSmall { min_side } => {
            above_zero(&format!("{key}.drop-small.min_side"), f64::from(*min_side))
        }
        TransformRecipe::OneOf(sequences) => {
            positive(&format!("{key}.one-of, its length"), sequences.len())?;
            for (choice, sequence) in sequences.iter().enumerate() {
                for (index, step) in sequence.iter().enumerate() {
                    check_transform(&format!("{key}.one-of.{choice}.{index}"), step)?;
                }
            }
            Ok(())
        }
    }
}

fn check_optimizer(recipe: &Recipe) -> Result<()> {
    let Optimizer::Adamw(adamw) = &recipe.optimizer;
    above_zero("optimizer.adamw.lr", adamw.lr)?;
    above_zero("optimizer.adamw.eps", adamw.eps)?;
    for (index, beta) in adamw.betas.iter().enumerate() {
        ensure!(
            (0.0..1.0).contains(beta),
            "optimizer.adamw.betas.{index} = {beta}: must be at least 0 and below 1"
        );
    }
    ensure!(
        adamw.weight_decay >= 0.0,
        "optimizer.adamw.weight_decay = {}: must not be negative",
        adamw.weight_decay
    );
    share("schedule.warmup_start_factor", recipe.schedule.warmup_start_factor)?;
    if let Decay::Step { milestone_epochs, .. } = &recipe.schedule.decay {
        ensure!(
            milestone_epochs.windows(2).all(|pair| pair[0] < pair[1]),
            "schedule.decay.step.milestone_epochs = {milestone_epochs:?}: must rise"
        );
    }
    Ok(())
}

fn check_evaluation(recipe: &Recipe) -> Result<()> {
    let evaluate = &recipe.evaluate;
    positive("evaluate.every_epochs", evaluate.every_epochs)?;
    positive("evaluate.batch_size", evaluate.batch_size)?;
    positive("evaluate.short_side", evaluate.short_side as usize)?;
    ensure!(
        evaluate.short_side <= evaluate.long_side,
        "evaluate.short_side = {}: must not exceed evaluate.long_side = {}",
        evaluate.short_side,
        evaluate.long_side
    );
    report::known_metric("evaluate.best_by", &evaluate.best_by)?;
    recipe.expect.iter().flatten().try_for_each(|(name, _)| report::known_metric("expect", name))
}
