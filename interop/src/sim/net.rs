//! The network: engines, links and one queue of events in virtual time.
//!
//! Packets are delayed, lost, doubled and overtake each other, with one restraint: Link State Updates of one router to
//! another over one link keep their order, as on a wire. Nothing in RFC 2328 helps against a flush that overtakes the
//! very LSA that it flushes.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    net::Ipv6Addr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use ospf_proto::{
    consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, MIN_LS_INTERVAL_TOPOLOGY},
    ctx::{Event, Membership, Transmit},
    engine::{Command, Companion, Config, Engine, IfaceConfig, Input, LinkEvent, LinkState, NetworkType, Output},
    id::{LsaKey, RouterId},
    lsa::Prefix,
    packet::{Packet, PacketType},
    rib::{NextHop, RouteChange},
    time::Instant,
};

use crate::sim::{
    random::Random,
    topology::{Topology, iface_id, link_local, link_prefix, nth_iface},
};

/// What the links do to packets, and what is common to all interfaces.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Packets lost, of a thousand.
    pub loss: u64,
    /// Packets delivered twice, of a thousand.
    pub duplicates: u64,
    /// HelloInterval, seconds; RouterDeadInterval is four times that.
    pub hello: u16,
    /// The invariants are checked after one in so many events of each router (1: after every one).
    pub checked_every: u64,
    /// The routing table is computed anew after one in so many events that are checked (0: never).
    pub exact_every: u64,
    /// The least time from one SPF run of a router to the next.
    pub spf_interval: Duration,
    /// Look for a forwarding loop after every change of a route.
    pub loops: bool,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Inputs handled.
    pub events: u64,
    /// Packets delivered.
    pub packets: u64,
    /// Route changes that closed a forwarding loop.
    pub loops: u64,
    /// SPF runs.
    pub spf: u64,
    /// Events after which the invariants were checked.
    pub checked: u64,
}

impl Stats {
    /// The sum.
    pub fn add(&mut self, other: &Stats) {
        self.events += other.events;
        self.packets += other.packets;
        self.loops += other.loops;
        self.spf += other.spf;
        self.checked += other.checked;
    }
}

/// A router's attachment to a link as it is now.
#[derive(Clone, Debug)]
pub struct Port {
    /// The router.
    pub router: usize,
    /// Its `nth` interface.
    pub nth: usize,
    /// Carrier and administratively up.
    pub up: bool,
    /// Which cuts it lies on which side of; ports hear each other only if this is the same.
    pub side: u64,
    address: Ipv6Addr,
    all_spf: bool,
    all_d: bool,
}

/// A router.
#[derive(Debug)]
pub struct Node {
    /// The engine; none while it is down.
    pub engine: Option<Engine>,
    /// The links of its interfaces.
    pub links: Vec<usize>,
    /// What it shall advertise.
    pub services: BTreeMap<Prefix, u16>,
    /// Its forwarding table, from the engine's outputs alone.
    pub fib: BTreeMap<Prefix, Box<[NextHop]>>,
    config: Config,
    companion: Companion,
    wake: Option<Instant>,
    lives: u64,
    said: HashMap<LsaKey, Instant>,
    turns: (Instant, u32),
    inputs: u64,
}

#[derive(Debug)]
struct Delivery {
    router: usize,
    nth: usize,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    bytes: Arc<[u8]>,
}

#[derive(Debug)]
enum Action {
    Deliver(Delivery),
    Wake(usize),
}

