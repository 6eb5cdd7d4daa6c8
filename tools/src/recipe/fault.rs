//! What is wrong with an entry of a recipe, and where it stands.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::source::Place;

/// An error of one entry.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    /// Where, and the path of the entry there.
    pub(super) found_at: Option<(Place, String)>,
    /// A name that is not known, and those that are.
    pub(super) unknown: Option<Unknown>,
}

/// A name that is not known.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) name: String,
    pub(super) possible: &'static [&'static str],
    /// Whether it is a key, not a choice.
    pub(super) is_key: bool,
}

impl Fault {
    pub(super) fn new(message: String) -> Self {
        Self { message, found_at: None, unknown: None }
    }

    /// At this place, unless a place inside it is known already.
    pub(super) fn at(mut self, place: Place, path: &str) -> Self {
        self.found_at.get_or_insert_with(|| (place, path.to_owned()));
        self
    }

    /// The known name that was probably meant.
    pub(super) fn nearest(&self) -> Option<&'static str> {
        let Unknown { name, possible, .. } = self.unknown.as_ref()?;
        nearest(name, possible)
    }
}

/// The name of `possible` that `name` was probably meant to be: at most a third of it typed otherwise.
pub(super) fn nearest<'a>(name: &str, possible: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let distance = |other: &str| strsim::damerau_levenshtein(&plain(name), &plain(other));
    let most = |other: &str| (name.chars().count().max(other.chars().count()) / 3).max(1);
    let likely = possible.iter().copied().filter(|other| distance(other) <= most(other));
    let longer = |other: &&&'a str| other.starts_with(name) && name.len() > 2;
    likely.min_by_key(|other| distance(other)).or_else(|| possible.iter().find(longer).copied())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} where {} is expected", told(&found), plain(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("{} where {} is expected", told(&found), plain(&expected.to_string())))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let expected = expected.to_string().replace("an array of length", "a list of length");
        Self::new(format!("a list of length {length} where {expected} is expected"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing"))
    }

    fn unknown_field(name: &str, possible: &'static [&'static str]) -> Self {
        let message = match possible {
            [] => format!("unknown entry `{name}`: there are none here"),
            _ => format!("unknown entry `{name}`, expected one of `{}`", possible.join("`, `")),
        };
        let unknown = Some(Unknown { name: name.to_owned(), possible, is_key: true });
        Self { message, found_at: None, unknown }
    }

    fn unknown_variant(name: &str, possible: &'static [&'static str]) -> Self {
        let message = format!("unknown choice `{name}`, expected one of `{}`", possible.join("`, `"));
        let unknown = Some(Unknown { name: name.to_owned(), possible, is_key: false });
        Self { message, found_at: None, unknown }
    }
}

/// A value in the words of TOML, not of Rust.
fn told(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Float(number) => format!("{number:?}"),
        Unexpected::Str(text) => format!("the string \"{text}\""),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// What is expected, in the words of TOML.
fn plain(expected: &str) -> String {
    let word = match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number from 0",
        "i64" | "i32" | "i8" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "path string" => "a string",
        other if other.starts_with("struct ") || other == "a map" => "a table",
        other => return other.replace("an array of length", "a list of length"),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let possible = ["epochs", "batch_size", "warmup_steps", "v2-tiny", "cosine"];
        #[track_caller]
        fn case(name: &str, possible: &[&str], expected: Option<&str>) {
            assert_eq!(nearest(name, possible), expected);
        }
        case("epoch", &possible, Some("epochs"));
        case("epcohs", &possible, Some("epochs"));
        case("batchsize", &possible, Some("batch_size"));
        case("v2_tiny", &possible, Some("v2-tiny"));
        case("Cosine", &possible, Some("cosine"));
        case("warmup", &possible, Some("warmup_steps"));
        case("momentum", &possible, None);
    }
}
