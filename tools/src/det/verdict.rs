//! The end of a run: its best evaluation against what the recipe promised.

use std::path::Path;

use anyhow::Result;

use super::Streams;
use crate::exit::Exit;
use crate::recipe::Recipe;
use crate::report::{self, Metrics};
use crate::train::checkpoint::Best;
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
    let path = best_checkpoint.display();
    let Some(last) = file.evaluations.last() else {
        return Ok(Exit::Done);
    };
    let judged = match file.best_by(name) {
        Some((best, Best { metric: _, value, step: _ })) => {
            writeln!(streams.out, "\nbest {name} = {value:.4} after epoch {}: {path}", best.epoch)?;
            best
        }
        None => {
            writeln!(
                streams.out,
                "\n{name} was never defined, since no object counts for it; the last model stands for the best, after \
                 epoch {}: {path}",
                last.epoch
            )?;
            last
        }
    };
    let metrics = judged.metrics.iter().map(|(name, value)| (name.clone(), value.unwrap_or(-1.0)));
    let metrics: Metrics = metrics.collect();
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
