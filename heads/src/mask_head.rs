//! The mask head: which pixels of a region belong to its object.
//!
//! Paper: He et al. 2017, <https://arxiv.org/abs/1703.06870>; semantics of mmdet 3.3,
//! `fcn_mask_head.py`: one mask a class, and only that of the object's class counts.

use burn::module::Module;
use burn::prelude::*;
use burn::tensor::activation::sigmoid;

use crate::conv::{Conv2d, ConvModule, ConvTranspose2d, KAIMING_FAN_OUT};
use crate::conv_op::Activation;
use crate::host::{connected_zero, floats, indices, read_floats};
use crate::rpn::binary_cross_entropy;

/// Configuration of a [`MaskHead`].
#[derive(Config, Debug)]
pub struct MaskHeadConfig {
    /// Classes without the background.
    pub num_classes: usize,
    /// Channels of the pyramid.
    pub channels: usize,
    /// Channels of the hidden layers.
    #[config(default = 256)]
    pub conv_channels: usize,
    /// How many hidden layers before the map is enlarged.
    #[config(default = 4)]
    pub num_convs: usize,
    /// Side of the resampled regions; masks have twice that.
    #[config(default = 14)]
    pub roi_side: usize,
}

/// A small fully convolutional network on each region.
#[derive(Module, Debug)]
pub struct MaskHead {
    convs: Vec<ConvModule>,
    upsample: ConvTranspose2d,
    conv_logits: Conv2d,
    /// Side of the resampled regions that it looks at.
    pub(crate) roi_side: usize,
}

/// What the head says about regions.
#[derive(Clone, Debug)]
pub struct MaskPredictions {
    /// Logits: `[regions, classes, side, side]`.
    pub logits: Tensor<4>,
}

impl MaskHeadConfig {
    /// A head with random weights.
    pub fn init(&self, device: &Device) -> MaskHead {
        let hidden = self.conv_channels;
        let mut inputs = self.channels;
        let mut convs = Vec::with_capacity(self.num_convs);
        for _ in 0..self.num_convs {
            convs.push(ConvModule::new([inputs, hidden], 3, KAIMING_FAN_OUT, device));
            inputs = hidden;
        }
        MaskHead {
            convs,
            upsample: ConvTranspose2d::new([inputs, hidden], KAIMING_FAN_OUT, device),
            conv_logits: Conv2d::new([hidden, self.num_classes], 1, KAIMING_FAN_OUT, device),
            roi_side: self.roi_side,
        }
    }
}

impl MaskHead {
    /// Looks at each region on its own.
    ///
    /// # Shapes
    /// - `regions`: `[regions, channels, side, side]`
    /// - output: logits `[regions, classes, 2 * side, 2 * side]`
    pub fn forward(&self, regions: Tensor<4>) -> MaskPredictions {
        let mut hidden = regions;
        for conv in &self.convs {
            hidden = conv.forward(hidden, Activation::Relu);
        }
        let enlarged = self.upsample.forward(hidden, Activation::Relu);
        MaskPredictions { logits: self.conv_logits.forward(enlarged, Activation::Identity) }
    }
}

impl MaskPredictions {
    /// Binary cross-entropy of the masks of `labels`, one label a region, against `targets` (0 or
    /// 1, row-major, region by region), mean over all pixels.
    ///
    /// # Shapes
    /// - output: `[1]`
    pub fn losses(self, labels: &[usize], targets: &[u8]) -> Tensor<1> {
        let own = self.of_classes(labels);
        let targets = targets.iter().map(|&pixel| f32::from(pixel)).collect();
        let targets = floats(targets, &own.device()).reshape(own.dims());
        binary_cross_entropy(own, targets).mean()
    }

    /// A loss of zero that is connected to every parameter, for a step without objects.
    pub(crate) fn zero_loss(self) -> Tensor<1> {
        connected_zero(self.logits)
    }

    /// Probabilities of the masks of `labels` on the host, `side * side` a region, row-major.
    pub fn read(self, labels: &[usize]) -> Vec<Vec<f32>> {
        let own = self.of_classes(labels);
        let [_, pixels] = own.dims();
        read_floats(sigmoid(own).detach()).chunks_exact(pixels).map(<[f32]>::to_vec).collect()
    }

    /// Logits of one class a region: `[regions, side * side]`.
    fn of_classes(self, labels: &[usize]) -> Tensor<2> {
        let [regions, classes, height, width] = self.logits.dims();
        assert_eq!(labels.len(), regions, "one label a region");
        let device = self.logits.device();
        let row = |(region, &label): (usize, &usize)| {
            assert!(label < classes, "label {label} of {classes} classes");
            (region * classes + label) as i32
        };
        let rows = labels.iter().enumerate().map(row).collect();
        self.logits.reshape([regions * classes, height * width]).select(0, indices(rows, &device))
    }
}
