//! The losses by hand, and their edges: ignored pixels, class weights, Dice, Lovasz.

use burn::prelude::*;
use burn::tensor::Distribution;
use cvx_heads::{
    PixelLoss, PixelMean, PixelWeights, SegmentationLossConfig, pixel_loss, pixel_loss_composed,
};
use cvx_tests::tensors::{gradient, values};
use cvx_tests::tolerance::{FINITE_DIFFERENCE, GRADIENT, ONE_OPERATION, assert_close};

/// Logits of two classes on one row of four pixels, and labels of which one is ignored.
fn logits(device: &Device) -> Tensor<4> {
    Tensor::from_floats([[[[1.0, -0.5, 0.25, 2.0]], [[0.0, 0.75, -1.0, 1.0]]]], device)
}

fn labels(labels: [i32; 4], device: &Device) -> Tensor<3, Int> {
    Tensor::from_ints([[labels]], device)
}

const LABELS: [i32; 4] = [0, 1, 255, 1];

/// Probabilities of class 1 at the four pixels.
fn second_class() -> [f64; 4] {
    [[1.0, 0.0], [-0.5, 0.75], [0.25, -1.0], [2.0, 1.0]].map(|[a, b]: [f64; 2]| 1.0 / (1.0 + (a - b).exp()))
}

#[track_caller]
fn close(what: &str, actual: Tensor<1>, expected: f64) {
    assert_close(what, &values(actual), &[expected as f32], ONE_OPERATION);
}

#[test]
fn ignored_pixels_count_in_the_mean_unless_told_otherwise() {
    let device = cvx_tests::device();
    let [first, second, _, fourth] = second_class();
    let sum = -((1.0 - first).ln() + second.ln() + fourth.ln());
    for (pixel_mean, divisor) in [(PixelMean::All, 4.0), (PixelMean::NotIgnored, 3.0)] {
        let config = SegmentationLossConfig::new().with_pixel_mean(pixel_mean);
        let terms = config.terms(logits(&device), labels(LABELS, &device));
        close("cross-entropy", terms.cross_entropy, sum / divisor);
        // The first two are right, the last is not.
        close("accuracy", terms.accuracy, 200.0 / 3.0);
    }
}

#[test]
fn class_weights_are_divided_by_their_own_sum() {
    let device = cvx_tests::device();
    let [first, second, _, fourth] = second_class();
    let config = SegmentationLossConfig::new().with_class_weights(Some(vec![3.0, 0.5]));
    let terms = config.terms(logits(&device), labels(LABELS, &device));
    let sum = -(3.0 * (1.0 - first).ln() + 0.5 * second.ln() + 0.5 * fourth.ln());
    close("cross-entropy", terms.cross_entropy, sum / 4.0);
}

#[test]
fn dice_and_lovasz_are_the_published_formulas() {
    let device = cvx_tests::device();
    let second = second_class();
    let config = SegmentationLossConfig::new().with_dice(Some(2.0)).with_lovasz(Some(3.0));
    let terms = config.terms(logits(&device), labels(LABELS, &device));

    let both = (1.0 - second[0]) + second[1] + second[3];
    let probabilities: f64 = second.iter().map(|p| p * p + (1.0 - p) * (1.0 - p)).sum();
    close("Dice", terms.dice.expect("Dice"), 2.0 * (1.0 - 2.0 * both / (probabilities + 3.0 + 2e-3)));

    // With two classes the errors of both are the same. From the largest: the fourth pixel, the first, the second.
    let errors = [1.0 - second[3], second[0], 1.0 - second[1]];
    assert!(errors.is_sorted_by(|a, b| a > b));
    let of_second = [0.5, 2.0 / 3.0, 1.0];
    let of_first = [0.5, 1.0, 1.0];
    let extension = |losses: [f64; 3]| {
        errors[0] * losses[0] + errors[1] * (losses[1] - losses[0]) + errors[2] * (losses[2] - losses[1])
    };
    let expected = (extension(of_first) + extension(of_second)) / 2.0;
    close("Lovasz", terms.lovasz.expect("Lovasz"), 3.0 * expected);
}

#[test]
fn nothing_but_ignored_pixels_is_a_loss_of_zero_with_gradients_of_zero() {
    let device = cvx_tests::device().autodiff();
    for pixel_mean in [PixelMean::All, PixelMean::NotIgnored] {
        let config = SegmentationLossConfig::new()
            .with_pixel_mean(pixel_mean)
            .with_class_weights(Some(vec![1.0, 2.0]))
            .with_lovasz(Some(1.0));
        let logits = logits(&device).require_grad();
        let total = config.terms(logits.clone(), labels([255; 4], &device)).total();
        assert_eq!(values(total.clone()), [0.0]);
        let gradients = total.backward();
        assert!(gradient(&logits, &gradients).iter().all(|&slope| slope == 0.0));
    }
}

