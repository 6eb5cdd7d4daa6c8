//! Panoptic annotation and result files: JSON that lists the segments of PNG maps, as COCO's panoptic task has them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use thiserror::Error;

use crate::image_file::{ImageFileError, read_image};
use crate::panoptic::{PanopticCategory, PanopticEvaluator, PanopticMetrics, PanopticSegment};

/// A panoptic JSON file and the folder of its maps.
#[derive(Clone, Debug)]
pub struct PanopticFile {
    path: PathBuf,
    folder: PathBuf,
    categories: Vec<PanopticCategory>,
    images: Vec<PanopticImage>,
}

#[derive(Clone, Debug)]
struct PanopticImage {
    id: u64,
    file_name: String,
    segments: Vec<PanopticSegment>,
}

/// Panoptic files that cannot be used.
#[derive(Debug, Error)]
pub enum PanopticError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: std::io::Error,
    },
    /// The text is not JSON, or an entry lacks or misuses a key.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where, and what is possible.
        reason: serde_json::Error,
    },
    /// A map that is no image.
    #[error(transparent)]
    Image(#[from] ImageFileError),
    /// An image without a prediction.
    #[error("{}: image {image} has no prediction", path.display())]
    NoPrediction {
        /// The file of predictions.
        path: PathBuf,
        /// The image.
        image: u64,
    },
    /// A prediction's map of another size.
    #[error("{}: the map is {found} (width x height); possible is {expected}", path.display())]
    Size {
        /// The map.
        path: PathBuf,
        /// Its size.
        found: String,
        /// The truth's.
        expected: String,
    },
    /// A segment in a map that the JSON does not list, or the other way round.
    #[error("{}: image {image}: segment {segment} is in the {found_in} and not in the {missing_in}", path.display())]
    Segment {
        /// The JSON file.
        path: PathBuf,
        /// The image.
        image: u64,
        /// The segment's id.
        segment: u32,
        /// `map` or `list`.
        found_in: &'static str,
        /// The other.
        missing_in: &'static str,
    },
    /// A segment of a category that the truth does not list.
    #[error("{}: image {image}: segment {segment} has category {found}, which the truth does not list", path.display())]
    Category {
        /// The JSON file.
        path: PathBuf,
        /// The image.
        image: u64,
        /// The segment's id.
        segment: u32,
        /// Its category.
        found: u64,
    },
}

// Other programs' keys are many and harmless: nothing here is written by hand.
#[derive(Deserialize)]
struct JsonFile {
    #[serde(default)]
    categories: Vec<JsonCategory>,
    annotations: Vec<JsonAnnotation>,
}

#[derive(Deserialize)]
struct JsonCategory {
    id: u64,
    name: String,
    isthing: u8,
}

#[derive(Deserialize)]
struct JsonAnnotation {
    image_id: u64,
    file_name: String,
    segments_info: Vec<JsonSegment>,
}

#[derive(Deserialize)]
struct JsonSegment {
    id: u32,
    category_id: u64,
    #[serde(default)]
    iscrowd: u8,
    #[serde(default)]
    area: u64,
}

impl PanopticFile {
    /// Reads a file. Its maps lie in `folder`; without one, in the folder that is called like the file without `.json`.
    ///
    /// # Errors
    /// If it cannot be read, is not JSON, or an entry lacks or misuses a key.
    pub fn open(path: &Path, folder: Option<&Path>) -> Result<Self, PanopticError> {
        let text = fs::read(path).map_err(|reason| PanopticError::Read { path: path.to_owned(), reason })?;
        let json: JsonFile = serde_json::from_slice(&text)
            .map_err(|reason| PanopticError::Json { path: path.to_owned(), reason })?;
        let category = |found: JsonCategory| PanopticCategory {
            id: found.id,
            name: found.name,
            is_thing: found.isthing == 1,
        };
        let segment = |found: JsonSegment| PanopticSegment {
            id: found.id,
            category_id: found.category_id,
            is_crowd: found.iscrowd == 1,
            area: found.area,
        };
        let image = |found: JsonAnnotation| PanopticImage {
            id: found.image_id,
            file_name: found.file_name,
            segments: found.segments_info.into_iter().map(segment).collect(),
        };
        Ok(Self {
            path: path.to_owned(),
            folder: folder.map_or_else(|| path.with_extension(""), Path::to_owned),
            categories: json.categories.into_iter().map(category).collect(),
            images: json.annotations.into_iter().map(image).collect(),
        })
    }

