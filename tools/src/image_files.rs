//! Images that a command is given, and names for those that it writes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use walkdir::WalkDir;

/// File names that are taken for images when a folder is given.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The images named, and those in the folders named and in folders in them, each once; nothing below `written`, where what is
/// made of them goes.
pub(crate) fn image_files(paths: &[PathBuf], written: Option<&Path>) -> Result<Vec<PathBuf>> {
    let written = written.and_then(|written| fs::canonicalize(written).ok());
    let is_written = |path: &Path| written.is_some() && fs::canonicalize(path).ok() == written;
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            ensure!(path.exists(), "{}: no such image or folder", path.display());
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        let walk = WalkDir::new(path).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_written(entry.path())) {
            let entry = entry.with_context(|| format!("{}: a folder that cannot be read", path.display()))?;
            let extension = entry.path().extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
            let is_image = extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()));
            if is_image && entry.file_type().is_file() {
                found.push(entry.into_path());
            }
        }
        ensure!(!found.is_empty(), "{}: holds no .{} file", path.display(), EXTENSIONS.join(", no ."));
        files.extend(found);
    }
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// Names for written images that neither collide nor replace an image that is read. What is made of an image in a folder
/// within a folder that was named lies in a folder of the same name.
pub(crate) struct FreshNames<'a> {
    folder: &'a Path,
    /// What was named.
    named: &'a [PathBuf],
    taken: BTreeSet<PathBuf>,
}

impl<'a> FreshNames<'a> {
    /// For what goes to `folder` of the images `inputs`, which were found by what was `named`.
    pub(crate) fn new(folder: &'a Path, named: &'a [PathBuf], inputs: &[PathBuf]) -> Self {
        let taken = inputs.iter().filter_map(|input| fs::canonicalize(input).ok()).collect();
        Self { folder, named, taken }
    }

    /// Where all of it goes.
    pub(crate) fn folder(&self) -> &'a Path {
        self.folder
    }

    /// A path for what is made of `input`; its folder is created.
    ///
    /// # Errors
    /// If the folder cannot be read or created.
    pub(crate) fn next(&mut self, input: &Path) -> Result<PathBuf> {
        let stem = input.file_stem().unwrap_or(input.as_os_str()).to_string_lossy().into_owned();
        let below =
            self.named.iter().filter(|named| named.is_dir()).find_map(|named| input.strip_prefix(named).ok());
        let within = below.and_then(Path::parent).unwrap_or(Path::new(""));
        let chosen = self.folder.join(within);
        fs::create_dir_all(&chosen).with_context(|| format!("{}: cannot be created", chosen.display()))?;
        let folder = fs::canonicalize(&chosen)
            .with_context(|| format!("{}: a folder that cannot be read", chosen.display()))?;
        let names = std::iter::once(format!("{stem}.png"))
            .chain((2_usize..).map(|number| format!("{stem}-{number}.png")));
        for name in names {
            if self.taken.insert(folder.join(&name)) {
                return Ok(chosen.join(name));
            }
        }
        unreachable!("there is always another number")
    }
}
