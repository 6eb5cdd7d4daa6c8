//! `cvx-cls`: ConvNeXt as a classifier. So far: what its networks are made of, and how fast they run here.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use cvx_backbone::Variant;

use crate::bench::{BenchArgs, parse_size};
use crate::exit::{self, Exit, Streams};

mod bench;
mod info;

pub use self::info::info;

/// ConvNeXt as a classifier.
///
/// Exit codes: 0 done, 2 bad input.
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
    /// Print parameters, FLOPs and feature maps of a published size, or measure how fast it is on this machine
    Info(InfoArgs),
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

/// The program `cvx-cls`.
pub fn main() -> ExitCode {
    exit::main(run)
}

/// Parses `args` (the program's name first) and runs the command they name.
pub fn run<I, T>(args: I, streams: Streams<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    exit::run(args, streams, |cli: Cli, streams| match &cli.command {
        Command::Info(args) => info(args, streams),
    })
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
