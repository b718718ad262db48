//! Rules of RFC 2328 §8 and RFC 5340 §4.2 that concern every packet: docs/conformance.md names these tests.

mod common;

use common::{Net, lan, pair, raw_lsa, rid, secs, strange};
use ospf_proto::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, INITIAL_SEQUENCE};
use ospf_proto::engine::NetworkType;
use ospf_proto::id::{AreaId, IfaceId};
use ospf_proto::lsa::{Lsa, Options};
use ospf_proto::packet::{Hello, LsUpd, Packet, PacketBody, PacketHeader, PacketType};
use ospf_proto::state::NeighborState;
use ospf_proto::wire::Reader;

/// A Hello of router 1 to router 0 of `pair`.
fn hello(options: Options) -> Hello {
    Hello {
        iface_id: IfaceId(1),
        priority: 1,
        options,
        hello_interval: 1,
        dead_interval: 4,
        dr: rid(0),
        bdr: rid(0),
        neighbors: vec![rid(1)],
    }
}

#[test]
fn on_a_point_to_point_link_every_packet_goes_to_all_spf_routers() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    // Both have something to describe when they meet.
    net.cut(0, 0, true);
    net.start_all();
    net.run(secs(10));
    net.cut(0, 0, false);
    net.lose(1, PacketType::LsAck, (0, 2));
    net.run(secs(20));
    let sent: Vec<_> = (0..2).flat_map(|router| net.packets(router)).collect();
    for kind in [PacketType::Hello, PacketType::DbDesc, PacketType::LsReq, PacketType::LsUpd, PacketType::LsAck] {
        assert!(sent.iter().any(|(_, _, body)| body.packet_type() == kind), "{kind} was sent");
    }
    assert!(sent.iter().all(|(_, dst, _)| *dst == ALL_SPF_ROUTERS));
}

#[test]
fn on_a_broadcast_link_hellos_are_multicast_and_the_exchange_goes_to_the_neighbor_alone() {
    let net = lan(3);
    for router in 0..3 {
        let others: Vec<_> = (0..3).filter(|r| *r != router).map(|r| net.address(r, 0)).collect();
        for (_, dst, body) in net.packets(router) {
            match body.packet_type() {
                PacketType::Hello => assert_eq!(dst, ALL_SPF_ROUTERS),
                PacketType::DbDesc | PacketType::LsReq => assert!(others.contains(&dst), "{body:?} to {dst}"),
                PacketType::LsUpd | PacketType::LsAck => {}
            }
        }
    }
}

#[test]
fn the_source_of_every_packet_is_the_link_local_address_of_its_interface() {
    let net = lan(3);
    for router in 0..3 {
        assert!(!net.nodes[router].sent.is_empty());
        assert!(net.nodes[router].sent.iter().all(|(_, t)| t.src == net.address(router, 0)));
    }
}

#[test]
fn a_packet_to_all_d_routers_is_taken_by_dr_and_backup_only() {
    let mut net = lan(4);
    for (router, takes) in [(0, false), (1, false), (2, true), (3, true)] {
        net.forget();
        // From the Backup or, to the Backup, from the DR: Full neighbors of all.
        let from = if router == 2 { 3 } else { 2 };
        let lsa = raw_lsa(&strange(router as u32), INITIAL_SEQUENCE, &[]);
        let header = PacketHeader { router_id: rid(from as u32 + 1), area_id: AreaId(0), instance_id: 0 };
        let body = PacketBody::LsUpd(LsUpd { lsas: vec![lsa], rejected: Vec::new() });
        let src = net.address(from, 0);
        let bytes = Packet { header, body }.encode(src, ALL_D_ROUTERS);
        let iface = net.iface(router, 0);
        net.inject(router, iface, (src, ALL_D_ROUTERS), &bytes);
        assert_eq!(net.drops(router), if takes { vec![] } else { vec!["destination"] }, "router {router}");
        let held = net.lsa(router, &strange(router as u32)).is_some();
        assert_eq!(held, takes, "router {router}");
    }
}

