//! Tables of runs: trained by one command that may be interrupted, and compared.

use std::fs;

use cvx_tests::project_root;
use cvx_tools::exit::Exit;
use serde_json::Value;

use crate::{Journey, cvx_det, json, records};

/// Two cells that differ in their decay, in the journey's folder.
fn write_sweep(journey: &Journey) {
    let instant = project_root().join("configs/smoke/instant.toml");
    for (name, decay) in [("light", "0.0"), ("heavy", "0.5")] {
        let text = format!(
            "base = '{}'\n[data.shapes]\nfolder = '{}'\n[optimizer.adamw]\nweight_decay = {decay}\n",
            instant.display(),
            journey.text("shapes"),
        );
        fs::write(journey.path(&format!("{name}.toml")), text).unwrap();
    }
    let cell = |name: &str| format!("[[cells]]\nname = '{name}'\nrecipe = '{name}.toml'\n");
    let text =
        format!("folder = '{}'\nseeds = [0, 1]\n{}{}", journey.text("table"), cell("light"), cell("heavy"));
    fs::write(journey.path("sweep.toml"), text).unwrap();
}

fn sweep(journey: &Journey, more: &[&str]) -> (Exit, String, String) {
    let mut arguments = vec!["cvx-det".to_owned(), "sweep".to_owned(), journey.text("sweep.toml")];
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    cvx_det(&arguments)
}

fn compare(words: &[String]) -> (Exit, String, String) {
    let program = ["cvx-det".to_owned(), "compare".to_owned()];
    cvx_det(&[&program[..], words].concat())
}

#[test]
fn a_sweep_that_is_interrupted_goes_on_to_the_same_weights_and_a_table() {
    let journey = Journey::new();
    write_sweep(&journey);
    let mut calls = 0;
    let told = loop {
        calls += 1;
        assert!(calls < 100, "every call gets further");
        let (exit, out, err) = sweep(&journey, &["--max-time=1s"]);
        assert_eq!(exit, Exit::Done, "{err}");
        if !out.contains("go on by:  cvx-det sweep ") {
            break out;
        }
    };
    assert!(told.contains("change from light, and where it lies in 95 of 100 of 1000 resamplings"), "{told}");

    // As if it had been trained by itself.
    let alone = ["--set=seed=1", "--set=optimizer.adamw.weight_decay=0.5"];
    journey.train("alone", &alone);
    assert_eq!(journey.losses("table/heavy/seed-1"), journey.losses("alone"));
    assert!(journey.last_values("table/heavy/seed-1") == journey.last_values("alone"));

    // The figures are those of the runs.
    let table = json(&journey.path("table/table.json"));
    for (index, cell) in ["light", "heavy"].iter().enumerate() {
        let found = &table["groups"][index];
        assert_eq!(found["name"], **cell);
        let of_runs = [0, 1].map(|seed| {
            let metrics = json(&journey.path(&format!("table/{cell}/seed-{seed}/metrics.json")));
            let mut evaluations = metrics["evaluations"].as_array().unwrap().iter();
            let best = evaluations.find(|evaluation| evaluation["step"] == metrics["best"]["step"]);
            best.unwrap()["metrics"]["box/ap"].clone()
        });
        assert_eq!(found["metrics"]["box/ap"]["values"], Value::from(of_runs.to_vec()));
        assert!(found["cost"]["parameters"].as_u64() > Some(100_000), "{found}");
    }
    for file in ["table.md", "table.png"] {
        assert!(fs::metadata(journey.path("table").join(file)).unwrap().len() > 200, "{file}");
    }

    // What is finished is not done again, and a table can be had of the sweep's file.
    let before = journey.last_values("table/light/seed-0");
    let (_, out, _) = sweep(&journey, &[]);
    assert_eq!(out.matches("finished already").count(), 4, "{out}");
    assert!(journey.last_values("table/light/seed-0") == before);
    let (exit, of_file, err) = compare(&[journey.text("sweep.toml")]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains(&of_file), "{of_file}\nis not in\n{out}");

    // So it can of its runs; those of a cell are called after it, since all cells have a `seed-0`.
    let runs = ["light/seed-0", "light/seed-1", "heavy/seed-0", "heavy/seed-1"];
    let (exit, of_runs, err) = compare(&runs.map(|run| journey.text(&format!("table/{run}"))));
    assert_eq!(exit, Exit::Done, "{err}");
    assert_eq!(of_runs, of_file);
}

