//! Twenty thousand random evaluations, masks and polygons, against hotcoco 1.3.1.
//!
//! hotcoco follows pycocotools too; where the two differ the cases keep away, or the difference is named. Its deviations:
//! an annotation with id 0 counts as matched (pycocotools takes the id for "none"; `coco_cases` has those), AP of masks may
//! be an ulp off in the last figure, because its means are summed in another order (arrays are compared here), and the
//! fixed order of its confusion matrix and calibration is its own, since pycocotools has neither.

use std::path::Path;

use cvx_data::{Coco, CocoEvaluator, CocoResults, IouType, Params, Rle, Verdicts};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};

const CASES: u64 = 20_000;

pub(crate) struct Case {
    pub(crate) truth: Value,
    pub(crate) results: Value,
}

fn pick<T: Copy>(rng: &mut impl Rng, of: &[T]) -> T {
    of[rng.random_range(0..of.len())]
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn random_box(rng: &mut impl Rng, width: f64, height: f64) -> [f64; 4] {
    [
        tenths(rng.random_range(-0.1..0.9) * width),
        tenths(rng.random_range(-0.1..0.9) * height),
        tenths(rng.random_range(0.05..0.8) * width),
        tenths(rng.random_range(0.05..0.8) * height),
    ]
}

/// The same pixels, with pairs of empty runs put in; they change where pycocotools stops to compare.
fn with_empty_runs(rng: &mut impl Rng, mut counts: Vec<u32>) -> Vec<u32> {
    for _ in 0..pick(rng, &[0, 0, 1, 3]) {
        let at = rng.random_range(0..=counts.len());
        let split = counts.get(at).copied().map_or(0, |count| rng.random_range(0..=count));
        match counts.get_mut(at) {
            Some(count) => *count -= split,
            None => counts.push(0),
        }
        counts.splice(at..at, [split, 0]);
    }
    counts
}

/// Outlines, runs as text, runs as numbers.
fn segmentation(rng: &mut impl Rng, [x, y, w, h]: [f64; 4], height: u32, width: u32) -> Value {
    let mut outline = vec![x, y, x, y + h, x + w, y + h, x + w, y];
    if rng.random_bool(0.5) {
        // Corners that wander, cross and repeat.
        outline.iter_mut().for_each(|value| *value += tenths(rng.random_range(-6.0..6.0)));
        outline.extend_from_within(2..4);
        outline.extend_from_within(8..10);
    }
    let outlines = if rng.random_bool(0.2) {
        vec![outline, vec![x, y, x + w, y, x + w / 2.0, y + h * 1.5]]
    } else {
        vec![outline]
    };
    let rle = || Rle::from_polygons(&outlines, height, width).unwrap();
    match rng.random_range(0..4) {
        0 => json!({ "size": [height, width], "counts": rle().to_compressed() }),
        1 => json!({ "size": [height, width], "counts": with_empty_runs(rng, rle().counts) }),
        _ => json!(outlines),
    }
}

pub(crate) fn random_case(rng: &mut impl Rng, iou_type: IouType) -> Case {
    let (width, height) = (rng.random_range(8..150u32), rng.random_range(8..150u32));
    let (w, h) = (f64::from(width), f64::from(height));
    let image_ids: Vec<u64> = (0..rng.random_range(1..6)).map(|image| image * 7 % 11).collect();
    let category_ids: Vec<u64> = (0..rng.random_range(1..4)).map(|category| category * 5 % 7).collect();
    let (mut annotations, mut results) = (Vec::new(), Vec::new());
    let mut add_result = |rng: &mut ChaCha8Rng, image: u64, category: u64, bbox: [f64; 4]| {
        // Few distinct scores: many ties.
        let score = f64::from(rng.random_range(0..8u32)) / 8.0;
        let mut result = json!({ "image_id": image, "category_id": category, "score": score });
        match iou_type {
            IouType::Bbox => result["bbox"] = json!(bbox),
            _ => {
                let outline = segmentation(rng, bbox, height, width);
                // pycocotools takes no polygons here.
                let rle = match outline.get("counts") {
                    Some(Value::String(_)) => outline,
                    _ => {
                        let rle = Rle::from_box(bbox, height, width).unwrap();
                        json!({ "size": [height, width], "counts": rle.to_compressed() })
                    }
                };
                result["segmentation"] = rle;
            }
        }
        results.push(result);
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(rng.random());
    for id in 1..=rng.random_range(0..20u64) {
        let (image, category) = (pick(rng, &image_ids), pick(rng, &category_ids));
        let bbox = random_box(rng, w, h);
        let exact = bbox[2] * bbox[3];
        let area = pick(rng, &[exact, exact, 1024.0, 9216.0, 1024.5, 0.0, 1e10]);
        annotations.push(json!({
            "id": id, "image_id": image, "category_id": category, "bbox": bbox, "area": area,
            "iscrowd": u8::from(rng.random_bool(0.15)), "segmentation": segmentation(rng, bbox, height, width),
        }));
        for _ in 0..pick(rng, &[0, 1, 1, 2, 5]) {
            let shift = pick(rng, &[0.0, 0.0, 1.0, 4.0]);
            let bbox = bbox.map(|value| tenths(value + rng.random_range(-1.0..=1.0) * shift));
            add_result(rng, image, category, [bbox[0], bbox[1], bbox[2].max(0.5), bbox[3].max(0.5)]);
        }
    }
    for _ in 0..pick(rng, &[0, 0, 3, 10, 130]) {
        let (image, category) = (pick(rng, &image_ids), pick(rng, &category_ids));
        let bbox = random_box(rng, w, h);
        add_result(rng, image, category, bbox);
    }
    let image =
        |id: &u64| json!({ "id": id, "file_name": format!("{id}.png"), "width": width, "height": height });
    let category = |id: &u64| json!({ "id": id, "name": format!("c{id}") });
    let truth = json!({
        "images": image_ids.iter().map(image).collect::<Vec<_>>(),
        "categories": category_ids.iter().map(category).collect::<Vec<_>>(),
        "annotations": annotations,
    });
    Case { truth, results: Value::Array(results) }
}

#[test]
fn arrays_equal_those_of_hotcoco_in_every_cell() {
    (0..CASES).into_par_iter().for_each(compare);
}

fn compare(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let iou_type = if seed.is_multiple_of(2) { IouType::Bbox } else { IouType::Segm };
    let Case { truth, results } = random_case(&mut rng, iou_type);
    let defaults = Params::default();
    let params = Params {
        max_detections: pick(&mut rng, &[[1, 10, 100], [1, 10, 100], [1, 2, 3], [5, 100, 300]]),
        iou_thresholds: match rng.random_range(0..5) {
            0 => vec![0.05, 0.5, 0.75, 1.0],
            _ => defaults.iou_thresholds,
        },
        ..Params::default()
    };
    let path = Path::new("fuzz.json");
    let coco = Coco::from_json(path, serde_json::to_vec(&truth).unwrap()).unwrap();
    let mut evaluator = CocoEvaluator::new(&coco, iou_type, params.clone());
    let found = CocoResults::from_json(path, serde_json::to_vec(&results).unwrap()).unwrap();
    evaluator.add_results(found).unwrap();
    let ours = evaluator.metrics().unwrap();

    let theirs = hotcoco::COCO::from_dataset(serde_json::from_value(truth).unwrap());
    let found = theirs.load_res_anns(serde_json::from_value(results).unwrap()).unwrap();
    let kind = match iou_type {
        IouType::Bbox => hotcoco::params::IouType::Bbox,
        _ => hotcoco::params::IouType::Segm,
    };
    let mut evaluation = hotcoco::COCOeval::new(theirs, found, kind);
    evaluation.params.max_dets = params.max_detections.to_vec();
    evaluation.params.iou_thrs = params.iou_thresholds.clone();
    evaluation.evaluate().unwrap();
    evaluation.accumulate();
    let arrays = evaluation.accumulated().unwrap();
    for (array, ours, theirs) in [
        ("precision", &ours.precision, &arrays.precision),
        ("recall", &ours.recall, &arrays.recall),
        ("scores", &ours.scores, &arrays.scores),
    ] {
        assert_eq!(ours.len(), theirs.len(), "seed {seed}: {array}");
        let differing = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs);
        assert!(
            differing.is_none(),
            "seed {seed}, {iou_type:?}: {array}[{}] is {} and not {}",
            differing.unwrap(),
            ours[differing.unwrap()],
            theirs[differing.unwrap()]
        );
    }

    let min_score = pick(&mut rng, &[0.0, 0.25, 0.3]);
    let confusion = evaluator.confusion_matrix(0.5, min_score).unwrap();
    let theirs = evaluation.confusion_matrix(0.5, None, Some(min_score));
    assert_eq!((confusion.category_ids, confusion.counts), (theirs.cat_ids, theirs.matrix), "seed {seed}");

    let verdicts = evaluator.verdicts(0.5).unwrap();
    let calibration = Verdicts::together(&verdicts).calibration(10);
    let theirs = evaluation.calibration(10, 0.5).unwrap();
    let counts: Vec<usize> = calibration.bins.iter().map(|bin| bin.count).collect();
    assert_eq!(counts, theirs.bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), "seed {seed}");
    let close = |ours: f64, theirs: f64| (ours - theirs).abs() <= cvx_tests::tolerance::STATISTIC;
    assert!(close(calibration.ece.unwrap_or(0.0), theirs.ece), "seed {seed}");
    let mut categories: Vec<u64> = coco.categories.iter().map(|category| category.id).collect();
    categories.sort_unstable();
    for (category, verdicts) in categories.iter().zip(&verdicts) {
        let ours = verdicts.calibration(10).ece;
        let theirs = theirs.per_category.get(category).copied();
        let same = ours.zip(theirs).map_or(ours.is_none() && theirs.is_none(), |(a, b)| close(a, b));
        assert!(same, "seed {seed}, category {category}: {ours:?} {theirs:?}");
        check_operating_point(verdicts);
    }
}

