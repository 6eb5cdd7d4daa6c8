//! `cvx-pretrain check`: what would stop or hurt a pretraining is counted and named.

use std::fs;

use cvx_tools::exit::Exit;
use image::Luma;

use super::bad_input::shard;
use super::{Outcome, Project};

/// What `check` says, and that it ends so.
#[track_caller]
fn said(project: &Project, more: &[&str], exit: Exit, expected: &[&str]) -> String {
    let outcome = project.command("check", "run", more);
    for words in expected {
        assert!(outcome.out.contains(words), "`{words}` is not in\n{}{}", outcome.out, outcome.err);
    }
    assert_eq!(outcome.exit, exit, "{}{}", outcome.out, outcome.err);
    assert!(!project.path("run").exists(), "a check begins nothing");
    outcome.out
}

#[test]
fn sound_images_are_counted_and_small_ones_told() {
    let project = Project::new();
    let expected = ["train: 5 images\n", "validation: 2 images\n", "training would run\n"];
    let out = said(&project, &["--set=schedule.warmup_steps=1"], Exit::Done, &expected);
    assert!(!out.contains("warning"), "{out}");
    let expected = [
        "  warning: images smaller than the crop: 5\n",
        "[TMP]/images/a/0.png: 80 x 70 is smaller than input.side = 96, and enlarged",
        "  warning: images smaller than the crop: 2\n",
        "train.batch_size = 60: with 5 images to train on, every batch is a smaller one",
    ];
    said(&project, &["--set=input.side=96", "--set=train.batch_size=60"], Exit::Done, &expected);
}

#[test]
fn unreadable_images_are_an_error_beyond_the_number_that_may_be_left_out() {
    let project = Project::new();
    fs::write(project.path("images/a/1.png"), "no picture").unwrap();
    fs::write(project.path("images/b/deep/0.png"), "no picture").unwrap();
    let named = "[TMP]/images/a/1.png: neither a JPEG nor a PNG file";
    for images in [&[][..], &["--images"]] {
        let left_out = "  warning: images that cannot be read, and are left out: 2\n";
        let two = [images, &["--set=data.most_unreadable=2"]].concat();
        said(&project, &two, Exit::Done, &[left_out, named, "training would run"]);
        let one = [images, &["--set=data.most_unreadable=1"]].concat();
        let error = "  error: data.most_unreadable = 1: 2 images cannot be read\n";
        said(
            &project,
            &one,
            Exit::BadInput,
            &["images that cannot be used: 2\n", named, error, "would stop"],
        );
        said(&project, images, Exit::BadInput, &["images that cannot be used: 2\n", named]);
    }
}

#[test]
fn decoding_tells_grey_and_transparent_images_and_copies() {
    let project = Project::new();
    image::GrayImage::from_pixel(90, 90, Luma([70])).save(project.path("images/grey.png")).unwrap();
    image::RgbaImage::from_pixel(90, 90, image::Rgba([70, 1, 200, 9]))
        .save(project.path("images/clear.png"))
        .unwrap();
    fs::copy(project.path("images/a/2.png"), project.path("val/copy.png")).unwrap();
    let sheets = project.text("sheets");
    let more = ["--images", "--browse=2", "--out", &sheets];
    let expected = [
        "  1 image without colour: all channels are alike\n",
        "  1 image with transparency, which is ignored",
        "[TMP]/val/copy.png: is trained on as [TMP]/images/a/2.png",
        "train: samples are drawn in [TMP]/sheets/train.png\n",
        "validation: samples are drawn in [TMP]/sheets/validation.png\n",
    ];
    said(&project, &more, Exit::Done, &expected);
    assert!(project.path("sheets/train.png").is_file() && project.path("sheets/validation.png").is_file());
}

#[test]
fn every_shard_that_is_cut_off_is_named_and_images_in_whole_ones_are_decoded() {
    let project = Project::new();
    let shards = |train: &str, val: &str| {
        let [train, val] = [train, val].map(|name| project.text(name));
        format!("--set=data.source={{ shards = {{ train = [\"{train}\"], val = [\"{val}\"] }} }}")
    };
    fs::create_dir(project.path("shards")).unwrap();
    let tar = shard();
    for (name, bytes) in [("a.tar", &tar[..]), ("b.tar", &tar[..700]), ("c.tar", &tar[..tar.len() - 1024])] {
        fs::write(project.path("shards").join(name), bytes).unwrap();
    }
    let expected = [
        "train: cannot be opened\n",
        "  error: shards that cannot be read: 2\n",
        "data.source.shards.train: [TMP]/shards/b.tar: cut off after 700 bytes, within `one.png`\n",
        "[TMP]/shards/c.tar: cut off after ",
        "validation: 2 images\n",
        "training would stop: 2 errors\n",
    ];
    said(&project, &[&shards("shards", "shards/a.tar")], Exit::BadInput, &expected);

    // Both images of a shard are alike, and so are the halves.
    let more = [&shards("shards/a.tar", "shards/a.tar"), "--images"];
    let expected = ["validation images that are trained on: ", "[TMP]/shards/a.tar/two.png"];
    said(&project, &more, Exit::Done, &expected);
}

#[test]
fn what_training_refuses_is_refused_here() {
    let project = Project::new();
    let part = "--set=train.freeze=[\"backbone.stage.0\"]";
    let expected =
        ["train.freeze.0 = \"backbone.stage.0\": the model has no such part", "at --set train.freeze=["];
    said(&project, &[part], Exit::BadInput, &expected);
    let init = "--set=model.init={ backbone = \"none.pth\" }";
    said(&project, &[init], Exit::BadInput, &["model.init.backbone = \"none.pth\": no such file or folder"]);
    let absent = "--set=data.source={ folders = { train = [\"none\"], val = [\"none\"] } }";
    let expected = [
        "data.source.folders.train.0 = \"none\": no such file or folder\n",
        "data.source.folders.val.0 = \"none\": no such file or folder\n",
        "no samples are drawn: neither half can be opened\n",
    ];
    said(&project, &[absent, "--browse=2"], Exit::BadInput, &expected);
    let Outcome { exit, err, .. } = project.command("check", "run", &["--set=input.side=100"]);
    assert_eq!(exit, Exit::BadInput, "{err}");
}
