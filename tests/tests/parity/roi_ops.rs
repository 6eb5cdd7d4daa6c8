//! RoIAlign, non-maximum suppression and mask targets against mmcv, mmdet and torchvision.

use burn::prelude::*;
use cvx_heads::{
    Kept, Roi, SoftNms, TargetMask, batched_nms, batched_soft_nms, mask_targets, nms, roi_align,
    roi_align_composed, roi_level, soft_nms,
};
use cvx_tests::golden::{Array, Golden, Tensors};
use cvx_tests::tensors::{tensor, values};
use cvx_tests::tolerance::{self, assert_close};

type RoiAlign = fn(Tensor<4>, &[Roi], usize, f32, usize, bool) -> Tensor<4>;

/// The op and its composed version.
const BOTH: [(&str, RoiAlign); 2] = [("own", roi_align), ("composed", roi_align_composed)];

fn rois(array: &Array<f32>) -> Vec<Roi> {
    let roi = |row: &[f32]| Roi { batch_index: row[0] as usize, bbox: [row[1], row[2], row[3], row[4]] };
    array.values.chunks_exact(5).map(roi).collect()
}

fn boxes(array: &Array<f32>) -> Vec<[f32; 4]> {
    array.values.as_chunks().0.to_vec()
}

fn indices(file: &Tensors, name: &str) -> Vec<usize> {
    file.i64(name).values.into_iter().map(|index| index as usize).collect()
}

#[test]
fn roi_align_equals_mmcv() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("roi_align.safetensors");
        let rois = rois(&file.f32("in.rois"));
        let scale = file.f32("in.spatial_scale").values[0];
        for (which, align) in BOTH {
            for side in [7, 14] {
                for sampling_ratio in [0, 2] {
                    let name = format!("out{side}.sr{sampling_ratio}");
                    let expected = file.f32(&format!("out.{name}"));
                    let features = tensor(file.f32("in.features"), &cvx_tests::device());
                    let rois = &rois[..expected.shape[0]];
                    let out = align(features, rois, side, scale, sampling_ratio, true);
                    let what = format!("{which} {name}");
                    assert_eq!(out.dims()[..], expected.shape, "{what}");
                    assert_close(&what, &values(out), &expected.values, tolerance::ONE_OPERATION);
                }
            }
        }
    }
}

#[test]
fn the_gradient_of_roi_align_equals_mmcv() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("roi_align.safetensors");
        let device = cvx_tests::device().autodiff();
        let rois = rois(&file.f32("in.rois"));
        let scale = file.f32("in.spatial_scale").values[0];
        for (which, align) in BOTH {
            for sampling_ratio in [0, 2] {
                let features = tensor(file.f32("in.features"), &device).require_grad();
                let out = align(features.clone(), &rois, 7, scale, sampling_ratio, true);
                let grad_out = tensor(file.f32(&format!("in.grad_out7.sr{sampling_ratio}")), &device);
                let grads = (out * grad_out).sum().backward();
                let expected = file.f32(&format!("out.grad_features.out7.sr{sampling_ratio}"));
                let what = format!("{which} gradient, sampling ratio {sampling_ratio}");
                let grad = values(features.grad(&grads).expect("a gradient"));
                assert_close(&what, &grad, &expected.values, tolerance::ONE_OPERATION);
            }
        }
    }
}

#[test]
fn rois_are_mapped_to_levels_as_in_mmdet() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("roi_align.safetensors");
        let rois = rois(&file.f32("in.level_rois"));
        let levels: Vec<_> = rois.iter().map(|roi| roi_level(roi.bbox, 4)).collect();
        assert_eq!(levels, indices(&file, "out.level"));
    }
}

#[test]
fn hard_suppression_equals_torchvision() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("nms.safetensors");
        let boxes = boxes(&file.f32("in.boxes"));
        let scores = file.f32("in.scores").values;
        let classes = indices(&file, "in.ids");
        for iou in [0.3, 0.5, 0.7] {
            let expected = indices(&file, &format!("out.nms.{iou}.keep"));
            assert_eq!(nms(&boxes, &scores, iou), expected, "one class, {iou}");
            let expected = indices(&file, &format!("out.batched_nms.{iou}.keep"));
            assert_eq!(batched_nms(&boxes, &scores, &classes, iou), expected, "by class, {iou}");
        }
    }
}

#[track_caller]
fn assert_kept(kept: &[Kept], file: &Tensors, name: &str) {
    let order: Vec<_> = kept.iter().map(|one| one.index).collect();
    assert_eq!(order, indices(file, &format!("{name}.keep")), "{name}");
    let scores: Vec<_> = kept.iter().map(|one| one.score).collect();
    let expected = file.f32(&format!("{name}.dets")).values;
    let expected: Vec<_> = expected.chunks_exact(5).map(|row| row[4]).collect();
    assert_close(name, &scores, &expected, tolerance::ONE_OPERATION);
}

#[test]
fn soft_suppression_equals_mmcv() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("nms.safetensors");
        let boxes = boxes(&file.f32("in.boxes"));
        let scores = file.f32("in.scores").values;
        let classes = indices(&file, "in.ids");
        for iou in [0.3, 0.5] {
            let kept = batched_soft_nms(&boxes, &scores, &classes, iou, SoftNms::Linear, 1e-3);
            assert_kept(&kept, &file, &format!("out.batched_soft_nms_linear.{iou}"));
        }
        let gaussian = SoftNms::Gaussian { sigma: 0.5 };
        let kept = soft_nms(&boxes, &scores, 0.3, gaussian, 0.05);
        assert_kept(&kept, &file, "out.soft_nms_gaussian");
    }
}

/// The tight rectangle around the set pixels of a bitmap.
fn tight(bitmap: &[u8], frame_width: usize, frame_height: usize) -> TargetMask {
    let set = |i: &usize| bitmap[*i] != 0;
    let columns: Vec<_> = (0..bitmap.len()).filter(set).map(|i| i % frame_width).collect();
    let rows: Vec<_> = (0..bitmap.len()).filter(set).map(|i| i / frame_width).collect();
    let (Some(&x0), Some(&x1)) = (columns.iter().min(), columns.iter().max()) else {
        panic!("the golden masks are not empty");
    };
    let (y0, y1) = (rows[0], rows[rows.len() - 1]);
    let line = |y: usize| &bitmap[y * frame_width + x0..=y * frame_width + x1];
    let pixels = (y0..=y1).flat_map(line).copied().collect();
    TargetMask { frame_width, frame_height, x0, y0, width: x1 + 1 - x0, height: y1 + 1 - y0, pixels }
}

#[test]
fn mask_targets_equal_mmdet() {
    for golden in Golden::of_kind("ops") {
        let file = golden.tensors("masks.safetensors");
        let masks = file.i64("in.gt_masks");
        let bitmaps: Vec<u8> = masks.values.iter().map(|&pixel| pixel as u8).collect();
        let [_, height, width] = masks.shape[..] else { panic!("[masks, height, width]") };
        let masks: Vec<_> =
            bitmaps.chunks_exact(height * width).map(|bitmap| tight(bitmap, width, height)).collect();
        let boxes = boxes(&file.f32("in.boxes"));
        let assigned = indices(&file, "in.gt_inds");
        let targets = mask_targets(&boxes, &assigned, &masks, 28);
        let expected: Vec<u8> =
            file.i64("out.mask_targets28").values.into_iter().map(|cell| cell as u8).collect();
        assert!(targets == expected, "{} cells differ", {
            targets.iter().zip(&expected).filter(|(a, b)| a != b).count()
        });
    }
}
