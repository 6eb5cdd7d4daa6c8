//! Inference against mmseg: every stage of the heads, whole images and windows, from a file to classes.

use burn::prelude::*;
use cvx_backbone::FeatureMaps;
use cvx_data::{keep_ratio_size, normalise_into, read_image, resize_bilinear};
use cvx_tests::golden::{Golden, Tensors};
use cvx_tests::tensors::values;
use cvx_tests::tolerance::{FORWARD, assert_close};
use cvx_tools::seg::inference::{Window, classes, logits};

use crate::segmentor_reference::{Reference, input, number, window};

#[track_caller]
fn assert_classes(expected: &Tensors, name: &str, actual: Tensor<3, Int>) {
    let actual: Vec<i64> = actual.into_data().iter::<i64>().collect();
    let expected = expected.i64(name).values;
    assert_eq!(actual.len(), expected.len(), "{name}: number of pixels");
    let differing = actual.iter().zip(&expected).filter(|(actual, expected)| actual != expected).count();
    assert_eq!(differing, 0, "{name}: pixels of another class, of {}", actual.len());
}

/// Compares what the golden has.
#[track_caller]
fn close(expected: &Tensors, name: &str, actual: Tensor<4>) {
    if expected.contains(name) {
        assert_close(name, &values(actual), &expected.f32(name).values, FORWARD);
    }
}

#[test]
fn every_stage_of_the_heads_is_that_of_mmseg() {
    let device = cvx_tests::device();
    for golden in Golden::of_kind("upernet") {
        let expected = golden.tensors("expected.safetensors");
        let Reference { segmentor, .. } = Reference::new(&golden, "mmseg.pth", &device, |heads| heads);
        for case in ["even", "odd"] {
            let name = |what: &str| format!("{case}.{what}");
            let images = input(&golden, case, &device);
            let maps = segmentor.backbone.forward(images.clone());
            let FeatureMaps { c4, c5, .. } = maps.clone();

            let head = &segmentor.heads.decode_head;
            let (pooled, bottleneck) = head.pool(c5);
            for (scale, pooled) in pooled.into_iter().enumerate() {
                close(&expected, &name(&format!("psp_upsampled{scale}")), pooled);
            }
            close(&expected, &name("psp_bottleneck"), bottleneck);
            close(&expected, &name("fpn_fused"), head.fuse(maps.clone()));
            let quarter = segmentor.heads.segment(maps);
            assert_close(
                "logits_quarter",
                &values(quarter),
                &expected.f32(&name("logits_quarter")).values,
                FORWARD,
            );
            let auxiliary = segmentor.heads.auxiliary_head.as_ref().expect("an auxiliary head").forward(c4);
            close(&expected, &name("aux_logits"), auxiliary);

            let [_, _, height, width] = images.dims();
            let full = logits(&segmentor, images, Window::Whole);
            close(&expected, &name("logits_full"), full.clone());
            close(&expected, &name("logits_full.0"), full.clone().narrow(0, 0, 1));
            if expected.contains(&name("argmax")) {
                assert_classes(&expected, &name("argmax"), classes(full, [height, width]));
            }
        }
    }
}

#[test]
fn windows_are_cut_and_averaged_as_by_mmseg() {
    let device = cvx_tests::device();
    for golden in Golden::of_kind("upernet") {
        let expected = golden.tensors("expected.safetensors");
        let Reference { segmentor, .. } = Reference::new(&golden, "mmseg.pth", &device, |heads| heads);
        for case in ["slide", "slide_small"] {
            let images = input(&golden, case, &device);
            let [_, _, height, width] = images.dims();
            let found = logits(&segmentor, images, window(&golden));
            let name = format!("{case}.logits");
            assert_close(&name, &values(found.clone()), &expected.f32(&name).values, FORWARD);
            assert_classes(&expected, &format!("{case}.argmax"), classes(found.clone(), [height, width]));
            let prefix = format!("{case}.resized_to_");
            for name in expected.names().iter().filter(|name| name.starts_with(&prefix)) {
                let &[_, height, width] = &expected.i64(name).shape[..] else {
                    panic!("{name} has three axes")
                };
                assert_classes(&expected, name, classes(found.clone(), [height, width]));
            }
        }
        let images = input(&golden, "slide", &device);
        let [_, _, height, width] = images.dims();
        let whole = logits(&segmentor, images, Window::Whole);
        assert_classes(&expected, "whole.argmax_of_slide_image", classes(whole, [height, width]));
    }
}

#[test]
fn a_file_becomes_the_classes_that_mmseg_finds_in_it() {
    const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
    const STD: [f32; 3] = [58.395, 57.12, 57.375];
    let device = cvx_tests::device();
    for golden in Golden::of_kind("upernet") {
        let meta = &golden.json("meta.json")["e2e"];
        let sides = |value: &serde_json::Value| [0, 1].map(|axis| number(&value[axis]));
        let image = read_image(&golden.file("e2e.png")).expect("an image");
        let original = [image.height() as usize, image.width() as usize];
        assert_eq!(original, sides(&meta["ori_shape"]));
        let [long, short] = sides(&meta["resize_scale"]).map(|side| side as u32);
        let (width, height) = keep_ratio_size(image.width(), image.height(), long, short);
        let resized = resize_bilinear(&image, width, height);
        let [height, width] = [height, width].map(|side| side as usize);
        let mut planes = vec![0.0; 3 * height * width];
        normalise_into(&resized, MEAN, STD, &mut planes, height, width);
        let images = Tensor::from_data(TensorData::new(planes, [1, 3, height, width]), &device);

        let Reference { segmentor, .. } = Reference::new(&golden, "mmseg.pth", &device, |heads| heads);
        let found = classes(logits(&segmentor, images, window(&golden)), original);
        assert_classes(&golden.tensors("expected.safetensors"), "e2e.argmax", found);
    }
}
