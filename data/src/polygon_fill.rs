//! Filling polygons: where edges cross the middles of pixel columns, and the runs between crossings.
//!
//! The reference walks every edge in fifths of a pixel and keeps the points where the walk crosses the middle of a
//! pixel column; the sorted crossings are the runs (even-odd filling). Here each crossing is computed directly, with the
//! reference's integer truncations and its two roundings per product (no fused multiply-add, as on x86-64), so an edge
//! costs one step per column it crosses, and one far outside the image costs nothing.
//!
//! Most polygons take the near way: four columns of an edge are computed at once and without a branch, and each column
//! keeps the rows of its crossings in one number, so that nothing larger than a column is ever sorted. The far way, for
//! huge coordinates and for columns with more than eight crossings, collects all crossings and sorts them.

use std::ops::Range;

use crate::polygon::PolygonError;
use crate::rle::RleError;

/// Steps per pixel of the walk along an edge. maskApi.c, `rleFrPoly`.
const SCALE: i64 = 5;
/// Columns computed at once.
const LANES: usize = 4;
/// The near way is for vertices up to here, in fifths of a pixel: roundings then move no crossing by a step.
const NEAR: i64 = 1 << 20;
/// No row.
const NONE: u16 = u16::MAX;

/// What filling needs while it goes on; kept, so that many polygons share it.
#[derive(Default)]
pub(crate) struct Outlines {
    /// In fifths of a pixel.
    vertices: Vec<[i64; 2]>,
    /// The near way: for each column the rows of its crossings, sixteen bits each, [`NONE`] where there are no more.
    rows: Vec<u128>,
    /// The far way: indices of the pixels.
    indices: Vec<u32>,
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
            // Stable, since it finds that each polygon's runs are in order.
            runs.sort();
            join(runs, 0);
        }
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
        self.add_box(bbox, height, width, runs)
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

    /// Appends the runs of one polygon, ascending and apart: between the first and the second crossing, the third and the fourth, ..
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
        let wide = |(low, high, far): (i64, i64, i64), &[x, y]: &[i64; 2]| {
            (low.min(x), high.max(x), far.max(x.abs()).max(y.abs()))
        };
        let (low, high, far) = self.vertices.iter().fold((i64::MAX, i64::MIN, 0), wide);
        let columns = middles(low, high, &(0..i64::from(width)));
        if columns.is_empty() {
            return Ok(());
        }
        let edges = self.vertices.array_windows().copied().chain([[last, first]]);
        let before = runs.len();
        if far <= NEAR && height < u32::from(NONE) {
            self.rows.clear();
            self.rows.resize((columns.end - columns.start) as usize, u128::MAX);
            let mut crossings = Crossings { height, columns: columns.clone(), rows: &mut self.rows, lost: 0 };
            crossings.push_near(edges.clone());
            if crossings.lost == 0 && crossings.push_runs(runs) {
                return Ok(());
            }
            runs.truncate(before);
        }
        self.indices.clear();
        for [start, end] in edges {
            push_far(start, end, height, &columns, &mut self.indices);
        }
        self.indices.sort_unstable();
        let (pairs, rest) = self.indices.as_chunks::<2>();
        runs.extend(pairs.iter().filter(|[start, end]| start < end));
        runs.extend(rest.iter().filter(|&&start| start < total).map(|&start| [start, total]));
        join(runs, before);
        Ok(())
    }
}

