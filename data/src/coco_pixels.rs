//! Masks as the evaluator compares them: foreground runs, and for the truth a table of how many pixels lie before each.
//!
//! pycocotools walks the runs of both masks for every pair. Here a pair is left out if its areas and boxes already say that
//! the overlap is below what is looked at. A truth that many detections overlap becomes bits with a running count every
//! 64, so that a detection's run costs two look-ups, however many runs the truth has; otherwise the foreground runs of both
//! are walked, from the first that can meet. The numbers are whole, so they are those of pycocotools' walk; where both masks
//! have empty runs inside, which make that walk stop early, it is taken.

use crate::coco_error::SegmentationError;
use crate::coco_segmentation::Form;
use crate::polygon_fill::Outlines;
use crate::rle::Rle;
use crate::rle_text::{Extent, check_sum};

/// A mask of `height x width` pixels; pixel (x, y) has the index `y + height * x`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pixels {
    pub(crate) height: u32,
    pub(crate) width: u32,
    /// First and one past the last index of foreground, ascending; neighbours may touch.
    pub(crate) runs: Vec<[u32; 2]>,
    pub(crate) area: u64,
    /// Left, top, width, height.
    pub(crate) bbox: [f64; 4],
    /// All run lengths, if one but the first is empty; else none.
    counts: Vec<u32>,
}

/// Foreground of one mask as bits.
#[derive(Default)]
pub(crate) struct Bits {
    first_word: usize,
    /// Sixty-four pixels, and how many are set before them.
    words: Vec<(u64, u32)>,
    total: u32,
}

impl Pixels {
    /// Takes over the mask that a text of an image of this size describes; false if there is none.
    pub(crate) fn read(
        &mut self,
        text: &[u8],
        height: u32,
        width: u32,
        outlines: &mut Outlines,
    ) -> Result<bool, SegmentationError> {
        self.runs.clear();
        self.counts.clear();
        (self.height, self.width) = (height, width);
        match Form::read(text)? {
            Form::None => return Ok(false),
            Form::Polygons(polygons) => outlines.fill(&polygons, height, width, &mut self.runs)?,
            Form::Counts(counts, size) => {
                let mut runs = self.begin(size);
                counts.iter().for_each(|&count| runs.push(count));
                if !runs.finish()? {
                    self.counts = counts;
                }
            }
            Form::Compressed(text, size) => {
                let mut runs = self.begin(size);
                text.text().decode(|count| runs.push(count))?;
                if !runs.finish()? {
                    self.counts = Rle::from_text(text.text(), size[0], size[1])?.counts;
                }
            }
        }
        self.measure();
        Ok(true)
    }

    /// Takes over the pixels of a box.
    pub(crate) fn read_box(
        &mut self,
        bbox: [f64; 4],
        height: u32,
        width: u32,
        outlines: &mut Outlines,
    ) -> Result<(), SegmentationError> {
        self.runs.clear();
        self.counts.clear();
        (self.height, self.width) = (height, width);
        outlines.fill_box(bbox, height, width, &mut self.runs)?;
        self.measure();
        Ok(())
    }

    fn begin(&mut self, [height, width]: [u32; 2]) -> RunCollector<'_> {
        (self.height, self.width) = (height, width);
        RunCollector {
            runs: &mut self.runs,
            size: [height, width],
            end: 0,
            foreground: false,
            is_plain: true,
            is_first: true,
        }
    }

    /// An empty mask, to which [`Pixels::push_run`] adds.
    pub(crate) fn begin_runs(&mut self, height: u32, width: u32) {
        (self.height, self.width, self.area) = (height, width, 0);
        self.runs.clear();
        self.counts.clear();
    }

    /// Adds foreground behind all that is there. The box stays what it was.
    pub(crate) fn push_run(&mut self, start: u32, end: u32) {
        self.area += u64::from(end - start);
        self.runs.push([start, end]);
    }

    fn measure(&mut self) {
        let mut extent = Extent::new(self.height);
        let mut area = 0;
        for &[start, end] in &self.runs {
            area += u64::from(end - start);
            extent.push(start, end);
        }
        self.area = area;
        self.bbox = extent.to_box();
    }

    /// Intersection over union with the truth, or over this mask's own area where the truth is a crowd region; `None`
    /// for masks of different sizes. `bits` are the truth's, if there are any.
    pub(crate) fn iou(&self, truth: &Self, bits: Option<&Bits>, truth_is_crowd: bool) -> Option<f64> {
        if (self.height, self.width) != (truth.height, truth.width) {
            return None;
        }
        if !self.counts.is_empty() && !truth.counts.is_empty() {
            return self.as_rle().iou(&truth.as_rle(), truth_is_crowd);
        }
        let intersection = match bits {
            Some(bits) => bits.common(&self.runs),
            None => common(&self.runs, &truth.runs),
        };
        if intersection == 0 {
            return Some(0.0);
        }
        let union = self.area + truth.area - intersection;
        Some(intersection as f64 / if truth_is_crowd { self.area } else { union } as f64)
    }

    /// No less than [`Pixels::iou`], from areas and boxes alone; zero for boxes that are apart.
    pub(crate) fn most_iou(&self, truth: &Self, truth_is_crowd: bool) -> f64 {
        let [x, y, width, height] = self.bbox;
        let [tx, ty, truth_width, truth_height] = truth.bbox;
        let width = (x + width).min(tx + truth_width) - x.max(tx);
        let height = (y + height).min(ty + truth_height) - y.max(ty);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let is_walked = !self.counts.is_empty() && !truth.counts.is_empty();
        if is_walked || (self.height, self.width) != (truth.height, truth.width) {
            return f64::INFINITY;
        }
        // Whole numbers, so the quotient is rounded as that of the overlap is.
        let (area, truth_area) = (self.area as f64, truth.area as f64);
        let intersection = (width * height).min(area).min(truth_area);
        intersection / if truth_is_crowd { area } else { area + truth_area - intersection }
    }

    /// How many words [`Bits`] have for it.
    pub(crate) fn num_words(&self) -> usize {
        let (Some(&[first, _]), Some(&[_, end])) = (self.runs.first(), self.runs.last()) else { return 0 };
        (end - first) as usize / 64 + 1
    }

    fn as_rle(&self) -> Rle {
        Rle { height: self.height, width: self.width, counts: self.counts.clone() }
    }
}

