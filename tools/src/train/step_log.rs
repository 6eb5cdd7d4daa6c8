//! `log.jsonl`: one JSON object an update, each step exactly once however often the run was resumed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
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
    /// The highest memory of the process so far, megabytes, on the host; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_mb: Option<u64>,
}

/// The open log of a run. A line that cannot be written waits for the next one, so that a disk that is full for a while
/// leaves no gap.
#[derive(Debug)]
pub struct StepLog {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    written: u64,
    /// Lines that could not be written yet.
    waiting: Vec<u8>,
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
        let opened = open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (written, file) = opened.with_context(|| path.display().to_string())?;
        Ok(Self { path: path.to_owned(), file, written, waiting: Vec::new() })
    }

    /// Appends a line, in one write.
    ///
    /// # Errors
    /// If the disk is full, for example; the line is then written with the next one.
    pub fn append(&mut self, record: &StepRecord) -> Result<()> {
        self.waiting.extend(line(record)?);
        self.flush()
    }

    /// Waits until all lines are on the disk. A log that was removed from its folder is written anew.
    ///
    /// # Errors
    /// As [`StepLog::append`].
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        let mut sync = || {
            if !self.path.try_exists()? {
                let mut lines = Vec::new();
                self.file.seek(SeekFrom::Start(0))?;
                self.file.read_to_end(&mut lines)?;
                self.file = open(&self.path)?;
                self.file.write_all(&lines)?;
            }
            self.file.sync_data()
        };
        sync().with_context(|| self.path.display().to_string())
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let Self { path, file, written, waiting } = self;
        let mut write = || {
            // What a full disk took of a line is taken back.
            if file.metadata()?.len() > *written {
                file.set_len(*written)?;
            }
            file.write_all(waiting)
        };
        write().with_context(|| path.display().to_string())?;
        *written += waiting.len() as u64;
        waiting.clear();
        Ok(())
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

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).open(path)
}

fn line(record: &StepRecord) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}
