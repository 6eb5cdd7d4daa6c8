//! `cvx-pretrain` from recipe to pictures: whole journeys, and what it says to bad input.

mod bad_input;
mod doctor;
mod journeys;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cvx_tests::project_root;
use cvx_tools::exit::{Exit, Streams};
use cvx_tools::pretrain;
use image::{Rgb, RgbImage};
use tempfile::TempDir;

/// What a command left.
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

/// Burn draws from one generator a process, so commands whose numbers are compared take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A folder with a few small images and the smallest recipe that learns from them.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for (folder, count) in [("images/a", 3), ("images/b/deep", 2), ("val", 2)] {
            fs::create_dir_all(project.path(folder)).unwrap();
            for index in 0..count {
                let image = RgbImage::from_fn(80 + 10 * index, 70, |x, y| {
                    let wave = ((x + 13 * index) as f32 / 5.0).sin() * 60.0 + 128.0;
                    Rgb([wave as u8, (y * 3) as u8, (x ^ y) as u8])
                });
                image.save(project.path(folder).join(format!("{index}.png"))).unwrap();
            }
        }
        let recipe = fs::read_to_string(project_root().join("configs/smoke/pretrain.toml")).unwrap();
        fs::write(project.path("recipe.toml"), recipe).unwrap();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Runs `cvx-pretrain` with these arguments.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments = std::iter::once("cvx-pretrain").chain(arguments.iter().copied());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = pretrain::run(arguments, Streams { out: &mut out, err: &mut err });
        let clean = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.folder.path().display().to_string(), "[TMP]")
        };
        Outcome { exit, out: clean(out), err: clean(err) }
    }

    /// `train` into the folder `run`, in two epochs of two steps, with `more` arguments.
    fn train(&self, run: &str, more: &[&str]) -> Outcome {
        self.command("train", run, more)
    }

    /// The same recipe under another command.
    fn command(&self, command: &str, run: &str, more: &[&str]) -> Outcome {
        let recipe = self.text("recipe.toml");
        let folder = format!("--set=run.folder={}", self.text(run));
        let source = format!(
            "--set=data.source={{ folders = {{ train = [\"{}\"], val = [\"{}\"] }} }}",
            self.text("images"),
            self.text("val")
        );
        let backbone = "--set=model.backbone={ custom = { version = \"v2\", depths = [1, 1, 1, 1], \
                        dims = [4, 6, 8, 10] } }";
        let sets = [
            "--set=autoencoder.decoder_channels=8",
            "--set=input.side=64",
            "--set=train.epochs=2",
            "--set=train.batch_size=3",
            "--set=train.checkpoint_every_steps=1",
            "--set=evaluate.every_epochs=1",
            "--set=expect={}",
        ];
        let mut arguments = vec![command, &recipe, &folder, &source, backbone];
        arguments.extend(sets);
        arguments.extend(more);
        self.run(&arguments)
    }

    /// [`train`](Self::train) that must succeed.
    #[track_caller]
    fn trained(&self, run: &str, more: &[&str]) -> Outcome {
        let outcome = self.train(run, more);
        assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
        outcome
    }
}
