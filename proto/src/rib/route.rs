//! Routes and their changes.

use std::cmp::Ordering;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::id::{IfaceId, RouterId};
use crate::lsa::Prefix;

/// Where to send: out of an interface, to a router's link-local address (none: the destination is on the link).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub iface: IfaceId,
    /// The router's link-local address from its Link-LSA (RFC 5340 §4.8.2).
    pub gateway: Option<Ipv6Addr>,
}

/// By interface and address. The order of the fields, in numbers: addresses are compared by the standard library in
/// eight steps each, of which a route of 256 next hops needs thousands.
impl Ord for NextHop {
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |hop: &NextHop| (hop.iface, hop.gateway.map(Ipv6Addr::to_bits));
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for NextHop {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The type of a path, in the order of preference (RFC 2328 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathType {
    /// Inside the area.
    IntraArea,
    /// Through a border router.
    InterArea,
    /// External, type 1.
    External1,
    /// External, type 2.
    External2,
}

/// A route: the lowest-cost paths to one prefix.
///
/// In three lists and not in sets of sets: a farm of 256 servers makes a new one with every change of a cost, and an area of
/// 10,000 prefixes holds as many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Type of the paths.
    pub path_type: PathType,
    /// Distance: the sum of costs.
    pub distance: u32,
    /// The next hops, each once and in their order; empty if the prefix is our own.
    pub next_hops: Box<[NextHop]>,
    /// The routers that originate the prefix at this distance, in the order of their ids, each with the end of its part of
    /// `positions`.
    originators: Box<[(RouterId, u32)]>,
    /// Places in `next_hops`: those of the first originator, of the second, and so on.
    positions: Box<[u32]>,
}

impl Route {
    /// The route over these paths in any order: an originator and a next hop of its shortest paths. An originator without one
    /// (its address is not known, or the prefix is our own) comes with none.
    pub fn new(path_type: PathType, distance: u32, mut paths: Vec<(RouterId, Option<NextHop>)>) -> Self {
        paths.sort_unstable();
        paths.dedup();
        let mut next_hops = Vec::with_capacity(paths.len());
        next_hops.extend(paths.iter().filter_map(|(_, hop)| *hop));
        next_hops.sort_unstable();
        next_hops.dedup();
        let mut originators = Vec::<(RouterId, u32)>::with_capacity(paths.len());
        let mut positions = Vec::<u32>::with_capacity(paths.len());
        for (router, hop) in paths {
            // In most farms the next originator has the next address.
            let next = positions.last().map_or(0, |last| last + 1);
            let is_next = |hop: &NextHop| next_hops.get(next as usize) == Some(hop);
            let find = |hop: &NextHop| next_hops.binary_search(hop).ok().map(|place| place as u32);
            positions.extend(hop.and_then(|hop| if is_next(&hop) { Some(next) } else { find(&hop) }));
            match originators.last_mut().filter(|(last, _)| *last == router) {
                Some((_, end)) => *end = positions.len() as u32,
                None => originators.push((router, positions.len() as u32)),
            }
        }
        let (originators, positions) = (originators.into_boxed_slice(), positions.into_boxed_slice());
        Route { path_type, distance, next_hops: next_hops.into_boxed_slice(), originators, positions }
    }

    /// The routers that originate the prefix at this distance, in the order of their ids.
    pub fn originators(&self) -> impl ExactSizeIterator<Item = RouterId> {
        self.originators.iter().map(|(router, _)| *router)
    }

    /// Whether a router originates the prefix at this distance.
    pub fn has_originator(&self, router: RouterId) -> bool {
        self.originators.binary_search_by_key(&router, |(known, _)| *known).is_ok()
    }

    /// The originators, each with the places in `next_hops` of those that lead to it. None for an originator whose next hops
    /// have no known address, and if the prefix is our own.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = (RouterId, &[u32])> {
        let mut from = 0;
        self.originators.iter().map(move |(router, end)| {
            let end = *end as usize;
            (*router, self.positions.get(std::mem::replace(&mut from, end)..end).unwrap_or_default())
        })
    }

    /// The next hops at these places.
    pub fn hops_at(&self, places: &[u32]) -> impl Iterator<Item = &NextHop> {
        places.iter().filter_map(|place| self.next_hops.get(*place as usize))
    }
}

/// A change of the routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Install this route in place of any before.
    Install(Prefix, Arc<Route>),
    /// There is no route any more.
    Remove(Prefix),
}
