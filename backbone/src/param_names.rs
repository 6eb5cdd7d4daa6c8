//! Names and layouts of a backbone's parameters in published checkpoints. Ours are the official names.
//!
//! One table serves both ways: reading looks up the published name of each of our parameters,
//! exporting writes it. `prefix` is what a file puts before a whole backbone: nothing, `backbone.`,
//! `convnextv2.`, torchvision's `features.`.

/// Whose names a checkpoint carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameScheme {
    /// facebookresearch/ConvNeXt and ConvNeXt-V2, their detectors and segmentors.
    Official,
    /// ConvNeXt-V2's sparse encoder in an FCMAE training checkpoint (MinkowskiEngine).
    Minkowski,
    /// mmpretrain, and through it mmdet and mmseg.
    Openmmlab,
    /// timm.
    Timm,
    /// transformers' ConvNext and ConvNextV2.
    HuggingFace,
    /// transformers' DINOv3ConvNext.
    Dinov3,
    /// torchvision.
    Torchvision,
}

/// How a published tensor lies, compared with ours; axes of length one never count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Alike.
    AsOurs,
    /// A linear layer as `[outputs, inputs]`; ours is `[inputs, outputs]`.
    Transposed,
    /// A sparse convolution's kernel: `[positions, inputs, outputs]`, or `[positions, channels]`
    /// where it is depthwise; positions count down a column first.
    SparseKernel,
}

