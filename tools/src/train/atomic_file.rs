//! Files that are either the old or the new one, never half of it, whenever the machine stops.
//!
//! Written beside the target, flushed to the disk, renamed over it, and the folder flushed. The temporary file has a
//! fixed name, so that one left behind by a killed process is overwritten by the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1 << 20;

/// Replaces the file at `path` by what `write` writes.
///
/// # Errors
/// On any error the temporary file is removed and the old file stays. The message names the file.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write(write)?;
    replacement.commit()
}

/// A new file on its way: it takes its place by [`Replacement::commit`], and is removed if dropped before.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    /// Absent once it is on the disk.
    writer: Option<BufWriter<File>>,
    is_in_place: bool,
}

impl Replacement {
    /// Creates the temporary file beside `path`.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(path: &Path) -> Result<Self> {
        let temporary = temporary_path(path)?;
        let file = File::create(&temporary).with_context(|| stays(path))?;
        let writer = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        Ok(Self { path: path.to_owned(), temporary, writer, is_in_place: false })
    }

    /// Appends what `write` writes.
    ///
    /// # Errors
    /// If the disk is full, for example.
    pub fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        match &mut self.writer {
            Some(writer) => write(writer).with_context(|| stays(&self.path)),
            None => unreachable!("only a commit takes the writer, and it takes all"),
        }
    }

    /// Goes on at another byte of the new file; bytes that are left out are zero.
    ///
    /// # Errors
    /// If the disk is full, for example.
    pub fn seek(&mut self, byte: u64) -> Result<()> {
        match &mut self.writer {
            Some(writer) => {
                let sought = writer.seek(SeekFrom::Start(byte));
                sought.map(|_| ()).with_context(|| stays(&self.path))
            }
            None => unreachable!("only a commit takes the writer, and it takes all"),
        }
    }

    /// Puts the file in the place of the old one.
    ///
    /// # Errors
    /// If the disk is full, for example; the old file then stays.
    pub fn commit(mut self) -> Result<()> {
        self.sync()
            .and_then(|()| Ok(fs::rename(&self.temporary, &self.path)?))
            .and_then(|()| {
                self.is_in_place = true;
                sync_folder(&self.path)
            })
            .with_context(|| stays(&self.path))
    }

    fn sync(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_in_place {
            // What is still buffered is for a file that nobody will read.
            if let Some(writer) = self.writer.take() {
                drop(writer.into_parts());
            }
            // A temporary file that cannot be removed is overwritten next time.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn stays(path: &Path) -> String {
    format!("{} could not be written, and stays as it was", path.display())
}

/// Where a file is written before it takes the place of `path`.
///
/// # Errors
/// If the path does not end in a file's name.
pub fn temporary_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| anyhow!("{} is not a file's name", path.display()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

/// A rename is on the disk once the folder is.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}
