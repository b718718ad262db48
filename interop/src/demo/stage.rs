//! The stage: the farm with everything that runs in it, its clients and the observers.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddrV6},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Break, Options, Router,
    screen::{Row, Screen, table},
};
use crate::{
    daemons,
    dns::client::{Arrivals, Generator, Load, Summary, TIMEOUT},
    lab::{Lab, PeerId},
    monitor::Monitor,
    peer::{IfaceSpec, Kind, LsaRow, Peer, RouterSpec, ours::Speaker},
    process::{Place, Proc},
    topology::{Farm, Server, net},
};

/// Queries per second that one server can answer.
pub(super) const CAPACITY: f64 = 400.0;
/// Servers of the farm.
pub(super) const SERVERS: usize = 3;
/// Half of what the farm can answer.
pub(super) const HALF: f64 = 600.0;
/// 1.3 times what the farm can answer.
pub(super) const OVERLOAD: f64 = 1560.0;

const SERVICE: &str = "2001:db8:53::53/128";
const INTRA_AREA_PREFIX: u16 = 0x2009;
const STEP: Duration = Duration::from_millis(20);
/// Source ports: enough that the router's hash spreads them evenly within about one percent.
const FLOWS: usize = 2000;
/// 64 to 85 queries of queue: a fifth of a second, and below the client's patience at a third of the capacity.
const BUFFER: usize = 32 << 10;

/// What a server-speaker tells of its service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Told {
    /// The cost it advertises; none if it does not advertise.
    pub cost: Option<u32>,
    /// Its estimate of its capacity, queries per second.
    pub capacity: Option<f64>,
    /// What it is offered, queries per second.
    pub offered: Option<f64>,
}

/// One server as sampled every second.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// Since the clients started.
    pub at: Duration,
    /// Clients: sent, answered, lost in the second before the last.
    pub clients: Summary,
    /// Per server.
    pub told: Vec<Option<Told>>,
}

/// What happened when: for the plot.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Names of the servers.
    pub servers: Vec<String>,
    /// One sample per second.
    pub samples: Vec<Sample>,
    /// When an act began.
    pub acts: Vec<(Duration, String)>,
}

struct Node {
    place: Server,
    router_id: Ipv4Addr,
    speaker: Speaker,
    service: Option<Proc>,
    told: Option<Told>,
    cost_changes: u32,
}

/// Everything on stage.
pub struct Stage {
    pub(super) farm: Farm,
    pub(super) router: Router,
    pub(super) timeline: Timeline,
    lab: Lab,
    link_router: PeerId,
    nodes: Vec<Node>,
    monitor: Monitor,
    clients: Option<Generator>,
    opened: Instant,
    last_sample: Instant,
    screen: Screen,
    act: &'static str,
}

