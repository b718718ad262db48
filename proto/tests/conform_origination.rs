//! Rules of RFC 2328 §12.4 and RFC 5340 §4.4.3 on what we originate, and RFC 7770: docs/conformance.md names these tests.

mod common;

use common::{Net, area_key, assert_exact, lan, ms, pair, prefix, raw_lsa, rid, secs};
use ospf_proto::consts::{INITIAL_SEQUENCE, MAX_AGE};
use ospf_proto::ctx::Event;
use ospf_proto::engine::{Command, Companion, NetworkType};
use ospf_proto::id::{Domain, IfaceId, LinkStateId, LsaKey};
use ospf_proto::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, PrefixOptions,
    RouterLink, RouterLinkType, RouterLsa, Tlv,
};
use ospf_proto::packet::PacketBody;

fn router_lsa(net: &Net, at: usize, router: u32) -> RouterLsa {
    match net.lsa(at, &area_key(LsType::ROUTER, 0, router)).map(|lsa| lsa.body) {
        Some(LsaBody::Router(body)) => body,
        other => panic!("no Router-LSA: {other:?}"),
    }
}

fn network_lsa(net: &Net, at: usize, dr: u32) -> Option<NetworkLsa> {
    let lsa = net.lsa(at, &area_key(LsType::NETWORK, 1, dr)).filter(|lsa| !lsa.is_max_age())?;
    if let LsaBody::Network(body) = lsa.body { Some(body) } else { None }
}

/// The Intra-Area-Prefix-LSAs of a router that refer to this LS type, as another has them.
fn prefix_lsas(net: &Net, at: usize, router: u32, refers_to: LsType) -> Vec<IntraAreaPrefixLsa> {
    let view = net.engine(at).view();
    let lsas = view.lsas().into_iter().filter(|l| l.key.adv_router == rid(router) && l.age < MAX_AGE);
    lsas.filter_map(|l| match &l.lsa.body {
        LsaBody::IntraAreaPrefix(body) if body.referenced_type == refers_to => Some(body.clone()),
        _ => None,
    })
    .collect()
}

fn link_lsa(net: &Net, at: usize, router: usize) -> LinkLsa {
    let view = net.engine(at).view();
    let found =
        view.lsas().into_iter().find(|l| l.key.ls_type == LsType::LINK && l.key.adv_router == rid(router as u32 + 1));
    match found.map(|found| &found.lsa.body) {
        Some(LsaBody::Link(body)) => body.clone(),
        other => panic!("no Link-LSA: {other:?}"),
    }
}

/// Delivers a Link-LSA of router 0 (of Interface ID `id`) with these prefixes to the DR of `lan(3)`, router 2.
fn link_lsa_to_the_dr(net: &mut Net, id: u32, prefixes: Vec<LsaPrefix>) {
    forge_link_lsa(net, id, Options::V6 | Options::E | Options::R, prefixes);
}

/// The same with these options.
fn forge_link_lsa(net: &mut Net, id: u32, options: Options, prefixes: Vec<LsaPrefix>) {
    let header = LsaHeader {
        ls_type: LsType::LINK,
        link_state_id: LinkStateId(id),
        adv_router: rid(1),
        sequence: INITIAL_SEQUENCE + 50,
        ..LsaHeader::default()
    };
    let body = LinkLsa { priority: 1, options, link_local: net.address(0, 0), prefixes };
    net.run(secs(2));
    net.forge_lsas(0, (0, 2), vec![Lsa::build(header, LsaBody::Link(body))]);
}

fn link_prefix(text: &str, options: PrefixOptions) -> LsaPrefix {
    LsaPrefix { prefix: prefix(text), options, metric: 0 }
}

/// What the DR of `lan(3)` tells of its link.
fn told(net: &Net) -> Vec<LsaPrefix> {
    prefix_lsas(net, 2, 3, LsType::NETWORK).into_iter().flat_map(|body| body.prefixes).collect()
}

