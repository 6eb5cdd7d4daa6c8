//! The commands of `cvx-seg`, on real input and on bad input.

mod bad_data;
mod bad_recipes;
mod doctor;
mod journeys;
mod predict;
mod score;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cvx_tests::project_root;
use cvx_tools::exit::{Exit, Streams};
use cvx_tools::seg;
use image::{GrayImage, Rgb, RgbImage};
use tempfile::TempDir;

/// What a command left.
struct Outcome {
    exit: Exit,
    out: String,
    err: String,
}

/// Burn draws from one generator a process, so commands whose numbers are compared take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A folder with small, sound folders of images and labels, and room for runs.
struct Project {
    folder: TempDir,
}

impl Project {
    /// Two training images and one validation image of two classes.
    fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for (half, names) in [("train", &["a", "b"][..]), ("val", &["c"][..])] {
            for kind in ["images", "labels"] {
                fs::create_dir_all(project.path(&format!("{half}/{kind}"))).unwrap();
            }
            for name in names {
                let image = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 3, y as u8 * 5, 90]));
                image.save(project.path(&format!("{half}/images/{name}.png"))).unwrap();
                project.label(half, name, 64, 48, |x, _| u8::from(x > 31));
            }
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes the label image of `name`.
    fn label(&self, half: &str, name: &str, width: u32, height: u32, class: impl Fn(u32, u32) -> u8) {
        let labels = GrayImage::from_fn(width, height, |x, y| image::Luma([class(x, y)]));
        labels.save(self.path(&format!("{half}/labels/{name}.png"))).unwrap();
    }

    fn run(&self, arguments: impl IntoIterator<Item = String>) -> Outcome {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let arguments = std::iter::once("cvx-seg".to_owned()).chain(arguments);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = seg::run(arguments, Streams { out: &mut out, err: &mut err });
        let clean = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&self.folder.path().display().to_string(), "[TMP]")
        };
        Outcome { exit, out: clean(out), err: clean(err) }
    }

    /// `command` on generated shapes, with the run in the folder `run`.
    fn on_shapes(&self, command: &str, run: &str, more: &[&str]) -> Outcome {
        let recipe = project_root().join("configs/smoke/instant-ade.toml");
        let mut arguments = vec![command.to_owned(), recipe.display().to_string()];
        arguments.push(format!("--set=run.folder={}", self.text(run)));
        arguments.push(format!("--set=data.shapes.folder={}", self.text("shapes")));
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self.run(arguments)
    }

    /// `command` on the project's folders.
    fn on_folders(&self, command: &str, more: &[&str]) -> Outcome {
        let recipe = project_root().join("configs/smoke/instant-ade.toml");
        let mut arguments = vec![command.to_owned(), recipe.display().to_string()];
        arguments.push(format!(
            "--set=data={{ folders = {{ train_images = \"{0}/train/images\", train_labels = \"{0}/train/labels\", \
             val_images = \"{0}/val/images\", val_labels = \"{0}/val/labels\", \
             classes = {{ named = [\"left\", \"right\"] }}, labels = {{ index = {{ zero = \"class\", ignored = [] }} }} }} }}",
            self.folder.path().display()
        ));
        arguments.push(format!("--set=run.folder={}", self.text("run")));
        arguments.push("--set=head.upernet.num_classes=2".to_owned());
        arguments.push("--set=head.upernet.loss.class_weights=[1.0, 1.0]".to_owned());
        arguments.push("--set=train.workers=0".to_owned());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        self.run(arguments)
    }
}
