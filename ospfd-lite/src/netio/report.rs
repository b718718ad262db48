//! The one place that turns [`Event`]s into log lines and counters.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use ospf_proto::ctx::{DropReason, Event};
use ospf_proto::id::IfaceId;
use ospf_proto::lsdb::Breach;
use ospf_proto::state::NeighborState;
use ospf_proto::time::Instant;
use serde::{Deserialize, Serialize};
use tracing::{debug, error, info, warn};

use super::fib::FibCounters;

/// Lines about the same kind of drop on the same interface: so many at once, then one per interval.
const DROP_LINES: u32 = 5;
const DROP_INTERVAL: Duration = Duration::from_secs(10);

/// Everything that is counted, since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By name of the interface.
    pub interfaces: BTreeMap<String, IfaceCounters>,
    /// SPF calculations.
    pub spf_runs: u64,
    /// LSAs originated or refreshed.
    pub originated: u64,
    /// LSAs of ours flushed.
    pub flushed: u64,
    /// Changes of a neighbor's state.
    pub neighbor_changes: u64,
    /// Changes of the routing table.
    pub route_changes: u64,
    /// LSAs in the database.
    #[serde(default)]
    pub lsas: u64,
    /// Limits that are reached, by key.
    #[serde(default)]
    pub limits_reached: Vec<String>,
    /// How often an origination of ours had to wait for `max-originations`.
    #[serde(default)]
    pub originations_held_back: u64,
    /// How often all links were read anew because messages of the kernel were lost.
    pub link_resyncs: u64,
    /// Requests on the control socket.
    pub control_requests: u64,
    /// Kernel routes, where the daemon installs routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fib: Option<FibCounters>,
}

/// What is counted per interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IfaceCounters {
    /// Packets received, by type.
    pub received: BTreeMap<String, u64>,
    /// Packets sent, by type.
    pub sent: BTreeMap<String, u64>,
    /// Packets, and LSAs in them, dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Packets lost because the receive buffer was full.
    pub receive_overflows: u64,
    /// Packets received without addresses, or truncated.
    pub receive_unusable: u64,
    /// Packets that the kernel refused to send.
    pub send_refused: u64,
    /// Packets given up because too many waited.
    pub send_given_up: u64,
    /// Packets that had to wait for room in the kernel.
    pub send_delayed: u64,
}

/// Logs and counts.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pub(crate) counters: Counters,
    drops: BTreeMap<(IfaceId, &'static str), Limit>,
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    left: u32,
    suppressed: u64,
    since: Instant,
}

impl Default for Limit {
    fn default() -> Self {
        Limit { left: DROP_LINES, suppressed: 0, since: Instant::EPOCH }
    }
}

