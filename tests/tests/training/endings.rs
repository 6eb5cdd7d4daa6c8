//! Ends before all epochs are done, and evaluations by steps.

use std::fs;

use cvx_tools::train::metrics_file::MetricsFile;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::{Every, Patience, TrainerConfig};

use crate::toy::{BATCHES, EPOCHS, config, generator, train, train_with, trainer_of, values};

fn impatient() -> TrainerConfig {
    TrainerConfig {
        evaluate: Every::Steps(3),
        patience: Some(Patience { evaluations: 2, min_delta: 0.05 }),
        ..config(1)
    }
}

#[test]
fn a_run_ends_when_it_has_not_become_better_for_long_enough() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    // By evaluation: better, better, a little better, not better.
    let figures = [0.1, 0.3, 0.34, 0.2, 0.9];
    let ap = |position: &cvx_tools::train::checkpoint::Position| figures[position.step / 3 - 1];
    let start = trainer_of(&run, Start::Fresh, impatient()).expect("a run");
    let ended = train_with(start, |_| false, ap).expect("trains").expect("ends");
    let metrics = || MetricsFile::open_until(&run.join("metrics.json"), usize::MAX, None).expect("metrics");
    let steps: Vec<usize> = metrics().evaluations.iter().map(|evaluation| evaluation.step).collect();
    assert_eq!(steps, [3, 6, 9, 12]);
    // Resumed, it is at its end still, and the best model is that of the highest figure.
    let resumed = trainer_of(&run, Start::Resume, impatient()).expect("resumes");
    assert!(resumed.is_finished() && resumed.is_out_of_patience());
    assert_eq!(resumed.position().best.as_ref().expect("a best").step, 9);
    assert_eq!(values(resumed.model()), values(&ended));
}

#[test]
fn patience_is_no_other_in_a_run_that_was_resumed() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let ap = |position: &cvx_tools::train::checkpoint::Position| [0.3, 0.1, 0.2][position.step / 3 - 1];
    let mut start = Start::Fresh;
    for stop in [2, 4, 7] {
        let part = trainer_of(&run, start, impatient()).expect("a run");
        assert!(train_with(part, |position| position.step >= stop, ap).expect("trains").is_none());
        start = Start::Resume;
    }
    let rest = trainer_of(&run, start, impatient()).expect("resumes");
    train_with(rest, |_| false, ap).expect("trains").expect("ends");
    let text = fs::read_to_string(run.join("log.jsonl")).expect("a log");
    assert_eq!(text.lines().count(), 9);
}

#[test]
fn evaluations_by_steps_fall_inside_epochs_too() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let config = TrainerConfig { evaluate: Every::Steps(5), ..config(1) };
    train(trainer_of(&run, Start::Fresh, config).expect("a run"), |_| false).expect("trains");
    let metrics = MetricsFile::open_until(&run.join("metrics.json"), usize::MAX, None).expect("metrics");
    let steps: Vec<usize> = metrics.evaluations.iter().map(|evaluation| evaluation.step).collect();
    // And at the end of the run.
    assert_eq!(steps, [5, 10, 15, 20, BATCHES * EPOCHS]);
}
