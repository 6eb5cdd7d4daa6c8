//! Where the parts of a recipe were written: files and `--set`, and places in them.

use std::collections::BTreeMap;
use std::fmt::Write;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// One text that a recipe is made of: a file, or the assignment of a `--set`.
pub(super) struct Source {
    /// The file's path, or `--set key.path=value`.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) is_file: bool,
}

/// A stretch of a source, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) start: usize,
    /// 0 of the whole of a source, which no line stands for.
    pub(super) end: usize,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
    /// Whether nothing that was written before shows through: what `--set` gives a value, whatever it is.
    pub(super) hides: bool,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In the order of the keys' names.
    Table(BTreeMap<String, Entry>),
    List(Vec<Node>),
    Text(String),
    Integer(i128),
    Number(f64),
    Truth(bool),
}

/// An entry of a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where its key stands.
    pub(super) key: Place,
    pub(super) node: Node,
}

impl Source {
    /// Line and column, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The source, and the line in it: `coco.toml:12`.
    pub(super) fn name_at(&self, place: Place) -> String {
        if !self.is_file || place.end == 0 {
            return self.name.clone();
        }
        format!("{}:{}", self.name, self.position(place.start).0)
    }

    /// The line with a place in it, as a compiler shows it.
    pub(super) fn excerpt(&self, place: Place, title: &str) -> String {
        let (line, column) = self.position(place.start);
        let content = self.text.lines().nth(line - 1).unwrap_or_default();
        let left = content.chars().count().saturating_sub(column - 1);
        let carets =
            self.text[place.start..place.end.min(self.text.len())].chars().count().clamp(1, left.max(1));
        let gutter = line.to_string().len() + 1;
        let mut text = format!("{title} at line {line}, column {column}\n");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:gutter$}|\n{line} | {content}", "");
        let _ = writeln!(text, "{:gutter$}|{:column$}{}", "", "", "^".repeat(carets));
        text
    }
}

impl Node {
    /// A table of source number `source`, whose places are counted from `offset`.
    pub(super) fn of_table(source: usize, offset: usize, place: Place, table: &DeTable<'_>) -> Self {
        let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            let span = key.span();
            let at = Place { source, start: span.start + offset, end: span.end + offset };
            (key.get_ref().to_string(), Entry { key: at, node: Self::of_value(source, offset, value) })
        };
        Self { place, content: Content::Table(table.iter().map(entry).collect()), hides: false }
    }

    /// A value that begins `offset` bytes after the start of source number `source`.
    pub(super) fn of_value(source: usize, offset: usize, value: &Spanned<DeValue<'_>>) -> Self {
        let span = value.span();
        let place = Place { source, start: span.start + offset, end: span.end + offset };
        let content = match value.get_ref() {
            DeValue::String(text) => Content::Text(text.to_string()),
            // Numbers that no entry can hold are told as the text that they are.
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Content::Text(number.to_string()), Content::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| Content::Text(number.to_string()), Content::Number)
            }
            DeValue::Boolean(truth) => Content::Truth(*truth),
            DeValue::Datetime(date) => Content::Text(date.to_string()),
            DeValue::Array(items) => {
                Content::List(items.iter().map(|item| Self::of_value(source, offset, item)).collect())
            }
            DeValue::Table(table) => return Self::of_table(source, offset, place, table),
        };
        Self { place, content, hides: false }
    }
}
