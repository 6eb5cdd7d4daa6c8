//! Filling polygons: where edges cross the middles of pixel columns, and the runs between crossings.
//!
//! The reference walks every edge in fifths of a pixel and keeps the points where the walk crosses the middle of a
//! pixel column; the sorted crossings are the runs (even-odd filling). Here each crossing is computed directly, with the
//! reference's integer truncations and its two roundings per product (no fused multiply-add, as on x86-64), so an edge
//! costs one step per column it crosses, and one far outside the image costs nothing.

use std::ops::Range;

use crate::polygon::PolygonError;
use crate::rle::RleError;

/// Steps per pixel of the walk along an edge. maskApi.c, `rleFrPoly`.
const SCALE: i64 = 5;

/// What filling needs while it goes on; kept, so that many polygons share it.
#[derive(Default)]
pub(crate) struct Outlines {
    /// In fifths of a pixel.
    vertices: Vec<[i64; 2]>,
    /// Indices of the pixels, edge by edge.
    crossings: Vec<u32>,
    /// Of every edge, which columns.
    edges: Vec<Range<u32>>,
    /// Crossings per column, then where the column's end.
    counts: Vec<u32>,
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
        self.vertices.clear();
        self.vertices.extend(vertices.as_chunks::<2>().0.iter().map(vertex));
        let (Some(&first), Some(&last)) = (self.vertices.first(), self.vertices.last()) else {
            return Ok(());
        };
        let columns = self
            .vertices
            .iter()
            .fold((i64::MAX, i64::MIN), |(low, high), [x, _]| (low.min(*x), high.max(*x)));
        let Self { counts, edges, crossings: found, .. } = self;
        let columns = middles(columns.0, columns.1, &(0..i64::from(width)));
        let mut crossings = Crossings { height, columns, counts, edges, found };
        crossings.begin();
        for edge in self.vertices.windows(2) {
            crossings.push_edge(edge[0], edge[1]);
        }
        crossings.push_edge(last, first);
        self.sort();
        let (pairs, rest) = self.sorted.as_chunks::<2>();
        runs.extend(pairs.iter().filter(|[start, end]| start < end));
        runs.extend(rest.iter().filter(|&&start| start < total).map(|&start| [start, total]));
        Ok(())
    }

    /// Puts the crossings in order. A column has few, so they are dealt out to their columns and sorted there.
    fn sort(&mut self) {
        let Self { crossings, counts, edges, sorted, .. } = self;
        let mut begin = 0;
        for count in counts.iter_mut() {
            (*count, begin) = (begin, begin + *count);
        }
        sorted.clear();
        sorted.resize(crossings.len(), 0);
        let mut rest = crossings.as_slice();
        for edge in edges.iter() {
            let (own, others) = rest.split_at(edge.len());
            rest = others;
            for (&index, next) in own.iter().zip(&mut counts[edge.start as usize..edge.end as usize]) {
                sorted[*next as usize] = index;
                *next += 1;
            }
        }
        let mut begin = 0;
        for &end in counts.iter() {
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

/// The columns whose middles a walk between two x (in fifths of a pixel) passes: that of column i lies between 5 i + 2
/// and 5 i + 3.
fn middles(from: i64, to: i64, within: &Range<i64>) -> Range<i64> {
    let first = (from - 2 + SCALE - 1).div_euclid(SCALE);
    let last = (to - 3).div_euclid(SCALE);
    first.max(within.start)..(last + 1).min(within.end)
}

/// Where edges cross the middles of the frame's columns.
struct Crossings<'a> {
    height: u32,
    /// The columns that the polygon reaches.
    columns: Range<i64>,
    /// Crossings of each of them.
    counts: &'a mut Vec<u32>,
    /// Of every edge that crosses any, which of the columns.
    edges: &'a mut Vec<Range<u32>>,
    /// Column-major indices of the pixels, edge by edge.
    found: &'a mut Vec<u32>,
}

impl Crossings<'_> {
    fn begin(&mut self) {
        self.found.clear();
        self.edges.clear();
        self.counts.clear();
        self.counts.resize((self.columns.end - self.columns.start).max(0) as usize, 0);
    }

    /// The edge between two vertices in fifths of a pixel.
    ///
    /// Whole numbers that doubles hold exactly stay doubles here, so that several columns are computed at once.
    #[inline]
    fn push_edge(&mut self, start: [i64; 2], end: [i64; 2]) {
        let ([mut xs, mut ys], [mut xe, mut ye]) = (start, end);
        let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
        if dx == 0 {
            return;
        }
        if (dx >= dy && xs > xe) || (dx < dy && ys > ye) {
            (xs, ys, xe, ye) = (xe, ye, xs, ys);
        }
        let (x0, y0) = (xs as f64, ys as f64);
        if dx >= dy {
            let slope = (ye - ys) as f64 / dx as f64;
            // The walk takes a step left and one right of the middle; the upper counts.
            let upper = if slope < 0.0 { 3.0 } else { 2.0 };
            self.push_columns(middles(xs, xe, &self.columns), |column| {
                y0 + slope * (column * SCALE as f64 + upper - x0) + 0.5
            });
            return;
        }
        let slope = (xe - xs) as f64 / dy as f64;
        let steps_per_x = dy as f64 / (xe - xs) as f64;
        let x_at = |step: f64| x0 + slope * step + 0.5;
        let last = dy as f64;
        let (from, to) = (x_at(0.0) as i64, x_at(last) as i64);
        self.push_columns(middles(from.min(to), from.max(to), &self.columns), |column| {
            let beyond = column * SCALE as f64 + 3.0;
            // x is monotone along the walk: look for the first step past the middle, near where the real line has it.
            let past = |step: f64| if slope > 0.0 { x_at(step) >= beyond } else { x_at(step) < beyond };
            let mut step = (((beyond - 0.5 - x0) * steps_per_x) as i64 as f64).clamp(1.0, last);
            if past(step) {
                while step > 1.0 && past(step - 1.0) {
                    step -= 1.0;
                }
            } else {
                while step < last && !past(step) {
                    step += 1.0;
                }
            }
            y0 + step - 1.0
        });
    }

    /// Notes a crossing in each column, at the whole part of a y in fifths of a pixel.
    #[inline]
    fn push_columns(&mut self, columns: Range<i64>, y_at: impl Fn(f64) -> f64) {
        if columns.is_empty() {
            return;
        }
        let own = |column: i64| (column - self.columns.start) as u32;
        let edge = own(columns.start)..own(columns.end);
        self.counts[edge.start as usize..edge.end as usize].iter_mut().for_each(|count| *count += 1);
        self.edges.push(edge);
        let (height, first) = (self.height, columns.start as u32);
        let lowest = (f64::from(height) * SCALE as f64).min(f64::from(i32::MAX - 2));
        self.found.extend((0..(columns.end - columns.start) as u32).map(|step| {
            let column = first + step;
            let y = y_at(f64::from(column));
            let y = if y > 2.0 { y } else { 2.0 };
            let y = if y < lowest { y } else { lowest };
            // SAFETY: the number lies between 2 and what 32 bits hold.
            let y = unsafe { y.to_int_unchecked::<i32>() } as u32;
            // The reference's ceil((y + 0.5) / 5 - 0.5), whose roundings do not show for whole y.
            column * height + (y + 2) / SCALE as u32
        }));
    }
}
