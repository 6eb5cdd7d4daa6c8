//! Checkpoints: one safetensors file with the model, the optimizer and where the run stood.
//!
//! Tensors are `model.<path>`, `adamw.m.<path>`, `adamw.v.<path>` and, of a run that averages its weights, `ema.<path>`,
//! all `f32`, little-endian. The header's metadata holds the rest as JSON text under `cvx`: see [`Description`] and
//! [`Position`]. Under `crc32c` there is a checksum of all values. Tensors are written and read one at a time, so that
//! saving needs no second copy of the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::safetensors_file::{self, SafetensorsFile, write_values};
use crate::train::adamw::{AdamW, Moments};
use crate::train::ema::{Ema, EmaConfig};
use crate::train::params::{self, ParamInfo};
use crate::train::values::Values;

mod check;
mod checksum;

/// The layout of the metadata that this program writes and reads.
const VERSION: u32 = 1;
/// The metadata entry that holds everything.
const METADATA_KEY: &str = "cvx";
/// The metadata entry of the values' checksum, CRC-32C in eight hexadecimal digits.
const CHECKSUM_KEY: &str = "crc32c";

/// What a checkpoint says of its model, so that predicting needs no recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// What builds the module; the program that trains decides its form.
    pub architecture: serde_json::Value,
    /// Names of the classes, by index.
    pub classes: Vec<String>,
    /// How an image becomes the network's input.
    pub preprocessing: serde_json::Value,
    /// The resolved recipe, TOML.
    pub recipe: String,
}

/// Where a run stands between two updates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Updates done.
    pub step: usize,
    /// Epochs finished.
    pub epoch: usize,
    /// Batches of the epoch that is under way which the updates have used.
    pub batches_in_epoch: usize,
    /// Batches used since the start; seeds derive from it.
    pub batches: u64,
    /// Images seen since the start.
    pub images: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
}

/// The best evaluation so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// The step it was reached at.
    pub step: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    description: Description,
    position: Position,
    /// How often each parameter was updated; none where the file has no optimizer.
    updates: Option<BTreeMap<String, u64>>,
}

/// What a run needs besides the model to go on.
#[derive(Clone, Copy, Debug)]
pub struct Training<'a> {
    /// The optimizer.
    pub optimizer: &'a AdamW,
    /// The average of the weights, if the run makes one.
    pub ema: Option<&'a Ema>,
}

/// Writes a checkpoint; without `training` it is for predicting only.
///
/// # Errors
/// On a full disk or any other error; the older file at `path` then stays as it was.
pub fn save<M: Module>(
    path: &Path,
    model: &M,
    training: Option<Training<'_>>,
    description: &Description,
    position: &Position,
) -> Result<()> {
    let params = params::list(model);
    let optimizer = training.map(|training| training.optimizer);
    let ema = training.and_then(|training| training.ema);
    let mut entries: Vec<(String, &[usize])> =
        params.iter().map(|info| (format!("model.{}", info.path), info.shape.as_slice())).collect();
    for (_, info) in moments_of(&params, optimizer) {
        entries.push((format!("adamw.m.{}", info.path), &info.shape));
        entries.push((format!("adamw.v.{}", info.path), &info.shape));
    }
    if ema.is_some() {
        entries.extend(params.iter().map(|info| (format!("ema.{}", info.path), info.shape.as_slice())));
    }
    let entries: Vec<(&str, &[usize])> =
        entries.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    let mut metadata = metadata(optimizer, description, position)?;
    metadata[CHECKSUM_KEY] = checksum::UNKNOWN.into();
    let header = safetensors_file::header(metadata, &entries)?;
    checksum::replace(path, &header, |file| {
        params::read_each(model, &mut |_, data| write_values(file, &data))?;
        for (moments, info) in moments_of(&params, optimizer) {
            write_values(file, &moments.mean.to_data(&info.shape))?;
            write_values(file, &moments.mean_square.to_data(&info.shape))?;
        }
        ema.map_or(Ok(()), |ema| params.iter().try_for_each(|info| write_values(file, &ema.value(info))))
    })
}

