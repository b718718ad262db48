//! Rules of RFC 2328 §13 and §14 and RFC 5340 §4.5 on flooding: docs/conformance.md names these tests.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, lan, ms, pair, prefix, raw_lsa, rid, row, secs, strange, updates};
use ospf_proto::consts::{INITIAL_SEQUENCE, MAX_AGE, MAX_SEQUENCE};
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Companion, Input, NetworkType};
use ospf_proto::id::{Domain, LsaKey};
use ospf_proto::lsa::{LsType, Lsa, LsaHeader, Options};
use ospf_proto::packet::{DbDesc, DdFlags, LsAck, PacketBody, PacketType};
use ospf_proto::state::NeighborState;

fn strange_lsa(id: u32, sequence: i32) -> Lsa {
    raw_lsa(&strange(id), sequence, &[id as u8; 4])
}

fn acks(net: &Net, router: usize) -> Vec<LsaHeader> {
    let sent = net.packets(router).into_iter();
    sent.filter_map(|(_, _, body)| if let PacketBody::LsAck(ack) = body { Some(ack.headers) } else { None })
        .flatten()
        .collect()
}

fn holds(net: &Net, router: usize, id: u32) -> bool {
    net.lsa(router, &strange(id)).is_some()
}

#[test]
fn a_retransmission_goes_to_the_neighbor_that_has_not_acknowledged_alone() {
    let mut net = lan(3);
    net.run(secs(5));
    net.forget();
    net.lose(0, PacketType::LsAck, (0, 2));
    let prefixes = BTreeMap::from([(prefix("2001:db8:53::/64"), 1)]);
    net.command(2, Command::Advertise { prefixes, companion: Companion::None });
    net.run(secs(6));
    let sent = updates(&net, 2);
    let to: Vec<_> = sent.iter().map(|(dst, _)| *dst).collect();
    assert_eq!(to, vec![ospf_proto::consts::ALL_SPF_ROUTERS, net.address(0, 0), net.address(0, 0)]);
    assert!(net.engine(2).view().unacknowledged().is_empty());
}

