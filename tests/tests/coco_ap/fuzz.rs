//! Thousands of random evaluations, masks and polygons, against hotcoco 1.3.1.
//!
//! hotcoco follows pycocotools too; where the two differ the cases keep away, or the difference is named. Its deviations:
//! an annotation with id 0 counts as matched (pycocotools takes the id for "none"; `coco_cases` has those), and AP of
//! masks may be an ulp off in the last figure, because its means are summed in another order (arrays are compared here).

use std::path::Path;

use cvx_data::{Coco, CocoResults, IouType, Params, Rle};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::score;

const CASES: u64 = 1500;

struct Case {
    truth: Value,
    results: Value,
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
        1 => json!({ "size": [height, width], "counts": rle().counts }),
        _ => json!(outlines),
    }
}

fn random_case(rng: &mut impl Rng, iou_type: IouType) -> Case {
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
            IouType::Segm => {
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
    for seed in 0..CASES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let iou_type = if seed % 2 == 0 { IouType::Bbox } else { IouType::Segm };
        let Case { truth, results } = random_case(&mut rng, iou_type);
        let ours = {
            let path = Path::new("fuzz.json");
            let coco = Coco::from_json(path, serde_json::to_vec(&truth).unwrap()).unwrap();
            let found = CocoResults::from_json(path, serde_json::to_vec(&results).unwrap()).unwrap();
            score(&coco, found, iou_type, Params::default())
        };
        let theirs = hotcoco::COCO::from_dataset(serde_json::from_value(truth).unwrap());
        let found = theirs.load_res_anns(serde_json::from_value(results).unwrap()).unwrap();
        let kind = match iou_type {
            IouType::Bbox => hotcoco::params::IouType::Bbox,
            IouType::Segm => hotcoco::params::IouType::Segm,
        };
        let mut evaluation = hotcoco::COCOeval::new(theirs, found, kind);
        evaluation.evaluate().unwrap();
        evaluation.accumulate();
        let theirs = evaluation.accumulated().unwrap();
        for (array, ours, theirs) in [
            ("precision", &ours.precision, &theirs.precision),
            ("recall", &ours.recall, &theirs.recall),
            ("scores", &ours.scores, &theirs.scores),
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
    }
}

#[test]
fn polygons_are_filled_to_the_pixel_as_hotcoco_fills_them() {
    for seed in 0..4000 {
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
    }
}
