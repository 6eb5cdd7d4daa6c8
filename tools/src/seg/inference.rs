//! A segmentor at work on whole images, at once or window by window, with the arithmetic of mmseg 1.2.2
//! (`encoder_decoder.py`, `seg_tta.py`).
//!
//! Logits are stretched to the window, averaged where windows overlap, freed of padding, stretched to the image's own
//! size, and only then is the best class chosen; of several views, by the mean of their probabilities. The image is
//! passed from top to bottom, so that its logits never exist all at once.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Result, ensure};
use burn::backend::DispatchDevice;
use burn::prelude::*;
use cvx_data::{LabelMap, keep_ratio_size, normalise_into, pad_to_multiple};
use cvx_heads::{Band, Mirroring, Mosaic, Wanted, classify_rows, resize_bilinear};
use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::model::{Preprocessing, Segmentor};
use crate::recipe::{Input, checks};

/// The shortest side from which on the coarsest map has a pixel; what is shorter is padded.
pub(super) const SHORTEST_INPUT: usize = 32;

/// Most rows that are classified at once.
const MOST_ROWS: usize = 256;

/// Largest tensor of rows that are classified at once, numbers.
const MOST_NUMBERS: usize = 1 << 24;

/// How much of an image the network sees at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Window {
    /// All of it.
    Whole,
    /// Windows that overlap, each height first.
    Sliding {
        /// Size of a window, input pixels. An image that is smaller is not padded.
        size: [usize; 2],
        /// From one window to the next, input pixels; the last one is moved back into the image.
        stride: [usize; 2],
    },
}

/// How an image is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What the network sees at once.
    pub window: Window,
    /// Test-time augmentation: each is a view whose sides are those of the preprocessing times this, rounded down
    /// (mmseg 0's `img_ratios`; mmseg 1 means the image's own sides). `[1.0]`: none.
    pub scales: Vec<f64>,
    /// Whether each of them is also looked at with left and right exchanged.
    pub flip: bool,
}

impl Window {
    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a size is too short for the network or a stride would leave pixels out; `key` is where the window stands.
    pub(crate) fn check(&self, key: &str) -> Result<()> {
        if let Self::Sliding { size, stride } = self {
            for axis in 0..2 {
                let size_key = format!("{key}.sliding.size.{axis}");
                checks::length(&size_key, size[axis])?;
                ensure!(
                    size[axis] >= SHORTEST_INPUT,
                    "{size_key} = {}: must be at least {SHORTEST_INPUT}, the coarsest stride of the backbone",
                    size[axis]
                );
                checks::within(&format!("{key}.sliding.stride.{axis}"), stride[axis], size[axis])?;
            }
        }
        Ok(())
    }

    /// Rows and columns of the windows on an input, height first.
    fn spans(self, [height, width]: [usize; 2]) -> [Vec<Range<usize>>; 2] {
        match self {
            Self::Whole => [height, width].map(|side| spans(side, side, side)),
            Self::Sliding { size, stride } => {
                [spans(height, size[0], stride[0]), spans(width, size[1], stride[1])]
            }
        }
    }
}

impl Look {
    /// A single view.
    pub fn once(window: Window) -> Self {
        Self { window, scales: vec![1.0], flip: false }
    }

    /// Refuses what cannot be.
    ///
    /// # Errors
    /// If there is no view, or one of a size that makes no sense; `key` is what its entries' names begin with.
    pub fn check(&self, key: &str) -> Result<()> {
        let Self { window, scales, flip: _ } = self;
        window.check(&format!("{key}window"))?;
        checks::filled(&format!("{key}scales"), scales)?;
        for (index, scale) in scales.iter().enumerate() {
            ensure!(
                (0.05..=20.0).contains(scale),
                "{key}scales.{index} = {scale}: must lie between 0.05 and 20"
            );
        }
        Ok(())
    }
}

/// The class of every pixel of an image, of its own size.
///
/// On a device without autodiff. Of memory it takes, besides the network's for one window, the image in its own and in
/// the views' sizes, and logits at stride 4 of the windows across a few rows.
///
/// # Panics
/// If the look or the preprocessing cannot be, or the segmentor has more than 255 classes.
pub fn label_image(
    segmentor: &Segmentor,
    image: &RgbImage,
    preprocessing: &Preprocessing,
    look: &Look,
    device: &Device,
) -> LabelMap {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut pixels = Vec::with_capacity(width * height);
    let mut take = |band: Band| {
        pixels.extend(band.classes);
        Ok(())
    };
    let done = each_band(segmentor, image, preprocessing, look, Wanted::Classes, device, &mut take);
    assert!(done.is_ok(), "nothing fails");
    LabelMap { width, height, pixels }
}

