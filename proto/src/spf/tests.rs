//! Tests of graph, tree and first hops.

use std::collections::BTreeMap;
use std::time::Duration;

use super::sample::{
    AREA, NOW, Sample, link, link_local, link_lsa, listed, lsa, network_lsa, p2p, router, router_lsa, server, transit,
};
use super::{FirstHop, Graph, LinkEnd, Tree, VertexId, changed_vertices, neighbor_address, same_graph, same_next_hop};
use crate::consts::{MAX_AGE, MAX_LINK_METRIC};
use crate::id::{Domain, IfaceId, LinkStateId, NeighborId, RouterId};
use crate::lsa::{IntraAreaPrefixLsa, LsType, LsaBody, Options, RouterLinkType};

/// The distance of a router, if it can be reached.
fn distance(tree: &Tree, router: u32) -> Option<u32> {
    tree.router(RouterId(router)).map(|vertex| vertex.distance)
}

/// The first hops to a router as (our interface, neighbor, neighbor's interface).
fn hops(tree: &Tree, router: u32) -> Vec<(u32, u32, u32)> {
    let vertex = tree.router(RouterId(router)).expect("reachable");
    vertex.first_hops.iter().map(|hop| hop_numbers(hop).expect("behind a router")).collect()
}

fn hop_numbers(hop: &FirstHop) -> Option<(u32, u32, u32)> {
    hop.neighbor.map(|end| (hop.iface.0, end.router.0, end.iface.0))
}

/// Router 1 in the middle of 2 and 3, each over a point-to-point link.
fn chain(middle: Options) -> Sample {
    Sample::default()
        .router(2, router(), &[p2p(21, 10, 1, 12)])
        .router(1, middle, &[p2p(12, 10, 2, 21), p2p(13, 10, 3, 31)])
        .router(3, router(), &[p2p(31, 10, 1, 13)])
}

/// Routers 1 (the DR), 2 and the server 3 on one network.
fn lan() -> Sample {
    Sample::default()
        .router(1, router(), &[transit(5, 10, 1, 5)])
        .router(2, router(), &[transit(6, 20, 1, 5)])
        .router(3, server(), &[transit(7, MAX_LINK_METRIC, 1, 5)])
        .network(1, 5, &[1, 2, 3])
}

#[test]
fn the_root_is_at_distance_0_without_first_hops_and_parents() {
    let tree = chain(router()).tree(2);
    let root = tree.router(RouterId(2)).unwrap();
    assert_eq!((root.distance, root.first_hops.len()), (0, 0));
    assert_eq!(chain(router()).parents(2, VertexId::Router(RouterId(2))), []);
    assert_eq!((tree.root(), tree.area(), tree.len()), (RouterId(2), AREA, 3));
}

#[test]
fn costs_add_up_and_first_hops_are_inherited() {
    let tree = chain(router()).tree(2);
    assert_eq!(distance(&tree, 3), Some(20));
    assert_eq!(hops(&tree, 3), [(21, 1, 12)]);
    let parents = chain(router()).parents(2, VertexId::Router(RouterId(3)));
    assert_eq!(parents, [VertexId::Router(RouterId(1))]);
}

#[test]
fn a_root_without_router_lsa_has_an_empty_tree() {
    assert!(chain(router()).tree(9).is_empty());
    assert!(Sample::default().tree(1).is_empty());
}

#[test]
fn a_link_that_only_one_end_tells_of_is_not_used() {
    let sample = Sample::default()
        .router(1, router(), &[p2p(12, 10, 2, 21), transit(5, 10, 1, 5), transit(6, 10, 3, 6)])
        .router(2, router(), &[])
        .router(3, router(), &[transit(6, 10, 3, 6)])
        .network(1, 5, &[1, 2])
        .network(3, 6, &[3]);
    let tree = sample.tree(1);
    assert_eq!(distance(&tree, 2), None, "2 tells neither of the link nor of the network");
    assert_eq!(distance(&tree, 3), None, "the network-LSA of 3 does not list 1");
    assert_eq!(tree.network(RouterId(1), IfaceId(5)).map(|network| network.distance), Some(10));
    assert_eq!(tree.network(RouterId(3), IfaceId(6)), None);
}

