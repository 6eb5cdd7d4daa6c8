//! Recipes that are none, and changes that do not fit them.

use std::fs;

use cvx_tools::exit::Exit;

use crate::{Outcome, Project};

/// The error of `train` with a changed recipe.
#[track_caller]
fn changed(find: &str, replacement: &str, expected: &str) {
    let project = Project::new();
    let recipe = fs::read_to_string(project.path("recipe.toml")).unwrap();
    assert!(recipe.contains(find), "{find}");
    // The header may grow; the messages here count lines from its end.
    let body = recipe.split_once("\n\n").unwrap().1;
    fs::write(project.path("recipe.toml"), body.replacen(find, replacement, 1)).unwrap();
    let Outcome { exit, err, .. } = project.run(&["train", &project.text("recipe.toml")]);
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}

/// The error of `train` with one `--set`.
#[track_caller]
fn set(assignment: &str, expected: &str) {
    let project = Project::new();
    let Outcome { exit, err, .. } =
        project.run(&["train", &project.text("recipe.toml"), "--set", assignment]);
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}

#[test]
fn a_typo_in_a_recipe_is_shown_where_it_is() {
    changed(
        "drop_path_rate = 0.0",
        "drop_path = 0.0",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 20, column 1
     |
  20 | drop_path = 0.0
     | ^^^^^^^^^
  unknown entry `drop_path`, expected one of `backbone`, `drop_path_rate`, `layer_scale_init`, `init`
  did you mean `model.drop_path_rate`?
",
    );
}

#[test]
fn a_wrong_type_in_a_recipe_is_shown_where_it_is() {
    changed(
        "epochs = 2",
        "epochs = \"two\"",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 60, column 10
     |
  60 | epochs = \"two\"
     |          ^^^^^
  the string \"two\" where a whole number from 0 is expected
",
    );
}

#[test]
fn an_impossible_value_in_a_recipe_is_named() {
    changed(
        "epochs = 2",
        "epochs = 0",
        "error: [TMP]/recipe.toml cannot work\n  train.epochs = 0: must be at least 1\n  at [TMP]/recipe.toml:60\n",
    );
}

#[test]
fn an_unknown_choice_is_answered_with_the_choices() {
    changed(
        "nms = { hard = { iou = 0.5 } }",
        "nms = { firm = { iou = 0.5 } }",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 55, column 9
     |
  55 | nms = { firm = { iou = 0.5 } }
     |         ^^^^
  unknown choice `firm`, expected one of `hard`, `soft-linear`, `soft-gaussian`
",
    );
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    changed(
        "epochs = 2\n",
        "",
        "error: [TMP]/recipe.toml is not a recipe
  TOML parse error at line 59, column 1
     |
  59 | [train]
     | ^^^^^^^
  `epochs` is missing
",
    );
}

#[test]
fn a_set_of_an_unknown_path_lists_the_known_ones() {
    set(
        "train.epoch=3",
        "error: --set train.epoch=3 does not fit [TMP]/recipe.toml
  unknown entry `epoch`, expected one of `epochs`, `batch_size`, `accumulation_steps`, `lr_batch_size`, `max_grad_norm`, \
         `ema`, `freeze`, `early_stop`, `recompute_stages`, `group_by_aspect`, `transforms`, `workers`, \
         `checkpoint_every_steps`, `keep_checkpoints`
  did you mean `train.epochs`?
  in `train`
",
    );
    set(
        "trian.epochs=3",
        "error: --set trian.epochs=3 does not fit [TMP]/recipe.toml
  unknown entry `trian`, expected one of `seed`, `precision`, `run`, `data`, `input`, `model`, `head`, `train`, `optimizer`, \
         `schedule`, `evaluate`, `expect`
  did you mean `train`?
",
    );
}

#[test]
fn a_set_of_a_wrong_type_says_so() {
    set(
        "train.epochs=many",
        "error: --set train.epochs=many does not fit [TMP]/recipe.toml
  the string \"many\" where a whole number from 0 is expected
  in `train.epochs`
",
    );
    set(
        "precision=fp16",
        "error: --set precision=fp16 does not fit [TMP]/recipe.toml
  unknown choice `fp16`, expected one of `f32`, `bf16`
  in `precision`
",
    );
    set(
        "train.epochs",
        "error: --set train.epochs does not fit [TMP]/recipe.toml
  expected `key.path=value`, as in `train.epochs=3`
",
    );
    set(
        "seed.value=3",
        "error: --set seed.value=3 does not fit [TMP]/recipe.toml
  `seed` is a value, it has no `value`
",
    );
    set(
        "train.ema=true",
        "error: --set train.ema=true does not fit [TMP]/recipe.toml
  true where a table of `decay`, `warmup` is expected
  in `train.ema`
",
    );
}

#[test]
fn what_a_run_cannot_do_is_named_with_its_entry() {
    let cases = [
        (
            "train.ema={ decay = 1.0, warmup = true }",
            "train.ema.decay = 1: must be at least 0 and below 1; 0.9999 is usual",
        ),
        (
            "train.early_stop={ patience = 0, min_delta = 0.0 }",
            "train.early_stop.patience = 0: must be at least 1",
        ),
        (
            "train.early_stop={ patience = 3, min_delta = -0.1 }",
            "train.early_stop.min_delta = -0.1: must not be negative",
        ),
        ("train.keep_checkpoints=0", "train.keep_checkpoints = 0: must be at least 1"),
        ("train.lr_batch_size=0", "train.lr_batch_size = 0: must be at least 1"),
        ("train.recompute_stages=[0, 4]", "train.recompute_stages.1 = 4: must be a stage, 0 to 3"),
        ("evaluate.every_steps=0", "evaluate.every_steps = 0: must be at least 1"),
        (
            "evaluate={ batch_size = 2, short_side = 64, long_side = 64, best_by = \"mask/ap\" }",
            "evaluate.every_epochs is missing: say when to evaluate; possible: every_epochs, every_steps",
        ),
    ];
    for (assignment, expected) in cases {
        let project = Project::new();
        let Outcome { exit, err, .. } =
            project.run(&["train", &project.text("recipe.toml"), "--set", assignment]);
        let expected = format!("error: [TMP]/recipe.toml cannot work\n  {expected}\n");
        assert!(err.starts_with(&expected), "{err}");
        assert_eq!(exit, Exit::BadInput);
    }
}

#[test]
fn a_recipe_that_is_not_there_is_named() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.run(&["info", &project.text("none.toml")]);
    let expected =
        "error: [TMP]/none.toml: a recipe that cannot be read\n  No such file or directory (os error 2)\n";
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}
