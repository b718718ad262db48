//! Designated Router and Backup in a network: who becomes what, and what happens when they go.

mod common;

use common::{Net, area_key, assert_exact, lan, ms, rid, secs};
use ospf_proto::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use ospf_proto::engine::NetworkType;
use ospf_proto::lsa::{LsType, LsaBody};
use ospf_proto::packet::PacketBody;
use ospf_proto::state::{IfaceState, NeighborState};

fn agree(net: &Net, routers: &[usize], dr: u32, bdr: u32) {
    for router in routers {
        assert_eq!(net.elected(*router, 0), (dr, bdr), "as router {router} sees it");
    }
}

/// The routers that the Network-LSA of router `dr` lists, at router `at`.
fn attached(net: &Net, at: usize, dr: u32) -> Option<Vec<u32>> {
    let lsa = net.lsa(at, &area_key(LsType::NETWORK, 1, dr)).filter(|lsa| !lsa.is_max_age())?;
    match lsa.body {
        LsaBody::Network(body) => {
            let mut ids: Vec<u32> = body.attached.iter().map(|r| r.0).collect();
            ids.sort_unstable();
            Some(ids)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn four_routers_are_dr_backup_and_two_others_that_are_not_adjacent() {
    let net = lan(4);
    agree(&net, &[0, 1, 2, 3], 4, 3);
    let states: Vec<IfaceState> = (0..4).map(|r| net.iface_state(r, 0)).collect();
    assert_eq!(states, [IfaceState::DrOther, IfaceState::DrOther, IfaceState::Backup, IfaceState::Dr]);
    assert_eq!((net.state(0, 1), net.state(1, 0)), (Some(NeighborState::TwoWay), Some(NeighborState::TwoWay)));
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        assert!(net.full(a, b), "{a} {b}");
    }
    assert_eq!(attached(&net, 0, 4), Some(vec![1, 2, 3, 4]));
    net.assert_synchronised(&[0, 1, 2, 3]);
    assert_exact(&net);
}

#[test]
fn the_three_kinds_send_updates_and_acknowledgments_where_rfc_2328_13_3_and_13_5_say() {
    let mut net = lan(3);
    net.run(secs(10));
    for (router, update_to) in [(0, ALL_D_ROUTERS), (1, ALL_SPF_ROUTERS), (2, ALL_SPF_ROUTERS)] {
        net.forget();
        let extra = common::prefix(&format!("2001:db8:{}::/64", 70 + router));
        net.command(
            router,
            ospf_proto::engine::Command::Advertise {
                prefixes: [(extra, 1)].into(),
                companion: ospf_proto::engine::Companion::None,
            },
        );
        net.run(secs(3));
        let mut updates = Vec::new();
        let mut acks = Vec::new();
        for r in 0..3 {
            for (_, dst, body) in net.packets(r) {
                match body {
                    PacketBody::LsUpd(_) => updates.push((r, dst)),
                    PacketBody::LsAck(_) => acks.push((r, dst)),
                    _ => {}
                }
            }
        }
        // The DR floods back what a DROther sent (its update is the acknowledgment), but nothing that came from the
        // Backup: that went to all. And nothing is sent twice.
        let mut expected = vec![(router, update_to)];
        if router == 0 {
            expected.push((2, ALL_SPF_ROUTERS));
        }
        expected.sort_unstable();
        assert_eq!(updates, expected, "updates for an LSA of router {router}");
        let expected = match router {
            0 => vec![(1, ALL_SPF_ROUTERS)],
            1 => vec![(0, ALL_D_ROUTERS), (2, ALL_SPF_ROUTERS)],
            _ => vec![(0, ALL_D_ROUTERS), (1, ALL_SPF_ROUTERS)],
        };
        assert_eq!(acks, expected, "acknowledgments of an LSA of router {router}");
        assert!((0..3).all(|r| net.engine(r).view().unacknowledged().is_empty()));
    }
}

#[test]
fn a_newcomer_of_highest_priority_displaces_nobody_and_need_not_wait() {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1, 2], NetworkType::Broadcast, |router, config| config.priority = if router == 2 { 200 } else { 1 });
    net.start(0);
    net.start(1);
    net.run(secs(15));
    agree(&net, &[0, 1], 2, 1);
    net.start(2);
    let took = net.run_until(secs(5), "full", |net| net.full(2, 0) && net.full(2, 1));
    assert!(took < secs(3), "BackupSeen ends the waiting: {took:?}");
    net.run(secs(5));
    agree(&net, &[0, 1, 2], 2, 1);
    assert_eq!(net.iface_state(2, 0), IfaceState::DrOther);
}

#[test]
fn a_lonely_dr_is_seen_by_a_newcomer_that_becomes_backup_at_once() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    net.broadcast(&[0, 1]);
    net.start(0);
    net.run(secs(8));
    assert_eq!(net.iface_state(0, 0), IfaceState::Dr);
    net.start(1);
    let took = net.run_until(secs(5), "full", |net| net.full(0, 1));
    assert!(took < secs(3), "{took:?}");
    net.run(secs(3));
    agree(&net, &[0, 1], 1, 2);
}

