//! A farm of server-speakers behind any link router.

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV6},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use interop::{
    daemons,
    dns::{
        brake::Brake,
        client::{Arrivals, Generator, Load, Summary, TIMEOUT},
        knot,
    },
    lab::{Lab, PeerId},
    monitor::Monitor,
    peer::{IfaceSpec, Kind, Peer, RouterSpec, Version, ours::Speaker},
    process::{Place, Proc},
    topology::{Farm, Server, net},
    wait::{Probe, wait_for},
};

use super::{ONE, PATIENCE, SERVICE};

/// Queries per second of one server, unless a test says otherwise.
pub(crate) const CAPACITY: f64 = 400.0;

/// What serves the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dns {
    /// Our responder, whose service time is its capacity.
    Responder,
    /// Knot DNS under a brake.
    Knot,
}

/// How the farm is configured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    /// Distinguishes several farms of one lab.
    pub name: &'a str,
    /// Who is the link router.
    pub router: &'a Version,
    /// How many servers.
    pub servers: u16,
    /// `strategy` of the services.
    pub strategy: &'a str,
    /// `policy` of the services.
    pub policy: &'a str,
    /// The entries of `monitor`.
    pub monitors: &'a str,
    /// Further keys of the services, a line each.
    pub service_keys: &'a str,
    /// `min-serving` of the services.
    pub min_serving: u8,
    /// What serves.
    pub dns: Dns,
    /// Queries per second of one server, and `capacity` of its service.
    pub capacity: f64,
    /// What each server has of that, in turn: 1, 1, ... for like servers.
    pub parts: &'a [f64],
    /// Lines of the router's `[fib]` table, if it is ospfd-lite.
    pub fib: &'a str,
    /// Source ports of the clients: enough that the router's hash spreads them evenly within a percent or two.
    pub flows: usize,
    /// `min-ls-interval` of the speakers, seconds.
    pub min_ls_interval: f64,
    /// `ecmp-width` of the speakers.
    pub ecmp_width: u16,
}

impl<'a> Setup<'a> {
    /// Queries per second of each server.
    pub(crate) fn capacities(&self) -> Vec<f64> {
        self.parts.iter().cycle().take(self.servers.into()).map(|part| part * self.capacity).collect()
    }

    pub(crate) fn new(name: &'a str, router: &'a Version) -> Self {
        Self {
            name,
            router,
            servers: 3,
            strategy: "auto",
            policy: "goodput",
            monitors: "{ socket = { protocol = \"udp\", port = 53 } }",
            service_keys: "",
            min_serving: 1,
            dns: Dns::Responder,
            capacity: CAPACITY,
            parts: &[1.0],
            fib: "",
            flows: 2000,
            min_ls_interval: 1.2,
            ecmp_width: 16,
        }
    }
}

/// A server with its speaker and its service.
pub(crate) struct Node {
    pub place: Server,
    pub router_id: Ipv4Addr,
    pub speaker: Speaker,
    pub service: Option<Proc>,
    pub brake: Option<Brake>,
}

/// The farm, running.
pub(crate) struct SpeakerFarm {
    pub farm: Farm,
    pub router: PeerId,
    pub nodes: Vec<Node>,
    pub monitor: Monitor,
    dns: Dns,
    capacities: Vec<f64>,
}

impl SpeakerFarm {
    /// Builds and starts everything, until the router forwards to all servers.
    pub(crate) fn open(lab: &mut Lab, setup: Setup<'_>) -> Result<Self> {
        let mut farm = Self::build(lab, setup)?;
        for server in 0..farm.nodes.len() {
            farm.start(lab, server)?;
        }
        let all: Vec<_> = (0..farm.nodes.len()).collect();
        farm.explain(lab, |farm, _| farm.wait_members(&all, Instant::now(), PATIENCE).map(drop))?;
        Ok(farm)
    }