/// Hands the classes of an image's pixels, and their probabilities where they are wanted, to `take`, some rows at a
/// time from the top. The rest is as of [`label_image`].
///
/// # Errors
/// Those of `take`.
///
/// # Panics
/// As [`label_image`].
pub fn each_band(
    segmentor: &Segmentor,
    image: &RgbImage,
    preprocessing: &Preprocessing,
    look: &Look,
    wanted: Wanted,
    device: &Device,
    take: &mut dyn FnMut(Band) -> Result<()>,
) -> Result<()> {
    let num_classes = segmentor.heads.num_classes();
    assert!(num_classes <= LabelMap::MOST_CLASSES, "{num_classes} classes of a label map");
    let size = [image.height() as usize, image.width() as usize];
    let scaled: Vec<_> = look.scales.iter().map(|&scale| resized(image, preprocessing, scale)).collect();
    let views = scaled.iter().flat_map(|image| {
        let mirrorings = [Mirroring::None, Mirroring::Horizontal];
        mirrorings.into_iter().take(1 + usize::from(look.flip)).map(|mirroring| View {
            image,
            mirroring,
            input: &preprocessing.input,
        })
    });
    let views: Vec<View<'_>> = views.collect();
    let mut mosaics: Vec<Mosaic> = views.iter().map(|view| view.mosaic(look.window)).collect();
    let num_rows = rows_at_once(&views, size, num_classes, wanted, device);
    for top in (0..size[0]).step_by(num_rows) {
        let rows = top..(top + num_rows).min(size[0]);
        for (view, mosaic) in views.iter().zip(&mut mosaics) {
            mosaic.advance(size, &rows, &mut |rows, columns| {
                segmentor.segment(view.pixels(rows, columns, device))
            });
        }
        classify_rows(&mosaics, size, rows, wanted).into_iter().try_for_each(&mut *take)?;
    }
    Ok(())
}

/// How many rows of an image of `size` are classified at once.
fn rows_at_once(
    views: &[View<'_>],
    [height, width]: [usize; 2],
    num_classes: usize,
    wanted: Wanted,
    device: &Device,
) -> usize {
    let is_host = matches!(device.as_dispatch(), DispatchDevice::Flex(_));
    if is_host && wanted == Wanted::Classes {
        // Nothing is kept of their logits.
        return MOST_ROWS;
    }
    // A row of the image may be made of several longer ones of an input.
    let pixels = |view: &View<'_>| {
        let [input_height, input_width] = view.size();
        input_height.div_ceil(height) * input_width.max(width)
    };
    let numbers = num_classes * views.iter().map(pixels).max().unwrap_or(width);
    (MOST_NUMBERS / numbers).clamp(1, MOST_ROWS)
}

/// An image in the size of a view.
fn resized<'a>(image: &'a RgbImage, preprocessing: &Preprocessing, scale: f64) -> Cow<'a, RgbImage> {
    let side = |side: u32| ((f64::from(side) * scale) as u32).max(1);
    let [long, short] = [preprocessing.long_side, preprocessing.short_side].map(side);
    let (width, height) = keep_ratio_size(image.width(), image.height(), long, short);
    if image.dimensions() == (width, height) {
        return Cow::Borrowed(image);
    }
    Cow::Owned(cvx_data::resize_bilinear(image, width, height))
}

/// An image as the network is shown it.
struct View<'a> {
    image: &'a RgbImage,
    mirroring: Mirroring,
    input: &'a Input,
}

impl View<'_> {
    /// Height and width, without padding.
    fn size(&self) -> [usize; 2] {
        [self.image.height(), self.image.width()].map(|side| side as usize)
    }

    fn mosaic(&self, window: Window) -> Mosaic {
        let pad = |side| pad_to_multiple(side, self.input.pad_multiple).max(SHORTEST_INPUT);
        let [rows, columns] = window.spans(self.size().map(pad));
        Mosaic::new(rows, columns, self.size(), self.mirroring)
    }

    /// Normalised pixels of a part of the input; what is beyond the image is zero.
    fn pixels(&self, rows: Range<usize>, columns: Range<usize>, device: &Device) -> Tensor<4> {
        let within = |span: &Range<usize>, side: usize| span.start.min(side)..span.end.min(side);
        let [height, width] = self.size();
        let (shown_rows, shown) = (within(&rows, height), within(&columns, width));
        let left = match self.mirroring {
            Mirroring::None => shown.start,
            Mirroring::Horizontal => width - shown.end,
        };
        let corner = [left, shown_rows.start].map(|side| side as u32);
        let size = [shown.len(), shown_rows.len()].map(|side| side as u32);
        let mut part = imageops::crop_imm(self.image, corner[0], corner[1], size[0], size[1]).to_image();
        if self.mirroring == Mirroring::Horizontal {
            imageops::flip_horizontal_in_place(&mut part);
        }
        let mut planes = vec![0.0; 3 * rows.len() * columns.len()];
        let Input { mean, std, pad_multiple: _ } = self.input;
        normalise_into(&part, *mean, *std, &mut planes, rows.len(), columns.len());
        Tensor::from_data(TensorData::new(planes, [1, 3, rows.len(), columns.len()]), device)
    }
}

