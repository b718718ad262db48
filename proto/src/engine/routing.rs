//! From a changed database to changed routes: how much has to be computed again.
//!
//! Two levels (docs/architecture.md): a Router- or Network-LSA that changes the *graph* asks for a new tree; a Link-LSA
//! whose address changed asks for new next hops; a prefix LSA only for its own prefixes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use crate::consts::MAX_SEQUENCE;
use crate::ctx::{Event, Timer};
use crate::engine::{Engine, Output};
use crate::flood::Changed;
use crate::id::{AreaId, Domain, NeighborId};
use crate::lsa::{LsType, Lsa, Prefix};
use crate::rib::Basis;
use crate::spf::{Graph, same_graph, same_next_hop};

/// How much has to be computed again.
#[derive(Clone, Debug, Default)]
pub(super) struct Dirty {
    trees: BTreeSet<AreaId>,
    next_hops: bool,
    prefixes: BTreeSet<Prefix>,
}

impl Engine {
    /// Follows the changes of the database; says whether there were any.
    pub(super) fn route(&mut self) -> bool {
        let changes = std::mem::take(&mut self.core.changes);
        let neighbors_changed = std::mem::take(&mut self.core.ctx.neighbors_changed);
        let due = self.holds_back() && self.spf_at <= self.core.ctx.now;
        if changes.is_empty() && !neighbors_changed && !due {
            return false;
        }
        let mut dirty = std::mem::take(&mut self.held_back);
        // An address heard in Hellos stands in for a missing Link-LSA.
        dirty.next_hops |= neighbors_changed;
        for change in &changes {
            self.judge(change, &mut dirty);
        }
        let now = self.core.ctx.now;
        if !dirty.trees.is_empty() {
            if self.spf_at > now {
                self.core.ctx.timers.set(Timer::Spf, self.spf_at);
                self.held_back = dirty;
                return false;
            }
            self.spf_at = now + self.config.spf_interval;
        }
        for area in &dirty.trees {
            let tree = Graph::build(&self.core.lsdb, *area, now).tree(self.core.router_id);
            self.core.ctx.event(Event::Spf { area: *area, vertices: tree.len() });
            self.trees.insert(*area, tree);
        }
        let heard = self.heard();
        let basis = Basis { trees: &self.trees, lsdb: &self.core.lsdb, heard: &heard, now };
        let changes = if !dirty.trees.is_empty() || dirty.next_hops {
            self.rib.recompute_all(&basis)
        } else {
            self.rib.recompute(&dirty.prefixes, &basis)
        };
        self.outputs.extend(changes.into_iter().map(Output::Route));
        true
    }

    /// Whether routes are behind the database because SPF may not run yet.
    pub(super) fn holds_back(&self) -> bool {
        !self.held_back.trees.is_empty()
    }

    /// What one change of the database makes dirty.
    fn judge(&mut self, change: &Changed, dirty: &mut Dirty) {
        let Changed { key, old, new } = change;
        let (old, new) = (old.as_ref(), new.as_ref());
        dirty.prefixes.extend(self.rib.lsa_changed(key, old.map(|lsa| &lsa.body), new.map(|lsa| &lsa.body)));
        // One at MaxAge does not count, unless it may be one of ours being wrapped (`Entry::counts`).
        let wraps = |lsa: &Lsa| key.adv_router == self.core.router_id && lsa.header.sequence == MAX_SEQUENCE;
        let counts = |lsa: &&Lsa| !lsa.is_max_age() || wraps(lsa);
        let pair = (old.filter(counts), new.filter(counts));
        match (key.ls_type, key.domain) {
            (LsType::ROUTER | LsType::NETWORK, Domain::Area(area)) => {
                let same = match pair {
                    (Some(old), Some(new)) => same_graph(old, new, self.core.router_id),
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    dirty.trees.insert(area);
                }
            }
            (LsType::LINK, _) => {
                dirty.next_hops |= match pair {
                    (Some(old), Some(new)) => !same_next_hop(old, new),
                    (None, None) => false,
                    _ => true,
                };
            }
            (LsType::ROUTER_INFORMATION, _) => self.information_changes += 1,
            _ => {}
        }
    }

    /// The addresses that the neighbors' Hellos come from.
    pub(super) fn heard(&self) -> BTreeMap<NeighborId, Ipv6Addr> {
        self.core.neighbors().map(|n| (n.id, n.address)).collect()
    }
}
