//! Panoptic quality: segments that tile an image, matched by IoU above a half.
//!
//! Paper: Panoptic Segmentation, Kirillov et al. 2019, <https://arxiv.org/abs/1801.00868>; the numbers are those of
//! panopticapi.
//!
//! ```text
//! PQ = sum of the matches' IoU / (matches + (false alarms + misses) / 2) = SQ * RQ
//! SQ = mean IoU of the matches,   RQ = matches / (matches + (false alarms + misses) / 2)
//! ```

use std::collections::{BTreeMap, HashMap};

/// What a segment of an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanopticSegment {
    /// Its value in the image's map; 0 is nothing.
    pub id: u32,
    /// Its category.
    pub category_id: u64,
    /// A region of many objects: what is found there is no false alarm.
    pub is_crowd: bool,
    /// Pixels, as the annotation says; of what was found they are counted.
    pub area: u64,
}

/// A category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanopticCategory {
    /// What segments call it.
    pub id: u64,
    /// What people call it.
    pub name: String,
    /// Whether it has countable objects.
    pub is_thing: bool,
}

/// The three qualities, means over categories.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PanopticQuality {
    /// Panoptic quality.
    pub pq: f64,
    /// Segmentation quality.
    pub sq: f64,
    /// Recognition quality.
    pub rq: f64,
    /// Categories that have segments or detections; the qualities are 0 without any.
    pub num_categories: usize,
}

/// The qualities of one category.
#[derive(Clone, Debug, PartialEq)]
pub struct PanopticClass {
    /// Which.
    pub category: PanopticCategory,
    /// `None` where there is neither truth nor prediction.
    pub quality: Option<PanopticQuality>,
    /// Matches.
    pub true_positives: u64,
    /// Predicted segments that match none and do not lie in crowds or nothing, for the most part.
    pub false_positives: u64,
    /// Segments that nothing matches.
    pub false_negatives: u64,
}

/// What a panoptic evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct PanopticMetrics {
    /// Over all categories.
    pub all: PanopticQuality,
    /// Over those with countable objects.
    pub things: PanopticQuality,
    /// Over the others.
    pub stuff: PanopticQuality,
    /// The categories, by id.
    pub classes: Vec<PanopticClass>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    iou: f64,
    true_positives: u64,
    false_positives: u64,
    false_negatives: u64,
}

/// Collects images, and sums up when all are there.
#[derive(Clone, Debug)]
pub struct PanopticEvaluator {
    categories: Vec<PanopticCategory>,
    /// By image, so that the sums do not depend on the order in which images came.
    images: BTreeMap<u64, Vec<(u64, Counts)>>,
}

impl PanopticEvaluator {
    /// An evaluator without images.
    pub fn new(mut categories: Vec<PanopticCategory>) -> Self {
        categories.sort_by_key(|category| category.id);
        Self { categories, images: BTreeMap::new() }
    }

    /// Adds an image: for truth and prediction, the id of every pixel and what the ids are. Ids that are not listed count
    /// as nothing in the truth.
    ///
    /// # Panics
    /// If the two maps have different sizes.
    pub fn add(
        &mut self,
        image_id: u64,
        truth_map: &[u32],
        truths: &[PanopticSegment],
        found_map: &[u32],
        found: &[PanopticSegment],
    ) {
        assert_eq!(truth_map.len(), found_map.len(), "maps of different sizes");
        let mut overlaps: HashMap<(u32, u32), u64> = HashMap::new();
        // Neighbours are mostly of one pair.
        let mut start = 0;
        for index in 1..=truth_map.len() {
            let pair = (truth_map[start], found_map[start]);
            if index == truth_map.len() || (truth_map[index], found_map[index]) != pair {
                *overlaps.entry(pair).or_default() += (index - start) as u64;
                start = index;
            }
        }
        let mut areas: HashMap<u32, u64> = HashMap::new();
        overlaps.iter().for_each(|((_, found), pixels)| *areas.entry(*found).or_default() += pixels);
        let area_of = |segment: &PanopticSegment| areas.get(&segment.id).copied().unwrap_or(0);
        let overlap = |truth: u32, found: u32| overlaps.get(&(truth, found)).copied().unwrap_or(0);

        let mut counts: BTreeMap<u64, Counts> = BTreeMap::new();
        let mut is_matched = vec![false; found.len()];
        let mut crowds = HashMap::new();
        for truth in truths {
            if truth.is_crowd {
                crowds.insert(truth.category_id, truth.id);
                continue;
            }
            let counts = counts.entry(truth.category_id).or_default();
            let mut is_found = false;
            for (segment, is_matched) in found.iter().zip(&mut is_matched) {
                let common = overlap(truth.id, segment.id);
                if segment.category_id != truth.category_id || common == 0 {
                    continue;
                }
                // What lies on nothing neither helps nor hurts.
                let union = (area_of(segment) + truth.area) as f64 - (common + overlap(0, segment.id)) as f64;
                let iou = common as f64 / union;
                if iou > 0.5 {
                    counts.true_positives += 1;
                    counts.iou += iou;
                    (is_found, *is_matched) = (true, true);
                }
            }
            counts.false_negatives += u64::from(!is_found);
        }
        for (segment, _) in found.iter().zip(is_matched).filter(|(_, is_matched)| !is_matched) {
            let crowd = crowds.get(&segment.category_id).map_or(0, |&crowd| overlap(crowd, segment.id));
            let excused = overlap(0, segment.id) + crowd;
            if excused as f64 / area_of(segment) as f64 > 0.5 {
                continue;
            }
            counts.entry(segment.category_id).or_default().false_positives += 1;
        }
        self.images.entry(image_id).or_default().extend(counts);
    }

