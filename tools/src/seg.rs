//! `cvx-seg`: UPerNet on ConvNeXt, from a recipe to a trained segmentor to a class for every pixel.
//!
//! Every command is a function of its parsed arguments and the streams it writes to, as in [`crate::det`].

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::{self, Exit, Streams};
use crate::recipe::load as load_recipe;
use crate::sweep::{self, Planned, Program, SweepArgs};

mod args;
mod args_predict;
mod bench;
mod check;
mod compare;
mod data;
mod description;
mod eval;
mod flops;
pub mod inference;
mod info;
mod initial;
mod judge;
pub mod model;
mod pictures;
mod predict;
mod probability_file;
pub mod recipe;
mod report;
mod score;
mod train;

pub use self::args::{Cli, Command, InfoArgs};
pub use self::args_predict::{PredictArgs, ScoreArgs};
pub use self::check::check;
pub use self::eval::eval;
pub use self::info::info;
pub use self::predict::predict;
pub use self::report::report;
pub use self::score::score;
pub use self::train::train;

/// The program `cvx-seg`.
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
            Command::Train(args) => train(args, streams),
            Command::Compare(args) => compare::compare_runs(args, streams),
            Command::Sweep(args) => sweep(args, streams),
            Command::Eval(args) => eval(args, streams),
            Command::Predict(args) => predict(args, streams),
            Command::Score(args) => score(args, streams),
            Command::Info(args) => info(args, streams),
            Command::Check(args) => check(args, streams),
        }
    })
}

/// Trains the cells of a table that are not trained yet, and compares them.
fn sweep(args: &SweepArgs, streams: &mut Streams<'_>) -> anyhow::Result<Exit> {
    let program = Program {
        name: "cvx-seg",
        train,
        plan: |args| {
            let recipe: recipe::Recipe = load_recipe(&args.recipe, &args.set)?;
            Planned::of(&recipe, &recipe.run.folder, recipe.train.epochs)
        },
        compare: compare::compare_runs,
    };
    sweep::sweep(args, &program, streams)
}
