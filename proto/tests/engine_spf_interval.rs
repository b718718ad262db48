//! `Config::spf_interval`: how often SPF runs in a burst of changes, and when.

#![allow(clippy::indexing_slicing)]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Net, area_key, assert_exact, ms, prefix, raw_lsa, secs};
use ospf_proto::{
    consts::INITIAL_SEQUENCE,
    ctx::Event,
    engine::{Command, Companion, NetworkType},
    lsa::{LsType, Options},
    time::Instant,
};

const INTERVAL: Duration = Duration::from_secs(3);

/// Two routers, Full and quiet; SPF of router 0 is held to the interval.
fn pair(interval: Duration) -> Net {
    let mut net = Net::new(7);
    net.router(|config| config.spf_interval = interval);
    net.router(|_| {});
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run_until(secs(5), "full", |net| net.full(0, 1));
    net.run(secs(10));
    net.forget();
    net
}

/// A router that nobody has heard of yet says something: router 0 hears of it now, and its graph changes.
fn change_graph(net: &mut Net, stranger: u32) {
    let options = Options::V6 | Options::E | Options::R;
    let lsa = raw_lsa(&area_key(LsType::ROUTER, 0, stranger), INITIAL_SEQUENCE, &options.bits().to_be_bytes());
    net.forge_lsas(0, (1, 0), vec![lsa]);
}

/// When SPF ran at router 0.
fn runs(net: &Net) -> Vec<Instant> {
    let spf = |(at, event): &(Instant, Event)| matches!(event, Event::Spf { .. }).then_some(*at);
    net.nodes[0].events.iter().filter_map(spf).collect()
}

/// Changes 10 ms apart; says when the first was.
fn burst(net: &mut Net, strangers: std::ops::Range<u32>) -> Instant {
    let first = net.now;
    for stranger in strangers {
        change_graph(net, stranger);
        net.run(ms(10));
    }
    first
}

#[test]
fn without_an_interval_every_change_is_followed_at_once() {
    let mut net = pair(Duration::ZERO);
    let first = burst(&mut net, 10..15);
    assert_eq!(runs(&net), (0..5).map(|n| first + ms(10 * n)).collect::<Vec<_>>());
}

#[test]
fn after_a_quiet_spell_the_first_change_is_followed_at_once_and_the_rest_of_a_burst_by_one_run() {
    let mut net = pair(INTERVAL);
    let first = burst(&mut net, 10..15);
    assert_eq!(runs(&net), [first], "the others wait");
    net.run(INTERVAL * 3);
    assert_eq!(runs(&net), [first, first + INTERVAL], "once for all that waited, and not again for nothing");
    assert_exact(&net);
    // Quiet again, so the next one is the first.
    net.forget();
    let again = burst(&mut net, 20..21);
    assert_eq!(runs(&net), [again]);
}

#[test]
fn changes_without_end_do_not_put_the_run_off_and_it_comes_once_per_interval() {
    let mut net = pair(INTERVAL);
    let first = burst(&mut net, 10..10 + 1000);
    assert_eq!(runs(&net), (0..4).map(|n| first + INTERVAL * n).collect::<Vec<_>>());
    net.run(INTERVAL);
    assert_exact(&net);
}

#[test]
fn routes_that_wait_for_spf_are_those_of_the_whole_burst_after_it() {
    let mut net = pair(INTERVAL);
    assert!(net.nodes[0].routes.contains_key(&common::prefix("2001:db8::/64")));
    change_graph(&mut net, 10);
    net.run(ms(10));
    // The only neighbor goes, within the interval.
    net.set_link(1, 0, false);
    net.set_link(0, 0, false);
    let before = net.nodes[0].routes.clone();
    net.run(INTERVAL - ms(100));
    assert_eq!(net.nodes[0].routes, before, "held back");
    net.run(ms(100));
    assert_eq!(runs(&net).len(), 2);
    assert_exact(&net);
    assert!(net.nodes[0].routes.is_empty(), "{:?}", net.nodes[0].routes);
}

#[test]
fn a_prefix_does_not_wait_for_a_tree_that_is_held_back() {
    let mut net = pair(INTERVAL);
    let anycast = prefix("2001:db8:53::53/128");
    let advertise = |net: &mut Net, metric| {
        let prefixes = BTreeMap::from([(anycast, metric)]);
        net.command(1, Command::Advertise { prefixes, companion: Companion::None });
        net.run(ms(20));
    };
    advertise(&mut net, 5);
    let distance = |net: &Net| net.nodes[0].routes.get(&anycast).map(|route| route.distance);
    let near = distance(&net).expect("a route");
    net.run(secs(10));
    net.forget();
    let first = burst(&mut net, 10..12);
    advertise(&mut net, 8);
    assert_eq!(runs(&net), [first], "the second change of the graph still waits");
    assert_eq!(distance(&net), Some(near + 3));
    net.run(INTERVAL);
    assert_exact(&net);
}
