//! The checksum of a checkpoint's values, known only once they are written.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Result, anyhow};

use super::CHECKSUM_KEY;
use crate::train::atomic_file::Replacement;

/// What stands in a header for a checksum that is not known yet, as long as one.
pub(super) const UNKNOWN: &str = "????????";

/// Replaces the file at `path` by a header and the values that `write` writes, whose checksum takes its place in the
/// header.
///
/// # Errors
/// On a full disk, for example; the older file at `path` then stays as it was.
pub(super) fn replace(
    path: &Path,
    header: &[u8],
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let entry = format!("\"{CHECKSUM_KEY}\":\"{UNKNOWN}\"");
    let found = header.windows(entry.len()).position(|window| window == entry.as_bytes());
    let begin = found.ok_or_else(|| anyhow!("{}: a header without `{CHECKSUM_KEY}`", path.display()))?;
    let mut file = Replacement::begin(path)?;
    let mut sum = 0;
    file.write(|file| {
        file.write_all(header)?;
        write(&mut Summing { file, sum: &mut sum })
    })?;
    file.seek((begin + entry.len() - UNKNOWN.len() - 1) as u64)?;
    file.write(|file| Ok(write!(file, "{sum:08x}")?))?;
    file.commit()
}

/// A file, and the checksum of what was written to it.
struct Summing<'a> {
    file: &'a mut dyn Write,
    sum: &'a mut u32,
}

impl Write for Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        *self.sum = crc32c::crc32c_append(*self.sum, &bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
