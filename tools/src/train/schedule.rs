//! The learning rate as a pure function of the step: linear warm-up, then step, cosine or polynomial decay.
//!
//! The formulas are mmengine's, written in closed form. Its linear, cosine and polynomial schedulers run over
//! `begin..end` and finish at the step `end - 1`: the position within is `(step - begin) / (end - begin - 1)`.
//! ConvNeXt V2's own schedule, which reaches its ends one step later, is the same with `end` one larger.

use std::f64::consts::PI;

/// Learning rate of every step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The rate at factor one; groups scale it further.
    pub base_lr: f64,
    /// The linear rise at the start.
    pub warmup: Warmup,
    /// What happens afterwards.
    pub decay: Decay,
}

/// A linear rise from `start_factor * base_lr` at step 0 to `base_lr` at step `steps - 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// Number of steps; none is no warm-up.
    pub steps: usize,
    /// The factor at step 0.
    pub start_factor: f64,
}

/// How the learning rate falls.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Multiplied by `gamma` from each milestone on.
    Step {
        /// Steps at which the rate falls.
        milestones: Vec<usize>,
        /// The factor at each.
        gamma: f64,
    },
    /// Half a cosine from `base_lr` at `begin` to `min_lr` at `end - 1`, then `min_lr`.
    Cosine {
        /// First step.
        begin: usize,
        /// The step after the last.
        end: usize,
        /// The rate at the end.
        min_lr: f64,
    },
    /// `(1 - position)^power` from `base_lr` at `begin` to `min_lr` at `end - 1`, then `min_lr`.
    Polynomial {
        /// First step.
        begin: usize,
        /// The step after the last.
        end: usize,
        /// The exponent; one is a straight line.
        power: f64,
        /// The rate at the end.
        min_lr: f64,
    },
}

impl Schedule {
    /// The learning rate of the update with this index; the first update is step 0.
    pub fn lr(&self, step: usize) -> f64 {
        self.decayed(step) * self.warmup.factor(step)
    }

    fn decayed(&self, step: usize) -> f64 {
        let base = self.base_lr;
        match &self.decay {
            Decay::Constant => base,
            Decay::Step { milestones, gamma } => {
                let passed = milestones.iter().filter(|&&milestone| step >= milestone).count();
                (0..passed).fold(base, |lr, _| lr * gamma)
            }
            &Decay::Cosine { begin, end, min_lr } => {
                let position = position(step, begin, end);
                min_lr + (base - min_lr) * 0.5 * (1.0 + (PI * position).cos())
            }
            &Decay::Polynomial { begin, end, power, min_lr } => {
                let position = position(step, begin, end);
                min_lr + (base - min_lr) * (1.0 - position).powf(power)
            }
        }
    }
}

impl Warmup {
    /// No warm-up.
    pub const NONE: Self = Self { steps: 0, start_factor: 1.0 };

    fn factor(self, step: usize) -> f64 {
        if step + 1 >= self.steps {
            return 1.0;
        }
        self.start_factor + (1.0 - self.start_factor) * position(step, 0, self.steps)
    }
}

/// How far `step` is from `begin` (0) to `end - 1` (1); outside, the nearer of the two.
fn position(step: usize, begin: usize, end: usize) -> f64 {
    let last = end.saturating_sub(1);
    if step <= begin {
        return 0.0;
    }
    if step >= last {
        return 1.0;
    }
    (step - begin) as f64 / (last - begin) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_reaches_the_base_rate_one_step_before_its_end() {
        let warmup = Warmup { steps: 5, start_factor: 0.2 };
        let schedule = Schedule { base_lr: 10.0, warmup, decay: Decay::Constant };
        let rates: Vec<f64> = (0..6).map(|step| schedule.lr(step)).collect();
        assert_eq!(rates, [2.0, 4.0, 6.000000000000001, 8.0, 10.0, 10.0]);
    }

    #[test]
    fn one_step_of_warm_up_is_none() {
        let warmup = Warmup { steps: 1, start_factor: 0.001 };
        assert_eq!(warmup.factor(0), 1.0);
    }

    #[test]
    fn a_decay_of_no_length_stays_defined() {
        let decay = Decay::Cosine { begin: 3, end: 3, min_lr: 0.5 };
        let schedule = Schedule { base_lr: 1.0, warmup: Warmup::NONE, decay };
        assert!((0..8).all(|step| schedule.lr(step).is_finite()));
    }
}
