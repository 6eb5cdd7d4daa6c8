//! What an OpenMMLab configuration may ask for that our networks cannot do: with the same weights they would compute
//! something else.

use crate::weights::python_config::{Config, Node};

/// What an entry may be, if it is there at all.
enum Possible {
    /// One of these, which may stand at the end of a dotted path.
    Texts(&'static [&'static str]),
    Number(f64),
    Numbers(&'static [f64]),
    Bool(bool),
    /// Nothing.
    Absent,
}

use Possible::{Absent, Bool, Number, Numbers, Texts};

/// The pixels of every network.
const PIXELS: [(&str, Possible); 3] = [
    ("model.data_preprocessor.bgr_to_rgb", Bool(true)),
    ("data_preprocessor.bgr_to_rgb", Bool(true)),
    ("img_norm_cfg.to_rgb", Bool(true)),
];

/// The backbone of every network.
const BACKBONE: [(&str, Possible); 2] =
    [("model.backbone.norm_cfg.eps", Number(1e-6)), ("model.backbone.act_cfg.type", Texts(&["GELU"]))];

/// mmdet 3.3's Mask R-CNN, the entries that `mask-rcnn_r50_fpn.py` leaves out included.
const MASK_RCNN: [(&str, Possible); 44] = [
    ("model.neck.type", Texts(&["FPN"])),
    ("model.neck.num_outs", Number(5.0)),
    ("model.neck.upsample_cfg.mode", Texts(&["nearest"])),
    ("model.rpn_head.type", Texts(&["RPNHead"])),
    ("model.rpn_head.loss_cls.use_sigmoid", Bool(true)),
    ("model.rpn_head.anchor_generator.type", Texts(&["AnchorGenerator"])),
    ("model.rpn_head.anchor_generator.strides", Numbers(&[4.0, 8.0, 16.0, 32.0, 64.0])),
    ("model.rpn_head.anchor_generator.center_offset", Number(0.0)),
    ("model.rpn_head.anchor_generator.octave_base_scale", Absent),
    ("model.rpn_head.anchor_generator.base_sizes", Absent),
    ("model.rpn_head.anchor_generator.scale_major", Bool(true)),
    ("model.rpn_head.bbox_coder.type", Texts(&["DeltaXYWHBBoxCoder"])),
    ("model.rpn_head.bbox_coder.target_means", Numbers(&[0.0; 4])),
    ("model.rpn_head.bbox_coder.target_stds", Numbers(&[1.0; 4])),
    ("model.rpn_head.bbox_coder.clip_border", Bool(true)),
    ("model.rpn_head.bbox_coder.add_ctr_clamp", Bool(false)),
    ("model.test_cfg.rpn.nms.type", Texts(&["nms"])),
    ("model.test_cfg.rpn.min_bbox_size", Number(0.0)),
    ("model.roi_head.type", Texts(&["StandardRoIHead"])),
    ("model.roi_head.bbox_roi_extractor.type", Texts(&["SingleRoIExtractor"])),
    ("model.roi_head.bbox_roi_extractor.finest_scale", Number(56.0)),
    ("model.roi_head.bbox_roi_extractor.featmap_strides", Numbers(&[4.0, 8.0, 16.0, 32.0])),
    ("model.roi_head.bbox_roi_extractor.roi_layer.type", Texts(&["RoIAlign"])),
    ("model.roi_head.bbox_roi_extractor.roi_layer.output_size", Number(7.0)),
    ("model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio", Number(0.0)),
    ("model.roi_head.bbox_roi_extractor.roi_layer.aligned", Bool(true)),
    ("model.roi_head.bbox_head.loss_cls.use_sigmoid", Bool(false)),
    ("model.roi_head.bbox_head.cls_predictor_cfg.type", Texts(&["Linear"])),
    ("model.roi_head.bbox_head.reg_predictor_cfg.type", Texts(&["Linear"])),
    ("model.roi_head.bbox_head.bbox_coder.type", Texts(&["DeltaXYWHBBoxCoder"])),
    ("model.roi_head.bbox_head.bbox_coder.target_means", Numbers(&[0.0; 4])),
    ("model.roi_head.bbox_head.bbox_coder.target_stds", Numbers(&[0.1, 0.1, 0.2, 0.2])),
    ("model.roi_head.bbox_head.bbox_coder.clip_border", Bool(true)),
    ("model.roi_head.bbox_head.bbox_coder.add_ctr_clamp", Bool(false)),
    ("model.roi_head.mask_roi_extractor.type", Texts(&["SingleRoIExtractor"])),
    ("model.roi_head.mask_roi_extractor.finest_scale", Number(56.0)),
    ("model.roi_head.mask_roi_extractor.featmap_strides", Numbers(&[4.0, 8.0, 16.0, 32.0])),
    ("model.roi_head.mask_roi_extractor.roi_layer.type", Texts(&["RoIAlign"])),
    ("model.roi_head.mask_roi_extractor.roi_layer.output_size", Number(14.0)),
    ("model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio", Number(0.0)),
    ("model.roi_head.mask_roi_extractor.roi_layer.aligned", Bool(true)),
    ("model.test_cfg.rcnn.nms.type", Texts(&["nms", "soft_nms"])),
    ("model.test_cfg.rcnn.nms.method", Texts(&["linear", "gaussian"])),
    ("model.test_cfg.rcnn.nms.class_agnostic", Bool(false)),
];

