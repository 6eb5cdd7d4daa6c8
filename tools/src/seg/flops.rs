//! How much arithmetic a segmentor does when it looks at an image, counted from its configuration as in
//! [`crate::flops`]. The auxiliary head is not asked.

use cvx_backbone::ConvNextConfig;

use super::model::Head;
use crate::flops::{self, TAPS};

/// Multiply-adds of one image, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flops {
    /// The backbone.
    pub(super) backbone: u64,
    /// Pyramid pooling and what becomes of it.
    pub(super) pooling: u64,
    /// The pyramid's convolutions.
    pub(super) fpn: u64,
    /// Fusion of its levels, and the classifier.
    pub(super) fusion: u64,
}

impl Flops {
    /// Of an image of `height` by `width` input pixels.
    pub(super) fn count(backbone: &ConvNextConfig, head: &Head, size: [usize; 2]) -> Self {
        let cells = flops::cells(size);
        let dims = backbone.dims.map(|channels| channels as u64);
        let (channels, classes) = (head.channels as u64, head.num_classes as u64);
        let ([fine @ .., coarsest], [fine_dims @ .., last]) = (cells, dims);
        let pooled: u64 =
            head.pool_scales.iter().map(|&scale| (scale * scale) as u64 * last * channels).sum();
        let widened = last + head.pool_scales.len() as u64 * channels;
        let level = |(cells, dim): (u64, u64)| cells * (dim * channels + TAPS * channels * channels);
        let [finest, ..] = cells;
        let fused = cells.len() as u64 * channels;
        Self {
            backbone: flops::backbone(backbone, cells),
            pooling: pooled + coarsest * TAPS * widened * channels,
            fpn: fine.into_iter().zip(fine_dims).map(level).sum(),
            fusion: finest * (TAPS * fused * channels + channels * classes),
        }
    }

    /// All parts together.
    pub(super) fn total(self) -> u64 {
        let Self { backbone, pooling, fpn, fusion } = self;
        backbone + pooling + fpn + fusion
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cvx_backbone::Variant;

    #[track_caller]
    fn case(variant: Variant, published_giga: u64) {
        let head = Head { num_classes: 150, channels: 512, pool_scales: vec![1, 2, 3, 6], auxiliary: None };
        let flops = Flops::count(&ConvNextConfig::of(variant), &head, [512, 2048]);
        let giga = (flops.total() as f64 / 1e9).round() as u64;
        assert!(giga.abs_diff(published_giga) <= published_giga / 200, "{variant}: {giga}G");
    }

    // ConvNeXt paper, table 4: all at 2048x512.
    #[test]
    fn published_segmentors_have_their_published_flops() {
        case(Variant::V1Tiny, 939);
        case(Variant::V1Small, 1027);
        case(Variant::V1Base, 1170);
    }
}