    /// Builds the farm and starts the router; no server runs yet.
    pub(crate) fn build(lab: &mut Lab, setup: Setup<'_>) -> Result<Self> {
        let farm = Farm::build(setup.servers)?;
        farm.all().iter().for_each(|netns| lab.watch(netns));
        let name = format!("{}router", setup.name);
        let spec = RouterSpec::new(&name, ONE, IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast))
            .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE))
            .with_fib(setup.fib);
        let router = lab.start(setup.router, &farm.router, spec)?;
        let monitor = Monitor::start(&farm.router)?;
        let capacities = setup.capacities();
        let globals = format!("min-ls-interval = {:.1}\necmp-width = {}\n", setup.min_ls_interval, setup.ecmp_width);
        let mut nodes = vec![];
        for ((last, place), capacity) in (11u8..).zip(&farm.servers).zip(&capacities) {
            let service = service_table(&setup, *capacity)?;
            let router_id = Ipv4Addr::new(192, 0, 2, last);
            let iface = IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(0);
            let name = format!("{}{}", setup.name, place.netns.name());
            let directory = lab.directory().join(&name);
            let spec = RouterSpec::new(&name, router_id, iface);
            let speaker = Speaker::new(&place.netns, spec, &service, &directory)?.with_globals(&globals);
            nodes.push(Node { place: place.clone(), router_id, speaker, service: None, brake: None });
        }
        Ok(Self { farm, router, nodes, monitor, dns: setup.dns, capacities })
    }

    pub(crate) fn node(&mut self, server: usize) -> Result<&mut Node> {
        self.nodes.get_mut(server).with_context(|| format!("no server {server}"))
    }

    /// Starts a server's service and its speaker.
    pub(crate) fn start(&mut self, lab: &Lab, server: usize) -> Result<()> {
        self.start_service(lab, server)?;
        self.node(server)?.speaker.start()
    }

    /// Starts a server's service.
    pub(crate) fn start_service(&mut self, lab: &Lab, server: usize) -> Result<()> {
        let (logs, dns) = (lab.logs(), self.dns);
        let capacity = *self.capacities.get(server).context("no such server")?;
        let node = self.node(server)?;
        let name = node.speaker.name().to_owned();
        let netns = node.place.netns.clone();
        let place = Place { netns: &netns, root: None, logs: &logs };
        if dns == Dns::Knot {
            let directory = lab.directory().join(format!("{name}-knot"));
            let (service, brake) = knot::start(&name, net(SERVICE)?.ip(), (&directory, place), capacity)?;
            (node.service, node.brake) = (Some(service), Some(brake));
            return Ok(());
        }
        // 0.4 s of queue: the kernel doubles it, and a query takes some 800 bytes of it.
        let buffer = (capacity * 164.0) as usize;
        let mut command = Command::new(daemons::find("lab")?);
        command.args(["dns-responder", "--bind", "[2001:db8:53::53]:53", "--name", &name]);
        command.args(["--service-time-us", &format!("{:.0}", 1e6 / capacity), "--rcvbuf", &buffer.to_string()]);
        node.service = Some(Proc::start(&format!("{name}-dns"), place, &mut command)?);
        let service = node.service.as_mut().context("just started")?;
        wait_for("the responder", PATIENCE, || {
            service.ensure_running()?;
            Ok(Probe::when(service.log().contains("serving"), (), service.log()))
        })
    }

    /// SIGKILL to a server's service; when it was sent, and when nothing was left of the process.
    pub(crate) fn kill_service(&mut self, server: usize) -> Result<(Instant, Instant)> {
        let node = self.node(server)?;
        let mut service = node.service.take().context("no service runs")?;
        let killed = Instant::now();
        service.kill()?;
        let dead = Instant::now();
        node.brake = None;
        Ok((killed, dead))
    }

    /// Changes what a server can answer, in queries per second.
    pub(crate) fn set_capacity(&mut self, server: usize, rate: f64) -> Result<()> {
        let node = self.node(server)?;
        match &node.brake {
            Some(brake) => {
                brake.ensure_braking()?;
                brake.set_rate(rate);
                Ok(())
            }
            None => {
                let service = node.service.as_mut().context("no service runs")?;
                service.tell(&format!("service-time-us {:.0}", 1e6 / rate))
            }
        }
    }

    /// The servers' link-local addresses.
    pub(crate) fn addresses(&self, servers: &[usize]) -> BTreeSet<Ipv6Addr> {
        servers.iter().filter_map(|server| self.farm.servers.get(*server)).map(|server| server.address).collect()
    }

    /// Waits until the router forwards to exactly these servers; since when it does.
    pub(crate) fn wait_members(&self, servers: &[usize], since: Instant, timeout: Duration) -> Result<Instant> {
        self.monitor.wait_gateways(net(SERVICE)?, &self.addresses(servers), since, timeout)
    }

    /// Pins a server's cost.
    pub(crate) fn set_cost(&mut self, server: usize, cost: u16) -> Result<()> {
        self.node(server)?.speaker.daemon().command(&["cost", "dns", &cost.to_string()]).map(drop)
    }

    /// Queries at this rate from the client.
    pub(crate) fn load(&self, rate: f64) -> Result<Generator> {
        self.clients(rate, 500, Arrivals::Paced)
    }

    /// Queries at this rate, from so many source ports, at such distances.
    pub(crate) fn clients(&self, rate: f64, flows: usize, arrivals: Arrivals) -> Result<Generator> {
        let target = SocketAddrV6::new(net(SERVICE)?.ip(), 53, 0, 0);
        Generator::start(&self.farm.client, Load { target, flows, rate, arrivals })
    }

    /// Runs `part`; its failure comes with what every speaker says.
    pub(crate) fn explain<T>(
        &mut self,
        lab: &mut Lab,
        part: impl FnOnce(&mut Self, &mut Lab) -> Result<T>,
    ) -> Result<T> {
        part(self, lab).map_err(|error| {
            let shown: Vec<_> = self.nodes.iter_mut().map(|node| node.speaker.diagnostics()).collect();
            error.context(shown.join("\n"))
        })
    }
}

/// The `[[service]]` table of a server of this capacity.
fn service_table(setup: &Setup<'_>, capacity: f64) -> Result<String> {
    let mut table = String::from("[[service]]\nname = \"dns\"\nmanage-address = true\n");
    writeln!(table, "prefixes = [\"{SERVICE}\"]")?;
    writeln!(table, "monitor = [{}]\n{}", setup.monitors, setup.service_keys)?;
    writeln!(table, "capacity = {capacity:.1}\nstrategy = {:?}", setup.strategy)?;
    writeln!(table, "policy = {:?}\nmin-serving = {}", setup.policy, setup.min_serving)?;
    Ok(table)
}

/// What became of the queries between two instants, once all of them have had their time.
pub(crate) fn settled(clients: &Generator, from: Instant, to: Instant) -> Result<Summary> {
    wait_for("the last queries to have had their time", TIMEOUT + Duration::from_secs(30), || {
        Ok(Probe::when(Instant::now() > to + TIMEOUT + Duration::from_millis(100), (), "not yet"))
    })?;
    clients.summary(from, to)
}
