//! Ends before the end: signals, the time a run is given, and patience; and what the other entries of a run do.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cvx_tools::exit::Exit;

use crate::{Journey, PATIENCE, cvx_det, json, records};

/// A run that is sent signals after some steps, and what it says.
#[cfg(unix)]
fn signalled(journey: &Journey, run: &str, sets: &[&str], signals: &[&str], steps: usize) -> Output {
    let child = journey.child(run, sets).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while records(&journey.path(run)).len() < steps && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let kills: Vec<String> = signals.iter().map(|signal| format!("kill {signal} {}", child.id())).collect();
    let sent = Command::new("sh").args(["-c", &kills.join("; ")]).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

#[test]
#[cfg(unix)]
fn a_signal_ends_a_run_after_its_step_and_it_goes_on_to_the_same_weights() {
    let journey = Journey::new();
    let sets = [
        "--set=train.epochs=10",
        "--set=train.accumulation_steps=2",
        "--set=train.checkpoint_every_steps=100",
    ];
    journey.train("whole", &sets);
    let resumed = [&sets[..], &["--resume"]].concat();
    for (signal, more, reason) in
        [("-TERM", &sets[..], "asked to end"), ("-INT", &resumed[..], "interrupted")]
    {
        let steps = records(&journey.path("stopped")).len() + 3;
        let Output { status, stdout, .. } = signalled(&journey, "stopped", more, &[signal], steps);
        let out = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{status} {out}");
        let logged = records(&journey.path("stopped")).len();
        assert!((steps..40).contains(&logged), "{logged} steps");
        let expected = format!("{reason}: training stopped after step {logged}, which is saved in ");
        assert!(out.contains(&expected), "{out}");
        let command =
            out.lines().find(|line| line.starts_with("go on by:  cvx-det train ")).expect("a command");
        assert!(command.contains("--set train.epochs=10") && command.ends_with(" --resume"), "{command}");
    }
    journey.train("stopped", &resumed);
    assert_eq!(journey.losses("stopped"), journey.losses("whole"));
    assert!(journey.last_values("stopped") == journey.last_values("whole"));
}

#[test]
#[cfg(unix)]
fn a_second_signal_ends_a_run_at_once() {
    use std::os::unix::process::ExitStatusExt;

    let journey = Journey::new();
    let sets = ["--set=train.epochs=10", "--set=train.checkpoint_every_steps=100"];
    // Two of one kind might arrive as one.
    let Output { status, stdout, .. } = signalled(&journey, "run", &sets, &["-TERM", "-INT"], 3);
    assert!(status.signal().is_some(), "{status} {}", String::from_utf8_lossy(&stdout));
    assert!(records(&journey.path("run")).len() < 40);
    journey.train("run", &[&sets[..], &["--resume"]].concat());
    assert_eq!(records(&journey.path("run")).len(), 40);
}

#[test]
fn a_run_whose_time_is_over_saves_and_goes_on() {
    let journey = Journey::new();
    let sets = ["--set=train.epochs=400", "--max-time=3s"];
    let (exit, out, err) = cvx_det(&journey.arguments("train", "run", &sets));
    assert_eq!(exit, Exit::Done, "{err}");
    let steps = records(&journey.path("run")).len();
    assert!((1..1600).contains(&steps), "{steps} steps");
    let expected = format!("the time of 3 s is over: training stopped after step {steps}, which is saved");
    assert!(out.contains(&expected) && out.contains("--max-time 3s --resume"), "{out}");
    let (exit, _, err) = cvx_det(&journey.arguments("train", "run", &[&sets[..], &["--resume"]].concat()));
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(err.is_empty() && records(&journey.path("run")).len() > steps);
    let (exit, _, err) = cvx_det(&journey.arguments("train", "other", &["--max-time=30"]));
    assert!(exit == Exit::BadInput && err.contains("`30m`"), "{err}");
}

#[test]
fn a_run_ends_early_with_an_average_and_a_frozen_stem() {
    let journey = Journey::new();
    // Nothing is better than the first by so much.
    let sets = [
        "--set=train.epochs=9",
        "--set=train.early_stop={ patience = 2, min_delta = 1.0 }",
        "--set=train.ema={ decay = 0.99, warmup = true }",
        "--set=train.freeze=[\"backbone.downsample_layers.0\", \"backbone.stages.0\"]",
        "--set=train.lr_batch_size=16",
        "--set=model.drop_path_rate=0.2",
    ];
    let (exit, out, err) = cvx_det(&journey.arguments("train", "run", &sets));
    assert_eq!(exit, Exit::Done, "{err}");
    for part in [
        "rate        1.25e-4: 0.001 x 2 / 16, the batch over train.lr_batch_size",
        "average     of the weights, decay 0.99",
        "frozen      backbone.downsample_layers.0, backbone.stages.0",
        "ended after step 12: no better evaluation",
    ] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let evaluations = json(&journey.path("run/metrics.json"))["evaluations"].as_array().unwrap().len();
    assert_eq!(evaluations, 3);
    let names: Vec<String> = journey.last_values("run").into_iter().map(|(name, _)| name).collect();
    let has = |part: &str| names.iter().any(|name| name.starts_with(part));
    assert!(has("ema.backbone.stages.0.0.dwconv") && has("adamw.m.backbone.stages.1"));
    assert!(!has("adamw.m.backbone.stages.0") && !has("adamw.m.backbone.downsample_layers.0"));

    let wrong = "--set=train.freeze=[\"backbone.stage.0\"]";
    let (exit, _, err) = cvx_det(&journey.arguments("train", "other", &[wrong]));
    assert_eq!(exit, Exit::BadInput);
    let expected = "instant.toml cannot work\n  train.freeze.0 = \"backbone.stage.0\": the model has no such part; the \
                    nearest is \"backbone.stages.0\"\n  at --set train.freeze=[\"backbone.stage.0\"]\n";
    assert!(err.ends_with(expected), "{err}");
    assert!(!journey.path("other").exists());
}

#[test]
fn schedules_are_told_and_drawn() {
    let journey = Journey::new();
    let picture = journey.path("schedule.png");
    let sets = [
        format!("--schedule={}", picture.display()),
        "--images=100".to_owned(),
        "--set=optimizer.adamw.layer_decay={ single = { rate = 0.5 } }".to_owned(),
        "--set=model.drop_path_rate=0.2".to_owned(),
    ];
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let (exit, out, err) = cvx_det(&journey.arguments("info", "run", &sets));
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("learning rate over 100 steps, 50 an epoch"), "{out}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |step: &str| rows.iter().find(|row| row.len() > 7 && row[0] == step).expect(step).clone();
    // Five layers below the heads, whose rate is the base rate at the end of the warm-up.
    let header = rows.iter().find(|row| row.starts_with(&["step", "epoch"])).expect("a header");
    assert_eq!(header[2..], ["layer_1", "layer_2", "layer_3", "layer_4", "layer_5", "layer_6"]);
    assert_eq!(row("1")[6..], ["5.000e-4", "1.000e-3"]);
    assert_eq!(row("99")[6..], ["5.000e-6", "1.000e-5"]);
    assert!(out.contains("drop path in every step, by block: 0.000 0.050 0.100 0.150 0.200"), "{out}");
    assert!(image::open(&picture).unwrap().width() >= 1000);
    assert!(fs::metadata(&picture).unwrap().len() > 10_000);

    // How many shapes there are, the recipe says: none is drawn for it.
    let (exit, out, err) = cvx_det(&journey.arguments("info", "run", &sets[..1]));
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("learning rate over 8 steps, 4 an epoch"), "{out}");
    assert!(!journey.path("shapes").exists());
}
