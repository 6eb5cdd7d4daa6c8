//! What the mask head shall draw: the assigned truth mask, cropped to the proposal, as 0s and 1s.
//!
//! Semantics of mmdet's `mask_target.py` and `BitmapMasks.crop_and_resize`: proposals are clipped to the
//! frame, the bitmap is read by RoIAlign (scale 1, adaptive sampling, aligned), and a cell is 1 where the
//! mean of its samples is at least one half. The arithmetic is done in RoIAlign's order, so that cells
//! that lie exactly on one half fall on the same side.
//!
//! Deviation in cost only: the bitmap of the frame is never built, only the rectangle that holds the
//! object; and a cell whose samples see nothing but object, or none of it, is decided by a summed-area
//! table (Crow 1984) without reading a sample. For usual objects that is six cells of seven.

use rayon::prelude::*;

/// One instance's mask in a frame of input pixels; only a rectangle that holds all set pixels is stored.
///
/// The frame is the padded one that the network sees: RoIAlign clamps at its edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetMask {
    /// Width of the frame in pixels.
    pub frame_width: usize,
    /// Height of the frame in pixels.
    pub frame_height: usize,
    /// Column of the rectangle's first pixel.
    pub x0: usize,
    /// Row of the rectangle's first pixel.
    pub y0: usize,
    /// Width of the rectangle in pixels.
    pub width: usize,
    /// Height of the rectangle in pixels.
    pub height: usize,
    /// The rectangle, row-major, 0 or 1.
    pub pixels: Vec<u8>,
}

/// The targets of the mask head: `side * side` cells a proposal, row-major, 0 or 1.
///
/// `assigned` names each proposal's mask; proposals are in input pixels. No proposal gives no cell, and a
/// proposal without area gives zeros.
///
/// # Panics
/// If the lengths differ, if an index names no mask, or if a mask's pixels do not fill its rectangle.
pub fn mask_targets(
    proposals: &[[f32; 4]],
    assigned: &[usize],
    masks: &[TargetMask],
    side: usize,
) -> Vec<u8> {
    assert_eq!(proposals.len(), assigned.len(), "one assigned mask a proposal");
    let cells = side * side;
    let mut targets = vec![0; proposals.len() * cells];
    if cells == 0 {
        return targets;
    }
    // By mask, so that each table is built once and lives no longer than it is read.
    let mut tasks: Vec<Vec<([f32; 4], &mut [u8])>> = masks.iter().map(|_| Vec::new()).collect();
    for ((target, &proposal), &mask) in targets.chunks_mut(cells).zip(proposals).zip(assigned) {
        tasks[mask].push((proposal, target));
    }
    tasks.into_par_iter().zip(masks).for_each(|(task, mask)| {
        if task.is_empty() {
            return;
        }
        let table = AreaTable::new(mask);
        task.into_par_iter().for_each_init(Samples::default, |(columns, rows), (bbox, target)| {
            draw(mask, &table, bbox, side, columns, rows, target);
        });
    });
    targets
}

/// Sample positions of both axes, reused from one proposal to the next.
type Samples = (Vec<Sample>, Vec<Sample>);

/// One coordinate at which a mask is read, between two pixels of the frame.
#[derive(Clone, Copy)]
struct Sample {
    /// The pixels on both sides; equal at the last one.
    low: usize,
    high: usize,
    /// Weights of `low` and `high`.
    near: f32,
    far: f32,
    /// False where the coordinate lies more than a pixel outside, which reads 0.
    inside: bool,
}

