//! Which files a generated data set consists of: COCO's, or ADE20K's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ShapesConfig;

/// In whose layout a data set is written. The images are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layout {
    /// `train/`, `val/`, and a json for each.
    #[default]
    Coco,
    /// `images/` and `annotations/`, each with `training/` and `validation/`.
    LabelMaps,
}

/// Folders with an image file for every image of the training and of the validation half.
const COCO_FOLDERS: [[&str; 1]; 2] = [["train"], ["val"]];
const LABEL_MAP_FOLDERS: [[&str; 2]; 2] =
    [["images/training", "annotations/training"], ["images/validation", "annotations/validation"]];

impl Layout {
    pub(super) const ALL: [Self; 2] = [Self::Coco, Self::LabelMaps];

    /// Whether it needs no mention: data sets were generated before there was another.
    pub(super) fn is_coco(&self) -> bool {
        *self == Self::Coco
    }

    /// Folders of the training half (0) or the validation half (1): the images first.
    pub(super) fn folders(self, half: usize) -> &'static [&'static str] {
        match self {
            Self::Coco => &COCO_FOLDERS[half],
            Self::LabelMaps => &LABEL_MAP_FOLDERS[half],
        }
    }

    /// Folders that hold those of the halves, and nothing else.
    pub(super) fn parents(self) -> &'static [&'static str] {
        match self {
            Self::Coco => &[],
            Self::LabelMaps => &["images", "annotations"],
        }
    }

    /// The file besides the images that describes a half.
    pub(super) fn list(self, half: usize) -> Option<&'static str> {
        match self {
            Self::Coco => Some(["train.json", "val.json"][half]),
            Self::LabelMaps => None,
        }
    }

    /// Every file of a data set in `folder` but the marker.
    pub(super) fn files(self, folder: &Path, config: &ShapesConfig) -> impl Iterator<Item = PathBuf> {
        let counts = [config.train, config.val];
        (0..2).flat_map(move |half| {
            let images = self.folders(half).iter().flat_map(move |images| {
                let images = folder.join(images);
                (0..counts[half]).map(move |index| images.join(image_name(index)))
            });
            images.chain(self.list(half).map(|list| folder.join(list)))
        })
    }
}

/// File name of an image in the folder of its half.
pub(super) fn image_name(index: usize) -> String {
    format!("{index:06}.png")
}
