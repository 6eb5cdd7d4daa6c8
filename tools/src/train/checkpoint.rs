//! Checkpoints: one safetensors file with the model, the optimizer and where the run stood.
//!
//! Tensors are `model.<path>`, `adamw.m.<path>` and `adamw.v.<path>`, all `f32`, little-endian. The header's metadata
//! holds the rest as JSON text under `cvx`: see [`Description`] and [`Position`]. Tensors are written and read one at
//! a time, so that saving needs no second copy of the model.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use burn::module::Module;
use burn::tensor::{Device, TensorData};
use safetensors::tensor::{Dtype, Metadata};
use serde::{Deserialize, Serialize};

use crate::train::adamw::{AdamW, Moments};
use crate::train::atomic_file;
use crate::train::params::{self, ParamInfo};
use crate::train::values::{Values, slice};

/// The layout of the metadata that this program writes and reads.
const VERSION: u32 = 1;
/// The metadata entry that holds everything.
const METADATA_KEY: &str = "cvx";
/// Headers of real models are far below; a length above is a broken file.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// How many differing names a message lists.
const LISTED: usize = 10;

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

/// Writes a checkpoint; without an optimizer it is for predicting only.
///
/// # Errors
/// On a full disk or any other error; the older file at `path` then stays as it was.
pub fn save<M: Module>(
    path: &Path,
    model: &M,
    optimizer: Option<&AdamW>,
    description: &Description,
    position: &Position,
) -> Result<()> {
    let params = params::list(model);
    let header = header_bytes(&params, optimizer, description, position)?;
    atomic_file::replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        params::read_each(model, &mut |_, data| write_values(file, &data))?;
        for (moments, info) in moments_of(&params, optimizer) {
            write_values(file, &moments.mean.to_data(&info.shape))?;
            write_values(file, &moments.mean_square.to_data(&info.shape))?;
        }
        Ok(())
    })
}

/// The moments that exist, in the order of the model's parameters.
fn moments_of<'a>(
    params: &'a [ParamInfo],
    optimizer: Option<&'a AdamW>,
) -> impl Iterator<Item = (&'a Moments, &'a ParamInfo)> {
    let with_state = move |info: &'a ParamInfo| Some((optimizer?.moments.get(&info.path)?, info));
    params.iter().filter_map(with_state)
}

fn header_bytes(
    params: &[ParamInfo],
    optimizer: Option<&AdamW>,
    description: &Description,
    position: &Position,
) -> Result<Vec<u8>> {
    let updates = optimizer.map(|optimizer| {
        optimizer.moments.iter().map(|(path, moments)| (path.clone(), moments.updates)).collect()
    });
    let (description, position) = (description.clone(), position.clone());
    let header = serde_json::to_string(&Header { version: VERSION, description, position, updates })?;
    let mut entries = BTreeMap::new();
    entries.insert("__metadata__".to_owned(), serde_json::json!({ METADATA_KEY: header }));
    let mut begin = 0;
    let mut add = |name: String, info: &ParamInfo| {
        let end = begin + info.num_values() * size_of::<f32>();
        let entry = serde_json::json!({ "dtype": "F32", "shape": info.shape, "data_offsets": [begin, end] });
        entries.insert(name, entry);
        begin = end;
    };
    for info in params {
        add(format!("model.{}", info.path), info);
    }
    for (_, info) in moments_of(params, optimizer) {
        add(format!("adamw.m.{}", info.path), info);
        add(format!("adamw.v.{}", info.path), info);
    }
    let mut bytes = serde_json::to_vec(&entries)?;
    // The format wants the data aligned.
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    Ok(bytes)
}

fn write_values(file: &mut dyn Write, data: &TensorData) -> Result<()> {
    let bytes: Vec<u8> = slice(data).iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(file.write_all(&bytes)?)
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
    file: File,
    metadata: Metadata,
    data_begin: u64,
}

