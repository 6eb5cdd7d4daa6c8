//! Mask R-CNN from a published file: widths from its shapes, thresholds and pixels from its configuration, and else
//! what mmdet's `mask-rcnn_r50_fpn.py` says.

use super::*;
use crate::recipe::{MaskRcnn, Nms, Roi, Rpn, Test};
use crate::weights::python_config::Config;

/// mmdet's resized images, and ours: the shorter and the longer side, input pixels.
const SIDES: [u32; 2] = [800, 1333];

pub(super) fn describe(published: &Published, names: DetectorNames) -> Result<Described> {
    if let Some(described) = exported(published)? {
        return Ok(described);
    }
    let nothing = Config::default();
    let config = published.source.told.config.as_ref().unwrap_or(&nothing);
    if let Some(what) = limits::beyond_mask_rcnn(config) {
        bail!(
            "{}: its configuration has {what}, which this program's Mask R-CNN has not",
            published.source.path.display()
        );
    }
    let mut remarks = Vec::new();
    if names == DetectorNames::Detectron2 {
        remarks.push(
            "detectron2 keeps thresholds and the normalisation of images outside the file: taken are mmdet's, with \
             ImageNet's mean and deviation, red first"
                .to_owned(),
        );
        remarks
            .push("detectron2 narrows boxes without a limit, here the limit is a factor of 62.5".to_owned());
    } else if config == &nothing {
        remarks.push(
            "the file has no configuration: thresholds and the preparation of images are those of mmdet's \
             mask-rcnn_r50_fpn.py"
                .to_owned(),
        );
    }
    let head = head(published, config)?;
    let classes = classes(published, head.num_classes, &mut remarks)?;
    let preprocessing = preprocessing(published, config)?;
    let architecture = det::Architecture { model: model(published)?, head: Head::MaskRcnn(head) };
    Ok(Described {
        architecture: Architecture::Detector(Box::new(architecture)),
        classes,
        preprocessing: serde_json::to_value(preprocessing)?,
        remarks,
    })
}

fn head(published: &Published, config: &Config) -> Result<MaskRcnn> {
    let [fpn_channels] = shape(published, "neck.lateral_convs.0.conv.bias")?;
    let [fc_channels] = shape(published, "bbox_head.shared_fcs.0.bias")?;
    let [mask_channels] = shape(published, "mask_head.convs.0.conv.bias")?;
    let [scores] = shape(published, "bbox_head.fc_cls.bias")?;
    let [deltas] = shape(published, "bbox_head.fc_reg.bias")?;
    let [per_cell] = shape(published, "rpn_head.rpn_cls.bias")?;
    let num_classes = scores.saturating_sub(1);
    let box_regression = match deltas {
        4 if num_classes != 1 || config.bool("model.roi_head.bbox_head.reg_class_agnostic") == Some(true) => {
            BoxRegression::ClassAgnostic
        }
        _ => BoxRegression::ClassSpecific,
    };
    let rpn = rpn(config);
    ensure!(
        rpn.anchor_scales.len() * rpn.anchor_ratios.len() == per_cell && num_classes > 0,
        "{}: has {per_cell} anchors a cell and {num_classes} classes, but the scales {:?} and the ratios {:?}",
        published.source.path.display(),
        rpn.anchor_scales,
        rpn.anchor_ratios
    );
    Ok(MaskRcnn {
        num_classes,
        fpn_channels,
        num_fcs: count_layers(published, "bbox_head.shared_fcs", ".bias"),
        fc_channels,
        num_mask_convs: count_layers(published, "mask_head.convs", ".conv.bias"),
        mask_channels,
        box_regression,
        rpn,
        roi: roi(config),
        test: test(config),
    })
}

fn count(config: &Config, path: &str, usual: usize) -> usize {
    /// What mmdet means by a limit of -1.
    const UNLIMITED: usize = 1 << 20;
    let limit = |number: f64| if number < 0.0 { UNLIMITED } else { (number as usize).min(UNLIMITED) };
    config.number(path).map_or(usual, limit)
}

fn fraction(config: &Config, path: &str, usual: f32) -> f32 {
    config.number(path).map_or(usual, |number| number as f32)
}

/// The least IoU of an assigner's low-quality matches; absent where it makes none.
fn low_quality(config: &Config, assigner: &str, usual: f32) -> Option<f32> {
    let is_on = config.bool(&format!("{assigner}.match_low_quality")).unwrap_or(true);
    is_on.then(|| fraction(config, &format!("{assigner}.min_pos_iou"), usual))
}

fn rpn(config: &Config) -> Rpn {
    let list = |path: &str, usual: &[f32]| {
        let numbers = config.numbers(path).map(|list| list.iter().map(|&number| number as f32).collect());
        numbers.unwrap_or_else(|| usual.to_vec())
    };
    let anchors = "model.rpn_head.anchor_generator";
    let (train, propose, test) =
        ("model.train_cfg.rpn", "model.train_cfg.rpn_proposal", "model.test_cfg.rpn");
    let assigner = format!("{train}.assigner");
    Rpn {
        anchor_scales: list(&format!("{anchors}.scales"), &[8.0]),
        anchor_ratios: list(&format!("{anchors}.ratios"), &[0.5, 1.0, 2.0]),
        samples_per_image: count(config, &format!("{train}.sampler.num"), 256),
        positive_fraction: config.number(&format!("{train}.sampler.pos_fraction")).unwrap_or(0.5),
        positive_iou: fraction(config, &format!("{assigner}.pos_iou_thr"), 0.7),
        negative_iou: fraction(config, &format!("{assigner}.neg_iou_thr"), 0.3),
        low_quality_iou: low_quality(config, &assigner, 0.3),
        train_pre_nms_per_level: count(config, &format!("{propose}.nms_pre"), 2000),
        train_proposals_per_image: count(config, &format!("{propose}.max_per_img"), 1000),
        test_pre_nms_per_level: count(config, &format!("{test}.nms_pre"), 1000),
        test_proposals_per_image: count(config, &format!("{test}.max_per_img"), 1000),
        nms_iou: fraction(config, &format!("{test}.nms.iou_threshold"), 0.7),
    }
}

