//! Published weights against the parameters of a module: what fits, what starts afresh, what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};
use burn::module::Module;
use burn::tensor::TensorData;
use cvx_backbone::NameScheme;
use cvx_heads::depends_on_classes;

use super::layout;
use super::published::{Published, Top};
use crate::train::params::{self, ParamInfo};

/// How many names of a kind a message lists.
const LISTED: usize = 8;

/// Whether a file must fit to the last name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Every parameter must be the file's, to be used as it is.
    Complete,
    /// Anything missing, unexpected or of another shape is an error; what such files never have, and what depends on
    /// the number of classes, is drawn afresh.
    Strict,
    /// It is told, and the parameter stays as it was drawn.
    Lenient,
}

/// What came of comparing a file with a module's parameters.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// Parameters whose values the file has.
    loaded: BTreeSet<String>,
    /// Parameters that are one everywhere, since the file's network has none.
    ones: BTreeSet<String>,
    /// Parameters that such files never have, and start afresh.
    absent: Vec<String>,
    /// Parameters that depend on the classes, of which the file has another number.
    other_classes: Vec<String>,
    /// What the file has for other purposes: how many tensors, by purpose.
    left_out: BTreeMap<&'static str, usize>,
    missing: Vec<String>,
    unexpected: Vec<String>,
    other_shape: Vec<String>,
}

/// Puts a file's values into `module`, whose paths begin with `backbone.`, `heads.`, `norm.` and `head.`, and returns
/// what a person should know of it, a line each.
///
/// # Errors
/// If the file does not fit and must; if a value cannot be read or is not finite. All names and shapes are compared
/// before the first value is read.
pub fn load<M: Module>(published: &Published, module: M, strictness: Strictness) -> Result<(M, Vec<String>)> {
    let params = params::list(&module);
    let mut fit = Fit::of(published, &params);
    if strictness == Strictness::Complete {
        fit.missing.extend(fit.absent.drain(..).map(|path| format!("`{path}`")));
        fit.refuse_other_classes();
    }
    let mut remarks = fit.remarks(published, params.len());
    if let Some(problems) = fit.problems() {
        let headline = format!(
            "{} does not fit the recipe's network: it holds {published}",
            published.source.path.display()
        );
        match strictness {
            Strictness::Complete => bail!("{headline}\n{problems}"),
            Strictness::Strict => bail!(
                "{headline}\n{problems}with `strict = false` beside the file's name such parameters are drawn from the \
                 seed"
            ),
            Strictness::Lenient => remarks.extend(problems.lines().map(str::to_owned)),
        }
    }
    let module = params::replace_each(module, &mut |path, shape| fit.value(published, path, shape))?;
    Ok((module, remarks))
}

impl Fit {
    /// Where nothing may start afresh but norms of maps that the file does not return.
    pub(super) fn for_conversion(published: &Published, params: &[ParamInfo]) -> Self {
        let mut fit = Self::of(published, params);
        fit.refuse_other_classes();
        fit
    }

    fn refuse_other_classes(&mut self) {
        let others = self.other_classes.drain(..);
        self.other_shape.extend(others.map(|path| format!("`{path}` is for another number of classes")));
    }

    fn of(published: &Published, params: &[ParamInfo]) -> Self {
        let mut fit = Self::default();
        let mut used = BTreeSet::new();
        let has = |name: Option<String>| name.is_some_and(|name| published.source.shape(&name).is_some());
        for ParamInfo { path, shape } in params {
            let name = published.name(path);
            let Some((name, found)) =
                name.and_then(|name| Some((name.clone(), published.source.shape(&name)?.to_vec())))
            else {
                let layer = path.rsplit_once('.').map_or(path.as_str(), |(layer, _)| layer);
                let sides = [format!("{layer}.weight"), format!("{layer}.bias")];
                let is_output_norm = layer.starts_with("backbone.norm");
                if path.ends_with(".gamma") && !path.ends_with(".grn.gamma") && published.lacks_layer_scale {
                    fit.ones.insert(path.clone());
                } else if is_output_norm && !sides.iter().any(|side| has(published.name(side))) {
                    fit.absent.push(path.clone());
                } else {
                    fit.missing.push(describe(published.name(path).as_deref().unwrap_or(path), shape));
                }
                continue;
            };
            let head = path.strip_prefix("heads.").map_or(path.starts_with("head."), depends_on_classes);
            if layout::fits(published.layout(path), &found, shape) {
                fit.loaded.insert(path.clone());
            } else if head && differs_by_classes(&found, shape) {
                fit.other_classes.push(path.clone());
            } else {
                fit.other_shape.push(format!("`{name}` is {found:?}, which does not fit {shape:?}"));
            }
            used.insert(name);
        }
        let wanted = Wanted::of(params);
        for name in published.source.names().filter(|name| !used.contains(*name)) {
            match wanted.other_purpose(published, name) {
                Some(purpose) => *fit.left_out.entry(purpose).or_default() += 1,
                None => {
                    fit.unexpected.push(describe(name, published.source.shape(name).unwrap_or_default()));
                }
            }
        }
        fit
    }

    /// The value of a parameter, or nothing where it starts afresh.
    pub(super) fn value(
        &self,
        published: &Published,
        path: &str,
        shape: &[usize],
    ) -> Result<Option<TensorData>> {
        if self.loaded.contains(path) {
            published.read(path, shape).map(Some)
        } else if self.ones.contains(path) {
            Ok(Some(TensorData::ones::<f32, _>(shape.to_vec())))
        } else {
            Ok(None)
        }
    }

