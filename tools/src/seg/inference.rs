//! A segmentor at work on whole images, at once or window by window, with the arithmetic of mmseg 1.2.2
//! (`encoder_decoder.py`).
//!
//! Logits are stretched to the window, averaged where windows overlap, stretched to the size that is asked for, and
//! only then is the best class chosen.

use std::ops::Range;

use anyhow::Result;
use burn::prelude::*;
use cvx_heads::resize_bilinear;
use serde::{Deserialize, Serialize};

use super::model::Segmentor;
use crate::recipe::checks;

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

impl Window {
    /// Refuses what cannot be; a damaged or hostile file may say anything.
    ///
    /// # Errors
    /// If a size or stride is out of its range; `key` is where it stands.
    pub(crate) fn check(&self, key: &str) -> Result<()> {
        if let Self::Sliding { size, stride } = self {
            for axis in 0..2 {
                checks::length(&format!("{key}.sliding.size.{axis}"), size[axis])?;
                checks::within(&format!("{key}.sliding.stride.{axis}"), stride[axis], size[axis])?;
            }
        }
        Ok(())
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
