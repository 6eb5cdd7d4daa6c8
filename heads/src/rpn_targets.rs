//! What the anchors of one image are asked to predict.
//!
//! Semantics of mmdet 3.3, `anchor_head.py` with `allowed_border` -1: every anchor within the
//! image's own padding takes part, also those that reach beyond the image.

use rand_chacha::ChaCha8Rng;

use crate::assign::{Assigned, MaxIouAssigner};
use crate::box_coder::BoxCoder;
use crate::sample::{RandomSampler, Samples};

/// The sampled anchors of an image and what they should say.
#[derive(Clone, Debug)]
pub struct AnchorTargets {
    /// Indices into all anchors.
    pub samples: Samples,
    /// Deltas that lead from each positive anchor to its true box.
    pub deltas: Vec<[f32; 4]>,
}

impl AnchorTargets {
    /// Assigns the `valid` ones among `anchors` to `truths` and samples from them.
    pub fn new(
        anchors: &[[f32; 4]],
        valid: &[usize],
        truths: &[[f32; 4]],
        assigner: &MaxIouAssigner,
        sampler: &RandomSampler,
        coder: &BoxCoder,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let priors: Vec<[f32; 4]> = valid.iter().map(|&anchor| anchors[anchor]).collect();
        let assigned = assigner.assign(&priors, truths);
        let mut samples = sampler.sample(&assigned, rng);
        let delta = |&prior: &usize| match assigned[prior] {
            Assigned::Truth(truth) => Some(coder.encode(priors[prior], truths[truth as usize])),
            Assigned::Background | Assigned::Ignored => None,
        };
        let deltas = samples.positive.iter().filter_map(delta).collect();
        for index in samples.positive.iter_mut().chain(&mut samples.negative) {
            *index = valid[*index];
        }
        Self { samples, deltas }
    }
}
