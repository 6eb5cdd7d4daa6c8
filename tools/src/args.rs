//! What is typed alike after every program that works by a recipe.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::device_spec::DeviceSpec;
use crate::train::interrupt::parse_duration;

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
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
    /// Go on from the run folder's newest sound checkpoint; from the start when there is none. The recipe is the same, but
    /// train.epochs and train.early_stop may be others
    #[arg(long)]
    pub resume: bool,
    /// Save and end after so much time, as in `90s`, `30m`, `2h`; --resume goes on there
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// What to type to go on, where it is not this command itself: that of a sweep, of which the run is a part
    #[arg(skip)]
    pub go_on_by: Option<String>,
}

impl TrainArgs {
    /// What to type to go on with this run.
    pub(crate) fn resume_command(&self, program: &str) -> String {
        match &self.go_on_by {
            Some(command) => command.clone(),
            None => self.typed(program, "train") + " --resume",
        }
    }

    /// `program command RECIPE` with these arguments, as a shell takes them, but for `--resume`.
    pub(crate) fn typed(&self, program: &str, command: &str) -> String {
        let Self { recipe: RecipeArgs { recipe, set }, device, resume: _, max_time, go_on_by: _ } = self;
        let mut command = format!("{program} {command} {}", quoted(&recipe.display().to_string()));
        for assignment in set {
            command += &format!(" --set {}", quoted(assignment));
        }
        if *device != DeviceSpec::Auto {
            command += &format!(" --device {device}");
        }
        if let Some(time) = max_time {
            command += &format!(" --max-time {}s", time.as_secs());
        }
        command
    }
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+=:,@%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Arguments of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// The recipe.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
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
    /// auto, cpu, cuda, cuda:INDEX, wgpu or wgpu:INDEX
    #[arg(long, default_value = "auto")]
    pub device: DeviceSpec,
}

/// How many samples to draw: 1 or more.
fn parse_browse(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a number from 1 up".to_owned())
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
    #[arg(long, value_name = "COUNT", value_parser = parse_browse)]
    pub browse: Option<usize>,
    /// Folder for the pictures of --browse; created when absent
    #[arg(long, value_name = "DIR", default_value = "check")]
    pub out: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_gone_on_with_by_what_it_was_begun_with() {
        let args = TrainArgs {
            recipe: RecipeArgs {
                recipe: "configs/smoke/coco.toml".into(),
                set: vec!["train.epochs=3".to_owned(), "run.folder=my runs/it's".to_owned()],
            },
            device: DeviceSpec::Cpu,
            resume: false,
            max_time: Some(Duration::from_secs(1800)),
            go_on_by: None,
        };
        let expected = r"cvx-det train configs/smoke/coco.toml --set train.epochs=3 --set 'run.folder=my runs/it'\''s' --device cpu --max-time 1800s --resume";
        assert_eq!(args.resume_command("cvx-det"), expected);
    }
}
