//! A file of weights from anywhere, opened by what it is and not by what it is called: tensors by name, read when
//! asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use safetensors::Dtype;

use super::beside::Told;
use super::pickled;
use crate::floats::{FloatType, f32_values};
use crate::safetensors_file::SafetensorsFile;
use crate::train::checkpoint::Checkpoint;

/// What a folder of transformers or timm calls its weights, in the order in which they are looked for.
const NAMES_IN_FOLDER: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// How many times larger than a pickled file its tensors may be together.
const MOST_SHARED: u64 = 4;

/// What parallel training, compilation and Lightning put before every name.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// Tensors by name, and what the file says of them.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What it, or a file beside it, says of classes, preprocessing and architecture.
    pub told: Told,
    tensors: BTreeMap<String, Entry>,
    safetensors: Option<SafetensorsFile>,
}

/// One tensor.
struct Entry {
    shape: Vec<usize>,
    /// Nothing for whole numbers, which no parameter is.
    floats: Option<FloatType>,
    /// The file's own name for it.
    name: String,
    /// What the file calls its numbers.
    dtype: String,
    /// How it is read from a pickled file.
    pickled: Option<pytorch_reader::Tensor>,
}

/// The tensors under the names they have without what wraps all of them.
fn without_wrapper(mut tensors: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    let wrapper = |tensors: &BTreeMap<String, Entry>| {
        WRAPPERS.into_iter().find(|with| tensors.keys().all(|name| name.starts_with(with)))
    };
    while let Some(with) = wrapper(&tensors).filter(|_| !tensors.is_empty()) {
        tensors = tensors.into_iter().map(|(name, entry)| (name[with.len()..].to_owned(), entry)).collect();
    }
    tensors
}

impl Source {
    /// Opens a file, or the weights of a folder as transformers and timm save them. Of a pickled file with several
    /// sets of weights, `key` chooses one (`model_ema`).
    ///
    /// # Errors
    /// If it is missing, or neither safetensors nor a PyTorch file, or damaged, or calls what no weights need.
    pub fn open(path: &Path, key: Option<&str>) -> Result<Self> {
        let path = weights_file(path)?;
        let name = path.display();
        ensure!(
            !path.exists() || path.is_file(),
            "{name}: neither a file nor a folder of weights; a pipe might never begin, or never end"
        );
        let mut file = File::open(&path).with_context(|| name.to_string())?;
        let metadata = file.metadata().with_context(|| name.to_string())?;
        let file_bytes = metadata.len();
        let mut begin = Vec::new();
        file.by_ref().take(512).read_to_end(&mut begin).with_context(|| name.to_string())?;
        refuse_what_is_no_model(&path, &begin)?;

        if is_safetensors(&path, &begin, file_bytes) {
            ensure!(key.is_none(), "{name}: a safetensors file has one set of weights, and no `--key`");
            return Self::from_safetensors(SafetensorsFile::open(&path)?);
        }
        let pickled::Pickled { tensors, told } = pickled::open(&path, key)?;
        let tensors: BTreeMap<String, Entry> =
            tensors.into_iter().map(|(name, tensor)| (name, Entry::from(tensor))).collect();
        // A view of one number can claim any shape. Weights that share theirs do not share them many times.
        let mut claimed = 0_u64;
        for (name, entry) in &tensors {
            claimed = entry.num_bytes().and_then(|bytes| claimed.checked_add(bytes)).unwrap_or(u64::MAX);
            ensure!(
                claimed <= MOST_SHARED * file_bytes,
                "{}: `{}` claims the shape {:?}, for which the file is too small",
                path.display(),
                name.escape_debug(),
                entry.shape
            );
        }
        let told = told.with_files_beside(&path)?;
        Ok(Self { path, told, tensors: without_wrapper(tensors), safetensors: None })
    }

