//! Mean IoU against what five implementations make of the same maps, and the published examples.

use cvx_data::{ClassIou, ConfusionMatrix, Convention, LabelMap, SegmentationMetrics};
use serde_json::Value;

/// Of references that compute in f64, or in f32 sums of small whole numbers.
const F64: f64 = 1e-12;

/// Of quotients that were rounded to f32.
const F32: f64 = 1e-6;

fn map(value: &Value, key: &str) -> LabelMap {
    let side = |key: &str| value[key].as_u64().unwrap() as usize;
    let pixels = value[key].as_array().unwrap().iter().map(|pixel| pixel.as_u64().unwrap() as u8).collect();
    LabelMap { width: side("width"), height: side("height"), pixels }
}

fn cases() -> Vec<(String, ConfusionMatrix, Value)> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("segmentation/metrics.json")).unwrap();
    cases
        .into_iter()
        .map(|case| {
            let mut matrix = ConfusionMatrix::new(case["num_classes"].as_u64().unwrap() as usize);
            for image in case["images"].as_array().unwrap() {
                matrix.add(&map(image, "truth"), &map(image, "prediction"));
            }
            (case["name"].as_str().unwrap().to_owned(), matrix, case["oracles"].clone())
        })
        .collect()
}

#[track_caller]
fn assert_near(what: &str, found: Option<f64>, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64();
    let near = match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= tolerance,
        (found, expected) => found == expected,
    };
    assert!(near, "{what} is {found:?}, not {expected:?}");
}

/// Compares all figures that the reference has; how many they are is what is returned.
fn compare(what: &str, found: &SegmentationMetrics, reference: &Value, tolerance: f64) -> usize {
    let SegmentationMetrics {
        mean_iou,
        mean_accuracy,
        pixel_accuracy,
        frequency_weighted_iou,
        mean_dice,
        ref classes,
    } = *found;
    let means = [
        ("mIoU", mean_iou),
        ("mAcc", mean_accuracy),
        ("aAcc", pixel_accuracy),
        ("fwIoU", frequency_weighted_iou),
        ("mDice", mean_dice),
    ];
    let of_class = |class: &ClassIou, key: &str| match key {
        "IoU" => class.iou,
        "Acc" => class.accuracy,
        "Dice" => class.dice,
        _ => panic!("{key}: a figure that is compared with nothing"),
    };
    let reference = reference.as_object().unwrap();
    for (key, expected) in reference {
        let what = format!("{what}: {key}");
        if let Some((_, mean)) = means.iter().find(|(name, _)| name == key) {
            assert_near(&what, *mean, expected, tolerance);
        } else {
            let expected = expected.as_array().unwrap();
            assert_eq!(expected.len(), classes.len());
            for (class, (found, expected)) in classes.iter().zip(expected).enumerate() {
                assert_near(&format!("{what} of class {class}"), of_class(found, key), expected, tolerance);
            }
        }
    }
    reference.len()
}

#[test]
fn every_convention_gives_the_figures_of_its_implementation() {
    let mut compared = 0;
    for (name, matrix, oracles) in cases() {
        for (oracle, convention, tolerance) in [
            ("mmseg", Convention::Mmseg, F64),
            ("hugging_face", Convention::Mmseg, F64),
            ("scene_parsing", Convention::Ade, F64),
            ("detectron2", Convention::Detectron2, F64),
            ("torchmetrics", Convention::Torchmetrics, F32),
        ] {
            if let Some(reference) = oracles.get(oracle) {
                let what = format!("{name} by {oracle}");
                compared += compare(&what, &matrix.metrics(convention), reference, tolerance);
            }
        }
    }
    assert_eq!(compared, 3 * (7 + 5 + 3 + 6) + 2 * 8);
}

/// The means of a matrix: mIoU, mAcc, aAcc.
fn means(matrix: &ConfusionMatrix, convention: Convention) -> [f64; 3] {
    let SegmentationMetrics { mean_iou, mean_accuracy, pixel_accuracy, .. } = matrix.metrics(convention);
    [mean_iou, mean_accuracy, pixel_accuracy].map(Option::unwrap)
}

