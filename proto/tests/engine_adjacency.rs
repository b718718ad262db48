//! Adjacencies in a network: every loss is made up for, every restart and mismatch ends as it should.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, assert_exact, lan, ms, pair, prefix, raw_lsa, rid, secs, strangers_meet};
use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::ctx::{Event, Timer};
use ospf_proto::engine::{Command, Companion, Input, LinkEvent, NetworkType};
use ospf_proto::id::{IfaceId, LinkStateId};
use ospf_proto::lsa::{LsType, Options};
use ospf_proto::packet::{DbDesc, DdFlags, Hello, LsReq, LsRequest, PacketBody, PacketType};
use ospf_proto::state::{IfaceState, NeighborState};
use ospf_proto::time::Instant;

const KINDS: [PacketType; 5] =
    [PacketType::Hello, PacketType::DbDesc, PacketType::LsReq, PacketType::LsUpd, PacketType::LsAck];

fn mismatches(net: &Net) -> Vec<&'static str> {
    let events = net.nodes.iter().flat_map(|node| &node.events);
    let causes =
        events.filter_map(|(_, e)| if let Event::NeighborState { cause, .. } = e { Some(*cause) } else { None });
    causes.filter(|cause| ["SeqNumberMismatch", "BadLSReq", "InactivityTimer", "1-Way"].contains(cause)).collect()
}

#[test]
fn two_large_databases_are_exchanged_without_loss_in_a_moment() {
    let mut net = strangers_meet(130);
    let took = net.run_until(secs(3), "full", |net| net.full(0, 1));
    assert!(took <= ms(1100), "{took:?}");
    net.run(secs(2));
    assert_eq!(mismatches(&net), Vec::<&str>::new());
    net.assert_synchronised(&[0, 1]);
    assert_eq!(net.engine(0).view().unacknowledged(), vec![]);
    for router in 0..2 {
        let dds = net.packets(router).into_iter().filter(|(_, _, body)| matches!(body, PacketBody::DbDesc(_))).count();
        assert!(dds >= 3, "the database does not fit into one packet");
    }
}

#[test]
fn any_one_packet_lost_during_the_exchange_is_made_up_for_by_master_and_slave() {
    for from in 0..2 {
        for kind in KINDS {
            for skip in 0..5 {
                let mut net = strangers_meet(60);
                net.lose(from, kind, (skip, 1));
                net.run_until(secs(5), "full", |net| net.full(0, 1));
                net.run(secs(3));
                assert_eq!(mismatches(&net), Vec::<&str>::new(), "{kind:?} {skip} of {from}");
                net.assert_synchronised(&[0, 1]);
                assert!(net.engine(0).view().unacknowledged().is_empty());
                assert!(net.engine(1).view().unacknowledged().is_empty());
            }
        }
    }
}

#[test]
fn three_packets_in_a_row_lost_are_made_up_for_too() {
    for from in 0..2 {
        for kind in [PacketType::DbDesc, PacketType::LsReq, PacketType::LsUpd, PacketType::LsAck] {
            let mut net = strangers_meet(60);
            net.lose(from, kind, (1, 3));
            net.run_until(secs(8), "full", |net| net.full(0, 1));
            net.run(secs(4));
            assert_eq!(mismatches(&net), Vec::<&str>::new(), "{kind:?} of {from}");
            net.assert_synchronised(&[0, 1]);
        }
    }
}

#[test]
fn every_packet_delivered_twice_does_no_harm() {
    let mut net = strangers_meet(60);
    net.duplicate_percent = 100;
    net.run_until(secs(3), "full", |net| net.full(0, 1));
    net.run(secs(10));
    assert_eq!(mismatches(&net), Vec::<&str>::new());
    net.assert_synchronised(&[0, 1]);
}

#[test]
fn a_replayed_database_description_costs_the_adjacency_only_for_a_moment() {
    for (victim, other) in [(0, 1), (1, 0)] {
        let mut net = strangers_meet(60);
        net.run_until(secs(3), "full", |net| net.full(0, 1));
        let sent = net.packets(other);
        let old = sent.into_iter().find_map(|(_, _, body)| matches!(body, PacketBody::DbDesc(_)).then_some(body));
        net.run(secs(2));
        net.forge(0, (other, victim), old.unwrap());
        assert_eq!(net.state(victim, other), Some(NeighborState::ExStart));
        net.run_until(secs(4), "full again", |net| net.full(0, 1));
        net.run(secs(2));
        net.assert_synchronised(&[0, 1]);
    }
}

