//! `log.jsonl`: one JSON object an update, each step exactly once however often the run was resumed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::train::atomic_file;

/// One update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Updates done, this one included.
    pub step: usize,
    /// The epoch it is in, counted from 1.
    pub epoch: usize,
    /// Sum of the losses.
    pub loss: f32,
    /// Each loss, by name; means over the micro-batches.
    pub losses: BTreeMap<String, f32>,
    /// The scheduled learning rate, before the groups' factors.
    pub lr: f64,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f32,
    /// Wall clock of the step, loading included.
    pub seconds: f64,
    /// The part of it that was spent waiting for micro-batches and bringing them to the device.
    pub data_s: f64,
    /// Images of the step divided by its seconds.
    pub images_per_s: f64,
}

/// The open log of a run.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    file: File,
}

impl StepLog {
    /// Opens the log to go on after `step`: later lines, and a last one that was cut off, are removed.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a line other than the last is not a record.
    pub fn open_after(path: &Path, step: usize) -> Result<Self> {
        if path.exists() {
            let mut kept = read(path)?;
            kept.retain(|record| record.step <= step);
            atomic_file::replace(path, |file| {
                kept.iter().try_for_each(|record| Ok(file.write_all(&line(record)?)?))
            })?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line, in one write.
    ///
    /// # Errors
    /// If the disk is full, for example.
    pub fn append(&mut self, record: &StepRecord) -> Result<()> {
        self.file.write_all(&line(record)?).with_context(|| self.path.display().to_string())
    }

    /// Waits until all lines are on the disk.
    ///
    /// # Errors
    /// As [`StepLog::append`].
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| self.path.display().to_string())
    }
}

/// All records of a log. A last line without its end, as a killed process leaves it, is left out.
///
/// # Errors
/// If the file cannot be read, or a complete line is not a record.
pub fn read(path: &Path) -> Result<Vec<StepRecord>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(index, line)| {
        serde_json::from_str(line)
            .map_err(|e| anyhow!("{} line {}: not a record of a step: {e}", path.display(), index + 1))
    };
    complete.lines().enumerate().map(parse).collect()
}

fn line(record: &StepRecord) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}
