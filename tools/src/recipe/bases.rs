//! `base = "other.toml"`: the file that a recipe changes, and that file's base, and so on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use toml::de::DeTable;

use super::source::{Content, Node, Place, Source};

/// The entry that names the file to start from.
const BASE: &str = "base";

/// Reads a file and its bases, the file itself first.
///
/// # Errors
/// If one cannot be read or is not TOML, or the bases lead in a circle; the message names the chain.
pub(super) fn read(path: &Path, sources: &mut Vec<Source>) -> Result<Vec<Node>> {
    let mut layers = Vec::new();
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
        layers.push(node);
        chain.push(path);
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
