//! What everybody should find, computed naively from the intended topology.
//!
//! Distances are those of Bellman and Ford. A first hop belongs to a destination if the way to the hop's router plus
//! that router's own distance to the destination is the shortest distance; nothing is inherited along a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync;

use ospf_proto::id::{IfaceId, RouterId};
use ospf_proto::lsa::Prefix;
use ospf_proto::rib::{NextHop, PathType, Route};

use crate::Reached;
use crate::topology::{
    Node, Reference, Topology, advertised_address, heard_address, lan_iface, link_iface, prefix, router_id,
};

/// A first hop: our interface, and the router with its Interface ID behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hop {
    pub(crate) iface: u32,
    pub(crate) neighbor: Option<(usize, u32)>,
}

/// A way from one vertex to the next.
struct Arc {
    from: Node,
    to: Node,
    cost: u32,
    /// The Interface ID of the router at its start, of the router at its end.
    ifaces: (u32, u32),
}

/// The ways that both ends tell of.
fn arcs(topology: &Topology) -> Vec<Arc> {
    let mut arcs = Vec::new();
    for (number, ends) in topology.links.iter().enumerate() {
        for (near, far) in [(0, 1), (1, 0)] {
            let (from, to) = (ends[near].router, ends[far].router);
            let tells_back = |ends: &[_; 2], at: usize| {
                let ends: &[crate::topology::End; 2] = ends;
                ends[at].router == to && ends[1 - at].router == from && ends[at].told
            };
            // The check is for *a* link back (RFC 2328 §16.1 (2)(b)), not for the same one.
            let back = topology.links.iter().any(|ends| tells_back(ends, 0) || tells_back(ends, 1));
            if from != to && ends[near].told && back {
                let ifaces = (link_iface(number, near), link_iface(number, far));
                let cost = u32::from(ends[near].cost);
                arcs.push(Arc { from: Node::Router(from), to: Node::Router(to), cost, ifaces });
            }
        }
    }
    for (number, lan) in topology.lans.iter().enumerate() {
        let listed = |router| lan.members.iter().zip(&lan.listed).any(|(m, listed)| *listed && m.router == router);
        for (place, member) in lan.members.iter().enumerate().filter(|(_, m)| m.told && listed(m.router)) {
            let (router, network, iface) = (Node::Router(member.router), Node::Lan(number), lan_iface(number, place));
            arcs.push(Arc { from: router, to: network, cost: u32::from(member.cost), ifaces: (iface, 0) });
            arcs.push(Arc { from: network, to: router, cost: 0, ifaces: (0, iface) });
        }
    }
    arcs
}

fn forwards(topology: &Topology, node: Node) -> bool {
    !matches!(node, Node::Router(router) if !topology.routers[router].forwards)
}

fn is_candidate(topology: &Topology, node: Node) -> bool {
    !matches!(node, Node::Router(router) if !topology.routers[router].v6)
}

/// Distances from `start` over ways that do not enter `avoided`.
fn distances(topology: &Topology, arcs: &[Arc], start: Node, avoided: Node) -> BTreeMap<Node, u32> {
    let mut distances = BTreeMap::from([(start, 0)]);
    for _ in topology.nodes() {
        for arc in arcs {
            let leaves = arc.from == start || forwards(topology, arc.from);
            let enters = arc.to != avoided && is_candidate(topology, arc.to);
            if let Some(distance) = distances.get(&arc.from).filter(|_| leaves && enters) {
                let distance = distance + arc.cost;
                let known = distances.entry(arc.to).or_insert(distance);
                *known = distance.min(*known);
            }
        }
    }
    distances
}

/// What `root` reaches, at which distance, by which first hops.
pub(crate) fn reached(topology: &Topology, root: usize) -> Reached {
    let arcs = arcs(topology);
    let root = Node::Router(root);
    let mut reached: Reached =
        distances(topology, &arcs, root, root).into_iter().map(|(node, d)| (node, (d, BTreeSet::new()))).collect();
    let mut note = |node: Node, distance: u32, hop: Hop| {
        if let Some((shortest, hops)) = reached.get_mut(&node)
            && *shortest == distance
        {
            hops.insert(hop);
        }
    };
    for first in arcs.iter().filter(|arc| arc.from == root) {
        // The routers that the first step leads to, with their Interface IDs.
        let mut ends = Vec::new();
        match first.to {
            Node::Router(router) => ends.push((router, first.ifaces.1)),
            Node::Lan(_) => {
                note(first.to, first.cost, Hop { iface: first.ifaces.0, neighbor: None });
                for second in arcs.iter().filter(|arc| arc.from == first.to && arc.to != root) {
                    if let Node::Router(router) = second.to {
                        ends.push((router, second.ifaces.1));
                    }
                }
            }
        }
        for (router, iface) in ends {
            let end = Node::Router(router);
            if !is_candidate(topology, end) {
                continue;
            }
            let hop = Hop { iface: first.ifaces.0, neighbor: Some((router, iface)) };
            for (node, distance) in distances(topology, &arcs, end, root) {
                if node == end || forwards(topology, end) {
                    note(node, first.cost + distance, hop);
                }
            }
        }
    }
    reached
}

