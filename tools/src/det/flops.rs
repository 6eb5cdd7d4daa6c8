//! How much arithmetic a detector does, counted from its configuration.
//!
//! As in [`crate::flops`]; the heads look at 1000 boxes and draw 100 masks (mmdet's `get_flops.py`).

use cvx_backbone::ConvNextConfig;
use cvx_heads::{BoxRegression, MaskRcnnConfig};

use crate::flops::{self, TAPS};

/// Boxes the box head looks at.
const BOXES: u64 = 1000;
/// Masks the mask head draws.
const MASKS: u64 = 100;
/// Cells of a region in the box head.
const BOX_CELLS: u64 = 7 * 7;
/// Cells of a region in the mask head, before its maps are enlarged.
const MASK_CELLS: u64 = 14 * 14;
/// Coordinates of a box.
const DELTAS: u64 = 4;

/// Multiply-adds of one image, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flops {
    /// The backbone.
    pub(super) backbone: u64,
    /// The pyramid.
    pub(super) fpn: u64,
    /// Region proposals.
    pub(super) rpn: u64,
    /// The box head.
    pub(super) box_head: u64,
    /// The mask head.
    pub(super) mask_head: u64,
}

impl Flops {
    /// Of an image padded to `height` by `width` input pixels.
    pub(super) fn count(
        backbone: &ConvNextConfig,
        heads: &MaskRcnnConfig,
        [height, width]: [usize; 2],
    ) -> Self {
        let cells = flops::cells([height, width]);
        Self {
            backbone: flops::backbone(backbone, cells),
            fpn: count_fpn(backbone, heads, cells),
            rpn: count_rpn(heads, cells, [height / 32, width / 32]),
            box_head: count_box_head(heads),
            mask_head: count_mask_head(heads),
        }
    }

    /// All parts together.
    pub(super) fn total(self) -> u64 {
        let Self { backbone, fpn, rpn, box_head, mask_head } = self;
        backbone + fpn + rpn + box_head + mask_head
    }
}

fn count_fpn(backbone: &ConvNextConfig, heads: &MaskRcnnConfig, pixels: [u64; 4]) -> u64 {
    let fpn = heads.fpn_channels as u64;
    let level = |(channels, pixels): (usize, u64)| pixels * (channels as u64 * fpn + TAPS * fpn * fpn);
    backbone.dims.into_iter().zip(pixels).map(level).sum()
}

fn count_rpn(heads: &MaskRcnnConfig, pixels: [u64; 4], [height, width]: [usize; 2]) -> u64 {
    let fpn = heads.fpn_channels as u64;
    let anchors = (heads.anchor_scales.len() * heads.anchor_ratios.len()) as u64;
    let coarsest = (height.div_ceil(2) * width.div_ceil(2)) as u64;
    let cells = pixels.iter().sum::<u64>() + coarsest;
    cells * (TAPS * fpn * fpn + fpn * anchors * (1 + DELTAS))
}

fn count_box_head(heads: &MaskRcnnConfig) -> u64 {
    let (classes, hidden) = (heads.num_classes as u64, heads.fc_channels as u64);
    let deltas = match heads.box_regression {
        BoxRegression::ClassSpecific => DELTAS * classes,
        BoxRegression::ClassAgnostic => DELTAS,
    };
    let first = BOX_CELLS * heads.fpn_channels as u64 * hidden;
    let later = (heads.num_fcs as u64).saturating_sub(1) * hidden * hidden;
    BOXES * (first + later + hidden * (classes + 1 + deltas))
}

fn count_mask_head(heads: &MaskRcnnConfig) -> u64 {
    let (inputs, hidden) = (heads.fpn_channels as u64, heads.mask_channels as u64);
    let first = TAPS * inputs * hidden;
    let later = (heads.num_mask_convs as u64).saturating_sub(1) * TAPS * hidden * hidden;
    // Each cell becomes two by two, each with its own tap of the transposed convolution.
    let enlarged = 4 * (hidden * hidden + hidden * heads.num_classes as u64);
    MASKS * MASK_CELLS * (first + later + enlarged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cvx_backbone::Variant;

    #[track_caller]
    fn case(variant: Variant, published_giga: u64) {
        let heads = MaskRcnnConfig::new(80);
        let flops = Flops::count(&ConvNextConfig::of(variant), &heads, [800, 1280]);
        let giga = (flops.total() as f64 / 1e9).round() as u64;
        assert!(giga.abs_diff(published_giga) <= published_giga / 200, "{variant}: {giga}G");
    }

    // ConvNeXt repository, object_detection; ConvNeXt V2 paper, table 6: all at 1280x800.
    #[test]
    fn published_detectors_have_their_published_flops() {
        case(Variant::V1Tiny, 262);
        case(Variant::V2Base, 486);
        case(Variant::V2Large, 875);
        case(Variant::V2Huge, 2525);
    }
}
