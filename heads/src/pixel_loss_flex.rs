//! Cross-entropy of every pixel on the CPU: rows of labels one after the other, several bands of rows at a time.
//!
//! Of one row: logits are stretched to it, made probabilities, and compared with the labels; the differences are
//! squeezed back. Bands share rows of logits at their edges, so each has a gradient of its own, added up in the end
//! in one order: the result has the same bits for any number of threads.

use burn::backend::Flex;
use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use cvx_backbone::ops::cpu::buffer::zeroed;
use cvx_backbone::ops::cpu::dispatch::vectorised;
use cvx_backbone::ops::cpu::exponential::exponential;
use rayon::prelude::*;

use crate::axis_map::AxisMap;
use crate::pixel_loss::{PixelLossBackwardOps, PixelLossOps, PixelTask};

/// Rows of labels of one task.
const BAND: usize = 32;

/// One band's share.
struct Share {
    loss: f64,
    right: usize,
    /// The first row of logits that `gradient` has, and `[classes, rows, width]` from there on; empty where nobody
    /// asked.
    first_row: usize,
    gradient: Vec<f32>,
}

impl PixelLossOps for Flex {
    fn pixel_loss_op(logits: FlexTensor, task: PixelTask) -> FlexTensor {
        let shape = logits.layout().shape().dims::<4>();
        let logits = logits.to_contiguous();
        loss(shares(floats(&logits), shape, &task, false).iter(), &task)
    }
}

impl PixelLossBackwardOps for Flex {
    fn pixel_loss_and_gradient(logits: FlexTensor, task: PixelTask) -> [FlexTensor; 2] {
        let shape = logits.layout().shape().clone();
        let sizes = shape.dims::<4>();
        let [_, num_classes, height, width] = sizes;
        let logits = logits.to_contiguous();
        let shares = shares(floats(&logits), sizes, &task, true);
        let mut gradient = zeroed(logits.layout().num_elements());
        let num_bands = task.rows.outputs().div_ceil(BAND);
        let images = gradient
            .par_chunks_exact_mut(num_classes * height * width)
            .zip(shares.par_chunks_exact(num_bands));
        images.for_each(|(image, shares)| {
            for Share { first_row, gradient, .. } in shares {
                let size = gradient.len() / num_classes;
                for (plane, share) in image.chunks_exact_mut(height * width).zip(gradient.chunks_exact(size))
                {
                    let plane = &mut plane[first_row * width..][..size];
                    plane.iter_mut().zip(share).for_each(|(sum, share)| *sum += share);
                }
            }
        });
        [loss(shares.iter(), &task), tensor(gradient, shape)]
    }
}

fn loss<'a>(shares: impl Iterator<Item = &'a Share>, task: &PixelTask) -> FlexTensor {
    let (mut sum, mut right) = (0.0, 0);
    for share in shares {
        sum += share.loss;
        right += share.right;
    }
    // Nobody set it: the caller's cell is new.
    let _ = task.right.set(right);
    tensor(vec![(sum / task.divisor) as f32], [1].into())
}

/// The shares of all bands, image by image from the top.
fn shares(logits: &[f32], sizes: [usize; 4], task: &PixelTask, wants_gradient: bool) -> Vec<Share> {
    let [batch, num_classes, height, width] = sizes;
    let (num_rows, row_length) = (task.rows.outputs(), task.columns.outputs());
    assert_eq!([height, width], [task.rows.inputs(), task.columns.inputs()], "height and width of logits");
    assert_eq!(task.labels.len(), batch * num_rows * row_length, "number of labels");
    let num_bands = num_rows.div_ceil(BAND);
    let back = task.columns.transposed();
    (0..batch * num_bands)
        .into_par_iter()
        .map_init(
            || Row::new(num_classes, width, row_length),
            |row, at| {
                let (image, top) = (at / num_bands, at % num_bands * BAND);
                let bottom = (top + BAND).min(num_rows);
                let logits = &logits[image * num_classes * height * width..][..num_classes * height * width];
                let (first_row, _) = task.rows.taps(top);
                let (last, weights) = task.rows.taps(bottom - 1);
                let kept_rows = last + weights.len() - first_row;
                let size = if wants_gradient { num_classes * kept_rows * width } else { 0 };
                let mut share = Share { loss: 0.0, right: 0, first_row, gradient: vec![0.0; size] };
                for line in top..bottom {
                    let labels = &task.labels[(image * num_rows + line) * row_length..][..row_length];
                    stretch(row, logits, height, &task.rows, line, &task.columns);
                    compare(row, labels, task, &mut share);
                    if wants_gradient {
                        squeeze(row, labels, task, &back, line, kept_rows, &mut share);
                    }
                }
                share
            },
        )
        .collect()
}

