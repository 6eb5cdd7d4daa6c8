//! Memory: what a training of the smoke recipe's network takes at a common size, and what loading weights takes, read
//! from the processes that did it.

use std::fs;
use std::path::Path;
use std::process::Command;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use cvx_backbone::{BlockNorm, ClassifierConfig, ConvNextConfig, Layout, NameScheme, Variant};
use cvx_heads::UperNetConfig;
use cvx_tests::project_root;
use cvx_tools::det::{self, Streams};
use cvx_tools::exit::Exit;
use cvx_tools::memory;
use cvx_tools::recipe::Input;
use cvx_tools::safetensors_file;
use cvx_tools::seg::inference::{Look, Window, label_image};
use cvx_tools::seg::model::{Preprocessing, Segmentor};
use cvx_tools::train::params::{self, ParamInfo};
use cvx_tools::weights::model::{Architecture, Model, Part};
use cvx_tools::weights::{self, Published, Strictness};
use image::{Rgb, RgbImage};

/// The variable by which the test tells its child process where to write.
const CHILD_FOLDER: &str = "CVX_TEST_MEMORY_FOLDER";

/// What the project promises for V2 atto at 256x256, batch 4.
const PROMISED_BYTES: u64 = 2_000_000_000;

/// What the project promises for loading weights, as a multiple of their size.
const PROMISED_MULTIPLE: f64 = 1.3;

/// The variables by which the test tells its child process what to load, and where to write.
const CHILD_WEIGHTS: &str = "CVX_TEST_MEMORY_WEIGHTS";

#[test]
fn a_child_process_loads_weights_and_says_what_it_took() {
    let Ok(weights) = std::env::var(CHILD_WEIGHTS) else {
        return;
    };
    memory::keep_freed();
    let path = Path::new(&weights);
    let before = memory::peak_resident();
    let (model, _) = Model::open(path, None, Part::Whole).unwrap();
    let Architecture::Classifier(architecture) = model.architecture else { panic!("a classifier") };
    let published = Published::open(path, None).unwrap();
    let classifier = architecture.init(&Device::flex());
    let (classifier, _) = weights::load(&published, classifier, Strictness::Complete).unwrap();
    assert!(classifier.num_params() > 0);
    if let Some((before, after)) = before.zip(memory::peak_resident()) {
        let size = path.metadata().unwrap().len();
        println!("{} MB of weights: {} MB before, {} MB at the peak", size >> 20, before >> 20, after >> 20);
        let multiple = (after - before) as f64 / size as f64;
        assert!(multiple < PROMISED_MULTIPLE, "loading took {multiple:.2} times the file's size");
    }
}

#[test]
fn loading_weights_takes_little_more_than_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("convnextv2_tiny.safetensors");
    // Any values will do.
    let backbone = ConvNextConfig::of(Variant::V2Tiny);
    let params = params::list(&ClassifierConfig::new(backbone, 1000).init(&Device::flex()));
    let entries: Vec<(String, Vec<usize>)> = params
        .into_iter()
        .map(|ParamInfo { path, mut shape }| {
            if NameScheme::Official.layout(path.trim_start_matches("backbone.")) == Layout::Transposed {
                shape.reverse();
            }
            (path.trim_start_matches("backbone.").to_owned(), shape)
        })
        .collect();
    let named: Vec<(&str, &[usize])> =
        entries.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let format = serde_json::json!({ "format": "pt" });
    safetensors_file::write(&path, format, &named, &mut |index| {
        Ok(TensorData::ones::<f32, _>(entries[index].1.clone()))
    })
    .unwrap();

    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_process_loads_weights_and_says_what_it_took", "--nocapture"])
        .env(CHILD_WEIGHTS, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
fn a_child_process_trains_and_says_what_it_took() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    // As every program does.
    memory::keep_freed();
    let recipe = project_root().join("configs/smoke/coco.toml").display().to_string();
    let changes = [
        format!("run.folder={folder}/run"),
        format!("data.shapes.folder={folder}/shapes"),
        "data.shapes.long_side=256".to_owned(),
        "data.shapes.train_images=9".to_owned(),
        "data.shapes.val_images=2".to_owned(),
        "train.batch_size=4".to_owned(),
        "train.epochs=1".to_owned(),
        "evaluate.every_epochs=1".to_owned(),
        "evaluate.short_side=256".to_owned(),
        "evaluate.long_side=256".to_owned(),
    ];
    let mut arguments = vec!["cvx-det".to_owned(), "train".to_owned(), recipe];
    arguments.extend(changes.map(|change| format!("--set={change}")));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = det::run(&arguments, Streams { out: &mut out, err: &mut err });
    // A few steps do not reach the AP that the recipe promises.
    assert_eq!(exit, Exit::OutsideExpectations, "{}", String::from_utf8_lossy(&err));
    if let Some(bytes) = memory::peak_resident() {
        fs::write(format!("{folder}/peak"), bytes.to_string()).unwrap();
    }
}

