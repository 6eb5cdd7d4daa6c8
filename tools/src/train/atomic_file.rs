//! Files that are either the old or the new one, never half of it, whenever the machine stops.
//!
//! Written beside the target, flushed to the disk, renamed over it, and the folder flushed. The temporary file has a
//! fixed name, so that one left behind by a killed process is overwritten by the next.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1 << 20;

/// Replaces the file at `path` by what `write` writes.
///
/// # Errors
/// On any error the temporary file is removed and the old file stays. The message names the file.
pub fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let temporary = temporary_path(path)?;
    let written = write_and_sync(&temporary, write)
        .and_then(|()| fs::rename(&temporary, path).map_err(anyhow::Error::from))
        .and_then(|()| sync_folder(path));
    if written.is_err() {
        // The error to report is the first one; a temporary file that cannot be removed is overwritten next time.
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("{} could not be written, and stays as it was", path.display()))
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

fn write_and_sync(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    write(&mut writer)?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
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
