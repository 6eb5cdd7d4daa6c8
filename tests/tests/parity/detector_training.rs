//! Training against mmdet: targets, losses and gradients.

use cvx_heads::{
    AnchorTargets, Anchors, BoxCoder, MaxIouAssigner, ProposalConfig, RandomSampler, RoiTargets, Target,
    TargetMask,
};
use cvx_tests::golden::{Array, Golden};
use cvx_tests::tensors::{gradients_by_path, norm, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, LOSS, assert_close, relative_error};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::detector_reference::{Reference, assert_same_set, batch, boxes, expected_proposals, number, size};

/// Room for every anchor and every proposal: nothing is left to chance.
const EVERYTHING: usize = 1_000_000;

const NUM_LEVELS: usize = 5;

fn targets(golden: &Golden) -> Vec<Target> {
    let tensors = golden.tensors("expected_train.safetensors");
    let target = |image: usize| {
        let name = |what: &str| format!("gt.{image}.{what}");
        let labels = tensors.i64(&name("labels")).values;
        let Array { shape, values } = tensors.i64(&name("masks_padded"));
        let [_, height, width] = shape[..] else { panic!("masks have three axes: {shape:?}") };
        let mask = |pixels: &[i64]| TargetMask {
            frame_width: width,
            frame_height: height,
            x0: 0,
            y0: 0,
            width,
            height,
            pixels: pixels.iter().map(|&pixel| pixel as u8).collect(),
        };
        Target {
            boxes: boxes(&tensors, &name("boxes")),
            labels: labels.into_iter().map(|label| label as usize).collect(),
            masks: values.chunks_exact(height * width).map(mask).collect(),
        }
    };
    (0..2).map(target).collect()
}

#[test]
fn anchors_and_proposals_are_asked_what_mmdet_asks_them() {
    for golden in Golden::of_kind("mask_rcnn") {
        let expected = golden.tensors("expected_train.safetensors");
        let meta = golden.json("meta.json");
        let targets = targets(&golden);
        let sampler = RandomSampler::new(EVERYTHING, 0.5);
        let mut rng = ChaCha8Rng::seed_from_u64(0);

        let shape = &meta["images"][0]["batch_input_shape"];
        let map_sizes: Vec<[usize; 2]> = [4, 8, 16, 32, 64]
            .map(|stride: usize| [0, 1].map(|axis| number(&shape[axis]).div_ceil(stride)))
            .to_vec();
        let anchors = Anchors::new(&[4, 8, 16, 32, 64], &[8.0], &[0.5, 1.0, 2.0]);
        let grid = anchors.grid(&map_sizes);
        let counts = anchors.counts(&map_sizes);
        // mmdet's are level by level, and within a level image by image.
        let mut deltas: Vec<Vec<f32>> = vec![Vec::new(); NUM_LEVELS];
        for (image, target) in targets.iter().enumerate() {
            let asked = AnchorTargets::new(
                &grid,
                &anchors.valid(&map_sizes, &size(&meta["images"][image])),
                &target.boxes,
                &MaxIouAssigner::rpn(),
                &sampler,
                &BoxCoder { stds: [1.0; 4] },
                &mut rng,
            );
            let mut first = 0;
            for (level, &count) in counts.iter().enumerate() {
                let within = |index: &&usize| (first..first + count).contains(*index);
                let name = |what: &str| format!("rpn_targets.{what}.{level}");
                let labels = expected.i64(&name("labels")).values;
                let weights = expected.f32(&name("label_weights")).values;
                let chosen = |label: i64| -> Vec<usize> {
                    let at = |anchor: &usize| image * count + anchor;
                    let all = 0..count;
                    all.filter(|anchor| labels[at(anchor)] == label && weights[at(anchor)] > 0.0)
                        .map(|anchor| first + anchor)
                        .collect()
                };
                let of_level =
                    |indices: &[usize]| -> Vec<usize> { indices.iter().filter(within).copied().collect() };
                assert_eq!(of_level(&asked.samples.positive), chosen(0), "objects on {level}");
                assert_eq!(of_level(&asked.samples.negative), chosen(1), "background on {level}");
                for (index, delta) in asked.samples.positive.iter().zip(&asked.deltas) {
                    if within(&index) {
                        deltas[level].extend(delta);
                    }
                }
                first += count;
            }
        }
        for (level, deltas) in deltas.iter().enumerate() {
            let name = format!("rpn_targets.pos_bbox_targets.{level}");
            assert_close(&name, deltas, &expected.f32(&name).values, FORWARD);
        }

        let mut deltas = Vec::new();
        for (image, target) in targets.iter().enumerate() {
            let asked = RoiTargets::new(
                &boxes(&expected, &format!("train_proposals.{image}.boxes")),
                target,
                &MaxIouAssigner::roi(),
                &sampler,
                &BoxCoder { stds: [0.1, 0.1, 0.2, 0.2] },
                &mut rng,
            );
            let name = |what: &str| format!("rcnn.{image}.{what}");
            let positive: Vec<_> = asked.positive.iter().map(|region| region.bbox).collect();
            assert_eq!(positive, boxes(&expected, &name("pos_priors")));
            let truths: Vec<_> = asked.positive.iter().map(|region| region.truth as i64).collect();
            assert_eq!(truths, expected.i64(&name("pos_assigned_gt")).values);
            assert_eq!([asked.negative.len() as i64][..], expected.i64(&name("num_neg")).values);
            deltas.extend(asked.positive.iter().flat_map(|region| region.deltas));
        }
        let name = "box_targets.pos_bbox_targets";
        assert_close(name, &deltas, &expected.f32(name).values, FORWARD);
    }
}

