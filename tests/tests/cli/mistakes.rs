//! Ten mistakes of a first day, each understood from its one message.

use std::fs;

use cvx_tools::exit::Exit;

use crate::{Outcome, Project};

/// What `check` says after `find` became `replacement` in the recipe; lines are counted from the end of its header.
#[track_caller]
fn written(find: &str, replacement: &str, expected: &str) {
    let project = Project::new();
    let recipe = fs::read_to_string(project.path("recipe.toml")).unwrap();
    assert!(recipe.contains(find), "{find}");
    let body = recipe.split_once("\n\n").unwrap().1;
    fs::write(project.path("recipe.toml"), body.replacen(find, replacement, 1)).unwrap();
    let Outcome { exit, err, .. } = project.run(&["info", &project.text("recipe.toml")]);
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

/// What `train` says to a `--set`.
#[track_caller]
fn set(assignment: &str, expected: &str) {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.run(&["info", &project.text("recipe.toml"), "--set", assignment]);
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

#[test]
fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
    written(
        "epochs = 2",
        "lr = 1e-3\nepochs = 2",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 60, column 1
     |
  60 | lr = 1e-3
     | ^^
  unknown entry `lr`, expected one of `epochs`, `batch_size`, `accumulation_steps`, `lr_batch_size`, `max_grad_norm`, \
         `ema`, `freeze`, `early_stop`, `recompute_stages`, `group_by_aspect`, `transforms`, `workers`, \
         `checkpoint_every_steps`, `keep_checkpoints`
  `lr` is an entry of `optimizer.adamw`
",
    );
}

#[test]
fn a_number_in_quotes_is_told_as_a_string() {
    written(
        "lr = 1e-3",
        "lr = \"1e-3\"",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 72, column 6
     |
  72 | lr = \"1e-3\"
     |      ^^^^^^
  the string \"1e-3\" where a number is expected
",
    );
}

#[test]
fn a_choice_without_its_entries_is_told_how_to_write_them() {
    written(
        "decay = { cosine = { min_lr = 1e-5 } }",
        "decay = \"cosine\"",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 82, column 9
     |
  82 | decay = \"cosine\"
     |         ^^^^^^^^
  `cosine` needs entries of its own: { cosine = { min_lr = .. } }
",
    );
}

#[test]
fn a_backbone_of_another_spelling_is_told_the_right_one() {
    set(
        "model.backbone=v2_tiny",
        "error: --set model.backbone=v2_tiny does not fit [TMP]/recipe.toml
  unknown choice `v2_tiny`, expected one of `v2-atto`, `v2-femto`, `v2-pico`, `v2-nano`, `v2-tiny`, `v2-small`, \
         `v2-base`, `v2-large`, `v2-huge`, `v1-atto`, `v1-femto`, `v1-pico`, `v1-nano`, `v1-tiny`, `v1-small`, \
         `v1-base`, `v1-large`, `v1-xlarge`, `custom`
  did you mean `v2-tiny`?
  in `model.backbone`
",
    );
}

#[test]
fn a_mean_of_one_number_is_told_to_be_three() {
    written(
        "mean = [123.675, 116.28, 103.53]",
        "mean = 127.5",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 14, column 8
     |
  14 | mean = 127.5
     |        ^^^^^
  127.5 where a list of length 3 is expected
",
    );
}

#[test]
fn a_batch_that_cannot_be_split_is_told_with_both_numbers() {
    set(
        "train.accumulation_steps=3",
        "error: [TMP]/recipe.toml cannot work
  train.accumulation_steps = 3: must divide train.batch_size = 2
  at --set train.accumulation_steps=3
",
    );
}

#[test]
fn a_metric_of_another_program_is_answered_with_ours() {
    let project = Project::new();
    let recipe = project.text("recipe.toml");
    let Outcome { exit, err, .. } = project.run(&["info", &recipe, "--set", "evaluate.best_by=mAP"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(
        err.contains("evaluate.best_by: unknown metric `mAP`, expected one of `box/ap`, `box/ap50`"),
        "{err}"
    );
    assert!(err.ends_with("at --set evaluate.best_by=mAP\n"), "{err}");
}

#[test]
fn an_equals_sign_that_was_forgotten_is_shown_where_it_is() {
    written(
        "epochs = 2",
        "epochs 2",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 60, column 8
     |
  60 | epochs 2
     |        ^
  key with no value, expected `=`
",
    );
}

#[test]
fn the_wrong_number_of_classes_is_told_with_those_there_are() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("train", &["--set=head.mask-rcnn.num_classes=80"]);
    let expected =
        "error: [TMP]/truth.json: lists 2 classes (cat, dog), but head.mask-rcnn.num_classes = 80\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

#[test]
fn a_recipe_of_another_program_is_told_to_be_one() {
    let project = Project::new();
    let recipe = cvx_tests::project_root().join("configs/smoke/instant-ade.toml").display().to_string();
    let Outcome { exit, err, .. } = project.run(&["train", &recipe]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.ends_with("\n  this is a recipe of `cvx-seg`\n"), "{err}");
}
