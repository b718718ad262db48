//! Tests of the routing table.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use super::{Basis, Index, NextHop, PathType, Rib, Route, RouteChange, all, diff};
use crate::consts::{MAX_AGE, MAX_LINK_METRIC};
use crate::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, NeighborId, RouterId};
use crate::lsa::{LsType, LsaPrefix, Prefix, PrefixOptions};
use crate::spf::sample::{AREA, NOW, Sample, link_local, listed, p2p, router, router_lsa, server, transit};
use crate::spf::{Graph, Tree};

const ANYCAST: &str = "2001:db8:53::53/128";

/// Router 1, the DR and root of these tests, and the servers 2, 3 and 4 on one network, each with its Link-LSA.
fn farm() -> Sample {
    let server_on = |sample: Sample, n: u32| {
        sample.router(n, server(), &[transit(10 + n, MAX_LINK_METRIC, 1, 5)]).link(5, n, 10 + n)
    };
    let sample = Sample::default().router(1, router(), &[transit(5, 10, 1, 5)]).network(1, 5, &[1, 2, 3, 4]);
    (2..=4).fold(sample, server_on)
}

/// The next hop to a server of the farm.
fn to_server(n: u32) -> NextHop {
    NextHop { iface: IfaceId(5), gateway: Some(link_local(n, 10 + n)) }
}

fn key(ls_type: LsType, id: u32, adv_router: u32) -> LsaKey {
    let domain = Domain::Area(AREA);
    LsaKey { domain, ls_type, link_state_id: LinkStateId(id), adv_router: RouterId(adv_router) }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn routers(numbers: &[u32]) -> BTreeSet<RouterId> {
    numbers.iter().copied().map(RouterId).collect()
}

/// A basis with the tree of router 1.
struct Fixture {
    trees: BTreeMap<AreaId, Tree>,
    sample: Sample,
    heard: BTreeMap<NeighborId, Ipv6Addr>,
}

impl Fixture {
    fn new(sample: Sample) -> Self {
        Fixture { trees: BTreeMap::from([(AREA, sample.tree(1))]), sample, heard: BTreeMap::new() }
    }

    fn basis(&self) -> Basis<'_> {
        Basis { trees: &self.trees, lsdb: &self.sample.lsdb, heard: &self.heard, now: NOW }
    }

    fn routes(&self) -> BTreeMap<Prefix, Arc<Route>> {
        all(&self.basis())
    }
}

fn originators(route: &Route) -> BTreeSet<RouterId> {
    route.originators().collect()
}

/// The route to the anycast prefix.
fn anycast(sample: Sample) -> Option<Route> {
    Fixture::new(sample).routes().remove(&prefix(ANYCAST)).map(Arc::unwrap_or_clone)
}

#[test]
fn servers_at_equal_distance_share_the_route_to_one_anycast_prefix() {
    let sample = (2..=4).fold(farm(), |sample, n| sample.prefixes(n, 7, &[listed(ANYCAST, 100)]));
    let route = anycast(sample).unwrap();
    assert_eq!(
        route,
        Route::new(PathType::IntraArea, 110, (2..=4).map(|n| (RouterId(n), Some(to_server(n)))).collect())
    );
}

/// As the fields are compared one after the other.
#[test]
fn next_hops_are_ordered_by_interface_and_address() {
    let addresses = ["fe80::2", "fe80::100", "fe80:0:0:1::1", "fe80::ff:0:0:1"].map(|text| text.parse().unwrap());
    let gateways = addresses.into_iter().map(Some).chain([None]);
    let mut hops: Vec<NextHop> =
        gateways.flat_map(|gateway| [2, 1].map(|iface| NextHop { iface: IfaceId(iface), gateway })).collect();
    let mut by_fields = hops.clone();
    by_fields.sort_by_key(|hop| (hop.iface, hop.gateway));
    hops.sort();
    assert_eq!(hops, by_fields);
}

/// Paths come in any order and more than once; each originator leads to its own part of the next hops.
#[test]
fn paths_are_told_by_originator_and_next_hops_once() {
    let path = |router: u32, hop: Option<u32>| (RouterId(router), hop.map(to_server));
    let paths =
        vec![path(9, Some(4)), path(2, Some(3)), path(7, None), path(2, None), path(9, Some(2)), path(2, Some(3))];
    let route = Route::new(PathType::IntraArea, 1, paths);
    assert_eq!(*route.next_hops, [to_server(2), to_server(3), to_server(4)]);
    let told: Vec<_> = route.paths().map(|(router, at)| (router.0, route.hops_at(at).copied().collect())).collect();
    assert_eq!(told, [(2, vec![to_server(3)]), (7, vec![]), (9, vec![to_server(2), to_server(4)])]);
    assert_eq!([1, 2, 7, 9].map(|router| route.has_originator(RouterId(router))), [false, true, true, true]);
}