#[test]
fn parallel_links_of_equal_cost_are_a_next_hop_each() {
    let sample = Sample::default()
        .router(1, router(), &[p2p(1, 10, 2, 11), p2p(2, 10, 2, 12), p2p(3, 11, 2, 13)])
        .router(2, router(), &[p2p(11, 10, 1, 1), p2p(12, 10, 1, 2), p2p(13, 10, 1, 3)]);
    assert_eq!(hops(&sample.tree(1), 2), [(1, 2, 11), (2, 2, 12)]);
}

#[test]
fn equal_cost_paths_are_all_kept_and_longer_ones_are_not() {
    let sample = Sample::default()
        .router(1, router(), &[p2p(2, 10, 2, 1), p2p(3, 5, 3, 1), p2p(4, 1, 4, 1)])
        .router(2, router(), &[p2p(1, 1, 1, 2), p2p(5, 10, 5, 2)])
        .router(3, router(), &[p2p(1, 1, 1, 3), p2p(5, 15, 5, 3)])
        .router(4, router(), &[p2p(1, 1, 1, 4), p2p(5, 20, 5, 4)])
        .router(5, router(), &[p2p(2, 1, 2, 5), p2p(3, 1, 3, 5), p2p(4, 1, 4, 5)]);
    let tree = sample.tree(1);
    assert_eq!(distance(&tree, 5), Some(20));
    assert_eq!(hops(&tree, 5), [(2, 2, 1), (3, 3, 1)]);
    let parents = [VertexId::Router(RouterId(2)), VertexId::Router(RouterId(3))];
    assert_eq!(sample.parents(1, VertexId::Router(RouterId(5))), parents);
}

#[test]
fn a_router_on_our_network_is_reached_at_the_interface_id_in_its_own_router_lsa() {
    let tree = lan().tree(1);
    assert_eq!(distance(&tree, 2), Some(10));
    assert_eq!(hops(&tree, 2), [(5, 2, 6)]);
    assert_eq!(hops(&lan().tree(2), 1), [(6, 1, 5)]);
}

#[test]
fn a_router_with_two_interfaces_on_our_network_is_two_next_hops() {
    let sample = lan().router(2, router(), &[transit(6, 20, 1, 5), transit(8, 30, 1, 5)]);
    assert_eq!(hops(&sample.tree(1), 2), [(5, 2, 6), (5, 2, 8)]);
    let tree = sample.tree(2);
    assert_eq!(distance(&tree, 1), Some(20));
    assert_eq!(hops(&tree, 1), [(6, 1, 5)], "the interface of cost 30 is the longer way");
}

#[test]
fn our_own_network_is_reached_without_a_neighbor() {
    let tree = lan().tree(1);
    let network = tree.network(RouterId(1), IfaceId(5)).unwrap();
    assert_eq!(
        network.first_hops.iter().copied().collect::<Vec<_>>(),
        [FirstHop { iface: IfaceId(5), neighbor: None }]
    );
    assert_eq!(lan().parents(1, network.id), [VertexId::Router(RouterId(1))]);
}

#[test]
fn a_remote_network_is_reached_over_the_router_before_it() {
    let sample = lan()
        .router(2, router(), &[transit(6, 20, 1, 5), transit(9, 7, 2, 9)])
        .router(4, router(), &[transit(4, 7, 2, 9)])
        .network(2, 9, &[2, 4]);
    let tree = sample.tree(1);
    let network = tree.network(RouterId(2), IfaceId(9)).unwrap();
    assert_eq!((network.distance, network.first_hops.first().and_then(hop_numbers)), (17, Some((5, 2, 6))));
    assert_eq!(hops(&tree, 4), [(5, 2, 6)]);
}

#[test]
fn a_path_over_a_network_and_one_over_a_link_of_equal_cost_are_both_kept() {
    let sample = Sample::default()
        .router(1, router(), &[transit(5, 10, 1, 5), p2p(12, 10, 2, 21)])
        .router(2, router(), &[transit(6, 10, 1, 5), p2p(21, 10, 1, 12), p2p(23, 1, 3, 32)])
        .router(3, router(), &[p2p(32, 1, 2, 23)])
        .network(1, 5, &[1, 2]);
    let tree = sample.tree(1);
    assert_eq!(hops(&tree, 2), [(5, 2, 6), (12, 2, 21)]);
    assert_eq!(hops(&tree, 3), [(5, 2, 6), (12, 2, 21)]);
}

