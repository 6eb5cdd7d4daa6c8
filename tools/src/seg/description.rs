//! What a checkpoint says of its segmentor, and whether weights mean in a recipe's network what they meant in theirs.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::model::{Architecture, Auxiliary, Head as Upernet, Preprocessing};
use super::recipe::{self, Head, Recipe};
use crate::initial::expect_same;
use crate::recipe::{Input, Kind as _};
use crate::train::checkpoint::{Checkpoint, Description};
use crate::weights::{self, Published};

/// Entries of an architecture that weights do not depend on.
const FREE_ENTRIES: [&str; 3] = ["model.init", "model.drop_path_rate", "model.layer_scale_init"];

impl Architecture {
    /// The architecture a recipe asks for.
    pub fn of(recipe: &Recipe) -> Self {
        let Head::Upernet(recipe::Upernet {
            num_classes,
            channels,
            pool_scales,
            // What only training looks at.
            dropout: _,
            auxiliary,
            loss: _,
        }) = &recipe.head;
        let auxiliary =
            auxiliary.as_ref().map(|recipe::Auxiliary { channels, num_convs, loss_weight: _ }| Auxiliary {
                channels: *channels,
                num_convs: *num_convs,
            });
        Self {
            model: recipe.model.clone(),
            upernet: Upernet {
                num_classes: *num_classes,
                channels: *channels,
                pool_scales: pool_scales.clone(),
                auxiliary,
            },
        }
    }
}

impl Preprocessing {
    /// The preprocessing a recipe evaluates with.
    pub fn of(recipe: &Recipe) -> Self {
        let recipe::Evaluate { short_side, long_side, window, .. } = recipe.evaluate;
        Self { input: recipe.input.clone(), short_side, long_side, window }
    }
}

/// What a checkpoint of this recipe's model says of it.
pub(super) fn describe(recipe: &Recipe, classes: &[String]) -> Result<Description> {
    Ok(Description {
        architecture: serde_json::to_value(Architecture::of(recipe))?,
        classes: classes.to_vec(),
        preprocessing: serde_json::to_value(Preprocessing::of(recipe))?,
        recipe: recipe.to_toml()?,
    })
}

/// Refuses a checkpoint whose weights mean something else in the recipe's network. What stands in `free` may differ.
pub(super) fn expect_recipe(checkpoint: &Checkpoint, recipe: &Recipe, free: &[&str]) -> Result<()> {
    let foreign = || format!("{} is a checkpoint, but not of a segmentor", checkpoint.path.display());
    let Description { architecture, preprocessing, .. } = checkpoint.description.clone();
    let architecture: Architecture = serde_json::from_value(architecture).with_context(foreign)?;
    let preprocessing: Preprocessing = serde_json::from_value(preprocessing).with_context(foreign)?;
    let free = [&FREE_ENTRIES, free].concat();
    expect_same(&checkpoint.path, &told(&architecture, &preprocessing.input)?, &of_recipe(recipe)?, &free)
}

/// As [`expect_recipe`], of published weights as far as their file tells what they mean.
pub(super) fn expect_recipe_of(published: &Published, recipe: &Recipe, free: &[&str]) -> Result<()> {
    let Some((architecture, preprocessing)) = weights::describe::told(published)? else { return Ok(()) };
    let path = &published.source.path;
    let weights::model::Architecture::Segmentor(architecture) = architecture else {
        bail!("{}: holds a model, but not of a segmentor", path.display());
    };
    let preprocessing: Preprocessing = serde_json::from_value(preprocessing)?;
    // Its shapes tell the backbone, under whatever name a recipe has for it; and how much is padded is no part of it.
    let free = [&["model", "input.pad_multiple"], free].concat();
    expect_same(path, &told(&architecture, &preprocessing.input)?, &of_recipe(recipe)?, &free)
}

fn of_recipe(recipe: &Recipe) -> Result<Value> {
    told(&Architecture::of(recipe), &recipe.input)
}

fn told(architecture: &Architecture, input: &Input) -> Result<Value> {
    let mut told = serde_json::to_value(architecture)?;
    told["input"] = json!({ "mean": input.mean, "std": input.std });
    Ok(told)
}
