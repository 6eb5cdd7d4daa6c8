//! The configuration that an OpenMMLab checkpoint carries as Python text: `model = dict(type='MaskRCNN', ..)`.
//!
//! Only what such resolved configurations consist of is understood: assignments of literals, lists, tuples,
//! dictionaries and calls with named arguments. Nothing is evaluated.

use std::fmt;
use std::ops::Deref;

/// A whole text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    root: Node,
    /// The names of assignments whose values are in a form that is not understood.
    pub unread: Vec<String>,
}

/// A value of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Node {
    /// `1`, `-0.5`, `1e-3`.
    Number(f64),
    /// `'text'`.
    Text(String),
    /// `True`, `False`.
    Bool(bool),
    /// `None`, or a name that stands for something else.
    #[default]
    Nothing,
    /// `[..]` and `(..)`.
    List(Vec<Node>),
    /// `dict(..)` and `{..}`.
    Dict(Vec<(String, Node)>),
}

/// Deeper nesting than any configuration has.
const MAX_DEPTH: usize = 64;

impl Config {
    /// Reads a text. What is not understood is passed over, to the next assignment at the beginning of a line.
    pub fn parse(text: &str) -> Self {
        let mut reader = Reader { rest: text };
        let (mut entries, mut unread) = (Vec::new(), Vec::new());
        loop {
            reader.skip_space();
            let begin = reader.rest;
            if begin.is_empty() {
                break;
            }
            let name = reader.word().unwrap_or_default();
            let value = reader.expect('=').and_then(|()| reader.value(0));
            match value.filter(|_| reader.is_at_line_end(begin)) {
                Some(value) => entries.push((name, value)),
                None => {
                    unread.push(name);
                    reader.rest = next_assignment(begin);
                }
            }
        }
        Self { root: Node::Dict(entries), unread }
    }
}

impl Deref for Config {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.root
    }
}

/// From the next line on that begins with a name.
fn next_assignment(text: &str) -> &str {
    let begins = text.match_indices('\n').map(|(at, _)| &text[at + 1..]);
    let is_begin = |line: &&str| line.starts_with(|c: char| c.is_alphabetic() || c == '_');
    begins.into_iter().find(is_begin).unwrap_or_default()
}

