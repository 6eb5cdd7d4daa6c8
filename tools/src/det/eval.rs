//! `cvx-det eval`: a checkpoint's numbers on the validation images of a recipe.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cvx_data::{CocoDataset, Dataset};

use super::args::EvalArgs;
use super::counting::Counting;
use super::inference::Inference;
use super::judge::Judge;
use super::model::{self, Architecture, Preprocessing};
use super::{Streams, data, verdict};
use crate::collate::results;
use crate::exit::Exit;
use crate::recipe::{self, Recipe};
use crate::report;
use crate::train::checkpoint::Checkpoint;

/// Evaluates, prints the tables, and compares with the recipe's expectation.
pub fn eval(args: &EvalArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = args.device.open()?;
    let mut checkpoint = open_checkpoint(args, &recipe)?;
    model::expect_recipe(&checkpoint, &recipe)?;
    let [_, split] = data::splits(&recipe.data)?;
    let val_set = data::open_val(&recipe, &split)?;
    compare_classes(&checkpoint, &val_set, &split.annotations)?;

    let architecture = Architecture::of(&recipe);
    let detector = checkpoint.load_model(architecture.init(&device))?;
    let preprocessing = Preprocessing::of(&recipe);
    let inference = Inference {
        detector: &detector,
        preprocessing: &preprocessing,
        mask_threshold: architecture.mask_threshold(),
        device: &device,
    };

    let loader = data::val_loader(&val_set, &preprocessing, recipe.evaluate.batch_size, recipe.train.workers);
    let category_ids = data::category_ids(&val_set);
    let mut judge = Judge::new(val_set.coco());
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    inference.run(&loader, &mut |sample, located| {
        judge.add(results(&located, sample.image_id, &category_ids))?;
        counting.advance(1);
        Ok(())
    })?;
    drop(counting);

    let judgement = judge.finish()?;
    streams.out.write_all(judgement.tables.as_bytes())?;
    streams.out.write_all(judgement.class_tables.as_bytes())?;
    if let Some(path) = &args.json {
        report::write_json(path, &judgement.metrics, judgement.classes_entry())?;
    }
    verdict::of_metrics(&recipe, &judgement.metrics, streams)
}

/// The checkpoint named, or the best one of the recipe's run.
fn open_checkpoint(args: &EvalArgs, recipe: &Recipe) -> Result<Checkpoint> {
    match &args.weights {
        Some(path) => Checkpoint::open(path),
        None => Checkpoint::open(&recipe.run.folder.join("checkpoints/best.safetensors"))
            .context("without --weights the best checkpoint of the recipe's run folder is evaluated"),
    }
}

/// Class indices only mean something when model and truth name them alike.
fn compare_classes(checkpoint: &Checkpoint, val_set: &CocoDataset, annotations: &Path) -> Result<()> {
    let (ours, theirs) = (&checkpoint.description.classes, val_set.class_names());
    ensure!(
        *ours == theirs,
        "{}: was trained on the classes {}, but {} lists {}",
        checkpoint.path.display(),
        data::abridged(ours),
        annotations.display(),
        data::abridged(&theirs)
    );
    Ok(())
}
