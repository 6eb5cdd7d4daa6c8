//! How many images a second the loader reads, resizes, flips and distorts, with 1 and 2 workers.
//!
//! `cargo bench -p cvx-data --bench loader -- [COCO.json FOLDER]`: on generated images of 640 pixels without arguments.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cvx_data::{
    BatchSampler, Coco, CocoDataset, Loader, Photometric, Pipeline, ShapesConfig, ShapesSplit, Transform,
    generate,
};

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo test --benches` only asks whether it runs.
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let (images, rounds) = if is_measuring { (64, 3) } else { (2, 1) };
    let named: Vec<PathBuf> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).map(PathBuf::from).collect();
    let generated = tempfile::tempdir()?;
    let split = match named.as_slice() {
        [annotations, folder] => ShapesSplit { annotations: annotations.clone(), images: folder.clone() },
        _ => {
            let config = ShapesConfig { train: images, val: 0, size: 640, ..ShapesConfig::default() };
            let [train, _] = generate(&generated.path().join("shapes"), &config)?;
            train
        }
    };
    let coco = Arc::new(Coco::open(&split.annotations)?);
    let dataset = Arc::new(CocoDataset::for_training(coco, split.images)?);
    let sizes = dataset.sizes();
    // What COCO's recipes do with an image, but for the crop.
    let transforms = vec![
        Transform::ResizeKeepRatio { long: 1333, short: 800 },
        Transform::Flip { probability: 0.5 },
        Transform::PhotometricDistortion(Photometric::default()),
    ];
    for (name, transforms) in
        [("read and resized", &transforms[..1]), ("with flip and distortion", &transforms)]
    {
        let pipeline = Arc::new(Pipeline { transforms: transforms.to_vec() });
        for workers in [1, 2] {
            let sampler = BatchSampler::shuffled(&sizes, 2, 0);
            let loader = Loader::new(Arc::clone(&dataset) as _, Arc::clone(&pipeline), sampler, workers);
            let mut best = f64::INFINITY;
            for round in 0..rounds {
                let begin = Instant::now();
                let mut read = 0;
                for batch in loader.epoch(round, 0) {
                    read += batch?.len();
                }
                best = best.min(begin.elapsed().as_secs_f64() / read as f64);
            }
            println!("{name:26} {workers} workers {:7.1} images/s", 1.0 / best);
        }
    }
    Ok(())
}
