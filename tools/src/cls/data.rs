//! The images of a recipe: opened, compared with the model, and dealt into batches.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use cvx_data::{
    BatchSampler, Dataset as _, ImageFolder, Loader, Pipeline, RandAugment, RandomErasing, Transform,
    Unreadable,
};

use super::recipe::{Data, RandAugment as Drawn, Recipe, Train};
use crate::recipe::paths;
use crate::waiting::Waiting;
use crate::wording::{abridged, counted};

/// Share of an image that is erased, and height over width (timm's `RandomErasing`).
const ERASED: [[f64; 2]; 2] = [[0.02, 1.0 / 3.0], [0.3, 1.0 / 0.3]];

/// Images to be judged by, and where they lie.
pub(super) fn open_val(recipe: &Recipe) -> Result<(Arc<ImageFolder>, PathBuf)> {
    let folder = paths::folder("data.val", &recipe.data.val)?;
    let waiting = Waiting::on_stderr(format!("looking through {}", folder.display()));
    let set = ImageFolder::with_classes(&folder, Unreadable::at_most(0)).context("data.val")?;
    drop(waiting);
    let (found, wanted) = (set.class_names().len(), recipe.head.num_classes);
    ensure!(
        found == wanted,
        "{}: holds folders of {} ({}), but head.num_classes = {wanted}",
        folder.display(),
        counted(found, "class", "classes"),
        abridged(set.class_names())
    );
    Ok((Arc::new(set), folder))
}

/// Images to learn from, with the classes of those to be judged by.
pub(super) fn open_train(recipe: &Recipe, val_set: &ImageFolder) -> Result<Arc<ImageFolder>> {
    let Data { train, val, most_unreadable } = &recipe.data;
    let folder = paths::folder("data.train", train)?;
    let waiting = Waiting::on_stderr(format!("looking through {}", folder.display()));
    let set =
        ImageFolder::with_classes(&folder, Unreadable::at_most(*most_unreadable)).context("data.train")?;
    drop(waiting);
    ensure!(
        set.class_names() == val_set.class_names(),
        "{}: holds the classes {}, but {val} has {}",
        folder.display(),
        abridged(set.class_names()),
        abridged(val_set.class_names())
    );
    Ok(Arc::new(set))
}

/// Batches to learn from: shuffled and augmented, a part of a batch at a time where it is split.
pub(super) fn train_loader(recipe: &Recipe, images: &Arc<ImageFolder>) -> Loader {
    let Train {
        batch_size,
        accumulation_steps,
        crop_scale,
        crop_ratio,
        flip,
        rand_augment,
        erase,
        workers,
        ..
    } = &recipe.train;
    let [scale, ratio] = ERASED;
    let (mean, std) = (recipe.input.mean, recipe.input.std);
    let mut transforms = vec![
        Transform::RandomResizedCrop { side: recipe.input.size, scale: *crop_scale, ratio: *crop_ratio },
        Transform::Flip { probability: *flip },
    ];
    if let Some(Drawn { layers, magnitude, deviation, probability }) = *rand_augment {
        let of_convnext = RandAugment::of_convnext(mean);
        let magnitude_deviation = deviation;
        let augment = RandAugment { layers, magnitude, magnitude_deviation, probability, ..of_convnext };
        transforms.push(Transform::RandAugment(augment));
    }
    transforms.push(Transform::RandomErasing(RandomErasing { probability: *erase, scale, ratio, mean, std }));
    // All alike: every image becomes a square.
    let sizes = vec![(1, 1); images.len()];
    let sampler = BatchSampler::shuffled(&sizes, batch_size / accumulation_steps, recipe.seed);
    Loader::new(Arc::<ImageFolder>::clone(images), Arc::new(Pipeline { transforms }), sampler, *workers)
}
