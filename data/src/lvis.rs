//! Average precision as LVIS defines it: federated, 300 detections an image, categories by frequency.
//!
//! Paper: LVIS: A Dataset for Large Vocabulary Instance Segmentation, Gupta et al. 2019,
//! <https://arxiv.org/abs/1908.03195>; the numbers are those of lvis-api 0.5.3. What differs from COCO:
//! - An image's 300 best detections are looked at, over all categories.
//! - A detection counts only where its category is known to be present or absent in the image.
//! - Where not every object of a category is annotated, a detection that finds none is no false alarm.
//! - There are no crowd regions.

use std::collections::HashSet;
use std::fmt::Write;

use rayon::prelude::*;

use crate::coco::Frequency;
use crate::coco_ap::{CocoEvaluator, IouType, Params, UNLISTED};
use crate::coco_ap_curve::{CategoryCurves, curves};
use crate::coco_ap_match::match_group;
use crate::coco_ap_metrics::{Figure, interleaved};
use crate::coco_cells::{Found, Group, Truth, falling};
use crate::coco_error::CocoError;

/// What an LVIS evaluation found. Every figure is -1 where nothing counts.
#[derive(Clone, Debug, PartialEq)]
pub struct LvisMetrics {
    /// What overlaps were measured on.
    pub iou_type: IouType,
    /// lvis-api's thirteen results, in its order: AP, AP50, AP75, AP small, medium, large, AP of rare, common, frequent
    /// categories, AR, AR small, medium, large.
    pub stats: [f64; 13],
}

/// Detections of an image that are looked at. lvis-api, `results.py`.
const MAX_DETECTIONS: usize = 300;

const NAMES: [&str; 13] = [
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ap_rare",
    "ap_common",
    "ap_frequent",
    "ar300",
    "ar_small",
    "ar_medium",
    "ar_large",
];

impl LvisMetrics {
    /// The figures by name: `lvis_box/ap`, .. or `lvis_mask/ap`, ..
    pub fn named(&self) -> Vec<(String, f64)> {
        let kind = match self.iou_type {
            IouType::Bbox => "lvis_box",
            IouType::Segm => "lvis_mask",
            IouType::Boundary => "lvis_boundary",
        };
        NAMES.iter().zip(self.stats).map(|(name, value)| (format!("{kind}/{name}"), value)).collect()
    }

    /// The lines that lvis-api prints.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let rows = [
            ("0.50:0.95", "all", "all"),
            ("0.50", "all", "all"),
            ("0.75", "all", "all"),
            ("0.50:0.95", "s", "all"),
            ("0.50:0.95", "m", "all"),
            ("0.50:0.95", "l", "all"),
            ("0.50:0.95", "all", "r"),
            ("0.50:0.95", "all", "c"),
            ("0.50:0.95", "all", "f"),
            ("0.50:0.95", "all", "all"),
            ("0.50:0.95", "s", "all"),
            ("0.50:0.95", "m", "all"),
            ("0.50:0.95", "l", "all"),
        ];
        for (index, ((iou, area, categories), value)) in rows.into_iter().zip(self.stats).enumerate() {
            let (title, kind) =
                if index < 9 { ("Average Precision", "(AP)") } else { ("Average Recall", "(AR)") };
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                " {title:<18} {kind} @[ IoU={iou:<9} | area={area:>6} | maxDets={MAX_DETECTIONS:>3} catIds={categories:>3}] = {value:.3}"
            );
        }
        table
    }
}

impl CocoEvaluator<'_> {
    /// Compares everything that was added with the truth as LVIS does. Whatever the evaluator's parameters are, LVIS's are
    /// used.
    ///
    /// # Errors
    /// If a mask is none, or is compared with one of another size.
    pub fn lvis_metrics(&self) -> Result<LvisMetrics, CocoError> {
        let params = Params { max_detections: [MAX_DETECTIONS; 3], ..Params::default() };
        let evaluate = |group: &Group<'_>| Ok(curves(&match_group(group, self, &params)?, &params));
        let groups = self.federated();
        let categories: Vec<Result<CategoryCurves, CocoError>> = groups.par_iter().map(evaluate).collect();
        let categories: Vec<CategoryCurves> = categories.into_iter().collect::<Result<_, _>>()?;

        let mut frequencies = vec![None; categories.len()];
        for category in &self.truth.categories {
            if let Some(rank) = self.category_ranks.get(category.id) {
                frequencies[rank as usize] = category.frequency;
            }
        }
        let of = |frequency: Option<Frequency>| -> Vec<&CategoryCurves> {
            let chosen = |(_, own): &(_, &Option<Frequency>)| frequency.is_none() || **own == frequency;
            categories.iter().zip(&frequencies).filter(chosen).map(|(curves, _)| curves).collect()
        };
        let num_ious = params.iou_thresholds.len();
        let ap = |frequency, iou, area| {
            let categories = of(frequency);
            let rows = num_ious * params.recall_thresholds.len();
            let values = interleaved(rows, &categories, |curves| &curves.precision);
            params.figure(Figure { is_precision: true, iou, area, limit: Some(2) }, &values, categories.len())
        };
        let ar = |area| {
            let values = interleaved(num_ious, &of(None), |curves| &curves.recall);
            params.figure(
                Figure { is_precision: false, iou: None, area, limit: Some(2) },
                &values,
                categories.len(),
            )
        };
        let stats = [
            ap(None, None, 0),
            ap(None, Some(0.5), 0),
            ap(None, Some(0.75), 0),
            ap(None, None, 1),
            ap(None, None, 2),
            ap(None, None, 3),
            ap(Some(Frequency::Rare), None, 0),
            ap(Some(Frequency::Common), None, 0),
            ap(Some(Frequency::Frequent), None, 0),
            ar(0),
            ar(1),
            ar(2),
            ar(3),
        ];
        Ok(LvisMetrics { iou_type: self.iou_type, stats })
    }

    /// A group for every category, with the detections that count.
    fn federated(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = (0..self.category_ranks.len()).map(|_| Group::default()).collect();
        let mut present = HashSet::new();
        for truth in self.listed_truths() {
            present.insert((truth.image, truth.category));
            groups[truth.category as usize].truths.push(Truth { is_crowd: false, ..truth });
        }
        let (mut absent, mut not_exhaustive) = (HashSet::new(), HashSet::new());
        for image in &self.truth.images {
            let Some(rank) = self.image_ranks.get(image.id) else { continue };
            for (ids, set) in [
                (&image.neg_category_ids, &mut absent),
                (&image.not_exhaustive_category_ids, &mut not_exhaustive),
            ] {
                let listed = ids.iter().filter_map(|&id| self.category_ranks.get(id));
                set.extend(listed.map(|category| (rank, category)));
            }
        }
        let mut found: Vec<Found<'_>> = self.all_detections().collect();
        found.sort_by_key(|found| found.image);
        for of_image in found.chunk_by_mut(|a, b| a.image == b.image) {
            if of_image.len() > MAX_DETECTIONS {
                of_image.sort_by(|a, b| falling(a.entry.score, b.entry.score));
            }
            for found in of_image.iter().take(MAX_DETECTIONS).filter(|found| found.category != UNLISTED) {
                let cell = (found.image, found.category);
                if present.contains(&cell) || absent.contains(&cell) {
                    let is_excused = not_exhaustive.contains(&cell);
                    groups[found.category as usize].found.push(Found { is_excused, ..*found });
                }
            }
        }
        groups.par_iter_mut().for_each(Group::sort);
        groups
    }
}
