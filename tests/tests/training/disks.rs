//! A disk that is full, or a folder that is away, for a while: training goes on, and nothing is lost.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::tensor::Device;
use cvx_tools::train::checkpoint::{Checkpoint, Position};
use cvx_tools::train::progress::Progress;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::trainer::{Every, Trainer, TrainerConfig};

use crate::toy::{BATCHES, EPOCHS, config, generator, parts, timeless, toy, train, trainer, values};

/// Trains a run in `folder` that something happens to after some steps, and compares it with one that nothing happens to.
#[track_caller]
fn assert_survives(folder: &Path, happens: impl Fn(usize)) {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let whole = elsewhere.path().join("whole");
    let expected = train(trainer(&whole, Start::Fresh, 1).expect("a run"), |_| false).expect("trains");
    let last = Cell::new(0);
    let each_step = |position: &Position| {
        // It is asked after an epoch, too.
        if last.replace(position.step) != position.step {
            happens(position.step);
        }
        false
    };
    let run = trainer(folder, Start::Fresh, 1).expect("a run");
    let survived = train(run, each_step).expect("trains").expect("finishes");
    assert_eq!(values(&survived), values(&expected.expect("finishes")));
    assert_eq!(timeless(folder), timeless(&whole));
    let read = |run: &Path, name: &str| fs::read(run.join(name)).expect(name);
    for name in ["metrics.json", "checkpoints/best.safetensors", "checkpoints/last.safetensors"] {
        assert!(read(folder, name) == read(&whole, name), "{name}");
    }
    drop(trainer(folder, Start::Resume, 1).expect("can be gone on with"));
}

#[test]
fn a_folder_of_checkpoints_that_is_away_for_a_while_loses_nothing() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let (here, away) = (run.join("checkpoints"), folder.path().join("away"));
    // An epoch has seven steps, so an evaluation and its best model fall into the time without the folder.
    assert_survives(&run, |step| match step {
        5 => {
            fs::rename(&here, &away).expect("is there");
            // Nothing can be created where a file is.
            fs::write(&here, "").expect("a file");
        }
        10 => {
            fs::remove_file(&here).expect("is there");
            fs::rename(&away, &here).expect("is there");
            assert_eq!(Checkpoint::open(&here.join("last.safetensors")).expect("usable").position.step, 4);
        }
        _ => {}
    });
}

#[test]
fn the_end_of_a_run_waits_for_the_folder() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let (here, away) = (run.join("checkpoints"), folder.path().join("away"));
    std::thread::scope(|scope| {
        assert_survives(&run, |step| {
            if step == BATCHES * EPOCHS {
                fs::rename(&here, &away).expect("is there");
                fs::write(&here, "").expect("a file");
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_secs(1));
                    fs::remove_file(&here).expect("is there");
                    fs::rename(&away, &here).expect("is there");
                });
            }
        });
    });
}

#[test]
fn a_run_folder_that_was_removed_is_written_anew() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let recipe = RefCell::new(Vec::new());
    assert_survives(&run, |step| match step {
        3 => {
            *recipe.borrow_mut() = fs::read(run.join("recipe.toml")).expect("a recipe");
            fs::remove_dir_all(&run).expect("is there");
        }
        5 => {
            fs::create_dir(&run).expect("was away");
            fs::write(run.join("recipe.toml"), recipe.borrow().as_slice()).expect("a file");
        }
        _ => {}
    });
}

/// A file system in memory, until it is dropped.
#[cfg(target_os = "linux")]
struct SmallDisk<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped: only an administrator can mount a small disk");
        return;
    }
    let disk = SmallDisk(folder.path());
    let (run, filler) = (disk.0.join("run"), disk.0.join("filler"));
    assert_survives(&run, |step| match step {
        3 => {
            // As much as there is room for, down to the last page.
            let mut file = fs::File::create(&filler).expect("a file");
            while std::io::Write::write_all(&mut file, &[0; 256]).is_ok() {}
        }
        9 => {
            let last = run.join("checkpoints/last.safetensors");
            assert_eq!(Checkpoint::open(&last).expect("the older stays usable").position.step, 2);
            fs::remove_file(&filler).expect("is there");
        }
        _ => {}
    });
}

/// What a run says, for whoever holds a copy.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_refuses_many_times_is_told_of_once_and_again_when_it_does_not() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    let (here, away) = (run.join("checkpoints"), folder.path().join("away"));
    let said = Said::default();
    let config = TrainerConfig { checkpoint: Every::Steps(1), ..config(1) };
    let model = toy(&Device::flex().autodiff(), 5);
    let mut parts = parts(&run, Start::Fresh, config, &model, &[]).expect("a run");
    parts.progress = Progress::lines(30, Box::new(said.clone()));
    let trained = train(Trainer::new(model, parts).expect("a run"), |position| {
        match (position.step, here.is_dir()) {
            // An epoch has seven steps, so two evaluations fall into this time.
            (5, true) => {
                fs::rename(&here, &away).expect("is there");
                fs::write(&here, "").expect("a file");
            }
            (17, false) => {
                fs::remove_file(&here).expect("is there");
                fs::rename(&away, &here).expect("is there");
            }
            _ => {}
        }
        false
    });
    trained.expect("trains").expect("finishes");
    let said = String::from_utf8(said.0.lock().expect("no panic").clone()).expect("text");
    let lines = |part: &str| said.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("NOT saved"), 1, "{said}");
    assert_eq!(lines("the newest checkpoint is that of step 5"), 1, "{said}");
    assert_eq!(lines("step 18 is saved, after saving had failed "), 1, "{said}");
}
