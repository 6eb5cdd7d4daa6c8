//! Classes of the pixels of an image of any size, from logits of windows on one or several views of it, a few rows
//! at a time: what is held is never as large as classes x height x width.
//!
//! The arithmetic is that of mmseg 1.2.2 (`encoder_decoder.py`, `seg_tta.py`):
//!
//! ```text
//! input[y, x] = mean over the windows on (y, x) of resize(window's logits, window's size)[y, x]
//! image       = resize(unmirror(without padding(input)), image's size)
//! class       = argmax(image)                    of one view
//! class       = argmax(mean(softmax(image)))     of several
//! ```

use std::collections::VecDeque;
use std::ops::Range;

use burn::backend::DispatchDevice;
use burn::prelude::*;

use crate::axis_map::AxisMap;
use crate::{host, mosaic_composed, mosaic_flex};

/// One view of an image: which windows lie on it, and the logits of those that are needed just now.
#[derive(Debug)]
pub struct Mosaic {
    /// Rows of the input that each row of windows is on, from the top.
    rows: Vec<Range<usize>>,
    /// Columns of the input that each column of windows is on, from the left.
    columns: Vec<Range<usize>>,
    /// Height and width of the image in the upper left of the input; the rest is padding.
    image: [usize; 2],
    mirroring: Mirroring,
    /// How many rows of windows were looked at.
    num_seen: usize,
    /// The last of them, a row of windows each.
    seen: VecDeque<Vec<Tile>>,
}

/// How a view lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirroring {
    /// As the image does.
    None,
    /// Left and right exchanged.
    Horizontal,
}

/// The logits of one window.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) logits: Logits,
    /// Rows of the input that it is on.
    pub(crate) rows: Range<usize>,
    /// Columns of the input that it is on.
    pub(crate) columns: Range<usize>,
    /// From rows of the logits to those.
    pub(crate) row_map: AxisMap,
    /// From columns of the logits to those.
    pub(crate) column_map: AxisMap,
}

/// Where logits are.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there are as many as views of an image, a few")]
pub(crate) enum Logits {
    /// Planes `[classes, height, width]`, for the CPU's kernel.
    Host(Vec<f32>),
    /// `[1, classes, height, width]`.
    Device(Tensor<4>),
}

/// What is asked of an image's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best class.
    Classes,
    /// And the probability of every class.
    Probabilities,
}

/// Some rows of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// Which.
    pub rows: Range<usize>,
    /// The best class of each of their pixels, row-major; the first of equals.
    pub classes: Vec<u8>,
    /// `[classes, rows, width]`; empty unless wanted.
    pub probabilities: Vec<f32>,
}

impl Mosaic {
    /// A view that nobody has looked at, with a window on every one of `rows` and of `columns`.
    ///
    /// `image` are height and width of the image in the upper left of the input. What is beyond, to the ends of the
    /// last windows, is padding.
    ///
    /// # Panics
    /// If the windows do not cover the image.
    pub fn new(
        rows: Vec<Range<usize>>,
        columns: Vec<Range<usize>>,
        image: [usize; 2],
        mirroring: Mirroring,
    ) -> Self {
        for (spans, side) in [(&rows, image[0]), (&columns, image[1])] {
            let covered = spans.iter().fold(0, |end, span| if span.start <= end { span.end } else { end });
            assert!((1..=covered).contains(&side), "windows {spans:?} do not cover {side} pixels");
        }
        Self { rows, columns, image, mirroring, num_seen: 0, seen: VecDeque::new() }
    }

