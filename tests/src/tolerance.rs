//! The one table of tolerances, and the comparisons that use it.
//!
//! "Relative" is the largest absolute difference divided by the largest absolute expected value, over a whole tensor.
//! The references agree among themselves far inside these figures (`tests/golden/README.md`).

/// Outputs of one operation or of a whole model in f32, relative.
pub const FORWARD: f64 = 2e-5;
/// Gradients of parameters and inputs, relative.
pub const GRADIENT: f64 = 1e-4;
/// Losses, relative.
pub const LOSS: f64 = 1e-5;
/// Box corners, pixels.
pub const BOX_PIXELS: f64 = 1e-3;
/// Proposals compared as sets, pixels.
pub const PROPOSAL_PIXELS: f64 = 0.02;
/// Scores, absolute.
pub const SCORE: f64 = 1e-5;
/// Pixels by which a pasted mask may differ.
pub const MASK_PIXELS: usize = 3;
/// Two ways of computing one operation in this project, relative.
pub const ONE_OPERATION: f64 = 1e-5;
/// Weights after updates by a batch in parts and by the whole batch, relative.
pub const ACCUMULATION: f64 = 1e-6;
/// Evaluator statistics, absolute.
pub const STATISTIC: f64 = 1e-12;
/// A gradient against central finite differences of an f32 function, relative.
pub const FINITE_DIFFERENCE: f64 = 1e-2;

/// The most that rounding to the 8 bits of bfloat16 moves a number, relative.
pub const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// Panics with both figures where `actual` differs from `expected` by more than `tolerance`, relative.
///
/// # Panics
/// On a difference, on a different length, and on a value that is not finite.
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_error(what, actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.3e} is above {tolerance:.0e}");
}

/// The largest absolute difference divided by the largest absolute expected value.
///
/// # Panics
/// On a different length, and on an actual value that is not finite.
#[track_caller]
pub fn relative_error(what: &str, actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    if let Some(at) = actual.iter().position(|value| !value.is_finite()) {
        panic!("{what}: value {at} is {}", actual[at]);
    }
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let difference =
        largest(&mut actual.iter().zip(expected).map(|(&a, &e)| (f64::from(a) - f64::from(e)).abs()));
    let scale = largest(&mut expected.iter().map(|&e| f64::from(e).abs()));
    if scale == 0.0 { difference } else { difference / scale }
}
