//! Mean intersection over union and its relatives, over all pixels of a data set.
//!
//! A confusion matrix counts every pixel whose truth is not ignored, in whole numbers; what is averaged
//! over which classes is a matter of [`Convention`], of which the field has four:
//!
//! ```text
//! IoU[c]  = I[c] / (T[c] + P[c] - I[c])       I = both say c, T = the truth does, P = the prediction does
//! acc[c]  = I[c] / T[c]                       dice[c] = 2 I[c] / (T[c] + P[c])
//! aAcc    = sum I / sum T                     fwIoU   = sum (T[c] / sum T) IoU[c]
//! ```

mod table;

use rayon::prelude::*;

use crate::label_map::LabelMap;

/// Values of a prediction, and so columns of a row: every `u8`.
const COLUMNS: usize = 256;

/// How often each class was predicted where each class is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    num_classes: usize,
    /// A row for each true value, ignored ones included, of a column for each predicted value: no pixel
    /// needs a comparison. Values that are no class are left out when the counts are read.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// Without any pixel.
    ///
    /// # Panics
    /// When there are no classes, or more than [`LabelMap::MOST_CLASSES`].
    pub fn new(num_classes: usize) -> Self {
        let possible = 1..=LabelMap::MOST_CLASSES;
        assert!(possible.contains(&num_classes), "{num_classes} classes, of which there are 1 to 255");
        Self { num_classes, counts: vec![0; COLUMNS * COLUMNS] }
    }

    /// That of many images, counted on all threads.
    ///
    /// # Panics
    /// As [`new`](Self::new) and [`add`](Self::add).
    pub fn of_images(num_classes: usize, images: &[(&LabelMap, &LabelMap)]) -> Self {
        images
            .par_iter()
            .fold(
                || Self::new(num_classes),
                |mut matrix, (truth, prediction)| {
                    matrix.add(truth, prediction);
                    matrix
                },
            )
            .reduce(
                || Self::new(num_classes),
                |mut all, part| {
                    all.merge(&part);
                    all
                },
            )
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        self.num_classes
    }

    /// Counts the pixels of an image. Pixels that the truth ignores do not count; a predicted value that
    /// is no class, [`LabelMap::IGNORED`] among them, is a miss of the true class and a hit of none.
    ///
    /// # Panics
    /// When the maps are not of one size, or the truth holds a value that is neither a class nor ignored.
    pub fn add(&mut self, truth: &LabelMap, prediction: &LabelMap) {
        let size = |map: &LabelMap| (map.width, map.height, map.pixels.len());
        assert_eq!(size(truth), size(prediction), "truth and prediction are of one size");
        let first_stray = self.num_classes * COLUMNS..usize::from(LabelMap::IGNORED) * COLUMNS;
        let strays = |counts: &[u64]| counts[first_stray.clone()].iter().sum::<u64>();
        let before = strays(&self.counts);
        count(&mut self.counts, &truth.pixels, &prediction.pixels);
        assert_eq!(strays(&self.counts), before, "every true value is a class or ignored");
    }

    /// Counts what another matrix has counted.
    ///
    /// # Panics
    /// When it is of another number of classes.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.num_classes, other.num_classes, "both matrices are of the same classes");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// One more than the highest class that is true or predicted anywhere.
    pub fn num_classes_seen(&self) -> usize {
        let seen = |class: &usize| {
            (0..self.num_classes).any(|other| self.count(*class, other) + self.count(other, *class) > 0)
                || self.out_of_range(*class) > 0
        };
        (0..self.num_classes).rev().find(seen).map_or(0, |class| class + 1)
    }

    /// The same counts, of the first classes alone: what was predicted besides is none of them.
    ///
    /// # Panics
    /// When another class is true somewhere, or there are not as many classes.
    #[must_use]
    pub fn first_classes(self, num_classes: usize) -> Self {
        assert!(
            (1..=self.num_classes).contains(&num_classes),
            "{num_classes} of {} classes",
            self.num_classes
        );
        let others = &self.counts[num_classes * COLUMNS..self.num_classes * COLUMNS];
        assert!(others.iter().all(|&count| count == 0), "no other class is true");
        Self { num_classes, ..self }
    }

    /// In how many pixels class `truth` was taken for class `prediction`.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn count(&self, truth: usize, prediction: usize) -> u64 {
        assert!(truth.max(prediction) < self.num_classes, "class {truth} or {prediction}");
        self.counts[truth * COLUMNS + prediction]
    }

    /// In how many pixels of class `truth` what was predicted is no class.
    ///
    /// # Panics
    /// When there is no such class.
    pub fn out_of_range(&self, truth: usize) -> u64 {
        assert!(truth < self.num_classes, "class {truth}");
        self.counts[truth * COLUMNS..][self.num_classes..COLUMNS].iter().sum()
    }

    /// The figures, by one of the field's conventions.
    pub fn metrics(&self, convention: Convention) -> SegmentationMetrics {
        SegmentationMetrics::of_classes(&self.class_pixels(convention), convention)
    }

    /// The pixels of each class, which is all that the figures need; those of several images add up.
    pub fn class_pixels(&self, convention: Convention) -> Vec<ClassPixels> {
        let classes = 0..self.num_classes;
        let of_class = |class: usize| {
            let truth: u64 = classes.clone().map(|prediction| self.count(class, prediction)).sum();
            // Detectron2 drops the row of its matrix that holds such predictions, others only the column.
            let strays = if convention == Convention::Detectron2 { 0 } else { self.out_of_range(class) };
            ClassPixels {
                hits: self.count(class, class),
                truth: truth + strays,
                prediction: classes.clone().map(|truth| self.count(truth, class)).sum(),
            }
        };
        classes.clone().map(of_class).collect()
    }
}

