//! Numbers in a JSON text: a quick way for the short ones, the standard library for the others.

/// Digits alone, of what fits 64 bits.
pub(crate) fn parse_index(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 19 || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// Powers of ten that are doubles.
const EXACT_POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// What may follow a number.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
}

/// A number of at most 15 digits without an exponent, and where it ends: the exactly rounded quotient of two exact
/// doubles. Most of a COCO file is that.
#[inline]
pub(crate) fn short_decimal(text: &[u8]) -> Option<(f64, usize)> {
    if let Some(found) = decimal_in_a_word(text) {
        return Some(found);
    }
    let is_negative = *text.first()? == b'-';
    let start = usize::from(is_negative);
    let (mut at, mut digits) = (start, 0u64);
    let mut first_of_fraction = None;
    let value = loop {
        let byte = *text.get(at)?;
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            digits = digits * 10 + u64::from(digit);
            // With the point, 15 digits are 16 bytes.
            if at >= start + 16 {
                return None;
            }
        } else if byte == b'.' && first_of_fraction.is_none() && at > start {
            first_of_fraction = Some(at + 1);
        } else if ends_word(byte) && at > start {
            break match first_of_fraction {
                None if at - start < 16 => digits as f64,
                Some(first) if at > first => digits as f64 / EXACT_POWERS[at - first],
                _ => return None,
            };
        } else {
            return None;
        }
        at += 1;
    };
    Some((if is_negative { -value } else { value }, at))
}

/// [`short_decimal`] for numbers that end within eight bytes, all at once and mostly without a branch: coordinates.
#[inline(always)]
pub(crate) fn decimal_in_a_word(text: &[u8]) -> Option<(f64, usize)> {
    let bytes = u64::from_le_bytes(*text.first_chunk()?);
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = bytes ^ (EACH * u64::from(b'0'));
    // The high bit of every byte that is no digit: 0x76 + 10 is 0x80.
    let others = (((digits & (EACH * 0x7f)) + EACH * 0x76) | digits) & (EACH * 0x80);
    let point = others.trailing_zeros() as usize / 8;
    // A branch, so that the next number is found before this one is known.
    let has_point = text.get(point) == Some(&b'.');
    let end = if has_point { (others & (others - 1)).trailing_zeros() as usize / 8 } else { point };
    if point == 0 || end == 8 || !ends_word(text[end]) || end == point + 1 {
        return None;
    }
    // Without the point, and the last digit in the last byte; zeros move in before the first.
    let whole = (1 << (8 * point)) - 1;
    let (digits, count) = match has_point {
        true => (digits & whole | digits >> 8 & !whole, end - 1),
        false => (digits, end),
    };
    let pairs = (digits << (64 - 8 * count) & (EACH * 0x0f)).wrapping_mul(10 * 256 + 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul((100 << 16) + 1) >> 16;
    let value = (fours & 0x0000_ffff_0000_ffff).wrapping_mul((10_000 << 32) + 1) >> 32;
    Some((if has_point { value as f64 / EXACT_POWERS[end - point - 1] } else { value as f64 }, end))
}

/// A whole number of at most 18 digits, and where it ends.
#[inline]
pub(crate) fn short_index(text: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, &byte) in text.iter().enumerate().take(19) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            value = value * 10 + u64::from(digit);
        } else {
            return (at > 0 && ends_word(byte)).then_some((value, at));
        }
    }
    None
}

/// A number of any length, as the standard library rounds it.
pub(crate) fn parse_number(word: &[u8]) -> Option<f64> {
    // What Rust reads and JSON does not have: `inf`, `nan`, `+1`.
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::coco_json::Json;

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
            "999999999999999",
            "9999999999999999",
            "99999999999999.9",
            "999999999999999.9",
            "0.000000000000001",
            "0.0000000000000001",
            "-0",
            "9007199254740993.0",
            "7",
            "9999999",
            "99999999",
            "99999.9",
            "999999.9",
            "0.00001",
            "007",
        ] {
            // In a list the short way is taken, at the end of a text the long one.
            for around in
                [text.to_owned(), format!("{text}]"), format!("{text} "), format!("{text}, 1234567.5")]
            {
                let read = Json::new(around.as_bytes()).number().unwrap();
                assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{around}");
            }
        }
        assert!(Json::new(b"NaN").number().unwrap().is_nan());
        for text in
            ["", "x", "+1", "nan", "inf", "-", "--1", "1x", "null", "\"1\"", "1.2.3", ".", "1;2", "\u{b1}"]
        {
            assert!(Json::new(text.as_bytes()).number().is_err(), "{text}");
            assert!(Json::new(format!("{text}, 1234567").as_bytes()).number().is_err(), "{text}");
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
}