#[test]
fn an_lsa_that_was_requested_and_comes_older_than_described_is_a_bad_ls_req() {
    // Router 0 in Exchange with router 1, which describes an LSA of which router 0 has an older instance.
    let mut net = pair();
    net.forge_lsas(0, (1, 0), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    net.run(secs(2));
    net.lose(1, PacketType::DbDesc, (0, 1_000_000));
    net.lose(0, PacketType::LsReq, (0, 1_000_000));
    net.command(0, Command::ClearNeighbor(None));
    net.run_until(secs(5), "ExStart", |net| net.state(0, 1) == Some(NeighborState::ExStart));
    let options = Options::V6 | Options::E | Options::R;
    let dd = |flags, sequence, headers| PacketBody::DbDesc(DbDesc { options, mtu: 1500, flags, sequence, headers });
    net.forge(0, (1, 0), dd(DdFlags::I | DdFlags::M | DdFlags::MS, 100, vec![]));
    let newer = strange_lsa(1, INITIAL_SEQUENCE + 5).header;
    net.forge(0, (1, 0), dd(DdFlags::M | DdFlags::MS, 101, vec![newer]));
    assert_eq!(net.state(0, 1), Some(NeighborState::Exchange));
    net.forge_lsas(0, (1, 0), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    assert_eq!(net.state(0, 1), Some(NeighborState::ExStart));
}

#[test]
fn the_same_instance_from_a_neighbor_that_owes_an_acknowledgment_is_one() {
    let mut net = pair();
    net.lose(1, PacketType::LsAck, (0, 100));
    let prefixes = BTreeMap::from([(prefix("2001:db8:53::/64"), 1)]);
    net.command(0, Command::Advertise { prefixes, companion: Companion::None });
    let pending = net.engine(0).view().unacknowledged();
    assert_eq!(pending.len(), 1);
    let lsa = net.lsa(0, &pending[0].key).unwrap();
    net.run(ms(300));
    net.forget();
    net.forge_lsas(0, (1, 0), vec![lsa]);
    assert!(net.engine(0).view().unacknowledged().is_empty());
    net.run(ms(500));
    assert!(acks(&net, 0).is_empty(), "an implied acknowledgment is not acknowledged");
}

#[test]
fn an_instance_older_than_ours_at_max_age_and_the_last_sequence_number_is_left_alone() {
    let mut net = pair();
    // Kept at MaxAge, as long as router 1 does not acknowledge it.
    net.forge_lsas(0, (1, 0), vec![strange_lsa(1, MAX_SEQUENCE)]);
    net.run(secs(2));
    assert!(holds(&net, 0, 1));
    let mut row = row();
    row.forge_lsas(0, (0, 1), vec![strange_lsa(1, MAX_SEQUENCE)]);
    row.run(secs(3));
    row.lose(2, PacketType::LsAck, (0, 1_000_000));
    row.forge_lsas(0, (0, 1), vec![strange_lsa(1, MAX_SEQUENCE).with_age(MAX_AGE)]);
    row.run(ms(300));
    assert_eq!(row.lsa(1, &strange(1)).map(|lsa| lsa.header.age), Some(MAX_AGE));
    row.forget();
    row.forge_lsas(0, (0, 1), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    assert!(updates(&row, 1).is_empty(), "the wrap must be completed first");
    assert!(acks(&row, 1).is_empty());
}

#[test]
fn what_comes_from_a_point_to_point_neighbor_is_not_flooded_back_but_acknowledged_late_and_on() {
    let mut net = row();
    net.forget();
    net.forge_lsas(0, (0, 1), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    let iface = net.iface(1, 1);
    assert!(!net.nodes[1].sent.is_empty());
    assert!(net.nodes[1].sent.iter().all(|(_, t)| t.iface == iface), "on, not back; and no acknowledgment yet");
    let start = net.now;
    net.run(secs(1));
    let late = net.packets(1).into_iter().find(|(_, _, b)| matches!(b, PacketBody::LsAck(_))).expect("acknowledged");
    assert!(late.0 > start && late.0.since(start) < secs(1), "within RxmtInterval");
}

#[test]
fn acknowledgments_held_back_are_gathered_into_one_packet() {
    let mut net = pair();
    net.forget();
    for id in 0..20 {
        net.forge_lsas(0, (1, 0), vec![strange_lsa(id, INITIAL_SEQUENCE)]);
    }
    net.run(secs(1));
    let packets = net.packets(0).into_iter().filter(|(_, _, b)| matches!(b, PacketBody::LsAck(_))).count();
    assert_eq!((packets, acks(&net, 0).len()), (1, 20), "each acknowledged, together");
}

#[test]
fn the_backup_acknowledges_what_the_dr_sent_and_nothing_that_the_dr_will_flood() {
    let mut net = lan(3);
    // A DROther's LSA reaches the Backup (router 1) first.
    net.forget();
    net.forge_lsas(0, (0, 1), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    net.run(ms(900));
    assert!(acks(&net, 1).is_empty() && updates(&net, 1).is_empty(), "the DR is to flood it");
    // The DR's LSA.
    net.run(secs(3));
    net.forget();
    net.forge_lsas(0, (2, 1), vec![strange_lsa(2, INITIAL_SEQUENCE)]);
    net.run(ms(500));
    assert_eq!(acks(&net, 1).len(), 1);
}

#[test]
fn the_dr_floods_back_what_a_dr_other_sent_and_a_dr_other_floods_nothing_back() {
    let mut net = lan(3);
    net.forget();
    net.forge_lsas(0, (0, 2), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    assert_eq!(updates(&net, 2).len(), 1);
    net.run(secs(2));
    net.forget();
    net.forge_lsas(0, (2, 0), vec![strange_lsa(2, INITIAL_SEQUENCE)]);
    net.run(ms(500));
    assert!(updates(&net, 0).is_empty());
    assert_eq!(acks(&net, 0).len(), 1);
}

#[test]
fn link_scope_stays_on_its_link_area_scope_in_its_area_and_as_scope_goes_everywhere() {
    // 0 - 1 in area 0, 1 - 2 in area 0 too, 1 - 3 in area 1.
    let mut net = Net::new(7);
    for _ in 0..4 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[1, 2], NetworkType::PointToPoint, |_, _| {});
    net.link(&[1, 3], NetworkType::PointToPoint, |_, config| config.area = ospf_proto::id::AreaId(1));
    net.start_all();
    net.run(secs(10));
    assert!(net.full(1, 2) && net.full(1, 3));
    for (ls_type, reached) in [(0x8abc, vec![1]), (0xaabc, vec![1, 2]), (0xcabc, vec![1, 2, 3])] {
        let lsa = raw_lsa(&area_key(LsType(ls_type), 1, 99), INITIAL_SEQUENCE, &[]);
        net.forge_lsas(0, (0, 1), vec![lsa]);
        net.run(secs(2));
        let held = |router: &usize| {
            let view = net.engine(*router).view();
            view.lsas().iter().any(|l| l.key.ls_type == LsType(ls_type))
        };
        assert_eq!((1..4).filter(held).collect::<Vec<_>>(), reached, "{ls_type:#x}");
    }
}

#[test]
fn the_same_contents_under_a_new_sequence_number_compute_nothing() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 2);
    let lsa = net.lsa(0, &key).unwrap();
    let header = LsaHeader { sequence: lsa.header.sequence + 1, age: 0, ..lsa.header };
    let next = Lsa::from_body_bytes(header, lsa.body_bytes()).unwrap();
    net.forget();
    net.forge_lsas(0, (1, 0), vec![next]);
    assert_eq!(net.lsa(0, &key).map(|lsa| lsa.header.sequence), Some(header.sequence), "installed");
    assert!(net.nodes[0].events.iter().all(|(_, e)| !matches!(e, Event::Spf { .. })));
}

#[test]
fn a_new_instance_takes_the_old_ones_place_in_the_database_and_on_the_retransmission_lists() {
    let mut net = pair();
    net.lose(1, PacketType::LsAck, (0, 1_000_000));
    let advertise = |net: &mut Net, metric| {
        let prefixes = BTreeMap::from([(prefix("2001:db8:53::/64"), metric)]);
        net.command(0, Command::Advertise { prefixes, companion: Companion::None });
    };
    advertise(&mut net, 1);
    net.run(secs(6));
    advertise(&mut net, 2);
    let pending = net.engine(0).view().unacknowledged();
    assert_eq!(pending.len(), 1, "one LSA, once");
    let old = net.lsa(0, &pending[0].key).unwrap().header;
    // An acknowledgment of the old instance settles nothing.
    let before = LsaHeader { sequence: old.sequence - 1, ..old };
    net.forge(0, (1, 0), PacketBody::LsAck(LsAck { headers: vec![before] }));
    assert_eq!(net.engine(0).view().unacknowledged().len(), 1);
    let copies = net.engine(0).view().lsas().iter().filter(|l| l.key == pending[0].key).count();
    assert_eq!(copies, 1);
}

#[test]
fn what_another_neighbor_floods_need_not_be_requested_any_more() {
    // 0 is in the midst of an exchange with 1 and is sent by 2 what 1 described.
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[0, 2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(10));
    net.lose(1, PacketType::DbDesc, (0, 1_000_000));
    net.lose(0, PacketType::LsReq, (0, 1_000_000));
    net.command(0, Command::ClearNeighbor(Some(rid(2))));
    net.run_until(secs(5), "ExStart", |net| net.state(0, 1) == Some(NeighborState::ExStart));
    let options = Options::V6 | Options::E | Options::R;
    let dd = |flags, sequence, headers| PacketBody::DbDesc(DbDesc { options, mtu: 1500, flags, sequence, headers });
    net.forge(0, (1, 0), dd(DdFlags::I | DdFlags::M | DdFlags::MS, 100, vec![]));
    net.forge(0, (1, 0), dd(DdFlags::MS, 101, vec![strange_lsa(1, INITIAL_SEQUENCE).header]));
    let of = |net: &Net| net.engine(0).view().neighbors().into_iter().find(|n| n.router == rid(2)).unwrap();
    assert_eq!(of(&net).requests, 1);
    net.forge_lsas(1, (2, 0), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    assert_eq!(of(&net).requests, 0);
    assert_eq!(of(&net).retransmissions, 0, "it has the same instance: nothing to send it");
}

#[test]
fn an_lsa_removed_from_the_database_is_off_every_retransmission_list() {
    let mut net = pair();
    net.lose(1, PacketType::LsAck, (0, 1_000_000));
    net.forge_lsas(0, (1, 0), vec![strange_lsa(1, INITIAL_SEQUENCE)]);
    net.set_link(0, 0, false);
    let link: Vec<LsaKey> =
        net.engine(0).view().lsas().iter().map(|l| l.key).filter(|k| matches!(k.domain, Domain::Link(_))).collect();
    assert_eq!(link, vec![], "the link's LSAs go with it");
    assert!(net.engine(0).view().unacknowledged().is_empty());
}

#[test]
fn the_age_grows_with_the_time_in_the_database_and_never_beyond_max_age() {
    let mut net = pair();
    net.forge_lsas(0, (1, 0), vec![strange_lsa(1, INITIAL_SEQUENCE).with_age(3500)]);
    net.run(secs(60));
    net.input(0, Input::Tick);
    assert_eq!(net.lsa(0, &strange(1)).map(|lsa| lsa.header.age), Some(3560));
    net.lose(1, PacketType::LsAck, (0, 1_000_000));
    net.run(secs(45));
    assert!(net.lsa(0, &strange(1)).is_none_or(|lsa| lsa.header.age == MAX_AGE));
}
