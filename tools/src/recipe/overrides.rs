//! `--set key.path=value`: one entry of a recipe, changed from the command line.

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Applies one `key.path=value` to `table`, a whole recipe, and returns the recipe it makes.
///
/// The value is read as TOML (`4`, `0.5`, `true`, `[27, 33]`, `{ flip = { .. } }`); what is not
/// TOML is a string, so quotes are rarely needed. Positions in a list are numbers, from 0.
pub(super) fn apply<R: DeserializeOwned>(table: &mut Table, assignment: &str) -> Result<R> {
    set(table, assignment)?;
    R::deserialize(Value::Table(table.clone())).map_err(|error| anyhow!("{}", error.to_string().trim_end()))
}

fn set(table: &mut Table, assignment: &str) -> Result<()> {
    let (path, text) =
        assignment.split_once('=').context("expected `key.path=value`, as in `train.epochs=3`")?;
    let keys: Vec<&str> = path.trim().split('.').collect();
    if keys.iter().any(|key| key.is_empty()) {
        bail!("`{path}` is not a path of keys, as in `train.epochs`");
    }
    let mut place = Place::Table(table);
    for (depth, key) in keys.iter().enumerate() {
        let is_last = depth + 1 == keys.len();
        place = match place {
            Place::Table(table) if is_last => {
                table.insert((*key).to_owned(), parse_value(text.trim()));
                return Ok(());
            }
            // An unknown key in the middle becomes an empty table: reading the recipe then lists
            // the keys that exist, as it does for a typo in the file.
            Place::Table(table) => {
                Place::of(table.entry((*key).to_owned()).or_insert_with(|| Value::Table(Table::new())))
            }
            Place::List(list) => {
                let length = list.len();
                let item =
                    key.parse::<usize>().ok().and_then(|index| list.get_mut(index)).with_context(|| {
                        format!("`{key}` is not a position in a list of {length}, counted from 0")
                    })?;
                if is_last {
                    *item = parse_value(text.trim());
                    return Ok(());
                }
                Place::of(item)
            }
            Place::Leaf => bail!("`{}` is a value, it has no `{key}`", keys[..depth].join(".")),
        };
    }
    Ok(())
}

/// Where the walk along a path stands.
enum Place<'a> {
    Table(&'a mut Table),
    List(&'a mut Vec<Value>),
    Leaf,
}

impl<'a> Place<'a> {
    fn of(value: &'a mut Value) -> Self {
        match value {
            Value::Table(table) => Self::Table(table),
            Value::Array(list) => Self::List(list),
            _ => Self::Leaf,
        }
    }
}

fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(assignment: &str, expected: &str) {
        let mut table: Table = toml::from_str("a = 1\n[b]\nc = [1, 2]\n").expect("valid");
        set(&mut table, assignment).expect(assignment);
        assert_eq!(table, toml::from_str::<Table>(expected).expect("valid"));
    }

    #[test]
    fn a_value_is_read_as_toml_first_and_as_a_string_otherwise() {
        case("a=2", "a = 2\n[b]\nc = [1, 2]\n");
        case("a=runs/x", "a = \"runs/x\"\n[b]\nc = [1, 2]\n");
        case("b.c=[3]", "a = 1\n[b]\nc = [3]\n");
        case("b.c.1=7", "a = 1\n[b]\nc = [1, 7]\n");
    }

    #[test]
    fn a_path_through_a_value_is_refused() {
        let mut table: Table = toml::from_str("a = 1").expect("valid");
        let error = set(&mut table, "a.b=2").unwrap_err();
        assert_eq!(error.to_string(), "`a` is a value, it has no `b`");
    }
}
