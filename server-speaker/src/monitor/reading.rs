//! What a source says, and the trait that all sources share.

use std::fmt;
use std::time::Duration;

use ospf_proto::time::Instant;
use serde::Serialize;

use crate::sample::{Health, seconds};

/// A source of load or health. It yields readings and decides nothing.
pub trait Monitor: fmt::Debug {
    /// What it watches, for people: `probe dns [2001:db8::53]:53`.
    fn name(&self) -> &str;

    /// Whether it says anything of the health: what it cannot read is then unknown, else it is of no account.
    fn tells_health(&self) -> bool;

    /// The newest reading. Never waits: what needs time runs in the background ([`super::Background`]).
    fn read(&mut self, now: Instant) -> Result<Reading, Unreadable>;

    /// Health alone where that costs microseconds: it is asked every 20 ms.
    fn pulse(&mut self) -> Option<Health> {
        None
    }

    /// What makes its readings doubtful.
    fn warnings(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// A source that could not be read. That says nothing about the service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What a source said, and how long it holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// When it was taken.
    #[serde(serialize_with = "seconds")]
    pub at: Instant,
    /// From then on it is stale: nothing may be concluded from it any more.
    #[serde(serialize_with = "seconds")]
    pub until: Instant,
    /// What it says.
    pub said: Said,
}

impl Reading {
    /// A reading of this moment, good for `valid`.
    pub fn new(now: Instant, valid: Duration, said: Said) -> Self {
        Reading { at: now, until: now + valid, said }
    }
}

/// The content of a reading; a source says what it knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Said {
    /// Whether the service can answer.
    pub health: Option<Health>,
    /// Totals of queries.
    pub counts: Option<Counts>,
    /// What waits in front of the service.
    pub queue: Option<Queue>,
    /// The part of the service's capacity in use, 0.0 to 1.0.
    pub utilisation: Option<f64>,
    /// For people: `NOERROR in 1.2 ms`.
    pub detail: String,
}

/// Totals since an origin that stays while `generation` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Queries that the service took.
    pub served: u64,
    /// Queries that it took and lost, where the source knows; what the queue dropped is added.
    pub dropped: Option<u64>,
    /// Microseconds in which it was busy, over the number of its workers.
    pub busy: Option<u64>,
    /// `served` was counted in front of the queue: it has what the queue dropped in it.
    pub arrived: bool,
    /// Another value means another origin.
    pub generation: u64,
}

/// The queue in front of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How much waits: bytes of receive buffer (UDP) or connections (TCP).
    pub waiting: u64,
    /// How much may wait.
    pub room: u64,
    /// What was dropped because it was full, in total.
    pub dropped: u64,
    /// Another value means other sockets, whose totals start anew.
    pub generation: u64,
}

impl Queue {
    /// How full it is, 0.0 to 1.0 (a little above is possible: the kernel lets the last packet in).
    pub fn fill(&self) -> f64 {
        if self.room == 0 { 0.0 } else { self.waiting as f64 / self.room as f64 }
    }
}

/// A utilisation that can be believed: 0.0 to 1.0, where up to ten times as much is taken for full. Anything else is a
/// broken source.
pub fn plausible_utilisation(value: f64) -> Result<f64, Unreadable> {
    if (0.0..=10.0).contains(&value) {
        return Ok(value.min(1.0));
    }
    Err(Unreadable(format!("{value} is no utilisation; 0.0 to 1.0")))
}

/// A total that can be believed: a whole number that a counter can reach.
pub fn plausible_total(value: f64) -> Result<u64, Unreadable> {
    // Above 2^53 a double skips whole numbers.
    if (0.0..=9_007_199_254_740_992.0).contains(&value) {
        return Ok(value as u64);
    }
    Err(Unreadable(format!("{value} is no total of queries")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_service_can_have_is_refused() {
        for value in [f64::NAN, f64::INFINITY, -0.1, 1e30] {
            assert!(plausible_utilisation(value).is_err(), "{value}");
            assert!(plausible_total(value).is_err(), "{value}");
        }
        assert_eq!(plausible_utilisation(1.7), Ok(1.0));
        assert_eq!(plausible_total(1e6), Ok(1_000_000));
    }
}
