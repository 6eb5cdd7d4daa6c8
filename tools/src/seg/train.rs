//! `cvx-seg train`: from a recipe to a run folder with a trained segmentor in it.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{Dataset, SegmentationFolder};
use cvx_heads::{SegmentationTerms, UperNetLosses};

use super::data::{self, Batch, Source};
use super::description::describe;
use super::eval::Evaluation;
use super::initial::initial;
use super::judge;
use super::model::{Preprocessing, Segmentor};
use super::pictures::{Pictures, colors_of};
use super::recipe::Recipe;
use crate::args::TrainArgs;
use crate::counting::Counting;
use crate::environment::Environment;
use crate::exit::{Exit, Streams};
use crate::precision::Precision;
use crate::recipe::{self, Kind as _};
use crate::run_report::spread;
use crate::train::course::{self, Evaluated, Task};
use crate::train::interrupt::Interrupt;
use crate::train::params;
use crate::train::pending::Losses;
use crate::train::run_folder::{RunFolder, Start};
use crate::train::told::Told;
use crate::train::trainer::Trainer;
use crate::wording::{abridged, counted};

/// Validation images that are shown with what they are taken for, at each evaluation.
const PICTURES: usize = 4;

/// Trains, evaluates on the way, keeps the best, and compares it with the recipe's expectation.
pub fn train(args: &TrainArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let mut interrupt = Interrupt::after(args.max_time);

    // What is asked for.
    let written = recipe::resolve::<Recipe>(&args.recipe.recipe, &args.recipe.set)?;
    let recipe = &written.recipe;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, streams.err)?;

    // Whether the run may begin is known before the data are read.
    let resolved = recipe.to_toml()?;
    let start = if args.resume { Start::Resume } else { Start::Fresh };
    let told = Told { recipe: &resolved, without_effect: &[], start };
    RunFolder::expect(&recipe.run.folder, &told)?;

    // Data.
    let source = Source::of(&recipe.data)?;
    source.compare_classes(recipe)?;
    let (train_set, val_set) = (source.open_train()?, source.open_val()?);
    let loader = data::train_loader(recipe, &train_set)?;

    // The model.
    let autodiff = device.clone().autodiff();
    let (mut segmentor, remarks) = initial(recipe, &source.classes.names, &autodiff)?;
    let plan = recipe.plan();
    segmentor.backbone = segmentor.backbone.recomputing(plan.recompute_stages);
    // What does not fit is known before the folder is there.
    plan.groups(&params::trained(&segmentor)).map_err(|error| written.cannot_work(&error))?;

    // The run.
    let run = RunFolder::open(&recipe.run.folder, &told)?;
    Environment::here(args.device).record(run.path())?;
    let batches = loader.batches_per_epoch();
    let total_steps = plan.total_steps(batches);
    let mut header = course::header(streams.out);
    summarise(recipe, [&train_set, &val_set], &segmentor, args, total_steps, &mut header)?;
    remarks.iter().try_for_each(|remark| writeln!(header, "weights     {remark}"))?;
    run.changes().tell(&mut header)?;
    plan.tell(&mut header)?;
    drop(header);
    if let Some(doubt) = plan.doubt_warmup(batches) {
        writeln!(streams.err, "WARNING: {doubt}")?;
    }
    let mut trainer = plan.trainer(segmentor, run, describe(recipe, &source.classes.names)?, batches)?;
    trainer.spread_wanted(recipe.evaluate.histograms);
    let colors = colors_of(recipe, &source.classes)?;
    let task = Task {
        collate: &|samples| {
            let size = data::padded_size(samples, &recipe.train.transforms, &recipe.input);
            data::collate(samples, size, &recipe.input, &autodiff)
        },
        losses: &|segmentor: &Segmentor, batch: Batch, _| {
            by_name(segmentor.losses(batch.images, batch.labels))
        },
        precision,
        evaluate: &|trainer| evaluate(recipe, trainer, &val_set, &colors, &device),
    };
    let ended = task.run(&mut trainer, &loader, &mut interrupt, streams.out)?;

    let program = "cvx-seg";
    let command = args.resume_command(program);
    course::conclude(trainer, (ended, &interrupt), program, &command, plan.best_by, &recipe.expect, streams)
}

/// The losses of both heads, in the order in which they are shown.
fn by_name(losses: UperNetLosses) -> Losses {
    let UperNetLosses { decode, auxiliary } = losses;
    let SegmentationTerms { cross_entropy, dice, lovasz, accuracy: _ } = decode;
    let mut named = vec![("ce", Some(cross_entropy)), ("dice", dice), ("lovasz", lovasz)];
    if let Some(SegmentationTerms { cross_entropy, dice, lovasz, accuracy: _ }) = auxiliary {
        named.extend([("aux_ce", Some(cross_entropy)), ("aux_dice", dice), ("aux_lovasz", lovasz)]);
    }
    named.into_iter().filter_map(|(name, loss)| Some((name, loss?))).collect()
}

/// Evaluates the model as it is, on the device without autodiff.
fn evaluate(
    recipe: &Recipe,
    trainer: &mut Trainer<Segmentor>,
    val_set: &std::sync::Arc<SegmentationFolder>,
    colors: &[[u8; 3]],
    device: &Device,
) -> Result<Evaluated> {
    let segmentor = trainer.judged();
    let preprocessing = Preprocessing::of(recipe);
    let look = recipe.evaluate.look();
    let evaluation = Evaluation { segmentor: &segmentor, preprocessing: &preprocessing, look: &look, device };
    let mut counting = Counting::quiet("evaluated", val_set.len());
    let began = Instant::now();
    let matrix = evaluation.run(val_set, recipe.train.workers, &mut || {
        counting.advance(1);
        if let Some(line) = counting.due_line() {
            trainer.progress().say(&line);
        }
    })?;
    let metrics = matrix.metrics(recipe.evaluate.convention.convention());
    let names = val_set.class_names();
    let drawn = Pictures { segmentor: &segmentor, preprocessing: &preprocessing, recipe, colors, device };
    let shown = spread(val_set.len(), PICTURES);
    let pictures = shown.into_iter().map(|index| drawn.pair(val_set, index)).collect::<Result<_>>()?;
    let (epoch, seconds) = (trainer.position().epoch, began.elapsed().as_secs_f64());
    let line = format!("evaluated {} images after epoch {epoch} in {seconds:.1} s", val_set.len());
    trainer.progress().say(&line);
    Ok(Evaluated { metrics: judge::named(&metrics, &names), tables: metrics.table(&names), pictures })
}

/// Says what is about to happen.
fn summarise(
    recipe: &Recipe,
    [train_set, val_set]: [&SegmentationFolder; 2],
    segmentor: &Segmentor,
    args: &TrainArgs,
    total_steps: usize,
    out: &mut dyn Write,
) -> Result<()> {
    let names = train_set.class_names();
    writeln!(out, "recipe      {}", args.recipe.recipe.display())?;
    writeln!(out, "train       {}", counted(train_set.len(), "image", "images"))?;
    writeln!(out, "validation  {}", counted(val_set.len(), "image", "images"))?;
    writeln!(out, "classes     {}: {}", names.len(), abridged(&names))?;
    writeln!(out, "parameters  {:.2} million", params::count_trained(segmentor) as f64 / 1e6)?;
    writeln!(out, "device      {}", args.device.resolve())?;
    writeln!(out, "steps       {total_steps} in {} epochs", recipe.train.epochs)?;
    writeln!(out, "run folder  {}", recipe.run.folder.display())?;
    Ok(())
}
