//! `check`: every cause of silent mistakes is counted and shown.

use std::fs;

use cvx_tools::exit::Exit;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::{Outcome, Project, annotation, truth};

/// What `check` says of a truth that `change` has changed.
#[track_caller]
fn said(change: impl FnOnce(&mut Value), sets: &[&str], expected: &[&str]) {
    let project = Project::new();
    let mut truth = truth();
    change(&mut truth);
    project.write_truth(&truth);
    let Outcome { out, err, .. } = project.command("check", sets);
    for words in expected {
        assert!(out.contains(words), "`{words}` is not in\n{out}{err}");
    }
}

#[test]
fn what_training_would_refuse_check_refuses() {
    let project = Project::new();
    project.write_truth(&truth());
    for (set, expected) in [
        ("--set=train.freeze=[\"backbone.stage.0\"]", "train.freeze.0"),
        ("--set=optimizer.adamw.layer_decay={ single = { rate = 90.0 } }", "90"),
    ] {
        let Outcome { exit, out, err } = project.command("check", &[set]);
        assert_eq!(exit, Exit::BadInput, "{out}{err}");
        assert!(
            out.contains("  error: ") && out.contains(expected) && out.contains("training would stop"),
            "{out}"
        );
    }
}

#[test]
fn boxes_as_corners_and_boxes_as_shares_are_recognised() {
    said(
        |truth| truth["annotations"][0]["bbox"] = json!([30, 20, 62, 46]),
        &[],
        &["  warning: boxes outside their image: 1\n", "annotation 1: `bbox` is [30.0, 20.0, 62.0, 46.0]"],
    );
    said(
        |truth| {
            for index in 0..2 {
                truth["annotations"][index]["bbox"] = json!([30, 20, 62, 46]);
            }
        },
        &[],
        &["  warning: boxes of another convention: 1\n", "look like corners (left, top, right, bottom)"],
    );
}

#[test]
fn repeated_annotations_and_disagreeing_masks_are_counted() {
    said(
        |truth| {
            let annotations = truth["annotations"].as_array_mut().unwrap();
            (3..13).for_each(|id| annotations.push(annotation(id, 1, 3)));
        },
        &["--limit=2"],
        &[
            "  warning: repeated annotations: 10\n",
            "annotation 3: `bbox` [8.0, 8.0, 24.0, 16.0] and category 3 are those of annotation 1\n",
            "    and 8 more, shown with --limit 10\n",
        ],
    );
    said(
        |truth| truth["annotations"][0]["bbox"] = json!([40, 30, 20, 10]),
        &[],
        &["  warning: boxes that are not around their mask: 1\n", "areas larger than their box: 1\n"],
    );
}

#[test]
fn a_course_that_does_not_happen_as_written_is_told() {
    said(
        |_| {},
        &["--set=schedule.warmup_steps=1000", "--set=optimizer.adamw.lr=0.1", "--set=train.batch_size=64"],
        &[
            "schedule.warmup_steps = 1000: the training has 2 steps (2 epochs of 1)",
            "optimizer.adamw.lr = 0.1: published recipes have at most 0.004",
            "train.batch_size = 64: with 2 images to train on",
        ],
    );
    said(
        |_| {},
        &["--set=schedule.decay={ step = { milestone_epochs = [1, 8], gamma = 0.1 } }"],
        &["schedule.decay.step.milestone_epochs: 8 is never reached, since train.epochs = 2"],
    );
    said(
        |_| {},
        &["--set=input.mean=[0.485, 0.456, 0.406]", "--set=input.std=[0.229, 0.224, 0.225]"],
        &["look like those of pixels from 0 to 1; here pixels go from 0 to 255"],
    );
}

#[test]
fn objects_that_no_anchor_resembles_are_told() {
    said(
        |truth| truth["annotations"][0]["bbox"] = json!([2, 8, 60, 2]),
        &[],
        &[
            "1 of 2 objects (50.0 %) overlap no anchor",
            "such as annotation 1 of 60 x 2 pixels after the resize",
        ],
    );
    said(|_| {}, &["--set=head.mask-rcnn.test.detections_per_image=1"], &["training would run"]);
    said(
        |truth| truth["annotations"].as_array_mut().unwrap().push(annotation(7, 1, 9)),
        &["--set=head.mask-rcnn.test.detections_per_image=1"],
        &["images with more objects than are found: 1\n", "image 1 has 2 objects"],
    );
}

#[test]
fn classes_that_cannot_be_learnt_are_told_between_the_halves() {
    let project = Project::new();
    let mut other = truth();
    other["annotations"] = json!([annotation(1, 1, 3)]);
    fs::write(project.path("train.json"), other.to_string()).unwrap();
    let half = format!("--set=data.coco.train_annotations={}", project.text("train.json"));
    let Outcome { exit, out, .. } = project.command("check", &[&half]);
    assert_eq!(exit, Exit::Done, "{out}");
    let expected = "classes that cannot be learnt: 1\n    category 9: `dog` has 1 object to be found and none to learn \
                    from, so its AP will be 0\n";
    assert!(out.contains(expected), "{out}");
    assert!(out.contains("validation images that are trained on: 2\n"), "{out}");
}

