//! Checks of `[head]`.

use anyhow::{Result, ensure};

use super::{DEEPEST, above_zero, filled, length, positive, share, within};
use crate::recipe::{Head, MaskRcnn, Nms, Roi, Rpn, Test};

/// The heads, of a recipe or of a checkpoint.
pub(crate) fn check(head: &Head) -> Result<()> {
    let Head::MaskRcnn(head) = head;
    let MaskRcnn {
        num_classes,
        fpn_channels,
        num_fcs,
        fc_channels,
        num_mask_convs,
        mask_channels,
        box_regression: _,
        rpn,
        roi,
        test,
    } = head;
    length("head.mask-rcnn.num_classes", *num_classes)?;
    length("head.mask-rcnn.fpn_channels", *fpn_channels)?;
    within("head.mask-rcnn.num_fcs", *num_fcs, DEEPEST)?;
    length("head.mask-rcnn.fc_channels", *fc_channels)?;
    within("head.mask-rcnn.num_mask_convs", *num_mask_convs, DEEPEST)?;
    length("head.mask-rcnn.mask_channels", *mask_channels)?;
    check_rpn(rpn)?;
    check_roi(roi)?;
    check_test(test)
}

fn check_rpn(rpn: &Rpn) -> Result<()> {
    let Rpn {
        anchor_scales,
        anchor_ratios,
        samples_per_image,
        positive_fraction,
        positive_iou,
        negative_iou,
        low_quality_iou,
        train_pre_nms_per_level,
        train_proposals_per_image,
        test_pre_nms_per_level,
        test_proposals_per_image,
        nms_iou,
    } = rpn;
    for (name, list) in [("anchor_scales", anchor_scales), ("anchor_ratios", anchor_ratios)] {
        let key = format!("head.mask-rcnn.rpn.{name}");
        filled(&key, list)?;
        list.iter().try_for_each(|value| above_zero(&key, f64::from(*value)))?;
    }
    for (name, count) in [
        ("samples_per_image", samples_per_image),
        ("train_pre_nms_per_level", train_pre_nms_per_level),
        ("train_proposals_per_image", train_proposals_per_image),
        ("test_pre_nms_per_level", test_pre_nms_per_level),
        ("test_proposals_per_image", test_proposals_per_image),
    ] {
        positive(&format!("head.mask-rcnn.rpn.{name}"), *count)?;
    }
    share("head.mask-rcnn.rpn.positive_fraction", *positive_fraction)?;
    share("head.mask-rcnn.rpn.nms_iou", f64::from(*nms_iou))?;
    check_ious("rpn", *positive_iou, *negative_iou, *low_quality_iou)
}

fn check_roi(roi: &Roi) -> Result<()> {
    let Roi { samples_per_image, positive_fraction, positive_iou, negative_iou, low_quality_iou } = roi;
    positive("head.mask-rcnn.roi.samples_per_image", *samples_per_image)?;
    share("head.mask-rcnn.roi.positive_fraction", *positive_fraction)?;
    check_ious("roi", *positive_iou, *negative_iou, *low_quality_iou)
}

fn check_ious(stage: &str, positive: f32, negative: f32, low_quality: Option<f32>) -> Result<()> {
    share(&format!("head.mask-rcnn.{stage}.positive_iou"), f64::from(positive))?;
    share(&format!("head.mask-rcnn.{stage}.negative_iou"), f64::from(negative))?;
    if let Some(low_quality) = low_quality {
        share(&format!("head.mask-rcnn.{stage}.low_quality_iou"), f64::from(low_quality))?;
    }
    ensure!(
        negative <= positive,
        "head.mask-rcnn.{stage}.negative_iou = {negative}: must not exceed positive_iou = {positive}"
    );
    Ok(())
}

fn check_test(test: &Test) -> Result<()> {
    let Test { score_threshold, nms, detections_per_image, mask_threshold } = test;
    share("head.mask-rcnn.test.score_threshold", f64::from(*score_threshold))?;
    positive("head.mask-rcnn.test.detections_per_image", *detections_per_image)?;
    // A threshold of 0 would set every pixel of the image.
    above_zero("head.mask-rcnn.test.mask_threshold", f64::from(*mask_threshold))?;
    share("head.mask-rcnn.test.mask_threshold", f64::from(*mask_threshold))?;
    match nms {
        Nms::Hard { iou } => share("head.mask-rcnn.test.nms.hard.iou", f64::from(*iou)),
        Nms::SoftLinear { iou, min_score } => {
            share("head.mask-rcnn.test.nms.soft-linear.iou", f64::from(*iou))?;
            share("head.mask-rcnn.test.nms.soft-linear.min_score", f64::from(*min_score))
        }
        Nms::SoftGaussian { sigma, min_score } => {
            above_zero("head.mask-rcnn.test.nms.soft-gaussian.sigma", f64::from(*sigma))?;
            share("head.mask-rcnn.test.nms.soft-gaussian.min_score", f64::from(*min_score))
        }
    }
}
