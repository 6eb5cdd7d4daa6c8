//! Detections of one category against the truth, image by image.

use crate::coco::{Annotation, CocoImage};
use crate::coco_ap::{IouType, Params, Pixels, Stored, falling, segmentation_error};
use crate::coco_error::{CocoError, SegmentationError};
use crate::rle::Rle;

/// Everything of one category.
#[derive(Default)]
pub(crate) struct Cells<'a> {
    /// With the rank of their image.
    pub(crate) truths: Vec<(u32, &'a Annotation)>,
    pub(crate) detections: Vec<&'a Stored>,
}

/// What became of the detections of a category.
pub(crate) struct Matched {
    /// In the order of their images, and within an image by falling score.
    pub(crate) outcomes: Vec<Outcome>,
    /// Truth that counts, per area range.
    pub(crate) num_truths: [usize; 4],
}

/// One bit per IoU threshold, for each area range.
pub(crate) struct Outcome {
    pub(crate) score: f64,
    /// Position in its image by falling score, from 0.
    pub(crate) rank: usize,
    pub(crate) matched: [u64; 4],
    pub(crate) ignored: [u64; 4],
}

impl Cells<'_> {
    /// Images by rank; within one, truth as in the file and detections by falling score, ties as they were added.
    pub(crate) fn sort(&mut self) {
        self.truths.sort_by_key(|(image, _)| *image);
        self.detections.sort_by(|a, b| a.image.cmp(&b.image).then(falling(a.score, b.score)));
    }
}

/// pycocotools' `evaluateImg` over all images and area ranges of a category.
pub(crate) fn match_category<'a>(
    cells: &Cells<'_>,
    iou_type: IouType,
    params: &Params,
    image_of: impl Fn(u64) -> &'a CocoImage,
) -> Result<Matched, CocoError> {
    let limit = params.max_detections[2];
    let mut matched = Matched { outcomes: Vec::new(), num_truths: [0; 4] };
    let (mut truths, mut detections) = (cells.truths.as_slice(), cells.detections.as_slice());
    let mut ious = Vec::new();
    loop {
        let next_truth = truths.first().map(|(image, _)| *image);
        let next_detection = detections.first().map(|detection| detection.image);
        let Some(image) = next_truth.into_iter().chain(next_detection).min() else { return Ok(matched) };
        let here;
        (here, truths) = truths.split_at(truths.iter().take_while(|(rank, _)| *rank == image).count());
        let found;
        (found, detections) =
            detections.split_at(detections.iter().take_while(|detection| detection.image == image).count());
        let found = &found[..found.len().min(limit)];

        ious.clear();
        if !here.is_empty() && !found.is_empty() {
            match iou_type {
                IouType::Bbox => box_ious(found, here, &mut ious),
                IouType::Segm => mask_ious(found, here, image_of(here[0].1.image_id), &mut ious)?,
            }
        }
        let first = matched.outcomes.len();
        matched.outcomes.extend(found.iter().enumerate().map(|(rank, detection)| Outcome {
            score: detection.score,
            rank,
            matched: [0; 4],
            ignored: [0; 4],
        }));
        for area in 0..4 {
            matched.num_truths[area] +=
                match_area(found, here, &ious, params, area, &mut matched.outcomes[first..]);
        }
    }
}

/// pycocotools' `evaluateImg` for one image and area range; the number of truths that count.
fn match_area(
    detections: &[&Stored],
    truths: &[(u32, &Annotation)],
    ious: &[f64],
    params: &Params,
    area: usize,
    outcomes: &mut [Outcome],
) -> usize {
    let [low, high] = params.area_ranges[area];
    let outside = |area: f64| area < low || area > high;
    let ignored: Vec<bool> = truths.iter().map(|(_, truth)| truth.iscrowd || outside(truth.area)).collect();
    // Those that count come first, each kind in the order of the file.
    let mut order: Vec<usize> = (0..truths.len()).collect();
    order.sort_by_key(|&truth| ignored[truth]);
    // One bit per threshold: the truth is taken.
    let mut taken = vec![0u64; truths.len()];
    for ((index, detection), outcome) in detections.iter().enumerate().zip(outcomes) {
        let row = if ious.is_empty() { &[] } else { &ious[index * truths.len()..][..truths.len()] };
        let best = row.iter().copied().fold(0.0, f64::max);
        for (bit, &threshold) in params.iou_thresholds.iter().enumerate() {
            let flag = 1 << bit;
            let threshold = threshold.min(1.0 - 1e-10);
            if best < threshold {
                continue;
            }
            if let Some(truth) = best_truth(row, &order, &ignored, truths, &taken, flag, threshold) {
                taken[truth] |= flag;
                if ignored[truth] {
                    outcome.ignored[area] |= flag;
                }
                // pycocotools remembers a match by the id of the truth, so the id 0 looks like none.
                if truths[truth].1.id != 0 {
                    outcome.matched[area] |= flag;
                }
            }
        }
        if outside(detection.area) {
            outcome.ignored[area] |= !outcome.matched[area];
        }
    }
    ignored.iter().filter(|ignored| !**ignored).count()
}

