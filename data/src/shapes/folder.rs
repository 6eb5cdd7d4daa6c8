//! The folder of a generated data set: what is in it, and how it comes to be whole or not at all.
//!
//! Nothing is ever deleted that generation did not write. A data set is written to a neighbouring folder
//! `<name>.partial-<process>-<number>` and renamed when whole. That folder holds a file which its writer
//! keeps locked, so one that can be locked by somebody else was left by an interrupted run; it is
//! removed file by file, by the names that generation gives, and stays if it holds anything else.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::layout::{Layout, image_name};
use super::{GENERATOR_VERSION, ShapesConfig, ShapesError, write_error, write_json};

/// Written last; a folder with it was generated.
const MARKER: &str = "shapes.json";

/// Locked by the process that writes a partial folder.
const LOCK: &str = "shapes.lock";

/// Content of the marker file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    generator_version: u32,
    config: ShapesConfig,
    #[serde(default, skip_serializing_if = "Layout::is_coco")]
    layout: Layout,
}

impl Marker {
    fn of(config: &ShapesConfig, layout: Layout) -> Self {
        Self { generator_version: GENERATOR_VERSION, config: *config, layout }
    }

    /// The settings in words.
    fn settings(&self) -> String {
        let Self { generator_version, config: ShapesConfig { seed, train, val, size }, layout } = self;
        let labels = if layout.is_coco() { "" } else { " with label maps" };
        format!(
            "seed {seed}, {train} + {val} images of {size} pixels{labels}, version {generator_version} of the \
             generator"
        )
    }
}

/// Whether the folder holds the whole data set of `config` in this layout; false if there is no folder, or an empty one.
///
/// # Errors
/// When it holds anything else.
pub(super) fn is_complete(folder: &Path, config: &ShapesConfig, layout: Layout) -> Result<bool, ShapesError> {
    let first = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().transpose().map_err(write_error(folder))?,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(cause) => return Err(ShapesError::Write { path: folder.into(), cause }),
    };
    let Some(first) = first else { return Ok(false) };
    let marker = folder.join(MARKER);
    let found: Marker = match fs::read(&marker) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|_| ShapesError::Occupied { path: folder.into(), found: MARKER.into() })?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let found = first.file_name().to_string_lossy().into_owned();
            return Err(ShapesError::Occupied { path: folder.into(), found });
        }
        Err(cause) => return Err(ShapesError::Write { path: marker, cause }),
    };
    let wanted = Marker::of(config, layout);
    if found != wanted {
        let (found, wanted) = (found.settings(), wanted.settings());
        return Err(ShapesError::OtherSettings { path: folder.into(), found, wanted });
    }
    match layout.files(folder, config).find(|file| !file.is_file()) {
        Some(missing) => Err(ShapesError::Damaged { path: folder.into(), missing }),
        None => Ok(true),
    }
}

/// A data set on its way: dropped before it is [finished](Self::finish), it is removed.
pub(super) struct Partial {
    /// Where to write.
    pub(super) folder: PathBuf,
    target: PathBuf,
    config: ShapesConfig,
    layout: Layout,
    /// Keeps others from taking the folder for abandoned.
    lock: File,
}

