//! Two trees of entries, such as two recipes, and the first entry in which they differ.

use std::fmt;

use serde_json::{Map, Value};

/// An entry that two trees do not agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Keys from the root, with dots between: `train.epochs`.
    pub path: String,
    /// The value in the first tree.
    pub first: Entry,
    /// The value in the second tree.
    pub second: Entry,
}

/// A value to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry(Value);

/// The first difference in the order of keys; what stands at or below one of the paths `ignored` does not count.
pub fn first_difference(first: &Value, second: &Value, ignored: &[&str]) -> Option<Difference> {
    below("", first, second, ignored)
}

/// The value at a path of keys with dots between; null where there is none.
pub fn at(tree: &Value, path: &str) -> Value {
    path.split('.').try_fold(tree, |value, key| value.get(key)).cloned().unwrap_or(Value::Null)
}

fn below(path: &str, first: &Value, second: &Value, ignored: &[&str]) -> Option<Difference> {
    if first == second || ignored.contains(&path) {
        return None;
    }
    if let (Value::Object(first), Value::Object(second)) = (first, second) {
        return keys(first, second).find_map(|key| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // An entry that is left out and one that is `null` mean the same.
            let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
            below(&path, &of(first), &of(second), ignored)
        });
    }
    let (first, second) = (Entry(first.clone()), Entry(second.clone()));
    Some(Difference { path: path.to_owned(), first, second })
}

/// The keys of both, each once.
fn keys<'a>(
    first: &'a Map<String, Value>,
    second: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a String> {
    first.keys().chain(second.keys().filter(move |key| !first.contains_key(*key)))
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::Null => f.write_str("absent"),
            Value::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Self(value.clone()))?;
                }
                f.write_str("]")
            }
            Value::Number(number) => match number.as_f64() {
                // Written as it was in the recipe, without the digits that `f32` does not hold.
                Some(value) if number.is_f64() && f64::from(value as f32) == value => {
                    write!(f, "{:?}", value as f32)
                }
                _ => write!(f, "{number}"),
            },
            other => write!(f, "{other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_differing_entry_is_named_with_both_values() {
        let first = json!({ "a": { "b": [123.675_f32, 2.0], "c": 1 } });
        let second = json!({ "a": { "b": [0.0, 2.0] } });
        let Some(Difference { path, first, second }) = first_difference(&first, &second, &[]) else {
            panic!("they differ");
        };
        assert_eq!((path.as_str(), first.to_string().as_str()), ("a.b", "[123.675, 2.0]"));
        assert_eq!(second.to_string(), "[0.0, 2.0]");
    }

    #[test]
    fn ignored_entries_and_absent_ones_that_are_null_do_not_differ() {
        let first = json!({ "a": { "b": 1, "c": null }, "d": { "e": 1 } });
        let second = json!({ "a": { "b": 2 }, "d": { "e": 2, "f": 3 } });
        assert_eq!(first_difference(&first, &second, &["a.b", "d"]), None);
        let Some(difference) = first_difference(&first, &second, &["d"]) else { panic!("they differ") };
        assert_eq!(difference.path, "a.b");
    }
}
