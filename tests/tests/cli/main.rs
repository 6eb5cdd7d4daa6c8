//! What the commands say to bad input: file, entry, value found, values possible; and that they end with 2.

mod bad_data;
mod bad_recipes;
mod bases;
mod checkpoints;
mod doctor;
mod mistakes;
mod reports;
mod score;
mod weights;

use std::fs;
use std::path::PathBuf;

use cvx_tests::project_root;
use cvx_tools::det::{self, Streams};
use cvx_tools::exit::Exit;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a small, sound data set and a recipe that trains on it.
struct Project {
    folder: TempDir,
}

/// What a command left.
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(project.path("images")).unwrap();
        for name in ["a.png", "b.png"] {
            let image = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8, y as u8, 90]));
            image.save(project.path("images").join(name)).unwrap();
        }
        project.write_truth(&truth());
        let recipe = fs::read_to_string(project_root().join("configs/smoke/instant.toml")).unwrap();
        // There are two images, and so two steps.
        let recipe = recipe.replace("warmup_steps = 2", "warmup_steps = 1");
        fs::write(project.path("recipe.toml"), recipe).unwrap();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write_truth(&self, truth: &Value) {
        // Python writes what JSON does not have.
        let text = serde_json::to_string(truth).unwrap().replace("\"NaN\"", "NaN");
        fs::write(self.path("truth.json"), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let arguments = std::iter::once("cvx-det").chain(arguments.iter().copied());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = det::run(arguments, Streams { out: &mut out, err: &mut err });
        let clean = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.folder.path().display().to_string(), "[TMP]")
        };
        Outcome { exit, out: clean(out), err: clean(err) }
    }

    /// `command` on the project's recipe and data, with `sets` applied after.
    fn command(&self, command: &str, sets: &[&str]) -> Outcome {
        let data = format!(
            "--set=data={{ coco = {{ train_annotations = \"{0}\", train_images = \"{1}\", \
             val_annotations = \"{0}\", val_images = \"{1}\" }} }}",
            self.text("truth.json"),
            self.text("images")
        );
        let run = format!("--set=run.folder={}", self.text("run"));
        let recipe = self.text("recipe.toml");
        let mut arguments = vec![
            command,
            &recipe,
            &data,
            &run,
            "--set=head.mask-rcnn.num_classes=2",
            "--set=train.workers=0",
        ];
        arguments.extend(sets);
        self.run(&arguments)
    }
}

