//! What the proposals of one image are asked to predict.
//!
//! Semantics of mmdet 3.3, `standard_roi_head.py` and `bbox_head.py`: proposals are assigned among
//! themselves, then the true boxes are put in front of them as further, perfect proposals.

use rand_chacha::ChaCha8Rng;

use crate::assign::{Assigned, MaxIouAssigner};
use crate::box_coder::BoxCoder;
use crate::sample::RandomSampler;
use crate::target::Target;

/// A region that an object was assigned to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositiveRoi {
    /// Corners in input pixels.
    pub bbox: [f32; 4],
    /// Index of the object among the image's truths.
    pub truth: usize,
    /// Class of the object.
    pub label: usize,
    /// Deltas that lead from the region to the object's box.
    pub deltas: [f32; 4],
}

/// The sampled regions of one image.
#[derive(Clone, Debug, Default)]
pub struct RoiTargets {
    /// Regions with an object.
    pub positive: Vec<PositiveRoi>,
    /// Corners of regions without.
    pub negative: Vec<[f32; 4]>,
}

impl RoiTargets {
    /// Assigns `proposals` to the true boxes and samples from both.
    pub fn new(
        proposals: &[[f32; 4]],
        target: &Target,
        assigner: &MaxIouAssigner,
        sampler: &RandomSampler,
        coder: &BoxCoder,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let truths = &target.boxes;
        let mut assigned: Vec<Assigned> = (0_u32..).take(truths.len()).map(Assigned::Truth).collect();
        assigned.extend(assigner.assign(proposals, truths));
        let candidates: Vec<[f32; 4]> = truths.iter().chain(proposals).copied().collect();
        let samples = sampler.sample(&assigned, rng);
        let positive = |&candidate: &usize| match assigned[candidate] {
            Assigned::Truth(truth) => {
                let (bbox, truth) = (candidates[candidate], truth as usize);
                let deltas = coder.encode(bbox, truths[truth]);
                Some(PositiveRoi { bbox, truth, label: target.labels[truth], deltas })
            }
            Assigned::Background | Assigned::Ignored => None,
        };
        Self {
            positive: samples.positive.iter().filter_map(positive).collect(),
            negative: samples.negative.iter().map(|&candidate| candidates[candidate]).collect(),
        }
    }
}
