//! A ConvNeXt that sees a part of each image: three ways to keep it from the rest.

use std::sync::Arc;

use burn::config::Config;
use burn::prelude::*;

use crate::convnext::ConvNext;
use crate::mask::{Mask, PATCH};

/// How an encoder is kept from seeing hidden patches.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Masking {
    /// Only visible positions are computed. What a convolution would read of hidden ones is zero.
    Sparse,
    /// All positions are computed, and hidden ones set to zero wherever a visible one could read them: the same
    /// numbers as [`Masking::Sparse`] at the price of a whole image.
    Dense,
    /// The stem's output is masked and nothing after it, so that convolutions fill the hidden patches from their
    /// neighbours, as no image looks later on. The paper's ablation without sparse convolutions: 79.3 against 83.7.
    InputOnly,
}

/// What the four stages say of the visible patches.
pub(super) struct Encoded {
    stages: Vec<Tensor<4>>,
    mask: Arc<Mask>,
    masking: Masking,
}

impl Encoded {
    /// Runs the network without output norms.
    pub(super) fn new(
        backbone: &ConvNext,
        images_nhwc: Tensor<4>,
        mask: Arc<Mask>,
        masking: Masking,
    ) -> Self {
        let [batch, height, width, _] = images_nhwc.dims();
        let [rows, columns] = mask.grid();
        assert_eq!(
            [batch, height, width],
            [mask.batch(), rows * PATCH, columns * PATCH],
            "a mask for other images"
        );
        let mut x = match masking {
            Masking::Sparse => mask.visible_of(images_nhwc),
            Masking::Dense | Masking::InputOnly => images_nhwc,
        };
        let mut stages = Vec::with_capacity(backbone.stages.len());
        for (stage, blocks) in backbone.stages.iter().enumerate() {
            x = backbone.reduce(stage, x);
            let blocks = blocks.iter();
            x = match masking {
                Masking::Sparse => blocks.fold(x, |x, block| block.forward_visible(x, &mask)),
                Masking::Dense => {
                    let keep = keep(&mask, &x);
                    blocks.fold(x * keep.clone(), |x, block| block.forward_masked(x, keep.clone()))
                }
                Masking::InputOnly => {
                    let x = if stage == 0 { x.clone() * keep(&mask, &x) } else { x };
                    blocks.fold(x, |x, block| block.forward(x))
                }
            };
            stages.push(x.clone());
        }
        Self { stages, mask, masking }
    }

    /// The visible positions of the last stage.
    ///
    /// # Shapes
    /// - output: `[batch * visible, 1, 1, channels]`
    pub(super) fn visible(mut self) -> Tensor<4> {
        match (self.stages.pop(), self.masking) {
            (Some(last), Masking::Sparse) => last,
            (Some(last), Masking::Dense | Masking::InputOnly) => self.mask.visible_of(last),
            (None, _) => unreachable!("a ConvNeXt has four stages"),
        }
    }

    /// The stages' maps, zero where hidden unless only the input was masked.
    ///
    /// # Shapes
    /// - output: `[batch, channels, height, width]` each
    pub(super) fn maps(self) -> Vec<Tensor<4>> {
        let Self { stages, mask, masking } = self;
        let whole = |x: Tensor<4>| match masking {
            Masking::Sparse => {
                let [_, _, _, channels] = x.dims();
                let hidden = Tensor::zeros([channels], &x.device());
                mask.place(x, hidden)
            }
            Masking::Dense | Masking::InputOnly => x,
        };
        stages.into_iter().map(|x| whole(x).permute([0, 3, 1, 2])).collect()
    }
}

/// The mask of a stage's map.
fn keep(mask: &Mask, map_nhwc: &Tensor<4>) -> Tensor<4> {
    let [_, height, _, _] = map_nhwc.dims();
    let [rows, _] = mask.grid();
    mask.keep(height / rows, &map_nhwc.device())
}
