//! A backbone's first weights from a published classifier or detector: official names, PyTorch layout.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use burn::store::{ModuleStore, PytorchStore, SafetensorsStore, bridge};
use burn::tensor::{DType, TensorData};
use cvx_backbone::ConvNext;

use crate::train::params::{self, ParamInfo};

/// Where PyTorch checkpoints keep their weights; a file without any of these holds them at its top.
const TOP_LEVEL_KEYS: [&str; 3] = ["model", "state_dict", "model_ema"];

/// Names of the output norms, which classifiers do not have; they then start afresh.
const OUTPUT_NORMS: [&str; 4] = ["norm0.", "norm1.", "norm2.", "norm3."];

/// How many missing names a message lists.
const LISTED: usize = 5;

/// Puts a published file's values into `backbone`.
///
/// Names are those of the ConvNeXt and ConvNeXt V2 repositories, with or without `backbone.` before
/// them; what is not the backbone's (a classifier) is left out.
pub(super) fn load(path: &Path, backbone: ConvNext) -> Result<ConvNext> {
    let mut file = read(path).with_context(|| format!("{}: weights that cannot be read", path.display()))?;
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for ParamInfo { path: name, shape } in params::list(&backbone) {
        match file.remove(&name) {
            Some(data) => {
                let arranged = arrange(&name, data, &shape).with_context(|| path.display().to_string())?;
                values.insert(name, arranged);
            }
            None if OUTPUT_NORMS.iter().any(|norm| name.starts_with(norm)) => {}
            None => missing.push(name),
        }
    }
    if !missing.is_empty() {
        let total = missing.len();
        missing.truncate(LISTED);
        bail!(
            "{}: has no {}{}; expected the official names of a ConvNeXt of this size",
            path.display(),
            missing.join(", no "),
            if total > LISTED { format!(", and {} more are missing", total - LISTED) } else { String::new() }
        );
    }
    params::read_each(&backbone, &mut |name, data| {
        values.entry(name.to_owned()).or_insert(data);
        Ok(())
    })?;
    params::replace_each(backbone, &mut |name, _| {
        values.remove(name).ok_or_else(|| anyhow!("`{name}` has no value"))
    })
}

/// All tensors of a file, `backbone.` removed.
fn read(path: &Path) -> Result<BTreeMap<String, TensorData>> {
    ensure!(path.is_file(), "no such file");
    if path.extension().is_some_and(|extension| extension == "safetensors") {
        return collect(&mut SafetensorsStore::from_file(path));
    }
    let stores = TOP_LEVEL_KEYS.iter().map(|key| PytorchStore::from_file(path).with_top_level_key(*key));
    let mut found = None;
    for store in stores.chain([PytorchStore::from_file(path)]) {
        // Gaps in the official numbering are meant.
        match collect(&mut store.map_indices_contiguous(false)) {
            Ok(tensors) if !tensors.is_empty() => return Ok(tensors),
            outcome => found = Some(outcome),
        }
    }
    match found {
        Some(Err(error)) => Err(error),
        _ => bail!("it holds no tensor"),
    }
}

fn collect<S: ModuleStore>(store: &mut S) -> Result<BTreeMap<String, TensorData>> {
    let tensors = store.get_all_tensors().map_err(|error| anyhow!("{error}"))?;
    let mut collected = BTreeMap::new();
    for (name, tensor) in tensors {
        let data = bridge::to_data(tensor).map_err(|error| anyhow!("`{name}`: {error:?}"))?;
        let ours = name.strip_prefix("backbone.").unwrap_or(name);
        collected.insert(ours.to_owned(), data.convert_dtype(DType::F32));
    }
    Ok(collected)
}

/// From PyTorch's layout to ours: linear weights are transposed, and axes of length one go.
fn arrange(name: &str, data: TensorData, shape: &[usize]) -> Result<TensorData> {
    let found = data.shape().to_vec();
    let describe = || format!("`{name}` has shape {found:?}, expected {shape:?}");
    let values = data.try_to_vec::<f32>().map_err(|error| anyhow!("`{name}`: {error:?}"))?;
    if let ([inputs, outputs], true) = (shape, name.contains(".pwconv")) {
        ensure!(found.starts_with(&[*outputs, *inputs]) && values.len() == inputs * outputs, describe());
        let transposed =
            (0..*inputs).flat_map(|input| (0..*outputs).map(move |output| output * inputs + input));
        let values: Vec<f32> = transposed.map(|index| values[index]).collect();
        return Ok(TensorData::new(values, shape.to_vec()));
    }
    let long = |axes: &[usize]| -> Vec<usize> { axes.iter().copied().filter(|&side| side != 1).collect() };
    ensure!(long(&found) == long(shape), describe());
    Ok(TensorData::new(values, shape.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_weights_are_transposed_and_four_axes_become_two() {
        let file = TensorData::new(vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3, 1, 1]);
        let ours = arrange("stages.0.0.pwconv1.weight", file, &[3, 2]).expect("it fits");
        assert_eq!(ours.try_to_vec::<f32>().expect("floats"), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn axes_of_length_one_do_not_count() {
        let file = TensorData::new(vec![1.0_f32, 2.0], [1, 1, 1, 2]);
        assert!(arrange("stages.0.0.grn.gamma", file.clone(), &[2]).is_ok());
        assert!(arrange("stages.0.0.grn.gamma", file, &[3]).is_err());
    }
}
