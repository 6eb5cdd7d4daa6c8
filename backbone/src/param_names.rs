//! Names of a backbone's parameters in published checkpoints, and ours, which are the official ones.

/// Our path of a parameter in a checkpoint of the official repositories, mmpretrain (and so mmdet and
/// mmseg), timm or transformers; nothing for a parameter that is not the backbone's.
///
/// Shapes may differ by axes of length one: GRN is `[1, 1, 1, hidden]` in official and transformers'
/// files, the pointwise weights of timm's smaller models are convolutions. Pointwise weights are
/// `[outputs, inputs]` in all of them, and transposed here.
///
/// ```
/// use cvx_backbone::published_name;
///
/// let ours = Some("stages.0.1.grn.gamma".to_string());
/// assert_eq!(published_name("stages.0.1.grn.gamma"), ours);
/// assert_eq!(published_name("backbone.stages.0.1.grn.gamma"), ours);
/// assert_eq!(published_name("stages.0.blocks.1.mlp.grn.weight"), ours);
/// assert_eq!(published_name("convnextv2.encoder.stages.0.layers.1.grn.weight"), ours);
/// assert_eq!(published_name("head.fc.weight"), None);
/// ```
pub fn published_name(name: &str) -> Option<String> {
    let name = ["backbone.", "convnextv2.", "convnext."]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let name = name.strip_prefix("encoder.").unwrap_or(name);

    for (theirs, ours) in [
        ("downsample_layers.", "downsample_layers."),
        ("stem.", "downsample_layers.0."),
        ("embeddings.patch_embeddings.", "downsample_layers.0.0."),
        ("embeddings.layernorm.", "downsample_layers.0.1."),
        ("hidden_states_norms.stage1.", "norm0."),
        ("hidden_states_norms.stage2.", "norm1."),
        ("hidden_states_norms.stage3.", "norm2."),
        ("hidden_states_norms.stage4.", "norm3."),
        ("norm0.", "norm0."),
        ("norm1.", "norm1."),
        ("norm2.", "norm2."),
        ("norm3.", "norm3."),
    ] {
        if let Some(rest) = name.strip_prefix(theirs) {
            return Some(format!("{ours}{rest}"));
        }
    }

    let (stage, rest) = name.strip_prefix("stages.")?.split_once('.')?;
    for downsample in ["downsample.", "downsampling_layer."] {
        if let Some(rest) = rest.strip_prefix(downsample) {
            return Some(format!("downsample_layers.{stage}.{rest}"));
        }
    }
    let rest = ["blocks.", "layers."].iter().find_map(|part| rest.strip_prefix(part)).unwrap_or(rest);
    let (block, rest) = rest.split_once('.')?;
    let rest = rest.strip_prefix("mlp.").unwrap_or(rest);
    let (layer, parameter) = rest.split_once('.').unwrap_or((rest, ""));
    let path = match (layer, parameter) {
        ("gamma" | "layer_scale_parameter", "") => "gamma".to_string(),
        ("grn", "gamma" | "weight") => "grn.gamma".to_string(),
        ("grn", "beta" | "bias") => "grn.beta".to_string(),
        ("dwconv" | "conv_dw" | "depthwise_conv", _) => format!("dwconv.{parameter}"),
        ("norm" | "layernorm", _) => format!("norm.{parameter}"),
        ("pwconv1" | "fc1" | "pointwise_conv1", _) => format!("pwconv1.{parameter}"),
        ("pwconv2" | "fc2" | "pointwise_conv2", _) => format!("pwconv2.{parameter}"),
        _ => return None,
    };
    Some(format!("stages.{stage}.{block}.{path}"))
}
