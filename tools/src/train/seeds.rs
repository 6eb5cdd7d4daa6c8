//! Seeds as a pure function of the run's seed and the batch, so that a resumed run needs no generator's state.

/// What a seed is for; the same batch needs different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The device's generator: drop path and dropout.
    Device,
    /// What is drawn on the host, such as the boxes that a detector samples.
    Sampling,
}

/// The seed of one batch, counted from the start of the run.
pub fn seed(run_seed: u64, batch: u64, purpose: Purpose) -> u64 {
    let salt = match purpose {
        Purpose::Device => 0x6465_7669_6365,
        Purpose::Sampling => 0x7361_6d70_6c65,
    };
    splitmix(splitmix(run_seed ^ salt).wrapping_add(batch))
}

/// SplitMix64, Steele et al. 2014: neighbouring inputs give unrelated outputs.
fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // First output of the reference implementation for the state 0.
        assert_eq!(splitmix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn batches_runs_and_purposes_have_seeds_of_their_own() {
        let mut seeds: Vec<u64> = Vec::new();
        for run in 0..10 {
            for batch in 0..100 {
                seeds.extend([Purpose::Device, Purpose::Sampling].map(|purpose| seed(run, batch, purpose)));
            }
        }
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 2000);
    }
}
