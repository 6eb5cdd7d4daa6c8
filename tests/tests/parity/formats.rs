//! Files that the public libraries saved, one of each format: recognised, loaded to the last name, converted and back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use cvx_heads::{Detection, ImageSize};
use cvx_tests::golden::{Golden, Tensors};
use cvx_tests::tensors::{tensor, values};
use cvx_tests::tolerance::{BOX_PIXELS, FORWARD, SCORE, assert_close};
use cvx_tools::det;
use cvx_tools::recipe::Version;
use cvx_tools::safetensors_file::SafetensorsFile;
use cvx_tools::weights::export::{self, Form};
use cvx_tools::weights::model::{Architecture, Model, Part};
use cvx_tools::weights::python_config::Config;
use cvx_tools::weights::{self, Published, Strictness};
use serde_json::Value;

use crate::backbone::{assert_maps, backbone, classifier};

/// What is expected of one file.
struct Case {
    path: PathBuf,
    entry: Value,
    /// What its expected tensors begin with.
    stem: String,
}

fn cases(golden: &Golden) -> Vec<Case> {
    let meta = golden.json("meta.json");
    let case = |entry: &Value| {
        let outputs = entry["outputs"].as_object().expect("outputs");
        let (stem, _) = outputs.keys().next().expect("an output").split_once('.').expect("STEM.OUTPUT");
        let path = golden.file(entry["file"].as_str().expect("a name"));
        Case { path, entry: entry.clone(), stem: stem.to_owned() }
    };
    meta["files"].as_array().expect("files").iter().map(case).collect()
}

impl Case {
    fn is(&self, task: &str) -> bool {
        self.entry["task"] == task
    }

    fn has(&self, output: &str) -> bool {
        self.entry["outputs"].get(format!("{}.{output}", self.stem)).is_some()
    }

    /// Whether this program has a network for all of it.
    fn part(&self) -> Part {
        let is_whole = !self.is("detector") || self.entry["format"] != "torchvision";
        if is_whole { Part::Whole } else { Part::Backbone }
    }
}

fn four(value: &Value) -> [usize; 4] {
    std::array::from_fn(|index| value[index].as_u64().expect("a number") as usize)
}

#[test]
fn every_format_is_recognised_and_computes_what_its_library_computes() {
    let device = cvx_tests::device();
    for golden in Golden::of_kind("formats") {
        let expected = golden.tensors("expected.safetensors");
        let images: Tensor<4> = tensor(golden.npy("input.npy"), &device);
        for case in cases(&golden) {
            let (path, stem) = (&case.path, &case.stem);
            let what = path.display().to_string();
            let published = Published::open(path, None).unwrap_or_else(|e| panic!("{e:?}"));
            assert_eq!(published.depths, four(&case.entry["depths"]), "{what}");
            assert_eq!(published.dims, four(&case.entry["dims"]), "{what}");
            assert_eq!(published.version == Version::V2, case.entry["version"] == 2, "{what}");

            let is_dense = case.has("out0");
            let maps = backbone(path, is_dense, &device).backbone.forward(images.clone());
            let kind = if is_dense { "out" } else { "stage" };
            assert_maps(&what, maps, |stage| expected.get(&format!("{stem}.{kind}{stage}")));
            if case.is("classifier") {
                let logits = classifier(path, &device).forward(images.clone());
                let reference = expected.f32(&format!("{stem}.logits")).values;
                assert_close(&what, &values(logits), &reference, FORWARD);
            }
            if case.has("features") {
                let features = classifier(path, &device).features(images.clone());
                let reference = expected.f32(&format!("{stem}.features")).values;
                assert_close(&what, &values(features), &reference, FORWARD);
            }
            if case.is("segmentor") {
                assert_segmentor(&case, &published, &images, &expected);
            }
            if case.is("detector") && case.part() == Part::Whole {
                assert_pyramid(&case, &published, &images, &expected);
            }
        }
    }
}

