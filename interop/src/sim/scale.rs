//! `lab sim scale`: one large network from nothing to quiescence, with what it cost.

use std::time::{Duration, Instant as Clock};

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use ospf_proto::{state::NeighborState, time::Instant};

use crate::sim::{
    net::{Net, Weather},
    oracle::Oracle,
    random::Random,
    topology::Topology,
};

/// A large network: a tree of point-to-point links, some broadcast ones, and links across.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// How many routers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(4..=10_000))]
    routers: u16,
    /// Decides costs, delays and when each router starts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual seconds after which it has to be quiet.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// Compare every route with the oracle too.
    #[arg(long)]
    oracle: bool,
}

/// An area of this size does not run SPF after every LSA.
const SPF_INTERVAL: Duration = Duration::from_secs(5);
/// The invariants are checked after one in so many events of each router: a check walks the retransmission lists, which
/// are as long as the database while that is loaded.
const CHECKED_EVERY: u64 = 64;
/// At the end the routing table of one in so many routers is computed anew from its database, and compared.
const EXACT_ROUTERS: usize = 10;
/// How long nothing but Hellos may be sent before the network counts as quiet.
const QUIET: Duration = Duration::from_secs(12);

/// Runs.
pub fn run(options: &Options) -> Result<bool> {
    let begin = Clock::now();
    let mut random = Random::new(options.seed, 1);
    let topology = Topology::large(&mut random, options.routers.into());
    let links = topology.links.len();
    let weather = Weather {
        loss: 0,
        duplicates: 0,
        hello: 10,
        checked_every: CHECKED_EVERY,
        exact_every: 0,
        spf_interval: SPF_INTERVAL,
        loops: false,
    };
    let mut net = Net::new(topology, weather, options.seed)?;
    for router in 0..usize::from(options.routers) {
        net.run_until(Instant::from_epoch(Duration::from_millis(router as u64)))?;
        net.start(router)?;
    }
    let limit = Instant::from_epoch(Duration::from_secs(options.limit));
    while net.now < limit && (net.now.since(net.chatter) < QUIET || !settled(&net)) {
        net.run(Duration::from_secs(1))?;
        println!(
            "{:>5} s: {:>10} events, {:>9} SPF runs, {:>7.1} s of wall time, {:>5} MiB at most",
            net.now.since_epoch().as_secs(),
            net.stats.events,
            net.stats.spf,
            begin.elapsed().as_secs_f64(),
            peak_memory().unwrap_or_default() / 1024
        );
    }
    let quiet_at = net.chatter;
    ensure!(net.now < limit, "not quiet after {} virtual seconds", options.limit);
    same_databases(&net)?;
    for engine in net.nodes.iter().step_by(EXACT_ROUTERS).filter_map(|node| node.engine.as_ref()) {
        engine.check_invariants(usize::MAX).map_err(|broken| anyhow!(broken))?;
    }
    if options.oracle {
        Oracle::new(&net).check()?;
    }
    let wall = begin.elapsed();
    println!(
        "{} routers, {links} links: quiet after {:.1} virtual s; {:.1} s of wall time, {} events, {} packets, {} SPF \
         runs, {} MiB at most",
        options.routers,
        quiet_at.since_epoch().as_secs_f64(),
        wall.as_secs_f64(),
        net.stats.events,
        net.stats.packets,
        net.stats.spf,
        peak_memory().unwrap_or_default() / 1024
    );
    println!(
        "checked: the invariants after {} of these events (one in {CHECKED_EVERY} of each router), the routing table of \
         one router in {EXACT_ROUTERS} against its database, all databases and routes to every link at the end; SPF runs \
         of a router are {} s apart at least",
        net.stats.checked,
        SPF_INTERVAL.as_secs()
    );
    // The process ends here: giving back millions of LSAs one by one would only take time.
    std::mem::forget(net);
    Ok(true)
}

/// Whether every adjacency is Full or, between routers that are neither DR nor Backup, 2-Way.
fn settled(net: &Net) -> bool {
    let engines = net.nodes.iter().filter_map(|node| node.engine.as_ref());
    engines.into_iter().all(|engine| {
        let neighbors = engine.view().neighbors();
        !neighbors.is_empty()
            && neighbors.iter().all(|n| matches!(n.state, NeighborState::Full | NeighborState::TwoWay))
    })
}

/// Every router holds the area LSAs of the first, and a route to every link.
fn same_databases(net: &Net) -> Result<()> {
    let digest = |router: usize| -> Vec<(ospf_proto::id::LsaKey, i32, u16)> {
        let engine = net.nodes.get(router).and_then(|node| node.engine.as_ref());
        let lsdb = engine.map(|engine| engine.view().lsdb());
        let all = lsdb.into_iter().flat_map(|lsdb| lsdb.iter());
        all.filter(|(key, _)| !matches!(key.domain, ospf_proto::id::Domain::Link(_)))
            .map(|(key, entry)| (*key, entry.lsa().header.sequence, entry.lsa().header.checksum))
            .collect()
    };
    let reference = digest(0);
    for router in 0..net.nodes.len() {
        ensure!(digest(router) == reference, "routers 0 and {router} hold different databases");
        let routes = net.nodes.get(router).map_or(0, |node| node.fib.len());
        let links = net.topology.links.len();
        ensure!(routes == links, "router {router} has {routes} routes to {links} links");
    }
    Ok(())
}

/// The most memory that this process has had, KiB.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
