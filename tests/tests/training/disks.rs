//! A disk that is full, or a folder that is away, for a while: training goes on, and nothing is lost.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cvx_tools::train::checkpoint::{Checkpoint, Position};
use cvx_tools::train::run_folder::Start;

use crate::toy::{BATCHES, EPOCHS, generator, timeless, train, trainer, values};

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