    /// The tensors of a safetensors file.
    ///
    /// # Errors
    /// If a configuration beside it cannot be read.
    fn from_safetensors(file: SafetensorsFile) -> Result<Self> {
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let floats = match info.dtype {
                Dtype::F32 => Some(FloatType::F32),
                Dtype::F16 => Some(FloatType::F16),
                Dtype::BF16 => Some(FloatType::Bf16),
                Dtype::F64 => Some(FloatType::F64),
                _ => None,
            };
            let dtype = format!("{:?}", info.dtype);
            (name.clone(), Entry { shape: info.shape.clone(), floats, name, dtype, pickled: None })
        };
        let tensors = without_wrapper(file.tensors().map(entry).collect());
        let path = file.path().to_owned();
        let told = Told::of_safetensors(&file)?.with_files_beside(&path)?;
        Ok(Self { path, told, tensors, safetensors: Some(file) })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, or nothing where there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Whether a tensor holds whole numbers, such as a count of batches, and so is no parameter.
    pub fn is_count(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|entry| entry.floats.is_none())
    }

    /// The values of a tensor, row-major.
    ///
    /// # Errors
    /// If it is missing or damaged, holds no floats, or holds one that is not finite.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let path = self.path.display();
        let entry = self.tensors.get(name).ok_or_else(|| anyhow!("{path}: `{name}` is missing"))?;
        let floats = entry.floats.ok_or_else(|| {
            anyhow!("{path}: `{name}` holds {}; weights are F32, F16, BF16 or F64", entry.dtype)
        })?;
        let bytes = match (&entry.pickled, &self.safetensors) {
            (Some(tensor), _) => tensor.read().with_context(|| path.to_string())?,
            (None, Some(file)) => file.bytes(&entry.name)?,
            (None, None) => unreachable!("a tensor is from a pickled file or from a safetensors file"),
        };
        let values = f32_values(bytes, floats);
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{path}: `{name}` holds {} at value {index} of {}; such weights are of no use",
                values[index],
                values.len()
            );
        }
        Ok(values)
    }
}

impl Entry {
    /// What its shape takes; nothing if that cannot be counted.
    fn num_bytes(&self) -> Option<u64> {
        let size = self.floats.map_or(1, FloatType::size) as u64;
        self.shape.iter().try_fold(size, |product, &side| product.checked_mul(side as u64))
    }
}

impl From<pytorch_reader::Tensor> for Entry {
    fn from(tensor: pytorch_reader::Tensor) -> Self {
        let floats = match tensor.dtype() {
            pytorch_reader::DType::F32 => Some(FloatType::F32),
            pytorch_reader::DType::F16 => Some(FloatType::F16),
            pytorch_reader::DType::BF16 => Some(FloatType::Bf16),
            pytorch_reader::DType::F64 => Some(FloatType::F64),
            _ => None,
        };
        Self {
            shape: tensor.shape().to_vec(),
            floats,
            name: tensor.name.clone(),
            dtype: format!("{:?}", tensor.dtype()),
            pickled: Some(tensor),
        }
    }
}

/// The file that a path means.
fn weights_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    ensure!(
        !path.join("model.safetensors.index.json").is_file(),
        "{}: the weights are in several files; save them as one (`max_shard_size` of save_pretrained)",
        path.display()
    );
    let found = NAMES_IN_FOLDER.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        anyhow!("{}: the folder holds neither {}", path.display(), NAMES_IN_FOLDER.join(" nor "))
    })
}

/// Whether there is a checkpoint of this program at `path`, sound or not.
///
/// # Errors
/// If what looks like a safetensors file is damaged.
pub fn is_checkpoint(path: &Path) -> Result<bool> {
    if !path.is_file() {
        return Ok(false);
    }
    let name = || path.display().to_string();
    let mut begin = Vec::new();
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut begin)).with_context(name)?;
    refuse_what_is_no_model(path, &begin)?;
    let file_bytes = path.metadata().with_context(name)?.len();
    Ok(is_safetensors(path, &begin, file_bytes) && Checkpoint::is_one(&SafetensorsFile::open(path)?))
}

/// Whether a file is safetensors: the header's length and then the JSON it counts; or, if it is damaged, its name alone.
fn is_safetensors(path: &Path, begin: &[u8], file_bytes: u64) -> bool {
    let length = begin.first_chunk::<8>().map(|&length| u64::from_le_bytes(length));
    let looks_so = length.is_some_and(|length| length <= file_bytes) && begin.get(8) == Some(&b'{');
    let is_named_so = path.extension().is_some_and(|extension| extension == "safetensors");
    let looks_pickled = begin.starts_with(b"PK\x03\x04") || begin.starts_with(&[0x80]);
    looks_so || (is_named_so && !looks_pickled)
}

/// What a download leaves that went wrong.
fn refuse_what_is_no_model(path: &Path, begin: &[u8]) -> Result<()> {
    let name = path.display();
    ensure!(!begin.is_empty(), "{name}: the file is empty");
    let text = String::from_utf8_lossy(begin);
    let text = text.trim_start();
    ensure!(
        !text.starts_with("version https://git-lfs"),
        "{name}: a Git LFS pointer and not the file itself; `git lfs pull` brings it"
    );
    let is_page =
        ["<!doctype", "<html", "<?xml"].iter().any(|tag| text.to_ascii_lowercase().starts_with(tag));
    ensure!(!is_page, "{name}: a web page and not a file of weights; was the download refused?");
    Ok(())
}
