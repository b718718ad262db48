//! Routes and their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::id::{IfaceId, RouterId};
use crate::lsa::Prefix;

/// Where to send: out of an interface, to a router's link-local address (none: the destination is on the link).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// The interface.
    pub iface: IfaceId,
    /// The router's link-local address from its Link-LSA (RFC 5340 §4.8.2).
    pub gateway: Option<Ipv6Addr>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Type of the paths.
    pub path_type: PathType,
    /// Distance: the sum of costs.
    pub distance: u32,
    /// The next hops; empty if the prefix is our own.
    pub next_hops: BTreeSet<NextHop>,
    /// The routers that originate the prefix at this distance, each with the next hops of its shortest paths: those of
    /// `next_hops` that lead to it. Empty for an originator whose next hops have no known address, and if the prefix is
    /// our own.
    pub paths: BTreeMap<RouterId, Arc<BTreeSet<NextHop>>>,
}

impl Route {
    /// The routers that originate the prefix at this distance.
    pub fn originators(&self) -> impl ExactSizeIterator<Item = RouterId> {
        self.paths.keys().copied()
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
