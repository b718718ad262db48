//! Flooding in a network: acknowledgments, retransmission, MaxAge, strangers' and hostile LSAs.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, assert_exact, lan, ms, pair, prefix, raw_lsa, rid, row, secs, strange, updates};
use ospf_proto::consts::{ALL_SPF_ROUTERS, INITIAL_SEQUENCE, MAX_AGE};
use ospf_proto::ctx::Timer;
use ospf_proto::engine::{Command, Companion};
use ospf_proto::id::{AreaId, Domain, LsaKey};
use ospf_proto::lsa::{LsType, Lsa, LsaHeader};
use ospf_proto::packet::{LsAck, Packet, PacketBody, PacketHeader, PacketType};
use ospf_proto::state::NeighborState;

fn advertise(net: &mut Net, router: usize, metric: u16) {
    let prefixes = BTreeMap::from([(prefix("2001:db8:53::53/128"), metric)]);
    net.command(router, Command::Advertise { prefixes, companion: Companion::None });
}

/// The instances of LSAs by router 99 in a router's database.
fn stranger(net: &Net, router: usize) -> Vec<LsaHeader> {
    let view = net.engine(router).view();
    view.lsas().iter().filter(|l| l.key.adv_router == rid(99)).map(|l| l.lsa.with_age(l.age).header).collect()
}

fn sent_lsas(net: &Net, router: usize) -> Vec<Lsa> {
    updates(net, router).into_iter().flat_map(|(_, lsas)| lsas).collect()
}

#[test]
fn an_lsa_of_reserved_scope_is_discarded_with_or_without_the_u_bit() {
    for ls_type in [0x6abc, 0xeabc] {
        let mut net = pair();
        net.forget();
        let key = area_key(LsType(ls_type), 1, 99);
        net.forge_lsas(0, (1, 0), vec![raw_lsa(&key, INITIAL_SEQUENCE, &[0; 4])]);
        net.run(secs(3));
        assert_eq!(net.drops(0), vec!["reserved_scope"], "{ls_type:#x}");
        assert!(stranger(&net, 0).is_empty());
        assert!(net.full(0, 1));
    }
}

#[test]
fn an_unknown_type_with_the_u_bit_goes_as_far_as_its_scope_says_and_without_it_stays_on_the_link() {
    // (LS type, reaches router 1, reaches router 2) when router 0 sends it to router 1.
    for (ls_type, beyond) in
        [(0x8abc, false), (0xaabc, true), (0xcabc, true), (0x0abc, false), (0x2abc, false), (0x4abc, false)]
    {
        let mut net = row();
        let key = area_key(LsType(ls_type), 1, 99);
        net.forge_lsas(0, (0, 1), vec![raw_lsa(&key, INITIAL_SEQUENCE, &[1, 2, 3, 4])]);
        net.run(secs(3));
        assert_eq!(stranger(&net, 1).len(), 1, "{ls_type:#x}");
        assert_eq!(stranger(&net, 2).len(), usize::from(beyond), "{ls_type:#x}");
        assert!(net.full(0, 1) && net.full(1, 2));
        // A neighbor that comes anew gets it by exchange, where its scope allows.
        net.kill(2);
        net.run(secs(6));
        net.start(2);
        net.run_until(secs(6), "full", |net| net.full(1, 2));
        assert_eq!(stranger(&net, 2).len(), usize::from(beyond), "{ls_type:#x} by exchange");
    }
}

#[test]
fn a_bad_lsa_in_an_update_is_dropped_and_the_others_are_used() {
    let mut net = pair();
    net.forget();
    let lsa = |id| raw_lsa(&strange(id), INITIAL_SEQUENCE, &[1, 2, 3, 4]);
    let mut bad = lsa(2);
    let mut bytes = bad.raw.to_vec();
    bytes[22] ^= 0x40;
    bad.raw = bytes.into();
    net.forge_lsas(0, (1, 0), vec![lsa(1), bad, lsa(3)]);
    assert_eq!(net.drops(0), vec!["malformed_lsa"]);
    assert_eq!(stranger(&net, 0).len(), 2);
    assert!(net.full(0, 1));
}