#[test]
fn a_dr_copies_no_prefix_that_is_link_local_or_has_the_nu_or_la_bit() {
    let mut net = lan(3);
    let none = PrefixOptions::empty();
    let prefixes = vec![
        link_prefix("fe80::/64", none),
        link_prefix("2001:db8:1::/64", PrefixOptions::NU),
        link_prefix("2001:db8:2::1/128", PrefixOptions::LA),
        link_prefix("2001:db8:3::/64", none),
    ];
    // Router 0 would outrun this at once: it is deaf for the moment.
    net.cut(0, 0, true);
    link_lsa_to_the_dr(&mut net, 1, prefixes);
    net.run(secs(1));
    let names: Vec<_> = told(&net).iter().map(|p| p.prefix).collect();
    assert!(names.contains(&prefix("2001:db8:3::/64")), "{names:?}");
    for wrong in ["fe80::/64", "2001:db8:1::/64", "2001:db8:2::1/128"] {
        assert!(!names.contains(&prefix(wrong)), "{wrong}: {names:?}");
    }
}

#[test]
fn a_dr_merges_the_options_of_a_prefix_that_several_routers_list() {
    let mut net = lan(3);
    let shared = prefix("2001:db8::/64");
    assert_eq!(told(&net), vec![LsaPrefix { prefix: shared, options: PrefixOptions::empty(), metric: 0 }]);
    net.cut(0, 0, true);
    link_lsa_to_the_dr(&mut net, 1, vec![link_prefix("2001:db8::/64", PrefixOptions::P)]);
    net.run(secs(1));
    assert_eq!(told(&net), vec![LsaPrefix { prefix: shared, options: PrefixOptions::P, metric: 0 }]);
}

#[test]
fn a_dr_takes_over_the_options_of_a_link_lsa_that_changed_in_nothing_else() {
    let mut net = lan(3);
    net.cut(0, 0, true);
    let prefixes = vec![link_prefix("2001:db8::/64", PrefixOptions::empty())];
    let network_options = |net: &Net| {
        let lsas = net.engine(2).view().lsas();
        lsas.iter().find_map(|found| match &found.lsa.body {
            LsaBody::Network(body) => Some(body.options),
            _ => None,
        })
    };
    let usual = Options::V6 | Options::E | Options::R;
    assert_eq!((network_options(&net), link_lsa(&net, 2, 0).prefixes), (Some(usual), prefixes.clone()));
    forge_link_lsa(&mut net, 1, usual | Options::DC, prefixes);
    net.run(secs(1));
    assert_eq!(network_options(&net), Some(usual | Options::DC));
}

#[test]
fn a_dr_copies_no_link_lsa_of_another_interface_id_than_the_neighbors() {
    let mut net = lan(3);
    net.cut(0, 0, true);
    link_lsa_to_the_dr(&mut net, 42, vec![link_prefix("2001:db8:4::/64", PrefixOptions::empty())]);
    net.run(secs(1));
    assert!(told(&net).iter().all(|p| p.prefix == prefix("2001:db8::/64")), "{:?}", told(&net));
}

#[test]
fn an_address_of_ours_on_a_transit_link_is_advertised_by_us_and_not_by_the_dr() {
    let mut net = lan(3);
    let host = prefix("2001:db8:9::1/128");
    let mut link = net.link_state(0, 0);
    link.prefixes.push(host);
    net.tell_link(0, 0, link);
    net.run(secs(12));
    let listed = link_lsa(&net, 2, 0).prefixes.into_iter().find(|p| p.prefix == host).expect("in the Link-LSA");
    assert_eq!(listed.options, PrefixOptions::LA);
    assert!(told(&net).iter().all(|p| p.prefix != host), "it is not on the link");
    let own: Vec<_> = prefix_lsas(&net, 2, 1, LsType::ROUTER).into_iter().flat_map(|body| body.prefixes).collect();
    assert_eq!(own, vec![LsaPrefix { prefix: host, options: PrefixOptions::LA, metric: 0 }]);
    assert_eq!(net.gateways(1, &host), vec![net.address(0, 0)]);
    net.assert_synchronised(&[0, 1, 2]);
    assert_exact(&net);
}

