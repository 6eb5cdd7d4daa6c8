//! Run-length masks as pycocotools writes them: column-major runs, alternately background and foreground.
//!
//! The loops over runs follow `common/maskApi.c` of pycocotools 2.0.11 step by step, zero-length runs included, because
//! their results decide AP. What its decoder accepts by accident (runs beyond the mask, negative runs, stray
//! characters) is refused here.

use thiserror::Error;

use crate::rle_text::{Extent, RunText, check_sum};

/// A binary mask of `height x width` pixels; pixel (x, y) has the index `y + height * x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Lengths of the runs, the first of background (0 where the first pixel is foreground). They sum to
    /// `height * width`.
    pub counts: Vec<u32>,
}

/// Why runs are not a mask.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum RleError {
    /// A character that the encoding does not use.
    #[error("character {found:?} at position {position} of the RLE; possible are `0` (48) to `o` (111)")]
    Character {
        /// The character.
        found: char,
        /// Its byte position.
        position: usize,
    },
    /// The string stops inside a number.
    #[error("the RLE ends inside a run length")]
    Truncated,
    /// A run length below zero or above what 32 bits hold.
    #[error("run {run} of the RLE is {found}; possible are 0 to 4294967295")]
    RunLength {
        /// Which run, from 0.
        run: usize,
        /// The value found.
        found: i64,
    },
    /// Runs that cover more or fewer pixels than the mask has.
    #[error(
        "the runs of the RLE cover {found} pixels, but {height} x {width} (height x width) has {expected}"
    )]
    Pixels {
        /// The sum of the runs.
        found: u64,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
        /// `height * width`.
        expected: u64,
    },
    /// A mask with more pixels than 32-bit runs can count.
    #[error("a mask of {height} x {width} (height x width) pixels; possible are at most 4294967295 pixels")]
    TooLarge {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
}

impl Rle {
    /// From run lengths ("uncompressed RLE").
    ///
    /// # Errors
    /// If they do not sum to `height * width`.
    pub fn from_counts(counts: Vec<u32>, height: u32, width: u32) -> Result<Self, RleError> {
        check_sum(counts.iter().map(|&count| u64::from(count)).sum(), height, width)?;
        Ok(Self { height, width, counts })
    }

    /// From pycocotools' string ("compressed RLE").
    ///
    /// # Errors
    /// If a character or run is impossible, or the runs do not sum to `height * width`.
    pub fn from_compressed(text: &str, height: u32, width: u32) -> Result<Self, RleError> {
        Self::from_text(RunText { bytes: text.as_bytes(), is_escaped: false }, height, width)
    }

    pub(crate) fn from_text(text: RunText<'_>, height: u32, width: u32) -> Result<Self, RleError> {
        let mut counts = Vec::with_capacity(text.bytes.len() / 2 + 1);
        let mut sum = 0;
        text.decode(|count| {
            sum += u64::from(count);
            counts.push(count);
        })?;
        check_sum(sum, height, width)?;
        Ok(Self { height, width, counts })
    }

    /// pycocotools' string: from the fourth run on, differences to the run two before; five bits a character, low
    /// first, bit 5 where more follow, plus 48.
    pub fn to_compressed(&self) -> String {
        let mut text = String::with_capacity(self.counts.len() * 2);
        for (run, &count) in self.counts.iter().enumerate() {
            let before = if run > 2 { self.counts[run - 2] } else { 0 };
            let mut rest = i64::from(count) - i64::from(before);
            loop {
                let bits = (rest & 0x1f) as u8;
                rest >>= 5;
                let more = if bits & 0x10 == 0 { rest != 0 } else { rest != -1 };
                text.push(char::from(bits + if more { 0x20 } else { 0 } + 48));
                if !more {
                    break;
                }
            }
        }
        text
    }