/// Samples of one axis, `count` a cell. `first` and `last` are the proposal's edges.
fn place(first: f32, last: f32, size: usize, side: usize, samples: &mut Vec<Sample>) -> usize {
    samples.clear();
    let (first, last) = (first - 0.5, last - 0.5);
    let length = last - first;
    let cell = length / side as f32;
    let count = cell.ceil() as usize;
    for i in 0..side {
        for k in 0..count {
            let at = first + i as f32 * cell + (k as f32 + 0.5) * cell / count as f32;
            let inside = at >= -1.0 && at <= size as f32;
            let at = at.max(0.0);
            let low = at as usize;
            samples.push(if low + 1 >= size {
                Sample { low: size - 1, high: size - 1, near: 1.0, far: 0.0, inside }
            } else {
                let far = at - low as f32;
                Sample { low, high: low + 1, near: 1.0 - far, far, inside }
            });
        }
    }
    count
}

/// Draws one proposal's target.
fn draw(
    mask: &TargetMask,
    table: &AreaTable,
    [x0, y0, x1, y1]: [f32; 4],
    side: usize,
    columns: &mut Vec<Sample>,
    rows: &mut Vec<Sample>,
    target: &mut [u8],
) {
    let (width, height) = (mask.frame_width, mask.frame_height);
    let (right, bottom) = (width as f32, height as f32);
    let (x0, x1) = (x0.clamp(0.0, right), x1.clamp(0.0, right));
    let (y0, y1) = (y0.clamp(0.0, bottom), y1.clamp(0.0, bottom));
    let num_columns = place(x0, x1, width, side, columns);
    let num_rows = place(y0, y1, height, side, rows);
    if num_columns == 0 || num_rows == 0 {
        target.fill(0);
        return;
    }
    for (line, rows) in target.chunks_mut(side).zip(rows.chunks(num_rows)) {
        for (cell, columns) in line.iter_mut().zip(columns.chunks(num_columns)) {
            let (top, bottom) = (rows[0].low, rows[num_rows - 1].high);
            let (left, right) = (columns[0].low, columns[num_columns - 1].high);
            let set = table.set_pixels(left, top, right, bottom);
            let seen = (right + 1 - left) * (bottom + 1 - top);
            // At an edge, a sample may lie outside and count as background.
            let all_inside = [rows[0], rows[num_rows - 1], columns[0], columns[num_columns - 1]]
                .iter()
                .all(|sample| sample.inside);
            *cell = if set == 0 {
                0
            } else if set == seen && all_inside {
                1
            } else {
                u8::from(mean(mask, rows, columns) >= 0.5)
            };
        }
    }
}

/// Mean of a cell's samples, in RoIAlign's order of additions.
fn mean(mask: &TargetMask, rows: &[Sample], columns: &[Sample]) -> f32 {
    let mut sum = 0.0f32;
    for row in rows {
        for column in columns {
            if row.inside && column.inside {
                sum += row.near * column.near * mask.at(column.low, row.low)
                    + row.near * column.far * mask.at(column.high, row.low)
                    + row.far * column.near * mask.at(column.low, row.high)
                    + row.far * column.far * mask.at(column.high, row.high);
            }
        }
    }
    sum / (rows.len() * columns.len()) as f32
}

impl TargetMask {
    /// The pixel at a position of the frame.
    fn at(&self, x: usize, y: usize) -> f32 {
        // Left of or above the rectangle the difference wraps to a huge number.
        let (x, y) = (x.wrapping_sub(self.x0), y.wrapping_sub(self.y0));
        if x < self.width && y < self.height { f32::from(self.pixels[y * self.width + x]) } else { 0.0 }
    }
}

/// Number of set pixels in any rectangle of a mask, by four look-ups.
struct AreaTable {
    x0: usize,
    y0: usize,
    width: usize,
    height: usize,
    /// `[height + 1, width + 1]`: set pixels above and to the left.
    sums: Vec<u32>,
}

impl AreaTable {
    fn new(mask: &TargetMask) -> Self {
        let &TargetMask { x0, y0, width, height, ref pixels, .. } = mask;
        assert_eq!(pixels.len(), width * height, "a mask's pixels fill its rectangle");
        let stride = width + 1;
        let mut sums = vec![0; stride * (height + 1)];
        for y in 0..height {
            let (above, below) = sums.split_at_mut((y + 1) * stride);
            let above = &above[y * stride + 1..];
            let mut in_row = 0;
            for (x, &pixel) in pixels[y * width..][..width].iter().enumerate() {
                in_row += u32::from(pixel);
                below[x + 1] = above[x] + in_row;
            }
        }
        Self { x0, y0, width, height, sums }
    }