impl NameScheme {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Official,
        Self::Minkowski,
        Self::Openmmlab,
        Self::Timm,
        Self::HuggingFace,
        Self::Dinov3,
        Self::Torchvision,
    ];

    /// Our path of a backbone's parameter as the file names it, or nothing where such files have
    /// none (timm and torchvision know no output norms).
    ///
    /// ```
    /// use cvx_backbone::NameScheme::{HuggingFace, Official, Timm};
    ///
    /// let ours = "stages.0.1.grn.gamma";
    /// let name = |scheme: cvx_backbone::NameScheme| scheme.backbone_name("", ours);
    /// assert_eq!(name(Official).as_deref(), Some(ours));
    /// assert_eq!(name(Timm).as_deref(), Some("stages.0.blocks.1.mlp.grn.weight"));
    /// assert_eq!(name(HuggingFace).as_deref(), Some("encoder.stages.0.layers.1.grn.weight"));
    /// assert_eq!(Timm.backbone_name("", "norm0.weight"), None);
    /// ```
    pub fn backbone_name(self, prefix: &str, ours: &str) -> Option<String> {
        let parts: Vec<&str> = ours.split('.').collect();
        let name = match parts[..] {
            ["downsample_layers", stage, place, parameter] => {
                self.downsample(stage.parse().ok()?, place, parameter)
            }
            ["stages", stage, block, ref layer @ ..] => self.block(stage.parse().ok()?, block, layer)?,
            [norm @ ("norm0" | "norm1" | "norm2" | "norm3"), parameter] => {
                self.output_norm(norm, parameter)?
            }
            _ => return None,
        };
        Some(format!("{prefix}{name}"))
    }

    /// The name of a parameter of the classifier on top: `norm.weight`, `head.bias` and so on.
    ///
    /// ```
    /// use cvx_backbone::NameScheme::{HuggingFace, Openmmlab};
    ///
    /// let name = HuggingFace.classifier_name("convnextv2.", "norm.weight");
    /// assert_eq!(name.as_deref(), Some("convnextv2.layernorm.weight"));
    /// let name = Openmmlab.classifier_name("backbone.", "head.weight");
    /// assert_eq!(name.as_deref(), Some("head.fc.weight"));
    /// ```
    pub fn classifier_name(self, prefix: &str, ours: &str) -> Option<String> {
        let (layer, parameter) = ours.split_once('.')?;
        // A head stands beside the backbone, its norm inside; with DINOv3 both stand beside it.
        let (prefix, layer) = match (layer, self) {
            ("norm", Self::Official) => (prefix, "norm"),
            ("norm", Self::Openmmlab) => (prefix, "norm3"),
            ("norm", Self::Timm) => (prefix, "head.norm"),
            ("norm", Self::HuggingFace) => (prefix, "layernorm"),
            ("norm", Self::Dinov3) => ("", "layer_norm"),
            ("norm", Self::Torchvision) => ("", "classifier.0"),
            ("head", Self::Official) => (prefix, "head"),
            ("head", Self::Openmmlab) => ("", "head.fc"),
            ("head", Self::Timm) => (prefix, "head.fc"),
            ("head", Self::HuggingFace) => ("", "classifier"),
            ("head", Self::Torchvision) => ("", "classifier.2"),
            _ => return None,
        };
        Some(format!("{prefix}{layer}.{parameter}"))
    }

    /// How the tensor of our path lies in such files.
    pub fn layout(self, ours: &str) -> Layout {
        if !ours.ends_with(".weight") {
            return Layout::AsOurs;
        }
        let is_downsample =
            ours.starts_with("downsample_layers.") && !ours.starts_with("downsample_layers.0");
        let is_convolution =
            ours.ends_with(".dwconv.weight") || (is_downsample && ours.ends_with(".1.weight"));
        if ours.contains(".pwconv") || ours == "head.weight" {
            Layout::Transposed
        } else if self == Self::Minkowski && is_convolution {
            Layout::SparseKernel
        } else {
            Layout::AsOurs
        }
    }

    fn downsample(self, stage: usize, place: &str, parameter: &str) -> String {
        match (self, stage, place) {
            (Self::Minkowski, 1.., "0") => format!("downsample_layers.{stage}.0.ln.{parameter}"),
            (Self::Minkowski, 1.., _) => {
                let parameter = kernel(parameter);
                format!("downsample_layers.{stage}.1.{parameter}")
            }
            (Self::Official | Self::Openmmlab | Self::Minkowski, ..) => {
                format!("downsample_layers.{stage}.{place}.{parameter}")
            }
            (Self::Timm, 0, _) => format!("stem.{place}.{parameter}"),
            (Self::Timm, ..) => format!("stages.{stage}.downsample.{place}.{parameter}"),
            (Self::HuggingFace, 0, "0") => format!("embeddings.patch_embeddings.{parameter}"),
            (Self::HuggingFace, 0, _) => format!("embeddings.layernorm.{parameter}"),
            (Self::HuggingFace, ..) => {
                format!("encoder.stages.{stage}.downsampling_layer.{place}.{parameter}")
            }
            (Self::Dinov3, ..) => format!("stages.{stage}.downsample_layers.{place}.{parameter}"),
            (Self::Torchvision, ..) => format!("{}.{place}.{parameter}", 2 * stage),
        }
    }

    fn block(self, stage: usize, block: &str, layer: &[&str]) -> Option<String> {
        let [layer, ref parameter @ ..] = *layer else { return None };
        let parameter = match *parameter {
            [] => "",
            [parameter] => parameter,
            _ => return None,
        };
        let grn = if parameter == "gamma" { "weight" } else { "bias" };
        let (folder, rest) = match self {
            Self::Official => (format!("stages.{stage}.{block}"), joined(layer, parameter)),
            Self::Minkowski => {
                let rest = match layer {
                    "dwconv" => format!("dwconv.{}", kernel(parameter)),
                    "norm" => format!("norm.ln.{parameter}"),
                    "pwconv1" | "pwconv2" => format!("{layer}.linear.{parameter}"),
                    _ => joined(layer, parameter),
                };
                (format!("stages.{stage}.{block}"), rest)
            }
            Self::Openmmlab => {
                let layer = match layer {
                    "dwconv" => "depthwise_conv",
                    "pwconv1" => "pointwise_conv1",
                    "pwconv2" => "pointwise_conv2",
                    _ => layer,
                };
                (format!("stages.{stage}.{block}"), joined(layer, parameter))
            }
            Self::Timm => {
                let rest = match layer {
                    "dwconv" => format!("conv_dw.{parameter}"),
                    "pwconv1" => format!("mlp.fc1.{parameter}"),
                    "pwconv2" => format!("mlp.fc2.{parameter}"),
                    "grn" => format!("mlp.grn.{grn}"),
                    _ => joined(layer, parameter),
                };
                (format!("stages.{stage}.blocks.{block}"), rest)
            }
            Self::HuggingFace => {
                let rest = match layer {
                    "norm" => format!("layernorm.{parameter}"),
                    "grn" => format!("grn.{grn}"),
                    "gamma" => "layer_scale_parameter".to_owned(),
                    _ => joined(layer, parameter),
                };
                (format!("encoder.stages.{stage}.layers.{block}"), rest)
            }
            Self::Dinov3 => {
                let layer = match layer {
                    "dwconv" => "depthwise_conv",
                    "norm" => "layer_norm",
                    "pwconv1" => "pointwise_conv1",
                    "pwconv2" => "pointwise_conv2",
                    "gamma" => "gamma",
                    _ => return None,
                };
                (format!("stages.{stage}.layers.{block}"), joined(layer, parameter))
            }
            Self::Torchvision => {
                let layer = match layer {
                    "dwconv" => "block.0",
                    "norm" => "block.2",
                    "pwconv1" => "block.3",
                    "pwconv2" => "block.5",
                    "gamma" => "layer_scale",
                    _ => return None,
                };
                (format!("{}.{block}", 2 * stage + 1), joined(layer, parameter))
            }
        };
        Some(format!("{folder}.{rest}"))
    }

    fn output_norm(self, norm: &str, parameter: &str) -> Option<String> {
        match self {
            Self::Official | Self::Openmmlab => Some(format!("{norm}.{parameter}")),
            Self::HuggingFace | Self::Dinov3 => {
                let stage: usize = norm.strip_prefix("norm")?.parse().ok()?;
                Some(format!("hidden_states_norms.stage{}.{parameter}", stage + 1))
            }
            Self::Minkowski | Self::Timm | Self::Torchvision => None,
        }
    }
}

