//! Pretrain, look at what was learnt, and go on with the encoder elsewhere.

use std::fs;
use std::sync::PoisonError;

use cvx_tools::det;
use cvx_tools::exit::{Exit, Streams};
use cvx_tools::safetensors_file::SafetensorsFile;
use cvx_tools::train::step_log::{self, StepRecord};
use serde_json::Value;

use super::{Project, TURN};
use cvx_tests::project_root;

/// What every step of a run logged, without what a clock decides.
fn losses(project: &Project, run: &str) -> Vec<String> {
    let records = step_log::read(&project.path(run).join("log.jsonl")).unwrap();
    let told = |record: StepRecord| {
        let StepRecord { step, epoch, loss, lr, grad_norm, .. } = record;
        format!("{step} {epoch} {loss} {lr} {grad_norm}")
    };
    records.into_iter().map(told).collect()
}

#[test]
fn an_encoder_is_pretrained_looked_at_and_taken_to_a_detector() {
    let project = Project::new();
    let outcome = project.trained("run", &[]);
    assert!(outcome.out.contains("hidden      3 of 4 patches"), "{}", outcome.out);
    for file in ["recipe.toml", "log.jsonl", "metrics.json", "curves.png", "checkpoints/best.safetensors"] {
        assert!(project.path("run").join(file).is_file(), "{file}");
    }
    assert_eq!(losses(&project, "run").len(), 4);

    let weights = project.text("run/checkpoints/last.safetensors");
    let (images, out) = (project.text("images/a"), project.text("pictures"));
    let outcome = project.run(&["reconstruct", "--weights", &weights, &images, "--out", &out]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    let picture = image::open(project.path("pictures/0.png")).unwrap();
    assert!(picture.width() > 3 * 64 && picture.height() > 64);

    let (plot, json) = (project.text("plots/diversity.png"), project.text("diversity.json"));
    let named = format!("mine={weights}");
    let outcome = project.run(&[
        "diversity",
        "--weights",
        &named,
        "--weights",
        &weights,
        "--size",
        "64",
        &images,
        "--out",
        &plot,
        "--json",
        &json,
    ]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    assert!(outcome.out.contains("mine: mean distance 0.") && project.path("plots/diversity.png").is_file());
    let numbers: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let [mine, same] = [0, 1].map(|model| numbers["models"][model]["distances"].clone());
    assert_eq!(mine.as_array().map(Vec::len), Some(4), "a layer for each block");
    assert_eq!(mine, same);

    // The encoder alone, under the official names, and as it is.
    let official = project.text("official.safetensors");
    let outcome = project.run(&["convert", &weights, &official, "--to", "official", "--backbone-only"]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    for file in [&weights, &official] {
        let init = format!("--set=model.init={{ backbone = \"{file}\" }}");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let recipe = project_root().join("configs/smoke/instant.toml").display().to_string();
        let arguments = [
            "cvx-det".to_owned(),
            "train".to_owned(),
            recipe,
            init,
            format!("--set=run.folder={}", project.text(if *file == weights { "det-a" } else { "det-b" })),
            format!("--set=data.shapes.folder={}", project.text("shapes")),
            "--set=train.epochs=1".to_owned(),
            "--set=model.backbone={ custom = { version = \"v2\", depths = [1, 1, 1, 1], dims = [4, 6, 8, 10] } }"
                .to_owned(),
        ];
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let exit = det::run(arguments, Streams { out: &mut out, err: &mut err });
        assert_eq!(exit, Exit::Done, "{}", String::from_utf8_lossy(&err));
    }
    let [first, second] = ["det-a", "det-b"].map(|run| {
        let records = step_log::read(&project.path(run).join("log.jsonl")).unwrap();
        records.into_iter().map(|record| record.loss).collect::<Vec<_>>()
    });
    assert_eq!(first, second, "the same encoder by either file");
}

#[test]
fn a_resumed_run_goes_on_as_if_nothing_had_happened() {
    let project = Project::new();
    project.trained("whole", &[]);
    // Stopped after the first epoch: as a run of that length, whose schedule is the longer one's in no other entry.
    let constant = ["--set=schedule.decay=constant", "--set=schedule.warmup_steps=0"];
    project.trained("long", &constant);
    project.trained("short", &[&constant[..], &["--set=train.epochs=1"]].concat());
    let recipe = project.path("short/recipe.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    assert!(text.contains("epochs = 1\n"), "{text}");
    fs::write(
        &recipe,
        text.replacen("epochs = 1\n", "epochs = 2\n", 1).replace("every_epochs = 2", "every_epochs = 1"),
    )
    .unwrap();
    project.trained("short", &[&constant[..], &["--resume"]].concat());
    assert_eq!(losses(&project, "short"), losses(&project, "long"));
}

#[test]
fn workers_and_the_size_of_parts_that_are_judged_change_nothing() {
    let project = Project::new();
    project.trained("alone", &["--set=train.workers=0", "--set=evaluate.batch_size=1"]);
    project.trained("with-workers", &["--set=train.workers=3", "--set=evaluate.batch_size=2"]);
    assert_eq!(losses(&project, "alone"), losses(&project, "with-workers"));
    let [one, other] = ["alone", "with-workers"].map(|run| {
        let metrics: Value =
            serde_json::from_slice(&fs::read(project.path(run).join("metrics.json")).unwrap()).unwrap();
        metrics["evaluations"][1]["metrics"]["loss"].as_f64().unwrap()
    });
    assert!((one / other - 1.0).abs() <= cvx_tests::tolerance::LOSS, "{one} and {other}");
}

#[test]
fn v1_blocks_other_maskings_and_raw_pixels_learn_too() {
    let project = Project::new();
    let v1 = "--set=model={ backbone = { custom = { version = \"v1\", depths = [1, 1, 1, 1], dims = [4, 6, 8, 10] } }, \
              layer_scale_init = 1.0, drop_path_rate = 0.1, init = \"random\" }";
    project.trained("v1", &[v1, "--set=autoencoder.target=raw"]);
    let mut runs = Vec::new();
    for masking in ["sparse", "dense", "input-only"] {
        project.trained(masking, &[&format!("--set=autoencoder.masking={masking}")]);
        let first = step_log::read(&project.path(masking).join("log.jsonl")).unwrap().remove(0).loss;
        runs.push(first);
    }
    let [sparse, dense, input_only] = runs[..] else { panic!("three") };
    assert!((sparse / dense - 1.0).abs() <= cvx_tests::tolerance::LOSS as f32, "{sparse} and {dense}");
    assert_ne!(sparse, input_only);
}

#[test]
fn a_batch_in_parts_and_a_decoder_of_two_blocks_learn_too() {
    let project = Project::new();
    let parts =
        ["--set=train.batch_size=4", "--set=train.accumulation_steps=2", "--set=autoencoder.decoder_depth=2"];
    project.trained("parts", &parts);
    assert_eq!(losses(&project, "parts").len(), 4, "five images in parts of two, two parts a step");
}

#[test]
fn a_pretraining_averages_its_weights_and_tells_its_groups_and_schedules() {
    let project = Project::new();
    let sets = [
        "--set=train.ema={ decay = 0.9, warmup = true }",
        "--set=train.freeze=[\"decoder\"]",
        "--set=train.early_stop={ patience = 1, min_delta = 9.0 }",
        "--set=train.epochs=5",
    ];
    let outcome = project.trained("run", &sets);
    assert!(outcome.out.contains("ended after step 4: no better evaluation"), "{}", outcome.out);
    let last = project.path("run/checkpoints/last.safetensors");
    let last = SafetensorsFile::open(&last).unwrap();
    assert!(last.info("ema.mask_token").is_some() && last.info("adamw.m.decoder.0.dwconv.weight").is_none());

    let (recipe, picture) = (project.text("recipe.toml"), project.text("schedule.png"));
    let schedule = format!("--schedule={picture}");
    let outcome = project.run(&["info", &recipe, &schedule, "--images=300", sets[1]]);
    assert_eq!(outcome.exit, Exit::Done, "{}", outcome.err);
    for part in ["frozen", "decay", "learning rate over ", "drop path in every step"] {
        assert!(outcome.out.contains(part), "{part} in {}", outcome.out);
    }
    assert!(image::open(picture).unwrap().width() > 1000);
}

#[test]
fn a_run_becomes_a_page_of_curves_and_reconstructions() {
    let project = Project::new();
    let trained = project.trained("run", &[]);
    assert!(trained.out.contains("look at it  cvx-pretrain report [TMP]/run\n"), "{}", trained.out);
    let run = project.text("run");
    let reported = project.run(&["report", &run]);
    assert_eq!((reported.exit, reported.err.as_str()), (Exit::Done, ""));
    let page = fs::read_to_string(project.path("run/report.html")).unwrap();
    assert!(page.contains("<h2>losses</h2>") && page.contains("explained") && page.contains("<img"));
    assert!(page.contains("Best predictions") && page.contains(" explained"), "reconstructions");

    let info = project.run(&["info", &project.text("recipe.toml")]);
    assert!(info.exit == Exit::Done && info.out.contains("decoder"), "{}{}", info.out, info.err);
}
