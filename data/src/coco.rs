//! COCO annotation files: images, categories and annotations, for training and as truth for evaluation.
//!
//! A file is read into memory once; its entries are found by counting brackets and read in parallel. Segmentations stay
//! text until somebody asks for their pixels: they are two thirds of a file, and evaluating boxes never looks at them.
//!
//! There are two ways to open one. [`Coco::open`] is for training and refuses whatever would break it later.
//! [`Coco::open_for_scoring`] accepts what pycocotools accepts. [`Coco::problems`] lists what either thinks doubtful.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::coco_entries::read_lists;
use crate::coco_error::CocoError;
use crate::coco_segmentation::Segmentation;
use crate::coco_text::Source;
use crate::rle::Rle;

/// A COCO annotation file.
#[derive(Clone, Debug)]
pub struct Coco {
    /// Where it was read.
    pub path: PathBuf,
    /// Images in the order of the file.
    pub images: Vec<CocoImage>,
    /// Categories in the order of the file. The contiguous class index of a category is its rank by *id*, in training
    /// and evaluation alike.
    pub categories: Vec<Category>,
    /// Annotations in the order of the file.
    pub annotations: Vec<Annotation>,
}

/// An entry of `images`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CocoImage {
    /// What annotations and results call it.
    pub id: u64,
    /// The file, relative to the image folder.
    pub file_name: String,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// LVIS: categories that are known to be absent.
    pub neg_category_ids: Vec<u64>,
    /// LVIS: categories of which not every object is annotated.
    pub not_exhaustive_category_ids: Vec<u64>,
}

/// LVIS: in how many training images a category occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frequency {
    /// In at most 10.
    Rare,
    /// In at most 100.
    Common,
    /// In more.
    Frequent,
}

/// An entry of `categories`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// What annotations and results call it; may have gaps.
    pub id: u64,
    /// What people call it.
    pub name: String,
    /// LVIS's `frequency`; elsewhere there is none.
    pub frequency: Option<Frequency>,
}

/// An entry of `annotations`: one object, or one region full of them.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Its own id.
    pub id: u64,
    /// The image it lies in.
    pub image_id: u64,
    /// What it is.
    pub category_id: u64,
    /// Left, top, width, height in image pixels.
    pub bbox: [f64; 4],
    /// The annotator's area in square pixels, which decides small, medium and large; never recomputed.
    pub area: f64,
    /// A region of many objects: nothing in it counts as a miss or a false alarm.
    pub iscrowd: bool,
    /// Its outline or pixels.
    pub segmentation: Segmentation,
}

impl Annotation {
    /// The pixels of the annotation in its image; `None` if it has no segmentation.
    ///
    /// # Errors
    /// If the segmentation is neither polygons nor an RLE that fills its size.
    pub fn rle(&self, image: &CocoImage) -> Result<Option<Rle>, CocoError> {
        self.segmentation.rle(image.height, image.width).map_err(|reason| CocoError::Segmentation {
            path: self.segmentation.path().to_owned(),
            entry: format!("annotation {}", self.id),
            reason,
        })
    }
}

