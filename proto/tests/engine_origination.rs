//! Our own LSAs in a network: what makes them change, former lives, sequence numbers, leaving.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, assert_exact, lan, ms, pair, prefix, raw_lsa, rid, secs};
use ospf_proto::consts::{INITIAL_SEQUENCE, MAX_SEQUENCE};
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Companion, NetworkType};
use ospf_proto::lsa::{LsType, Lsa, LsaBody, LsaHeader, Options, RouterFlags, RouterLsa};
use ospf_proto::packet::PacketBody;
use ospf_proto::state::{IfaceState, NeighborState};

const ANYCAST: &str = "2001:db8:53::53/128";

fn advertise(net: &mut Net, router: usize, metric: u16, companion: Companion) {
    let prefixes = BTreeMap::from([(prefix(ANYCAST), metric)]);
    net.command(router, Command::Advertise { prefixes, companion });
}

#[test]
fn a_dr_advertises_a_prefix_that_only_another_router_has_on_the_link_and_withdraws_it_again() {
    // 0 and 1 on a LAN whose DR is 1; 2 behind 1.
    let mut net = Net::new(5);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.broadcast(&[0, 1]);
    net.link(&[1, 2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(15));
    assert_eq!(net.iface_state(1, 0), IfaceState::Dr);
    let extra = prefix("2001:db8:77::/64");
    let mut link = net.link_state(0, 0);
    link.prefixes.push(extra);
    net.tell_link(0, 0, link.clone());
    net.run(secs(6));
    assert!(net.nodes[2].routes.contains_key(&extra), "the DR follows the Link-LSA");
    link.prefixes.pop();
    net.tell_link(0, 0, link);
    net.run(secs(6));
    assert!(!net.nodes[2].routes.contains_key(&extra));
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn a_companion_link_lsa_does_not_make_the_dr_originate_anything() {
    let mut net = Net::new(5);
    let router = net.router(|_| {});
    let server = net.server();
    net.broadcast(&[router, server]);
    net.start_all();
    advertise(&mut net, server, 10, Companion::Link);
    net.run(secs(20));
    net.forget();
    for metric in [20, 10, 30] {
        advertise(&mut net, server, metric, Companion::Link);
        net.run(secs(6));
    }
    assert_eq!(net.nodes[router].routes[&prefix(ANYCAST)].distance, 40);
    let said = net.nodes[router].events.iter().filter(|(_, e)| matches!(e, Event::Originated { .. })).count();
    assert_eq!(said, 0);
}

#[test]
fn after_goodbye_a_link_event_does_not_bring_us_back() {
    let mut net = Net::new(5);
    let router = net.router(|_| {});
    let server = net.server();
    net.broadcast(&[router, server]);
    net.start_all();
    advertise(&mut net, server, 10, Companion::None);
    net.run(secs(20));
    net.command(server, Command::Flush);
    net.run(secs(1));
    net.command(server, Command::Goodbye);
    net.forget();
    let mut link = net.link_state(server, 0);
    link.prefixes.clear();
    net.tell_link(server, 0, link);
    net.run(secs(10));
    assert!(net.packets(server).is_empty(), "not a word after the goodbye");
    assert_eq!(net.state(router, server), None);
}

/// What `router`'s database holds of an LSA.
fn sequence(net: &Net, router: usize, key: &ospf_proto::id::LsaKey) -> Option<i32> {
    net.lsa(router, key).filter(|lsa| !lsa.is_max_age()).map(|lsa| lsa.header.sequence)
}

#[test]
fn an_own_lsa_under_the_last_sequence_number_is_flushed_and_begun_anew() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    let lsa = net.as_if_own(&key, MAX_SEQUENCE);
    let routes = net.nodes[0].routes.clone();
    net.forge_lsas(0, (1, 0), vec![lsa]);
    for _ in 0..100 {
        net.run(ms(100));
        assert_eq!(net.nodes[0].routes, routes, "our own routes stay");
    }
    for router in 0..2 {
        let now = sequence(&net, router, &key).unwrap();
        assert!(now < INITIAL_SEQUENCE + 3, "{now:#x}");
    }
    assert!(
        net.nodes[0].events.iter().any(|(_, e)| matches!(e, Event::Flushed { key: flushed, .. } if *flushed == key))
    );
    assert!(net.full(0, 1));
    net.assert_synchronised(&[0, 1]);
    assert_exact(&net);
}

#[test]
fn a_newer_own_lsa_is_outrun_by_one_sequence_number_and_a_strange_one_is_flushed() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    let before = sequence(&net, 0, &key).unwrap();
    let lsa = net.as_if_own(&key, before + 100);
    net.forge_lsas(0, (1, 0), vec![lsa]);
    net.run(secs(3));
    assert_eq!(sequence(&net, 1, &key), Some(before + 101));
    let strange = area_key(LsType(0xaabc), 7, 1);
    net.forge_lsas(0, (1, 0), vec![raw_lsa(&strange, 5, &[1, 2, 3, 4])]);
    net.run(secs(8));
    assert!((0..2).all(|router| net.lsa(router, &strange).is_none()));
    net.assert_synchronised(&[0, 1]);
}