/// Writes a checkpoint for predicting only, of parameters that `value` gives one at a time.
///
/// # Errors
/// The first error of `value`, or a full disk; the older file at `path` then stays as it was.
pub fn save_values(
    path: &Path,
    params: &[ParamInfo],
    description: &Description,
    value: &mut dyn FnMut(&ParamInfo) -> Result<TensorData>,
) -> Result<()> {
    let header = metadata(None, description, &Position::default())?;
    let names: Vec<String> = params.iter().map(|info| format!("model.{}", info.path)).collect();
    let entries: Vec<(&str, &[usize])> =
        names.iter().zip(params).map(|(name, info)| (name.as_str(), info.shape.as_slice())).collect();
    safetensors_file::write(path, header, &entries, &mut |index| value(&params[index]))
}

/// The moments that exist, in the order of the model's parameters.
fn moments_of<'a>(
    params: &'a [ParamInfo],
    optimizer: Option<&'a AdamW>,
) -> impl Iterator<Item = (&'a Moments, &'a ParamInfo)> {
    let with_state = move |info: &'a ParamInfo| Some((optimizer?.moments.get(&info.path)?, info));
    params.iter().filter_map(with_state)
}

/// What the header holds besides the tensors.
fn metadata(
    optimizer: Option<&AdamW>,
    description: &Description,
    position: &Position,
) -> Result<serde_json::Value> {
    let updates = optimizer.map(|optimizer| {
        optimizer.moments.iter().map(|(path, moments)| (path.clone(), moments.updates)).collect()
    });
    let (description, position) = (description.clone(), position.clone());
    let header = serde_json::to_string(&Header { version: VERSION, description, position, updates })?;
    Ok(serde_json::json!({ METADATA_KEY: header }))
}

/// A checkpoint that was opened and checked; tensors are read when asked for.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its path.
    pub path: PathBuf,
    /// What it says of its model.
    pub description: Description,
    /// Where its run stood.
    pub position: Position,
    updates: Option<BTreeMap<String, u64>>,
    file: SafetensorsFile,
}

impl Checkpoint {
    /// Whether a safetensors file is a checkpoint of this program, sound or not.
    pub fn is_one(file: &SafetensorsFile) -> bool {
        file.text(METADATA_KEY).is_some()
    }

