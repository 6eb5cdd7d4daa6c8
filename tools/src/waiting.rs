//! A sign of life of work that takes a while and counts nothing: reading a large file, comparing all detections.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::verbosity::{Verbosity, verbosity};

/// Work shorter than this is not told of.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two lines in a pipe.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Tells what goes on until it is dropped.
pub(crate) struct Waiting {
    /// Dropped to end the thread.
    _running: Option<Sender<()>>,
}

impl Waiting {
    /// For `what`, as in `reading annotations.json`, on standard error.
    pub(crate) fn on_stderr(what: String) -> Self {
        if verbosity() == Verbosity::Quiet {
            return Self { _running: None };
        }
        let (running, stopped) = mpsc::channel::<()>();
        let is_over = move |time| stopped.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
        let began = Instant::now();
        thread::spawn(move || {
            if is_over(PATIENCE) {
                return;
            }
            if stderr().is_terminal() {
                let spinner = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                    spinner.set_style(style);
                }
                spinner.set_message(what);
                while !is_over(Duration::from_millis(100)) {
                    spinner.tick();
                }
                spinner.finish_and_clear();
                return;
            }
            loop {
                // A closed pipe is no reason to stop the work.
                let _ = writeln!(stderr(), "{what} ({} s)", began.elapsed().as_secs());
                if is_over(LINE_INTERVAL) {
                    return;
                }
            }
        });
        Self { _running: Some(running) }
    }
}
