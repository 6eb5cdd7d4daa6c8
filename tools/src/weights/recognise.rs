//! From the names and shapes of a file's tensors to whose names they are and what network they are of.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use cvx_backbone::NameScheme;

use super::published::{DetectorNames, Published, SegmentorNames, Top, has_tensor};
use super::source::Source;
use crate::recipe::Version;

/// More blocks in a stage than any network has.
const DEEPEST: usize = 1 << 10;
/// More channels than any network has.
const WIDEST: usize = 1 << 16;
/// Depths and dims of timm's largest ConvNeXt.
const XXLARGE: ([usize; 4], [usize; 4]) = ([3, 4, 30, 3], [384, 768, 1536, 3072]);

/// The backbone's tensors of a file, asked for by our names.
struct Backbone<'a> {
    source: &'a Source,
    scheme: NameScheme,
    prefix: &'a str,
}

/// Finds out what a file holds.
///
/// # Errors
/// If it holds no ConvNeXt, or one that this program would compute something else with.
pub(super) fn recognise(source: Source) -> Result<Published> {
    let path = source.path.display();
    let Some((scheme, prefix)) = scheme_and_prefix(&source) else {
        let shown: Vec<String> = source.names().take(4).map(|name| name.escape_debug().to_string()).collect();
        bail!(
            "{path}: no ConvNeXt of four stages: its tensors are called `{}` and so on, as in none of the ConvNeXt \
             repositories, timm, transformers, torchvision, detectron2 and OpenMMLab",
            shown.join("`, `")
        );
    };
    let backbone = Backbone { source: &source, scheme, prefix: &prefix };
    let stages: [usize; 4] = std::array::from_fn(|stage| stage);
    let depths = stages.map(|stage| backbone.depth(stage));
    let dims = stages.map(|stage| backbone.channels(stage));
    for stage in stages {
        ensure!(
            (1..=WIDEST).contains(&dims[stage]) && (1..=DEEPEST).contains(&depths[stage]),
            "{path}: no ConvNeXt: stage {stage} has {} blocks of {} channels",
            depths[stage],
            dims[stage]
        );
    }
    // timm `models/convnext.py`, `convnext_xxlarge`: weights of this size were trained with it alone.
    ensure!(
        scheme != NameScheme::Timm || (depths, dims) != XXLARGE,
        "{path}: timm's convnext_xxlarge has norms with an epsilon of 1e-5, those of this program have 1e-6"
    );
    expect_our_arithmetic(&source)?;
    let version = backbone.version(&depths);
    let lacks_layer_scale = version == Version::V1 && !backbone.has_in_a_block(&depths, &["gamma"]);
    let top = top(&source, scheme, &prefix);
    Ok(Published { source, scheme, top, version, depths, dims, lacks_layer_scale, prefix })
}

/// Refuses networks whose configuration of transformers or timm names another activation or another epsilon.
fn expect_our_arithmetic(source: &Source) -> Result<()> {
    let path = source.path.display();
    if let Some(config) = &source.told.transformers {
        // UPerNet keeps its backbone's apart.
        let config = config.get("backbone_config").unwrap_or(config);
        let activation = config["hidden_act"].as_str().unwrap_or("gelu");
        ensure!(
            activation == "gelu",
            "{path}: its configuration has `hidden_act` = {activation}, here it is gelu"
        );
        let epsilon = config["layer_norm_eps"].as_f64().unwrap_or(0.0);
        // Only the last norm has this one (DINOv3: all have), and below our own it makes no difference.
        ensure!(
            epsilon <= 1e-6,
            "{path}: its configuration has `layer_norm_eps` = {epsilon:e}, the norms of this program have 1e-6"
        );
    }
    let name = source.told.timm_architecture.as_deref().unwrap_or_default();
    ensure!(
        !name.starts_with("test_convnext"),
        "{path}: timm's {name} has another activation and another epsilon than this program"
    );
    Ok(())
}

