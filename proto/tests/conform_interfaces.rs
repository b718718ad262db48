//! Rules of RFC 2328 §9 and §10.5 on interfaces and Hellos: docs/conformance.md names these tests.

mod common;

use common::{Net, lan, ms, pair, prefix, rid, secs};
use ospf_proto::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use ospf_proto::ctx::{Event, Timer};
use ospf_proto::engine::NetworkType;
use ospf_proto::id::IfaceId;
use ospf_proto::lsa::Options;
use ospf_proto::packet::{Hello, PacketBody, PacketType};
use ospf_proto::state::{IfaceState, NeighborState};

#[test]
fn an_interface_comes_up_in_the_state_that_its_type_and_priority_call_for() {
    for (kind, priority, passive, state) in [
        (NetworkType::PointToPoint, 1, false, IfaceState::PointToPoint),
        (NetworkType::Broadcast, 1, false, IfaceState::Waiting),
        (NetworkType::Broadcast, 0, false, IfaceState::DrOther),
        (NetworkType::Broadcast, 1, true, IfaceState::Loopback),
    ] {
        let mut net = Net::new(7);
        net.router(|_| {});
        net.link(&[0], kind, |_, config| {
            config.priority = priority;
            config.passive = passive;
        });
        net.start_all();
        assert_eq!(net.iface_state(0, 0), state);
    }
}

#[test]
fn nobody_is_elected_before_the_wait_timer_fires_after_the_dead_interval() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    net.broadcast(&[0, 1]);
    net.start_all();
    net.run(ms(3900));
    for router in 0..2 {
        assert_eq!(net.iface_state(router, 0), IfaceState::Waiting);
        assert_eq!(net.elected(router, 0), (0, 0));
        assert_eq!(net.state(router, 1 - router), Some(NeighborState::TwoWay));
        let hello = net.last_hello(router);
        assert_eq!((hello.dr, hello.bdr), (rid(0), rid(0)), "no claim while waiting");
    }
    net.run(ms(200));
    assert_eq!((net.elected(0, 0).0, net.elected(1, 0).0), (2, 2));
}

#[test]
fn an_interface_that_goes_down_forgets_neighbors_timers_groups_and_designated_routers() {
    let mut net = lan(3);
    assert_eq!(net.iface_state(2, 0), IfaceState::Dr);
    net.forget();
    net.set_link(2, 0, false);
    assert_eq!(net.iface_state(2, 0), IfaceState::Down);
    assert_eq!(net.elected(2, 0), (0, 0));
    assert!(net.engine(2).view().neighbors().is_empty());
    let killed = net.nodes[2].events.iter();
    let down = killed.filter(|(_, e)| matches!(e, Event::NeighborState { to: NeighborState::Down, .. })).count();
    assert_eq!(down, 2, "KillNbr for each");
    net.run(secs(60));
    assert!(net.packets(2).is_empty(), "not a packet");
    let timer = net.engine(2).next_timer().map(|(_, timer)| timer);
    assert!(matches!(timer, None | Some(Timer::Refresh(_) | Timer::Expiry)), "{timer:?}");
}

#[test]
fn a_passive_interface_sends_and_takes_nothing_and_its_prefixes_are_advertised() {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[0, 2], NetworkType::Broadcast, |router, config| config.passive = router == 0);
    net.start_all();
    net.run(secs(20));
    let passive = net.iface(0, 1);
    assert!(net.nodes[0].sent.iter().all(|(_, t)| t.iface != passive));
    assert_eq!((net.state(0, 2), net.state(2, 0)), (None, None));
    assert!(net.nodes[1].routes.contains_key(&prefix("2001:db8:0:1::/64")));
}

#[test]
fn hellos_go_out_every_hello_interval_and_carry_our_parameters_and_whom_we_hear() {
    let mut net = lan(3);
    net.run(secs(5));
    net.forget();
    net.run(secs(10));
    for router in 0..3 {
        let hellos: Vec<_> =
            net.packets(router).into_iter().filter(|(_, _, b)| b.packet_type() == PacketType::Hello).collect();
        assert!((10..=11).contains(&hellos.len()), "{}", hellos.len());
        assert!(hellos.windows(2).all(|w| w[1].0.since(w[0].0) == secs(1)));
        let hello = net.last_hello(router);
        assert_eq!((hello.iface_id, hello.priority), (net.iface(router, 0), 1));
        assert_eq!((hello.hello_interval, hello.dead_interval), (1, 4));
        assert_eq!((hello.dr, hello.bdr), (rid(3), rid(2)));
        let mut heard: Vec<u32> = hello.neighbors.iter().map(|r| r.0).collect();
        heard.sort_unstable();
        let others: Vec<u32> = (1..=3).filter(|r| *r != router as u32 + 1).collect();
        assert_eq!(heard, others);
    }
}

