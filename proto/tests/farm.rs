//! The farm in virtual time: servers with one anycast /128 on one link, and routers that share it.

mod common;

use std::collections::BTreeMap;

use common::{Net, assert_exact, ms, prefix, rid, secs};
use ospf_proto::engine::{Command, Companion, NetworkType, Output};
use ospf_proto::id::{Domain, LsaKey};
use ospf_proto::lsa::{LsType, LsaBody};
use ospf_proto::packet::{Packet, PacketBody};
use ospf_proto::state::NeighborState;

const ANYCAST: &str = "2001:db8:53::53/128";

fn advertise(net: &mut Net, server: usize, metric: u16, companion: Companion) {
    let prefixes = BTreeMap::from([(prefix(ANYCAST), metric)]);
    net.command(server, Command::Advertise { prefixes, companion });
}

/// A router and `n` servers on one broadcast link, all up and sharing.
fn farm(n: usize) -> (Net, usize, Vec<usize>) {
    let mut net = Net::new(42);
    let router = net.router(|_| {});
    let servers: Vec<usize> = (0..n).map(|_| net.server()).collect();
    let all: Vec<usize> = std::iter::once(router).chain(servers.iter().copied()).collect();
    net.broadcast(&all);
    net.start_all();
    for server in &servers {
        advertise(&mut net, *server, 10, Companion::None);
    }
    let want = n;
    net.run_until(secs(20), "all share", |net| net.gateways(router, &prefix(ANYCAST)).len() == want);
    net.run(secs(2));
    (net, router, servers)
}

#[test]
fn the_same_prefix_from_three_servers_is_one_route_with_three_next_hops() {
    let (net, router, servers) = farm(3);
    let route = &net.nodes[router].routes[&prefix(ANYCAST)];
    assert_eq!(route.originators().collect::<Vec<_>>(), vec![rid(2), rid(3), rid(4)]);
    for server in &servers {
        assert!(net.gateways(router, &prefix(ANYCAST)).contains(&net.address(*server, 0)));
        assert!(net.full(router, *server));
    }
    net.assert_synchronised(&[0, 1, 2, 3]);
    assert_exact(&net);
}

#[test]
fn a_raised_cost_takes_one_server_out_within_milliseconds_and_a_lowered_one_brings_it_back() {
    let (mut net, router, servers) = farm(3);
    net.run(secs(5));
    advertise(&mut net, servers[0], 20, Companion::None);
    let took = net.run_until(secs(1), "out", |net| net.gateways(router, &prefix(ANYCAST)).len() == 2);
    assert!(took <= ms(3), "{took:?}");
    advertise(&mut net, servers[0], 10, Companion::None);
    let took = net.run_until(secs(6), "back", |net| net.gateways(router, &prefix(ANYCAST)).len() == 3);
    assert!(took >= secs(4) && took <= secs(5), "MinLSInterval is 5 s: {took:?}");
    assert_exact(&net);
}

#[test]
fn a_companion_lsa_follows_a_changed_metric_in_the_same_update_and_behind_it() {
    for (companion, ls_type) in [(Companion::Link, LsType::LINK), (Companion::Router, LsType::ROUTER)] {
        let (mut net, _, servers) = farm(2);
        net.run(secs(5));
        net.nodes[servers[0]].sent.clear();
        advertise(&mut net, servers[0], 21, companion);
        let sent: Vec<Vec<LsType>> = net.nodes[servers[0]]
            .sent
            .iter()
            .filter_map(|(_, t)| match Packet::decode(t.src, t.dst, &t.bytes).unwrap().body {
                PacketBody::LsUpd(update) => Some(update.lsas.iter().map(|lsa| lsa.header.ls_type).collect()),
                _ => None,
            })
            .collect();
        assert_eq!(sent, vec![vec![LsType::INTRA_AREA_PREFIX, ls_type]]);
    }
}

#[test]
fn a_withdrawn_prefix_is_flushed_at_once_even_right_after_a_change() {
    let (mut net, router, servers) = farm(3);
    net.run(secs(5));
    advertise(&mut net, servers[1], 20, Companion::None);
    net.run(ms(1100));
    net.command(servers[1], Command::Advertise { prefixes: BTreeMap::new(), companion: Companion::None });
    let took = net.run_until(secs(1), "gone", |net| !net.nodes[router].routes[&prefix(ANYCAST)].has_originator(rid(3)));
    assert!(took <= ms(3), "{took:?}");
    let took = net.run_until(secs(2), "acknowledged", |net| net.engine(servers[1]).view().flushes_pending() == 0);
    assert!(took <= ms(500), "{took:?}");
}

