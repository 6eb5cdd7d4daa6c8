//! The run folder: nothing is overwritten, and a run that goes wrong leaves what can be used.

use std::fs;

use burn::tensor::Device;
use cvx_tools::train::checkpoint::Checkpoint;
use cvx_tools::train::run_folder::{RunFolder, Start};

use crate::toy::{generator, told, toy, train, trainer, values};

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(RunFolder::open(folder.path(), &told("a = 1\n", Start::Fresh)).expect("a run"));
    let error =
        RunFolder::open(folder.path(), &told("a = 1\n", Start::Fresh)).expect_err("a run").to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
    assert!(error.contains("--resume") && error.contains("another folder"), "{error}");
}

#[test]
fn a_run_is_resumed_with_its_own_recipe_only() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(RunFolder::open(folder.path(), &told("a = 1\nb = 2\n", Start::Fresh)).expect("a run"));
    drop(RunFolder::open(folder.path(), &told("a = 1\nb = 2\n", Start::Resume)).expect("the same"));
    let error = RunFolder::open(folder.path(), &told("a = 1\nb = 3\n", Start::Resume))
        .expect_err("another")
        .to_string();
    assert!(error.contains("`b` is 2, given is 3"), "{error}");
}

#[test]
fn an_entry_that_changes_no_result_may_change_when_a_run_is_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(RunFolder::open(folder.path(), &told("a = 1\nworkers = 2\n", Start::Fresh)).expect("a run"));
    drop(RunFolder::open(folder.path(), &told("a = 1\nworkers = 9\n", Start::Resume)).expect("the same"));
}

#[test]
fn a_run_that_lost_its_checkpoint_is_not_started_over() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |position| position.step == 3).expect("trains");
    fs::remove_file(run.join("checkpoints/last.safetensors")).expect("was there");
    let log = fs::read(run.join("log.jsonl")).expect("a log");
    let error = trainer(&run, Start::Resume, 1).expect_err("lost").to_string();
    assert!(error.contains("last.safetensors is missing, but"), "{error}");
    assert!(error.contains("log.jsonl holds 3 steps"), "{error}");
    assert_eq!(fs::read(run.join("log.jsonl")).expect("a log"), log);
    fs::write(run.join("checkpoints/best.safetensors"), "best").expect("a file");
    let error = trainer(&run, Start::Resume, 1).expect_err("lost").to_string();
    assert!(error.contains("best.safetensors is there"), "{error}");
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_starts_over() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |position| position.step == 1).expect("trains");
    assert_eq!(trainer(&run, Start::Resume, 1).expect("starts").position().step, 0);
}

#[test]
fn an_error_of_the_data_saves_what_was_learned() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
    let error = run.stop(anyhow::anyhow!("a.png: truncated"));
    assert_eq!(format!("{error:#}"), "a.png: truncated", "nothing was learned yet");
    for batch in 0..3 {
        let seed = run.begin_step();
        let losses = run.model().losses(batch, seed);
        run.step(losses, 4).expect("a good step");
    }
    let error = format!("{:#}", run.stop(anyhow::anyhow!("a.png: truncated")));
    assert!(error.contains("stopped after step 3, which is saved in"), "{error}");
    assert!(error.ends_with("--resume goes on there: a.png: truncated"), "{error}");
    drop(run);
    assert_eq!(trainer(folder.path(), Start::Resume, 1).expect("resumes").position().step, 3);
}

#[test]
fn without_a_defined_metric_the_last_model_stands_for_the_best() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
    let best = folder.path().join("checkpoints/best.safetensors");
    for (batch, value, kept) in [(0, f64::NAN, 1), (1, f64::NAN, 2), (2, 0.1, 3), (3, f64::NAN, 3)] {
        let seed = run.begin_step();
        let losses = run.model().losses(batch, seed);
        run.step(losses, 4).expect("a good step");
        let metrics = std::collections::BTreeMap::from([("box/ap".to_owned(), value)]);
        run.record_evaluation(&metrics).expect("measured");
        assert_eq!(Checkpoint::open(&best).expect("a best").position.step, kept);
    }
}

#[test]
fn a_run_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = RunFolder::open(folder.path(), &told("", Start::Resume)).expect("a run");
    let error = RunFolder::open(folder.path(), &told("", Start::Resume)).expect_err("a second").to_string();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_before_it_spoils_the_model() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
    let seed = run.begin_step();
    let losses = run.model().losses(0, seed);
    run.step(losses, 4).expect("a good step");
    let before = values(run.model());
    let seed = run.begin_step();
    let mut losses = run.model().losses(1, seed);
    losses[1].1 = losses[1].1.clone() * f32::NAN;
    let error = run.step(losses, 4).expect_err("NaN").to_string();
    for part in ["step 2", "absolute = NaN", "square = ", "gradient norm = NaN", "last.safetensors"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let saved = Checkpoint::open(&folder.path().join("checkpoints/last.safetensors")).expect("saved");
    assert_eq!(saved.position.step, 1);
    let model = saved.load_model(toy(&Device::flex(), 5)).expect("whole");
    assert_eq!(values(&model), before);
}

#[test]
fn a_damaged_log_names_the_line_and_a_cut_last_line_is_dropped() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (run, log) = (folder.path().join("run"), folder.path().join("run/log.jsonl"));
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |position| position.step == 2).expect("trains");
    let good = fs::read_to_string(&log).expect("a log");
    fs::write(&log, format!("{good}{{\"step\":3,\"epo")).expect("a file");
    drop(trainer(&run, Start::Resume, 1).expect("resumes"));
    assert_eq!(fs::read_to_string(&log).expect("a log"), good);
    fs::write(&log, format!("nonsense\n{good}")).expect("a file");
    let error = trainer(&run, Start::Resume, 1).expect_err("nonsense").to_string();
    assert!(error.contains("log.jsonl line 1: not a record of a step"), "{error}");
}
