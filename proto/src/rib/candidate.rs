//! The paths to one prefix, and the best of them.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::consts::LS_INFINITY;
use crate::id::{AreaId, Domain, LsaKey, RouterId};
use crate::rib::next_hops::NextHops;
use crate::rib::{Basis, Listed, PathType, Route};
use crate::spf::VertexId;

/// A path to a prefix.
struct Candidate {
    distance: u32,
    area: AreaId,
    /// The place of the vertex that the prefix hangs on in the area's tree.
    vertex: usize,
    originator: RouterId,
    /// It is our own prefix. The root alone has no first hops; to ask each vertex for its own means to fetch them from memory.
    own: bool,
}

/// The route over the LSAs that list a prefix, each with what it says of it.
///
/// The lowest distance wins, and equal ones are used together (RFC 2328 §16.8): also across originators, which is
/// anycast. Between areas the one with the larger ID wins, since all paths of a route belong to one area (§16.8; the
/// choice is that of §16.4.1). If the address of no next hop is known there is no route: a longer path instead could
/// lead to a router that sends the packet back.
pub(super) fn best(listing: &[(LsaKey, Listed)], basis: &Basis<'_>, hops_of: &mut NextHops) -> Option<Arc<Route>> {
    // Room at once: it is most of them, and there may be hundreds.
    let mut candidates = Vec::with_capacity(listing.len());
    candidates.extend(listing.iter().filter_map(|(key, listed)| candidate(key, listed, basis)));
    let rank = |candidate: &Candidate| (candidate.distance, Reverse(candidate.area));
    let first = candidates.iter().map(rank).min()?;
    let best = || candidates.iter().filter(|candidate| rank(candidate) == first);
    // A prefix that we originate ourselves needs no next hop, whoever else has it at the same distance.
    let own = best().any(|candidate| candidate.own);
    let mut paths = Vec::with_capacity(candidates.len());
    let mut known = false;
    for candidate in best() {
        let hops = if own { &[] } else { hops_of.get((candidate.area, candidate.vertex), basis) };
        known |= !hops.is_empty();
        paths.extend(hops.iter().map(|hop| (candidate.originator, Some(*hop))));
        if hops.is_empty() {
            paths.push((candidate.originator, None));
        }
    }
    (own || known).then(|| Arc::new(Route::new(PathType::IntraArea, first.0, paths)))
}

/// The path that one LSA offers, if what it refers to can be reached (RFC 5340 §4.8.1).
fn candidate(key: &LsaKey, listed: &Listed, basis: &Basis<'_>) -> Option<Candidate> {
    let Domain::Area(area) = key.domain else { return None };
    if !listed.counts {
        return None;
    }
    let tree = basis.trees.get(&area)?;
    let vertex = tree.place(listed.vertex)?;
    let own = listed.vertex == VertexId::Router(tree.root());
    // What is ours nobody else can say.
    if own && key.adv_router != tree.root() {
        return None;
    }
    let distance = tree.vertices().get(vertex)?.distance + u32::from(listed.metric);
    (distance < LS_INFINITY).then_some(Candidate { distance, area, vertex, originator: key.adv_router, own })
}