/// Logits of the classes for every input pixel.
///
/// # Shapes
/// - `images`: `[batch, 3, height, width]`, normalised
/// - output: `[batch, classes, height, width]`
///
/// # Panics
/// If a window's size or stride is zero, or the stride is larger than the window: pixels would be left out.
pub fn logits(segmentor: &Segmentor, images: Tensor<4>, window: Window) -> Tensor<4> {
    let [_, _, height, width] = images.dims();
    let look = |images: Tensor<4>| {
        let [_, _, height, width] = images.dims();
        resize_bilinear(segmentor.segment(images), [height, width])
    };
    let (size, stride) = match window {
        Window::Whole => return look(images),
        Window::Sliding { size, stride } => (size, stride),
    };
    let (rows, columns) = (spans(height, size[0], stride[0]), spans(width, size[1], stride[1]));
    let mut sum: Option<Tensor<4>> = None;
    for row in &rows {
        for column in &columns {
            let seen = look(images.clone().slice(s![.., .., row.clone(), column.clone()]));
            let [batch, classes, _, _] = seen.dims();
            let whole = sum.unwrap_or_else(|| Tensor::zeros([batch, classes, height, width], &seen.device()));
            let area = s![.., .., row.clone(), column.clone()];
            let added = whole.clone().slice(area) + seen;
            sum = Some(whole.slice_assign(area, added));
        }
    }
    let sum = sum.unwrap_or_else(|| unreachable!("there is a window"));
    let counts = [coverage(height, &rows), coverage(width, &columns)];
    let [row_counts, column_counts] =
        counts.map(|counts| Tensor::<1>::from_floats(counts.as_slice(), &sum.device()));
    sum / (row_counts.reshape([1, 1, height, 1]) * column_counts.reshape([1, 1, 1, width]))
}

/// The best class of every pixel of images of another `size`, height first.
///
/// # Shapes
/// - `logits`: `[batch, classes, height, width]`
/// - output: `[batch, size[0], size[1]]`
pub fn classes(logits: Tensor<4>, size: [usize; 2]) -> Tensor<3, Int> {
    resize_bilinear(logits, size).argmax(1).squeeze_dim(1)
}

/// Where windows begin and end along one side of an image.
fn spans(side: usize, size: usize, stride: usize) -> Vec<Range<usize>> {
    assert!(
        size > 0 && (1..=size).contains(&stride),
        "windows of {size} pixels every {stride} leave pixels out"
    );
    let count = side.saturating_sub(size).div_ceil(stride) + 1;
    let span = |index: usize| {
        let end = (index * stride + size).min(side);
        end.saturating_sub(size)..end
    };
    (0..count).map(span).collect()
}

/// In how many of the spans each pixel of a side is.
fn coverage(side: usize, spans: &[Range<usize>]) -> Vec<f32> {
    (0..side).map(|pixel| spans.iter().filter(|span| span.contains(&pixel)).count() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_window_is_moved_back_into_the_image() {
        assert_eq!(spans(150, 64, 43), [0..64, 43..107, 86..150]);
        assert_eq!(spans(101, 64, 43), [0..64, 37..101]);
        assert_eq!(spans(65, 64, 43), [0..64, 1..65]);
    }

    #[test]
    fn an_image_no_larger_than_the_window_is_seen_whole() {
        for side in [1, 50, 64] {
            let whole = 0..side;
            assert_eq!(spans(side, 64, 43), [whole]);
        }
    }

    #[test]
    fn pixels_know_how_often_they_are_seen() {
        assert_eq!(coverage(5, &[0..3, 2..5]), [1.0, 1.0, 2.0, 1.0, 1.0]);
    }
}
