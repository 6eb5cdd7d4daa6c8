//! Mask R-CNN: proposals from a pyramid, then class, box and mask of each.
//!
//! Paper: He et al. 2017, <https://arxiv.org/abs/1703.06870>; semantics and defaults of mmdet 3.3,
//! `configs/_base_/models/mask-rcnn_r50_fpn.py`, because published checkpoints and figures are.
//!
//! Everything that needs no gradient (assigning, sampling, decoding, suppression) is arithmetic on
//! the host between one read of the proposals and one of the predictions.

use burn::module::Module;
use burn::prelude::*;
use cvx_backbone::{FeatureMaps, FeatureSpec};
use rayon::prelude::*;

use crate::anchors::Anchors;
use crate::assign::MaxIouAssigner;
use crate::box_coder::BoxCoder;
use crate::box_head::{BoxHead, BoxHeadConfig, BoxLosses, BoxRegression};
use crate::detections::{Detection, DetectionConfig};
use crate::fpn::Fpn;
use crate::mask_head::{MaskHead, MaskHeadConfig};
use crate::proposals::{Proposal, ProposalConfig};
use crate::roi_targets::RoiTargets;
use crate::rpn::{AnchorPredictions, RpnHead, RpnLosses, RpnPredictions};
use crate::rpn_targets::AnchorTargets;
use crate::sample::{RandomSampler, SamplingStage, sampling_rng};
use crate::target::{ImageSize, Target};

/// Configuration of a [`MaskRcnn`].
#[derive(Config, Debug)]
pub struct MaskRcnnConfig {
    /// Classes without the background.
    pub num_classes: usize,
    /// Channels of the pyramid and of the RPN.
    #[config(default = 256)]
    pub fpn_channels: usize,
    /// Width of the box head's hidden layers.
    #[config(default = 1024)]
    pub fc_channels: usize,
    /// How many hidden layers the box head has.
    #[config(default = 2)]
    pub num_fcs: usize,
    /// Whether every class moves a region's box in its own way.
    #[config(default = "BoxRegression::ClassSpecific")]
    pub box_regression: BoxRegression,
    /// Channels of the mask head's hidden layers.
    #[config(default = 256)]
    pub mask_channels: usize,
    /// How many hidden layers the mask head has.
    #[config(default = 4)]
    pub num_mask_convs: usize,
    /// Sides of anchors as multiples of their level's stride.
    #[config(default = "vec![8.0]")]
    pub anchor_scales: Vec<f32>,
    /// Heights of anchors divided by their widths.
    #[config(default = "vec![0.5, 1.0, 2.0]")]
    pub anchor_ratios: Vec<f32>,
    /// Which anchor answers for which object.
    #[config(default = "MaxIouAssigner::rpn()")]
    pub rpn_assigner: MaxIouAssigner,
    /// How many anchors of an image are trained on.
    #[config(default = "RandomSampler::rpn()")]
    pub rpn_sampler: RandomSampler,
    /// Which proposal answers for which object.
    #[config(default = "MaxIouAssigner::roi()")]
    pub roi_assigner: MaxIouAssigner,
    /// How many proposals of an image are trained on.
    #[config(default = "RandomSampler::roi()")]
    pub roi_sampler: RandomSampler,
    /// Proposals made in training.
    #[config(default = "ProposalConfig::train()")]
    pub train_proposals: ProposalConfig,
    /// Proposals made in detection.
    #[config(default = "ProposalConfig::test()")]
    pub test_proposals: ProposalConfig,
    /// Standard deviations of the RPN's deltas.
    #[config(default = "[1.0, 1.0, 1.0, 1.0]")]
    pub rpn_delta_stds: [f32; 4],
    /// Standard deviations of the box head's deltas.
    #[config(default = "[0.1, 0.1, 0.2, 0.2]")]
    pub roi_delta_stds: [f32; 4],
}

