//! Rows of an image by the views on it, on the CPU: bands of some rows at the same time, class after class.
//!
//! A line of a view's input is made when a line of the image asks for it, and kept for the next one, which mostly
//! asks for it too. Every sum has the order of [`resample`](crate::resample::resample) and of adding whole windows,
//! so the results have the same bits.

use std::ops::Range;

use cvx_backbone::ops::cpu::dispatch::vectorised;
use cvx_backbone::ops::cpu::exponential::exponential;
use rayon::prelude::*;

use crate::axis_map::AxisMap;
use crate::mosaic::{Band, Logits, Mosaic, Tile, Wanted};

/// What a band keeps for its pixels, bytes, when it is as high as it may be: about a processor's second cache.
const CLASSES_BYTES: usize = 1 << 17;

/// The same where all classes are kept.
const PROBABILITIES_BYTES: usize = 1 << 22;

/// Rows of the highest band.
const MOST_ROWS: usize = 64;

/// Bands of a few rows each, from the top.
pub(crate) fn classify_rows(
    mosaics: &[Mosaic],
    size: [usize; 2],
    rows: Range<usize>,
    wanted: Wanted,
) -> Vec<Band> {
    let Some(num_classes) = mosaics[0].tiles().next().map(Tile::num_classes) else {
        panic!("no window was looked through");
    };
    assert!(num_classes <= 256, "{num_classes} classes in a byte");
    let views: Vec<View<'_>> = mosaics.iter().map(|mosaic| View::new(mosaic, size)).collect();
    let keeps_all = views.len() > 1 || wanted == Wanted::Probabilities;
    let width = size[1];
    let height =
        if keeps_all { PROBABILITIES_BYTES / (8 * num_classes * width) } else { CLASSES_BYTES / (5 * width) };
    let height = height.clamp(1, MOST_ROWS);
    let starts: Vec<usize> = rows.clone().step_by(height).collect();
    let bands = starts.into_par_iter().map(|start| {
        let rows = start..(start + height).min(rows.end);
        if keeps_all {
            mean_band(&views, width, rows, num_classes, wanted)
        } else {
            best_band(&views[0], width, rows, num_classes)
        }
    });
    bands.collect()
}

/// A mosaic, and what is the same for all of its lines.
struct View<'a> {
    mosaic: &'a Mosaic,
    /// From rows and from columns of the image in the input to those that are asked for; nothing where they are the
    /// same.
    resize: Option<[AxisMap; 2]>,
    column_coverage: Vec<f32>,
}

/// Room for lines of one class of a view.
struct Lines {
    /// Lines of the image in the input, and which; the next one asks for one of them or for none.
    kept: [(Option<usize>, Vec<f32>); 2],
    /// A line of the input, padding included.
    input: Vec<f32>,
    /// A line of a window's logits between two of their rows.
    between: Vec<f32>,
    /// The same, stretched to the window.
    stretched: Vec<f32>,
    /// A line between two lines of the image in the input.
    blended: Vec<f32>,
    /// A line of the image.
    resized: Vec<f32>,
}

impl<'a> View<'a> {
    fn new(mosaic: &'a Mosaic, [height, width]: [usize; 2]) -> Self {
        let [image_height, image_width] = mosaic.image();
        let maps = || [AxisMap::linear(image_height, height), AxisMap::linear(image_width, width)];
        let resize = (mosaic.image() != [height, width]).then(maps);
        Self { mosaic, resize, column_coverage: mosaic.column_coverage() }
    }

    fn lines(&self, width: usize) -> Lines {
        let [_, image_width] = self.mosaic.image();
        let input_width = self.mosaic.input_width();
        let line = || vec![0.0; image_width];
        Lines {
            kept: [(None, line()), (None, line())],
            input: vec![0.0; input_width],
            between: vec![0.0; input_width],
            stretched: vec![0.0; input_width],
            blended: line(),
            resized: vec![0.0; width],
        }
    }

    /// Hands the lines of one class of the image to `take`, each with its place among the rows.
    fn each_line(
        &self,
        class: usize,
        rows: &Range<usize>,
        lines: &mut Lines,
        take: &mut dyn FnMut(usize, &[f32]),
    ) {
        lines.kept.iter_mut().for_each(|kept| kept.0 = None);
        for (at, row) in rows.clone().enumerate() {
            let Some([row_map, column_map]) = &self.resize else {
                self.keep(class, row, 0, lines);
                take(at, &lines.kept[0].1);
                continue;
            };
            let (first, weights) = row_map.taps(row);
            // Going down, what was the lower line is often the upper one now.
            if lines.kept[1].0 == Some(first) {
                lines.kept.swap(0, 1);
            }
            for slot in 0..weights.len() {
                self.keep(class, first + slot, slot, lines);
            }
            let [upper, lower] = &lines.kept;
            blend(weights, &upper.1, &lower.1, &mut lines.blended);
            stretch(&lines.blended, column_map, &mut lines.resized);
            take(at, &lines.resized);
        }
    }