#[test]
fn a_packet_that_is_not_for_us_or_not_whole_changes_nothing() {
    let mut net = pair();
    net.run(secs(20));
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[1, 2, 3, 4]);
    let update = PacketBody::LsUpd(ospf_proto::packet::LsUpd { lsas: vec![lsa], rejected: vec![] });
    let (src, dst) = (net.address(1, 0), net.address(0, 0));
    let (iface, other) = (net.iface(0, 0), "fe80::dead".parse().unwrap());
    let encode = |area: u32, instance_id, router, src, dst| {
        let header = PacketHeader { router_id: rid(router), area_id: AreaId(area), instance_id };
        Packet { header, body: update.clone() }.encode(src, dst)
    };
    let global = "2001:db8::1".parse().unwrap();
    let good = encode(0, 0, 2, src, dst);
    let mut cases = vec![
        (encode(1, 0, 2, src, dst), (src, dst), "area"),
        (encode(0, 9, 2, src, dst), (src, dst), "instance"),
        (encode(0, 0, 7, src, dst), (src, dst), "unknown_neighbor"),
        (encode(0, 0, 2, global, dst), (global, dst), "source_not_link_local"),
        (encode(0, 0, 2, src, other), (src, other), "destination"),
        (good.clone(), (other, dst), "malformed"),
    ];
    for cut in 0..good.len() {
        cases.push((good[..cut].to_vec(), (src, dst), "malformed"));
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        cases.push((flipped, (src, dst), "malformed"));
    }
    let before = net.area_lsdb(0);
    for (bytes, addresses, label) in cases {
        net.forget();
        net.inject(0, iface, addresses, &bytes);
        assert_eq!(net.drops(0), vec![label], "{bytes:02x?}");
        assert!(net.nodes[0].sent.is_empty());
    }
    assert_eq!(net.area_lsdb(0), before);
    assert!(net.full(0, 1));
    net.inject(0, iface, (src, dst), &good);
    assert_eq!(stranger(&net, 0).len(), 1, "the same whole is taken");
}

#[test]
fn an_lsa_is_retransmitted_until_it_is_acknowledged_and_not_after() {
    let mut net = pair();
    net.forget();
    net.lose(1, PacketType::LsAck, (0, 3));
    advertise(&mut net, 0, 5);
    assert_eq!(net.engine(0).view().unacknowledged().len(), 1);
    net.run(secs(20));
    assert_eq!(sent_lsas(&net, 0).len(), 4, "once, and once for each lost acknowledgment");
    assert!(net.engine(0).view().unacknowledged().is_empty());
}

/// The link has one timer; each neighbor has its deadline.
#[test]
fn each_neighbor_of_a_link_is_retransmitted_to_at_its_own_time() {
    let mut net = lan(3);
    net.run(secs(5));
    for router in [0, 1] {
        net.lose(router, PacketType::LsAck, (0, 1_000_000));
    }
    net.forget();
    let start = net.now;
    // The DR owes to router 1 what router 0 sends, and to router 0 what router 1 sends later.
    net.forge_lsas(0, (0, 2), vec![raw_lsa(&strange(1), INITIAL_SEQUENCE, &[])]);
    net.run(ms(400));
    net.forge_lsas(0, (1, 2), vec![raw_lsa(&strange(2), INITIAL_SEQUENCE, &[])]);
    net.run(secs(3));
    let retransmitted = |net: &Net| -> Vec<(u128, usize, u32)> {
        let to = |dst| (0..2).find(|router| net.address(*router, 0) == dst);
        let sent = net.packets(2).into_iter().filter_map(|(at, dst, body)| match body {
            PacketBody::LsUpd(update) => Some((at.since(start).as_millis(), to(dst)?, update.lsas)),
            _ => None,
        });
        sent.flat_map(|(at, to, lsas)| lsas.into_iter().map(move |l| (at, to, l.header.link_state_id.0))).collect()
    };
    let (one, two) = (|at| (at, 1, 1), |at| (at, 0, 2));
    assert_eq!(retransmitted(&net), [one(1000), two(1400), one(2000), two(2400), one(3000), two(3400)]);
    // The one acknowledges: the other is served on.
    let header = net.lsa(2, &strange(1)).unwrap().header;
    net.forge(0, (1, 2), PacketBody::LsAck(LsAck { headers: vec![header] }));
    net.forget();
    net.run(secs(2));
    assert_eq!(retransmitted(&net), [two(4400), two(5400)]);
    // The link goes down while one still owes: no timer is left.
    net.set_link(2, 0, false);
    for _ in 0..20 {
        let next = net.engine(2).next_timer();
        assert!(!matches!(next, Some((_, Timer::LsUpdRxmt(_)))), "{next:?}");
        net.run(ms(100));
    }
}

