//! How much the detections of a cell overlap its truth.

use crate::coco::{Annotation, CocoImage};
use crate::coco_ap::{CocoEvaluator, IouType};
use crate::coco_boundary::Boundaries;
use crate::coco_cells::{Cell, Found};
use crate::coco_error::{CocoError, SegmentationError};
use crate::coco_pixels::{Bits, Pixels};
use crate::polygon_fill::Outlines;

/// Areas and overlaps of a cell, and what computing them needs; made once and used for many cells.
#[derive(Default)]
pub(crate) struct Overlaps {
    /// Areas of the detections.
    pub(crate) areas: Vec<f64>,
    /// IoUs of masks below this may be given as zero.
    least: f64,
    /// A row for each detection, a column for each truth; empty if either is.
    pub(crate) ious: Vec<f64>,
    /// Boxes of the detections, left, top, width, height.
    pub(crate) boxes: Vec<[f64; 4]>,
    truth_masks: Vec<Pixels>,
    masks: Vec<Pixels>,
    /// Detections that may overlap a truth enough.
    near: Vec<usize>,
    bits: Bits,
    boundaries: Boundaries,
    outlines: Outlines,
}

impl Overlaps {
    /// For those who look at no IoU of masks below `least`.
    pub(crate) fn from(least: f64) -> Self {
        Self { least, ..Self::default() }
    }

    /// Compares every detection of the cell with every truth.
    pub(crate) fn measure(
        &mut self,
        cell: &Cell<'_, '_>,
        evaluator: &CocoEvaluator<'_>,
    ) -> Result<(), CocoError> {
        self.areas.clear();
        self.ious.clear();
        self.boxes.clear();
        let is_compared = !cell.truths.is_empty() && !cell.found.is_empty();
        let with_masks = is_compared && evaluator.iou_type != IouType::Bbox;
        for (index, found) in cell.found.iter().enumerate() {
            self.measure_detection(index, found, with_masks, evaluator)?;
        }
        if !is_compared {
            return Ok(());
        }
        if evaluator.iou_type == IouType::Bbox {
            for bbox in &self.boxes {
                let truths = cell.truths.iter();
                self.ious.extend(truths.map(|truth| box_iou(*bbox, truth.annotation.bbox, truth.is_crowd)));
            }
            return Ok(());
        }
        let image = evaluator.image(cell.truths[0].annotation.image_id);
        for (index, truth) in cell.truths.iter().enumerate() {
            if self.truth_masks.len() == index {
                self.truth_masks.push(Pixels::default());
            }
            read_truth(&mut self.truth_masks[index], truth.annotation, image, &mut self.outlines)?;
        }
        self.compare_masks(cell)?;
        if evaluator.iou_type == IouType::Boundary {
            let is_crowd = |column: usize| cell.truths[column].is_crowd;
            let (num_found, num_truths) = (cell.found.len(), cell.truths.len());
            let (found, truths) = (&self.masks[..num_found], &self.truth_masks[..num_truths]);
            self.boundaries.lower(&mut self.ious, found, truths, is_crowd);
        }
        Ok(())
    }

    /// Area and box of a detection, and its mask if masks are compared or tell area or box.
    fn measure_detection(
        &mut self,
        index: usize,
        found: &Found<'_>,
        with_masks: bool,
        evaluator: &CocoEvaluator<'_>,
    ) -> Result<(), CocoError> {
        let Found { batch, entry, .. } = found;
        if self.masks.len() == index {
            self.masks.push(Pixels::default());
        }
        if let Some(bbox) = entry.bbox.filter(|_| batch.results.has_boxes && !with_masks) {
            self.areas.push(bbox[2] * bbox[3]);
            self.boxes.push(bbox);
            return Ok(());
        }
        let mask = &mut self.masks[index];
        let CocoImage { height, width, .. } = *evaluator.image(entry.image_id);
        let text = &batch.results.text[entry.segmentation.range()];
        let read = match entry.bbox {
            Some(bbox) if entry.segmentation.is_empty() => {
                mask.read_box(bbox, height, width, &mut self.outlines)
            }
            _ => mask
                .read(text, height, width, &mut self.outlines)
                .and_then(|is_mask| if is_mask { Ok(()) } else { Err(SegmentationError::Absent) }),
        };
        read.map_err(|reason| batch.mask_error(entry, reason))?;
        let of_box = entry.bbox.filter(|_| batch.results.has_boxes).map(|bbox| bbox[2] * bbox[3]);
        self.areas.push(of_box.unwrap_or(mask.area as f64));
        self.boxes.push(entry.bbox.unwrap_or(mask.bbox));
        Ok(())
    }

    fn compare_masks(&mut self, cell: &Cell<'_, '_>) -> Result<(), CocoError> {
        let (num_found, num_truths) = (cell.found.len(), cell.truths.len());
        self.ious.resize(num_found * num_truths, 0.0);
        for (column, truth) in cell.truths.iter().enumerate() {
            let is_crowd = truth.is_crowd;
            let truth_mask = &self.truth_masks[column];
            let is_near = |mask: &Pixels| {
                let most = mask.most_iou(truth_mask, is_crowd);
                most > 0.0 && most >= self.least
            };
            self.near.clear();
            self.near.extend((0..num_found).filter(|&row| is_near(&self.masks[row])));
            // Bits cost a step for each word, walks one for each run of the truth.
            let num_near = self.near.len();
            let bits =
                (num_near > 1 && num_near * truth_mask.runs.len() > truth_mask.num_words()).then(|| {
                    self.bits.set(&truth_mask.runs);
                    &self.bits
                });
            for &row in &self.near {
                let (mask, found) = (&self.masks[row], &cell.found[row]);
                let iou = mask.iou(truth_mask, bits, is_crowd).ok_or_else(|| {
                    let reason = SegmentationError::Size {
                        found_height: mask.height,
                        found_width: mask.width,
                        height: truth_mask.height,
                        width: truth_mask.width,
                    };
                    found.batch.mask_error(found.entry, reason)
                })?;
                self.ious[row * num_truths + column] = iou;
            }
        }
        Ok(())
    }
}

fn read_truth(
    mask: &mut Pixels,
    truth: &Annotation,
    image: &CocoImage,
    outlines: &mut Outlines,
) -> Result<(), CocoError> {
    let read = mask.read(truth.segmentation.text(), image.height, image.width, outlines);
    let read = read.and_then(|is_mask| if is_mask { Ok(()) } else { Err(SegmentationError::Absent) });
    read.map_err(|reason| CocoError::Segmentation {
        path: truth.segmentation.path().to_owned(),
        entry: format!("annotation {}", truth.id),
        reason,
    })
}

/// maskApi.c, `bbIou`: a crowd divides by the detection's area alone.
pub(crate) fn box_iou(detection: [f64; 4], truth: [f64; 4], is_crowd: bool) -> f64 {
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