#[test]
fn no_path_leads_through_a_router_that_does_not_forward_but_to_it() {
    let sample = chain(server());
    let tree = sample.tree(2);
    assert_eq!((distance(&tree, 1), distance(&tree, 3)), (Some(10), None));
    let tree = sample.tree(1);
    assert_eq!((distance(&tree, 2), distance(&tree, 3)), (Some(10), Some(10)), "it still sends its own packets");
}

#[test]
fn a_router_without_the_v6_bit_is_no_candidate_unless_it_is_the_root() {
    let sample = chain(Options::R | Options::E);
    let tree = sample.tree(2);
    assert_eq!((distance(&tree, 1), distance(&tree, 3)), (None, None));
    assert_eq!(distance(&sample.tree(1), 2), Some(10));
}

#[test]
fn the_router_lsas_of_one_router_are_one_and_the_smallest_link_state_id_has_its_options() {
    let area = Domain::Area(AREA);
    let sample = chain(router())
        .without(LsType::ROUTER, 0, 1)
        .install(area, router_lsa(1, 9, server(), &[p2p(12, 10, 2, 21)]))
        .install(area, router_lsa(1, 4, router(), &[p2p(13, 10, 3, 31)]));
    assert_eq!(distance(&sample.tree(2), 3), Some(20));

    let sample = sample.install(area, router_lsa(1, 3, server(), &[]));
    assert_eq!(distance(&sample.tree(2), 3), None);
}

#[test]
fn lsas_at_max_age_are_not_used() {
    let sample = lan();
    let old_age = NOW + Duration::from_secs(u64::from(MAX_AGE));
    let just_before = NOW + Duration::from_secs(u64::from(MAX_AGE) - 1);
    assert_eq!(Graph::build(&sample.lsdb, AREA, just_before).len(), 4);
    assert!(Graph::build(&sample.lsdb, AREA, old_age).is_empty());

    let flushed = network_lsa(1, 5, &[1, 2, 3]).with_age(MAX_AGE);
    let sample = sample.install(Domain::Area(AREA), flushed);
    let tree = sample.tree(1);
    assert_eq!((tree.len(), distance(&tree, 2)), (1, None));
}

#[test]
fn another_area_is_another_graph() {
    let sample = lan();
    assert!(Graph::build(&sample.lsdb, crate::id::AreaId(1), NOW).is_empty());
}

#[test]
fn a_link_with_max_link_metric_is_a_last_resort() {
    let stub = [p2p(12, MAX_LINK_METRIC, 2, 21), p2p(13, MAX_LINK_METRIC, 3, 31)];
    let sample = chain(router()).router(1, router(), &stub);
    assert_eq!(distance(&sample.tree(2), 3), Some(10 + u32::from(MAX_LINK_METRIC)));

    let sample = sample
        .router(2, router(), &[p2p(21, 10, 1, 12), p2p(24, 30_000, 4, 42)])
        .router(4, router(), &[p2p(42, 1, 2, 24), p2p(43, 30_000, 3, 34)])
        .router(3, router(), &[p2p(31, 10, 1, 13), p2p(34, 1, 4, 43)]);
    let tree = sample.tree(2);
    assert_eq!(distance(&tree, 3), Some(60_000));
    assert_eq!(hops(&tree, 3), [(24, 4, 42)]);
}

#[test]
fn virtual_and_unknown_links_are_passed_over() {
    let sample = Sample::default()
        .router(
            1,
            router(),
            &[link(RouterLinkType::Virtual, (1, 1), (2, 1)), link(RouterLinkType::Other(9), (2, 1), (2, 2))],
        )
        .router(2, router(), &[p2p(1, 1, 1, 1)]);
    assert_eq!(distance(&sample.tree(1), 2), None);
    assert_eq!(distance(&sample.tree(2), 1), None, "a virtual link back confirms no point-to-point link");
}

#[test]
fn a_link_to_oneself_does_nothing() {
    let sample = chain(router()).router(1, router(), &[p2p(9, 0, 1, 9), p2p(12, 10, 2, 21), p2p(13, 10, 3, 31)]);
    let tree = sample.tree(2);
    assert_eq!(hops(&tree, 1), [(21, 1, 12)]);
    assert_eq!(sample.parents(2, VertexId::Router(RouterId(1))), [VertexId::Router(RouterId(2))]);
}