#[test]
fn the_lowest_distance_wins() {
    let metrics = [(2, 100), (3, 99), (4, 99)];
    let sample = metrics.iter().fold(farm(), |sample, (n, m)| sample.prefixes(*n, 7, &[listed(ANYCAST, *m)]));
    let route = anycast(sample).unwrap();
    assert_eq!((route.distance, originators(&route)), (109, routers(&[3, 4])));
    assert_eq!(*route.next_hops, [to_server(3), to_server(4)]);
}

#[test]
fn a_prefix_listed_twice_by_one_router_has_its_lower_metric() {
    let sample = farm().prefixes(2, 7, &[listed(ANYCAST, 9), listed(ANYCAST, 3), listed(ANYCAST, 5)]).prefixes(
        2,
        8,
        &[listed(ANYCAST, 4)],
    );
    assert_eq!(anycast(sample).map(|route| route.distance), Some(13));
}

#[test]
fn a_prefix_with_the_nu_bit_is_ignored() {
    let nu = LsaPrefix { options: PrefixOptions::NU | PrefixOptions::LA, ..listed(ANYCAST, 1) };
    assert_eq!(anycast(farm().prefixes(2, 7, &[nu])), None);
    let la = LsaPrefix { options: PrefixOptions::LA, ..listed(ANYCAST, 1) };
    assert_eq!(anycast(farm().prefixes(2, 7, &[nu, la])).map(|route| route.distance), Some(11));
}

#[test]
fn what_refers_to_nothing_that_can_be_reached_is_ignored() {
    let unusable = [
        (LsType::ROUTER, 1, 2),
        (LsType::ROUTER, 0, 9),
        (LsType::NETWORK, 6, 1),
        (LsType::NETWORK, 5, 2),
        (LsType::INTER_AREA_PREFIX, 0, 2),
        (LsType(0), 0, 2),
    ];
    for reference in unusable {
        assert_eq!(anycast(farm().referring(2, 7, reference, &[listed(ANYCAST, 1)])), None, "{reference:?}");
    }
    let sample = farm().without(LsType::ROUTER, 0, 2).prefixes(2, 7, &[listed(ANYCAST, 1)]);
    assert_eq!(anycast(sample), None);
}

#[test]
fn a_prefix_of_our_own_needs_no_next_hop() {
    let sample = farm().prefixes(1, 0, &[listed("2001:db8:1::/64", 0), listed(ANYCAST, 20)]);
    let routes = Fixture::new(sample.clone()).routes();
    let route = &routes[&prefix("2001:db8:1::/64")];
    assert_eq!((route.distance, route.next_hops.len(), originators(route)), (0, 0, routers(&[1])));

    let tied = anycast(sample.clone().prefixes(2, 7, &[listed(ANYCAST, 10)])).unwrap();
    assert_eq!((tied.distance, tied.next_hops.len(), originators(&tied)), (20, 0, routers(&[1, 2])));
    assert!(tied.paths().all(|(_, hops)| hops.is_empty()));

    let nearer = anycast(sample.prefixes(2, 7, &[listed(ANYCAST, 9)])).unwrap();
    assert_eq!((nearer.distance, &*nearer.next_hops), (19, &[to_server(2)][..]));
}

/// RFC 5340 §4.4.3.9: who originates the LSA and whom it names are always the same router.
#[test]
fn a_prefix_that_another_router_says_is_ours_is_not() {
    let named_us = farm().referring(2, 7, (LsType::ROUTER, 0, 1), &[listed(ANYCAST, 0)]);
    assert_eq!(anycast(named_us), None);
    let and_has_it =
        farm().referring(2, 7, (LsType::ROUTER, 0, 1), &[listed(ANYCAST, 0)]).prefixes(3, 7, &[listed(ANYCAST, 100)]);
    assert_eq!(*anycast(and_has_it).unwrap().next_hops, [to_server(3)]);
}

