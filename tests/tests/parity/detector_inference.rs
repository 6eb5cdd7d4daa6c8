//! Inference against mmdet: pyramid, proposals, regions and detections.

use std::collections::BTreeSet;

use cvx_data::{BoxXyxy, Mask, Rle, paste};
use cvx_heads::{Detection, Roi, SoftNms, Suppression, roi_align_levels};
use cvx_tests::golden::Golden;
use cvx_tests::tensors::values;
use cvx_tests::tolerance::{BOX_PIXELS, FORWARD, MASK_PIXELS, SCORE, assert_close};
use serde_json::Value;

use crate::detector_reference::{
    Reference, assert_same_set, batch, boxes, expected_proposals, input, number, size,
};

#[test]
fn pyramid_proposals_and_regions_are_those_of_mmdet() {
    let device = cvx_tests::device();
    let mut compared = BTreeSet::new();
    for golden in Golden::of_kind("mask_rcnn") {
        let expected = golden.tensors("expected_inference.safetensors");
        // The larger goldens hold less of what lies between.
        let mut close = |name: &str, actual: Vec<f32>| {
            if let Some(expected) = expected.get(name) {
                assert_close(name, &actual, &expected.values, FORWARD);
                compared.insert(name.split('.').next().unwrap_or_default().to_owned());
            }
        };
        let Reference { detector, .. } = Reference::new(&golden, &device, |heads| heads);
        let (images, sizes) = batch(&golden, &device);
        close("input.1", values(images.clone().narrow(0, 1, 1)));

        let maps = detector.backbone.forward(images);
        let pyramid = detector.heads.neck.forward(maps.clone());
        let levels = pyramid.levels();
        let predictions = detector.heads.rpn_head.forward(&levels);
        for (level, predictions) in predictions.into_iter().enumerate() {
            close(&format!("fpn.{level}"), values(levels[level].clone()));
            close(&format!("rpn_cls.{level}"), values(predictions.objectness));
            close(&format!("rpn_reg.{level}"), values(predictions.deltas));
        }

        for (image, proposals) in detector.heads.propose(maps, &sizes).iter().enumerate() {
            let prefix = format!("proposals.{image}");
            assert_same_set(&prefix, proposals, &expected_proposals(&expected, &prefix));
        }

        let rows = expected.f32("roi.rois").values;
        let rois: Vec<Roi> = rows
            .as_chunks::<5>()
            .0
            .iter()
            .map(|&[image, x0, y0, x1, y1]| Roi { batch_index: image as usize, bbox: [x0, y0, x1, y1] })
            .collect();
        let regions = roi_align_levels(&pyramid.roi_levels(), &[4, 8, 16, 32], &rois, 7, 0);
        close("roi.feats", values(regions.clone()));
        let predictions = detector.heads.bbox_head.forward(regions);
        close("roi.cls_score", values(predictions.logits));
        close("roi.bbox_pred", values(predictions.deltas));
    }
    assert_eq!(compared.into_iter().collect::<Vec<_>>(), ["fpn", "input", "roi", "rpn_cls", "rpn_reg"]);
}

#[test]
fn detections_are_those_of_mmdet_with_hard_and_with_soft_suppression() {
    let device = cvx_tests::device();
    let soft = Suppression::Soft { iou: 0.5, method: SoftNms::Linear, min_score: 0.001 };
    for golden in Golden::of_kind("mask_rcnn") {
        let meta = golden.json("meta.json");
        let Reference { mut detector, .. } = Reference::new(&golden, &device, |heads| heads);
        let (images, sizes) = batch(&golden, &device);
        for (kind, suppression) in [("hard", Suppression::Hard { iou: 0.5 }), ("soft", soft)] {
            detector.heads.detection.suppression = suppression;
            let found = detector.heads.detect(detector.backbone.forward(images.clone()), &sizes);
            for (image, found) in found.iter().enumerate() {
                let prefix = format!("det.{kind}.{image}");
                assert_detections(&golden, &prefix, image, found, [1.0, 1.0]);
            }
            for image in 0..2 {
                let resized = &meta["resized"][image];
                let size = size(resized);
                let inference = golden.tensors("expected_inference.safetensors");
                let bgr = inference.i64(&format!("resized{image}.image_uint8_bgr")).values;
                let plane = size.height * size.width;
                let planes = bgr.chunks_exact(plane).rev().flatten().map(|&value| value as u8).collect();
                let padded = [size.padded_height, size.padded_width];
                let images = input(&[([size.height, size.width], planes)], padded, &device);
                let found = detector.heads.detect(detector.backbone.forward(images), &[size]);
                let scale = [0, 1].map(|axis| resized["scale_factor"][axis].as_f64().unwrap() as f32);
                let prefix = format!("det.{kind}.resized{image}");
                assert_detections(&golden, &prefix, image, &found[0], scale);
            }
        }
    }
}

