//! `cvx-pretrain`: weights before a network stands on them, learnt from images alone or converted.
//!
//! Read `recipe` first: what a run is told. `model` is the autoencoder and what its checkpoint says, `data` the images,
//! `train` the run.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::{self, Exit, Streams};

mod args;
mod check;
mod compare;
mod convert;
mod data;
mod diversity;
mod diversity_plot;
mod info;
mod initial;
mod judge;
pub mod model;
pub mod recipe;
mod reconstruct;
mod report;
mod train;

pub use self::args::{Cli, Command, ConvertArgs, DiversityArgs, InfoArgs, ReconstructArgs};
pub use self::check::check;
pub use self::convert::convert;
pub use self::diversity::diversity;
pub use self::info::info;
pub use self::recipe::Recipe;
pub use self::reconstruct::reconstruct;
pub use self::report::report;
pub use self::train::train;

/// The program `cvx-pretrain`.
pub fn main() -> ExitCode {
    exit::main(run)
}

/// Parses `args` (the program's name first) and runs the command they name.
pub fn run<I, T>(args: I, streams: Streams<'_>) -> Exit
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    exit::run(args, streams, |cli: Cli, streams| {
        cli.verbosity.apply();
        match &cli.command {
            Command::Report(args) => report(args, streams),
            Command::Check(args) => check(args, streams),
            Command::Train(args) => train(args, streams),
            Command::Compare(args) => compare::compare_runs(args, streams),
            Command::Reconstruct(args) => reconstruct(args, streams),
            Command::Diversity(args) => diversity(args, streams),
            Command::Convert(args) => convert(args, streams),
            Command::Info(args) => info(args, streams),
        }
    })
}
