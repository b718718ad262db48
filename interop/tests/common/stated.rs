//! A farm whose servers state what the test tells them, under a stream of many flows: what the link router makes of it.

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV6},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use interop::{
    engines::{Engines, Identity},
    flows::{Counts, Flows, Moves, Stream},
    lab::{Lab, PeerId},
    monitor::Monitor,
    netns::Netns,
    peer::{IfaceSpec, Kind, RouterSpec, Version, ours::Daemon},
    shown::FarmRow,
    topology::{Farm, net},
    wait::{Probe, wait_for},
};
use ospf_proto::lsa::Prefix;

use super::{ONE, PATIENCE, SERVICE};

/// The stream's port.
pub(crate) const PORT: u16 = 5353;
/// What a server claims to be able to do, queries per second, unless a test says otherwise.
pub(crate) const CLAIMED: f64 = 1000.0;
/// The cost of the class.
const COST: u16 = 10;
/// A kernel in which nothing changed for so long is done with a change.
const QUIET: Duration = Duration::from_secs(1);

/// The service prefix.
pub(crate) fn service() -> Result<Prefix> {
    SERVICE.parse().context("the service prefix")
}

/// The Router ID of a server.
pub(crate) fn router_id(server: usize) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 11 + u8::try_from(server).unwrap_or(u8::MAX - 11))
}

/// The address of the client in a [`Farm`].
pub(crate) const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2);

/// The stream of a lab, from its client to the service at these servers.
pub(crate) fn stream(client: &Netns, servers: &[Netns]) -> Result<Flows> {
    Flows::start(client, servers, &Stream::new(SocketAddrV6::new(net(SERVICE)?.ip(), PORT, 0, 0), CLIENT))
}

/// A control handle to an ospfd-lite of this name in a lab.
pub(crate) fn lite(lab: &Lab, netns: &Netns, name: &str) -> Result<Daemon> {
    Daemon::new("ospfd-lite", netns, name, &lab.directory().join(name))
}

/// Waits until nothing has changed in a kernel's routes and next hops for a while.
pub(crate) fn quiet(monitor: &Monitor) -> Result<Instant> {
    let (mut seen, mut since) = (monitor.messages(), Instant::now());
    wait_for("the kernel's routes to be at rest", PATIENCE, || {
        let now = monitor.messages();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        Ok(Probe::when(since.elapsed() > QUIET, Instant::now(), format!("{now} messages")))
    })
}

/// The farm, running.
pub(crate) struct StatedFarm {
    pub farm: Farm,
    pub router: PeerId,
    pub version: String,
    /// To ask ospfd-lite, if that is the router.
    pub lite: Option<Daemon>,
    pub monitor: Monitor,
    pub servers: Vec<Engines>,
    pub flows: Flows,
}