/// The masks that mmdet pasted into an image, in the order of the detections.
fn pasted_masks(golden: &Golden, prefix: &str, image: usize) -> Vec<Mask> {
    // `det.hard.0` is of the batch of both images, `det.hard.resized0` of one alone.
    let case = prefix.trim_start_matches("det.");
    let case = if case.contains("resized") { case } else { case.rsplit_once('.').expect("an image").0 };
    let image_id = &golden.json("meta.json")["images"][image]["img_id"];
    let detections = golden.json("detections.json");
    let of_image =
        detections[case].as_array().expect("detections").iter().filter(|one| one["image_id"] == *image_id);
    let mask = |one: &Value| {
        let [height, width] = [0, 1].map(|axis| number(&one["segmentation"]["size"][axis]) as u32);
        let counts = one["segmentation"]["counts"].as_str().expect("counts");
        Mask::from_rle(&Rle::from_compressed(counts, height, width).expect("a mask"))
    };
    of_image.map(mask).collect()
}

/// Detections in input pixels against expected ones in image pixels, `scale` times smaller.
///
/// Each expected one has a partner of its own: the order of two that score almost alike is free.
fn assert_detections(
    golden: &Golden,
    prefix: &str,
    image: usize,
    found: &[Detection],
    [scale_x, scale_y]: [f32; 2],
) {
    let tensors = golden.tensors("expected_inference.safetensors");
    let name = |what: &str| format!("{prefix}.{what}");
    let labels = tensors.i64(&name("labels")).values;
    let scores = tensors.f32(&name("scores")).values;
    let boxes = boxes(&tensors, &name("boxes"));
    let areas = tensors.i64(&name("mask_area")).values;
    let references = pasted_masks(golden, prefix, image);
    let masks = tensors.contains(&name("mask_probs28")).then(|| tensors.f32(&name("mask_probs28")).values);
    let masks = masks.unwrap_or_default();
    let shape = &golden.json("meta.json")["images"][image]["ori_shape"];
    let (frame_height, frame_width) = (number(&shape[0]), number(&shape[1]));

    assert_eq!(found.len(), labels.len(), "{prefix}: number of detections");
    let corners = |[x0, y0, x1, y1]: [f32; 4]| [x0 / scale_x, y0 / scale_y, x1 / scale_x, y1 / scale_y];
    let off = |actual: f32, expected: f32| f64::from((actual - expected).abs());
    let mut rest: Vec<&Detection> = found.iter().collect();
    for (index, &score) in scores.iter().enumerate() {
        let same = |detection: &&Detection| {
            detection.label as i64 == labels[index]
                && corners(detection.bbox).iter().zip(boxes[index]).all(|(&a, b)| off(a, b) <= BOX_PIXELS)
                && off(detection.score, score) <= SCORE
        };
        let partner = rest.iter().position(same).unwrap_or_else(|| {
            panic!("{prefix}: {index} of class {} at {:?}, {score}, is missing", labels[index], boxes[index])
        });
        let Detection { bbox, mask, .. } = rest.remove(partner);
        let [x0, y0, x1, y1] = corners(*bbox);
        let pasted = paste(mask, 28, BoxXyxy { x0, y0, x1, y1 }, frame_width, frame_height, 0.5);
        let reference = &references[index];
        assert_eq!(reference.area() as i64, areas[index], "{prefix}: the golden's own area of mask {index}");
        let pixels = (0..frame_height).flat_map(|y| (0..frame_width).map(move |x| (x, y)));
        let pixels_off = pixels.filter(|&(x, y)| pasted.get(x, y) != reference.get(x, y)).count();
        assert!(pixels_off <= MASK_PIXELS, "{prefix}: mask {index} is {pixels_off} pixels off");
        if let Some(expected) = masks.chunks_exact(28 * 28).nth(index) {
            assert_close(&format!("{prefix}: mask {index}"), mask, expected, FORWARD);
        }
    }
}
