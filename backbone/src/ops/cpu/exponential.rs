//! `exp(x)` of what is not positive, in a form that loops over slices vectorise.

use core::f32::consts::LOG2_E;

/// Below this, `exp` is no normal number.
const SMALLEST: f32 = -87.0;

/// `exp(x)` for `x <= 0` to 1e-7, relative, and zero below -87, where it is no normal number. What is not a number
/// stays none.
#[inline(always)]
pub fn exponential(x: f32) -> f32 {
    let value = exponential_of_normal(x);
    if x < SMALLEST { 0.0 } else { value }
}

/// `exp(x)` for `-87 <= x <= 0` to 1e-7, relative (Cephes, `expf`).
#[inline(always)]
pub(crate) fn exponential_of_normal(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.mul_add(LOG2_E, ROUND);
    let integer = shifted - ROUND;
    let rest = integer.mul_add(-0.693_359_4, x);
    let rest = integer.mul_add(2.121_944_4e-4, rest);
    let mut p = 1.987_569_1e-4;
    p = rest.mul_add(p, 1.398_199_9e-3);
    p = rest.mul_add(p, 8.333_452e-3);
    p = rest.mul_add(p, 4.166_579_6e-2);
    p = rest.mul_add(p, 1.666_666_5e-1);
    p = rest.mul_add(p, 0.5);
    let p = p.mul_add(rest * rest, rest) + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        for step in 0..8700 {
            let x = step as f32 / -100.0;
            assert!((f64::from(exponential(x)) / f64::from(x).exp() - 1.0).abs() < 2e-7, "{x}");
        }
        assert_eq!([exponential(0.0), exponential(-1e9), exponential(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert!(exponential(f32::NAN).is_nan());
    }
}
