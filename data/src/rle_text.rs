//! The string of a compressed run-length mask, and what can be told of its runs one by one.

use crate::rle::RleError;

/// A compressed mask's string, as it is or as it stands in a JSON text, where a backslash is written twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunText<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) is_escaped: bool,
}

impl RunText<'_> {
    /// Hands out the run lengths one by one.
    pub(crate) fn decode(self, push: impl FnMut(u32)) -> Result<(), RleError> {
        if self.is_escaped {
            decode_runs::<true>(self.bytes, push)
        } else {
            decode_runs::<false>(self.bytes, push)
        }
    }
}

pub(crate) fn check_sum(found: u64, height: u32, width: u32) -> Result<(), RleError> {
    let expected = u64::from(height) * u64::from(width);
    if expected > u64::from(u32::MAX) {
        return Err(RleError::TooLarge { height, width });
    }
    if found != expected {
        return Err(RleError::Pixels { found, height, width, expected });
    }
    Ok(())
}

fn decode_runs<const ESCAPED: bool>(text: &[u8], mut push: impl FnMut(u32)) -> Result<(), RleError> {
    // The two runs before the current one; differences start at run 3.
    let (mut before_last, mut last) = (0, 0);
    let (mut run, mut value, mut shift) = (0usize, 0i64, 0u32);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let bits = byte.wrapping_sub(48);
        if bits > 63 {
            let before = &text[..at];
            let position = if ESCAPED { at - before.iter().filter(|&&b| b == b'\\').count() / 2 } else { at };
            let rest = String::from_utf8_lossy(&text[at..]);
            return Err(RleError::Character { found: rest.chars().next().unwrap_or('\0'), position });
        }
        at += if ESCAPED && byte == b'\\' { 2 } else { 1 };
        // Eight groups of five bits hold every possible difference of two 32-bit runs.
        if shift >= 40 {
            return Err(RleError::RunLength { run, found: value });
        }
        value |= i64::from(bits & 0x1f) << shift;
        shift += 5;
        if bits & 0x20 != 0 {
            continue;
        }
        if bits & 0x10 != 0 {
            value |= -1 << shift;
        }
        if run > 2 {
            value += i64::from(before_last);
        }
        let count = u32::try_from(value).map_err(|_| RleError::RunLength { run, found: value })?;
        push(count);
        (before_last, last) = (last, count);
        (run, value, shift) = (run + 1, 0, 0);
    }
    if shift == 0 { Ok(()) } else { Err(RleError::Truncated) }
}

/// The rectangle around foreground runs that arrive one by one.
pub(crate) struct Extent {
    height: u32,
    columns: Option<(u32, u32)>,
    rows: (u32, u32),
    /// The column of the last run's first pixel, and the index of its top.
    column: (u32, u32),
}

impl Extent {
    pub(crate) fn new(height: u32) -> Self {
        Self { height, columns: None, rows: (height, 0), column: (0, 0) }
    }

    /// Pixels `start..end`, at least one, behind all that came before.
    pub(crate) fn push(&mut self, start: u32, end: u32) {
        // Mostly the next run is in the same column or the next one, and nothing is divided.
        if start - self.column.1 >= self.height {
            let next = (self.column.0 + 1, self.column.1 + self.height);
            self.column = if start - next.1 < self.height {
                next
            } else {
                (start / self.height, start / self.height * self.height)
            };
        }
        let (first, first_index) = self.column;
        let (top, len) = (start - first_index, end - start);
        // A run that goes on in the next column touches the bottom of one and the top of the other.
        let crosses = len > self.height - top;
        let last = if crosses { (end - 1) / self.height } else { first };
        let (bounds_top, bounds_bottom) = if crosses { (0, self.height) } else { (top, top + len) };
        self.rows = (self.rows.0.min(bounds_top), self.rows.1.max(bounds_bottom));
        self.columns = Some((self.columns.map_or(first, |columns| columns.0), last + 1));
    }

    /// Left, top, width, height; zeros for no pixels.
    pub(crate) fn to_box(&self) -> [f64; 4] {
        let Some((left, right)) = self.columns else { return [0.0; 4] };
        let (top, bottom) = self.rows;
        [left, top, right - left, bottom - top].map(f64::from)
    }
}