#[track_caller]
fn assert_segmentor(case: &Case, published: &Published, images: &Tensor<4>, expected: &Tensors) {
    let (model, _) = Model::open(&case.path, None, Part::Whole).unwrap_or_else(|e| panic!("{e:?}"));
    let Architecture::Segmentor(architecture) = model.architecture else { panic!("no segmentor") };
    let segmentor = architecture.init(&images.device());
    let (segmentor, _) = weights::load(published, segmentor, Strictness::Complete).expect("it fits");
    let maps = segmentor.backbone.forward(images.clone());
    let auxiliary = segmentor.heads.auxiliary_head.as_ref().expect("an auxiliary head");
    let outputs = [("aux", auxiliary.forward(maps.c4.clone())), ("logits", segmentor.heads.segment(maps))];
    for (output, logits) in outputs {
        let name = format!("{}.{output}", case.stem);
        assert_close(&name, &values(logits), &expected.f32(&name).values, FORWARD);
    }
}

#[track_caller]
fn assert_pyramid(case: &Case, published: &Published, images: &Tensor<4>, expected: &Tensors) {
    let device = images.device();
    let trained = det::load(&case.path, &device).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(trained.classes.len() as u64, case.entry["num_classes"].as_u64().expect("a number"));
    let (detector, _) =
        weights::load(published, trained.architecture.init(&device), Strictness::Complete).expect("it fits");
    let pyramid = detector.heads.neck.forward(detector.backbone.forward(images.clone()));
    for (level, map) in pyramid.levels().into_iter().enumerate() {
        let name = format!("{}.fpn{level}", case.stem);
        assert_close(&name, &values(map), &expected.f32(&name).values, FORWARD);
    }
    if case.has("det.boxes") {
        let [_, _, height, width] = images.dims();
        let size = ImageSize { height, width, padded_height: height, padded_width: width };
        let found = detector.detect(images.clone(), &[size]).remove(0);
        assert_detections(&case.stem, &found, expected);
    }
}

/// Each expected detection has a partner of its own: the order of two that score almost alike is free.
#[track_caller]
fn assert_detections(stem: &str, found: &[Detection], expected: &Tensors) {
    let tensor = |name: &str| expected.f32(&format!("{stem}.det.{name}")).values;
    let (boxes, scores, labels, masks) =
        (tensor("boxes"), tensor("scores"), tensor("labels"), tensor("mask_probs28"));
    assert_eq!(found.len(), scores.len(), "{stem}: number of detections");
    assert!(!masks.is_empty(), "{stem}: no masks to compare with");
    let mut rest: Vec<&Detection> = found.iter().collect();
    let near = |a: f32, b: f32, tolerance: f64| f64::from((a - b).abs()) <= tolerance;
    for index in 0..scores.len() {
        let is_same = |detection: &&Detection| {
            let corners = detection.bbox.iter().zip(&boxes[4 * index..]);
            detection.label == labels[index] as usize
                && near(detection.score, scores[index], SCORE)
                && corners.take(4).all(|(&a, &b)| near(a, b, BOX_PIXELS))
        };
        let partner = rest.iter().position(is_same);
        let partner = partner.unwrap_or_else(|| panic!("{stem}: detection {index} is missing"));
        let mask = &rest.remove(partner).mask;
        // Only the first few masks are in the file.
        if let Some(expected) = masks.chunks_exact(mask.len()).nth(index) {
            assert_close(&format!("{stem}: mask {index}"), mask, expected, FORWARD);
        }
    }
}

