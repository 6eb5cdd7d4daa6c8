//! UPerNet from a published file: widths from its shapes, window and pixels from its configuration, and else what mmseg's
//! `upernet_convnext.py` says.

use super::*;
use crate::seg::inference::Window;
use crate::seg::model::{Auxiliary, Head as UperNet};
use crate::seg::{self};
use crate::weights::python_config::Config;

/// mmseg's resized images: the shorter and the longer side, input pixels.
const SIDES: [u32; 2] = [512, 2048];

/// The grids of every published UPerNet; no tensor tells them.
const POOL_SCALES: [usize; 4] = [1, 2, 3, 6];

pub(super) fn describe(published: &Published) -> Result<Described> {
    if let Some(described) = exported(published)? {
        return Ok(described);
    }
    let nothing = Config::default();
    let config = published.source.told.config.as_ref().unwrap_or(&nothing);
    if let Some(what) = limits::beyond_upernet(config) {
        bail!(
            "{}: its configuration has {what}, which this program's UPerNet has not",
            published.source.path.display()
        );
    }
    let mut remarks = Vec::new();
    if config == &nothing {
        remarks.push(
            "the file does not say how images are resized and windowed: taken are 512 pixels, and the whole image at once"
                .to_owned(),
        );
    }
    let upernet = head(published, config)?;
    let mut classes = classes(published, upernet.num_classes, &mut remarks)?;
    // mmseg writes one of ADE20K's with a space behind it.
    classes.iter_mut().for_each(|class| *class = class.trim().to_owned());
    let architecture = seg::model::Architecture { model: model(published)?, upernet };
    Ok(Described {
        architecture: Architecture::Segmentor(architecture),
        classes,
        preprocessing: serde_json::to_value(preprocessing(published, config)?)?,
        remarks,
    })
}

fn head(published: &Published, config: &Config) -> Result<UperNet> {
    let [num_classes] = shape(published, "decode_head.conv_seg.bias")?;
    let [channels] = shape(published, "decode_head.fpn_bottleneck.bn.bias")?;
    let pool_scales = config.numbers("model.decode_head.pool_scales");
    let pool_scales = pool_scales.map(|scales| scales.iter().map(|&scale| scale as usize).collect());
    let transformers = published.source.told.transformers.as_ref().map(|config| &config["pool_scales"]);
    let pool_scales = pool_scales
        .or_else(|| serde_json::from_value(transformers?.clone()).ok())
        .unwrap_or_else(|| POOL_SCALES.to_vec());
    let has_auxiliary = published
        .name("heads.auxiliary_head.conv_seg.bias")
        .is_some_and(|name| published.source.shape(&name).is_some());
    let auxiliary = if has_auxiliary {
        let [channels] = shape(published, "auxiliary_head.convs.0.bn.bias")?;
        Some(Auxiliary { channels, num_convs: count_layers(published, "auxiliary_head.convs", ".bn.bias") })
    } else {
        None
    };
    Ok(UperNet { num_classes, channels, pool_scales, auxiliary })
}

fn preprocessing(published: &Published, config: &Config) -> Result<seg::model::Preprocessing> {
    let told = &published.source.told.image;
    let usual = classify::Preprocessing::official(224);
    let [short_side, long_side] = resized_sides(&published.source.path, config)?.unwrap_or(SIDES);
    let two = |path: &str| {
        let sides: [f64; 2] = config.numbers(path)?.try_into().ok()?;
        Some(sides.map(|side| side as usize))
    };
    let window = match (
        config.text("model.test_cfg.mode"),
        two("model.test_cfg.crop_size"),
        two("model.test_cfg.stride"),
    ) {
        (Some("slide"), Some(size), Some(stride)) => Window::Sliding { size, stride },
        _ => Window::Whole,
    };
    Ok(seg::model::Preprocessing {
        input: Input {
            mean: told.mean.unwrap_or(usual.mean),
            std: told.std.unwrap_or(usual.std),
            // mmseg pads no image that is looked at.
            pad_multiple: 1,
        },
        short_side,
        long_side,
        window,
    })
}
