//! One image, from its pixels to the class of each.

use burn::prelude::*;
use cvx_data::{LabelMap, keep_ratio_size, normalise_into, resize_bilinear};
use image::RgbImage;

use super::inference::{classes, logits};
use super::model::{Preprocessing, Segmentor};

/// The best class of every pixel.
pub(super) fn look_at(
    segmentor: &Segmentor,
    image: &RgbImage,
    preprocessing: &Preprocessing,
    device: &Device,
) -> LabelMap {
    let Preprocessing { input, short_side, long_side, window } = preprocessing;
    let (width, height) = keep_ratio_size(image.width(), image.height(), *long_side, *short_side);
    let resized = resize_bilinear(image, width, height);
    let (height, width) = (height as usize, width as usize);
    let mut planes = vec![0.0; 3 * height * width];
    normalise_into(&resized, input.mean, input.std, &mut planes, height, width);
    let tensor = Tensor::from_data(TensorData::new(planes, [1, 3, height, width]), device);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let best = classes(logits(segmentor, tensor, *window), [height, width]);
    let pixels = best.into_data().iter::<i64>().map(|class| class as u8).collect();
    LabelMap { width, height, pixels }
}
