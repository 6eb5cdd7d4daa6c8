//! What is doubtful about a readable COCO file: what would break a training, and what would merely hurt it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use rayon::prelude::*;

use crate::boxes::BoxXyxy;
use crate::coco::{Annotation, Coco, CocoImage};
use crate::coco_error::SegmentationError;
use crate::coco_segmentation::{Form, polygon_doubt};

/// One doubtful entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What problems of this kind are called together, as in `boxes outside their image`.
    pub kind: &'static str,
    /// Which entry, as in `annotation 17`.
    pub entry: String,
    /// What is wrong: the value found, and what is possible.
    pub what: String,
    /// Whether [`Coco::open`] refuses the file for it.
    pub is_fatal: bool,
}

impl Coco {
    /// All doubtful entries, in the order of the file. Segmentations are read, but not filled.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut push = |kind: &'static str, entry: String, what: String, is_fatal| {
            problems.push(Problem { path: self.path.clone(), kind, entry, what, is_fatal });
        };
        let images = first_of_each(self.images.iter().map(|image| image.id), |id| {
            push(
                "ids that occur twice",
                format!("image {id}"),
                "the id occurs twice in `images`".into(),
                true,
            );
        });
        for image in self.images.iter().filter(|image| image.width == 0 || image.height == 0) {
            let what = format!(
                "the size is {} x {} (width x height); possible are sides from 1",
                image.width, image.height
            );
            push("images of no size", format!("image {}", image.id), what, true);
        }
        let categories = first_of_each(self.categories.iter().map(|category| category.id), |id| {
            push(
                "ids that occur twice",
                format!("category {id}"),
                "the id occurs twice in `categories`".into(),
                true,
            );
        });
        let mut named = HashSet::new();
        for category in self.categories.iter().filter(|category| !named.insert(category.name.as_str())) {
            let what = format!("the name `{}` occurs twice in `categories`", category.name);
            push("names that occur twice", format!("category {}", category.id), what, true);
        }
        first_of_each(self.annotations.iter().map(|annotation| annotation.id), |id| {
            push(
                "ids that occur twice",
                format!("annotation {id}"),
                "the id occurs twice in `annotations`".into(),
                true,
            );
        });
        let found: Vec<Vec<Doubt>> = self
            .annotations
            .par_iter()
            .map(|annotation| {
                let mut found = Vec::new();
                if !categories.contains_key(&annotation.category_id) {
                    let what = format!(
                        "it names category {}, which `categories` does not list",
                        annotation.category_id
                    );
                    found.push(("annotations of no category", what, true));
                }
                match images.get(&annotation.image_id) {
                    Some(&image) => doubts(annotation, &self.images[image], &mut found),
                    None => {
                        let what =
                            format!("it names image {}, which `images` does not list", annotation.image_id);
                        found.push(("annotations of no image", what, true));
                    }
                }
                found
            })
            .collect();
        for (annotation, found) in self.annotations.iter().zip(found) {
            for (kind, what, is_fatal) in found {
                push(kind, format!("annotation {}", annotation.id), what, is_fatal);
            }
        }
        let mut examples: HashMap<u64, usize> = HashMap::new();
        for annotation in self.annotations.iter().filter(|annotation| !annotation.iscrowd) {
            *examples.entry(annotation.category_id).or_default() += 1;
        }
        for category in self.categories.iter().filter(|category| !examples.contains_key(&category.id)) {
            let what = format!("`{}` has no example", category.name);
            push("classes without an example", format!("category {}", category.id), what, false);
        }
        problems
    }
}

/// The first position of every id; `repeated` is called for every further one.
fn first_of_each(ids: impl Iterator<Item = u64>, mut repeated: impl FnMut(u64)) -> HashMap<u64, usize> {
    let mut first = HashMap::new();
    for (position, id) in ids.enumerate() {
        match first.entry(id) {
            Entry::Occupied(_) => repeated(id),
            Entry::Vacant(slot) => {
                slot.insert(position);
            }
        }
    }
    first
}

