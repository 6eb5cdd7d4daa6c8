//! A folder of images and one of label images as samples: ADE20K, CamVid, Cityscapes, PASCAL VOC,
//! COCO-Stuff, and whatever else has a class for each pixel in a PNG file.

mod pairs;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::image_file::read_image;
use crate::label_encoding::{LabelEncoding, LabelEncodingError};
use crate::label_error::LabelError;
use crate::label_map::LabelMap;
use crate::label_png::{LabelPng, label_png_size};
use crate::sample::{DataError, Dataset, Geometry, Sample};

pub use pairs::SegmentationSource;
pub(crate) use pairs::{Pair, Pairing, files_by_stem};

/// Why two folders are no data set.
#[derive(Debug, thiserror::Error)]
pub enum SegmentationFolderError {
    /// A folder or a list could not be read.
    #[error("{}: {cause}", path.display())]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// What the operating system answered.
        cause: std::io::Error,
    },
    /// No image.
    #[error("{}: holds no file that ends in {}", path.display(), suffixes.join(" or "))]
    Empty {
        /// The folder.
        path: PathBuf,
        /// Endings looked for.
        suffixes: Vec<String>,
    },
    /// A list without a name.
    #[error("{}: names no image; possible are names without suffix, one a line", path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// A name in a list twice.
    #[error("{}: line {second} names `{stem}`, as line {first} does", path.display())]
    ListedTwice {
        /// The list.
        path: PathBuf,
        /// The name.
        stem: String,
        /// Line that names it first, from 1.
        first: usize,
        /// Line that names it again, from 1.
        second: usize,
    },
    /// A name in a list that no file has.
    #[error(
        "{}: line {line} names `{stem}`, of which there is no {what} in {}{}",
        path.display(), folder.display(),
        if *others == 0 { String::new() } else { format!(" (and {others} more like it)") }
    )]
    NotFound {
        /// The list.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
        /// What it names.
        stem: String,
        /// `image` or `label image`.
        what: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
        /// How many more lines name something that is not there.
        others: usize,
    },
    /// Two images, or two label images, that one name stands for.
    #[error("{} and {} have the same name, `{stem}`, without their suffixes", first.display(), second.display())]
    SameName {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// What they are called.
        stem: String,
    },
    /// Images without labels, or labels without image.
    #[error("{}", unpaired(images, labels, without_label, without_image, *pairs))]
    Unpaired {
        /// Folder of the images.
        images: PathBuf,
        /// Folder of the label images.
        labels: PathBuf,
        /// Images that have no labels.
        without_label: Vec<PathBuf>,
        /// Label images that have no image.
        without_image: Vec<PathBuf>,
        /// How many pairs there are.
        pairs: usize,
    },
    /// Classes that the label images cannot name.
    #[error("{}: {reason}", labels.display())]
    Encoding {
        /// Folder of the label images.
        labels: PathBuf,
        /// Why.
        reason: LabelEncodingError,
    },
    /// Label images that hold 0 and 255 alone, where 255 is no class.
    #[error(
        "{}: all {masks} label images hold nothing but 0 and 255, of which 255 is no class: they look like binary \
         masks; list the value of each class, `values = [0, 255]`, or, if 255 really is to be ignored, list it as \
         ignored",
        labels.display()
    )]
    Binary {
        /// Folder of the label images.
        labels: PathBuf,
        /// How many there are.
        masks: usize,
    },
}

/// The first of the files that lie alone, and how many there are.
fn unpaired(
    images: &Path,
    labels: &Path,
    without_label: &[PathBuf],
    without_image: &[PathBuf],
    pairs: usize,
) -> String {
    let some = |folder: &Path, alone: &[PathBuf], what: &str| {
        let below = |path: &PathBuf| format!("`{}`", path.strip_prefix(folder).unwrap_or(path).display());
        let names: Vec<_> = alone.iter().take(3).map(below).collect();
        let more = if alone.len() > names.len() { ", .." } else { "" };
        let files = if alone.len() == 1 { "file" } else { "files" };
        format!("{}: {} {files} without {what} ({}{more})", folder.display(), alone.len(), names.join(", "))
    };
    let images = (!without_label.is_empty()).then(|| some(images, without_label, "a label image"));
    let labels = (!without_image.is_empty()).then(|| some(labels, without_image, "an image"));
    let found: Vec<_> = images.into_iter().chain(labels).collect();
    format!(
        "{}; files that are alike but for their suffixes are a pair, of which there are {pairs}",
        found.join("; ")
    )
}

/// Whether samples carry their truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Training,
    Evaluation,
}

/// Images and their labels, of one half of a data set.
#[derive(Clone, Debug)]
pub struct SegmentationFolder {
    pairs: Vec<Pair>,
    encoding: LabelEncoding,
    class_names: Vec<String>,
    purpose: Purpose,
}

impl SegmentationFolder {
    /// All pairs, with labels that the transforms move. An image of which every pixel is ignored stays; it
    /// teaches nothing, and [`check`](crate::check_segmentation) names it.
    ///
    /// # Errors
    /// When a folder cannot be read or is empty, an image or a label image is alone, the classes do not fit
    /// the encoding, or all label images look like binary masks, which the encoding does not expect.
    pub fn for_training(
        source: &SegmentationSource,
        encoding: LabelEncoding,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        Ok(Self::open(source, encoding, class_names, Purpose::Training)?)
    }

