//! Where the tiles of Winograd's convolution lie in memory.
//!
//! A plane is stored as four quarters, of its even and odd rows and columns, each with one column more than there are
//! tiles in a row. Then the element `(i, j)` of all tiles lies in one run of memory, `i / 2` rows and `j / 2` columns
//! further, and the transforms are sums of whole vectors. The column more makes tiles that nobody reads.

use cvx_backbone::ops::cpu::buffer::zeroed;
use std::ops::Range;

use rayon::prelude::*;

/// Maps of a batch: `[batch, channels, height, width]`.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    /// Height and width.
    pub(crate) size: [usize; 2],
}

impl Planes<'_> {
    pub(crate) fn area(self) -> usize {
        self.size[0] * self.size[1]
    }

    pub(crate) fn tiling(self) -> Tiling {
        let [rows, columns] = self.size.map(|side| side.div_ceil(2));
        Tiling { rows, columns }
    }
}

/// The tiles of a plane.
#[derive(Clone, Copy)]
pub(crate) struct Tiling {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Tiling {
    /// From a tile to the one below.
    pub(crate) fn pitch(self) -> usize {
        self.columns + 1
    }

    /// Tiles of a plane, the unread column included.
    pub(crate) fn span(self) -> usize {
        self.rows * self.pitch()
    }

    /// Floats of a quarter; the last tile of the unread column reaches one float further than its rows do.
    pub(crate) fn quarter(self) -> usize {
        (self.rows + 1) * self.pitch() + 1
    }
}

/// Whole images, or some rows of tiles of one.
#[derive(Clone, Copy)]
pub(crate) struct Band {
    pub(crate) image: usize,
    pub(crate) images: usize,
    pub(crate) row: usize,
    pub(crate) rows: usize,
}

/// All tiles of a batch, about `tiles` at a time.
pub(crate) fn bands(batch: usize, tiling: Tiling, tiles: usize) -> Vec<Band> {
    if tiling.span() <= tiles {
        let images = (tiles / tiling.span()).max(1);
        let band = |image| Band { image, images: images.min(batch - image), row: 0, rows: tiling.rows };
        return (0..batch).step_by(images).map(band).collect();
    }
    let rows = (tiles / tiling.pitch()).max(1);
    let of_image = |image| {
        let band = move |row| Band { image, images: 1, row, rows: rows.min(tiling.rows - row) };
        (0..tiling.rows).step_by(rows).map(band)
    };
    (0..batch).flat_map(of_image).collect()
}

impl Band {
    /// Tiles that it has of each image.
    pub(crate) fn span(self, tiling: Tiling) -> usize {
        self.rows * tiling.pitch()
    }

    pub(crate) fn tiles(self, tiling: Tiling) -> usize {
        self.images * self.span(tiling)
    }

    /// The rows of pixels, of a plane `height` high, that its tiles make.
    pub(crate) fn pixel_rows(self, height: usize) -> Range<usize> {
        2 * self.row..(2 * (self.row + self.rows)).min(height)
    }
}

/// Where the first row and column of a plane lie in its quarters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Border {
    /// Behind a row and a column of zeros: tiles of inputs begin one pixel before those of outputs.
    Zeros,
    None,
}

/// All planes as quarters `[plane][row parity][column parity]`, zero beyond the plane.
pub(crate) fn quarters(planes: Planes<'_>, border: Border) -> Vec<f32> {
    let tiling = planes.tiling();
    let (quarter, pitch, shift) = (tiling.quarter(), tiling.pitch(), usize::from(border == Border::Zeros));
    let [_, width] = planes.size;
    let mut quarters = zeroed(planes.values.len() / planes.area() * 4 * quarter);
    let pairs = quarters.par_chunks_exact_mut(4 * quarter).zip(planes.values.par_chunks_exact(planes.area()));
    pairs.for_each(|(quarters, plane)| {
        for (row, values) in plane.chunks_exact(width).enumerate() {
            let half = &mut quarters[(row + shift) % 2 * 2 * quarter..][..2 * quarter];
            let begin = (row + shift) / 2 * pitch;
            let (even, odd) = half.split_at_mut(quarter);
            let (even, odd) = (&mut even[begin..], &mut odd[begin..]);
            // The first of two neighbours, and the second.
            let (first, second) = if shift == 0 { (even, odd) } else { (odd, &mut even[1..]) };
            for (pair, to) in values.chunks(2).zip(first.iter_mut()) {
                *to = pair[0];
            }
            for (pair, to) in values.chunks_exact(2).zip(second.iter_mut()) {
                *to = pair[1];
            }
        }
    });
    quarters
}

/// Finished tiles `[row parity][column parity][span]` at their places in the rows of pixels that are the band's.
pub(crate) fn interleave(finished: &[f32], tiling: Tiling, width: usize, rows: &mut [f32]) {
    let span = finished.len() / 4;
    for (row, out) in rows.chunks_exact_mut(width).enumerate() {
        let at = |column_parity| (row % 2 * 2 + column_parity) * span + row / 2 * tiling.pitch();
        let (even, odd) = (&finished[at(0)..][..tiling.columns], &finished[at(1)..][..tiling.columns]);
        let (pairs, rest) = out.as_chunks_mut::<2>();
        for ((pair, &even), &odd) in pairs.iter_mut().zip(even).zip(odd) {
            *pair = [even, odd];
        }
        if let [last] = rest {
            *last = even[tiling.columns - 1];
        }
    }
}
