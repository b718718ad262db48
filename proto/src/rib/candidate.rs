//! The paths to one prefix, and the best of them.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
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
    let best: Vec<&Candidate<'_>> = candidates.iter().filter(|candidate| rank(candidate) == first).collect();

    let mut paths: BTreeMap<RouterId, Arc<BTreeSet<NextHop>>> = BTreeMap::new();
    // A prefix that we originate ourselves needs no next hop, whoever else has it at the same distance.
    let own = best.iter().any(|candidate| candidate.vertex.first_hops.is_empty());
    for candidate in &best {
        let hops = if own { Arc::default() } else { resolver.next_hops(&candidate.vertex.first_hops) };
        match paths.entry(candidate.originator) {
            Entry::Vacant(entry) => drop(entry.insert(hops)),
            // It lists the prefix in several LSAs.
            Entry::Occupied(mut entry) => Arc::make_mut(entry.get_mut()).extend(hops.iter().copied()),
        }
    }
    let next_hops: BTreeSet<NextHop> = paths.values().flat_map(|hops| hops.iter().copied()).collect();
    if !own && next_hops.is_empty() {
        return None;
    }
    Some(Arc::new(Route { path_type: PathType::IntraArea, distance: first.0, next_hops, paths }))
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
    /// By the place of the set in memory: a tree has each set once ([`crate::spf`]), and two trees that have the same one find
    /// the same.
    known: BTreeMap<usize, Arc<BTreeSet<NextHop>>>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(basis: &'a Basis<'a>) -> Self {
        Resolver { basis, known: BTreeMap::new() }
    }

    /// The next hops of `hops`, without those whose address is not known.
    fn next_hops(&mut self, hops: &'a Arc<BTreeSet<FirstHop>>) -> Arc<BTreeSet<NextHop>> {
        let place = Arc::as_ptr(hops).addr();
        if let Some(known) = self.known.get(&place) {
            return Arc::clone(known);
        }
        let Basis { lsdb, heard, now, .. } = *self.basis;
        let resolve = |hop: &FirstHop| {
            let gateway = neighbor_address(hop, lsdb, heard, now);
            // On the link itself there is no router to hand the packet to.
            (gateway.is_some() || hop.neighbor.is_none()).then_some(NextHop { iface: hop.iface, gateway })
        };
        let resolved: Arc<BTreeSet<NextHop>> = Arc::new(hops.iter().filter_map(resolve).collect());
        self.known.insert(place, Arc::clone(&resolved));
        resolved
    }
}
