//! Folders that cannot be trained on: each is refused with the file and what was found in it, by `train` before anything
//! is written or with what was learnt saved, and by `check`.

use std::fs;

use cvx_tools::exit::Exit;
use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::Project;

/// What both commands say of a project that `spoil` has spoilt.
#[track_caller]
fn spoilt(spoil: impl Fn(&Project), expected: &[&str]) {
    let project = Project::new();
    spoil(&project);
    let trained = project.on_folders("train", &[]);
    assert_eq!(trained.exit, Exit::BadInput, "{}", trained.out);
    for words in expected {
        assert!(trained.err.contains(words), "`{words}` is not in: {}", trained.err);
    }
    let checked = project.on_folders("check", &[]);
    assert_eq!(checked.exit, Exit::BadInput, "{}", checked.out);
    let told = checked.out + &checked.err;
    for words in expected {
        assert!(told.contains(words), "`{words}` is not in: {told}");
    }
}

#[test]
fn labels_out_of_range_are_counted() {
    spoilt(
        |project| project.label("train", "a", 64, 48, |x, y| if x == 3 && y < 7 { 9 } else { 0 }),
        &["[TMP]/train/labels/a.png", "9", "7 pixels"],
    );
}

#[test]
fn labels_of_another_size_are_refused() {
    spoilt(
        |project| project.label("train", "b", 63, 48, |_, _| 0),
        &["[TMP]/train/labels/b.png", "63", "64"],
    );
}

#[test]
fn colours_without_a_palette_are_refused() {
    spoilt(
        |project| {
            RgbImage::from_pixel(64, 48, Rgb([9, 8, 7])).save(project.path("train/labels/a.png")).unwrap();
        },
        &["[TMP]/train/labels/a.png", "palette"],
    );
}

#[test]
fn binary_masks_are_recognised() {
    spoilt(
        |project| {
            for (half, name) in [("train", "a"), ("train", "b"), ("val", "c")] {
                project.label(half, name, 64, 48, |x, _| if x > 20 { 255 } else { 0 });
            }
        },
        &["[TMP]/train/labels", "0 and 255"],
    );
}

#[test]
fn files_without_a_partner_are_named() {
    spoilt(|project| fs::remove_file(project.path("train/labels/b.png")).unwrap(), &["b.png"]);
    spoilt(|project| fs::remove_file(project.path("train/images/a.png")).unwrap(), &["a.png"]);
}

#[test]
fn empty_folders_are_refused() {
    spoilt(
        |project| {
            fs::remove_dir_all(project.path("train/images")).unwrap();
            fs::create_dir(project.path("train/images")).unwrap();
        },
        &["[TMP]/train/images"],
    );
}

#[test]
fn a_truncated_label_image_is_named() {
    spoilt(
        |project| {
            let bytes = fs::read(project.path("train/labels/a.png")).unwrap();
            fs::write(project.path("train/labels/a.png"), &bytes[..bytes.len() / 2]).unwrap();
        },
        &["[TMP]/train/labels/a.png"],
    );
}

#[test]
fn a_class_that_never_occurs_has_no_figure() {
    let project = Project::new();
    project.label("val", "c", 64, 48, |_, _| 0);
    // Whether it was predicted or not: by this convention that does not matter.
    let sets = ["--set=evaluate.best_by=aacc", "--set=evaluate.convention=detectron2"];
    let trained = project.on_folders("train", &sets);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    assert!(trained.out.contains("|  nan"), "{}", trained.out);
    let metrics = fs::read(project.path("run/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_slice(&metrics).unwrap();
    let last = &metrics["evaluations"].as_array().unwrap().last().unwrap()["metrics"];
    assert_eq!(last["iou/right"], Value::Null);
    assert!(last["iou/left"].is_f64(), "{last}");
}

#[test]
fn an_image_of_one_pixel_and_images_without_labels_are_told_and_trained_on() {
    let project = Project::new();
    RgbImage::new(1, 1).save(project.path("train/images/a.png")).unwrap();
    project.label("train", "a", 1, 1, |_, _| 1);
    project.label("train", "b", 64, 48, |_, _| 255);
    let checked = project.on_folders("check", &[]);
    assert_eq!(checked.exit, Exit::Done, "{}", checked.out);
    assert!(checked.out.contains("a.png") && checked.out.contains("b.png"), "{}", checked.out);
    let trained = project.on_folders("train", &[]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
}

#[test]
fn validation_labels_are_read_as_strictly() {
    let project = Project::new();
    project.label("val", "c", 64, 48, |_, _| 200);
    let trained = project.on_folders("train", &[]);
    assert_eq!(trained.exit, Exit::BadInput, "{}", trained.out);
    assert!(trained.err.contains("[TMP]/val/labels/c.png") && trained.err.contains("200"), "{}", trained.err);
    // What was learnt until then is there.
    assert!(project.path("run/checkpoints/last.safetensors").is_file());
}