#[test]
fn training_atto_at_256_pixels_and_batch_4_stays_below_two_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_process_trains_and_says_what_it_took", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let Ok(peak) = fs::read_to_string(folder.path().join("peak")) else {
        println!("skipped: this system does not tell how much memory a process took");
        return;
    };
    let peak: u64 = peak.parse().unwrap();
    println!("peak resident size: {} MB", peak / 1_000_000);
    assert!(peak < PROMISED_BYTES, "{peak} bytes");
}

/// The variable by which the test tells its child process to label an image.
const CHILD_LABELS: &str = "CVX_TEST_MEMORY_LABELS";

/// What labelling an image of 2000 x 2000 pixels may take; its logits of 150 classes alone would be 2,400 MB.
const LABELLING_BYTES: u64 = 400_000_000;

#[test]
fn a_child_process_labels_a_large_image_and_says_what_it_took() {
    if std::env::var(CHILD_LABELS).is_err() {
        return;
    }
    memory::keep_freed();
    let device = Device::flex();
    let backbone = ConvNextConfig::new([1, 1, 1, 1], [8, 12, 16, 24], BlockNorm::Grn);
    let heads = UperNetConfig::new(150).with_channels(16).with_auxiliary(None);
    let segmentor =
        Segmentor { backbone: backbone.init(&device), heads: heads.init(&backbone.feature_specs(), &device) };
    let image = RgbImage::from_fn(2000, 2000, |x, y| Rgb([x as u8, y as u8, (x * y / 999) as u8]));
    let input = Input { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375], pad_multiple: 1 };
    let sliding = Window::Sliding { size: [256; 2], stride: [171; 2] };
    for (side, window) in [(2000, sliding), (256, Window::Whole)] {
        let preprocessing = Preprocessing { input: input.clone(), short_side: side, long_side: side, window };
        let before = memory::peak_resident();
        let labels = label_image(&segmentor, &image, &preprocessing, &Look::once(window), &device);
        assert_eq!(labels.pixels.len(), 4_000_000);
        if let Some((before, after)) = before.zip(memory::peak_resident()) {
            println!(
                "at {side} pixels: {} MB before, {} MB at the peak",
                before / 1_000_000,
                after / 1_000_000
            );
            assert!(after < LABELLING_BYTES, "{after} bytes");
        }
    }
}

#[test]
fn labelling_an_image_takes_a_part_of_what_its_logits_would() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_process_labels_a_large_image_and_says_what_it_took", "--nocapture"])
        .env(CHILD_LABELS, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    println!("{said}");
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
}

/// The variable by which the test tells its child process which stages recompute their blocks' inner values.
const CHILD_STAGES: &str = "CVX_TEST_MEMORY_STAGES";

#[test]
fn a_child_process_goes_backward_and_says_what_it_took() {
    let Ok(stages) = std::env::var(CHILD_STAGES) else {
        return;
    };
    memory::keep_freed();
    let stages: Vec<usize> =
        stages.chars().filter_map(|stage| stage.to_digit(10)).map(|stage| stage as usize).collect();
    let device = Device::flex().autodiff();
    let backbone = ConvNextConfig::of(Variant::V2Atto).init(&device).recomputing(&stages);
    let images = Tensor::<4>::random([4, 3, 256, 256], Distribution::Default, &device);
    let maps = backbone.forward(images);
    maps.c5.square().sum().backward();
    println!("{}", memory::peak_resident().map_or_else(String::new, |bytes| format!("peak {bytes}")));
}

#[test]
fn stages_that_recompute_inner_values_take_less_memory() {
    let peak = |stages: &str| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_process_goes_backward_and_says_what_it_took", "--nocapture"])
            .env(CHILD_STAGES, stages)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
        said.lines().find_map(|line| line.strip_prefix("peak ")?.parse::<u64>().ok())
    };
    let (Some(kept), Some(one), Some(all)) = (peak("none"), peak("0"), peak("0123")) else {
        println!("skipped: this system does not tell how much memory a process took");
        return;
    };
    println!("kept: {} MB, first stage recomputed: {} MB, all: {} MB", kept >> 20, one >> 20, all >> 20);
    assert!(one < kept && all < one && all * 5 < kept * 4, "{kept} {one} {all}");
}
