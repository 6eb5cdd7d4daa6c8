//! `without = ["train.ema"]`: entries that a recipe takes back from its base, so that they are absent again.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};

use super::fault::nearest;
use super::source::{Content, Node, Place};

/// The entry that lists them.
pub(super) const WITHOUT: &str = "without";

/// The path of an entry to be taken out, and where that is written.
#[derive(Debug)]
pub(super) struct Without {
    pub(super) path: String,
    pub(super) place: Place,
}

impl Without {
    /// What an entry `without` lists; a single path may stand alone.
    ///
    /// # Errors
    /// If it is no list of paths; gives the place of what is none.
    pub(super) fn list(node: Node) -> Result<Vec<Self>, Place> {
        match node.content {
            Content::Text(path) if !path.is_empty() => Ok(vec![Self { path, place: node.place }]),
            Content::List(items) => items
                .into_iter()
                .map(|item| match item.content {
                    Content::Text(path) if !path.is_empty() => Ok(Self { path, place: item.place }),
                    _ => Err(item.place),
                })
                .collect(),
            _ => Err(node.place),
        }
    }

    /// Takes the entry out of all `layers`, whatever is written above them.
    ///
    /// # Errors
    /// If none of them has it, or it is a part of a list.
    pub(super) fn apply(&self, layers: &mut [Node]) -> Result<()> {
        let keys: Vec<&str> = self.path.split('.').collect();
        let (own, above) = keys.split_last().context("a path has a key")?;
        let mut tables: Vec<&mut Node> = layers.iter_mut().collect();
        for (depth, key) in above.iter().enumerate() {
            expect_key(&tables, &keys[..depth], key)?;
            tables = tables.into_iter().filter_map(|node| entry(node, key)).collect();
            if let Some(node) = tables.iter().find(|node| !matches!(node.content, Content::Table(_))) {
                let what = if matches!(node.content, Content::List(_)) {
                    "a list, which is replaced as a whole"
                } else {
                    "a value"
                };
                bail!("`{}` is {what}: nothing of it can be taken out", keys[..=depth].join("."));
            }
        }
        expect_key(&tables, above, own)?;
        for node in tables {
            if let Content::Table(entries) = &mut node.content {
                entries.remove(*own);
            }
        }
        Ok(())
    }
}

fn entry<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.content {
        Content::Table(entries) => entries.get_mut(key).map(|entry| &mut entry.node),
        _ => None,
    }
}

/// Whether one of `tables`, which stand at the path `above`, has the key.
fn expect_key(tables: &[&mut Node], above: &[&str], key: &str) -> Result<()> {
    let keys = tables.iter().flat_map(|node| match &node.content {
        Content::Table(entries) => entries.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    });
    let keys: Vec<&str> = keys.collect::<BTreeSet<_>>().into_iter().collect();
    if keys.contains(&key) {
        return Ok(());
    }
    let path = |key: &str| [above, &[key]].concat().join(".");
    let meant = match nearest(key, &keys) {
        Some(meant) => format!("\ndid you mean `{}`?", path(meant)),
        None if above.is_empty() => format!("\nit has `{}`", keys.join("`, `")),
        None => format!("\n`{}` has `{}`", above.join("."), keys.join("`, `")),
    };
    Err(anyhow!("there is no `{}` to be taken out{meant}", path(key)))
}
