//! COCO images and their instances as samples, by mmdet's rules of what is trained on.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::boxes::BoxXyxy;
use crate::coco::{Annotation, Coco, CocoImage};
use crate::image_file::read_image;
use crate::mask::Mask;
use crate::sample::{DataError, Dataset, Geometry, Instance, Sample};

/// Images with a shorter side are not trained on (mmdet's `filter_cfg.min_size`).
pub const MIN_TRAINING_SIDE: u32 = 32;

/// A COCO data set: the annotations, and the folder its file names lie in.
pub struct CocoDataset {
    coco: Arc<Coco>,
    folder: PathBuf,
    /// Indices into the images of the json, and for each the indices of its annotations.
    entries: Vec<(usize, Vec<usize>)>,
    class_of: HashMap<u64, usize>,
    categories: Vec<(u64, String)>,
}

impl CocoDataset {
    /// Images to train on: those with a side under [`MIN_TRAINING_SIDE`] or without any annotation
    /// of the classes are left out, and so are objects whose area is not positive, whose box is less
    /// than a pixel wide or high, or lies outside the image. Crowd regions stay, flagged.
    ///
    /// An image whose annotations are all of the kinds left out stays, as in mmdet, and teaches
    /// background.
    ///
    /// # Errors
    /// When nothing is left.
    pub fn for_training(coco: Arc<Coco>, folder: PathBuf) -> Result<Self, DataError> {
        let mut dataset = Self::for_evaluation(Arc::clone(&coco), folder);
        let position: HashMap<u64, usize> = dataset
            .entries
            .iter()
            .enumerate()
            .map(|(position, (image, _))| (coco.images[*image].id, position))
            .collect();
        let mut annotated = HashSet::new();
        for (index, annotation) in coco.annotations.iter().enumerate() {
            let Some(&position) = position.get(&annotation.image_id) else { continue };
            if dataset.class_of.contains_key(&annotation.category_id) {
                annotated.insert(position);
                let entry = &mut dataset.entries[position];
                if is_trained_on(annotation, &coco.images[entry.0]) {
                    entry.1.push(index);
                }
            }
        }
        let mut position = 0;
        dataset.entries.retain(|(image, _)| {
            let image = &coco.images[*image];
            let kept = annotated.contains(&position) && image.width.min(image.height) >= MIN_TRAINING_SIDE;
            position += 1;
            kept
        });
        if dataset.entries.is_empty() {
            return Err(DataError::NothingToTrainOn {
                path: coco.path.clone(),
                images: coco.images.len(),
                min_side: MIN_TRAINING_SIDE,
            });
        }
        Ok(dataset)
    }

    /// Every image, in the order of the json, without instances: an evaluator reads the truth from
    /// the same [`Coco`].
    pub fn for_evaluation(coco: Arc<Coco>, folder: PathBuf) -> Self {
        let mut categories: Vec<(u64, String)> =
            coco.categories.iter().map(|category| (category.id, category.name.clone())).collect();
        categories.sort_by_key(|(id, _)| *id);
        let class_of = categories.iter().enumerate().map(|(class, (id, _))| (*id, class)).collect();
        let entries = (0..coco.images.len()).map(|image| (image, Vec::new())).collect();
        Self { coco, folder, entries, class_of, categories }
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.categories.len()
    }

    /// Names by class index: categories in the order of their ids.
    pub fn class_names(&self) -> Vec<String> {
        self.categories.iter().map(|(_, name)| name.clone()).collect()
    }

    /// The category id under which detections of a class are filed.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn category_id(&self, class: usize) -> u64 {
        self.categories[class].0
    }

    /// `(width, height)` of every sample, from the json: nothing is decoded.
    pub fn sizes(&self) -> Vec<(u32, u32)> {
        let image = |(image, _): &(usize, Vec<usize>)| &self.coco.images[*image];
        self.entries.iter().map(image).map(|image| (image.width, image.height)).collect()
    }

    /// The annotations this was made from.
    pub fn coco(&self) -> &Coco {
        &self.coco
    }

    fn instance(&self, annotation: &Annotation, image: &CocoImage) -> Result<Instance, DataError> {
        let rle = annotation
            .rle(image)?
            .ok_or_else(|| DataError::NoMask { path: self.coco.path.clone(), annotation: annotation.id })?;
        Ok(Instance {
            class: self.class_of[&annotation.category_id],
            bbox: BoxXyxy::from_coco(annotation.bbox),
            mask: Mask::from_rle(&rle),
            crowd: annotation.iscrowd,
        })
    }
}

/// mmdet's `CocoDataset.parse_data_info`.
fn is_trained_on(annotation: &Annotation, image: &CocoImage) -> bool {
    let [x, y, width, height] = annotation.bbox;
    let inside =
        |from: f64, length: f64, size: u32| (from + length).min(f64::from(size)) - from.max(0.0) > 0.0;
    inside(x, width, image.width)
        && inside(y, height, image.height)
        && annotation.area > 0.0
        && width >= 1.0
        && height >= 1.0
}

impl Dataset for CocoDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let (image, annotations) = &self.entries[index];
        let listed = &self.coco.images[*image];
        let file = self.folder.join(&listed.file_name);
        let image = read_image(&file)?;
        let (width, height) = image.dimensions();
        if (width, height) != (listed.width, listed.height) {
            return Err(DataError::Size {
                path: file,
                annotations: self.coco.path.clone(),
                width,
                height,
                listed_width: listed.width,
                listed_height: listed.height,
            });
        }
        let instances = annotations
            .iter()
            .map(|&annotation| self.instance(&self.coco.annotations[annotation], listed))
            .collect::<Result<_, _>>()?;
        Ok(Sample {
            image_id: listed.id,
            index,
            file,
            image,
            instances,
            geometry: Geometry::identity(width as usize, height as usize),
        })
    }
}
