//! The graph of an area: routers and transit networks, and the links that both ends confirm (RFC 2328 §16.1,
//! RFC 5340 §4.8.1).
//!
//! Vertices carry dense numbers in the order of their ids, links lie in one array (compressed sparse rows), and the
//! check for a link back is done once, here.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{AreaId, Domain, IfaceId, RouterId};
use crate::lsa::{LsType, LsaBody, Options, RouterLink, RouterLinkType};
use crate::lsdb::Lsdb;
use crate::spf::VertexId;
use crate::time::Instant;

/// The graph of one area. Independent of the router that looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    area: AreaId,
    nodes: Vec<Node>,
    /// The links of node `n` are `links[offsets[n]..offsets[n + 1]]`.
    offsets: Vec<usize>,
    links: Vec<Link>,
}

/// A vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: VertexId,
    /// May be added to a tree: a network, or a router with the V6-bit.
    pub(super) candidate: bool,
    /// May lie in the middle of a path: a network, or a router with the R-bit.
    pub(super) forwards: bool,
}

/// A directed link that both ends confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of the vertex it leads to.
    pub(super) to: u32,
    /// Its cost; 0 from a network to a router.
    pub(super) metric: u16,
    /// The Interface ID at its start, where that is a router.
    pub(super) near: IfaceId,
    /// The Interface ID at its end, where that is a router.
    pub(super) far: IfaceId,
}

/// All Router-LSAs of one router as one (RFC 5340 §4.4.3.2).
#[derive(Default)]
struct Aggregate<'a> {
    /// Of the Router-LSA with the smallest Link State ID.
    options: Options,
    links: Vec<&'a RouterLink>,
    /// The routers that it has point-to-point links to, in order.
    peers: Vec<RouterId>,
}

impl Graph {
    /// Reads the graph of `area` from the database; LSAs at MaxAge do not count (RFC 2328 §16.1 (2)(b)).
    pub fn build(lsdb: &Lsdb, area: AreaId, now: Instant) -> Self {
        let routers = routers(lsdb, area, now);
        let networks = networks(lsdb, area, now);
        let nodes: Vec<Node> = routers
            .iter()
            .map(|(router, aggregate)| Node {
                id: VertexId::Router(*router),
                candidate: aggregate.options.contains(Options::V6),
                forwards: aggregate.options.contains(Options::R),
            })
            .chain(networks.keys().map(|id| Node { id: *id, candidate: true, forwards: true }))
            .collect();

        let mut links = Vec::new();
        for (from, (router, aggregate)) in (0u32..).zip(&routers) {
            for link in &aggregate.links {
                let Some((to, id)) = target(&nodes, link) else {
                    continue;
                };
                let confirmed = match id {
                    VertexId::Router(peer) => {
                        routers.get(&peer).is_some_and(|back| back.peers.binary_search(router).is_ok())
                    }
                    VertexId::Network { .. } => networks.get(&id).is_some_and(|attached| attached.contains(router)),
                };
                if !confirmed || to == from {
                    continue;
                }
                links.push((from, Link { to, metric: link.metric, near: link.iface_id, far: link.neighbor_iface_id }));
                if matches!(id, VertexId::Network { .. }) {
                    // One link back for each of the router's interfaces on the network: each is a next hop.
                    links.push((to, Link { to: from, metric: 0, near: IfaceId(0), far: link.iface_id }));
                }
            }
        }
        Graph::from_links(area, nodes, links)
    }

    /// How many vertices there are, reachable or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no vertex.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The area.
    pub fn area(&self) -> AreaId {
        self.area
    }

    fn from_links(area: AreaId, nodes: Vec<Node>, mut links: Vec<(u32, Link)>) -> Self {
        links.sort_by_key(|(from, _)| *from);
        let mut offsets = Vec::with_capacity(nodes.len() + 1);
        offsets.push(0);
        let mut end = 0;
        for from in 0..nodes.len() as u32 {
            end += links.get(end..).map_or(0, |rest| rest.partition_point(|(of, _)| *of == from));
            offsets.push(end);
        }
        Graph { area, nodes, offsets, links: links.into_iter().map(|(_, link)| link).collect() }
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    pub(super) fn number(&self, id: VertexId) -> Option<u32> {
        number(&self.nodes, id)
    }

    /// The links that leave a vertex.
    pub(super) fn links(&self, number: u32) -> &[Link] {
        let start = self.offsets.get(number as usize).copied().unwrap_or_default();
        let end = self.offsets.get(number as usize + 1).copied().unwrap_or_default();
        self.links.get(start..end).unwrap_or_default()
    }
}

fn number(nodes: &[Node], id: VertexId) -> Option<u32> {
    nodes.binary_search_by_key(&id, |node| node.id).ok().map(|at| at as u32)
}

/// The vertex that a link of a Router-LSA leads to, if there is one.
fn target(nodes: &[Node], link: &RouterLink) -> Option<(u32, VertexId)> {
    let id = match link.link_type {
        RouterLinkType::PointToPoint => VertexId::Router(link.neighbor_router_id),
        RouterLinkType::Transit => VertexId::Network { dr: link.neighbor_router_id, iface: link.neighbor_iface_id },
        RouterLinkType::Virtual | RouterLinkType::Other(_) => return None,
    };
    Some((number(nodes, id)?, id))
}

fn routers(lsdb: &Lsdb, area: AreaId, now: Instant) -> BTreeMap<RouterId, Aggregate<'_>> {
    let mut routers: BTreeMap<RouterId, Aggregate<'_>> = BTreeMap::new();
    // In the order of their Link State IDs, so that the first one of a router sets the options.
    for (key, entry) in lsdb.of_type(Domain::Area(area), LsType::ROUTER) {
        let LsaBody::Router(body) = &entry.lsa().body else {
            continue;
        };
        if !entry.counts(now) {
            continue;
        }
        let aggregate = routers
            .entry(key.adv_router)
            .or_insert_with(|| Aggregate { options: body.options, ..Aggregate::default() });
        for link in &body.links {
            if link.link_type == RouterLinkType::PointToPoint {
                aggregate.peers.push(link.neighbor_router_id);
            }
            aggregate.links.push(link);
        }
    }
    for aggregate in routers.values_mut() {
        aggregate.peers.sort_unstable();
    }
    routers
}

fn networks(lsdb: &Lsdb, area: AreaId, now: Instant) -> BTreeMap<VertexId, BTreeSet<RouterId>> {
    lsdb.of_type(Domain::Area(area), LsType::NETWORK)
        .filter(|(_, entry)| entry.counts(now))
        .filter_map(|(key, entry)| match &entry.lsa().body {
            LsaBody::Network(body) => {
                let id = VertexId::Network { dr: key.adv_router, iface: IfaceId(key.link_state_id.0) };
                Some((id, body.attached.iter().copied().collect()))
            }
            _ => None,
        })
        .collect()
}
