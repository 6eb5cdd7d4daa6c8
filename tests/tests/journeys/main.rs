//! Whole journeys through the commands: train, evaluate, predict, score; killed and resumed; alone and with workers.

mod endings;
mod kills;
mod lengths;
mod sweeps;

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cvx_tests::project_root;
use cvx_tools::cls::Recipe as ClassificationRecipe;
use cvx_tools::det::{self, Streams};
use cvx_tools::exit::Exit;
use cvx_tools::pretrain::Recipe as PretrainingRecipe;
use cvx_tools::recipe::{Kind, Recipe};
use cvx_tools::safetensors_file::SafetensorsFile;
use cvx_tools::seg::recipe::Recipe as SegmentationRecipe;
use cvx_tools::train::step_log::{self, StepRecord};
use serde_json::Value;
use tempfile::TempDir;

/// The variable by which a test tells its child process what to run, one argument a line.
const CHILD_ARGUMENTS: &str = "CVX_TEST_CHILD_ARGUMENTS";

/// Longest time that anything in here may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder of one journey.
struct Journey {
    folder: TempDir,
}

impl Journey {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `command RECIPE` with the run in the folder `run`, plus `more`.
    fn arguments(&self, command: &str, run: &str, more: &[&str]) -> Vec<String> {
        let recipe = project_root().join("configs/smoke/instant.toml");
        let mut arguments = vec!["cvx-det".to_owned(), command.to_owned(), recipe.display().to_string()];
        arguments.push(format!("--set=run.folder={}", self.text(run)));
        arguments.push(format!("--set=data.shapes.folder={}", self.text("shapes")));
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    }

    /// Trains in this process.
    #[track_caller]
    fn train(&self, run: &str, more: &[&str]) {
        let (exit, _, err) = cvx_det(&self.arguments("train", run, more));
        assert_eq!(exit, Exit::Done, "{err}");
    }

    /// Trains in a process of its own, which can be killed.
    fn spawn(&self, run: &str, more: &[&str]) -> Child {
        self.child(run, more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// What trains in a process of its own.
    fn child(&self, run: &str, more: &[&str]) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "a_child_process_runs_what_it_is_told", "--nocapture"])
            .env(CHILD_ARGUMENTS, self.arguments("train", run, more).join("\n"));
        child
    }

    /// The values of a run's last checkpoint, optimizer included, to the bit.
    fn last_values(&self, run: &str) -> Vec<(String, Vec<u8>)> {
        let file = SafetensorsFile::open(&self.path(run).join("checkpoints/last.safetensors")).unwrap();
        let mut names: Vec<String> = file.tensors().map(|(name, _)| name).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), file.bytes(&name).unwrap())).collect()
    }

    /// What every step of a run logged, without what a clock decides.
    fn losses(&self, run: &str) -> Vec<String> {
        records(&self.path(run))
            .into_iter()
            .map(|record| {
                let StepRecord { step, epoch, loss, losses, lr, grad_norm, .. } = record;
                format!("{step} {epoch} {loss} {losses:?} {lr} {grad_norm}")
            })
            .collect()
    }
}

fn records(run: &Path) -> Vec<StepRecord> {
    let log = run.join("log.jsonl");
    if log.exists() { step_log::read(&log).unwrap() } else { Vec::new() }
}

/// Burn draws from one generator a process, so commands whose numbers are compared take turns.
static TURN: Mutex<()> = Mutex::new(());

fn cvx_det(arguments: &[String]) -> (Exit, String, String) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = det::run(arguments, Streams { out: &mut out, err: &mut err });
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_child_process_runs_what_it_is_told() {
    let Ok(arguments) = std::env::var(CHILD_ARGUMENTS) else { return };
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    let (exit, out, err) = cvx_det(&arguments);
    print!("{out}");
    assert_eq!(exit, Exit::Done, "{err}");
}

