//! Names of parameters in published detector checkpoints, and ours.

/// Our name for a parameter of the heads in a checkpoint of mmdet 2 or 3 (Mask R-CNN), or nothing
/// for a parameter that is not the heads'.
///
/// The trees are the same but for `roi_head`, which we do without.
///
/// ```
/// use cvx_heads::from_mmdet;
///
/// let name = from_mmdet("roi_head.mask_head.convs.0.conv.weight");
/// assert_eq!(name, Some("mask_head.convs.0.conv.weight"));
/// assert_eq!(from_mmdet("neck.fpn_convs.1.conv.bias"), Some("neck.fpn_convs.1.conv.bias"));
/// assert_eq!(from_mmdet("backbone.norm0.weight"), None);
/// ```
pub fn from_mmdet(name: &str) -> Option<&str> {
    let ours = name.strip_prefix("roi_head.").unwrap_or(name);
    let is_ours =
        ["neck.", "rpn_head.", "bbox_head.", "mask_head."].iter().any(|part| ours.starts_with(part));
    is_ours.then_some(ours)
}
