//! Rows of an image by the views on it, in tensors, on any device.

use std::ops::Range;

use burn::prelude::*;
use burn::tensor::activation::softmax;

use crate::axis_map::AxisMap;
use crate::host;
use crate::mosaic::{Band, Logits, Mosaic, Tile, Wanted};
use crate::resample::resample;

/// All of the rows in one piece.
pub(crate) fn classify_rows(
    mosaics: &[Mosaic],
    size: [usize; 2],
    rows: Range<usize>,
    wanted: Wanted,
) -> Band {
    let mut logits: Vec<Tensor<4>> = mosaics.iter().map(|mosaic| image_logits(mosaic, size, &rows)).collect();
    let (best, probabilities) = if logits.len() == 1 {
        let logits = logits.remove(0);
        // Rounding can make equals of probabilities whose logits differ.
        (logits.clone().argmax(1), (wanted == Wanted::Probabilities).then(|| softmax(logits, 1)))
    } else {
        let count = logits.len() as f32;
        let sum = logits.into_iter().map(|logits| softmax(logits, 1)).reduce(|sum, next| sum + next);
        let mean = sum.unwrap_or_else(|| unreachable!("there are views")) / count;
        (mean.clone().argmax(1), (wanted == Wanted::Probabilities).then_some(mean))
    };
    let probabilities = probabilities.map_or(Vec::new(), host::read_floats);
    Band { rows, classes: host::read_bytes(best), probabilities }
}

/// Logits of some rows of the image by one view, `[1, classes, rows, width]`.
fn image_logits(mosaic: &Mosaic, size: [usize; 2], rows: &Range<usize>) -> Tensor<4> {
    let [height, width] = mosaic.image();
    let upright = |rows: &Range<usize>| {
        let image = input_logits(mosaic, rows).narrow(3, 0, width);
        if mosaic.is_mirrored() { image.flip([3]) } else { image }
    };
    if mosaic.image() == size {
        return upright(rows);
    }
    let row_map = AxisMap::linear(height, size[0]);
    resample(upright(&row_map.reach(rows)), row_map.part(rows), AxisMap::linear(width, size[1]))
}

/// Logits of some rows of the input, `[1, classes, rows, width]`.
fn input_logits(mosaic: &Mosaic, rows: &Range<usize>) -> Tensor<4> {
    let mut sum: Option<Tensor<4>> = None;
    for tile in mosaic.tiles() {
        let common = tile.rows.start.max(rows.start)..tile.rows.end.min(rows.end);
        if common.is_empty() {
            continue;
        }
        let seen = tile_logits(tile, common.start - tile.rows.start..common.end - tile.rows.start);
        let [_, num_classes, _, _] = seen.dims();
        let whole = sum.unwrap_or_else(|| {
            Tensor::zeros([1, num_classes, rows.len(), mosaic.input_width()], &seen.device())
        });
        let place = common.start - rows.start..common.end - rows.start;
        let area = s![.., .., place, tile.columns.clone()];
        let added = whole.clone().slice(area) + seen;
        sum = Some(whole.slice_assign(area, added));
    }
    let Some(sum) = sum else { panic!("no window on rows {rows:?} was looked through") };
    let counts = |counts: Vec<f32>| Tensor::<1>::from_floats(counts.as_slice(), &sum.device());
    let row_counts = counts(mosaic.row_coverage(rows)).reshape([1, 1, -1, 1]);
    let column_counts = counts(mosaic.column_coverage()).reshape([1, 1, 1, -1]);
    sum / (row_counts * column_counts)
}

/// Logits of some of a window's rows, stretched to its size.
fn tile_logits(tile: &Tile, rows: Range<usize>) -> Tensor<4> {
    let Tile { logits, row_map, column_map, .. } = tile;
    let device = Device::flex();
    let logits = match logits {
        Logits::Device(logits) => logits.clone(),
        Logits::Host(planes) => {
            let size = [1, tile.num_classes(), row_map.inputs(), column_map.inputs()];
            let data = TensorData::new(planes.clone(), size);
            Tensor::from_data(data, &device)
        }
    };
    let reach = row_map.reach(&rows);
    resample(logits.slice(s![.., .., reach, ..]), row_map.part(&rows), column_map.clone())
}
