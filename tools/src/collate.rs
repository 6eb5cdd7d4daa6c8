//! The hatch between pixels and tensors, both ways: samples become a batch, detections become
//! boxes and masks in image pixels. No other file knows both sides.

use burn::prelude::*;
use cvx_data::{
    BoxXyxy, Detection as Found, Geometry, Instance, Mask, Rle, Sample, normalise_into, pad_to_multiple,
    paste,
};
use cvx_heads::{Detection, ImageSize, Target, TargetMask};
use rayon::prelude::*;

use crate::recipe::Input;

/// What the network is given of some samples, besides their pixels.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Normalised, then padded: `[batch, 3, height, width]`.
    pub images: Tensor<4>,
    /// What is to be found; crowd regions are left out.
    pub targets: Vec<Target>,
    /// How much of each padded image is image.
    pub sizes: Vec<ImageSize>,
}

/// Puts samples into one batch: each image padded to a multiple of `pad_multiple`, all of them to
/// the largest height and the largest width among these.
///
/// # Panics
/// Without samples.
pub fn collate(samples: &[Sample], input: &Input, device: &Device) -> Batch {
    let pad = |side: u32| pad_to_multiple(side as usize, input.pad_multiple);
    let sizes: Vec<ImageSize> = samples
        .iter()
        .map(|sample| ImageSize {
            height: sample.image.height() as usize,
            width: sample.image.width() as usize,
            padded_height: pad(sample.image.height()),
            padded_width: pad(sample.image.width()),
        })
        .collect();
    let height = sizes.iter().map(|size| size.padded_height).max().expect("a batch has samples");
    let width = sizes.iter().map(|size| size.padded_width).max().expect("a batch has samples");
    let plane = 3 * height * width;
    let mut pixels = vec![0.0; samples.len() * plane];
    pixels.par_chunks_mut(plane).zip(samples).for_each(|(planes, sample)| {
        normalise_into(&sample.image, input.mean, input.std, planes, height, width);
    });
    let images = Tensor::from_data(TensorData::new(pixels, [samples.len(), 3, height, width]), device);
    let targets = samples.iter().map(|sample| target(&sample.instances, height, width)).collect();
    Batch { images, targets, sizes }
}

/// The truth of one image, its masks in the frame of the padded batch.
fn target(instances: &[Instance], frame_height: usize, frame_width: usize) -> Target {
    let mut target = Target::default();
    for Instance { class, bbox, mask, crowd } in instances {
        if *crowd {
            continue;
        }
        target.boxes.push([bbox.x0, bbox.y0, bbox.x1, bbox.y1]);
        target.labels.push(*class);
        target.masks.push(TargetMask {
            frame_width,
            frame_height,
            x0: mask.x0,
            y0: mask.y0,
            width: mask.width,
            height: mask.height,
            pixels: mask.pixels.clone(),
        });
    }
    target
}

/// A detection in image pixels.
#[derive(Debug, Clone)]
pub struct Located {
    /// Its class index.
    pub class: usize,
    /// 0 to 1.
    pub score: f32,
    /// Its box; it may stick out of the image by the fraction of a pixel that rounding left.
    pub bbox: BoxXyxy,
    /// Its pixels, in the frame of the image.
    pub mask: Mask,
}

/// Brings the detections of one image from input pixels to its own, masks pasted, best first.
pub fn locate(detections: &[Detection], geometry: &Geometry, mask_threshold: f32) -> Vec<Located> {
    let (width, height) = (geometry.image_width, geometry.image_height);
    detections
        .par_iter()
        .map(|detection| {
            let [x0, y0, x1, y1] = detection.bbox;
            let bbox = geometry.undo(BoxXyxy { x0, y0, x1, y1 });
            let side = detection.mask.len().isqrt();
            Located {
                class: detection.label,
                score: detection.score,
                bbox,
                mask: paste(&detection.mask, side, bbox, width, height, mask_threshold),
            }
        })
        .collect()
}

/// Detections of one image as the evaluator and the results file take them.
pub fn results(located: &[Located], image_id: u64, category_ids: &[u64]) -> Vec<Found> {
    located
        .par_iter()
        .map(|Located { class, score, bbox, mask }| Found {
            image_id,
            category_id: category_ids[*class],
            score: f64::from(*score),
            bbox: bbox.to_coco().map(f64::from),
            mask: Some(rle(mask)),
        })
        .collect()
}

fn rle(mask: &Mask) -> Rle {
    mask.to_rle()
}
