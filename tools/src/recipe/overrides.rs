//! `--set key.path=value`: one entry of a recipe, changed from the command line.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use toml::de::DeValue;

use super::layered::below;
use super::source::{Content, Entry, Node, Place};
use super::without::{WITHOUT, Without};

/// Writes the assignment over `layers`: a new layer, or, of `without=train.ema`, entries fewer in those there are.
pub(super) fn apply(assignment: &str, source: usize, layers: &mut [Node]) -> Result<Option<Node>> {
    let below: Vec<&Node> = layers.iter().collect();
    match assignment.split_once('=').filter(|(path, _)| path.trim() == WITHOUT) {
        None => layer(assignment, source, &below).map(Some),
        Some((path, text)) => {
            let Ok(taken) = Without::list(value(text, source, path.len() + 1)) else {
                bail!("`{WITHOUT}` must list entries, as in {WITHOUT}=train.ema")
            };
            taken.iter().try_for_each(|without| without.apply(layers))?;
            Ok(None)
        }
    }
}

/// The assignment `key.path=value` as a layer over `layers`, the last of which was written first; it is source number
/// `source`.
///
/// The value is read as TOML (`4`, `0.5`, `true`, `[27, 33]`, `{ flip = { .. } }`); what is not
/// TOML is a string, so quotes are rarely needed. Positions in a list are numbers, from 0. A table replaces what was there,
/// as every value does.
fn layer(assignment: &str, source: usize, layers: &[&Node]) -> Result<Node> {
    let (path, text) =
        assignment.split_once('=').context("expected `key.path=value`, as in `train.epochs=3`")?;
    let keys: Vec<&str> = path.trim().split('.').collect();
    if keys.iter().any(|key| key.is_empty()) {
        bail!("`{path}` is not a path of keys, as in `train.epochs`");
    }
    let value = Node { hides: true, ..value(text, source, path.len() + 1) };
    let mut placing = Placing { keys: &keys, key: Place { source, start: 0, end: path.len() }, value };
    let node = placing.over(layers, 0)?;
    // The rest of the recipe is not what was set.
    Ok(Node { place: Place { source, start: 0, end: 0 }, ..node })
}

fn value(text: &str, source: usize, offset: usize) -> Node {
    match DeValue::parse(text.trim()) {
        Ok(value) => Node::of_value(source, offset + (text.len() - text.trim_start().len()), &value),
        Err(_) => Node {
            place: Place { source, start: offset, end: offset + text.len() },
            content: Content::Text(text.trim().to_owned()),
            hides: true,
        },
    }
}

/// A value on its way to its place.
struct Placing<'a> {
    keys: &'a [&'a str],
    key: Place,
    value: Node,
}

impl Placing<'_> {
    /// What is written over `layers`, which is what stands at the first `depth` keys.
    fn over(&mut self, layers: &[&Node], depth: usize) -> Result<Node> {
        let Some(&key) = self.keys.get(depth) else { return Ok(self.value.clone()) };
        let place = self.key;
        match layers.first().map(|node| &node.content) {
            // A choice that was a name alone may become one with entries.
            None | Some(Content::Table(_) | Content::Text(_)) => {
                let node = self.over(&below(layers, key), depth + 1)?;
                let entries = BTreeMap::from([(key.to_owned(), Entry { key: place, node })]);
                Ok(Node { place, content: Content::Table(entries), hides: false })
            }
            // A list is replaced as a whole, so the rest of it is written again.
            Some(Content::List(items)) => {
                let index = key.parse::<usize>().ok().filter(|index| *index < items.len());
                let index = index.with_context(|| {
                    format!("`{key}` is not a position in a list of {}, counted from 0", items.len())
                })?;
                let mut items = items.clone();
                let changed = self.over(&[&items[index]], depth + 1)?;
                items[index] =
                    if depth + 1 < self.keys.len() { merged(&items[index], changed) } else { changed };
                Ok(Node { place, content: Content::List(items), hides: false })
            }
            Some(Content::Integer(_) | Content::Number(_) | Content::Truth(_)) => {
                bail!("`{}` is a value, it has no `{key}`", self.keys[..depth].join("."))
            }
        }
    }
}

/// `later` written over `earlier`.
fn merged(earlier: &Node, later: Node) -> Node {
    match (&earlier.content, later.content) {
        (Content::Table(earlier), Content::Table(later_entries)) if !later.hides => {
            let mut entries = earlier.clone();
            for (name, Entry { key, node }) in later_entries {
                let node = match earlier.get(&name) {
                    Some(entry) => merged(&entry.node, node),
                    None => node,
                };
                entries.insert(name, Entry { key, node });
            }
            Node { place: later.place, content: Content::Table(entries), hides: false }
        }
        (_, content) => Node { place: later.place, content, hides: later.hides },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    fn node(text: &str) -> Node {
        let table = DeTable::parse(text).expect("valid");
        Node::of_table(0, 0, Place { source: 0, start: 0, end: 0 }, table.get_ref())
    }

    /// Without places.
    fn plain(node: &Node) -> String {
        match &node.content {
            Content::Table(entries) => {
                let entries: Vec<String> =
                    entries.iter().map(|(name, entry)| format!("{name}={}", plain(&entry.node))).collect();
                format!("{{{}}}", entries.join(","))
            }
            Content::List(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
            Content::Text(text) => format!("'{text}'"),
            Content::Integer(number) => number.to_string(),
            Content::Number(number) => number.to_string(),
            Content::Truth(truth) => truth.to_string(),
        }
    }

    #[test]
    fn a_value_is_read_as_toml_first_and_as_a_string_otherwise() {
        #[track_caller]
        fn case(assignment: &str, expected: &str) {
            let recipe = node("a = 1\n[b]\nc = [1, 2]\nd = [{ e = 1, f = 2 }]\n");
            assert_eq!(plain(&layer(assignment, 1, &[&recipe]).expect(assignment)), expected);
        }
        case("a=2", "{a=2}");
        case("a=runs/x", "{a='runs/x'}");
        case("b.c=[3]", r#"{b={c=["3"]}}"#);
        case("b.c.1=7", r#"{b={c=["1", "7"]}}"#);
        case("b.d.0.f=3", r#"{b={d=["{e=1,f=3}"]}}"#);
        case("b.d.0={ g = 1 }", r#"{b={d=["{g=1}"]}}"#);
        case("new.key=x", "{new={key='x'}}");
    }

    #[test]
    fn a_path_through_a_value_is_refused() {
        let error = layer("a.b=2", 1, &[&node("a = 1")]).unwrap_err();
        assert_eq!(error.to_string(), "`a` is a value, it has no `b`");
        let error = layer("a.2=2", 1, &[&node("a = [1]")]).unwrap_err();
        assert_eq!(error.to_string(), "`2` is not a position in a list of 1, counted from 0");
    }
}
