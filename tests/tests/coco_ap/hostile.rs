//! A hundred thousand texts that nobody would write: no panic, no hang, no memory out of proportion, and what is read is
//! written back as it was.

use std::path::Path;

use cvx_data::{Coco, CocoEvaluator, CocoResults, IouType, Params, Rle, decode_image};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const TEXTS: u64 = 100_000;

fn side(rng: &mut impl Rng) -> u32 {
    match rng.random_range(0..10) {
        0 => 0,
        1 => rng.random(),
        2 => 1 << 16,
        _ => rng.random_range(1..200),
    }
}

#[test]
fn any_string_is_a_mask_or_an_error() {
    (0..TEXTS).into_par_iter().for_each(|seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (height, width) = (side(rng), side(rng));
        let len = rng.random_range(0..24);
        let text: String = (0..len)
            .map(|_| match rng.random_range(0..40) {
                0 => rng.random::<char>(),
                _ => char::from(rng.random_range(47..113u8)),
            })
            .collect();
        if let Ok(mask) = Rle::from_compressed(&text, height, width) {
            assert_eq!(Rle::from_compressed(&mask.to_compressed(), height, width), Ok(mask.clone()));
            let [x, y, w, h] = mask.to_box();
            assert!(x + w <= f64::from(width) && y + h <= f64::from(height) && mask.area() as f64 <= w * h);
        }
        // A mask that is one, whole or damaged.
        let (height, width) = (rng.random_range(1..50u32), rng.random_range(1..50u32));
        let mut left = height * width;
        let mut counts = Vec::new();
        while left > 0 {
            let count = rng.random_range(0..=left.min(60));
            counts.push(count);
            left -= count;
        }
        let mask = Rle::from_counts(counts, height, width).unwrap();
        let mut text = mask.to_compressed();
        assert_eq!(Rle::from_compressed(&text, height, width).as_ref(), Ok(&mask));
        let at = rng.random_range(0..text.len());
        text.replace_range(at..at + 1, &char::from(rng.random_range(48..112u8)).to_string());
        if let Ok(other) = Rle::from_compressed(&text, height, width) {
            assert_eq!(
                other.counts.iter().map(|&count| u64::from(count)).sum::<u64>(),
                u64::from(height * width)
            );
        }
    });
}

#[test]
fn any_numbers_are_polygons_or_an_error() {
    (0..TEXTS).into_par_iter().for_each(|seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (height, width) = (side(rng), side(rng).min(5000));
        let number = |rng: &mut ChaCha8Rng| match rng.random_range(0..30) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -1e300,
            3 => f64::MAX,
            4 => 4e8 * rng.random_range(-1.0..1.0),
            5 => -0.0,
            _ => rng.random_range(-50.0..250.0),
        };
        let polygons: Vec<Vec<f64>> = (0..rng.random_range(0..3))
            .map(|_| (0..rng.random_range(0..14)).map(|_| number(rng)).collect())
            .collect();
        if let Ok(mask) = Rle::from_polygons(&polygons, height, width) {
            let sum: u64 = mask.counts.iter().map(|&count| u64::from(count)).sum();
            assert_eq!(sum, u64::from(height) * u64::from(width), "seed {seed}: {polygons:?}");
            // Two crossings a column and vertex at most, and the runs between them.
            let numbers: usize = polygons.iter().map(Vec::len).sum();
            assert!(mask.counts.len() <= (numbers + 2) * (width as usize + 1) * 2);
        }
    });
}

/// Changes bytes, cuts, and doubles pieces.
fn damage(rng: &mut impl Rng, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if text.is_empty() {
            return text;
        }
        let at = rng.random_range(0..text.len());
        match rng.random_range(0..8) {
            0 => text.truncate(at),
            1 => {
                let piece = text[at..text.len().min(at + rng.random_range(1..40))].to_vec();
                let to = rng.random_range(0..=text.len());
                text.splice(to..to, piece);
            }
            2 => text[at] = b"[]{}\",:-.0eE\\"[rng.random_range(0..13)],
            3 => drop(text.splice(at..at, *b"1e999")),
            _ => text[at] = rng.random(),
        }
    }
    text
}

const TRUTH: &str = r#"{"images": [{"id": 1, "width": 20, "height": 10, "file_name": "a"}, {"id": 2, "width": 9, "height": 9, "file_name": "b"}],
"categories": [{"id": 3, "name": "x", "frequency": "r"}], "annotations": [
{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5.5, 6], "area": 30.25, "iscrowd": 0, "segmentation": [[1, 1, 6.5, 1, 6.5, 7, 1, 7]]},
{"id": 2, "image_id": 2, "category_id": 3, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1, "segmentation": {"size": [9, 9], "counts": [0, 81]}}]}"#;

const RESULTS: &str = r#"[{"image_id": 1, "category_id": 3, "score": 0.75, "segmentation": {"size": [10, 20], "counts": "<5555Q3"}},
{"image_id": 2, "category_id": 3, "score": 1e-2, "segmentation": {"size": [9, 9], "counts": "0a2"}}]"#;

#[test]
fn any_json_is_a_data_set_or_an_error() {
    let path = Path::new("hostile.json");
    let whole = Coco::from_json(path, TRUTH.as_bytes().to_vec()).unwrap();
    (0..TEXTS).into_par_iter().for_each(|seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let damaged = Coco::from_json(path, damage(rng, TRUTH.as_bytes()));
        if let Ok(coco) = &damaged {
            coco.problems();
        }
        let truth = damaged.as_ref().ok().filter(|_| rng.random_bool(0.5)).unwrap_or(&whole);
        let Ok(results) = CocoResults::from_json(path, damage(rng, RESULTS.as_bytes())) else { return };
        let kind = [IouType::Bbox, IouType::Segm, IouType::Boundary][rng.random_range(0..3)];
        let params = Params { recall_thresholds: vec![0.0, 0.5, 1.0], ..Params::default() };
        let mut evaluator = CocoEvaluator::new(truth, kind, params);
        if evaluator.add_results(results).is_ok() && evaluator.metrics().is_ok() {
            evaluator.tide().unwrap();
            evaluator.lvis_metrics().unwrap();
            evaluator.confusion_matrix(0.5, 0.1).unwrap();
        }
    });
}

#[test]
fn any_bytes_are_a_picture_or_an_error() {
    // A label map of 6 x 5 pixels.
    let mut label = Vec::new();
    let map = image::GrayImage::from_fn(6, 5, |x, y| image::Luma([(x * 40 + y) as u8]));
    map.write_to(&mut std::io::Cursor::new(&mut label), image::ImageFormat::Png).unwrap();
    (0..TEXTS).into_par_iter().for_each(|seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        if let Ok(picture) = decode_image(&damage(rng, &label), Path::new("label.png")) {
            assert!(picture.as_raw().len() as u64 <= 3 * cvx_data::MAX_PIXELS);
        }
    });
}
