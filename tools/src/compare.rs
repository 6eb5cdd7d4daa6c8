//! `compare`: runs side by side, with the spread over seeds and the interval that the choice of images leaves.
//!
//! Read `groups` first: which runs stand in one row. `table` is what is printed, `picture` what is drawn; what differs
//! between tasks is a `Task`.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use cvx_data::{Comparison, Resampling};
use serde_json::{Value, json};

pub(crate) use self::groups::{Group, difference};
use self::table::{Cell, Cost, Row, Table};
use crate::device_spec::DeviceSpec;
use crate::exit::{Exit, Streams};
use crate::recipe::Plan;
use crate::train::atomic_file;

mod groups;
pub(crate) mod judged;
mod picture;
mod table;

/// Of the resampled images.
const SEED: u64 = 0;
/// How often they are resampled unless something else is asked for.
pub(crate) const RESAMPLES: u32 = 1000;

/// Entries that may be changed of runs that are trained: where images lie, and what changes no figure.
const CHANGEABLE: [&str; 3] = ["data.", "evaluate.batch_size=", "train.workers="];

/// A figure that is judged anew differs from the run's own by this at most.
const SAME: f64 = 1e-6;

/// 0, or so many that percentiles mean something and the work ends.
pub(crate) fn parse_resamples(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count == 0 || (100..=100_000).contains(&count) => Ok(count),
        _ => Err("expected 0, or a number from 100 to 100000".to_owned()),
    }
}

/// Arguments of `compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArgs {
    /// Run folders, folders of run folders (of several seeds), or the file of a sweep; the first is what the others are
    /// compared with. A name may go before: `V1=runs/v1`
    #[arg(required = true, value_name = "[NAME=]RUN")]
    pub runs: Vec<String>,
    /// A figure to compare, as it is called in metrics.json; may be repeated. Without it, the usual ones
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
    /// How often images are resampled for the intervals; 0: there are none, and no image is looked at
    #[arg(long, value_name = "COUNT", default_value_t = RESAMPLES, value_parser = parse_resamples)]
    pub resamples: u32,
    /// Also write the tables to this file, as Markdown
    #[arg(long, value_name = "FILE.md")]
    pub markdown: Option<PathBuf>,
    /// Also draw them
    #[arg(long, value_name = "FILE.png")]
    pub png: Option<PathBuf>,
    /// Also write all numbers to this file
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Change where the runs' images lie now, an entry of `data`, or one without effect on figures; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

impl CompareArgs {
    /// How images are resampled.
    pub(crate) fn resampling(&self) -> Resampling {
        Resampling { draws: self.resamples as usize, seed: SEED }
    }
}

/// What a recipe's network costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weighed {
    /// Trained parameters.
    pub(crate) parameters: usize,
    /// Multiply-adds of an image.
    pub(crate) flops: u64,
    /// Height and width of that image, input pixels.
    pub(crate) size: [usize; 2],
}

/// What is known of a run's recipe.
pub(crate) struct Known {
    pub(crate) weighed: Weighed,
    /// The metric by which its best evaluation was chosen.
    pub(crate) best_by: String,
    /// How long it is.
    pub(crate) epochs: usize,
    /// Whether it may end before.
    pub(crate) ends_early: bool,
}

impl Known {
    /// Of a recipe's course and its network.
    pub(crate) fn of(plan: &Plan<'_>, weighed: Weighed) -> Self {
        let (epochs, ends_early) = (plan.epochs, plan.early_stop.is_some());
        Self { weighed, best_by: plan.best_by.to_owned(), epochs, ends_early }
    }
}

/// The differences of one group to the first, by the metrics' names.
pub(crate) type Differences = Vec<(String, Comparison)>;

/// Finds the differences of all groups but the first to the first.
pub(crate) type Find<'a> = dyn Fn(&[Group]) -> Result<Vec<Differences>> + 'a;

/// What a task knows of its runs.
pub(crate) struct Task<'a> {
    /// Figures that are compared unless others are asked for.
    pub(crate) metrics: &'a [&'a str],
    /// Reads a recipe.
    pub(crate) know: &'a dyn Fn(&Path) -> Result<Known>,
    /// Where a task has intervals.
    pub(crate) differences: Option<&'a Find<'a>>,
}

