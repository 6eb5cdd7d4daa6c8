//! The generated images with a class for every pixel, as ADE20K lays them out.

use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::layout::{Layout, image_name};
use super::scene::Scene;
use super::{SHAPES_CLASSES, ShapesConfig, ShapesError, fill, image_rng, save, write_error};
use crate::class_list::voc_palette;
use crate::label_png::encode_label_png;

/// Class names by class index: what is between the objects, then [`SHAPES_CLASSES`].
pub const LABELLED_SHAPES_CLASSES: [&str; 5] =
    ["background", SHAPES_CLASSES[0], SHAPES_CLASSES[1], SHAPES_CLASSES[2], SHAPES_CLASSES[3]];

/// Where one half of the data set with label maps lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledSplit {
    /// Folder of the images.
    pub images: PathBuf,
    /// Folder of the label images, of the same names: indices of [`LABELLED_SHAPES_CLASSES`], and 255,
    /// which is to be ignored, where objects are too many and too small to be told apart.
    pub labels: PathBuf,
}

/// Makes sure that `folder` holds the images that [`generate`](crate::generate) makes of `config`, with
/// a label image for each, and returns the training and the validation half.
///
/// What is said there of folders that hold something holds here too.
///
/// # Errors
/// When the folder holds anything else, or a file cannot be written.
pub fn generate_labelled(folder: &Path, config: &ShapesConfig) -> Result<[LabelledSplit; 2], ShapesError> {
    fill(folder, config, Layout::LabelMaps, |folder, half, count| write_half(folder, half, count, config))?;
    Ok([0, 1].map(|half| {
        let [images, labels] = [0, 1].map(|kind| folder.join(Layout::LabelMaps.folders(half)[kind]));
        LabelledSplit { images, labels }
    }))
}

/// Draws and writes the images and label images of one half.
fn write_half(folder: &Path, half: usize, count: usize, config: &ShapesConfig) -> Result<(), ShapesError> {
    let [images, labels] = [0, 1].map(|kind| folder.join(Layout::LabelMaps.folders(half)[kind]));
    for folder in [&images, &labels] {
        std::fs::create_dir_all(folder).map_err(write_error(folder))?;
    }
    let palette = voc_palette(LABELLED_SHAPES_CLASSES.len());
    (0..count).into_par_iter().try_for_each(|index| {
        let scene = Scene::draw(&mut image_rng(config.seed, half as u64, index), config.size);
        save(&scene.paint(), images.join(image_name(index)))?;
        let path = labels.join(image_name(index));
        let bytes = encode_label_png(&path, &scene.labels(), &palette)?;
        std::fs::write(&path, bytes).map_err(write_error(&path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_encoding::{LabelEncoding, ZeroLabel};
    use crate::label_map::LabelMap;
    use crate::sample::Dataset;
    use crate::segmentation_folder::{SegmentationFolder, SegmentationSource};
    use crate::shapes::generate;

    const TINY: ShapesConfig = ShapesConfig { seed: 9, train: 6, val: 3, size: 96 };

    fn workplace(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cvx-labelled-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn every_image_has_a_label_image_that_the_reader_pairs_with_it() {
        let folder = workplace("pairs");
        let splits = generate_labelled(&folder, &TINY).unwrap();
        let names: Vec<String> = LABELLED_SHAPES_CLASSES.map(String::from).into();
        for (split, count) in splits.into_iter().zip([6, 3]) {
            let source = SegmentationSource::new(split.images, split.labels);
            let encoding = LabelEncoding::Index { zero: ZeroLabel::Class, ignored: Vec::new() };
            let dataset = SegmentationFolder::for_training(&source, encoding, names.clone()).unwrap();
            assert_eq!(dataset.len(), count);
            for index in 0..count {
                let sample = dataset.get(index).unwrap();
                assert!(sample.labels.unwrap().pixels.contains(&0), "there is some background");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_images_are_those_of_the_coco_layout_and_neither_replaces_the_other() {
        let [labelled, coco] = ["labelled", "coco"].map(workplace);
        generate_labelled(&labelled, &TINY).unwrap();
        generate(&coco, &TINY).unwrap();
        let [a, b] = [labelled.join("images/validation/000002.png"), coco.join("val/000002.png")]
            .map(|path| std::fs::read(path).unwrap());
        assert!(a == b, "the images differ");
        let message = generate(&labelled, &TINY).unwrap_err().to_string();
        assert!(message.contains("of 96 pixels with label maps, version 1"), "{message}");
        let message = generate_labelled(&coco, &TINY).unwrap_err().to_string();
        assert!(
            message.contains("of other settings (seed 9, 6 + 3 images of 96 pixels, version 1"),
            "{message}"
        );
        // Both are complete, and are left as they are.
        generate_labelled(&labelled, &TINY).unwrap();
        std::fs::remove_file(labelled.join("annotations/training/000003.png")).unwrap();
        let message = generate_labelled(&labelled, &TINY).unwrap_err().to_string();
        assert!(message.contains("annotations/training/000003.png is missing"), "{message}");
        for folder in [labelled, coco] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn what_an_interrupted_run_left_is_removed_by_the_next() {
        let work = workplace("interrupted");
        let dead = work.join("data.partial-1-0");
        for folder in ["images/training", "annotations/training"] {
            std::fs::create_dir_all(dead.join(folder)).unwrap();
            std::fs::write(dead.join(folder).join("000000.png"), "half").unwrap();
        }
        std::fs::write(dead.join("shapes.lock"), "").unwrap();
        generate_labelled(&work.join("data"), &TINY).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["data"]);
        std::fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn labels_are_the_visible_pixels_of_the_annotations_and_crowds_are_ignored() {
        let mut ignored = 0;
        for index in 0..40 {
            let scene = Scene::draw(&mut image_rng(3, 0, index), 128);
            let labels = scene.labels();
            let mut expected = LabelMap::filled(scene.width, scene.height, 0);
            for annotation in scene.annotations(1) {
                let counts = annotation["segmentation"]["counts"].as_str().unwrap();
                let rle = crate::rle::Rle::from_compressed(counts, scene.height as u32, scene.width as u32);
                let mask = crate::mask::Mask::from_rle(&rle.unwrap());
                let class = annotation["category_id"].as_u64().unwrap() as u8;
                let class = if annotation["iscrowd"] == 1 { LabelMap::IGNORED } else { class };
                for (x, y) in (0..scene.width).flat_map(|x| (0..scene.height).map(move |y| (x, y))) {
                    if mask.get(x, y) {
                        expected.pixels[y * scene.width + x] = class;
                    }
                }
            }
            assert_eq!(labels, expected, "image {index}");
            ignored += labels.histogram()[255];
        }
        assert!(ignored > 0, "some image has a crowd");
    }
}