    /// Number of foreground pixels.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// The box around the foreground as COCO writes it (left, top, width, height); zeros for an empty mask, where
    /// maskApi.c wraps around.
    pub fn to_box(&self) -> [f64; 4] {
        let mut extent = Extent::new(self.height);
        let mut start = 0;
        for (run, &count) in self.counts.iter().enumerate() {
            if run % 2 == 1 && count > 0 {
                extent.push(start, start + count);
            }
            start += count;
        }
        extent.to_box()
    }

    /// The union of masks of one size, folded from the left; `None` for no masks or different sizes.
    pub fn union(masks: &[Self]) -> Option<Self> {
        let (first, others) = masks.split_first()?;
        let mut union = first.clone();
        for mask in others {
            if (mask.height, mask.width) != (union.height, union.width) {
                return None;
            }
            union.counts = union_runs(&union.counts, &mask.counts);
        }
        Some(union)
    }

    /// Intersection over union with the truth, or over this mask's own area where the truth is a crowd region; `None`
    /// for masks of different sizes (pycocotools says -1).
    pub fn iou(&self, truth: &Self, truth_is_crowd: bool) -> Option<f64> {
        if (self.height, self.width) != (truth.height, truth.width) {
            return None;
        }
        let (intersection, union) = intersection_and_union(&self.counts, &truth.counts);
        if intersection == 0 {
            return Some(0.0);
        }
        Some(intersection as f64 / if truth_is_crowd { self.area() } else { union } as f64)
    }
}

/// One mask's runs, consumed in pieces: what remains of the current run, and whether it is foreground.
struct Walk<'a> {
    left: u32,
    foreground: bool,
    next: std::slice::Iter<'a, u32>,
}

impl<'a> Walk<'a> {
    fn new(counts: &'a [u32]) -> Self {
        let mut next = counts.iter();
        Self { left: next.next().copied().unwrap_or(0), foreground: false, next }
    }

    fn advance(&mut self, pixels: u32) {
        self.left -= pixels;
        if self.left == 0
            && let Some(&count) = self.next.next()
        {
            self.left = count;
            self.foreground = !self.foreground;
        }
    }
}

fn union_runs(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (mut a, mut b) = (Walk::new(a), Walk::new(b));
    let mut counts = Vec::new();
    let (mut count, mut foreground) = (0, false);
    loop {
        let step = a.left.min(b.left);
        count += step;
        a.advance(step);
        b.advance(step);
        let ended = a.left == 0 && b.left == 0;
        let now = a.foreground || b.foreground;
        if now != foreground || ended {
            counts.push(count);
            count = 0;
        }
        if ended {
            return counts;
        }
        foreground = now;
    }
}

