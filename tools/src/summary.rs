//! What came out of a run: its best and its last evaluation, how long it took, and where its files are.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::args::quoted;
use crate::train::curves::is_headline;
use crate::train::metrics_file::{Evaluation, MetricsFile};
use crate::train::step_log::{self, StepRecord};

/// Files of a run that a person looks for.
const FILES: [&str; 5] = [
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "metrics.json",
    "log.jsonl",
    "curves.png",
];

/// What came out of a run.
pub(crate) struct Summary {
    /// Name, value of the best evaluation, value of the last.
    pub(crate) rows: Vec<[String; 3]>,
    /// Steps, and how long they took.
    pub(crate) time: String,
}

impl Summary {
    /// Of a run's records; the best evaluation is that with the highest value of `best_by`.
    pub(crate) fn of(records: &[StepRecord], metrics: &MetricsFile, best_by: &str) -> Self {
        let last = metrics.evaluations.last();
        let best = metrics.best_by(best_by).map(|(evaluation, _)| evaluation).or(last);
        let mut rows = Vec::new();
        if let (Some(best), Some(last)) = (best, last) {
            rows.push(["epoch".to_owned(), best.epoch.to_string(), last.epoch.to_string()]);
            let value = |evaluation: &Evaluation, name: &str| match evaluation.metrics.get(name) {
                Some(Some(value)) => format!("{value:.4}"),
                _ => "-".to_owned(),
            };
            let is_told = |name: &&String| is_headline(name) || *name == best_by;
            rows.extend(
                last.metrics
                    .keys()
                    .filter(is_told)
                    .map(|name| [name.clone(), value(best, name), value(last, name)]),
            );
        }
        let seconds: f64 = records.iter().map(|record| record.seconds).sum();
        let steps = records.len();
        let time =
            format!("{} in {steps} steps ({:.3} s a step)", duration(seconds), seconds / steps.max(1) as f64);
        Self { rows, time }
    }
}

/// Writes the summary of a finished run.
pub(crate) fn write(run: &Path, best_by: &str, program: &str, out: &mut dyn Write) -> Result<()> {
    let log = run.join("log.jsonl");
    let records = if log.exists() { step_log::read(&log)? } else { Vec::new() };
    let metrics = MetricsFile::open_until(&run.join("metrics.json"), usize::MAX, None)?;
    let Summary { rows, time } = Summary::of(&records, &metrics, best_by);
    let width = rows.iter().map(|[name, ..]| name.chars().count()).max().unwrap_or(0).max(11);
    writeln!(out, "\n{:<width$} {:>10} {:>10}", "", "best", "last")?;
    for [name, best, last] in &rows {
        writeln!(out, "{name:<width$} {best:>10} {last:>10}")?;
    }
    writeln!(out, "{:<width$} {time}", "trained")?;
    let files: Vec<&str> = FILES.into_iter().filter(|file| run.join(file).exists()).collect();
    writeln!(out, "{:<width$} {}: {}", "files", run.display(), files.join(" "))?;
    writeln!(out, "{:<width$} {program} report {}", "look at it", quoted(&run.display().to_string()))?;
    Ok(())
}

/// Seconds as a person tells them.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units() {
        assert_eq!([3.21, 75.0, 7385.0].map(duration), ["3.2 s", "1 min 15 s", "2 h 3 min"]);
    }
}