#[derive(Debug)]
struct Scheduled {
    at: Instant,
    number: u64,
    action: Action,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    /// The earliest is the greatest: a `BinaryHeap` pops it first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// So many turns of one router at one instant are a busy loop.
const TURNS_AT_ONCE: u32 = 10_000;

/// The network.
#[derive(Debug)]
pub struct Net {
    /// The time.
    pub now: Instant,
    /// What was planned.
    pub topology: Topology,
    /// Loss and the like.
    pub weather: Weather,
    /// The routers.
    pub nodes: Vec<Node>,
    /// The ports of every link.
    pub ports: Vec<Vec<Port>>,
    /// Counts so far.
    pub stats: Stats,
    /// When something else than a Hello was sent last.
    pub chatter: Instant,
    /// Print every packet but Hellos, and every event.
    pub trace: bool,
    queue: BinaryHeap<Scheduled>,
    number: u64,
    random: Random,
    seed: u64,
    /// When the last Link State Update from one port arrives at another (link, from, to).
    order: HashMap<(usize, usize, usize), Instant>,
    router_of: HashMap<Ipv6Addr, (usize, usize)>,
}

impl Net {
    /// The planned network with every router down.
    pub fn new(topology: Topology, weather: Weather, seed: u64) -> Result<Self> {
        let mut nodes: Vec<Node> = topology.forwarding.iter().enumerate().map(|(r, f)| node(r, *f, &weather)).collect();
        let mut ports = Vec::new();
        let mut router_of = HashMap::new();
        for (number, link) in topology.links.iter().enumerate() {
            let mut of_link = Vec::new();
            for end in &link.ends {
                let node = nodes.get_mut(end.router).context("a link of an unknown router")?;
                let nth = node.links.len();
                node.links.push(number);
                let mut config = IfaceConfig::new(format!("eth{nth}"));
                config.network_type = if link.broadcast { NetworkType::Broadcast } else { NetworkType::PointToPoint };
                config.cost = end.cost;
                config.priority = end.priority;
                config.hello_interval = weather.hello;
                config.dead_interval = weather.hello * 4;
                node.config.interfaces.push(config);
                let address = link_local(end.router, number);
                router_of.insert(address, (end.router, number));
                let router = end.router;
                of_link.push(Port { router, nth, up: true, side: 0, address, all_spf: false, all_d: false });
            }
            ports.push(of_link);
        }
        Ok(Net {
            now: Instant::EPOCH,
            topology,
            weather,
            nodes,
            ports,
            stats: Stats::default(),
            chatter: Instant::EPOCH,
            trace: false,
            queue: BinaryHeap::new(),
            number: 0,
            random: Random::new(seed, 0x6e65_7477),
            seed,
            order: HashMap::new(),
            router_of,
        })
    }

