//! From what a person wrote to what the modules need. Every struct is taken apart by name, so that
//! a new entry of the recipe cannot be forgotten here.

use cvx_backbone::{BlockNorm, ConvNextConfig, Variant};
use cvx_heads::{
    BoxRegression as HeadRegression, DetectionConfig, LowQualityMatch, MaskRcnnConfig, MaxIouAssigner,
    ProposalConfig, RandomSampler, SoftNms, Suppression,
};

use super::{
    Adamw, Backbone, BoxRegression, Decay, LayerDecay, MaskRcnn, Model, Nms, Optimizer, Plan, Roi, Rpn,
    Schedule, Test, Train, Version, WeightDecaySpares,
};
use crate::train::adamw::AdamWConfig;
use crate::train::groups;
use crate::train::schedule;

impl Model {
    /// The backbone's configuration.
    pub fn config(&self) -> ConvNextConfig {
        // Where weights come from is no part of the network.
        let Self { backbone, drop_path_rate, layer_scale_init, init: _ } = self;
        let config = match backbone {
            Backbone::Custom(custom) => ConvNextConfig::new(custom.depths, custom.dims, BlockNorm::Grn),
            Backbone::V2Atto => ConvNextConfig::of(Variant::V2Atto),
            Backbone::V2Femto => ConvNextConfig::of(Variant::V2Femto),
            Backbone::V2Pico => ConvNextConfig::of(Variant::V2Pico),
            Backbone::V2Nano => ConvNextConfig::of(Variant::V2Nano),
            Backbone::V2Tiny => ConvNextConfig::of(Variant::V2Tiny),
            Backbone::V2Small => ConvNextConfig::of(Variant::V2Small),
            Backbone::V2Base => ConvNextConfig::of(Variant::V2Base),
            Backbone::V2Large => ConvNextConfig::of(Variant::V2Large),
            Backbone::V2Huge => ConvNextConfig::of(Variant::V2Huge),
            Backbone::V1Atto => ConvNextConfig::of(Variant::V1Atto),
            Backbone::V1Femto => ConvNextConfig::of(Variant::V1Femto),
            Backbone::V1Pico => ConvNextConfig::of(Variant::V1Pico),
            Backbone::V1Nano => ConvNextConfig::of(Variant::V1Nano),
            Backbone::V1Tiny => ConvNextConfig::of(Variant::V1Tiny),
            Backbone::V1Small => ConvNextConfig::of(Variant::V1Small),
            Backbone::V1Base => ConvNextConfig::of(Variant::V1Base),
            Backbone::V1Large => ConvNextConfig::of(Variant::V1Large),
            Backbone::V1Xlarge => ConvNextConfig::of(Variant::V1Xlarge),
        };
        let norm = match (backbone.version(), layer_scale_init) {
            (Version::V1, Some(init)) => BlockNorm::LayerScale { init: *init },
            (Version::V1 | Version::V2, _) => BlockNorm::Grn,
        };
        ConvNextConfig { norm, ..config }.with_drop_path_rate(*drop_path_rate)
    }
}

impl MaskRcnn {
    /// The heads' configuration.
    pub fn config(&self) -> MaskRcnnConfig {
        let Self {
            num_classes,
            fpn_channels,
            num_fcs,
            fc_channels,
            num_mask_convs,
            mask_channels,
            box_regression,
            rpn,
            roi,
            // It is no part of the architecture: see `Test::config`.
            test: _,
        } = self;
        let Rpn {
            anchor_scales,
            anchor_ratios,
            samples_per_image: rpn_samples,
            positive_fraction: rpn_fraction,
            positive_iou: rpn_positive,
            negative_iou: rpn_negative,
            low_quality_iou: rpn_low_quality,
            train_pre_nms_per_level,
            train_proposals_per_image,
            test_pre_nms_per_level,
            test_proposals_per_image,
            nms_iou,
        } = rpn;
        let Roi {
            samples_per_image: roi_samples,
            positive_fraction: roi_fraction,
            positive_iou: roi_positive,
            negative_iou: roi_negative,
            low_quality_iou: roi_low_quality,
        } = roi;
        let proposals = |num_per_level: usize, max_per_image: usize| {
            ProposalConfig::new(num_per_level).with_max_per_image(max_per_image).with_nms_iou(*nms_iou)
        };
        MaskRcnnConfig::new(*num_classes)
            .with_fpn_channels(*fpn_channels)
            .with_num_fcs(*num_fcs)
            .with_fc_channels(*fc_channels)
            .with_num_mask_convs(*num_mask_convs)
            .with_mask_channels(*mask_channels)
            .with_box_regression(match box_regression {
                BoxRegression::ClassSpecific => HeadRegression::ClassSpecific,
                BoxRegression::ClassAgnostic => HeadRegression::ClassAgnostic,
            })
            .with_anchor_scales(anchor_scales.clone())
            .with_anchor_ratios(anchor_ratios.clone())
            .with_rpn_assigner(MaxIouAssigner::new(
                *rpn_positive,
                *rpn_negative,
                low_quality(*rpn_low_quality),
            ))
            .with_rpn_sampler(RandomSampler::new(*rpn_samples, *rpn_fraction))
            .with_roi_assigner(MaxIouAssigner::new(
                *roi_positive,
                *roi_negative,
                low_quality(*roi_low_quality),
            ))
            .with_roi_sampler(RandomSampler::new(*roi_samples, *roi_fraction))
            .with_train_proposals(proposals(*train_pre_nms_per_level, *train_proposals_per_image))
            .with_test_proposals(proposals(*test_pre_nms_per_level, *test_proposals_per_image))
    }
}