#[test]
fn a_database_description_that_breaks_the_rules_restarts_the_exchange() {
    let options = Options::V6 | Options::E | Options::R;
    let dd =
        |flags, options| PacketBody::DbDesc(DbDesc { options, mtu: 1500, flags, sequence: 77, headers: Vec::new() });
    for body in [
        dd(DdFlags::MS, options),
        dd(DdFlags::I | DdFlags::M | DdFlags::MS, options),
        dd(DdFlags::empty(), Options::V6),
    ] {
        let mut net = pair();
        net.forge(0, (1, 0), body.clone());
        assert_eq!(net.state(0, 1), Some(NeighborState::ExStart), "{body:?}");
        net.run_until(secs(4), "full again", |net| net.full(0, 1));
    }
}

#[test]
fn whoever_restarts_is_full_again_within_two_seconds() {
    for who in [vec![0], vec![1], vec![0, 1]] {
        let mut net = pair();
        for router in &who {
            net.kill(*router);
        }
        net.run(ms(700));
        for router in &who {
            net.start(*router);
        }
        let took = net.run_until(secs(6), "full", |net| net.full(0, 1));
        assert!(took <= secs(2), "{who:?}: {took:?}");
        net.run(secs(3));
        net.assert_synchronised(&[0, 1]);
        assert_exact(&net);
    }
}

#[test]
fn a_silent_neighbor_is_gone_after_the_dead_interval_and_leaves_no_timer_behind() {
    let mut net = pair();
    net.kill(1);
    net.run_until(secs(5), "gone", |net| net.state(0, 1).is_none());
    net.run(secs(10));
    let next = |net: &Net| net.engine(0).next_timer().unwrap().1;
    assert!(matches!(next(&net), Timer::Hello(_)));
    net.set_link(0, 0, false);
    net.run(secs(10));
    assert!(matches!(next(&net), Timer::Refresh(_) | Timer::Expiry), "{:?}", next(&net));
}

#[test]
fn a_larger_mtu_at_the_other_end_prevents_the_adjacency_unless_it_is_ignored() {
    for (smaller, ignore) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut net = Net::new(3);
        net.router(|_| {});
        net.router(|_| {});
        net.link(&[0, 1], NetworkType::PointToPoint, |_, config| config.mtu_ignore = ignore);
        net.start_all();
        let mut link = net.link_state(smaller, 0);
        link.mtu = 1400;
        net.tell_link(smaller, 0, link);
        net.run(secs(20));
        assert_eq!(net.full(0, 1), ignore);
        assert_eq!(net.drops(smaller).contains(&"mtu"), !ignore);
        assert!(!net.drops(1 - smaller).contains(&"mtu"));
    }
}

#[test]
fn an_exchange_that_failed_for_the_mtu_succeeds_once_the_larger_one_is_lowered() {
    for smaller in [0, 1] {
        let mut net = Net::new(3);
        net.router(|_| {});
        net.router(|_| {});
        net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
        net.start_all();
        let mut link = net.link_state(smaller, 0);
        link.mtu = 1400;
        net.tell_link(smaller, 0, link);
        net.run(secs(20));
        assert!(!net.full(0, 1));
        let mut link = net.link_state(1 - smaller, 0);
        link.mtu = 1400;
        net.tell_link(1 - smaller, 0, link);
        net.run(secs(10));
        assert!(net.full(0, 1), "with {smaller} as the smaller one");
    }
}

#[test]
fn a_hello_with_other_parameters_is_dropped_and_says_which() {
    let hello = Hello {
        iface_id: IfaceId(1),
        priority: 1,
        options: Options::V6 | Options::E | Options::R,
        hello_interval: 1,
        dead_interval: 4,
        dr: rid(0),
        bdr: rid(0),
        neighbors: vec![rid(1)],
    };
    let cases = [
        (Hello { hello_interval: 2, ..hello.clone() }, "hello_interval"),
        (Hello { dead_interval: 5, ..hello.clone() }, "dead_interval"),
        (Hello { options: Options::V6 | Options::R, ..hello.clone() }, "options"),
        (Hello { options: hello.options | Options::N, ..hello.clone() }, "options"),
    ];
    for (hello, reason) in cases {
        let mut net = pair();
        net.forget();
        net.forge(0, (1, 0), PacketBody::Hello(hello));
        assert_eq!(net.drops(0), vec![reason]);
        assert!(net.full(0, 1));
    }
}

