//! Flooding (RFC 2328 §13, RFC 5340 §4.5): receiving, sending, acknowledging, retransmitting.
//!
//! `receive` holds the steps of §13 as a [`receive::Verdict`]; `send` the steps of §13.3 and the packing of Link State
//! Updates; `ack` acknowledgments (§13.5, §13.7) and retransmission (§13.6). [`Core`] is what they all work on.

mod ack;
mod receive;
mod send;

use std::collections::BTreeMap;

use crate::consts::{MAX_AGE, MAX_AGE_HOLD};
use crate::ctx::Ctx;
use crate::id::{Domain, IfaceId, LsaKey, RouterId};
use crate::iface::Iface;
use crate::lsa::{LsType, Lsa, LsaBody};
use crate::lsdb::{Change, Entry, Limits, Lsdb, Source};
use crate::neighbor::{Neighbor, NeighborEvent};
use crate::state::{IfaceState, NeighborState};
use crate::time::Instant;

pub use receive::{Verdict, verdict};

/// A change of the database that routing may have to follow: the instance before and after; none: not there. One at
/// MaxAge is there and does not count.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Which LSA.
    pub key: LsaKey,
    /// What was there before.
    pub old: Option<Lsa>,
    /// What is there now.
    pub new: Option<Lsa>,
}

/// Whether a DR makes the same of both instances of a Link-LSA: a server's alternates in its priority alone, as often as its
/// cost changes.
fn is_same_to_dr(changed: &Changed) -> bool {
    let told = |lsa| match lsa {
        &Some(Lsa { ref header, body: LsaBody::Link(ref body), .. }) if header.age < MAX_AGE => {
            Some((body.options, &body.prefixes))
        }
        _ => None,
    };
    told(&changed.old).is_some_and(|old| told(&changed.new) == Some(old))
}

/// The router's protocol state without routing and origination.
#[derive(Clone, Debug)]
pub struct Core {
    /// Our Router ID.
    pub router_id: RouterId,
    /// Time, timers, effects.
    pub ctx: Ctx,
    /// The interfaces.
    pub ifaces: BTreeMap<IfaceId, Iface>,
    /// The database.
    pub lsdb: Lsdb,
    /// Changes since routing last looked.
    pub changes: Vec<Changed>,
    /// When an older instance was last answered with ours (RFC 2328 §13 (8): at most once per MinLSArrival).
    pub(in crate::flood) sent_back: BTreeMap<LsaKey, Instant>,
    /// LSAs of ours that came back newer than ours (RFC 2328 §13.4), and their sequence number: for `origin` to answer.
    pub heard_own: BTreeMap<LsaKey, i32>,
}

impl Core {
    /// A router without interfaces, whose database has these limits.
    pub fn new(router_id: RouterId, limits: Limits) -> Self {
        Core {
            router_id,
            ctx: Ctx::default(),
            ifaces: BTreeMap::new(),
            lsdb: Lsdb::new(limits),
            changes: Vec::new(),
            sent_back: BTreeMap::new(),
            heard_own: BTreeMap::new(),
        }
    }

    /// Installs an LSA (RFC 2328 §13.2): takes the instance before off every retransmission list (§13 (5)(c)), and
    /// notes what changed.
    pub fn install(&mut self, domain: Domain, lsa: Lsa, source: Source) {
        let key = lsa.key(domain);
        let now = self.ctx.now;
        for iface in self.ifaces.values_mut() {
            // An acknowledgment still held back is of the instance before: sent now, it would be taken for one of
            // what the neighbor may have learned anew since, and what we flood instead answers it as well.
            iface.delayed_acks.remove(&key);
        }
        self.unlist(&key);
        let (change, before) = self.lsdb.replace(domain, lsa, source, now);
        if change != Change::Refreshed {
            let old = before.map(Entry::into_lsa);
            let new = self.lsdb.get(&key).map(|entry| entry.lsa().clone());
            self.note_change(Changed { key, old, new });
        }
    }

