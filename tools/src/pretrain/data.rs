//! The images of a recipe: opened, generated when they are of that kind, and dealt into batches.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use cvx_data::{
    BatchSampler, DataError, Dataset, ImageFolder, Loader, Pipeline, Sample, ShapesConfig, TarShards,
    Transform, Unreadable, generate,
};

use super::recipe::{Data, Halves, Recipe, Source, Train};
use crate::classify::Preprocessing;
use crate::recipe::{ShapesData, paths, resolve_path};
use crate::waiting::Waiting;

/// Images without truth.
#[derive(Debug)]
pub(super) enum Images {
    Folder(ImageFolder),
    Shards(TarShards),
}

impl Images {
    /// Those that could not be read so far.
    pub(super) fn unreadable(&self) -> &Unreadable {
        match self {
            Self::Folder(images) => images.unreadable(),
            Self::Shards(images) => images.unreadable(),
        }
    }
}

impl Dataset for Images {
    fn len(&self) -> usize {
        match self {
            Self::Folder(images) => images.len(),
            Self::Shards(images) => images.len(),
        }
    }

    fn get(&self, index: usize) -> Result<Sample, DataError> {
        match self {
            Self::Folder(images) => images.get(index),
            Self::Shards(images) => images.get(index),
        }
    }
}

/// Images to learn from, and images to be judged by; generated ones are written first if need be.
pub(super) fn open(data: &Data) -> Result<[Arc<Images>; 2]> {
    let Data { source, most_unreadable } = data;
    let unreadable = || Unreadable::at_most(*most_unreadable);
    let paths = |key: &str, texts: &[String]| {
        let there = |(index, text): (usize, &String)| paths::file_or_folder(&format!("{key}.{index}"), text);
        texts.iter().enumerate().map(there).collect::<Result<Vec<_>>>()
    };
    let [train, val] = match source {
        Source::Folders(Halves { train, val }) => {
            let open = |key: &str, folders: &[String]| -> Result<Images> {
                let folders = paths(key, folders)?;
                let _waiting = Waiting::on_stderr(format!("looking through the folders of {key}"));
                Ok(Images::Folder(ImageFolder::open(&folders, unreadable()).with_context(|| key.to_owned())?))
            };
            [open("data.source.folders.train", train)?, open("data.source.folders.val", val)?]
        }
        Source::Shards(Halves { train, val }) => {
            let open = |key: &str, shards: &[String]| -> Result<Images> {
                let shards = paths(key, shards)?;
                let _waiting = Waiting::on_stderr(format!("reading the shards of {key}"));
                Ok(Images::Shards(TarShards::open(&shards, unreadable()).with_context(|| key.to_owned())?))
            };
            [open("data.source.shards.train", train)?, open("data.source.shards.val", val)?]
        }
        Source::Shapes(ShapesData { folder, seed, train_images, val_images, long_side }) => {
            let folder = resolve_path("data.source.shapes.folder", folder)?;
            let config =
                ShapesConfig { seed: *seed, train: *train_images, val: *val_images, size: *long_side };
            let _waiting = Waiting::on_stderr(format!("writing shapes to {}", folder.display()));
            let [train, val] = generate(&folder, &config)?;
            [
                Images::Folder(ImageFolder::open(&[train.images], unreadable())?),
                Images::Folder(ImageFolder::open(&[val.images], unreadable())?),
            ]
        }
    };
    Ok([Arc::new(train), Arc::new(val)])
}

/// Batches to learn from: shuffled and augmented, a part of a batch at a time where it is split.
pub(super) fn train_loader(recipe: &Recipe, images: &Arc<Images>) -> Loader {
    let Train { batch_size, accumulation_steps, crop_scale, crop_ratio, flip, workers, .. } = &recipe.train;
    let transforms = vec![
        Transform::RandomResizedCrop { side: recipe.input.side, scale: *crop_scale, ratio: *crop_ratio },
        Transform::Flip { probability: *flip },
    ];
    // All alike: every image becomes a square.
    let sizes = vec![(1, 1); images.len()];
    let sampler = BatchSampler::shuffled(&sizes, batch_size / accumulation_steps, recipe.seed);
    Loader::new(Arc::<Images>::clone(images), Arc::new(Pipeline { transforms }), sampler, *workers)
}

/// Batches to be judged by: in order, their centres.
pub(super) fn val_loader(
    images: &Arc<Images>,
    preprocessing: &Preprocessing,
    batch_size: usize,
    workers: usize,
) -> Loader {
    let sampler = BatchSampler::sequential(images.len(), batch_size);
    Loader::new(Arc::<Images>::clone(images), Arc::new(preprocessing.pipeline()), sampler, workers)
}