    /// Gets ready for some `rows` of an image of `size`, height first: forgets the windows above and looks through
    /// those that are missing, a row after the other. `look` is given rows and columns of the input, and returns the
    /// logits there, `[1, classes, height, width]` at any stride.
    ///
    /// # Panics
    /// If windows on the rows were already forgotten: an image is passed from top to bottom.
    pub fn advance(
        &mut self,
        size: [usize; 2],
        rows: &Range<usize>,
        look: &mut dyn FnMut(Range<usize>, Range<usize>) -> Tensor<4>,
    ) {
        let needed = AxisMap::linear(self.image[0], size[0]).reach(rows);
        while self.seen.front().is_some_and(|tiles| tiles[0].rows.end <= needed.start) {
            self.seen.pop_front();
        }
        let first_seen = self.num_seen - self.seen.len();
        assert!(
            first_seen == 0 || self.rows[first_seen - 1].end <= needed.start,
            "windows on row {} are forgotten",
            needed.start
        );
        while let Some(next) = self.rows.get(self.num_seen).filter(|next| next.start < needed.end) {
            if next.end > needed.start {
                let columns = self.columns.iter();
                let tile =
                    |column: &Range<usize>| Tile::new(look(next.clone(), column.clone()), next, column);
                self.seen.push_back(columns.map(tile).collect());
            }
            self.num_seen += 1;
        }
    }

    /// The windows that show a row of the input.
    pub(crate) fn tiles_on(&self, row: usize) -> impl Iterator<Item = &Tile> {
        self.tiles().filter(move |tile| tile.rows.contains(&row))
    }

    /// The windows that are known, in the order in which they are averaged.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = &Tile> {
        self.seen.iter().flatten()
    }

    /// Height and width of the image in the input.
    pub(crate) fn image(&self) -> [usize; 2] {
        self.image
    }

    /// Width of the input, padding included.
    pub(crate) fn input_width(&self) -> usize {
        self.columns.last().map_or(0, |span| span.end)
    }

    pub(crate) fn is_mirrored(&self) -> bool {
        self.mirroring == Mirroring::Horizontal
    }

    /// In how many rows of windows each of these rows is.
    pub(crate) fn row_coverage(&self, rows: &Range<usize>) -> Vec<f32> {
        coverage(rows.clone(), &self.rows)
    }

    /// In how many columns of windows each column of the input is.
    pub(crate) fn column_coverage(&self) -> Vec<f32> {
        coverage(0..self.input_width(), &self.columns)
    }
}

impl Tile {
    /// How many planes it has.
    pub(crate) fn num_classes(&self) -> usize {
        match &self.logits {
            Logits::Host(planes) => planes.len() / (self.row_map.inputs() * self.column_map.inputs()),
            Logits::Device(logits) => {
                let [_, num_classes, _, _] = logits.dims();
                num_classes
            }
        }
    }

    fn new(logits: Tensor<4>, rows: &Range<usize>, columns: &Range<usize>) -> Self {
        let [batch, _, height, width] = logits.dims();
        assert_eq!(batch, 1, "one window at a time");
        let is_host = matches!(logits.device().as_dispatch(), DispatchDevice::Flex(_));
        Self {
            logits: if is_host { Logits::Host(host::read_floats(logits)) } else { Logits::Device(logits) },
            rows: rows.clone(),
            columns: columns.clone(),
            row_map: AxisMap::linear(height, rows.len()),
            column_map: AxisMap::linear(width, columns.len()),
        }
    }
}

/// Some rows of an image of `size`, height first, by one or several views of it, from the top: in one piece or in
/// several. The device is waited for.
///
/// # Panics
/// If there is no view, if one was not [advanced](Mosaic::advance) to these rows, or if there are more than 256
/// classes.
pub fn classify_rows(mosaics: &[Mosaic], size: [usize; 2], rows: Range<usize>, wanted: Wanted) -> Vec<Band> {
    assert!(!mosaics.is_empty(), "an image that nobody looks at");
    let mut tiles = mosaics.iter().flat_map(Mosaic::tiles);
    if tiles.all(|tile| matches!(tile.logits, Logits::Host(_))) {
        mosaic_flex::classify_rows(mosaics, size, rows, wanted)
    } else {
        vec![mosaic_composed::classify_rows(mosaics, size, rows, wanted)]
    }
}

fn coverage(pixels: Range<usize>, spans: &[Range<usize>]) -> Vec<f32> {
    pixels.map(|pixel| spans.iter().filter(|span| span.contains(&pixel)).count() as f32).collect()
}

#[cfg(test)]
mod tests;
