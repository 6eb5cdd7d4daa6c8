//! Batches, workers and resampling: what does not change the numbers, and what does so by a rule.

use std::path::Path;

use cvx_data::{Coco, CocoEvaluator, CocoMetrics, CocoResults, IouType, Params, Resampling, compare};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::fuzz::random_case;
use crate::score;

fn results(entries: &[Value]) -> CocoResults {
    CocoResults::from_json(Path::new("r.json"), serde_json::to_vec(entries).unwrap()).unwrap()
}

fn truth(value: &Value) -> Coco {
    Coco::from_json(Path::new("t.json"), serde_json::to_vec(value).unwrap()).unwrap()
}

fn iou_type(seed: u64) -> IouType {
    [IouType::Bbox, IouType::Segm, IouType::Boundary][seed as usize % 3]
}

fn masks(iou_type: IouType) -> IouType {
    if iou_type == IouType::Bbox { IouType::Bbox } else { IouType::Segm }
}

#[test]
fn merged_workers_give_what_one_evaluator_gives_to_the_bit() {
    for seed in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let iou_type = iou_type(seed);
        let case = random_case(&mut rng, masks(iou_type));
        let coco = truth(&case.truth);
        let entries = case.results.as_array().unwrap().clone();
        let whole = score(&coco, results(&entries), iou_type, Params::default());
        // Every image belongs to one worker; workers hand in batches, and are merged in any order.
        let num_workers = rng.random_range(1..5u64);
        let mut workers: Vec<CocoEvaluator<'_>> = (0..num_workers)
            .map(|worker| {
                let own: Vec<Value> = entries
                    .iter()
                    .filter(|entry| entry["image_id"].as_u64().unwrap() % num_workers == worker)
                    .cloned()
                    .collect();
                let mut evaluator = CocoEvaluator::new(&coco, iou_type, Params::default());
                let size = rng.random_range(1..20);
                own.chunks(size).for_each(|batch| evaluator.add_results(results(batch)).unwrap());
                evaluator
            })
            .collect();
        workers.shuffle(&mut rng);
        let mut merged = CocoEvaluator::new(&coco, iou_type, Params::default());
        workers.into_iter().for_each(|worker| merged.merge(worker));
        assert_eq!(merged.finish().unwrap(), whole, "seed {seed}");
    }
}

/// A data set whose images are `counts[image]` copies of the images of another.
fn repeated(truth: &Value, entries: &[Value], counts: &[u32]) -> (Value, Vec<Value>) {
    let mut ids: Vec<u64> =
        truth["images"].as_array().unwrap().iter().map(|image| image["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    let copies = |entry: &Value, key: &str| -> Vec<Value> {
        let rank = ids.binary_search(&entry[key].as_u64().unwrap()).unwrap();
        let copy = |copy: u32| {
            let mut entry = entry.clone();
            entry[key] = json!(rank as u64 * 100 + u64::from(copy));
            entry
        };
        (0..counts[rank]).map(copy).collect()
    };
    let all = |list: &Value, key: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().flat_map(|entry| copies(entry, key)).collect()
    };
    let mut annotations = all(&truth["annotations"], "image_id");
    annotations.iter_mut().enumerate().for_each(|(index, entry)| entry["id"] = json!(index + 1));
    let images = all(&truth["images"], "id");
    let truth = json!({ "images": images, "categories": truth["categories"], "annotations": annotations });
    (truth, entries.iter().flat_map(|entry| copies(entry, "image_id")).collect())
}

#[test]
fn an_image_that_is_drawn_twice_counts_as_two() {
    // One resampling: its interval is the difference on the data set that the draw lists. The draws themselves are the
    // business of the module, so all draws of few images are tried and the one that was made has to be among them.
    let mut compared = 0;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let case = random_case(&mut rng, IouType::Bbox);
        let coco = truth(&case.truth);
        let num_images = coco.images.len();
        if num_images > 3 {
            continue;
        }
        let first = case.results.as_array().unwrap().clone();
        let second: Vec<Value> = first.iter().filter(|_| rng.random_bool(0.6)).cloned().collect();
        let evaluator = |entries: &[Value]| {
            let mut evaluator = CocoEvaluator::new(&coco, IouType::Bbox, Params::default());
            evaluator.add_results(results(entries)).unwrap();
            evaluator
        };
        let resampling = Resampling { draws: 1, seed };
        let found = compare(&[&evaluator(&first)], &[&evaluator(&second)], resampling).unwrap();
        let figures = |metrics: CocoMetrics| [0, 1, 2, 8].map(|figure| metrics.stats[figure]);
        let of_draw = |counts: &[u32]| {
            let [first, second] = [&first, &second].map(|entries| {
                let (truth_value, entries) = repeated(&case.truth, entries, counts);
                figures(score(&truth(&truth_value), results(&entries), IouType::Bbox, Params::default()))
            });
            [0, 1, 2, 3].map(|figure| second[figure] - first[figure])
        };
        let mut draws = vec![Vec::new()];
        for _ in 0..num_images {
            let longer = |counts: &Vec<u32>| -> Vec<Vec<u32>> {
                let next = |count| [counts.as_slice(), &[count]].concat();
                (0..=num_images as u32).map(next).collect()
            };
            draws = draws.iter().flat_map(longer).collect();
        }
        draws.retain(|counts: &Vec<u32>| counts.iter().sum::<u32>() == num_images as u32);
        let is_made = |counts: &Vec<u32>| {
            let pairs = of_draw(counts).into_iter().zip(&found);
            pairs.into_iter().all(|(difference, found)| {
                (difference - found.interval[0]).abs() <= cvx_tests::tolerance::STATISTIC
            })
        };
        assert!(draws.iter().any(is_made), "seed {seed}: {found:?}");
        let whole = [&first, &second]
            .map(|entries| figures(score(&coco, results(entries), IouType::Bbox, Params::default())));
        for (index, found) in found.iter().enumerate() {
            assert_eq!([found.first, found.second], [whole[0][index], whole[1][index]]);
        }
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}
