//! Properties that hold for every transform, alone and in any chain.

use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Negative, Photometric, Photometric8Bit, Pipeline, Transform};
use crate::boxes::BoxXyxy;
use crate::label_map::LabelMap;
use crate::mask::Mask;
use crate::sample::{Geometry, Instance, Sample};

/// An image whose red channel says which instance a pixel belongs to, 40 apart. Instances are
/// rectangles apart from one another, so that a resize moves their bounds by less than a pixel; boxes
/// are the bounds of the masks, and labels say the class of the instance, from 1.
fn sample(width: usize, height: usize, rng: &mut ChaCha8Rng) -> Sample {
    let mut image =
        RgbImage::from_fn(width as u32, height as u32, |x, y| Rgb([0, (x * 3) as u8, (y * 5) as u8]));
    let mut instances = Vec::new();
    for class in 0..4 {
        let (mask_width, mask_height) = (rng.random_range(2..=width / 4), rng.random_range(2..=height / 2));
        // A quarter of the width each, so that they are disjoint.
        let x0 = class * width / 4 + rng.random_range(0..=width / 4 - mask_width);
        let y0 = rng.random_range(0..=height - mask_height);
        let pixels = vec![1; mask_width * mask_height];
        for i in 0..pixels.len() {
            let (x, y) = (x0 + i % mask_width, y0 + i / mask_width);
            image.get_pixel_mut(x as u32, y as u32)[0] = 40 * (class as u8 + 1);
        }
        let mask = Mask {
            frame_width: width,
            frame_height: height,
            x0,
            y0,
            width: mask_width,
            height: mask_height,
            pixels,
        };
        if let Some(bbox) = mask.bounding_box() {
            instances.push(Instance { class, bbox, mask, crowd: class == 3 });
        }
    }
    let labels = image.chunks_exact(3).map(|pixel| pixel[0] / 40).collect();
    let labels = Some(LabelMap { width, height, pixels: labels });
    let geometry = Geometry::identity(width, height);
    Sample { image_id: 1, index: 0, file: "drawn".into(), image, instances, labels, geometry }
}

/// One of each, with sides that suit images of about 80 pixels.
fn all() -> Vec<Transform> {
    let negative = Negative::Avoid;
    vec![
        Transform::ResizeKeepRatio { long: 97, short: 61 },
        Transform::MultiScale { long: 150, short_sides: vec![40, 70, 110] },
        Transform::LargeScaleJitter { size: 90, min: 0.4, max: 2.0 },
        Transform::RandomCropAbsolute { min: 30, max: 70, negative: Negative::Allow },
        Transform::FixedSizeCrop { width: 50, height: 40, negative },
        Transform::RandomResize { long: 110, short: 70, min_ratio: 0.5, max_ratio: 2.0 },
        Transform::RandomCropLabelled { height: 48, width: 52, max_category_ratio: 0.75 },
        Transform::Flip { probability: 0.5 },
        Transform::FlipVertical { probability: 0.5 },
        Transform::QuarterTurn { probability: 0.5 },
        Transform::PhotometricDistortion(Photometric::default()),
        Transform::PhotometricDistortion8Bit(Photometric8Bit::default()),
        Transform::DropSmall { min_side: 3.0 },
        Transform::resize_or_crop_and_resize(120, &[60, 90], &[50, 70], (30, 60)),
    ]
}

fn resizes(transform: &Transform) -> bool {
    matches!(
        transform,
        Transform::ResizeKeepRatio { .. }
            | Transform::MultiScale { .. }
            | Transform::LargeScaleJitter { .. }
            | Transform::RandomResize { .. }
            | Transform::OneOf(_)
    )
}

fn changes_colors(transform: &Transform) -> bool {
    matches!(transform, Transform::PhotometricDistortion(_) | Transform::PhotometricDistortion8Bit(_))
}

/// Whether boxes were last set to the bounds of the masks.
fn ends_with_a_crop(transform: &Transform) -> bool {
    matches!(
        transform,
        Transform::RandomCropAbsolute { .. }
            | Transform::FixedSizeCrop { .. }
            | Transform::RandomCropLabelled { .. }
            | Transform::LargeScaleJitter { .. }
    )
}

fn edges(bbox: BoxXyxy) -> [f32; 4] {
    [bbox.x0, bbox.y0, bbox.x1, bbox.y1]
}

#[track_caller]
fn assert_near(a: BoxXyxy, b: BoxXyxy, tolerance: f32) {
    for (p, q) in edges(a).into_iter().zip(edges(b)) {
        assert!((p - q).abs() <= tolerance, "{a:?} is not within {tolerance} of {b:?}");
    }
}