/// mmseg 1.2's UPerNet.
const UPERNET: [(&str, Possible); 4] = [
    ("model.decode_head.align_corners", Bool(false)),
    ("model.auxiliary_head.align_corners", Bool(false)),
    ("model.auxiliary_head.concat_input", Bool(false)),
    ("model.decode_head.act_cfg.type", Texts(&["ReLU"])),
];

/// The first entry that Mask R-CNN here cannot do, with its value.
pub(super) fn beyond_mask_rcnn(config: &Config) -> Option<String> {
    // Soft masks are no masks here, and images are padded to whole cells of the coarsest map.
    let is_soft =
        config.number("model.test_cfg.rcnn.mask_thr_binary").is_some_and(|threshold| threshold <= 0.0);
    if is_soft {
        return Some("`model.test_cfg.rcnn.mask_thr_binary` = -1".to_owned());
    }
    for place in ["data_preprocessor", "model.data_preprocessor"] {
        let entry = format!("{place}.pad_size_divisor");
        if let Some(divisor) = config.number(&entry).filter(|divisor| divisor % 32.0 != 0.0) {
            return Some(format!("`{entry}` = {divisor}"));
        }
    }
    first_beyond(config, &[&PIXELS, &BACKBONE, &MASK_RCNN])
}

/// The first entry that UPerNet here cannot do, with its value.
pub(super) fn beyond_upernet(config: &Config) -> Option<String> {
    first_beyond(config, &[&PIXELS, &BACKBONE, &UPERNET])
}

fn first_beyond(config: &Config, tables: &[&[(&str, Possible)]]) -> Option<String> {
    const READ: [&str; 6] =
        ["model", "data_preprocessor", "img_norm_cfg", "test_dataloader", "test_pipeline", "data"];
    if let Some(unread) = config.unread.iter().find(|entry| READ.contains(&entry.as_str())) {
        return Some(format!("`{unread}` in a form that is not understood"));
    }
    tables.iter().flat_map(|table| table.iter()).find_map(|(entry, possible)| {
        let found = config.at(entry).filter(|found| **found != Node::Nothing)?;
        let is_possible = match (possible, found) {
            (Texts(texts), Node::Text(found)) => {
                texts.contains(&found.rsplit('.').next().unwrap_or_default())
            }
            (Number(number), Node::Number(found)) => found == number,
            (Numbers(numbers), Node::List(_)) => config.numbers(entry).as_deref() == Some(numbers),
            (Bool(value), Node::Bool(found)) => found == value,
            _ => false,
        };
        (!is_possible).then(|| format!("`{entry}` = {found}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_network_cannot_do_is_named_and_what_it_does_is_not() {
        let beyond = |text: &str| beyond_mask_rcnn(&Config::parse(text));
        let extractor =
            "model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=2))))";
        let expected = "`model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio` = 2";
        assert_eq!(beyond(extractor).as_deref(), Some(expected));
        let blue_first = beyond("model = dict(data_preprocessor=dict(bgr_to_rgb=False))");
        assert_eq!(blue_first.as_deref(), Some("`model.data_preprocessor.bgr_to_rgb` = False"));
        let full_path = "model = dict(roi_head=dict(type='mmdet.models.roi_heads.StandardRoIHead'))";
        assert_eq!(beyond(full_path), None);
        for text in [
            "model = dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms', method='naive'))))",
            "model = dict(test_cfg=dict(rcnn=dict(mask_thr_binary=-1)))",
            "model = dict(data_preprocessor=dict(pad_size_divisor=1))",
            "model = dict(rpn_head=dict(anchor_generator=dict(octave_base_scale=4)))",
            "model = dict(backbone=dict(norm_cfg=dict(type='LN2d', eps=1e-5)))",
            "model = dict(neck=dict(num_outs=2 + 3))",
        ] {
            assert!(beyond(text).is_some(), "{text}");
        }
    }
}
