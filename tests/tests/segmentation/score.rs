//! `cvx-seg score`: figures from files, and what it says to bad input.

use std::fs;

use cvx_tests::tolerance::STATISTIC;
use cvx_tools::exit::Exit;
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

use crate::{Outcome, Project};

/// Writes a label image of rows of `width` pixels.
fn write(project: &Project, name: &str, width: u32, pixels: &[u8]) {
    let path = project.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let height = pixels.len() as u32 / width;
    GrayImage::from_fn(width, height, |x, y| Luma([pixels[(y * width + x) as usize]])).save(path).unwrap();
}

fn score(project: &Project, more: &[&str]) -> Outcome {
    let arguments = ["score".to_owned(), project.text("gt"), project.text("pred")];
    project.run(arguments.into_iter().chain(more.iter().map(|&argument| argument.to_owned())))
}

/// What is written as JSON.
#[track_caller]
fn figures(project: &Project, more: &[&str]) -> Value {
    let json = format!("--json={}", project.text("figures.json"));
    let Outcome { exit, err, .. } = score(project, &[more, &[&json]].concat());
    assert_eq!(exit, Exit::Done, "{err}");
    serde_json::from_slice(&fs::read(project.path("figures.json")).unwrap()).unwrap()
}

#[track_caller]
fn near(figures: &Value, name: &str, expected: f64) {
    let found = figures[name].as_f64().unwrap();
    assert!((found - expected).abs() < STATISTIC, "{name} is {found}, not {expected}");
}

/// The three maps of the documentation of Hugging Face's `mean_iou`.
fn published() -> Project {
    let project = Project::new();
    let maps: [(&str, u32, &[u8], &[u8]); 3] = [
        ("a.png", 2, &[0, 3, 5, 4, 6, 255], &[1, 2, 3, 4, 5, 255]),
        ("deep/b.png", 2, &[1, 7, 9, 2, 3, 6], &[2, 7, 9, 2, 3, 6]),
        ("deep/c.png", 3, &[1, 2, 2, 8, 2, 1, 3, 255, 1], &[2, 2, 3, 8, 2, 4, 3, 255, 2]),
    ];
    for (name, width, truth, prediction) in maps {
        write(&project, &format!("gt/{name}"), width, truth);
        write(&project, &format!("pred/{name}"), width, prediction);
    }
    project
}

#[test]
fn the_published_example_has_the_published_figures() {
    let project = published();
    for classes in [&["--classes=10"][..], &[]] {
        let found = figures(&project, classes);
        near(&found, "miou", 0.4775);
        near(&found, "macc", 0.591_666_666_666_666_6);
        near(&found, "aacc", 0.526_315_789_473_684_2);
        near(&found, "iou/2", 0.375);
        assert_eq!(found["classes"]["9"]["pixels"], 1);
    }
    let Outcome { out, .. } = score(&project, &["--per-class"]);
    let expected = "|  aAcc |  mIoU |  mAcc | mDice | fwIoU |";
    assert!(out.starts_with("3 pairs of label images, 10 classes\n") && out.contains(expected), "{out}");
    assert!(out.contains("| 52.63 | 47.75 | 59.17 |") && out.contains("| 37.50  |"), "{out}");
    let Outcome { out, .. } = score(&project, &[]);
    assert!(out.contains(expected) && !out.contains("Class"), "{out}");
}

#[test]
fn conventions_differ_in_classes_that_do_not_occur() {
    let project = Project::new();
    write(&project, "gt/x.png", 4, &[0, 0, 1, 1]);
    write(&project, "pred/x.png", 4, &[0, 0, 1, 2]);
    let expected =
        [("mmseg", 1.5 / 3.0), ("ade", 1.5 / 10.0), ("detectron2", 1.5 / 2.0), ("torchmetrics", 1.5 / 3.0)];
    for (convention, miou) in expected {
        near(&figures(&project, &["--classes=10", &format!("--convention={convention}")]), "miou", miou);
    }
    let found = figures(&project, &["--classes=10"]);
    assert!(found["iou/9"].is_null() && found["iou/2"] == 0.0, "{found}");
}

