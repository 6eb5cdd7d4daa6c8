//! The pixels of one object: a rectangle of zeros and ones inside its frame.

use crate::boxes::BoxXyxy;
use crate::rle::Rle;

/// One instance's mask in a frame of `frame_width x frame_height` pixels.
///
/// Only a rectangle that holds all set pixels is stored, not necessarily the smallest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Columns of the frame.
    pub frame_width: usize,
    /// Rows of the frame.
    pub frame_height: usize,
    /// Left column of the stored rectangle.
    pub x0: usize,
    /// Top row of the stored rectangle.
    pub y0: usize,
    /// Columns of the stored rectangle.
    pub width: usize,
    /// Rows of the stored rectangle.
    pub height: usize,
    /// The rectangle's pixels, row-major, 0 or 1.
    pub pixels: Vec<u8>,
}

impl Mask {
    /// A mask without a set pixel.
    pub fn empty(frame_width: usize, frame_height: usize) -> Self {
        Self { frame_width, frame_height, x0: 0, y0: 0, width: 0, height: 0, pixels: Vec::new() }
    }

    /// The pixels of column-major runs.
    pub fn from_rle(rle: &Rle) -> Self {
        let [x0, y0, width, height] = rle.to_box().map(|value| value as usize);
        let (rows, columns) = (rle.height as usize, rle.width as usize);
        let mut mask = Self { x0, y0, width, height, ..Self::empty(columns, rows) };
        mask.pixels = vec![0; width * height];
        let mut at = 0;
        for (run, &count) in rle.counts.iter().enumerate() {
            let end = at + count as usize;
            if run % 2 == 1 {
                while at < end {
                    let (x, y) = (at / rows, at % rows);
                    let column_end = end.min(at + rows - y);
                    let bottom = y + column_end - at;
                    for row in y - y0..bottom - y0 {
                        mask.pixels[row * width + x - x0] = 1;
                    }
                    at = column_end;
                }
            }
            at = end;
        }
        mask
    }

    /// Column-major runs of the pixels.
    ///
    /// # Panics
    /// If the frame has more than `u32::MAX` pixels.
    pub fn to_rle(&self) -> Rle {
        let total = self.frame_width * self.frame_height;
        assert!(u32::try_from(total).is_ok(), "a frame of {total} pixels is too large for an RLE");
        let mut counts = Vec::new();
        let (mut start, mut value) = (0, 0);
        let mut change_at = |index: usize| {
            counts.push((index - start) as u32);
            start = index;
        };
        for x in 0..self.width {
            let top = (self.x0 + x) * self.frame_height + self.y0;
            // Above the rectangle there is only background.
            if value == 1 && self.y0 > 0 {
                change_at(top - self.y0);
                value = 0;
            }
            for y in 0..self.height {
                let pixel = self.pixels[y * self.width + x];
                if pixel != value {
                    change_at(top + y);
                    value = pixel;
                }
            }
            if value == 1 && self.y0 + self.height < self.frame_height {
                change_at(top + self.height);
                value = 0;
            }
        }
        if value == 1 && self.x0 + self.width < self.frame_width {
            change_at((self.x0 + self.width) * self.frame_height);
        }
        change_at(total);
        Rle { height: self.frame_height as u32, width: self.frame_width as u32, counts }
    }

    /// Whether the pixel in column `x` and row `y` of the frame is set.
    pub fn get(&self, x: usize, y: usize) -> bool {
        let inside =
            (self.x0..self.x0 + self.width).contains(&x) && (self.y0..self.y0 + self.height).contains(&y);
        inside && self.pixels[(y - self.y0) * self.width + x - self.x0] == 1
    }

    /// Number of set pixels.
    pub fn area(&self) -> usize {
        self.pixels.iter().map(|&pixel| usize::from(pixel)).sum()
    }

    /// Whether no pixel is set.
    pub fn is_empty(&self) -> bool {
        self.pixels.iter().all(|&pixel| pixel == 0)
    }

