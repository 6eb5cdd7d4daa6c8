//! The end of a run: its best evaluation against what the recipe promised.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::exit::{Exit, Streams};
use crate::recipe::Expectation;
use crate::report::{self, Metrics};
use crate::summary;
use crate::train::checkpoint::Best;
use crate::train::metrics_file::MetricsFile;

/// What a recipe promises, by metric name.
pub(crate) type Expect = Option<BTreeMap<String, Expectation>>;

/// What came out of a run of `program`, and the verdict on its best evaluation, by the metric `best_by`, among those in
/// `metrics_file`.
pub(crate) fn of_run(
    best_by: &str,
    expect: &Expect,
    metrics_file: &Path,
    best_checkpoint: &Path,
    program: &str,
    streams: &mut Streams<'_>,
) -> Result<Exit> {
    if let Some(run) = metrics_file.parent() {
        summary::write(run, best_by, program, streams.out)?;
    }
    let file = MetricsFile::open_until(metrics_file, usize::MAX, None)?;
    let name = best_by;
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
                "\n{name} was never defined, since nothing counts for it; the last model stands for the best, after \
                 epoch {}: {path}",
                last.epoch
            )?;
            last
        }
    };
    let metrics = judged.metrics.iter().map(|(name, value)| (name.clone(), value.unwrap_or(-1.0)));
    let metrics: Metrics = metrics.collect();
    of_metrics(expect, &metrics, streams)
}

/// The verdict on one evaluation.
pub(crate) fn of_metrics(expect: &Expect, metrics: &Metrics, streams: &mut Streams<'_>) -> Result<Exit> {
    let Some(expect) = expect else {
        return Ok(Exit::Done);
    };
    let all_met = report::write_verdict(streams.out, expect, metrics)?;
    Ok(if all_met { Exit::Done } else { Exit::OutsideExpectations })
}