impl Checkpoint {
    /// Opens a checkpoint and checks everything but the values.
    ///
    /// # Errors
    /// If the file is missing, cut off, not safetensors, not one of this program's, or of a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut file = File::open(path).with_context(|| format!("checkpoint {name}"))?;
        let file_bytes = file.metadata().with_context(|| format!("checkpoint {name}"))?.len();
        ensure!(
            file_bytes >= 8,
            "{name} is not a checkpoint: it has {file_bytes} bytes, fewer than the 8 of a header"
        );
        let mut length = [0; 8];
        file.read_exact(&mut length).with_context(|| format!("checkpoint {name}"))?;
        let header_bytes = u64::from_le_bytes(length);
        ensure!(
            header_bytes <= MAX_HEADER_BYTES.min(file_bytes - 8),
            "{name} is not a checkpoint, or was cut off: its header claims {header_bytes} bytes, \
             the file has {file_bytes}"
        );
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).with_context(|| format!("checkpoint {name}"))?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| anyhow!("{name} is not a checkpoint: its safetensors header is broken: {e}"))?;
        let data_begin = 8 + header_bytes;
        let data_bytes =
            metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
        ensure!(
            data_begin + data_bytes == file_bytes,
            "{name} was cut off or extended: its header describes {} bytes, the file has {file_bytes}",
            data_begin + data_bytes
        );
        let ours = metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY));
        let ours = ours.ok_or_else(|| {
            anyhow!(
                "{name} is a safetensors file but not a checkpoint of this program: its metadata has no entry \
                 `{METADATA_KEY}`"
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
        for (entry, info) in metadata.tensors() {
            ensure!(
                info.dtype == Dtype::F32,
                "{name}: `{entry}` holds {:?}, checkpoints of this program hold F32",
                info.dtype
            );
        }
        Ok(Self { path: path.to_owned(), description, position, updates, file, metadata, data_begin })
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
    pub fn load_model<M: Module>(&mut self, model: M) -> Result<M> {
        self.compare(&params::list(&model))?;
        params::replace_each(model, &mut |path, _| self.read(&format!("model.{path}")))
    }

    /// Replaces the optimizer's state by the file's.
    ///
    /// # Errors
    /// If the file has no optimizer, or its state does not fit the model's parameters.
    pub fn load_optimizer<M: Module>(
        &mut self,
        optimizer: &mut AdamW,
        model: &M,
        device: &Device,
    ) -> Result<()> {
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
            let mut values = |entry: String| -> Result<Values> {
                let found = self.metadata.info(&entry).map(|info| info.shape.clone());
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

    /// Lists what differs between the file's model and `params`, if anything.
    fn compare(&self, params: &[ParamInfo]) -> Result<()> {
        let mut differing = Vec::new();
        let mut unexpected = self.metadata.tensors();
        unexpected.retain(|entry, _| entry.starts_with("model."));
        for ParamInfo { path, shape } in params {
            match unexpected.remove(&format!("model.{path}")) {
                None => differing.push(format!("`{path}` {shape:?} is missing")),
                Some(info) if info.shape != *shape => {
                    differing.push(format!("`{path}` is {:?}, expected {shape:?}", info.shape));
                }
                Some(_) => {}
            }
        }
        let mut unexpected: Vec<_> = unexpected.into_iter().collect();
        unexpected.sort_by(|(a, _), (b, _)| a.cmp(b));
        // Of those that either of the two has.
        let parameters = params.len() + unexpected.len();
        for (entry, info) in unexpected {
            differing.push(format!("`{}` {:?} is not in the model", &entry["model.".len()..], info.shape));
        }
        if differing.is_empty() {
            return Ok(());
        }
        let total = differing.len();
        let mut listed = differing;
        listed.truncate(LISTED);
        if total > LISTED {
            listed.push(format!("and {} more", total - LISTED));
        }
        bail!(
            "{} is of another architecture: {total} of {parameters} parameters differ\n  {}",
            self.path.display(),
            listed.join("\n  ")
        );
    }

    fn read(&mut self, entry: &str) -> Result<TensorData> {
        let name = self.path.display();
        let info = self.metadata.info(entry).ok_or_else(|| anyhow!("{name}: `{entry}` is missing"))?;
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        self.file
            .seek(SeekFrom::Start(self.data_begin + begin as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .with_context(|| format!("{name}: `{entry}`"))?;
        let (values, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{name}: `{entry}` holds {} at value {index} of {}; checkpoints hold finite values, so this one is \
                 damaged",
                values[index],
                values.len()
            );
        }
        Ok(TensorData::new(values, info.shape.clone()))
    }
}
