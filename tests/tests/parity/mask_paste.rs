//! Pasting mask probabilities into an image, against mmdet.

use cvx_data::{BoxXyxy, paste, paste_probabilities};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::{FORWARD, assert_close};

#[test]
fn masks_are_pasted_as_mmdet_pastes_them() {
    for golden in Golden::of_kind("ops") {
        let tensors = golden.tensors("masks.safetensors");
        let (boxes, probabilities) = (tensors.f32("in.paste_boxes"), tensors.f32("in.paste_probs"));
        let (binary, float) = (tensors.i64("out.paste_binary"), tensors.f32("out.paste_float"));
        let [height, width] = tensors.i64("in.paste_hw").values.try_into().unwrap();
        let (height, width) = (height as usize, width as usize);
        let [count, side, _] = probabilities.shape.try_into().unwrap();
        for index in 0..count {
            let [x0, y0, x1, y1] = boxes.values[4 * index..][..4].try_into().unwrap();
            let bbox = BoxXyxy { x0, y0, x1, y1 };
            let mask_probabilities = &probabilities.values[side * side * index..][..side * side];
            let mask = paste(mask_probabilities, side, bbox, width, height, 0.5);
            let expected = &binary.values[height * width * index..][..height * width];
            let differing = (0..height * width)
                .filter(|at| mask.get(at % width, at / width) != (expected[*at] == 1))
                .count();
            assert_eq!(differing, 0, "mask {index}");
            if index < float.shape[0] {
                let (columns, rows, pasted) =
                    paste_probabilities(mask_probabilities, side, bbox, width, height);
                let mut frame = vec![0.0; height * width];
                for (row, values) in rows.zip(pasted.chunks_exact(columns.len().max(1))) {
                    frame[row * width..][columns.clone()].copy_from_slice(values);
                }
                let expected = &float.values[height * width * index..][..height * width];
                assert_close(&format!("mask {index}"), &frame, expected, FORWARD);
            }
        }
    }
}
