//! How much arithmetic a backbone does, counted from its configuration.
//!
//! As in the papers, a multiplication with its addition counts as one, and only convolutions and linear layers count.

use cvx_backbone::ConvNextConfig;

/// Taps of a 3x3 convolution.
pub(crate) const TAPS: u64 = 9;
/// Taps of the block's depthwise 7x7 convolution.
const DEPTHWISE_TAPS: u64 = 49;

/// Cells of the four feature maps of an image padded to `height` by `width` input pixels.
pub(crate) fn cells([height, width]: [usize; 2]) -> [u64; 4] {
    [4, 8, 16, 32].map(|stride| ((height / stride) * (width / stride)) as u64)
}

/// Multiply-adds of one image whose maps have so many `cells`.
pub(crate) fn backbone(config: &ConvNextConfig, cells: [u64; 4]) -> u64 {
    let dims = config.dims.map(|channels| channels as u64);
    let mut patch = 3 * 4 * 4;
    let mut total = 0;
    for ((depth, channels), cells) in config.depths.iter().zip(dims).zip(cells) {
        // The stem, or the 2x2 convolution between two stages.
        total += cells * patch * channels;
        patch = channels * 2 * 2;
        let block = DEPTHWISE_TAPS * channels + 2 * channels * 4 * channels;
        total += *depth as u64 * cells * block;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use cvx_backbone::Variant;

    #[track_caller]
    fn case(variant: Variant, published_giga: f64) {
        let config = ConvNextConfig::of(variant);
        let [_, _, _, channels] = config.dims;
        let classifier = (channels * 1000) as u64;
        let giga = (backbone(&config, cells([224, 224])) + classifier) as f64 / 1e9;
        assert!((giga - published_giga).abs() <= published_giga / 100.0 + 0.005, "{variant}: {giga}G");
    }

    // ConvNeXt V2 repository, model zoo: classifiers of 1000 classes at 224x224.
    #[test]
    fn published_classifiers_have_their_published_flops() {
        case(Variant::V2Atto, 0.55);
        case(Variant::V2Femto, 0.78);
        case(Variant::V2Pico, 1.37);
        case(Variant::V2Nano, 2.45);
        case(Variant::V2Tiny, 4.47);
        case(Variant::V2Base, 15.4);
        case(Variant::V2Large, 34.4);
        case(Variant::V2Huge, 115.0);
    }
}