/// What the doubts of this kind are called together, what is doubtful, and whether it is fatal.
type Doubt = (&'static str, String, bool);

/// What is doubtful about one annotation of a listed image.
fn doubts(annotation: &Annotation, image: &CocoImage, found: &mut Vec<Doubt>) {
    let [x, y, width, height] = annotation.bbox;
    let bbox = || format!("`bbox` is {:?}", annotation.bbox);
    if !annotation.bbox.iter().all(|value| value.is_finite()) {
        found.push(("boxes that are not finite", format!("{}; possible are finite numbers", bbox()), true));
    } else if !BoxXyxy::from_coco(annotation.bbox).is_finite() {
        found.push((
            "boxes that are not finite",
            format!("{}; possible are corners of at most 3.4e38", bbox()),
            true,
        ));
    } else if width < 0.0 || height < 0.0 {
        found.push((
            "boxes of negative size",
            format!("{}; possible are widths and heights from 0", bbox()),
            true,
        ));
    } else if width < 1.0 || height < 1.0 {
        found.push((
            "boxes narrower than a pixel",
            format!("{}: narrower than a pixel, not trained on", bbox()),
            false,
        ));
    } else {
        let (image_width, image_height) = (f64::from(image.width), f64::from(image.height));
        // Annotators round to hundredths.
        let beyond =
            x < -0.01 || y < -0.01 || x + width > image_width + 0.01 || y + height > image_height + 0.01;
        if beyond {
            let what =
                format!("{}: outside the image of {image_width} x {image_height} (width x height)", bbox());
            found.push(("boxes outside their image", what, false));
        }
    }
    if !annotation.area.is_finite() || annotation.area < 0.0 {
        let what = format!("`area` is {}; possible are finite numbers from 0", annotation.area);
        found.push(("areas that are none", what, true));
    } else if annotation.area == 0.0 {
        found.push(("areas of 0", "`area` is 0: not trained on".into(), false));
    }
    if let Some((reason, is_fatal)) = segmentation_doubt(annotation, image) {
        let kind = if is_fatal { "masks that are none" } else { "doubtful masks" };
        found.push((kind, format!("`segmentation`: {reason}"), is_fatal));
    }
}

fn segmentation_doubt(annotation: &Annotation, image: &CocoImage) -> Option<(SegmentationError, bool)> {
    let (height, width) = (image.height, image.width);
    let size = match Form::read(annotation.segmentation.text()) {
        Err(reason) => return Some((reason, true)),
        Ok(Form::None) => return Some((SegmentationError::Absent, true)),
        Ok(Form::Polygons(polygons)) => {
            let doubt = polygon_doubt(&polygons);
            return doubt.map(|(reason, is_fatal)| (reason.into(), is_fatal));
        }
        Ok(Form::Counts(_, size) | Form::Compressed(_, size)) => size,
    };
    if size != [height, width] {
        let [found_height, found_width] = size;
        return Some((SegmentationError::Size { found_height, found_width, height, width }, true));
    }
    match annotation.segmentation.rle(height, width) {
        Err(reason) => Some((reason, true)),
        Ok(Some(rle)) if rle.area() == 0 => Some((SegmentationError::Empty, false)),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(annotations: &str) -> Coco {
        let images = r#"[{"id": 0, "file_name": "a.png", "width": 6, "height": 4}]"#;
        let categories = r#"[{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]"#;
        let text =
            format!(r#"{{"images": {images}, "categories": {categories}, "annotations": [{annotations}]}}"#);
        Coco::from_json("t.json".as_ref(), text.into_bytes()).unwrap()
    }

    fn with_annotation(fields: &str) -> Coco {
        parse(&format!(r#"{{"id": 5, "image_id": 0, "category_id": 7, {fields}}}"#))
    }

    #[test]
    fn what_training_cannot_use_is_a_fatal_problem() {
        #[track_caller]
        fn case(fields: &str, expected: &str) {
            let coco = with_annotation(fields);
            let problems = coco.problems();
            let fatal: Vec<_> =
                problems.iter().filter(|problem| problem.is_fatal).map(Problem::to_string).collect();
            assert_eq!(fatal, [format!("t.json: annotation 5: {expected}")]);
        }
        let polygon = r#""segmentation": [[0, 0, 0, 2, 2, 2]]"#;
        let bbox = r#""bbox": [0, 0, 2, 2], "area": 2"#;
        case(
            &format!(r#""bbox": [NaN, 0, 1, 1], "area": 1, {polygon}"#),
            "`bbox` is [NaN, 0.0, 1.0, 1.0]; possible are finite numbers",
        );
        case(
            &format!(r#""bbox": [0, 0, 1e300, 1], "area": 1, {polygon}"#),
            "`bbox` is [0.0, 0.0, 1e300, 1.0]; possible are corners of at most 3.4e38",
        );
        case(
            &format!(r#""bbox": [0, 0, -1, 1], "area": 1, {polygon}"#),
            "`bbox` is [0.0, 0.0, -1.0, 1.0]; possible are widths and heights from 0",
        );
        case(
            &format!(r#""bbox": [0, 0, 2, 2], "area": -Infinity, {polygon}"#),
            "`area` is -inf; possible are finite numbers from 0",
        );
        case(bbox, "`segmentation`: there is none, and masks are asked for");
        case(
            &format!(r#"{bbox}, "segmentation": [[0, 0, 2, 2]]"#),
            "`segmentation`: polygon 0 has 4 numbers; possible are even counts from 6",
        );
        case(
            &format!(r#"{bbox}, "segmentation": [[0, 0, 2, 2, 1, 1, 1]]"#),
            "`segmentation`: polygon 0 has 7 numbers; possible are even counts from 6",
        );
        case(
            &format!(r#"{bbox}, "segmentation": [[0, 0, 2, 2, 1, NaN]]"#),
            "`segmentation`: polygon 0 has the coordinate NaN; possible are finite numbers",
        );
        case(
            &format!(r#"{bbox}, "segmentation": "abc""#),
            "`segmentation`: `\"abc\"` was found; possible are a list of polygons or an object with `size` and `counts`",
        );
        case(
            &format!(r#"{bbox}, "segmentation": {{"size": [4, 6]}}"#),
            "`segmentation`: `{\"size\": [4, 6]}` was found; possible are a list of polygons or an object with `size` and `counts`",
        );
        case(
            &format!(r#"{bbox}, "segmentation": {{"size": [6, 4], "counts": [24]}}"#),
            "`segmentation`: the mask is 6 x 4 (height x width); possible is 4 x 6",
        );
        case(
            &format!(r#"{bbox}, "segmentation": {{"size": [4, 6], "counts": [23]}}"#),
            "`segmentation`: the runs of the RLE cover 23 pixels, but 4 x 6 (height x width) has 24",
        );
        case(
            &format!(r#"{bbox}, "segmentation": {{"size": [4, 6], "counts": "5 "}}"#),
            "`segmentation`: character ' ' at position 1 of the RLE; possible are `0` (48) to `o` (111)",
        );
        case(
            &format!(r#"{bbox}, {polygon}, "image_id": 9"#),
            "it names image 9, which `images` does not list",
        );
        case(
            &format!(r#"{bbox}, {polygon}, "category_id": 9"#),
            "it names category 9, which `categories` does not list",
        );
        let twice = format!(r#"{{"id": 5, "image_id": 0, "category_id": 7, {bbox}, {polygon}}}"#);
        let problems = parse(&format!("{twice}, {twice}")).problems();
        assert_eq!(problems[0].to_string(), "t.json: annotation 5: the id occurs twice in `annotations`");
        assert_eq!(problems[1].to_string(), "t.json: category 2: `cat` has no example");
        assert_eq!(problems.iter().map(|problem| problem.is_fatal).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn two_categories_of_one_name_are_a_fatal_problem() {
        let text = r#"{"images": [], "annotations": [],
            "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "dog"}]}"#;
        let coco = Coco::from_json("t.json".as_ref(), text.into()).unwrap();
        let fatal = coco.problems().into_iter().find(|problem| problem.is_fatal).unwrap();
        assert_eq!(fatal.to_string(), "t.json: category 3: the name `dog` occurs twice in `categories`");
    }

    #[test]
    fn an_empty_mask_is_listed_and_not_fatal() {
        let mask = r#""segmentation": {"size": [4, 6], "counts": [24]}"#;
        let coco = with_annotation(&format!(r#""bbox": [0, 0, 2, 2], "area": 2, {mask}"#));
        let problem = coco.problems().remove(0);
        let expected = "`segmentation`: no pixel is set, so the object is learnt as background";
        assert_eq!((problem.what.as_str(), problem.is_fatal), (expected, false));
    }

    #[test]
    fn boxes_outside_the_image_are_listed_and_not_fatal() {
        let polygon = r#""segmentation": [[0, 0, 0, 2, 2, 2], [1, 1, 2, 2]]"#;
        let coco = with_annotation(&format!(r#""bbox": [4, 0, 3, 1], "area": 0, {polygon}"#));
        let what: Vec<_> =
            coco.problems().into_iter().map(|problem| (problem.what, problem.is_fatal)).collect();
        assert_eq!(what[0].0, "`bbox` is [4.0, 0.0, 3.0, 1.0]: outside the image of 6 x 4 (width x height)");
        assert_eq!(what[1].0, "`area` is 0: not trained on");
        assert_eq!(what[2].0, "`segmentation`: polygon 1 has 4 numbers; possible are even counts from 6");
        assert!(what.iter().all(|(_, is_fatal)| !is_fatal));
    }
}
