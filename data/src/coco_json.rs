//! A reader of JSON that walks a text once and keeps nothing: COCO files are hundreds of megabytes of numbers.
//!
//! Values that nobody asks for are skipped by counting brackets. `NaN` and `Infinity` are read as numbers, because
//! Python writes them; whether they are allowed is for the caller to say, who knows the entry.

use std::borrow::Cow;
use std::ops::Range;

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

/// Which bytes a skip has to look at: 1 opens, 2 closes, 3 begins a string.
const BRACKETS: [u8; 256] = {
    let mut table = [0; 256];
    table[b'[' as usize] = 1;
    table[b'{' as usize] = 1;
    table[b']' as usize] = 2;
    table[b'}' as usize] = 2;
    table[b'"' as usize] = 3;
    table
};

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
        if !self.take(b'[') {
            return Ok(self.error("a list")?);
        }
        if self.take(b']') {
            return Ok(());
        }
        loop {
            value(self)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Ok(self.error("`,` or `]`")?);
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
                    let rest = &self.text[self.at..self.end];
                    let Some(step) = rest.iter().position(|&byte| BRACKETS[usize::from(byte)] != 0) else {
                        self.at = self.end;
                        return self.error("a closing bracket");
                    };
                    self.at += step;
                    match BRACKETS[usize::from(self.text[self.at])] {
                        1 => depth += 1,
                        2 => depth -= 1,
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
        let mut ahead = self.clone();
        ahead.peek();
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

    /// A whole number from 0; `7.0` counts as one, because spreadsheets write ids so.
    pub(crate) fn index(&mut self) -> Result<u64, JsonError> {
        let mut ahead = self.clone();
        ahead.peek();
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
        while self.at < self.end {
            match self.text[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
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

fn parse_index(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 19 || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

const EXACT_POWERS: [u64; 10] =
    [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

fn parse_number(word: &[u8]) -> Option<f64> {
    // What Rust reads and JSON does not have: `inf`, `nan`, `+1`.
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    // Few digits and a small power of ten are one exactly rounded division; most of a COCO file is that.
    if digits.len() <= 16
        && let Some(dot) = digits.iter().position(|&byte| byte == b'.')
        && let Some(power) = EXACT_POWERS.get(digits.len() - dot - 1)
        && let (Some(whole), Some(fraction)) = (parse_index(&digits[..dot]), parse_index(&digits[dot + 1..]))
    {
        let value = (whole * power + fraction) as f64 / *power as f64;
        return Some(if digits.len() < word.len() { -value } else { value });
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_the_standard_library_rounds_them() {
        for text in [
            "0",
            "-0.0",
            "12.5",
            "0.1",
            "473.07",
            "-1e-3",
            "0.123456789",
            "123456.7890123",
            "1.5E3",
            "0.30000000000000004",
        ] {
            let read = Json::new(text.as_bytes()).number().unwrap();
            assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
        assert!(Json::new(b"NaN").number().unwrap().is_nan());
        for text in ["", "x", "+1", "nan", "inf", "-", "--1", "1x", "null", "\"1\""] {
            assert!(Json::new(text.as_bytes()).number().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_whole() {
        assert_eq!(Json::new(b" 9007199254740993").index(), Ok(9_007_199_254_740_993));
        assert_eq!(Json::new(b"7.0").index(), Ok(7));
        for text in ["-1", "1.5", "\"1\"", "99999999999999999999", "NaN"] {
            assert!(Json::new(text.as_bytes()).index().is_err(), "{text}");
        }
    }

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
