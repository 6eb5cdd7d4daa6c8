//! Parts of a model that are not trained, named as their parameters' paths begin.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::train::params::ParamInfo;

/// Whether a path is that of the part, or of something in it: `backbone.stages.1` is not in `backbone.stages.10`.
pub(super) fn is_in(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Refuses a part that the model does not have, and names the one it has that is written most alike.
pub(super) fn expect_part(index: usize, part: &str, params: &[ParamInfo]) -> Result<()> {
    if params.iter().any(|param| is_in(&param.path, part)) {
        return Ok(());
    }
    let ends =
        |path: &str| path.match_indices('.').map(|(end, _)| end).chain([path.len()]).collect::<Vec<_>>();
    let parts: BTreeSet<&str> =
        params.iter().flat_map(|param| ends(&param.path).into_iter().map(|end| &param.path[..end])).collect();
    let Some(nearest) = parts.iter().min_by_key(|known| strsim::damerau_levenshtein(known, part)) else {
        bail!("train.freeze.{index} = \"{part}\": the model has no parameters");
    };
    bail!("train.freeze.{index} = \"{part}\": the model has no such part; the nearest is \"{nearest}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Vec<ParamInfo> {
        let paths =
            ["backbone.stages.0.0.dwconv.weight", "backbone.stages.10.0.dwconv.weight", "heads.fc.bias"];
        paths.map(|path| ParamInfo { path: path.to_owned(), shape: vec![1] }).into()
    }

    #[test]
    fn a_part_ends_where_a_name_ends() {
        assert!(is_in("backbone.stages.1.0.weight", "backbone.stages.1"));
        assert!(!is_in("backbone.stages.10.0.weight", "backbone.stages.1"));
    }

    #[test]
    fn a_part_that_is_not_there_is_answered_with_the_nearest() {
        assert!(expect_part(0, "backbone.stages.0", &params()).is_ok());
        let error = expect_part(2, "backbone.stage.0", &params()).unwrap_err().to_string();
        let expected = "train.freeze.2 = \"backbone.stage.0\": the model has no such part; the nearest is \"backbone.stages.0\"";
        assert_eq!(error, expected);
    }
}
