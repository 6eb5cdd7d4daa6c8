//! The data set of a recipe: opened, generated when it is of that kind, and compared with the model.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use cvx_data::{
    BatchSampler, Coco, CocoDataset, Dataset, Loader, Pipeline, ShapesConfig, Transform, generate,
};

use super::model::{Architecture, Preprocessing};
use crate::recipe::{CocoData, Data, Recipe, ShapesData, TransformRecipe, paths, resolve_path};
use crate::waiting::Waiting;
use crate::wording::{abridged, counted};

/// One half of a data set: a file of annotations, and the folder of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    /// COCO json.
    pub(super) annotations: PathBuf,
    /// Folder of the images it lists.
    pub(super) images: PathBuf,
}

/// Where the training and the validation half lie; generated data are written first if need be.
pub(super) fn splits(data: &Data) -> Result<[Split; 2]> {
    match data {
        Data::Coco(CocoData {
            train_annotations,
            train_images,
            val_annotations,
            val_images,
            classes: _,
            first_images: _,
        }) => Ok([
            Split {
                annotations: resolve_path("data.coco.train_annotations", train_annotations)?,
                images: resolve_path("data.coco.train_images", train_images)?,
            },
            Split {
                annotations: resolve_path("data.coco.val_annotations", val_annotations)?,
                images: resolve_path("data.coco.val_images", val_images)?,
            },
        ]),
        Data::Shapes(ShapesData { folder, seed, train_images, val_images, long_side }) => {
            let folder = resolve_path("data.shapes.folder", folder)?;
            let config =
                ShapesConfig { seed: *seed, train: *train_images, val: *val_images, size: *long_side };
            let _waiting = Waiting::on_stderr(format!("writing shapes to {}", folder.display()));
            let halves = generate(&folder, &config)?;
            Ok(halves.map(|half| Split { annotations: half.annotations, images: half.images }))
        }
    }
}

/// Which half of a data set is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    /// To learn from.
    Train,
    /// To be judged by.
    Val,
}

/// Whether the file of annotations that the recipe names is there.
///
/// # Errors
/// If it is not; names the entry.
pub(super) fn expect_annotations(data: &Data, half: Half) -> Result<()> {
    match (data, half) {
        (Data::Coco(coco), Half::Train) => {
            paths::file("data.coco.train_annotations", &coco.train_annotations).map(drop)
        }
        (Data::Coco(coco), Half::Val) => {
            paths::file("data.coco.val_annotations", &coco.val_annotations).map(drop)
        }
        (Data::Shapes(_), _) => Ok(()),
    }
}

/// The same of the folder of images.
///
/// # Errors
/// If it is not there; names the entry.
pub(super) fn expect_images(data: &Data, half: Half) -> Result<()> {
    match (data, half) {
        (Data::Coco(coco), Half::Train) => {
            paths::folder("data.coco.train_images", &coco.train_images).map(drop)
        }
        (Data::Coco(coco), Half::Val) => paths::folder("data.coco.val_images", &coco.val_images).map(drop),
        (Data::Shapes(_), _) => Ok(()),
    }
}

/// Reads the annotations of one half, reduced to what the recipe asks for, and refuses what would
/// break a training.
fn open_coco(data: &Data, half: Half, split: &Split) -> Result<Arc<Coco>> {
    expect_images(data, half)?;
    let coco = read_coco(data, half, split)?;
    ensure!(!coco.images.is_empty(), "{}: lists no images", split.annotations.display());
    match coco.problems().into_iter().find(|problem| problem.is_fatal) {
        Some(problem) => bail!("{problem}"),
        None => Ok(coco),
    }
}

/// Reads the annotations of one half, reduced to what the recipe asks for, sound or not.
pub(super) fn read_coco(data: &Data, half: Half, split: &Split) -> Result<Arc<Coco>> {
    expect_annotations(data, half)?;
    let waiting = Waiting::on_stderr(format!("reading {}", split.annotations.display()));
    let mut coco = Coco::open_for_scoring(&split.annotations)?;
    drop(waiting);
    if let Data::Coco(CocoData { classes, first_images, .. }) = data {
        if let Some(classes) = classes {
            coco = coco.keep_classes(classes)?;
        }
        if let Some(first_images) = first_images {
            let left_out: HashSet<u64> =
                coco.images.iter().skip(*first_images).map(|image| image.id).collect();
            coco.images.truncate(*first_images);
            coco.annotations.retain(|annotation| !left_out.contains(&annotation.image_id));
        }
    }
    Ok(Arc::new(coco))
}