impl Backbone<'_> {
    fn has(&self, ours: &str) -> bool {
        has_tensor(self.source, self.scheme.backbone_name(self.prefix, ours))
    }

    /// Blocks of a stage; one of which only a part is there counts.
    fn depth(&self, stage: usize) -> usize {
        let layers = ["dwconv.weight", "norm.weight", "pwconv1.weight", "pwconv2.weight"];
        let has_block =
            |block: &usize| layers.iter().any(|layer| self.has(&format!("stages.{stage}.{block}.{layer}")));
        (0..=DEEPEST).take_while(has_block).count()
    }

    /// Channels of a stage, by the first of its tensors with one axis that is there; else 0.
    fn channels(&self, stage: usize) -> usize {
        // The stem ends in a norm, the layers between stages in a convolution.
        let mut with_one_axis = vec![format!("downsample_layers.{stage}.1.bias")];
        let layers = ["norm.bias", "dwconv.bias", "pwconv2.bias"];
        with_one_axis.extend(layers.map(|layer| format!("stages.{stage}.0.{layer}")));
        let names = with_one_axis.iter().filter_map(|ours| self.scheme.backbone_name(self.prefix, ours));
        names.into_iter().find_map(|name| self.source.shape(&name)?.last().copied()).unwrap_or(0)
    }

    /// V2 where any block has response normalisation.
    fn version(&self, depths: &[usize; 4]) -> Version {
        let is_v2 = self.has_in_a_block(depths, &["grn.gamma", "grn.beta"]);
        if is_v2 { Version::V2 } else { Version::V1 }
    }

    /// Whether any block has one of some layers.
    fn has_in_a_block(&self, depths: &[usize; 4], layers: &[&str]) -> bool {
        let has = |stage: usize, block: usize| {
            layers.iter().any(|layer| self.has(&format!("stages.{stage}.{block}.{layer}")))
        };
        (0..4).any(|stage| (0..depths[stage]).any(|block| has(stage, block)))
    }
}

/// The scheme under which most first blocks are found, and what stands before their names.
fn scheme_and_prefix(source: &Source) -> Option<(NameScheme, String)> {
    let mut found: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (index, scheme) in NameScheme::ALL.into_iter().enumerate() {
        let ours = (0..4).map(|stage| format!("stages.{stage}.0.dwconv.weight"));
        for ending in ours.filter_map(|ours| scheme.backbone_name("", &ours)) {
            let prefixes = source.names().filter_map(|name| name.strip_suffix(&ending));
            for prefix in prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')) {
                *found.entry((index, prefix.to_owned())).or_default() += 1;
            }
        }
    }
    // A copy of the weights beside them (`ema_backbone.`) has as many, under a longer prefix.
    let best = found.into_iter().min_by_key(|((index, prefix), hits)| (4 - hits, prefix.len(), *index));
    best.map(|((index, prefix), _)| (NameScheme::ALL[index], prefix))
}

/// What stands on the backbone, by the names beside it.
fn top(source: &Source, scheme: NameScheme, prefix: &str) -> Top {
    let starts = |with: &str| source.names().any(|name| name.starts_with(with));
    let classifier = |ours: &str| scheme.classifier_name(prefix, ours).and_then(|name| source.shape(&name));
    if starts("roi_head.bbox_head.0.") {
        Top::Other("mmdet's Cascade R-CNN")
    } else if starts("roi_head.mask_head.") {
        Top::MaskRcnn(DetectorNames::Mmdet)
    } else if starts("roi_head.") {
        Top::Other("a detector without masks")
    } else if starts("proposal_generator.") && starts("roi_heads.mask_head.") {
        Top::MaskRcnn(DetectorNames::Detectron2)
    } else if starts("rpn.head.") {
        Top::Other(
            "torchvision's Mask R-CNN, whose anchors are rounded and whose RoIAlign is shifted by half a pixel",
        )
    } else if starts("decode_head.psp_modules.") && starts("decode_head.fpn_bottleneck.batch_norm.") {
        Top::UperNet(SegmentorNames::Transformers)
    } else if starts("decode_head.psp_modules.") && starts("decode_head.fpn_bottleneck.") {
        Top::UperNet(SegmentorNames::Mmseg)
    } else if starts("decode_head.") {
        Top::Other("a segmentor that is not UPerNet")
    } else if scheme == NameScheme::Minkowski || source.names().any(|name| name.ends_with("mask_token")) {
        Top::Decoder
    } else if starts("norm_pre.") {
        Top::Other("a classifier that normalises before its mean")
    } else if let Some(weight) = classifier("head.weight") {
        Top::Classifier { num_classes: weight.first().copied().unwrap_or(0) }
    } else if classifier("norm.weight").is_some()
        && !has_tensor(source, scheme.backbone_name(prefix, "norm0.weight"))
    {
        Top::Classifier { num_classes: 0 }
    } else {
        Top::Nothing
    }
}
