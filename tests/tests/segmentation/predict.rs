//! `cvx-seg predict`: what it writes, and what it says to bad input.

use std::fs;
use std::path::Path;

use cvx_data::{LabelMap, read_image, read_label_png};
use cvx_tests::golden::Golden;
use cvx_tests::tolerance::FORWARD;
use cvx_tools::exit::Exit;
use image::{Rgb, RgbImage};

use crate::{Outcome, Project};

fn weights(name: &str) -> String {
    Golden::named("formats").file(name).display().to_string()
}

/// `predict` with weights of mmseg, and `more`.
fn predict(project: &Project, more: &[&str]) -> Outcome {
    let weights = weights("mmseg1_upernet_v2.pth");
    // The sides that mmseg says take longer.
    let mut arguments =
        ["predict", "--weights", &weights, "--short-side=96", "--long-side=400"].map(String::from).to_vec();
    arguments.push(format!("--out={}", project.text("out")));
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    project.run(arguments)
}

fn labels(project: &Project, name: &str) -> LabelMap {
    read_label_png(&project.path(&format!("out/labels/{name}.png")), None).unwrap()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_image_gets_labels_of_its_size_and_an_overlay() {
    let project = Project::new();
    let images = project.text("train/images");
    let Outcome { exit, out, err } = predict(&project, &[&images]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(err.contains("parameters are the file's"), "{err}");
    for name in ["a", "b"] {
        let map = labels(&project, name);
        assert_eq!((map.width, map.height), (64, 48));
        assert!(map.pixels.iter().all(|&class| class < 5));
        let overlay = read_image(&project.path(&format!("out/overlays/{name}.png"))).unwrap();
        // Enlarged, with the legend beside it.
        assert!(overlay.width() > 64 * 8 && overlay.height() >= 48 * 8);
        assert!(out.contains(&format!("[TMP]/train/images/{name}.png: ")), "{out}");
        assert!(out.contains(&format!(" -> [TMP]/out/labels/{name}.png\n")) && out.contains(" %"), "{out}");
    }
    assert_eq!(names_in(&project.path("out")), ["labels", "overlays"]);

    // In the colours that the file has for its classes.
    let shown = image::open(project.path("out/labels/a.png")).unwrap().to_rgb8();
    let palette = [[220, 20, 60], [119, 11, 32], [0, 0, 142], [0, 0, 230], [106, 0, 228]];
    let map = labels(&project, "a");
    assert!(shown.pixels().zip(&map.pixels).all(|(color, &class)| color.0 == palette[usize::from(class)]));
}

#[test]
fn folders_within_folders_keep_their_names() {
    let project = Project::new();
    let (first, second) = (project.path("cities/aachen/x.png"), project.path("cities/bonn/x.png"));
    for (path, from) in [(&first, "train/images/a.png"), (&second, "train/images/b.png")] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(project.path(from), path).unwrap();
    }
    // What is written lies among what is read, and is not read the next time.
    let out = format!("--out={}", project.text("cities/out"));
    let cities = project.text("cities");
    for _ in 0..2 {
        let outcome = project.run(
            ["predict", "--weights", &weights("mmseg1_upernet_v2.pth"), "--short-side=96", "--long-side=400"]
                .into_iter()
                .chain([&*cities, &*out, "--probabilities"])
                .map(String::from)
                .collect::<Vec<_>>(),
        );
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        for city in ["aachen", "bonn"] {
            for written in [format!("labels/{city}/x.png"), format!("overlays/{city}/x.png")] {
                assert!(project.path(&format!("cities/out/{written}")).is_file(), "{written}");
            }
            assert_eq!(names_in(&project.path(&format!("cities/out/labels/{city}"))), ["x.png"]);
            assert_eq!(names_in(&project.path(&format!("cities/out/probabilities/{city}"))), ["x.npy"]);
        }
    }
}

#[test]
fn the_first_class_is_one_where_that_is_asked_for() {
    let project = Project::new();
    let images = project.text("val/images");
    assert_eq!(predict(&project, &[&images]).exit, Exit::Done);
    let from_zero = labels(&project, "c");
    assert_eq!(predict(&project, &[&images, "--zero-label-offset"]).exit, Exit::Done);
    let from_one = labels(&project, "c");
    assert!(from_one.pixels.iter().zip(&from_zero.pixels).all(|(one, zero)| *one == zero + 1));
}

#[test]
fn probabilities_are_those_of_the_classes() {
    let project = Project::new();
    let image = RgbImage::from_fn(61, 300, |x, y| Rgb([x as u8 * 4, y as u8, 90]));
    image.save(project.path("tall.png")).unwrap();
    let tall = project.text("tall.png");
    for more in [&[][..], &["--scales=0.75,1.0", "--flip"], &["--window=48:32"]] {
        let Outcome { exit, err, .. } =
            predict(&project, &[&[tall.as_str(), "--probabilities"], more].concat());
        assert_eq!(exit, Exit::Done, "{err}");
        let array = Golden { folder: project.path("out/probabilities") }.npy("tall.npy");
        assert_eq!(array.shape, [5, 300, 61]);
        let map = labels(&project, "tall");
        for (pixel, &class) in map.pixels.iter().enumerate() {
            let shares: Vec<f32> = (0..5).map(|class| array.values[class * 300 * 61 + pixel]).collect();
            let sum: f32 = shares.iter().sum();
            assert!((sum - 1.0).abs() < FORWARD as f32, "{shares:?}");
            assert!(shares.iter().all(|share| *share <= shares[usize::from(class)]), "{shares:?} {class}");
        }
    }
}

#[test]
fn windows_and_views_change_what_is_found() {
    let project = Project::new();
    let images = project.text("val/images");
    let found: Vec<LabelMap> =
        [&["--window=whole"][..], &["--window=32:21"], &["--scales=0.5,2.0", "--flip"]]
            .iter()
            .map(|more| {
                let Outcome { exit, err, .. } = predict(&project, &[&[images.as_str()], *more].concat());
                assert_eq!(exit, Exit::Done, "{err}");
                labels(&project, "c")
            })
            .collect();
    assert!(found[0] != found[1] && found[0] != found[2] && found[1] != found[2]);
}

#[test]
fn a_pixel_and_a_line_are_images_too() {
    let project = Project::new();
    for (name, width, height) in [("pixel", 1, 1), ("line", 200, 1)] {
        RgbImage::new(width, height).save(project.path(&format!("{name}.png"))).unwrap();
        let image = project.text(&format!("{name}.png"));
        let Outcome { exit, err, .. } = predict(&project, &[&image, "--probabilities"]);
        assert_eq!(exit, Exit::Done, "{err}");
        assert_eq!(labels(&project, name).pixels.len(), (width * height) as usize);
    }
}

#[test]
fn images_that_fail_are_named_and_the_others_go_on() {
    let project = Project::new();
    fs::write(project.path("train/images/c.png"), "no image").unwrap();
    // A folder lies where an overlay should.
    fs::create_dir_all(project.path("out/overlays/b.png")).unwrap();
    let images = project.text("train/images");
    let Outcome { exit, out, err } = predict(&project, &[&images, "--probabilities"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(
        err.ends_with(
            "error: 2 of 3 images failed:\n  [TMP]/train/images/b.png\n  [TMP]/train/images/c.png\n"
        ),
        "{err}"
    );
    assert!(err.contains("[TMP]/train/images/c.png: neither a JPEG nor a PNG file"), "{err}");
    assert!(out.contains("[TMP]/train/images/a.png: "), "{out}");
    assert_eq!(names_in(&project.path("out/overlays")), ["a.png", "b.png"]);
    assert_eq!(names_in(&project.path("out/labels")), ["a.png"]);
    let left = names_in(&project.path("out/probabilities"));
    assert!(left.iter().all(|name| name.ends_with(".npy") && !name.starts_with('.')), "{left:?}");
}

#[test]
fn an_image_that_is_read_is_never_written_over() {
    let project = Project::new();
    fs::create_dir_all(project.path("out/labels")).unwrap();
    let image = RgbImage::from_pixel(40, 40, Rgb([1, 2, 3]));
    image.save(project.path("out/labels/x.png")).unwrap();
    let Outcome { exit, err, .. } = predict(&project, &[&project.text("out/labels")]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert_eq!(read_image(&project.path("out/labels/x.png")).unwrap(), image);
    assert_eq!(labels(&project, "x-2").pixels.len(), 1600);
}

#[test]
fn arguments_that_make_no_sense_are_answered() {
    let project = Project::new();
    let images = project.text("val/images");
    let cases: [(&[&str], &str); 8] = [
        (&["--opacity=1.5"], "--opacity 1.5: possible are shares, 0 to 1"),
        (&["--scales=0"], "--scales.0 = 0: must lie between 0.05 and 20"),
        (&["--window=16"], "must be at least 32"),
        (&["--window=64:65"], "must be at most 64"),
        (&["--window=big"], "expected `whole`, SIZE or SIZE:STRIDE"),
        (&["--short-side=500"], "short_side = 500: must not exceed long_side = 400"),
        (&["nowhere.jpg"], "nowhere.jpg: no such image or folder"),
        (&["--device=gpu"], "expected one of `auto`, `cpu`, `cuda`, `cuda:INDEX`, `wgpu`, `wgpu:INDEX`"),
    ];
    for (more, expected) in cases {
        // A later one of the same name counts.
        let arguments = [&[images.as_str()], more].concat();
        let Outcome { exit, err, .. } = if more[0].starts_with("--short") {
            let weights = weights("mmseg1_upernet_v2.pth");
            let arguments = ["predict", "--weights", &weights, "--long-side=400", more[0], &images];
            project.run(arguments.map(String::from))
        } else {
            predict(&project, &arguments)
        };
        assert_eq!(exit, Exit::BadInput, "{more:?}");
        assert!(err.contains(expected), "`{expected}` is not in: {err}");
    }
    assert!(!project.path("out").exists(), "nothing is written before all of it is known to be sound");
}

#[test]
fn other_weights_are_refused_or_read() {
    let project = Project::new();
    let images = project.text("val/images");
    let with = |name: &str| {
        let arguments = [
            "predict".to_owned(),
            format!("--weights={}", weights(name)),
            images.clone(),
            "--short-side=64".to_owned(),
        ];
        let out = format!("--out={}", project.text(name));
        project.run(arguments.into_iter().chain([out]))
    };
    for name in ["hf_upernet_v2", "hf_upernet_v1", "mmseg0_upernet_v1.pth"] {
        let Outcome { exit, err, .. } = with(name);
        assert_eq!(exit, Exit::Done, "{name}: {err}");
        assert!(project.path(&format!("{name}/labels/c.png")).is_file());
    }
    for name in ["mmdet3_maskrcnn_v2.pth", "official_v2.pt"] {
        let Outcome { exit, err, .. } = with(name);
        assert_eq!(exit, Exit::BadInput);
        assert!(err.ends_with(&format!("{name}: holds a model, but not of a segmentor\n")), "{err}");
    }
}

#[test]
fn a_checkpoint_needs_no_recipe() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.on_shapes("train", "run", &["--set=train.epochs=1"]);
    assert!(exit != Exit::BadInput, "{err}");
    let images = project.text("val/images");
    let weights = format!("--weights={}", project.text("run/checkpoints/last.safetensors"));
    let out = format!("--out={}", project.text("out"));
    let Outcome { exit, out, err } = project.run(["predict".to_owned(), weights, out, images]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains(" -> [TMP]/out/labels/c.png\n"), "{out}");
}