/// Applies a chain step by step and checks after each that image, frames, masks and boxes agree.
fn check_chain(chain: &[Transform], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (width, height) = (rng.random_range(40..100), rng.random_range(40..100));
    let original = sample(width, height, &mut rng);
    let mut current = original.clone();
    // How far a box may be from its mask: nothing, until a resize rounds the mask to pixels. And
    // how far from where it was annotated: further, as crops follow the rounded mask.
    let mut tolerance = 0.0;
    let mut drift = 0.0;
    let mut exact_colors = true;
    for transform in chain {
        let before = current.image.width().max(current.image.height()) as f32;
        let pipeline = Pipeline { transforms: vec![transform.clone()] };
        current = pipeline.apply(current, &mut rng);
        let (width, height) = current.image.dimensions();
        if resizes(transform) {
            // A crop may hide how far the longer side was stretched: assume 4, which no case exceeds.
            let scale = if matches!(transform, Transform::ResizeKeepRatio { .. }) {
                width.max(height) as f32 / before * 1.05
            } else {
                4.0
            };
            tolerance = tolerance * scale + 1.0;
            drift = drift * scale + 1.0;
        }
        if let Transform::OneOf(_) = transform {
            // Its own crop, followed by its second resize.
            drift += 4.0;
        }
        if ends_with_a_crop(transform) {
            drift += tolerance;
            tolerance = 0.0;
        }
        exact_colors &= !resizes(transform) && !changes_colors(transform);

        let frame = (width as usize, height as usize);
        assert_eq!((current.geometry.input_width, current.geometry.input_height), frame);
        for instance in &current.instances {
            let mask = &instance.mask;
            assert_eq!((mask.frame_width, mask.frame_height), frame);
            if let Some(bounds) = mask.bounding_box() {
                assert_near(instance.bbox, bounds, tolerance);
            }
            let clipped = instance.bbox.clip(width as f32, height as f32);
            assert_eq!(clipped, instance.bbox, "{transform:?}");
        }
        // Labels follow the masks whatever happens: both are copied from the same places.
        let labels = current.labels.as_ref().unwrap();
        assert_eq!((labels.width, labels.height, labels.pixels.len()), (frame.0, frame.1, frame.0 * frame.1));
        for instance in &current.instances {
            for (x, y) in (0..frame.0).flat_map(|x| (0..frame.1).map(move |y| (x, y))) {
                let shown = instance.mask.get(x, y);
                assert!(!shown || usize::from(labels.get(x, y)) == instance.class + 1, "{transform:?}");
            }
        }
        if exact_colors {
            for (pixel, &label) in current.image.chunks_exact(3).zip(&labels.pixels) {
                assert_eq!(pixel[0] / 40, label, "{transform:?}");
            }
            for (x, y, pixel) in current.image.enumerate_pixels() {
                let owner =
                    current.instances.iter().find(|instance| instance.mask.get(x as usize, y as usize));
                if let Some(owner) = owner {
                    assert_eq!(pixel[0], 40 * (owner.class as u8 + 1), "{transform:?} at {x}, {y}");
                }
            }
        }
    }
    // Back in image pixels no box may leave the one it came from.
    let worst = (current.geometry.x.scale.abs().max(current.geometry.y.scale.abs())) as f32;
    let slack = (drift + 0.01) * worst.max(1.0);
    for instance in &current.instances {
        let source = original.instances.iter().find(|source| source.class == instance.class);
        let source = source.unwrap().bbox;
        let back = current.geometry.undo(instance.bbox);
        let outside = [source.x0 - back.x0, source.y0 - back.y0, back.x1 - source.x1, back.y1 - source.y1];
        assert!(outside.into_iter().all(|by| by <= slack), "{back:?} leaves {source:?}");
    }
}

#[test]
fn every_transform_alone_keeps_image_masks_and_boxes_together() {
    for transform in all() {
        for seed in 0..20 {
            check_chain(std::slice::from_ref(&transform), seed);
        }
    }
}

#[test]
fn every_chain_keeps_image_masks_and_boxes_together() {
    let all = all();
    for seed in 0..150 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed + 1000);
        let length = rng.random_range(2..6);
        let chain: Vec<_> = (0..length).map(|_| all[rng.random_range(0..all.len())].clone()).collect();
        check_chain(&chain, seed);
    }
}

