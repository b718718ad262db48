//! Limits: who says too much is not heard any further; everything else goes on.

#![allow(clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, assert_exact, ms, prefix, raw_lsa, rid, secs};
use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Companion, LinkState, NetworkType};
use ospf_proto::id::RouterId;
use ospf_proto::lsa::{LsType, Lsa};
use ospf_proto::lsdb::{Breach, Limits};
use ospf_proto::packet::{Hello, PacketBody};

const SERVICE: &str = "2001:db8:53::53/128";
const UNKNOWN: LsType = LsType(0xaabc);

/// A router (0), an attacker's place (1) and a server (2) with a service, on a link each with the router.
fn place(change: impl FnOnce(&mut ospf_proto::engine::Config)) -> Net {
    let mut net = Net::new(7);
    let router = net.router(change);
    let attacker = net.router(|_| {});
    // The greatest Router ID: whoever cuts a list of neighbors off at its end loses this one.
    let server = net.router(|config| (config.forwarding, config.router_id) = (false, RouterId(u32::MAX)));
    net.link(&[router, attacker], NetworkType::PointToPoint, |_, _| {});
    net.broadcast(&[router, server]);
    net.start_all();
    let prefixes = BTreeMap::from([(prefix(SERVICE), 10)]);
    net.command(server, Command::Advertise { prefixes, companion: Companion::None });
    net.run_until(secs(20), "up", |net| net.full(0, 1) && net.gateways(0, &prefix(SERVICE)).len() == 1);
    net.run(secs(3));
    net.forget();
    net
}

fn lsas(ids: std::ops::Range<u32>, router: u32) -> Vec<Lsa> {
    ids.map(|id| raw_lsa(&area_key(UNKNOWN, id, router), INITIAL_SEQUENCE, &[0; 4])).collect()
}

fn breaches(net: &Net) -> Vec<Breach> {
    let reached = |event: &Event| match event {
        Event::LimitReached { breach } => Some(*breach),
        _ => None,
    };
    net.nodes[0].events.iter().filter_map(|(_, event)| reached(event)).collect()
}

fn flood(net: &mut Net, all: Vec<Lsa>) {
    for part in all.chunks(40) {
        net.forge_lsas(0, (1, 0), part.to_vec());
    }
}

fn unharmed(net: &Net) {
    assert!(net.full(0, 1) && net.full(0, 2));
    assert_eq!(net.gateways(0, &prefix(SERVICE)).len(), 1);
    assert_exact(net);
}

#[test]
fn more_lsas_than_the_database_takes_are_acknowledged_and_dropped() {
    let mut net = place(|config| config.limits = Limits { lsas: 500, lsas_per_router: 400 });
    for router in 100..110 {
        flood(&mut net, lsas(0..200, router));
    }
    let view = net.engine(0).view();
    assert_eq!(view.lsdb().len(), 500);
    assert_eq!(view.breaches(), [Breach::Lsas]);
    assert_eq!(breaches(&net), [Breach::Lsas], "told once");
    let acks: usize = net
        .packets(0)
        .into_iter()
        .map(|(.., body)| if let PacketBody::LsAck(ack) = body { ack.headers.len() } else { 0 })
        .sum();
    assert!(acks >= 1500, "{acks} acknowledged at once");
    assert!(net.drops(0).iter().filter(|reason| **reason == "limit").count() >= 1500);
    unharmed(&net);
    // What is in the database still changes.
    net.forge_lsas(0, (1, 0), vec![raw_lsa(&area_key(UNKNOWN, 1, 100), INITIAL_SEQUENCE + 1, &[9; 4])]);
    net.run(secs(3));
    let prefixes = BTreeMap::new();
    net.command(2, Command::Advertise { prefixes, companion: Companion::None });
    net.run(ms(50));
    assert!(!net.nodes[0].routes.contains_key(&prefix(SERVICE)), "a flush gets through");
}

#[test]
fn one_router_that_originates_too_much_does_not_take_the_room_of_others() {
    let mut net = place(|config| config.limits = Limits { lsas: 5000, lsas_per_router: 300 });
    flood(&mut net, lsas(0..1000, 99));
    assert_eq!(breaches(&net), [Breach::LsasOfRouter(rid(99))]);
    assert_eq!(net.engine(0).view().lsdb().originated_by(rid(99)).count(), 300);
    flood(&mut net, lsas(0..200, 98));
    assert_eq!(net.engine(0).view().lsdb().originated_by(rid(98)).count(), 200);
    unharmed(&net);
}

#[test]
fn a_limit_is_told_again_only_after_it_was_kept() {
    let mut net = place(|config| config.limits = Limits { lsas: 5000, lsas_per_router: 100 });
    flood(&mut net, lsas(0..150, 99));
    flood(&mut net, lsas(150..200, 99));
    assert_eq!(breaches(&net).len(), 1);
    net.run(secs(2));
    // The offender takes half of them back.
    let gone = lsas(0..50, 99).into_iter().map(|lsa| lsa.with_age(ospf_proto::consts::MAX_AGE)).collect();
    flood(&mut net, gone);
    net.run(secs(10));
    assert_eq!(net.engine(0).view().lsdb().originated_by(rid(99)).count(), 50);
    flood(&mut net, lsas(300..400, 99));
    assert_eq!(breaches(&net).len(), 2);
}

