//! A reader of JSON that walks a text once and keeps nothing: COCO files are hundreds of megabytes of numbers.
//!
//! Values that nobody asks for are skipped by counting brackets. `NaN` and `Infinity` are read as numbers, because
//! Python writes them; whether they are allowed is for the caller to say, who knows the entry.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use crate::coco_number::{decimal_in_a_word, parse_index, parse_number, short_decimal, short_index};

/// What was found at a byte where something else is possible.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonError {
    /// Byte position in the text.
    pub(crate) at: usize,
    /// What may stand there.
    pub(crate) possible: &'static str,
}

/// A position in a JSON text.
#[derive(Clone)]
pub(crate) struct Json<'a> {
    text: &'a [u8],
    at: usize,
    /// Where this part of the text ends.
    end: usize,
}

/// The brackets' bytes with the bit 0x20 set, which tells `[` from `{` and `]` from `}`.
const OPENS: u8 = b'{';
const CLOSES: u8 = b'}';

/// Where the next bracket or quote stands. Long lists of numbers have none, so they are passed a vector at a time.
fn next_bracket(text: &[u8]) -> Option<usize> {
    let stops = |byte: u8| matches!(byte | 0x20, OPENS | CLOSES) || byte == b'"';
    let (blocks, rest) = text.as_chunks::<32>();
    let mut at = 0;
    for block in blocks {
        let found = block.iter().fold(0, |found, &byte| {
            found | u8::from(byte | 0x20 == OPENS) | u8::from(byte | 0x20 == CLOSES) | u8::from(byte == b'"')
        });
        if found != 0 {
            return Some(at + block.iter().position(|&byte| stops(byte))?);
        }
        at += 32;
    }
    rest.iter().position(|&byte| stops(byte)).map(|step| at + step)
}

