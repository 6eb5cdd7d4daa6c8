//! What is doubtful about a folder of images and label images: every label is read.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::coco_check::Problem;
use crate::image_file::{image_size, read_image};
use crate::label_encoding::LabelEncoding;
use crate::label_map::LabelMap;
use crate::segmentation_folder::{
    Pair, Pairing, SegmentationFolderError, SegmentationSource, labels_of, looks_binary, wrong_size,
};

/// What a data set holds, and what would hurt a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentationReport {
    /// All doubtful files and classes: those that lie alone, then pairs in their order, then classes.
    pub problems: Vec<Problem>,
    /// Number of pairs of an image and a label image.
    pub images: usize,
    /// By class index; files that cannot be read are not counted.
    pub classes: Vec<ClassCount>,
    /// Pixels that are ignored.
    pub ignored_pixels: u64,
}

/// How often a class occurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// Pixels, in all images.
    pub pixels: u64,
    /// Images with such a pixel.
    pub images: u64,
}

/// How much of the images is read; label images are always decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImagesRead {
    /// Their headers: whether the file is there, and its size.
    Headers,
    /// Every pixel: whether they can be trained on.
    Pixels,
}

/// Reads every label image, of the first `most` pairs by name where that is given, and as much of the images as asked for,
/// on all threads; calls `done` after each pair.
///
/// Problems that [`SegmentationFolder`](crate::SegmentationFolder) refuses, at once or when the sample is
/// read, are fatal: files without a partner, damaged ones, different sizes, pixels that are no class, and
/// binary masks that are not declared. Images of a single pixel, images of which every pixel is ignored, and
/// classes that never occur are not.
///
/// # Errors
/// When a folder or the list cannot be read or is empty, or the classes do not fit the encoding.
pub fn check_segmentation(
    source: &SegmentationSource,
    encoding: &LabelEncoding,
    class_names: &[String],
    most: Option<usize>,
    images: ImagesRead,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Result<SegmentationReport, SegmentationFolderError> {
    encoding
        .check(class_names.len())
        .map_err(|reason| SegmentationFolderError::Encoding { labels: source.labels.clone(), reason })?;
    let pairing = source.pairing()?;
    let mut problems = alone(source, &pairing);
    let Pairing { mut pairs, .. } = pairing;
    pairs.truncate(most.unwrap_or(usize::MAX));
    if class_names.len() > 1 && looks_binary(labels_of(&pairs), encoding) {
        let error = SegmentationFolderError::Binary { labels: source.labels.clone(), masks: pairs.len() };
        problems.push(problem("undeclared masks", &source.labels, "values", &error.to_string(), true));
    }

    let doubts = |pair| {
        let found = doubts(pair, encoding, class_names.len(), images);
        done(1, pairs.len());
        found
    };
    let found: Vec<_> = pairs.par_iter().map(doubts).collect();
    let mut classes = vec![ClassCount::default(); class_names.len()];
    let mut ignored_pixels = 0;
    for (doubts, counts) in found {
        problems.extend(doubts);
        for (value, pixels) in counts {
            match classes.get_mut(usize::from(value)) {
                Some(class) => {
                    class.pixels += pixels;
                    class.images += 1;
                }
                None => ignored_pixels += pixels,
            }
        }
    }
    for (index, _) in classes.iter().enumerate().filter(|(_, class)| class.pixels == 0) {
        let what = format!("`{}` occurs in no label image", class_names[index]);
        problems.push(problem(
            "classes without an example",
            &source.labels,
            &format!("class {index}"),
            &what,
            false,
        ));
    }
    Ok(SegmentationReport { problems, images: pairs.len(), classes, ignored_pixels })
}

/// Files and lines of the list without a partner.
fn alone(source: &SegmentationSource, pairing: &Pairing) -> Vec<Problem> {
    let no = |what: &str, folder: &Path| format!("there is no {what} of this name in {}", folder.display());
    let without_label = pairing.without_label.iter().map(|image| {
        problem("images without labels", image, "labels", &no("label image", &source.labels), true)
    });
    let without_image = pairing
        .without_image
        .iter()
        .map(|label| problem("labels without an image", label, "image", &no("image", &source.images), true));
    let list = source.list.clone().unwrap_or_default();
    let not_found = pairing.not_found.iter().map(|line| {
        let what = if line.image { no("label image", &source.labels) } else { no("image", &source.images) };
        problem(
            "lines of the list without a file",
            &list,
            &format!("line {} (`{}`)", line.line, line.stem),
            &what,
            true,
        )
    });
    without_label.chain(without_image).chain(not_found).collect()
}

/// What is doubtful about one pair, and how many pixels its labels have of each value.
fn doubts(
    pair: &Pair,
    encoding: &LabelEncoding,
    num_classes: usize,
    images: ImagesRead,
) -> (Vec<Problem>, Vec<(u8, u64)>) {
    let mut problems = Vec::new();
    let size = match images {
        ImagesRead::Headers => image_size(&pair.image),
        ImagesRead::Pixels => read_image(&pair.image).map(|image| image.dimensions()),
    };
    let size = match size {
        Ok((width, height)) => Some((width as usize, height as usize)),
        Err(error) => {
            problems.push(problem("unreadable images", &pair.image, "image", &error.to_string(), true));
            None
        }
    };
    let labels = match encoding.read(&pair.label, num_classes) {
        Ok(labels) => labels,
        Err(error) => {
            problems.push(problem(
                "labels that cannot be used",
                &pair.label,
                "labels",
                &error.to_string(),
                true,
            ));
            return (problems, Vec::new());
        }
    };
    let label_size = (labels.width, labels.height);
    if let Some(size) = size.filter(|&size| size != label_size) {
        let what = wrong_size(pair, label_size, size).to_string();
        problems.push(problem("labels of another size", &pair.label, "size", &what, true));
    }
    if label_size == (1, 1) {
        let what = "the labels are of 1 x 1 pixels: a single pixel has no surroundings to learn from";
        problems.push(problem("images of one pixel", &pair.label, "size", what, false));
    }
    let histogram = labels.histogram();
    if histogram[usize::from(LabelMap::IGNORED)] == labels.pixels.len() as u64 {
        problems.push(problem(
            "images without labelled pixels",
            &pair.label,
            "labels",
            "every pixel is ignored: the image teaches nothing",
            false,
        ));
    }
    let counts = (0..=255).zip(histogram).filter(|&(_, pixels)| pixels > 0).collect();
    (problems, counts)
}

/// A message that begins with its file is not to name it twice.
fn problem(kind: &'static str, path: &Path, entry: &str, what: &str, is_fatal: bool) -> Problem {
    let what = what.strip_prefix(&format!("{}: ", path.display())).unwrap_or(what);
    Problem { path: PathBuf::from(path), kind, entry: entry.into(), what: what.into(), is_fatal }
}