#[test]
fn a_second_router_on_a_point_to_point_link_is_refused_and_the_adjacency_stays() {
    let mut net = Net::new(3);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1, 2], NetworkType::PointToPoint, |_, _| {});
    net.start(0);
    net.start(1);
    net.run_until(secs(5), "full", |net| net.full(0, 1));
    net.start(2);
    net.run(secs(10));
    assert!(net.full(0, 1));
    assert_eq!(net.state(0, 2), None);
    assert!(net.drops(0).contains(&"second_neighbor"));
    net.kill(1);
    net.run_until(secs(12), "the other's turn", |net| net.full(0, 2));
}

#[test]
fn a_request_for_something_we_lack_restarts_the_exchange_and_nothing_is_lost() {
    let mut net = pair();
    let request = LsRequest { ls_type: LsType::ROUTER, link_state_id: LinkStateId(9), adv_router: rid(77) };
    net.forge(0, (1, 0), PacketBody::LsReq(LsReq { requests: vec![request] }));
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart));
    net.run_until(secs(4), "full", |net| net.full(0, 1));
    net.run(secs(2));
    net.assert_synchronised(&[0, 1]);
}

#[test]
fn an_lsa_that_comes_malformed_when_requested_does_not_hold_the_adjacency_in_loading() {
    // What router 1's database holds is broken in a way that only we see: its length is right, its checksum is not.
    let mut net = pair();
    net.kill(0);
    net.run(secs(5));
    let key = area_key(LsType(0xa123), 1, 99);
    let good = raw_lsa(&key, INITIAL_SEQUENCE, &[1, 2, 3, 4]);
    net.start(0);
    net.lose(0, PacketType::LsReq, (0, 1000));
    net.run(secs(3));
    // By hand: describe it, then answer the request with garbage.
    let state = net.state(0, 1);
    assert!(matches!(state, Some(NeighborState::Loading | NeighborState::Exchange)), "{state:?}");
    net.kill(1);
    let mut bad = good;
    let mut bytes = bad.raw.to_vec();
    bytes[21] ^= 1;
    bad.raw = bytes.into();
    let wanted = net.engine(0).view().neighbors()[0].requests;
    assert!(wanted > 0);
    let asked: Vec<LsRequest> = net
        .packets(0)
        .into_iter()
        .filter_map(|(_, _, body)| if let PacketBody::LsReq(request) = body { Some(request.requests) } else { None })
        .last()
        .unwrap();
    let broken = asked
        .iter()
        .map(|r| {
            let key = area_key(r.ls_type, r.link_state_id.0, r.adv_router.0);
            let mut lsa = raw_lsa(&key_of_any_type(&key), INITIAL_SEQUENCE, &[0; 40]);
            let mut bytes = lsa.raw.to_vec();
            bytes[2..4].copy_from_slice(&key.ls_type.0.to_be_bytes());
            lsa.raw = bytes.into();
            lsa
        })
        .collect();
    net.forge_lsas(0, (1, 0), broken);
    assert!(net.drops(0).contains(&"malformed_lsa"));
    assert_eq!(net.state(0, 1), Some(NeighborState::Full));
}

/// The same key under a type whose body is not looked at, so that a body that does not fit can be built.
fn key_of_any_type(key: &ospf_proto::id::LsaKey) -> ospf_proto::id::LsaKey {
    ospf_proto::id::LsaKey { ls_type: LsType(0xa123), ..*key }
}

