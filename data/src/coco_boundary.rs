//! Boundary IoU: overlap of the parts of two masks that lie near their edges.
//!
//! Paper: Boundary IoU: Improving Object-Centric Image Segmentation Evaluation, Cheng et al. 2021,
//! <https://arxiv.org/abs/2103.16562>; the numbers are those of the authors' boundary-iou-api.
//!
//! The boundary of a mask is what an erosion takes away: a pixel stays if the square of `2 d + 1` pixels around it is all
//! foreground, with background beyond the image. The reference erodes `d` times by 3 x 3. Here a column's runs are
//! shortened by `d` at both ends, and columns are bit sets of which the neighbours are intersected by doubling.

use crate::coco_pixels::Pixels;

/// The distance from the edge, as a share of the image's diagonal. The paper's and the reference's default.
const DILATION_RATIO: f64 = 0.02;

/// Boundaries of a cell's masks, and what computing them needs.
#[derive(Default)]
pub(crate) struct Boundaries {
    found: Vec<Pixels>,
    truths: Vec<Pixels>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    /// Columns of 64-bit words.
    mask: Vec<u64>,
    eroded: Vec<u64>,
}

impl Boundaries {
    /// Lowers each IoU above 0 to the boundaries' IoU, where that is smaller and the truth is no crowd.
    pub(crate) fn lower(
        &mut self,
        ious: &mut [f64],
        found: &[Pixels],
        truths: &[Pixels],
        is_crowd: impl Fn(usize) -> bool,
    ) {
        for (masks, boundaries) in [(found, &mut self.found), (truths, &mut self.truths)] {
            boundaries.resize_with(boundaries.len().max(masks.len()), Pixels::default);
            for (mask, boundary) in masks.iter().zip(boundaries) {
                self.scratch.boundary(mask, boundary);
            }
        }
        for (row, ious) in ious.chunks_exact_mut(truths.len()).enumerate() {
            for (column, iou) in ious.iter_mut().enumerate().filter(|(_, iou)| **iou > 0.0) {
                if !is_crowd(column) {
                    // Masks of different sizes were refused before.
                    let of_boundaries = self.found[row].iou(&self.truths[column], None, false);
                    *iou = iou.min(of_boundaries.unwrap_or(0.0));
                }
            }
        }
    }
}

/// How far the boundary reaches inwards, in pixels.
fn distance(height: u32, width: u32) -> u32 {
    let diagonal = (f64::from(height).powi(2) + f64::from(width).powi(2)).sqrt();
    ((DILATION_RATIO * diagonal).round_ties_even() as u32).max(1)
}

impl Scratch {
    fn boundary(&mut self, mask: &Pixels, boundary: &mut Pixels) {
        let distance = distance(mask.height, mask.width);
        let (height, width) = (mask.height as usize, mask.width as usize);
        let words = height.div_ceil(64);
        let first = mask.bbox[0] as usize;
        let num_columns = mask.bbox[2] as usize;
        for bits in [&mut self.mask, &mut self.eroded] {
            bits.clear();
            bits.resize(num_columns * words, 0);
        }
        for &[start, end] in &mask.runs {
            let (mut start, end) = (start as usize, end as usize);
            while start < end {
                let column = start / height;
                let column_end = end.min((column + 1) * height);
                let (top, bottom) = (start - column * height, column_end - column * height);
                let own = (column - first) * words..(column - first + 1) * words;
                set(&mut self.mask[own.clone()], top, bottom);
                start = column_end;
            }
        }
        self.erode_columns(height, words, distance as usize);
        self.erode_rows(num_columns, words, distance as usize);
        boundary.take_columns(height, width, first, words, &self.mask, &self.eroded);
    }

    /// Shortens the runs of every column.
    fn erode_columns(&mut self, height: usize, words: usize, distance: usize) {
        if words == 0 {
            return;
        }
        for (column, eroded) in self.mask.chunks_exact(words).zip(self.eroded.chunks_exact_mut(words)) {
            let mut from = 0;
            while let Some(top) = next(column, from, height, true) {
                let bottom = next(column, top, height, false).unwrap_or(height);
                if bottom - top > 2 * distance {
                    set(eroded, top + distance, bottom - distance);
                }
                from = bottom;
            }
        }
    }

    /// Keeps what is set in all columns up to `distance` away; beyond the mask nothing is.
    fn erode_rows(&mut self, num_columns: usize, words: usize, distance: usize) {
        let window = 2 * distance + 1;
        if num_columns < window {
            self.eroded.fill(0);
            return;
        }
        // Column x holds the intersection of `reach` columns from x on.
        let mut reach = 1;
        while reach < window {
            let step = reach.min(window - reach);
            let shift = step * words;
            for index in 0..self.eroded.len() {
                let next = self.eroded.get(index + shift).copied().unwrap_or(0);
                self.eroded[index] &= next;
            }
            reach += step;
        }
        // The window begins `distance` columns to the left of its middle.
        let shift = distance * words;
        self.eroded.copy_within(..num_columns * words - shift, shift);
        self.eroded[..shift].fill(0);
    }
}

