//! COCO average precision against pycocotools' figures, mmdet's, hotcoco's, and hand-made cases.

mod cases;
mod extras;
mod fuzz;
mod hostile;
mod streaming;

use std::path::{Path, PathBuf};

use cvx_data::{Coco, CocoEvaluator, CocoMetrics, CocoResults, Detection, IouType, Params, Rle};
use cvx_tests::golden::Golden;
use cvx_tests::project_root;
use cvx_tests::tolerance::STATISTIC;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const KINDS: [(&str, IouType); 2] = [("bbox", IouType::Bbox), ("segm", IouType::Segm)];

fn fixture(name: &str) -> PathBuf {
    project_root().join("tests/fixtures/coco_val2014_100").join(name)
}

fn score(truth: &Coco, results: CocoResults, iou_type: IouType, params: Params) -> CocoMetrics {
    let mut evaluator = CocoEvaluator::new(truth, iou_type, params);
    evaluator.add_results(results).unwrap();
    evaluator.finish().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[track_caller]
fn assert_statistics(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= STATISTIC, "{what}, figure {index}: {actual} is not {expected}");
    }
}

/// The line of twelve figures that SOURCE.txt lists for a kind.
fn published(kind: &str) -> Vec<f64> {
    let source = read(&fixture("SOURCE.txt"));
    let line = source.lines().find(|line| line.starts_with(&format!(" {kind} "))).unwrap();
    line.split_whitespace().skip(1).map(|figure| figure.parse().unwrap()).collect()
}

#[test]
fn the_official_results_on_a_hundred_images_have_the_published_figures() {
    let truth = Coco::open_for_scoring(fixture("instances_val2014_100.json")).unwrap();
    for (kind, iou_type) in KINDS {
        let results =
            CocoResults::open(fixture(&format!("instances_val2014_fake{kind}100_results.json"))).unwrap();
        let metrics = score(&truth, results, iou_type, Params::default());
        assert_statistics(kind, &metrics.stats, &published(kind));
    }
}

#[test]
fn real_annotations_can_be_trained_on() {
    let coco = Coco::open(fixture("instances_val2014_100.json")).unwrap();
    assert_eq!((coco.images.len(), coco.annotations.len(), coco.categories.len()), (100, 839, 80));
    assert_eq!(coco.annotations.iter().filter(|annotation| annotation.iscrowd).count(), 9);
}

#[test]
fn detections_from_memory_score_like_those_of_a_file() {
    let truth = Coco::open_for_scoring(fixture("instances_val2014_100.json")).unwrap();
    for (kind, iou_type) in KINDS {
        let path = fixture(&format!("instances_val2014_fake{kind}100_results.json"));
        let entries: Vec<serde_json::Value> = serde_json::from_str(&read(&path)).unwrap();
        let detections = entries.iter().map(|entry| {
            let mask = entry.get("segmentation").map(|mask| {
                let side = |axis: usize| mask["size"][axis].as_u64().unwrap() as u32;
                Rle::from_compressed(mask["counts"].as_str().unwrap(), side(0), side(1)).unwrap()
            });
            let bbox = mask
                .as_ref()
                .map_or_else(|| [0, 1, 2, 3].map(|i| entry["bbox"][i].as_f64().unwrap()), Rle::to_box);
            Detection {
                image_id: entry["image_id"].as_u64().unwrap(),
                category_id: entry["category_id"].as_u64().unwrap(),
                score: entry["score"].as_f64().unwrap(),
                bbox,
                mask,
            }
        });
        let detections: Vec<Detection> = detections.collect();
        let from_file = score(&truth, CocoResults::open(path).unwrap(), iou_type, Params::default());
        // Any batches: the evaluator does not see where one ends.
        for size in [1, 7, 734] {
            let mut evaluator = CocoEvaluator::new(&truth, iou_type, Params::default());
            for batch in detections.chunks(size) {
                evaluator.add(batch.iter().cloned()).unwrap();
            }
            assert_eq!(evaluator.finish().unwrap(), from_file, "{kind} in batches of {size}");
        }
    }
}