impl StatedFarm {
    /// Builds and starts everything, until the router's kernel forwards to all servers and the stream arrives.
    pub(crate) fn open(lab: &mut Lab, (name, version, fib): (&str, &Version, &str), servers: u16) -> Result<Self> {
        let farm = Farm::build(servers)?;
        farm.all().iter().for_each(|netns| lab.watch(netns));
        let name = format!("{name}router");
        let spec = RouterSpec::new(&name, ONE, IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast))
            .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE))
            .with_fib(fib);
        let router = lab.start(version, &farm.router, spec)?;
        let lite = matches!(version, Version::Ours).then(|| lite(lab, &farm.router, &name)).transpose()?;
        let version = lab.peer(router)?.version();
        let monitor = Monitor::start(&farm.router)?;
        let mut engines = vec![];
        for (place, server) in farm.servers.iter().enumerate() {
            server.netns.rtnl()?.add_address("lo", net(SERVICE)?)?;
            let identity = Identity { router: router_id(place), address: server.address };
            engines.push(Engines::start(&server.netns, Kind::Broadcast, vec![identity])?);
        }
        for server in &engines {
            server.wait_full(ONE, PATIENCE)?;
            server.claim(0, service()?, CLAIMED)?;
            server.advertise(0, &[service()?], COST)?;
        }
        let nodes: Vec<_> = farm.servers.iter().map(|server| server.netns.clone()).collect();
        let flows = stream(&farm.client, &nodes)?;
        let farm = Self { farm, router, version, lite, monitor, servers: engines, flows };
        let all: Vec<_> = (0..farm.servers.len()).collect();
        farm.wait_members(&all)?;
        quiet(&farm.monitor)?;
        farm.flows.settle()?;
        Ok(farm)
    }

    /// A server leaves the class, by OSPF: it lives, and would take what comes.
    pub(crate) fn withdraw(&self, server: usize) -> Result<()> {
        self.server(server)?.advertise(0, &[], COST)
    }

    /// It comes back.
    pub(crate) fn advertise(&self, server: usize) -> Result<()> {
        self.server(server)?.advertise(0, &[service()?], COST)
    }

    /// It states another capacity.
    pub(crate) fn claim(&self, server: usize, capacity: f64) -> Result<()> {
        self.server(server)?.claim(0, service()?, capacity)
    }

    fn server(&self, server: usize) -> Result<&Engines> {
        self.servers.get(server).with_context(|| format!("no server {server}"))
    }

    /// Waits until the router's kernel forwards to exactly these servers.
    pub(crate) fn wait_members(&self, servers: &[usize]) -> Result<Instant> {
        let wanted: BTreeSet<_> =
            servers.iter().filter_map(|one| self.farm.servers.get(*one)).map(|server| server.address).collect();
        self.monitor.wait_gateways(net(SERVICE)?, &wanted, Instant::now(), PATIENCE)
    }

    /// What ospfd-lite shows of the service.
    pub(crate) fn shown(&self) -> Result<FarmRow> {
        FarmRow::of(self.lite.as_ref().context("the router is not ospfd-lite")?, net(SERVICE)?)
    }

    /// What a change did to the stream: `act` makes it and returns when the kernel has begun to follow.
    pub(crate) fn change(&self, what: &str, least: f64, act: impl FnOnce(&Self) -> Result<()>) -> Result<Change> {
        self.flows.settle()?;
        let before = Instant::now();
        act(self)?;
        let after = quiet(&self.monitor)?;
        let moves = self.flows.moves(before, after)?;
        let end = Instant::now();
        let (counts, settled) = (self.flows.counts(before, end)?, self.flows.counts(after, end)?);
        let change = Change { router: self.version.clone(), what: what.into(), least, counts, settled, moves };
        println!("{change}");
        Ok(change)
    }
}

/// What a change came to: one row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub router: String,
    pub what: String,
    /// The part of the flows that has to move whatever the router does.
    pub least: f64,
    /// Of the packets from the change on.
    pub counts: Counts,
    /// Of those from when the kernel was at rest again.
    pub settled: Counts,
    pub moves: Moves,
}

impl Change {
    /// The head of the table.
    pub(crate) const HEAD: &str = "| router | change | sent | lost | flows | moved | least possible | changes of server |\n|---|---|---|---|---|---|---|---|";

    /// Fails if a packet was lost or doubled.
    pub(crate) fn nothing_lost(&self) -> Result<()> {
        ensure!(self.counts.sent > 1000, "{} packets are no stream: {self}", self.counts.sent);
        ensure!(self.counts.lost == 0 && self.counts.doubled == 0, "lost or doubled: {:?} in {self}", self.counts);
        Ok(())
    }

    /// Fails if more than a quarter more flows moved than had to, and more than chance makes of it: the flows are a sample
    /// of all, and so are the slots of a server, so that a part p of n flows and of s slots has a deviation of
    /// √(n p (1-p) (1 + n/s)); three of them are allowed.
    pub(crate) fn few_moved(&self, slots: usize) -> Result<()> {
        let (n, p) = (self.moves.flows as f64, self.least);
        let chance = (n * p * (1.0 - p) * (1.0 + n / slots as f64)).sqrt();
        let most = 1.25 * n * p + 3.0 * chance;
        ensure!((self.moves.moved as f64) <= most, "{} moved where {most:.0} may: {self}", self.moves.moved);
        ensure!(self.moves.changes <= self.moves.moved + self.moves.moved / 20, "flows moved more than once: {self}");
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { router, what, least, counts, moves, .. } = self;
        write!(
            out,
            "| {router} | {what} | {} | {} | {} | {} ({:.1} %) | {:.1} % | {} |",
            counts.sent,
            counts.lost,
            moves.flows,
            moves.moved,
            100.0 * moves.part(),
            100.0 * least,
            moves.changes,
        )
    }
}
