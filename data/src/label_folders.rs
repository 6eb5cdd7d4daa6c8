//! A folder of predicted label images against one of true ones: a confusion matrix from files alone.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::label_encoding::LabelEncoding;
use crate::label_error::LabelError;
use crate::label_map::LabelMap;
use crate::label_png::{LabelPng, read_label_png};
use crate::mean_iou::ConfusionMatrix;
use crate::segmentation_folder::{SegmentationFolderError, files_by_stem, looks_binary};

/// Two folders whose label images go together by their names, as in
/// [`SegmentationSource`](crate::SegmentationSource).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFolders {
    /// Folder of the true ones, with any folders in it.
    pub truth: PathBuf,
    /// Ending of their names, in any case of the letters.
    pub truth_suffix: String,
    /// Folder of the predicted ones, with the same folders in it.
    pub predictions: PathBuf,
    /// Ending of their names, in any case of the letters.
    pub prediction_suffix: String,
}

/// A true label image and the one that was predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPair {
    /// The true one.
    pub truth: PathBuf,
    /// The predicted one.
    pub prediction: PathBuf,
}

/// What the values of predicted label images mean. Values that are no class are no error: such pixels are missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PredictionEncoding {
    /// Class indices; `first` is the value of the first class, 0 or 1.
    Index {
        /// Its value.
        first: u8,
    },
    /// Each class has a value of its own.
    Values {
        /// The value of each class, in the order of the classes.
        values: Vec<u8>,
    },
    /// Colours of the classes, or indices in files that have no colours.
    Palette {
        /// Red, green and blue of each class, in the order of the classes.
        colors: Vec<[u8; 3]>,
        /// Colours of pixels that are taken for no class.
        ignored: Vec<[u8; 3]>,
    },
}

/// Why two folders cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum LabelFoldersError {
    /// A folder that cannot be read, or has two files of one name.
    #[error(transparent)]
    Folder(#[from] SegmentationFolderError),
    /// Label images of one folder that the other lacks.
    #[error(
        "{}: {} of {} label images {} in {} ({}{})",
        folder.display(), names.len(), of, if names.len() == 1 { "has no partner" } else { "have no partner" },
        other.display(), names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        if names.len() > 3 { ", .." } else { "" }
    )]
    Unpaired {
        /// The folder.
        folder: PathBuf,
        /// Those that are alone, by name without suffix.
        names: Vec<String>,
        /// How many label images it has.
        of: usize,
        /// The other folder.
        other: PathBuf,
    },
    /// A label image that cannot be used.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Prediction and truth of different sizes.
    #[error(
        "{}: is {} x {} pixels, the truth {} is {} x {}",
        prediction.display(), found[0], found[1], truth.display(), expected[0], expected[1]
    )]
    Size {
        /// The predicted one.
        prediction: PathBuf,
        /// Its width and height.
        found: [usize; 2],
        /// The true one.
        truth: PathBuf,
        /// Its width and height.
        expected: [usize; 2],
    },
}

impl LabelFolders {
    /// Finds the pairs, in the order of their names.
    ///
    /// # Errors
    /// When a folder cannot be read, holds no label image or two of one name, or when one of them has no partner.
    pub fn pairs(&self) -> Result<Vec<LabelPair>, LabelFoldersError> {
        let files = |folder: &Path, suffix: &String| {
            let files = files_by_stem(folder, std::slice::from_ref(suffix), &[])?;
            if files.is_empty() {
                let suffixes = vec![suffix.clone()];
                return Err(SegmentationFolderError::Empty { path: folder.into(), suffixes });
            }
            Ok(files)
        };
        let truths = files(&self.truth, &self.truth_suffix)?;
        let mut predictions = files(&self.predictions, &self.prediction_suffix)?;
        let unpaired = |folder: &Path, names: Vec<String>, of, other: &Path| {
            if names.is_empty() {
                return Ok(());
            }
            Err(LabelFoldersError::Unpaired { folder: folder.into(), names, of, other: other.into() })
        };
        let alone = truths.keys().filter(|name| !predictions.contains_key(*name)).cloned().collect();
        unpaired(&self.truth, alone, truths.len(), &self.predictions)?;
        let alone = predictions.keys().filter(|name| !truths.contains_key(*name)).cloned().collect();
        unpaired(&self.predictions, alone, predictions.len(), &self.truth)?;
        let pair = |(name, truth)| Some(LabelPair { truth, prediction: predictions.remove(&name)? });
        Ok(truths.into_iter().filter_map(pair).collect())
    }