#[test]
fn figures_have_names() {
    let truth = Coco::open_for_scoring(fixture("instances_val2014_100.json")).unwrap();
    let none = || CocoResults::from_json(Path::new("none.json"), b"[]".to_vec()).unwrap();
    let names = |iou_type| {
        let named = score(&truth, none(), iou_type, Params::default()).named();
        named.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    let figures = "ap ap50 ap75 ap_small ap_medium ap_large ar1 ar10 ar100 ar_small ar_medium ar_large";
    let prefixed =
        |kind: &str| figures.split(' ').map(|name| format!("{kind}/{name}")).collect::<Vec<_>>().join(" ");
    assert_eq!(names(IouType::Bbox), prefixed("box"));
    assert_eq!(names(IouType::Segm), prefixed("mask"));
}

#[test]
fn impossible_results_are_refused_with_their_entry() {
    let truth = Coco::open_for_scoring(fixture("instances_val2014_100.json")).unwrap();
    let error = |iou_type, text: &str| {
        let results = CocoResults::from_json(Path::new("r.json"), text.as_bytes().to_vec()).unwrap();
        let mut evaluator = CocoEvaluator::new(&truth, iou_type, Params::default());
        evaluator.add_results(results).and_then(|()| evaluator.finish().map(drop)).unwrap_err().to_string()
    };
    let (image, category) = (truth.annotations[0].image_id, truth.annotations[0].category_id);
    let good = format!(
        r#"{{"image_id": {image}, "category_id": {category}, "score": 1, "bbox": [0, 0, 5000, 5000]}}"#
    );
    let unknown = r#"{"image_id": 1, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}"#;
    assert_eq!(
        error(IouType::Bbox, &format!("[{good}, {unknown}]")),
        format!(
            "r.json: results[1] names image_id 1, which `images` of {} does not list",
            truth.path.display()
        )
    );
    let masks =
        |mask: &str| good.replace(r#""bbox": [0, 0, 5000, 5000]"#, &format!(r#""segmentation": {mask}"#));
    assert_eq!(
        error(IouType::Bbox, &format!("[{}]", masks(r#"{"size": [2, 2], "counts": "3"}"#))),
        "r.json: results[0]: `segmentation`: the runs of the RLE cover 3 pixels, but 2 x 2 (height x width) has 4"
    );
    let sized = masks(r#"{"size": [4000, 4000], "counts": [0, 16000000]}"#);
    let found = error(IouType::Segm, &format!("[{sized}]"));
    let start = "r.json: results[0]: `segmentation`: the mask is 4000 x 4000 (height x width); possible is ";
    assert!(found.starts_with(start), "{found}");

    let mut evaluator = CocoEvaluator::new(&truth, IouType::Bbox, Params::default());
    let nan =
        Detection { image_id: image, category_id: category, score: f64::NAN, bbox: [0.0; 4], mask: None };
    let found = evaluator.add([nan]).unwrap_err().to_string();
    assert_eq!(found, format!("detections: detection 0 (image {image}): `score` is NaN; possible is finite"));
}

#[test]
fn damaged_files_are_errors_or_harmless_and_never_a_panic() {
    let golden = Golden::named("metrics");
    let truth = std::fs::read(golden.file("coco_gt.json")).unwrap();
    let results = std::fs::read(golden.file("coco_detections.json")).unwrap();
    let path = Path::new("damaged.json");
    for end in (0..truth.len()).step_by(truth.len() / 97) {
        let error = Coco::from_json(path, truth[..end].to_vec()).unwrap_err().to_string();
        assert!(error.contains("cut short") || error.contains("empty"), "{error}");
    }
    for end in (0..results.len()).step_by(results.len() / 97) {
        let error = CocoResults::from_json(path, results[..end].to_vec()).unwrap_err().to_string();
        assert!(error.contains("cut short") || error.contains("empty"), "{error}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for _ in 0..300 {
        let mut damage = |text: &[u8]| {
            let mut text = text.to_vec();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..text.len());
                text[at] = rng.random();
            }
            text
        };
        let Ok(coco) = Coco::from_json(path, damage(&truth)) else { continue };
        coco.problems();
        let Ok(found) = CocoResults::from_json(path, damage(&results)) else { continue };
        let mut evaluator = CocoEvaluator::new(&coco, IouType::Segm, Params::default());
        if evaluator.add_results(found).is_ok() {
            drop(evaluator.finish());
        }
    }
}
