//! A class for every pixel of an image: the truth and the prediction of semantic segmentation.

use crate::mask::nearest_sources;

/// A class index per pixel. Which classes there are is known to whoever made it; 255 is none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Class indices from 0, or [`LabelMap::IGNORED`]; row-major.
    pub pixels: Vec<u8>,
}

impl LabelMap {
    /// Neither truth nor background: such pixels are not learnt and not evaluated.
    pub const IGNORED: u8 = 255;

    /// Most classes that can be told apart, with [`LabelMap::IGNORED`] left over.
    pub const MOST_CLASSES: usize = 255;

    /// All pixels of one class.
    pub fn filled(width: usize, height: usize, class: u8) -> Self {
        Self { width, height, pixels: vec![class; width * height] }
    }

    /// The class in column `x` and row `y`.
    ///
    /// # Panics
    /// When there is no such pixel.
    pub fn get(&self, x: usize, y: usize) -> u8 {
        assert!(x < self.width, "column {x} of {}", self.width);
        self.pixels[y * self.width + x]
    }

    /// How many pixels have each value.
    pub fn histogram(&self) -> [u64; 256] {
        let mut counts = [0; 256];
        for &pixel in &self.pixels {
            counts[usize::from(pixel)] += 1;
        }
        counts
    }

    /// Mirrored left and right.
    #[must_use]
    pub fn flip_horizontal(mut self) -> Self {
        self.pixels.chunks_exact_mut(self.width.max(1)).for_each(<[u8]>::reverse);
        self
    }

    /// Mirrored top and bottom.
    #[must_use]
    pub fn flip_vertical(self) -> Self {
        let pixels = self.pixels.rchunks_exact(self.width.max(1)).flatten().copied().collect();
        Self { pixels, ..self }
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transpose(&self) -> Self {
        let column = |x: usize| self.pixels.iter().skip(x).step_by(self.width.max(1)).copied();
        Self { width: self.height, height: self.width, pixels: (0..self.width).flat_map(column).collect() }
    }

    /// The `width` x `height` pixels that begin at (`x0`, `y0`).
    ///
    /// # Panics
    /// When they reach beyond the map.
    #[must_use]
    pub fn crop(&self, x0: usize, y0: usize, width: usize, height: usize) -> Self {
        Self { width, height, pixels: self.rows(x0, y0, width, height).flatten().copied().collect() }
    }

    /// The rows of a rectangle inside the map.
    pub(crate) fn rows(
        &self,
        x0: usize,
        y0: usize,
        width: usize,
        height: usize,
    ) -> impl Iterator<Item = &[u8]> {
        assert!(
            x0 + width <= self.width && y0 + height <= self.height,
            "{width} x {height} pixels at {x0}, {y0} reach beyond {} x {}",
            self.width,
            self.height
        );
        let rows = self.pixels.chunks_exact(self.width.max(1)).skip(y0).take(height);
        rows.map(move |row| &row[x0..x0 + width])
    }

    /// In another size, each pixel taken from `floor(index * old / new)`: classes are never mixed.
    ///
    /// This is OpenCV's INTER_NEAREST, with which mmcv resizes segmentation maps.
    ///
    /// # Panics
    /// When a side of the map or of the result is zero.
    #[must_use]
    pub fn resize(&self, width: usize, height: usize) -> Self {
        assert!(
            self.width > 0 && self.height > 0 && width > 0 && height > 0,
            "{} x {} cannot become {width} x {height}",
            self.width,
            self.height
        );
        let (_, columns) = nearest_sources(0, self.width, self.width, width);
        let (_, rows) = nearest_sources(0, self.height, self.height, height);
        let mut pixels = Vec::with_capacity(width * height);
        let mut last = None;
        for y in rows {
            if last == Some(y) {
                // The same source as the row before, as in every enlargement.
                pixels.extend_from_within(pixels.len() - width..);
            } else {
                let row = &self.pixels[y * self.width..][..self.width];
                pixels.extend(columns.iter().map(|&x| row[x]));
            }
            last = Some(y);
        }
        Self { width, height, pixels }
    }
}

/// Writes a map into the upper left corner of a plane of `padded_height` x `padded_width`, in the type of
/// numbers that a batch is made of; the rest becomes [`LabelMap::IGNORED`].
///
/// # Panics
/// When the map is larger than the plane, or `plane` does not hold `padded_height` x `padded_width` values.
pub fn pad_labels_into<T: From<u8> + Copy>(
    labels: &LabelMap,
    plane: &mut [T],
    padded_height: usize,
    padded_width: usize,
) {
    let LabelMap { width, height, ref pixels } = *labels;
    assert!(
        width <= padded_width && height <= padded_height,
        "{width} x {height} does not fit into {padded_width} x {padded_height}"
    );
    assert_eq!(plane.len(), padded_height * padded_width, "one padded plane");
    let mut source = pixels.chunks_exact(width.max(1));
    for row in plane.chunks_exact_mut(padded_width.max(1)) {
        let classes = source.next().unwrap_or_default();
        for (value, &class) in row.iter_mut().zip(classes) {
            *value = T::from(class);
        }
        row[classes.len()..].fill(T::from(LabelMap::IGNORED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```text
    /// 0 1 2
    /// 3 4 255
    /// ```
    fn map() -> LabelMap {
        LabelMap { width: 3, height: 2, pixels: vec![0, 1, 2, 3, 4, 255] }
    }

    #[test]
    fn flips_and_transposition_move_every_pixel_to_its_place() {
        assert_eq!(map().flip_horizontal().pixels, [2, 1, 0, 255, 4, 3]);
        assert_eq!(map().flip_vertical().pixels, [3, 4, 255, 0, 1, 2]);
        let turned = map().transpose();
        assert_eq!((turned.width, turned.height), (2, 3));
        assert_eq!(turned.pixels, [0, 3, 1, 4, 2, 255]);
        assert_eq!(turned.transpose(), map());
    }

    #[test]
    fn a_crop_keeps_what_it_shows() {
        let crop = map().crop(1, 0, 2, 2);
        assert_eq!((crop.width, crop.height, crop.pixels), (2, 2, vec![1, 2, 4, 255]));
        assert_eq!(map().crop(2, 1, 1, 1).pixels, [255]);
    }

    #[test]
    fn resizing_takes_the_floor_of_the_source() {
        // 3 columns to 2: sources 0 and 1. 2 rows to 4: each row twice.
        let resized = map().resize(2, 4);
        assert_eq!(resized.pixels, [0, 1, 0, 1, 3, 4, 3, 4]);
        assert_eq!(map().resize(3, 2), map());
        assert_eq!(map().resize(1, 1).pixels, [0]);
    }

    #[test]
    fn padding_is_ignored() {
        let mut plane = [7i64; 12];
        pad_labels_into(&map(), &mut plane, 3, 4);
        assert_eq!(plane, [0, 1, 2, 255, 3, 4, 255, 255, 255, 255, 255, 255]);
        let mut plane = [0u8; 6];
        pad_labels_into(&map(), &mut plane, 2, 3);
        assert_eq!(plane.as_slice(), map().pixels);
    }

    #[test]
    fn every_pixel_is_counted_once() {
        let counts = LabelMap { width: 2, height: 2, pixels: vec![4, 255, 4, 0] }.histogram();
        assert_eq!((counts[0], counts[4], counts[255], counts.iter().sum()), (1, 2, 1, 4));
        assert_eq!(LabelMap::filled(2, 1, 9).pixels, [9, 9]);
        assert_eq!(map().get(2, 0), 2);
    }
}
