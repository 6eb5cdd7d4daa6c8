//! A step of training against mmseg: losses, gradients, running statistics.

use cvx_heads::{PixelMean, SegmentationTerms, UperNetLosses};
use cvx_tests::golden::Golden;
use cvx_tests::tensors::{norm, values};
use cvx_tests::tolerance::{FORWARD, GRADIENT, LOSS, assert_close, relative_error};
use serde_json::Value;

use crate::segmentor_reference::{Reference, float, input, labels};

/// Each term with mmseg's name for it.
pub(crate) fn assert_losses(what: &str, losses: &UperNetLosses, expected: &Value) {
    let UperNetLosses { decode, auxiliary } = losses;
    let auxiliary = auxiliary.as_ref().expect("an auxiliary head");
    for (head, SegmentationTerms { cross_entropy, accuracy, .. }) in [("decode", decode), ("aux", auxiliary)]
    {
        for (term, actual) in [("loss_ce", cross_entropy), ("acc_seg", accuracy)] {
            let name = format!("{head}.{term}");
            let expected = [float(&expected[&name]) as f32];
            assert_close(&format!("{what}: {name}"), &values(actual.clone()), &expected, LOSS);
        }
    }
    let total = values(losses.clone().total());
    assert_close(&format!("{what}: loss"), &total, &[float(&expected["loss"]) as f32], LOSS);
}

#[test]
fn losses_gradients_and_running_statistics_are_those_of_mmseg() {
    let device = cvx_tests::device().autodiff();
    for golden in Golden::of_kind("upernet") {
        let expected = golden.tensors("expected.safetensors");
        let table = golden.json("losses.json");
        for (mode, pixel_mean) in [("default", PixelMean::All), ("avg_non_ignore", PixelMean::NotIgnored)] {
            let table = &table[mode];
            let reference = Reference::new(&golden, "mmseg.pth", &device, |heads| {
                let loss = heads.loss.clone().with_pixel_mean(pixel_mean);
                heads.with_loss(loss)
            });
            let segmentor = &reference.segmentor;
            let labels = labels(golden.npy("input_labels.npy"), &device);
            let losses = segmentor.losses(input(&golden, "even", &device), labels);
            assert_losses(mode, &losses, &table["losses"]);

            let now = reference.by_their_name(segmentor);
            for name in expected.names() {
                if let Some(buffer) = name.strip_prefix("bn_after_1_step.") {
                    assert_close(&name, &now[buffer], &expected.f32(&name).values, FORWARD);
                }
            }

            let zero = table["analytically_zero_gradient"].as_array().expect("a list");
            let gradients = reference.gradients(segmentor, losses.total());
            let norms = table["grad_norms"].as_object().expect("norms");
            assert_eq!(gradients.len(), norms.len(), "every parameter has a gradient");
            let mut worst = (0.0, "");
            for (name, expected) in
                norms.iter().filter(|(name, _)| !zero.contains(&Value::from(name.as_str())))
            {
                let (actual, expected) = (norm(&gradients[name]), float(expected));
                let error = (actual - expected).abs() / expected;
                assert!(error <= GRADIENT, "{mode}: {name}: norm {actual} is not {expected}");
                if error > worst.0 {
                    worst = (error, name);
                }
            }
            println!("{mode}: worst norm of a gradient {:.1e} off: {}", worst.0, worst.1);
            if mode == "default" {
                let mut worst = (0.0, String::new());
                for name in expected.names() {
                    if let Some(parameter) = name.strip_prefix("grad.") {
                        let (actual, expected) = (&gradients[parameter], expected.f32(&name).values);
                        assert_close(&name, actual, &expected, GRADIENT);
                        let error = relative_error(&name, actual, &expected);
                        if error > worst.0 {
                            worst = (error, name.clone());
                        }
                    }
                }
                println!("worst element of a gradient {:.1e} off: {}", worst.0, worst.1);
            }
        }
    }
}
