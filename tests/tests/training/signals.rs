//! Signals: a first one is answered at once, whatever is under way, and a second one ends the process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use cvx_tools::train::checkpoint::Checkpoint;
use cvx_tools::train::interrupt::Interrupt;
use cvx_tools::train::run_folder::Start;

use crate::toy::{generator, train, trainer};

/// The variable that makes a test the child process of another, and its value.
const CHILD: &str = "CVX_TEST_SIGNALS_CHILD";

/// Longer than a child has to live.
const LONG: Duration = Duration::from_secs(120);

/// A test of this program as a process of its own, and what it says on standard error.
fn child(test: &str, value: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, value)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let stderr = child.stderr.take().expect("piped");
    (child, BufReader::new(stderr))
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Reads up to the line that holds `part`.
#[track_caller]
fn expect_line(stderr: &mut BufReader<ChildStderr>, part: &str) -> String {
    let mut all = String::new();
    while stderr.read_line(&mut all).expect("text") > 0 {
        if let Some(line) = all.lines().last().filter(|line| line.contains(part)) {
            return line.to_owned();
        }
    }
    panic!("{part} is not in {all}");
}

#[test]
fn a_child_process_is_busy_for_long() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    Interrupt::after(None).listen().expect("listens");
    eprintln!("busy");
    std::thread::sleep(LONG);
}

#[test]
fn a_first_signal_is_answered_at_once_and_a_second_one_ends_the_process() {
    let began = Instant::now();
    let (mut child, mut stderr) = child("signals::a_child_process_is_busy_for_long", "busy");
    expect_line(&mut stderr, "busy");
    send("-TERM", &child);
    expect_line(
        &mut stderr,
        "stopping as soon as this step or evaluation is done; a second signal ends at once",
    );
    send("-INT", &child);
    assert!(child.wait().expect("ends").signal().is_some());
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_child_process_cannot_save_its_end() {
    let Ok(run) = std::env::var(CHILD) else { return };
    let run = std::path::Path::new(&run);
    let mut interrupt = Interrupt::after(None);
    interrupt.listen().expect("listens");
    let mut trainer = trainer(run, Start::Resume, 1).expect("resumes");
    let seed = trainer.begin_step();
    let losses = trainer.model().losses(4, seed);
    trainer.step(losses, 4).expect("a good step");
    fs::rename(run.join("checkpoints"), run.join("away")).expect("is there");
    fs::write(run.join("checkpoints"), "").expect("a file");
    eprintln!("waits");
    let error = trainer.finish(&interrupt).expect_err("cannot be saved");
    eprintln!("{error:#}");
}

#[test]
fn the_first_signal_ends_waiting_for_a_disk_and_the_older_checkpoint_is_named() {
    let _turn = generator();
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("run");
    train(trainer(&run, Start::Fresh, 1).expect("a run"), |position| position.step == 4).expect("trains");
    let began = Instant::now();
    let (mut child, mut stderr) =
        child("signals::a_child_process_cannot_save_its_end", &run.display().to_string());
    expect_line(&mut stderr, "waits");
    // Into one of the longer waits.
    std::thread::sleep(Duration::from_secs(2));
    send("-INT", &child);
    let line = expect_line(&mut stderr, "the end of the run, step 5, is NOT saved");
    assert!(line.contains("the newest checkpoint is that of step 4, "), "{line}");
    assert!(line.contains("last.safetensors, and --resume goes on there"), "{line}");
    assert!(child.wait().expect("ends").success());
    assert!(began.elapsed() < LONG);
    assert_eq!(Checkpoint::open(&run.join("away/last.safetensors")).expect("usable").position.step, 4);
}
