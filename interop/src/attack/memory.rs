//! `lab memory`: the same database is flooded into ospfd-lite, BIRD and FRR, and what an LSA costs each in resident memory.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    forge::external,
    neighbor::{Attacker, IFACE, PHANTOM, Parties},
    stage::{find_process, program, resident},
};
use serde_json::Value;

use crate::{
    lab::Lab,
    netns::Netns,
    peer::{Home, IfaceSpec, Kind, Neighbor, Peer, RouterSpec, State, Version, bird, frr, ours},
    topology::{PointToPoint, link_local},
    wait::{Probe, wait_for},
};

/// Options of `lab memory`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many LSAs.
    #[arg(long, default_value_t = 100_000)]
    pub lsas: u32,
}

/// LSAs of one originator.
const PER_ROUTER: u32 = 1000;
const PATIENCE: Duration = Duration::from_secs(120);
const VICTIM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Measures and prints a line per router.
pub fn run(options: &Options) -> Result<()> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("{} AS-External-LSAs of 36 bytes, {PER_ROUTER} per originator; this is a {profile} build", options.lsas);
    println!("| router | before KiB | after KiB | bytes per LSA | seconds |\n|---|---|---|---|---|");
    for (name, version) in [("ours", Version::Ours), ("bird", Version::Bird(None)), ("frr", Version::Frr(None))] {
        measure(name, &version, options.lsas)?;
    }
    Ok(())
}

fn measure(name: &str, version: &Version, lsas: u32) -> Result<()> {
    let lab = Lab::new(&format!("memory-{name}"))?;
    // A lone cable: nothing is flooded back or on.
    let pair = PointToPoint::build("victim", "attacker")?;
    let iface = IfaceSpec::fast(IFACE, Kind::PointToPoint);
    let mut holder = Holder::start(&lab, version, (&pair.a, RouterSpec::new(name, VICTIM, iface), lsas))?;
    let parties = Parties {
        router: ATTACKER,
        address: link_local(2),
        victim: VICTIM,
        victim_address: link_local(1),
        kind: Kind::PointToPoint,
    };
    let attacker = Attacker::start(&pair.b, parties)?;
    attacker.wait_full(PATIENCE)?;
    wait_for(&format!("{name} to be Full"), PATIENCE, || {
        let full = holder.full()?;
        Ok(Probe::when(full, (), "not Full"))
    })?;
    let process = find_process(&pair.a, program(version)?)?;
    let (had, before) = (holder.count()?, resident(process)?);
    let start = Instant::now();
    let originator = |number: u32| {
        let [_, _, high, low] = (number / PER_ROUTER).to_be_bytes();
        u32::from(Ipv4Addr::new(PHANTOM, high, low, 1))
    };
    attacker.flood((0..lsas).map(|number| external(originator(number), number)))?;
    let (after, seconds) = (resident(process)?, start.elapsed().as_secs_f64());
    // Counted behind the measurement: to tell of so many LSAs takes memory, too.
    let count = holder.count()?;
    if count < had + u64::from(lsas) {
        bail!("{name} has {count} LSAs after {lsas} beside {had}, and acknowledged all");
    }
    let each = after.saturating_sub(before).checked_div(u64::from(lsas)).context("no LSAs")?;
    println!("| {} | {} | {} | {each} | {seconds:.1} |", holder.version(), before / 1024, after / 1024);
    Ok(())
}

/// Who holds the database.
enum Holder {
    Ours(ours::Daemon),
    Bird(bird::Bird),
    Frr(frr::Frr),
}

impl Holder {
    /// Starts it; ours with limits that let so many LSAs in.
    fn start(lab: &Lab, version: &Version, (netns, spec, lsas): (&Netns, RouterSpec, u32)) -> Result<Self> {
        let directory = lab.directory().join(&spec.name);
        fs::create_dir_all(&directory)?;
        let home = Home { directory: directory.clone(), root: None };
        Ok(match version {
            Version::Ours => {
                let mut daemon = ours::Daemon::new("ospfd-lite", netns, &spec.name, &directory)?;
                let interfaces = ours::interface_tables(&spec.interfaces)?;
                let id = spec.router_id;
                daemon.start(&format!("router-id = \"{id}\"\n{interfaces}\n[limits]\nmax-lsas = {}\n", lsas + 1000))?;
                Self::Ours(daemon)
            }
            Version::Frr(_) => {
                let mut peer = frr::Frr::new(netns, spec, home)?;
                peer.start()?;
                Self::Frr(peer)
            }
            Version::Bird(_) | Version::Bird3(_) => {
                let mut peer = bird::Bird::new(netns, spec, home, bird::Package::Bird2)?;
                peer.start()?;
                Self::Bird(peer)
            }
        })
    }

    fn version(&self) -> String {
        match self {
            Self::Ours(_) => concat!("ospfd-lite ", env!("CARGO_PKG_VERSION")).into(),
            Self::Bird(peer) => peer.version(),
            Self::Frr(peer) => peer.version(),
        }
    }

    /// Whether the adjacency with the attacker is Full.
    fn full(&mut self) -> Result<bool> {
        let full = |neighbors: Vec<Neighbor>| neighbors.iter().any(|n| n.state == State::Full);
        match self {
            Self::Ours(daemon) => {
                let shown = daemon.show("neighbor")?;
                Ok(shown.as_array().is_some_and(|rows| rows.iter().any(|row| row.get("state") == Some(&"Full".into()))))
            }
            Self::Bird(peer) => peer.neighbors().map(full),
            Self::Frr(peer) => peer.neighbors().map(full),
        }
    }

    /// How many LSAs are in its database.
    fn count(&mut self) -> Result<u64> {
        match self {
            Self::Ours(daemon) => {
                daemon.show("counters")?.get("lsas").and_then(Value::as_u64).context("no lsas in show counters")
            }
            Self::Bird(peer) => Ok(peer.database()?.0.len() as u64),
            Self::Frr(peer) => {
                let shown = peer.vtysh(&["show ipv6 ospf6"])?;
                let count = |line: &str| line.trim().strip_prefix("Number of AS scoped LSAs is ")?.parse::<u64>().ok();
                shown.lines().find_map(count).with_context(|| format!("no count of LSAs in {shown}"))
            }
        }
    }
}