#[test]
fn losses_and_gradients_are_those_of_mmdet() {
    let device = cvx_tests::device().autodiff();
    for golden in Golden::of_kind("mask_rcnn") {
        let everything = RandomSampler::new(EVERYTHING, 0.5);
        let reference = Reference::new(&golden, &device, |heads| {
            heads
                .with_rpn_sampler(everything.clone())
                .with_roi_sampler(everything.clone())
                .with_test_proposals(ProposalConfig::train())
        });
        let detector = &reference.detector;
        let (images, sizes) = batch(&golden, &device);
        let expected = golden.tensors("expected_train.safetensors");
        let maps = detector.backbone.forward(images);
        for (image, proposals) in detector.heads.propose(maps.clone(), &sizes).iter().enumerate() {
            let prefix = format!("train_proposals.{image}");
            assert_same_set(&prefix, proposals, &expected_proposals(&expected, &prefix));
        }

        let losses = detector.heads.losses(maps, &targets(&golden), &sizes, 0);
        let table = golden.json("losses.json");
        for (name, actual) in [
            ("loss_rpn_cls", &losses.rpn_cls),
            ("loss_rpn_bbox", &losses.rpn_bbox),
            ("loss_cls", &losses.cls),
            ("loss_bbox", &losses.bbox),
            ("loss_mask", &losses.mask),
        ] {
            let expected = table["losses"][name].as_f64().unwrap() as f32;
            assert_close(name, &values(actual.clone()), &[expected], LOSS);
        }

        let gradients = gradients_by_path(detector, losses.total().backward());
        let norms = table["grad_norms"].as_object().unwrap();
        assert_eq!(gradients.len(), norms.len(), "every parameter has a gradient");
        let mut worst = 0.0_f64;
        for (name, expected) in norms {
            let actual = norm(&reference.gradient(name, &gradients));
            let expected = expected.as_f64().unwrap();
            let error = (actual - expected).abs() / expected;
            assert!(error <= GRADIENT, "{name}: norm {actual} is not {expected}");
            worst = worst.max(error);
        }
        let mut worst_element = 0.0_f64;
        for name in expected.names() {
            if let Some(parameter) = name.strip_prefix("grad.") {
                let (actual, expected) =
                    (reference.gradient(parameter, &gradients), expected.f32(&name).values);
                assert_close(&name, &actual, &expected, GRADIENT);
                worst_element = worst_element.max(relative_error(&name, &actual, &expected));
            }
        }
        println!(
            "{}: worst norm of a gradient {worst:.1e} off, worst element {worst_element:.1e}",
            golden.folder.display()
        );
    }
}
