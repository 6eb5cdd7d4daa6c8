//! `cvx-pretrain report`: one page about a run.

use anyhow::Result;

use super::judge::EXPLAINED;
use crate::args::ReportArgs;
use crate::exit::{Exit, Streams};
use crate::run_report::Run;

/// Writes the page: curves, figures, and how the run was made.
///
/// # Errors
/// If the folder holds no run, or the page cannot be written.
pub fn report(args: &ReportArgs, streams: &mut Streams<'_>) -> Result<Exit> {
    let run = Run::open(&args.run)?;
    let path = run.end(run.begin(EXPLAINED), args)?;
    writeln!(streams.out, "{}", path.display())?;
    Ok(Exit::Done)
}