/// The detector without its backbone.
#[derive(Module, Debug)]
pub struct MaskRcnn {
    /// Makes the pyramid.
    pub neck: Fpn,
    /// Looks for objects at anchors.
    pub rpn_head: RpnHead,
    /// Tells what is in a region, and where.
    pub bbox_head: BoxHead,
    /// Tells which pixels belong to it.
    pub mask_head: MaskHead,
    #[module(skip)]
    anchors: Anchors,
    #[module(skip)]
    pub(crate) config: MaskRcnnConfig,
    /// Which predictions become detections. It is no part of the architecture and may be changed
    /// at any time.
    #[module(skip)]
    pub detection: DetectionConfig,
}

/// The five terms of the loss, each a single number with a weight of one.
#[derive(Clone, Debug)]
pub struct MaskRcnnLosses {
    /// Whether there is an object at an anchor.
    pub rpn_cls: Tensor<1>,
    /// Where it is from the anchor.
    pub rpn_bbox: Tensor<1>,
    /// Which object is in a proposal.
    pub cls: Tensor<1>,
    /// Where it is from the proposal.
    pub bbox: Tensor<1>,
    /// Which pixels belong to it.
    pub mask: Tensor<1>,
}

impl MaskRcnnLosses {
    /// The sum that is minimised.
    pub fn total(self) -> Tensor<1> {
        let Self { rpn_cls, rpn_bbox, cls, bbox, mask } = self;
        rpn_cls + rpn_bbox + cls + bbox + mask
    }
}

/// Number of pyramid levels that proposals come from.
const NUM_LEVELS: usize = 5;

impl MaskRcnnConfig {
    /// A detector with random weights over maps as declared by `specs`.
    ///
    /// # Panics
    /// If the maps are not at strides 4, 8, 16 and 32.
    pub fn init(&self, specs: &[FeatureSpec; 4], device: &Device) -> MaskRcnn {
        let strides = specs.map(|spec| spec.stride);
        assert_eq!(strides, [4, 8, 16, 32], "strides of the backbone's maps");
        let [_, _, _, coarsest] = strides;
        let mut strides = strides.to_vec();
        strides.push(2 * coarsest);
        let anchors = Anchors::new(&strides, &self.anchor_scales, &self.anchor_ratios);
        let bbox_head = BoxHeadConfig::new(self.num_classes, self.fpn_channels)
            .with_fc_channels(self.fc_channels)
            .with_num_fcs(self.num_fcs)
            .with_regression(self.box_regression);
        let mask_head = MaskHeadConfig::new(self.num_classes, self.fpn_channels)
            .with_conv_channels(self.mask_channels)
            .with_num_convs(self.num_mask_convs);
        MaskRcnn {
            neck: Fpn::new(specs, self.fpn_channels, device),
            rpn_head: RpnHead::new(self.fpn_channels, anchors.num_per_cell(), device),
            bbox_head: bbox_head.init(device),
            mask_head: mask_head.init(device),
            anchors,
            config: self.clone(),
            detection: DetectionConfig::default(),
        }
    }
}

/// What the first half of the detector says about a batch.
struct Proposing {
    /// The maps that regions are cut from.
    roi_levels: [Tensor<4>; 4],
    predictions: RpnPredictions,
    /// The same on the host, one entry an image.
    on_host: Vec<AnchorPredictions>,
    anchors: Vec<[f32; 4]>,
}

impl MaskRcnn {
    /// The losses of a batch. What is sampled depends on `sampling_seed` and on an image's place in
    /// the batch alone.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - `targets`, `sizes`: one an image
    /// - output: `[1]` each
    ///
    /// # Panics
    /// If a target has not one label and one mask a box.
    pub fn losses(
        &self,
        maps: FeatureMaps,
        targets: &[Target],
        sizes: &[ImageSize],
        sampling_seed: u64,
    ) -> MaskRcnnLosses {
        assert_eq!(targets.len(), sizes.len(), "one size an image");
        for Target { boxes, labels, masks } in targets {
            assert_eq!(boxes.len(), labels.len(), "one label a box");
            assert_eq!(boxes.len(), masks.len(), "one mask a box");
        }
        let proposing = self.look_for_objects(maps, sizes);
        let proposals = self.proposals_of(&proposing, sizes, &self.config.train_proposals);
        let sampled: Vec<(AnchorTargets, RoiTargets)> = (0..targets.len())
            .into_par_iter()
            .map(|image| {
                let (target, size) = (&targets[image], &sizes[image]);
                (
                    self.anchor_targets(&proposing, target, size, sampling_seed, image),
                    self.roi_targets(&proposals[image], target, sampling_seed, image),
                )
            })
            .collect();
        let (anchor_targets, roi_targets): (Vec<_>, Vec<_>) = sampled.into_iter().unzip();

        let RpnLosses { cls: rpn_cls, bbox: rpn_bbox } = proposing.predictions.losses(&anchor_targets);
        let BoxLosses { cls, bbox } = self.box_losses(&proposing.roi_levels, &roi_targets);
        let mask = self.mask_loss(&proposing.roi_levels, &roi_targets, targets);
        MaskRcnnLosses { rpn_cls, rpn_bbox, cls, bbox, mask }
    }

