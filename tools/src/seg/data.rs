//! The data set of a segmentor's recipe: opened, generated when it is of that kind, and compared with the model.

use std::sync::Arc;

use anyhow::{Result, ensure};
use burn::prelude::*;
use burn::tensor::TensorData;
use cvx_data::{
    BatchSampler, ClassList, Dataset, LABELLED_SHAPES_CLASSES, LabelEncoding, LabelledSplit, Loader,
    Pipeline, Sample, SegmentationFolder, SegmentationSource, ShapesConfig, ZeroLabel, generate_labelled,
    normalise_into, pad_labels_into, pad_to_multiple,
};
use rayon::prelude::*;

use super::inference::SHORTEST_INPUT;
use super::recipe::{Data, FolderData, Head, Recipe};
use crate::recipe::{Input, ShapesData, TransformRecipe, paths, resolve_path};
use crate::waiting::Waiting;
use crate::wording::{abridged, counted};

/// Where a data set lies and how it is read.
pub(super) struct Source {
    pub(super) train: SegmentationSource,
    pub(super) val: SegmentationSource,
    pub(super) encoding: LabelEncoding,
    pub(super) classes: ClassList,
    pub(super) first_images: Option<usize>,
    /// What must be there for each half, as the recipe names it: entry, text, and whether it is a folder.
    named: [Vec<(String, String, bool)>; 2],
}

impl Source {
    /// Of a recipe; generated data are written first if need be.
    pub(super) fn of(data: &Data) -> Result<Self> {
        match data {
            Data::Folders(folders) => Self::folders(folders),
            Data::Shapes(ShapesData { folder, seed, train_images, val_images, long_side }) => {
                let folder = resolve_path("data.shapes.folder", folder)?;
                let config =
                    ShapesConfig { seed: *seed, train: *train_images, val: *val_images, size: *long_side };
                let _waiting = Waiting::on_stderr(format!("writing shapes to {}", folder.display()));
                let [train, val] = generate_labelled(&folder, &config)?
                    .map(|LabelledSplit { images, labels }| SegmentationSource::new(images, labels));
                let encoding = LabelEncoding::Index { zero: ZeroLabel::Class, ignored: Vec::new() };
                let classes = ClassList::named(LABELLED_SHAPES_CLASSES.map(String::from).into());
                let named = [Vec::new(), Vec::new()];
                Ok(Self { train, val, encoding, classes, first_images: None, named })
            }
        }
    }

    fn folders(data: &FolderData) -> Result<Self> {
        let FolderData {
            train_images,
            train_labels,
            train_list,
            val_images,
            val_labels,
            val_list,
            image_suffixes,
            label_suffix,
            classes: _,
            colors: _,
            labels,
            first_images,
        } = data;
        let path = |name: &str, text: &str| resolve_path(&format!("data.folders.{name}"), text);
        let half =
            |half: &str, images: &str, labels: &str, list: &Option<String>| -> Result<SegmentationSource> {
                let images = path(&format!("{half}_images"), images)?;
                let labels = path(&format!("{half}_labels"), labels)?;
                let mut source = SegmentationSource::new(images, labels);
                source.list = list.as_ref().map(|list| path(&format!("{half}_list"), list)).transpose()?;
                if let Some(suffixes) = image_suffixes {
                    source.image_suffixes.clone_from(suffixes);
                }
                if let Some(suffix) = label_suffix {
                    source.label_suffix.clone_from(suffix);
                }
                Ok(source)
            };
        let named = |half: &str, images: &str, labels: &str, list: &Option<String>| {
            let entry = |name: &str| format!("data.folders.{half}_{name}");
            let folders = [("images", images), ("labels", labels)];
            let folders = folders.map(|(name, text)| (entry(name), text.to_owned(), true));
            let list = list.iter().map(|text| (entry("list"), text.clone(), false));
            folders.into_iter().chain(list).collect()
        };
        Ok(Self {
            named: [
                named("train", train_images, train_labels, train_list),
                named("val", val_images, val_labels, val_list),
            ],
            train: half("train", train_images, train_labels, train_list)?,
            val: half("val", val_images, val_labels, val_list)?,
            encoding: labels.encoding(),
            classes: data.class_list(),
            first_images: *first_images,
        })
    }

    /// Whether everything that the recipe names of the training half is there.
    ///
    /// # Errors
    /// If it is not; names the entry.
    pub(super) fn expect_train(&self) -> Result<()> {
        expect(&self.named[0])
    }

    /// The same of the validation half.
    ///
    /// # Errors
    /// As [`Source::expect_train`].
    pub(super) fn expect_val(&self) -> Result<()> {
        expect(&self.named[1])
    }

    /// The training half.
    pub(super) fn open_train(&self) -> Result<Arc<SegmentationFolder>> {
        self.expect_train()?;
        let names = self.classes.names.clone();
        let _waiting = Waiting::on_stderr(format!("looking through {}", self.train.images.display()));
        let folder = SegmentationFolder::for_training(&self.train, self.encoding.clone(), names)?;
        Ok(Arc::new(self.head(folder)))
    }

