//! What published weights are of: the architecture and the preprocessing that a checkpoint of ours says, from shapes,
//! from what the file tells, and from what its repository does everywhere.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cvx_backbone::{NameScheme, Variant};
use serde_json::{Value, json};

use super::model::{Architecture, BackboneAlone, Maps, Part};
use super::published::{DetectorNames, Published, Top};
use super::python_config::{Config, Node};
use crate::recipe::{self, Backbone, BoxRegression, CustomBackbone, Head, Init, Input, Version};
use crate::{classify, det};

mod detector;
mod limits;
mod segmentor;

/// What builds a network, and how images become its input.
pub(super) struct Described {
    pub(super) architecture: Architecture,
    pub(super) classes: Vec<String>,
    pub(super) preprocessing: Value,
    /// What a person should know of how it was found out, a line each.
    pub(super) remarks: Vec<String>,
}

/// The network that a file's weights are of.
///
/// # Errors
/// If this program has no such network.
pub(super) fn describe(published: &Published, part: Part) -> Result<Described> {
    let path = published.source.path.display();
    match (published.top, part) {
        (Top::Other(what), Part::Whole) => bail!(
            "{path}: its backbone can be used, but what stands on it is {what}; `cvx-pretrain convert --backbone-only` \
             takes that alone"
        ),
        (Top::Classifier { num_classes }, Part::Whole) => classifier(published, num_classes),
        (Top::MaskRcnn(names), Part::Whole) => detector::describe(published, names),
        (Top::UperNet(_), Part::Whole) => segmentor::describe(published),
        _ => backbone(published),
    }
}

/// What a file itself tells of its network, and of how images become its input; nothing where that would be guessed.
///
/// # Errors
/// If this program has no such network.
pub fn told(published: &Published) -> Result<Option<(Architecture, Value)>> {
    let told = &published.source.told;
    if told.exported.is_none() && told.config.is_none() {
        return Ok(None);
    }
    let Described { architecture, preprocessing, .. } = describe(published, Part::Whole)?;
    Ok(Some((architecture, preprocessing)))
}

fn backbone(published: &Published) -> Result<Described> {
    let maps = if published.has_output_norms() { Maps::Normalised } else { Maps::Raw };
    let (preprocessing, remarks) = image_preprocessing(published);
    Ok(Described {
        architecture: Architecture::Backbone(BackboneAlone { model: model(published)?, maps }),
        classes: Vec::new(),
        preprocessing: serde_json::to_value(preprocessing)?,
        remarks,
    })
}

fn classifier(published: &Published, num_classes: usize) -> Result<Described> {
    let (preprocessing, mut remarks) = image_preprocessing(published);
    let classes = classes(published, num_classes, &mut remarks)?;
    let classifier = classify::Head { num_classes };
    Ok(Described {
        architecture: Architecture::Classifier(classify::Architecture {
            model: model(published)?,
            classifier,
        }),
        classes,
        preprocessing: serde_json::to_value(preprocessing)?,
        remarks,
    })
}

/// The names that the file tells, or numbers.
fn classes(published: &Published, num_classes: usize, remarks: &mut Vec<String>) -> Result<Vec<String>> {
    let told = published.source.told.classes.clone();
    if let Some(names) = &told {
        ensure!(
            num_classes == 0 || names.len() == num_classes,
            "{}: names {} classes, but has weights for {num_classes}",
            published.source.path.display(),
            names.len()
        );
    } else if num_classes > 0 {
        remarks
            .push("the file does not name its classes: they are called by their numbers, from 0".to_owned());
    }
    let names = told.filter(|_| num_classes > 0);
    Ok(names.unwrap_or_else(|| (0..num_classes).map(|class| class.to_string()).collect()))
}

/// The recipe's entry for the backbone: a published size, or one's own.
pub(super) fn model(published: &Published) -> Result<recipe::Model> {
    let Published { version, depths, dims, .. } = published;
    let is_v2 = *version == Version::V2;
    let named = Variant::ALL
        .into_iter()
        .find(|size| size.is_v2() == is_v2 && size.depths() == *depths && size.dims() == *dims);
    let backbone = match named {
        // Recipes call the sizes as the library does.
        Some(size) => serde_json::from_value(json!(size.name()))?,
        None => Backbone::Custom(CustomBackbone { version: *version, depths: *depths, dims: *dims }),
    };
    Ok(recipe::Model {
        backbone,
        drop_path_rate: 0.0,
        // ConvNeXt's own; the weights replace it.
        layer_scale_init: (!is_v2).then_some(1e-6),
        init: Init::Random,
    })
}

/// How a classifier of this repository sees images: what the file tells, and else what everyone does.
fn image_preprocessing(published: &Published) -> (classify::Preprocessing, Vec<String>) {
    let told = &published.source.told.image;
    let mut remarks = Vec::new();
    if published.source.told.exported.is_none() && (told.mean.is_none() || told.size.is_none()) {
        remarks.push(
            "the file does not say how images were prepared: taken is what ConvNeXt's repositories do, with ImageNet's \
             mean and deviation"
                .to_owned(),
        );
    }
    if let Some((_, exported)) = &published.source.told.exported
        && let Ok(preprocessing) = serde_json::from_value(exported.clone())
    {
        return (preprocessing, remarks);
    }
    let size = told.size.or_else(|| size_in_name(published)).unwrap_or(224);
    let usual = classify::Preprocessing::official(size);
    let official = match published.scheme {
        NameScheme::Torchvision => torchvision(published, usual),
        _ => usual,
    };
    let preprocessing = classify::Preprocessing {
        mean: told.mean.unwrap_or(official.mean),
        std: told.std.unwrap_or(official.std),
        size,
        crop_pct: told.crop_pct.unwrap_or(official.crop_pct),
        interpolation: told.interpolation.unwrap_or(official.interpolation),
    };
    (preprocessing, remarks)
}