impl Coco {
    /// Reads a file to train on.
    ///
    /// # Errors
    /// Those of [`Coco::open_for_scoring`], and the first of [`Coco::problems`] that would break a training.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CocoError> {
        let coco = Self::open_for_scoring(path)?;
        match coco.problems().into_iter().find(|problem| problem.is_fatal) {
            Some(problem) => Err(CocoError::Problem(Box::new(problem))),
            None => Ok(coco),
        }
    }

    /// Reads a file as truth for evaluation: whatever pycocotools accepts.
    ///
    /// Beyond that, `iscrowd` may be missing, which means 0.
    ///
    /// # Errors
    /// If the file cannot be read, is not JSON, or an entry lacks or misuses a key.
    pub fn open_for_scoring(path: impl AsRef<Path>) -> Result<Self, CocoError> {
        Self::read(Source::open(path.as_ref())?)
    }

    /// Reads a text as [`Coco::open_for_scoring`] reads a file; `path` is for messages.
    ///
    /// # Errors
    /// If the text is not JSON, or an entry lacks or misuses a key.
    pub fn from_json(path: &Path, text: Vec<u8>) -> Result<Self, CocoError> {
        Self::read(Source { path: path.to_owned(), text })
    }

    fn read(source: Source) -> Result<Self, CocoError> {
        let source = Arc::new(source);
        let (images, categories, annotations) = read_lists(&source)?;
        Ok(Self { path: source.path.clone(), images, categories, annotations })
    }

    /// Only the categories of these names, and their annotations. All images stay.
    ///
    /// # Errors
    /// If a name is no category.
    pub fn keep_classes(mut self, classes: &[String]) -> Result<Self, CocoError> {
        if let Some(class) = classes.iter().find(|class| self.categories.iter().all(|c| c.name != **class)) {
            return Err(CocoError::UnknownClass {
                path: self.path,
                found: class.clone(),
                possible: self.categories.into_iter().map(|category| category.name).collect(),
            });
        }
        self.categories.retain(|category| classes.contains(&category.name));
        let kept: HashSet<u64> = self.categories.iter().map(|category| category.id).collect();
        self.annotations.retain(|annotation| kept.contains(&annotation.category_id));
        Ok(self)
    }

    /// Positions in `images` by id; the last counts where an id repeats, as in pycocotools.
    pub fn image_positions(&self) -> HashMap<u64, usize> {
        self.images.iter().enumerate().map(|(position, image)| (image.id, position)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: &str =
        r#""images": [{"id": 0, "file_name": "a.png", "width": 6, "height": 4, "license": 3}]"#;
    const CATEGORIES: &str = r#""categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]"#;

    fn parse(text: &str) -> Result<Coco, CocoError> {
        Coco::from_json(Path::new("t.json"), text.as_bytes().to_vec())
    }

    fn with_annotations(annotations: &str) -> String {
        format!("{{{IMAGES}, {CATEGORIES}, \"info\": {{\"a\": [1]}}, \"annotations\": [{annotations}]}}")
    }

    fn with_annotation(fields: &str) -> String {
        with_annotations(&format!(r#"{{"id": 5, "image_id": 0, "category_id": 7, {fields}}}"#))
    }

    #[test]
    fn all_three_forms_of_masks_are_read() {
        let box_and_area = r#""bbox": [1, 1, 2, 2], "area": 4.5"#;
        for segmentation in [
            r#"[[1, 1, 1, 3, 3, 3, 3, 1]]"#,
            r#"{"size": [4, 6], "counts": [5, 2, 2, 2, 13]}"#,
            r#"{"counts": "522;0", "size": [4, 6]}"#,
        ] {
            let text =
                with_annotation(&format!(r#"{box_and_area}, "iscrowd": 1, "segmentation": {segmentation}"#));
            let coco = parse(&text.replace("522;0", "5220;")).unwrap();
            let annotation = &coco.annotations[0];
            assert_eq!((annotation.id, annotation.bbox, annotation.area), (5, [1.0, 1.0, 2.0, 2.0], 4.5));
            assert!(annotation.iscrowd);
            let rle = annotation.rle(&coco.images[0]).unwrap().unwrap();
            assert_eq!(rle.counts, [5, 2, 2, 2, 13], "{segmentation}");
            assert_eq!(coco.problems().iter().filter(|problem| problem.is_fatal).count(), 0);
        }
        for nothing in ["", r#", "segmentation": null"#, r#", "segmentation": []"#] {
            let coco = parse(&with_annotation(&format!("{box_and_area}{nothing}"))).unwrap();
            assert!(!coco.annotations[0].iscrowd);
            assert_eq!(coco.annotations[0].rle(&coco.images[0]).unwrap(), None);
        }
    }

    #[test]
    fn classes_are_chosen_by_name() {
        let coco = parse(&with_annotation(r#""bbox": [0, 0, 1, 1], "area": 1"#)).unwrap();
        let cats = coco.clone().keep_classes(&["cat".into()]).unwrap();
        assert_eq!((cats.categories.len(), cats.annotations.len(), cats.images.len()), (1, 0, 1));
        let error = coco.keep_classes(&["cow".into()]).unwrap_err().to_string();
        assert_eq!(error, "t.json: no category is called `cow`; possible are dog, cat");
    }

    #[test]
    fn every_error_names_file_entry_found_and_possible() {
        #[track_caller]
        fn case(text: &str, expected: &str) {
            let error = match parse(text) {
                Ok(_) => panic!("{text} was read"),
                Err(error) => error.to_string(),
            };
            assert_eq!(error, expected);
        }
        case("", "t.json: the file is empty; possible is JSON");
        case(
            "[1]",
            "t.json: a list was found (results?); possible is an object with `images`, `categories` and `annotations`",
        );
        case("x", "t.json: line 1, column 1: `x` where an object is possible");
        case("{}", "t.json: there is no list `images` (other keys: none)");
        case(&format!("{{{IMAGES}, \"a\": 1}}"), "t.json: there is no list `categories` (other keys: a)");
        case(
            "{\n \"annotations\": [{\"id\": 1}, {\"id\"",
            "t.json: line 2, column 34 (in `annotations`): the end of the file (cut short?) where a closing bracket is possible",
        );
        case(r#"{"images": 3}"#, "t.json: line 1, column 12 (in `images`): `3` where a list is possible");
        case(
            r#"{"images": [{"id": 4}]"#,
            "t.json: line 1, column 23: the end of the file (cut short?) where `,` or `}` is possible",
        );
        case(
            &with_annotations("3"),
            &format!(
                "t.json: line 1, column {} (in `annotations`): `3` where an object is possible",
                with_annotations("").len() - 1
            ),
        );
        let entry = "t.json: annotations[0] (id 5)";
        case(&with_annotation(r#""area": 1"#), &format!("{entry} has no `bbox`"));
        case(
            &with_annotation(r#""area": 1, "bbox": [1, 2, 3]"#),
            &format!("{entry}: `bbox` is `[1, 2, 3]`; possible is a list of 4 numbers"),
        );
        case(
            &with_annotation(r#""area": 1, "bbox": {"x": 1}"#),
            &format!("{entry}: `bbox` is `{{\"x\": 1}}`; possible is a list"),
        );
        case(
            &with_annotation(r#""area": "big""#),
            &format!("{entry}: `area` is `\"big\"`; possible is a number"),
        );
        case(
            &with_annotations(r#"{"id": -1}"#),
            "t.json: annotations[0]: `id` is `-1`; possible is a whole number from 0",
        );
        case(
            &with_annotations(r#"{"image_id": "a"}"#),
            "t.json: annotations[0]: `image_id` is `\"a\"`; possible is a whole number from 0",
        );
        case(
            r#"{"images": [{"id": 1, "file_name": "a", "width": 5000000000}], "categories": [], "annotations": []}"#,
            "t.json: images[0] (id 1): `width` is `5000000000`; possible is a whole number to 4294967295",
        );
    }
}