    /// Set pixels in the columns `left..=right` and rows `top..=bottom` of the frame.
    fn set_pixels(&self, left: usize, top: usize, right: usize, bottom: usize) -> usize {
        let column = |x: usize| x.saturating_sub(self.x0).min(self.width);
        let row = |y: usize| y.saturating_sub(self.y0).min(self.height) * (self.width + 1);
        let (left, right) = (column(left), column(right + 1));
        let (top, bottom) = (row(top), row(bottom + 1));
        let sums = &self.sums;
        (sums[bottom + right] + sums[top + left] - sums[bottom + left] - sums[top + right]) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of 8 x 6 pixels with the object in columns 2..6 and rows 1..5.
    fn square() -> TargetMask {
        TargetMask { frame_width: 8, frame_height: 6, x0: 2, y0: 1, width: 4, height: 4, pixels: vec![1; 16] }
    }

    #[track_caller]
    fn case(proposal: [f32; 4], side: usize, expected: &[u8]) {
        assert_eq!(mask_targets(&[proposal], &[0], &[square()], side), expected);
    }

    #[test]
    fn the_object_itself_is_all_ones() {
        case([2.0, 1.0, 6.0, 5.0], 2, &[1, 1, 1, 1]);
        // Samples that fall on the edge of the object are worth one half, which counts.
        case([1.5, 1.0, 5.5, 5.0], 4, &[1; 16]);
    }

    #[test]
    fn a_cell_is_set_from_one_half_on() {
        // Cells of 4 pixels' width: the left one holds 2 of 4 columns, the right one 2 of 4.
        case([0.0, 1.0, 8.0, 5.0], 2, &[1, 1, 1, 1]);
        case([0.0, 1.0, 4.0, 5.0], 2, &[0, 1, 0, 1]);
    }

    #[test]
    fn proposals_are_clipped_to_the_frame_first() {
        assert_eq!(
            mask_targets(&[[-8.0, -6.0, 16.0, 12.0]], &[0], &[square()], 4),
            mask_targets(&[[0.0, 0.0, 8.0, 6.0]], &[0], &[square()], 4),
        );
    }

    #[test]
    fn a_proposal_without_area_sees_nothing() {
        case([3.0, 3.0, 3.0, 3.0], 2, &[0; 4]);
        case([9.0, 2.0, 20.0, 4.0], 2, &[0; 4]);
        case([5.0, 4.0, 3.0, 2.0], 2, &[0; 4]);
    }

    #[test]
    fn no_proposals_have_no_targets() {
        assert!(mask_targets(&[], &[], &[square()], 28).is_empty());
        assert!(mask_targets(&[], &[], &[], 28).is_empty());
    }

    #[test]
    fn an_empty_mask_gives_zeros() {
        let empty = TargetMask { width: 0, height: 0, pixels: Vec::new(), ..square() };
        assert_eq!(mask_targets(&[[0.0, 0.0, 8.0, 6.0]], &[0], &[empty], 2), [0; 4]);
    }

    #[test]
    fn the_stored_rectangle_does_not_matter() {
        let mut whole = TargetMask { x0: 0, y0: 0, width: 8, height: 6, ..square() };
        whole.pixels =
            (0..48).map(|i| u8::from((2..6).contains(&(i % 8)) && (1..5).contains(&(i / 8)))).collect();
        for step in 0..40 {
            let shift = step as f32 * 0.21;
            let proposal = [shift - 1.0, shift * 0.5, shift + 3.7, shift + 2.1];
            assert_eq!(
                mask_targets(&[proposal], &[0], &[square()], 7),
                mask_targets(&[proposal], &[0], &[whole.clone()], 7),
            );
        }
    }
}