#[test]
fn acknowledgments_of_another_instance_are_refused_and_of_unknown_ones_ignored() {
    let mut net = pair();
    net.lose(1, PacketType::LsAck, (0, 2));
    advertise(&mut net, 0, 5);
    let pending = net.engine(0).view().unacknowledged()[0].key;
    let header = net.lsa(0, &pending).unwrap().header;
    net.forget();
    let wrong = [
        LsaHeader { sequence: header.sequence + 1, ..header },
        LsaHeader { checksum: header.checksum ^ 1, ..header },
        LsaHeader { age: MAX_AGE, ..header },
    ];
    for header in wrong {
        net.forge(0, (1, 0), PacketBody::LsAck(LsAck { headers: vec![header] }));
        assert_eq!(net.engine(0).view().unacknowledged().len(), 1, "{header:?}");
    }
    let unknown = raw_lsa(&strange(1), 1, &[]).header;
    net.forge(0, (1, 0), PacketBody::LsAck(LsAck { headers: vec![unknown] }));
    assert_eq!(net.drops(0), vec!["ack_mismatch"; 3]);
    net.forge(0, (1, 0), PacketBody::LsAck(LsAck { headers: vec![header] }));
    assert!(net.engine(0).view().unacknowledged().is_empty());
}

#[test]
fn max_age_of_an_unknown_lsa_is_acknowledged_and_not_kept() {
    let mut net = pair();
    net.forget();
    let lsas: Vec<Lsa> = (0..500).map(|id| raw_lsa(&strange(id), INITIAL_SEQUENCE, &[]).with_age(MAX_AGE)).collect();
    for part in lsas.chunks(50) {
        net.forge_lsas(0, (1, 0), part.to_vec());
    }
    assert!(stranger(&net, 0).is_empty());
    let acked: usize = net
        .packets(0)
        .into_iter()
        .map(|(_, _, body)| if let PacketBody::LsAck(ack) = body { ack.headers.len() } else { 0 })
        .sum();
    assert_eq!(acked, 500);
    assert!(sent_lsas(&net, 0).is_empty());
}

#[test]
fn a_storm_of_max_age_goes_through_the_network_and_leaves_nothing() {
    let mut net = row();
    let lsa = |id| raw_lsa(&strange(id), INITIAL_SEQUENCE, &[9; 8]);
    for part in (0..200).collect::<Vec<u32>>().chunks(40) {
        net.forge_lsas(0, (0, 1), part.iter().map(|id| lsa(*id)).collect());
    }
    net.run(secs(3));
    assert_eq!(stranger(&net, 2).len(), 200);
    for part in (0..200).collect::<Vec<u32>>().chunks(40) {
        net.forge_lsas(0, (0, 1), part.iter().map(|id| lsa(*id).with_age(MAX_AGE)).collect());
    }
    net.run(secs(10));
    for router in 0..3 {
        assert_eq!(stranger(&net, router), vec![], "router {router}");
        assert!(net.engine(router).view().unacknowledged().is_empty());
    }
    assert!(net.full(0, 1) && net.full(1, 2));
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn an_lsa_that_nobody_refreshes_is_flooded_at_max_age_and_gone_everywhere() {
    let mut net = row();
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[9; 8]);
    net.forge_lsas(0, (0, 1), vec![lsa.with_age(MAX_AGE - 100)]);
    net.run(secs(90));
    assert_eq!(stranger(&net, 2).len(), 1);
    net.run(secs(20));
    for router in 0..3 {
        assert_eq!(stranger(&net, router), vec![]);
    }
}

#[test]
fn max_age_lsas_stay_while_an_exchange_goes_on_and_go_when_it_is_over() {
    let mut net = row();
    // Router 2 never gets beyond Loading.
    net.kill(2);
    net.run(secs(6));
    net.lose(2, PacketType::LsReq, (0, 4));
    net.start(2);
    net.run_until(secs(5), "loading", |net| net.state(2, 1) == Some(NeighborState::Loading));
    assert!(net.full(0, 1));
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[]);
    net.forge_lsas(0, (0, 1), vec![lsa.with_age(MAX_AGE)]);
    net.run_until(secs(10), "full", |net| net.full(1, 2));
    net.run(secs(6));
    for router in 0..3 {
        assert_eq!(stranger(&net, router), vec![]);
    }
}