#[test]
fn ade20k_counts_from_one_and_ignores_zero() {
    let project = Project::new();
    write(&project, "gt/x.png", 4, &[0, 1, 2, 150]);
    write(&project, "pred/x.png", 4, &[9, 1, 2, 150]);
    let from_one = ["--classes=ade20k", "--zero=ignored", "--prediction-zero=ignored"];
    let found = figures(&project, &from_one);
    near(&found, "miou", 1.0);
    assert_eq!(found["iou/wall"], 1.0);
    // mmseg's predictions count from zero.
    write(&project, "pred/x.png", 4, &[9, 0, 1, 149]);
    near(&figures(&project, &from_one[..2]), "miou", 1.0);
}

#[test]
fn names_and_colours_may_stand_in_files() {
    let project = Project::new();
    for folder in ["gt", "pred"] {
        fs::create_dir_all(project.path(folder)).unwrap();
        let colors = [[200, 0, 0], [0, 200, 0]];
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb(colors[x as usize]));
        image.save(project.path(&format!("{folder}/x.png"))).unwrap();
    }
    fs::write(project.path("names.txt"), "roof\n\n  grass \n").unwrap();
    fs::write(project.path("colors.txt"), "200 0 0\n0, 200, 0\n").unwrap();
    let [names, colors] = ["names", "colors"].map(|name| project.text(&format!("{name}.txt")));
    let (names, colors) = (format!("--classes={names}"), format!("--palette={colors}"));
    let found = figures(&project, &[&names, &colors]);
    assert_eq!((&found["iou/roof"], &found["iou/grass"]), (&1.0.into(), &1.0.into()));

    let image = RgbImage::from_pixel(2, 1, Rgb([1, 2, 3]));
    image.save(project.path("pred/x.png")).unwrap();
    let Outcome { exit, err, .. } = score(&project, &[&names, &colors]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("[TMP]/pred/x.png: the colour [1, 2, 3] in 2 pixels"), "{err}");
    let Outcome { err, .. } = score(&project, &[]);
    assert!(
        err.contains("[TMP]/gt/x.png: an RGB image, and which colour is which class was not said"),
        "{err}"
    );
}

#[test]
fn masks_count_by_their_values_and_are_refused_without_them() {
    let project = Project::new();
    write(&project, "gt/x.png", 4, &[0, 0, 255, 255]);
    write(&project, "pred/x.png", 4, &[0, 0, 0, 255]);
    let Outcome { exit, err, .. } = score(&project, &["--classes=2"]);
    assert_eq!(exit, Exit::BadInput);
    for part in ["hold nothing but 0 and 255", "--values says which value each class has"] {
        assert!(err.contains(part), "{err}");
    }
    let found = figures(&project, &["--values=0,255", "--classes=2"]);
    near(&found, "iou/0", 2.0 / 3.0);
    near(&found, "iou/1", 0.5);
    // Whoever means it so, says so.
    near(&figures(&project, &["--ignore=255"]), "miou", 1.0);
}

#[test]
fn outlines_of_objects_are_ignored_in_vocs_colours() {
    let project = Project::new();
    let [background, aeroplane, outline] = [[0, 0, 0], [128, 0, 0], [224, 224, 192]];
    for (name, colors) in
        [("gt", [background, aeroplane, outline]), ("pred", [background, aeroplane, aeroplane])]
    {
        fs::create_dir_all(project.path(name)).unwrap();
        let image = RgbImage::from_fn(3, 1, |x, _| Rgb(colors[x as usize]));
        image.save(project.path(&format!("{name}/x.png"))).unwrap();
    }
    let found = figures(&project, &["--palette=voc", "--classes=voc"]);
    assert_eq!((&found["iou/background"], &found["iou/aeroplane"]), (&1.0.into(), &1.0.into()));
}

#[test]
fn a_class_that_only_predictions_have_is_told_where_nobody_said_how_many_there_are() {
    let project = Project::new();
    write(&project, "gt/x.png", 4, &[0, 0, 1, 1]);
    write(&project, "pred/x.png", 4, &[0, 0, 1, 200]);
    let Outcome { exit, err, .. } = score(&project, &[]);
    let expected = "warning: 1 class is predicted in [TMP]/pred and never true, the first is 200; --classes says how many \
                    there are\n";
    assert_eq!((exit, err.as_str()), (Exit::Done, expected));
}

