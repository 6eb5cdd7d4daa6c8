//! Memory: what a training of the smoke recipe's network takes at a common size, read from the process that did it.

use std::fs;
use std::process::Command;

use cvx_tests::project_root;
use cvx_tools::det::{self, Streams};
use cvx_tools::exit::Exit;

/// The variable by which the test tells its child process where to write.
const CHILD_FOLDER: &str = "CVX_TEST_MEMORY_FOLDER";

/// What the project promises for V2 atto at 256x256, batch 4.
const PROMISED_BYTES: u64 = 2_000_000_000;

/// The highest resident size of this process so far; Linux alone tells it in a file.
fn peak_resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[test]
fn a_child_process_trains_and_says_what_it_took() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    let recipe = project_root().join("configs/smoke/coco.toml").display().to_string();
    let changes = [
        format!("run.folder={folder}/run"),
        format!("data.shapes.folder={folder}/shapes"),
        "data.shapes.long_side=256".to_owned(),
        "data.shapes.train_images=9".to_owned(),
        "data.shapes.val_images=2".to_owned(),
        "train.batch_size=4".to_owned(),
        "train.epochs=1".to_owned(),
        "evaluate.every_epochs=1".to_owned(),
        "evaluate.short_side=256".to_owned(),
        "evaluate.long_side=256".to_owned(),
    ];
    let mut arguments = vec!["cvx-det".to_owned(), "train".to_owned(), recipe];
    arguments.extend(changes.map(|change| format!("--set={change}")));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = det::run(&arguments, Streams { out: &mut out, err: &mut err });
    // A few steps do not reach the AP that the recipe promises.
    assert_eq!(exit, Exit::OutsideExpectations, "{}", String::from_utf8_lossy(&err));
    if let Some(bytes) = peak_resident_bytes() {
        fs::write(format!("{folder}/peak"), bytes.to_string()).unwrap();
    }
}

#[test]
fn training_atto_at_256_pixels_and_batch_4_stays_below_two_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_process_trains_and_says_what_it_took", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let Ok(peak) = fs::read_to_string(folder.path().join("peak")) else {
        println!("skipped: this system does not tell how much memory a process took");
        return;
    };
    let peak: u64 = peak.parse().unwrap();
    println!("peak resident size: {} MB", peak / 1_000_000);
    assert!(peak < PROMISED_BYTES, "{peak} bytes");
}
