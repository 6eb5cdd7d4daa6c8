//! Scores a COCO result file and says how long each step took: `score_coco TRUTH RESULTS [bbox|segm]`.

use std::time::Instant;

use cvx_data::{Coco, CocoError, CocoEvaluator, CocoResults, IouType, Params};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [truth, results, kind] = arguments.as_slice() else {
        eprintln!("score_coco TRUTH RESULTS bbox|segm");
        std::process::exit(2);
    };
    let iou_type = if kind == "segm" { IouType::Segm } else { IouType::Bbox };
    if let Err(error) = score(truth, results, iou_type) {
        eprintln!("error: {error}");
        std::process::exit(2);
    }
}

fn score(truth: &str, results: &str, iou_type: IouType) -> Result<(), CocoError> {
    let started = Instant::now();
    let seconds = || started.elapsed().as_secs_f64();
    let truth = Coco::open_for_scoring(truth)?;
    let truth_s = seconds();
    let results = CocoResults::open(results)?;
    let read_s = seconds();
    let count = results.len();
    let mut evaluator = CocoEvaluator::new(&truth, iou_type, Params::default());
    evaluator.add_results(results)?;
    let added_s = seconds();
    let metrics = evaluator.finish()?;
    eprintln!(
        "{count} detections: truth {truth_s:.3} s, results {:.3} s, add {:.3} s, evaluate {:.3} s, all {:.3} s",
        read_s - truth_s,
        added_s - read_s,
        seconds() - added_s,
        seconds()
    );
    print!("{}", metrics.table());
    println!("{:?}", metrics.stats);
    Ok(())
}