#[test]
fn a_prefix_of_our_own_network_is_on_the_link() {
    let on_link = [listed("2001:db8:5::/64", 0)];
    let routes = Fixture::new(farm().referring(1, 5, (LsType::NETWORK, 5, 1), &on_link)).routes();
    let route = &routes[&prefix("2001:db8:5::/64")];
    assert_eq!(*route.next_hops, [NextHop { iface: IfaceId(5), gateway: None }]);
    assert_eq!((route.distance, originators(route)), (10, routers(&[1])));
}

#[test]
fn a_prefix_of_a_remote_network_goes_over_the_router_before_it() {
    let sample = farm()
        .router(2, router(), &[transit(12, 10, 1, 5), transit(8, 3, 2, 8)])
        .network(2, 8, &[2])
        .referring(2, 8, (LsType::NETWORK, 8, 2), &[listed("2001:db8:8::/64", 0)]);
    let routes = Fixture::new(sample).routes();
    let route = &routes[&prefix("2001:db8:8::/64")];
    assert_eq!((route.distance, &*route.next_hops), (13, &[to_server(2)][..]));
}

#[test]
fn a_next_hop_without_address_is_left_out_and_a_route_without_next_hop_does_not_exist() {
    let missing_link = |sample: Sample, n: u32| {
        let mut sample = sample;
        let key = LsaKey { domain: Domain::Link(IfaceId(5)), ..key(LsType::LINK, 10 + n, n) };
        sample.lsdb.remove(&key).unwrap();
        sample
    };
    let both = missing_link(farm(), 2).prefixes(2, 7, &[listed(ANYCAST, 1)]).prefixes(3, 7, &[listed(ANYCAST, 1)]);
    let route = anycast(both).unwrap();
    assert_eq!((&*route.next_hops, originators(&route)), (&[to_server(3)][..], routers(&[2, 3])));
    assert_eq!(route.paths().collect::<Vec<_>>(), [(RouterId(2), &[][..]), (RouterId(3), &[0])]);

    let mut fixture = Fixture::new(missing_link(farm(), 2).prefixes(2, 7, &[listed(ANYCAST, 1)]).prefixes(
        3,
        7,
        &[listed(ANYCAST, 2)],
    ));
    assert_eq!(fixture.routes().get(&prefix(ANYCAST)), None, "not the longer path over 3");

    let address = link_local(2, 99);
    fixture.heard.insert(NeighborId { iface: IfaceId(5), router: RouterId(2) }, address);
    let next_hop = NextHop { iface: IfaceId(5), gateway: Some(address) };
    assert_eq!(*fixture.routes()[&prefix(ANYCAST)].next_hops, [next_hop]);
}

#[test]
fn a_prefix_lsa_at_max_age_is_not_used() {
    let sample = farm().prefixes(2, 7, &[listed(ANYCAST, 1)]);
    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    let flushed = sample.lsdb.get(&key).unwrap().lsa().with_age(MAX_AGE);
    assert!(anycast(sample.clone()).is_some());
    assert_eq!(anycast(sample.clone().install(Domain::Area(AREA), flushed)), None);

    let aged = sample.lsdb.get(&key).unwrap().lsa().with_age(MAX_AGE - 10);
    let fixture = Fixture::new(sample.install(Domain::Area(AREA), aged));
    let after = |seconds| all(&Basis { now: NOW + Duration::from_secs(seconds), ..fixture.basis() }).len();
    assert_eq!((after(9), after(10)), (1, 0));
}

#[test]
fn the_metric_of_a_prefix_may_be_65535_and_a_distance_of_ls_infinity_is_none() {
    let route = anycast(farm().prefixes(2, 7, &[listed(ANYCAST, u16::MAX)])).unwrap();
    assert_eq!(route.distance, 65_545);

    // A chain from router 1 of 256 links of 65,535: LSInfinity less 255.
    let sample = (1..=257).fold(Sample::default(), |sample, n| {
        let links = [p2p(1, MAX_LINK_METRIC, n - 1, 2), p2p(2, MAX_LINK_METRIC, n + 1, 1)];
        sample.router(n, router(), &links).link(2, n, 1)
    });
    let at_the_end = |metric| anycast(sample.clone().prefixes(257, 0, &[listed(ANYCAST, metric)]));
    assert_eq!(at_the_end(254).map(|route| route.distance), Some(0x00ff_fffe));
    assert_eq!(at_the_end(255), None);
}