    /// Routing will look at it; and a DR's own LSAs are made from the Link-LSAs of its link (RFC 5340 §4.4.3.3, §4.4.3.9).
    fn note_change(&mut self, changed: Changed) {
        let LsaKey { domain, ls_type, adv_router, .. } = changed.key;
        if let (LsType::LINK, Domain::Link(id)) = (ls_type, domain)
            && adv_router != self.router_id
            && self.ifaces.get(&id).is_some_and(|iface| iface.state == IfaceState::Dr)
            && !is_same_to_dr(&changed)
        {
            self.ctx.origination_due = true;
        }
        self.changes.push(changed);
    }

    /// Removes an LSA without flooding.
    pub fn remove(&mut self, key: &LsaKey) {
        let Some(entry) = self.lsdb.remove(key) else { return };
        self.sent_back.remove(key);
        self.heard_own.remove(key);
        self.unlist(key);
        self.note_change(Changed { key: *key, old: Some(entry.into_lsa()), new: None });
    }

    /// Takes an LSA off every retransmission list.
    fn unlist(&mut self, key: &LsaKey) {
        for iface in self.ifaces.keys() {
            self.ctx.retransmissions.remove_all(*iface, key);
        }
    }

    /// Whether some neighbor has not acknowledged an LSA.
    pub fn is_unacknowledged(&self, key: &LsaKey) -> bool {
        self.ifaces.keys().any(|iface| !self.ctx.retransmissions.waiting(*iface, key).is_empty())
    }

    /// Every neighbor.
    pub fn neighbors(&self) -> impl Iterator<Item = &Neighbor> {
        self.ifaces.values().flat_map(|iface| iface.neighbors.values())
    }

    /// Applies an event to a neighbor.
    pub fn neighbor_event(&mut self, iface: IfaceId, router: RouterId, event: NeighborEvent) {
        if let Some(iface) = self.ifaces.get_mut(&iface) {
            iface.neighbor_event(&mut self.ctx, &self.lsdb, (router, event));
        }
    }

    /// Whether some neighbor is in Exchange or Loading: MaxAge LSAs must then stay (RFC 2328 §14).
    fn exchanging(&self) -> bool {
        self.neighbors().any(|n| matches!(n.state, NeighborState::Exchange | NeighborState::Loading))
    }

    /// Removes LSAs at MaxAge that nobody waits for any more (RFC 2328 §14); says whether one of ours went.
    ///
    /// Differs: they stay for [`MAX_AGE_HOLD`] at least. Where they went with the last acknowledgment, a copy of the flushed
    /// instance that is still on its way would be taken for a new LSA, and in a ring of routers copy and flush would
    /// chase each other for ever.
    pub fn remove_max_aged(&mut self) -> bool {
        // Until the hold is over nothing is looked at: with thousands of them, each packet would.
        let aged: Vec<LsaKey> = self.released().map_or_else(Vec::new, |by| self.lsdb.max_aged(by).copied().collect());
        if aged.is_empty() || self.exchanging() {
            return false;
        }
        let mut ours = false;
        for key in aged {
            if !self.is_unacknowledged(&key) {
                self.remove(&key);
                ours |= key.adv_router == self.router_id;
            }
        }
        ours
    }

    /// When the next LSA at MaxAge may be removed that may not yet.
    pub fn next_removal(&self) -> Option<Instant> {
        let aged = self.lsdb.next_expiry_after(self.released(), self.ctx.now)?;
        Some(aged + MAX_AGE_HOLD)
    }

    /// What reached MaxAge by then has been held long enough; none: nothing has yet. One that reached MaxAge was installed so
    /// at that moment, whether it came so or aged out here.
    fn released(&self) -> Option<Instant> {
        self.ctx.now.since_epoch().checked_sub(MAX_AGE_HOLD).map(Instant::from_epoch)
    }

    /// An LSA has reached MaxAge by itself: flood it out (RFC 2328 §14).
    pub fn age_out(&mut self, key: LsaKey) {
        let Some(lsa) = self.lsdb.get(&key).map(|entry| entry.lsa().clone()) else { return };
        if lsa.is_max_age() {
            return; // flooded when it was installed
        }
        let source = self.lsdb.get(&key).map_or(Source::Flooded, |entry| entry.source());
        self.install(key.domain, lsa.with_age(MAX_AGE), source);
        self.flood(&[key], None);
    }
}
