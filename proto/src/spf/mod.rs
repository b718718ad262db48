//! The shortest-path tree of one area: `&Lsdb -> Graph -> Tree` (RFC 2328 §16.1, RFC 5340 §4.8.1, §4.8.2).
//!
//! Everything here is a pure function. [`Graph::build`] reads the Router- and Network-LSAs of an area,
//! [`Graph::tree`] runs Dijkstra's algorithm on them, and [`neighbor_address`] turns a first hop into a link-local
//! address, so that a changed Link-LSA needs no new tree. [`same_graph`] says whether a changed LSA does, and [`changed_vertices`]
//! which prefixes a new tree concerns.
//!
//! A link with MaxLinkMetric stays usable, as a last resort (RFC 6987 §2). Virtual links are passed over.
//!
//! Differs: a router with a clear R-bit is a vertex like any other, but no path leads through it (RFC 5340 §A.2, erratum
//! 2078); the text of §4.8.1 would make its own prefixes unreachable.
//! Differs: a path of LSInfinity or more does not count; RFC 2328 sets no bound inside an area.
//! Differs: a router that is the root is used whatever its own V6-bit says.

mod first_hop;
mod graph;
mod meaning;
mod tree;

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

use std::fmt;

pub use first_hop::{FirstHop, Heard, LinkEnd, neighbor_address};
pub use graph::Graph;
pub use meaning::{same_graph, same_next_hop};
pub use tree::{Tree, Vertex, changed_vertices};

use crate::id::{IfaceId, RouterId};

/// What names a vertex (RFC 5340 §4.8.1); routers sort before transit networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VertexId {
    /// A router.
    Router(RouterId),
    /// A transit network, named by its Designated Router.
    Network {
        /// The Designated Router.
        dr: RouterId,
        /// The Designated Router's Interface ID: the Link State ID of the Network-LSA.
        iface: IfaceId,
    },
}

impl fmt::Display for VertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VertexId::Router(router) => write!(f, "router {router}"),
            VertexId::Network { dr, iface } => {
                write!(f, "network of {dr} on its interface {iface}")
            }
        }
    }
}