    /// All pairs, whose samples carry no labels: the truth is compared in image pixels, which no transform
    /// may have moved. [`labels`](Self::labels) reads it.
    ///
    /// # Errors
    /// As [`for_training`](Self::for_training).
    pub fn for_evaluation(
        source: &SegmentationSource,
        encoding: LabelEncoding,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        Ok(Self::open(source, encoding, class_names, Purpose::Evaluation)?)
    }

    fn open(
        source: &SegmentationSource,
        encoding: LabelEncoding,
        class_names: Vec<String>,
        purpose: Purpose,
    ) -> Result<Self, SegmentationFolderError> {
        let labels = || source.labels.clone();
        encoding
            .check(class_names.len())
            .map_err(|reason| SegmentationFolderError::Encoding { labels: labels(), reason })?;
        let Pairing { pairs, without_label, without_image, not_found } = source.pairing()?;
        if let (Some(first), Some(list)) = (not_found.first(), &source.list) {
            let (what, folder) =
                if first.image { ("label image", &source.labels) } else { ("image", &source.images) };
            return Err(SegmentationFolderError::NotFound {
                path: list.clone(),
                line: first.line,
                stem: first.stem.clone(),
                what,
                folder: folder.clone(),
                others: not_found.len() - 1,
            });
        }
        if !without_label.is_empty() || !without_image.is_empty() {
            let images = source.images.clone();
            let pairs = pairs.len();
            return Err(SegmentationFolderError::Unpaired {
                images,
                labels: labels(),
                without_label,
                without_image,
                pairs,
            });
        }
        if class_names.len() > 1 && looks_binary(labels_of(&pairs), &encoding) {
            return Err(SegmentationFolderError::Binary { labels: labels(), masks: pairs.len() });
        }
        Ok(Self { pairs, encoding, class_names, purpose })
    }

    /// The first `images` of them, or as many as there are.
    #[must_use]
    pub fn head(mut self, images: usize) -> Self {
        self.pairs.truncate(images);
        self
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// Names by class index.
    pub fn class_names(&self) -> Vec<String> {
        self.class_names.clone()
    }

    /// `(width, height)` of every sample, from the headers of the label images: no pixel is decoded.
    ///
    /// # Errors
    /// When a label image cannot be opened or is no PNG.
    pub fn sizes(&self) -> Result<Vec<(u32, u32)>, DataError> {
        self.pairs.par_iter().map(|pair| Ok(label_png_size(&pair.label)?)).collect()
    }

    /// The path of a sample below the folders, without suffix and with `/` between folders: what its
    /// prediction is to be called.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn stem(&self, index: usize) -> &str {
        &self.pairs[index].stem
    }

    /// The image file of a sample.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn image_file(&self, index: usize) -> &Path {
        &self.pairs[index].image
    }

    /// The label file of a sample.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn label_file(&self, index: usize) -> &Path {
        &self.pairs[index].label
    }

    /// The truth of a sample, in image pixels.
    ///
    /// # Errors
    /// When the label image is missing or damaged, or a pixel is no class.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn labels(&self, index: usize) -> Result<LabelMap, DataError> {
        Ok(self.encoding.read(&self.pairs[index].label, self.num_classes())?)
    }
}

impl Dataset for SegmentationFolder {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let pair = &self.pairs[index];
        let image = read_image(&pair.image)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let labels = match self.purpose {
            Purpose::Training => Some(self.labels(index)?),
            Purpose::Evaluation => None,
        };
        let label_size = match &labels {
            Some(labels) => (labels.width, labels.height),
            None => {
                let (width, height) = label_png_size(&pair.label)?;
                (width as usize, height as usize)
            }
        };
        if label_size != (width, height) {
            return Err(wrong_size(pair, label_size, (width, height)).into());
        }
        Ok(Sample {
            image_id: index as u64,
            index,
            file: pair.image.clone(),
            image,
            instances: Vec::new(),
            labels,
            geometry: Geometry::identity(width, height),
        })
    }
}

/// Labels made for an image of another size.
pub(crate) fn wrong_size(
    pair: &Pair,
    (label_width, label_height): (usize, usize),
    (width, height): (usize, usize),
) -> LabelError {
    let (path, image) = (pair.label.clone(), pair.image.clone());
    LabelError::Size { path, image, label_width, label_height, width, height }
}

/// The label images of pairs.
pub(crate) fn labels_of(pairs: &[Pair]) -> impl Iterator<Item = &Path> {
    pairs.iter().map(|pair| pair.label.as_path())
}

/// Whether every label image holds nothing but 0 and 255, both somewhere, though 255 is no class. Stops at
/// the first that holds anything else, or cannot be read, which is usually the first of all.
pub(crate) fn looks_binary<'a>(files: impl IntoIterator<Item = &'a Path>, encoding: &LabelEncoding) -> bool {
    let expects_255 = match encoding {
        LabelEncoding::Index { ignored, .. } => ignored.contains(&LabelMap::IGNORED),
        LabelEncoding::Values { .. } | LabelEncoding::Palette { .. } => true,
    };
    if expects_255 {
        return false;
    }
    let mut seen = [false; 256];
    let all_binary = files.into_iter().all(|file| match LabelPng::read(file) {
        Ok(LabelPng::Indices(map, _)) => {
            let histogram = map.histogram();
            seen[0] |= histogram[0] > 0;
            seen[255] |= histogram[255] > 0;
            histogram[1..255].iter().all(|&count| count == 0)
        }
        _ => false,
    });
    all_binary && seen[0] && seen[255]
}