/// The Router-LSA of 10.0.0.2 without links, as a forger would have it.
fn forged_router_lsa(sequence: i32) -> Lsa {
    let header = LsaHeader { ls_type: LsType::ROUTER, adv_router: rid(2), sequence, ..LsaHeader::default() };
    let body = RouterLsa { flags: RouterFlags::empty(), options: Options::V6 | Options::R | Options::E, links: vec![] };
    Lsa::build(header, LsaBody::Router(body))
}

#[test]
fn forged_instances_of_our_lsas_do_not_touch_our_routes_and_are_not_spread() {
    // 0 and 2 on both sides of 1, whose Router-LSA 0 forges.
    let mut net = Net::new(5);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[1, 2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(15));
    let key = area_key(LsType::ROUTER, 0, 2);
    let (routes, body) = (net.nodes[1].routes.clone(), net.lsa(1, &key).unwrap().body);
    assert!(!routes.is_empty());
    let mut foreign = sequence(&net, 1, &key).unwrap();
    net.forget();
    for _ in 0..50 {
        foreign = foreign.max(sequence(&net, 1, &key).unwrap()) + 10;
        net.forge_lsas(0, (0, 1), vec![forged_router_lsa(foreign)]);
        net.run(ms(100));
        assert_eq!(net.nodes[1].routes, routes);
        assert_eq!(net.lsa(2, &key).map(|lsa| lsa.body), Some(body.clone()));
    }
    let said = net.nodes[1].events.iter().filter(|(_, e)| matches!(e, Event::Originated { .. })).count();
    assert!((4..=5).contains(&said), "{said} answers in 5 s, and MinLSInterval is 1.2 s");
    net.run(secs(75));
    assert!(sequence(&net, 2, &key) > Some(foreign), "outrun after the rest");
    assert_eq!(net.nodes[1].routes, routes);
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn a_prefix_that_is_withdrawn_while_somebody_forges_it_is_flushed_above_the_forged_instance() {
    let mut net = Net::new(5);
    let router = net.router(|_| {});
    let server = net.server();
    net.broadcast(&[router, server]);
    net.start_all();
    advertise(&mut net, server, 10, Companion::None);
    net.run(secs(20));
    let view = net.engine(server).view();
    let own = view.lsas().into_iter().find(|lsa| lsa.ours && lsa.key.ls_type == LsType::INTRA_AREA_PREFIX).unwrap();
    let (key, own) = (own.key, own.lsa.clone());
    let before = own.header.sequence;
    // Forged just after a change: the answer waits for MinLSInterval.
    advertise(&mut net, server, 20, Companion::None);
    net.run(ms(1100));
    let header = LsaHeader { sequence: before + 50, age: 0, ..own.header };
    let forged = Lsa::from_body_bytes(header, own.body_bytes()).unwrap();
    net.forge_lsas(0, (router, server), vec![forged.clone()]);
    net.forge_lsas(0, (server, router), vec![forged]);
    net.run(ms(1100));
    net.command(server, Command::Advertise { prefixes: BTreeMap::new(), companion: Companion::None });
    net.run(ms(100));
    let held = net.lsa(router, &key).expect("MaxAge LSAs stay for a while");
    assert!(held.is_max_age() && held.header.sequence > before + 50, "{held:?}");
    assert!(!net.nodes[router].routes.contains_key(&prefix(ANYCAST)));
}

#[test]
fn an_own_lsa_that_somebody_flushes_is_originated_again() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    let before = sequence(&net, 0, &key).unwrap();
    let lsa = net.lsa(0, &key).unwrap().with_age(ospf_proto::consts::MAX_AGE);
    net.forge_lsas(0, (1, 0), vec![lsa]);
    net.run(secs(3));
    assert_eq!(sequence(&net, 0, &key), Some(before + 1));
    net.assert_synchronised(&[0, 1]);
}