#[test]
fn a_server_that_says_goodbye_is_dropped_at_once() {
    let (mut net, router, servers) = farm(2);
    net.command(servers[0], Command::Flush);
    net.run_until(secs(1), "flushed", |net| net.engine(servers[0]).view().flushes_pending() == 0);
    assert_eq!(net.gateways(router, &prefix(ANYCAST)), vec![net.address(servers[1], 0)]);
    net.command(servers[0], Command::Goodbye);
    net.run(ms(5));
    assert_ne!(net.state(router, servers[0]), Some(NeighborState::Full));
    assert!(net.engine(servers[0]).view().lsas().iter().all(|lsa| !lsa.ours || lsa.lsa.is_max_age()));
}

#[test]
fn a_silent_server_is_gone_after_the_dead_interval() {
    let (mut net, router, servers) = farm(3);
    net.kill(servers[2]);
    let took = net.run_until(secs(5), "dead", |net| net.gateways(router, &prefix(ANYCAST)).len() == 2);
    assert!(took > secs(3) && took <= ms(4100), "{took:?}");
}

#[test]
fn a_server_restarted_at_once_outruns_its_former_life_and_is_back_within_a_second_of_full() {
    let (mut net, router, servers) = farm(3);
    net.run(secs(30));
    let key = |net: &Net| {
        let view = net.engine(router).view();
        let own = view.lsas().into_iter().find(|l| l.key.adv_router == rid(2) && l.key.ls_type == LsType::ROUTER);
        own.map(|l| l.lsa.header.sequence)
    };
    let before = key(&net).unwrap();
    net.kill(servers[0]);
    net.run(ms(500));
    net.start(servers[0]);
    advertise(&mut net, servers[0], 10, Companion::None);
    net.run_until(secs(10), "full", |net| net.full(router, servers[0]));
    let took = net.run_until(secs(1), "back", |net| net.gateways(router, &prefix(ANYCAST)).len() == 3);
    assert!(took < secs(1));
    net.run(secs(6));
    assert_eq!(net.gateways(router, &prefix(ANYCAST)).len(), 3);
    assert!(key(&net).unwrap() > before, "the sequence number goes on");
    net.assert_synchronised(&[0, 1, 2, 3]);
}

#[test]
fn a_prefix_of_a_former_life_that_is_not_advertised_any_more_is_flushed_at_full() {
    let (mut net, router, servers) = farm(2);
    net.run(secs(30));
    net.kill(servers[0]);
    net.run(ms(200));
    net.start(servers[0]);
    net.run_until(secs(10), "flushed", |net| {
        net.full(router, servers[0]) && net.gateways(router, &prefix(ANYCAST)).len() == 1
    });
    net.run(secs(7));
    let own = net.engine(router).view().lsas().into_iter().filter(|l| l.key.adv_router == rid(2)).count();
    assert_eq!(own, 2, "Router-LSA and Link-LSA alone");
}

#[test]
fn no_router_lsa_is_sent_before_an_adjacency_is_full() {
    let mut net = Net::new(1);
    let router = net.router(|_| {});
    let server = net.server();
    net.broadcast(&[router, server]);
    net.start(router);
    net.run(secs(10));
    net.start(server);
    advertise(&mut net, server, 10, Companion::None);
    net.run_until(secs(10), "full", |net| net.state(server, router) == Some(NeighborState::Full));
    let full_at = net.now;
    net.run(secs(10));
    for (at, transmit) in &net.nodes[server].sent {
        let packet = Packet::decode(transmit.src, transmit.dst, &transmit.bytes).unwrap();
        if let PacketBody::LsUpd(update) = packet.body {
            assert!(*at + ms(1) >= full_at, "{update:?} at {at}");
        }
    }
}

#[test]
fn servers_of_higher_router_id_are_full_as_soon_as_the_dr_is_elected() {
    let mut net = Net::new(5);
    let router = net.router(|_| {});
    let servers = [net.server(), net.server()];
    net.broadcast(&[servers[0], servers[1], router]);
    net.start_all();
    let elected = |net: &Net| net.engine(router).view().interfaces()[0].state == ospf_proto::state::IfaceState::Dr;
    net.run_until(secs(10), "elected", elected);
    let took = net.run_until(secs(2), "full", |net| servers.iter().all(|server| net.full(*server, router)));
    assert!(took <= ms(50), "{took:?}");
}

