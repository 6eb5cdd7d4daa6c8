//! What can be typed after `cvx-seg`.

use clap::{Args, Parser, Subcommand};

use super::args_predict::{PredictArgs, ScoreArgs};
use crate::args::{CheckArgs, DumpArgs, EvalArgs, RecipeArgs, ReportArgs, TrainArgs};
use crate::bench::{BenchArgs, parse_size};
use crate::compare::CompareArgs;
use crate::schedule::ScheduleArgs;
use crate::sweep::SweepArgs;
use crate::verbosity::VerbosityArgs;

/// Train, evaluate and run UPerNet on ConvNeXt.
///
/// Exit codes: 0 done, 1 outside the recipe's expectations, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-seg", version)]
pub struct Cli {
    /// How much is said.
    #[command(flatten)]
    pub verbosity: VerbosityArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train by a recipe; writes a run folder with log, curves, metrics and checkpoints
    Train(TrainArgs),
    /// Evaluate a checkpoint on the recipe's validation images
    Eval(EvalArgs),
    /// Find the class of every pixel of images; writes label images and overlays
    Predict(PredictArgs),
    /// Evaluate a folder of label images against one of truth, with no model
    Score(ScoreArgs),
    /// Print parameters, FLOPs, feature strides and layer-decay groups of a recipe's model
    Info(InfoArgs),
    /// Read the whole data set of a recipe and report what would hurt training
    Check(CheckArgs),
    /// Write a page with a run's curves, figures and pictures, in one file
    Report(ReportArgs),
    /// Put runs side by side: figures, spread over seeds, changes with their intervals, cost
    Compare(CompareArgs),
    /// Train all cells of a table under several seeds, and compare them; goes on where it was interrupted
    Sweep(SweepArgs),
}

/// Arguments of `info`.
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// What to print instead.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// Input height and width for the FLOPs and for --bench, as in `512x512`
    #[arg(long, value_name = "HEIGHTxWIDTH", default_value = "512x512", value_parser = parse_size)]
    pub size: [usize; 2],
    /// How to measure instead
    #[command(flatten)]
    pub bench_args: BenchArgs,
    /// What to show of schedules
    #[command(flatten)]
    pub schedule_args: ScheduleArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
