//! What can be typed after `cvx-pretrain`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::args::{CheckArgs, DumpArgs, RecipeArgs, ReportArgs, TrainArgs};
use crate::compare::CompareArgs;
use crate::device_spec::DeviceSpec;
use crate::schedule::ScheduleArgs;
use crate::verbosity::VerbosityArgs;
use crate::weights::export::Form;

/// Pretrain ConvNeXt on images alone, look at what it learnt, and convert its weights.
///
/// Exit codes: 0 done, 1 outside the recipe's expectations, 2 bad input.
#[derive(Debug, Parser)]
#[command(name = "cvx-pretrain", version)]
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
    /// Pretrain by masked autoencoding (FCMAE), by a recipe; writes a run folder with log, curves and checkpoints
    Train(TrainArgs),
    /// Look through the images of a recipe and count what would stop or hurt a pretraining; draw samples
    Check(CheckArgs),
    /// Print parameters and the groups of a recipe's autoencoder with their learning rates, or the recipe itself
    Info(InfoArgs),
    /// Draw what a pretrained network imagines of hidden patches, beside the image and what it saw of it
    Reconstruct(ReconstructArgs),
    /// Measure how different the channels of every layer are, and plot several models in one picture
    Diversity(DiversityArgs),
    /// Convert weights, published or from here, to a checkpoint or to the names of others
    Convert(ConvertArgs),
    /// Write a page with a run's curves, figures and pictures, in one file
    Report(ReportArgs),
    /// Put runs side by side: figures, spread over seeds, changes with their intervals, cost
    Compare(CompareArgs),
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
    /// What to show of schedules
    #[command(flatten)]
    pub schedule_args: ScheduleArgs,
}

/// Arguments of `reconstruct`.
#[derive(Debug, Clone, Args)]
pub struct ReconstructArgs {
    /// A checkpoint of `cvx-pretrain train`
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// Folder for the pictures; created when absent
    #[arg(long, value_name = "DIR", default_value = "reconstructions")]
    pub out: PathBuf,
    /// Share of each image that is hidden; without it, as in pretraining
    #[arg(long, value_name = "SHARE")]
    pub mask_ratio: Option<f64>,
    /// Decides which patches are hidden
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `diversity`.
#[derive(Debug, Clone, Args)]
pub struct DiversityArgs {
    /// Weights of any kind, published or from here; may be repeated, and named as in `V1=runs/v1/last.safetensors`
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    pub weights: Vec<String>,
    /// Images, or folders of images
    #[arg(required = true, value_name = "IMAGES")]
    pub images: Vec<PathBuf>,
    /// The picture to write
    #[arg(long, value_name = "FILE.png", default_value = "diversity.png")]
    pub out: PathBuf,
    /// Also write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Side that images are resized and cut to, pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 224, value_parser = clap::value_parser!(u32).range(32..=4096))]
    pub size: u32,
    /// Look at so many images at most, spread evenly over those given
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub most: u32,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `convert`.
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// Weights of a ConvNeXt: official, timm, transformers, torchvision, OpenMMLab or detectron2 (.pth, .pt, .bin,
    /// .safetensors, or a folder as saved for a hub), or a checkpoint of cvx
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write, safetensors; its folder is created when absent
    #[arg(value_name = "OUT.safetensors")]
    pub output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "cvx")]
    pub to: Form,
    /// Which weights to take of a PyTorch file that holds several, such as `model_ema`
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Leave out what stands on the backbone
    #[arg(long)]
    pub backbone_only: bool,
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
