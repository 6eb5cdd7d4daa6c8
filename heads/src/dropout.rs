//! Dropout of whole channels (`torch.nn.Dropout2d`): neighbouring pixels say nearly the same, so a single one
//! left out would hide nothing.

use burn::prelude::*;
use burn::tensor::Distribution;

/// Sets channels of single images to zero with probability `rate`, and scales the others by `1 / (1 - rate)`.
///
/// It acts when the device is an autodiff device, as Burn's dropout does. The draw comes from the device's
/// generator.
///
/// # Shapes
/// - `x`, output: `[batch, channels, height, width]`
pub(crate) fn dropout2d(x: Tensor<4>, rate: f64) -> Tensor<4> {
    if rate == 0.0 || !x.device().is_autodiff() {
        return x;
    }
    let [batch, channels, _, _] = x.dims();
    let keep = 1.0 - rate;
    if keep <= 0.0 {
        return x * 0.0;
    }
    let kept = Tensor::<4>::random([batch, channels, 1, 1], Distribution::Bernoulli(keep), &x.device());
    x * kept.div_scalar(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dropped_without_gradients() {
        let x = Tensor::<4>::ones([2, 3, 4, 5], &Device::flex());
        assert_eq!(dropout2d(x.clone(), 0.9).into_data(), x.into_data());
    }

    #[test]
    fn a_channel_is_dropped_as_a_whole_or_scaled() {
        let x = Tensor::<4>::ones([40, 50, 2, 1], &Device::flex().autodiff());
        let dropped = dropout2d(x, 0.25).into_data().try_into_vec::<f32>().unwrap();
        let mut kept = 0;
        for &[first, second] in dropped.as_chunks::<2>().0 {
            assert_eq!(first, second);
            assert!(first == 0.0 || (first - 4.0 / 3.0).abs() < 1e-6, "{first}");
            kept += usize::from(first != 0.0);
        }
        assert!((1400..1600).contains(&kept), "{kept} of 2000 kept");
    }
}