#[test]
fn a_link_local_prefix_of_a_stub_link_is_not_advertised() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.link(&[0], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    let mut link = net.link_state(0, 0);
    link.prefixes.push(prefix("fe80::/64"));
    net.tell_link(0, 0, link);
    net.run(secs(15));
    let own: Vec<_> = prefix_lsas(&net, 0, 1, LsType::ROUTER).into_iter().flat_map(|body| body.prefixes).collect();
    assert_eq!(own.iter().map(|p| p.prefix).collect::<Vec<_>>(), vec![prefix("2001:db8::/64")]);
}

#[test]
fn a_router_lsa_describes_a_point_to_point_link_by_both_interface_ids_and_the_output_cost() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    // Router 1 has another link first, so that the Interface IDs differ.
    net.link(&[1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[0, 1], NetworkType::PointToPoint, |router, config| config.cost = 30 + router as u16);
    net.start_all();
    net.run(secs(15));
    let link = |metric, near, far, router| RouterLink {
        link_type: RouterLinkType::PointToPoint,
        metric,
        iface_id: IfaceId(near),
        neighbor_iface_id: IfaceId(far),
        neighbor_router_id: rid(router),
    };
    assert_eq!(router_lsa(&net, 1, 1).links, vec![link(30, 1, 2, 2)]);
    assert_eq!(router_lsa(&net, 0, 2).links, vec![link(31, 2, 1, 1)]);
    let prefixes: Vec<_> = prefix_lsas(&net, 1, 1, LsType::ROUTER).into_iter().flat_map(|b| b.prefixes).collect();
    assert_eq!(prefixes.len(), 1);
    assert_eq!((prefixes[0].prefix, prefixes[0].metric), (prefix("2001:db8:0:1::/64"), 30), "the output cost");
}

#[test]
fn a_router_lsa_describes_a_broadcast_link_as_transit_by_the_drs_interface_only_once_it_is_full() {
    let mut net = lan(3);
    for router in 1..=3 {
        let links = router_lsa(&net, 0, router).links;
        let wanted = RouterLink {
            link_type: RouterLinkType::Transit,
            metric: 10,
            iface_id: IfaceId(1),
            neighbor_iface_id: IfaceId(1),
            neighbor_router_id: rid(3),
        };
        assert_eq!(links, vec![wanted], "router {router}");
    }
    // Alone on the link, the same link is a stub: no link, and the prefix refers to the router.
    net.kill(1);
    net.kill(2);
    net.run(secs(15));
    assert_eq!(router_lsa(&net, 0, 1).links, vec![]);
    assert_eq!(prefix_lsas(&net, 0, 1, LsType::ROUTER).len(), 1);
    assert_eq!(network_lsa(&net, 0, 1), None);
}

#[test]
fn a_network_lsa_lists_the_dr_and_who_is_full_with_it_and_merges_their_options() {
    let mut net = Net::new(7);
    let routers: Vec<usize> = (0..3).map(|_| net.router(|_| {})).collect();
    let server = net.server();
    net.broadcast(&[routers[0], routers[1], routers[2], server]);
    net.start_all();
    net.run(secs(15));
    let body = network_lsa(&net, 0, 3).expect("of the DR");
    let mut attached: Vec<u32> = body.attached.iter().map(|r| r.0).collect();
    attached.sort_unstable();
    assert_eq!(attached, vec![1, 2, 3, 4]);
    assert_eq!(body.options, Options::V6 | Options::E | Options::R);
    assert!(
        (0..4).all(|at| network_lsa(&net, at, 1).is_none() && network_lsa(&net, at, 2).is_none()),
        "the DR's alone"
    );
    net.kill(server);
    net.run(secs(8));
    assert_eq!(network_lsa(&net, 0, 3).map(|body| body.attached.len()), Some(3));
}

#[test]
fn the_prefixes_of_a_transit_link_refer_to_the_network_lsa_with_metric_0() {
    let net = lan(3);
    let of_network = prefix_lsas(&net, 0, 3, LsType::NETWORK);
    assert_eq!(of_network.len(), 1);
    assert_eq!((of_network[0].referenced_id, of_network[0].referenced_router), (LinkStateId(1), rid(3)));
    assert_eq!(of_network[0].prefixes.iter().map(|p| p.metric).collect::<Vec<_>>(), vec![0]);
    for router in 1..=3 {
        assert_eq!(prefix_lsas(&net, 0, router, LsType::ROUTER), vec![], "skipped by router {router}");
    }
}

