//! Which checkpoints are kept, and what becomes of a run whose newest are damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cvx_tools::train::progress::Progress;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::{Trainer, TrainerConfig};

use crate::toy::{Toy, config, generator, parts, timeless, toy, train, trainer, trainer_of, values};

fn keeping(most: usize) -> TrainerConfig {
    TrainerConfig { keep_checkpoints: most, ..config(1) }
}

/// The names of the files, but for the best.
fn kept(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "best.safetensors").collect();
    names.sort();
    names
}

/// A run that is resumed, and what it says.
fn resumed(run: &Path, config: TrainerConfig) -> anyhow::Result<(Trainer<Toy>, String)> {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let lines = Lines::default();
    let model = toy(&burn::tensor::Device::flex().autodiff(), 5);
    let mut parts = parts(run, Start::Resume, config, &model, &[])?;
    parts.progress = Progress::lines(30, Box::new(lines.clone()));
    let trainer = Trainer::new(model, parts)?;
    let said = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    Ok((trainer, said))
}

#[test]
fn the_newest_checkpoints_are_kept_under_their_steps() {
    let _turn = generator();
    for (most, expected) in [
        (1, vec!["last.safetensors"]),
        (2, vec!["last.safetensors", "step-000000004.safetensors"]),
        (3, vec!["last.safetensors", "step-000000002.safetensors", "step-000000004.safetensors"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let run = trainer_of(folder.path(), Start::Fresh, keeping(most)).expect("a run");
        train(run, |position| position.step == 6).expect("trains");
        assert_eq!(kept(folder.path()), expected);
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_gone_on_from() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, damaged) = (folder.path().join("whole"), folder.path().join("damaged"));
    let expected = train(trainer(&whole, Start::Fresh, 1).expect("a run"), |_| false).expect("trains");
    let run = trainer_of(&damaged, Start::Fresh, keeping(3)).expect("a run");
    train(run, |position| position.step == 6).expect("trains");
    let file = |name: &str| damaged.join("checkpoints").join(name);
    // The newest was cut off; of the one before, the disk made zeros, which are numbers like others.
    cut(&file("last.safetensors"));
    let second = file("step-000000004.safetensors");
    let mut bytes = fs::read(&second).expect("a file");
    let end = bytes.len();
    assert_ne!(bytes[end - 16..], [0; 16]);
    bytes[end - 16..].fill(0);
    fs::write(&second, bytes).expect("a file");
    let (run, said) = resumed(&damaged, keeping(3)).expect("the third is sound");
    assert_eq!(run.position().step, 2);
    for part in [
        "WARNING",
        "last.safetensors",
        "was cut off",
        "step-000000004.safetensors",
        "does not hold what was written",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(said.contains("resumed after step 2 of"), "{said}");
    let resumed = train(run, |_| false).expect("trains").expect("finishes");
    assert_eq!(values(&resumed), values(&expected.expect("finishes")));
    assert_eq!(timeless(&damaged), timeless(&whole));
}

#[test]
fn a_checkpoint_that_is_gone_is_replaced_by_the_one_before() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
    train(run, |position| position.step == 6).expect("trains");
    fs::remove_file(folder.path().join("checkpoints/last.safetensors")).expect("was there");
    assert_eq!(trainer(folder.path(), Start::Resume, 1).expect("resumes").position().step, 4);
}

#[test]
fn a_run_without_a_sound_checkpoint_is_refused_with_every_reason() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
    train(run, |position| position.step == 6).expect("trains");
    for name in kept(folder.path()) {
        cut(&folder.path().join("checkpoints").join(name));
    }
    let error = trainer(folder.path(), Start::Resume, 1).expect_err("none is sound").to_string();
    for part in ["none of the 2 checkpoints", "last.safetensors", "step-000000004.safetensors"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(error.ends_with("\nput a copy back, or train into another folder"), "{error}");
    fs::write(folder.path().join("checkpoints/best.safetensors"), "best").expect("a file");
    let error = trainer(folder.path(), Start::Resume, 1).expect_err("none is sound").to_string();
    assert!(error.ends_with("best.safetensors, as its model.init"), "{error}");
}

fn cut(path: &PathBuf) {
    let bytes = fs::read(path).expect("a file");
    // Anew: the file may have a second name.
    fs::remove_file(path).expect("was there");
    fs::write(path, &bytes[..bytes.len() - 3]).expect("a file");
}
