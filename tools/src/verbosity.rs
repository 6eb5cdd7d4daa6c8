//! How much a command says besides its results and its errors: `-q` and `-v`.

use std::cell::Cell;

use clap::Args;

thread_local! {
    /// Of the command that runs on this thread; a process may run several.
    static VERBOSITY: Cell<Verbosity> = const { Cell::new(Verbosity::Normal) };
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Results and errors alone.
    Quiet,
    /// Progress, too.
    Normal,
    /// A line for every step, and all findings instead of a few.
    Verbose,
}

/// The switches of every program.
#[derive(Debug, Clone, Copy, Args)]
pub struct VerbosityArgs {
    /// Say nothing of progress: results and errors alone
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: a line for every step of a training, every finding of a check
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

impl VerbosityArgs {
    /// Holds from now on for what this thread runs.
    pub fn apply(self) {
        let Self { quiet, verbose } = self;
        VERBOSITY.set(match (quiet, verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        });
    }
}

/// That of the command that runs on this thread.
pub(crate) fn verbosity() -> Verbosity {
    VERBOSITY.get()
}