#[test]
fn the_averaged_weights_of_a_training_run_can_be_chosen() {
    let device = cvx_tests::device();
    let folder = tempfile::tempdir().unwrap();
    for golden in Golden::of_kind("formats") {
        let expected = golden.tensors("expected.safetensors");
        for case in cases(&golden).iter().filter(|case| case.has("ema.logits")) {
            let key = if case.entry["format"] == "timm" { "state_dict_ema" } else { "model_ema" };
            let (model, _) = Model::open(&case.path, Some(key), Part::Whole).unwrap();
            let file = folder.path().join("ema.safetensors");
            export::write(&model, Form::Official, "", &file).unwrap();
            let logits = classifier(&file, &device).forward(tensor(golden.npy("input.npy"), &device));
            let reference = expected.f32(&format!("{}.ema.logits", case.stem)).values;
            assert_close(&case.stem, &values(logits), &reference, FORWARD);
            let Err(error) = Model::open(&case.path, Some("teacher"), Part::Whole) else {
                panic!("there is none")
            };
            assert!(error.to_string().contains("possible are"), "{error}");
        }
    }
}

/// Names, shapes and bytes of a safetensors file.
fn contents(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = SafetensorsFile::open(path).unwrap();
    let tensors = file.tensors().map(|(name, info)| {
        let bytes = file.bytes(&name).unwrap();
        (name, (info.shape.clone(), bytes))
    });
    tensors.collect()
}

#[test]
fn every_format_becomes_a_checkpoint_and_goes_through_every_naming_without_a_bit_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for golden in Golden::of_kind("formats") {
        for case in cases(&golden) {
            let (model, _) = Model::open(&case.path, None, case.part()).unwrap_or_else(|e| panic!("{e:?}"));
            export::write(&model, Form::Cvx, "x.pth", &file("ours.safetensors")).unwrap();
            let ours = contents(&file("ours.safetensors"));
            let (back, _) = Model::open(&file("ours.safetensors"), None, Part::Whole).unwrap();
            assert_eq!(back.architecture, model.architecture, "{}", case.path.display());
            assert_eq!(back.classes, model.classes);
            assert_eq!(back.preprocessing, model.preprocessing);
            for form in [Form::Official, Form::Timm, Form::Openmmlab] {
                let what = format!("{} as {form:?}", case.path.display());
                let left_out = export::write(&back, form, "", &file("theirs.safetensors")).unwrap();
                let (theirs, _) = Model::open(&file("theirs.safetensors"), None, Part::Whole)
                    .unwrap_or_else(|e| panic!("{what}: {e:?}"));
                if form != Form::Timm {
                    assert_eq!(left_out, [""; 0], "{what}");
                    assert_eq!(theirs.architecture, model.architecture, "{what}");
                    assert_eq!(theirs.classes, model.classes, "{what}");
                    assert_eq!(theirs.preprocessing, model.preprocessing, "{what}");
                }
                export::write(&theirs, Form::Cvx, "", &file("again.safetensors")).unwrap();
                let again = contents(&file("again.safetensors"));
                for (name, value) in &again {
                    assert!(ours[name] == *value, "{what}: `{name}` changed");
                }
                assert!(form == Form::Timm || again.len() == ours.len(), "{what}: some are lost");
            }
        }
    }
}

#[test]
fn a_file_of_official_names_is_given_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(format!("{name}.safetensors")));
    let mut num_tested = 0;
    for golden in Golden::of_kind("classifier") {
        for (name, form) in [("timm.safetensors", Form::Timm), ("official.pth", Form::Official)] {
            if !golden.file(name).is_file() {
                continue;
            }
            let (model, _) = Model::open(&golden.file(name), None, Part::Whole).unwrap();
            export::write(&model, Form::Cvx, "", &ours).unwrap();
            let (model, _) = Model::open(&ours, None, Part::Whole).unwrap();
            export::write(&model, form, "", &theirs).unwrap();
            let written = contents(&theirs);
            let source = weights::source::Source::open(&golden.file(name), None).unwrap();
            assert_eq!(written.len(), source.names().count());
            for original in source.names() {
                let (shape, bytes) = &written[original];
                assert_eq!(Some(shape.as_slice()), source.shape(original), "{original}");
                let values = source.read(original).unwrap();
                assert!(
                    values.iter().flat_map(|value| value.to_le_bytes()).eq(bytes.iter().copied()),
                    "{original}"
                );
            }
            num_tested += 1;
        }
    }
    assert!(num_tested > 0);
}

