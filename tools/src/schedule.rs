//! `info --schedule`: the learning rate of every group over the steps of a run, and drop path over the blocks, as tables
//! and as a picture.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use cvx_data::BatchSampler;

use crate::recipe::Plan;
use crate::train::groups::{GroupRow, ParamGroups};
use crate::train::schedule::{Decay, Schedule};

mod plot;

/// Rows of the table, besides those where something begins or ends.
const ROWS: usize = 10;

/// Whether and for how many images schedules are told.
#[derive(Debug, Clone, Args)]
pub struct ScheduleArgs {
    /// Print learning rates over the steps and drop path over the blocks too, and draw them into this file
    #[arg(long, value_name = "FILE.png")]
    pub schedule: Option<PathBuf>,
    /// Images to learn from, for --schedule; without it, those of the recipe's data are counted
    #[arg(long, value_name = "COUNT", requires = "schedule", value_parser = clap::value_parser!(u32).range(1..))]
    pub images: Option<u32>,
}

impl ScheduleArgs {
    /// Prints the tables and draws the picture, if asked to. `count` opens the data and tells how many images there are;
    /// `dealt` is how this kind of training deals images into micro-batches.
    ///
    /// # Errors
    /// If the data cannot be opened, or the picture cannot be written.
    pub(crate) fn tell(
        &self,
        plan: &Plan<'_>,
        groups: &ParamGroups,
        drop_path: &[f64],
        dealt: impl Fn(BatchSampler) -> BatchSampler,
        count: impl FnOnce() -> Result<usize>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let Some(path) = &self.schedule else { return Ok(()) };
        let images = match self.images {
            Some(images) => images as usize,
            None => count()?,
        };
        let micro_batch = plan.batch_size / plan.accumulation_steps;
        let batches = dealt(BatchSampler::shuffled(&vec![(1, 1); images], micro_batch, plan.seed));
        let batches = batches.batches_per_epoch();
        let curves = Curves {
            schedule: plan.schedule(batches),
            steps_per_epoch: plan.steps_per_epoch(batches),
            steps: plan.total_steps(batches),
            rows: distinct(groups.rows()),
            drop_path,
        };
        curves.print(out)?;
        curves.draw(path)?;
        writeln!(out, "drawn into {}", path.display())?;
        Ok(())
    }
}

/// What is shown.
struct Curves<'a> {
    schedule: Schedule,
    steps_per_epoch: usize,
    steps: usize,
    /// Groups whose rates differ, each with a name.
    rows: Vec<(String, f64)>,
    /// By block.
    drop_path: &'a [f64],
}

impl Curves<'_> {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let Self { schedule, steps_per_epoch, steps, rows, drop_path } = self;
        writeln!(out, "\nlearning rate over {steps} steps, {steps_per_epoch} an epoch")?;
        write!(out, "{:>9} {:>7}", "step", "epoch")?;
        rows.iter().try_for_each(|(name, _)| write!(out, " {name:>10}"))?;
        writeln!(out)?;
        for step in self.told_steps() {
            write!(out, "{step:>9} {:>7.2}", step as f64 / (*steps_per_epoch).max(1) as f64)?;
            let lr = schedule.lr(step);
            rows.iter().try_for_each(|(_, scale)| write!(out, " {:>10.3e}", lr * scale))?;
            writeln!(out)?;
        }
        let rates: Vec<String> = drop_path.iter().map(|rate| format!("{rate:.3}")).collect();
        writeln!(out, "drop path in every step, by block: {}", rates.join(" "))?;
        Ok(())
    }

    fn draw(&self, path: &Path) -> Result<()> {
        plot::draw(path, self)
    }

    /// The first and the last, where something begins or ends, and some evenly between.
    fn told_steps(&self) -> Vec<usize> {
        let last = self.steps.saturating_sub(1);
        let mut told: BTreeSet<usize> = (0..=ROWS).map(|row| last * row / ROWS).collect();
        told.insert(self.schedule.warmup.steps.saturating_sub(1));
        if let Decay::Step { milestones, .. } = &self.schedule.decay {
            told.extend(milestones.iter().flat_map(|&step| [step.saturating_sub(1), step]));
        }
        told.into_iter().filter(|&step| step <= last).collect()
    }
}

/// One entry for each rate; frozen groups have none. Groups of one layer, with and without decay, share theirs.
fn distinct(rows: &[GroupRow]) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = Vec::new();
    for row in rows.iter().filter(|row| row.lr_scale > 0.0) {
        if found.iter().all(|(_, scale)| *scale != row.lr_scale) {
            let name = row.group.strip_suffix("_no_decay").or(row.group.strip_suffix("_decay"));
            let is_all = rows.iter().all(|other| other.lr_scale == row.lr_scale || other.lr_scale == 0.0);
            found.push((
                if is_all { "lr".to_owned() } else { name.unwrap_or(&row.group).to_owned() },
                row.lr_scale,
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::schedule::Warmup;

    #[test]
    fn the_steps_told_are_those_where_something_changes() {
        let schedule = Schedule {
            base_lr: 1.0,
            warmup: Warmup { steps: 5, start_factor: 0.1 },
            decay: Decay::Step { milestones: vec![33, 200], gamma: 0.1 },
        };
        let curves = Curves { schedule, steps_per_epoch: 11, steps: 101, rows: Vec::new(), drop_path: &[] };
        assert_eq!(curves.told_steps(), [0, 4, 10, 20, 30, 32, 33, 40, 50, 60, 70, 80, 90, 100]);
    }
}
