//! Kernel routes by next-hop objects and groups.
//!
//! Desired state (what the engine said) and the kernel's state (`tables`, as netlink tells it) are two things;
//! `plan` says how to get from one to the other, and [`Fib`] has it done: at once and in the same call when the
//! engine changes a route, so that no queue or task lies between a packet and its route; and again when the kernel's tables
//! change under us, when a refused operation is due to be tried again, and once a minute to be sure.
//!
//! Routes of a former life (our protocol and metric, found at start) are kept until [`Fib::release`] and then reconciled:
//! those that are wanted as they are are never touched, so that a restart does not interrupt forwarding.

mod groups;
mod ids;
mod model;
mod nexthop;
mod plan;
mod reconciler;
mod request;
mod slot_objects;
mod state;
mod sysctl;
mod tables;
mod traffic;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::Ipv6Addr;

pub use groups::{Sharing, Wanted};
pub use model::Member;
use ospf_proto::lsa::Prefix;
use reconciler::Reconciler;
use serde::{Deserialize, Serialize};
pub use sysctl::{Sysctls, prepare as prepare_sysctls};
use tables::Tables;

use super::error::Error;

/// How we use the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibOptions {
    /// Route protocol number of our routes and next-hop objects.
    pub protocol: u8,
    /// Metric of our routes.
    pub metric: u32,
    /// Their routing table.
    pub table: u32,
    /// The source address of packets of this host that use them.
    pub preferred_source: Option<Ipv6Addr>,
    /// How next hops are shared.
    pub sharing: Sharing,
    /// Slots of a slot group, and buckets of a resilient one.
    pub slots: u32,
    /// Of resilient groups: how long a bucket must have been unused before it may go to another next hop, seconds.
    pub idle_timer: u32,
    /// Of resilient groups: after how long of imbalance buckets in use go too, seconds; 0: never.
    pub unbalanced_timer: u32,
    /// Receive buffer of the socket that watches the tables, bytes.
    pub watch_buffer: usize,
}

impl Default for FibOptions {
    fn default() -> Self {
        FibOptions {
            protocol: 89,
            metric: 20,
            table: 254,
            preferred_source: None,
            sharing: Sharing::Stable,
            slots: 1024,
            idle_timer: 120,
            unbalanced_timer: 0,
            watch_buffer: 4 * 1024 * 1024,
        }
    }
}

/// The range of [`FibOptions::slots`].
pub const SLOTS: std::ops::RangeInclusive<u32> = 16..=ids::MOST_SLOTS;

/// A change of what is wanted: none, to have no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibChange {
    /// The destination.
    pub prefix: Prefix,
    /// Where its packets are to go.
    pub wanted: Option<Wanted>,
}

/// What was done and what went wrong, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FibCounters {
    /// Operations that the kernel did.
    pub done: u64,
    /// Operations that it refused.
    pub refused: u64,
    /// How often its tables were read whole.
    pub reads: u64,
    /// How often they had to be put right because somebody else had changed them, or the kernel had lost something.
    pub repairs: u64,
    /// How often a repair had to wait because somebody else changes our routes again and again.
    #[serde(default)]
    pub fights: u64,
}

/// How a prefix is installed, for `show`.
#[derive(Clone, Debug, PartialEq)]
pub struct Installed {
    /// `stable`, `resilient`, `hash-threshold`, `multipath` or `single`.
    pub sharing: &'static str,
    /// Why not as configured.
    pub why: Option<String>,
    /// The kernel's identifier of the group.
    pub group: Option<u32>,
    /// The slots of the group, if it has any.
    pub slots: Option<u32>,
    /// Each gateway's part by the kernel.
    pub parts: BTreeMap<Member, f64>,
}

/// Our routes in the kernel.
#[derive(Debug)]
pub struct Fib {
    inner: Reconciler<Tables>,
}

impl Fib {
    /// Reads what the kernel has. Routes of ours in it are kept until [`Fib::release`].
    pub fn open(options: FibOptions) -> Result<Self, Error> {
        let tables = Tables::open(options)?;
        let lacks = tables.lacks.clone();
        Ok(Fib { inner: Reconciler::new(tables, &options, lacks) })
    }

    /// Takes changes of what is wanted and has the kernel follow before it returns.
    pub fn apply(&mut self, changes: Vec<FibChange>) {
        self.inner.apply(changes);
    }

    /// Whether routes of a former life are still kept.
    pub fn holds_former(&self) -> bool {
        self.inner.holds_former()
    }

    /// Routes of a former life become what is wanted now, or are removed.
    pub fn release(&mut self) {
        self.inner.release();
    }

    /// Removes all our routes, groups and objects.
    pub fn clear(&mut self) {
        self.inner.clear();
    }

    /// Waits until the kernel's tables change, or something is due, and reconciles; never returns. Cancel-safe.
    pub async fn follow(&mut self) {
        poll_fn(|cx| self.inner.poll_follow(cx)).await
    }

    /// How it stands with a prefix; none if no route is wanted.
    pub fn status(&self, prefix: &Prefix) -> Option<String> {
        self.inner.status(prefix)
    }

    /// How a prefix is installed; none if no route is wanted.
    pub fn installed(&self, prefix: &Prefix) -> Option<Installed> {
        self.inner.installed(prefix)
    }

    /// Takes a look at how many packets the members of all our groups got.
    pub fn count_packets(&mut self) {
        self.inner.count_packets();
    }

    /// How many packets each gateway of a prefix's group got, up to the last look; none where the kernel does not count.
    pub fn packets(&self, prefix: &Prefix) -> Option<BTreeMap<Member, u64>> {
        self.inner.packets(prefix)
    }

    /// What was done and what went wrong.
    pub fn counters(&self) -> FibCounters {
        self.inner.counters()
    }

    /// How many next hops a route can have: what a farm may count with.
    pub fn width(&self) -> u16 {
        self.inner.width()
    }

    /// How many routes and slot groups there are, wanted and in the kernel.
    pub fn sizes(&self) -> Sizes {
        self.inner.sizes()
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Routes that are wanted.
    pub wanted: usize,
    /// Routes of ours in the kernel.
    pub installed: usize,
    /// Slot groups in use.
    pub slot_groups: usize,
}