#[test]
fn architectures_and_preprocessing_are_those_the_files_tell() {
    for golden in Golden::of_kind("formats") {
        for case in cases(&golden) {
            let (model, _) = Model::open(&case.path, None, case.part()).unwrap();
            let classes = case.entry["num_classes"].as_u64();
            match &model.architecture {
                Architecture::Classifier(architecture) => {
                    assert_eq!(Some(architecture.classifier.num_classes as u64), classes.or(Some(0)));
                    let folder = case.path.is_dir() && case.is("classifier");
                    if folder {
                        assert_eq!(model.classes, ["bolt", "nut", "gear", "spring", "washer"]);
                    }
                    assert_preprocessing(&case.path, &model.preprocessing);
                }
                Architecture::Detector(architecture) => {
                    assert_eq!(Some(architecture.num_classes() as u64), classes);
                    assert_eq!(model.preprocessing["input"]["pad_multiple"], 32);
                    let sides = [&model.preprocessing["short_side"], &model.preprocessing["long_side"]];
                    assert_eq!(sides, [800, 1333], "{}", case.path.display());
                }
                Architecture::Segmentor(architecture) => {
                    assert_eq!(Some(architecture.upernet.num_classes as u64), classes);
                    assert!(architecture.upernet.auxiliary.is_some());
                }
                Architecture::Backbone(_) | Architecture::Autoencoder(_) => assert!(model.classes.is_empty()),
            }
        }
    }
}

/// What `preprocessor_config.json` beside the weights says, or what everyone does.
#[track_caller]
fn assert_preprocessing(path: &Path, found: &Value) {
    let close =
        |found: &Value, expected: f64| (found.as_f64().expect("a number") / expected - 1.0).abs() < FORWARD;
    let told = std::fs::read(path.join("preprocessor_config.json"));
    let Ok(told) = told else {
        let usual = close(&found["mean"][0], 123.675) && close(&found["std"][2], 57.375);
        assert!(usual && close(&found["size"], 224.0), "{}: {found}", path.display());
        let is_torchvision = path.to_string_lossy().contains("torchvision");
        let interpolation = if is_torchvision { "bilinear" } else { "bicubic" };
        assert_eq!(found["interpolation"], interpolation, "{}", path.display());
        return;
    };
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    // ConvNextImageProcessor resizes to the square from 384 pixels on.
    let crops = told["size"]["shortest_edge"].as_u64().is_some_and(|side| side < 384);
    let crop_pct = told["crop_pct"].as_f64().filter(|_| crops).unwrap_or(1.0);
    assert!(close(&found["crop_pct"], crop_pct), "{}: {found}", path.display());
    assert_eq!(found["interpolation"], if told["resample"] == 2 { "bilinear" } else { "bicubic" });
    for (ours, theirs) in [("mean", "image_mean"), ("std", "image_std")] {
        for channel in 0..3 {
            let expected = 255.0 * told[theirs][channel].as_f64().expect("a number");
            assert!(close(&found[ours][channel], expected), "{}: {found} {told}", path.display());
        }
    }
    assert_eq!(found["size"], told["size"]["shortest_edge"], "{}", path.display());
}

#[test]
fn a_resolved_configuration_of_mmdet_is_understood_to_its_end() {
    for golden in Golden::of_kind("mask_rcnn") {
        let text = std::fs::read_to_string(golden.file("config.py")).expect("a configuration");
        let config = Config::parse(&text);
        assert_eq!(config.unread, [""; 0], "{}", golden.folder.display());
        let classes = golden.json("meta.json")["num_classes"].as_f64();
        assert_eq!(config.number("model.roi_head.bbox_head.num_classes"), classes);
        assert_eq!(config.text("model.test_cfg.rcnn.nms.type"), Some("nms"));
        assert_eq!(config.numbers("model.rpn_head.anchor_generator.ratios"), Some(vec![0.5, 1.0, 2.0]));
    }
}
