//! Exact GELU, `x * Phi(x)`, and its derivative, in a form that loops over slices vectorise.

use core::f32::consts::FRAC_1_SQRT_2;

use super::exponential::exponential_of_normal;

/// `erfc(t) = exp(-t^2) * u * TAIL(u)` with `u = 1 / (1 + 0.3 t)`: Chebyshev interpolation of degree 8
/// over `0 <= t <= 7.5`, relative error 4e-8.
const TAIL: [f32; 9] = [
    0.169_228_23,
    0.170_139_76,
    0.151_846_74,
    0.202_991_49,
    -0.069_839_686,
    0.515_421_9,
    -0.486_544_58,
    0.474_078_6,
    -0.127_322_6,
];

/// Where the tail's density has fallen to 1e-30 and the approximation ends.
const LARGEST: f32 = 10.5;

/// `1 / sqrt(2 pi)`
const PEAK: f32 = 0.398_942_3;

/// The normal distribution function and `exp(-x^2 / 2)`.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let size = x.abs().min(LARGEST);
    let bell = exponential_of_normal(-0.5 * size * size);
    let u = 1.0 / size.mul_add(0.3 * FRAC_1_SQRT_2, 1.0);
    let mut p = TAIL[8];
    p = p.mul_add(u, TAIL[7]);
    p = p.mul_add(u, TAIL[6]);
    p = p.mul_add(u, TAIL[5]);
    p = p.mul_add(u, TAIL[4]);
    p = p.mul_add(u, TAIL[3]);
    p = p.mul_add(u, TAIL[2]);
    p = p.mul_add(u, TAIL[1]);
    p = p.mul_add(u, TAIL[0]);
    let tail = 0.5 * bell * u * p;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

/// `x * Phi(x)`
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// GELU and its derivative.
#[inline(always)]
pub(crate) fn gelu_and_slope(x: f32) -> (f32, f32) {
    let (probability, bell) = normal(x);
    (x * probability, (x * PEAK).mul_add(bell, probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Phi(x)` by a series and a continued fraction, in double precision.
    fn reference(x: f64) -> f64 {
        let t = x.abs();
        let density = (-0.5 * t * t).exp() / (2.0 * core::f64::consts::PI).sqrt();
        let upper = if t < 4.0 {
            let (mut term, mut sum, mut n) = (t, t, 1.0);
            while term > 1e-18 * sum && n < 400.0 {
                n += 2.0;
                term *= t * t / n;
                sum += term;
            }
            0.5 - density * sum
        } else {
            let tail = (1..200).rev().fold(t, |fraction, n| t + n as f64 / fraction);
            density / tail
        };
        if x < 0.0 { upper } else { 1.0 - upper }
    }

    #[test]
    fn gelu_and_its_slope_are_exact_to_single_precision() {
        for step in -12_000..=12_000 {
            let x = step as f32 * 1e-3;
            let phi = reference(f64::from(x));
            let density = (-0.5 * f64::from(x).powi(2)).exp() * f64::from(PEAK);
            let (value, slope) = gelu_and_slope(x);
            let expected = f64::from(x) * phi;
            let expected_slope = phi + f64::from(x) * density;
            let error = (f64::from(value) - expected).abs();
            assert!(error <= 2e-7 * expected.abs().max(0.5), "gelu({x}): {value} for {expected}");
            let error = (f64::from(slope) - expected_slope).abs();
            assert!(error <= 3e-7, "slope at {x}: {slope} for {expected_slope}");
            assert_eq!(value, gelu(x));
        }
    }
}
