//! Reading a recipe from a file, its bases and its overrides, and writing it back.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::{Fault, Unknown};
use super::layered::{Places, Stack};
use super::source::{Content, Node, Place, Source};
use super::{Recipe, bases, checks, overrides};
use crate::{cls, pretrain, seg};

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

/// A recipe, and where each of its entries was written.
pub struct Resolved<R> {
    /// The recipe.
    pub recipe: R,
    path: PathBuf,
    sources: Vec<Source>,
    places: Places,
}

/// Reads `path` and its bases, applies the overrides in their order, and checks what types cannot.
///
/// # Errors
/// If it cannot be read, is not of this kind, or cannot work.
pub fn load<R: Kind>(path: &Path, sets: &[String]) -> Result<R> {
    Ok(resolve(path, sets)?.recipe)
}

/// As [`load`], with the places of all entries.
///
/// # Errors
/// As [`load`].
pub fn resolve<R: Kind>(path: &Path, sets: &[String]) -> Result<Resolved<R>> {
    let mut sources = Vec::new();
    // The last that was written comes first.
    let mut layers = bases::read(path, &mut sources)?;
    for assignment in sets {
        let source = sources.len();
        let name = format!("--set {assignment}");
        let layer = overrides::apply(assignment, source, &mut layers)
            .with_context(|| format!("{name} does not fit {}", path.display()))?;
        sources.push(Source { name, text: assignment.clone(), is_file: false });
        layers.splice(0..0, layer);
    }
    let places = RefCell::default();
    let stack: Vec<&Node> = layers.iter().collect();
    let read = R::deserialize(Stack::new(stack, &places));
    let recipe = read.map_err(|fault| explain(&fault, path, &sources, &layers))?;
    let resolved = Resolved { recipe, path: path.to_owned(), sources, places: places.into_inner() };
    resolved.recipe.check().map_err(|error| resolved.cannot_work(&error))?;
    Ok(resolved)
}

/// The error of a fault: which file, where in it, what was found, what was probably meant.
fn explain(fault: &Fault, path: &Path, sources: &[Source], layers: &[Node]) -> anyhow::Error {
    let mut message = fault.message.clone();
    let entry = fault.found_at.as_ref().map_or("", |(_, entry)| entry);
    if let Some(meant) = fault.nearest() {
        let is_key = fault.unknown.as_ref().is_some_and(|unknown| unknown.is_key && !entry.is_empty());
        let meant = if is_key { format!("{entry}.{meant}") } else { meant.to_owned() };
        message += &format!("\ndid you mean `{meant}`?");
    } else if let Some(Unknown { name, is_key: true, .. }) = &fault.unknown {
        let mut elsewhere = elsewhere(name, layers);
        elsewhere.retain(|table| table != entry);
        if !elsewhere.is_empty() {
            message += &format!("\n`{name}` is an entry of `{}`", elsewhere.join("` and of `"));
        }
    }
    if let Some(program) = program_of(layers) {
        message += &format!("\nthis is a recipe of `{program}`");
    }
    let name = path.display();
    let Some((place, entry)) = &fault.found_at else {
        return anyhow!("{message}").context(format!("{name} is not a recipe"));
    };
    let source = &sources[place.source];
    if !source.is_file {
        let within = if entry.is_empty() { String::new() } else { format!("\nin `{entry}`") };
        return anyhow!("{message}{within}").context(format!("{} does not fit {name}", source.name));
    }
    let title = match place.source {
        0 => "TOML parse error".to_owned(),
        _ => format!("TOML parse error in its base {}", source.name),
    };
    let excerpt = if place.end == 0 { String::new() } else { source.excerpt(*place, &title) };
    anyhow!("{excerpt}{message}").context(format!("{name} is not a recipe"))
}

/// The program whose recipe this is, if it is one.
fn program_of(layers: &[Node]) -> Option<&'static str> {
    fn reads<R: Kind>(layers: &[Node]) -> bool {
        R::deserialize(Stack::new(layers.iter().collect(), &RefCell::default())).is_ok()
    }
    let readers = [
        ("cvx-det", reads::<Recipe>(layers)),
        ("cvx-seg", reads::<seg::recipe::Recipe>(layers)),
        ("cvx-cls", reads::<cls::Recipe>(layers)),
        ("cvx-pretrain", reads::<pretrain::Recipe>(layers)),
    ];
    readers.into_iter().find(|(_, is_one)| *is_one).map(|(program, _)| program)
}

/// The tables of the recipe that have an entry of this name.
fn elsewhere(name: &str, layers: &[Node]) -> Vec<String> {
    fn search(name: &str, node: &Node, path: &str, found: &mut Vec<String>) {
        let Content::Table(entries) = &node.content else { return };
        for (key, entry) in entries {
            if key == name && !path.is_empty() && !found.iter().any(|found| found == path) {
                found.push(path.to_owned());
            }
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            search(name, &entry.node, &inner, found);
        }
    }
    let mut found = Vec::new();
    layers.iter().for_each(|layer| search(name, layer, "", &mut found));
    found
}

impl<R: Kind> Resolved<R> {
    /// The recipe as TOML, with a comment that tells where each value comes from.
    ///
    /// # Errors
    /// Never: all of it can be written.
    pub fn dump(&self) -> Result<String> {
        super::dump::annotated(&self.recipe.to_toml()?, &|path| match self.place(path) {
            Some(place) => self.sources[place.source].name_at(place),
            None => "default".to_owned(),
        })
    }

    /// An error that begins with an entry of this recipe, with the recipe's name and where the entry is written.
    pub(crate) fn cannot_work(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}{}", self.place_of_error(error))
            .context(format!("{} cannot work", self.path.display()))
    }

    fn place(&self, path: &str) -> Option<Place> {
        self.places.get(path).copied()
    }

    /// Where the entry stands that an error begins with, on a line of its own: `at coco.toml:12`.
    pub(crate) fn place_of_error(&self, error: &anyhow::Error) -> String {
        let text = error.to_string();
        let end = text.find([' ', ':', ',']).unwrap_or(text.len());
        let mut path = text[..end].replace('"', "");
        loop {
            if let Some(place) = self.place(&path).filter(|place| place.end > 0) {
                return format!("\nat {}", self.sources[place.source].name_at(place));
            }
            match path.rfind('.') {
                Some(dot) => path.truncate(dot),
                None => return String::new(),
            }
        }
    }
}
