//! Train, evaluate, stop and resume.

use std::fs;

use cvx_tools::exit::Exit;
use cvx_tools::safetensors_file::SafetensorsFile;
use cvx_tools::train::step_log::{self, StepRecord};
use serde_json::Value;

use crate::Project;

/// What every step of a run logged, without what a clock decides.
fn losses(project: &Project, run: &str) -> Vec<String> {
    let records = step_log::read(&project.path(run).join("log.jsonl")).unwrap();
    let told = |record: StepRecord| {
        let StepRecord { step, epoch, loss, losses, lr, grad_norm, .. } = record;
        format!("{step} {epoch} {loss} {losses:?} {lr} {grad_norm}")
    };
    records.into_iter().map(told).collect()
}

#[test]
fn a_run_leaves_what_it_promises_and_is_evaluated_alike() {
    let project = Project::new();
    let trained = project.on_shapes("train", "run", &[]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    assert!(trained.out.contains("| background |") && trained.out.contains("mIoU"), "{}", trained.out);
    for file in ["recipe.toml", "log.jsonl", "metrics.json", "curves.png", "checkpoints/last.safetensors"] {
        assert!(project.path("run").join(file).is_file(), "{file}");
    }
    let first = &losses(&project, "run")[0];
    for name in ["ce", "dice", "lovasz", "aux_ce", "aux_dice", "aux_lovasz"] {
        assert!(first.contains(&format!("\"{name}\"")), "{first}");
    }

    let json = format!("--json={}", project.text("eval.json"));
    let evaluated = project.on_shapes("eval", "run", &[&json]);
    assert_eq!(evaluated.exit, Exit::Done, "{}", evaluated.err);
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(project.path(name)).unwrap()).unwrap() };
    let (evaluated, metrics) = (read("eval.json"), read("run/metrics.json"));
    assert_eq!(evaluated["miou"], metrics["best"]["value"]);
    assert!(evaluated["classes"]["disc"]["pixels"].as_u64().unwrap() > 0);
}

#[test]
fn a_run_that_stops_and_is_resumed_is_the_run_that_did_not() {
    let project = Project::new();
    let whole = project.on_shapes("train", "whole", &[]);
    assert_eq!(whole.exit, Exit::Done, "{}", whole.err);

    // A damaged image stops the second run on its way: one that is not among the first.
    let image = project.path("shapes/images/training/000005.png");
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() / 2]).unwrap();
    let stopped = project.on_shapes("train", "parts", &[]);
    assert_eq!(stopped.exit, Exit::BadInput);
    assert!(stopped.err.contains(image.file_name().unwrap().to_str().unwrap()), "{}", stopped.err);
    let steps = losses(&project, "parts").len();
    assert!((1..losses(&project, "whole").len()).contains(&steps), "it stopped after {steps} steps");
    fs::write(&image, &bytes).unwrap();
    let resumed = project.on_shapes("train", "parts", &["--resume"]);
    assert_eq!(resumed.exit, Exit::Done, "{}", resumed.err);
    assert_eq!(losses(&project, "whole"), losses(&project, "parts"));
}

