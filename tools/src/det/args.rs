//! What can be typed after `cvx-det`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::args::{CheckArgs, DumpArgs, EvalArgs, RecipeArgs, ReportArgs, TrainArgs};
use crate::bench::{BenchArgs, parse_size};
use crate::compare::CompareArgs;
use crate::device_spec::DeviceSpec;
use crate::schedule::ScheduleArgs;
use crate::sweep::SweepArgs;
use crate::verbosity::VerbosityArgs;

/// Train, evaluate and run Mask R-CNN on ConvNeXt.
///
/// Exit codes: 0 done, 1 outside the recipe's expectations, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-det", version)]
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
    /// Find objects in images; writes overlays and COCO results
    Predict(PredictArgs),
    /// Evaluate a file of COCO results against a file of truth, with no model
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

/// Arguments of `predict`.
#[derive(Debug, Clone, Args)]
pub struct PredictArgs {
    /// A checkpoint, which carries architecture, classes and preprocessing, or a detector of mmdet or detectron2
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// Folder for the overlays and results.json; created when absent
    #[arg(long, value_name = "DIR", default_value = "predictions")]
    pub out: PathBuf,
    /// Take image and category ids from this COCO file, by file name and class name; else both count from 1
    #[arg(long, value_name = "COCO.json")]
    pub ids_from: Option<PathBuf>,
    /// Draw detections from this score on; results.json holds all of them
    #[arg(long, value_name = "SCORE", default_value_t = 0.5)]
    pub draw_from: f64,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// What overlaps are measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScoreType {
    /// Boxes.
    Bbox,
    /// Masks.
    Segm,
    /// Masks and their edges: Boundary IoU.
    Boundary,
    /// Maps of segments: panoptic quality. GT and PREDICTIONS are panoptic JSON beside folders of PNG.
    Panoptic,
}

/// Arguments of `score`.
#[derive(Debug, Clone, Args)]
pub struct ScoreArgs {
    /// Truth, in COCO format
    #[arg(value_name = "GT.json")]
    pub truth: PathBuf,
    /// Predictions, in COCO results format
    #[arg(value_name = "PREDICTIONS.json")]
    pub predictions: PathBuf,
    /// What overlaps are measured on
    #[arg(long = "type", value_enum, default_value = "bbox")]
    pub score_type: ScoreType,
    /// Print a table by class too, the best first
    #[arg(long)]
    pub per_class: bool,
    /// Print LVIS's figures too: federated, 300 detections an image, by frequency
    #[arg(long)]
    pub lvis: bool,
    /// Print what each kind of error costs (TIDE)
    #[arg(long)]
    pub tide: bool,
    /// Print which classes are taken for which, detections from this score on
    #[arg(long, value_name = "SCORE")]
    pub confusion: Option<f64>,
    /// Print the score of each class from which F1 is best
    #[arg(long)]
    pub thresholds: bool,
    /// Print how far scores are from the share of hits, by class
    #[arg(long)]
    pub calibration: bool,
    /// Compare with other predictions: differences and their intervals under resampled images
    #[arg(long, value_name = "OTHER.json")]
    pub compare: Option<PathBuf>,
    /// How often images are resampled, for --compare
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub resamples: u32,
    /// Also write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write a report with all of this, curves and the worst images to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where the images lie, for --html
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
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
    /// Input height and width for the FLOPs and for --bench, as in `800x1280`
    #[arg(long, value_name = "HEIGHTxWIDTH", default_value = "800x1280", value_parser = parse_size)]
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
