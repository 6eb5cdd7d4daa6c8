//! A model as a file: our checkpoint, or safetensors under the names of others, which Python loads.

use std::path::Path;

use anyhow::{Result, ensure};
use burn::tensor::TensorData;
use clap::ValueEnum;
use cvx_backbone::{Layout, NameScheme, Variant};
use cvx_heads::{is_linear_weight, mmdet_name};
use serde_json::json;

use super::beside::{ARCHITECTURE_KEY, CLASSES_KEY, PREPROCESSING_KEY};
use super::layout::transposed;
use super::model::{Architecture, Model};
use crate::safetensors_file;
use crate::train::checkpoint::{self, Description};
use crate::train::params::ParamInfo;

/// What a file is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A checkpoint of this program
    Cvx,
    /// Names of facebookresearch/ConvNeXt and ConvNeXt-V2, safetensors
    Official,
    /// Names of timm, safetensors; of a network with heads the backbone alone
    Timm,
    /// Names of mmpretrain, mmdet and mmseg, safetensors
    #[value(alias = "mmdet", alias = "mmpretrain", alias = "mmseg")]
    Openmmlab,
}

/// Refuses a file's name under which nobody would look for what is written.
///
/// # Errors
/// If it does not end in `.safetensors`.
pub fn check_name(path: &Path) -> Result<()> {
    ensure!(
        path.extension().is_some_and(|extension| extension == "safetensors"),
        "{}: written is safetensors, so the name must end in `.safetensors`",
        path.display()
    );
    Ok(())
}

/// Writes `model` to `path`, and returns what was left out, a line each.
///
/// # Errors
/// If a value cannot be read or the file not be written; an older file at `path` then stays as it was.
pub fn write(model: &Model, form: Form, origin: &str, path: &Path) -> Result<Vec<String>> {
    check_name(path)?;
    match form {
        Form::Cvx => {
            let description = Description {
                architecture: model.architecture.to_json()?,
                classes: model.classes.clone(),
                preprocessing: model.preprocessing.clone(),
                // A comment, so that it is TOML like every other.
                recipe: format!("# converted from {origin} by cvx-pretrain convert\n"),
            };
            checkpoint::save_values(path, &model.params, &description, &mut |param| model.read(param))?;
            Ok(Vec::new())
        }
        Form::Official => published(model, NameScheme::Official, path),
        Form::Timm => published(model, NameScheme::Timm, path),
        Form::Openmmlab => published(model, NameScheme::Openmmlab, path),
    }
}

/// A parameter under another name.
struct Entry<'a> {
    name: String,
    shape: Vec<usize>,
    layout: Layout,
    param: &'a ParamInfo,
}

fn published(model: &Model, scheme: NameScheme, path: &Path) -> Result<Vec<String>> {
    let mut entries = Vec::new();
    let mut left_out = Vec::new();
    for param in &model.params {
        match entry(model, scheme, param) {
            Some(entry) => entries.push(entry),
            None => left_out.push(param.path.as_str()),
        }
    }
    let metadata = json!({
        // transformers and timm refuse a file that does not say so.
        "format": "pt",
        CLASSES_KEY: serde_json::to_string(&model.classes)?,
        ARCHITECTURE_KEY: serde_json::to_string(&model.architecture.to_json()?)?,
        PREPROCESSING_KEY: serde_json::to_string(&model.preprocessing)?,
    });
    let names = entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice()));
    safetensors_file::write(path, metadata, &names.collect::<Vec<_>>(), &mut |index| {
        let Entry { shape, layout, param, .. } = &entries[index];
        let data = model.read(param)?;
        Ok(match (layout, &param.shape[..]) {
            (Layout::Transposed, &[inputs, outputs]) => {
                let values =
                    data.as_slice::<f32>().map_err(|e| anyhow::anyhow!("`{}`: {e:?}", param.path))?;
                TensorData::new(transposed(values, inputs, outputs), shape.clone())
            }
            _ => data,
        })
    })?;
    let count = left_out.len();
    let example = left_out.first().copied().unwrap_or_default();
    Ok(if count == 0 {
        Vec::new()
    } else {
        vec![format!(
            "left out: {count} parameters that such files have no names for (`{example}` and so on)"
        )]
    })
}

fn entry<'a>(model: &Model, scheme: NameScheme, param: &'a ParamInfo) -> Option<Entry<'a>> {
    let has_heads = matches!(model.architecture, Architecture::Detector(_) | Architecture::Segmentor(_));
    // Networks with heads hold their backbone as `backbone.` in both; mmpretrain does so always.
    let prefix = match scheme {
        NameScheme::Openmmlab => "backbone.",
        NameScheme::Official if has_heads => "backbone.",
        _ => "",
    };
    let (name, layout) = if let Some(ours) = param.path.strip_prefix("heads.") {
        let layout = if is_linear_weight(ours) { Layout::Transposed } else { Layout::AsOurs };
        ((scheme != NameScheme::Timm).then(|| mmdet_name(ours))?, layout)
    } else if let Some(ours) = param.path.strip_prefix("backbone.") {
        (scheme.backbone_name(prefix, ours)?, scheme.layout(ours))
    } else {
        (scheme.classifier_name(prefix, &param.path)?, scheme.layout(&param.path))
    };
    let mut shape = param.shape.clone();
    if layout == Layout::Transposed {
        shape.reverse();
    }
    if scheme == NameScheme::Official && param.path.contains(".grn.") {
        shape = vec![1, 1, 1, param.shape[0]];
    }
    let is_pointwise = param.path.contains(".pwconv") && layout == Layout::Transposed;
    if scheme == NameScheme::Timm && is_pointwise && has_convolutions_in_timm(model) {
        shape.extend([1, 1]);
    }
    Some(Entry { name, shape, layout, param })
}

/// Whether timm builds this size with convolutions in place of linear layers: atto to nano, of V1 and V2.
fn has_convolutions_in_timm(model: &Model) -> bool {
    let config = model.architecture.model().config();
    let small = [Variant::V2Atto, Variant::V2Femto, Variant::V2Pico, Variant::V2Nano];
    small.iter().any(|size| size.dims() == config.dims && size.depths() == config.depths)
}