fn roi(config: &Config) -> Roi {
    let train = "model.train_cfg.rcnn";
    let assigner = format!("{train}.assigner");
    Roi {
        samples_per_image: count(config, &format!("{train}.sampler.num"), 512),
        positive_fraction: config.number(&format!("{train}.sampler.pos_fraction")).unwrap_or(0.25),
        positive_iou: fraction(config, &format!("{assigner}.pos_iou_thr"), 0.5),
        negative_iou: fraction(config, &format!("{assigner}.neg_iou_thr"), 0.5),
        low_quality_iou: low_quality(config, &assigner, 0.5),
    }
}

fn test(config: &Config) -> Test {
    let test = "model.test_cfg.rcnn";
    let nms = |entry: &str, usual| fraction(config, &format!("{test}.nms.{entry}"), usual);
    // mmcv's defaults.
    let is_soft = config.text(&format!("{test}.nms.type")).is_some_and(|name| name.ends_with("soft_nms"));
    let usual_iou = if is_soft { 0.3 } else { 0.5 };
    let (iou, min_score) = (nms("iou_threshold", nms("iou_thr", usual_iou)), nms("min_score", 0.001));
    Test {
        score_threshold: fraction(config, &format!("{test}.score_thr"), 0.05),
        nms: match (is_soft, config.text(&format!("{test}.nms.method"))) {
            (true, Some("gaussian")) => Nms::SoftGaussian { sigma: nms("sigma", 0.5), min_score },
            (true, _) => Nms::SoftLinear { iou, min_score },
            (false, _) => Nms::Hard { iou },
        },
        detections_per_image: count(config, &format!("{test}.max_per_img"), 100),
        mask_threshold: fraction(config, &format!("{test}.mask_thr_binary"), 0.5),
    }
}

fn preprocessing(published: &Published, config: &Config) -> Result<det::Preprocessing> {
    let told = &published.source.told.image;
    let usual = classify::Preprocessing::official(224);
    let pad = ["data_preprocessor", "model.data_preprocessor"]
        .iter()
        .find_map(|place| config.number(&format!("{place}.pad_size_divisor")));
    let [short_side, long_side] = resized_sides(&published.source.path, config)?.unwrap_or(SIDES);
    Ok(det::Preprocessing {
        input: Input {
            mean: told.mean.unwrap_or(usual.mean),
            std: told.std.unwrap_or(usual.std),
            pad_multiple: pad.map_or(32, |pad| pad as usize),
        },
        short_side,
        long_side,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_the_configuration() {
        let config = Config::parse(
            "model = dict(test_cfg=dict(rcnn=dict(score_thr=0.1, nms=dict(type='soft_nms', iou_threshold=0.6), \
             max_per_img=50), rpn=dict(nms_pre=500)), train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))))\n\
             data = dict(test=dict(pipeline=[dict(type='MultiScaleFlipAug', x=1), dict(type='Resize', \
             img_scale=(1000, 600))]))\n",
        );
        let Test { score_threshold, nms, detections_per_image, mask_threshold } = test(&config);
        assert_eq!((score_threshold, detections_per_image, mask_threshold), (0.1, 50, 0.5));
        assert_eq!(nms, Nms::SoftLinear { iou: 0.6, min_score: 0.001 });
        assert_eq!(rpn(&config).test_pre_nms_per_level, 500);
        assert_eq!(roi(&config).low_quality_iou, None);
    }

    #[test]
    fn images_are_resized_as_the_configuration_says_or_not_at_all() {
        let sides = |text: &str| resized_sides(Path::new("x.pth"), &Config::parse(text));
        let second = "data = dict(test=dict(pipeline=[dict(type='LoadImageFromFile'), dict(type='MultiScaleFlipAug', \
                      img_scale=(1000, 600), transforms=[dict(type='Resize', keep_ratio=True)])]))";
        assert_eq!(sides(second).expect("a size"), Some([600, 1000]));
        let third = "test_dataloader = dict(dataset=dict(pipeline=[dict(type='mmdet.Resize', scale=(2048, 512), \
                     keep_ratio=True)]))";
        assert_eq!(sides(third).expect("a size"), Some([512, 2048]));
        assert_eq!(sides("a = 1").expect("nothing"), None);
        for resize in
            ["scale=(800, 800)", "scale=(800, 800), keep_ratio=False", "scale_factor=2.0, keep_ratio=True"]
        {
            assert!(sides(&format!("test_pipeline = [dict(type='Resize', {resize})]")).is_err(), "{resize}");
        }
        assert!(sides("test_pipeline = [dict(type='LoadImageFromFile')]").is_err());
    }

    #[test]
    fn no_limit_is_a_high_one() {
        let config =
            Config::parse("model = dict(test_cfg=dict(rcnn=dict(max_per_img=-1), rpn=dict(nms_pre=-1)))");
        assert!(
            test(&config).detections_per_image > 100_000 && rpn(&config).test_pre_nms_per_level > 100_000
        );
    }
}