    /// Takes over the images of another evaluator; the order of merges does not matter.
    ///
    /// # Panics
    /// If the categories differ.
    pub fn merge(&mut self, other: Self) {
        assert_eq!(self.categories, other.categories, "evaluators of different categories cannot be merged");
        for (image, counts) in other.images {
            self.images.entry(image).or_default().extend(counts);
        }
    }

    /// Sums up everything that was added.
    pub fn finish(self) -> PanopticMetrics {
        let mut sums: HashMap<u64, Counts> = HashMap::new();
        for (category, counts) in self.images.values().flatten() {
            let sum = sums.entry(*category).or_default();
            sum.iou += counts.iou;
            sum.true_positives += counts.true_positives;
            sum.false_positives += counts.false_positives;
            sum.false_negatives += counts.false_negatives;
        }
        let of_category = |category: PanopticCategory| {
            let counts = sums.get(&category.id).copied().unwrap_or_default();
            let Counts { iou, true_positives, false_positives, false_negatives } = counts;
            let all = true_positives as f64 + (false_positives + false_negatives) as f64 * 0.5;
            let quality = (all > 0.0).then(|| PanopticQuality {
                pq: iou / all,
                sq: if true_positives > 0 { iou / true_positives as f64 } else { 0.0 },
                rq: true_positives as f64 / all,
                num_categories: 1,
            });
            PanopticClass { category, quality, true_positives, false_positives, false_negatives }
        };
        let classes: Vec<PanopticClass> = self.categories.into_iter().map(of_category).collect();
        let mean = |is_chosen: fn(&PanopticCategory) -> bool| {
            let chosen = classes.iter().filter(|class| is_chosen(&class.category));
            let mut mean = PanopticQuality::default();
            for quality in chosen.filter_map(|class| class.quality) {
                mean.pq += quality.pq;
                mean.sq += quality.sq;
                mean.rq += quality.rq;
                mean.num_categories += 1;
            }
            let count = mean.num_categories.max(1) as f64;
            PanopticQuality { pq: mean.pq / count, sq: mean.sq / count, rq: mean.rq / count, ..mean }
        };
        PanopticMetrics {
            all: mean(|_| true),
            things: mean(|category| category.is_thing),
            stuff: mean(|category| !category.is_thing),
            classes,
        }
    }
}

impl PanopticMetrics {
    /// The table that panopticapi prints, in percent.
    pub fn table(&self) -> String {
        let mut table =
            format!("{:10}| {:>5}  {:>5}  {:>5} {:>5}\n{}\n", "", "PQ", "SQ", "RQ", "N", "-".repeat(38));
        for (name, quality) in [("All", self.all), ("Things", self.things), ("Stuff", self.stuff)] {
            let PanopticQuality { pq, sq, rq, num_categories } = quality;
            let [pq, sq, rq] = [pq, sq, rq].map(|value| value * 100.0);
            table.push_str(&format!("{name:10}| {pq:5.1}  {sq:5.1}  {rq:5.1} {num_categories:5}\n"));
        }
        table
    }

    /// The figures by name: `panoptic/pq`, `panoptic/sq`, .., `panoptic/pq_things`, ..
    pub fn named(&self) -> Vec<(String, f64)> {
        let mut named = Vec::new();
        for (suffix, quality) in [("", self.all), ("_things", self.things), ("_stuff", self.stuff)] {
            for (name, value) in [("pq", quality.pq), ("sq", quality.sq), ("rq", quality.rq)] {
                named.push((format!("panoptic/{name}{suffix}"), value));
            }
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u32, category_id: u64, area: u64) -> PanopticSegment {
        PanopticSegment { id, category_id, is_crowd: false, area }
    }

    #[test]
    fn a_half_is_not_enough_and_nothing_does_not_count() {
        let category = |id, is_thing| PanopticCategory { id, name: format!("c{id}"), is_thing };
        let mut evaluator = PanopticEvaluator::new(vec![category(2, false), category(1, true)]);
        // Of four pixels of category 1 three are found, and one beside them on nothing: IoU 3 / 4.
        evaluator.add(1, &[5, 5, 5, 5, 0], &[segment(5, 1, 4)], &[7, 7, 7, 0, 7], &[segment(7, 1, 4)]);
        // Two of four, none beside them: IoU a half is a miss and a false alarm.
        evaluator.add(2, &[5, 5, 5, 5], &[segment(5, 2, 4)], &[7, 7, 0, 0], &[segment(7, 2, 2)]);
        let metrics = evaluator.finish();
        assert_eq!(metrics.things, PanopticQuality { pq: 0.75, sq: 0.75, rq: 1.0, num_categories: 1 });
        assert_eq!(metrics.stuff, PanopticQuality { pq: 0.0, sq: 0.0, rq: 0.0, num_categories: 1 });
        assert_eq!(metrics.all.pq, 0.375);
        assert_eq!((metrics.classes[1].false_positives, metrics.classes[1].false_negatives), (1, 1));
    }
}