#[test]
fn a_restarted_dr_shares_over_all_servers_as_soon_as_it_is_elected() {
    let (mut net, router, servers) = farm(5);
    net.run(secs(10));
    net.kill(router);
    net.run(ms(300));
    net.start(router);
    let elected = |net: &Net| net.engine(router).view().interfaces()[0].state == ospf_proto::state::IfaceState::Dr;
    net.run_until(secs(10), "elected", elected);
    let all = |net: &Net| net.gateways(router, &prefix(ANYCAST)).len() == servers.len();
    let took = net.run_until(secs(3), "all share", all);
    assert!(took <= ms(300), "{took:?}");
}

#[test]
fn a_server_is_never_transit() {
    // Two links joined only by a server: the routers on either side have no path to each other.
    let mut net = Net::new(3);
    let (left, right) = (net.router(|_| {}), net.router(|_| {}));
    let server = net.server();
    net.broadcast(&[left, server]);
    net.broadcast(&[right, server]);
    net.start_all();
    advertise(&mut net, server, 10, Companion::None);
    net.run_until(secs(20), "both full", |net| net.full(left, server) && net.full(right, server));
    net.run(secs(10));
    net.assert_synchronised(&[left, right, server]);
    assert!(net.nodes[left].routes.contains_key(&prefix(ANYCAST)));
    assert!(!net.nodes[left].routes.contains_key(&prefix("2001:db8:0:1::/64")));
    assert!(!net.nodes[right].routes.contains_key(&prefix("2001:db8::/64")));
}

