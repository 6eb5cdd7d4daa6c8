//! What can be typed after `cvx-cls`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use cvx_backbone::Variant;

use crate::args::{CheckArgs, DumpArgs, EvalArgs, ReportArgs, TrainArgs};
use crate::bench::{BenchArgs, parse_size};
use crate::compare::CompareArgs;
use crate::device_spec::DeviceSpec;
use crate::schedule::ScheduleArgs;
use crate::sweep::SweepArgs;
use crate::verbosity::VerbosityArgs;

/// ConvNeXt as a classifier.
///
/// Exit codes: 0 done, 1 outside the recipe's expectations, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-cls", version)]
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
    /// Classify images; writes a table
    Predict(PredictArgs),
    /// Print parameters, FLOPs, feature maps, and of a recipe the groups with their learning rates, or measure how fast it
    /// is on this machine
    Info(InfoArgs),
    /// Look through the folders of a recipe and report what would stop or hurt training
    Check(CheckArgs),
    /// Write a page with a run's curves, figures and pictures, in one file
    Report(ReportArgs),
    /// Put runs side by side: figures, spread over seeds, changes with their intervals, cost
    Compare(CompareArgs),
    /// Train all cells of a table under several seeds, and compare them; goes on where it was interrupted
    Sweep(SweepArgs),
}

/// Arguments of `predict`.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// A checkpoint, which carries architecture, classes and preprocessing, or published weights of a classifier
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// The table to write: file, rank, class, probability
    #[arg(long, value_name = "FILE.csv", default_value = "predictions.csv")]
    pub out: PathBuf,
    /// Classes of each image in the table, surest first
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `info`.
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// A published size, as `model.backbone` in a recipe: v2-atto to v2-huge, v1-atto to v1-xlarge; or a recipe
    #[arg(value_name = "BACKBONE | RECIPE.toml")]
    pub subject: Subject,
    /// Change one entry of the recipe, as in `train.epochs=3`; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// What to print instead.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// Number of classes of a published size; a recipe says its own
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub classes: u32,
    /// Input height and width for the FLOPs and for --bench, as in `224x224`
    #[arg(long, value_name = "HEIGHTxWIDTH", default_value = "224x224", value_parser = parse_size)]
    pub size: [usize; 2],
    /// How to measure instead
    #[command(flatten)]
    pub bench_args: BenchArgs,
    /// What to show of a recipe's schedules
    #[command(flatten)]
    pub schedule_args: ScheduleArgs,
}

/// What `info` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A published size.
    Published(Variant),
    /// A recipe's file.
    Recipe(PathBuf),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.ends_with(".toml") {
            return Ok(Self::Recipe(PathBuf::from(text)));
        }
        text.parse().map(Self::Published).map_err(|error| format!("{error}, or a recipe's file, NAME.toml"))
    }
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
