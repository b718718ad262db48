//! Our own LSAs in a network: what makes them change, former lives, sequence numbers, leaving.

mod common;

use std::collections::BTreeMap;

use common::{Net, area_key, assert_exact, lan, ms, pair, prefix, raw_lsa, rid, secs};
use ospf_proto::consts::MAX_SEQUENCE;
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Companion, NetworkType};
use ospf_proto::lsa::{LsType, LsaBody};
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
    link.addresses.clear();
    net.tell_link(server, 0, link);
    net.run(secs(10));
    assert!(net.packets(server).is_empty(), "not a word after the goodbye");
    assert_eq!(net.state(router, server), None);
}
