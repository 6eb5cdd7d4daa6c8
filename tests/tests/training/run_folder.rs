//! The run folder: nothing is overwritten, and a run that goes wrong leaves what can be used.

use std::fs;

use burn::tensor::Device;
use cvx_tools::train::checkpoint::Checkpoint;
use cvx_tools::train::run_folder::{RunFolder, Start};

use crate::toy::{generator, toy, train, trainer, values};

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(RunFolder::open(folder.path(), "a = 1\n", Start::Fresh).expect("a run"));
    let error = RunFolder::open(folder.path(), "a = 1\n", Start::Fresh).expect_err("a run").to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
    assert!(error.contains("--resume") && error.contains("another folder"), "{error}");
}

#[test]
fn a_run_is_resumed_with_its_own_recipe_only() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(RunFolder::open(folder.path(), "a = 1\nb = 2\n", Start::Fresh).expect("a run"));
    drop(RunFolder::open(folder.path(), "a = 1\nb = 2\n", Start::Resume).expect("the same"));
    let error =
        RunFolder::open(folder.path(), "a = 1\nb = 3\n", Start::Resume).expect_err("another").to_string();
    assert!(error.contains("line 2 is `b = 2`, given is `b = 3`"), "{error}");
}

#[test]
fn a_run_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = RunFolder::open(folder.path(), "", Start::Resume).expect("a run");
    let error = RunFolder::open(folder.path(), "", Start::Resume).expect_err("a second").to_string();
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
    let mut saved = Checkpoint::open(&folder.path().join("checkpoints/last.safetensors")).expect("saved");
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