    /// The smallest box around the set pixels; `None` if there are none.
    pub fn bounding_box(&self) -> Option<BoxXyxy> {
        let set = |pixels: &[u8]| pixels.contains(&1);
        let rows = || self.pixels.chunks_exact(self.width.max(1));
        let top = rows().position(set)?;
        let bottom = rows().rposition(set)? + 1;
        let left = rows().filter_map(|row| row.iter().position(|&pixel| pixel == 1)).min()?;
        let right = rows().filter_map(|row| row.iter().rposition(|&pixel| pixel == 1)).max()? + 1;
        let corner = |value: usize| value as f32;
        Some(BoxXyxy {
            x0: corner(self.x0 + left),
            y0: corner(self.y0 + top),
            x1: corner(self.x0 + right),
            y1: corner(self.y0 + bottom),
        })
    }

    /// The mask mirrored left to right in its frame.
    pub fn flip_horizontal(&self) -> Self {
        let mut flipped = self.clone();
        flipped.x0 = self.frame_width - self.x0 - self.width;
        flipped.pixels.chunks_exact_mut(self.width.max(1)).for_each(<[u8]>::reverse);
        flipped
    }

    /// What the rectangle of `width x height` pixels at column `x` and row `y` shows, as a frame of its own.
    ///
    /// The rectangle may reach beyond the frame; nothing is set there.
    pub fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let (left, right) = (self.x0.max(x), (self.x0 + self.width).min(x + width));
        let (top, bottom) = (self.y0.max(y), (self.y0 + self.height).min(y + height));
        if left >= right || top >= bottom {
            return Self::empty(width, height);
        }
        let columns = left - self.x0..right - self.x0;
        let rows = self.pixels.chunks_exact(self.width).skip(top - self.y0).take(bottom - top);
        Self {
            frame_width: width,
            frame_height: height,
            x0: left - x,
            y0: top - y,
            width: right - left,
            height: bottom - top,
            pixels: rows.flat_map(|row| &row[columns.clone()]).copied().collect(),
        }
    }

    /// The mask in a frame of another size, each pixel taken from `floor(index * old / new)`.
    ///
    /// This is OpenCV's INTER_NEAREST, with which mmcv resizes bitmap masks, down to its two roundings.
    pub fn resize(&self, frame_width: usize, frame_height: usize) -> Self {
        let columns = nearest_sources(self.x0, self.width, self.frame_width, frame_width);
        let rows = nearest_sources(self.y0, self.height, self.frame_height, frame_height);
        if columns.1.is_empty() || rows.1.is_empty() {
            return Self::empty(frame_width, frame_height);
        }
        let mut pixels = Vec::with_capacity(columns.1.len() * rows.1.len());
        for y in &rows.1 {
            let row = &self.pixels[y * self.width..][..self.width];
            pixels.extend(columns.1.iter().map(|&x| row[x]));
        }
        Self {
            frame_width,
            frame_height,
            x0: columns.0,
            y0: rows.0,
            width: columns.1.len(),
            height: rows.1.len(),
            pixels,
        }
    }

    /// The mask in a larger frame, the added columns and rows at the right and bottom.
    pub fn pad_to(&self, frame_width: usize, frame_height: usize) -> Self {
        self.crop(0, 0, frame_width, frame_height)
    }
}