/// Run lengths on their way to foreground runs.
struct RunCollector<'a> {
    runs: &'a mut Vec<[u32; 2]>,
    size: [u32; 2],
    end: u64,
    foreground: bool,
    is_plain: bool,
    is_first: bool,
}

impl RunCollector<'_> {
    #[inline]
    fn push(&mut self, count: u32) {
        let start = self.end;
        self.end += u64::from(count);
        if count == 0 {
            self.is_plain &= self.is_first;
        } else if self.foreground {
            // Beyond 32 bits the sum is refused in the end.
            self.runs.push([start as u32, self.end as u32]);
        }
        self.is_first = false;
        self.foreground = !self.foreground;
    }

    /// Whether no run but the first is empty.
    fn finish(self) -> Result<bool, SegmentationError> {
        check_sum(self.end, self.size[0], self.size[1])?;
        Ok(self.is_plain)
    }
}

impl Bits {
    pub(crate) fn set(&mut self, runs: &[[u32; 2]]) {
        self.words.clear();
        self.total = 0;
        let (Some(&[first, _]), Some(&[_, end])) = (runs.first(), runs.last()) else { return };
        self.first_word = first as usize / 64;
        self.words.resize((end as usize - 1) / 64 - self.first_word + 1, (0, 0));
        for &[start, end] in runs {
            let (from, to) =
                (start as usize / 64 - self.first_word, (end as usize - 1) / 64 - self.first_word);
            let head = u64::MAX << (start % 64);
            let tail = u64::MAX >> (63 - (end - 1) % 64);
            if from == to {
                self.words[from].0 |= head & tail;
            } else {
                self.words[from].0 |= head;
                self.words[from + 1..to].iter_mut().for_each(|word| word.0 = u64::MAX);
                self.words[to].0 |= tail;
            }
        }
        for (word, before) in &mut self.words {
            *before = self.total;
            self.total += word.count_ones();
        }
    }

    /// How many set pixels have a smaller index.
    #[inline]
    fn before(&self, index: u32) -> u32 {
        let word = (index as usize / 64).wrapping_sub(self.first_word);
        match self.words.get(word) {
            Some((bits, before)) => before + (bits & !(u64::MAX << (index % 64))).count_ones(),
            None if (index as usize / 64) < self.first_word => 0,
            None => self.total,
        }
    }

    #[inline]
    fn count(&self, runs: &[[u32; 2]]) -> u64 {
        runs.iter().map(|&[start, end]| u64::from(self.before(end) - self.before(start))).sum()
    }

    /// Number of pixels that both masks set.
    fn common(&self, runs: &[[u32; 2]]) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("popcnt") {
            // SAFETY: the processor was just found to have the instruction.
            return unsafe { self.count_by_instruction(runs) };
        }
        self.count(runs)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "popcnt")]
    fn count_by_instruction(&self, runs: &[[u32; 2]]) -> u64 {
        self.count(runs)
    }
}

/// Number of pixels that both lists of runs hold.
fn common(a: &[[u32; 2]], b: &[[u32; 2]]) -> u64 {
    let (Some(&[a_start, _]), Some(&[b_start, _])) = (a.first(), b.first()) else { return 0 };
    let a = &a[a.partition_point(|&[_, end]| end <= b_start)..];
    let b = &b[b.partition_point(|&[_, end]| end <= a_start)..];
    let (mut i, mut j, mut sum) = (0, 0, 0u64);
    while let (Some(&[a_start, a_end]), Some(&[b_start, b_end])) = (a.get(i), b.get(j)) {
        sum += u64::from(a_end.min(b_end).saturating_sub(a_start.max(b_start)));
        i += usize::from(a_end <= b_end);
        j += usize::from(b_end <= a_end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_overlap_exceeds_what_boxes_and_areas_allow() {
        let polygons = |x: u32| format!("[[{x}, 3, {}.5, 9, {}, 30.2, {x}, 20]]", x + 20, x + 9).into_bytes();
        let mut outlines = Outlines::default();
        let mut masks = Vec::new();
        for x in 0..30 {
            let mut mask = Pixels::default();
            assert_eq!(mask.read(&polygons(x), 25, 40, &mut outlines), Ok(true));
            masks.push(mask);
        }
        let mut bits = Bits::default();
        for a in &masks {
            bits.set(&a.runs);
            assert_eq!(a.most_iou(a, false), 1.0);
            for b in &masks {
                for is_crowd in [false, true] {
                    let iou = b.iou(a, None, is_crowd).unwrap();
                    assert!(iou <= b.most_iou(a, is_crowd));
                    assert_eq!(b.iou(a, Some(&bits), is_crowd), Some(iou));
                }
            }
        }
    }
}