#[test]
fn images_are_looked_for_and_decoded_when_asked() {
    let project = Project::new();
    fs::copy(project.path("images/a.png"), project.path("images/c.png")).unwrap();
    fs::write(project.path("images/b.png"), "not a picture").unwrap();
    let Outcome { exit, out, .. } = project.command("check", &[]);
    assert_eq!(exit, Exit::Done, "{out}");
    assert!(out.contains("images that no entry names: 1\n    [TMP]/images/c.png"), "{out}");
    assert!(out.contains("images were not decoded; --images does\n"), "{out}");

    let Outcome { exit, out, .. } = project.command("check", &["--images"]);
    assert_eq!(exit, Exit::BadInput, "{out}");
    assert!(out.contains("[TMP]/images/b.png: neither a JPEG nor a PNG file"), "{out}");
    assert!(!out.contains("were not decoded"), "{out}");

    RgbImage::from_pixel(60, 48, Rgb([9, 9, 9])).save(project.path("images/b.png")).unwrap();
    let Outcome { out, .. } = project.command("check", &["--images"]);
    let expected = "b.png: has 60 x 48 pixels (width x height), but the annotations say 64 x 48";
    assert!(out.contains(expected), "{out}");

    fs::copy(project.path("images/a.png"), project.path("images/b.png")).unwrap();
    let Outcome { exit, out, .. } = project.command("check", &["--images"]);
    assert_eq!(exit, Exit::Done, "{out}");
    assert!(out.contains("b.png: is a copy of [TMP]/images/a.png"), "{out}");
}

#[test]
fn what_is_not_there_is_named_by_the_entry_that_names_it() {
    let project = Project::new();
    let refused = |sets: &[&str], expected: &str| {
        for command in ["check", "train"] {
            let Outcome { exit, out, err } = project.command(command, sets);
            assert_eq!(exit, Exit::BadInput, "{out}");
            assert!(format!("{out}{err}").contains(expected), "{expected} is not in\n{out}{err}");
        }
    };
    refused(
        &["--set=data.coco.train_images=none"],
        "error: data.coco.train_images = \"none\": no such folder\n",
    );
    refused(
        &["--set=data.coco.val_annotations=none.json"],
        "error: data.coco.val_annotations = \"none.json\": no such file\n",
    );
    refused(
        &["--set=model.init={ backbone = \"none.pth\" }"],
        "error: model.init.backbone = \"none.pth\": no such file or folder",
    );
    let picture = format!("--schedule={}", project.text("schedule.png"));
    let sets = ["--set=data.coco.train_images=none", &picture];
    let Outcome { exit, err, .. } = project.command("info", &sets);
    assert_eq!(exit, Exit::BadInput);
    assert_eq!(err, "error: data.coco.train_images = \"none\": no such folder\n");
}

#[test]
fn a_half_that_cannot_be_read_does_not_hide_what_is_wrong_with_the_other() {
    let missing =
        ["--set=data.coco.train_annotations=none.json", "--set=data.coco.val_annotations=none-either.json"];
    for sets in [&missing[..1], &missing[1..], &missing] {
        let project = Project::new();
        let mut truth = truth();
        truth["annotations"][0]["bbox"] = json!([30, 20, 62, 46]);
        project.write_truth(&truth);
        let Outcome { exit, out, err } = project.command("check", sets);
        assert_eq!((exit, err.as_str()), (Exit::BadInput, ""), "{out}");
        assert_eq!(out.matches("no such file").count(), sets.len(), "{out}");
        assert_eq!(out.matches("boxes outside their image: 1").count(), missing.len() - sets.len(), "{out}");
        assert!(out.ends_with("error\n") || out.ends_with("errors\n"), "{out}");
    }
}

#[test]
fn samples_of_a_data_set_with_errors_are_drawn_as_far_as_they_can_be() {
    let project = Project::new();
    fs::write(project.path("images/b.png"), "not a picture").unwrap();
    let out_folder = project.text("sheets");
    let browse = ["--images", "--browse", "2", "--out", &out_folder];
    // A batch of one, so that only what is damaged is left out.
    let Outcome { exit, out, .. } =
        project.command("check", &[&browse[..], &["--set=train.batch_size=1"]].concat());
    assert_eq!(exit, Exit::BadInput, "{out}");
    let drawn = "train: samples with their truth are drawn in [TMP]/sheets/train.png\n  without those that cannot be: \
                 [TMP]/images/b.png: neither a JPEG nor a PNG file";
    assert!(out.contains(drawn) && out.contains("training would stop"), "{out}");
    assert!(project.path("sheets/train.png").is_file());

    fs::write(project.path("images/a.png"), "not a picture").unwrap();
    let Outcome { out, .. } = project.command("check", &browse);
    assert!(out.contains("train: no samples are drawn: [TMP]/images/"), "{out}");
}

#[test]
fn samples_are_drawn_on_a_sheet() {
    let project = Project::new();
    let out_folder = project.text("sheets");
    let Outcome { exit, out, err } = project.command("check", &["--browse", "2", "--out", &out_folder]);
    assert_eq!(exit, Exit::Done, "{out}{err}");
    assert!(out.contains("train: samples with their truth are drawn in [TMP]/sheets/train.png\n"), "{out}");
    let sheet = image::open(project.path("sheets/train.png")).unwrap().to_rgb8();
    assert!(sheet.width() > 2 * 384 && sheet.height() > 384, "{:?}", sheet.dimensions());
    // The images are dark blue; the boxes and masks of the truth are not.
    let is_strong = |pixel: &&Rgb<u8>| pixel.0[0] > 200 && pixel.0[2] < 120;
    assert!(sheet.pixels().filter(is_strong).count() > 100);
}
