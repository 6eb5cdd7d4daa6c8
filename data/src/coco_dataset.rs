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
    /// Boxes are clipped to the image. mmdet does so at the first resize, and leaves a box as it is
    /// where there is none; here none reaches a network that is larger than what it is in.
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

    /// The image file at `index`.
    ///
    /// # Panics
    /// When there is none.
    pub fn image_file(&self, index: usize) -> PathBuf {
        let (image, _) = &self.entries[index];
        self.folder.join(&self.coco.images[*image].file_name)
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
            bbox: inside(annotation, image),
            mask: Mask::from_rle(&rle),
            crowd: annotation.iscrowd,
        })
    }
}

/// mmdet's `CocoDataset.parse_data_info`; what is left of the box in the image must also be more than
/// a rounding error, since the regression targets are logarithms of its sides.
fn is_trained_on(annotation: &Annotation, image: &CocoImage) -> bool {
    let [_, _, width, height] = annotation.bbox;
    annotation.area > 0.0 && width >= 1.0 && height >= 1.0 && !inside(annotation, image).is_degenerate()
}

/// The part of an annotation's box that lies in the image.
fn inside(annotation: &Annotation, image: &CocoImage) -> BoxXyxy {
    BoxXyxy::from_coco(annotation.bbox).clip(image.width as f32, image.height as f32)
}

impl Dataset for CocoDataset {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        let (image, annotations) = &self.entries[index];
        let listed = &self.coco.images[*image];
        let file = self.image_file(index);
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
            labels: None,
            geometry: Geometry::identity(width as usize, height as usize),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For training on one image of 40 x 50 pixels with these boxes.
    fn dataset(boxes: &[[f64; 4]]) -> CocoDataset {
        let annotations: Vec<_> = boxes
            .iter()
            .enumerate()
            .map(|(id, bbox)| {
                let polygon = [[0.0, 0.0, 9.0, 0.0, 9.0, 9.0]];
                serde_json::json!({
                    "id": id, "image_id": 1, "category_id": 1, "bbox": bbox, "area": 9.0, "iscrowd": 0,
                    "segmentation": polygon,
                })
            })
            .collect();
        let text = serde_json::json!({
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 50}],
            "categories": [{"id": 1, "name": "thing"}],
            "annotations": annotations,
        });
        let coco = Coco::from_json("t.json".as_ref(), text.to_string().into_bytes()).unwrap();
        CocoDataset::for_training(Arc::new(coco), ".".into()).unwrap()
    }

    fn boxes_learnt(boxes: &[[f64; 4]]) -> Vec<BoxXyxy> {
        let dataset = dataset(boxes);
        let (image, annotations) = &dataset.entries[0];
        let Coco { images, annotations: all, .. } = dataset.coco();
        annotations
            .iter()
            .map(|&index| dataset.instance(&all[index], &images[*image]).unwrap().bbox)
            .collect()
    }

    #[test]
    fn boxes_are_clipped_to_their_image() {
        let learnt = boxes_learnt(&[
            [0.0, 0.0, 1e300, 1e300],
            [-5.0, 3.0, 10.0, 100.0],
            [-1e30, -1e30, 3e30, 3e30],
            [4.0, 5.0, 6.0, 7.5],
        ]);
        let corners = |x0, y0, x1, y1| BoxXyxy { x0, y0, x1, y1 };
        let whole = corners(0.0, 0.0, 40.0, 50.0);
        assert_eq!(learnt, [whole, corners(0.0, 3.0, 5.0, 50.0), whole, corners(4.0, 5.0, 10.0, 12.5)]);
    }

    #[test]
    fn boxes_of_which_nothing_lies_in_the_image_are_not_learnt() {
        let outside = [40.0, 5.0, 9.0, 9.0];
        // Inside by less than a 32-bit float tells apart.
        let sliver = [40.0 - 1e-9, 5.0, 9.0, 9.0];
        let above = [3.0, -1e300, 9.0, 9.0];
        assert_eq!(boxes_learnt(&[outside, sliver, above]), []);
    }
}