impl Partial {
    /// Begins a data set that is to lie at `target`, after what interrupted runs left is removed.
    pub(super) fn begin(target: &Path, config: &ShapesConfig, layout: Layout) -> Result<Self, ShapesError> {
        // A link to an empty folder: the data set lies where it points to.
        let target = target.canonicalize().unwrap_or_else(|_| target.into());
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(write_error(parent))?;
        let prefix = partial_prefix(&target);
        remove_abandoned(parent, &prefix);
        let folder = loop {
            // No name is used twice, so that none is taken for the one that was there before.
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let mut name = prefix.clone();
            name.push(format!("{}-{number}", std::process::id()));
            let folder = target.with_file_name(name);
            match fs::create_dir(&folder) {
                Ok(()) => break folder,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(ShapesError::Write { path: folder, cause }),
            }
        };
        let path = folder.join(LOCK);
        let lock = File::create_new(&path).map_err(write_error(&path))?;
        match lock.lock() {
            // Without locks nothing is taken for abandoned either.
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                Err(ShapesError::Write { path, cause: error })
            }
            _ => Ok(Self { folder, target, config: *config, layout, lock }),
        }
    }

    /// Makes the written data set the one at the target.
    pub(super) fn finish(self) -> Result<(), ShapesError> {
        write_json(&self.folder.join(MARKER), &Marker::of(&self.config, self.layout))?;
        // This replaces an empty folder, and none other.
        match fs::rename(&self.folder, &self.target) {
            Ok(()) => {
                let path = self.target.join(LOCK);
                remove_file(&path).map_err(write_error(&path))
            }
            // Another process was faster with the same work.
            Err(_) if is_complete(&self.target, &self.config, self.layout)? => Ok(()),
            Err(cause) => Err(ShapesError::Write { path: self.target.clone(), cause }),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        remove_own(&self.folder);
        // Where there are no locks this says so, and changes nothing.
        let _ = self.lock.unlock();
    }
}

fn partial_prefix(target: &Path) -> OsString {
    let mut prefix = target.file_name().unwrap_or_default().to_os_string();
    prefix.push(".partial-");
    prefix
}

/// Removes the partial folders of `parent` that no process is writing to. What cannot be removed stays,
/// since it is in nobody's way.
fn remove_abandoned(parent: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_partial = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        // A link is not followed.
        if !is_partial || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            remove_own(&entry.path());
        }
    }
}

/// Removes the files that generation writes, and then the folders, unless they hold anything else.
fn remove_own(partial: &Path) {
    let remove = || -> io::Result<()> {
        for (layout, half) in Layout::ALL.into_iter().flat_map(|layout| [(layout, 0), (layout, 1)]) {
            for images in layout.folders(half).iter().map(|images| partial.join(images)) {
                // A link is not followed.
                if fs::symlink_metadata(&images).is_ok_and(|images| images.is_dir()) {
                    remove_images(&images)?;
                }
            }
            layout.list(half).map_or(Ok(()), |list| remove_file(&partial.join(list)))?;
        }
        for parent in Layout::ALL.iter().flat_map(|layout| layout.parents()) {
            remove_empty(&partial.join(parent))?;
        }
        remove_file(&partial.join(MARKER))?;
        remove_file(&partial.join(LOCK))?;
        fs::remove_dir(partial)
    };
    // What is left is in nobody's way, and the next run tries again.
    let _ = remove();
}

/// Removes the images that have names as generation gives them, and then the folder, if it is empty.
fn remove_images(images: &Path) -> io::Result<()> {
    for entry in fs::read_dir(images)? {
        let name = entry?.file_name();
        let index = name.to_str().and_then(|name| name.strip_suffix(".png")?.parse().ok());
        if index.is_some_and(|index| *image_name(index) == *name) {
            fs::remove_file(images.join(name))?;
        }
    }
    fs::remove_dir(images)
}