fn truth() -> Value {
    json!({
        "images": [
            {"id": 1, "file_name": "a.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "b.png", "width": 64, "height": 48}
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [annotation(1, 1, 3), annotation(2, 2, 9)]
    })
}

fn annotation(id: u64, image: u64, category: u64) -> Value {
    json!({
        "id": id, "image_id": image, "category_id": category, "iscrowd": 0,
        "bbox": [8, 8, 24, 16], "area": 384,
        "segmentation": [[8, 8, 32, 8, 32, 24, 8, 24]]
    })
}

#[test]
fn files_that_are_not_there_are_named() {
    let project = Project::new();
    fs::remove_file(project.path("truth.json")).unwrap();
    let Outcome { exit, err, .. } = project.command("train", &[]);
    let expected = "error: data.coco.train_annotations = \"[TMP]/truth.json\": no such file\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));

    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("eval", &[]);
    let expected = "error: without --weights the best checkpoint of the recipe's run folder is evaluated
  a checkpoint that cannot be read
  [TMP]/run/checkpoints/best.safetensors
  No such file or directory (os error 2)
";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("check", &["--set=data.coco.train_images=$HOME/x"]);
    let expected = "error: data.coco.train_images = \"$HOME/x\": of all variables a path may only begin with `$CVX_DATA/`\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
}

#[test]
fn a_checkpoint_of_another_architecture_is_refused() {
    let project = Project::new();
    let Outcome { exit, err, .. } = project.command("train", &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");

    let wider = ["--set=head.mask-rcnn.fc_channels=48"];
    let Outcome { exit, err, .. } = project.command("eval", &wider);
    let expected = "error: [TMP]/run/checkpoints/best.safetensors: was trained with `head.mask-rcnn.fc_channels` = 32, \
                    but the recipe has 48\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));

    // The run is there, and is not overwritten.
    let Outcome { exit, err, .. } = project.command("train", &["--set=train.epochs=1"]);
    let expected = "error: [TMP]/run already holds a run; go on with it by --resume, or choose another folder \
                    (or remove this one) to start afresh\n";
    assert_eq!((err.as_str(), exit), (expected, Exit::BadInput));
    let Outcome { exit, err, .. } = project.command("train", &["--set=seed=3", "--resume"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("[TMP]/run/recipe.toml is not the recipe given: `seed` is 0, given is 3"), "{err}");

    // A checkpoint that was cut off, and a file that is none.
    let best = project.path("run/checkpoints/best.safetensors");
    let bytes = fs::read(&best).unwrap();
    fs::write(&best, &bytes[..bytes.len() - 100]).unwrap();
    let Outcome { exit, err, .. } = project.command("eval", &[]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.starts_with("error: ") && err.contains("was cut off"), "{err}");
    fs::write(&best, b"not a checkpoint at all").unwrap();
    let weights = best.display().to_string();
    let images = project.text("images");
    let Outcome { exit, err, .. } = project.run(&["predict", "--weights", &weights, &images]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("best.safetensors is no safetensors file, or was cut off"), "{err}");
}

#[test]
fn check_lists_everything_and_says_whether_training_would_stop() {
    let project = Project::new();
    let Outcome { exit, out, err } = project.command("check", &[]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert!(out.ends_with("training would run\n"), "{out}");

    let mut truth = truth();
    truth["annotations"][0]["bbox"] = json!([8, 8, 24, 0.5]);
    truth["annotations"][1]["category_id"] = json!(5);
    project.write_truth(&truth);
    fs::remove_file(project.path("images/b.png")).unwrap();
    let sets = ["--set=train.batch_size=1", "--set=schedule.warmup_steps=0"];
    let Outcome { exit, out, .. } = project.command("check", &sets);
    assert_eq!(exit, Exit::BadInput);
    assert_eq!(
        out,
        "train: [TMP]/truth.json: 2 images, 2 annotations, 2 classes
  error: annotations of no category: 1
    [TMP]/truth.json: annotation 2: it names category 5, which `categories` does not list
  error: images that cannot be used: 1
    [TMP]/images/b.png: No such file or directory (os error 2)
  warning: boxes narrower than a pixel: 1
    [TMP]/truth.json: annotation 1: `bbox` is [8.0, 8.0, 24.0, 0.5]: narrower than a pixel, not trained on
  warning: classes without an example: 1
    [TMP]/truth.json: category 9: `dog` has no example
  warning: boxes that are not around their mask: 1
    [TMP]/truth.json: annotation 1: `bbox` spans [8.0, 8.0, 32.0, 8.5], but `segmentation` [8.0, 8.0, 32.0, 24.0] \
     (left, top, right, bottom)
class      train objects    images
dog                    0         0
cat                    1         1
validation: the images of training: what is judged is learnt by heart
images were not decoded; --images does
training would stop: 2 errors
"
    );
}

#[test]
fn help_ends_with_zero_and_nonsense_with_two() {
    let project = Project::new();
    let Outcome { exit, out, .. } = project.run(&["--help"]);
    assert_eq!(exit, Exit::Done);
    for command in ["train", "eval", "predict", "score", "info", "check", "report"] {
        assert!(out.contains(command), "{command}");
    }
    let Outcome { exit, err, .. } = project.run(&["train"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("RECIPE.toml"), "{err}");
    let Outcome { exit, err, .. } = project.run(&["train", "x.toml", "--device", "gpu"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(
        err.contains("expected one of `auto`, `cpu`, `cuda`, `cuda:INDEX`, `wgpu`, `wgpu:INDEX`"),
        "{err}"
    );
}

#[test]
fn info_tells_parameters_and_rates() {
    let project = Project::new();
    let Outcome { exit, out, err } = project.run(&["info", &project.text("recipe.toml"), "--size", "64x64"]);
    assert_eq!(exit, Exit::Done, "{err}");
    for word in ["backbone", "mask head", "GFLOPs", "c5", "lr scale"] {
        assert!(out.contains(word), "{word} is not in\n{out}");
    }
}

#[test]
fn info_measures_this_machine() {
    let project = Project::new();
    let recipe = project.text("recipe.toml");
    let bench =
        ["info", &recipe, "--size", "64x60", "--bench", "--batch", "2", "--runs", "1", "--device", "cpu"];
    let Outcome { exit, out, err } = project.run(&bench);
    assert_eq!(exit, Exit::Done, "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["batch"], &told["height"], &told["width"]), (&json!(2), &json!(64), &json!(64)));
    assert_eq!(told["device"], "cpu");
    for kind in ["inference", "training_step"] {
        let seconds = told[kind]["median_s"].as_f64().unwrap();
        let images_per_s = told[kind]["images_per_s"].as_f64().unwrap();
        assert!(seconds > 0.0 && (images_per_s * seconds - 2.0).abs() < 0.01, "{told}");
    }
    // The truths themselves are among the regions.
    assert!(told["training_step"]["mask_positives"][0].as_u64().unwrap() >= 10, "{told}");

    // A recipe for GPUs is measured on a CPU, too, and does not claim their numbers.
    let Outcome { exit, out, err } = project.run(&[&bench[..], &["--set", "precision=bf16"]].concat());
    assert_eq!(exit, Exit::Done, "{err}");
    assert_eq!(err, "WARNING: precision = \"bf16\" is for GPUs; the CPU computes in f32\n");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["precision"], "f32");

    let Outcome { exit, err, .. } = project.run(&["info", &recipe, "--bench", "--batch", "0"]);
    assert!(exit == Exit::BadInput && err.contains("1..=65535"), "{err}");
}