#[test]
fn an_older_instance_is_answered_with_ours_at_most_once_a_second() {
    let mut net = pair();
    advertise(&mut net, 0, 5);
    net.run(secs(6));
    advertise(&mut net, 0, 6);
    net.run(secs(2));
    let key = LsaKey { link_state_id: ospf_proto::id::LinkStateId(1), ..area_key(LsType::INTRA_AREA_PREFIX, 1, 1) };
    let ours = net.lsa(0, &key).unwrap();
    let old = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[]);
    net.forge_lsas(0, (1, 0), vec![raw_lsa(&strange(1), INITIAL_SEQUENCE + 5, &[])]);
    net.run(secs(2));
    net.forget();
    for _ in 0..10 {
        net.forge_lsas(0, (1, 0), vec![old.clone()]);
    }
    let back = sent_lsas(&net, 0);
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].header.sequence, INITIAL_SEQUENCE + 5);
    net.run(ms(1100));
    net.forge_lsas(0, (1, 0), vec![old]);
    assert_eq!(sent_lsas(&net, 0).len(), 2);
    assert_eq!(net.lsa(0, &key).unwrap().header.sequence, ours.header.sequence);
}

#[test]
fn a_second_instance_within_a_second_is_dropped_unacknowledged_and_taken_later() {
    let mut net = pair();
    let lsa = |n| raw_lsa(&strange(1), INITIAL_SEQUENCE + n, &[]);
    net.forge_lsas(0, (1, 0), vec![lsa(0)]);
    net.run(ms(900));
    net.forget();
    net.forge_lsas(0, (1, 0), vec![lsa(1)]);
    assert_eq!(net.drops(0), vec!["min_ls_arrival"]);
    assert!(net.packets(0).is_empty());
    net.run(ms(150));
    net.forge_lsas(0, (1, 0), vec![lsa(1)]);
    assert_eq!(stranger(&net, 0)[0].sequence, INITIAL_SEQUENCE + 1);
}

#[test]
fn a_duplicate_is_acknowledged_at_once_and_to_its_sender_alone() {
    let mut net = lan(3);
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[]);
    net.forge_lsas(0, (2, 0), vec![lsa.clone()]);
    net.run(secs(3));
    net.forget();
    net.forge_lsas(0, (2, 0), vec![lsa]);
    let sent = net.packets(0);
    assert!(
        matches!(&sent[..], [(_, dst, PacketBody::LsAck(ack))] if *dst == net.address(2, 0) && ack.headers.len() == 1)
    );
}

#[test]
fn on_a_point_to_point_link_everything_is_multicast_but_answers() {
    let mut net = pair();
    net.forget();
    advertise(&mut net, 0, 5);
    net.run(secs(1));
    let acks: Vec<_> = net.packets(1).into_iter().filter(|(_, _, b)| matches!(b, PacketBody::LsAck(_))).collect();
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].1, ALL_SPF_ROUTERS);
    assert!(net.packets(0).iter().all(|(_, dst, _)| *dst == ALL_SPF_ROUTERS));
}

#[test]
fn an_update_from_a_neighbor_below_exchange_is_dropped() {
    let mut net = lan(4);
    net.forget();
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[]);
    net.forge_lsas(0, (1, 0), vec![lsa]);
    assert_eq!(net.drops(0), vec!["neighbor_state"]);
    assert!(stranger(&net, 0).is_empty());
}

#[test]
fn the_age_on_the_wire_grows_by_a_second_a_hop_and_never_beyond_max_age() {
    let mut net = row();
    let lsa = raw_lsa(&strange(1), INITIAL_SEQUENCE, &[]);
    net.forge_lsas(0, (0, 1), vec![lsa.with_age(100)]);
    net.run(ms(500));
    assert_eq!((stranger(&net, 1)[0].age, stranger(&net, 2)[0].age), (100, 101));
    assert!(net.engine(1).view().lsdb().domain(Domain::Area(AreaId(0))).all(|(_, e)| e.age(net.now) < MAX_AGE));
}

#[test]
fn an_acknowledgment_held_back_is_not_sent_once_its_instance_is_outrun() {
    let mut net = pair();
    net.run(secs(10));
    net.forget();
    let key = area_key(LsType::ROUTER, 0, 1);
    let before = net.lsa(0, &key).unwrap().header.sequence;
    let newer = net.as_if_own(&key, before + 10);
    net.forge_lsas(0, (1, 0), vec![newer]);
    net.run(secs(2));
    assert_eq!(net.lsa(0, &key).unwrap().header.sequence, before + 11);
    let acks = net.packets(0).into_iter().filter(|(_, _, body)| matches!(body, PacketBody::LsAck(_)));
    assert_eq!(acks.count(), 0, "the answer is the newer instance");
}