#[test]
fn without_a_crop_undo_gives_the_annotated_box_back() {
    let chain = Pipeline {
        transforms: vec![
            Transform::ResizeKeepRatio { long: 133, short: 101 },
            Transform::Flip { probability: 1.0 },
            Transform::QuarterTurn { probability: 1.0 },
            Transform::ResizeKeepRatio { long: 70, short: 70 },
            Transform::FlipVertical { probability: 1.0 },
        ],
    };
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let original = sample(64, 48, &mut rng);
        let bent = chain.apply(original.clone(), &mut rng);
        for (before, after) in original.instances.iter().zip(&bent.instances) {
            assert_near(bent.geometry.undo(after.bbox), before.bbox, 1e-3);
            assert_near(bent.geometry.apply(before.bbox), after.bbox, 1e-3);
        }
    }
}

/// Applies one transform `times` times and expects the sample it began with.
#[track_caller]
fn case_identity(transform: Transform, times: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let original = sample(31, 22, &mut rng);
    let pipeline = Pipeline { transforms: vec![transform; times] };
    let back = pipeline.apply(original.clone(), &mut rng);
    assert_eq!((&back.image, &back.labels), (&original.image, &original.labels));
    assert_eq!(back.geometry.undo(original.instances[0].bbox), original.instances[0].bbox);
    for (a, b) in back.instances.iter().zip(&original.instances) {
        assert_eq!((a.bbox, a.mask.to_rle()), (b.bbox, b.mask.to_rle()));
    }
}

#[test]
fn flipping_twice_or_turning_four_times_is_the_identity() {
    case_identity(Transform::Flip { probability: 1.0 }, 2);
    case_identity(Transform::FlipVertical { probability: 1.0 }, 2);
    case_identity(Transform::QuarterTurn { probability: 1.0 }, 4);
}

#[test]
fn a_quarter_turn_is_clockwise() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut original = sample(15, 8, &mut rng);
    original.image.put_pixel(0, 0, Rgb([1, 2, 3]));
    let turn = Pipeline { transforms: vec![Transform::QuarterTurn { probability: 1.0 }] };
    let turned = turn.apply(original, &mut rng);
    assert_eq!(turned.image.dimensions(), (8, 15));
    assert_eq!(turned.image.get_pixel(7, 0), &Rgb([1, 2, 3]));
}

#[test]
fn the_rng_alone_decides() {
    let pipeline = Pipeline { transforms: all() };
    let run = |seed| {
        let original = sample(60, 60, &mut ChaCha8Rng::seed_from_u64(1));
        pipeline.apply(original, &mut ChaCha8Rng::seed_from_u64(seed))
    };
    assert_eq!(run(5).image, run(5).image);
    assert_eq!(run(5).instances, run(5).instances);
    assert_ne!(run(5).image, run(6).image);
}

#[test]
fn large_scale_jitter_never_exceeds_its_size() {
    let jitter = Transform::LargeScaleJitter { size: 64, min: 0.1, max: 2.0 };
    let mut sides = Vec::new();
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let original = sample(80, 50, &mut rng);
        let bent = Pipeline { transforms: vec![jitter.clone()] }.apply(original, &mut rng);
        assert!(bent.image.width() <= 64 && bent.image.height() <= 64);
        sides.push(bent.image.width());
    }
    // Ratios from 0.1 to 2 of 64: small images occur, and so do cropped ones.
    assert!(sides.iter().any(|&side| side < 20) && sides.iter().filter(|&&s| s == 64).count() > 20);
}

#[test]
fn crops_that_avoid_negatives_touch_an_object() {
    let crop = Transform::FixedSizeCrop { width: 12, height: 12, negative: Negative::Avoid };
    let crop = Pipeline { transforms: vec![crop] };
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut original = sample(90, 90, &mut rng);
        original.instances.truncate(1);
        // A full square, so that its centre is set.
        let mask = Mask {
            frame_width: 90,
            frame_height: 90,
            x0: 70,
            y0: 5,
            width: 6,
            height: 4,
            pixels: vec![1; 24],
        };
        original.instances[0].bbox = mask.bounding_box().unwrap();
        original.instances[0].mask = mask;
        assert_eq!(crop.apply(original, &mut rng).instances.len(), 1, "seed {seed}");
    }
}

#[test]
fn an_image_without_objects_passes_through_everything() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut empty = sample(41, 33, &mut rng);
    empty.instances.clear();
    let bent = Pipeline { transforms: all() }.apply(empty, &mut rng);
    assert!(bent.instances.is_empty());
}
