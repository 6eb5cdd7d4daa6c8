//! Anchors, deltas and assignment against mmdet's, number by number.

use cvx_heads::{Anchors, Assigned, BoxCoder, ImageSize, LowQualityMatch, MaxIouAssigner, clip, iou};
use cvx_tests::golden::{Array, Golden, Tensors};
use cvx_tests::tolerance::{FORWARD, assert_close};

fn boxes(tensors: &Tensors, name: &str) -> Vec<[f32; 4]> {
    let Array { values, .. } = tensors.f32(name);
    values.as_chunks::<4>().0.to_vec()
}

#[test]
fn anchors_are_those_of_mmdet_to_the_bit() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("anchors.safetensors");
        let anchors = Anchors::new(&[4, 8, 16, 32, 64], &[8.0], &[0.5, 1.0, 2.0]);
        let sizes = golden.i64("in.sizes").values;
        let map_sizes: Vec<[usize; 2]> =
            sizes.as_chunks::<2>().0.iter().map(|size| size.map(|side| side as usize)).collect();
        let padded = golden.i64("in.pad_shape_for_valid").values;
        let [padded_height, padded_width] = [padded[0] as usize, padded[1] as usize];
        let size = ImageSize { height: padded_height, width: padded_width, padded_height, padded_width };

        let mut all = Vec::new();
        let mut valid = Vec::new();
        for level in 0..map_sizes.len() {
            assert_close(
                "base anchors",
                anchors.base(level).as_flattened(),
                &golden.f32(&format!("out.base.{level}")).values,
                0.0,
            );
            let flags = golden.i64(&format!("out.valid.{level}")).values;
            valid.extend((all.len()..).zip(flags).filter(|(_, flag)| *flag == 1).map(|(at, _)| at));
            all.extend(boxes(&golden, &format!("out.anchors.{level}")));
        }
        assert_eq!(anchors.grid(&map_sizes), all);
        assert_eq!(anchors.valid(&map_sizes, &size), valid);
        assert_eq!(anchors.counts(&map_sizes).iter().sum::<usize>(), all.len());
    }
}

#[test]
fn deltas_are_encoded_and_decoded_as_by_mmdet() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("delta_coder.safetensors");
        let references = boxes(&golden, "in.boxes");
        let deltas = boxes(&golden, "in.deltas");
        let truths = boxes(&golden, "in.gt");
        let shape = golden.i64("in.max_shape_hw").values;
        let [height, width] = [shape[0] as usize, shape[1] as usize];
        let size = ImageSize { height, width, padded_height: height, padded_width: width };
        let check = |name: &str, actual: Vec<[f32; 4]>| {
            assert_close(name, actual.as_flattened(), &golden.f32(name).values, FORWARD);
        };

        for (name, stds) in [("rpn", [1.0; 4]), ("roi", [0.1, 0.1, 0.2, 0.2])] {
            let coder = BoxCoder { stds };
            let encoded = references.iter().zip(&truths).map(|(&from, &to)| coder.encode(from, to));
            check(&format!("out.{name}.encode"), encoded.collect());
            let decode = |(&from, &delta)| coder.decode(from, delta);
            let decoded: Vec<_> = references.iter().zip(&deltas).map(decode).collect();
            let clipped = decoded.iter().map(|&decoded| clip(decoded, &size)).collect();
            check(&format!("out.{name}.decode"), decoded);
            check(&format!("out.{name}.decode_clipped"), clipped);
        }

        let coder = BoxCoder { stds: [0.1, 0.1, 0.2, 0.2] };
        let by_class = boxes(&golden, "in.multiclass_deltas");
        let classes = by_class.len() / references.len();
        let decoded = by_class
            .iter()
            .enumerate()
            .map(|(at, &delta)| clip(coder.decode(references[at / classes], delta), &size))
            .collect();
        check("out.roi.decode_multiclass_clipped", decoded);
    }
}

#[test]
fn assignment_is_that_of_mmdet_exactly() {
    for golden in Golden::of_kind("ops") {
        let golden = golden.tensors("assigner.safetensors");
        let truths = boxes(&golden, "in.gt");
        let anchors = boxes(&golden, "in.anchors");
        let proposals = boxes(&golden, "in.proposals");
        let without_rescue = MaxIouAssigner { low_quality: LowQualityMatch::Off, ..MaxIouAssigner::roi() };
        let cases = [
            ("rpn", MaxIouAssigner::rpn(), &anchors),
            ("rcnn", MaxIouAssigner::roi(), &proposals),
            ("rcnn_no_low_quality", without_rescue, &proposals),
        ];
        // mmdet counts truths from one; 0 is background and -1 ignored.
        let as_mmdet = |assigned: Vec<Assigned>| -> Vec<i64> {
            let number = |assigned| match assigned {
                Assigned::Ignored => -1,
                Assigned::Background => 0,
                Assigned::Truth(truth) => i64::from(truth) + 1,
            };
            assigned.into_iter().map(number).collect()
        };
        for (name, assigner, priors) in cases {
            let expected = golden.i64(&format!("out.{name}.gt_inds")).values;
            assert_eq!(as_mmdet(assigner.assign(priors, &truths)), expected, "{name}");
            let expected = golden.i64(&format!("out.{name}.empty_gt.gt_inds")).values;
            assert_eq!(as_mmdet(assigner.assign(priors, &[])), expected, "{name} without truths");
        }

        let overlaps: Vec<f32> =
            truths.iter().flat_map(|&truth| proposals.iter().map(move |&prior| iou(truth, prior))).collect();
        assert_close("overlaps", &overlaps, &golden.f32("out.iou_gt_x_proposals").values, FORWARD);
    }
}