fn intersection_and_union(a: &[u32], b: &[u32]) -> (u64, u64) {
    let (mut a, mut b) = (Walk::new(a), Walk::new(b));
    let (mut intersection, mut union) = (0, 0);
    loop {
        let step = a.left.min(b.left);
        if a.foreground || b.foreground {
            union += u64::from(step);
            if a.foreground && b.foreground {
                intersection += u64::from(step);
            }
        }
        a.advance(step);
        b.advance(step);
        if a.left == 0 && b.left == 0 {
            return (intersection, union);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rle(height: u32, width: u32, counts: &[u32]) -> Rle {
        Rle { height, width, counts: counts.to_vec() }
    }

    #[test]
    fn differences_start_at_the_fourth_run() {
        // 3 | 2 | 4 | 2 - 2 = 0 | 5 - 4 = 1
        assert_eq!(rle(4, 4, &[3, 2, 4, 2, 5]).to_compressed(), "32401");
    }

    #[test]
    fn strings_come_back_from_their_runs() {
        let counts = [0, 1, 15, 16, 17, 31, 1, 1000, 32, 4_000_000, 3];
        let width = counts.iter().sum();
        let mask = rle(1, width, &counts);
        assert_eq!(Rle::from_compressed(&mask.to_compressed(), 1, width), Ok(mask));
    }

    #[test]
    fn backslashes_count_once_however_they_are_written() {
        // A backslash is 44: 12, and more follows.
        let mask = rle(1, 24, &[12, 12]);
        assert_eq!(mask.to_compressed(), r"<<");
        let mask = rle(1, 88, &[44, 44]);
        assert_eq!(mask.to_compressed(), r"\1\1");
        let read = |bytes: &[u8]| Rle::from_text(RunText { bytes, is_escaped: true }, 1, 88);
        assert_eq!(read(br"\\1\\1"), Ok(mask));
        assert_eq!(read(br"\\1/"), Err(RleError::Character { found: '/', position: 2 }));
    }

    #[test]
    fn impossible_strings_are_refused() {
        use RleError::*;
        #[track_caller]
        fn case(text: &str, expected: RleError) {
            assert_eq!(Rle::from_compressed(text, 2, 2), Err(expected.clone()));
            let text = RunText { bytes: text.as_bytes(), is_escaped: true };
            assert_eq!(Rle::from_text(text, 2, 2), Err(expected));
        }
        let pixels = |found| Pixels { found, height: 2, width: 2, expected: 4 };
        case("", pixels(0));
        case("3", pixels(3));
        case("5", pixels(5));
        case("22/", Character { found: '/', position: 2 });
        case("2p", Character { found: 'p', position: 1 });
        case("é", Character { found: 'é', position: 0 });
        case("2P", Truncated);
        case("O", RunLength { run: 0, found: -1 });
        case("111M", RunLength { run: 3, found: -2 });
        case("ooooooooooooo", RunLength { run: 0, found: (1 << 40) - 1 });
        case("PPPPPPPP1", RunLength { run: 0, found: 0 });
        assert_eq!(
            Rle::from_compressed("0", 1 << 16, 1 << 16),
            Err(TooLarge { height: 1 << 16, width: 1 << 16 })
        );
    }

    #[test]
    fn the_box_of_a_mask_spans_its_runs() {
        // 4 rows, 3 columns: rows 1 and 2 of column 1.
        assert_eq!(rle(4, 3, &[5, 2, 5]).to_box(), [1.0, 1.0, 1.0, 2.0]);
        // From row 3 of column 0 to row 0 of column 1: both rows' ends are touched.
        assert_eq!(rle(4, 3, &[3, 2, 7]).to_box(), [0.0, 0.0, 2.0, 4.0]);
        assert_eq!(rle(4, 3, &[12]).to_box(), [0.0; 4]);
        assert_eq!(rle(4, 3, &[5, 0, 7]).to_box(), [0.0; 4]);
        assert_eq!(rle(0, 3, &[0]).to_box(), [0.0; 4]);
    }

    #[test]
    fn repeated_empty_runs_do_not_move_the_box() {
        // ppwwyyxx/cocoapi tests/test_cases.py: an RLE that starts with three zeros.
        assert_eq!(rle(4, 3, &[0, 0, 0, 2, 10]).to_box(), [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(rle(4, 3, &[0, 0, 5, 2, 5]).to_box(), rle(4, 3, &[5, 2, 5]).to_box());
    }

    #[test]
    fn a_union_covers_both_masks() {
        let union = Rle::union(&[rle(1, 9, &[1, 2, 6]), rle(1, 9, &[2, 3, 4]), rle(1, 9, &[8, 1])]);
        assert_eq!(union, Some(rle(1, 9, &[1, 4, 3, 1])));
        assert_eq!(Rle::union(&[]), None);
        assert_eq!(Rle::union(&[rle(1, 2, &[2]), rle(2, 1, &[2])]), None);
    }

    #[test]
    fn a_crowd_divides_by_the_prediction_alone() {
        let (prediction, truth) = (rle(1, 9, &[2, 4, 3]), rle(1, 9, &[4, 5]));
        assert_eq!(prediction.iou(&truth, false), Some(2.0 / 7.0));
        assert_eq!(prediction.iou(&truth, true), Some(2.0 / 4.0));
        assert_eq!(rle(1, 9, &[9]).iou(&rle(1, 9, &[9]), false), Some(0.0));
        assert_eq!(prediction.iou(&rle(9, 1, &[9]), false), None);
    }
}
