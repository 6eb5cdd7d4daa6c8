//! Checkpoints that do not fit, runs that stop, and predictions that fail in part.

use std::fs;

use cvx_tools::exit::Exit;
use serde_json::Value;

use crate::{Outcome, Project, truth};

/// A project with a run of one epoch.
fn trained() -> Project {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("train", &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");
    project
}

#[test]
fn weights_that_would_mean_something_else_are_refused() {
    let project = trained();
    let cases = [
        (
            "head.mask-rcnn.rpn.anchor_scales=[16.0]",
            "`head.mask-rcnn.rpn.anchor_scales` = [4.0], but the recipe has [16.0]",
        ),
        (
            "input.mean=[0.0, 116.28, 103.53]",
            "`input.mean` = [123.675, 116.28, 103.53], but the recipe has [0.0, 116.28, 103.53]",
        ),
    ];
    let init =
        format!("--set=model.init={{ detector = \"{}\" }}", project.text("run/checkpoints/best.safetensors"));
    let elsewhere = format!("--set=run.folder={}", project.text("second"));
    for (set, expected) in cases {
        let set = format!("--set={set}");
        let expected =
            format!("error: [TMP]/run/checkpoints/best.safetensors: was trained with {expected}\n");
        let Outcome { exit, err, .. } = project.command("eval", &[&set]);
        assert_eq!((err, exit), (expected.clone(), Exit::BadInput));
        let Outcome { exit, err, .. } = project.command("train", &[&set, &init, &elsewhere]);
        assert_eq!((err, exit), (expected, Exit::BadInput));
    }
    // What only training or the choice among detections looks at may differ.
    let sets =
        ["--set=head.mask-rcnn.test.score_threshold=0.5", "--set=head.mask-rcnn.roi.samples_per_image=32"];
    let Outcome { exit, err, .. } = project.command("eval", &sets);
    assert_eq!(exit, Exit::Done, "{err}");

    let mut truth = truth();
    truth["categories"][1]["name"] = "cow".into();
    project.write_truth(&truth);
    let Outcome { err, .. } = project.command("train", &[&init, &elsewhere]);
    let expected = "was trained on the classes cat, dog, but the data list cat, cow\n";
    assert!(err.ends_with(expected), "{err}");
}

#[test]
fn an_unreadable_image_loses_no_update() {
    // One of the two images comes second, and then one update was made.
    let errors = ["images/a.png", "images/b.png"].map(|broken| {
        let project = Project::new();
        fs::write(project.path(broken), "no image").unwrap();
        let Outcome { exit, err, .. } = project.command("train", &["--set=train.batch_size=1"]);
        assert_eq!(exit, Exit::BadInput);
        assert!(err.contains(broken), "{err}");
        assert_eq!(project.path("run/checkpoints/last.safetensors").exists(), err.contains("is saved"));
        err
    });
    let saved = "error: training stopped after step 1, which is saved in [TMP]/run/checkpoints/last.safetensors; when \
                 the cause is gone, --resume goes on there\n";
    assert_eq!(errors.iter().filter(|error| error.starts_with(saved)).count(), 1, "{errors:?}");
}

#[test]
fn an_evaluation_that_fails_loses_no_update_and_is_made_up_for() {
    let project = Project::new();
    fs::create_dir(project.path("val")).unwrap();
    fs::copy(project.path("images/a.png"), project.path("val/a.png")).unwrap();
    fs::write(project.path("val/b.png"), "no image").unwrap();
    let sets =
        [format!("--set=data.coco.val_images={}", project.text("val")), "--set=train.epochs=1".to_owned()];
    let sets = sets.each_ref().map(String::as_str);
    let Outcome { exit, err, .. } = project.command("train", &sets);
    assert_eq!(exit, Exit::BadInput);
    assert!(
        err.contains("training stopped after step 1, which is saved") && err.contains("val/b.png"),
        "{err}"
    );

    fs::copy(project.path("images/b.png"), project.path("val/b.png")).unwrap();
    // Neither the number of threads nor the images at a time make it another run.
    let more = ["--resume", "--set=train.workers=1", "--set=evaluate.batch_size=1"];
    let Outcome { exit, err, .. } = project.command("train", &[&sets[..], &more[..]].concat());
    assert_eq!(exit, Exit::Done, "{err}");
    let metrics: Value =
        serde_json::from_slice(&fs::read(project.path("run/metrics.json")).unwrap()).unwrap();
    assert_eq!(metrics["evaluations"].as_array().unwrap().len(), 1);
    assert_eq!(metrics["evaluations"][0]["epoch"], 1);
    let log = fs::read_to_string(project.path("run/log.jsonl")).unwrap();
    let record: Value = serde_json::from_str(log.trim_end()).unwrap();
    assert_eq!(record["step"], 1);
    assert_eq!(record["epoch"], 1);
}

#[test]
fn a_metric_that_is_never_defined_is_said_to_be() {
    let project = Project::new();
    let sets = ["--set=train.epochs=1", "--set=evaluate.best_by=box/ap_large"];
    let Outcome { exit, out, err } = project.command("train", &sets);
    assert_eq!(exit, Exit::Done, "{err}");
    let expected = "box/ap_large was never defined, since nothing counts for it; the last model stands for the \
                    best, after epoch 1: [TMP]/run/checkpoints/best.safetensors\n";
    assert!(out.contains(expected), "{out}");
    let json = project.path("eval.json");
    let Outcome { exit, err, .. } = project.command("eval", &["--json", &json.display().to_string()]);
    assert_eq!(exit, Exit::Done, "{err}");
    let json: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert!(json["box/ap_large"].is_null() && json["box/ap_small"].is_number(), "{json}");
}

#[test]
fn a_prediction_that_fails_in_part_keeps_the_rest() {
    let project = trained();
    fs::write(project.path("images/c.png"), "no image").unwrap();
    // A folder lies where an overlay should.
    fs::create_dir_all(project.path("out/b.png")).unwrap();
    let weights = project.text("run/checkpoints/best.safetensors");
    let [images, out, truth] = ["images", "out", "truth.json"].map(|name| project.text(name));
    let predict = |more: &[&str]| {
        let arguments = ["predict", "--weights", &weights, "--out", &out];
        project.run(&[&arguments[..], more].concat())
    };
    let Outcome { exit, out, err } = predict(&[&images]);
    assert_eq!(exit, Exit::BadInput);
    assert!(
        err.ends_with("error: 2 of 3 images failed:\n  [TMP]/images/b.png\n  [TMP]/images/c.png\n"),
        "{err}"
    );
    assert!(out.contains("[TMP]/images/a.png: 0 of ") && out.contains("from a score of 0.5 on"), "{out}");
    let results = project.path("out/results.json");
    let before = fs::read(&results).unwrap();
    assert!(serde_json::from_slice::<Vec<Value>>(&before).is_ok());

    let refused = [
        (vec![project.text("images/c.png")], "1 of 1 image failed"),
        (vec![images.clone(), format!("--ids-from={truth}")], "lists no image `[TMP]/images/c.png`"),
        (vec![images, "--draw-from=7".to_owned()], "--draw-from 7: possible are scores, 0 to 1"),
    ];
    for (more, expected) in refused {
        let Outcome { exit, err, .. } = predict(&more.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(exit, Exit::BadInput);
        assert!(err.contains(expected), "{err}");
        assert_eq!(fs::read(&results).unwrap(), before, "{expected}");
    }
    let names = fs::read_dir(project.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().ends_with(".tmp")));
}
