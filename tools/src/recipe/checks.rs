//! What types cannot say about a recipe: ranges, and entries that must agree.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

use super::{Backbone, Data, Expectation, Input, Model, Recipe, ShapesData, Version};
use crate::report;

pub(crate) mod head;
pub(crate) mod training;

/// Refuses a recipe that cannot work; the message names the entry, its value and what is allowed.
pub(super) fn check(recipe: &Recipe) -> Result<()> {
    check_data(recipe)?;
    check_input(&recipe.input)?;
    check_model(&recipe.model)?;
    head::check(&recipe.head)?;
    recipe.plan().check()?;
    training::check_train(&recipe.train)?;
    training::refuse_category_crops(&recipe.train)?;
    training::check_optimizer(&recipe.optimizer, &recipe.schedule)?;
    check_evaluation(recipe)
}

/// Counts and lengths beyond this are typing errors, and would only be noticed when memory runs out.
const MOST: usize = 1 << 20;

/// Layers beyond this, one after the other, are typing errors.
pub(crate) const DEEPEST: usize = 1 << 10;

/// Channels, and sides in pixels, beyond this are typing errors.
const LONGEST: usize = 1 << 16;

/// A count that must be 1 or more, and of a size that makes sense.
pub(crate) fn positive(key: &str, value: usize) -> Result<()> {
    within(key, value, MOST)
}

/// A width or a side, which must be 1 or more, and of a size that makes sense.
pub(crate) fn length(key: &str, value: usize) -> Result<()> {
    within(key, value, LONGEST)
}

pub(crate) fn within(key: &str, value: usize, most: usize) -> Result<()> {
    ensure!(value >= 1, "{key} = {value}: must be at least 1");
    ensure!(value <= most, "{key} = {value}: must be at most {most}");
    Ok(())
}

/// A list that must hold something.
pub(crate) fn filled<T>(key: &str, list: &[T]) -> Result<()> {
    ensure!(!list.is_empty(), "{key} = []: must hold at least one entry");
    Ok(())
}

/// A share: 0 to 1, both allowed.
pub(crate) fn share(key: &str, value: f64) -> Result<()> {
    ensure!((0.0..=1.0).contains(&value), "{key} = {value}: must lie between 0 and 1");
    Ok(())
}

/// A number above 0.
pub(crate) fn above_zero(key: &str, value: f64) -> Result<()> {
    ensure!(value > 0.0 && value.is_finite(), "{key} = {value}: must be above 0");
    Ok(())
}

/// 0 or more.
pub(crate) fn not_negative(key: &str, value: f64) -> Result<()> {
    ensure!(value.is_finite(), "{key} = {value}: must be finite");
    ensure!(value >= 0.0, "{key} = {value}: must not be negative");
    Ok(())
}

fn check_data(recipe: &Recipe) -> Result<()> {
    ensure!(!recipe.run.folder.as_os_str().is_empty(), "run.folder = \"\": must name a folder");
    match &recipe.data {
        Data::Coco(coco) => {
            if let Some(first_images) = coco.first_images {
                positive("data.coco.first_images", first_images)?;
            }
            if let Some(classes) = &coco.classes {
                filled("data.coco.classes", classes)?;
            }
        }
        Data::Shapes(shapes) => check_shapes(shapes)?,
    }
    Ok(())
}

/// Generated images, of any kind of recipe.
pub(crate) fn check_shapes(shapes: &ShapesData) -> Result<()> {
    positive("data.shapes.train_images", shapes.train_images)?;
    positive("data.shapes.val_images", shapes.val_images)?;
    ensure!(
        (64..=2048).contains(&shapes.long_side),
        "data.shapes.long_side = {}: must lie between 64 and 2048",
        shapes.long_side
    );
    Ok(())
}

/// What pixels become, of a recipe or of a checkpoint.
pub(crate) fn check_input(input: &Input) -> Result<()> {
    let Input { mean, std, pad_multiple } = input;
    check_normalisation(mean, std)?;
    ensure!(
        (32..=LONGEST).contains(pad_multiple) && pad_multiple.is_multiple_of(32),
        "input.pad_multiple = {pad_multiple}: must be a multiple of 32, the coarsest stride of the backbone"
    );
    Ok(())
}

/// Means and deviations, of a recipe or of a checkpoint.
pub(crate) fn check_normalisation(mean: &[f32; 3], std: &[f32; 3]) -> Result<()> {
    for (channel, std) in std.iter().enumerate() {
        above_zero(&format!("input.std.{channel}"), f64::from(*std))?;
    }
    for (channel, mean) in mean.iter().enumerate() {
        ensure!(mean.is_finite(), "input.mean.{channel} = {mean}: must be a finite number");
    }
    Ok(())
}

/// The sides that images are scaled to, of a recipe or of a checkpoint.
pub(crate) fn check_sides(key: &str, short_side: u32, long_side: u32) -> Result<()> {
    length(&format!("{key}short_side"), short_side as usize)?;
    length(&format!("{key}long_side"), long_side as usize)?;
    ensure!(
        short_side <= long_side,
        "{key}short_side = {short_side}: must not exceed {key}long_side = {long_side}"
    );
    Ok(())
}

/// The backbone, of a recipe or of a checkpoint.
pub(crate) fn check_model(model: &Model) -> Result<()> {
    ensure!(
        (0.0..1.0).contains(&model.drop_path_rate),
        "model.drop_path_rate = {}: must be at least 0 and below 1",
        model.drop_path_rate
    );
    if let Backbone::Custom(custom) = &model.backbone {
        for (stage, (depth, dim)) in custom.depths.iter().zip(custom.dims).enumerate() {
            within(&format!("model.backbone.custom.depths.{stage}"), *depth, DEEPEST)?;
            length(&format!("model.backbone.custom.dims.{stage}"), dim)?;
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

fn check_evaluation(recipe: &Recipe) -> Result<()> {
    let evaluate = &recipe.evaluate;
    length("evaluate.batch_size", evaluate.batch_size)?;
    check_sides("evaluate.", evaluate.short_side, evaluate.long_side)?;
    report::known_metric("evaluate.best_by", &evaluate.best_by)?;
    check_expect(&recipe.expect, report::known_metric)
}

/// What a recipe promises, of metrics that `known` knows.
pub(crate) fn check_expect(
    expect: &Option<BTreeMap<String, Expectation>>,
    known: impl Fn(&str, &str) -> Result<()>,
) -> Result<()> {
    for (name, expectation) in expect.iter().flatten() {
        known("expect", name)?;
        let is_sound = match expectation {
            Expectation::AtLeast(least) => least.is_finite(),
            Expectation::Within { value, tolerance } => value.is_finite() && *tolerance >= 0.0,
        };
        ensure!(is_sound, "expect.\"{name}\" = {expectation}: must be finite, with a tolerance from 0");
    }
    Ok(())
}
