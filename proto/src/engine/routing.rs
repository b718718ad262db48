//! From a changed database to changed routes: how much has to be computed again.
//!
//! Two levels (docs/architecture.md): a Router- or Network-LSA that changes the *graph* asks for a new tree; a Link-LSA
//! whose address changed asks for new next hops; a prefix LSA only for its own prefixes. Of a new tree only the vertices count
//! that are not where they were.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::consts::MAX_SEQUENCE;
use crate::ctx::{Event, Timer};
use crate::engine::{Engine, Output};
use crate::flood::{Changed, Core};
use crate::id::{AreaId, Domain, NeighborId};
use crate::lsa::{LsType, Lsa, Prefix};
use crate::rib::Basis;
use crate::spf::{Graph, Heard, changed_vertices, same_graph, same_next_hop};

/// A graph of fewer vertices is computed in less than a millisecond, as often as it changes.
const SMALL: usize = 1000;
/// After a run of SPF the next one waits this long for each vertex: while a large database is loaded or flaps, SPF takes a part of
/// the time and not all of it. The first change after a quiet spell never waits.
const REST_PER_VERTEX: Duration = Duration::from_micros(10);

/// How much has to be computed again.
#[derive(Clone, Debug, Default)]
struct Dirty {
    trees: BTreeSet<AreaId>,
    next_hops: bool,
    prefixes: BTreeSet<Prefix>,
}

impl Engine {
    /// Follows the changes of the database; says whether there were any.
    ///
    /// While SPF is held back, prefixes and next hops are followed all the same, on the trees that there are: a server's cost
    /// does not wait for somebody else's link.
    pub(super) fn route(&mut self) -> bool {
        let changes = std::mem::take(&mut self.core.changes);
        let neighbors_changed = std::mem::take(&mut self.core.ctx.neighbors_changed);
        let now = self.core.ctx.now;
        let due = self.holds_back() && self.spf_at <= now;
        if changes.is_empty() && !neighbors_changed && !due {
            return false;
        }
        // An address heard in Hellos stands in for a missing Link-LSA.
        let mut dirty = Dirty { next_hops: neighbors_changed, ..Dirty::default() };
        for change in &changes {
            self.judge(change, &mut dirty);
        }
        self.held_back.append(&mut dirty.trees);
        if self.holds_back() && self.spf_at > now {
            self.core.ctx.timers.set(Timer::Spf, self.spf_at);
        } else {
            for area in std::mem::take(&mut self.held_back) {
                self.run_spf(area, &mut dirty);
            }
        }
        let basis = Basis { trees: &self.trees, lsdb: &self.core.lsdb, heard: &self.core, now };
        let changes =
            if dirty.next_hops { self.rib.recompute_all(&basis) } else { self.rib.recompute(&dirty.prefixes, &basis) };
        self.outputs.extend(changes.into_iter().map(Output::Route));
        true
    }

    /// Computes the tree of an area; the prefixes that hang on what changed in it are to be computed again.
    fn run_spf(&mut self, area: AreaId, dirty: &mut Dirty) {
        let now = self.core.ctx.now;
        let graph = Graph::build(&self.core.lsdb, area, now);
        let tree = graph.tree(self.core.router_id);
        // While a database is loaded, most vertices are there and few can be reached.
        self.spf_at = self.spf_at.max(now + rest(graph.len()).max(self.config.spf_interval));
        self.core.ctx.event(Event::Spf { area, vertices: tree.len() });
        let changed = changed_vertices(self.trees.get(&area), &tree);
        dirty.prefixes.append(&mut self.rib.index().hanging_on(&self.core.lsdb, area, &changed));
        self.trees.insert(area, tree);
        self.rib.tree_changed();
    }

    /// Whether routes are behind the database because SPF may not run yet.
    pub(super) fn holds_back(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// What one change of the database makes dirty.
    fn judge(&mut self, change: &Changed, dirty: &mut Dirty) {
        let Changed { key, old, new } = change;
        let (old, new) = (old.as_ref(), new.as_ref());
        let database = (&self.core.lsdb, self.core.ctx.now);
        dirty.prefixes.extend(self.rib.lsa_changed(key, old.map(|lsa| &lsa.body), database));
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
}

impl Heard for Core {
    fn address(&self, of: NeighborId) -> Option<Ipv6Addr> {
        self.ifaces.get(&of.iface)?.neighbors.get(&of.router).map(|neighbor| neighbor.address)
    }
}

/// How long SPF does not run after a run on a graph of so many vertices.
fn rest(vertices: usize) -> Duration {
    if vertices < SMALL { Duration::ZERO } else { REST_PER_VERTEX * vertices as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_graph_is_followed_at_once_and_a_large_one_after_a_rest() {
        assert_eq!(rest(999), Duration::ZERO);
        assert_eq!(rest(1000), Duration::from_millis(10));
        assert_eq!(rest(10_000), Duration::from_millis(100));
    }
}