/// Said by a call, so that the processor goes on as if there were a space, and does not wait to see it.
#[cold]
#[inline(never)]
fn no_gap() -> usize {
    0
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, end: text.len() }
    }

    /// The part of a text that [`Json::skip`] returned.
    pub(crate) fn part(text: &'a [u8], range: Range<usize>) -> Self {
        Self { text, at: range.start, end: range.end }
    }

    pub(crate) fn error<T>(&self, possible: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, possible })
    }

    /// The next byte that is no white space, without passing it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while self.at < self.end && matches!(self.text[self.at], b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
        (self.at < self.end).then(|| self.text[self.at])
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The byte that comes next.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Goes on from a byte that another walk reached.
    pub(crate) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Passes the bracket before the first value of a list.
    pub(crate) fn enter_list(&mut self) -> Result<(), JsonError> {
        if self.take(b'[') { Ok(()) } else { self.error("a list") }
    }

    /// Passes what stands behind a value of a list; whether that was its end.
    pub(crate) fn leave_list(&mut self) -> Result<bool, JsonError> {
        if self.take(b']') {
            return Ok(true);
        }
        if self.take(b',') { Ok(false) } else { self.error("`,` or `]`") }
    }

    /// Nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), JsonError> {
        if self.peek().is_some() { self.error("the end of the text") } else { Ok(()) }
    }

    /// Calls `value` for every key of an object, standing before its value; it must read or skip it.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut value: impl FnMut(&mut Self, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.take(b'{') {
            return Ok(self.error("an object")?);
        }
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string_bytes()?;
            if !self.take(b':') {
                return Ok(self.error("`:`")?);
            }
            value(self, key)?;
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Ok(self.error("`,` or `}`")?);
            }
        }
    }

    /// Calls `value` before every value of a list; it must read or skip it.
    pub(crate) fn list<E: From<JsonError>>(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter_list()?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            value(self)?;
            if self.leave_list()? {
                return Ok(());
            }
        }
    }

    /// Passes a value of any kind and says where it stands. Of lists and objects only the brackets are read.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, JsonError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => {
                self.string_bytes()?;
            }
            Some(b'[' | b'{') => {
                let mut depth = 0usize;
                loop {
                    let Some(step) = next_bracket(&self.text[self.at..self.end]) else {
                        self.at = self.end;
                        return self.error("a closing bracket");
                    };
                    self.at += step;
                    match self.text[self.at] | 0x20 {
                        OPENS => depth += 1,
                        CLOSES => depth -= 1,
                        _ => {
                            self.string_bytes()?;
                            continue;
                        }
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ if self.word().is_empty() => return self.error("a value"),
            _ => {}
        }
        Ok(start..self.at)
    }

    /// Passes `null`, if that is what comes next.
    pub(crate) fn take_null(&mut self) -> bool {
        let mut ahead = self.clone();
        let null = ahead.peek() == Some(b'n') && ahead.word() == b"null";
        if null {
            *self = ahead;
        }
        null
    }

    /// Passes `[]`, if that is what comes next.
    pub(crate) fn take_empty_list(&mut self) -> bool {
        let mut ahead = self.clone();
        let empty = ahead.take(b'[') && ahead.take(b']');
        if empty {
            *self = ahead;
        }
        empty
    }

    /// A number, or one of Python's `NaN`, `Infinity`, `-Infinity`.
    pub(crate) fn number(&mut self) -> Result<f64, JsonError> {
        self.peek();
        if let Some((value, end)) = short_decimal(&self.text[self.at..self.end]) {
            self.at += end;
            return Ok(value);
        }
        let mut ahead = self.clone();
        let value = match ahead.word() {
            b"NaN" => Some(f64::NAN),
            b"Infinity" => Some(f64::INFINITY),
            b"-Infinity" => Some(f64::NEG_INFINITY),
            word => parse_number(word),
        };
        match value {
            Some(value) => {
                *self = ahead;
                Ok(value)
            }
            None => self.error("a number"),
        }
    }

    /// A list of whole numbers from 0.
    pub(crate) fn indices(&mut self) -> Result<Vec<u64>, JsonError> {
        let mut indices = Vec::new();
        self.list(|json| {
            indices.push(json.index()?);
            Ok::<_, JsonError>(())
        })?;
        Ok(indices)
    }

    /// A list of numbers.
    pub(crate) fn numbers(&mut self) -> Result<Vec<f64>, JsonError> {
        // Polygons are written with six bytes a number or more.
        let mut numbers = Vec::with_capacity((self.end - self.at) / 6);
        self.list(|json| {
            // Mostly number, comma, space.
            while let rest = &json.text[json.at..json.end]
                && let Some((value, end)) = decimal_in_a_word(rest).or_else(|| short_decimal(rest))
                && rest.get(end) == Some(&b',')
            {
                numbers.push(value);
                let gap = if rest.get(end + 1) == Some(&b' ') { 1 } else { no_gap() };
                json.at += end + 1 + gap;
            }
            numbers.push(json.number()?);
            Ok::<_, JsonError>(())
        })?;
        Ok(numbers)
    }

    /// A whole number from 0; `7.0` counts as one, because spreadsheets write ids so.
    pub(crate) fn index(&mut self) -> Result<u64, JsonError> {
        self.peek();
        if let Some((value, end)) = short_index(&self.text[self.at..self.end]) {
            self.at += end;
            return Ok(value);
        }
        let mut ahead = self.clone();
        let word = ahead.word();
        let value = parse_index(word).or_else(|| {
            // Above 2^53 a float no longer says which whole number is meant.
            let float = parse_number(word)?;
            (float >= 0.0 && float.fract() == 0.0 && float < 9_007_199_254_740_992.0).then_some(float as u64)
        });
        match value {
            Some(value) => {
                *self = ahead;
                Ok(value)
            }
            None => self.error("a whole number from 0"),
        }
    }

    /// A number other than zero, or `true`.
    pub(crate) fn truth(&mut self) -> Result<bool, JsonError> {
        let mut ahead = self.clone();
        ahead.peek();
        let value = match ahead.word() {
            b"true" => true,
            b"false" | b"null" => false,
            _ => return Ok(self.number()? != 0.0),
        };
        *self = ahead;
        Ok(value)
    }

    /// A string with its escapes resolved.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let start = {
            self.peek();
            self.at
        };
        let bytes = self.string_bytes()?;
        let failed = JsonError { at: start, possible: "a string of Unicode text" };
        if bytes.contains(&b'\\') {
            let quoted = &self.text[start..self.at];
            return serde_json::from_slice(quoted).map(Cow::Owned).map_err(|_| failed);
        }
        std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| failed)
    }

    /// A string as it stands between its quotes.
    pub(crate) fn string_bytes(&mut self) -> Result<&'a [u8], JsonError> {
        if !self.take(b'"') {
            return self.error("a string");
        }
        let start = self.at;
        // Keys are short, masks are long.
        while self.at < self.end.min(start + 16) {
            match self.text[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        while let Some(step) = self.text.get(self.at..self.end).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            self.at += step;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.text[start..self.at - 1]);
            }
            self.at += 2;
        }
        self.at = self.end;
        self.error("a closing quote")
    }

    /// What stands in a range that [`Json::skip`] returned.
    pub(crate) fn text_of(&self, range: Range<usize>) -> Cow<'a, str> {
        String::from_utf8_lossy(&self.text[range])
    }

    /// The characters up to the next separator: a number or a literal.
    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        let rest = &self.text[start..self.end];
        let ends =
            |byte: &u8| matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\r' | b'\t' | b'"');
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
        &self.text[start..self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        let text = br#" {"a]": "}\"", "b": [[1], {"c": 2}]} "#;
        let mut json = Json::new(text);
        assert_eq!(json.skip(), Ok(1..text.len() - 1));
        assert_eq!(json.finish(), Ok(()));
        assert_eq!(Json::new(br#""a\u00e9\n""#).string().unwrap(), "a\u{e9}\n");
    }

    #[test]
    fn a_text_that_ends_early_is_an_error_at_its_end() {
        for text in ["[1, [2]", "{\"a\": \"b", "\"\\", "[1, \"]\"", ""] {
            let error = Json::new(text.as_bytes()).skip().unwrap_err();
            assert_eq!(error.at, text.len(), "{text}");
        }
    }
}