    /// What is wrong, several lines, or nothing.
    pub(super) fn problems(&self) -> Option<String> {
        let kinds = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &self.other_shape),
        ];
        let mut text = String::new();
        for (kind, names) in kinds.into_iter().filter(|(_, names)| !names.is_empty()) {
            let _ = writeln!(text, "{kind}: {}", listed(names));
        }
        (!text.is_empty()).then_some(text)
    }

    /// What a person should know.
    pub(super) fn remarks(&self, published: &Published, num_params: usize) -> Vec<String> {
        let Self { loaded, ones, absent, other_classes, left_out, .. } = self;
        let source = &published.source;
        let mut lines = vec![
            format!("{}: {published}", source.path.display()),
            format!("{} of {num_params} parameters are the file's", loaded.len()),
        ];
        if let (Some(set), [_, ..]) = (&source.told.set, &source.told.other_sets[..]) {
            lines.push(format!("taken from its `{set}`, not from `{}`", source.told.other_sets.join("`, `")));
        }
        if !absent.is_empty() {
            lines.push(format!("afresh, since such files have none: {}", layers(absent)));
        }
        if !other_classes.is_empty() {
            lines.push(format!("afresh, since the file has other classes: {}", layers(other_classes)));
        }
        if !ones.is_empty() {
            lines.push("layer scale is 1, since the file's network has none".to_owned());
        }
        for (purpose, count) in left_out {
            let tensors = if *count == 1 { "tensor" } else { "tensors" };
            lines.push(format!("left out: {count} {tensors} of {purpose}"));
        }
        lines
    }
}

/// Which parts of a network are asked for.
struct Wanted {
    heads: bool,
    classifier: bool,
    output_norms: bool,
}

impl Wanted {
    fn of(params: &[ParamInfo]) -> Self {
        let starts = |with: &str| params.iter().any(|param| param.path.starts_with(with));
        Self {
            heads: starts("heads."),
            classifier: starts("norm.") || starts("head."),
            output_norms: starts("backbone.norm"),
        }
    }

    /// What a tensor is for that nobody asked for; nothing where it should have been a parameter.
    fn other_purpose(&self, published: &Published, name: &str) -> Option<&'static str> {
        if published.source.is_count(name) {
            return Some("counts");
        }
        let classifier = ["norm.weight", "norm.bias", "head.weight", "head.bias"];
        let is_of_classifier = classifier.iter().any(|ours| published.name(ours).as_deref() == Some(name))
            || (name.starts_with("norm_pre.") || name.starts_with("head."));
        if !self.classifier && is_of_classifier {
            return Some("its classifier");
        }
        // DINOv3's own files hold the last norm twice.
        if published.scheme == NameScheme::Official && name.starts_with("norms.3.") {
            return Some("a second copy of its last norm");
        }
        let mut output_norms =
            (0..4).flat_map(|stage| ["weight", "bias"].map(|side| format!("backbone.norm{stage}.{side}")));
        if !self.output_norms && output_norms.any(|ours| published.name(&ours).as_deref() == Some(name)) {
            return Some("norms of the returned maps");
        }
        match published.top {
            Top::MaskRcnn(_) | Top::UperNet(_) if self.heads => None,
            Top::MaskRcnn(_) | Top::UperNet(_) | Top::Other(_) if !published.is_in_backbone(name) => {
                Some("its heads")
            }
            Top::Decoder if !published.is_in_backbone(name) || is_of_decoder(name) => {
                Some("the decoder of its pretraining")
            }
            _ => None,
        }
    }
}

/// ConvNeXt-V2 `main_finetune.py` drops the same.
fn is_of_decoder(name: &str) -> bool {
    ["decoder.", "mask_token", "proj.", "pred."].iter().any(|part| name.starts_with(part))
}

/// Whether two shapes of a last layer differ in the axis of classes alone: the only one that does.
fn differs_by_classes(found: &[usize], shape: &[usize]) -> bool {
    let mut theirs: Vec<usize> = found.iter().copied().filter(|&side| side != 1).collect();
    let ours: Vec<usize> = shape.iter().copied().filter(|&side| side != 1).collect();
    let mut new = 0;
    for side in &ours {
        match theirs.iter().position(|their| their == side) {
            Some(at) => drop(theirs.remove(at)),
            None => new += 1,
        }
    }
    // None on one side: a single class, whose axis has length one.
    new <= 1 && theirs.len() <= 1 && new + theirs.len() > 0
}

fn describe(name: &str, shape: &[usize]) -> String {
    // A file may call its tensors anything, also what a terminal obeys.
    format!("`{}` {shape:?}", name.escape_debug())
}

/// The layers of some parameters, each once.
fn layers(paths: &[String]) -> String {
    let mut layers: Vec<&str> = Vec::new();
    for path in paths {
        let layer = path.rsplit_once('.').map_or(path.as_str(), |(layer, _)| layer);
        if layers.last() != Some(&layer) {
            layers.push(layer);
        }
    }
    listed(&layers.iter().map(|layer| (*layer).to_owned()).collect::<Vec<_>>())
}

/// The first few of a list, and how many there are besides.
pub fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().checked_sub(LISTED) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_layers_may_differ_in_their_classes_alone() {
        // Transposed, as linear layers are.
        assert!(differs_by_classes(&[81, 1024], &[1024, 4]));
        assert!(differs_by_classes(&[80, 256, 1, 1], &[3, 256, 1, 1]));
        assert!(differs_by_classes(&[80], &[3]));
        assert!(differs_by_classes(&[80, 256, 1, 1], &[1, 256, 1, 1]));
        assert!(!differs_by_classes(&[81, 512], &[1024, 4]));
        assert!(!differs_by_classes(&[48, 11], &[48, 11]));
    }
}