    /// The detections in each image, best first, in input pixels.
    ///
    /// # Shapes
    /// - `maps`: `[batch, channels of the stage, height, width]` at strides 4, 8, 16, 32
    /// - `sizes`: one an image
    pub fn detect(&self, maps: FeatureMaps, sizes: &[ImageSize]) -> Vec<Vec<Detection>> {
        let proposing = self.look_for_objects(maps, sizes);
        let proposals = self.proposals_of(&proposing, sizes, &self.config.test_proposals);
        let mut found = self.detect_boxes(&proposing.roi_levels, &proposals, sizes);
        self.detect_masks(&proposing.roi_levels, &mut found);
        found
    }

    /// The proposals of each image, best first, as detection makes them.
    pub fn propose(&self, maps: FeatureMaps, sizes: &[ImageSize]) -> Vec<Vec<Proposal>> {
        let proposing = self.look_for_objects(maps, sizes);
        self.proposals_of(&proposing, sizes, &self.config.test_proposals)
    }

    fn look_for_objects(&self, maps: FeatureMaps, sizes: &[ImageSize]) -> Proposing {
        let pyramid = self.neck.forward(maps);
        let [batch, _, _, _] = pyramid.p2.dims();
        assert_eq!(sizes.len(), batch, "one size an image");
        let levels: [Tensor<4>; NUM_LEVELS] = pyramid.levels();
        let predictions = RpnPredictions::from_levels(self.rpn_head.forward(&levels));
        let on_host = predictions.read();
        let anchors = self.anchors.grid(&predictions.map_sizes);
        Proposing { roi_levels: pyramid.roi_levels(), predictions, on_host, anchors }
    }

    fn proposals_of(
        &self,
        proposing: &Proposing,
        sizes: &[ImageSize],
        config: &ProposalConfig,
    ) -> Vec<Vec<Proposal>> {
        let counts = self.anchors.counts(&proposing.predictions.map_sizes);
        let coder = BoxCoder { stds: self.config.rpn_delta_stds };
        (0..sizes.len())
            .into_par_iter()
            .map(|image| {
                let predictions = &proposing.on_host[image];
                config.propose(predictions, &proposing.anchors, &counts, &coder, &sizes[image])
            })
            .collect()
    }

    fn anchor_targets(
        &self,
        proposing: &Proposing,
        target: &Target,
        size: &ImageSize,
        sampling_seed: u64,
        image: usize,
    ) -> AnchorTargets {
        AnchorTargets::new(
            &proposing.anchors,
            &self.anchors.valid(&proposing.predictions.map_sizes, size),
            &target.boxes,
            &self.config.rpn_assigner,
            &self.config.rpn_sampler,
            &BoxCoder { stds: self.config.rpn_delta_stds },
            &mut sampling_rng(sampling_seed, image, SamplingStage::Anchors),
        )
    }

    fn roi_targets(
        &self,
        proposals: &[Proposal],
        target: &Target,
        sampling_seed: u64,
        image: usize,
    ) -> RoiTargets {
        let boxes: Vec<[f32; 4]> = proposals.iter().map(|proposal| proposal.bbox).collect();
        RoiTargets::new(
            &boxes,
            target,
            &self.config.roi_assigner,
            &self.config.roi_sampler,
            &BoxCoder { stds: self.config.roi_delta_stds },
            &mut sampling_rng(sampling_seed, image, SamplingStage::Proposals),
        )
    }
}
