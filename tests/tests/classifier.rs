//! `cvx-cls` from a folder of classes to a table of predictions, and what it says to bad input.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cvx_tests::project_root;
use cvx_tools::cls;
use cvx_tools::exit::{Exit, Streams};
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with two classes that a few steps tell apart, and a recipe.
struct Project {
    folder: TempDir,
}

/// Burn draws from one generator a process, so commands whose numbers are compared take turns.
static TURN: Mutex<()> = Mutex::new(());

/// What a command left.
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for (half, count) in [("train", 16), ("val", 6)] {
            for (class, colour) in [("amber, dark", [220, 150, 20]), ("blue", [20, 60, 220])] {
                let folder = project.path(half).join(class);
                fs::create_dir_all(&folder).unwrap();
                for index in 0..count {
                    let image = RgbImage::from_fn(70 + index, 80, |x, y| {
                        let shade = ((x * 7 + y * 3 + index * 11) % 40) as u8;
                        Rgb(colour.map(|value: u8| value.saturating_add(shade)))
                    });
                    image.save(folder.join(format!("{index}.png"))).unwrap();
                }
            }
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: Vec<String>) -> Outcome {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = std::iter::once("cvx-cls".to_owned()).chain(arguments);
        let exit = cls::run(arguments, Streams { out: &mut out, err: &mut err });
        let clean = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.folder.path().display().to_string(), "[TMP]")
        };
        Outcome { exit, out: clean(out), err: clean(err) }
    }

    /// `command` on the smoke recipe and this folder, with `more` arguments.
    fn command(&self, command: &str, more: &[&str]) -> Outcome {
        let recipe = project_root().join("configs/smoke/classify.toml");
        let mut arguments = vec![command.to_owned(), recipe.display().to_string()];
        for (key, folder) in [("run.folder", "run"), ("data.train", "train"), ("data.val", "val")] {
            arguments.push(format!("--set={key}={}", self.path(folder).display()));
        }
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self.run(arguments)
    }
}

#[track_caller]
fn refused(outcome: Outcome, expected: &str) {
    assert_eq!(outcome.exit, Exit::BadInput, "{}", outcome.out);
    assert!(outcome.err.contains(expected), "expected `{expected}` in:\n{}", outcome.err);
}

#[test]
fn two_colours_are_learnt_judged_and_told_in_a_table() {
    let project = Project::new();
    let outcome = project.command("train", &["--set=expect={ top1 = { at-least = 0.99 } }"]);
    assert_eq!(outcome.exit, Exit::Done, "{}{}", outcome.out, outcome.err);

    let json = project.path("eval.json").display().to_string();
    let outcome = project.command("eval", &["--json", &json, "--set=evaluate.batch_size=5"]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let numbers: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert_eq!(numbers["top1"], 1.0);
    assert_eq!(numbers["classes"]["blue"]["images"], 6);

    let weights = project.path("run/checkpoints/best.safetensors").display().to_string();
    let (images, table) = (project.path("val/blue").display().to_string(), project.path("out/table.csv"));
    let arguments = ["predict", "--weights", &weights, &images, "--out", &table.display().to_string()];
    let outcome = project.run(arguments.map(str::to_owned).to_vec());
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let table = fs::read_to_string(table).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines.len(), lines[0]), (13, "file,rank,class,probability"));
    for pair in lines[1..].chunks(2) {
        assert!(pair[0].contains(",1,blue,") && pair[1].contains(",2,\"amber, dark\","), "{pair:?}");
    }
}