impl Limit {
    /// Whether a line may be written now; if so, how many were suppressed before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.since(self.since) >= DROP_INTERVAL {
            self.since = now;
            self.left = if self.suppressed == 0 { DROP_LINES } else { 1 };
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Reporter {
    /// Counts a packet by the type in its second byte.
    pub(crate) fn received(&mut self, name: &str, bytes: &[u8]) {
        count(&mut self.iface(name).received, packet_type(bytes));
    }

    /// Counts a sent packet.
    pub(crate) fn sent(&mut self, name: &str, bytes: &[u8]) {
        count(&mut self.iface(name).sent, packet_type(bytes));
    }

    /// The counters of an interface.
    pub(crate) fn iface(&mut self, name: &str) -> &mut IfaceCounters {
        if !self.counters.interfaces.contains_key(name) {
            self.counters.interfaces.insert(name.to_owned(), IfaceCounters::default());
        }
        self.counters.interfaces.entry(name.to_owned()).or_default()
    }

    /// Logs and counts an event; `name` is the interface's, for those that have one.
    pub(crate) fn event(&mut self, now: Instant, name: &str, event: &Event) {
        match event {
            Event::IfaceState { from, to, .. } => info!("{name}: interface {from} -> {to}"),
            Event::NeighborState { router, from, to, cause, .. } => {
                self.counters.neighbor_changes += 1;
                if *to == NeighborState::Full || *from == NeighborState::Full {
                    info!("{name}: neighbor {router} {from} -> {to} ({cause})");
                } else {
                    debug!("{name}: neighbor {router} {from} -> {to} ({cause})");
                }
            }
            Event::Elected { dr, bdr, .. } => info!("{name}: DR {dr}, Backup DR {bdr}"),
            Event::Dropped { iface, src, reason } => self.dropped(now, *iface, (name, *src, reason)),
            Event::Originated { key, sequence, cause } => {
                self.counters.originated += 1;
                debug!("originated {key}, sequence {sequence:#010x} ({cause})");
            }
            Event::Flushed { key, cause } => {
                self.counters.flushed += 1;
                debug!("flushed {key} ({cause})");
            }
            Event::TooLarge { key, bytes } => {
                error!(
                    "{key} would have {bytes} bytes, above the limit of {}; it is not originated",
                    ospf_proto::consts::MAX_OWN_LSA
                );
            }
            Event::LimitReached { breach } => {
                let whose = match breach {
                    Breach::Lsas => String::new(),
                    Breach::LsasOfRouter(router) => format!(" of router {router}"),
                };
                error!(
                    "{} in [limits] is reached: further LSAs{whose} are dropped until there is room; \
                     find out who originates so many, or raise the limit",
                    breach.key()
                );
            }
            Event::DuplicateRouterId { src, silent, .. } => {
                let what = if *silent { "we are silent until it is gone" } else { "we were first and go on" };
                error!("{name}: another router at {src} uses our router-id; {what}. Give each router its own");
            }
            Event::Contested { key, rest } => error!(
                "somebody keeps originating our {key}: another router of the area has our router-id, or forges our LSAs; \
                 not answered for {} s",
                rest.as_secs()
            ),
            Event::Spf { area, vertices } => {
                self.counters.spf_runs += 1;
                debug!("SPF of area {area}: {vertices} vertices");
            }
        }
    }

    fn dropped(&mut self, now: Instant, iface: IfaceId, (name, src, reason): (&str, Ipv6Addr, &DropReason)) {
        let label = reason.label();
        count(&mut self.iface(name).dropped, label);
        if let Some(suppressed) = self.drops.entry((iface, label)).or_default().admit(now) {
            let more =
                if suppressed == 0 { String::new() } else { format!(" ({suppressed} more like it were not logged)") };
            match reason {
                // Expected in normal operation: RFC 2328 §13 (5)(a), (7), §10.5.
                DropReason::MinLsArrival(_) | DropReason::AckMismatch(_) | DropReason::NotEnabled => {
                    debug!("{name}: dropped from {src}: {reason}{more}");
                }
                _ => warn!("{name}: dropped from {src}: {reason}{more}"),
            }
        }
    }
}

fn count(map: &mut BTreeMap<String, u64>, label: &str) {
    match map.get_mut(label) {
        Some(count) => *count += 1,
        None => {
            map.insert(label.to_owned(), 1);
        }
    }
}

/// The name of a packet's type (RFC 5340 §A.3.1).
fn packet_type(bytes: &[u8]) -> &'static str {
    match bytes.get(1) {
        Some(1) => "hello",
        Some(2) => "db_desc",
        Some(3) => "ls_req",
        Some(4) => "ls_upd",
        Some(5) => "ls_ack",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_drops_is_counted_whole_and_logged_sparsely() {
        let mut limit = Limit::default();
        let at = |seconds| Instant::from_epoch(Duration::from_secs(seconds));
        let written = (0..1000).filter(|_| limit.admit(at(1)).is_some()).count();
        assert_eq!(written, 5);
        assert_eq!(limit.admit(at(20)), Some(995));
        assert_eq!(limit.admit(at(20)), None);
        let mut reporter = Reporter::default();
        for _ in 0..1000 {
            let event = Event::Dropped { iface: IfaceId(1), src: Ipv6Addr::LOCALHOST, reason: DropReason::Destination };
            reporter.event(at(1), "eth0", &event);
        }
        assert_eq!(reporter.counters.interfaces["eth0"].dropped["destination"], 1000);
    }

    #[test]
    fn packets_are_counted_by_type() {
        let mut reporter = Reporter::default();
        reporter.received("eth0", &[3, 4]);
        reporter.received("eth0", &[3]);
        reporter.sent("eth0", &[3, 1]);
        let counters = &reporter.counters.interfaces["eth0"];
        assert_eq!((counters.received["ls_upd"], counters.received["unknown"], counters.sent["hello"]), (1, 1, 1));
    }
}
