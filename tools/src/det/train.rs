//! `cvx-det train`: from a recipe to a run folder with a trained detector in it.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use burn::module::Module;
use burn::prelude::*;
use cvx_data::{CocoDataset, Dataset, Loader};

use super::inference::Inference;
use super::initial::initial;
use super::judge::Judge;
use super::model::{self, Architecture, Detector, Preprocessing};
use super::pictures::pair;
use super::{Streams, data};
use crate::args::TrainArgs;
use crate::collate::{Batch, collate, results};
use crate::counting::Counting;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::precision::Precision;
use crate::recipe::{self, Kind as _, Recipe};
use crate::run_report::spread;
use crate::train::course::{self, Evaluated, Task};
use crate::train::interrupt::Interrupt;
use crate::train::params;
use crate::train::run_folder::{RunFolder, Start};
use crate::train::told::Told;
use crate::train::trainer::Trainer;
use crate::waiting::Waiting;
use crate::wording::{abridged, counted};

/// Entries of these recipes, besides those of all, that change no result beyond rounding: a resumed run may have others.
const WITHOUT_EFFECT: [&str; 1] = ["evaluate.batch_size"];

/// Validation images that are shown with what is found in them, at each evaluation.
const PICTURES: usize = 4;

/// Trains, evaluates on the way, keeps the best, and compares it with the recipe's expectation.
pub fn train(args: &TrainArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let mut interrupt = Interrupt::after(args.max_time);

    // What is asked for.
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, streams.err)?;

    // Whether the run may begin is known before the data are read, which may take minutes.
    let resolved = recipe.to_toml()?;
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let told = Told { recipe: &resolved, without_effect: &WITHOUT_EFFECT, start };
    RunFolder::expect(&recipe.run.folder, &told)?;

    // Data.
    let [train_set, val_set] = data::open(recipe)?;
    let loader = data::train_loader(recipe, &train_set);

    // The model.
    let autodiff = device.clone().autodiff();
    let (mut detector, remarks) = initial(recipe, &train_set.class_names(), &autodiff)?;
    let plan = recipe.plan();
    detector.backbone = detector.backbone.recomputing(plan.recompute_stages);
    // What does not fit is known before the folder is there.
    plan.groups(&params::trained(&detector)).map_err(|error| written.cannot_work(&error))?;

    // The run.
    let run = RunFolder::open(&recipe.run.folder, &told)?;
    Environment::here(args.device).record(run.path())?;
    let batches = loader.batches_per_epoch();
    let total_steps = plan.total_steps(batches);
    let mut header = course::header(streams.out);
    summarise(recipe, [&train_set, &val_set], &detector, args, total_steps, &mut header)?;
    remarks.iter().try_for_each(|remark| writeln!(header, "weights     {remark}"))?;
    run.changes().tell(&mut header)?;
    plan.tell(&mut header)?;
    drop(header);
    if let Some(doubt) = plan.doubt_warmup(batches) {
        writeln!(streams.err, "WARNING: {doubt}")?;
    }
    let mut trainer =
        plan.trainer(detector, run, model::describe(recipe, &train_set.class_names())?, batches)?;
    trainer.spread_wanted(recipe.evaluate.histograms);

    let task = Task {
        collate: &|samples| collate(samples, &recipe.input, &autodiff),
        losses: &|detector: &Detector, batch: Batch, sampling_seed| {
            detector.losses(batch.images, &batch.targets, &batch.sizes, sampling_seed)
        },
        precision,
        evaluate: &|trainer| evaluate(recipe, trainer, &val_set, &device),
    };
    let ended = task.run(&mut trainer, &loader, &mut interrupt, streams.out)?;

    let program = "cvx-det";
    let command = args.resume_command(program);
    course::conclude(trainer, (ended, &interrupt), program, &command, plan.best_by, &recipe.expect, streams)
}

/// Evaluates the model as it is, on the device without autodiff.
fn evaluate(
    recipe: &Recipe,
    trainer: &mut Trainer<Detector>,
    val_set: &Arc<CocoDataset>,
    device: &Device,
) -> Result<Evaluated> {
    let preprocessing = Preprocessing::of(recipe);
    let detector = trainer.judged();
    let inference = Inference {
        detector: &detector,
        preprocessing: &preprocessing,
        mask_threshold: Architecture::of(recipe).mask_threshold(),
        device,
    };
    let loader: Loader =
        data::val_loader(val_set, &preprocessing, recipe.evaluate.batch_size, recipe.train.workers);
    let category_ids = data::category_ids(val_set);
    let mut judge = Judge::new(val_set.coco());
    let mut counting = Counting::quiet("evaluated", val_set.len());
    let began = Instant::now();
    inference.run(&loader, &mut |sample, located| {
        judge.add(results(&located, sample.image_id, &category_ids))?;
        counting.advance(1);
        if let Some(line) = counting.due_line() {
            trainer.progress().say(&line);
        }
        Ok(())
    })?;
    let waiting = Waiting::on_stderr("comparing detections with the truth".to_owned());
    let judgement = judge.finish()?;
    drop(waiting);
    let shown = spread(val_set.len(), PICTURES);
    let pictures = shown.into_iter().map(|index| pair(&inference, val_set, index)).collect::<Result<_>>()?;
    let (epoch, seconds) = (trainer.position().epoch, began.elapsed().as_secs_f64());
    let line = format!("evaluated {} images after epoch {epoch} in {seconds:.1} s", val_set.len());
    trainer.progress().say(&line);
    Ok(Evaluated { metrics: judgement.metrics, tables: judgement.tables, pictures })
}

/// Says what is about to happen.
fn summarise(
    recipe: &Recipe,
    [train_set, val_set]: [&CocoDataset; 2],
    detector: &Detector,
    args: &TrainArgs,
    total_steps: usize,
    out: &mut dyn Write,
) -> Result<()> {
    let instances = train_set.coco().annotations.len();
    let names = train_set.class_names();
    writeln!(out, "recipe      {}", args.recipe.recipe.display())?;
    let images = |set: &CocoDataset| counted(set.len(), "image", "images");
    writeln!(out, "train       {}, {}", images(train_set), counted(instances, "instance", "instances"))?;
    writeln!(out, "validation  {}", images(val_set))?;
    writeln!(out, "classes     {}: {}", names.len(), abridged(&names))?;
    writeln!(out, "parameters  {:.2} million", detector.num_params() as f64 / 1e6)?;
    writeln!(out, "device      {}", args.device.resolve())?;
    writeln!(out, "steps       {total_steps} in {} epochs", recipe.train.epochs)?;
    writeln!(out, "run folder  {}", recipe.run.folder.display())?;
    Ok(())
}