/// Every score is tried.
fn check_operating_point(verdicts: &Verdicts) {
    let f1_from = |score: f64| {
        let kept: Vec<bool> =
            verdicts.ranked.iter().filter(|(other, _)| *other >= score).map(|(_, is_hit)| *is_hit).collect();
        let hits = kept.iter().filter(|is_hit| **is_hit).count();
        2.0 * hits as f64 / (kept.len() + verdicts.num_truths) as f64
    };
    let best = verdicts.ranked.iter().map(|(score, _)| f1_from(*score)).fold(0.0, f64::max);
    match verdicts.operating_point() {
        Some(point) => assert_eq!((point.f1, f1_from(point.score)), (best, best)),
        None => assert!(best.is_nan() || best == 0.0),
    }
}

#[test]
fn polygons_are_filled_to_the_pixel_as_hotcoco_fills_them() {
    (0..CASES).into_par_iter().for_each(|seed| {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (width, height) = (rng.random_range(1..90u32), rng.random_range(1..90u32));
        let scale = pick(rng, &[1.0, 1.0, 3.0, 40.0]);
        let mut outline = Vec::new();
        for _ in 0..rng.random_range(3..12) {
            for side in [width, height] {
                let value = rng.random_range(-0.5..1.5) * scale * f64::from(side);
                outline.push(pick(rng, &[value, value.round(), tenths(value), (value * 2.0).round() / 2.0]));
            }
            if rng.random_bool(0.15) {
                outline.extend_from_within(outline.len() - 2..);
            }
        }
        let ours = Rle::from_polygons(&[outline.clone()], height, width).unwrap();
        let theirs = hotcoco::mask::fr_poly(&outline, height, width).unwrap();
        assert_eq!(ours.counts, theirs.counts, "seed {seed}: {outline:?} in {height} x {width}");
        assert_eq!(ours.to_compressed(), hotcoco::mask::rle_to_string(&theirs), "seed {seed}");
        assert_eq!(ours.to_box(), hotcoco::mask::to_bbox(&theirs), "seed {seed}");
        assert_eq!(ours.area(), hotcoco::mask::area(&theirs), "seed {seed}");
    });
}
