//! How often it is told that a disk refuses: not at every attempt, which a long night has many of.

use std::time::{Duration, Instant};

/// Time between two warnings of the same trouble.
const BETWEEN: Duration = Duration::from_secs(10 * 60);

/// Refusals in a row.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// All of them.
    pub(super) count: usize,
    told: Option<Instant>,
    untold: usize,
}

impl Refusals {
    /// Notes one more. If it is to be told, how many were not told since the last that was.
    pub(super) fn note(&mut self, now: Instant) -> Option<usize> {
        self.count += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < BETWEEN) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// The next is told, whenever the last was.
    pub(super) fn tell_next(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_at_once_and_then_every_ten_minutes_with_the_count() {
        let (mut refusals, begin) = (Refusals::default(), Instant::now());
        let mut at = |seconds: u64| refusals.note(begin + Duration::from_secs(seconds));
        assert_eq!([at(0), at(20), at(40), at(599)], [Some(0), None, None, None]);
        assert_eq!([at(600), at(620), at(1201)], [Some(3), None, Some(1)]);
        refusals.tell_next();
        assert_eq!(refusals.note(begin + Duration::from_secs(1202)), Some(0));
        assert_eq!(refusals.count, 8);
    }
}