/// Joins ascending runs that touch or overlap, from one of them on.
fn join(runs: &mut Vec<[u32; 2]>, first: usize) {
    let mut kept = first;
    for index in first..runs.len() {
        let [start, end] = runs[index];
        if kept > first && start <= runs[kept - 1][1] {
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

/// An edge in the order in which the reference walks it, in fifths of a pixel. Whole numbers that doubles hold exactly.
struct Edge {
    start: [f64; 2],
    end: [f64; 2],
    is_steep: bool,
    /// Per step: of y if it is flat, of x if it is steep.
    slope: f64,
    /// Whose middles it crosses.
    columns: Range<i64>,
}

impl Edge {
    /// `None` if it crosses no middle.
    #[inline(always)]
    fn new(start: [i64; 2], end: [i64; 2], within: &Range<i64>) -> Option<Self> {
        let ([mut xs, mut ys], [mut xe, mut ye]) = (start, end);
        let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
        let is_steep = dx < dy;
        if dx == 0 {
            return None;
        }
        if (!is_steep && xs > xe) || (is_steep && ys > ye) {
            (xs, ys, xe, ye) = (xe, ye, xs, ys);
        }
        let [start, end] = [[xs as f64, ys as f64], [xe as f64, ye as f64]];
        if !is_steep {
            let columns = middles(xs, xe, within);
            let slope = if columns.is_empty() { return None } else { (ye - ys) as f64 / dx as f64 };
            return Some(Self { start, end, is_steep, slope, columns });
        }
        let slope = (xe - xs) as f64 / dy as f64;
        let edge = Self { start, end, is_steep, slope, columns: 0..0 };
        let (from, to) = (edge.x_at(0.0) as i64, edge.x_at(dy as f64) as i64);
        let columns = middles(from.min(to), from.max(to), within);
        (!columns.is_empty()).then_some(Self { columns, ..edge })
    }

    /// Of a flat edge, y where it crosses the middle of a column.
    #[inline(always)]
    fn y_in(&self, column: f64) -> f64 {
        // The walk takes a step left and one right of the middle; the upper counts.
        let upper = if self.slope < 0.0 { 3.0 } else { 2.0 };
        self.start[1] + self.slope * (column * SCALE as f64 + upper - self.start[0]) + 0.5
    }

    /// Of a steep edge, x at a step of the walk, before it loses its fraction.
    #[inline(always)]
    fn x_at(&self, step: f64) -> f64 {
        self.start[0] + self.slope * step + 0.5
    }

    /// Of a steep edge, whether a step is past the middle of the column whose right fifths begin at `beyond`.
    #[inline(always)]
    fn is_past(&self, step: f64, beyond: f64) -> bool {
        if self.slope > 0.0 { self.x_at(step) >= beyond } else { self.x_at(step) < beyond }
    }
}

/// The middle of a column lies before this x.
#[inline(always)]
fn beyond(column: f64) -> f64 {
    column * SCALE as f64 + 3.0
}

/// The row of a y in fifths of a pixel: the reference's `ceil((y + 0.5) / 5 - 0.5)`, whose roundings do not show for
/// whole y, of y's whole part.
#[inline(always)]
fn row(y: f64, height: u32) -> u32 {
    let lowest = (f64::from(height) * SCALE as f64).min(f64::from(i32::MAX - 2));
    let y = if y > 2.0 { y } else { 2.0 };
    let y = if y < lowest { y } else { lowest };
    // SAFETY: the number lies between 2 (0 without rows) and what 32 bits hold.
    let y = unsafe { y.to_int_unchecked::<i32>() } as u32;
    (y + 2) / SCALE as u32
}

/// Where edges cross the middles of columns, on the near way.
struct Crossings<'a> {
    height: u32,
    /// The columns that the polygon reaches.
    columns: Range<i64>,
    rows: &'a mut [u128],
    /// Not zero once a column has crossed more often than it can keep.
    lost: u16,
}

impl Crossings<'_> {
    fn push_near(&mut self, edges: impl Iterator<Item = [[i64; 2]; 2]>) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just found to have the instructions.
            return unsafe { self.push_by_vectors(edges) };
        }
        self.push_edges(edges);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn push_by_vectors(&mut self, edges: impl Iterator<Item = [[i64; 2]; 2]>) {
        self.push_edges(edges);
    }

    #[inline(always)]
    fn push_edges(&mut self, edges: impl Iterator<Item = [[i64; 2]; 2]>) {
        for [start, end] in edges {
            let Some(edge) = Edge::new(start, end, &self.columns) else { continue };
            if !edge.is_steep {
                self.push_columns(&edge.columns, |column| edge.y_in(column));
                continue;
            }
            let steps_per_x = (edge.end[1] - edge.start[1]) / (edge.end[0] - edge.start[0]);
            self.push_columns(&edge.columns, |column| {
                let beyond = beyond(column);
                // The real line is past the middle from here on, the walk from here or one or two steps later.
                let step = (beyond - 0.5 - edge.start[0]) * steps_per_x;
                let step = if step > 0.0 { step } else { 0.0 };
                // SAFETY: 40 fifths behind the end of an edge of 2^21 steps, a step is below 2^28.
                let step = f64::from(unsafe { step.to_int_unchecked::<i32>() });
                let later = |step| if edge.is_past(step, beyond) { 0.0 } else { 1.0 };
                edge.start[1] + (step + later(step) + later(step + 1.0)) - 1.0
            });
        }
    }

    #[inline(always)]
    fn push_columns(&mut self, columns: &Range<i64>, y_in: impl Fn(f64) -> f64) {
        let own = (columns.start - self.columns.start) as usize..(columns.end - self.columns.start) as usize;
        let mut first = columns.start as i32;
        for kept in self.rows[own].chunks_mut(LANES) {
            // All lanes always, so that they are one vector; what is beyond the end is dropped.
            let mut rows = [0; LANES];
            for (lane, found) in rows.iter_mut().enumerate() {
                *found = row(y_in(f64::from(first + lane as i32)), self.height);
            }
            for (kept, row) in kept.iter_mut().zip(rows) {
                self.lost |= !((*kept >> 112) as u16);
                *kept = *kept << 16 | u128::from(row);
            }
            first += LANES as i32;
        }
    }

    /// Appends the runs between crossings, ascending and apart; false if a column has an odd number, which then pairs
    /// with one of another column.
    fn push_runs(&self, runs: &mut Vec<[u32; 2]>) -> bool {
        let mut base = self.columns.start as u32 * self.height;
        let [mut start, mut end] = [0; 2];
        let mut push = |base: u32, from: u16, to: u16| {
            let [from, to] = [from, to].map(|row| base + u32::from(row));
            if from == end {
                end = to;
            } else if from < to {
                if start < end {
                    runs.push([start, end]);
                }
                (start, end) = (from, to);
            }
        };
        for &kept in self.rows.iter() {
            let row = |index: u32| (kept >> (16 * index)) as u16;
            let [a, b] = [row(0), row(1)];
            if (kept >> 32) as u64 == u64::MAX {
                match b {
                    NONE if a == NONE => {}
                    NONE => return false,
                    _ => push(base, a.min(b), a.max(b)),
                }
            } else {
                let mut sorted = [a, b, row(2), row(3), row(4), row(5), row(6), row(7)];
                if (kept >> 64) as u64 == u64::MAX {
                    let ([a, c], [b, d]) = (ordered(a, sorted[2]), ordered(b, sorted[3]));
                    let ([a, b], [c, d]) = (ordered(a, b), ordered(c, d));
                    let [b, c] = ordered(b, c);
                    sorted[..4].copy_from_slice(&[a, b, c, d]);
                } else {
                    sorted.sort_unstable();
                }
                for &[from, to] in sorted.as_chunks::<2>().0 {
                    match to {
                        NONE if from == NONE => break,
                        NONE => return false,
                        _ => push(base, from, to),
                    }
                }
            }
            base += self.height;
        }
        if start < end {
            runs.push([start, end]);
        }
        true
    }
}

