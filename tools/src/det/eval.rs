//! `cvx-det eval`: a checkpoint's numbers on the validation images of a recipe.

use anyhow::Result;
use cvx_data::{Dataset, Sample};

use super::inference::Inference;
use super::judge::Judge;
use super::model::{self, Architecture, Preprocessing};
use super::{Streams, data};
use crate::args::EvalArgs;
use crate::collate::{Located, results};
use crate::counting::Counting;
use crate::exit::Exit;
use crate::precision::Precision;
use crate::recipe::{self, Recipe};
use crate::report;
use crate::verdict;
use crate::weights::judged::Weights;

/// Evaluates, prints the tables, and compares with the recipe's expectation.
pub fn eval(args: &EvalArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let recipe: Recipe = recipe::load(&args.recipe.recipe, &args.recipe.set)?;
    let device = args.device.open()?;
    let precision = Precision::on(recipe.precision, &device, streams.err)?;
    let weights = Weights::open(args.weights.as_deref(), &recipe.run)?;
    match &weights {
        Weights::Checkpoint(checkpoint) => model::expect_recipe(checkpoint, &recipe, &[])?,
        Weights::Published(published) => model::expect_recipe_of(published, &recipe, &[])?,
    }
    let [_, split] = data::splits(&recipe.data)?;
    let val_set = data::open_val(&recipe, &split)?;
    weights.compare_classes(&val_set.class_names(), &split.annotations)?;

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
    let mut take = |sample: &Sample, located: Vec<Located>| {
        judge.add(results(&located, sample.image_id, &category_ids))?;
        counting.advance(1);
        Ok(())
    };
    precision.scope(|| inference.run(&loader, &mut take))?;
    drop(counting);

    let judgement = judge.finish()?;
    streams.out.write_all(judgement.tables.as_bytes())?;
    streams.out.write_all(judgement.class_tables.as_bytes())?;
    if let Some(path) = &args.json {
        report::write_json(path, &judgement.metrics, judgement.classes_entry())?;
    }
    verdict::of_metrics(&recipe.expect, &judgement.metrics, streams)
}
