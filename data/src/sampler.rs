//! Which samples make up which batch: a pure function of (seed, epoch).
//!
//! Batches hold images that lie the same way, upright or across, so that little padding is needed
//! (mmdet `AspectRatioBatchSampler`). Indices are shuffled and dealt into two groups; a group that
//! fills a batch emits it. What is left of both at the end forms mixed batches, of which the last
//! may be short. Nothing is dropped or repeated: an epoch is every sample once.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Streams of random numbers that must not coincide for one (seed, epoch).
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    /// The order of an epoch.
    Order,
    /// The transforms of the sample at this index.
    Sample(usize),
}

/// The generator of one stream. The key holds all numbers side by side, so no two streams share it.
pub(crate) fn stream_rng(seed: u64, epoch: u64, stream: Stream) -> ChaCha8Rng {
    let (kind, index) = match stream {
        Stream::Order => (0u64, 0),
        Stream::Sample(index) => (1, index as u64),
    };
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, epoch, kind, index]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Deals sample indices into batches.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchSampler {
    order: Order,
    batch_size: usize,
    /// Whether a sample that would be alone at the end joins the batch before it.
    joins_last: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Order {
    /// Shuffled anew each epoch; `upright` says of each sample whether it is higher than wide.
    Shuffled { seed: u64, upright: Vec<bool> },
    /// As they come.
    Sequential { len: usize },
}

impl BatchSampler {
    /// For training on images of these sizes, `(width, height)` in data set order. Squares go with
    /// the images that are wider than high.
    ///
    /// # Panics
    /// When `batch_size` is zero.
    pub fn shuffled(sizes: &[(u32, u32)], batch_size: usize, seed: u64) -> Self {
        assert!(batch_size > 0, "a batch holds at least one sample");
        let upright = sizes.iter().map(|(width, height)| width < height).collect();
        Self { order: Order::Shuffled { seed, upright }, batch_size, joins_last: false }
    }

    /// For evaluation: every sample once, in order, in every epoch.
    ///
    /// # Panics
    /// When `batch_size` is zero.
    pub fn sequential(len: usize, batch_size: usize) -> Self {
        assert!(batch_size > 0, "a batch holds at least one sample");
        Self { order: Order::Sequential { len }, batch_size, joins_last: false }
    }

    /// A shuffled sample that would be alone at the end joins the batch before it: batch normalisation needs two.
    #[must_use]
    pub fn joining_last(self) -> Self {
        Self { joins_last: true, ..self }
    }

    /// Number of batches in an epoch; the same for every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        match &self.order {
            Order::Sequential { len } => len.div_ceil(self.batch_size),
            Order::Shuffled { upright, .. } => {
                let higher = upright.iter().filter(|&&upright| upright).count();
                let wider = upright.len() - higher;
                let rest = higher % self.batch_size + wider % self.batch_size;
                let full = higher / self.batch_size + wider / self.batch_size;
                let batches = full + rest.div_ceil(self.batch_size);
                let is_alone = rest % self.batch_size == 1 && batches > 1;
                batches - usize::from(self.joins_last && is_alone)
            }
        }
    }

    /// The batches of an epoch, as indices into the data set.
    pub fn batches(&self, epoch: u64) -> Vec<Vec<usize>> {
        let chunks = |indices: &[usize]| -> Vec<Vec<usize>> {
            indices.chunks(self.batch_size).map(<[usize]>::to_vec).collect()
        };
        let (seed, upright) = match &self.order {
            Order::Sequential { len } => return chunks(&(0..*len).collect::<Vec<_>>()),
            Order::Shuffled { seed, upright } => (*seed, upright),
        };
        let mut indices: Vec<usize> = (0..upright.len()).collect();
        indices.shuffle(&mut stream_rng(seed, epoch, Stream::Order));
        let mut batches = Vec::with_capacity(self.batches_per_epoch());
        let mut groups = [Vec::new(), Vec::new()];
        for index in indices {
            let group = &mut groups[usize::from(!upright[index])];
            group.push(index);
            if group.len() == self.batch_size {
                batches.push(std::mem::take(group));
            }
        }
        batches.extend(chunks(&groups.concat()));
        if self.joins_last
            && let [.., before, last] = batches.as_mut_slice()
            && last.len() == 1
        {
            before.append(last);
            batches.pop();
        }
        batches
    }

    /// Most samples of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The seed of order and transforms; evaluation has none, and its transforms draw nothing.
    pub(crate) fn seed(&self) -> u64 {
        match self.order {
            Order::Shuffled { seed, .. } => seed,
            Order::Sequential { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every third image is upright.
    fn sizes(len: usize) -> Vec<(u32, u32)> {
        (0..len).map(|i| if i % 3 == 0 { (30, 40) } else { (40, 30) }).collect()
    }

    #[test]
    fn an_epoch_is_every_sample_once() {
        for (len, batch_size) in [(0, 2), (1, 2), (7, 2), (100, 8), (101, 16), (5, 50)] {
            let sampler = BatchSampler::shuffled(&sizes(len), batch_size, 3);
            let batches = sampler.batches(0);
            assert_eq!(batches.len(), sampler.batches_per_epoch(), "{len} by {batch_size}");
            let mut seen = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..len).collect::<Vec<_>>());
            assert!(batches.iter().all(|batch| (1..=batch_size).contains(&batch.len())));
        }
    }

    #[test]
    fn a_sample_that_would_be_alone_joins_the_batch_before_it() {
        for (len, sizes_of_batches) in [(9, vec![4, 5]), (10, vec![4, 4, 2]), (1, vec![1])] {
            let sampler = BatchSampler::shuffled(&vec![(1, 1); len], 4, 3).joining_last();
            let batches: Vec<_> = sampler.batches(2).iter().map(Vec::len).collect();
            assert_eq!(batches, sizes_of_batches);
            assert_eq!(sampler.batches_per_epoch(), sizes_of_batches.len());
        }
    }

    #[test]
    fn full_batches_lie_the_same_way() {
        let batches = BatchSampler::shuffled(&sizes(100), 8, 3).batches(0);
        let mixed = batches
            .iter()
            .filter(|batch| batch.iter().any(|i| i % 3 == 0) && batch.iter().any(|i| i % 3 != 0));
        // 34 upright leave 2, 66 others leave 2: one batch of what is left.
        assert_eq!(mixed.count(), 1);
        assert_eq!(batches.last().map(Vec::len), Some(4));
    }

    #[test]
    fn seed_and_epoch_alone_decide_the_order() {
        let sampler = BatchSampler::shuffled(&sizes(50), 4, 3);
        assert_eq!(sampler.batches(5), BatchSampler::shuffled(&sizes(50), 4, 3).batches(5));
        assert_ne!(sampler.batches(5), sampler.batches(6));
        assert_ne!(sampler.batches(5), BatchSampler::shuffled(&sizes(50), 4, 4).batches(5));
    }

    #[test]
    fn evaluation_goes_through_the_data_set_in_order() {
        let sampler = BatchSampler::sequential(5, 2);
        assert_eq!(sampler.batches(9), [vec![0, 1], vec![2, 3], vec![4]]);
    }
}
