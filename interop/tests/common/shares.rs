//! Farms whose servers appear as several routers.

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use interop::{
    lab::{Lab, PeerId},
    netns::Netns,
    peer::{IfaceSpec, Kind, Peer, RouterSpec, Version, ours::Speaker, wait_full},
    topology::net,
    wait::{Probe, wait_for},
};

use super::{
    PATIENCE, SERVICE,
    bench::Bench,
    ours::{Dns, Setup, SpeakerFarm},
};

/// How the servers of a farm appear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares<'a> {
    pub router: &'a Version,
    /// What each server can answer, queries per second.
    pub capacities: &'a [f64],
    pub dns: Dns,
    /// `policy` and `shares` of the services, a line each.
    pub policy: &'a str,
}

/// The Router IDs of a server's routers, its own first.
pub(crate) fn ids(server: usize) -> Vec<Ipv4Addr> {
    let (place, own) = (server as u8, Ipv4Addr::new(192, 0, 2, 11 + server as u8));
    let block = (0..8).map(|last| Ipv4Addr::new(192, 0, 2, 64 + 8 * place + last));
    std::iter::once(own).chain(block).collect()
}

/// The addresses they speak from.
pub(crate) fn addresses(server: usize) -> Vec<Ipv6Addr> {
    let first =
        0xfe80_u128 << 112 | 0x5a << 48 | u128::from(u32::from(Ipv4Addr::new(192, 0, 2, 11 + server as u8))) << 16;
    (0..9).map(|place| Ipv6Addr::from(first + place)).collect()
}

/// The speaker of a server; the file of its `[[service]]` says `policy`.
pub(crate) fn speaker(lab: &Lab, netns: &Netns, (server, capacity): (usize, f64), policy: &str) -> Result<Speaker> {
    let own = *ids(server).first().context("the own router")?;
    let mut service = format!("[[service]]\nname = \"dns\"\nmanage-address = true\nprefixes = [\"{SERVICE}\"]\n");
    writeln!(service, "monitor = [{{ socket = {{ protocol = \"udp\", port = 53 }} }}]\ncapacity = {capacity:.1}")?;
    writeln!(service, "{policy}")?;
    let block = ids(server).get(1).copied().context("a block")?;
    let globals = format!("min-ls-interval = 5.0\necmp-width = 64\nshare-router-ids = \"{block}/29\"\n");
    let spec = RouterSpec::new(netns.name(), own, IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(0));
    let directory = lab.directory().join(netns.name());
    Ok(Speaker::new(netns, spec, &service, &directory)?.with_globals(&globals))
}

/// The farm, with nobody asking and the router forwarding to everybody.
pub(crate) fn open(lab: &mut Lab, shares: Shares<'_>) -> Result<Bench> {
    let total: f64 = shares.capacities.iter().sum();
    let servers = u16::try_from(shares.capacities.len())?;
    let capacity = total / f64::from(servers);
    let setup = Setup { servers, dns: shares.dns, capacity, ..Setup::new("", shares.router) };
    let mut bench = Bench::build(lab, setup)?;
    for (server, capacity) in shares.capacities.iter().enumerate() {
        let netns = bench.farm.node(server)?.place.netns.clone();
        bench.farm.node(server)?.speaker = speaker(lab, &netns, (server, *capacity), shares.policy)?;
        bench.farm.start_service(lab, server)?;
        bench.farm.set_capacity(server, *capacity)?;
        bench.farm.node(server)?.speaker.start()?;
    }
    Ok(bench)
}

/// As how many next hops each server appears in the router's kernel.
pub(crate) fn next_hops(farm: &SpeakerFarm) -> Result<Vec<usize>> {
    let there = farm.monitor.gateways(net(SERVICE)?);
    let of = |server: usize| {
        let own = farm.farm.servers.get(server).map(|server| server.address);
        let shares = addresses(server);
        there.iter().filter(|gateway| shares.contains(gateway) || own == Some(**gateway)).count()
    };
    Ok((0..farm.nodes.len()).map(of).collect())
}

/// Waits until each server appears as so many next hops.
pub(crate) fn wait_next_hops(farm: &SpeakerFarm, wanted: &[usize], timeout: Duration) -> Result<Duration> {
    let begun = Instant::now();
    wait_for(&format!("{wanted:?} next hops"), timeout, || {
        let seen = next_hops(farm)?;
        Ok(Probe::when(seen == wanted, begun.elapsed(), format!("{seen:?}")))
    })
}

/// Waits until the router has no LSA of these routers left.
pub(crate) fn wait_forgotten(lab: &mut Lab, router: PeerId, routers: &[Ipv4Addr], timeout: Duration) -> Result<()> {
    wait_for(&format!("no LSA of {routers:?}"), timeout, || {
        let database = lab.peer(router)?.database()?;
        let left: Vec<_> =
            database.0.iter().filter(|row| routers.contains(&row.router)).map(ToString::to_string).collect();
        Ok(Probe::when(left.is_empty(), (), left.join("; ")))
    })
}

/// The addresses of share routers on a server's interface.
pub(crate) fn share_addresses(netns: &Netns) -> Result<BTreeSet<Ipv6Addr>> {
    let text = netns.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"))??;
    let address = |line: &str| line.split_whitespace().next().and_then(|hex| u128::from_str_radix(hex, 16).ok());
    let ours = |bits: &u128| matches!(bits >> 48, 0xfe80_0000_0000_0000_005a | 0xfe80_0000_0000_0000_005b);
    Ok(text.lines().filter_map(address).filter(ours).map(Ipv6Addr::from).collect())
}

/// One server appears as four routers: all Full, all next hops in the kernel; and with its end nothing is left of them.
pub(crate) fn four_routers_of_one_server(lab: &mut Lab, router: &Version) -> Result<()> {
    let policy = "policy = \"shares\"\nshares = 4";
    let mut bench = open(lab, Shares { router, capacities: &[400.0], dns: Dns::Responder, policy })?;
    println!("router: {}", bench.router);
    let begun = Instant::now();
    let (id, ids) = (bench.farm.router, ids(0).into_iter().take(4).collect::<Vec<_>>());
    let netns = bench.farm.node(0)?.place.netns.clone();
    bench.farm.explain(lab, |farm, lab| {
        wait_full(lab.peer(id)?, &ids, PATIENCE)?;
        println!("4 routers Full {:.1} s after the start", begun.elapsed().as_secs_f64());
        wait_next_hops(farm, &[4], PATIENCE)?;
        println!("4 next hops {:.1} s after the start", begun.elapsed().as_secs_f64());
        let wanted: BTreeSet<_> = addresses(0).into_iter().take(4).collect();
        ensure!(farm.monitor.gateways(net(SERVICE)?) == wanted, "the gateways are not the block of addresses");
        ensure!(share_addresses(&netns)? == wanted, "on the interface: {:?}", share_addresses(&netns)?);
        let begun = Instant::now();
        farm.node(0)?.speaker.stop()?;
        println!("gone {:.1} s after SIGTERM", begun.elapsed().as_secs_f64());
        wait_next_hops_gone(farm)?;
        wait_forgotten(lab, id, &ids, PATIENCE)?;
        println!("forgotten {:.1} s after SIGTERM", begun.elapsed().as_secs_f64());
        ensure!(share_addresses(&netns)?.is_empty(), "left on the interface: {:?}", share_addresses(&netns)?);
        Ok(())
    })
}

fn wait_next_hops_gone(farm: &SpeakerFarm) -> Result<()> {
    farm.monitor.wait_gateways(net(SERVICE)?, &BTreeSet::new(), Instant::now(), PATIENCE).map(drop)
}
