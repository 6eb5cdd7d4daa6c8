//! Runs that are killed, again and again and at any moment, and go on as if nothing had happened.

use std::fs;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Journey, PATIENCE, records};

#[test]
fn a_run_killed_in_mid_epoch_goes_on_as_if_nothing_had_happened() {
    let journey = Journey::new();
    journey.train("whole", &[]);

    let mut child = journey.spawn("killed", &[]);
    // Six steps are in the second of two epochs of four; checkpoints come every two steps.
    let began = Instant::now();
    while records(&journey.path("killed")).len() < 5 && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = records(&journey.path("killed")).len();
    assert!((5..8).contains(&before), "{before} steps were logged before the kill");

    journey.train("killed", &["--resume"]);
    assert_eq!(journey.losses("killed"), journey.losses("whole"));
}

#[test]
fn a_run_killed_again_and_again_while_it_saves_loses_nothing() {
    let journey = Journey::new();
    let save_always = "--set=train.checkpoint_every_steps=1";
    journey.train("whole", &[save_always]);

    // A checkpoint that is being written is a file that is neither of the two finished ones.
    let is_saving = || {
        let checkpoints = fs::read_dir(journey.path("killed/checkpoints"));
        let names = checkpoints.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name != "last.safetensors" && name != "best.safetensors")
    };
    let mut kills = 0;
    let began = Instant::now();
    loop {
        let mut child = journey.spawn("killed", &[save_always, "--resume"]);
        // What an earlier kill left behind says nothing about this process.
        let stale = is_saving();
        let logged = records(&journey.path("killed")).len();
        let finished = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            let steps = records(&journey.path("killed")).len().saturating_sub(logged);
            if (is_saving() && !stale) || steps > 1 {
                break None;
            }
            assert!(began.elapsed() < PATIENCE, "the run does not end");
        };
        match finished {
            Some(status) => {
                assert!(status.success(), "a resumed run failed");
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    assert!(kills > 0, "the run ended before it was killed once");
    assert_eq!(journey.losses("killed"), journey.losses("whole"));
}

/// How often the run of [`a_run_killed_twenty_times_at_random_moments_has_the_same_weights`] is killed.
const KILLS: usize = 20;

#[test]
fn a_run_killed_twenty_times_at_random_moments_has_the_same_weights() {
    let journey = Journey::new();
    // An average, evaluations inside epochs and several checkpoints: all that a run has to keep together.
    let sets = [
        "--set=train.epochs=12",
        "--set=train.checkpoint_every_steps=1",
        "--set=train.keep_checkpoints=3",
        "--set=train.ema={ decay = 0.9, warmup = true }",
        "--set=evaluate.every_steps=7",
    ];
    journey.train("whole", &sets);
    let whole = journey.losses("whole");
    assert_eq!(whole.len(), 48);

    let sets = [&sets[..], &["--resume"]].concat();
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let (mut kills, mut in_saves) = (0, 0);
    let began = Instant::now();
    while kills < KILLS {
        assert!(began.elapsed() < PATIENCE, "{kills} kills");
        let mut child = journey.spawn("killed", &sets);
        let before = records(&journey.path("killed")).len();
        // After a step or two, or in the second step's save: early enough that there is a run to kill in the end.
        let wanted = rng.random_range(0..3);
        while records(&journey.path("killed")).len() < before + wanted && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..40_000)));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was killed {KILLS} times");
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        in_saves += usize::from(journey.path("killed/checkpoints/.last.safetensors.tmp").exists());
    }
    println!("{in_saves} of {KILLS} kills fell into a save");
    journey.train("killed", &sets);
    assert_eq!(journey.losses("killed"), whole);
    assert!(journey.last_values("killed") == journey.last_values("whole"));
    let read = |run: &str| fs::read(journey.path(run).join("metrics.json")).unwrap();
    assert!(read("killed") == read("whole"));
}
