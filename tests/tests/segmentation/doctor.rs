//! `check` and `report` of a segmentor: what is told of labels, and the page about a run.

use std::fs;

use cvx_tools::exit::Exit;
use image::{Rgb, RgbImage};

use crate::Project;

/// What `check` says of a project that `change` has changed.
#[track_caller]
fn said(change: impl Fn(&Project), more: &[&str], expected: &[&str]) {
    let project = Project::new();
    change(&project);
    let checked = project.on_folders("check", more);
    for words in expected {
        assert!(checked.out.contains(words), "`{words}` is not in\n{}{}", checked.out, checked.err);
    }
}

#[test]
fn labels_that_teach_nothing_are_told() {
    said(
        |project| {
            for name in ["a", "b"] {
                project.label("train", name, 64, 48, |_, _| 0);
            }
        },
        &[],
        &[
            "class 1: `right` occurs in no label image",
            "100.00 % of the labelled pixels are `left`",
            "classes that cannot be learnt: 1\n    `right` is in 1 image to be judged by and in none to learn from",
        ],
    );
    said(
        |project| {
            for name in ["a", "b"] {
                project.label("train", name, 64, 48, |x, _| if x > 20 { 255 } else { u8::from(x > 9) });
            }
        },
        &["--set=data.folders.labels={ index = { zero = \"class\", ignored = [255] } }"],
        &["% of the pixels are ignored"],
    );
}

#[test]
fn crops_larger_than_the_images_and_steps_too_few_are_told() {
    said(
        |_| {},
        &["--set=schedule.warmup_steps=500"],
        &[
            "images smaller than the crop: 2\n    [TMP]/train/images/a.png: 64 x 48 is smaller than the crop of 64 x 64",
            "schedule.warmup_steps = 500: the training has 4 steps",
        ],
    );
}

#[test]
fn a_half_that_is_not_there_does_not_hide_what_is_wrong_with_the_other() {
    for half in ["train", "val"] {
        said(
            |project| {
                for (name, half) in [("a", "train"), ("b", "train"), ("c", "val")] {
                    project.label(half, name, 64, 48, |_, _| 0);
                }
            },
            &[&format!("--set=data.folders.{half}_images=none")],
            &[
                &format!("error: data.folders.{half}_images = \"none\""),
                "100.00 % of the labelled pixels are `left`",
            ],
        );
    }
}

#[test]
fn images_are_decoded_when_asked() {
    let damage = |project: &Project| {
        let path = project.path("train/images/a.png");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    said(damage, &[], &["images were not decoded; --images does\n", "training would run"]);
    said(damage, &["--images"], &["unreadable images: 1\n    [TMP]/train/images/a.png: ", "would stop"]);
    said(
        |_| {},
        &["--images"],
        &["b.png: is a copy of [TMP]/train/images/a.png", "c.png: is trained on as [TMP]/train/images/"],
    );
}

#[test]
fn samples_are_drawn_in_the_colours_of_their_classes() {
    let project = Project::new();
    let out = project.text("sheets");
    let checked = project.on_folders("check", &["--browse=1", "--out", &out]);
    assert_eq!(checked.exit, Exit::Done, "{}{}", checked.out, checked.err);
    for half in ["train", "validation"] {
        let sheet = image::open(project.path(&format!("sheets/{half}.png"))).unwrap().to_rgb8();
        let paper = sheet.get_pixel(0, 0);
        assert!(sheet.pixels().any(|pixel| pixel != paper), "{half}");
        assert!(sheet.width() > 300 && *paper == Rgb([250, 250, 248]));
    }
}

#[test]
fn a_run_becomes_a_page_with_the_confusion_of_its_classes() {
    let project = Project::new();
    let dark = RgbImage::from_fn(64, 48, |x, _| if x > 31 { Rgb([250; 3]) } else { Rgb([5; 3]) });
    dark.save(project.path("val/images/c.png")).unwrap();
    let trained = project.on_folders("train", &["--set=train.epochs=1", "--set=expect={}"]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    assert!(trained.out.contains("look at it  cvx-seg report [TMP]/run\n"), "{}", trained.out);
    let reported = project.run(["report".to_owned(), project.text("run")]);
    assert_eq!((reported.exit, reported.err.as_str()), (Exit::Done, ""));
    let page = fs::read_to_string(project.path("run/report.html")).unwrap();
    for words in
        ["<h2>Confusion</h2>", "<th>left</th>", "Best predictions", "mean IoU", "data:image/jpeg;base64,"]
    {
        assert!(page.contains(words), "{words} is not on the page");
    }
    assert!(!page.contains("http://") && !page.contains("https://"));
    // What the colours mean is text, which a phone can show; half of the image is `left`.
    let (_, key) = page.split_once("<div class=\"key\"><span><i style=\"background:rgb(").expect("a key");
    let keys = page.matches("<figcaption>").count();
    assert!(page.contains(", is 50.0 %</span>") && key.contains("left "), "no shares");
    assert!(keys > 0 && page.matches("</figcaption><div class=\"key\">").count() == keys);
}