#[test]
fn a_link_lsa_carries_priority_link_local_address_and_prefixes_and_stays_on_its_link() {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::Broadcast, |router, config| config.priority = 5 + router as u8);
    net.link(&[1, 2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(15));
    let body = link_lsa(&net, 1, 0);
    assert_eq!((body.priority, body.link_local), (5, net.address(0, 0)));
    assert_eq!(body.prefixes, vec![link_prefix("2001:db8::/64", PrefixOptions::empty())]);
    let view = net.engine(2).view();
    assert!(view.lsas().iter().all(|l| l.key.ls_type != LsType::LINK || l.key.adv_router != rid(1)), "beyond the link");
    let keys: Vec<LsaKey> = net.engine(1).view().lsas().iter().filter(|l| l.ours).map(|l| l.key).collect();
    for iface in 1..=2 {
        let key = |k: &&LsaKey| k.ls_type == LsType::LINK && k.domain == Domain::Link(IfaceId(iface));
        assert_eq!(keys.iter().find(key).map(|k| k.link_state_id), Some(LinkStateId(iface)), "one for each link");
    }
}

#[test]
fn an_lsa_is_refreshed_after_half_an_hour_under_the_next_sequence_number_with_the_same_body() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    let before = net.lsa(1, &key).unwrap();
    net.run(secs(1780));
    assert_eq!(net.lsa(1, &key).unwrap().header.sequence, before.header.sequence, "not before its time");
    net.run(secs(40));
    let after = net.lsa(1, &key).unwrap();
    assert_eq!(after.header.sequence, before.header.sequence + 1);
    assert_eq!(after.body, before.body);
}

#[test]
fn what_does_not_change_the_contents_originates_nothing() {
    let mut net = lan(3);
    net.forget();
    let link = net.link_state(0, 0);
    net.tell_link(0, 0, link);
    // A DROther that is adjacent neither to the third router's stub nor named anywhere: 0 hears 1 anew.
    net.command(0, Command::Advertise { prefixes: Default::default(), companion: Companion::None });
    net.run(secs(30));
    for router in 0..3 {
        let said = net.nodes[router].events.iter().filter(|(_, e)| matches!(e, Event::Originated { .. })).count();
        assert_eq!(said, 0, "router {router}");
    }
}

#[test]
fn a_new_instance_follows_the_last_by_min_ls_interval_at_least() {
    let mut net = pair();
    net.run(secs(10));
    net.forget();
    // The Router-LSA changes with every flap of the second link.
    for round in 0..40 {
        let mut link = net.link_state(0, 0);
        link.prefixes = vec![prefix(&format!("2001:db8:{:x}::/64", 100 + round))];
        net.tell_link(0, 0, link);
        net.run(ms(150));
    }
    net.run(secs(6));
    let mut last = std::collections::BTreeMap::new();
    let mut count = 0;
    for (at, event) in &net.nodes[0].events {
        let Event::Originated { key, .. } = event else { continue };
        count += 1;
        let least = if key.ls_type.is_topology() { ms(1200) } else { secs(5) };
        if let Some(before) = last.insert(*key, *at) {
            assert!(at.since(before) >= least, "{key}: {:?}", at.since(before));
        }
    }
    assert!(count >= 4);
    assert!(net.nodes[1].routes.contains_key(&prefix("2001:db8:8b::/64")), "in the end rightly");
}

#[test]
fn the_first_instance_has_the_initial_sequence_number_and_later_ones_count_by_one() {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(15));
    for router in 0..2 {
        let mut last = std::collections::BTreeMap::new();
        for (_, event) in &net.nodes[router].events {
            let Event::Originated { key, sequence, .. } = event else { continue };
            let wanted = last.get(key).map_or(INITIAL_SEQUENCE, |before| before + 1);
            assert_eq!(*sequence, wanted, "{key}");
            last.insert(*key, *sequence);
        }
        assert!(last.len() >= 3);
    }
}

