//! Which tiles Winograd's convolution works on together, and how pixels are dealt out to them.
//!
//! The element `(i, j)` of all tiles of a band lies in one run of memory, so that the transforms are sums of whole vectors
//! and the products ordinary ones. Neighbouring tiles share two rows and two columns of inputs; those are copied.

use std::ops::Range;

use cvx_backbone::ops::cpu::dispatch::vectorised;

/// Outputs along a side of a tile, and pixels from a tile to the next.
pub(crate) const STEP: usize = 4;

/// Inputs along a side of a tile.
pub(crate) const SIDE: usize = STEP + 2;

/// Floats that transforms handle together, and that the runs of a band are a multiple of.
pub(crate) const LANES: usize = 16;

/// Maps of a batch: `[batch, channels, height, width]`.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) channels: usize,
    /// Height and width.
    pub(crate) size: [usize; 2],
}

impl<'a> Planes<'a> {
    pub(crate) fn area(self) -> usize {
        self.size[0] * self.size[1]
    }

    pub(crate) fn batch(self) -> usize {
        self.values.len() / (self.channels * self.area())
    }

    fn plane(self, image: usize, channel: usize) -> &'a [f32] {
        &self.values[(image * self.channels + channel) * self.area()..][..self.area()]
    }

    /// All tiles of the batch, about `tiles` at a time.
    pub(crate) fn bands(self, tiles: usize) -> Vec<Band> {
        let (batch, size) = (self.batch(), self.size);
        let [rows, columns] = size.map(|side| side.div_ceil(STEP));
        if rows * columns <= tiles {
            let together = tiles / (rows * columns);
            let band = |image: usize| {
                let images = image..(image + together).min(batch);
                Band { images, rows: 0..rows, columns, size }
            };
            return (0..batch).step_by(together).map(band).collect();
        }
        let together = (tiles / columns).max(1);
        let of_image = |image: usize| {
            let band = move |row: usize| {
                let rows = row..(row + together).min(rows);
                Band { images: image..image + 1, rows, columns, size }
            };
            (0..rows).step_by(together).map(band)
        };
        (0..batch).flat_map(of_image).collect()
    }
}

/// Tiles of whole images, or some rows of tiles of one.
#[derive(Clone)]
pub(crate) struct Band {
    pub(crate) images: Range<usize>,
    /// Rows of tiles.
    rows: Range<usize>,
    /// Tiles in a row.
    columns: usize,
    /// Height and width of an image.
    size: [usize; 2],
}

impl Band {
    /// Tiles of one image.
    fn tiles_of_image(&self) -> usize {
        self.rows.len() * self.columns
    }

    fn tiles(&self) -> usize {
        self.images.len() * self.tiles_of_image()
    }

    /// Floats of a run: the tiles of all images, and zeros that fill the last vector.
    pub(crate) fn run(&self) -> usize {
        self.tiles().next_multiple_of(LANES)
    }

    fn fill_runs(&self, runs: &mut [f32]) {
        runs.chunks_exact_mut(self.run()).for_each(|run| run[self.tiles()..].fill(0.0));
    }

    /// The pixels of a plane that its tiles make.
    pub(crate) fn pixels(&self) -> Range<usize> {
        let [height, width] = self.size;
        let row = |tile: usize| (STEP * tile).min(height);
        row(self.rows.start) * width..row(self.rows.end) * width
    }

    /// Inputs of one channel, a border of zeros around each plane: `[6][6][run]`.
    pub(crate) fn deal_inputs(&self, planes: Planes<'_>, channel: usize, to: &mut [f32]) {
        let ([height, width], run) = (self.size, self.run());
        let last = STEP * self.rows.len() + 1;
        self.fill_runs(to);
        for (index, image) in self.images.clone().enumerate() {
            let plane = planes.plane(image, channel);
            for line in 0..=last {
                let (i, row) = (line % STEP, line / STEP);
                let begin = |i: usize, row: usize| {
                    SIDE * i * run + index * self.tiles_of_image() + row * self.columns
                };
                // The first two lines of a tile are the last two of the one above.
                let places = [
                    (row < self.rows.len()).then(|| begin(i, row)),
                    (i < SIDE - STEP && row > 0).then(|| begin(i + STEP, row - 1)),
                ];
                // Tiles of inputs begin one pixel before those of outputs.
                let line = (STEP * self.rows.start + line).checked_sub(1).filter(|&line| line < height);
                for begin in places.into_iter().flatten() {
                    match line {
                        Some(line) => {
                            deal_input_row(
                                &plane[line * width..][..width],
                                &mut to[begin..],
                                run,
                                self.columns,
                            );
                        }
                        None => (0..SIDE).for_each(|j| to[begin + j * run..][..self.columns].fill(0.0)),
                    }
                }
            }
        }
    }