#[inline]
fn ordered(a: u16, b: u16) -> [u16; 2] {
    [a.min(b), a.max(b)]
}

/// The far way: notes the pixel of every column that an edge crosses, by its index.
fn push_far(start: [i64; 2], end: [i64; 2], height: u32, within: &Range<i64>, indices: &mut Vec<u32>) {
    let Some(edge) = Edge::new(start, end, within) else { return };
    let last = (end[1] - start[1]).abs() as f64;
    indices.extend(edge.columns.clone().map(|column| {
        let middle = column as f64;
        let y = if edge.is_steep {
            edge.start[1] + first_past(&edge, beyond(middle), last) - 1.0
        } else {
            edge.y_in(middle)
        };
        column as u32 * height + row(y, height)
    }));
}

/// The first step of a steep edge past a middle. x is monotone along the walk, so it is looked for near where the real
/// line has it.
fn first_past(edge: &Edge, beyond: f64, last: f64) -> f64 {
    let steps_per_x = last / (edge.end[0] - edge.start[0]);
    let mut step = (((beyond - 0.5 - edge.start[0]) * steps_per_x) as i64 as f64).clamp(1.0, last);
    if edge.is_past(step, beyond) {
        while step > 1.0 && edge.is_past(step - 1.0, beyond) {
            step -= 1.0;
        }
    } else {
        while step < last && !edge.is_past(step, beyond) {
            step += 1.0;
        }
    }
    step
}