    /// Refuses true label images that hold nothing but 0 and 255 where 255 is no class: what is not the first class would be
    /// ignored, and everything right.
    ///
    /// # Errors
    /// If they are such.
    pub fn refuse_masks(&self, pairs: &[LabelPair], truth: &LabelEncoding) -> Result<(), LabelFoldersError> {
        if !looks_binary(pairs.iter().map(|pair| pair.truth.as_path()), truth) {
            return Ok(());
        }
        Err(SegmentationFolderError::Binary { labels: self.truth.clone(), masks: pairs.len() }.into())
    }
}

impl LabelPair {
    /// What was taken for what in all pairs, on all threads; `progress` is called after each, from any of them.
    ///
    /// # Errors
    /// Of the first pair that cannot be used: a label image that cannot be read, a true value that is no class, or
    /// images of different sizes.
    ///
    /// # Panics
    /// When there are no or too many classes for the encoding.
    pub fn confusion(
        pairs: &[Self],
        truth: &LabelEncoding,
        prediction: &PredictionEncoding,
        num_classes: usize,
        progress: &(dyn Fn() + Sync),
    ) -> Result<ConfusionMatrix, LabelFoldersError> {
        let count = |mut matrix: ConfusionMatrix, pair: &Self| {
            let truths = truth.read(&pair.truth, num_classes)?;
            let predictions = prediction.read(&pair.prediction, num_classes)?;
            let size = |map: &LabelMap| [map.width, map.height];
            let (found, expected) = (size(&predictions), size(&truths));
            if found != expected {
                let LabelPair { prediction, truth } = pair.clone();
                return Err(LabelFoldersError::Size { prediction, found, truth, expected });
            }
            matrix.add(&truths, &predictions);
            progress();
            Ok(matrix)
        };
        // One after the other within a part, the parts at the same time: the first error is that of the first pair.
        let parts: Vec<Result<ConfusionMatrix, LabelFoldersError>> = pairs
            .par_chunks(pairs.len().div_ceil(4 * rayon::current_num_threads()).max(1))
            .map(|pairs| pairs.iter().try_fold(ConfusionMatrix::new(num_classes), count))
            .collect();
        parts.into_iter().try_fold(ConfusionMatrix::new(num_classes), |mut all, part| {
            all.merge(&part?);
            Ok(all)
        })
    }
}

