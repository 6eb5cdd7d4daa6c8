//! Any model by our names: a checkpoint of this program, or published weights.
//!
//! Nothing here holds more than one tensor at a time, so that a model of any size can be converted.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::ConvNext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::describe;
use super::fit::Fit;
use super::published::Published;
use super::source;
use crate::recipe::checks;
use crate::train::checkpoint::{Checkpoint, Description};
use crate::train::params::{self, ParamInfo};
use crate::{classify, det, pretrain, recipe, seg};

/// More classes than any data set has.
const MOST_CLASSES: usize = 1 << 20;

/// What builds a network; the JSON of a checkpoint tells by its keys which of these it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// A backbone alone.
    Backbone(BackboneAlone),
    /// A classifier, or what only gives features.
    Classifier(classify::Architecture),
    /// Mask R-CNN.
    Detector(Box<det::Architecture>),
    /// UPerNet.
    Segmentor(seg::model::Architecture),
    /// A masked autoencoder.
    Autoencoder(pretrain::model::Architecture),
}

/// What builds a backbone that nothing stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneAlone {
    /// The backbone.
    pub model: recipe::Model,
    /// What it returns.
    pub maps: Maps,
}

/// What a backbone returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Maps {
    /// The stages' outputs as they are.
    Raw,
    /// Each through a norm of its own.
    Normalised,
}

/// A backbone under the path it has in every model.
#[derive(Module, Debug)]
pub struct Alone {
    /// Images in, four feature maps out.
    pub backbone: ConvNext,
}

impl Architecture {
    /// Reads what a checkpoint says.
    ///
    /// # Errors
    /// If it is of no architecture that this program knows, or of one that cannot be.
    pub fn from_json(json: &Value) -> Result<Self> {
        let value = json.clone();
        let architecture = if json.get("maps").is_some() {
            Self::Backbone(serde_json::from_value(value)?)
        } else if json.get("classifier").is_some() {
            Self::Classifier(serde_json::from_value(value)?)
        } else if json.get("upernet").is_some() {
            Self::Segmentor(serde_json::from_value(value)?)
        } else if json.get("autoencoder").is_some() {
            Self::Autoencoder(serde_json::from_value(value)?)
        } else {
            Self::Detector(serde_json::from_value(value)?)
        };
        architecture.check()?;
        Ok(architecture)
    }

    /// Refuses what cannot be; a damaged or hostile file may say anything.
    fn check(&self) -> Result<()> {
        checks::check_model(self.model())?;
        match self {
            Self::Backbone(_) => Ok(()),
            // No classes are none: such a model gives features.
            Self::Classifier(architecture) => checks::within(
                "classifier.num_classes",
                architecture.classifier.num_classes.max(1),
                MOST_CLASSES,
            ),
            Self::Detector(architecture) => checks::head::check(&architecture.head),
            Self::Segmentor(architecture) => architecture.upernet.check(),
            Self::Autoencoder(architecture) => architecture.autoencoder.check(),
        }
    }

    /// Refuses a description of how images become the network's input that cannot be.
    fn check_preprocessing(&self, json: &Value) -> Result<()> {
        let json = json.clone();
        match self {
            Self::Backbone(_) | Self::Classifier(_) | Self::Autoencoder(_) => {
                serde_json::from_value::<classify::Preprocessing>(json)?.check()
            }
            Self::Detector(_) => serde_json::from_value::<det::Preprocessing>(json)?.check(),
            Self::Segmentor(_) => serde_json::from_value::<seg::model::Preprocessing>(json)?.check(),
        }
    }

    /// What a checkpoint is told.
    ///
    /// # Errors
    /// Never: all of it can be written.
    pub fn to_json(&self) -> Result<Value> {
        Ok(match self {
            Self::Backbone(architecture) => serde_json::to_value(architecture)?,
            Self::Classifier(architecture) => serde_json::to_value(architecture)?,
            Self::Detector(architecture) => serde_json::to_value(architecture)?,
            Self::Segmentor(architecture) => serde_json::to_value(architecture)?,
            Self::Autoencoder(architecture) => serde_json::to_value(architecture)?,
        })
    }

    /// The backbone.
    pub fn model(&self) -> &recipe::Model {
        match self {
            Self::Backbone(BackboneAlone { model, .. }) => model,
            Self::Classifier(classify::Architecture { model, .. }) => model,
            Self::Detector(architecture) => &architecture.model,
            Self::Segmentor(architecture) => &architecture.model,
            Self::Autoencoder(architecture) => &architecture.model,
        }
    }

    /// Paths and shapes of all parameters, none of which is drawn for that.
    pub fn params(&self) -> Vec<ParamInfo> {
        let device = Device::flex();
        match self {
            Self::Backbone(BackboneAlone { model, maps }) => {
                let config = model.config().with_output_norms(*maps == Maps::Normalised);
                params::list(&Alone { backbone: config.init(&device) })
            }
            Self::Classifier(architecture) => params::list(&architecture.init(&device)),
            Self::Detector(architecture) => params::list(&architecture.init(&device)),
            Self::Segmentor(architecture) => params::list(&architecture.init(&device)),
            Self::Autoencoder(architecture) => params::list(&architecture.init(&device)),
        }
    }
}

