//! Progress of work that counts images: a bar on a terminal, a line now and then in a pipe.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::verbosity::{Verbosity, verbosity};
use crate::waiting::PATIENCE;

/// Time between two lines in a pipe.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Counts images on standard error.
pub(crate) struct Counting {
    what: &'static str,
    done: usize,
    total: usize,
    began: Instant,
    last_line: Option<Instant>,
    output: Output,
}

/// Where progress goes.
enum Output {
    Bar(ProgressBar),
    Lines,
    Nowhere,
}

impl Counting {
    /// `what` was done to an image, as in `evaluated`.
    pub(crate) fn on_stderr(what: &'static str, total: usize) -> Self {
        Self::on_stderr_at(verbosity(), what, total)
    }

    /// The same, from a thread that is not the command's own.
    pub(crate) fn on_stderr_at(verbosity: Verbosity, what: &'static str, total: usize) -> Self {
        if verbosity == Verbosity::Quiet {
            return Self::new(what, total, Output::Nowhere);
        }
        if !stderr().is_terminal() {
            return Self::new(what, total, Output::Lines);
        }
        let bar = ProgressBar::new(total as u64);
        let template = "{msg} {bar:24.cyan/dim} {pos}/{len} images, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_message(what);
        Self::new(what, total, Output::Bar(bar))
    }

    /// Counts only: the caller asks for [`due_line`](Self::due_line).
    pub(crate) fn quiet(what: &'static str, total: usize) -> Self {
        Self::new(what, total, Output::Nowhere)
    }

    fn new(what: &'static str, total: usize, output: Output) -> Self {
        Self { what, done: 0, total, began: Instant::now(), last_line: None, output }
    }

    /// So many more images are done.
    pub(crate) fn advance(&mut self, images: usize) {
        self.done += images;
        match &self.output {
            Output::Bar(bar) => bar.set_position(self.done as u64),
            Output::Lines => {
                if let Some(line) = self.due_line() {
                    // A closed pipe is no reason to stop the work.
                    let _ = writeln!(stderr(), "{line}");
                }
            }
            Output::Nowhere => {}
        }
    }

    /// A line that tells where the work stands, when the last one is long enough ago.
    pub(crate) fn due_line(&mut self) -> Option<String> {
        let is_early = match self.last_line {
            Some(last) => last.elapsed() < LINE_INTERVAL,
            None => self.began.elapsed() < PATIENCE,
        };
        if is_early {
            return None;
        }
        self.last_line = Some(Instant::now());
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        Some(format!("{} {}/{} images, {rate:.1} images/s", self.what, self.done, self.total))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Output::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }
}