#[test]
fn predictions_that_are_no_class_are_missed_and_told_of() {
    let project = Project::new();
    write(&project, "gt/x.png", 4, &[0, 0, 1, 1]);
    write(&project, "pred/x.png", 4, &[0, 7, 1, 255]);
    let Outcome { exit, err, .. } = score(&project, &["--classes=2"]);
    let expected =
        "warning: 2 pixels have a value in [TMP]/pred that is none of 2 classes; they count as missed\n";
    assert_eq!((exit, err.as_str()), (Exit::Done, expected));
    near(&figures(&project, &["--classes=2"]), "aacc", 0.5);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let sound = || {
        let project = Project::new();
        write(&project, "gt/x.png", 4, &[0, 0, 1, 1]);
        write(&project, "pred/x.png", 4, &[0, 0, 1, 1]);
        project
    };
    let spoilt = |spoil: &dyn Fn(&Project), more: &[&str], expected: &str| {
        let project = sound();
        spoil(&project);
        let Outcome { exit, err, out } = score(&project, more);
        assert_eq!((exit, out.as_str()), (Exit::BadInput, ""));
        assert!(err.contains(expected), "`{expected}` is not in: {err}");
    };
    let nothing = |_: &Project| ();
    spoilt(
        &|project| write(project, "gt/y.png", 1, &[0]),
        &[],
        "[TMP]/gt: 1 of 2 label images has no partner in [TMP]/pred (`y`)",
    );
    spoilt(
        &|project| write(project, "pred/y.png", 1, &[0]),
        &[],
        "[TMP]/pred: 1 of 2 label images has no partner in [TMP]/gt (`y`)",
    );
    spoilt(
        &|project| write(project, "pred/x.png", 2, &[0; 4]),
        &[],
        "[TMP]/pred/x.png: is 2 x 2 pixels, the truth [TMP]/gt/x.png is 4 x 1",
    );
    spoilt(
        &|project| write(project, "gt/x.png", 4, &[0, 5, 5, 1]),
        &["--classes=2"],
        "[TMP]/gt/x.png: the value 5 in 2 pixels, the first in column 1, row 0; possible are 0 to 1, and 255",
    );
    spoilt(&|project| fs::remove_dir_all(project.path("pred")).unwrap(), &[], "[TMP]/pred: No such file");
    spoilt(
        &|project| {
            fs::remove_file(project.path("gt/x.png")).unwrap();
        },
        &[],
        "[TMP]/gt: holds no file that ends in .png",
    );
    let cut_short = |project: &Project| {
        let path = project.path("pred/x.png");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..40]).unwrap();
    };
    spoilt(&cut_short, &[], "[TMP]/pred/x.png: truncated");
    spoilt(&|project| write(project, "gt/x.png", 4, &[255; 4]), &[], "[TMP]/gt: every pixel is ignored");
    spoilt(&nothing, &["--classes=0"], "0 classes; possible are 1 to 255");
    spoilt(&nothing, &["--classes=nowhere.txt"], "nowhere.txt: a list of classes that cannot be read");
    spoilt(&nothing, &["--convention=ade"], "say how many there are, by --classes");
    spoilt(&nothing, &["--convention=coco"], "possible values: mmseg, ade, detectron2, torchmetrics");
    spoilt(&nothing, &["--palette=voc", "--zero=ignored"], "--palette tells the classes");
    spoilt(&nothing, &["--palette=voc", "--classes=5"], "21 colours for 5 classes");
    spoilt(
        &nothing,
        &["--classes=255", "--zero=ignored"],
        "255 classes; possible are 1 to 254 where 0 is ignored",
    );
    spoilt(&nothing, &["--ignore=300"], "300");
    for (text, expected) in [("", "lists no class"), ("a\nb\na\n", "line 3 names `a`, as line 1 does")] {
        let project = sound();
        fs::write(project.path("names.txt"), text).unwrap();
        let Outcome { err, .. } = score(&project, &[&format!("--classes={}", project.text("names.txt"))]);
        assert!(err.contains(expected), "{err}");
    }
    let project = sound();
    fs::write(project.path("colors.txt"), "1 2\n").unwrap();
    let Outcome { err, .. } = score(&project, &[&format!("--palette={}", project.text("colors.txt"))]);
    assert!(err.contains("line 1 is `1 2`; possible are three numbers, 0 to 255"), "{err}");
}
