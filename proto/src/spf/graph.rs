//! The graph of an area: routers and transit networks, and the links that both ends confirm (RFC 2328 §16.1,
//! RFC 5340 §4.8.1).
//!
//! Vertices carry dense numbers in the order of their ids, links lie in one array (compressed sparse rows), and the
//! check for a link back is done once, here.

use crate::id::{AreaId, Domain, IfaceId, RouterId};
use crate::lsa::{LsType, LsaBody, NetworkLsa, Options, RouterLink, RouterLinkType, RouterLsa};
use crate::lsdb::Lsdb;
use crate::spf::VertexId;
use crate::time::Instant;

/// The graph of one area. Independent of the router that looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    area: AreaId,
    nodes: Vec<Node>,
    /// The links that leave each node.
    rows: Rows<Link>,
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

impl Graph {
    /// Reads the graph of `area` from the database; LSAs at MaxAge do not count (RFC 2328 §16.1 (2)(b)).
    pub fn build(lsdb: &Lsdb, area: AreaId, now: Instant) -> Self {
        let said = Said::read(lsdb, area, now);
        let routers = said.routers.iter().zip(&said.options).map(|(router, options)| Node {
            id: VertexId::Router(*router),
            candidate: options.contains(Options::V6),
            forwards: options.contains(Options::R),
        });
        let networks = said.networks.iter().map(|(dr, iface)| VertexId::Network { dr: *dr, iface: *iface });
        let networks = networks.map(|id| Node { id, candidate: true, forwards: true });
        let nodes: Vec<Node> = routers.chain(networks).collect();

        // Those of routers are in the order of their starts as they are; those of networks are put behind them.
        let mut links = Vec::with_capacity(said.links.len());
        let mut from_networks = Vec::new();
        for (from, link) in &said.links {
            if !said.confirms(*from, link.to) || link.to == *from {
                continue;
            }
            links.push((*from, *link));
            if said.is_network(link.to) {
                // One link back for each of the router's interfaces on the network: each is a next hop.
                from_networks.push((link.to, Link { to: *from, metric: 0, near: IfaceId(0), far: link.near }));
            }
        }
        from_networks.sort_by_key(|(from, _)| *from);
        links.append(&mut from_networks);
        let rows = Rows::of(nodes.len(), links);
        Graph { area, nodes, rows }
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

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(super) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    pub(super) fn number(&self, id: VertexId) -> Option<u32> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok().map(|at| at as u32)
    }

    /// The links that leave a vertex.
    pub(super) fn links(&self, number: u32) -> &[Link] {
        self.rows.row(number)
    }
}

/// Items by the number that they belong to, in one array (compressed sparse rows).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rows<T> {
    /// The items of `n` are `items[offsets[n]..offsets[n + 1]]`.
    offsets: Vec<u32>,
    items: Vec<T>,
}

impl<T> Rows<T> {
    /// Of `items`, each with its number, in the order of these.
    fn of(count: usize, items: Vec<(u32, T)>) -> Self {
        let mut offsets = vec![0u32; count + 1];
        for (number, _) in &items {
            if let Some(length) = offsets.get_mut(*number as usize + 1) {
                *length += 1;
            }
        }
        let mut end = 0;
        for offset in &mut offsets {
            end += *offset;
            *offset = end;
        }
        Rows { offsets, items: items.into_iter().map(|(_, item)| item).collect() }
    }

    fn row(&self, number: u32) -> &[T] {
        let at = |number: usize| self.offsets.get(number).copied().unwrap_or_default() as usize;
        self.items.get(at(number as usize)..at(number as usize + 1)).unwrap_or_default()
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let mut rest = self.items.as_mut_slice();
        self.offsets.windows(2).map(move |ends| {
            let length = match ends {
                [start, end] => (end - start) as usize,
                _ => 0,
            };
            let (row, after) = std::mem::take(&mut rest).split_at_mut_checked(length).unwrap_or_default();
            rest = after;
            row
        })
    }
}