#[test]
fn the_example_of_hugging_face_is_reproduced() {
    let map = |width, pixels: &[u8]| LabelMap { width, height: pixels.len() / width, pixels: pixels.into() };
    let mut matrix = ConfusionMatrix::new(10);
    matrix.add(&map(2, &[0, 3, 5, 4, 6, 255]), &map(2, &[1, 2, 3, 4, 5, 255]));
    matrix.add(&map(2, &[1, 7, 9, 2, 3, 6]), &map(2, &[2, 7, 9, 2, 3, 6]));
    matrix.add(&map(3, &[1, 2, 2, 8, 2, 1, 3, 255, 1]), &map(3, &[2, 2, 3, 8, 2, 4, 3, 255, 2]));
    let [mean_iou, mean_accuracy, pixel_accuracy] = means(&matrix, Convention::Mmseg);
    assert!((mean_iou - 0.4775).abs() < F64, "{mean_iou}");
    assert!((mean_accuracy - 0.591_666_666_666_666_6).abs() < F64, "{mean_accuracy}");
    assert!((pixel_accuracy - 0.526_315_789_473_684_2).abs() < F64, "{pixel_accuracy}");
    let ious: Vec<f64> =
        matrix.metrics(Convention::Mmseg).classes.iter().map(|class| class.iou.unwrap()).collect();
    assert_eq!(ious, [0.0, 0.0, 0.375, 0.4, 0.5, 0.0, 0.5, 1.0, 1.0, 1.0]);
}

#[test]
fn fifteen_perfect_classes_of_150_are_a_tenth_by_the_rule_of_ade20k() {
    let mut matrix = ConfusionMatrix::new(150);
    // Three images of 15 classes altogether, and some pixels without one; the predictions are the truth.
    for image in 0..3u8 {
        let mut truth = LabelMap::filled(20, 6, 255);
        for (at, pixel) in truth.pixels.iter_mut().enumerate().skip(20) {
            *pixel = (at / 20) as u8 * 30 - 30 + image;
        }
        matrix.add(&truth, &truth);
    }
    assert_eq!(means(&matrix, Convention::Ade), [0.1, 0.1, 1.0]);
    for convention in [Convention::Mmseg, Convention::Detectron2, Convention::Torchmetrics] {
        assert_eq!(means(&matrix, convention), [1.0, 1.0, 1.0], "{convention:?}");
    }
}

#[test]
fn parts_merge_to_the_whole_in_any_order_and_number_of_threads() {
    let mut images = Vec::new();
    let mut state = 7u32;
    let mut next = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % bound) as u8
    };
    for (width, height) in [(31, 7), (8, 8), (1, 1), (257, 3), (64, 2)] {
        // Runs of various lengths, as images have.
        let mut run = |classes: u32| {
            let mut pixels = Vec::new();
            while pixels.len() < width * height {
                let class = if next(9) == 0 { 255 } else { next(classes) };
                pixels.extend(vec![class; usize::from(next(20))]);
            }
            pixels.truncate(width * height);
            LabelMap { width, height, pixels }
        };
        images.push((run(12), run(14)));
    }
    let mut counted = [[0u64; 13]; 12];
    for (truth, prediction) in &images {
        for (&truth, &prediction) in truth.pixels.iter().zip(&prediction.pixels) {
            if truth != 255 {
                counted[usize::from(truth)][usize::from(prediction.min(12))] += 1;
            }
        }
    }
    let mut one_by_one = ConfusionMatrix::new(12);
    for (truth, prediction) in images.iter().rev() {
        let mut part = ConfusionMatrix::new(12);
        part.add(truth, prediction);
        one_by_one.merge(&part);
    }
    let pairs: Vec<_> = images.iter().map(|(truth, prediction)| (truth, prediction)).collect();
    let at_once = ConfusionMatrix::of_images(12, &pairs);
    for matrix in [one_by_one, at_once] {
        for (truth, row) in counted.iter().enumerate() {
            assert_eq!(matrix.out_of_range(truth), row[12]);
            for (prediction, &count) in row[..12].iter().enumerate() {
                assert_eq!(matrix.count(truth, prediction), count, "{truth} as {prediction}");
            }
        }
    }
}

