//! Drop path (stochastic depth): a block's branch is left out for some images of a training batch.
//!
//! Paper: Deep Networks with Stochastic Depth, Huang et al. 2016. As in timm: drawn per image, and
//! what is kept is scaled by the inverse of the probability to keep it.

use burn::prelude::*;
use burn::tensor::Distribution;

/// The factor of each image's branch, or `None` where nothing is dropped.
///
/// It acts when the device is an autodiff device, as Burn's dropout does. The draw comes from the
/// device's generator.
pub(crate) fn branch_scale(rate: f64, batch: usize, device: &Device) -> Option<Tensor<1>> {
    if rate == 0.0 || !device.is_autodiff() {
        return None;
    }
    let keep = 1.0 - rate;
    if keep <= 0.0 {
        return Some(Tensor::zeros([batch], device));
    }
    let kept = Tensor::random([batch], Distribution::Bernoulli(keep), device);
    Some(kept.div_scalar(keep))
}

/// The drop rate of each block: linear from zero at the first to `rate` at the last.
pub(crate) fn rates(rate: f64, num_blocks: usize) -> Vec<f64> {
    let last = num_blocks.saturating_sub(1).max(1) as f64;
    (0..num_blocks).map(|index| rate * index as f64 / last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_grow_linearly_from_zero_to_the_last_block() {
        assert_eq!(rates(0.4, 5), [0.0, 0.1, 0.2, 0.30000000000000004, 0.4]);
        assert_eq!(rates(0.4, 1), [0.0]);
    }

    #[test]
    fn nothing_is_dropped_without_gradients() {
        assert!(branch_scale(0.9, 4, &Device::flex()).is_none());
    }

    #[test]
    fn what_is_kept_is_scaled_by_the_inverse_probability() {
        let device = Device::flex().autodiff();
        let scale = branch_scale(0.25, 4000, &device).expect("active");
        let values: Vec<f32> = scale.into_data().try_into_vec().expect("f32");
        let kept = values.iter().filter(|&&value| value != 0.0).count();
        assert!(values.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.75).abs() < 1e-6));
        assert!((2850..3150).contains(&kept), "{kept} of 4000 kept");
    }
}