#[test]
fn a_cell_that_was_trained_by_another_recipe_is_named() {
    let journey = Journey::new();
    write_sweep(&journey);
    let (exit, _, err) = sweep(&journey, &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::Done, "{err}");
    let (exit, _, err) = sweep(&journey, &["--set=seed=3"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("--set seed=3: the sweep gives each run its seed"), "{err}");
    let (exit, _, err) = sweep(&journey, &["--set=train.epochs=1", "--set=optimizer.adamw.lr=1e-5"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("light/seed-0/recipe.toml is not the recipe of this cell any more"), "{err}");
    assert!(err.contains("`optimizer.adamw.lr` was 0.001 and is now 0.00001"), "{err}");
    let steps = records(&journey.path("table/light/seed-0")).len();
    assert_eq!(steps, 4, "nothing was trained");
}

#[test]
fn a_mistake_in_the_last_cell_is_known_before_the_first_is_trained() {
    let journey = Journey::new();
    write_sweep(&journey);
    let heavy = journey.path("heavy.toml");
    let text = fs::read_to_string(&heavy).unwrap() + "momentum = 0.9\n";
    fs::write(&heavy, text).unwrap();
    let (exit, _, err) = sweep(&journey, &[]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("heavy.toml") && err.contains("momentum"), "{err}");
    assert!(!journey.path("table").exists());
}

#[test]
fn a_run_that_fails_does_not_keep_others_from_being_trained() {
    let journey = Journey::new();
    write_sweep(&journey);
    let heavy = journey.path("heavy.toml");
    let text = fs::read_to_string(&heavy).unwrap();
    fs::write(&heavy, text + "[model]\ninit = { backbone = 'nothing-here.safetensors' }\n").unwrap();
    let (exit, out, err) = sweep(&journey, &["--set=train.epochs=1"]);
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("nothing-here.safetensors"), "{err}");
    assert!(err.contains("not trained: heavy, seed 0; heavy, seed 1"), "{err}");
    assert!(out.contains("light") && journey.path("table/table.md").is_file(), "{out}");
}

#[test]
fn runs_are_compared_one_by_one_by_name_and_by_folder() {
    let journey = Journey::new();
    for (run, sets) in [
        ("all/a", ["--set=seed=0", "--set=train.epochs=2"]),
        ("all/b", ["--set=seed=1", "--set=train.epochs=2"]),
        ("other", ["--set=seed=0", "--set=train.epochs=1"]),
    ] {
        journey.train(run, &sets);
    }
    let [a, b, other, all] = ["all/a", "all/b", "other", "all"].map(|name| journey.text(name));

    // Two seeds of one recipe are a row.
    let (exit, out, err) = compare(&[a.clone(), b.clone(), format!("short={other}")]);
    assert_eq!(exit, Exit::Done, "{err}");
    let rows: Vec<&str> = out.lines().take(3).collect();
    assert!(rows[1].starts_with("a ") && rows[1].contains('±'), "{out}");
    assert!(rows[2].starts_with("short ") && !rows[2].contains('±'), "{out}");
    let (_, of_folder, _) = compare(&[format!("a={all}"), format!("short={other}")]);
    assert_eq!(of_folder, out);

    // What was found is kept; without it, the same comes out.
    fs::remove_file(journey.path("all/a/judged.json")).unwrap();
    fs::write(journey.path("other/judged.json"), "damaged").unwrap();
    let (_, again, _) = compare(&[a.clone(), b, format!("short={other}")]);
    assert_eq!(again, out);

    // Figures that are asked for, no intervals, and what is refused.
    let (_, asked, _) =
        compare(&[a.clone(), other.clone(), "--metric=mask/ar1".into(), "--resamples=0".into()]);
    assert!(
        asked.contains("mask/ar1") && !asked.contains("box/ap") && !asked.contains("resamplings"),
        "{asked}"
    );
    fs::rename(journey.path("other"), journey.path("all/c")).unwrap();
    for (words, expected) in [
        (vec![a.clone(), "--metric=mAP".into()], "--metric mAP: no run has this figure; possible: box/ap, "),
        (vec![journey.text("shapes")], "shapes: holds no run, nor do the folders in it"),
        (vec![journey.text("nowhere")], "nowhere"),
        (vec![all], "are no runs of one recipe under several seeds: `train.epochs` is 2 and 1"),
        (vec![a.clone(), a.clone()], "all/a are runs of one recipe under one seed"),
        (vec![a.clone(), "--set=evaluate.short_side=32".into()], "the figures are those of the runs"),
        (vec![a.clone(), "--png=nowhere/table.png".into()], "nowhere/table.png: its folder does not exist"),
        (vec![a.clone(), "--resamples=4000000000".into()], "expected 0, or a number from 100 to 100000"),
    ] {
        let (exit, _, err) = compare(&words);
        assert_eq!(exit, Exit::BadInput, "{words:?}");
        assert!(err.contains(expected), "{err}");
    }
}

#[test]
fn a_run_that_is_not_finished_and_one_that_was_moved_are_told_and_gone_on_with() {
    let journey = Journey::new();
    journey.train("whole", &[]);
    let part = ["--max-time=1s", "--set=train.epochs=200", "--set=evaluate.every_epochs=1", "--resume"];
    let mut calls = 0;
    while !journey.path("part/metrics.json").exists() {
        calls += 1;
        assert!(calls < 100, "every call gets further");
        let (exit, out, err) = cvx_det(&journey.arguments("train", "part", &part));
        assert_eq!(exit, Exit::Done, "{err}");
        assert!(out.contains("go on by:  cvx-det train "), "{out}");
    }
    let (exit, _, err) = compare(&[journey.text("part")]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(err.contains("part is not finished: its figures are those after epoch"), "{err}");
    fs::rename(journey.path("whole"), journey.path("moved")).unwrap();
    journey.train("moved", &["--resume", "--set=train.epochs=3"]);
    assert!(fs::read_to_string(journey.path("moved/recipe.toml")).unwrap().contains("moved"));
}

#[test]
fn weights_that_are_not_what_was_written_are_used_by_nothing() {
    let journey = Journey::new();
    journey.train("run", &["--set=train.epochs=1"]);
    let best = journey.path("run/checkpoints/best.safetensors");
    let mut bytes = fs::read(&best).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    fs::write(&best, bytes).unwrap();
    let init = format!("--set=model.init={{ detector = '{}' }}", best.display());
    for (command, run, more) in [("eval", "run", vec![]), ("train", "other", vec![init.as_str()])] {
        let (exit, _, err) = cvx_det(&journey.arguments(command, run, &more));
        assert_eq!(exit, Exit::BadInput, "{command}");
        assert!(err.contains("best.safetensors does not hold what was written"), "{err}");
    }
    let predict = ["cvx-det", "predict", "--weights"].map(str::to_owned).into_iter();
    let (exit, _, err) =
        cvx_det(&predict.chain([best.display().to_string(), journey.text("shapes/val")]).collect::<Vec<_>>());
    assert_eq!(exit, Exit::BadInput);
    assert!(err.contains("does not hold what was written"), "{err}");
}

#[test]
fn runs_that_were_judged_by_different_images_have_no_intervals() {
    let journey = Journey::new();
    let short = "--set=train.epochs=1";
    journey.train("one", &[short]);
    let more = format!("--set=data.shapes.folder={}", journey.text("more-shapes"));
    journey.train("two", &[short, &more, "--set=data.shapes.val_images=6"]);
    let (exit, out, err) = compare(&[journey.text("one"), journey.text("two")]);
    assert_eq!(exit, Exit::Done, "{err}");
    assert!(out.contains("change from one\n"), "{out}");
    assert!(err.contains("there are no intervals") && err.contains("`data.shapes.folder` is"), "{err}");
}
