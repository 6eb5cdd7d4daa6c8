//! Label maps against truth: mIoU and its relatives, by name.

use anyhow::{Result, ensure};
use cvx_data::{ClassIou, SegmentationMetrics};
use serde_json::{Map, Value, json};

use crate::report::{Metrics, number};

/// Figures over all classes, as they are called in recipes, logs and files.
const MEANS: [&str; 5] = ["miou", "macc", "aacc", "fwiou", "mdice"];

/// Before the name of a class: its IoU.
const CLASS_PREFIX: &str = "iou/";

/// Refuses a name that no evaluation produces, listing those that exist.
pub(crate) fn known_metric(key: &str, name: &str) -> Result<()> {
    let is_known =
        MEANS.contains(&name) || name.strip_prefix(CLASS_PREFIX).is_some_and(|class| !class.is_empty());
    ensure!(
        is_known,
        "{key}: unknown metric `{name}`, expected one of `{}`, `{CLASS_PREFIX}<class>`",
        MEANS.join("`, `")
    );
    Ok(())
}

/// What an evaluation came to, by name.
pub(crate) fn named(metrics: &SegmentationMetrics, classes: &[String]) -> Metrics {
    let SegmentationMetrics {
        mean_iou,
        mean_accuracy,
        pixel_accuracy,
        frequency_weighted_iou,
        mean_dice,
        classes: by_class,
    } = metrics;
    let means = [mean_iou, mean_accuracy, pixel_accuracy, frequency_weighted_iou, mean_dice];
    let means = MEANS.iter().zip(means).map(|(name, value)| ((*name).to_owned(), undefined(*value)));
    let classes = classes
        .iter()
        .zip(by_class)
        .map(|(name, class)| (format!("{CLASS_PREFIX}{name}"), undefined(class.iou)));
    means.chain(classes).collect()
}

/// Everything that is known of each class, for a file of numbers.
pub(crate) fn classes_entry(metrics: &SegmentationMetrics, classes: &[String]) -> Map<String, Value> {
    let entry = |(name, class): (&String, &ClassIou)| {
        let ClassIou { iou, accuracy, dice, pixels } = class;
        let [iou, accuracy, dice] = [iou, accuracy, dice].map(|value| number(undefined(*value)));
        (name.clone(), json!({ "iou": iou, "accuracy": accuracy, "dice": dice, "pixels": pixels }))
    };
    let classes = classes.iter().zip(&metrics.classes).map(entry).collect();
    Map::from_iter([("classes".to_owned(), Value::Object(classes))])
}

/// Below 0 is what there was nothing to judge for.
fn undefined(value: Option<f64>) -> f64 {
    value.unwrap_or(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cvx_data::{ConfusionMatrix, Convention, LabelMap};

    #[test]
    fn a_class_that_does_not_occur_is_null() {
        let map = LabelMap { width: 2, height: 1, pixels: vec![0, 0] };
        let mut matrix = ConfusionMatrix::new(2);
        matrix.add(&map, &map);
        let names = ["sky".to_owned(), "road".to_owned()];
        let metrics = named(&matrix.metrics(Convention::Mmseg), &names);
        assert_eq!(metrics.get("miou"), Some(1.0));
        assert_eq!(metrics.to_json()["iou/road"], Value::Null);
    }

    #[test]
    fn an_unknown_metric_is_answered_with_the_known_ones() {
        assert!(known_metric("expect", "iou/car").is_ok());
        let error = known_metric("expect", "mIoU").unwrap_err().to_string();
        assert!(
            error.contains("`mIoU`") && error.contains("`miou`") && error.contains("`iou/<class>`"),
            "{error}"
        );
    }
}