#[test]
fn gradients_of_all_terms_are_their_finite_differences() {
    const STEP: f32 = 1e-2;
    let device = cvx_tests::device().autodiff();
    let config = SegmentationLossConfig::new()
        .with_class_weights(Some(vec![1.5, 0.5]))
        .with_dice(Some(0.7))
        .with_lovasz(Some(0.6));
    // Stretched from two by three pixels to four by five.
    let start = [0.3, -0.8, 0.6, 1.1, -0.2, 0.4, -0.5, 0.9, 0.1, -1.2, 0.7, 0.2];
    let truth: Vec<i32> = (0..20).map(|pixel| [0, 1, 1, 255, 0][pixel * 7 % 5]).collect();
    let truth: Tensor<3, Int> = Tensor::from_data(TensorData::new(truth, [1, 4, 5]), &device);
    let logits = |values: [f32; 12]| {
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 2, 2, 3]), &device).require_grad()
    };
    let total = |values: [f32; 12]| config.terms(logits(values), truth.clone()).total();
    let at_start = logits(start);
    let gradients = config.terms(at_start.clone(), truth.clone()).total().backward();
    let numeric: Vec<f32> = (0..start.len())
        .map(|index| {
            let moved = |by: f32| {
                let mut moved = start;
                moved[index] += by;
                values(total(moved))[0]
            };
            (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
        })
        .collect();
    assert_close("gradient", &gradient(&at_start, &gradients), &numeric, FINITE_DIFFERENCE);
}

/// A loss of pixels: how it is computed is what the test compares.
type Loss = fn(Tensor<4>, Tensor<3, Int>, PixelWeights<'_>) -> PixelLoss;

#[test]
fn the_fused_loss_is_the_composed_one() {
    let device = cvx_tests::device().autodiff();
    device.seed(6);
    // Stretched, squeezed, as they are; from one class and one pixel to several bands of rows.
    for ([batch, classes, height, width], image) in [
        ([2, 5, 16, 12], [64, 48]),
        ([1, 3, 9, 40], [70, 33]),
        ([2, 150, 3, 2], [5, 8]),
        ([1, 1, 4, 4], [4, 4]),
        ([3, 2, 1, 1], [65, 1]),
    ] {
        let logits =
            Tensor::<4>::random([batch, classes, height, width], Distribution::Normal(0.0, 3.0), &device);
        let logits = logits.require_grad();
        let [image_height, image_width] = image;
        let label = |at: usize| if at % 7 == 3 { 200 } else { (at * 31 % 47 % classes) as i32 };
        let labels: Vec<i32> = (0..batch * image_height * image_width).map(label).collect();
        let labels = TensorData::new(labels, [batch, image_height, image_width]);
        let labels: Tensor<3, Int> = Tensor::from_data(labels, &device);
        let class_weights: Vec<f32> = (0..classes).map(|class| 0.5 + class as f32 / 10.0).collect();
        for (mean, by_class) in [
            (PixelMean::All, None),
            (PixelMean::NotIgnored, None),
            (PixelMean::All, Some(&class_weights[..])),
        ] {
            let weights = PixelWeights { ignore_label: 200, mean, by_class };
            let run = |loss: Loss| {
                let PixelLoss { cross_entropy, accuracy } = loss(logits.clone(), labels.clone(), weights);
                let gradients = (cross_entropy.clone() * 3.0).backward();
                [values(cross_entropy), values(accuracy), gradient(&logits, &gradients)]
            };
            let ([loss, accuracy, slopes], expected) = (run(pixel_loss), run(pixel_loss_composed));
            assert_close("loss", &loss, &expected[0], ONE_OPERATION);
            assert_close("accuracy", &accuracy, &expected[1], ONE_OPERATION);
            assert_close("gradient", &slopes, &expected[2], GRADIENT);
        }
    }
}

#[test]
fn a_logit_that_is_no_number_is_a_loss_that_is_none() {
    let device = cvx_tests::device();
    let logits = logits(&device).slice_fill(s![.., 0..1, .., 0..1], f32::NAN);
    let loss = SegmentationLossConfig::new().terms(logits, labels(LABELS, &device)).total();
    assert!(values(loss)[0].is_nan());
}

#[test]
#[should_panic(expected = "label 2 of 2 classes")]
fn a_label_beyond_the_classes_is_refused() {
    let device = Device::flex();
    SegmentationLossConfig::new().terms(logits(&device), labels([0, 2, 0, 0], &device));
}
