//! Golden folders: tensors and tables that reference implementations computed, read from `tests/golden`.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// A tensor of a golden: row-major values and their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Sizes of the axes, slowest first.
    pub shape: Vec<usize>,
    /// The values, last axis contiguous.
    pub values: Vec<T>,
}

/// One folder of goldens.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The folder.
    pub folder: PathBuf,
}

/// The folders that goldens are looked for in: `tests/golden`, and `$CVX_GOLDEN`, which may also be a golden itself.
fn roots() -> Vec<PathBuf> {
    let mut roots = vec![crate::project_root().join("tests/golden")];
    roots.extend(std::env::var_os("CVX_GOLDEN").map(PathBuf::from));
    roots
}

impl Golden {
    /// The folder `tests/golden/<name>`.
    ///
    /// # Panics
    /// If there is no such folder.
    pub fn named(name: &str) -> Self {
        let folder = crate::project_root().join("tests/golden").join(name);
        assert!(folder.is_dir(), "{} is not a folder", folder.display());
        Self { folder }
    }

    /// All goldens there are, in the order of their paths.
    ///
    /// # Panics
    /// If a folder cannot be read.
    pub fn all() -> Vec<Self> {
        let mut folders = Vec::new();
        for root in roots() {
            let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
            folders.extend(entries.map(|entry| entry.expect("an entry").path()));
            folders.push(root);
        }
        folders.sort();
        let goldens = folders.into_iter().map(|folder| Self { folder });
        goldens.filter(|golden| golden.file("meta.json").is_file()).collect()
    }

    /// The goldens of a kind, of which there must be one; their names are printed.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_kind(kind: &str) -> Vec<Self> {
        let goldens: Vec<Self> = Self::all().into_iter().filter(|golden| golden.kind() == kind).collect();
        assert!(!goldens.is_empty(), "no folder of kind {kind} under {:?}", roots());
        goldens.iter().for_each(|golden| println!("{}", golden.folder.display()));
        goldens
    }

    /// What its `meta.json` calls it.
    pub fn kind(&self) -> String {
        self.json("meta.json")["kind"].as_str().unwrap_or("without a kind").to_owned()
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A JSON file of the folder.
    ///
    /// # Panics
    /// If it is missing or is not JSON.
    pub fn json(&self, name: &str) -> serde_json::Value {
        let path = self.file(name);
        serde_json::from_slice(&read(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A safetensors file of the folder.
    ///
    /// # Panics
    /// If it is missing.
    pub fn tensors(&self, name: &str) -> Tensors {
        let path = self.file(name);
        Tensors { bytes: read(&path), path }
    }

    /// A `.npy` file of little-endian `f32`, `f16` (widened) or `i64` (exact below 2^24) values.
    ///
    /// # Panics
    /// If it is missing or holds another type.
    pub fn npy(&self, name: &str) -> Array<f32> {
        let path = self.file(name);
        parse_npy(&read(&path)).unwrap_or_else(|what| panic!("{}: {what}", path.display()))
    }
}

/// The tensors of one safetensors file.
#[derive(Clone, Debug)]
pub struct Tensors {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Tensors {
    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.parse().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.parse().tensor(name).is_ok()
    }

    /// As [`Tensors::f32`], or nothing where there is none.
    pub fn get(&self, name: &str) -> Option<Array<f32>> {
        self.contains(name).then(|| self.f32(name))
    }

    /// A tensor of any number type as `f32`.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn f32(&self, name: &str) -> Array<f32> {
        let Array { shape, values } = self.f64(name);
        Array { shape, values: values.into_iter().map(|value| value as f32).collect() }
    }

    /// A tensor of any number type as `f64`.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn f64(&self, name: &str) -> Array<f64> {
        let file = self.parse();
        let view = file.tensor(name).unwrap_or_else(|_| {
            panic!("{}: no tensor `{name}` among {:?}", self.path.display(), self.names())
        });
        Array { shape: view.shape().to_vec(), values: widen(view.dtype(), view.data()) }
    }

    /// An integer or boolean tensor.
    ///
    /// # Panics
    /// If there is no such tensor, or a value is no integer.
    pub fn i64(&self, name: &str) -> Array<i64> {
        let Array { shape, values } = self.f64(name);
        let values = values.into_iter().map(|value| {
            assert!(value.fract() == 0.0, "{name}: {value} is no integer");
            value as i64
        });
        Array { shape, values: values.collect() }
    }

    fn parse(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("{}: {e}", self.path.display()))
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn widen(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], to_f64: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, rest) = data.as_chunks::<N>();
        assert!(rest.is_empty(), "{} bytes are left over", rest.len());
        chunks.iter().map(|&bytes| to_f64(bytes)).collect()
    }
    match dtype {
        Dtype::F64 => each(data, f64::from_le_bytes),
        Dtype::F32 => each(data, |b| f32::from_le_bytes(b).into()),
        Dtype::F16 => each(data, |b| f16_to_f64(u16::from_le_bytes(b))),
        Dtype::I64 => each(data, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => each(data, |b| i32::from_le_bytes(b).into()),
        Dtype::I16 => each(data, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => each(data, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 | Dtype::BOOL => each(data, |[b]| b.into()),
        other => panic!("no golden holds {other:?}"),
    }
}

fn f16_to_f64(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    sign * match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    }
}

fn parse_npy(bytes: &[u8]) -> Result<Array<f32>, String> {
    let version = *bytes.get(6).ok_or("shorter than a header")?;
    let (header_at, header_len) = match (bytes.starts_with(b"\x93NUMPY"), version) {
        (true, 1) => (10, u16::from_le_bytes([bytes[8], bytes[9]]) as usize),
        (true, 2 | 3) => (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize),
        _ => return Err("not a .npy file".into()),
    };
    let data_at = header_at + header_len;
    let header = std::str::from_utf8(bytes.get(header_at..data_at).ok_or("header beyond the file")?)
        .map_err(|e| e.to_string())?;
    if header.contains("'fortran_order': True") {
        return Err("column-major".into());
    }
    let between = |from: &str, to: char| {
        let start = header.find(from)? + from.len();
        let end = header[start..].find(to)?;
        Some(&header[start..start + end])
    };
    let shape = between("'shape': (", ')').ok_or("no shape")?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| format!("size `{size}`")))
        .collect::<Result<_, _>>()?;
    let data = &bytes[data_at..];
    let values = match between("'descr': '", '\'').ok_or("no type")? {
        "<f4" => widen(Dtype::F32, data),
        "<f8" => widen(Dtype::F64, data),
        "<f2" => widen(Dtype::F16, data),
        "<i8" => widen(Dtype::I64, data),
        "<i4" => widen(Dtype::I32, data),
        "|u1" => widen(Dtype::U8, data),
        other => return Err(format!("type {other}")),
    };
    if values.len() != shape.iter().product::<usize>() {
        return Err(format!("{} values of shape {shape:?}", values.len()));
    }
    Ok(Array { shape, values: values.into_iter().map(|value| value as f32).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_widened_exactly() {
        assert_eq!(f16_to_f64(0x3c00), 1.0);
        assert_eq!(f16_to_f64(0xc000), -2.0);
        assert_eq!(f16_to_f64(0x0001), 2f64.powi(-24));
        assert_eq!(f16_to_f64(0x7bff), 65504.0);
    }

    #[test]
    fn a_npy_file_of_one_axis_is_read() {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(1.5f32.to_le_bytes());
        bytes.extend((-2f32).to_le_bytes());
        let array = parse_npy(&bytes).unwrap();
        assert_eq!((array.shape, array.values), (vec![2], vec![1.5, -2.0]));
    }
}
