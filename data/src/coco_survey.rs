//! What is doubtful about a COCO file as a whole though each entry is sound: conventions mistaken for others, entries that
//! contradict each other, and entries that repeat.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::coco::{Annotation, Coco, CocoImage};
use crate::coco_check::Problem;
use crate::coco_segmentation::Form;

/// Annotators round to whole pixels, and COCO's own boxes leave their masks by a few.
const BOX_SLACK_PIXELS: f64 = 3.0;
/// How far, as a share of the box's longer side, box and mask may disagree: stuff at borders is drawn loosely.
const BOX_SLACK_SHARE: f64 = 0.1;

impl Coco {
    /// What is doubtful about the file as a whole; nothing of it stops a training.
    pub fn doubts(&self) -> Vec<Problem> {
        let mut doubts: Vec<Problem> = self.mistaken_boxes().into_iter().collect();
        doubts.extend(self.contradictions());
        doubts.extend(self.repetitions());
        doubts
    }

    fn doubt(&self, kind: &'static str, entry: String, what: String) -> Problem {
        Problem { path: self.path.clone(), kind, entry, what, is_fatal: false }
    }

    /// Boxes that are written in another convention than COCO's.
    fn mistaken_boxes(&self) -> Option<Problem> {
        let positions = self.image_positions();
        let boxes: Vec<([f64; 4], &CocoImage)> = self
            .annotations
            .iter()
            .filter_map(|annotation| {
                Some((annotation.bbox, &self.images[*positions.get(&annotation.image_id)?]))
            })
            .collect();
        let (bbox, _) = boxes.first()?;
        let example = |reading: &str| {
            format!(
                "boxes such as {bbox:?} look like {reading}; possible is [left, top, width, height] in pixels"
            )
        };
        let all = |is: fn(&[f64; 4], &CocoImage) -> bool| boxes.iter().all(|(bbox, image)| is(bbox, image));
        let are_shares = all(|bbox, image| {
            image.width.min(image.height) > 2 && bbox.iter().all(|value| (0.0..=1.0).contains(value))
        });
        let could_be_corners = all(|[x0, y0, x1, y1], image| {
            x1 > x0 && y1 > y0 && *x1 <= f64::from(image.width) + 1.0 && *y1 <= f64::from(image.height) + 1.0
        });
        let leaves = |([x, y, width, height], image): &([f64; 4], &CocoImage)| {
            x + width > f64::from(image.width) + 1.0 || y + height > f64::from(image.height) + 1.0
        };
        let num_leaving = boxes.iter().filter(|entry| leaves(entry)).count();
        let what = if are_shares {
            example("shares of the image")
        } else if could_be_corners && num_leaving * 10 > boxes.len() {
            example("corners (left, top, right, bottom)")
        } else {
            return None;
        };
        Some(self.doubt("boxes of another convention", "`bbox`".to_owned(), what))
    }

    /// Annotations whose box, mask and area do not belong together.
    fn contradictions(&self) -> Vec<Problem> {
        let found: Vec<_> = self
            .annotations
            .par_iter()
            .flat_map_iter(|annotation| {
                let doubts = [area_doubt(annotation), mask_doubt(annotation)];
                doubts.into_iter().flatten().map(|(kind, what)| (kind, what, annotation.id))
            })
            .collect();
        found.into_iter().map(|(kind, what, id)| self.doubt(kind, format!("annotation {id}"), what)).collect()
    }

    /// Annotations that say the same twice, and images of one file.
    fn repetitions(&self) -> Vec<Problem> {
        let mut first: HashMap<(u64, u64, [u64; 4]), u64> = HashMap::with_capacity(self.annotations.len());
        let mut doubts = Vec::new();
        for Annotation { id, image_id, category_id, bbox, .. } in &self.annotations {
            let key = (*image_id, *category_id, bbox.map(f64::to_bits));
            if let Some(earlier) = first.insert(key, *id) {
                let what =
                    format!("`bbox` {bbox:?} and category {category_id} are those of annotation {earlier}");
                doubts.push(self.doubt("repeated annotations", format!("annotation {id}"), what));
            }
        }
        let mut files: HashMap<&str, u64> = HashMap::with_capacity(self.images.len());
        for CocoImage { id, file_name, .. } in &self.images {
            if let Some(earlier) = files.insert(file_name, *id) {
                let what = format!("`file_name` is {file_name}, as of image {earlier}");
                doubts.push(self.doubt("repeated files", format!("image {id}"), what));
            }
        }
        doubts
    }
}

