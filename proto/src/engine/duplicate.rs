//! Another router with our Router ID: shout, and back off if we came last.
//!
//! RFC 2328 has nothing to say here, and both routers would outrun each other's LSAs for ever. Who has been speaking
//! for longer than a dead interval goes on (and outruns the other's LSAs, in bounds: `origin/fight.rs`); a newcomer falls
//! silent (no Hello, no adjacency, no LSA) until the other has not been heard for a while, longer each time. It must have
//! been heard for a HelloInterval: a burst of forged packets silences nobody.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::ctx::{Event, Timer};
use crate::engine::{Command, Engine};
use crate::id::IfaceId;
use crate::iface::Iface;
use crate::time::Instant;

/// What we know of duplicates.
#[derive(Clone, Debug, Default)]
pub(super) struct Duplicates {
    /// We are silent.
    pub(super) muted: bool,
    /// How often we have been silent: the back-off doubles.
    spells: u32,
    /// When we last shouted.
    shouted: Option<Instant>,
    /// The other: its address, and when it was heard first and last.
    other: Option<(Ipv6Addr, Instant, Instant)>,
}

/// At most one shout in this time.
const SHOUT_INTERVAL: Duration = Duration::from_secs(10);
/// The back-off doubles so often at most.
const MAX_DOUBLINGS: u32 = 5;

/// Heard for so much of a HelloInterval, it is there to stay: two Hellos, whatever the jitter.
const LASTING: f64 = 0.8;

impl Duplicates {
    /// Another router was heard; says since when. Who was silent for a dead interval begins anew.
    fn heard(&mut self, src: Ipv6Addr, now: Instant, dead_interval: Duration) -> Instant {
        let known = self.other.filter(|(address, _, last)| *address == src && now.since(*last) <= dead_interval);
        let first = known.map_or(now, |(_, first, _)| first);
        self.other = Some((src, first, now));
        first
    }
}

impl Engine {
    /// A packet with our Router ID: our own multicast come back, or another router.
    pub(super) fn on_own_router_id(&mut self, iface: IfaceId, src: Ipv6Addr) {
        let ours = self.core.ifaces.values().any(|iface| iface.link_local == src)
            || self.links.values().any(|link| link.link_local == Some(src));
        if ours {
            return;
        }
        let now = self.core.ctx.now;
        let dead_interval = self.core.ifaces.get(&iface).map_or(Duration::from_secs(40), Iface::dead_interval);
        let incumbent = self.origin.ready_since().is_some_and(|since| now.since(since) > dead_interval);
        let hello_interval = self.core.ifaces.get(&iface).map_or(Duration::from_secs(10), Iface::hello_interval);
        let since = self.duplicates.heard(src, now, dead_interval);
        let lasting = now.since(since) >= hello_interval.mul_f64(LASTING);
        let silent = self.duplicates.muted || (!incumbent && lasting);
        if self.duplicates.shouted.is_none_or(|at| now.since(at) >= SHOUT_INTERVAL) {
            self.duplicates.shouted = Some(now);
            self.core.ctx.event(Event::DuplicateRouterId { iface, src, silent });
        }
        if !silent {
            // It shall hear of us before it has said much.
            if let Some(iface) = self.core.ifaces.get_mut(&iface) {
                iface.hello_due = true;
            }
            return;
        }
        if !self.duplicates.muted {
            self.duplicates.muted = true;
            self.duplicates.spells += 1;
            self.on_command(Command::ClearNeighbor(None));
            self.origin.stop();
        }
        // Two newcomers must not come back at the same moment: up to half as long again, by chance.
        let hold = dead_interval * (1 << self.duplicates.spells.min(MAX_DOUBLINGS));
        let spread = hold.mul_f64((self.next_random() >> 11) as f64 / (1u64 << 54) as f64);
        self.core.ctx.timers.set(Timer::DuplicateHold, now + hold + spread);
    }

    /// The back-off is over (Timer::DuplicateHold).
    pub(super) fn duplicate_is_gone(&mut self) {
        if std::mem::take(&mut self.duplicates.muted) {
            let mut longest = Duration::ZERO;
            for iface in self.core.ifaces.values_mut() {
                iface.hello_due = true;
                longest = longest.max(iface.dead_interval());
            }
            let at = self.core.ctx.now + longest;
            self.core.ctx.timers.set_if_idle(Timer::OriginationHold, at);
        }
    }
}
