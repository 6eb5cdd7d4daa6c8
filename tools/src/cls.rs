//! `cvx-cls`: ConvNeXt as a classifier, from a recipe to classes of images.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::{self, Exit, Streams};
use crate::recipe::load as load_recipe;
use crate::sweep::{self, Planned, Program, SweepArgs};

mod args;
mod bench;
mod check;
mod compare;
mod data;
mod eval;
mod info;
mod judge;
mod mix;
mod model;
mod predict;
pub mod recipe;
mod report;
mod train;

pub use self::args::{Cli, Command, InfoArgs, PredictArgs, Subject};
pub use self::check::check;
pub use self::eval::eval;
pub use self::info::info;
pub use self::predict::predict;
pub use self::recipe::Recipe;
pub use self::report::report;
pub use self::train::train;

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
    exit::run(args, streams, |cli: Cli, streams| {
        cli.verbosity.apply();
        match &cli.command {
            Command::Report(args) => report(args, streams),
            Command::Train(args) => train(args, streams),
            Command::Compare(args) => compare::compare_runs(args, streams),
            Command::Sweep(args) => sweep(args, streams),
            Command::Eval(args) => eval(args, streams),
            Command::Predict(args) => predict(args, streams),
            Command::Info(args) => info(args, streams),
            Command::Check(args) => check(args, streams),
        }
    })
}

/// Trains the cells of a table that are not trained yet, and compares them.
fn sweep(args: &SweepArgs, streams: &mut Streams<'_>) -> anyhow::Result<Exit> {
    let program = Program {
        name: "cvx-cls",
        train,
        plan: |args| {
            let recipe: Recipe = load_recipe(&args.recipe, &args.set)?;
            Planned::of(&recipe, &recipe.run.folder, recipe.train.epochs)
        },
        compare: compare::compare_runs,
    };
    sweep::sweep(args, &program, streams)
}
