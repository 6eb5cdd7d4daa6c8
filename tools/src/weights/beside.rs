//! What a file of weights, or the files beside it, say of classes and preprocessing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use pytorch_reader::PickleValue;
use serde_json::Value;

use super::python_config::Config;
use crate::classify::Interpolation;
use crate::safetensors_file::SafetensorsFile;

/// The metadata entries under which an exported file keeps what it was exported from.
pub(super) const CLASSES_KEY: &str = "cvx.classes";
/// See [`CLASSES_KEY`].
pub(super) const PREPROCESSING_KEY: &str = "cvx.preprocessing";
/// See [`CLASSES_KEY`].
pub(super) const ARCHITECTURE_KEY: &str = "cvx.architecture";

/// What is known besides the tensors; what nobody says is absent.
#[derive(Debug, Default)]
pub struct Told {
    /// Names of the classes, by index.
    pub classes: Option<Vec<String>>,
    /// Red, green and blue in which the classes are shown, by index.
    pub palette: Option<Vec<[u8; 3]>>,
    /// How images became the network's input.
    pub image: ToldImage,
    /// An OpenMMLab configuration.
    pub config: Option<Config>,
    /// A transformers configuration (`config.json`).
    pub transformers: Option<Value>,
    /// What timm calls the network (`config.json`).
    pub timm_architecture: Option<String>,
    /// What this program's export wrote of architecture and preprocessing.
    pub exported: Option<(Value, Value)>,
    /// The set of weights taken, of a file that names its sets.
    pub set: Option<String>,
    /// The sets that were not taken.
    pub other_sets: Vec<&'static str>,
}

/// What is known of a classifier's preprocessing. Means and deviations are of values from 0 to 255, red first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToldImage {
    /// Subtracted from each channel.
    pub mean: Option<[f32; 3]>,
    /// Each channel is divided by it.
    pub std: Option<[f32; 3]>,
    /// Side of the network's input, pixels.
    pub size: Option<u32>,
    /// The input's side over that of the image it is cut from.
    pub crop_pct: Option<f64>,
    /// How images are resized.
    pub interpolation: Option<Interpolation>,
}

impl Told {
    /// What the metadata of a safetensors file says.
    ///
    /// # Errors
    /// If an entry of this program's is broken.
    pub(super) fn of_safetensors(file: &SafetensorsFile) -> Result<Self> {
        let json = |key: &str| -> Result<Option<Value>> {
            let broken = |e| anyhow!("{}: the metadata entry `{key}` is broken: {e}", file.path().display());
            file.text(key).map(|text| serde_json::from_str(text).map_err(broken)).transpose()
        };
        let classes = json(CLASSES_KEY)?.as_ref().and_then(strings);
        let exported = json(ARCHITECTURE_KEY)?.zip(json(PREPROCESSING_KEY)?);
        let mut told = Self { classes, exported, ..Self::default() };
        if let Some((_, preprocessing)) = &told.exported {
            // Of a network with heads the pixels are an entry of their own.
            let pixels = preprocessing.get("input").unwrap_or(preprocessing);
            let numbers = |entry: &str| serde_json::from_value(pixels[entry].clone()).ok();
            (told.image.mean, told.image.std) = (numbers("mean"), numbers("std"));
        }
        Ok(told)
    }

    /// Whether an OpenMMLab configuration leaves images in the order in which OpenCV reads them.
    pub fn reads_blue_first(&self) -> bool {
        let entries =
            ["model.data_preprocessor.bgr_to_rgb", "data_preprocessor.bgr_to_rgb", "img_norm_cfg.to_rgb"];
        entries.iter().any(|entry| self.config.as_ref().and_then(|config| config.bool(entry)) == Some(false))
    }

    /// What the entries beside the weights of a pickled file say.
    pub(super) fn of_pickle(top: &HashMap<String, PickleValue>) -> Self {
        let mut told = Self::default();
        let Some(PickleValue::Dict(meta)) = top.get("meta") else { return told };
        // mmengine writes `dataset_meta`, with `classes` or `CLASSES`; before it, `CLASSES` stood alone.
        let dataset = match meta.get("dataset_meta") {
            Some(PickleValue::Dict(dataset)) => dataset,
            _ => meta,
        };
        told.classes = ["classes", "CLASSES"].iter().find_map(|key| texts(dataset.get(*key)?));
        told.palette = ["palette", "PALETTE"].iter().find_map(|key| colors(dataset.get(*key)?));
        let config = ["cfg", "config"].iter().find_map(|key| match meta.get(*key) {
            Some(PickleValue::String(text)) => Some(Config::parse(text)),
            _ => None,
        });
        if let Some(config) = &config {
            let normalisation = ["data_preprocessor", "model.data_preprocessor", "img_norm_cfg"];
            let numbers = |entry: &str| {
                let paths = normalisation.iter().map(|place| format!("{place}.{entry}"));
                paths.into_iter().find_map(|path| three(&config.numbers(&path)?))
            };
            (told.image.mean, told.image.std) = (numbers("mean"), numbers("std"));
        }
        told.config = config;
        told
    }