#[test]
fn folders_are_checked_before_they_are_learnt_from() {
    let project = Project::new();
    let sound = project.command("check", &[]);
    assert_eq!(sound.exit, Exit::Done, "{}{}", sound.out, sound.err);
    assert!(sound.out.contains("[TMP]/train: 32 images, 2 classes") && sound.out.contains("would run"));

    fs::rename(project.path("val/blue"), project.path("val/Blue")).unwrap();
    fs::write(project.path("train/blue/3.png"), "no picture").unwrap();
    let checked = project.command("check", &[]);
    assert_eq!(checked.exit, Exit::BadInput, "{}", checked.out);
    for words in [
        "only the validation half has the classes Blue",
        "only the training half has the classes blue",
        "images that cannot be used: 1\n    [TMP]/train/blue/3.png: neither a JPEG nor a PNG file",
        "training would stop: 3 errors",
    ] {
        assert!(checked.out.contains(words), "`{words}` is not in\n{}", checked.out);
    }

    let project = Project::new();
    let out = project.path("sheets").display().to_string();
    let checked = project.command("check", &["--images", "--browse=4", "--out", &out]);
    assert_eq!(checked.exit, Exit::Done, "{}{}", checked.out, checked.err);
    // These images depend on their number alone.
    let copies = "validation images that are trained on: 12
    [TMP]/val/amber, dark/0.png: is trained on as [TMP]/train/";
    assert!(checked.out.contains(copies), "{}", checked.out);
    assert!(project.path("sheets/train.png").is_file() && project.path("sheets/validation.png").is_file());
}

