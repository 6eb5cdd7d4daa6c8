//! What `cvx-pretrain` says to recipes, images and files that it cannot use.

use std::fs;
use std::io::Cursor;

use cvx_tools::exit::Exit;
use image::{ImageFormat, Luma, Rgb, RgbImage, Rgba};

use super::{Outcome, Project};

#[track_caller]
fn refused(outcome: Outcome, expected: &str) {
    assert_eq!(outcome.exit, Exit::BadInput, "{}", outcome.out);
    assert!(outcome.err.contains(expected), "expected `{expected}` in:\n{}", outcome.err);
}

#[test]
fn a_recipe_that_cannot_work_is_refused_by_entry_value_and_what_is_possible() {
    let project = Project::new();
    for (set, expected) in [
        ("autoencoder.mask_ratio=1.0", "autoencoder.mask_ratio = 1: must be above 0 and below 1"),
        ("autoencoder.mask_ratio=0.1", "autoencoder.mask_ratio = 0.1: leaves 3 of the 4 patches"),
        ("autoencoder.mask_ratio=0.9", "leaves 0 of the 4 patches of a 64 x 64 image visible"),
        (
            "autoencoder.masking=none",
            "unknown choice `none`, expected one of `sparse`, `dense`, `input-only`",
        ),
        ("input.side=100", "input.side = 100: must be a multiple of 32"),
        (
            "train.crop_scale=[0.5, 0.2]",
            "train.crop_scale = [0.5, 0.2]: must be two numbers above 0 and at most 1",
        ),
        ("train.lr_batch_size=0", "train.lr_batch_size = 0: must be at least 1"),
        ("model.init={ detector = \"x\" }", "pretraining begins with `random` or with a `backbone`"),
        ("evaluate.best=1", "unknown entry `best`"),
        (
            "expect={ \"box/ap\" = { at-least = 0.1 } }",
            "expect: unknown metric `box/ap`, expected one of `loss`",
        ),
    ] {
        if set == "autoencoder.mask_ratio=0.1" {
            // Three visible and one hidden is sound.
            let outcome = project.train("sound", &[&format!("--set={set}"), "--set=train.epochs=1"]);
            assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
            continue;
        }
        refused(project.train("run", &[&format!("--set={set}")]), expected);
    }
    assert!(!project.path("run").exists(), "nothing was begun");
}

#[test]
fn images_that_cannot_be_read_are_told_and_left_out_up_to_the_limit() {
    let project = Project::new();
    fs::write(project.path("images/a/1.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    fs::write(project.path("images/b/deep/x.jpg"), b"no picture").unwrap();
    let outcome = project.trained("run", &["--set=data.most_unreadable=2", "--set=train.workers=2"]);
    assert!(outcome.err.contains("left out 2 images that cannot be read:"), "{}", outcome.err);
    assert!(outcome.err.contains("[TMP]/images/a/1.png: "), "{}", outcome.err);

    let one = project.train("one", &["--set=data.most_unreadable=1", "--set=train.workers=0"]);
    refused(one, "2 images cannot be read, at most 1 may be left out; the last: [TMP]/images/");
    // None may be: the image itself is told.
    refused(project.train("none", &["--set=train.workers=0"]), "error: [TMP]/images/");
}

#[test]
fn grey_and_transparent_images_and_ones_of_one_pixel_are_images() {
    let project = Project::new();
    image::GrayImage::from_pixel(50, 40, Luma([70])).save(project.path("images/grey.png")).unwrap();
    image::RgbaImage::from_pixel(50, 40, Rgba([70, 1, 200, 9]))
        .save(project.path("images/clear.png"))
        .unwrap();
    RgbImage::from_pixel(1, 1, Rgb([7; 3])).save(project.path("images/dot.png")).unwrap();
    let outcome = project.trained("run", &[]);
    assert!(outcome.out.contains("train       8 images"), "{}", outcome.out);
}

#[test]
fn fewer_images_than_a_batch_make_a_smaller_step() {
    let project = Project::new();
    let outcome = project.trained("run", &["--set=train.batch_size=64"]);
    assert!(outcome.out.contains("there are fewer images than a batch of 64 holds"), "{}", outcome.out);
}

#[test]
fn folders_without_images_are_refused() {
    let project = Project::new();
    fs::create_dir(project.path("empty")).unwrap();
    let source = |folder: &str| {
        format!(
            "--set=data.source={{ folders = {{ train = [\"{}\"], val = [\"{}\"] }} }}",
            project.text("images"),
            project.text(folder)
        )
    };
    refused(
        project.train("run", &[&source("empty")]),
        "[TMP]/empty: holds no file that ends in .jpg, .jpeg or .png",
    );
    refused(project.train("run", &[&source("absent")]), "[TMP]/absent");
}

/// A tar file of two images, and of what is none.
pub(crate) fn shard() -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    RgbImage::from_fn(70, 70, |x, y| Rgb([x as u8, y as u8, 0]))
        .write_to(&mut png, ImageFormat::Png)
        .unwrap();
    let mut tar = Vec::new();
    for name in ["one.png", "two.png", "two.cls"] {
        // A header as POSIX has it: name, mode, owner, group, size, time, checksum, kind; then the content in blocks.
        let content: &[u8] = if name.ends_with("png") { png.get_ref() } else { b"3" };
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].fill(b' ');
        header[156] = b'0';
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn shards_are_learnt_from_and_one_cut_off_is_refused() {
    let project = Project::new();
    let tar = shard();
    fs::write(project.path("000.tar"), &tar).unwrap();
    fs::write(project.path("cut.tar"), &tar[..700]).unwrap();
    let source = |train: &str| {
        format!(
            "--set=data.source={{ shards = {{ train = [\"{}\"], val = [\"{}\"] }} }}",
            project.text(train),
            project.text("000.tar")
        )
    };
    let outcome = project.trained("run", &[&source("000.tar")]);
    assert!(outcome.out.contains("train       2 images"), "{}", outcome.out);
    refused(
        project.train("cut", &[&source("cut.tar")]),
        "[TMP]/cut.tar: cut off after 700 bytes, within `one.png`",
    );
}

#[test]
fn weights_that_are_no_autoencoder_cannot_reconstruct() {
    let project = Project::new();
    let (images, out) = (project.text("images/a"), project.text("out"));
    let weights = cvx_tests::project_root().join("tests/golden/formats/official_v2.pt").display().to_string();
    let outcome = project.run(&["reconstruct", "--weights", &weights, &images, "--out", &out]);
    refused(outcome, "holds no masked autoencoder as `cvx-pretrain train` saves it");
    project.trained("run", &[]);
    let weights = project.text("run/checkpoints/last.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(project.path("cut.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let cut = project.text("cut.safetensors");
    refused(
        project.run(&["reconstruct", "--weights", &cut, &images, "--out", &out]),
        "[TMP]/cut.safetensors",
    );
    let ratio =
        project.run(&["reconstruct", "--weights", &weights, &images, "--out", &out, "--mask-ratio", "0.9"]);
    refused(ratio, "--mask-ratio 0.9");
    let diversity = project.run(&["diversity", "--weights", "absent.pt", &images, "--out", "x.png"]);
    refused(diversity, "--weights absent.pt: no such file, and not NAME=FILE");
}