impl Stage {
    /// Builds the farm and starts the router; the servers are ready, but do not run.
    pub(super) fn build(options: &Options) -> Result<Self> {
        let mut lab = Lab::new("demo")?;
        let farm = Farm::build(u16::try_from(SERVERS)?)?;
        farm.all().iter().for_each(|netns| lab.watch(netns));
        let spec =
            RouterSpec::new("router", Ipv4Addr::new(192, 0, 2, 1), IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast))
                .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE))
                // Weighed by capacity a slowed server gets less and has no reason to leave, which is what is shown here.
                .with_fib("weights = \"equal\"\n");
        let link_router = lab.start(&options.router.version(), &farm.router, spec)?;
        let monitor = Monitor::start(&farm.router)?;
        let policy = match options.r#break {
            Some(Break::ClassRule) => "policy = \"naive\"\n",
            None => "",
        };
        let service = format!(
            "[[service]]\nname = \"dns\"\nprefixes = [\"{SERVICE}\"]\nmanage-address = true\n\
             monitor = [{{ socket = {{ protocol = \"udp\", port = 53 }} }}]\ncapacity = {CAPACITY:.1}\n{policy}"
        );
        let mut nodes = vec![];
        for (last, place) in (11u8..).zip(&farm.servers) {
            let router_id = Ipv4Addr::new(192, 0, 2, last);
            let iface = IfaceSpec::fast("eth0", Kind::Broadcast).with_priority(0);
            let spec = RouterSpec::new(place.netns.name(), router_id, iface);
            let directory = lab.directory().join(place.netns.name());
            let speaker =
                Speaker::new(&place.netns, spec, &service, &directory)?.with_globals("min-ls-interval = 1.2\n");
            nodes.push(Node { place: place.clone(), router_id, speaker, service: None, told: None, cost_changes: 0 });
        }
        let servers = farm.servers.iter().map(|server| server.netns.name().to_owned()).collect();
        let now = Instant::now();
        Ok(Self {
            farm,
            router: options.router,
            timeline: Timeline { servers, ..Timeline::default() },
            lab,
            link_router,
            nodes,
            monitor,
            clients: None,
            opened: now,
            last_sample: now,
            screen: Screen::new(),
            act: "",
        })
    }

    /// Starts services, speakers and, when the router forwards to all of them, the clients.
    pub(super) fn open(&mut self) -> Result<()> {
        for server in 0..SERVERS {
            self.start_service(server)?;
            self.node(server)?.speaker.start()?;
        }
        let start = Instant::now();
        let full = self.wait_members(&[0, 1, 2], start, Duration::from_secs(40))? - start;
        println!("{} forwards to all servers after {:.1} s", self.router_version()?, full.as_secs_f64());
        let target = SocketAddrV6::new(net(SERVICE)?.ip(), 53, 0, 0);
        let load = Load { target, flows: FLOWS, rate: HALF, arrivals: Arrivals::Poisson(1) };
        self.opened = Instant::now();
        self.clients = Some(Generator::start(&self.farm.client, load)?);
        self.idle(Duration::from_secs(2))
    }

    fn node(&mut self, server: usize) -> Result<&mut Node> {
        self.nodes.get_mut(server).with_context(|| format!("no server {server}"))
    }

    fn clients(&self) -> Result<&Generator> {
        self.clients.as_ref().context("the clients do not run yet")
    }

    /// A server's name.
    pub(super) fn name(&self, server: usize) -> Result<String> {
        self.timeline.servers.get(server).cloned().with_context(|| format!("no server {server}"))
    }

    /// The link router's program and version.
    pub(super) fn router_version(&mut self) -> Result<String> {
        Ok(self.lab.peer(self.link_router)?.version())
    }

    /// Starts a server's DNS responder.
    pub(super) fn start_service(&mut self, server: usize) -> Result<()> {
        let logs = self.lab.logs();
        let node = self.node(server)?;
        let name = node.place.netns.name().to_owned();
        let mut command = Command::new(daemons::find("lab")?);
        command.args(["dns-responder", "--bind", "[2001:db8:53::53]:53", "--name", &name]);
        command.args(["--service-time-us", &format!("{:.0}", 1e6 / CAPACITY), "--rcvbuf", &BUFFER.to_string()]);
        let place = Place { netns: &node.place.netns, root: None, logs: &logs };
        node.service = Some(Proc::start(&format!("{name}-dns"), place, &mut command)?);
        Ok(())
    }

    /// Kills a server's DNS responder.
    pub(super) fn kill_service(&mut self, server: usize) -> Result<()> {
        self.node(server)?.service.take().context("no service runs")?.kill()
    }

    /// Changes what a server can answer.
    pub(super) fn set_capacity(&mut self, server: usize, rate: f64) -> Result<()> {
        let service = self.node(server)?.service.as_mut().context("no service runs")?;
        service.tell(&format!("service-time-us {:.0}", 1e6 / rate))
    }

    /// Connects or disconnects a server; nobody sees a carrier change.
    pub(super) fn set_plugged(&mut self, server: usize, plugged: bool) -> Result<()> {
        let port = &self.node(server)?.place.port;
        if plugged { port.plug() } else { port.unplug() }
    }

    /// Changes the clients' rate.
    pub(super) fn set_rate(&self, rate: f64) {
        if let Some(clients) = &self.clients {
            clients.set_rate(rate);
        }
    }

    /// Waits until the router forwards to exactly these servers; since when it does.
    pub(super) fn wait_members(&mut self, servers: &[usize], since: Instant, timeout: Duration) -> Result<Instant> {
        let prefix = net(SERVICE)?;
        let member = |&server: &usize| self.farm.servers.get(server).map(|server| server.address);
        let wanted: BTreeSet<_> = servers.iter().filter_map(member).collect();
        loop {
            match self.monitor.wait_gateways(prefix, &wanted, since, STEP) {
                Ok(at) => return Ok(at),
                Err(error) if since.elapsed() > timeout => {
                    return Err(error.context(format!("not so within {:.0} s", timeout.as_secs_f64())));
                }
                Err(_) => self.tick()?,
            }
        }
    }

    /// Whether the router forwards to this server now.
    pub(super) fn is_member(&self, server: usize) -> Result<bool> {
        let address = self.farm.servers.get(server).with_context(|| format!("no server {server}"))?.address;
        Ok(self.monitor.gateways(net(SERVICE)?).contains(&address))
    }

    /// How often the router's next hops of the service have changed since then.
    pub(super) fn route_changes_since(&self, since: Instant) -> usize {
        let history = net(SERVICE).map(|prefix| self.monitor.history(prefix)).unwrap_or_default();
        history.iter().filter(|change| change.at >= since).count()
    }

    /// The servers' Intra-Area-Prefix-LSAs as the link router holds them: an equal set means that no cost changed.
    pub(super) fn prefix_lsas(&mut self) -> Result<BTreeSet<LsaRow>> {
        let routers: BTreeSet<_> = self.nodes.iter().map(|node| node.router_id).collect();
        let database = self.lab.peer(self.link_router)?.database()?;
        let theirs = |row: &LsaRow| row.ls_type == INTRA_AREA_PREFIX && routers.contains(&row.router);
        Ok(database.0.into_iter().filter(theirs).collect())
    }

    /// Lets time pass, with the picture live.
    pub(super) fn idle(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            std::thread::sleep(STEP);
            self.tick()?;
        }
        Ok(())
    }

    /// What becomes of the queries of the next `duration`; returns when the last has had its time.
    pub(super) fn measure(&mut self, duration: Duration) -> Result<Summary> {
        let from = Instant::now();
        self.idle(duration + TIMEOUT + Duration::from_millis(100))?;
        self.clients()?.summary(from, from + duration)
    }

    /// What became of the queries since then, as far as known.
    pub(super) fn summary_until_now(&self, from: Instant) -> Result<Summary> {
        self.clients()?.summary(from, Instant::now())
    }

    /// Takes and shows a sample if a second has passed.
    fn tick(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.clients.is_none() || now - self.last_sample < Duration::from_secs(1) {
            return Ok(());
        }
        self.last_sample = now;
        // The queries of the second before last have all had their time.
        let clients = self.clients()?.summary(now - TIMEOUT * 2, now - TIMEOUT)?;
        for node in &mut self.nodes {
            let told = node.speaker.daemon().show("service").and_then(|shown| read_service(&shown)).ok();
            if let (Some(old), Some(new)) = (node.told.and_then(|told| told.cost), told.and_then(|told| told.cost))
                && old != new
            {
                node.cost_changes += 1;
            }
            node.told = told;
        }
        let told = self.nodes.iter().map(|node| node.told).collect();
        let sample = Sample { at: now - self.opened, clients, told };
        let rows = self.rows(&sample.clients);
        self.screen.show(&sample, self.act, &rows);
        self.timeline.samples.push(sample);
        Ok(())
    }

    fn rows(&self, clients: &Summary) -> Vec<Row> {
        let row = |node: &Node| {
            let name = node.place.netns.name();
            Row {
                name: name.to_owned(),
                told: node.told,
                share: clients.share(name),
                answered: clients.answers.get(name).copied().unwrap_or(0),
                dropped: kernel_drops(&node.place),
                cost_changes: node.cost_changes,
            }
        };
        self.nodes.iter().map(row).collect()
    }

    /// Tells what comes.
    pub(super) fn announce(&mut self, title: &'static str, claim: &str) {
        self.act = title;
        self.timeline.acts.push((self.opened.elapsed(), title.to_owned()));
        self.screen.say(&format!("\nact {title}\n  claim: {claim}"));
    }

    /// Tells what came of it.
    pub(super) fn conclude(&mut self, verdict: &str, text: &str) {
        self.screen.say(&format!("  {verdict}: {text}"));
    }

    /// The whole run, per server.
    pub(super) fn summary_table(&self) -> Result<String> {
        let summary = self.summary_until_now(self.opened)?;
        let rows = self.rows(&summary);
        let total = format!(
            "whole run: {} queries, {} answered, {} lost ({:.1} %), p50 {:.1} ms, p99 {:.0} ms",
            summary.sent,
            summary.answered(),
            summary.lost,
            100.0 * summary.loss(),
            summary.p50.as_secs_f64() * 1e3,
            summary.p99.as_secs_f64() * 1e3,
        );
        Ok(format!("{total}\n{}", table(&rows)))
    }

    /// Everything that helps to understand a failure.
    pub(super) fn diagnostics(&mut self) -> String {
        let mut text = String::new();
        for node in &mut self.nodes {
            text.push_str(&format!(
                "--- server-speaker of {}\n{}\n",
                node.place.netns.name(),
                node.speaker.diagnostics()
            ));
        }
        text + &self.lab.diagnostics()
    }
}

/// Datagrams that found a server's socket buffer full, by the kernel's count for its namespace.
fn kernel_drops(server: &Server) -> u64 {
    let text = server.netns.run(|| fs::read_to_string("/proc/thread-self/net/snmp6")).and_then(|text| Ok(text?));
    let text = text.unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse().ok());
    value.unwrap_or(0)
}

/// Reads `show service --json`.
fn read_service(shown: &Value) -> Result<Told> {
    let services = shown.as_array().context("no list of services")?;
    let [service] = services.as_slice() else { bail!("{} services where one is configured", services.len()) };
    let number = |key: &str| service.get(key).and_then(Value::as_f64);
    Ok(Told {
        cost: service.get("cost").and_then(Value::as_u64).and_then(|cost| u32::try_from(cost).ok()),
        capacity: number("mu"),
        offered: number("x"),
    })
}
