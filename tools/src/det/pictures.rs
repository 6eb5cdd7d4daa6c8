//! What a detector found in an image beside what there is, as pictures.

use anyhow::Result;
use cvx_data::{BoxXyxy, Coco, CocoDataset, Dataset as _, Mask, Sample};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::data;
use super::inference::Inference;
use super::predict::drawn;
use crate::draw::{Drawn, overlay};
use crate::run_report::Pair;

/// Detections are drawn from this score on.
pub(super) const DRAWN_FROM: f64 = 0.3;

/// Draws image `index` of `dataset` with what is found in it, and with its truth.
///
/// # Errors
/// If the image cannot be read, or a mask is none.
pub(super) fn pair(inference: &Inference<'_>, dataset: &CocoDataset, index: usize) -> Result<Pair> {
    let sample = dataset.get(index)?;
    let (image, image_id) = (sample.image.clone(), sample.image_id);
    let file = sample.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A resize draws no random numbers.
    let input: Sample =
        data::pipeline(inference.preprocessing).apply(sample, &mut ChaCha8Rng::seed_from_u64(0));
    let located = inference.batch(&[input]).remove(0);
    let classes = dataset.class_names();
    let found = drawn(&located, &classes, DRAWN_FROM);
    let truth = truth(dataset, image_id, &classes)?;
    let caption = format!("{file}: {} found, {} there", found.len(), truth.len());
    Ok(Pair {
        prediction: overlay(&image, &found),
        truth: Some(overlay(&image, &truth)),
        caption,
        key: Vec::new(),
    })
}

/// The objects of an image, to draw.
fn truth(dataset: &CocoDataset, image_id: u64, classes: &[String]) -> Result<Vec<Drawn>> {
    let coco: &Coco = dataset.coco();
    let Some(position) = coco.image_positions().get(&image_id).copied() else { return Ok(Vec::new()) };
    let image = &coco.images[position];
    let category_ids = data::category_ids(dataset);
    let mut objects = Vec::new();
    for annotation in coco.annotations.iter().filter(|annotation| annotation.image_id == image_id) {
        let Some(class) = category_ids.iter().position(|id| *id == annotation.category_id) else { continue };
        let rle = annotation.rle(image)?;
        objects.push(Drawn {
            bbox: BoxXyxy::from_coco(annotation.bbox).clip(image.width as f32, image.height as f32),
            mask: rle.map(|rle| Mask::from_rle(&rle)),
            name: if annotation.iscrowd {
                format!("{} (crowd)", classes[class])
            } else {
                classes[class].clone()
            },
            score: None,
            // As for what is found.
            color_index: if classes.len() == 1 { objects.len() } else { class },
        });
    }
    Ok(objects)
}