#[test]
fn a_network_with_other_classes_starts_from_a_trained_one() {
    let project = Project::new();
    let trained = project.on_shapes("train", "run", &["--set=train.epochs=1"]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    let weights = project.text("run/checkpoints/last.safetensors");
    let init = format!("--set=model.init={{ segmentor = {{ file = \"{weights}\", strict = true }} }}");
    fs::create_dir(project.path("two")).unwrap();
    let tuned =
        project.on_folders("train", &[&init, &format!("--set=run.folder={}", project.text("two/run"))]);
    assert_eq!(tuned.exit, Exit::Done, "{}", tuned.err);
    assert!(tuned.out.contains("afresh, since the file has none, or other classes"), "{}", tuned.out);
}

#[test]
fn an_odd_number_of_images_is_trained_on() {
    let project = Project::new();
    let trained =
        project.on_shapes("train", "run", &["--set=data.shapes.train_images=5", "--set=train.epochs=1"]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    assert_eq!(losses(&project, "run").len(), 2);
}

#[test]
fn images_smaller_than_the_network_looks_at_are_padded() {
    let project = Project::new();
    let tiny = "--set=train.transforms=[{ resize = { short_side = 12, long_side = 16 } }]";
    let trained = project.on_folders("train", &[tiny]);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
}

#[test]
fn a_sound_data_set_is_told_to_be() {
    let project = Project::new();
    let checked = project.on_folders("check", &[]);
    assert_eq!(checked.exit, Exit::Done, "{}", checked.err);
    assert!(checked.out.contains("training would run"), "{}", checked.out);
    assert!(checked.out.contains("left") && checked.out.contains("50.000"), "{}", checked.out);
}

#[test]
fn a_frozen_head_keeps_its_running_statistics_and_an_average_takes_those_of_the_others() {
    let project = Project::new();
    let sets = [
        "--set=train.freeze=[\"heads.auxiliary_head\"]",
        "--set=train.ema={ decay = 0.99, warmup = true }",
        "--set=train.recompute_stages=[0, 2]",
    ];
    let trained = project.on_shapes("train", "run", &sets);
    assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    assert!(trained.out.contains("frozen      heads.auxiliary_head\n"), "{}", trained.out);
    let last = SafetensorsFile::open(&project.path("run/checkpoints/last.safetensors")).unwrap();
    let values = |entry: &str| -> Vec<f32> {
        let bytes = last.bytes(entry).unwrap();
        bytes.chunks(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
    };
    let means: Vec<String> =
        last.tensors().map(|(entry, _)| entry).filter(|entry| entry.ends_with("running_mean")).collect();
    let (mut frozen, mut moved) = (0, 0);
    for entry in means.iter().filter(|entry| entry.starts_with("model.")) {
        let stays = values(entry).iter().all(|&value| value == 0.0);
        assert_eq!(stays, entry.contains("auxiliary_head"), "{entry}");
        (frozen, moved) = if stays { (frozen + 1, moved) } else { (frozen, moved + 1) };
        let average = entry.replacen("model.", "ema.", 1);
        assert_eq!(values(&average), values(entry), "{entry}");
        let weight = entry.replace("running_mean", "weight");
        let average = average.replace("running_mean", "weight");
        assert_eq!(values(&average) == values(&weight), stays, "{weight}");
    }
    assert!(frozen > 0 && moved > 0, "{means:?}");
}

#[test]
fn runs_of_two_seeds_are_compared_with_another() {
    let project = Project::new();
    for (run, sets) in [
        ("seeds/0", ["--set=seed=0", "--set=train.epochs=1"]),
        ("seeds/1", ["--set=seed=1", "--set=train.epochs=1"]),
        ("longer", ["--set=seed=0", "--set=train.epochs=2"]),
    ] {
        let trained = project.on_shapes("train", run, &sets);
        assert_eq!(trained.exit, Exit::Done, "{}", trained.err);
    }
    let json = project.path("table.json");
    let words = [
        "compare".to_owned(),
        project.text("seeds"),
        project.text("longer"),
        format!("--json={}", json.display()),
    ];
    let compared = project.run(words);
    assert_eq!(compared.exit, Exit::Done, "{}", compared.err);
    assert!(compared.out.contains("change from seeds, and where it lies"), "{}", compared.out);

    let table: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let of_run = |run: &str, name: &str| {
        let text = fs::read(project.path(run).join("metrics.json")).unwrap();
        let metrics: Value = serde_json::from_slice(&text).unwrap();
        metrics["evaluations"].as_array().unwrap().last().unwrap()["metrics"][name].as_f64().unwrap()
    };
    for name in ["miou", "macc", "aacc"] {
        let [seeds, longer] = [0, 1].map(|group| table["groups"][group]["metrics"][name].clone());
        let mean = (of_run("seeds/0", name) + of_run("seeds/1", name)) / 2.0;
        assert!(
            (seeds["mean"].as_f64().unwrap() - mean).abs() < cvx_tests::tolerance::STATISTIC,
            "{name}: {seeds}"
        );
        let change = longer["change"].as_f64().unwrap();
        assert!(
            (change - (of_run("longer", name) - mean)).abs() < cvx_tests::tolerance::STATISTIC,
            "{name}: {longer}"
        );
        let [low, high] = [0, 1].map(|end| longer["interval"][end].as_f64().unwrap());
        assert!(low <= high && low - 0.2 < change && change < high + 0.2, "{name}: {longer}");
    }

    // Rules that differ are no basis for intervals.
    let other = project.path("longer/recipe.toml");
    let text = fs::read_to_string(&other).unwrap();
    fs::write(&other, text.replace("convention = \"mmseg\"", "convention = \"ade\"")).unwrap();
    let words = ["compare".to_owned(), project.text("seeds"), project.text("longer")];
    let compared = project.run(words);
    assert_eq!(compared.exit, Exit::Done, "{}", compared.err);
    assert!(compared.err.contains("`evaluate.convention` is \"mmseg\" and \"ade\""), "{}", compared.err);
}
