//! Names of the heads' parameters in published checkpoints. Ours are mmdet's, without `roi_head.`.

/// Our path of a parameter of Mask R-CNN as mmdet 2 and 3 name it.
///
/// ```
/// use cvx_heads::mmdet_name;
///
/// assert_eq!(mmdet_name("mask_head.convs.0.conv.weight"), "roi_head.mask_head.convs.0.conv.weight");
/// assert_eq!(mmdet_name("neck.fpn_convs.1.conv.bias"), "neck.fpn_convs.1.conv.bias");
/// ```
pub fn mmdet_name(ours: &str) -> String {
    let in_roi_head = ["bbox_head.", "mask_head."].iter().any(|part| ours.starts_with(part));
    if in_roi_head { format!("roi_head.{ours}") } else { ours.to_owned() }
}

/// Our path of a parameter of Mask R-CNN as detectron2 names it, or nothing for what is not the heads'.
///
/// Shapes, and the order of classes, anchors and deltas, are mmdet's.
///
/// ```
/// use cvx_heads::detectron2_name;
///
/// let name = |ours| detectron2_name(ours).unwrap_or_default();
/// assert_eq!(name("neck.fpn_convs.1.conv.bias"), "backbone.fpn_output3.bias");
/// assert_eq!(name("mask_head.convs.0.conv.weight"), "roi_heads.mask_head.mask_fcn1.weight");
/// assert_eq!(name("bbox_head.shared_fcs.1.bias"), "roi_heads.box_head.fc2.bias");
/// ```
pub fn detectron2_name(ours: &str) -> Option<String> {
    let parts: Vec<&str> = ours.split('.').collect();
    // Stage n has stride 2^n there too; list entries count from zero here, layers from one there.
    let counted = |index: &str, first: usize| index.parse::<usize>().ok().map(|index| index + first);
    let name = match parts[..] {
        ["neck", "lateral_convs", level, "conv", parameter] => {
            format!("backbone.fpn_lateral{}.{parameter}", counted(level, 2)?)
        }
        ["neck", "fpn_convs", level, "conv", parameter] => {
            format!("backbone.fpn_output{}.{parameter}", counted(level, 2)?)
        }
        ["rpn_head", layer, parameter] => {
            let layer = match layer {
                "rpn_conv" => "conv",
                "rpn_cls" => "objectness_logits",
                "rpn_reg" => "anchor_deltas",
                _ => return None,
            };
            format!("proposal_generator.rpn_head.{layer}.{parameter}")
        }
        ["bbox_head", "shared_fcs", layer, parameter] => {
            format!("roi_heads.box_head.fc{}.{parameter}", counted(layer, 1)?)
        }
        ["bbox_head", "fc_cls", parameter] => format!("roi_heads.box_predictor.cls_score.{parameter}"),
        ["bbox_head", "fc_reg", parameter] => format!("roi_heads.box_predictor.bbox_pred.{parameter}"),
        ["mask_head", "convs", layer, "conv", parameter] => {
            format!("roi_heads.mask_head.mask_fcn{}.{parameter}", counted(layer, 1)?)
        }
        ["mask_head", "upsample", parameter] => format!("roi_heads.mask_head.deconv.{parameter}"),
        ["mask_head", "conv_logits", parameter] => format!("roi_heads.mask_head.predictor.{parameter}"),
        _ => return None,
    };
    Some(name)
}

/// Our path of a parameter of UPerNet, which is mmseg's, as transformers names it.
///
/// ```
/// use cvx_heads::transformers_upernet_name;
///
/// let name = transformers_upernet_name("decode_head.fpn_convs.0.bn.running_mean");
/// assert_eq!(name, "decode_head.fpn_convs.0.batch_norm.running_mean");
/// assert_eq!(transformers_upernet_name("auxiliary_head.conv_seg.bias"), "auxiliary_head.classifier.bias");
/// ```
pub fn transformers_upernet_name(ours: &str) -> String {
    ours.replace(".bn.", ".batch_norm.").replace(".conv_seg.", ".classifier.")
}

/// Whether a parameter of Mask R-CNN or UPerNet has one entry for each class, so that another number
/// of classes needs another one.
///
/// ```
/// use cvx_heads::depends_on_classes;
///
/// assert!(depends_on_classes("bbox_head.fc_cls.weight") && depends_on_classes("decode_head.conv_seg.bias"));
/// assert!(!depends_on_classes("rpn_head.rpn_cls.weight"));
/// ```
pub fn depends_on_classes(ours: &str) -> bool {
    let layers = [
        "bbox_head.fc_cls.",
        "bbox_head.fc_reg.",
        "mask_head.conv_logits.",
        "decode_head.conv_seg.",
        "auxiliary_head.conv_seg.",
    ];
    layers.iter().any(|layer| ours.starts_with(layer))
}

/// Whether a parameter is a linear layer's weight, which published files hold as `[outputs, inputs]`.
pub fn is_linear_weight(ours: &str) -> bool {
    ours.starts_with("bbox_head.") && ours.ends_with(".weight")
}