#[test]
fn a_link_lsa_of_a_server_carries_no_prefixes_and_its_links_the_maximum_metric() {
    let (net, _, servers) = farm(1);
    let view = net.engine(servers[0]).view();
    for lsa in view.lsas().into_iter().filter(|lsa| lsa.ours) {
        match &lsa.lsa.body {
            LsaBody::Link(link) => assert!(link.prefixes.is_empty()),
            LsaBody::Router(router) => assert!(router.links.iter().all(|link| link.metric == 0xffff)),
            LsaBody::IntraAreaPrefix(body) => assert_eq!(body.prefixes.len(), 1),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_prefix_change_runs_no_spf() {
    let (mut net, router, servers) = farm(3);
    net.run(secs(10));
    net.nodes[router].events.clear();
    advertise(&mut net, servers[0], 30, Companion::Link);
    net.run(ms(50));
    assert_eq!(net.gateways(router, &prefix(ANYCAST)).len(), 2);
    let spf = net.nodes[router].events.iter().filter(|(_, e)| matches!(e, ospf_proto::ctx::Event::Spf { .. })).count();
    assert_eq!(spf, 0);
}

#[test]
fn two_servers_with_one_router_id_shout_and_the_newcomer_holds_back() {
    let mut net = Net::new(9);
    let router = net.router(|_| {});
    let first = net.server();
    let second = net.router(|config| {
        config.forwarding = false;
        config.router_id = rid(2);
    });
    net.broadcast(&[router, first, second]);
    net.start(router);
    net.start(first);
    advertise(&mut net, first, 10, Companion::None);
    net.run_until(secs(20), "shared", |net| net.gateways(router, &prefix(ANYCAST)).len() == 1);
    net.run(secs(10));
    net.start(second);
    advertise(&mut net, second, 10, Companion::None);
    net.run(secs(20));
    assert!(net.engine(second).view().duplicate_router_id());
    assert!(!net.engine(first).view().duplicate_router_id());
    let shouts = |net: &Net, n: usize| {
        net.nodes[n]
            .events
            .iter()
            .filter(|(_, e)| matches!(e, ospf_proto::ctx::Event::DuplicateRouterId { .. }))
            .count()
    };
    assert!(shouts(&net, first) > 0 && shouts(&net, second) > 0);
    assert_eq!(net.gateways(router, &prefix(ANYCAST)), vec![net.address(first, 0)], "the incumbent stays");
    net.kill(first);
    net.run(secs(60));
    assert_eq!(net.gateways(router, &prefix(ANYCAST)), vec![net.address(second, 0)], "the newcomer takes over");
}

#[test]
fn a_burst_of_forged_packets_under_its_own_router_id_does_not_silence_a_newcomer() {
    let mut net = Net::new(9);
    let router = net.router(|_| {});
    let server = net.server();
    net.broadcast(&[router, server]);
    net.start_all();
    advertise(&mut net, server, 10, Companion::None);
    net.run_until(secs(20), "Full", |net| net.state(server, router) == Some(NeighborState::Full));
    let (forger, group) = ("fe80::bad".parse().unwrap(), ospf_proto::consts::ALL_SPF_ROUTERS);
    let own = net.nodes[server].sent.iter().map(|(_, t)| Packet::decode(t.src, t.dst, &t.bytes).unwrap());
    let forged: Vec<_> = own.map(|packet| packet.encode(forger, group)).collect();
    let iface = net.iface(server, 0);
    net.forget();
    for _ in 0..20 {
        for bytes in &forged {
            net.inject(server, iface, (forger, group), bytes);
        }
        net.run(ms(30));
    }
    assert_eq!(net.drops(server), vec!["own_router_id"; 20 * forged.len()]);
    assert!(!net.engine(server).view().duplicate_router_id());
    net.run_until(secs(10), "shared", |net| net.gateways(router, &prefix(ANYCAST)).len() == 1);
    assert!(net.full(server, router));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let (net, ..) = farm(3);
        net.nodes.iter().map(|node| node.sent.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn refresh_happens_after_half_an_hour_and_nothing_ever_ages_out() {
    let (mut net, router, servers) = farm(2);
    net.run(secs(5000));
    assert_eq!(net.gateways(router, &prefix(ANYCAST)).len(), 2);
    let key = LsaKey {
        domain: Domain::Area(ospf_proto::id::AreaId(0)),
        ls_type: LsType::ROUTER,
        link_state_id: ospf_proto::id::LinkStateId(0),
        adv_router: net.nodes[servers[0]].config.router_id,
    };
    let entry = net.engine(router).view().lsdb().get(&key).unwrap();
    assert!(entry.age(net.now) <= 1801);
    net.kill(servers[0]);
    net.run(secs(3601));
    assert!(net.engine(router).view().lsdb().get(&key).is_none(), "an orphan is removed at MaxAge");
}

#[test]
fn a_lossy_link_converges_all_the_same() {
    for seed in 1..6 {
        let mut net = Net::new(seed);
        net.loss_percent = 10;
        let routers: Vec<usize> = (0..3).map(|_| net.router(|_| {})).collect();
        let servers: Vec<usize> = (0..3).map(|_| net.server()).collect();
        let all: Vec<usize> = routers.iter().chain(&servers).copied().collect();
        net.broadcast(&all);
        net.link(&[routers[0], routers[1]], NetworkType::PointToPoint, |_, _| {});
        net.start_all();
        for server in &servers {
            advertise(&mut net, *server, 10, Companion::Router);
        }
        for round in 0..20u16 {
            net.run(secs(6));
            advertise(&mut net, servers[usize::from(round) % 3], 10 + round % 3, Companion::Router);
        }
        net.loss_percent = 0;
        for server in &servers {
            advertise(&mut net, *server, 10, Companion::Router);
        }
        net.run(secs(30));
        net.assert_synchronised(&all);
        for router in routers {
            assert_eq!(net.gateways(router, &prefix(ANYCAST)).len(), 3, "seed {seed}");
        }
        assert_exact(&net);
    }
}

#[test]
fn an_interface_that_goes_and_returns_comes_back_by_itself() {
    let (mut net, router, servers) = farm(2);
    net.set_link(servers[0], 0, false);
    net.run(secs(5));
    assert_eq!(net.gateways(router, &prefix(ANYCAST)).len(), 1);
    net.set_link(servers[0], 0, true);
    net.run_until(secs(12), "back", |net| net.gateways(router, &prefix(ANYCAST)).len() == 2);
    net.run(secs(2));
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn an_output_is_a_value_and_a_drained_turn_has_no_more() {
    let (mut net, router, _) = farm(1);
    let engine = net.nodes[router].engine.as_mut().unwrap();
    assert_eq!(engine.poll_output(), None::<Output>);
    assert!(engine.next_timeout().unwrap() > engine.view().now());
}