#[test]
fn first_hops_found_late_over_links_of_metric_0_reach_everything_behind() {
    // 2 and 3 are both at distance 10 and 0 apart, so that each has the other's first hop; 4 hangs on 2.
    let sample = Sample::default()
        .router(1, router(), &[p2p(12, 10, 2, 21), p2p(13, 10, 3, 31)])
        .router(2, router(), &[p2p(21, 10, 1, 12), p2p(23, 0, 3, 32), p2p(24, 1, 4, 42)])
        .router(3, router(), &[p2p(31, 10, 1, 13), p2p(32, 0, 2, 23)])
        .router(4, router(), &[p2p(42, 1, 2, 24)]);
    let tree = sample.tree(1);
    let both = [(12, 2, 21), (13, 3, 31)];
    assert_eq!((hops(&tree, 2), hops(&tree, 3), hops(&tree, 4)), (both.to_vec(), both.to_vec(), both.to_vec()));
}

#[test]
fn a_path_of_ls_infinity_does_not_count() {
    // 256 links of 65,535 and one of 255 are LSInfinity.
    let chain = |last: u16| {
        (0..=257u32).fold(Sample::default(), |sample, n| {
            let metric = if n == 256 { last } else { MAX_LINK_METRIC };
            let links = [p2p(1, 1, n.wrapping_sub(1), 2), p2p(2, metric, n + 1, 1)];
            sample.router(n, router(), &links)
        })
    };
    assert_eq!(distance(&chain(254).tree(0), 257), Some(0x00ff_fffe));
    assert_eq!(distance(&chain(255).tree(0), 257), None);
}

#[test]
fn vertices_that_share_first_hops_share_one_set() {
    let tree = chain(router()).tree(2);
    let (near, far) = (tree.router(RouterId(1)).unwrap(), tree.router(RouterId(3)).unwrap());
    assert!(std::sync::Arc::ptr_eq(&near.first_hops, &far.first_hops));
}

#[test]
fn a_neighbor_s_address_is_that_of_its_link_lsa_else_that_of_its_hellos() {
    let hop = FirstHop { iface: IfaceId(5), neighbor: Some(LinkEnd { router: RouterId(2), iface: IfaceId(6) }) };
    let (none, hello) = (BTreeMap::new(), link_local(2, 99));
    let heard = BTreeMap::from([(NeighborId { iface: IfaceId(5), router: RouterId(2) }, hello)]);
    let sample = Sample::default().link(5, 2, 6).link(4, 2, 7).link(5, 2, 8);
    assert_eq!(neighbor_address(&hop, &sample.lsdb, &none, NOW), Some(link_local(2, 6)));
    assert_eq!(neighbor_address(&hop, &sample.lsdb, &heard, NOW), Some(link_local(2, 6)));
    assert_eq!(neighbor_address(&FirstHop { neighbor: None, ..hop }, &sample.lsdb, &heard, NOW), None);

    let old_age = NOW + Duration::from_secs(u64::from(MAX_AGE));
    assert_eq!(neighbor_address(&hop, &sample.lsdb, &none, old_age), None);
    assert_eq!(neighbor_address(&hop, &sample.lsdb, &heard, old_age), Some(hello));

    let global = link_lsa(2, 6, "2001:db8::1".parse().unwrap());
    let sample = sample.install(Domain::Link(IfaceId(5)), global);
    assert_eq!(neighbor_address(&hop, &sample.lsdb, &none, NOW), None, "not a link-local address");
}

#[test]
fn a_router_lsa_that_says_the_same_in_other_words_is_the_same_graph() {
    let (a, b) = (p2p(1, 10, 2, 1), transit(3, 10, 2, 7));
    let before = router_lsa(1, 0, router(), &[a, b]);
    let other_words = [
        router_lsa(1, 0, router() | Options::DC, &[b, a]),
        router_lsa(1, 0, router(), &[a, link(RouterLinkType::Virtual, (8, 1), (4, 4)), b]),
    ];
    for after in other_words {
        assert!(same_graph(&before, &after, RouterId(9)));
        assert!(same_graph(&before, &after, RouterId(1)));
    }
    let other_meaning = [
        router_lsa(1, 0, server(), &[a, b]),
        router_lsa(1, 0, router() - Options::V6, &[a, b]),
        router_lsa(1, 0, router(), &[a]),
        router_lsa(1, 0, router(), &[a, a, b]),
        router_lsa(1, 0, router(), &[p2p(1, 11, 2, 1), b]),
        router_lsa(1, 0, router(), &[p2p(1, 10, 2, 2), b]),
        before.with_age(MAX_AGE),
    ];
    for after in other_meaning {
        assert!(!same_graph(&before, &after, RouterId(9)), "{after:?}");
        assert!(!same_graph(&after, &before, RouterId(9)), "{after:?}");
    }
}

