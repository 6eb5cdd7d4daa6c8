//! A recipe as TOML with comments that tell where its values come from.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use toml::de::{DeTable, DeValue};

/// `text` with `origin` of each value's path at the end of its line.
///
/// # Errors
/// If `text` is not TOML.
pub(super) fn annotated(text: &str, origin: &dyn Fn(&str) -> String) -> Result<String> {
    let table = DeTable::parse(text).context("a recipe that was written and cannot be read")?;
    let mut ends = BTreeMap::new();
    collect(table.get_ref(), "", &mut ends);
    let mut annotated = String::with_capacity(2 * text.len());
    let mut begin = 0;
    for (end, path) in ends {
        // After a value there is the end of its line; of values within one line the first has spoken for it.
        let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
        if line_end < begin || !text[end..line_end].trim().is_empty() {
            continue;
        }
        annotated.push_str(&text[begin..line_end]);
        annotated.push_str("  # ");
        annotated.push_str(&origin(&path));
        begin = line_end;
    }
    annotated.push_str(&text[begin..]);
    Ok(annotated)
}

/// The ends of all values that stand on lines of their own, and their paths.
fn collect(table: &DeTable<'_>, path: &str, ends: &mut BTreeMap<usize, String>) {
    for (key, value) in table {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(inner, &path, ends),
            DeValue::Array(items)
                if matches!(items.first().map(|item| item.get_ref()), Some(DeValue::Table(_))) =>
            {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        collect(inner, &format!("{path}.{index}"), ends);
                    }
                }
            }
            _ => {
                ends.insert(value.span().end, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_origin_on_its_line() {
        let text = "seed = 0\nlist = [\n    1,\n    2,\n]\n\n[train]\nepochs = 3\n\n[[train.steps]]\n\n[train.steps.flip]\np = 0.5\n";
        let annotated = annotated(text, &|path| path.to_uppercase()).expect("valid");
        let expected = "seed = 0  # SEED\nlist = [\n    1,\n    2,\n]  # LIST\n\n[train]\nepochs = 3  # TRAIN.EPOCHS\n\n\
                        [[train.steps]]\n\n[train.steps.flip]\np = 0.5  # TRAIN.STEPS.0.FLIP.P\n";
        assert_eq!(annotated, expected);
        assert_eq!(toml::from_str::<toml::Table>(&annotated).ok(), toml::from_str(text).ok());
    }
}
