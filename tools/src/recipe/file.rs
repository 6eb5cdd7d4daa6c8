//! Reading a recipe from a file, with its overrides, and writing it back.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::{Recipe, checks, overrides};

/// A kind of recipe: what one program reads.
pub trait Kind: Serialize + DeserializeOwned {
    /// Refuses what types cannot; the message names the entry, its value and what is allowed.
    ///
    /// # Errors
    /// If it cannot work.
    fn check(&self) -> Result<()>;

    /// The recipe as TOML: overrides applied, paths as they were written; a valid recipe itself.
    ///
    /// # Errors
    /// Never: all of it can be written.
    fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("a recipe that cannot be written as TOML")
    }
}

impl Kind for Recipe {
    fn check(&self) -> Result<()> {
        checks::check(self)
    }
}

/// Reads `path`, applies the overrides in their order, and checks what types cannot.
///
/// # Errors
/// If it cannot be read, is not of this kind, or cannot work.
pub fn load<R: Kind>(path: &Path, sets: &[String]) -> Result<R> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("{}: a recipe that cannot be read", path.display()))?;
    let not_a_recipe = || format!("{} is not a recipe", path.display());
    let mut recipe: R = toml::from_str(&text).with_context(not_a_recipe)?;
    if !sets.is_empty() {
        let mut table: Table = toml::from_str(&text).with_context(not_a_recipe)?;
        for assignment in sets {
            recipe = overrides::apply(&mut table, assignment)
                .with_context(|| format!("--set {assignment} does not fit {}", path.display()))?;
        }
    }
    recipe.check().with_context(|| format!("{} cannot work", path.display()))?;
    Ok(recipe)
}
