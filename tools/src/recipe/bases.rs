//! `base = "other.toml"`: the file that a recipe changes, and that file's base, and so on; and `without`, what it takes back.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use toml::de::DeTable;

use super::source::{Content, Node, Place, Source};
use super::without::{WITHOUT, Without};

/// The entry that names the file to start from.
const BASE: &str = "base";

/// Reads a file and its bases, the file itself first.
///
/// # Errors
/// If one cannot be read or is not TOML, or the bases lead in a circle; the message names the chain.
pub(super) fn read(path: &Path, sources: &mut Vec<Source>) -> Result<Vec<Node>> {
    let mut layers = Vec::new();
    let mut taken = Vec::new();
    let mut chain: Vec<PathBuf> = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let text = fs::read_to_string(&path).with_context(|| {
            format!("{}: a recipe that cannot be read{}", path.display(), told(&chain, &path))
        })?;
        let same = |earlier: &PathBuf| fs::canonicalize(earlier).ok() == fs::canonicalize(&path).ok();
        if chain.iter().any(same) {
            bail!("{}: a recipe cannot be a base of itself{}", path.display(), told(&chain, &path));
        }
        let table = DeTable::parse(&text).map_err(|error| anyhow!("{}", error.to_string().trim_end()));
        let not_a_recipe = || format!("{} is not a recipe{}", path.display(), told(&chain, &path));
        let table = table.with_context(not_a_recipe)?;
        let source = sources.len();
        let whole = Place { source, start: 0, end: 0 };
        let mut node = Node::of_table(source, 0, whole, table.get_ref());
        let Content::Table(entries) = &mut node.content else { unreachable!("a file is a table") };
        let base = entries.remove(BASE);
        let without = entries.remove(WITHOUT);
        sources.push(Source { name: path.display().to_string(), text, is_file: true });
        next = match base.map(|entry| entry.node) {
            None => None,
            Some(Node { content: Content::Text(base), .. }) if !base.is_empty() => {
                Some(path.parent().unwrap_or(Path::new("")).join(base))
            }
            Some(node) => {
                let excerpt = sources[source].excerpt(node.place, "TOML parse error");
                return Err(anyhow!("{excerpt}`{BASE}` must name a file, as in {BASE} = \"coco.toml\""))
                    .with_context(not_a_recipe);
            }
        };
        taken.push(match without.map(|entry| (entry.key, Without::list(entry.node))) {
            None => Vec::new(),
            Some((_, Ok(paths))) if next.is_some() => paths,
            Some((key, read)) => {
                let (place, message) = match read {
                    Err(place) => {
                        (place, format!("`{WITHOUT}` must list entries, as in {WITHOUT} = [\"train.ema\"]"))
                    }
                    Ok(_) => (key, format!("`{WITHOUT}` takes entries from a `{BASE}`, and there is none")),
                };
                let excerpt = sources[source].excerpt(place, "TOML parse error");
                return Err(anyhow!("{excerpt}{message}")).with_context(not_a_recipe);
            }
        });
        layers.push(node);
        chain.push(path);
    }
    // The lowest first: what a base has taken out cannot be taken out of it once more.
    for (index, without) in taken.iter().enumerate().rev() {
        for without in without {
            without.apply(&mut layers[index + 1..]).map_err(|error| {
                let excerpt = sources[without.place.source].excerpt(without.place, "TOML parse error");
                let not_a_recipe = format!("{} is not a recipe", chain[index].display());
                anyhow!("{excerpt}{error}").context(not_a_recipe)
            })?;
        }
    }
    Ok(layers)
}

/// How a file became part of a recipe; nothing for the recipe itself.
fn told(chain: &[PathBuf], path: &Path) -> String {
    if chain.is_empty() {
        return String::new();
    }
    let names: Vec<String> =
        chain.iter().map(PathBuf::as_path).chain([path]).map(|path| path.display().to_string()).collect();
    format!(" (the chain of bases: {})", names.join(" -> "))
}