/// torchvision's `models/convnext.py`: each size was evaluated on images resized to a side of its own.
fn torchvision(published: &Published, usual: classify::Preprocessing) -> classify::Preprocessing {
    let resized = match (published.depths, published.dims[0]) {
        ([3, 3, 9, 3], 96) => 236.0,
        ([3, 3, 27, 3], 96) => 230.0,
        _ => 232.0,
    };
    let crop_pct = f64::from(usual.size) / resized;
    classify::Preprocessing { crop_pct, interpolation: classify::Interpolation::Bilinear, ..usual }
}

/// Published files often say it in their names: `convnextv2_base_22k_384_ema.pt`, `.._in1k-384px_..`.
fn size_in_name(published: &Published) -> Option<u32> {
    /// The sizes that ConvNeXt was published for.
    const SIZES: [u32; 6] = [224, 256, 288, 320, 384, 512];
    let name = published.source.path.file_stem()?.to_string_lossy().into_owned();
    let parts = name.split(['_', '-', '.']).map(|part| part.trim_end_matches("px"));
    let mut sizes = parts.filter_map(|part| part.parse().ok());
    sizes.rfind(|size| name.starts_with("convnext") && SIZES.contains(size))
}

/// What this program's export wrote of the network, if it wrote the file.
fn exported(published: &Published) -> Result<Option<Described>> {
    let Some((architecture, preprocessing)) = &published.source.told.exported else { return Ok(None) };
    let path = published.source.path.display();
    let broken = || format!("{path}: its metadata describe a network that this program does not know");
    let architecture = Architecture::from_json(architecture).with_context(broken)?;
    let config = architecture.model().config();
    ensure!(
        config.depths == published.depths && config.dims == published.dims,
        "{path}: its metadata describe another network than its tensors are of"
    );
    Ok(Some(Described {
        architecture,
        classes: published.source.told.classes.clone().unwrap_or_default(),
        preprocessing: preprocessing.clone(),
        remarks: Vec::new(),
    }))
}

/// The sides of a parameter of the heads, in the file's layout.
fn shape<const AXES: usize>(published: &Published, ours: &str) -> Result<[usize; AXES]> {
    let name = published.name(&format!("heads.{ours}")).unwrap_or_default();
    let found = published.source.shape(&name);
    let shape = found.and_then(|shape| <[usize; AXES]>::try_from(shape).ok());
    shape.ok_or_else(|| {
        let path = published.source.path.display();
        anyhow!("{path}: `{name}` is {found:?}, expected {AXES} axes")
    })
}

/// How many layers a list of the heads has, by the parameter that each of them has.
fn count_layers(published: &Published, list: &str, parameter: &str) -> usize {
    /// More than any head has.
    const MOST: usize = 64;
    let exists = |index: &usize| {
        let name = published.name(&format!("heads.{list}.{index}{parameter}"));
        name.is_some_and(|name| published.source.shape(&name).is_some())
    };
    (0..MOST).take_while(exists).count()
}

/// The shorter and the longer side that OpenMMLab resizes test images to, of its second and third generation; nothing
/// where the configuration does not say what happens to images.
///
/// # Errors
/// If it says something else than one resize that keeps the ratio.
fn resized_sides(path: &Path, config: &Config) -> Result<Option<[u32; 2]>> {
    let pipelines = [
        "test_dataloader.dataset.pipeline",
        "test_dataloader.dataset.datasets.0.pipeline",
        "test_pipeline",
        "data.test.pipeline",
    ];
    let Some(steps) = pipelines.iter().find_map(|path| config.at(path)).map(Node::items) else {
        return Ok(None);
    };
    let is = |step: &Node, name: &str| step.text("type").is_some_and(|found| found.ends_with(name));
    // The older form wraps the resize in an augmentation with a single scale.
    let wrapper = steps.iter().find(|step| is(step, "MultiScaleFlipAug"));
    let inner = wrapper.and_then(|step| step.at("transforms")).map_or(steps, Node::items);
    let resize = inner.iter().find(|step| is(step, "Resize"));
    let scale = wrapper.map_or_else(|| resize?.numbers("scale"), |step| step.numbers("img_scale"));
    let keeps_ratio = resize.is_some_and(|step| step.bool("keep_ratio") == Some(true));
    let sides = scale.and_then(|scale| <[f64; 2]>::try_from(scale).ok()).filter(|_| keeps_ratio);
    let Some(sides) = sides.map(|sides| sides.map(|side| side as u32)) else {
        bail!(
            "{}: its configuration prepares images otherwise than by a Resize with `scale` = (LONG, SHORT) and \
             `keep_ratio` = True, which is all that this program does",
            path.display()
        );
    };
    Ok(Some([sides[0].min(sides[1]), sides[0].max(sides[1])]))
}
