//! The random crop of semantic segmentation, which avoids places where one class is nearly everything.
//!
//! Source: mmseg `RandomCrop` with `cat_max_ratio` (from DeepLab's and PSPNet's training code).

use rand::{Rng, RngExt};

use super::crop;
use crate::label_map::LabelMap;
use crate::sample::Sample;

/// How often another place is drawn when one does not please; the last is taken as it is.
const TRIES: usize = 10;

/// Cuts `width` x `height`, at most what there is, at a random place, if possible one whose commonest
/// class has less than `max_category_ratio` of the pixels that are not ignored.
pub(super) fn apply<R: Rng + ?Sized>(
    sample: Sample,
    width: u32,
    height: u32,
    max_category_ratio: f64,
    rng: &mut R,
) -> Sample {
    let width = (width as usize).min(sample.geometry.input_width);
    let height = (height as usize).min(sample.geometry.input_height);
    let margin_x = sample.geometry.input_width - width;
    let margin_y = sample.geometry.input_height - height;
    let draw = || {
        let y0 = rng.random_range(0..=margin_y);
        (rng.random_range(0..=margin_x), y0)
    };
    let (x0, y0) = choose(sample.labels.as_ref(), width, height, max_category_ratio, draw);
    crop::cut(sample, x0, y0, width, height)
}

/// The first place drawn that is varied, or the last drawn after [`TRIES`] more.
fn choose(
    labels: Option<&LabelMap>,
    width: usize,
    height: usize,
    max_category_ratio: f64,
    mut draw: impl FnMut() -> (usize, usize),
) -> (usize, usize) {
    let mut place = draw();
    let Some(labels) = labels.filter(|_| max_category_ratio < 1.0) else { return place };
    for _ in 0..TRIES {
        if is_varied(labels, place, width, height, max_category_ratio) {
            break;
        }
        place = draw();
    }
    place
}

/// Whether the crop shows two classes or more, and none with as much as the ratio.
fn is_varied(
    labels: &LabelMap,
    (x0, y0): (usize, usize),
    width: usize,
    height: usize,
    max_category_ratio: f64,
) -> bool {
    let mut counts = [0u64; 256];
    for row in labels.rows(x0, y0, width, height) {
        for &class in row {
            counts[usize::from(class)] += 1;
        }
    }
    let counts = &counts[..usize::from(LabelMap::IGNORED)];
    let classes = counts.iter().filter(|&&count| count > 0).count();
    let most = counts.iter().copied().max().unwrap_or(0);
    let total: u64 = counts.iter().sum();
    classes > 1 && (most as f64) / (total as f64) < max_category_ratio
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::label_png::read_label_png;

    /// Columns of the left half show class 0, the others what is given, row by row.
    fn halves(right: [u8; 4]) -> LabelMap {
        let pixels = right.iter().flat_map(|&class| [0, 0, class, class]).collect();
        LabelMap { width: 4, height: 4, pixels }
    }

    fn varied(labels: &LabelMap, x0: usize, y0: usize, size: usize, ratio: f64) -> bool {
        is_varied(labels, (x0, y0), size, size, ratio)
    }

    #[test]
    fn one_class_alone_is_not_varied_whatever_its_share() {
        assert!(!varied(&halves([1, 1, 1, 1]), 0, 0, 2, 0.99));
        assert!(varied(&halves([1, 1, 1, 1]), 1, 0, 2, 0.75));
        // Nothing but ignored pixels has no class at all.
        assert!(!varied(&halves([255; 4]), 2, 0, 2, 0.75));
    }

    #[test]
    fn ignored_pixels_do_not_count_and_the_bound_is_exclusive() {
        // Class 0 has 8 pixels, class 1 has 2, the rest is ignored: 0.8 of 10.
        let labels = halves([1, 255, 255, 255]);
        assert!(varied(&labels, 0, 0, 4, 0.81));
        assert!(!varied(&labels, 0, 0, 4, 0.8));
    }

    #[test]
    fn of_the_places_that_mmseg_drew_the_one_it_took_is_taken() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/segmentation");
        let labels = read_label_png(&fixtures.join("labels.png"), None).unwrap();
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/segmentation/transforms.json")).unwrap();
        let crops = reference["crops"].as_array().unwrap();
        assert_eq!(crops.len(), 32);
        for crop in crops {
            let number = |value: &Value| value.as_u64().unwrap() as usize;
            let place = |value: &Value| (number(&value[0]), number(&value[1]));
            let (height, width) = (number(&crop["height"]), number(&crop["width"]));
            let mut drawn = crop["drawn"].as_array().unwrap().iter().map(place);
            let (width, height) = (width.min(labels.width), height.min(labels.height));
            let ratio = crop["ratio"].as_f64().unwrap();
            let taken = choose(Some(&labels), width, height, ratio, || drawn.next().unwrap());
            assert_eq!((taken, drawn.next()), (place(&crop["taken"]), None), "{crop}");
        }
    }

    #[test]
    fn the_first_varied_place_is_taken_or_the_eleventh() {
        let labels = halves([1; 4]);
        let drawn = |places: &[(usize, usize)]| {
            let mut left = places.iter().copied();
            let place = choose(Some(&labels), 2, 2, 0.75, || left.next().unwrap());
            (place, places.len() - left.len())
        };
        assert_eq!(drawn(&[(0, 0), (0, 2), (1, 1), (2, 2)]), ((1, 1), 3));
        let mut dull = vec![(0, 0); 10];
        dull.extend([(2, 1), (1, 1)]);
        assert_eq!(drawn(&dull), ((2, 1), 11));
        // Without labels, or a bound, the first will do.
        assert_eq!(choose(None, 2, 2, 0.75, || (0, 0)), (0, 0));
        assert_eq!(choose(Some(&labels), 2, 2, 1.0, || (0, 0)), (0, 0));
    }
}