#[test]
fn at_equal_distance_the_area_with_the_larger_id_has_the_route() {
    let (low, high) = (AreaId(1), AreaId(2));
    let mut lsdb = crate::lsdb::Lsdb::default();
    let mut trees = BTreeMap::new();
    for (area, iface, far) in [(low, 5, 2), (high, 6, 3)] {
        let sample = farm().prefixes(far, 7, &[listed(ANYCAST, 1)]);
        for (key, entry) in sample.lsdb.iter() {
            let domain =
                if key.domain == Domain::Area(AREA) { Domain::Area(area) } else { Domain::Link(IfaceId(iface)) };
            let source = crate::lsdb::Source::Flooded;
            lsdb.install(domain, entry.lsa().clone(), source, NOW);
        }
        let links = [transit(iface, 10, 1, 5)];
        lsdb.install(Domain::Area(area), router_lsa(1, 0, router(), &links), crate::lsdb::Source::Ours, NOW);
        trees.insert(area, Graph::build(&lsdb, area, NOW).tree(RouterId(1)));
    }
    let heard = BTreeMap::new();
    let routes = all(&Basis { trees: &trees, lsdb: &lsdb, heard: &heard, now: NOW });
    let route = &routes[&prefix(ANYCAST)];
    assert_eq!(originators(route), routers(&[3]));
    assert_eq!(*route.next_hops, [NextHop { iface: IfaceId(6), gateway: Some(link_local(3, 13)) }]);
}

#[test]
fn a_changed_prefix_lsa_makes_the_prefixes_dirty_that_it_lists_and_listed() {
    let (before, after) = (
        farm().prefixes(2, 7, &[listed("2001:db8:a::/64", 1), listed("2001:db8:b::/64", 1)]),
        farm().prefixes(2, 7, &[listed("2001:db8:b::/64", 1), listed("2001:db8:c::/64", 1)]),
    );
    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    let body = |sample: &Sample| sample.lsdb.get(&key).unwrap().lsa().body.clone();
    let mut rib = Rib::default();
    assert_eq!(rib.lsa_changed(&key, None, (&before.lsdb, NOW)).len(), 2);
    assert!(rib.index().matches(&before.lsdb, NOW));
    let dirty = rib.lsa_changed(&key, Some(&body(&before)), (&after.lsdb, NOW));
    let texts = ["2001:db8:a::/64", "2001:db8:b::/64", "2001:db8:c::/64"];
    assert_eq!(dirty, texts.map(prefix).into_iter().collect());
    assert!(rib.index().matches(&after.lsdb, NOW));
    assert_eq!(rib.lsa_changed(&key, Some(&body(&after)), (&farm().lsdb, NOW)).len(), 2);
    assert!(rib.index().matches(&farm().lsdb, NOW));
    assert_eq!(rib.index().prefixes().count(), 0);
}

#[test]
fn other_lsas_make_no_prefix_dirty() {
    let sample = farm();
    let mut rib = Rib::default();
    for (key, _) in sample.lsdb.iter() {
        assert!(rib.lsa_changed(key, None, (&sample.lsdb, NOW)).is_empty());
    }
}

#[test]
fn recomputing_says_only_what_changed() {
    let install = |changes: Vec<RouteChange>| -> Vec<Option<u32>> {
        let distance = |change| match change {
            RouteChange::Install(_, route) => Some(Route::clone(&route).distance),
            RouteChange::Remove(_) => None,
        };
        changes.into_iter().map(distance).collect()
    };
    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    let other = listed("2001:db8:b::/64", 1);
    let mut rib = Rib::default();
    let mut change = |metric: Option<u16>, old: &mut Option<Sample>| {
        let new = metric.map(|metric| farm().prefixes(2, 7, &[listed(ANYCAST, metric), other]));
        let body = |sample: &Option<Sample>| sample.as_ref().map(|s| s.lsdb.get(&key).unwrap().lsa().body.clone());
        let fixture = Fixture::new(new.clone().unwrap_or_else(farm));
        let dirty = rib.lsa_changed(&key, body(old).as_ref(), (&fixture.sample.lsdb, NOW));
        *old = new;
        let changes = rib.recompute(&dirty, &fixture.basis());
        assert!(rib.is_exact(&fixture.basis()));
        assert_eq!(rib.recompute_all(&fixture.basis()), [], "all was computed already");
        install(changes)
    };
    let mut now = None;
    assert_eq!(change(Some(5), &mut now), [Some(11), Some(15)]);
    assert_eq!(change(Some(6), &mut now), [Some(16)]);
    assert_eq!(change(Some(6), &mut now), []);
    assert_eq!(change(None, &mut now), [None, None]);
}