#[test]
fn a_run_can_be_evaluated_predicted_with_and_scored() {
    let journey = Journey::new();
    journey.train("run", &[]);
    for file in ["recipe.toml", "log.jsonl", "metrics.json", "curves.png", "checkpoints/last.safetensors"] {
        assert!(journey.path("run").join(file).is_file(), "{file}");
    }

    let evaluated = journey.path("eval.json");
    let json_argument = format!("--json={}", evaluated.display());
    let (exit, out, err) =
        cvx_det(&journey.arguments("eval", "run", &[&json_argument, "--set=evaluate.batch_size=1"]));
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("Average Precision") && out.contains("triangle"), "{out}");

    let truth = journey.path("shapes/val.json");
    let arguments = ["cvx-det", "predict", "--weights"].map(str::to_owned).into_iter().chain([
        journey.text("run/checkpoints/best.safetensors"),
        journey.text("shapes/val"),
        format!("--out={}", journey.text("predictions")),
        format!("--ids-from={}", truth.display()),
        "--draw-from=0".to_owned(),
    ]);
    let (exit, _, err) = cvx_det(&arguments.collect::<Vec<_>>());
    assert_eq!(exit, Exit::Done, "{err}");
    let overlays = fs::read_dir(journey.path("predictions"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "png"));
    assert_eq!(overlays.count(), 4);

    // The same model on the same images by another way gives the same numbers.
    for (score_type, prefix) in [("bbox", "box"), ("segm", "mask")] {
        let scored = journey.path("score.json");
        let (exit, _, err) = cvx_det(&[
            "cvx-det".to_owned(),
            "score".to_owned(),
            truth.display().to_string(),
            journey.text("predictions/results.json"),
            format!("--type={score_type}"),
            format!("--json={}", scored.display()),
        ]);
        assert_eq!(exit, Exit::Done, "{err}");
        let (evaluated, scored) = (json(&evaluated), json(&scored));
        for stat in ["ap", "ap50", "ar100"] {
            let name = format!("{prefix}/{stat}");
            let [a, b] = [&evaluated, &scored].map(|file| file[&name].as_f64().unwrap());
            assert!((a - b).abs() < cvx_tests::tolerance::STATISTIC, "{name}: {a} and {b}");
        }
    }
}

#[test]
fn a_broken_promise_ends_with_one() {
    let journey = Journey::new();
    let promise = r#"--set=expect={ "box/ap" = { at-least = 0.99 } }"#;
    let (exit, out, _) = cvx_det(&journey.arguments("train", "run", &[promise]));
    assert_eq!(exit, Exit::OutsideExpectations);
    assert!(out.contains("OUTSIDE expectations: at least 0.99"), "{out}");
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let journey = Journey::new();
    let runs: Vec<Vec<String>> = [0, 1, 4]
        .map(|workers| {
            let run = format!("workers-{workers}");
            journey.train(&run, &[&format!("--set=train.workers={workers}")]);
            journey.losses(&run)
        })
        .into();
    assert_eq!(runs[0].len(), 8);
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}

#[test]
fn a_resolved_recipe_is_a_recipe() {
    let journey = Journey::new();
    journey.train("run", &["--set=train.epochs=1"]);
    let resolved = journey.path("run/recipe.toml");
    let text = fs::read_to_string(&resolved).unwrap();
    let again: Recipe = cvx_tools::recipe::load(&resolved, &[]).unwrap();
    assert_eq!(again.train.epochs, 1);
    assert_eq!(again.to_toml().unwrap(), text);
}

/// Whether it is a recipe of this kind; then what is written of it is, too.
fn reads_back<R: Kind + PartialEq + Debug>(path: &Path, copy: &Path) -> bool {
    let Ok(recipe) = cvx_tools::recipe::load::<R>(path, &[]) else { return false };
    fs::write(copy, recipe.to_toml().unwrap()).unwrap();
    assert_eq!(cvx_tools::recipe::load::<R>(copy, &[]).unwrap(), recipe);
    true
}

/// All TOML files in a folder and the folders in it.
fn toml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            toml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

#[test]
fn every_recipe_of_the_house_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.toml");
    let (mut recipes, mut sweeps) = (Vec::new(), Vec::new());
    toml_files(&project_root().join("configs"), &mut recipes);
    recipes.retain(|path| {
        let sweep: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let Some(cells) = sweep.get("cells") else { return true };
        let cells = cells.as_array().unwrap().iter().map(|cell| cell["recipe"].clone());
        let before = sweep.get("pretrain").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let named = cells.chain(before).map(|name| path.parent().unwrap().join(name.as_str().unwrap()));
        sweeps.extend(named);
        false
    });
    for path in &recipes {
        let is_one = reads_back::<Recipe>(path, &copy)
            || reads_back::<SegmentationRecipe>(path, &copy)
            || reads_back::<ClassificationRecipe>(path, &copy)
            || reads_back::<PretrainingRecipe>(path, &copy);
        assert!(is_one, "{} is no recipe of any program", path.display());
    }
    for path in &sweeps {
        assert!(recipes.contains(path), "{} is named by a sweep", path.display());
    }
    assert!(
        recipes.len() >= 30 && sweeps.len() >= 12,
        "{} recipes, {} in sweeps",
        recipes.len(),
        sweeps.len()
    );
}