#[test]
fn what_there_is_no_room_for_is_not_asked_for_and_the_adjacency_becomes_full() {
    let mut net = Net::new(3);
    let small = net.router(|config| config.limits = Limits { lsas: 50, lsas_per_router: 40 });
    let large = net.router(|_| {});
    let feeder = net.router(|_| {});
    net.link(&[small, large], NetworkType::PointToPoint, |_, _| {});
    net.link(&[large, feeder], NetworkType::PointToPoint, |_, _| {});
    net.start(large);
    net.start(feeder);
    net.run_until(secs(20), "fed", |net| net.full(large, feeder));
    for part in lsas(0..500, 99).chunks(40) {
        net.forge_lsas(1, (feeder, large), part.to_vec());
    }
    net.start(small);
    net.run_until(secs(20), "full", |net| net.full(small, large));
    assert!(net.engine(small).view().lsdb().len() <= 55);
    net.run(secs(20));
    assert!(net.full(small, large));
}

#[test]
fn a_storm_of_lsas_in_our_name_is_answered_at_a_bounded_rate() {
    let mut net = place(|config| config.max_originations = 10);
    flood(&mut net, lsas(0..600, 1));
    net.run(secs(10));
    let answers = net.nodes[0].events.iter().filter(|(_, e)| matches!(e, Event::Flushed { .. })).count();
    // 20 s worth at once, then 10 a second.
    assert!((250..=310).contains(&answers), "{answers} flushed");
    assert!(net.engine(0).view().rate_limited() > 0);
    unharmed(&net);
    net.run(secs(60));
    assert_eq!(
        net.engine(0).view().lsdb().of_type(ospf_proto::id::Domain::Area(ospf_proto::id::AreaId(0)), UNKNOWN).count(),
        0
    );
    unharmed(&net);
}

#[test]
fn a_service_prefix_is_withdrawn_at_once_in_the_midst_of_such_a_storm() {
    let mut net = Net::new(7);
    let router = net.router(|_| {});
    let server = net.router(|config| {
        config.forwarding = false;
        config.max_originations = 1;
    });
    net.link(&[router, server], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    let advertised = BTreeMap::from([(prefix(SERVICE), 10)]);
    net.command(server, Command::Advertise { prefixes: advertised, companion: Companion::None });
    net.run_until(secs(20), "up", |net| net.gateways(router, &prefix(SERVICE)).len() == 1);
    net.run(secs(3));
    for part in lsas(0..500, 2).chunks(40) {
        net.forge_lsas(0, (router, server), part.to_vec());
    }
    net.run(secs(1));
    net.command(server, Command::Advertise { prefixes: BTreeMap::new(), companion: Companion::None });
    net.run(ms(5));
    assert!(!net.nodes[router].routes.contains_key(&prefix(SERVICE)));
}

#[test]
fn more_neighbors_than_allowed_are_not_taken_in() {
    let mut net = Net::new(1);
    let router = net.router(|config| config.max_neighbors = 3);
    let others: Vec<usize> = (0..6).map(|_| net.server()).collect();
    let all: Vec<usize> = std::iter::once(router).chain(others).collect();
    net.broadcast(&all);
    net.start_all();
    net.run(secs(20));
    assert_eq!(net.engine(router).view().neighbors().len(), 3);
    assert!(net.drops(router).contains(&"limit"));
}

/// The length of the longest Hello a router sent, and whether all of them name `whom`.
fn hellos(net: &Net, whom: RouterId) -> (usize, bool) {
    let sent = net.hellos(0).into_iter().filter(|hello| hello.iface_id == net.iface(0, 1));
    sent.fold((0, true), |(most, named), hello| {
        (most.max(hello.neighbors.len()), named && hello.neighbors.contains(&whom))
    })
}

/// Hellos of 2,000 new routers on the server's link, that have heard of these.
fn flood_of_routers(net: &mut Net, heard: Vec<RouterId>) {
    let hello = Hello { neighbors: heard, ..net.last_hello(2) };
    for number in 0..2000 {
        // Smaller Router IDs than the server's: sorted by them, they come before it.
        net.forge_as(RouterId(1 << 24 | number), 1, (2, 0), PacketBody::Hello(hello.clone()));
    }
}

/// BIRD drops a Hello in fragments: one that names a thousand would cost us the neighbors that are real.
#[test]
fn a_flood_of_routers_does_not_make_our_hellos_larger_than_the_mtu() {
    let mut net = place(|_| {});
    let server = net.nodes[2].config.router_id;
    net.run(secs(12));
    let victim = net.nodes[0].config.router_id;
    flood_of_routers(&mut net, vec![victim]);
    assert_eq!(net.engine(0).view().interfaces()[1].neighbors, 356, "more are not taken in");
    net.run(secs(12));
    assert_eq!(hellos(&net, server), (356, true), "(1500 - 40 - 16 - 20) / 4");
    assert!(net.drops(0).contains(&"limit"));
    unharmed(&net);
}

#[test]
fn a_smaller_mtu_keeps_the_neighbors_with_whom_most_has_been_achieved() {
    let mut net = place(|_| {});
    let server = net.nodes[2].config.router_id;
    net.run(secs(12));
    flood_of_routers(&mut net, vec![]);
    net.run(secs(1));
    net.forget();
    let state = net.link_state(0, 1);
    net.tell_link(0, 1, LinkState { mtu: 1280, ..state });
    net.run(secs(11));
    assert_eq!(hellos(&net, server), (301, true));
    unharmed(&net);
}