#[test]
fn a_routing_table_that_missed_a_change_is_not_exact() {
    let fixture = Fixture::new(farm().prefixes(2, 7, &[listed(ANYCAST, 1)]));
    let mut rib = Rib::default();
    rib.recompute_all(&fixture.basis());
    assert!(!rib.is_exact(&fixture.basis()), "the index does not know the LSA");

    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    let dirty = rib.lsa_changed(&key, None, (&fixture.sample.lsdb, NOW));
    assert!(!rib.is_exact(&fixture.basis()), "the route was not computed");
    rib.recompute(&dirty, &fixture.basis());
    assert!(rib.is_exact(&fixture.basis()));

    let raised = Fixture::new(farm().prefixes(2, 7, &[listed(ANYCAST, 2)]));
    assert!(!rib.index().matches(&raised.sample.lsdb, NOW), "the metric differs");
    assert!(rib.index().matches(&fixture.sample.lsdb, NOW));
    assert_eq!(Index::build(&fixture.sample.lsdb, NOW), *rib.index());
}

#[test]
fn without_a_tree_every_route_is_removed() {
    let fixture = Fixture::new(farm().prefixes(2, 7, &[listed(ANYCAST, 1), listed("2001:db8::/64", 1)]));
    let mut rib = Rib::default();
    for (key, _) in fixture.sample.lsdb.iter() {
        rib.lsa_changed(key, None, (&fixture.sample.lsdb, NOW));
    }
    assert_eq!(rib.recompute_all(&fixture.basis()).len(), 2);
    let none = BTreeMap::new();
    let removed = [RouteChange::Remove(prefix("2001:db8::/64")), RouteChange::Remove(prefix(ANYCAST))];
    assert_eq!(rib.recompute_all(&Basis { trees: &none, ..fixture.basis() }), removed);
    assert!(rib.routes().is_empty());
}

#[test]
fn computing_all_removes_routes_to_prefixes_that_nobody_lists_any_more() {
    let fixture = Fixture::new(farm().prefixes(2, 7, &[listed(ANYCAST, 1)]));
    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    let body = &fixture.sample.lsdb.get(&key).unwrap().lsa().body;
    let mut rib = Rib::default();
    rib.lsa_changed(&key, None, (&fixture.sample.lsdb, NOW));
    assert_eq!(rib.recompute_all(&fixture.basis()).len(), 1);
    rib.lsa_changed(&key, Some(body), (&farm().lsdb, NOW));
    assert_eq!(rib.recompute_all(&fixture.basis()), [RouteChange::Remove(prefix(ANYCAST))]);
}

#[test]
fn an_index_that_missed_a_change_is_not_exact_even_where_no_route_follows() {
    let fixture = Fixture::new(farm().without(LsType::ROUTER, 0, 2).prefixes(2, 7, &[listed(ANYCAST, 1)]));
    let mut rib = Rib::default();
    assert_eq!(fixture.routes(), *rib.routes());
    assert!(!rib.is_exact(&fixture.basis()));
    let key = key(LsType::INTRA_AREA_PREFIX, 7, 2);
    rib.lsa_changed(&key, None, (&fixture.sample.lsdb, NOW));
    assert!(rib.is_exact(&fixture.basis()));
}

#[test]
fn the_difference_of_two_tables_is_in_the_order_of_prefixes() {
    let table = |metrics: &[(&str, u16)]| {
        let prefixes: Vec<LsaPrefix> = metrics.iter().map(|(text, metric)| listed(text, *metric)).collect();
        Fixture::new(farm().prefixes(2, 7, &prefixes)).routes()
    };
    let old = table(&[("2001:db8:a::/64", 1), ("2001:db8:b::/64", 1), ("2001:db8:c::/64", 1)]);
    let new = table(&[("2001:db8:b::/64", 1), ("2001:db8:c::/64", 2), ("2001:db8::/64", 1)]);
    let installed = |text: &str| RouteChange::Install(prefix(text), new[&prefix(text)].clone());
    let changes =
        [installed("2001:db8::/64"), RouteChange::Remove(prefix("2001:db8:a::/64")), installed("2001:db8:c::/64")];
    assert_eq!(diff(&old, &new), changes);
    assert_eq!(diff(&old, &old), []);
}