impl PredictionEncoding {
    fn read(&self, path: &Path, num_classes: usize) -> Result<LabelMap, LabelError> {
        match self {
            Self::Index { first } => {
                let mut map = read_label_png(path, None)?;
                if *first > 0 {
                    map.pixels.iter_mut().for_each(|pixel| *pixel = pixel.wrapping_sub(*first));
                }
                Ok(map)
            }
            Self::Values { values } => {
                let mut map = read_label_png(path, None)?;
                let class = |value: u8| values.iter().position(|own| *own == value);
                let table: [u8; 256] = std::array::from_fn(|value| {
                    class(value as u8).map_or(LabelMap::IGNORED, |class| class as u8)
                });
                map.pixels.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
                Ok(map)
            }
            Self::Palette { colors, ignored } => match LabelPng::read(path)? {
                LabelPng::Indices(map, None) => Ok(map),
                png => {
                    let encoding =
                        LabelEncoding::Palette { colors: colors.clone(), ignored: ignored.clone() };
                    encoding.classes(png, path, num_classes)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_encoding::ZeroLabel;
    use crate::label_png::write_label_png;
    use crate::mean_iou::Convention;

    const INDEX: PredictionEncoding = PredictionEncoding::Index { first: 0 };

    fn class_indices(zero: ZeroLabel) -> LabelEncoding {
        LabelEncoding::Index { zero, ignored: Vec::new() }
    }

    /// Folders `truth` and `predictions` with label images of two pixels.
    fn folders(
        truths: &[(&str, [u8; 2])],
        predictions: &[(&str, [u8; 2])],
    ) -> (tempfile::TempDir, LabelFolders) {
        let folder = tempfile::tempdir().unwrap();
        for (kind, files) in [("truth", truths), ("predictions", predictions)] {
            for (name, pixels) in files {
                let path = folder.path().join(kind).join(format!("{name}.png"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let map = LabelMap { width: 2, height: 1, pixels: pixels.to_vec() };
                write_label_png(&path, &map, &[]).unwrap();
            }
        }
        let path = |kind| folder.path().join(kind);
        let folders = LabelFolders {
            truth: path("truth"),
            truth_suffix: ".png".into(),
            predictions: path("predictions"),
            prediction_suffix: ".png".into(),
        };
        (folder, folders)
    }

    fn message(error: impl std::fmt::Display, folder: &tempfile::TempDir) -> String {
        error.to_string().replace(&folder.path().display().to_string(), "")
    }

    #[test]
    fn files_are_paired_by_name_and_every_pixel_counts() {
        let (_folder, folders) =
            folders(&[("a/x", [0, 1]), ("b/x", [2, 255])], &[("a/x", [0, 0]), ("b/x", [2, 2])]);
        let pairs = folders.pairs().unwrap();
        let matrix =
            LabelPair::confusion(&pairs, &class_indices(ZeroLabel::Class), &INDEX, 3, &|| ()).unwrap();
        assert_eq!([matrix.count(0, 0), matrix.count(1, 0), matrix.count(2, 2)], [1, 1, 1]);
        assert_eq!(matrix.metrics(Convention::Mmseg).pixel_accuracy, Some(2.0 / 3.0));
    }

    #[test]
    fn predictions_may_count_from_one_and_hold_what_is_no_class() {
        let (_folder, folders) = folders(&[("x", [1, 2])], &[("x", [1, 0])]);
        let pairs = folders.pairs().unwrap();
        let truth = class_indices(ZeroLabel::Ignored);
        let from_one = PredictionEncoding::Index { first: 1 };
        let matrix = LabelPair::confusion(&pairs, &truth, &from_one, 2, &|| ()).unwrap();
        assert_eq!((matrix.count(0, 0), matrix.out_of_range(1)), (1, 1));
    }

    #[test]
    fn masks_are_refused_until_their_values_are_said() {
        let (folder, folders) = folders(&[("x", [0, 255]), ("y", [0, 0])], &[("x", [0, 0]), ("y", [7, 255])]);
        let pairs = folders.pairs().unwrap();
        let error = folders.refuse_masks(&pairs, &class_indices(ZeroLabel::Class)).unwrap_err();
        let expected = "/truth: all 2 label images hold nothing but 0 and 255, of which 255 is no class";
        assert!(message(error, &folder).starts_with(expected));
        let values = vec![0, 255];
        let truth = LabelEncoding::Values { values: values.clone(), ignored: Vec::new() };
        folders.refuse_masks(&pairs, &truth).unwrap();
        let prediction = PredictionEncoding::Values { values };
        let matrix = LabelPair::confusion(&pairs, &truth, &prediction, 2, &|| ()).unwrap();
        let counts = [matrix.count(0, 0), matrix.count(0, 1), matrix.count(1, 0), matrix.out_of_range(0)];
        assert_eq!(counts, [1, 1, 1, 1]);
    }

    #[test]
    fn label_images_without_partner_are_named() {
        let (folder, folders) = folders(&[("x", [0, 0]), ("y", [0, 0])], &[("x", [0, 0])]);
        let error = message(folders.pairs().unwrap_err(), &folder);
        assert_eq!(error, "/truth: 1 of 2 label images has no partner in /predictions (`y`)");
        let back = LabelFolders { truth: folders.predictions, predictions: folders.truth, ..folders };
        let error = message(back.pairs().unwrap_err(), &folder);
        assert_eq!(error, "/truth: 1 of 2 label images has no partner in /predictions (`y`)");
    }

    #[test]
    fn sizes_and_true_values_must_fit() {
        let (folder, folders) = folders(&[("x", [0, 7])], &[("x", [0, 0])]);
        let pairs = folders.pairs().unwrap();
        let truth = class_indices(ZeroLabel::Class);
        let error = LabelPair::confusion(&pairs, &truth, &INDEX, 3, &|| ()).unwrap_err();
        let expected = "/truth/x.png: the value 7 in 1 pixel, the first in column 1, row 0; possible are 0 to 2, and 255 for ignored pixels";
        assert_eq!(message(error, &folder), expected);
        let map = LabelMap { width: 1, height: 2, pixels: vec![0, 0] };
        write_label_png(&pairs[0].prediction, &map, &[]).unwrap();
        let error = LabelPair::confusion(&pairs, &truth, &INDEX, 8, &|| ()).unwrap_err();
        let expected = "/predictions/x.png: is 1 x 2 pixels, the truth /truth/x.png is 2 x 1";
        assert_eq!(message(error, &folder), expected);
    }
}