/// A model whose values are read when asked for.
pub struct Model {
    /// What builds it.
    pub architecture: Architecture,
    /// Names of its classes, by index; none of a backbone alone.
    pub classes: Vec<String>,
    /// Red, green and blue in which a segmentor's classes are shown, by index; nothing where the file does not tell.
    pub palette: Option<Vec<[u8; 3]>>,
    /// How images become its input; its form depends on the architecture.
    pub preprocessing: Value,
    /// Its parameters.
    pub params: Vec<ParamInfo>,
    values: Values,
}

enum Values {
    Checkpoint(Box<Checkpoint>),
    Published(Box<Published>, Fit),
}

/// Which part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its backbone, without what stands on it.
    Backbone,
}

impl Model {
    /// Opens a checkpoint of this program, or published weights, and says what a person should know of them.
    ///
    /// # Errors
    /// If the file cannot be read or is not recognised, or does not fit the network it seems to be of.
    pub fn open(path: &Path, key: Option<&str>, part: Part) -> Result<(Self, Vec<String>)> {
        if source::is_checkpoint(path)? {
            ensure!(key.is_none(), "{}: a checkpoint has one set of weights, and no `--key`", path.display());
            return Self::from_checkpoint(Checkpoint::open_whole(path)?, part);
        }
        Self::from_published(Published::open(path, key)?, part)
    }

    fn from_checkpoint(checkpoint: Checkpoint, part: Part) -> Result<(Self, Vec<String>)> {
        let name = checkpoint.path.display().to_string();
        let Description { architecture, classes, preprocessing, recipe } = checkpoint.description.clone();
        let unknown = || format!("{name}: a checkpoint of a network that this program does not know");
        let mut architecture = Architecture::from_json(&architecture).with_context(unknown)?;
        architecture.check_preprocessing(&preprocessing).with_context(unknown)?;
        let theirs = checkpoint.params();
        let blocks: usize = architecture.model().config().depths.iter().sum();
        ensure!(
            blocks <= theirs.len(),
            "{name} is damaged: it names {blocks} blocks and has {} parameters",
            theirs.len()
        );
        let is_segmentor = matches!(architecture, Architecture::Segmentor(_));
        let palette = if is_segmentor { seg::recipe::palette_of(&recipe) } else { None };
        let mut model_classes = classes;
        let mut remarks = Vec::new();
        if part == Part::Backbone {
            remarks.push("left out: what stands on the backbone".to_owned());
            let maps = match &architecture {
                Architecture::Backbone(BackboneAlone { maps, .. }) => *maps,
                Architecture::Classifier(_) | Architecture::Autoencoder(_) => Maps::Raw,
                Architecture::Detector(_) | Architecture::Segmentor(_) => Maps::Normalised,
            };
            architecture =
                Architecture::Backbone(BackboneAlone { model: architecture.model().clone(), maps });
            model_classes = Vec::new();
        }
        let params = architecture.params();
        let wanted = |param: &&ParamInfo| part == Part::Whole || param.path.starts_with("backbone.");
        let mut sorted = params.clone();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        ensure!(
            theirs.iter().filter(wanted).eq(&sorted),
            "{name} is damaged: its parameters are not those of the architecture it names"
        );
        let values = Values::Checkpoint(Box::new(checkpoint));
        Ok((Self { architecture, classes: model_classes, palette, preprocessing, params, values }, remarks))
    }

    fn from_published(published: Published, part: Part) -> Result<(Self, Vec<String>)> {
        let described = describe::describe(&published, part)?;
        let params = described.architecture.params();
        described.architecture.check_preprocessing(&described.preprocessing)?;
        let fit = Fit::for_conversion(&published, &params);
        let mut remarks = fit.remarks(&published, params.len());
        remarks.extend(described.remarks);
        if let Some(problems) = fit.problems() {
            let rest = if part == Part::Whole { "the backbone alone may be of use" } else { "" };
            bail!(
                "{} is damaged, or of a network that this program does not know: {published}\n{problems}{rest}",
                published.source.path.display()
            );
        }
        Ok((
            Self {
                architecture: described.architecture,
                classes: described.classes,
                palette: published.source.told.palette.clone(),
                preprocessing: described.preprocessing,
                params,
                values: Values::Published(Box::new(published), fit),
            },
            remarks,
        ))
    }

    /// The value of one of the parameters.
    ///
    /// # Errors
    /// If it cannot be read, or holds a value that is not finite.
    pub fn read(&self, param: &ParamInfo) -> Result<TensorData> {
        let ParamInfo { path, shape } = param;
        match &self.values {
            Values::Checkpoint(checkpoint) => checkpoint.param(path),
            Values::Published(published, fit) => Ok(match fit.value(published, path, shape)? {
                Some(data) => data,
                // Norms of maps that the file does not return, as they are before any training.
                None if path.ends_with(".weight") => TensorData::ones::<f32, _>(shape.clone()),
                None => TensorData::zeros::<f32, _>(shape.clone()),
            }),
        }
    }
}