/// What is known of one row of pixels; planes of one row a class.
struct Row {
    width: usize,
    /// Logits of the row's height, in the logits' width.
    between: Vec<f32>,
    /// Logits, then exponentials, then slopes, for every pixel.
    values: Vec<f32>,
    largest: Vec<f32>,
    best: Vec<u32>,
    /// The sum of exponentials.
    sums: Vec<f32>,
    /// What a pixel's probabilities are multiplied by.
    scales: Vec<f32>,
}

impl Row {
    fn new(num_classes: usize, width: usize, length: usize) -> Self {
        Self {
            width,
            between: vec![0.0; num_classes * width],
            values: vec![0.0; num_classes * length],
            largest: vec![0.0; length],
            best: vec![0; length],
            sums: vec![0.0; length],
            scales: vec![0.0; length],
        }
    }

    fn length(&self) -> usize {
        self.sums.len()
    }
}

vectorised! {
    /// Interpolates the row's logits.
    fn stretch(row: &mut Row, logits: &[f32], height: usize, rows: &AxisMap, line: usize, columns: &AxisMap) {
        let (width, length) = (row.width, row.length());
        let (first, weights) = rows.taps(line);
        let planes = logits.chunks_exact(height * width).zip(row.between.chunks_exact_mut(width));
        for ((plane, between), values) in planes.zip(row.values.chunks_exact_mut(length)) {
            between.fill(0.0);
            for (&weight, line) in weights.iter().zip(plane[first * width..].chunks_exact(width)) {
                for (sum, &logit) in between.iter_mut().zip(line) {
                    *sum += weight * logit;
                }
            }
            columns.apply(between, values);
        }
    }
}

vectorised! {
    /// Turns logits into exponentials; adds losses and hits to the share.
    fn compare(row: &mut Row, labels: &[Option<u32>], task: &PixelTask, share: &mut Share) {
        let length = row.length();
        let Row { values: all, largest: all_largest, best: all_best, sums, scales, .. } = row;
        all_largest.fill(f32::NEG_INFINITY);
        for (class, values) in all.chunks_exact(length).enumerate() {
            let known = all_largest.iter_mut().zip(all_best.iter_mut());
            for ((largest, best), &value) in known.zip(values) {
                let is_larger = value > *largest;
                *largest = if is_larger { value } else { *largest };
                *best = if is_larger { class as u32 } else { *best };
            }
        }
        for (pixel, label) in labels.iter().enumerate() {
            let Some(class) = *label else { continue };
            let weight = task.by_class[class as usize];
            share.right += usize::from(all_best[pixel] == class);
            let distance = all_largest[pixel] - all[class as usize * length + pixel];
            share.loss += f64::from(weight) * f64::from(distance);
        }
        sums.fill(0.0);
        for values in all.chunks_exact_mut(length) {
            for ((largest, sum), value) in all_largest.iter().zip(sums.iter_mut()).zip(values) {
                *value = exponential(*value - largest);
                *sum += *value;
            }
        }
        for (pixel, label) in labels.iter().enumerate() {
            let weight = label.map_or(0.0, |class| task.by_class[class as usize]);
            scales[pixel] = weight / sums[pixel];
            if label.is_some() {
                share.loss += f64::from(weight) * f64::from(sums[pixel]).ln();
            }
        }
    }
}

vectorised! {
    /// Adds the gradient of the row's losses to the share, which has `kept_rows` rows of logits.
    fn squeeze(
        row: &mut Row,
        labels: &[Option<u32>],
        task: &PixelTask,
        back: &AxisMap,
        line: usize,
        kept_rows: usize,
        share: &mut Share,
    ) {
        let (width, length) = (row.width, row.length());
        for values in row.values.chunks_exact_mut(length) {
            for (value, scale) in values.iter_mut().zip(&row.scales) {
                *value *= scale;
            }
        }
        for (pixel, label) in labels.iter().enumerate() {
            if let Some(class) = *label {
                row.values[class as usize * length + pixel] -= task.by_class[class as usize];
            }
        }
        let (first, weights) = task.rows.taps(line);
        let factor = (1.0 / task.divisor) as f32;
        let planes = row.values.chunks_exact(length).zip(row.between.chunks_exact_mut(width));
        let planes = planes.zip(share.gradient.chunks_exact_mut(kept_rows * width));
        for ((values, between), gradient) in planes {
            back.apply(values, between);
            let lines = gradient[(first - share.first_row) * width..].chunks_exact_mut(width);
            for (&weight, line) in weights.iter().zip(lines) {
                let weight = weight * factor;
                for (sum, &slope) in line.iter_mut().zip(between.iter()) {
                    *sum += weight * slope;
                }
            }
        }
    }
}

fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("the loss works on contiguous f32")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}
