//! Polygons to masks, to the pixel as pycocotools' `rleFrPoly` fills them.
//!
//! The reference walks every edge in fifths of a pixel and keeps the points where the walk crosses the middle of a
//! pixel column; the sorted crossings are the runs (even-odd filling). Here each crossing is computed directly, with the
//! reference's integer truncations and its two roundings per product (no fused multiply-add, as on x86-64), so an edge
//! costs one step per column it crosses, and one far outside the image costs nothing.

use thiserror::Error;

use crate::rle::{Rle, RleError};

/// Steps per pixel of the walk along an edge. maskApi.c, `rleFrPoly`.
const SCALE: i64 = 5;

/// Why numbers are not polygons.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PolygonError {
    /// A list without polygons.
    #[error("no polygon in the list")]
    Empty,
    /// A polygon with too few numbers.
    #[error("polygon {polygon} has {found} numbers; possible are 4 (a box, if all have 4) or at least 6")]
    TooShort {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// A polygon that is no outline, where outlines are wanted.
    #[error("polygon {polygon} has {found} numbers; possible are even counts from 6")]
    NoOutline {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// Some polygons are boxes of 4 numbers, this one is not.
    #[error("polygon {polygon} has {found} numbers, but the first has 4 and makes all of them boxes")]
    NotABox {
        /// Which polygon, from 0.
        polygon: usize,
        /// How many numbers it has.
        found: usize,
    },
    /// A coordinate that is no finite number.
    #[error("polygon {polygon} has the coordinate {found}; possible are finite numbers")]
    NotFinite {
        /// Which polygon, from 0.
        polygon: usize,
        /// The coordinate.
        found: f64,
    },
    /// A frame too large for runs.
    #[error(transparent)]
    Frame(#[from] RleError),
}

impl Rle {
    /// The union of polygons `x0, y0, x1, y1, ..` in pixels of a frame, as `merge(frPyObjects(..))` of pycocotools.
    ///
    /// Where the first polygon has exactly 4 numbers, all are taken as boxes (left, top, width, height), not as
    /// segments. A last odd number is left out. Vertices may lie outside the frame, repeat and cross.
    ///
    /// # Errors
    /// Where pycocotools would raise: no polygon, fewer than 4 numbers in the first, boxes mixed with polygons; and for
    /// coordinates that are not finite, and frames of more than `u32::MAX` pixels.
    pub fn from_polygons(polygons: &[Vec<f64>], height: u32, width: u32) -> Result<Self, PolygonError> {
        let mut runs = Vec::new();
        Outlines::default().fill(polygons, height, width, &mut runs)?;
        Ok(Self::from_foreground(&runs, height, width))
    }

    /// The pixels of a box (left, top, width, height), filled as the polygon of its corners.
    ///
    /// # Errors
    /// For frames of more than `u32::MAX` pixels.
    pub fn from_box(bbox: [f64; 4], height: u32, width: u32) -> Result<Self, RleError> {
        let mut runs = Vec::new();
        Outlines::default().fill_box(bbox, height, width, &mut runs)?;
        Ok(Self::from_foreground(&runs, height, width))
    }

    /// From ascending runs of foreground that do not touch, in a frame whose pixels 32 bits can count.
    fn from_foreground(runs: &[[u32; 2]], height: u32, width: u32) -> Self {
        let mut counts = Vec::with_capacity(runs.len() * 2 + 1);
        let mut before = 0;
        for &[start, end] in runs {
            counts.extend([start - before, end - start]);
            before = end;
        }
        let rest = height * width - before;
        if rest > 0 || runs.is_empty() {
            counts.push(rest);
        }
        Self { height, width, counts }
    }
}

/// What filling needs while it goes on; kept, so that many polygons share it.
#[derive(Default)]
pub(crate) struct Outlines {
    /// Column, and the pixel's index.
    crossings: Vec<(u32, u32)>,
    /// Crossings per column, then where the column's begin.
    columns: Vec<u32>,
    sorted: Vec<u32>,
}

impl Outlines {
    /// Foreground runs of the union of polygons, ascending and apart; see [`Rle::from_polygons`].
    pub(crate) fn fill(
        &mut self,
        polygons: &[Vec<f64>],
        height: u32,
        width: u32,
        runs: &mut Vec<[u32; 2]>,
    ) -> Result<(), PolygonError> {
        let first = polygons.first().ok_or(PolygonError::Empty)?.len();
        if first < 4 {
            return Err(PolygonError::TooShort { polygon: 0, found: first });
        }
        runs.clear();
        for (polygon, numbers) in polygons.iter().enumerate() {
            let found = numbers.len();
            if let Some(&found) = numbers.iter().find(|number| !number.is_finite()) {
                return Err(PolygonError::NotFinite { polygon, found });
            }
            match numbers.as_slice() {
                &[x, y, w, h] if first == 4 => self.add_box([x, y, w, h], height, width, runs)?,
                _ if first == 4 => return Err(PolygonError::NotABox { polygon, found }),
                [] | [_] => return Err(PolygonError::TooShort { polygon, found }),
                vertices => self.add(vertices, height, width, runs)?,
            }
        }
        if polygons.len() > 1 {
            runs.sort_unstable();
        }
        join(runs);
        Ok(())
    }

    /// Foreground runs of a box (left, top, width, height), ascending and apart.
    pub(crate) fn fill_box(
        &mut self,
        bbox: [f64; 4],
        height: u32,
        width: u32,
        runs: &mut Vec<[u32; 2]>,
    ) -> Result<(), RleError> {
        runs.clear();
        self.add_box(bbox, height, width, runs)?;
        join(runs);
        Ok(())
    }

    fn add_box(
        &mut self,
        [x, y, w, h]: [f64; 4],
        height: u32,
        width: u32,
        runs: &mut Vec<[u32; 2]>,
    ) -> Result<(), RleError> {
        let (right, bottom) = (x + w, y + h);
        self.add(&[x, y, x, bottom, right, bottom, right, y], height, width, runs)
    }

    /// Appends the runs of one polygon: between the first and the second crossing, the third and the fourth, ..
    fn add(
        &mut self,
        vertices: &[f64],
        height: u32,
        width: u32,
        runs: &mut Vec<[u32; 2]>,
    ) -> Result<(), RleError> {
        let total = height.checked_mul(width).ok_or(RleError::TooLarge { height, width })?;
        // A C cast: toward zero, for negative coordinates too.
        let vertex = |xy: &[f64; 2]| xy.map(|value| i64::from((SCALE as f64 * value + 0.5) as i32));
        let (vertices, _) = vertices.as_chunks::<2>();
        self.crossings.clear();
        let Some(last) = vertices.last() else { return Ok(()) };
        let first = vertex(&vertices[0]);
        let mut start = first;
        for end in &vertices[1..] {
            let end = vertex(end);
            push_crossings(start, end, i64::from(height), i64::from(width), &mut self.crossings);
            start = end;
        }
        push_crossings(vertex(last), first, i64::from(height), i64::from(width), &mut self.crossings);
        self.sort();
        let (pairs, rest) = self.sorted.as_chunks::<2>();
        runs.extend(pairs.iter().filter(|[start, end]| start < end));
        runs.extend(rest.iter().filter(|&&start| start < total).map(|&start| [start, total]));
        Ok(())
    }

    /// Puts the crossings in order. A column has few, so they are dealt out to their columns and sorted there.
    fn sort(&mut self) {
        let Self { crossings, columns, sorted } = self;
        sorted.clear();
        let bounds = crossings
            .iter()
            .fold((u32::MAX, 0), |(low, high), &(column, _)| (low.min(column), high.max(column)));
        let (low, high) = bounds;
        if low > high {
            return;
        }
        let num_columns = (high - low) as usize + 1;
        if num_columns > 4 * crossings.len() {
            sorted.extend(crossings.iter().map(|&(_, index)| index));
            sorted.sort_unstable();
            return;
        }
        columns.clear();
        columns.resize(num_columns, 0);
        crossings.iter().for_each(|&(column, _)| columns[(column - low) as usize] += 1);
        let mut begin = 0;
        for count in columns.iter_mut() {
            (*count, begin) = (begin, begin + *count);
        }
        sorted.resize(crossings.len(), 0);
        for &(column, index) in crossings.iter() {
            // Among the column's own, each finds its place from the end.
            let next = &mut columns[(column - low) as usize];
            sorted[*next as usize] = index;
            *next += 1;
        }
        let mut begin = 0;
        for &end in columns.iter() {
            match &mut sorted[begin..end as usize] {
                [] | [_] => {}
                [a, b] => (*a, *b) = ((*a).min(*b), (*a).max(*b)),
                more => more.sort_unstable(),
            }
            begin = end as usize;
        }
    }
}

/// Joins ascending runs that touch or overlap.
fn join(runs: &mut Vec<[u32; 2]>) {
    let mut kept = 0;
    for index in 0..runs.len() {
        let [start, end] = runs[index];
        if kept > 0 && start <= runs[kept - 1][1] {
            runs[kept - 1][1] = end.max(runs[kept - 1][1]);
        } else {
            runs[kept] = [start, end];
            kept += 1;
        }
    }
    runs.truncate(kept);
}

/// Where the edge from `start` to `end` (in fifths of a pixel) crosses the middles of the frame's columns: the column, and
/// the column-major index of the pixel.
fn push_crossings(start: [i64; 2], end: [i64; 2], height: i64, width: i64, crossings: &mut Vec<(u32, u32)>) {
    let ([mut xs, mut ys], [mut xe, mut ye]) = (start, end);
    let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
    if dx == 0 {
        return;
    }
    if (dx >= dy && xs > xe) || (dx < dy && ys > ye) {
        (xs, ys, xe, ye) = (xe, ye, xs, ys);
    }
    // The walk passes the middle of column i between 5 i + 2 and 5 i + 3.
    let columns = |from: i64, to: i64| {
        let first = (from - 2).div_euclid(SCALE) + i64::from((from - 2).rem_euclid(SCALE) > 0);
        let last = (to - 3).div_euclid(SCALE);
        first.max(0)..last.min(width - 1) + 1
    };
    // The reference's ceil((y + 0.5) / 5 - 0.5) within the frame; for whole y its roundings do not show.
    let mut push = |column: i64, y: i64| {
        let row = if y <= 2 { 0 } else { ((y + 2) / SCALE).min(height) };
        crossings.push((column as u32, (column * height + row) as u32));
    };
    if dx >= dy {
        let slope = (ye - ys) as f64 / dx as f64;
        let y_at = |step: i64| (ys as f64 + slope * step as f64 + 0.5) as i64;
        for column in columns(xs, xe) {
            let step = column * SCALE + 2 - xs;
            push(column, y_at(step).min(y_at(step + 1)));
        }
        return;
    }
    let slope = (xe - xs) as f64 / dy as f64;
    let x_at = |step: i64| (xs as f64 + slope * step as f64 + 0.5) as i64;
    let (from, to) = (x_at(0).min(x_at(dy)), x_at(0).max(x_at(dy)));
    for column in columns(from, to) {
        let middle = column * SCALE + 2;
        // x is monotone along the walk: look for the first step past the middle, near where the real line has it.
        let past = |step: i64| if slope > 0.0 { x_at(step) > middle } else { x_at(step) <= middle };
        let mut step = ((((middle - xs) as f64 + 0.5) / slope) as i64).clamp(1, dy);
        while step < dy && !past(step) {
            step += 1;
        }
        while step > 1 && past(step - 1) {
            step -= 1;
        }
        push(column, ys + step - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;

    fn picture(polygon: &[f64], height: u32, width: u32) -> Vec<String> {
        let rle = Rle::from_polygons(&[polygon.to_vec()], height, width).unwrap();
        assert_eq!(rle.counts.iter().sum::<u32>(), height * width);
        let mask = Mask::from_rle(&rle);
        let pixel = |x, y| if mask.get(x, y) { '#' } else { '.' };
        (0..mask.frame_height).map(|y| (0..mask.frame_width).map(|x| pixel(x, y)).collect()).collect()
    }

    #[test]
    fn a_square_to_nine_fills_nine_pixels_a_side() {
        // cocodataset/cocoapi#659: edges are not pixels.
        let rle = Rle::from_polygons(&[vec![0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0, 0.0]], 12, 12).unwrap();
        assert_eq!((rle.area(), rle.to_box()), (81, [0.0, 0.0, 9.0, 9.0]));
    }

    #[test]
    fn four_numbers_are_a_box() {
        assert_eq!(picture(&[1.0, 1.0, 2.0, 1.0], 3, 4), ["....", ".##.", "...."]);
        let mixed = [vec![0.0; 4], vec![0.0; 6]];
        assert_eq!(Rle::from_polygons(&mixed, 3, 3), Err(PolygonError::NotABox { polygon: 1, found: 6 }));
    }

    #[test]
    fn polygons_that_are_none_are_refused() {
        let case = |polygons: &[Vec<f64>]| Rle::from_polygons(polygons, 3, 3).unwrap_err();
        assert_eq!(case(&[]), PolygonError::Empty);
        assert_eq!(case(&[vec![1.0, 2.0]]), PolygonError::TooShort { polygon: 0, found: 2 });
        let infinite = [vec![0.0, 0.0, 1.0, f64::INFINITY, 2.0, 2.0]];
        assert_eq!(case(&infinite), PolygonError::NotFinite { polygon: 0, found: f64::INFINITY });
        let huge = Rle::from_polygons(&[vec![0.0; 6]], 1 << 16, 1 << 16);
        let too_large = RleError::TooLarge { height: 1 << 16, width: 1 << 16 };
        assert_eq!(huge, Err(PolygonError::Frame(too_large)));
    }

    #[test]
    fn repeated_vertices_change_nothing() {
        let once = picture(&[1.0, 0.0, 4.0, 2.0, 0.0, 4.0], 5, 5);
        assert_eq!(picture(&[1.0, 0.0, 1.0, 0.0, 4.0, 2.0, 4.0, 2.0, 4.0, 2.0, 0.0, 4.0], 5, 5), once);
    }

    #[test]
    fn a_bow_tie_is_filled_even_odd() {
        let tie = picture(&[0.0, 0.0, 6.0, 6.0, 6.0, 0.0, 0.0, 6.0], 6, 6);
        assert_eq!(tie, ["#....#", "##..##", "######", "##..##", "#....#", "......"]);
    }

    #[test]
    fn a_polygon_around_the_image_covers_it_at_once() {
        let far = 4e8;
        assert_eq!(picture(&[-far, -far, far, -far, far, far, -far, far], 2, 3), ["###", "###"]);
        assert_eq!(picture(&[9.0, 9.0, 12.0, 9.0, 12.0, 12.0], 2, 3), ["...", "..."]);
    }
}
