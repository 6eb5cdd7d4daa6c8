//! Which image goes with which label image: by path below the two folders, without the suffixes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::SegmentationFolderError;

/// Where images and label images lie, and how their names are paired.
///
/// An image `a/b.jpg` goes with the label image `a/b.png`; Cityscapes' `ulm/ulm_0_leftImg8bit.png` with
/// `ulm/ulm_0_gtFine_labelTrainIds.png`, if these endings are the suffixes. Files with other endings are
/// not looked at, nor are files and folders that begin with a dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentationSource {
    /// Folder of the images, with any folders in it.
    pub images: PathBuf,
    /// Folder of the label images, with the same folders in it; it may be the same one.
    pub labels: PathBuf,
    /// Endings of image files, in any case of the letters.
    pub image_suffixes: Vec<String>,
    /// Ending of label files, in any case of the letters.
    pub label_suffix: String,
    /// A text file that names, one a line and without suffixes, the images that belong to this half
    /// (PASCAL VOC's `ImageSets/Segmentation/train.txt`); without it, all of the two folders do.
    pub list: Option<PathBuf>,
}

impl SegmentationSource {
    /// Images ending in `.jpg`, `.jpeg` or `.png`, labels in `.png`, all of them.
    pub fn new(images: PathBuf, labels: PathBuf) -> Self {
        let image_suffixes = [".jpg", ".jpeg", ".png"].map(String::from).into();
        Self { images, labels, image_suffixes, label_suffix: ".png".into(), list: None }
    }

    /// Finds the pairs, in the order of the list, or else of their names.
    ///
    /// # Errors
    /// When a folder or the list cannot be read, holds nothing, or has two images of one name.
    pub(crate) fn pairing(&self) -> Result<Pairing, SegmentationFolderError> {
        let one_folder = self.images == self.labels;
        let label_suffix = [self.label_suffix.clone()];
        // In a shared folder `a_mask.png` is no image, though it ends like one.
        let other_labels: &[String] = if one_folder { &label_suffix } else { &[] };
        let other_images: &[String] = if one_folder { &self.image_suffixes } else { &[] };
        let mut images = files_by_stem(&self.images, &self.image_suffixes, other_labels)?;
        let mut labels = files_by_stem(&self.labels, &label_suffix, other_images)?;
        if images.is_empty() {
            let suffixes = self.image_suffixes.clone();
            return Err(SegmentationFolderError::Empty { path: self.images.clone(), suffixes });
        }
        let mut pairing = Pairing::default();
        if let Some(list) = &self.list {
            for (line, stem) in listed(list)? {
                match (images.remove(&stem), labels.remove(&stem)) {
                    (Some(image), Some(label)) => pairing.pairs.push(Pair { stem, image, label }),
                    (image, _) => pairing.not_found.push(NotFound { line, stem, image: image.is_some() }),
                }
            }
            return Ok(pairing);
        }
        for (stem, image) in images {
            match labels.remove(&stem) {
                Some(label) => pairing.pairs.push(Pair { stem, image, label }),
                None => pairing.without_label.push(image),
            }
        }
        pairing.without_image = labels.into_values().collect();
        Ok(pairing)
    }
}

/// An image and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Path below the folders, without suffix, with `/` between folders.
    pub(crate) stem: String,
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
}

/// What was found in the two folders.
#[derive(Debug, Default)]
pub(crate) struct Pairing {
    pub(crate) pairs: Vec<Pair>,
    pub(crate) without_label: Vec<PathBuf>,
    pub(crate) without_image: Vec<PathBuf>,
    /// Lines of the list that name no pair.
    pub(crate) not_found: Vec<NotFound>,
}

/// A line of the list.
#[derive(Debug)]
pub(crate) struct NotFound {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) stem: String,
    /// Whether there is an image, so that it is the labels which are missing.
    pub(crate) image: bool,
}

/// Files by their path below `folder` without the suffix. A file that ends in a longer one of the
/// `other_suffixes` is passed over.
pub(crate) fn files_by_stem(
    folder: &Path,
    suffixes: &[String],
    other_suffixes: &[String],
) -> Result<BTreeMap<String, PathBuf>, SegmentationFolderError> {
    let longest = |name: &str, suffixes: &[String]| {
        suffixes.iter().filter(|suffix| ends_with(name, suffix)).map(String::len).max()
    };
    let mut files = Vec::new();
    walk(folder, "", &mut files).map_err(|(path, cause)| SegmentationFolderError::Read { path, cause })?;
    let mut by_stem = BTreeMap::new();
    for (name, path) in files {
        let Some(length) = longest(&name, suffixes) else { continue };
        if longest(&name, other_suffixes).is_some_and(|other| other > length) {
            continue;
        }
        let stem = name[..name.len() - length].to_owned();
        if let Some(first) = by_stem.insert(stem.clone(), path.clone()) {
            return Err(SegmentationFolderError::SameName { first, second: path, stem });
        }
    }
    Ok(by_stem)
}

/// Whether a name has the ending, and more than that; the case of ASCII letters does not matter.
fn ends_with(name: &str, suffix: &str) -> bool {
    let start =
        name.len().checked_sub(suffix.len()).filter(|&start| start > 0 && name.is_char_boundary(start));
    start.is_some_and(|start| !name[..start].ends_with('/') && name[start..].eq_ignore_ascii_case(suffix))
}

/// All files below `folder`, in the order of their names, with their names below it.
fn walk(folder: &Path, below: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |cause| (folder.to_path_buf(), cause);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.push((name, path));
        }
    }
    entries.sort();
    for (name, path) in entries {
        let name = format!("{below}{name}");
        if path.is_dir() {
            walk(&path, &format!("{name}/"), files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

/// Numbers, from 1, and content of the lines that are not blank.
fn listed(list: &Path) -> Result<Vec<(usize, String)>, SegmentationFolderError> {
    let text = fs::read_to_string(list)
        .map_err(|cause| SegmentationFolderError::Read { path: list.into(), cause })?;
    let lines: Vec<_> = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return Err(SegmentationFolderError::EmptyList { path: list.into() });
    }
    let mut first = BTreeMap::new();
    for (line, stem) in &lines {
        if let Some(earlier) = first.insert(stem, *line) {
            let (path, stem) = (list.into(), stem.clone());
            return Err(SegmentationFolderError::ListedTwice { path, stem, first: earlier, second: *line });
        }
    }
    Ok(lines)
}