    /// RouterDeadInterval.
    pub fn dead_interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.weather.hello) * 4)
    }

    /// Starts a router, or starts it again.
    pub fn start(&mut self, router: usize) -> Result<()> {
        let (now, seed) = (self.now, self.seed);
        let node = self.nodes.get_mut(router).context("an unknown router")?;
        node.lives += 1;
        node.fib.clear();
        node.said.clear();
        let seed = Random::new(seed, (router as u64) << 16 | node.lives).draw();
        node.engine = Some(Engine::new(node.config.clone(), seed, now));
        let services = Command::Advertise { prefixes: node.services.clone(), companion: node.companion };
        for nth in 0..node.links.len() {
            self.tell_link(router, nth)?;
        }
        self.input(router, Input::Command(services))
    }

    /// Kills a router: no flush, no goodbye.
    pub fn kill(&mut self, router: usize) {
        if let Some(node) = self.nodes.get_mut(router) {
            node.engine = None;
            node.wake = None;
            node.fib.clear();
        }
        for port in self.ports.iter_mut().flatten().filter(|port| port.router == router) {
            (port.all_spf, port.all_d) = (false, false);
        }
    }

    /// Whether a router runs.
    pub fn alive(&self, router: usize) -> bool {
        self.nodes.get(router).is_some_and(|node| node.engine.is_some())
    }

    /// Gives a router a command.
    pub fn command(&mut self, router: usize, command: Command) -> Result<()> {
        self.input(router, Input::Command(command))
    }

    /// Sets what a server advertises.
    pub fn advertise(&mut self, router: usize, services: BTreeMap<Prefix, u16>, companion: Companion) -> Result<()> {
        let node = self.nodes.get_mut(router).context("an unknown router")?;
        node.services.clone_from(&services);
        node.companion = companion;
        self.input(router, Input::Command(Command::Advertise { prefixes: services, companion }))
    }

    /// Takes a link's port down or up, and tells the router.
    pub fn set_port(&mut self, link: usize, router: usize, up: bool) -> Result<()> {
        let ports = self.ports.get_mut(link).context("an unknown link")?;
        let port = ports.iter_mut().find(|port| port.router == router).context("a router that is not attached")?;
        port.up = up;
        let nth = port.nth;
        self.tell_link(router, nth)
    }

    /// Cuts every link, without anybody noticing, between the ports that `inside` names and the others; `cut` is the
    /// number of the cut.
    pub fn cut(&mut self, cut: u32, inside: impl Fn(usize, usize) -> bool) {
        let bit = 1u64 << (cut % 64);
        for (link, ports) in self.ports.iter_mut().enumerate() {
            for port in ports.iter_mut().filter(|port| inside(link, port.router)) {
                port.side |= bit;
            }
        }
    }

    /// Mends a cut.
    pub fn mend(&mut self, cut: u32) {
        let bit = 1u64 << (cut % 64);
        for port in self.ports.iter_mut().flatten() {
            port.side &= !bit;
        }
    }

    fn tell_link(&mut self, router: usize, nth: usize) -> Result<()> {
        let node = self.nodes.get(router).context("an unknown router")?;
        let link = *node.links.get(nth).context("an unknown interface")?;
        let port = self.ports.get(link).and_then(|ports| ports.iter().find(|p| p.router == router && p.nth == nth));
        let port = port.context("an unknown port")?;
        let state = LinkState {
            iface: iface_id(router, nth),
            name: format!("eth{nth}"),
            up: port.up,
            mtu: 1500,
            link_local: Some(port.address),
            prefixes: vec![link_prefix(link)?],
        };
        self.input(router, Input::Link(LinkEvent::State(state)))
    }

    /// Lets time pass until `end`; an error is a broken invariant.
    pub fn run_until(&mut self, end: Instant) -> Result<()> {
        while self.queue.peek().is_some_and(|next| next.at <= end) {
            let Some(Scheduled { at, action, .. }) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            match action {
                Action::Wake(router) => {
                    let node = self.nodes.get_mut(router).context("an unknown router")?;
                    if node.wake == Some(at) {
                        node.wake = None;
                        self.input(router, Input::Tick)?;
                    }
                }
                Action::Deliver(delivery) => {
                    let Delivery { router, nth, src, dst, bytes } = delivery;
                    self.stats.packets += 1;
                    self.input(router, Input::Packet { iface: iface_id(router, nth), src, dst, bytes: &bytes })?;
                }
            }
        }
        self.now = end;
        Ok(())
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) -> Result<()> {
        self.run_until(self.now + duration)
    }

    /// One turn of a router, its outputs, and the invariants after it.
    fn input(&mut self, router: usize, input: Input<'_>) -> Result<()> {
        let now = self.now;
        let node = self.nodes.get_mut(router).context("an unknown router")?;
        let Some(engine) = node.engine.as_mut() else { return Ok(()) };
        self.stats.events += 1;
        engine.handle(now, input);
        node.inputs += 1;
        let mut checked = Ok(());
        if node.inputs.is_multiple_of(self.weather.checked_every) {
            self.stats.checked += 1;
            let exact = self.weather.exact_every > 0 && self.stats.checked.is_multiple_of(self.weather.exact_every);
            checked = engine.check_invariants(if exact { usize::MAX } else { 0 });
        }
        let mut outputs = Vec::new();
        while let Some(output) = engine.poll_output() {
            outputs.push(output);
        }
        let next = engine.next_timeout();
        node.turns = if node.turns.0 == now { (now, node.turns.1 + 1) } else { (now, 1) };
        ensure!(node.turns.1 < TURNS_AT_ONCE, "router {router} at {now}: {TURNS_AT_ONCE} turns at one instant");
        if let Err(broken) = checked {
            bail!("router {router} at {now}: {broken}");
        }
        if let Some(at) = next.filter(|at| node.wake.is_none_or(|wake| wake != *at)) {
            node.wake = Some(at);
            self.schedule(at, Action::Wake(router));
        }
        outputs.into_iter().try_for_each(|output| self.output(router, output))
    }

    fn output(&mut self, router: usize, output: Output) -> Result<()> {
        let now = self.now;
        if self.trace && matches!(output, Output::Route(_) | Output::Event(_)) {
            println!("{now} router {router}: {output:?}");
        }
        match output {
            Output::Transmit(transmit) => self.transmit(router, transmit),
            Output::Membership(membership) => self.membership(router, membership),
            Output::Route(RouteChange::Install(prefix, route)) => {
                let node = self.nodes.get_mut(router).context("an unknown router")?;
                let moved = node.fib.get(&prefix) != Some(&route.next_hops);
                node.fib.insert(prefix, route.next_hops.clone());
                if moved && self.weather.loops && self.closes_loop(router, &prefix) {
                    self.stats.loops += 1;
                }
                Ok(())
            }
            Output::Route(RouteChange::Remove(prefix)) => {
                let node = self.nodes.get_mut(router).context("an unknown router")?;
                ensure!(
                    node.fib.remove(&prefix).is_some(),
                    "router {router} at {now}: the route to {prefix} is removed and was never installed"
                );
                Ok(())
            }
            Output::Event(Event::Originated { key, sequence, .. }) => {
                let node = self.nodes.get_mut(router).context("an unknown router")?;
                if let Some(before) = node.said.insert(key, now) {
                    ensure!(
                        now.since(before) >= MIN_LS_INTERVAL_TOPOLOGY,
                        "router {router} at {now}: {key} ({sequence:#x}) again after {:?}, MinLSInterval or not",
                        now.since(before)
                    );
                }
                Ok(())
            }
            Output::Event(Event::Spf { .. }) => {
                self.stats.spf += 1;
                Ok(())
            }
            Output::Event(_) => Ok(()),
        }
    }

    fn membership(&mut self, router: usize, change: Membership) -> Result<()> {
        let Some((link, _)) = self.port_of(router, change.iface) else { bail!("a group on an unknown interface") };
        for port in self.ports.get_mut(link).into_iter().flatten().filter(|port| port.router == router) {
            let group = if change.group == ALL_SPF_ROUTERS { &mut port.all_spf } else { &mut port.all_d };
            *group = change.joined;
        }
        Ok(())
    }

    /// The link and the number of the port of a router's interface.
    fn port_of(&self, router: usize, iface: ospf_proto::id::IfaceId) -> Option<(usize, usize)> {
        let link = *self.nodes.get(router)?.links.get(nth_iface(router, iface)?)?;
        let at = self.ports.get(link)?.iter().position(|port| port.router == router)?;
        Some((link, at))
    }

    fn transmit(&mut self, router: usize, transmit: Transmit) -> Result<()> {
        let Transmit { iface, src, dst, bytes } = transmit;
        let (link, from) = self.port_of(router, iface).context("a packet on an unknown interface")?;
        let kind = bytes.get(1).copied().unwrap_or_default();
        if kind != PacketType::Hello as u8 {
            self.chatter = self.now;
            if self.trace {
                let body = Packet::decode(src, dst, &bytes).map(|packet| packet.body);
                println!("{} router {router} link {link} to {dst}: {body:?}", self.now);
            }
        }
        let bytes: Arc<[u8]> = bytes.into();
        let ports = self.ports.get(link).context("an unknown link")?;
        let Some(sender) = ports.get(from).filter(|port| port.up) else { return Ok(()) };
        let side = sender.side;
        let heard = |port: &Port| match dst {
            ALL_SPF_ROUTERS => port.all_spf,
            ALL_D_ROUTERS => port.all_d,
            _ => port.address == dst,
        };
        let hearers: Vec<(usize, usize, usize)> = ports
            .iter()
            .enumerate()
            .filter(|(at, port)| *at != from && port.up && port.side == side && heard(port))
            .map(|(at, port)| (at, port.router, port.nth))
            .collect();
        let plan = self.topology.links.get(link).context("an unknown link")?;
        let (delay, jitter) = (plan.delay, plan.jitter.as_micros() as u64);
        for (to, hearer, nth) in hearers {
            if self.random.chance(self.weather.loss) {
                continue;
            }
            let twice = self.random.chance(self.weather.duplicates);
            for _ in 0..=u8::from(twice) {
                let mut at = self.now + delay + Duration::from_micros(self.random.between(0, jitter));
                if kind == PacketType::LsUpd as u8 {
                    let last = self.order.entry((link, from, to)).or_default();
                    at = at.max(*last);
                    *last = at;
                }
                let bytes = Arc::clone(&bytes);
                self.schedule(at, Action::Deliver(Delivery { router: hearer, nth, src, dst, bytes }));
            }
        }
        Ok(())
    }

    fn schedule(&mut self, at: Instant, action: Action) {
        self.number += 1;
        self.queue.push(Scheduled { at, number: self.number, action });
    }

    /// The routers that a packet to `prefix` may go to next from `router`, over links that carry it.
    pub fn next_routers(&self, router: usize, prefix: &Prefix) -> Vec<usize> {
        let Some(node) = self.nodes.get(router) else { return Vec::new() };
        let hops = node.fib.get(prefix).into_iter().flatten();
        hops.filter_map(|hop| self.router_of.get(&hop.gateway?))
            .filter(|(next, link)| self.alive(*next) && self.connected(*link, router, *next))
            .map(|(next, _)| *next)
            .collect()
    }

    /// Whether two routers hear each other on a link.
    pub fn connected(&self, link: usize, a: usize, b: usize) -> bool {
        let ports = || self.ports.get(link).into_iter().flatten().filter(|port| port.up);
        let side = |router| ports().find(|port| port.router == router).map(|port| port.side);
        side(a).is_some() && side(a) == side(b)
    }

    /// Whether a packet that leaves `router` may come back to it.
    pub fn closes_loop(&self, router: usize, prefix: &Prefix) -> bool {
        let mut seen = BTreeSet::new();
        let mut left = self.next_routers(router, prefix);
        while let Some(at) = left.pop() {
            if at == router {
                return true;
            }
            // A server drops what is not its own.
            if self.topology.forwards(at) && seen.insert(at) {
                left.extend(self.next_routers(at, prefix));
            }
        }
        false
    }
}

fn node(router: usize, forwarding: bool, weather: &Weather) -> Node {
    let mut config = Config::new(RouterId(router as u32 + 1));
    config.forwarding = forwarding;
    config.spf_interval = weather.spf_interval;
    Node {
        engine: None,
        links: Vec::new(),
        services: BTreeMap::new(),
        fib: BTreeMap::new(),
        config,
        companion: Companion::None,
        wake: None,
        lives: 0,
        said: HashMap::new(),
        turns: (Instant::EPOCH, 0),
        inputs: 0,
    }
}
