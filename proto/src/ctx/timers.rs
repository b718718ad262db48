//! Timers: a name and a deadline each.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{IfaceId, LsaKey, NeighborId};
use crate::time::Instant;

/// The name of a timer: why the engine will wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Send a Hello (RFC 2328 §9.5).
    Hello(IfaceId),
    /// End of the Waiting state (RFC 2328 §9.1).
    Wait(IfaceId),
    /// A neighbor was silent for RouterDeadInterval (RFC 2328 §10).
    Inactivity(NeighborId),
    /// Repeat the last Database Description packet (RFC 2328 §10.8).
    DdRxmt(NeighborId),
    /// Repeat the Link State Request (RFC 2328 §10.9).
    LsReqRxmt(NeighborId),
    /// Retransmit unacknowledged LSAs to the neighbors of a link that are due (RFC 2328 §13.6).
    LsUpdRxmt(IfaceId),
    /// Send the delayed acknowledgments (RFC 2328 §13.5).
    DelayedAck(IfaceId),
    /// An own LSA may be originated again (RFC 2328 §12.4, MinLSInterval).
    MinLsInterval(LsaKey),
    /// Originations were held back by their rate limit.
    OriginationRate,
    /// An own LSA is due for refresh (RFC 2328 §12.4, LSRefreshTime).
    Refresh(LsaKey),
    /// The link proved empty: originate without waiting for an adjacency any longer.
    OriginationHold,
    /// The grace of an adjacency broken off by a 1-Way Hello is over: our LSAs follow.
    AdjacencyGrace,
    /// A back-off after a duplicate Router ID ends.
    DuplicateHold,
    /// SPF was held back by its interval.
    Spf,
    /// Some LSA reaches MaxAge, or has been there long enough to be removed (RFC 2328 §14).
    Expiry,
}

/// The running timers, by deadline and by name.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    deadlines: BTreeMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Starts or restarts a timer.
    pub fn set(&mut self, timer: Timer, deadline: Instant) {
        if let Some(before) = self.deadlines.insert(timer, deadline) {
            self.queue.remove(&(before, timer));
        }
        self.queue.insert((deadline, timer));
    }

    /// Starts a timer unless it runs already.
    pub fn set_if_idle(&mut self, timer: Timer, deadline: Instant) {
        if let Entry::Vacant(idle) = self.deadlines.entry(timer) {
            idle.insert(deadline);
            self.queue.insert((deadline, timer));
        }
    }

    /// Stops a timer.
    pub fn clear(&mut self, timer: Timer) {
        if let Some(deadline) = self.deadlines.remove(&timer) {
            self.queue.remove(&(deadline, timer));
        }
    }

    /// Whether a timer runs.
    pub fn is_running(&self, timer: Timer) -> bool {
        self.deadlines.contains_key(&timer)
    }

    /// Every running timer, by name.
    pub fn running(&self) -> impl Iterator<Item = Timer> {
        self.deadlines.keys().copied()
    }

    /// The deadline of a running timer.
    pub fn deadline(&self, timer: Timer) -> Option<Instant> {
        self.deadlines.get(&timer).copied()
    }

    /// What is left of a running timer.
    pub fn left(&self, timer: Timer, now: Instant) -> Option<Duration> {
        self.deadline(timer).map(|at| at.since(now))
    }

    /// Takes the first timer that is due at `now`, in (deadline, name) order.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (deadline, timer) = *self.queue.first()?;
        if deadline > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }

    /// The first deadline and its name.
    pub fn next(&self) -> Option<(Instant, Timer)> {
        self.queue.first().copied()
    }
}