/// Prints the tables, and writes what else is asked for.
///
/// # Errors
/// If a run cannot be read, runs of one group differ in more than their seeds, or a file cannot be written.
pub(crate) fn compare(args: &CompareArgs, task: &Task<'_>, streams: &mut Streams<'_>) -> Result<Exit> {
    for set in &args.set {
        ensure!(
            CHANGEABLE.iter().any(|prefix| set.trim_start().starts_with(prefix)),
            "--set {set}: the figures are those of the runs; possible is where their images lie now, as in \
             data.coco.val_images=.., and evaluate.batch_size, train.workers"
        );
    }
    for path in [&args.markdown, &args.png, &args.json].into_iter().flatten() {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        ensure!(folder.is_none_or(Path::exists), "{}: its folder does not exist", path.display());
    }
    let mut groups = groups::open(&args.runs)?;
    groups::leave_out_unjudged(&mut groups, streams)?;
    let metrics = metrics(args, task, &groups)?;

    // Differences are told where they can be had.
    let mut differences = Vec::new();
    if let (Some(find), true) = (task.differences, groups.len() > 1 && args.resamples > 0) {
        match find(&groups) {
            Ok(found) => differences = found,
            Err(error) => writeln!(streams.err, "warning: there are no intervals: {error:#}")?,
        }
    }

    let mut rows: Vec<Row> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let known = (task.know)(&group.runs[0].recipe_path())?;
        tell_unfinished(group, &known, streams)?;
        let found = index.checked_sub(1).and_then(|index| differences.get(index));
        let cells = metrics.iter().enumerate().map(|(column, metric)| {
            let interval = found
                .and_then(|found| found.iter().find(|(name, _)| name == metric))
                .map(|(_, comparison)| comparison.interval);
            let reference = rows.first().map(|row| row.cells[column].mean);
            Cell::of(group.values(metric, &known.best_by), reference, interval)
        });
        let cells = cells.collect();
        rows.push(Row { name: group.name.clone(), cells, cost: Cost::of(group, known.weighed) });
    }
    tell_of_other_figures(&metrics, &rows, &differences, streams)?;
    let table = Table { metrics, rows, resamples: args.resamples };

    streams.out.write_all(table.text().as_bytes())?;
    if let Some(path) = &args.markdown {
        atomic_file::replace(path, |file| Ok(file.write_all(table.markdown().as_bytes())?))?;
    }
    if let Some(path) = &args.png {
        picture::draw(path, &table)?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&to_json(&table, &groups))?;
        atomic_file::replace(path, |file| Ok(writeln!(file, "{text}")?))?;
    }
    Ok(Exit::Done)
}

/// Says which runs have more to do.
fn tell_unfinished(group: &Group, known: &Known, streams: &mut Streams<'_>) -> Result<()> {
    for run in &group.runs {
        let done = run.metrics().evaluations.last().map_or(0, |evaluation| evaluation.epoch);
        if done < known.epochs && !known.ends_early {
            let (run, epochs) = (run.folder().display(), known.epochs);
            writeln!(
                streams.err,
                "warning: {run} is not finished: its figures are those after epoch {done} of {epochs}"
            )?;
        }
    }
    Ok(())
}

/// Says where a model does not reach the figures that its run recorded.
fn tell_of_other_figures(
    metrics: &[String],
    rows: &[Row],
    differences: &[Differences],
    streams: &mut Streams<'_>,
) -> Result<()> {
    let Some((first, others)) = rows.split_first() else { return Ok(()) };
    for (row, found) in others.iter().zip(differences) {
        for ((metric, cell), reference) in metrics.iter().zip(&row.cells).zip(&first.cells) {
            let Some((_, judged)) = found.iter().find(|(name, _)| name == metric) else { continue };
            for (name, judged, recorded) in
                [(&first.name, judged.first, reference.mean), (&row.name, judged.second, cell.mean)]
            {
                if (judged - recorded).abs() > SAME {
                    writeln!(
                        streams.err,
                        "warning: {name}: {metric} is {judged:.4} when its models are judged now, and {recorded:.4} in \
                         what the runs recorded: images, weights or program are others"
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// The figures to compare: those asked for, or the usual ones that some run has.
fn metrics(args: &CompareArgs, task: &Task<'_>, groups: &[Group]) -> Result<Vec<String>> {
    let known: Vec<&str> = groups.iter().flat_map(Group::metric_names).collect();
    for name in &args.metric {
        let mut possible = known.clone();
        possible.sort_unstable();
        possible.dedup();
        ensure!(
            known.contains(&name.as_str()),
            "--metric {name}: no run has this figure; possible: {}",
            possible.join(", ")
        );
    }
    if !args.metric.is_empty() {
        let mut asked: Vec<String> = Vec::new();
        args.metric.iter().for_each(|name| {
            if !asked.contains(name) {
                asked.push(name.clone())
            }
        });
        return Ok(asked);
    }
    Ok(task.metrics.iter().filter(|name| known.contains(name)).map(|&name| name.to_owned()).collect())
}

fn to_json(table: &Table, groups: &[Group]) -> Value {
    let rows: Vec<Value> = table
        .rows
        .iter()
        .zip(groups)
        .map(|(row, group)| {
            let metrics: serde_json::Map<String, Value> = table
                .metrics
                .iter()
                .zip(&row.cells)
                .map(|(name, cell)| (name.clone(), cell.to_json()))
                .collect();
            let runs: Vec<String> = group.runs.iter().map(|run| run.folder().display().to_string()).collect();
            json!({ "name": row.name, "runs": runs, "metrics": metrics, "cost": row.cost.to_json() })
        })
        .collect();
    json!({ "groups": rows, "resamples": table.resamples, "seed": SEED })
}