#[test]
fn nothing_counted_has_no_figures() {
    let mut matrix = ConfusionMatrix::new(3);
    let ignored = LabelMap::filled(4, 4, 255);
    matrix.add(&ignored, &LabelMap::filled(4, 4, 1));
    for convention in [Convention::Mmseg, Convention::Detectron2] {
        let metrics = matrix.metrics(convention);
        assert_eq!((metrics.mean_iou, metrics.pixel_accuracy), (None, None));
        assert_eq!(metrics.frequency_weighted_iou, None);
        assert!(metrics.classes.iter().all(|class| class.iou.is_none() && class.pixels == 0));
    }
    assert_eq!(matrix.metrics(Convention::Ade).mean_iou, Some(0.0));
    assert_eq!(matrix.metrics(Convention::Torchmetrics).mean_iou, None);
}

#[test]
fn counts_beyond_24_bits_stay_exact() {
    // mmseg adds in 32-bit floats, which lose the last pixel here.
    let mut matrix = ConfusionMatrix::new(2);
    let large = LabelMap::filled(4096, 4096, 0);
    matrix.add(&large, &large);
    let one = LabelMap::filled(1, 1, 0);
    matrix.add(&one, &LabelMap::filled(1, 1, 1));
    assert_eq!((matrix.count(0, 0), matrix.count(0, 1)), (1 << 24, 1));
    let accuracy = matrix.metrics(Convention::Mmseg).pixel_accuracy.unwrap();
    assert_eq!(accuracy, f64::from(1 << 24) / f64::from((1 << 24) + 1));
    assert!(accuracy < 1.0);
}

#[test]
fn the_table_is_in_percent_and_says_nan_of_absent_classes() {
    let mut matrix = ConfusionMatrix::new(3);
    let map = |pixels: &[u8]| LabelMap { width: pixels.len(), height: 1, pixels: pixels.into() };
    matrix.add(&map(&[0, 0, 0, 1]), &map(&[0, 0, 1, 1]));
    let names = ["sky", "building", "pole"].map(String::from);
    // Framed and centred by prettytable, as mmseg does; numpy would drop last zeros.
    let expected = "\
+----------+-------+--------+-------+
|  Class   |  IoU  |  Acc   |  Dice |
+----------+-------+--------+-------+
|   sky    | 66.67 | 66.67  | 80.00 |
| building | 50.00 | 100.00 | 66.67 |
|   pole   |  nan  |  nan   |  nan  |
+----------+-------+--------+-------+
+-------+-------+-------+-------+-------+
|  aAcc |  mIoU |  mAcc | mDice | fwIoU |
+-------+-------+-------+-------+-------+
| 75.00 | 58.33 | 83.33 | 73.33 | 62.50 |
+-------+-------+-------+-------+-------+
";
    assert_eq!(matrix.metrics(Convention::Mmseg).table(&names), expected);
}

#[test]
fn classes_that_nobody_uses_can_be_left_off() {
    let map = |pixels: [u8; 4]| LabelMap { width: 4, height: 1, pixels: pixels.into() };
    let count = |num_classes| {
        let mut matrix = ConfusionMatrix::new(num_classes);
        matrix.add(&map([0, 1, 1, 255]), &map([0, 1, 3, 9]));
        matrix
    };
    let all = count(255);
    assert_eq!(all.num_classes_seen(), 4);
    assert_eq!(all.clone().first_classes(4).metrics(Convention::Ade), count(4).metrics(Convention::Ade));
    // What is predicted beyond is a miss.
    assert_eq!(all.first_classes(2).out_of_range(1), 1);
    assert_eq!(ConfusionMatrix::new(3).num_classes_seen(), 0);
}

#[test]
#[should_panic(expected = "no other class is true")]
fn a_true_class_cannot_be_left_off() {
    let map = LabelMap { width: 1, height: 1, pixels: vec![2] };
    let mut matrix = ConfusionMatrix::new(3);
    matrix.add(&map, &map);
    let _ = matrix.first_classes(2);
}
