//! Images that a command is given, and names for those that it writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// File names that are taken for images when a folder is given.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The images named, and those in the folders named, each once.
pub(crate) fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            ensure!(path.exists(), "{}: no such image or folder", path.display());
            files.push(path.clone());
            continue;
        }
        let cannot_read = || format!("{}: a folder that cannot be read", path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).with_context(cannot_read)? {
            let entry = entry.with_context(cannot_read)?.path();
            let extension = entry.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
                found.push(entry);
            }
        }
        ensure!(!found.is_empty(), "{}: holds no .{} file", path.display(), EXTENSIONS.join(", no ."));
        found.sort();
        files.extend(found);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// Names for written images that neither collide nor replace an image that is read.
pub(crate) struct FreshNames<'a> {
    folder: &'a Path,
    taken: BTreeSet<PathBuf>,
}

impl<'a> FreshNames<'a> {
    pub(crate) fn new(folder: &'a Path, inputs: &[PathBuf]) -> Self {
        let taken = inputs.iter().filter_map(|input| fs::canonicalize(input).ok()).collect();
        Self { folder, taken }
    }

    /// A path for what is made of `input`.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(crate) fn next(&mut self, input: &Path) -> Result<PathBuf> {
        let stem = input.file_stem().unwrap_or(input.as_os_str()).to_string_lossy().into_owned();
        let folder = fs::canonicalize(self.folder)
            .with_context(|| format!("{}: a folder that cannot be read", self.folder.display()))?;
        let names = std::iter::once(format!("{stem}.png"))
            .chain((2_usize..).map(|number| format!("{stem}-{number}.png")));
        for name in names {
            if self.taken.insert(folder.join(&name)) {
                return Ok(self.folder.join(name));
            }
        }
        unreachable!("there is always another number")
    }
}