/// A sparse convolution calls its weight a kernel.
fn kernel(parameter: &str) -> &str {
    if parameter == "weight" { "kernel" } else { parameter }
}

fn joined(layer: &str, parameter: &str) -> String {
    if parameter.is_empty() { layer.to_owned() } else { format!("{layer}.{parameter}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_gives_every_parameter_a_name_of_its_own() {
        let layers = ["dwconv", "norm", "pwconv1", "pwconv2"];
        let mut ours: Vec<String> = Vec::new();
        for stage in 0..4 {
            for parameter in ["weight", "bias"] {
                ours.extend([0, 1].map(|place| format!("downsample_layers.{stage}.{place}.{parameter}")));
                ours.extend(layers.map(|layer| format!("stages.{stage}.2.{layer}.{parameter}")));
            }
            ours.push(format!("stages.{stage}.2.gamma"));
        }
        for scheme in NameScheme::ALL {
            let mut theirs: Vec<String> = ours
                .iter()
                .map(|ours| scheme.backbone_name("", ours).unwrap_or_else(|| panic!("{scheme:?} {ours}")))
                .collect();
            theirs.sort();
            theirs.dedup();
            assert_eq!(theirs.len(), ours.len(), "{scheme:?}");
        }
    }

    #[test]
    fn what_is_no_parameter_of_a_backbone_has_no_name() {
        for ours in ["", "head.weight", "stages.0", "stages.0.0", "stages.x.0.norm.weight", "norm4.weight"] {
            assert_eq!(NameScheme::Official.backbone_name("", ours), None, "{ours}");
        }
    }
}
