//! What is typed alike after every program that works by a recipe.

use std::path::PathBuf;

use clap::Args;

use crate::device_spec::DeviceSpec;

/// Which recipe, and what to change in it.
#[derive(Debug, Clone, Args)]
pub struct RecipeArgs {
    /// The recipe, as in configs/
    #[arg(value_name = "RECIPE.toml")]
    pub recipe: PathBuf,
    /// Change one entry of the recipe, as in `train.epochs=3`; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
}

/// Print the recipe itself, instead of anything about it.
#[derive(Debug, Clone, Args)]
pub struct DumpArgs {
    /// Print the recipe as it is read, with bases and `--set` applied, and where each value comes from
    #[arg(long)]
    pub dump: bool,
}

/// Arguments of `train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// auto, cpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
    /// Go on from the run folder's last checkpoint; from the start when there is none
    #[arg(long)]
    pub resume: bool,
}

/// Arguments of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// auto, cpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
    /// The checkpoint, or published weights of the recipe's network; without it, the best checkpoint of the recipe's run
    /// folder
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// Also write the numbers to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The run folder
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The page to write; without it, report.html in the run folder
    #[arg(long, value_name = "FILE.html")]
    pub out: Option<PathBuf>,
    /// Change one entry of the run's recipe, such as where the images lie now; may be repeated
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Show so many of the best, of the median and of the worst predictions
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub pictures: usize,
    /// auto, cpu, cuda or cuda:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// Arguments of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Show at most this many examples of one kind of finding
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub limit: usize,
    /// Decode every image, too: damaged files, sizes, copies, and the mean and spread of the pixels
    #[arg(long)]
    pub images: bool,
    /// Also draw so many samples of each half with their truth, as training and evaluation see them
    #[arg(long, value_name = "COUNT")]
    pub browse: Option<usize>,
    /// Folder for the pictures of --browse; created when absent
    #[arg(long, value_name = "DIR", default_value = "check")]
    pub out: PathBuf,
}
