//! Large areas: the tree proves itself right in one pass over the links.

use std::collections::{BTreeMap, BTreeSet};

use ospf_proto::id::IfaceId;
use ospf_proto::rib::{self, Basis};
use ospf_proto::spf::{Graph, VertexId};

use crate::NOW;
use crate::topology::{AREA, End, Lan, PrefixLsa, Reference, Role, Topology, next, prefix, router_id};

const ROUTERS: usize = 9_000;
const LANS: usize = 1_000;

/// A connected area of 10,000 vertices: each router is linked to one before it, then come links and LANs at random.
fn large(seed: u64) -> Topology {
    let mut state = seed;
    let mut draw = |below: usize| (next(&mut state) % below as u64) as usize;
    let end = |router, cost| End { router, cost, told: true, link_lsa: true, heard: false };
    let role = Role { forwards: true, v6: true, first_id: 0, links_per_lsa: 100 };
    let mut links = Vec::new();
    for router in 1..ROUTERS {
        links.push([end(router, 1 + draw(20) as u16), end(draw(router), 1 + draw(20) as u16)]);
    }
    for _ in 0..2 * ROUTERS {
        links.push([end(draw(ROUTERS), 1 + draw(20) as u16), end(draw(ROUTERS), 1 + draw(20) as u16)]);
    }
    let mut lans = Vec::new();
    for _ in 0..LANS {
        let members: Vec<End> = (0..10).map(|_| end(draw(ROUTERS), 1 + draw(20) as u16)).collect();
        lans.push(Lan { listed: vec![true; members.len()], members });
    }
    // One prefix of every tenth router, and one anycast prefix that all of these share.
    let listed = |router: usize| vec![(1 + (router / 10 % 200) as u8, 5, false), (0, 5, false)];
    let lsa = |router| PrefixLsa { originator: router, reference: Reference::Router(router), prefixes: listed(router) };
    let prefix_lsas = (0..ROUTERS).step_by(10).map(lsa).collect();
    Topology { routers: vec![role; ROUTERS], links, lans, prefix_lsas }
}

#[test]
fn an_area_of_10_000_vertices_gives_a_tree_that_no_link_could_shorten() {
    let topology = large(0x5eed);
    let lsdb = topology.lsdb(0);
    let graph = Graph::build(&lsdb, AREA, NOW);
    let tree = graph.tree(router_id(0));
    assert_eq!(tree.len(), ROUTERS + LANS);

    let router = |router: usize| tree.router(router_id(router)).unwrap();
    let mut before: BTreeMap<VertexId, BTreeSet<VertexId>> = BTreeMap::new();
    let mut tight = |from: VertexId, cost: u16, to: VertexId| {
        let (near, far) = (tree.vertex(from).unwrap(), tree.vertex(to).unwrap());
        assert!(far.distance <= near.distance + u32::from(cost), "{from} leads to {to} on a shorter path");
        if far.distance == near.distance + u32::from(cost) {
            before.entry(to).or_default().insert(from);
        }
    };
    for [a, b] in topology.links.iter().filter(|[a, b]| a.router != b.router) {
        let (here, there) = (router(a.router).id, router(b.router).id);
        tight(here, a.cost, there);
        tight(there, b.cost, here);
    }
    for (number, lan) in topology.lans.iter().enumerate() {
        let (dr, iface) = topology.dr(number);
        let network = tree.network(router_id(dr), IfaceId(iface)).unwrap().id;
        for member in &lan.members {
            tight(router(member.router).id, member.cost, network);
            tight(network, 0, router(member.router).id);
        }
    }
    let root = router(0).id;
    for vertex in tree.vertices().iter().filter(|vertex| vertex.id != root) {
        let parents: BTreeSet<_> = graph.parents(&tree, vertex.id).into_iter().collect();
        assert_eq!(parents, before[&vertex.id], "of {}", vertex.id);
        // Away from the root, first hops are those of the parents together.
        let near = |id: &VertexId| *id == root || before[id].contains(&root);
        if !parents.iter().any(near) {
            let inherited: BTreeSet<_> =
                parents.iter().flat_map(|id| tree.vertex(*id).unwrap().first_hops.iter().copied()).collect();
            assert_eq!(*vertex.first_hops, inherited, "of {}", vertex.id);
        }
    }
}

#[test]
fn an_anycast_prefix_of_900_originators_goes_to_the_nearest() {
    let topology = large(0xfa1);
    let lsdb = topology.lsdb(1);
    let trees = BTreeMap::from([(AREA, Graph::build(&lsdb, AREA, NOW).tree(router_id(1)))]);
    let heard = BTreeMap::new();
    let routes = rib::all(&Basis { trees: &trees, lsdb: &lsdb, heard: &heard, now: NOW });
    assert_eq!(routes.len(), 201);
    let distance = |router: usize| trees[&AREA].router(router_id(router)).unwrap().distance;
    let nearest = (0..ROUTERS).step_by(10).map(distance).min().unwrap();
    let originators: Vec<_> =
        (0..ROUTERS).step_by(10).filter(|router| distance(*router) == nearest).map(router_id).collect();
    let route = &routes[&prefix(0)];
    assert_eq!((route.distance, route.originators().collect::<Vec<_>>()), (nearest + 5, originators));
}
