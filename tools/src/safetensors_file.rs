//! A safetensors file, opened and checked; its tensors are read when asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use burn::tensor::TensorData;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::train::atomic_file;
use crate::train::values::slice;

/// Headers of real models are far below (a thousand tensors take 200 kB); a length above is a broken or hostile file,
/// whose parsing would take many times as much memory.
const MAX_HEADER_BYTES: u64 = 1 << 23;

/// An open file whose header describes it to the last byte.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_begin: u64,
}

impl SafetensorsFile {
    /// Opens a file and checks everything but the values.
    ///
    /// # Errors
    /// If the file is missing, cut off, extended or not safetensors; if tensors overlap, leave gaps, or have another
    /// size than their shape.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut file = File::open(path).with_context(|| name.to_string())?;
        let file_bytes = file.metadata().with_context(|| name.to_string())?.len();
        ensure!(
            file_bytes >= 8,
            "{name} is no safetensors file: it has {file_bytes} bytes, fewer than the 8 of a header's length"
        );
        let mut length = [0; 8];
        file.read_exact(&mut length).with_context(|| name.to_string())?;
        let header_bytes = u64::from_le_bytes(length);
        ensure!(
            header_bytes <= MAX_HEADER_BYTES.min(file_bytes - 8),
            "{name} is no safetensors file, or was cut off: its header claims {header_bytes} bytes, \
             the file has {file_bytes}"
        );
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).with_context(|| name.to_string())?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| anyhow!("{name}: its safetensors header is broken: {e}"))?;
        let data_begin = 8 + header_bytes;
        let described = data_begin + metadata.data_len() as u64;
        ensure!(
            described == file_bytes,
            "{name} was cut off or extended: its header describes {described} bytes, the file has {file_bytes}"
        );
        Ok(Self { path: path.to_owned(), file, metadata, data_begin })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An entry of the header's text metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// All tensors by name, in no order.
    pub fn tensors(&self) -> impl Iterator<Item = (String, &TensorInfo)> {
        self.metadata.tensors().into_iter()
    }

    /// What the header says of a tensor.
    pub fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.metadata.info(tensor)
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// If there is none of that name, or the file cannot be read.
    pub fn bytes(&self, tensor: &str) -> Result<Vec<u8>> {
        let name = self.path.display();
        let info = self.info(tensor).ok_or_else(|| anyhow!("{name}: `{tensor}` is missing"))?;
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data_begin + begin as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .with_context(|| format!("{name}: `{tensor}`"))?;
        Ok(bytes)
    }
}

/// Writes `f32` tensors of the given names and shapes, one at a time as `value` gives them.
///
/// # Errors
/// The first error of `value`, or a full disk; the older file at `path` then stays as it was.
pub fn write(
    path: &Path,
    metadata: serde_json::Value,
    entries: &[(&str, &[usize])],
    value: &mut dyn FnMut(usize) -> Result<TensorData>,
) -> Result<()> {
    let header = header(metadata, entries)?;
    // A value that cannot be had is not for the file that is written to answer.
    let mut failure = None;
    let written = atomic_file::replace(path, |file| {
        file.write_all(&header)?;
        (0..entries.len()).try_for_each(|index| match value(index) {
            Ok(data) => write_values(file, &data),
            Err(error) => {
                failure = Some(error);
                Err(anyhow!("a value is missing"))
            }
        })
    });
    failure.map_or(written, Err)
}

/// The length of a header, and the header: `f32` tensors one after the other.
pub(crate) fn header(metadata: serde_json::Value, entries: &[(&str, &[usize])]) -> Result<Vec<u8>> {
    let mut json = BTreeMap::from([("__metadata__", metadata)]);
    let mut begin = 0;
    for (name, shape) in entries {
        let end = begin + shape.iter().product::<usize>() * size_of::<f32>();
        json.insert(
            name,
            serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }),
        );
        begin = end;
    }
    let mut text = serde_json::to_vec(&json)?;
    // The format wants the data aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// Little-endian, as the format wants it.
pub(crate) fn write_values(file: &mut dyn Write, data: &TensorData) -> Result<()> {
    let bytes: Vec<u8> = slice(data).iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(file.write_all(&bytes)?)
}
