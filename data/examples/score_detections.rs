//! Scores detections from memory against a COCO file, batch by batch: `score_detections TRUTH.json`.

use cvx_data::{Coco, CocoError, CocoEvaluator, Detection, IouType, Params};

fn main() -> Result<(), CocoError> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "instances.json".to_owned());
    let truth = Coco::open_for_scoring(path)?;
    let mut evaluator = CocoEvaluator::new(&truth, IouType::Bbox, Params::default());
    for object in &truth.annotations {
        // Here a network would look at the image; this one finds every object two pixels beside its place.
        let [x, y, width, height] = object.bbox;
        let bbox = [x + 2.0, y, width, height];
        let (image_id, category_id) = (object.image_id, object.category_id);
        evaluator.add([Detection { image_id, category_id, score: 0.9, bbox, mask: None }])?;
    }
    print!("{}", evaluator.finish()?.table());
    Ok(())
}
