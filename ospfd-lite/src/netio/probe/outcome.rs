//! What became of the probes of each next hop. Pure: time comes in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ospf_proto::lsa::Prefix;
use tokio::time::Instant;

use crate::netio::fib::Member;

/// A way to a service: its prefix, and the next hop that a probe takes.
pub type Way = (Prefix, Member);

/// After so many probes in a row without an answer it is said.
const SAID_AFTER: u32 = 3;

/// What became of the probes of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Probes sent.
    pub sent: u64,
    /// Answers received.
    pub answered: u64,
    /// Probes that could not be sent: the next hop's link-layer address is not known, or the kernel refused.
    pub failed: u64,
    /// How long the last answer took.
    pub round_trip: Option<Duration>,
    /// How many in a row remained without an answer.
    pub missed: u32,
}

/// A change that is worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Silent(Way),
    Answers(Way),
}

/// Of all ways.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) ways: BTreeMap<Way, Outcome>,
    /// Probes under way, by sequence number.
    waiting: HashMap<u16, (Way, Instant)>,
    next: u16,
}

impl Outcomes {
    /// A round begins: what has no answer by now is missed; ways that are not there any more are forgotten. Returns what is to
    /// be said.
    pub(super) fn begin(&mut self, ways: &[Way]) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (way, _) in std::mem::take(&mut self.waiting).into_values() {
            let Some(outcome) = self.ways.get_mut(&way) else { continue };
            outcome.missed = outcome.missed.saturating_add(1);
            if outcome.missed == SAID_AFTER {
                turns.push(Turn::Silent(way));
            }
        }
        self.ways.retain(|way, _| ways.contains(way));
        for way in ways {
            self.ways.entry(*way).or_default();
        }
        turns
    }

    /// The sequence number of the next probe.
    pub(super) fn number(&mut self) -> u16 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// The probe of this number was sent that way, or was not.
    pub(super) fn sent(&mut self, number: u16, way: Way, at: Option<Instant>) {
        let outcome = self.ways.entry(way).or_default();
        match at {
            Some(at) => {
                outcome.sent += 1;
                self.waiting.insert(number, (way, at));
            }
            None => outcome.failed += 1,
        }
    }

    /// An answer to the probe of this number.
    pub(super) fn answered(&mut self, number: u16, now: Instant) -> Option<Turn> {
        let (way, sent) = self.waiting.remove(&number)?;
        let outcome = self.ways.get_mut(&way)?;
        outcome.answered += 1;
        outcome.round_trip = Some(now.saturating_duration_since(sent));
        let missed = std::mem::take(&mut outcome.missed);
        (missed >= SAID_AFTER).then_some(Turn::Answers(way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(router: u16) -> Way {
        let gateway = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, router);
        ("2001:db8:53::53/128".parse().unwrap(), Member { iface: 2, gateway })
    }

    #[test]
    fn three_in_a_row_are_said_once_and_an_answer_ends_it() {
        let now = Instant::now();
        let mut outcomes = Outcomes::default();
        let round = |outcomes: &mut Outcomes, answer: bool| {
            let mut turns = outcomes.begin(&[way(1)]);
            let number = outcomes.number();
            outcomes.sent(number, way(1), Some(now));
            if answer {
                turns.extend(outcomes.answered(number, now + Duration::from_millis(2)));
            }
            turns
        };
        assert_eq!(round(&mut outcomes, true), []);
        for said in [false, false, false, true, false] {
            assert_eq!(round(&mut outcomes, false), if said { vec![Turn::Silent(way(1))] } else { vec![] });
        }
        assert_eq!(round(&mut outcomes, true), [Turn::Answers(way(1))]);
        let outcome = outcomes.ways[&way(1)];
        assert_eq!((outcome.sent, outcome.answered, outcome.missed), (7, 2, 0));
        assert_eq!(outcome.round_trip, Some(Duration::from_millis(2)));
    }

    #[test]
    fn a_late_or_foreign_answer_and_a_way_that_is_gone_do_nothing() {
        let now = Instant::now();
        let mut outcomes = Outcomes::default();
        outcomes.begin(&[way(1), way(2)]);
        let number = outcomes.number();
        outcomes.sent(number, way(1), Some(now));
        outcomes.sent(number.wrapping_add(1), way(2), None);
        assert_eq!(outcomes.answered(number.wrapping_add(9), now), None);
        outcomes.begin(&[way(2)]);
        assert_eq!(outcomes.answered(number, now), None);
        assert_eq!(
            outcomes.ways.into_iter().map(|(way, o)| (way, o.sent, o.failed)).collect::<Vec<_>>(),
            [(way(2), 0, 1)]
        );
    }
}
