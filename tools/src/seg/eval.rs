//! `cvx-seg eval`: a checkpoint's numbers on the validation images of a recipe.

use std::sync::Arc;

use anyhow::Result;
use burn::prelude::*;
use cvx_data::{ConfusionMatrix, Dataset, Sample, SegmentationFolder};

use super::data::{self, Source};
use super::description::{expect_recipe, expect_recipe_of};
use super::inference::{Look, label_image};
use super::initial::random;
use super::judge;
use super::model::{Preprocessing, Segmentor};
use super::recipe::Recipe;
use crate::args::EvalArgs;
use crate::counting::Counting;
use crate::exit::{Exit, Streams};
use crate::precision::Precision;
use crate::recipe;
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
        Weights::Checkpoint(checkpoint) => expect_recipe(checkpoint, &recipe, &[])?,
        Weights::Published(published) => expect_recipe_of(published, &recipe, &[])?,
    }
    let source = Source::of(&recipe.data)?;
    source.compare_classes(&recipe)?;
    let val_set = source.open_val()?;
    weights.compare_classes(&source.classes.names, &source.val.labels)?;

    let (segmentor, remarks) = weights.load(random(&recipe, &device))?;
    remarks.iter().try_for_each(|remark| writeln!(streams.err, "{remark}"))?;
    let preprocessing = Preprocessing::of(&recipe);
    let look = recipe.evaluate.look();
    let evaluation =
        Evaluation { segmentor: &segmentor, preprocessing: &preprocessing, look: &look, device: &device };
    let mut counting = Counting::on_stderr("evaluated", val_set.len());
    let mut progress = || counting.advance(1);
    let matrix = precision.scope(|| evaluation.run(&val_set, recipe.train.workers, &mut progress))?;
    drop(counting);

    let metrics = matrix.metrics(recipe.evaluate.convention.convention());
    let names = val_set.class_names();
    let named = judge::named(&metrics, &names);
    streams.out.write_all(metrics.table(&names).as_bytes())?;
    if let Some(path) = &args.json {
        report::write_json(path, &named, judge::classes_entry(&metrics, &names))?;
    }
    verdict::of_metrics(&recipe.expect, &named, streams)
}

/// A segmentor that is judged.
pub(super) struct Evaluation<'a> {
    /// On a device without autodiff.
    pub(super) segmentor: &'a Segmentor,
    /// How images become its input.
    pub(super) preprocessing: &'a Preprocessing,
    /// How each image is looked at.
    pub(super) look: &'a Look,
    /// The segmentor's device.
    pub(super) device: &'a Device,
}

impl Evaluation<'_> {
    /// What was taken for what, over all images; `progress` is called after each.
    pub(super) fn run(
        &self,
        dataset: &Arc<SegmentationFolder>,
        workers: usize,
        progress: &mut dyn FnMut(),
    ) -> Result<ConfusionMatrix> {
        let mut matrix = ConfusionMatrix::new(dataset.num_classes());
        for samples in data::val_loader(dataset, workers).epoch(0, 0) {
            for Sample { index, image, .. } in samples? {
                let predicted =
                    label_image(self.segmentor, &image, self.preprocessing, self.look, self.device);
                matrix.add(&dataset.labels(index)?, &predicted);
                progress();
            }
        }
        Ok(matrix)
    }
}