#[test]
fn another_link_local_address_is_taken_up_by_both_ends() {
    let mut net = lan(3);
    let mut link = net.link_state(0, 0);
    let moved = "fe80::1234".parse().unwrap();
    link.link_local = Some(moved);
    net.tell_link(0, 0, link);
    net.run(secs(15));
    assert!(net.full(0, 1) && net.full(0, 2));
    let view = net.engine(1).view().neighbors();
    assert!(view.iter().any(|n| n.router == rid(1) && n.address == moved));
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn without_a_link_local_address_an_interface_is_down() {
    let mut net = pair();
    let mut link = net.link_state(0, 0);
    let address = link.link_local.take();
    net.tell_link(0, 0, link.clone());
    assert_eq!(net.iface_state(0, 0), IfaceState::Down);
    link.link_local = address;
    net.tell_link(0, 0, link);
    net.run_until(secs(4), "full", |net| net.full(0, 1));
}

#[test]
fn a_renamed_interface_is_another_interface() {
    let mut net = pair();
    let mut link = net.link_state(0, 0);
    link.name = "wan0".to_owned();
    net.tell_link(0, 0, link.clone());
    assert!(net.engine(0).view().interfaces().is_empty());
    assert!(net.engine(0).view().neighbors().is_empty());
    link.name = "eth1".to_owned();
    net.tell_link(0, 0, link.clone());
    net.run_until(secs(4), "full", |net| net.full(0, 1));
    let iface = link.iface;
    net.input(0, Input::Link(LinkEvent::Gone(iface)));
    assert!(net.engine(0).view().interfaces().is_empty());
    net.run(secs(8));
    assert_exact(&net);
}

#[test]
fn the_same_link_state_said_again_changes_nothing() {
    let mut net = pair();
    net.forget();
    let link = net.link_state(0, 0);
    net.tell_link(0, 0, link);
    assert!(net.packets(0).is_empty() && net.nodes[0].events.is_empty());
}

#[test]
fn a_cleared_neighbor_forms_its_adjacency_anew() {
    let mut net = lan(3);
    net.command(0, Command::ClearNeighbor(Some(rid(3))));
    assert_eq!(net.state(0, 2), None);
    assert!(net.state(0, 1) == Some(NeighborState::Full));
    net.run_until(secs(6), "full", |net| net.full(0, 2));
    net.run(secs(5));
    net.assert_synchronised(&[0, 1, 2]);
}

#[test]
fn ever_new_router_ids_fill_neither_memory_nor_hellos() {
    let mut net = lan(2);
    let hello = |neighbors| {
        PacketBody::Hello(Hello {
            iface_id: IfaceId(1),
            priority: 0,
            options: Options::V6 | Options::E | Options::R,
            hello_interval: 1,
            dead_interval: 4,
            dr: rid(2),
            bdr: rid(1),
            neighbors,
        })
    };
    let real = net.nodes[1].config.router_id;
    for id in 1000..3000 {
        net.nodes[1].config.router_id = rid(id);
        net.forge(0, (1, 0), hello(vec![]));
        net.nodes[0].sent.clear();
    }
    net.nodes[1].config.router_id = real;
    assert!(net.engine(0).view().neighbors().len() <= 1024);
    assert!(net.drops(0).contains(&"limit"));
    assert!(net.full(0, 1), "who was there before stays");
    net.run(secs(6));
    assert_eq!(net.engine(0).view().neighbors().len(), 1);
}

#[test]
fn intervals_of_zero_are_no_busy_loop() {
    let mut net = Net::new(3);
    for _ in 0..2 {
        net.router(|config| {
            config.min_ls_interval = ms(0);
            config.min_ls_interval_topology = ms(0);
        });
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, config| {
        config.hello_interval = 0;
        config.dead_interval = 0;
        config.retransmit_interval = ms(0);
    });
    net.start_all();
    net.lose(1, PacketType::LsAck, (0, 1_000_000));
    net.run(secs(30));
    let prefixes = BTreeMap::from([(prefix("2001:db8::1/128"), 1)]);
    net.command(0, Command::Advertise { prefixes, companion: Companion::None });
    net.run(secs(5));
    assert!(net.nodes[0].sent.len() < 500, "{}", net.nodes[0].sent.len());
}

/// The kernel stamps packets by the wall clock. After that was set forward, a Hello that has just come seems to be of the past:
/// it counts as heard at the last turn, and time does not go back.
#[test]
fn a_hello_of_an_hour_ago_is_heard_at_the_last_turn() {
    let mut net = pair();
    let hello = net.last_hello(1);
    let (hello_interval, dead_interval) = (u64::from(hello.hello_interval), u64::from(hello.dead_interval));
    net.run(secs(2 * dead_interval));
    net.cut(0, 1, true);
    net.run(secs(dead_interval - hello_interval - 1));
    let turn = net.engine(0).view().now();
    let bytes = net.forged(net.nodes[1].config.router_id, 0, (1, 0), PacketBody::Hello(hello));
    let (iface, src, dst) = (net.iface(0, 0), net.address(1, 0), net.address(0, 0));
    let engine = net.nodes[0].engine.as_mut().unwrap();
    engine.handle(Instant::EPOCH, Input::Packet { iface, src, dst, bytes: &bytes });
    assert_eq!(engine.view().now(), turn);
    // Without it there would have been silence for longer than RouterDeadInterval by then.
    net.run(secs(dead_interval - hello_interval - 1));
    assert_eq!(net.state(0, 1), Some(NeighborState::Full));
    net.run(secs(hello_interval + 2));
    assert_eq!(net.state(0, 1), None);
}