    /// The validation half.
    pub(super) fn open_val(&self) -> Result<Arc<SegmentationFolder>> {
        self.expect_val()?;
        let names = self.classes.names.clone();
        let _waiting = Waiting::on_stderr(format!("looking through {}", self.val.images.display()));
        let folder = SegmentationFolder::for_evaluation(&self.val, self.encoding.clone(), names)?;
        Ok(Arc::new(self.head(folder)))
    }

    fn head(&self, folder: SegmentationFolder) -> SegmentationFolder {
        match self.first_images {
            Some(first_images) => folder.head(first_images),
            None => folder,
        }
    }

    /// A model with more or fewer classes than the data would learn nonsense.
    pub(super) fn compare_classes(&self, recipe: &Recipe) -> Result<()> {
        let Head::Upernet(head) = &recipe.head;
        let names = &self.classes.names;
        ensure!(
            names.len() == head.num_classes,
            "{}: the data have {} ({}), but head.upernet.num_classes = {}",
            self.train.labels.display(),
            counted(names.len(), "class", "classes"),
            abridged(names),
            head.num_classes
        );
        Ok(())
    }
}

fn expect(named: &[(String, String, bool)]) -> Result<()> {
    named.iter().try_for_each(|(entry, text, is_folder)| {
        let there = if *is_folder { paths::folder(entry, text) } else { paths::file(entry, text) };
        there.map(drop)
    })
}

/// Batches to train on: shuffled and augmented, a part of a batch at a time where it is split.
///
/// # Errors
/// If there is a single image, or a label image cannot be opened.
pub(super) fn train_loader(recipe: &Recipe, dataset: &Arc<SegmentationFolder>) -> Result<Loader> {
    ensure!(
        dataset.len() > 1,
        "one image to train on; possible: two and above, since the batch normalisation of pooled maps needs two at a time"
    );
    let sizes = if recipe.train.group_by_aspect {
        dataset.sizes()?
    } else {
        // All alike: nothing to group by.
        vec![(1, 1); dataset.len()]
    };
    let micro_batch = recipe.train.batch_size / recipe.train.accumulation_steps;
    let sampler = BatchSampler::shuffled(&sizes, micro_batch, recipe.seed).joining_last();
    let transforms = recipe.train.transforms.iter().map(TransformRecipe::transform).collect();
    let dataset: Arc<dyn Dataset> = Arc::clone(dataset) as Arc<dyn Dataset>;
    Ok(Loader::new(dataset, Arc::new(Pipeline { transforms }), sampler, recipe.train.workers))
}

/// Images to evaluate on, one at a time as they are.
pub(super) fn val_loader(dataset: &Arc<SegmentationFolder>, workers: usize) -> Loader {
    let sampler = BatchSampler::sequential(dataset.len(), 1);
    let dataset: Arc<dyn Dataset> = Arc::clone(dataset) as Arc<dyn Dataset>;
    Loader::new(dataset, Arc::new(Pipeline { transforms: Vec::new() }), sampler, workers)
}

/// Images and labels of one size.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Normalised, then padded: `[batch, 3, height, width]`.
    pub(super) images: Tensor<4>,
    /// Classes, 255 where there is none: `[batch, height, width]`.
    pub(super) labels: Tensor<3, Int>,
}

/// How large a batch is: the size of the crop that its samples were cut to, or what holds the largest of them; never
/// smaller than the network can look at.
pub(super) fn padded_size(samples: &[Sample], transforms: &[TransformRecipe], input: &Input) -> [usize; 2] {
    let crop = transforms.iter().rev().find_map(|step| match step {
        TransformRecipe::CategoryCrop { height, width, .. } => Some([*height as usize, *width as usize]),
        _ => None,
    });
    let largest = |side: fn(&Sample) -> u32| {
        let sides = samples.iter().map(|sample| pad_to_multiple(side(sample) as usize, input.pad_multiple));
        sides.max().expect("a batch has samples").max(SHORTEST_INPUT)
    };
    let [height, width] = [largest(|sample| sample.image.height()), largest(|sample| sample.image.width())];
    // A turn after the crop may exchange its sides.
    crop.map_or([height, width], |[crop_height, crop_width]| [height.max(crop_height), width.max(crop_width)])
}

/// Puts samples into one batch of `size`, height first.
///
/// # Panics
/// Without samples, or if one has no labels.
pub(super) fn collate(
    samples: &[Sample],
    [height, width]: [usize; 2],
    input: &Input,
    device: &Device,
) -> Batch {
    let area = height * width;
    let mut pixels = vec![0.0; samples.len() * 3 * area];
    pixels.par_chunks_mut(3 * area).zip(samples).for_each(|(planes, sample)| {
        normalise_into(&sample.image, input.mean, input.std, planes, height, width);
    });
    let mut labels = vec![0_i32; samples.len() * area];
    labels.par_chunks_mut(area).zip(samples).for_each(|(plane, sample)| {
        let labels = sample.labels.as_ref().expect("samples to train on have labels");
        pad_labels_into(labels, plane, height, width);
    });
    Batch {
        images: Tensor::from_data(TensorData::new(pixels, [samples.len(), 3, height, width]), device),
        labels: Tensor::from_data(TensorData::new(labels, [samples.len(), height, width]), device),
    }
}
