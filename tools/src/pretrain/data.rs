//! The images of a recipe: opened, generated when they are of that kind, and dealt into batches.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cvx_data::{
    BatchSampler, DataError, Dataset, ImageFolder, Loader, Pipeline, Sample, ShapesConfig, TarShards,
    Transform, Unreadable, generate,
};

use super::recipe::{Data, Halves, Recipe, Source, Train};
use crate::check;
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
    /// What a sample is called: a file, or a member of a shard.
    pub(super) fn name(&self, index: usize) -> PathBuf {
        match self {
            Self::Folder(images) => images.file(index).to_owned(),
            Self::Shards(images) => images.name(index),
        }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn bytes(&self, index: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Folder(images) => check::read(images.file(index)),
            Self::Shards(images) => images.bytes(index).map_err(|error| error.to_string()),
        }
    }

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
    let [train, val] = halves(data, data.most_unreadable)?;
    Ok([Arc::new(train?), Arc::new(val?)])
}

/// The two halves, each by itself, so that what is wrong with one hides nothing of the other.
///
/// # Errors
/// If images that are to be generated cannot be.
pub(super) fn halves(data: &Data, most_unreadable: usize) -> Result<[Result<Images>; 2]> {
    let unreadable = || Unreadable::at_most(most_unreadable);
    Ok(match &data.source {
        Source::Folders(Halves { train, val }) => {
            let open = |key: &str, folders: &[String]| -> Result<Images> {
                let folders = paths(key, folders)?;
                let _waiting = Waiting::on_stderr(format!("looking through the folders of {key}"));
                Ok(Images::Folder(ImageFolder::open(&folders, unreadable()).with_context(|| key.to_owned())?))
            };
            [open("data.source.folders.train", train), open("data.source.folders.val", val)]
        }
        Source::Shards(Halves { train, val }) => {
            let open = |key: &str, shards: &[String]| -> Result<Images> {
                let shards = paths(key, shards)?;
                let _waiting = Waiting::on_stderr(format!("reading the shards of {key}"));
                Ok(Images::Shards(TarShards::open(&shards, unreadable()).with_context(|| key.to_owned())?))
            };
            [open("data.source.shards.train", train), open("data.source.shards.val", val)]
        }
        Source::Shapes(ShapesData { folder, seed, train_images, val_images, long_side }) => {
            let folder = resolve_path("data.source.shapes.folder", folder)?;
            let config =
                ShapesConfig { seed: *seed, train: *train_images, val: *val_images, size: *long_side };
            let _waiting = Waiting::on_stderr(format!("writing shapes to {}", folder.display()));
            generate(&folder, &config)?
                .map(|half| Ok(Images::Folder(ImageFolder::open(&[half.images], unreadable())?)))
        }
    })
}

/// The files and folders that an entry lists.
///
/// # Errors
/// If one is not there.
pub(super) fn paths(key: &str, texts: &[String]) -> Result<Vec<PathBuf>> {
    let there = |(index, text): (usize, &String)| paths::file_or_folder(&format!("{key}.{index}"), text);
    texts.iter().enumerate().map(there).collect()
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
