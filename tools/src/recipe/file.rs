//! Reading a recipe from a file, with its overrides, and writing it back.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::Table;

use super::{Recipe, checks, overrides};

/// Reads `path`, applies the overrides in their order, and checks what types cannot.
pub fn load(path: &Path, sets: &[String]) -> Result<Recipe> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("{}: a recipe that cannot be read", path.display()))?;
    let not_a_recipe = || format!("{} is not a recipe", path.display());
    let mut recipe: Recipe = toml::from_str(&text).with_context(not_a_recipe)?;
    if !sets.is_empty() {
        let mut table: Table = toml::from_str(&text).with_context(not_a_recipe)?;
        for assignment in sets {
            recipe = overrides::apply(&mut table, assignment)
                .with_context(|| format!("--set {assignment} does not fit {}", path.display()))?;
        }
    }
    checks::check(&recipe).with_context(|| format!("{} cannot work", path.display()))?;
    Ok(recipe)
}

impl Recipe {
    /// The recipe as TOML: overrides applied, paths as they were written; a valid recipe itself.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("a recipe that cannot be written as TOML")
    }
}