    /// Compares a file of predictions with this truth.
    ///
    /// # Errors
    /// If an image of the truth has no prediction, a map cannot be read or has another size, or a predicted segment is
    /// not in both map and list, or has an unknown category.
    pub fn score(&self, predictions: &Self) -> Result<PanopticMetrics, PanopticError> {
        let known: HashSet<u64> = self.categories.iter().map(|category| category.id).collect();
        let by_image: HashMap<u64, &PanopticImage> =
            predictions.images.iter().map(|image| (image.id, image)).collect();
        let evaluate = |truth: &PanopticImage| {
            let found = by_image.get(&truth.id).ok_or_else(|| PanopticError::NoPrediction {
                path: predictions.path.clone(),
                image: truth.id,
            })?;
            let (size, truth_map) = read_map(&self.folder.join(&truth.file_name))?;
            let found_path = predictions.folder.join(&found.file_name);
            let (found_size, found_map) = read_map(&found_path)?;
            if found_size != size {
                let [expected, found] =
                    [size, found_size].map(|[width, height]| format!("{width} x {height}"));
                return Err(PanopticError::Size { path: found_path, found, expected });
            }
            predictions.check(found, &found_map, &known)?;
            let mut evaluator = PanopticEvaluator::new(self.categories.clone());
            evaluator.add(truth.id, &truth_map, &truth.segments, &found_map, &found.segments);
            Ok(evaluator)
        };
        let evaluated: Vec<Result<PanopticEvaluator, PanopticError>> =
            self.images.par_iter().map(evaluate).collect();
        let mut all = PanopticEvaluator::new(self.categories.clone());
        for evaluator in evaluated {
            all.merge(evaluator?);
        }
        Ok(all.finish())
    }

    fn check(&self, found: &PanopticImage, map: &[u32], known: &HashSet<u64>) -> Result<(), PanopticError> {
        let in_map: HashSet<u32> = map.iter().copied().collect();
        let listed: HashSet<u32> = found.segments.iter().map(|segment| segment.id).collect();
        let differs = |segment: &u32, found_in, missing_in| PanopticError::Segment {
            path: self.path.clone(),
            image: found.id,
            segment: *segment,
            found_in,
            missing_in,
        };
        if let Some(segment) = in_map.iter().filter(|id| **id != 0 && !listed.contains(id)).min() {
            return Err(differs(segment, "map", "list"));
        }
        if let Some(segment) = listed.iter().filter(|id| !in_map.contains(id)).min() {
            return Err(differs(segment, "list", "map"));
        }
        match found.segments.iter().find(|segment| !known.contains(&segment.category_id)) {
            Some(segment) => Err(PanopticError::Category {
                path: self.path.clone(),
                image: found.id,
                segment: segment.id,
                found: segment.category_id,
            }),
            None => Ok(()),
        }
    }
}

/// Width and height, and the id of every pixel: red + 256 green + 65536 blue.
fn read_map(path: &Path) -> Result<([u32; 2], Vec<u32>), PanopticError> {
    let image = read_image(path)?;
    let id = |pixel: &image::Rgb<u8>| {
        let [red, green, blue] = pixel.0.map(u32::from);
        red | green << 8 | blue << 16
    };
    Ok(([image.width(), image.height()], image.pixels().map(id).collect()))
}