    /// Adds what `config.json` and `preprocessor_config.json` beside the weights say.
    ///
    /// # Errors
    /// If one of them is no JSON.
    pub(super) fn with_files_beside(mut self, weights: &Path) -> Result<Self> {
        let folder = weights.parent().unwrap_or(Path::new("."));
        // A lone file somewhere has nothing to do with a `config.json` that happens to lie there.
        let is_from_hub = weights.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("model.") || name.starts_with("pytorch_model.")
        });
        if !is_from_hub {
            return Ok(self);
        }
        if let Some(config) = json_file(&folder.join("config.json"))? {
            self.image.add_timm(&config["pretrained_cfg"]);
            let labels = [&config["label_names"], &config["pretrained_cfg"]["label_names"]];
            let named = labels.into_iter().find_map(strings).or_else(|| by_index(&config["id2label"]));
            self.classes = self.classes.or(named);
            self.timm_architecture = config["architecture"].as_str().map(str::to_owned);
            if config.get("model_type").is_some() {
                self.transformers = Some(config);
            }
        }
        if let Some(config) = json_file(&folder.join("preprocessor_config.json"))? {
            self.image.add_transformers(&config);
        }
        Ok(self)
    }
}

impl ToldImage {
    /// timm's `pretrained_cfg`.
    fn add_timm(&mut self, config: &Value) {
        self.mean = self.mean.or_else(|| of_255(&config["mean"]));
        self.std = self.std.or_else(|| of_255(&config["std"]));
        self.size = self.size.or_else(|| Some(config["input_size"][2].as_u64()? as u32));
        self.crop_pct = self.crop_pct.or_else(|| config["crop_pct"].as_f64());
        self.interpolation =
            self.interpolation.or_else(|| Interpolation::named(config["interpolation"].as_str()?));
    }

    /// transformers' `preprocessor_config.json` of a ConvNextImageProcessor.
    fn add_transformers(&mut self, config: &Value) {
        self.mean = of_255(&config["image_mean"]).or(self.mean);
        self.std = of_255(&config["image_std"]).or(self.std);
        let size_entry = &config["size"];
        let sides = [&size_entry["shortest_edge"], &size_entry["height"], size_entry];
        let size = sides.into_iter().find_map(Value::as_u64);
        self.size = size.map(|size| size as u32).or(self.size);
        // From 384 pixels on that processor resizes to the square and crops nothing; others always do so, and say it by
        // two sides.
        let crops = self.size.is_none_or(|size| size < 384) && size_entry.get("height").is_none();
        self.crop_pct = if crops { config["crop_pct"].as_f64().or(self.crop_pct) } else { Some(1.0) };
        // Pillow's numbers.
        self.interpolation = match config["resample"].as_u64() {
            Some(2) => Some(Interpolation::Bilinear),
            Some(3) => Some(Interpolation::Bicubic),
            _ => self.interpolation,
        };
    }
}

fn json_file(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    Ok(Some(value))
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn texts(value: &PickleValue) -> Option<Vec<String>> {
    let PickleValue::List(names) = value else { return None };
    let text =
        |name: &PickleValue| if let PickleValue::String(name) = name { Some(name.clone()) } else { None };
    names.iter().map(text).collect()
}

/// `[[120, 120, 120], [180, 120, 120]]`
fn colors(value: &PickleValue) -> Option<Vec<[u8; 3]>> {
    let PickleValue::List(colors) = value else { return None };
    let channel = |value: &PickleValue| {
        if let PickleValue::Int(value) = value { u8::try_from(*value).ok() } else { None }
    };
    let color = |color: &PickleValue| {
        let PickleValue::List(channels) = color else { return None };
        let channels: Option<Vec<u8>> = channels.iter().map(channel).collect();
        <[u8; 3]>::try_from(channels?).ok()
    };
    colors.iter().map(color).collect()
}

/// `{"0": "cat", "1": "dog"}`
fn by_index(value: &Value) -> Option<Vec<String>> {
    let entry = |(index, name): (&String, &Value)| Some((index.parse().ok()?, name.as_str()?.to_owned()));
    let names: BTreeMap<usize, String> = value.as_object()?.iter().map(entry).collect::<Option<_>>()?;
    let is_complete = names.keys().copied().eq(0..names.len());
    is_complete.then(|| names.into_values().collect())
}

/// Three numbers of a configuration.
fn three(numbers: &[f64]) -> Option<[f32; 3]> {
    let numbers: [f64; 3] = numbers.try_into().ok()?;
    Some(numbers.map(|number| number as f32))
}

/// From values of 0 to 1 to values of 0 to 255, as they are written in recipes: `0.485` becomes `123.675`.
fn of_255(value: &Value) -> Option<[f32; 3]> {
    let numbers: Vec<f64> = value.as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
    three(&numbers.iter().map(|number| number * 255.0).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn timms_and_transformers_descriptions_mean_the_same() {
        let mut timm = ToldImage::default();
        timm.add_timm(&json!({
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "input_size": [3, 224, 224],
            "crop_pct": 0.875, "interpolation": "bicubic"
        }));
        let mut transformers = ToldImage::default();
        transformers.add_transformers(&json!({
            "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
            "size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 3
        }));
        assert_eq!(timm, transformers);
        assert_eq!(timm.mean, Some([123.675, 116.28, 103.53]));
        transformers.add_transformers(&json!({"size": {"shortest_edge": 384}, "crop_pct": 0.875}));
        assert_eq!((transformers.size, transformers.crop_pct), (Some(384), Some(1.0)));
    }

    #[test]
    fn class_names_by_index_are_complete_or_none() {
        let names = by_index(&json!({"1": "dog", "0": "cat", "10": "cow"}));
        assert_eq!(names, None);
        let names = by_index(&json!({"1": "dog", "0": "cat"}));
        assert_eq!(names, Some(vec!["cat".to_owned(), "dog".to_owned()]));
    }
}