#[test]
fn who_is_outrun_again_and_again_holds_back_and_comes_back() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    for _ in 0..8 {
        let Some(now) = sequence(&net, 0, &key) else { break };
        let lsa = net.as_if_own(&key, now + 10);
        net.forge_lsas(0, (1, 0), vec![lsa]);
        net.run(secs(2));
    }
    assert!(net.engine(0).view().duplicate_router_id());
    let said = |net: &Net| net.nodes[0].events.iter().filter(|(_, e)| matches!(e, Event::Originated { .. })).count();
    let before = said(&net);
    net.run(secs(30));
    assert_eq!(said(&net), before, "not a word");
    net.run(secs(120));
    assert!(!net.engine(0).view().duplicate_router_id());
    net.assert_synchronised(&[0, 1]);
    assert_exact(&net);
}

#[test]
fn a_prefix_changed_twice_is_said_twice_in_five_seconds_at_most_and_in_the_end_rightly() {
    let mut net = pair();
    net.run(secs(6));
    net.forget();
    for metric in 1..=50 {
        advertise(&mut net, 0, metric, Companion::None);
        net.run(ms(100));
    }
    net.run(secs(6));
    let said: Vec<_> = net.nodes[0]
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::Originated { key, .. } if key.ls_type == LsType::INTRA_AREA_PREFIX))
        .map(|(at, _)| *at)
        .collect();
    assert!(said.windows(2).all(|w| w[1].since(w[0]) >= secs(5)), "{said:?}");
    assert_eq!(net.nodes[1].routes[&prefix(ANYCAST)].distance, 60);
}

#[test]
fn a_sequence_number_goes_on_after_a_flush() {
    let mut net = pair();
    advertise(&mut net, 0, 5, Companion::None);
    net.run(secs(2));
    let key = area_key(LsType::INTRA_AREA_PREFIX, 1, 1);
    let first = sequence(&net, 1, &key).unwrap();
    net.command(0, Command::Advertise { prefixes: BTreeMap::new(), companion: Companion::None });
    net.run(secs(8));
    assert!((0..2).all(|router| net.lsa(router, &key).is_none()));
    advertise(&mut net, 0, 5, Companion::None);
    net.run(secs(6));
    assert_eq!(sequence(&net, 1, &key), Some(first + 1));
}

#[test]
fn a_link_lsa_of_a_former_interface_id_is_flushed() {
    let mut net = pair();
    let link = ospf_proto::id::Domain::Link(net.iface(1, 0));
    net.kill(0);
    net.run(secs(6));
    net.nodes[0].config.interfaces[0].cost = 20;
    let mut state = net.link_state(0, 0);
    state.iface = ospf_proto::id::IfaceId(1);
    net.start(0);
    net.run_until(secs(5), "full", |net| net.full(0, 1));
    let former = ospf_proto::id::LsaKey { domain: link, ..area_key(LsType::LINK, 42, 1) };
    net.run(secs(2));
    net.forge_lsas(
        0,
        (0, 1),
        vec![raw_lsa(&former, 5, &[1, 0, 0, 19, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])],
    );
    assert!(net.lsa(1, &former).is_some());
    // It learns of it in the next exchange.
    net.command(0, Command::ClearNeighbor(None));
    net.run(secs(10));
    assert!(net.lsa(1, &former).is_none());
}

#[test]
fn many_prefixes_of_a_former_life_leave_when_they_are_not_wanted() {
    let mut net = pair();
    let prefixes = (0..100).map(|i| (prefix(&format!("2001:db8:53::{i:x}/128")), 1)).collect();
    net.command(0, Command::Advertise { prefixes, companion: Companion::None });
    net.run(secs(3));
    net.kill(0);
    net.start(0);
    net.run(secs(10));
    assert!(net.nodes[1].routes.keys().all(|p| p.length() != 128));
    net.assert_synchronised(&[0, 1]);
}

#[test]
fn a_dr_leaves_its_network_lsa_to_nobody_when_it_leaves() {
    let mut net = lan(3);
    net.command(2, Command::Flush);
    net.run_until(secs(3), "flushed", |net| net.engine(2).view().flushes_pending() == 0);
    net.command(2, Command::Goodbye);
    net.run(secs(10));
    assert!(net.engine(0).view().lsas().iter().all(|l| l.key.adv_router != rid(3)));
    assert_eq!(net.elected(0, 0), (2, 1));
    assert_eq!(net.state(0, 2), None::<NeighborState>);
    net.assert_synchronised(&[0, 1]);
    let hellos =
        net.packets(2).into_iter().filter(|(_, _, b)| matches!(b, PacketBody::Hello(h) if h.neighbors.is_empty()));
    assert!(hellos.count() >= 1);
}
