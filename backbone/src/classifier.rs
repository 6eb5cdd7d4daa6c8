//! ConvNeXt as a classifier: the mean over all positions, a norm, one linear layer.
//!
//! Papers and code as in [`crate::ConvNext`]. Field names, and so parameter paths, are the official
//! ones (`norm`, `head`), with the backbone under `backbone.`.

use burn::config::Config;
use burn::nn::Linear;
use burn::prelude::*;

use crate::channel_norm::ChannelNorm;
use crate::convnext::{ConvNext, ConvNextConfig};
use crate::initializer;
use crate::ops::linear_layer;

/// What a [`Classifier`] is made of.
#[derive(Config, Debug)]
pub struct ClassifierConfig {
    /// The backbone; whether it has output norms does not matter, a classifier has none.
    pub backbone: ConvNextConfig,
    /// Number of classes; 0: no last layer, as in models that only give features.
    pub num_classes: usize,
    /// The last layer's initial weights are multiplied by it (ConvNeXt-V2 `head_init_scale`: 0.001
    /// in fine-tuning).
    #[config(default = 1.0)]
    pub head_init_scale: f64,
}

/// Images in, logits out.
#[derive(Module, Debug)]
pub struct Classifier {
    /// Images in, feature maps out; only the last is looked at.
    pub backbone: ConvNext,
    /// Norm of the mean over all positions.
    pub norm: ChannelNorm,
    /// The last layer, `[channels, classes]`; absent in models that only give features.
    pub head: Option<Linear>,
}

impl ClassifierConfig {
    /// A freshly initialised classifier on `device`.
    pub fn init(&self, device: &Device) -> Classifier {
        let backbone = self.backbone.clone().with_output_norms(false);
        let [_, _, _, channels] = backbone.dims;
        let head = (self.num_classes > 0)
            .then(|| initializer::scaled_linear(channels, self.num_classes, self.head_init_scale, device));
        Classifier { backbone: backbone.init(device), norm: ChannelNorm::init(channels, device), head }
    }
}

impl Classifier {
    /// The normalised mean over all positions of the last map.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, 32 pixels or more in both directions
    /// - output: `[batch, channels of the last stage]`
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let map = self.backbone.forward(images).c5;
        let [batch, channels, _, _] = map.dims();
        let pooled = map.mean_dims(&[2, 3]).reshape([batch, 1, 1, channels]);
        self.norm.forward(pooled).reshape([batch, channels])
    }

    /// One logit a class.
    ///
    /// # Shapes
    /// - `images`: `[batch, 3, height, width]`, normalised, 32 pixels or more in both directions
    /// - output: `[batch, classes]`
    ///
    /// # Panics
    /// If the model has no last layer.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let head = self.head.as_ref().expect("a model without classes has no logits");
        linear_layer(self.features(images), head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockNorm;

    #[test]
    fn logits_are_one_a_class_and_a_model_without_classes_has_as_many_parameters_less() {
        let config = ConvNextConfig::new([1, 1, 1, 1], [4, 8, 12, 16], BlockNorm::Grn);
        let device = Device::flex();
        let classifier = ClassifierConfig::new(config.clone(), 5).init(&device);
        let logits = classifier.forward(Tensor::ones([2, 3, 33, 47], &device));
        assert_shape!(logits, [2, 5]);
        let without = ClassifierConfig::new(config, 0).init(&device);
        assert_eq!(classifier.num_params() - without.num_params(), 16 * 5 + 5);
    }
}