    /// Outputs, or their gradients, of one channel: `[4][4][run]`, zeros beyond the plane.
    pub(crate) fn deal_outputs(&self, planes: Planes<'_>, channel: usize, to: &mut [f32]) {
        let ([height, width], run) = (self.size, self.run());
        self.fill_runs(to);
        for (index, image) in self.images.clone().enumerate() {
            let plane = planes.plane(image, channel);
            for line in 0..STEP * self.rows.len() {
                let place = index * self.tiles_of_image() + line / STEP * self.columns;
                let to = &mut to[line % STEP * STEP * run + place..];
                let line = STEP * self.rows.start + line;
                if line < height {
                    deal_output_row(&plane[line * width..][..width], to, run, self.columns);
                } else {
                    (0..STEP).for_each(|j| to[j * run..][..self.columns].fill(0.0));
                }
            }
        }
    }

    /// Finished tiles `[4][4][run]` of image number `index` of the band, at their places in its pixels.
    pub(crate) fn collect_outputs(&self, finished: &[f32], index: usize, pixels: &mut [f32]) {
        let run = self.run();
        for (line, pixels) in pixels.chunks_exact_mut(self.size[1]).enumerate() {
            let place = index * self.tiles_of_image() + line / STEP * self.columns;
            collect_row(&finished[line % STEP * STEP * run + place..], run, self.columns, pixels);
        }
    }
}

/// A row of pixels to the six columns of `columns` tiles; those of one column lie together, `run` floats apart.
fn deal_input_row(values: &[f32], to: &mut [f32], run: usize, columns: usize) {
    // The four in the middle are those of the tile's outputs; before them is the last of the tile on the left, after them
    // the first of the one on the right.
    deal_output_row(values, &mut to[run..], run, columns);
    to[0] = 0.0;
    to.copy_within(4 * run..4 * run + columns - 1, 1);
    to.copy_within(run + 1..run + columns, 5 * run);
    to[5 * run + columns - 1] = 0.0;
}

vectorised! {
    /// A row of pixels to the four columns of `columns` tiles; those of one column lie together, `run` floats apart.
    fn deal_output_row(values: &[f32], to: &mut [f32], run: usize, columns: usize) {
        let (a, rest) = to.split_at_mut(run);
        let (b, rest) = rest.split_at_mut(run);
        let (c, d) = rest.split_at_mut(run);
        let (a, b, c, d) = (&mut a[..columns], &mut b[..columns], &mut c[..columns], &mut d[..columns]);
        let (whole, rest) = values.as_chunks::<STEP>();
        for ((((four, a), b), c), d) in whole.iter().zip(&mut *a).zip(&mut *b).zip(&mut *c).zip(&mut *d) {
            [*a, *b, *c, *d] = *four;
        }
        if let Some((&first, more)) = rest.split_first() {
            let last = columns - 1;
            a[last] = first;
            b[last] = more.first().copied().unwrap_or(0.0);
            c[last] = more.get(1).copied().unwrap_or(0.0);
            d[last] = 0.0;
        }
    }
}

vectorised! {
    /// The reverse of [`deal_output_row`].
    fn collect_row(from: &[f32], run: usize, columns: usize, pixels: &mut [f32]) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|column| &from[column * run..][..columns]);
        let (whole, rest) = pixels.as_chunks_mut::<STEP>();
        for ((((pixels, &a), &b), &c), &d) in whole.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *pixels = [a, b, c, d];
        }
        for (pixel, column) in rest.iter_mut().zip([a, b, c, d]) {
            *pixel = column[columns - 1];
        }
    }
}