/// Removes an empty folder, if there is one.
fn remove_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a file, if there is one.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::generate;

    const TINY: ShapesConfig = ShapesConfig { seed: 1, train: 3, val: 2, size: 64 };

    /// An empty folder for one test.
    fn workplace(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cvx-shapes-folder-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn refusal(folder: &Path, config: &ShapesConfig) -> String {
        let before = names(folder);
        let message = generate(folder, config).unwrap_err().to_string();
        assert_eq!(names(folder), before, "files came or went");
        assert!(message.starts_with(&folder.display().to_string()), "{message}");
        message
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let work = workplace("occupied");
        let folder = work.join("data");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("precious.txt"), "years of work").unwrap();
        let message = refusal(&folder, &TINY);
        assert!(message.contains("holds `precious.txt`, which was not generated"), "{message}");
        // A marker that is none makes no difference.
        for content in ["{}", "", r#"{"generator_version": 1}"#] {
            fs::write(folder.join(MARKER), content).unwrap();
            let message = refusal(&folder, &TINY);
            assert!(message.contains("holds `shapes.json`, which was not generated"), "{message}");
        }
        assert_eq!(fs::read_to_string(folder.join("precious.txt")).unwrap(), "years of work");
        fs::write(work.join("file"), "").unwrap();
        assert!(generate(&work.join("file"), &TINY).is_err());
        assert_eq!(names(&work), ["data", "file"]);
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn a_data_set_of_other_settings_is_left_alone_and_both_are_named() {
        let work = workplace("settings");
        let folder = work.join("data");
        generate(&folder, &TINY).unwrap();
        let message = refusal(&folder, &ShapesConfig { seed: 2, train: 4, ..TINY });
        let expected = "holds generated shapes of other settings (seed 1, 3 + 2 images of 64 pixels, \
            version 1 of the generator) than asked for (seed 2, 4 + 2 images of 64 pixels";
        assert!(message.contains(expected), "{message}");
        assert!(message.ends_with("name another folder, or remove this one"), "{message}");
        assert!(is_complete(&folder, &TINY, Layout::Coco).unwrap());
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn a_data_set_with_a_file_missing_is_refused_by_its_name() {
        let work = workplace("damaged");
        let folder = work.join("data");
        generate(&folder, &TINY).unwrap();
        for missing in ["val/000001.png", "train.json"] {
            fs::remove_file(folder.join(missing)).unwrap();
            let message = refusal(&folder, &TINY);
            assert!(message.contains(missing), "{message}");
            fs::write(folder.join(missing), "").unwrap();
        }
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn empty_and_absent_folders_are_filled_and_nothing_else_stays() {
        let work = workplace("empty");
        for folder in ["absent", "deep/absent", "empty"].map(|name| work.join(name)) {
            if folder.ends_with("empty") {
                fs::create_dir(&folder).unwrap();
            }
            generate(&folder, &TINY).unwrap();
            assert_eq!(names(&folder), [MARKER, "train", "train.json", "val", "val.json"]);
        }
        assert_eq!(names(&work), ["absent", "deep", "empty"]);
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn what_an_interrupted_run_left_is_removed_by_the_next() {
        let work = workplace("interrupted");
        let folder = work.join("data");
        let dead = work.join("data.partial-1-0");
        fs::create_dir_all(dead.join("train")).unwrap();
        for file in [LOCK, "train/000000.png", "train/000001.png"] {
            fs::write(dead.join(file), "half").unwrap();
        }
        // Of these, one is being written, one has no lock, and one holds what generation does not write.
        let live = Partial::begin(&folder, &TINY, Layout::Coco).unwrap();
        fs::create_dir(work.join("data.partial-mine")).unwrap();
        fs::create_dir_all(work.join("data.partial-2-0/val")).unwrap();
        for file in [LOCK, "val/holiday.png", "letter"] {
            fs::write(work.join("data.partial-2-0").join(file), "mine").unwrap();
        }
        generate(&folder, &TINY).unwrap();
        assert!(!dead.exists());
        assert!(live.folder.join(LOCK).exists());
        assert!(work.join("data.partial-mine").exists());
        assert!(work.join("data.partial-2-0/val/holiday.png").exists());
        assert!(work.join("data.partial-2-0/letter").exists());
        // The slower of two with the same work has nothing left to do.
        let abandoned = live.folder.clone();
        live.finish().unwrap();
        assert!(!abandoned.exists());
        assert!(is_complete(&folder, &TINY, Layout::Coco).unwrap());
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn a_folder_that_was_filled_meanwhile_is_not_replaced() {
        let work = workplace("meanwhile");
        let folder = work.join("data");
        let partial = Partial::begin(&folder, &TINY, Layout::Coco).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("precious.txt"), "years of work").unwrap();
        assert!(matches!(partial.finish(), Err(ShapesError::Occupied { .. })));
        assert_eq!(names(&folder), ["precious.txt"]);
        assert_eq!(names(&work), ["data"]);
        fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn any_number_of_threads_may_ask_for_one_data_set() {
        let work = workplace("threads");
        let folder = work.join("data");
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| generate(&folder, &TINY).map(drop)));
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(names(&work), ["data"]);
        assert!(is_complete(&folder, &TINY, Layout::Coco).unwrap());
        fs::remove_dir_all(work).unwrap();
    }
}
