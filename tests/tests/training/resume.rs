//! A run that was interrupted and resumed is the run that was not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cvx_tools::train::checkpoint::{Checkpoint, Position};
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::step_log::StepRecord;

use crate::toy::{BATCHES, EPOCHS, description, generator, timeless, train, trainer, values};

#[track_caller]
fn assert_resumes_exactly(accumulation: usize, stops: &[usize]) {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let start = trainer(&whole, Start::Fresh, accumulation).expect("a run");
    let expected = train(start, |_| false).expect("trains").expect("finishes");
    let mut start = Start::Fresh;
    for &stop in stops {
        let part = trainer(&parts, start, accumulation).expect("a run");
        assert!(train(part, |position| position.step >= stop).expect("trains").is_none());
        start = Start::Resume;
    }
    let rest = trainer(&parts, start, accumulation).expect("resumes");
    let resumed = train(rest, |_| false).expect("trains").expect("finishes");
    assert_eq!(values(&resumed), values(&expected));
    assert_eq!(timeless(&parts), timeless(&whole));
    let metrics = |folder: &PathBuf| fs::read_to_string(folder.join("metrics.json")).expect("metrics");
    assert_eq!(metrics(&parts), metrics(&whole));
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_to_the_last_bit() {
    assert_resumes_exactly(1, &[3, 7, 8]);
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_with_accumulation_too() {
    // Seven batches an epoch: two whole updates of three, and one of the batch that is left.
    assert_resumes_exactly(3, &[1, 2, 3, 5]);
}

#[test]
fn an_evaluation_that_did_not_come_to_its_end_is_made_by_the_resumed_run() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(trainer(&whole, Start::Fresh, 1).expect("a run"), |_| false).expect("trains");
    // Each stops where an epoch is saved and not yet evaluated.
    for epoch in 1..=EPOCHS {
        let start = if epoch == 1 { Start::Fresh } else { Start::Resume };
        let part = trainer(&parts, start, 1).expect("a run");
        let at_its_end = |position: &Position| position.epoch == epoch && position.batches_in_epoch == 0;
        assert!(train(part, at_its_end).expect("trains").is_none());
    }
    train(trainer(&parts, Start::Resume, 1).expect("resumes"), |_| false).expect("trains");
    let metrics = |folder: &PathBuf| fs::read_to_string(folder.join("metrics.json")).expect("metrics");
    assert_eq!(metrics(&parts), metrics(&whole));
    let best = |folder: &PathBuf| fs::read(folder.join("checkpoints/best.safetensors")).expect("the best");
    assert!(best(&parts) == best(&whole));
}

#[test]
fn the_toy_learns_and_draws() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |_| false).expect("trains");
    let records = timeless(&run);
    let steps: Vec<usize> = records.iter().map(|record| record.step).collect();
    assert_eq!(steps, (1..=BATCHES * EPOCHS).collect::<Vec<usize>>());
    let mean = |records: &[StepRecord]| records.iter().map(|r| r.loss).sum::<f32>() / records.len() as f32;
    assert!(mean(&records[14..]) < mean(&records[..7]));
    let picture = image::open(run.join("curves.png")).expect("a picture");
    assert_eq!(picture.width(), 1200);
    let best = Checkpoint::open(&run.join("checkpoints/best.safetensors")).expect("the best");
    assert_eq!(best.position.best.expect("a best").value, 0.3);
    assert_eq!(best.description, description());
}

#[test]
fn a_run_killed_at_any_moment_resumes_to_the_same_losses() {
    const FOLDER: &str = "CVX_TEST_KILLED_RUN";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // The child: trains slowly enough to be killed on the way.
        let slow = |_: &Position| {
            std::thread::sleep(Duration::from_millis(8));
            false
        };
        train(trainer(Path::new(&folder), Start::Resume, 2).expect("a run"), slow).expect("trains");
        return;
    }
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let expected = train(trainer(&whole, Start::Fresh, 2).expect("a run"), |_| false).expect("trains");
    for milliseconds in [150, 90, 200, 130] {
        let mut child = this_test("resume::a_run_killed_at_any_moment_resumes_to_the_same_losses");
        let mut child = child.env(FOLDER, &killed).spawn().expect("a child");
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("a kill");
        child.wait().expect("an end");
    }
    let resumed = train(trainer(&killed, Start::Resume, 2).expect("resumes"), |_| false).expect("trains");
    assert_eq!(values(&resumed.expect("finishes")), values(&expected.expect("finishes")));
    assert_eq!(timeless(&killed), timeless(&whole));
}

/// This test binary, to run one test in a process of its own.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", name, "--nocapture"]).stdout(std::process::Stdio::null());
    command
}
