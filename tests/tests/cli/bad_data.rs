//! Data sets that cannot be trained on.

use std::fs;

use cvx_tools::exit::Exit;
use serde_json::{Value, json};

use crate::{Outcome, Project, truth};

/// The error of `train` on a truth that `change` has spoilt.
#[track_caller]
fn spoilt(change: impl FnOnce(&mut Value), expected: &str) {
    let project = Project::new();
    let mut truth = truth();
    change(&mut truth);
    project.write_truth(&truth);
    let Outcome { exit, err, .. } = project.command("train", &[]);
    assert_eq!(err, format!("error: {expected}\n"));
    assert_eq!(exit, Exit::BadInput);
    assert!(!project.path("run").exists(), "nothing is written before the data are known to be sound");
}

#[test]
fn a_missing_image_stops_training_with_its_name() {
    let project = Project::new();
    fs::remove_file(project.path("images/b.png")).unwrap();
    let Outcome { exit, err, .. } = project.command("train", &[]);
    assert_eq!(err, "error: [TMP]/images/b.png: No such file or directory (os error 2)\n");
    assert_eq!(exit, Exit::BadInput);
}

#[test]
fn a_truncated_image_stops_training_with_its_name() {
    let project = Project::new();
    let bytes = fs::read(project.path("images/a.png")).unwrap();
    fs::write(project.path("images/a.png"), &bytes[..bytes.len() / 2]).unwrap();
    let Outcome { exit, err, .. } = project.command("train", &[]);
    let expected =
        "error: [TMP]/images/a.png: truncated, its 181 bytes stop before the end-of-image marker\n";
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}

#[test]
fn ids_that_name_nothing_are_refused() {
    spoilt(
        |truth| truth["annotations"][1]["image_id"] = json!(7),
        "[TMP]/truth.json: annotation 2: it names image 7, which `images` does not list",
    );
    spoilt(
        |truth| truth["annotations"][1]["category_id"] = json!(4),
        "[TMP]/truth.json: annotation 2: it names category 4, which `categories` does not list",
    );
}

#[test]
fn boxes_that_are_none_are_refused() {
    spoilt(
        |truth| truth["annotations"][0]["bbox"] = json!([8, "NaN", 24, 16]),
        "[TMP]/truth.json: annotation 1: `bbox` is [8.0, NaN, 24.0, 16.0]; possible are finite numbers",
    );
    spoilt(
        |truth| truth["annotations"][0]["bbox"] = json!([8, 8, -24, 16]),
        "[TMP]/truth.json: annotation 1: `bbox` is [8.0, 8.0, -24.0, 16.0]; possible are widths and heights from 0",
    );
}

#[test]
fn masks_that_are_none_are_refused() {
    spoilt(
        |truth| truth["annotations"][0]["segmentation"] = json!([[8, 8, 32, 8]]),
        "[TMP]/truth.json: annotation 1: `segmentation`: polygon 0 has 4 numbers; possible are even counts from 6",
    );
    spoilt(
        |truth| truth["annotations"][0]["segmentation"] = json!({"size": [64, 48], "counts": [3072]}),
        "[TMP]/truth.json: annotation 1: `segmentation`: the mask is 64 x 48 (height x width); possible is 48 x 64",
    );
}

#[test]
fn an_empty_data_set_is_refused() {
    spoilt(
        |truth| {
            truth["images"] = json!([]);
            truth["annotations"] = json!([]);
        },
        "[TMP]/truth.json: lists no images",
    );
    spoilt(
        |truth| truth["annotations"] = json!([]),
        "[TMP]/truth.json: none of 2 images can be trained on: each has no annotation of the classes asked for, or a side under 32 pixels",
    );
}

#[test]
fn a_number_of_classes_that_the_file_does_not_have_is_refused() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("train", &["--set=head.mask-rcnn.num_classes=80"]);
    let expected =
        "error: [TMP]/truth.json: lists 2 classes (cat, dog), but head.mask-rcnn.num_classes = 80\n";
    assert_eq!(err, expected);
    assert_eq!(exit, Exit::BadInput);
}

#[test]
fn check_knows_that_the_weights_to_start_from_are_missing() {
    let project = Project::new();
    let Outcome { exit, out, .. } = project.command("check", &["--set=model.init={backbone='nowhere.pth'}"]);
    assert!(out.contains("error: model.init.backbone = \"nowhere.pth\": no such file or folder\n"), "{out}");
    assert!(out.ends_with("training would stop: 1 error\n"), "{out}");
    assert_eq!(exit, Exit::BadInput);
}
