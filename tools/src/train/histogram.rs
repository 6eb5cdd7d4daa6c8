//! How values are spread: what TensorBoard shows of weights and gradients.

/// Ranges that values are counted in.
const BUCKETS: usize = 60;

/// Values counted in ranges of equal width between the smallest and the largest.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Smallest finite value.
    pub min: f64,
    /// Largest finite value.
    pub max: f64,
    /// Number of finite values.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_squares: f64,
    /// Upper end of each range.
    pub limits: Vec<f64>,
    /// Values in each range.
    pub counts: Vec<f64>,
}

impl Histogram {
    /// Of values times a factor; none where no value is finite.
    pub fn of(values: &[f32], factor: f64) -> Option<Self> {
        let finite =
            || values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value) * factor);
        let (min, max) = finite()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if min > max {
            return None;
        }
        // All values alike: one range that holds them.
        let width = ((max - min) / BUCKETS as f64).max(f64::from(f32::MIN_POSITIVE));
        let mut counts = vec![0.0; BUCKETS];
        let (mut count, mut sum, mut sum_squares) = (0.0, 0.0, 0.0);
        for value in finite() {
            counts[(((value - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
            count += 1.0;
            sum += value;
            sum_squares += value * value;
        }
        let limits = (1..=BUCKETS).map(|bucket| min + width * bucket as f64).collect();
        Some(Self { min, max, count, sum, sum_squares, limits, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_counted_once() {
        let values: Vec<f32> = (0..=600).map(|value| value as f32).chain([f32::NAN]).collect();
        let histogram = Histogram::of(&values, 0.5).expect("finite values");
        assert_eq!((histogram.min, histogram.max, histogram.count), (0.0, 300.0, 601.0));
        assert_eq!(histogram.counts.iter().sum::<f64>(), 601.0);
        assert!(histogram.counts[..BUCKETS - 1].iter().all(|count| *count == 10.0));
        assert_eq!(histogram.sum, 0.5 * 600.0 * 601.0 / 2.0);
    }

    #[test]
    fn equal_values_and_none_have_their_histograms() {
        let same = Histogram::of(&[2.0; 5], 1.0).expect("finite values");
        assert_eq!((same.counts[0], same.min, same.max), (5.0, 2.0, 2.0));
        assert_eq!(Histogram::of(&[f32::NAN], 1.0), None);
    }
}