#[test]
fn a_neighbor_that_changes_its_priority_or_its_claim_leads_to_an_election() {
    // The Backup gives up its priority: seen by the others, who elect anew at once.
    let mut net = lan(3);
    let hello = net.last_hello(1);
    net.forge(0, (1, 0), PacketBody::Hello(Hello { priority: 0, ..hello.clone() }));
    assert_eq!(net.elected(0, 0), (3, 1), "the only one left that may be Backup");
    // The DR claims to be it no longer.
    let mut net = lan(3);
    let hello = net.last_hello(2);
    net.forge(0, (2, 0), PacketBody::Hello(Hello { dr: rid(0), bdr: rid(0), ..hello }));
    assert_eq!(net.elected(0, 0).0, 2, "the Backup is promoted");
    // A Hello that says the same again leads to nothing.
    let mut net = lan(3);
    let hello = net.last_hello(1);
    net.forget();
    net.forge(0, (1, 0), PacketBody::Hello(hello));
    assert!(net.nodes[0].events.is_empty());
}

#[test]
fn a_hello_that_does_not_name_us_breaks_the_adjacency_off_but_the_neighbor_is_remembered() {
    let mut net = pair();
    let hello = net.last_hello(1);
    net.forget();
    net.forge(0, (1, 0), PacketBody::Hello(Hello { neighbors: vec![], ..hello }));
    assert_eq!(net.state(0, 1), Some(NeighborState::Init));
    assert!(net.packets(0).iter().any(|(_, _, b)| matches!(b, PacketBody::Hello(h) if h.neighbors == [rid(2)])));
    net.run_until(secs(5), "full again", |net| net.full(0, 1));
}

#[test]
fn two_that_may_not_become_dr_do_not_answer_each_other_at_once() {
    let mut net = Net::new(7);
    let all: Vec<usize> = (0..3).map(|_| net.router(|_| {})).collect();
    // The first may become DR, the other two not.
    net.link(&all, NetworkType::Broadcast, |router, config| config.priority = u8::from(router == 0));
    net.start_all();
    net.run(secs(6));
    let said = [0, 2].map(|router| net.last_hello(router));
    net.forget();
    let hellos = |net: &Net| net.hellos(1).len();
    let [elected, ineligible] = said;
    for (from, hello, answers) in [(2, ineligible, 0), (0, elected, 1)] {
        net.forge(0, (from, 1), PacketBody::Hello(Hello { neighbors: vec![], ..hello }));
        assert_eq!(hellos(&net), answers, "to router {from}");
        assert_eq!(net.state(1, from), Some(NeighborState::Init));
    }
}

#[test]
fn a_new_neighbor_is_init_until_it_names_us() {
    let mut net = lan(2);
    let options = Options::V6 | Options::E | Options::R;
    let hello = Hello {
        iface_id: IfaceId(7),
        priority: 3,
        options,
        hello_interval: 1,
        dead_interval: 4,
        dr: rid(2),
        bdr: rid(1),
        neighbors: vec![],
    };
    let real = net.nodes[1].config.router_id;
    net.nodes[1].config.router_id = rid(9);
    net.forge(0, (1, 0), PacketBody::Hello(hello.clone()));
    let state = |net: &Net| net.engine(0).view().neighbors().into_iter().find(|n| n.router == rid(9));
    let seen = state(&net).expect("heard");
    assert_eq!(seen.state, NeighborState::Init);
    assert_eq!((seen.neighbor_iface, seen.priority, seen.dr, seen.bdr), (IfaceId(7), 3, rid(2), rid(1)));
    assert_eq!((seen.address, seen.options), (net.address(1, 0), options));
    net.forge(0, (1, 0), PacketBody::Hello(Hello { neighbors: vec![rid(1)], ..hello.clone() }));
    assert!(state(&net).is_some_and(|n| n.state >= NeighborState::TwoWay));
    net.nodes[1].config.router_id = real;
    net.run(ms(3900));
    assert!(state(&net).is_some());
    net.run(ms(200));
    assert!(state(&net).is_none(), "not heard for RouterDeadInterval");
}

#[test]
fn who_becomes_dr_or_backup_joins_all_d_routers_and_leaves_it_when_it_is_neither() {
    let mut net = lan(4);
    let reaches = |net: &mut Net, router: usize| {
        // A DROther's update goes to AllDRouters: who acknowledges or floods it has joined.
        let groups: Vec<_> = [ALL_SPF_ROUTERS, ALL_D_ROUTERS]
            .into_iter()
            .filter(|group| net.joined(router, net.iface(router, 0), *group))
            .collect();
        groups.len()
    };
    assert_eq!((0..4).map(|r| reaches(&mut net, r)).collect::<Vec<_>>(), vec![1, 1, 2, 2]);
    net.kill(3);
    net.run(secs(10));
    assert_eq!((0..3).map(|r| reaches(&mut net, r)).collect::<Vec<_>>(), vec![1, 2, 2]);
    net.set_link(2, 0, false);
    assert_eq!(reaches(&mut net, 2), 0, "down: neither group");
}
