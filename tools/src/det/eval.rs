//! `cvx-det eval`: a checkpoint's numbers on the validation images of a recipe.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use cvx_data::{CocoDataset, Dataset};

use super::args::EvalArgs;
use super::inference::Inference;
use super::judge::Judge;
use super::model::{self, Architecture, Detector, Preprocessing};
use super::{Streams, data};
use crate::collate::results;
use crate::counting::Counting;
use crate::exit::Exit;
use crate::recipe::{self, Recipe};
use crate::report;
use crate::train::checkpoint::Checkpoint;
use crate::verdict;
use crate::weights::{self, Published, Strictness, source};
use crate::wording::abridged;

/// Evaluates, prints the tables, and compares with the recipe's expectation.
pub fn eval(args: &EvalArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = args.device.open()?;
    let weights = Weights::open(args, &recipe)?;
    let [_, split] = data::splits(&recipe.data)?;
    let val_set = data::open_val(&recipe, &split)?;
    weights.compare_classes(&val_set, &split.annotations)?;

    let architecture = Architecture::of(&recipe);
    let (detector, remarks) = weights.load(architecture.init(&device))?;
    remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
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
    verdict::of_metrics(&recipe.expect, &judgement.metrics, streams)
}

/// What is evaluated.
enum Weights {
    /// A checkpoint of the recipe's network.
    Checkpoint(Box<Checkpoint>),
    /// Published weights of such a network.
    Published(Box<Published>),
}

impl Weights {
    /// The file named, or the best checkpoint of the recipe's run.
    fn open(args: &EvalArgs, recipe: &Recipe) -> Result<Self> {
        if let Some(path) = &args.weights
            && path.exists()
            && !source::is_checkpoint(path)?
        {
            let published = Published::open(path, None)?;
            model::expect_recipe_of(&published, recipe, &[])?;
            return Ok(Self::Published(Box::new(published)));
        }
        let checkpoint = match &args.weights {
            Some(path) => Checkpoint::open(path),
            None => Checkpoint::open(&recipe.run.folder.join("checkpoints/best.safetensors"))
                .context("without --weights the best checkpoint of the recipe's run folder is evaluated"),
        }?;
        model::expect_recipe(&checkpoint, recipe, &[])?;
        Ok(Self::Checkpoint(Box::new(checkpoint)))
    }

    /// Class indices only mean something when model and truth name them alike.
    fn compare_classes(&self, val_set: &CocoDataset, annotations: &Path) -> Result<()> {
        let (path, ours) = match self {
            Self::Checkpoint(checkpoint) => (&checkpoint.path, Some(&checkpoint.description.classes)),
            Self::Published(published) => (&published.source.path, published.source.told.classes.as_ref()),
        };
        let theirs = val_set.class_names();
        ensure!(
            ours.is_none_or(|ours| *ours == theirs),
            "{}: was trained on the classes {}, but {} lists {}",
            path.display(),
            abridged(ours.map_or(&[], Vec::as_slice)),
            annotations.display(),
            abridged(&theirs)
        );
        Ok(())
    }

    /// The network with these values, and what a person should know of them, a line each.
    fn load(&self, detector: Detector) -> Result<(Detector, Vec<String>)> {
        match self {
            Self::Checkpoint(checkpoint) => Ok((checkpoint.load_model(detector)?, Vec::new())),
            Self::Published(published) => weights::load(published, detector, Strictness::Complete),
        }
    }
}