    /// Opens a checkpoint and checks everything but the values.
    ///
    /// # Errors
    /// If the file is missing, cut off, not safetensors, not one of this program's, or of a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = SafetensorsFile::open(path).context("a checkpoint that cannot be read")?;
        let ours = file.text(METADATA_KEY).ok_or_else(|| {
            anyhow!(
                "{name} is a safetensors file but not a checkpoint of this program: its metadata has no entry \
                 `{METADATA_KEY}`; `cvx-pretrain convert` makes one of published weights"
            )
        })?;
        let broken = |e| anyhow!("{name}: the metadata entry `{METADATA_KEY}` is broken: {e}");
        // The version is read before the rest, which another version may write differently.
        let ours: serde_json::Value = serde_json::from_str(ours).map_err(broken)?;
        ensure!(
            ours["version"] == VERSION,
            "{name}: the checkpoint has version {}, this program reads version {VERSION}",
            ours["version"]
        );
        let Header { version: _, description, position, updates } =
            serde_json::from_value(ours).map_err(broken)?;
        for (entry, info) in file.tensors() {
            ensure!(
                info.dtype == Dtype::F32,
                "{name}: `{entry}` holds {:?}, checkpoints of this program hold F32",
                info.dtype
            );
        }
        Ok(Self { path: path.to_owned(), description, position, updates, file })
    }

    /// The parameters of its model, by path.
    pub fn params(&self) -> Vec<ParamInfo> {
        let of_model = |(entry, info): (String, &TensorInfo)| {
            let path = entry.strip_prefix("model.")?.to_owned();
            Some(ParamInfo { path, shape: info.shape.clone() })
        };
        let mut params: Vec<ParamInfo> = self.file.tensors().filter_map(of_model).collect();
        params.sort_by(|a, b| a.path.cmp(&b.path));
        params
    }

    /// The value of a parameter of its model.
    ///
    /// # Errors
    /// If there is none, or one of its values is not finite.
    pub fn param(&self, path: &str) -> Result<TensorData> {
        self.read(&format!("model.{path}"))
    }

    /// Whether it holds an optimizer, so that a run can go on from it.
    pub fn has_optimizer(&self) -> bool {
        self.updates.is_some()
    }

    /// Checks that it is of the model that a run trains.
    ///
    /// # Errors
    /// If architecture, classes or preprocessing differ.
    pub fn expect_description(&self, expected: &Description) -> Result<()> {
        let Description { architecture, classes, preprocessing, recipe: _ } = expected;
        let (name, found) = (self.path.display(), &self.description);
        ensure!(
            found.architecture == *architecture,
            "{name} is of another architecture: {}, expected {architecture}",
            found.architecture
        );
        ensure!(
            found.classes == *classes,
            "{name} has the classes {:?}, expected {classes:?}",
            found.classes
        );
        ensure!(
            found.preprocessing == *preprocessing,
            "{name} was trained with the preprocessing {}, expected {preprocessing}",
            found.preprocessing
        );
        Ok(())
    }

    /// Puts the file's values into a module of the same architecture.
    ///
    /// # Errors
    /// If names or shapes differ (all are compared before the first value is read), and on a value that is not finite.
    pub fn load_model<M: Module>(&self, model: M) -> Result<M> {
        self.compare(&params::list(&model))?;
        params::replace_each(model, &mut |path, _| self.param(path).map(Some))
    }

    /// Replaces the optimizer's state by the file's.
    ///
    /// # Errors
    /// If the file has no optimizer, or its state does not fit the model's parameters.
    pub fn load_optimizer<M: Module>(&self, optimizer: &mut AdamW, model: &M, device: &Device) -> Result<()> {
        let name = self.path.display().to_string();
        let Some(mut updates) = self.updates.clone() else {
            bail!("{name} has no optimizer: it can be evaluated, but no run can go on from it");
        };
        let device = device.clone().inner();
        optimizer.moments.clear();
        for ParamInfo { path, shape } in params::list(model) {
            let Some(updates) = updates.remove(&path) else {
                continue;
            };
            let values = |entry: String| -> Result<Values> {
                let found = self.file.info(&entry).map(|info| info.shape.clone());
                ensure!(
                    found.as_ref() == Some(&shape),
                    "{name}: `{entry}` has shape {found:?}, the parameter has {shape:?}"
                );
                Ok(Values::from_data(self.read(&entry)?, &device))
            };
            let (mean, mean_square) =
                (values(format!("adamw.m.{path}"))?, values(format!("adamw.v.{path}"))?);
            optimizer.moments.insert(path, Moments { updates, mean, mean_square });
        }
        if let Some(path) = updates.keys().next() {
            bail!("{name}: the optimizer has state of `{path}`, which the model does not have");
        }
        Ok(())
    }

    /// The average of the weights of `model`.
    ///
    /// # Errors
    /// If the file has none.
    pub(crate) fn load_ema<M: Module>(&self, config: EmaConfig, model: &M, device: &Device) -> Result<Ema> {
        let device = device.clone().inner();
        let value = |info: ParamInfo| {
            let entry = format!("ema.{}", info.path);
            let found = self.file.info(&entry).map(|info| info.shape.clone());
            ensure!(
                found.as_ref() == Some(&info.shape),
                "{}: `{entry}` has shape {found:?}, the parameter has {:?}",
                self.path.display(),
                info.shape
            );
            Ok((info.path, Values::from_data(self.read(&entry)?, &device)))
        };
        Ok(Ema::from_values(config, params::list(model).into_iter().map(value).collect::<Result<_>>()?))
    }

    fn read(&self, entry: &str) -> Result<TensorData> {
        self.finite(entry, self.file.bytes(entry)?)
    }
}