/// The vertices one way before each vertex on its shortest paths from `root`.
pub(crate) fn parents(topology: &Topology, root: usize) -> BTreeMap<Node, BTreeSet<Node>> {
    let arcs = arcs(topology);
    let root = Node::Router(root);
    let distances = distances(topology, &arcs, root, root);
    let mut parents: BTreeMap<Node, BTreeSet<Node>> = distances.keys().map(|node| (*node, BTreeSet::new())).collect();
    for arc in arcs.iter().filter(|arc| arc.to != root && (arc.from == root || forwards(topology, arc.from))) {
        if let (Some(from), Some(to)) = (distances.get(&arc.from), distances.get(&arc.to))
            && from + arc.cost == *to
        {
            parents.entry(arc.to).or_default().insert(arc.from);
        }
    }
    parents
}

/// The next hop of a first hop, if an address is known.
fn next_hop(topology: &Topology, hop: &Hop) -> Option<NextHop> {
    let iface = IfaceId(hop.iface);
    let Some((router, far)) = hop.neighbor else { return Some(NextHop { iface, gateway: None }) };
    // The link is found by the interface on its far side.
    let mut on_link = Vec::new();
    for (number, ends) in topology.links.iter().enumerate() {
        let ends: Vec<_> = (0..2).map(|end| (link_iface(number, end), ends[end])).collect();
        on_link.push(ends);
    }
    for (number, lan) in topology.lans.iter().enumerate() {
        let members = lan.members.iter().enumerate().map(|(place, member)| (lan_iface(number, place), *member));
        on_link.push(members.collect());
    }
    let ends = on_link.into_iter().find(|ends| ends.iter().any(|(id, _)| *id == far))?;
    let has_link_lsa = ends.iter().any(|(id, end)| *id == far && end.link_lsa);
    let is_heard = ends.iter().any(|(_, end)| end.router == router && end.heard);
    let gateway = match (has_link_lsa, is_heard) {
        (true, _) => advertised_address(router, far),
        (false, true) => heard_address(router),
        (false, false) => return None,
    };
    Some(NextHop { iface, gateway: Some(gateway) })
}

/// The routes of `root`.
pub(crate) fn routes(topology: &Topology, root: usize) -> BTreeMap<Prefix, sync::Arc<Route>> {
    let reached = reached(topology, root);
    let mut paths: BTreeMap<u8, Vec<(u32, usize, Node)>> = BTreeMap::new();
    for lsa in &topology.prefix_lsas {
        let node = match lsa.reference {
            Reference::Router(router) => Node::Router(router),
            Reference::Lan(lan) => Node::Lan(lan),
        };
        let Some((distance, _)) = reached.get(&node) else { continue };
        if node == Node::Router(root) && lsa.originator != root {
            continue; // what is ours nobody else can say
        }
        for (number, metric, _) in lsa.prefixes.iter().filter(|(.., nu)| !nu) {
            paths.entry(*number).or_default().push((distance + u32::from(*metric), lsa.originator, node));
        }
    }
    let mut routes = BTreeMap::new();
    for (number, paths) in paths {
        let distance = paths.iter().map(|path| path.0).min().unwrap();
        let best: Vec<_> = paths.into_iter().filter(|path| path.0 == distance).collect();
        let own = best.iter().any(|(.., node)| *node == Node::Router(root));
        let mut by_originator: BTreeMap<RouterId, BTreeSet<NextHop>> = BTreeMap::new();
        for (_, originator, node) in &best {
            let hops = by_originator.entry(router_id(*originator)).or_default();
            hops.extend(reached[node].1.iter().filter(|_| !own).filter_map(|hop| next_hop(topology, hop)));
        }
        if own || by_originator.values().any(|hops| !hops.is_empty()) {
            let mut paths = Vec::new();
            for (originator, hops) in by_originator {
                paths.push((originator, None));
                paths.extend(hops.into_iter().map(|hop| (originator, Some(hop))));
            }
            let route = Route::new(PathType::IntraArea, distance, paths);
            routes.insert(prefix(number), sync::Arc::new(route));
        }
    }
    routes
}
