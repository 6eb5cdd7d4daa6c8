//! The slopes of the Lovasz extension of the Jaccard loss, on the host.
//!
//! Paper: Lovasz-Softmax, Berman et al. 2018, <https://arxiv.org/abs/1705.08790>, algorithm 1; semantics of mmseg
//! 1.2.2, `lovasz_loss.py` with `classes="present"` and `per_image=False`.

use rayon::prelude::*;

/// What each error counts in the loss: `[batch, classes, pixels]`, as `errors` lie.
///
/// `classes` and `counted` are `[batch, pixels]`; pixels that are not counted have slope zero, and so have classes
/// without pixels.
pub(crate) fn lovasz_slopes(
    errors: &[f32],
    classes: &[f32],
    counted: &[f32],
    [batch, num_classes, area]: [usize; 3],
    class_weights: Option<&[f32]>,
) -> Vec<f32> {
    assert_eq!(errors.len(), batch * num_classes * area, "number of errors");
    assert_eq!((classes.len(), counted.len()), (batch * area, batch * area), "number of pixels");
    let pixels: Vec<usize> = (0..counted.len()).filter(|&at| counted[at] > 0.0).collect();
    let at = |class: usize, pixel: usize| (pixel / area * num_classes + class) * area + pixel % area;
    let by_class: Vec<Vec<(usize, f32)>> = (0..num_classes)
        .into_par_iter()
        .map(|class| {
            let is_class = |pixel: usize| classes[pixel] as usize == class;
            let total = pixels.iter().filter(|&&pixel| is_class(pixel)).count();
            if total == 0 {
                return Vec::new();
            }
            let mut order = pixels.clone();
            order.sort_by(|&a, &b| errors[at(class, b)].total_cmp(&errors[at(class, a)]));
            let (mut hits, mut others, mut before) = (0, 0, 0.0);
            let slope = |pixel: usize| {
                if is_class(pixel) {
                    hits += 1;
                } else {
                    others += 1;
                }
                let loss = 1.0 - (total - hits) as f64 / (total + others) as f64;
                let slope = loss - before;
                before = loss;
                (at(class, pixel), slope as f32)
            };
            order.into_iter().map(slope).collect()
        })
        .collect();
    let num_present = by_class.iter().filter(|slopes| !slopes.is_empty()).count();
    let mut all = vec![0.0; errors.len()];
    for (class, slopes) in by_class.into_iter().enumerate() {
        let weight = class_weights.map_or(1.0, |weights| weights[class]) / num_present as f32;
        for (at, slope) in slopes {
            all[at] = slope * weight;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_the_steps_of_the_jaccard_loss_from_the_largest_error_down() {
        // Class 0 has pixels 0 and 1; pixel 3 is not counted. From the largest error: pixel 2 (another's), whose
        // loss is 1 - 2/3, then pixel 0: 1 - 1/3, then pixel 1: 1.
        let errors = [0.5, 0.1, 0.9, 7.0];
        let slopes = lovasz_slopes(&errors, &[0.0, 0.0, 5.0, 0.0], &[1.0, 1.0, 1.0, 0.0], [1, 1, 4], None);
        for (slope, expected) in slopes.iter().zip([1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]) {
            assert!((slope - expected).abs() < 1e-6, "{slopes:?}");
        }
    }

    #[test]
    fn nothing_counted_has_no_slope() {
        assert_eq!(lovasz_slopes(&[0.5, 0.5], &[0.0], &[0.0], [1, 2, 1], None), [0.0, 0.0]);
    }
}