/// The new indices whose nearest source lies in `start..start + size`: the first of them, and the sources as offsets
/// from `start`.
pub(crate) fn nearest_sources(start: usize, size: usize, old: usize, new: usize) -> (usize, Vec<usize>) {
    if size == 0 {
        return (0, Vec::new());
    }
    // OpenCV inverts the ratio of the sizes, then inverts it back: at some whole numbers that is not the exact quotient.
    let step = 1.0 / (new as f64 / old as f64);
    let source = |index: usize| ((index as f64 * step) as usize).min(old - 1);
    let sources = (0..new).map(|index| (index, source(index)));
    let mut inside =
        sources.skip_while(|(_, at)| *at < start).take_while(|(_, at)| *at < start + size).peekable();
    let first = inside.peek().map_or(0, |(index, _)| *index);
    (first, inside.map(|(_, at)| at - start).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 5 x 4 frame (width x height) that holds an L: column 1, rows 1 to 3, and column 2, row 3.
    fn l_shape() -> Mask {
        let pixels = vec![1, 0, 1, 0, 1, 1];
        Mask { frame_width: 5, frame_height: 4, x0: 1, y0: 1, width: 2, height: 3, pixels }
    }

    fn picture(mask: &Mask) -> Vec<String> {
        let pixel = |x, y| if mask.get(x, y) { '#' } else { '.' };
        (0..mask.frame_height).map(|y| (0..mask.frame_width).map(|x| pixel(x, y)).collect()).collect()
    }

    #[test]
    fn runs_go_down_the_columns() {
        let rle = l_shape().to_rle();
        assert_eq!((rle.height, rle.width), (4, 5));
        assert_eq!(rle.counts, [5, 3, 3, 1, 8]);
        assert_eq!(Mask::from_rle(&rle), l_shape());
    }

    #[test]
    fn masks_that_touch_every_side_survive_the_runs() {
        let full = Mask { x0: 0, y0: 0, width: 5, height: 4, pixels: vec![1; 20], ..l_shape() };
        assert_eq!(full.to_rle().counts, [0, 20]);
        assert_eq!(Mask::from_rle(&full.to_rle()), full);
        let bottom = Mask { x0: 0, y0: 3, width: 5, height: 1, pixels: vec![1; 5], ..l_shape() };
        assert_eq!(bottom.to_rle().counts, [3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
        assert_eq!(Mask::from_rle(&bottom.to_rle()), bottom);
        let top = Mask { y0: 0, ..bottom };
        assert_eq!(Mask::from_rle(&top.to_rle()), top);
    }

    #[test]
    fn an_empty_mask_is_one_run_without_a_box() {
        let empty = Mask::empty(5, 4);
        assert_eq!(empty.to_rle().counts, [20]);
        assert_eq!(Mask::from_rle(&empty.to_rle()), empty);
        assert_eq!((empty.bounding_box(), empty.area(), empty.is_empty()), (None, 0, true));
        assert_eq!(Mask::empty(0, 0).to_rle().counts, [0]);
        assert_eq!(
            empty.flip_horizontal().area() + empty.resize(2, 2).area() + empty.crop(1, 1, 2, 2).area(),
            0
        );
    }

    #[test]
    fn the_box_is_tight_around_the_set_pixels() {
        let bbox = |x0, y0, x1, y1| Some(BoxXyxy { x0, y0, x1, y1 });
        assert_eq!(l_shape().bounding_box(), bbox(1.0, 1.0, 3.0, 4.0));
        let loose = Mask { pixels: vec![0, 0, 0, 1, 0, 0], ..l_shape() };
        assert_eq!(loose.bounding_box(), bbox(2.0, 2.0, 3.0, 3.0));
    }

    #[test]
    fn a_mirrored_mask_lies_on_the_other_side() {
        assert_eq!(picture(&l_shape().flip_horizontal()), [".....", "...#.", "...#.", "..##."]);
    }

    #[test]
    fn a_crop_keeps_what_it_shows() {
        assert_eq!(picture(&l_shape().crop(1, 2, 3, 2)), ["#..", "##."]);
        assert_eq!(picture(&l_shape().crop(2, 0, 2, 3)), ["..", "..", ".."]);
        assert_eq!(picture(&l_shape().crop(4, 3, 3, 2)), ["...", "..."]);
        assert_eq!(picture(&l_shape().pad_to(6, 5)), ["......", ".#....", ".#....", ".##...", "......"]);
    }

    #[test]
    fn resizing_takes_the_floor_of_the_source() {
        // 5 columns to 3: sources 0, 1, 3. 4 rows to 8: each row twice.
        let wide = l_shape().resize(3, 8);
        assert_eq!(picture(&wide), ["...", "...", ".#.", ".#.", ".#.", ".#.", ".#.", ".#."]);
        assert_eq!(l_shape().resize(5, 4), l_shape());
        for (width, height) in [(1, 1), (2, 9), (7, 3), (13, 11), (640, 2)] {
            let small = l_shape().resize(width, height);
            for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                assert_eq!(small.get(x, y), l_shape().get(x * 5 / width, y * 4 / height), "{x} {y}");
            }
        }
    }
}
