//! `cvx-cls train`: from a recipe to a run folder with a trained classifier in it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use burn::module::Module as _;
use burn::prelude::*;
use cvx_backbone::Classifier;
use cvx_data::{Dataset as _, ImageFolder};

use super::data;
use super::judge::{Judge, TOP1};
use super::mix::{Mixed, cross_entropy, mix};
use super::model;
use super::recipe::Recipe;
use crate::args::TrainArgs;
use crate::classify::images;
use crate::counting::Counting;
use crate::environment::Environment;
use crate::exit::{Exit, Streams};
use crate::precision::Precision;
use crate::recipe::{self, Kind as _};
use crate::train::course::{self, Evaluated, Task};
use crate::train::interrupt::Interrupt;
use crate::train::params;
use crate::train::run_folder::{RunFolder, Start};
use crate::train::told::Told;
use crate::train::trainer::Trainer;
use crate::wording::{abridged, counted};

/// Entries of these recipes, besides those of all, that change no result beyond rounding: a resumed run may have others.
const WITHOUT_EFFECT: [&str; 2] = ["evaluate.batch_size", "data.most_unreadable"];

/// Trains, judges on the way, keeps the best, and compares it with the recipe's expectation.
///
/// # Errors
/// If the recipe, its images or its run folder cannot be used.
pub fn train(args: &TrainArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let mut interrupt = Interrupt::after(args.max_time);

    // What is asked for.
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, streams.err)?;

    // Whether the run may begin is known before the images are looked for.
    let resolved = recipe.to_toml()?;
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let told = Told { recipe: &resolved, without_effect: &WITHOUT_EFFECT, start };
    RunFolder::expect(&recipe.run.folder, &told)?;

    // Images.
    let (val_set, _) = data::open_val(recipe)?;
    let train_set = data::open_train(recipe, &val_set)?;
    let loader = data::train_loader(recipe, &train_set);

    // The model.
    let autodiff = device.clone().autodiff();
    let (mut classifier, remarks) = model::initial(recipe, &autodiff)?;
    let plan = recipe.plan();
    classifier.backbone = classifier.backbone.recomputing(plan.recompute_stages);
    // What does not fit is known before the folder is there.
    plan.groups(&params::trained(&classifier)).map_err(|error| written.cannot_work(&error))?;

    // The run.
    let run = RunFolder::open(&recipe.run.folder, &told)?;
    Environment::here(args.device).record(run.path())?;
    let batches = loader.batches_per_epoch();
    let total_steps = plan.total_steps(batches);
    let mut header = course::header(streams.out);
    writeln!(header, "recipe      {}", args.recipe.recipe.display())?;
    writeln!(header, "train       {}", counted(train_set.len(), "image", "images"))?;
    writeln!(header, "validation  {}", counted(val_set.len(), "image", "images"))?;
    writeln!(header, "classes     {}: {}", val_set.class_names().len(), abridged(val_set.class_names()))?;
    writeln!(header, "parameters  {:.2} million", classifier.num_params() as f64 / 1e6)?;
    writeln!(header, "device      {}", args.device.resolve())?;
    writeln!(header, "steps       {total_steps} in {} epochs", recipe.train.epochs)?;
    writeln!(header, "run folder  {}", recipe.run.folder.display())?;
    remarks.iter().try_for_each(|remark| writeln!(header, "weights     {remark}"))?;
    run.changes().tell(&mut header)?;
    plan.tell(&mut header)?;
    drop(header);
    if let Some(doubt) = plan.doubt_warmup(batches) {
        writeln!(streams.err, "WARNING: {doubt}")?;
    }
    let mut trainer =
        plan.trainer(classifier, run, model::describe(recipe, train_set.class_names())?, batches)?;
    trainer.spread_wanted(recipe.evaluate.histograms);
    let task = Task {
        collate: &|samples| {
            let classes: Vec<usize> = samples.iter().map(|sample| train_set.class(sample.index)).collect();
            (images(samples, recipe.input.mean, recipe.input.std, &autodiff), classes)
        },
        losses: &|classifier: &Classifier, (images, classes): (Tensor<4>, Vec<usize>), seed| {
            let (num_classes, smoothing) = (recipe.head.num_classes, recipe.train.label_smoothing);
            let mixed = mix(images, &classes, num_classes, smoothing, recipe.train.mix, seed);
            let Mixed { images, truth } = mixed;
            vec![("ce", cross_entropy(classifier.forward(images), truth))]
        },
        precision,
        evaluate: &|trainer| evaluate(recipe, trainer, &val_set, &device),
    };
    let ended = task.run(&mut trainer, &loader, &mut interrupt, streams.out);
    for message in train_set.unreadable().messages() {
        writeln!(streams.err, "left out, since it cannot be read: {message}")?;
    }
    let ended = ended?;
    let program = "cvx-cls";
    let command = args.resume_command(program);
    course::conclude(trainer, (ended, &interrupt), program, &command, plan.best_by, &recipe.expect, streams)
}

/// Judges the model as it is, on the device without autodiff.
fn evaluate(
    recipe: &Recipe,
    trainer: &mut Trainer<Classifier>,
    val_set: &Arc<ImageFolder>,
    device: &Device,
) -> Result<Evaluated> {
    let classifier = trainer.judged();
    let judge = Judge { classifier: &classifier, preprocessing: &recipe.input, device };
    let mut counting = Counting::quiet("evaluated", val_set.len());
    let began = Instant::now();
    let judgement = judge.run(val_set, recipe.evaluate.batch_size, recipe.train.workers, &mut |images| {
        counting.advance(images);
        if let Some(line) = counting.due_line() {
            trainer.progress().say(&line);
        }
    })?;
    let (epoch, seconds) = (trainer.position().epoch, began.elapsed().as_secs_f64());
    let line = format!("evaluated {} images after epoch {epoch} in {seconds:.1} s", val_set.len());
    trainer.progress().say(&line);
    let metrics = judgement.metrics();
    let value = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    let tables = format!("epoch {epoch}: top1 {:.4}, top5 {:.4}\n", value(TOP1), value("top5"));
    Ok(Evaluated { metrics, tables, pictures: Vec::new() })
}