fn low_quality(min_iou: Option<f32>) -> LowQualityMatch {
    min_iou.map_or(LowQualityMatch::Off, |min_iou| LowQualityMatch::AllTied { min_iou })
}

impl Test {
    /// Which predictions become detections.
    pub fn config(&self) -> DetectionConfig {
        // Masks become pixels outside the heads: see `collate`.
        let Self { score_threshold, nms, detections_per_image, mask_threshold: _ } = self;
        DetectionConfig {
            score_threshold: *score_threshold,
            suppression: match *nms {
                Nms::Hard { iou } => Suppression::Hard { iou },
                Nms::SoftLinear { iou, min_score } => {
                    Suppression::Soft { iou, method: SoftNms::Linear, min_score }
                }
                // The bell has no threshold, so the IoU is never looked at.
                Nms::SoftGaussian { sigma, min_score } => {
                    Suppression::Soft { iou: 0.0, method: SoftNms::Gaussian { sigma }, min_score }
                }
            },
            max_per_image: *detections_per_image,
        }
    }
}

impl Adamw {
    /// The update rule's constants.
    pub fn config(&self) -> AdamWConfig {
        let Self {
            lr: _,
            betas: [beta1, beta2],
            eps,
            weight_decay: _,
            weight_decay_spares: _,
            layer_decay: _,
        } = self;
        AdamWConfig { beta1: *beta1, beta2: *beta2, eps: *eps }
    }

    /// How much a weight decays, and which do not.
    pub fn weight_decay(&self) -> groups::WeightDecay {
        groups::WeightDecay {
            value: self.weight_decay,
            exempt: match self.weight_decay_spares {
                WeightDecaySpares::OneAxisOrBias => groups::DecayExempt::OneAxisOrBias,
                WeightDecaySpares::OneAxisBiasGammaBeta => groups::DecayExempt::OneAxisBiasGammaBeta,
                WeightDecaySpares::OneAxisOrBiasButGrn => groups::DecayExempt::OneAxisOrBiasButGrn,
            },
        }
    }

    /// How much slower early layers learn.
    pub fn layer_decay(&self) -> groups::LayerDecay {
        match self.layer_decay {
            LayerDecay::None => groups::LayerDecay::None,
            LayerDecay::Single { rate } => groups::LayerDecay::Single { rate },
            LayerDecay::Group { rate } => groups::LayerDecay::Group { rate },
            LayerDecay::LayerWise { rate, num_layers } => groups::LayerDecay::LayerWise { rate, num_layers },
            LayerDecay::StageWise { rate, num_layers } => groups::LayerDecay::StageWise { rate, num_layers },
        }
    }
}

impl Schedule {
    /// The rate of every step of a run of `total_steps`, `steps_per_epoch` of which make an epoch.
    pub fn config(&self, base_lr: f64, steps_per_epoch: usize, total_steps: usize) -> schedule::Schedule {
        let Self { warmup_steps, warmup_start_factor, decay } = self;
        let (begin, end) = (*warmup_steps, total_steps);
        schedule::Schedule {
            base_lr,
            warmup: schedule::Warmup { steps: *warmup_steps, start_factor: *warmup_start_factor },
            decay: match decay {
                Decay::Constant => schedule::Decay::Constant,
                Decay::Step { milestone_epochs, gamma } => schedule::Decay::Step {
                    milestones: milestone_epochs
                        .iter()
                        .map(|epoch| epoch.saturating_mul(steps_per_epoch))
                        .collect(),
                    gamma: *gamma,
                },
                Decay::Cosine { min_lr } => schedule::Decay::Cosine { begin, end, min_lr: *min_lr },
                Decay::Polynomial { power, min_lr } => {
                    schedule::Decay::Polynomial { begin, end, power: *power, min_lr: *min_lr }
                }
            },
        }
    }
}

impl Train {
    /// What it says of a run, with what other parts of the recipe say.
    pub(crate) fn plan<'a>(
        &'a self,
        seed: u64,
        evaluate_every: (Option<usize>, Option<usize>),
        best_by: &'a str,
        (optimizer, schedule): (&'a Optimizer, &'a Schedule),
    ) -> Plan<'a> {
        let Self {
            epochs,
            batch_size,
            accumulation_steps,
            lr_batch_size,
            max_grad_norm,
            ema,
            freeze,
            early_stop,
            recompute_stages,
            checkpoint_every_steps,
            keep_checkpoints,
            // These are the loader's.
            group_by_aspect: _,
            transforms: _,
            workers: _,
        } = self;
        Plan {
            seed,
            epochs: *epochs,
            batch_size: *batch_size,
            accumulation_steps: *accumulation_steps,
            lr_batch_size: *lr_batch_size,
            max_grad_norm: *max_grad_norm,
            ema: *ema,
            freeze,
            early_stop: *early_stop,
            recompute_stages,
            checkpoint_every_steps: *checkpoint_every_steps,
            keep_checkpoints: *keep_checkpoints,
            evaluate_every,
            best_by,
            optimizer,
            schedule,
        }
    }
}
