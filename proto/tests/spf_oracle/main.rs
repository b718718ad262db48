//! SPF and routing table against an oracle that shares no code with them.
//!
//! `topology` holds an intended area, random or grown, and writes its LSAs; `oracle` computes from the intent, never
//! from an LSA, what everybody should find. `changes` does what the engine does when single LSAs change.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic is a failed test")]

mod changes;
mod oracle;
mod scale;
mod topology;

use std::collections::{BTreeMap, BTreeSet};

use ospf_proto::id::{IfaceId, RouterId};
use ospf_proto::rib::{self, Basis};
use ospf_proto::spf::{FirstHop, Graph, Tree};
use ospf_proto::time::Instant;
use proptest::prelude::*;

use topology::{AREA, Node, Topology, router_id};

const NOW: Instant = Instant::EPOCH;

/// What is compared of a vertex: its distance and its first hops.
type Reached = BTreeMap<Node, (u32, BTreeSet<oracle::Hop>)>;

/// A first hop of the tree in the oracle's words.
fn hop(hop: &FirstHop) -> oracle::Hop {
    let neighbor = hop.neighbor.map(|end| (topology::router_number(end.router), end.iface.0));
    oracle::Hop { iface: hop.iface.0, neighbor }
}

/// The tree in the oracle's words.
fn reached(topology: &Topology, tree: &Tree) -> Reached {
    let find = |node: Node| match node {
        Node::Router(router) => tree.router(router_id(router)),
        Node::Lan(lan) => {
            let (dr, iface) = topology.dr(lan);
            tree.network(router_id(dr), IfaceId(iface))
        }
    };
    let nodes = topology.nodes().into_iter().filter_map(|node| Some((node, find(node)?)));
    nodes.map(|(node, v)| (node, (v.distance, v.first_hops.iter().map(hop).collect()))).collect()
}

fn tree(topology: &Topology, root: usize) -> Tree {
    Graph::build(&topology.lsdb(root), AREA, NOW).tree(router_id(root))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_router_finds_the_distances_and_first_hops_of_the_oracle(topology in topology::topology()) {
        for root in 0..topology.routers.len() {
            let tree = tree(&topology, root);
            let expected = oracle::reached(&topology, root);
            prop_assert_eq!(tree.len(), expected.len());
            prop_assert_eq!(reached(&topology, &tree), expected, "root {}", root);
        }
    }

    #[test]
    fn parents_are_the_vertices_one_link_before_on_a_shortest_path(topology in topology::topology()) {
        let graph = Graph::build(&topology.lsdb(0), AREA, NOW);
        let tree = graph.tree(router_id(0));
        let expected = oracle::parents(&topology, 0);
        for (node, parents) in expected {
            let id = topology.vertex_id(node);
            let parents: BTreeSet<_> = parents.into_iter().map(|node| topology.vertex_id(node)).collect();
            prop_assert!(tree.vertex(id).is_some());
            prop_assert_eq!(graph.parents(&tree, id).into_iter().collect::<BTreeSet<_>>(), parents, "of {}", id);
        }
    }

    #[test]
    fn every_router_finds_the_routes_of_the_oracle(topology in topology::topology()) {
        for root in 0..topology.routers.len() {
            let lsdb = topology.lsdb(root);
            let trees = BTreeMap::from([(AREA, tree(&topology, root))]);
            let heard = topology.heard(root);
            let basis = Basis { trees: &trees, lsdb: &lsdb, heard: &heard, now: NOW };
            prop_assert_eq!(rib::all(&basis), oracle::routes(&topology, root), "root {}", root);
        }
    }

    #[test]
    fn the_order_in_which_lsas_came_does_not_matter(topology in topology::topology(), seed in any::<u64>()) {
        let in_order = topology.lsdb(0);
        let shuffled = topology::shuffled(&in_order, seed);
        prop_assert_eq!(Graph::build(&in_order, AREA, NOW), Graph::build(&shuffled, AREA, NOW));
        prop_assert_eq!(tree(&topology, 0), Graph::build(&shuffled, AREA, NOW).tree(RouterId(1)));
    }
}