/// The training half.
pub(super) fn open_train(recipe: &Recipe, split: &Split) -> Result<Arc<CocoDataset>> {
    let coco = open_coco(&recipe.data, Half::Train, split)?;
    let dataset = CocoDataset::for_training(Arc::clone(&coco), split.images.clone())?;
    ensure!(has_objects(&coco), no_objects(split));
    compare_classes(recipe, &dataset, split)?;
    Ok(Arc::new(dataset))
}

/// The validation half.
pub(super) fn open_val(recipe: &Recipe, split: &Split) -> Result<Arc<CocoDataset>> {
    let coco = open_coco(&recipe.data, Half::Val, split)?;
    let dataset = CocoDataset::for_evaluation(coco, split.images.clone());
    compare_classes(recipe, &dataset, split)?;
    Ok(Arc::new(dataset))
}

/// A model with more or fewer classes than the file would learn nonsense.
fn compare_classes(recipe: &Recipe, dataset: &CocoDataset, split: &Split) -> Result<()> {
    let wanted = Architecture::of(recipe).num_classes();
    let names = dataset.class_names();
    ensure!(
        names.len() == wanted,
        "{}: lists {} ({}), but head.mask-rcnn.num_classes = {wanted}",
        split.annotations.display(),
        counted(names.len(), "class", "classes"),
        abridged(&names)
    );
    Ok(())
}

/// The category id of every class, under which its detections are filed.
pub(super) fn category_ids(dataset: &CocoDataset) -> Vec<u64> {
    (0..dataset.num_classes()).map(|class| dataset.category_id(class)).collect()
}

/// Whether there is anything to find.
pub(super) fn has_objects(coco: &Coco) -> bool {
    coco.annotations.iter().any(|annotation| !annotation.iscrowd && annotation.area > 0.0)
}

/// What to say when there is not.
pub(super) fn no_objects(split: &Split) -> String {
    format!(
        "{}: no annotation is an object to train on: all are crowd regions, or have no area",
        split.annotations.display()
    )
}

/// Batches to train on: shuffled and augmented, a part of a batch at a time where it is split.
pub(super) fn train_loader(recipe: &Recipe, dataset: &Arc<CocoDataset>) -> Loader {
    let sizes = if recipe.train.group_by_aspect {
        dataset.sizes()
    } else {
        // All alike: nothing to group by.
        vec![(1, 1); dataset.len()]
    };
    let micro_batch = recipe.train.batch_size / recipe.train.accumulation_steps;
    let sampler = BatchSampler::shuffled(&sizes, micro_batch, recipe.seed);
    let transforms = recipe.train.transforms.iter().map(TransformRecipe::transform).collect();
    let dataset: Arc<dyn Dataset> = Arc::clone(dataset) as Arc<dyn Dataset>;
    Loader::new(dataset, Arc::new(Pipeline { transforms }), sampler, recipe.train.workers)
}

/// Batches to evaluate on: in order, resized only.
pub(super) fn val_loader(
    dataset: &Arc<CocoDataset>,
    preprocessing: &Preprocessing,
    batch_size: usize,
    workers: usize,
) -> Loader {
    let sampler = BatchSampler::sequential(dataset.len(), batch_size);
    let dataset: Arc<dyn Dataset> = Arc::clone(dataset) as Arc<dyn Dataset>;
    Loader::new(dataset, Arc::new(pipeline(preprocessing)), sampler, workers)
}

/// What happens to an image before the network looks at it to find objects.
pub(super) fn pipeline(preprocessing: &Preprocessing) -> Pipeline {
    let Preprocessing { input: _, short_side, long_side } = preprocessing;
    Pipeline { transforms: vec![Transform::ResizeKeepRatio { long: *long_side, short: *short_side }] }
}

/// Opens both halves.
pub(super) fn open(recipe: &Recipe) -> Result<[Arc<CocoDataset>; 2]> {
    let [train, val] = splits(&recipe.data)?;
    Ok([open_train(recipe, &train)?, open_val(recipe, &val)?])
}