#[test]
fn the_link_metric_of_a_server_matters_to_itself_alone() {
    let with = |id, metric| router_lsa(3, id, server(), &[transit(7, metric, 1, 5)]);
    assert!(same_graph(&with(0, 65535), &with(0, 65534), RouterId(1)));
    assert!(!same_graph(&with(0, 65535), &with(0, 65534), RouterId(3)));
    assert!(!same_graph(&with(1, 65535), &with(1, 65534), RouterId(1)), "its LSA 0 may have the R-bit");
}

#[test]
fn of_a_network_lsa_the_set_of_attached_routers_counts() {
    let before = network_lsa(1, 5, &[1, 2, 3]);
    assert!(same_graph(&before, &network_lsa(1, 5, &[3, 1, 2, 2]), RouterId(1)));
    assert!(!same_graph(&before, &network_lsa(1, 5, &[1, 2]), RouterId(1)));
    assert!(!same_graph(&before, &before.with_age(MAX_AGE), RouterId(1)));
}

#[test]
fn of_a_link_lsa_the_link_local_address_counts_and_other_lsas_change_no_graph() {
    let before = link_lsa(2, 6, link_local(2, 6));
    let LsaBody::Link(mut body) = before.body.clone() else { panic!("not a Link-LSA") };
    body.options = server();
    body.prefixes.push(listed("2001:db8::/64", 0));
    let after = lsa(LsType::LINK, 6, 2, LsaBody::Link(body));
    assert!(same_next_hop(&before, &after));
    assert!(!same_next_hop(&before, &link_lsa(2, 6, link_local(2, 7))));
    assert!(!same_next_hop(&before, &before.with_age(MAX_AGE)));
    assert!(same_graph(&before, &link_lsa(2, 6, link_local(2, 7)), RouterId(1)));

    let prefixes = |metric| {
        let body = IntraAreaPrefixLsa {
            referenced_type: LsType::ROUTER,
            referenced_id: LinkStateId(0),
            referenced_router: RouterId(2),
            prefixes: vec![listed("2001:db8::/64", metric)],
        };
        lsa(LsType::INTRA_AREA_PREFIX, 0, 2, LsaBody::IntraAreaPrefix(body))
    };
    assert!(same_graph(&prefixes(1), &prefixes(2), RouterId(1)));
    assert!(same_next_hop(&prefixes(1), &prefixes(2)));
}

#[test]
fn only_vertices_that_are_reached_otherwise_have_changed() {
    let before = chain(router()).tree(2);
    assert_eq!(changed_vertices(Some(&before), &before), []);
    let all: Vec<_> = before.vertices().iter().map(|vertex| vertex.id).collect();
    assert_eq!(changed_vertices(None, &before), all);
    let three = [VertexId::Router(RouterId(3))];
    let farther = chain(router()).router(1, router(), &[p2p(12, 10, 2, 21), p2p(13, 11, 3, 31)]).tree(2);
    assert_eq!(changed_vertices(Some(&before), &farther), three, "another distance");
    let without = chain(router()).router(1, router(), &[p2p(12, 10, 2, 21)]).tree(2);
    assert_eq!(changed_vertices(Some(&before), &without), three, "no longer reached");
    assert_eq!(changed_vertices(Some(&without), &before), three, "reached again");
    // Over another interface of the same neighbor, at the same distance.
    let moved = chain(router())
        .router(1, router(), &[p2p(14, 10, 2, 22), p2p(13, 10, 3, 31)])
        .router(2, router(), &[p2p(22, 10, 1, 14)])
        .tree(2);
    assert_eq!(changed_vertices(Some(&before), &moved), [VertexId::Router(RouterId(1)), three[0]], "other first hops");
}
