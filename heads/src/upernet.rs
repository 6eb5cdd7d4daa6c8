//! UPerNet: a decode head that answers, and an auxiliary head that only helps to train.
//!
//! Paper: Xiao et al. 2018, <https://arxiv.org/abs/1807.10221>; semantics and defaults of mmseg 1.2.2,
//! `configs/_base_/models/upernet_convnext.py`, because published checkpoints and figures are.
//!
//! Behind the name of the module that holds it, every parameter and running statistic is called as in mmseg:
//! `decode_head.psp_modules.0.1.conv.weight`, `auxiliary_head.convs.0.bn.running_var`. Of mmseg's entries only
//! `num_batches_tracked` has no counterpart here; nothing reads it there either.

use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::{FeatureMaps, FeatureSpec};

use crate::fcn_head::{FcnHead, FcnHeadConfig};
use crate::segmentation_loss::{SegmentationLossConfig, SegmentationTerms};
use crate::uper_head::{UperHead, UperHeadSizes};

/// Configuration of an [`UperNet`].
#[derive(Config, Debug)]
pub struct UperNetConfig {
    /// Classes that a pixel may belong to.
    pub num_classes: usize,
    /// Channels of the decode head.
    #[config(default = 512)]
    pub channels: usize,
    /// Rows and columns of the grids that the coarsest map is averaged over.
    #[config(default = "vec![1, 2, 3, 6]")]
    pub pool_scales: Vec<usize>,
    /// Probability with which a channel is left out before classification, in both heads.
    #[config(default = 0.1)]
    pub dropout: f64,
    /// The auxiliary head; mmseg trains without one too.
    #[config(default = "Some(FcnHeadConfig::new())")]
    pub auxiliary: Option<FcnHeadConfig>,
    /// What is minimised.
    #[config(default = "SegmentationLossConfig::new()")]
    pub loss: SegmentationLossConfig,
}

/// The segmenter without its backbone.
#[derive(Module, Debug)]
pub struct UperNet {
    /// Answers.
    pub decode_head: UperHead,
    /// Helps to train.
    pub auxiliary_head: Option<FcnHead>,
    #[module(skip)]
    config: UperNetConfig,
}

/// The losses of both heads, weights multiplied in.
#[derive(Clone, Debug)]
pub struct UperNetLosses {
    /// Of the head that answers.
    pub decode: SegmentationTerms,
    /// Of the auxiliary head, if there is one.
    pub auxiliary: Option<SegmentationTerms>,
}

impl UperNetLosses {
    /// The sum that is minimised.
    pub fn total(self) -> Tensor<1> {
        let Self { decode, auxiliary } = self;
        match auxiliary {
            Some(auxiliary) => decode.total() + auxiliary.total(),
            None => decode.total(),
        }
    }
}

impl UperNetConfig {
    /// A segmenter with random weights over maps as declared by `specs`.
    pub fn init(&self, specs: &[FeatureSpec; 4], device: &Device) -> UperNet {
        let Self { num_classes, channels, pool_scales, dropout, auxiliary, loss: _ } = self;
        let (num_classes, dropout) = (*num_classes, *dropout);
        let sizes = UperHeadSizes { channels: *channels, pool_scales, num_classes, dropout };
        let [_, _, stride_16, _] = specs;
        let auxiliary_head =
            auxiliary.as_ref().map(|head| head.init(stride_16.channels, num_classes, dropout, device));
        UperNet { decode_head: UperHead::new(specs, sizes, device), auxiliary_head, config: self.clone() }
    }
}

impl UperNet {
    /// Classes that a pixel may belong to.
    pub fn num_classes(&self) -> usize {
        self.config.num_classes
    }

    /// The losses of a batch.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - `labels`: `[batch, image height, image width]`, classes or the label that is ignored
    /// - output: `[1]` each
    ///
    /// # Panics
    /// On an autodiff device with a single image whose coarsest map is pooled to a single pixel: batch
    /// normalisation needs two values.
    pub fn losses(&self, maps: FeatureMaps, labels: Tensor<3, Int>) -> UperNetLosses {
        let loss = &self.config.loss;
        let c4 = maps.c4.clone();
        let decode = loss.terms(self.decode_head.forward(maps), labels.clone());
        let auxiliary = self.auxiliary_head.as_ref().zip(self.config.auxiliary.as_ref());
        let auxiliary =
            auxiliary.map(|(head, config)| loss.terms(head.forward(c4), labels).scale(config.loss_weight));
        UperNetLosses { decode, auxiliary }
    }

    /// Logits of the classes at stride 4, of the head that answers.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - output: `[batch, classes, height, width]` of the first map
    pub fn segment(&self, maps: FeatureMaps) -> Tensor<4> {
        self.decode_head.forward(maps)
    }
}
