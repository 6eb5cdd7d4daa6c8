//! The end of a run: its best evaluation against what the recipe promised.

use std::path::Path;

use anyhow::Result;

use super::Streams;
use crate::exit::Exit;
use crate::recipe::Recipe;
use crate::report::{self, Metrics};
use crate::train::metrics_file::MetricsFile;

/// The verdict on the best evaluation among those in `metrics_file`.
pub(super) fn of_run(
    recipe: &Recipe,
    metrics_file: &Path,
    best_checkpoint: &Path,
    streams: &mut Streams<'_>,
) -> Result<Exit> {
    let file = MetricsFile::open_until(metrics_file, usize::MAX, None)?;
    let name = &recipe.evaluate.best_by;
    let value = |metrics: &Metrics| metrics.get(name).unwrap_or(-1.0);
    let evaluations = file.evaluations.iter().map(|evaluation| {
        let metrics = evaluation.metrics.iter().map(|(name, value)| (name.clone(), value.unwrap_or(-1.0)));
        (evaluation.epoch, metrics.collect::<Metrics>())
    });
    // The first of equals: a later one does not replace the best checkpoint.
    let best = evaluations.reduce(|best, next| if value(&next.1) > value(&best.1) { next } else { best });
    let Some((epoch, metrics)) = best else {
        return Ok(Exit::Done);
    };
    writeln!(
        streams.out,
        "\nbest {name} = {:.4} after epoch {epoch}: {}",
        value(&metrics),
        best_checkpoint.display()
    )?;
    of_metrics(recipe, &metrics, streams)
}

/// The verdict on one evaluation.
pub(super) fn of_metrics(recipe: &Recipe, metrics: &Metrics, streams: &mut Streams<'_>) -> Result<Exit> {
    let Some(expect) = &recipe.expect else {
        return Ok(Exit::Done);
    };
    let all_met = report::write_verdict(streams.out, expect, metrics)?;
    Ok(if all_met { Exit::Done } else { Exit::OutsideExpectations })
}
