//! Whether the anchors of a recipe can find the objects of its data, and whether there is room for all of them.

use cvx_data::Coco;
use rayon::prelude::*;

use super::scale;
use crate::findings::Findings;
use crate::recipe::{Head, Recipe};

/// Strides of the levels that anchors lie on.
const STRIDES: [f64; 5] = [4.0, 8.0, 16.0, 32.0, 64.0];
/// A share of objects below this is no reason to change the anchors: COCO itself has some.
const FEW: f64 = 0.02;

/// Notes objects that no anchor resembles, and images with more objects than may be found.
pub(super) fn doubt(recipe: &Recipe, coco: &Coco, findings: &mut Findings) {
    let Head::MaskRcnn(head) = &recipe.head;
    let anchors: Vec<[f64; 2]> = STRIDES
        .iter()
        .flat_map(|stride| head.rpn.anchor_scales.iter().map(move |scale| stride * f64::from(*scale)))
        .flat_map(|side| {
            let ratio = |ratio: &f32| f64::from(*ratio).sqrt();
            head.rpn.anchor_ratios.iter().map(move |r| [side / ratio(r), side * ratio(r)])
        })
        .collect();
    let positions = coco.image_positions();
    let best = |size: [f64; 2]| anchors.iter().map(|anchor| likeness(size, *anchor)).fold(0.0, f64::max);
    let lowest = f64::from(head.rpn.negative_iou);
    let objects: Vec<_> = coco
        .annotations
        .par_iter()
        .filter(|annotation| !annotation.iscrowd && annotation.bbox[2] >= 1.0 && annotation.bbox[3] >= 1.0)
        .filter_map(|annotation| {
            let image = &coco.images[*positions.get(&annotation.image_id)?];
            let scale = scale(recipe, image.width, image.height);
            let size = [annotation.bbox[2] * scale, annotation.bbox[3] * scale];
            Some((annotation.id, size, best(size) < lowest))
        })
        .collect();
    let lost: Vec<_> = objects.iter().filter(|(_, _, is_lost)| *is_lost).collect();
    let share = lost.len() as f64 / objects.len().max(1) as f64;
    if let Some((id, [width, height], _)) = lost.first().filter(|_| share > FEW) {
        findings.warn(format!(
            "{}: {} of {} objects ({:.1} %) overlap no anchor by head.mask-rcnn.rpn.negative_iou = {}, wherever it lies, such as annotation {id} of {width:.0} x {height:.0} pixels after the resize; other anchor_scales, anchor_ratios or evaluate.short_side would find them",
            coco.path.display(),
            lost.len(),
            objects.len(),
            100.0 * share,
            head.rpn.negative_iou
        ));
    }
    let mut counts = vec![0; coco.images.len()];
    for annotation in coco.annotations.iter().filter(|annotation| !annotation.iscrowd) {
        if let Some(position) = positions.get(&annotation.image_id) {
            counts[*position] += 1;
        }
    }
    let most = head.test.detections_per_image;
    for (image, count) in coco.images.iter().zip(counts).filter(|(_, count)| *count > most) {
        let text = format!(
            "{}: image {} has {count} objects, but head.mask-rcnn.test.detections_per_image = {most}",
            coco.path.display(),
            image.id
        );
        findings.warning_of("images with more objects than are found", text);
    }
}

/// IoU of two boxes with one centre.
fn likeness([a_width, a_height]: [f64; 2], [b_width, b_height]: [f64; 2]) -> f64 {
    let common = a_width.min(b_width) * a_height.min(b_height);
    common / (a_width * a_height + b_width * b_height - common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_like_boxes_of_their_size_and_shape() {
        assert_eq!(likeness([4.0, 2.0], [4.0, 2.0]), 1.0);
        assert_eq!(likeness([4.0, 2.0], [2.0, 4.0]), 4.0 / 12.0);
        assert_eq!(likeness([10.0, 10.0], [1.0, 1.0]), 0.01);
    }
}