impl SegmentationMetrics {
    /// The figures of so many pixels, counted by the same convention.
    pub fn of_classes(areas: &[ClassPixels], convention: Convention) -> Self {
        let total = |part: fn(&ClassPixels) -> u64| areas.iter().map(part).sum::<u64>();
        let (all_hits, all_truth) = (total(|areas| areas.hits), total(|areas| areas.truth));

        let present = |areas: &ClassPixels| areas.truth + areas.prediction > 0;
        let absent = |value| match convention {
            Convention::Mmseg | Convention::Detectron2 => None,
            Convention::Ade | Convention::Torchmetrics => Some(value),
        };
        let classes: Vec<ClassIou> = areas
            .iter()
            .map(|areas| {
                let &ClassPixels { hits, truth, prediction } = areas;
                let union = truth + prediction - hits;
                let left_out = convention == Convention::Detectron2 && truth == 0;
                let quotient = |part: u64, whole: u64| match ratio(part, whole) {
                    Some(_) if left_out => None,
                    quotient => quotient.or(absent(0.0)),
                };
                ClassIou {
                    iou: quotient(hits, union),
                    accuracy: quotient(hits, truth),
                    dice: quotient(2 * hits, truth + prediction),
                    pixels: truth,
                }
            })
            .collect();
        let mean = |value: fn(&ClassIou) -> Option<f64>| {
            let averaged = |(areas, class): (&ClassPixels, &ClassIou)| match convention {
                Convention::Torchmetrics if !present(areas) => None,
                _ => value(class),
            };
            let values: Vec<f64> = areas.iter().zip(&classes).filter_map(averaged).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let weighted = |class: &ClassIou| Some(class.iou? * (class.pixels as f64 / all_truth as f64));
        Self {
            mean_iou: mean(|class| class.iou),
            mean_accuracy: mean(|class| class.accuracy),
            pixel_accuracy: ratio(all_hits, all_truth),
            frequency_weighted_iou: (all_truth > 0).then(|| classes.iter().filter_map(weighted).sum()),
            mean_dice: mean(|class| class.dice),
            classes,
        }
    }
}

/// Adds one to the count of every pair of values.
fn count(counts: &mut [u64], truth: &[u8], prediction: &[u8]) {
    /// Neighbours are mostly alike, so that this many pixels are often one addition.
    const RUN: usize = 8;
    let place = |truth: u8, prediction: u8| usize::from(truth) * COLUMNS + usize::from(prediction);
    let mut truth = truth.chunks_exact(RUN);
    let mut prediction = prediction.chunks_exact(RUN);
    for (truth, prediction) in truth.by_ref().zip(prediction.by_ref()) {
        let is_run = |values: &[u8]| values.iter().all(|&value| value == values[0]);
        if is_run(truth) && is_run(prediction) {
            counts[place(truth[0], prediction[0])] += RUN as u64;
        } else {
            for (&truth, &prediction) in truth.iter().zip(prediction) {
                counts[place(truth, prediction)] += 1;
            }
        }
    }
    for (&truth, &prediction) in truth.remainder().iter().zip(prediction.remainder()) {
        counts[place(truth, prediction)] += 1;
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Whose rules: they differ in what becomes of classes that do not occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// mmseg 1.2's `IoUMetric`, and Hugging Face's `mean_iou`: a class that is neither true nor predicted
    /// has no figures and is left out of the means; so is one that is never true, of the mean accuracy.
    Mmseg,
    /// The scene parsing toolkit of ADE20K: such a class has figures of 0, and they are averaged. (The
    /// toolkit itself has only the mean IoU and the pixel accuracy.)
    Ade,
    /// Detectron2's `SemSegEvaluator`: a class that is never true has no figures, even if it is predicted.
    /// A pixel for which no class is predicted is as one that the truth ignores.
    Detectron2,
    /// torchmetrics 1.9's `JaccardIndex`, `Accuracy` and `F1Score`, averaged `macro`: a class that is neither
    /// true nor predicted has figures of 0, which are not averaged; one that is predicted but never true
    /// counts with an accuracy of 0.
    Torchmetrics,
}

/// Figures of a data set, shares of 1; `None` where nothing can be averaged.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationMetrics {
    /// mIoU.
    pub mean_iou: Option<f64>,
    /// mAcc: mean share of each class's pixels that were found.
    pub mean_accuracy: Option<f64>,
    /// aAcc: share of all pixels that were found.
    pub pixel_accuracy: Option<f64>,
    /// fwIoU: IoU averaged by the number of true pixels.
    pub frequency_weighted_iou: Option<f64>,
    /// mDice.
    pub mean_dice: Option<f64>,
    /// By class index.
    pub classes: Vec<ClassIou>,
}

/// Pixels of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassPixels {
    /// True and predicted.
    pub hits: u64,
    /// True.
    pub truth: u64,
    /// Predicted, where the truth is not ignored.
    pub prediction: u64,
}

/// Figures of one class, shares of 1; `None` where the convention has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassIou {
    /// Intersection over union.
    pub iou: Option<f64>,
    /// Share of its pixels that were found: its recall.
    pub accuracy: Option<f64>,
    /// Dice coefficient, which is the F1 score.
    pub dice: Option<f64>,
    /// How many pixels truly are of this class.
    pub pixels: u64,
}
