//! What the lab tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod arms;
pub(crate) mod bench;
pub(crate) mod liar;
pub(crate) mod ours;
pub(crate) mod shares;
pub(crate) mod stated;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Result, bail};
use interop::{
    fib::Fib,
    lab::{Lab, PeerId},
    netns::Netns,
    peer::{IfaceSpec, Kind, RouterSpec, Version, wait_full, wait_same_database},
    topology::{Farm, Segment, net},
    wait::{Probe, wait_for},
};

pub(crate) const ONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const TWO: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SERVICE: &str = "2001:db8:53::53/128";

/// Waits until both routers of a link hold the same database, which is not empty.
pub(crate) fn same_database(lab: &mut Lab, a: PeerId, b: PeerId, iface: &str) -> Result<()> {
    let read = || Ok((lab.peer(a)?.database()?.on_link(iface), lab.peer(b)?.database()?.on_link(iface)));
    wait_same_database(PATIENCE, read).map(drop)
}

/// Waits until the kernel forwards packets to a prefix over exactly these gateways.
pub(crate) fn wait_gateways(netns: &Netns, prefix: &str, wanted: &[Ipv6Addr]) -> Result<()> {
    let (prefix, wanted) = (net(prefix)?, wanted.iter().copied().collect::<BTreeSet<_>>());
    wait_for(&format!("{prefix} over {wanted:?} in {}", netns.name()), PATIENCE, || {
        let gateways = Fib::read(netns)?.gateways(prefix);
        Ok(Probe::when(gateways == wanted, (), format!("{gateways:?}")))
    })
}

/// Two routers on a broadcast link, each with a prefix of its own, until they are Full and agree.
pub(crate) fn agree_on_a_broadcast_link(lab: &mut Lab, a: &Version, b: &Version) -> Result<(Segment, PeerId, PeerId)> {
    let link = Segment::build(&["a", "b"])?;
    let [first, second] = link.nodes.as_slice() else { bail!("two nodes") };
    let iface = |priority| IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(priority);
    let one = RouterSpec::new("a", ONE, iface(9)).with_prefix(net("2001:db8:a::1/128")?, 7);
    let two = RouterSpec::new("b", TWO, iface(1)).with_prefix(net("2001:db8:b::1/128")?, 5);
    let a = lab.start(a, first, one)?;
    let b = lab.start(b, second, two)?;
    println!("{} and {}", lab.peer(a)?.version(), lab.peer(b)?.version());
    wait_full(lab.peer(a)?, &[TWO], PATIENCE)?;
    wait_full(lab.peer(b)?, &[ONE], PATIENCE)?;
    same_database(lab, a, b, "eth0")?;
    Ok((link, a, b))
}

/// A router and three servers that advertise one address at cost 10.
pub(crate) fn shared_farm(lab: &mut Lab, router: &Version, server: &Version) -> Result<(Farm, PeerId, Vec<PeerId>)> {
    let farm = Farm::build(3)?;
    farm.all().iter().for_each(|netns| lab.watch(netns));
    let spec = RouterSpec::new("router", ONE, IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast))
        .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE));
    let router = lab.start(router, &farm.router, spec)?;
    println!("router: {}", lab.peer(router)?.version());
    let mut servers = vec![];
    for (place, node) in (11u8..).zip(&farm.servers) {
        let iface = IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(0);
        let spec =
            RouterSpec::new(node.netns.name(), Ipv4Addr::new(192, 0, 2, place), iface).with_prefix(net(SERVICE)?, 10);
        servers.push(lab.start(server, &node.netns, spec)?);
    }
    let ids: Vec<_> = (11..=13).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    wait_full(lab.peer(router)?, &ids, PATIENCE)?;
    Ok((farm, router, servers))
}

/// Three servers share an address; one leaves the lowest cost and comes back.
pub(crate) fn share_an_address(lab: &mut Lab, router: &Version, server: &Version) -> Result<()> {
    let (farm, _, servers) = shared_farm(lab, router, server)?;
    let all: Vec<_> = farm.servers.iter().map(|server| server.address).collect();
    wait_gateways(&farm.router, SERVICE, &all)?;
    let [_, _, last] = servers.as_slice() else { bail!("three servers") };
    lab.peer(*last)?.set_metric(net(SERVICE)?, 20)?;
    wait_gateways(&farm.router, SERVICE, all.get(..2).unwrap_or_default())?;
    lab.peer(*last)?.set_metric(net(SERVICE)?, 10)?;
    wait_gateways(&farm.router, SERVICE, &all)
}