#[test]
fn many_links_are_split_over_several_router_lsas_that_others_read_as_one() {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    // So many links between 0 and 1 that the one to 2 stands in the second part.
    for _ in 0..61 {
        net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    }
    net.link(&[0, 2], NetworkType::PointToPoint, |_, _| {});
    net.link(&[2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(8));
    let parts: Vec<usize> = (0..4)
        .filter_map(|id| net.lsa(1, &area_key(LsType::ROUTER, id, 1)))
        .filter(|lsa| !lsa.is_max_age())
        .map(|lsa| lsa.raw.len())
        .collect();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|bytes| *bytes <= 1000), "{parts:?}");
    let behind = prefix("2001:db8:0:3e::/64");
    assert_eq!(net.nodes[1].routes[&behind].next_hops.len(), 61, "over the hub, by every link to it");
    assert_eq!(net.nodes[2].routes.len(), 63);
}

#[test]
fn router_information_instance_0_starts_with_the_informational_capabilities_and_ours_are_in_instance_1() {
    let mut net = pair();
    let ours = Tlv { tlv_type: 32768, value: vec![1, 2, 3, 4, 5] };
    net.command(0, Command::RouterInformation(vec![ours.clone()]));
    net.run(secs(3));
    let tlvs = |net: &Net, id| match net.lsa(1, &area_key(LsType::ROUTER_INFORMATION, id, 1)).map(|lsa| lsa.body) {
        Some(LsaBody::RouterInformation(body)) => Some(body.tlvs),
        _ => None,
    };
    let capabilities = tlvs(&net, 0).expect("instance 0");
    assert_eq!(capabilities.first().map(|tlv| (tlv.tlv_type, tlv.value.len())), Some((1, 4)));
    assert!(capabilities.iter().all(|tlv| tlv.tlv_type != 32768));
    assert_eq!(tlvs(&net, 1), Some(vec![ours]));
    assert!(LsType::ROUTER_INFORMATION.u_bit(), "flooded by who does not know it");
    net.command(0, Command::RouterInformation(vec![]));
    net.run(secs(8));
    assert!(net.lsa(1, &area_key(LsType::ROUTER_INFORMATION, 1, 1)).is_none());
}

#[test]
fn a_malformed_router_information_lsa_is_dropped_and_an_unknown_tlv_kept_and_flooded() {
    let mut net = pair();
    net.run(secs(2));
    net.forget();
    let key = area_key(LsType::ROUTER_INFORMATION, 3, 99);
    // Type 40000, length 3, padded to 4 (RFC 7770 §2.3).
    net.forge_lsas(0, (1, 0), vec![raw_lsa(&key, INITIAL_SEQUENCE, &[0x9c, 0x40, 0, 3, 7, 8, 9, 0])]);
    let held = net.lsa(0, &key).expect("held");
    assert_eq!(held.body_bytes(), &[0x9c, 0x40, 0, 3, 7, 8, 9, 0]);
    let same = matches!(&held.body, LsaBody::RouterInformation(body) if body.tlvs[0].value == [7, 8, 9]);
    assert!(same, "{:?}", held.body);
}

#[test]
fn a_goodbye_leaves_nothing_of_ours_and_a_flush_keeps_the_sequence_number() {
    let mut net = pair();
    let key = area_key(LsType::ROUTER, 0, 1);
    let before = net.lsa(0, &key).unwrap().header.sequence;
    net.forget();
    net.command(0, Command::Flush);
    let flushed: Vec<Lsa> = net
        .packets(0)
        .into_iter()
        .filter_map(|(_, _, body)| if let PacketBody::LsUpd(update) = body { Some(update.lsas) } else { None })
        .flatten()
        .collect();
    let flush = flushed.iter().find(|lsa| lsa.header.ls_type == LsType::ROUTER).expect("flushed");
    assert_eq!((flush.header.age, flush.header.sequence), (MAX_AGE, before), "the same instance, at MaxAge");
    net.run(secs(8));
    assert!(net.engine(1).view().lsas().iter().all(|l| l.key.adv_router != rid(1)));
}
