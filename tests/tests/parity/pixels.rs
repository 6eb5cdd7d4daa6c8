//! Resized images and rasterised truth against OpenCV and mmdet, pixel for pixel.

use std::sync::Arc;

use cvx_data::{BoxXyxy, Coco, CocoDataset, Dataset, keep_ratio_size, read_image, resize_bilinear};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance;
use image::RgbImage;

/// Compares an image with a golden of OpenCV's channel order, byte for byte.
#[track_caller]
fn assert_equals_bgr(image: &RgbImage, golden: &Golden, file: &str, tensor: &str) {
    let expected = golden.tensors(file).i64(tensor);
    let shape: Vec<usize> = expected.shape.iter().copied().filter(|&size| size != 1).collect();
    let (width, height) = (image.width() as usize, image.height() as usize);
    // Goldens are height, width, channel or channel, height, width.
    let channel_last = shape == [height, width, 3];
    assert!(channel_last || shape == [3, height, width], "{width} x {height}, golden {shape:?}");
    for (x, y, pixel) in image.enumerate_pixels() {
        let position = y as usize * width + x as usize;
        let bgr: [i64; 3] = std::array::from_fn(|channel| {
            let at = if channel_last { position * 3 + channel } else { channel * width * height + position };
            expected.values[at]
        });
        assert_eq!([pixel[2], pixel[1], pixel[0]].map(i64::from), bgr, "{tensor} at {x}, {y}");
    }
}

#[test]
fn the_resize_equals_opencv_on_the_detector_goldens() {
    for golden in Golden::of_kind("mask_rcnn") {
        let sides = sides(&golden.json("meta.json")["resize_scale"]);
        for index in 0..2 {
            let image = read_image(&golden.file(&format!("img{index}.png"))).unwrap();
            let (width, height) = keep_ratio_size(image.width(), image.height(), sides[0], sides[1]);
            let resized = resize_bilinear(&image, width, height);
            let tensor = format!("resized{index}.image_uint8_bgr");
            assert_equals_bgr(&resized, &golden, "expected_inference.safetensors", &tensor);
        }
    }
}

#[test]
fn the_resize_equals_opencv_on_the_segmentation_golden() {
    for golden in Golden::of_kind("upernet") {
        let image = read_image(&golden.file("e2e.png")).unwrap();
        let [long, short] = sides(&golden.json("meta.json")["e2e"]["resize_scale"]);
        let (width, height) = keep_ratio_size(image.width(), image.height(), long, short);
        let resized = resize_bilinear(&image, width, height);
        assert_equals_bgr(&resized, &golden, "expected.safetensors", "e2e.resized_uint8_bgr");
    }
}

#[test]
fn the_truth_equals_mmdet_on_the_detector_golden() {
    for golden in Golden::of_kind("mask_rcnn") {
        let coco = Arc::new(Coco::open_for_scoring(golden.file("annotations.json")).unwrap());
        let dataset = CocoDataset::for_training(coco, golden.folder.clone()).unwrap();
        assert_eq!(dataset.len(), 2);
        let tensors = golden.tensors("expected_train.safetensors");
        for index in 0..2 {
            let sample = dataset.get(index).unwrap();
            let truth: Vec<_> = sample.instances.iter().filter(|instance| !instance.crowd).collect();
            let boxes: Vec<f32> = truth.iter().flat_map(|truth| corners(truth.bbox)).collect();
            let labels: Vec<i64> = truth.iter().map(|truth| truth.class as i64).collect();
            let what = format!("gt.{index}.boxes");
            tolerance::assert_close(&what, &boxes, &tensors.f32(&what).values, tolerance::ONE_OPERATION);
            assert_eq!(labels, tensors.i64(&format!("gt.{index}.labels")).values);
            let ignored: Vec<f32> =
                sample.instances.iter().filter(|i| i.crowd).flat_map(|i| corners(i.bbox)).collect();
            assert_eq!(ignored, tensors.f32(&format!("gt.{index}.ignored_boxes")).values);
            let masks = tensors.i64(&format!("gt.{index}.masks_padded"));
            let [count, height, width] = masks.shape[..] else { panic!("masks of shape {:?}", masks.shape) };
            assert_eq!(truth.len(), count);
            for (instance, truth) in truth.iter().enumerate() {
                let padded = truth.mask.pad_to(width, height);
                for (i, &expected) in
                    masks.values[instance * height * width..][..height * width].iter().enumerate()
                {
                    let (x, y) = (i % width, i / width);
                    assert_eq!(i64::from(padded.get(x, y)), expected, "instance {instance} at {x}, {y}");
                }
            }
        }
    }
}

/// The longer and the shorter side that images are resized to.
fn sides(scale: &serde_json::Value) -> [u32; 2] {
    let [a, b] = [0, 1].map(|axis| scale[axis].as_u64().unwrap() as u32);
    [a.max(b), a.min(b)]
}

fn corners(bbox: BoxXyxy) -> [f32; 4] {
    [bbox.x0, bbox.y0, bbox.x1, bbox.y1]
}
