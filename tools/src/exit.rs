//! How a command writes and how it ends: two streams, three exit codes, and an error told as one headline with one cause a line.

use std::env::ArgsOs;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use cvx_backbone::ops::cpu::dispatch::Instructions;

use crate::memory;

/// Where a command writes.
pub struct Streams<'a> {
    /// Results: tables and lists.
    pub out: &'a mut dyn Write,
    /// Errors and remarks about the work itself.
    pub err: &'a mut dyn Write,
}

/// What a command's exit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command did what was asked.
    Done,
    /// The command ran, and its numbers lie outside the recipe's `[expect]`.
    OutsideExpectations,
    /// An argument, a recipe, a data set or a checkpoint cannot be used.
    BadInput,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::OutsideExpectations => 1,
            Self::BadInput => 2,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A program from its arguments (its name first) to its exit. What clap has to say instead is written where it belongs.
pub fn run<C, I, T>(
    args: I,
    mut streams: Streams<'_>,
    command: impl FnOnce(C, &mut Streams<'_>) -> anyhow::Result<Exit>,
) -> Exit
where
    C: Parser,
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    match C::try_parse_from(args) {
        Ok(cli) => conclude(command(cli, &mut streams), streams.err),
        // Nobody is left to tell when a stream itself is closed.
        Err(error) if error.use_stderr() => {
            let _ = write!(streams.err, "{error}");
            Exit::BadInput
        }
        Err(help_or_version) => {
            let _ = write!(streams.out, "{help_or_version}");
            Exit::Done
        }
    }
}

/// A program on the arguments, environment and streams of its process.
pub fn main(run: impl FnOnce(ArgsOs, Streams<'_>) -> Exit) -> ExitCode {
    memory::keep_freed();
    work_in_this_thread();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    if let Err(error) = known_instructions(std::env::var_os(Instructions::VARIABLE)) {
        return conclude(Err(error), &mut err).into();
    }
    run(std::env::args_os(), Streams { out: &mut out, err: &mut err }).into()
}

/// Makes this thread one of the pool's, so that what it starts on all cores it begins itself. To be called before
/// anything else uses the pool.
///
/// A thread outside hands over the work and sleeps: two switches for each of the hundreds of kernels of a step. With one
/// core this thread is the whole pool: a loader's thread must not wait for it (`Dataset::get`).
pub fn work_in_this_thread() {
    // A pool that is there already stays as it is, and one whose threads the system refuses is this thread alone.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}

/// Refuses a name of instructions that there is not, which the kernels would take for all.
fn known_instructions(asked: Option<OsString>) -> anyhow::Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let names = Instructions::NAMES.map(|(name, _)| name);
    anyhow::ensure!(
        names.iter().any(|name| asked == *name),
        "{}={}: expected one of `{}`",
        Instructions::VARIABLE,
        asked.display(),
        names.join("`, `")
    );
    Ok(())
}

/// Turns a command's result into its exit; an error is written to `err` as `error: ..`.
///
/// A reader that went away (`cvx-det score .. | head -1`) is not an error.
pub fn conclude(result: anyhow::Result<Exit>, err: &mut dyn Write) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(&error) => Exit::Done,
        Err(error) => {
            // Nobody is left to tell when stderr itself is closed.
            let _ = err.write_all(describe(&error).as_bytes());
            Exit::BadInput
        }
    }
}

/// The headline and its causes, each cause indented by two spaces, every line of it.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::from("error: ");
    for (depth, cause) in error.chain().enumerate() {
        let cause = cause.to_string();
        for (line_index, line) in cause.trim_end().lines().enumerate() {
            if depth > 0 || line_index > 0 {
                text.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn every_cause_has_its_own_indented_lines() {
        let error = anyhow!("line 3\n  |\n3 | x = 1\n").context("r.toml is not a recipe");
        assert_eq!(describe(&error), "error: r.toml is not a recipe\n  line 3\n    |\n  3 | x = 1\n");
    }

    #[test]
    fn instructions_that_there_are_not_are_refused() {
        assert!(known_instructions(None).is_ok() && known_instructions(Some("avx2".into())).is_ok());
        let error = known_instructions(Some("sse9".into())).unwrap_err().to_string();
        assert_eq!(error, "CVX_INSTRUCTIONS=sse9: expected one of `portable`, `avx2`, `avx512`");
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let closed = io::Error::new(io::ErrorKind::BrokenPipe, "gone");
        let mut err = Vec::new();
        let exit = conclude(Err(anyhow::Error::from(closed).context("writing")), &mut err);
        assert_eq!((exit, err.len()), (Exit::Done, 0));
    }

    #[test]
    fn a_bad_input_ends_with_two() {
        let mut err = Vec::new();
        let exit = conclude(Err(anyhow!("no such file")), &mut err);
        assert_eq!(exit.code(), 2);
        assert_eq!(err, b"error: no such file\n");
    }
}