#[test]
fn a_run_becomes_a_page_and_a_recipe_tells_of_its_model() {
    let project = Project::new();
    let trained = project.command("train", &["--set=train.epochs=1", "--set=expect={}"]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    let run = project.path("run").display().to_string();
    let reported = project.run(vec!["report".to_owned(), run]);
    assert_eq!((reported.exit, reported.err.as_str()), (Exit::Done, ""));
    let page = fs::read_to_string(project.path("run/report.html")).unwrap();
    for words in ["<h2>Confusion</h2>", "<th>amber, dark</th>", "Worst predictions", "top1"] {
        assert!(page.contains(words), "{words} is not on the page");
    }

    let dumped = project.command("info", &["--dump"]);
    assert!(dumped.out.contains("[TMP]/train\"  # --set data.train="), "{}", dumped.out);
    let told = project.command("info", &[]);
    assert!(told.out.contains("parameters") && told.out.contains("GFLOPs"), "{}", told.out);
    let size = ["info", "v2-nano", "--dump"].map(str::to_owned);
    refused(project.run(size.to_vec()), "--set, --schedule and --dump are for recipes");
}

#[test]
fn two_classifiers_are_compared() {
    let project = Project::new();
    for (run, epochs) in [("short", "1"), ("long", "4")] {
        let folder = format!("--set=run.folder={}", project.path(run).display());
        let outcome =
            project.command("train", &[&folder, &format!("--set=train.epochs={epochs}"), "--set=expect={}"]);
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    }
    let runs = ["short", "long"].map(|run| project.path(run).display().to_string());
    let outcome = project.run([vec!["compare".to_owned()], runs.to_vec()].concat());
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let rows: Vec<&str> = outcome.out.lines().collect();
    assert!(rows[0].contains("top1") && rows[0].contains("GFLOPs 64x64"), "{}", outcome.out);
    assert!(rows[1].starts_with("short") && rows[2].starts_with("long"), "{}", outcome.out);
    assert!(outcome.out.contains("change from short, and where it lies"), "{}", outcome.out);
    assert!(!outcome.err.contains("warning"), "{}", outcome.err);

    // What was kept of the models is of other images now.
    for index in 10..40 {
        RgbImage::from_pixel(70, 80, Rgb([20, 60, 220]))
            .save(project.path("val/amber, dark").join(format!("{index}.png")))
            .unwrap();
    }
    fs::remove_file(project.path("short/judged.json")).unwrap();
    let outcome = project.run([vec!["compare".to_owned()], runs.to_vec()].concat());
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let is_told = |name: &str| outcome.err.contains(&format!("{name}: top1 is "));
    let is_why = outcome.err.contains("when its models are judged now");
    assert!(is_told("short") && is_told("long") && is_why, "{}", outcome.err);
}

#[test]
fn a_run_with_workers_goes_as_one_without() {
    let runs = ["--set=train.workers=0", "--set=train.workers=3"].map(|workers| {
        let project = Project::new();
        let outcome = project.command("train", &[workers, "--set=train.epochs=2"]);
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        let log = cvx_tools::train::step_log::read(&project.path("run/log.jsonl")).unwrap();
        log.into_iter().map(|record| (record.step, record.loss)).collect::<Vec<_>>()
    });
    assert_eq!(runs[0].len(), 8);
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn what_is_drawn_to_change_images_is_the_same_on_any_number_of_workers() {
    let project = Project::new();
    let augment =
        "--set=train.rand_augment={ layers = 2, magnitude = 9.0, deviation = 0.5, probability = 0.5 }";
    let losses = |more: &[&str]| {
        let _ = fs::remove_dir_all(project.path("run"));
        let outcome =
            project.command("train", &[&["--set=train.epochs=1", "--set=expect={}"], more].concat());
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        let log = cvx_tools::train::step_log::read(&project.path("run/log.jsonl")).unwrap();
        log.into_iter().map(|record| record.loss).collect::<Vec<_>>()
    };
    let [alone, shared] =
        ["--set=train.workers=0", "--set=train.workers=3"].map(|workers| losses(&[augment, workers]));
    assert_eq!(alone, shared);
    assert_ne!(alone, losses(&["--set=train.workers=0"]), "it changes images");
    for (wrong, expected) in [
        ("magnitude = 9.0", "magnitude = 10.5: must be from 0 to 10"),
        ("probability = 0.5", "probability = 1.5: must lie between 0 and 1"),
        ("layers = 2", "layers = 0: must be"),
    ] {
        let (entry, _) = expected.split_once(':').unwrap();
        let outcome = project.command("train", &[&augment.replace(wrong, entry)]);
        refused(outcome, &format!("train.rand_augment.{expected}"));
    }
}

#[test]
fn a_classifier_ends_early_with_an_average_and_a_frozen_backbone() {
    let project = Project::new();
    // Nothing is better than the first by so much.
    let sets = [
        "--set=train.early_stop={ patience = 1, min_delta = 2.0 }",
        "--set=train.ema={ decay = 0.9, warmup = true }",
        "--set=train.freeze=[\"backbone\"]",
    ];
    let outcome = project.command("train", &[&sets[..], &["--set=expect={}"]].concat());
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    assert!(outcome.out.contains("ended after step "), "{}", outcome.out);
    assert!(outcome.out.contains("frozen      backbone\n"), "{}", outcome.out);

    let outcome = project.command("info", &sets[2..]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let group = |name: &str| {
        let mut lines = outcome.out.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
        lines
            .find(|line| line.len() == 6 && line[0].ends_with(name))
            .unwrap_or_else(|| panic!("{}", outcome.out))
    };
    assert_eq!(group("frozen")[1..4], ["0.00000", "0.000e0", "0"]);
    assert_ne!(group("decay")[2], "0.000e0");
    refused(project.command("info", &["--set=train.freeze=[\"hed\"]"]), "the nearest is \"head\"");
    refused(project.run(vec!["info".to_owned(), "v3".to_owned()]), "or a recipe's file");
}

#[test]
fn what_cannot_be_is_refused() {
    let project = Project::new();
    refused(
        project.command("train", &["--set=head.num_classes=3"]),
        "[TMP]/val: holds folders of 2 classes (amber, dark, blue), but head.num_classes = 3",
    );
    refused(project.command("train", &["--set=input.size=70"]), "input.size = 70: must be a multiple of 32");
    refused(
        project.command("train", &["--set=train.mix.mixup=-1"]),
        "train.mix.mixup = -1: must not be negative",
    );
    refused(project.command("train", &["--set=evaluate.x=1"]), "unknown entry `x`");
    refused(project.command("eval", &[]), "without --weights the best checkpoint");
    fs::remove_dir_all(project.path("train/blue")).unwrap();
    refused(project.command("train", &[]), "[TMP]/train: holds the classes amber, dark, but ");
    fs::write(project.path("val/blue/0.png"), "no picture").unwrap();
    fs::create_dir_all(project.path("train/blue")).unwrap();
    fs::copy(project.path("val/blue/1.png"), project.path("train/blue/1.png")).unwrap();
    refused(
        project.command("train", &["--set=train.epochs=1"]),
        "[TMP]/val/blue/0.png: neither a JPEG nor a PNG",
    );
}
