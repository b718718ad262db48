//! From what a source tells to totals whose origin is known.

use crate::monitor::reading::Counts;

/// What a source tells at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Queries that the service took, or that came where `arrived`.
    pub(super) served: u64,
    /// Queries that it took and lost.
    pub(super) dropped: Option<u64>,
    /// Microseconds in which it was busy, over the number of its workers.
    pub(super) busy: Option<u64>,
    /// `served` was counted in front of the service's queue.
    pub(super) arrived: bool,
    /// For how many seconds it has counted, if it tells.
    pub(super) uptime: Option<f64>,
    /// When it began, in words, if it tells.
    pub(super) born: Option<String>,
}

impl Tally {
    /// Whether `next` counts on from here: the same process, nothing reset, and the same figures told.
    fn goes_on(&self, next: &Tally) -> bool {
        let on = |old: Option<u64>, new: Option<u64>| match (old, new) {
            (Some(old), Some(new)) => new >= old,
            (None, None) => true,
            _ => false,
        };
        let later = self.uptime.zip(next.uptime).is_none_or(|(old, new)| new >= old);
        next.served >= self.served
            && on(self.dropped, next.dropped)
            && on(self.busy, next.busy)
            && later
            && self.born == next.born
    }
}

/// Totals, with another generation whenever they start anew.
#[derive(Debug, Default)]
pub(super) struct Totals {
    last: Option<Tally>,
    generation: u64,
}

impl Totals {
    /// Takes what is told now.
    pub(super) fn add(&mut self, tally: Tally) -> Counts {
        if self.last.as_ref().is_some_and(|last| !last.goes_on(&tally)) {
            self.generation += 1;
        }
        let counts = Counts {
            served: tally.served,
            dropped: tally.dropped,
            busy: tally.busy,
            arrived: tally.arrived,
            generation: self.generation,
        };
        self.last = Some(tally);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(tallies: &[Tally]) -> Vec<u64> {
        let mut totals = Totals::default();
        tallies.iter().map(|tally| totals.add(tally.clone()).generation).collect()
    }

    #[test]
    fn a_counter_that_goes_back_or_a_younger_process_is_another_generation() {
        let tally = |served, uptime| Tally { served, uptime, ..Tally::default() };
        assert_eq!(
            generations(&[tally(5, None), tally(5, None), tally(9, None), tally(8, None), tally(8, None)]),
            [0, 0, 0, 1, 1]
        );
        // Counted past its former total within one interval.
        assert_eq!(generations(&[tally(5, Some(9.0)), tally(7, Some(10.0)), tally(8, Some(0.5))]), [0, 0, 1]);
        let born = |served, born: &str| Tally { served, born: Some(born.into()), ..Tally::default() };
        assert_eq!(generations(&[born(5, "a"), born(6, "a"), born(7, "b")]), [0, 0, 1]);
    }

    #[test]
    fn figures_that_come_and_go_are_another_generation() {
        let tally = |dropped, busy| Tally { dropped, busy, ..Tally::default() };
        assert_eq!(
            generations(&[
                tally(None, None),
                tally(Some(4), None),
                tally(Some(3), None),
                tally(Some(3), Some(8)),
                tally(Some(3), Some(7)),
                tally(Some(3), Some(7)),
            ]),
            [0, 1, 2, 3, 4, 4]
        );
    }
}
