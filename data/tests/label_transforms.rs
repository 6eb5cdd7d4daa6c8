//! Resizes of images and labels, and what label files hold, against mmseg's own pipeline.

use std::path::{Path, PathBuf};

use cvx_data::{
    Geometry, LabelEncoding, LabelMap, Photometric8Bit, Pipeline, Sample, Transform, ZeroLabel,
    pad_labels_into, read_image, read_label_png,
};
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segmentation")
}

fn reference() -> Value {
    serde_json::from_str(include_str!("segmentation/transforms.json")).unwrap()
}

/// A pixel of grey or a class for each.
fn sample(image: RgbImage, labels: LabelMap) -> Sample {
    let geometry = Geometry::identity(labels.width, labels.height);
    let (instances, labels) = (Vec::new(), Some(labels));
    Sample { image_id: 0, index: 0, file: "frozen".into(), image, instances, labels, geometry }
}

/// `RandomResize` where one ratio alone is possible.
fn resized(sample: Sample, long: &Value, short: &Value, ratio: &Value) -> Sample {
    let side = |value: &Value| value.as_u64().unwrap() as u32;
    let ratio = ratio.as_f64().unwrap();
    let (long, short) = (side(long), side(short));
    let resize = Transform::RandomResize { long, short, min_ratio: ratio, max_ratio: ratio };
    Pipeline { transforms: vec![resize] }.apply(sample, &mut ChaCha8Rng::seed_from_u64(0))
}

#[test]
fn image_and_labels_are_resized_as_by_mmseg_to_the_bit() {
    let input = |name: &str| folder().join(name);
    let original =
        sample(read_image(&input("image.png")).unwrap(), read_label_png(&input("labels.png"), None).unwrap());
    let resizes = reference()["resizes"].as_array().unwrap().clone();
    assert_eq!(resizes.len(), 5);
    for (case, resize) in resizes.iter().enumerate() {
        let bent = resized(original.clone(), &resize[0], &resize[1], &resize[2]);
        let image = read_image(&input(&format!("resized_{case}.png"))).unwrap();
        let labels = read_label_png(&input(&format!("labels_{case}.png")), None).unwrap();
        assert!(bent.image == image, "image of case {case}");
        assert_eq!(bent.labels, Some(labels), "labels of case {case}");
        let geometry = bent.geometry;
        assert_eq!((geometry.input_width as u32, geometry.input_height as u32), image.dimensions());
    }
}

#[test]
fn a_random_ratio_gives_the_size_that_mmcv_gives() {
    let sizes = reference()["sizes"].as_array().unwrap().clone();
    assert_eq!(sizes.len(), 200);
    for case in &sizes {
        let side = |position: usize| case[position].as_u64().unwrap() as u32;
        let (width, height) = (side(0), side(1));
        let labels = LabelMap::filled(width as usize, height as usize, 3);
        let bent = resized(sample(RgbImage::new(width, height), labels), &case[2], &case[3], &case[4]);
        assert_eq!(bent.image.dimensions(), (side(5), side(6)), "{case}");
        assert_eq!(bent.labels, Some(LabelMap::filled(side(5) as usize, side(6) as usize, 3)));
    }
}

#[test]
fn a_single_pixel_passes_through_the_training_of_a_segmentor() {
    let pipeline = Pipeline {
        transforms: vec![
            Transform::RandomResize { long: 2048, short: 512, min_ratio: 0.5, max_ratio: 2.0 },
            Transform::RandomCropLabelled { height: 512, width: 512, max_category_ratio: 0.75 },
            Transform::Flip { probability: 0.5 },
            Transform::PhotometricDistortion8Bit(Photometric8Bit::default()),
        ],
    };
    for (seed, class) in [(0, 0), (1, 7), (2, LabelMap::IGNORED)] {
        let one = sample(RgbImage::new(1, 1), LabelMap::filled(1, 1, class));
        let bent = pipeline.apply(one, &mut ChaCha8Rng::seed_from_u64(seed));
        let side = bent.image.width() as usize;
        assert!((256..=512).contains(&side), "{side}");
        assert_eq!(bent.labels, Some(LabelMap::filled(side, side, class)));
        // What is missing of the crop is padded, and ignored.
        let mut plane = vec![0i32; 512 * 512];
        pad_labels_into(&bent.labels.unwrap(), &mut plane, 512, 512);
        let padded = plane.iter().filter(|&&class| class == 255).count();
        assert_eq!(padded, if class == LabelMap::IGNORED { 512 * 512 } else { 512 * 512 - side * side });
    }
}

fn values(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u8).collect()
}

#[test]
fn zero_is_reduced_as_by_mmseg() {
    let encoding = LabelEncoding::Index { zero: ZeroLabel::Ignored, ignored: Vec::new() };
    let labels = encoding.read(&folder().join("values.png"), 254).unwrap();
    assert_eq!(labels.pixels, values(&reference()["reduced"]));
}

#[test]
fn palette_files_hold_the_indices_that_mmseg_reads() {
    for file in ["indexed.png", "interlaced.png"] {
        let labels = read_label_png(&folder().join(file), None).unwrap();
        assert_eq!((labels.width, labels.height), (13, 7));
        assert_eq!(labels.pixels, values(&reference()["indexed"]), "{file}");
    }
}
