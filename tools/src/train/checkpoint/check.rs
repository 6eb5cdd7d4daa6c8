//! Whether a checkpoint is what it should be: its values those that were written, its model that of the run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use burn::tensor::TensorData;
use safetensors::tensor::TensorInfo;

use super::{CHECKSUM_KEY, Checkpoint};
use crate::floats::{FloatType, f32_values};
use crate::train::params::ParamInfo;

/// How many differing names a message lists.
const LISTED: usize = 10;

impl Checkpoint {
    /// Reads all values, to know whether a run can go on from it.
    ///
    /// # Errors
    /// If it has no optimizer, if a value cannot be read or is not finite, or if the checksum is another.
    pub fn check_values(&self) -> Result<()> {
        let name = self.path.display();
        ensure!(
            self.has_optimizer(),
            "{name} has no optimizer: it can be evaluated, but no run can go on from it"
        );
        self.check_sum(&|entry, bytes| self.finite(entry, bytes).map(drop))
    }

    /// Opens it for its weights, and reads all values once, to know that they are those that were written.
    ///
    /// # Errors
    /// If it cannot be read, or the checksum is another.
    pub fn open_whole(path: &Path) -> Result<Self> {
        let checkpoint = Self::open(path)?;
        checkpoint.check_sum(&|_, _| Ok(()))?;
        Ok(checkpoint)
    }

    /// Compares the checksum, and hands the bytes of every entry on.
    fn check_sum(&self, take: &dyn Fn(&str, Vec<u8>) -> Result<()>) -> Result<()> {
        let name = self.path.display();
        let mut entries: Vec<(usize, String)> =
            self.file.tensors().map(|(entry, info)| (info.data_offsets.0, entry)).collect();
        entries.sort();
        let mut sum = 0;
        for (_, entry) in &entries {
            let bytes = self.file.bytes(entry)?;
            sum = crc32c::crc32c_append(sum, &bytes);
            take(entry, bytes)?;
        }
        // Older checkpoints have none.
        let (sum, written) = (format!("{sum:08x}"), self.file.text(CHECKSUM_KEY));
        ensure!(
            written.is_none_or(|written| written == sum),
            "{name} does not hold what was written: its values have the checksum {sum}, when they were written it was {}",
            written.unwrap_or_default()
        );
        Ok(())
    }

    /// Lists what differs between the file's model and `params`, if anything.
    pub(super) fn compare(&self, params: &[ParamInfo]) -> Result<()> {
        let mut differing = Vec::new();
        let of_model = self.file.tensors().filter(|(entry, _)| entry.starts_with("model."));
        let mut unexpected: BTreeMap<String, &TensorInfo> = of_model.collect();
        for ParamInfo { path, shape } in params {
            match unexpected.remove(&format!("model.{path}")) {
                None => differing.push(format!("`{path}` {shape:?} is missing")),
                Some(info) if info.shape != *shape => {
                    differing.push(format!("`{path}` is {:?}, expected {shape:?}", info.shape));
                }
                Some(_) => {}
            }
        }
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

    /// The values of an entry, none of which is infinite or no number.
    pub(super) fn finite(&self, entry: &str, bytes: Vec<u8>) -> Result<TensorData> {
        let shape = self.file.info(entry).map(|info| info.shape.clone()).unwrap_or_default();
        let values = f32_values(bytes, FloatType::F32);
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{}: `{entry}` holds {} at value {index} of {}; checkpoints hold finite values, so this one is \
                 damaged",
                self.path.display(),
                values[index],
                values.len()
            );
        }
        Ok(TensorData::new(values, shape))
    }
}