#[test]
fn our_own_multicast_come_back_is_passed_over() {
    let mut net = pair();
    net.run(secs(10));
    let before = net.area_lsdb(0);
    let own: Vec<_> = net.nodes[0].sent.iter().map(|(_, t)| t.clone()).collect();
    assert!(!own.is_empty());
    net.forget();
    for transmit in own {
        net.inject(0, transmit.iface, (transmit.src, transmit.dst), &transmit.bytes);
    }
    assert!(net.drops(0).iter().all(|label| *label == "own_router_id"), "{:?}", net.drops(0));
    assert!(!net.engine(0).view().duplicate_router_id());
    assert!(net.nodes[0].sent.is_empty());
    assert_eq!(net.area_lsdb(0), before);
    assert!(net.full(0, 1));
}

#[test]
fn unknown_option_bits_in_a_hello_are_ignored() {
    let known = Options::V6 | Options::E | Options::R;
    for extra in [Options::MC, Options::DC, Options::AF, Options::from_bits_retain(0x0080_0000)] {
        let mut net = pair();
        net.forget();
        net.forge(0, (1, 0), PacketBody::Hello(hello(known | extra)));
        assert!(net.drops(0).is_empty(), "{extra:?}: {:?}", net.drops(0));
        assert!(net.full(0, 1));
    }
}

#[test]
fn our_hellos_and_database_descriptions_carry_the_options_of_our_area_and_no_unknown_bit() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.server();
    net.broadcast(&[0, 1]);
    net.start_all();
    net.run(secs(15));
    for (router, options) in [(0, Options::V6 | Options::E | Options::R), (1, Options::V6 | Options::E)] {
        let mut seen = 0;
        for (_, _, body) in net.packets(router) {
            match body {
                PacketBody::Hello(hello) => assert_eq!(hello.options, options),
                PacketBody::DbDesc(dd) => assert_eq!(dd.options, options),
                _ => continue,
            }
            seen += 1;
        }
        assert!(seen > 5);
    }
}

#[test]
fn a_packet_of_another_instance_or_area_is_discarded_even_if_it_is_a_hello() {
    for (area, instance, label) in [(1, 0, "area"), (0, 1, "instance")] {
        let mut net = pair();
        net.forget();
        let header = PacketHeader { router_id: rid(9), area_id: AreaId(area), instance_id: instance };
        let body = PacketBody::Hello(hello(Options::V6 | Options::E | Options::R));
        let src = "fe80::99".parse().unwrap();
        let bytes = Packet { header, body }.encode(src, ALL_SPF_ROUTERS);
        let iface = net.iface(0, 0);
        net.inject(0, iface, (src, ALL_SPF_ROUTERS), &bytes);
        assert_eq!(net.drops(0), vec![label]);
        assert_eq!(net.engine(0).view().neighbors().len(), 1);
        assert_eq!(net.state(0, 1), Some(NeighborState::Full));
    }
}

#[test]
fn a_checksum_of_zero_is_a_failure_even_where_the_sums_come_out_right() {
    // Modulo 255 a check byte of 0 is as good as one of 255: of an LSA with the checksum 0xffff the sums are right
    // with 0 in its place, too.
    let key = strange(1);
    let bodies = (0..=u16::MAX).map(|n| n.to_be_bytes());
    let lsa = bodies.map(|body| raw_lsa(&key, INITIAL_SEQUENCE, &[body[0], body[1], 0, 0]));
    let lsa = lsa.into_iter().find(|lsa| lsa.header.checksum == 0xffff).expect("one of 65,536");
    let decode = |bytes: &[u8]| Lsa::decode(&mut Reader::new(bytes)).map(|lsa| lsa.header.checksum);
    assert_eq!(decode(&lsa.raw), Ok(0xffff));
    let mut zero = lsa.raw.to_vec();
    zero[16..18].fill(0);
    assert!(decode(&zero).is_err());
}
