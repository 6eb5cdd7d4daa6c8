//! What a person sees while a run trains: a bar on a terminal, plain lines in a pipe.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::train::step_log::StepRecord;
use crate::verbosity::{Verbosity, verbosity};

/// The first steps each get a line, so that a run that diverges at once is seen to.
const FIRST_STEPS: usize = 5;
/// Seconds between later lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Weight of a new step in the smoothed figures.
const SMOOTHING: f64 = 0.05;

/// Where progress goes.
pub struct Progress {
    total_steps: usize,
    steps_here: usize,
    images_per_s: Smoothed,
    seconds: Smoothed,
    loss: Smoothed,
    output: Output,
}

enum Output {
    Bar(ProgressBar),
    Lines { stream: Box<dyn Write + Send>, last: Option<Instant> },
}

impl Progress {
    /// A bar where standard error is a terminal, else lines to it.
    pub fn on_stderr(total_steps: usize) -> Self {
        if verbosity() == Verbosity::Quiet {
            return Self::lines(total_steps, Box::new(std::io::sink()));
        }
        // Lines stay on the screen, which a bar does not.
        if !std::io::stderr().is_terminal() || verbosity() == Verbosity::Verbose {
            return Self::lines(total_steps, Box::new(std::io::stderr()));
        }
        let bar = ProgressBar::new(total_steps as u64);
        let template = "{bar:24.cyan/dim} {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self::new(total_steps, Output::Bar(bar))
    }

    /// Lines to a stream.
    pub fn lines(total_steps: usize, stream: Box<dyn Write + Send>) -> Self {
        Self::new(total_steps, Output::Lines { stream, last: None })
    }

    fn new(total_steps: usize, output: Output) -> Self {
        let smoothed = Smoothed::default();
        Self { total_steps, steps_here: 0, images_per_s: smoothed, seconds: smoothed, loss: smoothed, output }
    }

    /// Shows a step that was done.
    pub fn step(&mut self, record: &StepRecord) {
        self.steps_here += 1;
        self.loss.add(f64::from(record.loss));
        // The first step warms caches and kernels up and would spoil the estimate.
        if self.steps_here > 1 {
            self.seconds.add(record.seconds);
            self.images_per_s.add(record.images_per_s);
        }
        let left = self.total_steps.saturating_sub(record.step);
        let eta = self.seconds.value.map(|seconds| Duration::from_secs_f64(seconds.max(0.0) * left as f64));
        let eta = eta.map_or_else(|| "-".to_owned(), |eta| HumanDuration(eta).to_string());
        let images_per_s = self.images_per_s.value.unwrap_or(record.images_per_s);
        match &mut self.output {
            Output::Bar(bar) => {
                let loss = self.loss.value.unwrap_or_default();
                bar.set_position(record.step as u64);
                bar.set_message(format!(
                    "epoch {} loss {loss:.4} lr {:.2e} {images_per_s:.1} images/s {eta} left",
                    record.epoch, record.lr
                ));
            }
            Output::Lines { stream, last } => {
                let due = verbosity() == Verbosity::Verbose
                    || last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
                if self.steps_here > FIRST_STEPS && record.step != self.total_steps && !due {
                    return;
                }
                *last = Some(Instant::now());
                let losses: Vec<String> =
                    record.losses.iter().map(|(name, loss)| format!("{name} {loss:.4}")).collect();
                // A closed pipe is no reason to stop training.
                let _ = writeln!(
                    stream,
                    "step {}/{} epoch {} loss {:.4} ({}) lr {:.2e} grad {:.2} {images_per_s:.1} images/s {eta} left",
                    record.step,
                    self.total_steps,
                    record.epoch,
                    record.loss,
                    losses.join(", "),
                    record.lr,
                    record.grad_norm
                );
            }
        }
    }

    /// Says what went wrong, also to those who asked for quiet.
    pub fn warn(&mut self, line: &str) {
        let line = format!("WARNING: {line}");
        if verbosity() == Verbosity::Quiet {
            eprintln!("{line}");
        } else {
            self.say(&line);
        }
    }

    /// Says something between two steps.
    pub fn say(&mut self, line: &str) {
        match &mut self.output {
            Output::Bar(bar) => bar.println(line),
            Output::Lines { stream, .. } => {
                // As above.
                let _ = writeln!(stream, "{line}");
            }
        }
    }

    /// Leaves the terminal as it should be after the last step.
    pub fn finish(&mut self) {
        if let Output::Bar(bar) = &self.output {
            bar.abandon();
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("total_steps", &self.total_steps).finish_non_exhaustive()
    }
}

/// An exponential mean that starts at the first value.
#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    value: Option<f64>,
}

impl Smoothed {
    fn add(&mut self, value: f64) {
        let old = self.value.unwrap_or(value);
        self.value = Some(old + (value - old) * SMOOTHING);
    }
}
