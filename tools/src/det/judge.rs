//! Detections against truth: COCO's twelve numbers for boxes and for masks, and AP by class.

use anyhow::Result;
use cvx_data::{ClassMetrics, Coco, CocoEvaluator, CocoMetrics, Detection, IouType, Params};
use serde_json::{Map, Value, json};

use crate::report::{Metrics, number};

/// Collects the detections of all images.
pub(super) struct Judge<'a> {
    boxes: CocoEvaluator<'a>,
    masks: CocoEvaluator<'a>,
}

/// What came out.
pub(super) struct Judgement {
    /// `box/..` and `mask/..`.
    pub(super) metrics: Metrics,
    /// pycocotools' tables.
    pub(super) tables: String,
    /// AP by class.
    pub(super) class_tables: String,
    /// AP by class, `box` and `mask`.
    pub(super) classes: Map<String, Value>,
}

impl<'a> Judge<'a> {
    /// Against the truth in `coco`.
    pub(super) fn new(coco: &'a Coco) -> Self {
        Self {
            boxes: CocoEvaluator::new(coco, IouType::Bbox, Params::default()),
            masks: CocoEvaluator::new(coco, IouType::Segm, Params::default()),
        }
    }

    /// Notes the detections of one image.
    pub(super) fn add(&mut self, found: Vec<Detection>) -> Result<()> {
        let boxes = found.iter().map(|detection| Detection { mask: None, ..*detection });
        self.boxes.add(boxes.collect::<Vec<_>>())?;
        self.masks.add(found)?;
        Ok(())
    }

    /// Compares all of them with the truth.
    pub(super) fn finish(self) -> Result<Judgement> {
        let mut judgement = Judgement::empty();
        judgement.add("box", "Boxes", &self.boxes.finish()?);
        judgement.add("mask", "Masks", &self.masks.finish()?);
        Ok(judgement)
    }
}

impl Judgement {
    /// Without any numbers yet.
    pub(super) fn empty() -> Self {
        Self {
            metrics: Metrics::default(),
            tables: String::new(),
            class_tables: String::new(),
            classes: Map::new(),
        }
    }

    /// Appends the numbers of one kind.
    pub(super) fn add(&mut self, kind: &str, title: &str, metrics: &CocoMetrics) {
        self.metrics.extend(metrics.named());
        self.tables.push_str(&format!("{title}\n{}", metrics.table()));
        self.class_tables.push_str(&format!("{title}, by class\n{}", metrics.class_table()));
        let classes: Map<String, Value> = metrics
            .classes
            .iter()
            .map(|class| {
                let ClassMetrics { category_id, name, ap, ap50, ap75, ap_by_area, ar } = class;
                let [small, medium, large] = *ap_by_area;
                let numbers = json!({
                    "category_id": category_id, "ap": number(*ap), "ap50": number(*ap50), "ap75": number(*ap75),
                    "ap_small": number(small), "ap_medium": number(medium), "ap_large": number(large),
                    "ar": number(*ar),
                });
                (name.clone(), numbers)
            })
            .collect();
        self.classes.insert(kind.to_owned(), Value::Object(classes));
    }

    /// The entry for a file of numbers.
    pub(super) fn classes_entry(&self) -> Map<String, Value> {
        Map::from_iter([("classes".to_owned(), Value::Object(self.classes.clone()))])
    }
}
