//! Average precision against pycocotools' and mmdet's figures.

use cvx_data::{Coco, CocoEvaluator, CocoMetrics, CocoResults, IouType, Params};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::STATISTIC;

const KINDS: [(&str, IouType); 2] = [("bbox", IouType::Bbox), ("segm", IouType::Segm)];

fn score(truth: &Coco, results: CocoResults, iou_type: IouType, params: Params) -> CocoMetrics {
    let mut evaluator = CocoEvaluator::new(truth, iou_type, params);
    evaluator.add_results(results).unwrap();
    evaluator.finish().unwrap()
}

#[track_caller]
fn assert_statistics(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= STATISTIC, "{what}, figure {index}: {actual} is not {expected}");
    }
}

#[test]
fn mmdet_reads_the_same_figures() {
    for golden in Golden::of_kind("metrics") {
        let expected = golden.json("coco_expected.json");
        let truth = Coco::open(golden.file("coco_gt.json")).unwrap();
        for (kind, iou_type) in KINDS {
            // mmdet deletes the boxes of mask results, so that areas are those of the masks.
            let mut entries: Vec<serde_json::Value> =
                serde_json::from_value(golden.json("coco_detections.json")).unwrap();
            if kind == "segm" {
                entries.iter_mut().for_each(|entry| drop(entry.as_object_mut().unwrap().remove("bbox")));
            }
            let results = || {
                let text = serde_json::to_vec(&entries).unwrap();
                CocoResults::from_json(&golden.file("coco_detections.json"), text).unwrap()
            };
            let stats: Vec<f64> =
                serde_json::from_value(expected[format!("pycocotools_default.{kind}")]["stats"].clone())
                    .unwrap();
            assert_statistics(kind, &score(&truth, results(), iou_type, Params::default()).stats, &stats);

            let params = Params { max_detections: [100, 300, 1000], ..Params::default() };
            let metrics = score(&truth, results(), iou_type, params);
            let mmdet = &expected[format!("mmdet_maxDets_100_300_1000.{kind}")];
            let names = ["mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l", "AR_100", "AR_300", "AR_1000"];
            let figures = names.map(|name| mmdet[name].as_f64().unwrap());
            assert_statistics(kind, &metrics.stats[..9], &figures);
            let per_class = mmdet["per_class_AP"].as_object().unwrap();
            assert_eq!(metrics.classes.len(), per_class.len());
            for class in &metrics.classes {
                let expected = per_class[&class.category_id.to_string()].as_f64().unwrap();
                assert_statistics(&class.name, &[class.ap], &[expected]);
            }
        }
    }
}
