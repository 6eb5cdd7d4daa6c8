//! `cvx-pretrain train`: from a recipe to a run folder with a pretrained encoder in it.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use burn::module::Module as _;
use burn::prelude::*;
use cvx_backbone::Fcmae;
use cvx_data::Dataset as _;

use super::data::{self, Images};
use super::initial::initial;
use super::judge::{EXPLAINED, Judge};
use super::model::{self, Architecture};
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
use crate::wording::counted;

/// Entries of these recipes, besides those of all, that change no result beyond rounding: a resumed run may have others.
const WITHOUT_EFFECT: [&str; 2] = ["evaluate.batch_size", "data.most_unreadable"];

/// Unreadable images that are told by name.
const TOLD: usize = 10;

/// Pretrains, judges on the way, keeps the best, and compares it with the recipe's expectation.
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

    // Whether the run may begin is known before the images are looked for, which may take minutes.
    let resolved = recipe.to_toml()?;
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let told = Told { recipe: &resolved, without_effect: &WITHOUT_EFFECT, start };
    RunFolder::expect(&recipe.run.folder, &told)?;

    // Images.
    let [train_set, val_set] = data::open(&recipe.data)?;
    let loader = data::train_loader(recipe, &train_set);

    // The model.
    let autodiff = device.clone().autodiff();
    let (mut fcmae, remarks) = initial(recipe, &autodiff)?;
    let plan = recipe.plan();
    fcmae.backbone = fcmae.backbone.recomputing(plan.recompute_stages);
    // What does not fit is known before the folder is there.
    plan.groups(&params::trained(&fcmae)).map_err(|error| written.cannot_work(&error))?;

    // The run.
    let run = RunFolder::open(&recipe.run.folder, &told)?;
    Environment::here(args.device).record(run.path())?;
    let batches = loader.batches_per_epoch();
    let total_steps = plan.total_steps(batches);
    let steps_per_epoch = plan.steps_per_epoch(batches);
    let mut header = course::header(streams.out);
    summarise(recipe, [&train_set, &val_set], &fcmae, args, [total_steps, steps_per_epoch], &mut header)?;
    remarks.iter().try_for_each(|remark| writeln!(header, "weights     {remark}"))?;
    run.changes().tell(&mut header)?;
    plan.tell(&mut header)?;
    drop(header);
    if let Some(doubt) = plan.doubt_warmup(batches) {
        writeln!(streams.err, "WARNING: {doubt}")?;
    }
    let mut trainer = plan.trainer(fcmae, run, model::describe(recipe)?, batches)?;
    trainer.spread_wanted(recipe.evaluate.histograms);
    let architecture = Architecture::of(recipe);
    let task = Task {
        collate: &|samples| images(samples, recipe.input.mean, recipe.input.std, &autodiff),
        losses: &|fcmae: &Fcmae, images: Tensor<4>, seed| {
            let [batch, _, _, _] = images.dims();
            let seeds: Vec<u64> = (0..batch as u64).map(|image| seed.wrapping_add(image)).collect();
            let mask = Arc::new(architecture.mask(recipe.input.side, &seeds));
            vec![("pixels", fcmae.loss(images, &mask))]
        },
        precision,
        evaluate: &|trainer| evaluate(recipe, &architecture, trainer, &val_set, &device),
    };
    let ended = task.run(&mut trainer, &loader, &mut interrupt, streams.out);
    tell_unreadable([&train_set, &val_set], streams)?;
    let ended = ended?;
    let program = "cvx-pretrain";
    let command = args.resume_command(program);
    course::conclude(trainer, (ended, &interrupt), program, &command, plan.best_by, &recipe.expect, streams)
}

/// Judges the model as it is, on the device without autodiff.
fn evaluate(
    recipe: &Recipe,
    architecture: &Architecture,
    trainer: &mut Trainer<Fcmae>,
    val_set: &Arc<Images>,
    device: &Device,
) -> Result<Evaluated> {
    let fcmae = trainer.judged();
    let preprocessing = model::preprocessing(recipe);
    let judge = Judge { fcmae: &fcmae, architecture, preprocessing: &preprocessing, device };
    let mut counting = Counting::quiet("judged", val_set.len());
    let began = Instant::now();
    let metrics = judge.run(val_set, recipe.evaluate.batch_size, recipe.train.workers, &mut |images| {
        counting.advance(images);
        if let Some(line) = counting.due_line() {
            trainer.progress().say(&line);
        }
    })?;
    let (epoch, seconds) = (trainer.position().epoch, began.elapsed().as_secs_f64());
    let line = format!("judged {} images after epoch {epoch} in {seconds:.1} s", val_set.len());
    trainer.progress().say(&line);
    let value = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
    let tables = format!("epoch {epoch}: loss {:.4}, explained {:.4}\n", value("loss"), value(EXPLAINED));
    Ok(Evaluated { metrics, tables, pictures: Vec::new() })
}

/// Says which images were left out.
fn tell_unreadable(sets: [&Images; 2], streams: &mut Streams<'_>) -> Result<()> {
    let messages: Vec<String> = sets.iter().flat_map(|set| set.unreadable().messages()).collect();
    if messages.is_empty() {
        return Ok(());
    }
    let count = counted(messages.len(), "image", "images");
    writeln!(streams.err, "left out {count} that cannot be read:")?;
    messages.iter().take(TOLD).try_for_each(|message| writeln!(streams.err, "  {message}"))?;
    if messages.len() > TOLD {
        writeln!(streams.err, "  and {} more", messages.len() - TOLD)?;
    }
    Ok(())
}

/// Says what is about to happen.
fn summarise(
    recipe: &Recipe,
    [train_set, val_set]: [&Images; 2],
    fcmae: &Fcmae,
    args: &TrainArgs,
    [total_steps, steps_per_epoch]: [usize; 2],
    out: &mut dyn Write,
) -> Result<()> {
    let num_images = |set: &Images| counted(set.len(), "image", "images");
    let patches = (recipe.input.side as usize / cvx_backbone::PATCH).pow(2);
    let mask = Architecture::of(recipe).mask(recipe.input.side, &[0]);
    writeln!(out, "recipe      {}", args.recipe.recipe.display())?;
    writeln!(out, "train       {}", num_images(train_set))?;
    writeln!(out, "validation  {}", num_images(val_set))?;
    writeln!(out, "hidden      {} of {patches} patches", mask.hidden())?;
    writeln!(
        out,
        "parameters  {:.2} million, {:.2} of them the encoder's",
        fcmae.num_params() as f64 / 1e6,
        fcmae.backbone.num_params() as f64 / 1e6
    )?;
    writeln!(out, "device      {}", args.device.resolve())?;
    writeln!(out, "steps       {total_steps} in {} epochs, {steps_per_epoch} each", recipe.train.epochs)?;
    if train_set.len() < recipe.train.batch_size {
        writeln!(
            out,
            "note        there are fewer images than a batch of {} holds: a step is smaller",
            recipe.train.batch_size
        )?;
    }
    writeln!(out, "run folder  {}", recipe.run.folder.display())?;
    Ok(())
}
