//! TIDE, LVIS, Boundary IoU and panoptic quality against their authors' programs (`tests/fixtures/coco_extras/make.py`).

use std::path::Path;

use cvx_data::{
    Coco, CocoEvaluator, CocoResults, IouType, PanopticCategory, PanopticEvaluator, PanopticSegment, Params,
};
use cvx_tests::project_root;
use cvx_tests::tolerance::STATISTIC;
use serde_json::Value;

use crate::{assert_statistics, read};

/// The entries of one kind, at least `least`.
fn entries(kind: &str, least: usize) -> Vec<Value> {
    let path = project_root().join("tests/fixtures/coco_extras/extras.json");
    let all: Vec<Value> = serde_json::from_str(&read(&path)).unwrap();
    let chosen: Vec<Value> = all.into_iter().filter(|entry| entry["kind"] == kind).collect();
    assert!(chosen.len() >= least, "{kind}: {}", chosen.len());
    chosen
}

fn with_evaluator<T>(entry: &Value, iou_type: IouType, judge: impl Fn(&CocoEvaluator<'_>) -> T) -> T {
    let text = |key: &str| serde_json::to_vec(&entry[key]).unwrap();
    let truth = Coco::from_json(Path::new("extras"), text("truth")).unwrap();
    let mut evaluator = CocoEvaluator::new(&truth, iou_type, Params::default());
    evaluator.add_results(CocoResults::from_json(Path::new("extras"), text("results")).unwrap()).unwrap();
    judge(&evaluator)
}

fn iou_type(entry: &Value) -> IouType {
    if entry["type"] == "bbox" { IouType::Bbox } else { IouType::Segm }
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn errors_cost_what_tidecv_says() {
    for (number, entry) in entries("tide", 10).iter().enumerate() {
        let tide = with_evaluator(entry, iou_type(entry), |evaluator| evaluator.tide().unwrap());
        let percent = |value: &Value| value.as_f64().unwrap() / 100.0;
        let mut actual = vec![tide.ap, tide.false_positives, tide.false_negatives];
        let special = &entry["special"];
        let mut expected =
            vec![percent(&entry["ap"]), percent(&special["FalsePos"]), percent(&special["FalseNeg"])];
        for (error, count, cost) in tide.errors {
            let theirs = &entry["errors"][error.name()];
            assert_eq!(count as u64, theirs[0].as_u64().unwrap(), "case {number}: {}", error.name());
            actual.push(cost);
            expected.push(percent(&theirs[1]));
        }
        assert_statistics(&format!("TIDE, case {number}"), &actual, &expected);
    }
}

#[test]
fn lvis_figures_are_those_of_lvis_api() {
    for (number, entry) in entries("lvis", 8).iter().enumerate() {
        let metrics = with_evaluator(entry, iou_type(entry), |evaluator| evaluator.lvis_metrics().unwrap());
        // To the last bit, as COCO's.
        assert_eq!(metrics.stats.to_vec(), numbers(&entry["stats"]), "case {number}");
    }
}

#[test]
fn boundary_figures_are_those_of_the_authors() {
    for (number, entry) in entries("boundary", 6).iter().enumerate() {
        let metrics = with_evaluator(entry, IouType::Boundary, |evaluator| evaluator.metrics().unwrap());
        assert_eq!(metrics.stats.to_vec(), numbers(&entry["stats"]), "case {number}");
    }
}

#[test]
fn panoptic_quality_is_that_of_panopticapi() {
    for (number, entry) in entries("panoptic", 5).iter().enumerate() {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let category = |value: &Value| PanopticCategory {
            id: value["id"].as_u64().unwrap(),
            name: value["name"].as_str().unwrap().into(),
            is_thing: value["isthing"] == 1,
        };
        let segment = |value: &Value| PanopticSegment {
            id: value["id"].as_u64().unwrap() as u32,
            category_id: value["category_id"].as_u64().unwrap(),
            is_crowd: value["iscrowd"] == 1,
            area: value["area"].as_u64().unwrap(),
        };
        let categories: Vec<_> = list(&entry["categories"]).iter().map(category).collect();
        let images = list(&entry["images"]);
        let add = |evaluator: &mut PanopticEvaluator, image: &Value| {
            let map = |key: &str| serde_json::from_value::<Vec<u32>>(image[key].clone()).unwrap();
            let segments = |key: &str| list(&image[key]).iter().map(segment).collect::<Vec<_>>();
            let id = image["id"].as_u64().unwrap();
            evaluator.add(id, &map("truth_map"), &segments("truth"), &map("found_map"), &segments("found"));
        };
        let mut evaluator = PanopticEvaluator::new(categories.clone());
        images.iter().for_each(|image| add(&mut evaluator, image));
        // Several workers, merged in another order: the same to the bit.
        let mut merged = PanopticEvaluator::new(categories.clone());
        for image in images.iter().rev() {
            let mut own = PanopticEvaluator::new(categories.clone());
            add(&mut own, image);
            merged.merge(own);
        }
        let metrics = evaluator.finish();
        assert_eq!(merged.finish(), metrics);
        for (name, quality) in [("all", metrics.all), ("things", metrics.things), ("stuff", metrics.stuff)] {
            let actual = [quality.pq, quality.sq, quality.rq, quality.num_categories as f64];
            let expected = numbers(&entry["expected"][name]);
            assert!(
                actual.iter().zip(&expected).all(|(actual, expected)| (actual - expected).abs() <= STATISTIC),
                "case {number}, {name}: {actual:?} is not {expected:?}"
            );
        }
    }
}
