//! The paths to one prefix, and the best of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::consts::LS_INFINITY;
use crate::id::{AreaId, LsaKey, RouterId};
use crate::rib::index::referenced;
use crate::rib::{Basis, NextHop, PathType, Route};
use crate::spf::{FirstHop, Vertex, VertexId, neighbor_address};

/// A path to a prefix.
struct Candidate<'a> {
    distance: u32,
    area: AreaId,
    /// The vertex that the prefix hangs on.
    vertex: &'a Vertex,
    originator: RouterId,
}

/// The route over the LSAs that list a prefix, each with the metric in it.
///
/// The lowest distance wins, and equal ones are used together (RFC 2328 §16.8): also across originators, which is
/// anycast. Between areas the one with the larger ID wins, since all paths of a route belong to one area (§16.8; the
/// choice is that of §16.4.1). If the address of no next hop is known there is no route: a longer path instead could
/// lead to a router that sends the packet back.
pub(super) fn best<'k>(
    listing: impl Iterator<Item = (&'k LsaKey, u16)>,
    resolver: &mut Resolver<'_>,
) -> Option<Arc<Route>> {
    let basis = resolver.basis;
    let candidates: Vec<Candidate<'_>> = listing.filter_map(|(key, metric)| candidate(key, metric, basis)).collect();
    let rank = |candidate: &Candidate<'_>| (candidate.distance, Reverse(candidate.area));
    let first = candidates.iter().map(rank).min()?;
    let best = || candidates.iter().filter(|candidate| rank(candidate) == first);
    // A prefix that we originate ourselves needs no next hop, whoever else has it at the same distance.
    let own = best().any(|candidate| candidate.vertex.first_hops.is_empty());
    let mut paths = Vec::with_capacity(candidates.len());
    let mut known = false;
    for candidate in best() {
        let hops = if own { &[] } else { resolver.next_hops(&candidate.vertex.first_hops) };
        known |= !hops.is_empty();
        paths.extend(hops.iter().map(|hop| (candidate.originator, Some(*hop))));
        if hops.is_empty() {
            paths.push((candidate.originator, None));
        }
    }
    (own || known).then(|| Arc::new(Route::new(PathType::IntraArea, first.0, paths)))
}

/// The path that one LSA offers, if what it refers to can be reached (RFC 5340 §4.8.1).
fn candidate<'a>(key: &LsaKey, metric: u16, basis: &Basis<'a>) -> Option<Candidate<'a>> {
    let entry = basis.lsdb.get(key).filter(|entry| entry.counts(basis.now))?;
    let (area, id) = referenced(key, &entry.lsa().body)?;
    let vertex = basis.trees.get(&area)?.vertex(id)?;
    // What is ours nobody else can say.
    if vertex.first_hops.is_empty() && id != VertexId::Router(key.adv_router) {
        return None;
    }
    let distance = vertex.distance + u32::from(metric);
    (distance < LS_INFINITY).then_some(Candidate { distance, area, vertex, originator: key.adv_router })
}

/// Finds the addresses of first hops, each set of them once.
pub(super) struct Resolver<'a> {
    basis: &'a Basis<'a>,
    /// Where the next hops of a set are, by the place of the set in memory: a tree has each set once ([`crate::spf`]), and two
    /// trees that have the same one find the same.
    known: BTreeMap<usize, Range<usize>>,
    /// The next hops of all sets, one after the other.
    found: Vec<NextHop>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(basis: &'a Basis<'a>) -> Self {
        Resolver { basis, known: BTreeMap::new(), found: Vec::new() }
    }

    /// The next hops of `hops`, without those whose address is not known.
    fn next_hops(&mut self, hops: &'a Arc<BTreeSet<FirstHop>>) -> &[NextHop] {
        let Basis { lsdb, heard, now, .. } = *self.basis;
        let found = &mut self.found;
        let range = self.known.entry(Arc::as_ptr(hops).addr()).or_insert_with(|| {
            let from = found.len();
            found.extend(hops.iter().filter_map(|hop| {
                let gateway = neighbor_address(hop, lsdb, heard, now);
                // On the link itself there is no router to hand the packet to.
                (gateway.is_some() || hop.neighbor.is_none()).then_some(NextHop { iface: hop.iface, gateway })
            }));
            from..found.len()
        });
        self.found.get(range.clone()).unwrap_or_default()
    }
}