fn area_doubt(annotation: &Annotation) -> Option<(&'static str, String)> {
    let [_, _, width, height] = annotation.bbox;
    let is_larger = annotation.area > width * height * 1.01 + 1.0 && width >= 1.0 && height >= 1.0;
    is_larger.then(|| {
        let what = format!(
            "`area` is {}, more than its `bbox` of {width} x {height} holds; small, medium and large are told by it",
            annotation.area
        );
        ("areas larger than their box", what)
    })
}

fn mask_doubt(annotation: &Annotation) -> Option<(&'static str, String)> {
    let bounds = mask_bounds(annotation)?;
    let [x, y, width, height] = annotation.bbox;
    let slack = BOX_SLACK_PIXELS.max(BOX_SLACK_SHARE * width.max(height));
    let edges = [x, y, x + width, y + height];
    let is_far = edges.iter().zip(bounds).any(|(edge, bound)| (edge - bound).abs() > slack);
    is_far.then(|| {
        let what =
            format!("`bbox` spans {edges:?}, but `segmentation` {bounds:?} (left, top, right, bottom)");
        ("boxes that are not around their mask", what)
    })
}

/// Left, top, right and bottom of outlines; none of runs, whose bounds are the price of decoding them.
fn mask_bounds(annotation: &Annotation) -> Option<[f64; 4]> {
    let Ok(Form::Polygons(polygons)) = Form::read(annotation.segmentation.text()) else { return None };
    let none = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let bounds = polygons.iter().flat_map(|numbers| numbers.chunks_exact(2)).fold(none, |bounds, point| {
        let [left, top, right, bottom] = bounds;
        [left.min(point[0]), top.min(point[1]), right.max(point[0]), bottom.max(point[1])]
    });
    bounds.iter().all(|edge| edge.is_finite()).then_some(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds of the doubts about annotations with these boxes, areas and outlines on an image of 100 x 80.
    fn kinds(annotations: &[(&str, f64, &str)]) -> Vec<&'static str> {
        let entry = |(id, (bbox, area, outline)): (usize, &(&str, f64, &str))| {
            format!(
                r#"{{"id": {id}, "image_id": 0, "category_id": 1, "bbox": {bbox}, "area": {area}, "segmentation": [{outline}]}}"#
            )
        };
        let annotations: Vec<String> = annotations.iter().enumerate().map(entry).collect();
        let text = format!(
            r#"{{"images": [{{"id": 0, "file_name": "a.png", "width": 100, "height": 80}}],
                "categories": [{{"id": 1, "name": "dog"}}], "annotations": [{}]}}"#,
            annotations.join(",")
        );
        let coco = Coco::from_json("t.json".as_ref(), text.into_bytes()).expect("valid");
        coco.doubts().iter().map(|doubt| doubt.kind).collect()
    }

    const OUTLINE: &str = "[50, 50, 90, 50, 90, 70, 50, 70]";

    #[test]
    fn sound_annotations_raise_no_doubt() {
        assert!(kinds(&[("[50, 50, 40, 20]", 800.0, OUTLINE)]).is_empty());
        assert!(kinds(&[]).is_empty());
    }

    #[test]
    fn corners_and_shares_are_recognised() {
        let corners = kinds(&[("[50, 50, 90, 70]", 800.0, OUTLINE)]);
        assert_eq!(corners, ["boxes of another convention", "boxes that are not around their mask"]);
        let shares = kinds(&[("[0.5, 0.625, 0.4, 0.25]", 0.1, OUTLINE)]);
        assert_eq!(shares, ["boxes of another convention", "boxes that are not around their mask"]);
    }

    #[test]
    fn areas_and_repetitions_are_told() {
        assert_eq!(kinds(&[("[50, 50, 40, 20]", 9000.0, OUTLINE)]), ["areas larger than their box"]);
        let twice = [("[50, 50, 40, 20]", 800.0, OUTLINE), ("[50, 50, 40, 20]", 700.0, OUTLINE)];
        assert_eq!(kinds(&twice), ["repeated annotations"]);
    }
}
