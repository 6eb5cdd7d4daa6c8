//! Hand-made and random evaluations with pycocotools' own answers (`tests/fixtures/coco_cases/make.py`).

use std::path::Path;

use cvx_data::{Coco, CocoResults, IouType, Params};
use cvx_tests::project_root;

use crate::{read, score};

/// The sum of an array, its cells weighted by their position.
fn weigh(values: &[f64]) -> f64 {
    values.iter().enumerate().map(|(index, value)| value * ((index % 97) as f64 + 1.0)).sum()
}

#[test]
fn every_case_has_the_figures_and_the_table_of_pycocotools() {
    let path = project_root().join("tests/fixtures/coco_cases/cases.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&read(&path)).unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let (name, kind) = (case["name"].as_str().unwrap(), case["kind"].as_str().unwrap());
        let text = |key: &str| serde_json::to_vec(&case[key]).unwrap();
        let truth = Coco::from_json(Path::new(name), text("truth")).unwrap();
        let results = CocoResults::from_json(Path::new(name), text("results")).unwrap();
        let iou_type = if kind == "bbox" { IouType::Bbox } else { IouType::Segm };
        let metrics = score(&truth, results, iou_type, Params::default());
        let expected: Vec<f64> = serde_json::from_value(case["stats"].clone()).unwrap();
        // To the last bit: one wrong rounding shows here first.
        assert_eq!(metrics.stats.as_slice(), expected, "{name}, {kind}");
        assert_eq!(metrics.table(), case["table"].as_str().unwrap(), "{name}, {kind}");
        let arrays =
            [("precision", &metrics.precision), ("recall", &metrics.recall), ("scores", &metrics.scores)];
        for (array, values) in arrays {
            // numpy's dot product adds in another order.
            let (actual, expected) = (weigh(values), case[array].as_f64().unwrap());
            let close =
                (actual - expected).abs() <= cvx_tests::tolerance::STATISTIC * expected.abs().max(1.0);
            assert!(close, "{name}, {kind}: {array} weighs {actual}, not {expected}");
        }
    }
}