/// The free truth with the largest IoU, the later of equal ones; one that counts before all that do not.
fn best_truth(
    row: &[f64],
    order: &[usize],
    ignored: &[bool],
    truths: &[(u32, &Annotation)],
    taken: &[u64],
    flag: u64,
    threshold: f64,
) -> Option<usize> {
    let mut best = threshold;
    let mut chosen: Option<usize> = None;
    for &truth in order {
        // A crowd may be matched any number of times.
        if taken[truth] & flag != 0 && !truths[truth].1.iscrowd {
            continue;
        }
        if chosen.is_some_and(|chosen| !ignored[chosen]) && ignored[truth] {
            break;
        }
        if row[truth] < best {
            continue;
        }
        best = row[truth];
        chosen = Some(truth);
    }
    chosen
}

/// maskApi.c, `bbIou`: a crowd divides by the detection's area alone.
fn box_iou(detection: [f64; 4], truth: [f64; 4], is_crowd: bool) -> f64 {
    let [dx, dy, dw, dh] = detection;
    let [tx, ty, tw, th] = truth;
    let width = (dw + dx).min(tw + tx) - dx.max(tx);
    if width <= 0.0 {
        return 0.0;
    }
    let height = (dh + dy).min(th + ty) - dy.max(ty);
    if height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let area = dw * dh;
    intersection / if is_crowd { area } else { area + tw * th - intersection }
}

fn box_ious(detections: &[&Stored], truths: &[(u32, &Annotation)], ious: &mut Vec<f64>) {
    for detection in detections {
        ious.extend(truths.iter().map(|(_, truth)| box_iou(detection.bbox, truth.bbox, truth.iscrowd)));
    }
}

fn mask_ious(
    detections: &[&Stored],
    truths: &[(u32, &Annotation)],
    image: &CocoImage,
    ious: &mut Vec<f64>,
) -> Result<(), CocoError> {
    let of_truth = |truth: &Annotation| {
        let rle = truth.rle(image)?.ok_or_else(|| CocoError::Segmentation {
            path: truth.segmentation.path().to_owned(),
            entry: format!("annotation {}", truth.id),
            reason: SegmentationError::Absent,
        })?;
        let around = rle.to_box();
        Ok((rle, around))
    };
    let truth_masks =
        truths.iter().map(|(_, truth)| of_truth(truth)).collect::<Result<Vec<_>, CocoError>>()?;
    for detection in detections {
        let mask = detection_mask(detection, image)?;
        let around = mask.to_box();
        for ((truth, truth_around), (_, annotation)) in truth_masks.iter().zip(truths) {
            if box_iou(around, *truth_around, annotation.iscrowd) <= 0.0 {
                ious.push(0.0);
                continue;
            }
            let iou = mask.iou(truth, annotation.iscrowd).ok_or_else(|| {
                let (found_height, found_width) = (mask.height, mask.width);
                let (height, width) = (truth.height, truth.width);
                detection_error(
                    detection,
                    SegmentationError::Size { found_height, found_width, height, width },
                )
            })?;
            ious.push(iou);
        }
    }
    Ok(())
}

fn detection_mask(detection: &Stored, image: &CocoImage) -> Result<Rle, CocoError> {
    let (height, width) = (image.height, image.width);
    let mask = match &detection.pixels {
        Pixels::Box => {
            Rle::from_box(detection.bbox, height, width).map(Some).map_err(SegmentationError::from)
        }
        Pixels::Text(text) => text.rle(height, width),
        Pixels::Packed(text, [height, width]) => {
            Rle::from_compressed(text, *height, *width).map(Some).map_err(SegmentationError::from)
        }
    };
    mask.and_then(|mask| mask.ok_or(SegmentationError::Absent))
        .map_err(|reason| detection_error(detection, reason))
}

fn detection_error(detection: &Stored, reason: SegmentationError) -> CocoError {
    match &detection.pixels {
        Pixels::Text(text) => segmentation_error(text.path().to_owned(), "results", detection.entry, reason),
        _ => segmentation_error("detections".into(), "detection", detection.entry, reason),
    }
}