    /// Makes a line of the image in the input, unless the slot has it already.
    fn keep(&self, class: usize, row: usize, slot: usize, lines: &mut Lines) {
        let Lines { kept, input, between, stretched, .. } = lines;
        let (kept_row, line) = &mut kept[slot];
        if *kept_row == Some(row) {
            return;
        }
        *kept_row = Some(row);
        input.fill(0.0);
        let mut num_rows_of_windows = 0;
        for tile in self.mosaic.tiles_on(row) {
            num_rows_of_windows += usize::from(tile.columns.start == 0);
            let (between, stretched) =
                (&mut between[..tile.column_map.inputs()], &mut stretched[..tile.columns.len()]);
            let (first, weights) = tile.row_map.taps(row - tile.rows.start);
            let width = between.len();
            let plane = &planes(tile)[class * tile.row_map.inputs() * width..];
            let upper = &plane[first * width..][..width];
            let lower = &plane[(first + weights.len() - 1) * width..][..width];
            blend(weights, upper, lower, between);
            stretch(between, &tile.column_map, stretched);
            add(stretched, &mut input[tile.columns.clone()]);
        }
        assert!(num_rows_of_windows > 0, "no window on row {row} was looked through");
        let image = &mut input[..line.len()];
        average(image, num_rows_of_windows as f32, &self.column_coverage);
        line.copy_from_slice(image);
        if self.mosaic.is_mirrored() {
            line.reverse();
        }
    }
}

/// The classes of a band, of which a single view has the best ones.
fn best_band(view: &View<'_>, width: usize, rows: Range<usize>, num_classes: usize) -> Band {
    let mut lines = view.lines(width);
    let mut best = Best::new(rows.len() * width);
    for class in 0..num_classes {
        view.each_line(class, &rows, &mut lines, &mut |at, line| {
            let pixels = at * width..(at + 1) * width;
            keep_better(class as u8, line, &mut best.values[pixels.clone()], &mut best.classes[pixels]);
        });
    }
    Band { rows, classes: best.classes, probabilities: Vec::new() }
}

/// The classes of a band by the mean of the views' probabilities, or by the logits of the only one.
fn mean_band(
    views: &[View<'_>],
    width: usize,
    rows: Range<usize>,
    num_classes: usize,
    wanted: Wanted,
) -> Band {
    let num_pixels = rows.len() * width;
    let mut values = vec![0.0; num_classes * num_pixels];
    let mut sums = if views.len() > 1 { vec![0.0; values.len()] } else { Vec::new() };
    let mut best = Best::new(num_pixels);
    for view in views {
        let mut lines = view.lines(width);
        for (class, values) in values.chunks_exact_mut(num_pixels).enumerate() {
            view.each_line(class, &rows, &mut lines, &mut |at, line| {
                values[at * width..][..width].copy_from_slice(line);
            });
        }
        best.find(&values);
        soften(&mut values, &best.values);
        if views.len() > 1 {
            add(&values, &mut sums);
        }
    }
    if views.len() > 1 {
        sums.iter_mut().for_each(|sum| *sum /= views.len() as f32);
        best.find(&sums);
        values = sums;
    }
    let probabilities = if wanted == Wanted::Probabilities { values } else { Vec::new() };
    Band { rows, classes: best.classes, probabilities }
}

/// The best class so far of some pixels, and its value.
struct Best {
    values: Vec<f32>,
    classes: Vec<u8>,
}

impl Best {
    fn new(num_pixels: usize) -> Self {
        Self { values: vec![f32::NEG_INFINITY; num_pixels], classes: vec![0; num_pixels] }
    }

    /// Starts again, from planes of all classes.
    fn find(&mut self, planes: &[f32]) {
        self.values.fill(f32::NEG_INFINITY);
        self.classes.fill(0);
        for (class, plane) in planes.chunks_exact(self.values.len()).enumerate() {
            keep_better(class as u8, plane, &mut self.values, &mut self.classes);
        }
    }
}

fn planes(tile: &Tile) -> &[f32] {
    match &tile.logits {
        Logits::Host(planes) => planes,
        Logits::Device(_) => panic!("logits on a device, for a kernel of the host"),
    }
}

vectorised! {
    /// A line between two lines, or the upper one where there is one weight.
    fn blend(weights: &[f32], upper: &[f32], lower: &[f32], out: &mut [f32]) {
        match weights {
            &[above, below] => {
                for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
                    *out = above * upper + below * lower;
                }
            }
            _ => out.copy_from_slice(upper),
        }
    }
}

vectorised! {
    /// A line with other columns.
    fn stretch(line: &[f32], columns: &AxisMap, out: &mut [f32]) {
        columns.apply(line, out);
    }
}

vectorised! {
    fn add(line: &[f32], sum: &mut [f32]) {
        for (sum, value) in sum.iter_mut().zip(line) {
            *sum += value;
        }
    }
}

vectorised! {
    /// Divides a line by the number of windows on each of its pixels.
    fn average(line: &mut [f32], row_coverage: f32, column_coverage: &[f32]) {
        for (value, count) in line.iter_mut().zip(column_coverage) {
            *value /= row_coverage * count;
        }
    }
}

vectorised! {
    /// Notes the class where it is better than what was best.
    fn keep_better(class: u8, values: &[f32], best_values: &mut [f32], best_classes: &mut [u8]) {
        for ((&value, best), best_class) in values.iter().zip(best_values).zip(best_classes) {
            let is_better = value > *best;
            *best = if is_better { value } else { *best };
            *best_class = if is_better { class } else { *best_class };
        }
    }
}

vectorised! {
    /// Planes of logits into planes of probabilities; `largest` has the largest logit of each pixel.
    fn soften(planes: &mut [f32], largest: &[f32]) {
        let mut sums = vec![0.0; largest.len()];
        for plane in planes.chunks_exact_mut(largest.len()) {
            for ((value, largest), sum) in plane.iter_mut().zip(largest).zip(&mut sums) {
                *value = exponential(*value - largest);
                *sum += *value;
            }
        }
        for plane in planes.chunks_exact_mut(largest.len()) {
            for (value, sum) in plane.iter_mut().zip(&sums) {
                *value /= sum;
            }
        }
    }
}