impl Node {
    /// The value at `path`, keys joined by dots; a list is entered by its index.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| match node {
            Self::Dict(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            Self::List(nodes) => nodes.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// The number at `path`.
    pub fn number(&self, path: &str) -> Option<f64> {
        match self.at(path)? {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text at `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.at(path)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value at `path`.
    pub fn bool(&self, path: &str) -> Option<bool> {
        match self.at(path)? {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The list of numbers at `path`.
    pub fn numbers(&self, path: &str) -> Option<Vec<f64>> {
        let Self::List(nodes) = self.at(path)? else { return None };
        let number = |node: &Self| if let Self::Number(number) = node { Some(*number) } else { None };
        nodes.iter().map(number).collect()
    }

    /// The entries of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        if let Self::List(nodes) = self { nodes } else { &[] }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Whether the line ends here, or did: a value that goes on was only begun to be read.
    fn is_at_line_end(&self, text: &str) -> bool {
        let is_blank = |c: char| c == ' ' || c == '\t' || c == '\r';
        let (read, rest) = (&text[..text.len() - self.rest.len()], self.rest.trim_start_matches(is_blank));
        rest.is_empty() || rest.starts_with(['\n', '#']) || read.trim_end_matches(is_blank).ends_with('\n')
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '[' => self.sequence(']', depth),
            '(' => self.sequence(')', depth),
            '{' => self.dictionary(depth),
            '\'' | '"' => self.strings().map(Node::Text),
            first if first.is_ascii_digit() || "+-.".contains(first) => self.number(),
            _ => {
                let word = self.word()?;
                match word.as_str() {
                    "True" => Some(Node::Bool(true)),
                    "False" => Some(Node::Bool(false)),
                    _ if self.rest.starts_with('(') => self.call(depth),
                    _ => Some(Node::Nothing),
                }
            }
        }
    }

    /// `[a, b]` up to `end`.
    fn sequence(&mut self, end: char, depth: usize) -> Option<Node> {
        self.rest = &self.rest[1..];
        let mut nodes = Vec::new();
        while !self.take(end) {
            nodes.push(self.value(depth + 1)?);
            if !self.take(',') && !self.rest.starts_with(end) {
                return None;
            }
        }
        Some(Node::List(nodes))
    }

    /// `{'a': b}`.
    fn dictionary(&mut self, depth: usize) -> Option<Node> {
        self.rest = &self.rest[1..];
        let mut entries = Vec::new();
        while !self.take('}') {
            let key = match self.value(depth + 1)? {
                Node::Text(key) => key,
                Node::Number(key) => key.to_string(),
                _ => return None,
            };
            self.expect(':')?;
            entries.push((key, self.value(depth + 1)?));
            if !self.take(',') && !self.rest.starts_with('}') {
                return None;
            }
        }
        Some(Node::Dict(entries))
    }

    /// `(a=b, c=d)` after a name.
    fn call(&mut self, depth: usize) -> Option<Node> {
        self.expect('(')?;
        let mut entries = Vec::new();
        while !self.take(')') {
            self.skip_space();
            let key = self.word()?;
            self.expect('=')?;
            entries.push((key, self.value(depth + 1)?));
            if !self.take(',') && !self.rest.starts_with(')') {
                return None;
            }
        }
        Some(Node::Dict(entries))
    }

    fn number(&mut self) -> Option<Node> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(number.replace('_', "").parse().map_or(Node::Nothing, Node::Number))
    }

    /// `'a' 'b'`: strings beside each other are one.
    fn strings(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(quote @ ('\'' | '"')) = self.rest.chars().next() {
            let mut is_escaped = false;
            let inside = &self.rest[1..];
            let end = inside.char_indices().find(|&(_, c)| {
                let ends = c == quote && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                ends
            });
            let (end, _) = end?;
            text.push_str(&inside[..end].replace("\\'", "'").replace("\\\"", "\""));
            self.rest = &inside[end + 1..];
            self.skip_space();
        }
        Some(text)
    }

    fn word(&mut self) -> Option<String> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.take(wanted).then_some(())
    }

    /// Takes a character if it comes next, spaces aside.
    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        self.skip_space();
        rest.is_some()
    }

    /// Spaces, line ends and comments.
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
        while self.rest.starts_with('#') {
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{}'", text.escape_debug()),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Nothing => f.write_str("None"),
            Self::List(nodes) => {
                f.write_str("[")?;
                for (index, node) in nodes.iter().enumerate() {
                    write!(f, "{}{node}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Dict(_) => f.write_str("dict(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_configuration_is_read() {
        let text = "# top\nmodel = dict(\n    type='MaskRCNN',\n    mean=[123.675, 116.28, -1e-3],\n    \
                    rcnn=dict(nms=dict(iou_threshold=0.5, type='soft_nms'), max=100, on=True, off=None),\n    \
                    steps=[dict(scale=(1333, 800)), {'a': 1}],\n)\nname = 'it''s'\n";
        let node = Config::parse(text);
        assert_eq!(node.unread, [""; 0]);
        assert_eq!(node.text("model.type"), Some("MaskRCNN"));
        assert_eq!(node.numbers("model.mean"), Some(vec![123.675, 116.28, -0.001]));
        assert_eq!(node.number("model.rcnn.nms.iou_threshold"), Some(0.5));
        assert_eq!(node.bool("model.rcnn.on"), Some(true));
        assert_eq!(node.at("model.rcnn.off"), Some(&Node::Nothing));
        assert_eq!(node.numbers("model.steps.0.scale"), Some(vec![1333.0, 800.0]));
        assert_eq!(node.number("model.steps.1.a"), Some(1.0));
        assert_eq!(node.text("name"), Some("its"));
        assert_eq!(node.at("model.missing.0"), None);
    }

    #[test]
    fn what_is_not_understood_is_passed_over_and_named() {
        for text in [
            "",
            "model = ",
            "a = (((",
            "a = dict(b",
            "import os\n",
            "a = 'open",
            "= 1",
            "a = {1",
            "é = [é",
            "\n\n=",
        ] {
            Config::parse(text);
        }
        let config = Config::parse("a = 1\nb = 1 + 2\nfor x in y:\n    pass\nc = {1, 2}\nd = [\n    5,\n]\n");
        assert_eq!((config.number("a"), config.numbers("d")), (Some(1.0), Some(vec![5.0])));
        assert_eq!(config.unread, ["b", "for", "c"]);
        Config::parse(&format!("a = {}", "[".repeat(100_000)));
    }
}
