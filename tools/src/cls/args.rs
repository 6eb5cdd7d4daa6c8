//! What can be typed after `cvx-cls`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use cvx_backbone::Variant;

use crate::args::{EvalArgs, TrainArgs};
use crate::bench::{BenchArgs, parse_size};
use crate::device_spec::DeviceSpec;

/// ConvNeXt as a classifier.
///
/// Exit codes: 0 done, 1 outside the recipe's expectations, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-cls", version)]
pub struct Cli {
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
    /// Print parameters, FLOPs and feature maps of a published size, or measure how fast it is on this machine
    Info(InfoArgs),
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
    /// auto, cpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `info`.
#[derive(Debug, Clone, Args)]
pub struct InfoArgs {
    /// A published size, as `model.backbone` in a recipe: v2-atto to v2-huge, v1-atto to v1-xlarge
    #[arg(value_name = "BACKBONE")]
    pub backbone: Variant,
    /// Number of classes
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub classes: u32,
    /// Input height and width for the FLOPs and for --bench, as in `224x224`
    #[arg(long, value_name = "HEIGHTxWIDTH", default_value = "224x224", value_parser = parse_size)]
    pub size: [usize; 2],
    /// How to measure instead
    #[command(flatten)]
    pub bench_args: BenchArgs,
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
