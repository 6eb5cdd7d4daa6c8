//! Runs that are made longer or shorter when they are resumed, and what is said of it.

use std::fs;

use cvx_tools::exit::Exit;
use cvx_tools::recipe::{Recipe, load};

use crate::{Journey, cvx_det, json, records};

/// Resumes `run`, and gives its exit and what it says.
fn resumed(journey: &Journey, run: &str, sets: &[&str]) -> (Exit, String, String) {
    cvx_det(&journey.arguments("train", run, &[sets, &["--resume"]].concat()))
}

fn recipe(journey: &Journey, run: &str) -> Recipe {
    load(&journey.path(run).join("recipe.toml"), &[]).unwrap()
}

#[test]
fn a_finished_run_goes_on_when_it_is_made_longer() {
    let journey = Journey::new();
    journey.train("run", &[]);
    assert_eq!(records(&journey.path("run")).len(), 8);
    let (exit, out, err) = resumed(&journey, "run", &["--set=train.epochs=4"]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(
        out.contains("epochs      4, was 2 so far: the schedule is that of 4 epochs from here on\n"),
        "{out}"
    );
    assert_eq!(recipe(&journey, "run").train.epochs, 4);

    // From the step at which it became longer, the learning rate is that of a run that was as long all the time.
    journey.train("long", &["--set=train.epochs=4"]);
    let rates = |run: &str| records(&journey.path(run)).iter().map(|record| record.lr).collect::<Vec<_>>();
    assert_eq!(rates("run").len(), 16);
    assert_eq!(rates("run")[8..], rates("long")[8..]);
    assert_ne!(rates("run")[..8], rates("long")[..8]);

    // Told the same once more, it has nothing to say and nothing to do.
    let (exit, out, _) = resumed(&journey, "run", &["--set=train.epochs=4"]);
    assert!(exit == Exit::Done && !out.contains("so far"), "{out}");
    assert_eq!(records(&journey.path("run")).len(), 16);
}

#[test]
fn a_run_cannot_be_made_shorter_than_it_is() {
    let journey = Journey::new();
    journey.train("run", &[]);
    let kept = fs::read(journey.path("run/recipe.toml")).unwrap();
    let (exit, _, err) = resumed(&journey, "run", &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::BadInput);
    assert_eq!(
        err,
        "error: train.epochs = 1: this run has done epoch 2 already; possible when it is resumed: 2 and above\n"
    );
    assert_eq!(fs::read(journey.path("run/recipe.toml")).unwrap(), kept);
    // Whatever else is another recipe stays one.
    let (exit, _, err) = resumed(&journey, "run", &["--set=train.epochs=4", "--set=optimizer.adamw.lr=0.5"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("`optimizer.adamw.lr` is 0.001, given is 0.5"), "{err}");
    assert!(err.contains("train.epochs and train.early_stop may be others"), "{err}");
}

#[test]
fn a_run_that_ended_early_goes_on_with_more_patience_or_without() {
    let journey = Journey::new();
    let patience =
        |patience: usize| format!("--set=train.early_stop={{ patience = {patience}, min_delta = 1.0 }}");
    let [two, three] = [patience(2), patience(3)];
    let evaluations = || json(&journey.path("run/metrics.json"))["evaluations"].as_array().unwrap().len();
    journey.train("run", &["--set=train.epochs=6", &two]);
    assert_eq!(evaluations(), 3);
    let (exit, out, err) = resumed(&journey, "run", &["--set=train.epochs=6", &three]);
    assert_eq!(exit, Exit::Done, "{err}");
    let told = "early stop  patience 3 with min_delta 1.0, was patience 2 with min_delta 1.0 so far\n";
    assert!(out.contains(told) && !out.contains("\nepochs "), "{out}");
    assert_eq!(evaluations(), 4);
    let (exit, out, err) = resumed(&journey, "run", &["--set=train.epochs=6"]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("early stop  none, was patience 3 with min_delta 1.0 so far\n"), "{out}");
    assert_eq!((evaluations(), records(&journey.path("run")).len()), (6, 24));
    assert_eq!(recipe(&journey, "run").train.early_stop, None);
}

#[test]
fn a_quiet_run_says_nothing_of_its_recipe_and_all_of_what_is_wrong_with_it() {
    let journey = Journey::new();
    let (exit, out, err) =
        cvx_det(&journey.arguments("train", "run", &["-q", "--set=schedule.warmup_steps=9"]));
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(!out.contains("run folder") && out.contains("Average Precision"), "{out}");
    let expected = "WARNING: schedule.warmup_steps = 9: the training has 8 steps (2 epochs of 4), so it ends before its \
                    rate reaches 0.001\n";
    assert_eq!(err, expected);
}
