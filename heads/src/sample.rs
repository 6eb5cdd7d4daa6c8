//! A random, balanced choice among assigned priors, reproducible from a seed.
//!
//! Semantics of mmdet 3.3, `random_sampler.py` with `neg_pos_ub` -1. Its random numbers are
//! PyTorch's and cannot be had here; with room for everything both take everything.

use burn::prelude::*;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::assign::Assigned;

/// How many priors of an image take part in a loss.
#[derive(Config, Debug)]
pub struct RandomSampler {
    /// Positive and negative priors together.
    pub num: usize,
    /// Largest share of positive ones; negative ones take what they leave free.
    pub positive_fraction: f64,
}

/// Chosen priors as ascending indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// They answer for a true box.
    pub positive: Vec<usize>,
    /// They are background.
    pub negative: Vec<usize>,
}

/// Which of the two choices of an image a random stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingStage {
    /// Anchors, for the region proposal network.
    Anchors,
    /// Proposals, for box and mask heads.
    Proposals,
}

impl RandomSampler {
    /// 256 anchors, half of them positive.
    pub fn rpn() -> Self {
        Self::new(256, 0.5)
    }

    /// 512 proposals, a quarter of them positive.
    pub fn roi() -> Self {
        Self::new(512, 0.25)
    }

    /// Chooses among `assigned`; the ignored are never chosen.
    pub fn sample(&self, assigned: &[Assigned], rng: &mut ChaCha8Rng) -> Samples {
        let with = |wanted: fn(&Assigned) -> bool| -> Vec<usize> {
            (0..assigned.len()).filter(|&index| wanted(&assigned[index])).collect()
        };
        let positive = with(|assigned| matches!(assigned, Assigned::Truth(_)));
        let negative = with(|assigned| matches!(assigned, Assigned::Background));
        let max_positive = (self.num as f64 * self.positive_fraction) as usize;
        let positive = choose(positive, max_positive, rng);
        let negative = choose(negative, self.num - positive.len(), rng);
        Samples { positive, negative }
    }
}

/// At most `num` of `indices`, in ascending order.
fn choose(indices: Vec<usize>, num: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if indices.len() <= num {
        return indices;
    }
    let mut chosen: Vec<usize> =
        index::sample(rng, indices.len(), num).iter().map(|position| indices[position]).collect();
    chosen.sort_unstable();
    chosen
}

/// A stream of its own for every image and stage, so that no choice depends on another's length.
pub(crate) fn sampling_rng(seed: u64, image_index: usize, stage: SamplingStage) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(image_index as u64 * 2 + stage as u64);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rng(seed: u64) -> ChaCha8Rng {
        sampling_rng(seed, 0, SamplingStage::Anchors)
    }

    #[test]
    fn with_room_for_all_everything_but_the_ignored_is_chosen() {
        let assigned = [Assigned::Background, Assigned::Ignored, Assigned::Truth(3)];
        let samples = RandomSampler::new(1_000_000, 0.5).sample(&assigned, &mut rng(0));
        assert_eq!(samples, Samples { positive: vec![2], negative: vec![0] });
    }

    #[test]
    fn negatives_fill_what_positives_leave_free() {
        let mut assigned = vec![Assigned::Background; 100];
        assigned.extend([Assigned::Truth(0); 30]);
        let samples = RandomSampler::new(16, 0.25).sample(&assigned, &mut rng(1));
        assert_eq!((samples.positive.len(), samples.negative.len()), (4, 12));
        let samples = RandomSampler::new(100, 0.5).sample(&assigned, &mut rng(1));
        assert_eq!((samples.positive.len(), samples.negative.len()), (30, 70));
    }

    #[test]
    fn a_choice_is_ascending_and_depends_on_the_seed_alone() {
        let assigned = vec![Assigned::Background; 1000];
        let sample = |seed| RandomSampler::rpn().sample(&assigned, &mut rng(seed)).negative;
        assert_eq!(sample(7), sample(7));
        assert_ne!(sample(7), sample(8));
        assert!(sample(7).is_sorted());
    }
}
