//! From files to samples: generated data sets read back, with any number of workers and with damaged files.

use std::path::Path;
use std::sync::Arc;

use cvx_data::{
    BatchSampler, BoxXyxy, Coco, CocoDataset, DataError, Dataset, Loader, Photometric, Pipeline,
    SHAPES_CLASSES, Sample, ShapesConfig, Transform, generate,
};
use cvx_tests::tolerance;
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const SHAPES: ShapesConfig = ShapesConfig { seed: 21, train: 24, val: 6, size: 96 };

fn corners(bbox: BoxXyxy) -> [f32; 4] {
    [bbox.x0, bbox.y0, bbox.x1, bbox.y1]
}

/// The generated training set in a folder of its own, and its dataset.
fn shapes(folder: &Path) -> Arc<CocoDataset> {
    let [train, _] = generate(folder, &SHAPES).unwrap();
    let coco = Arc::new(Coco::open(&train.annotations).unwrap());
    Arc::new(CocoDataset::for_training(coco, train.images).unwrap())
}

fn augmentation() -> Arc<Pipeline> {
    Arc::new(Pipeline {
        transforms: vec![
            Transform::LargeScaleJitter { size: 80, min: 0.3, max: 2.0 },
            Transform::Flip { probability: 0.5 },
            Transform::PhotometricDistortion(Photometric::default()),
        ],
    })
}

fn batches(dataset: &Arc<CocoDataset>, workers: usize, epoch: u64) -> Vec<Vec<Sample>> {
    let sampler = BatchSampler::shuffled(&dataset.sizes(), 4, 5);
    let loader = Loader::new(Arc::clone(dataset) as Arc<dyn Dataset>, augmentation(), sampler, workers);
    loader.epoch(epoch, 0).collect::<Result<_, _>>().unwrap()
}

#[test]
fn generated_shapes_are_a_coco_data_set_without_problems() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = shapes(&folder.path().join("shapes"));
    assert_eq!(dataset.coco().problems().len(), 0, "{:?}", dataset.coco().problems().first());
    assert_eq!(dataset.class_names(), SHAPES_CLASSES);
    let mut sizes = [0; 3];
    for index in 0..dataset.len() {
        let sample = dataset.get(index).unwrap();
        for instance in &sample.instances {
            // The annotated box is the bounds of the mask.
            assert_eq!(instance.mask.bounding_box(), Some(instance.bbox), "{}", sample.file.display());
            sizes[usize::from(instance.mask.area() > 32 * 32)] += 1;
        }
    }
    assert!(sizes[0] > 10 && sizes[1] > 10, "small and larger objects: {sizes:?}");
}

#[test]
fn workers_do_not_change_what_is_learnt_from() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = shapes(&folder.path().join("shapes"));
    let alone = batches(&dataset, 0, 1);
    assert_eq!(alone.iter().map(Vec::len).sum::<usize>(), dataset.len());
    for workers in [1, 4] {
        let parallel = batches(&dataset, workers, 1);
        for (a, b) in alone.iter().flatten().zip(parallel.iter().flatten()) {
            assert_eq!((a.image_id, &a.instances, a.geometry), (b.image_id, &b.instances, b.geometry));
            assert!(a.image == b.image, "pixels of image {} with {workers} workers", a.image_id);
        }
    }
    let other = batches(&dataset, 0, 2);
    let ids = |batches: &[Vec<Sample>]| batches.iter().flatten().map(|s| s.image_id).collect::<Vec<_>>();
    assert_ne!(ids(&alone), ids(&other));
}

#[test]
fn boxes_come_back_to_the_pixels_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = shapes(&folder.path().join("shapes"));
    let test = Pipeline { transforms: vec![Transform::ResizeKeepRatio { long: 300, short: 140 }] };
    for index in 0..dataset.len() {
        let original = dataset.get(index).unwrap();
        let input = test.apply(original.clone(), &mut ChaCha8Rng::seed_from_u64(0));
        for (before, after) in original.instances.iter().zip(&input.instances) {
            let back = corners(input.geometry.undo(after.bbox));
            for (back, before) in back.into_iter().zip(corners(before.bbox)) {
                assert!(f64::from((back - before).abs()) < tolerance::BOX_PIXELS, "{back} is not {before}");
            }
        }
    }
}