/// What the LSAs of an area say, before it is asked who confirms it. Vertices have the numbers that they have in the graph.
struct Said {
    /// In their order.
    routers: Vec<RouterId>,
    /// Of each router: those of its Router-LSA with the smallest Link State ID.
    options: Vec<Options>,
    /// In their order; they come after the routers.
    networks: Vec<(RouterId, IfaceId)>,
    /// The links of all Router-LSAs of each router (RFC 5340 §4.4.3.2) to vertices that there are, in the order of their starts.
    links: Vec<(u32, Link)>,
    /// The numbers of the routers that each router has point-to-point links to, in order; those attached to each network.
    peers: Rows<u32>,
}

impl Said {
    fn read(lsdb: &Lsdb, area: AreaId, now: Instant) -> Self {
        let bodies = routers(lsdb, area, now);
        let mut said =
            Said { routers: vec![], options: vec![], networks: vec![], links: vec![], peers: Rows::of(0, vec![]) };
        for (router, body) in &bodies {
            if said.routers.last() != Some(router) {
                said.routers.push(*router);
                said.options.push(body.options);
            }
        }
        let networks = networks(lsdb, area, now);
        said.networks = networks.iter().map(|(id, _)| *id).collect();

        let mut peers = Vec::with_capacity(4 * said.routers.len());
        let mut from = 0;
        for (router, body) in &bodies {
            while said.routers.get(from as usize).is_some_and(|at| at < router) {
                from += 1;
            }
            for link in &body.links {
                let Some(to) = said.target(link) else { continue };
                if link.link_type == RouterLinkType::PointToPoint {
                    peers.push((from, to));
                }
                let link = Link { to, metric: link.metric, near: link.iface_id, far: link.neighbor_iface_id };
                said.links.push((from, link));
            }
        }
        for (number, (_, body)) in (said.routers.len() as u32..).zip(&networks) {
            peers.extend(body.attached.iter().filter_map(|router| Some((number, said.router(*router)?))));
        }
        said.peers = Rows::of(said.routers.len() + said.networks.len(), peers);
        said.peers.rows_mut().for_each(<[u32]>::sort_unstable);
        said
    }

    /// The number of a router.
    fn router(&self, router: RouterId) -> Option<u32> {
        self.routers.binary_search(&router).ok().map(|at| at as u32)
    }

    /// The vertex that a link of a Router-LSA leads to, if there is one.
    fn target(&self, link: &RouterLink) -> Option<u32> {
        match link.link_type {
            RouterLinkType::PointToPoint => self.router(link.neighbor_router_id),
            RouterLinkType::Transit => {
                let id = (link.neighbor_router_id, link.neighbor_iface_id);
                self.networks.binary_search(&id).ok().map(|at| (self.routers.len() + at) as u32)
            }
            RouterLinkType::Virtual | RouterLinkType::Other(_) => None,
        }
    }

    fn is_network(&self, number: u32) -> bool {
        number as usize >= self.routers.len()
    }

    /// Whether `to` says that it has a link to the router `from`.
    fn confirms(&self, from: u32, to: u32) -> bool {
        self.peers.row(to).binary_search(&from).is_ok()
    }
}

/// The Router-LSAs that count, in the order of their routers, those of one router in the order of their Link State IDs.
fn routers(lsdb: &Lsdb, area: AreaId, now: Instant) -> Vec<(RouterId, &RouterLsa)> {
    let lsas = lsdb.of_type(Domain::Area(area), LsType::ROUTER).filter(|(_, entry)| entry.counts(now));
    let mut bodies: Vec<_> = lsas
        .filter_map(|(key, entry)| match &entry.lsa().body {
            LsaBody::Router(body) => Some((key.adv_router, body)),
            _ => None,
        })
        .collect();
    bodies.sort_by_key(|(router, _)| *router);
    bodies
}

/// The Network-LSAs that count, in the order of what names them.
fn networks(lsdb: &Lsdb, area: AreaId, now: Instant) -> Vec<((RouterId, IfaceId), &NetworkLsa)> {
    let lsas = lsdb.of_type(Domain::Area(area), LsType::NETWORK).filter(|(_, entry)| entry.counts(now));
    let mut bodies: Vec<_> = lsas
        .filter_map(|(key, entry)| match &entry.lsa().body {
            LsaBody::Network(body) => Some(((key.adv_router, IfaceId(key.link_state_id.0)), body)),
            _ => None,
        })
        .collect();
    bodies.sort_by_key(|(id, _)| *id);
    bodies
}