#[test]
fn the_backup_takes_over_from_a_dead_dr_with_its_adjacencies_and_a_new_backup_is_elected() {
    let mut net = lan(4);
    net.forget();
    net.kill(3);
    let took = net.run_until(secs(5), "promoted", |net| net.iface_state(2, 0) == IfaceState::Dr);
    assert!(took <= ms(4100), "{took:?}");
    net.run(secs(5));
    agree(&net, &[0, 1, 2], 3, 2);
    assert_eq!(attached(&net, 0, 3), Some(vec![1, 2, 3]));
    assert!(net.full(0, 2) && net.full(1, 2) && net.full(0, 1));
    net.assert_synchronised(&[0, 1, 2]);
    net.start(3);
    net.run(secs(10));
    agree(&net, &[0, 1, 2, 3], 3, 2);
    assert_eq!(attached(&net, 0, 4), None, "its Network-LSA of a former life is flushed");
    assert_eq!(attached(&net, 3, 3), Some(vec![1, 2, 3, 4]));
    net.assert_synchronised(&[0, 1, 2, 3]);
    assert_exact(&net);
}

#[test]
fn a_dead_backup_is_replaced_and_the_dr_stays() {
    let mut net = lan(4);
    net.kill(2);
    net.run(secs(10));
    agree(&net, &[0, 1, 3], 4, 2);
    assert!(net.full(0, 1), "the new Backup is adjacent to all");
    net.assert_synchronised(&[0, 1, 3]);
}

#[test]
fn dr_and_backup_dead_at_once_leave_a_working_link() {
    let mut net = lan(4);
    net.kill(2);
    net.kill(3);
    net.run(secs(12));
    agree(&net, &[0, 1], 2, 1);
    assert!(net.full(0, 1));
    net.assert_synchronised(&[0, 1]);
}

#[test]
fn routers_of_priority_zero_alone_have_no_dr_and_no_adjacency_and_take_the_first_that_is_eligible() {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1, 2], NetworkType::Broadcast, |router, config| config.priority = u8::from(router == 2));
    net.start(0);
    net.start(1);
    net.run(secs(15));
    agree(&net, &[0, 1], 0, 0);
    assert_eq!(net.state(0, 1), Some(NeighborState::TwoWay));
    assert!(net.engine(0).view().ready(), "the link proved to have nobody to be adjacent to");
    net.start(2);
    net.run_until(secs(8), "adjacent", |net| net.full(0, 2) && net.full(1, 2));
    net.run(secs(5));
    agree(&net, &[0, 1, 2], 3, 0);
    net.assert_synchronised(&[0, 1, 2]);
}

#[test]
fn two_drs_of_a_mended_link_become_one_and_the_loser_flushes_its_network_lsa() {
    let mut net = lan(4);
    net.cut(0, 3, true);
    net.run(secs(12));
    assert_eq!(net.iface_state(3, 0), IfaceState::Dr);
    agree(&net, &[0, 1, 2], 3, 2);
    net.cut(0, 3, false);
    net.run(secs(12));
    agree(&net, &[0, 1, 2, 3], 4, 2);
    assert_eq!(attached(&net, 0, 3), None);
    assert_eq!(attached(&net, 0, 4), Some(vec![1, 2, 3, 4]));
    net.assert_synchronised(&[0, 1, 2, 3]);
    assert_exact(&net);
}

#[test]
fn a_dr_that_restarts_as_priority_zero_flushes_the_network_lsa_of_its_former_life() {
    let mut net = lan(3);
    net.kill(2);
    net.run(ms(500));
    net.nodes[2].config.interfaces[0].priority = 0;
    net.start(2);
    net.run(secs(12));
    agree(&net, &[0, 1, 2], 2, 1);
    assert_eq!(attached(&net, 0, 3), None);
    assert_eq!(attached(&net, 2, 2), Some(vec![1, 2, 3]));
    net.assert_synchronised(&[0, 1, 2]);
}

#[test]
fn only_dr_and_backup_listen_to_all_d_routers() {
    let mut net = lan(3);
    net.forget();
    for (router, heard) in [(0, false), (1, true), (2, true)] {
        let iface = net.iface(router, 0);
        let src = net.address((router + 1) % 3, 0);
        net.inject(router, iface, (src, ALL_D_ROUTERS), &[3, 1, 0, 16]);
        assert_eq!(net.drops(router), vec![if heard { "malformed" } else { "destination" }]);
    }
    net.kill(2);
    net.run(secs(6));
    net.forget();
    let (iface, src) = (net.iface(0, 0), net.address(1, 0));
    net.inject(0, iface, (src, ALL_D_ROUTERS), &[3, 1, 0, 16]);
    assert_eq!(net.drops(0), vec!["malformed"], "Backup now");
    assert_eq!(net.elected(0, 0), (rid(2).0, rid(1).0));
}