#[test]
fn a_truncated_image_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = shapes(&folder.path().join("shapes"));
    let file = dataset.get(7).unwrap().file;
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let message = dataset.get(7).unwrap_err().to_string();
    assert!(message.starts_with(&file.display().to_string()), "{message}");
    let sampler = BatchSampler::sequential(dataset.len(), 4);
    let loader = Loader::new(dataset.clone(), Arc::default(), sampler, 2);
    let failed: Vec<_> = loader.epoch(0, 0).map(|batch| batch.is_err()).collect();
    assert_eq!(failed.iter().position(|&failed| failed), Some(1));
    assert_eq!(failed.iter().filter(|&&failed| failed).count(), 1);
}

#[test]
fn an_image_of_another_size_than_listed_is_an_error_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = shapes(&folder.path().join("shapes"));
    let file = dataset.get(0).unwrap().file;
    RgbImage::new(33, 44).save(&file).unwrap();
    let error = dataset.get(0).unwrap_err();
    let DataError::Size { width: 33, height: 44, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains("33 x 44") && error.to_string().contains("train.json"), "{error}");
}

#[test]
fn evaluation_sees_every_image_and_training_only_the_useful_ones() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: serde_json::Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path
    };
    let image = |id: u64, width: u32, height: u32| serde_json::json!({"id": id, "file_name": format!("{id}.png"), "width": width, "height": height});
    let annotation = |id: u64, image_id: u64, bbox: [f64; 4], area: f64| {
        let [x, y, w, h] = bbox;
        serde_json::json!({
            "id": id, "image_id": image_id, "category_id": 3, "bbox": bbox, "area": area, "iscrowd": 0,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        })
    };
    let path = write(
        "truth.json",
        serde_json::json!({
            "images": [image(1, 40, 50), image(2, 40, 50), image(3, 40, 31), image(4, 40, 50)],
            "categories": [{"id": 7, "name": "later"}, {"id": 3, "name": "earlier"}],
            "annotations": [
                annotation(1, 1, [5.0, 5.0, 10.0, 10.0], 100.0),
                annotation(2, 1, [5.0, 5.0, 0.5, 10.0], 5.0),
                annotation(3, 1, [5.0, 5.0, 10.0, 10.0], 0.0),
                annotation(4, 1, [41.0, 5.0, 10.0, 10.0], 100.0),
                annotation(5, 3, [5.0, 5.0, 10.0, 10.0], 100.0),
                annotation(6, 4, [5.0, 5.0, 0.5, 10.0], 5.0),
            ],
        }),
    );
    RgbImage::new(40, 50).save(folder.path().join("1.png")).unwrap();
    let coco = Arc::new(Coco::open_for_scoring(&path).unwrap());
    let evaluation = CocoDataset::for_evaluation(Arc::clone(&coco), folder.path().into());
    assert_eq!(evaluation.len(), 4);
    assert_eq!(evaluation.class_names(), ["earlier", "later"]);
    // Image 2 has no annotation, image 3 is too low, image 4 has one (too narrow) and stays.
    let training = CocoDataset::for_training(coco, folder.path().into()).unwrap();
    assert_eq!(training.sizes(), [(40, 50), (40, 50)]);
    let sample = training.get(0).unwrap();
    assert_eq!(sample.instances.len(), 1);
    assert_eq!(sample.instances[0].class, 0);
}

#[test]
fn a_data_set_without_annotations_cannot_be_trained_on() {
    let path = Path::new("empty.json");
    let text = br#"{"images": [{"id": 1, "file_name": "a.png", "width": 50, "height": 50}],
        "categories": [{"id": 1, "name": "thing"}], "annotations": []}"#;
    let coco = Arc::new(Coco::from_json(path, text.to_vec()).unwrap());
    let message = CocoDataset::for_training(coco, ".".into()).err().unwrap().to_string();
    assert!(message.starts_with("empty.json: none of 1 images can be trained on"), "{message}");
}