fn set(column: &mut [u64], top: usize, bottom: usize) {
    let (from, to) = (top / 64, (bottom - 1) / 64);
    let head = u64::MAX << (top % 64);
    let tail = u64::MAX >> (63 - (bottom - 1) % 64);
    if from == to {
        column[from] |= head & tail;
    } else {
        column[from] |= head;
        column[from + 1..to].fill(u64::MAX);
        column[to] |= tail;
    }
}

/// The first row from `from` on that is set, or is not.
fn next(column: &[u64], from: usize, height: usize, is_set: bool) -> Option<usize> {
    let flip = if is_set { 0 } else { u64::MAX };
    let mut word = from / 64;
    let mut bits = (column.get(word)? ^ flip) & (u64::MAX << (from % 64));
    while bits == 0 {
        word += 1;
        bits = column.get(word)? ^ flip;
    }
    let row = word * 64 + bits.trailing_zeros() as usize;
    (row < height).then_some(row)
}

impl Pixels {
    /// Takes over what is set in `mask` and not in `eroded`, both columns from `first` on.
    fn take_columns(
        &mut self,
        height: usize,
        width: usize,
        first: usize,
        words: usize,
        mask: &[u64],
        eroded: &[u64],
    ) {
        self.begin_runs(height as u32, width as u32);
        if words == 0 {
            return;
        }
        let mut left = vec![0; words];
        for (index, (mask, eroded)) in mask.chunks_exact(words).zip(eroded.chunks_exact(words)).enumerate() {
            left.iter_mut()
                .zip(mask.iter().zip(eroded))
                .for_each(|(left, (mask, eroded))| *left = mask & !eroded);
            let start = (first + index) * height;
            let mut from = 0;
            while let Some(top) = next(&left, from, height, true) {
                let bottom = next(&left, top, height, false).unwrap_or(height);
                self.push_run((start + top) as u32, (start + bottom) as u32);
                from = bottom;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference's way: `distance` erosions by 3 x 3 with background around the image.
    fn eroded_slowly(mask: &[Vec<bool>], distance: usize) -> Vec<Vec<bool>> {
        let mut mask = mask.to_vec();
        let (height, width) = (mask.len() as i64, mask[0].len() as i64);
        for _ in 0..distance {
            let before = mask.clone();
            let get = |y: i64, x: i64| {
                (0..height).contains(&y) && (0..width).contains(&x) && before[y as usize][x as usize]
            };
            for (y, row) in mask.iter_mut().enumerate() {
                for (x, pixel) in row.iter_mut().enumerate() {
                    *pixel = (-1..=1).all(|dy| (-1..=1).all(|dx| get(y as i64 + dy, x as i64 + dx)));
                }
            }
        }
        mask
    }

    #[test]
    fn a_boundary_is_what_erosions_take_away() {
        let mut state = 1u64;
        for (height, width, holes) in [(70, 90, 3), (130, 64, 9), (64, 30, 0), (5, 7, 1), (200, 210, 40)] {
            let mut random = |below: usize| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as usize % below
            };
            let mut mask = vec![vec![true; width]; height];
            for _ in 0..holes {
                let (top, left) = (random(height), random(width));
                for row in mask.iter_mut().skip(top).take(2) {
                    row.iter_mut().skip(left).take(3).for_each(|pixel| *pixel = false);
                }
            }
            let mut pixels = Pixels::default();
            pixels.begin_runs(height as u32, width as u32);
            for index in 0..height * width {
                if mask[index % height][index / height] {
                    pixels.push_run(index as u32, index as u32 + 1);
                }
            }
            pixels.bbox = [0.0, 0.0, width as f64, height as f64];
            let mut boundary = Pixels::default();
            Scratch::default().boundary(&pixels, &mut boundary);
            let kept = eroded_slowly(&mask, distance(height as u32, width as u32) as usize);
            let mut found = vec![vec![false; width]; height];
            for &[start, end] in &boundary.runs {
                (start..end).for_each(|i| found[i as usize % height][i as usize / height] = true);
            }
            for (y, row) in mask.iter().enumerate() {
                for (x, &pixel) in row.iter().enumerate() {
                    assert_eq!(found[y][x], pixel && !kept[y][x], "{height} x {width}: {x} {y}");
                }
            }
            assert_eq!(boundary.area, found.iter().flatten().filter(|pixel| **pixel).count() as u64);
        }
    }

    #[test]
    fn the_distance_is_rounded_to_even() {
        // The diagonals are 125, 175 and 800: 2.5, 3.5 and 16 pixels.
        assert_eq!((distance(75, 100), distance(105, 140), distance(480, 640)), (2, 4, 16));
        assert_eq!(distance(1, 1), 1);
    }
}
