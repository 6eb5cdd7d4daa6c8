//! `cvx-det train`: from a recipe to a run folder with a trained detector in it.

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
use crate::recipe::{self, Kind as _, Optimizer, Recipe};
use crate::run_report::spread;
use crate::train::adamw::AdamW;
use crate::train::course::{Evaluated, Task};
use crate::train::groups::ParamGroups;
use crate::train::params;
use crate::train::progress::Progress;
use crate::train::run_folder::{RunFolder, Start, Told};
use crate::train::trainer::{Every, Trainer, TrainerConfig, TrainerParts};
use crate::verdict;
use crate::waiting::Waiting;
use crate::wording::{abridged, counted};

/// Entries of a recipe that change no result beyond rounding: a resumed run may have others.
const WITHOUT_EFFECT: [&str; 5] =
    ["train.workers", "train.checkpoint_every_steps", "evaluate.batch_size", "evaluate.histograms", "expect"];

/// Validation images that are shown with what is found in them, at each evaluation.
const PICTURES: usize = 4;

/// Trains, evaluates on the way, keeps the best, and compares it with the recipe's expectation.
pub fn train(args: &TrainArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    // What is asked for.
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = args.device.open()?;

    // Whether the run may begin is known before the data are read, which may take minutes.
    let resolved = recipe.to_toml()?;
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let told = Told { recipe: &resolved, without_effect: &WITHOUT_EFFECT, start };
    RunFolder::expect(&recipe.run.folder, &told)?;

    // Data.
    let [train_set, val_set] = data::open(&recipe)?;
    let loader = data::train_loader(&recipe, &train_set);

    // Model and optimizer.
    let autodiff = device.clone().autodiff();
    let (detector, remarks) = initial(&recipe, &train_set.class_names(), &autodiff)?;
    let Optimizer::Adamw(adamw) = &recipe.optimizer;
    let groups = ParamGroups::new(&params::list(&detector), adamw.layer_decay(), adamw.weight_decay())?;

    // The run.
    let run = RunFolder::open(&recipe.run.folder, &told)?;
    Environment::here(args.device).record(run.path())?;
    let steps_per_epoch = loader.batches_per_epoch().div_ceil(recipe.train.accumulation_steps);
    let total_steps = steps_per_epoch * recipe.train.epochs;
    summarise(&recipe, [&train_set, &val_set], &detector, args, total_steps, streams)?;
    remarks.iter().try_for_each(|remark| writeln!(streams.out, "weights     {remark}"))?;
    let mut trainer = Trainer::new(
        detector,
        TrainerParts {
            optimizer: AdamW::new(adamw.config(), groups),
            schedule: recipe.schedule.config(adamw.lr, steps_per_epoch, total_steps),
            run,
            description: model::describe(&recipe, &train_set.class_names())?,
            config: TrainerConfig {
                seed: recipe.seed,
                epochs: recipe.train.epochs,
                accumulation: recipe.train.accumulation_steps,
                clip_norm: recipe.train.max_grad_norm,
                evaluate: Every::Epochs(recipe.evaluate.every_epochs),
                checkpoint: Every::Steps(recipe.train.checkpoint_every_steps),
                best_metric: recipe.evaluate.best_by.clone(),
            },
            progress: Progress::on_stderr(total_steps),
        },
    )?;
    trainer.spread_wanted(recipe.evaluate.histograms);

    let task = Task {
        collate: &|samples| collate(samples, &recipe.input, &autodiff),
        losses: &|detector: &Detector, batch: Batch, sampling_seed| {
            detector.losses(batch.images, &batch.targets, &batch.sizes, sampling_seed)
        },
        evaluate: &|trainer| evaluate(&recipe, trainer, &val_set, &device),
    };
    task.run(&mut trainer, &loader, streams.out)?;

    // What came out of it.
    let metrics_file = trainer.run().metrics();
    let best_checkpoint = trainer.run().best_checkpoint();
    trainer.finish()?;
    verdict::of_run(
        &recipe.evaluate.best_by,
        &recipe.expect,
        &metrics_file,
        &best_checkpoint,
        "cvx-det",
        streams,
    )
}

/// Evaluates the model as it is, on the device without autodiff.
fn evaluate(
    recipe: &Recipe,
    trainer: &mut Trainer<Detector>,
    val_set: &Arc<CocoDataset>,
    device: &Device,
) -> Result<Evaluated> {
    let preprocessing = Preprocessing::of(recipe);
    let detector = trainer.model().valid();
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
    streams: &mut Streams<'_>,
) -> Result<()> {
    let out = &mut *streams.out;
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
