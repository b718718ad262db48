//! A small network of engines in virtual time: links with delay and seeded loss, and the outputs kept per router.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use ospf_proto::ctx::{Event, Transmit};
use ospf_proto::engine::{
    Command, Companion, Config, Engine, IfaceConfig, Input, LinkEvent, LinkState, NetworkType, Output,
};
use ospf_proto::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, RouterId};
use ospf_proto::lsa::{LsType, Lsa, LsaHeader, Prefix};
use ospf_proto::packet::{Hello, LsUpd, Packet, PacketBody, PacketHeader, PacketType};
use ospf_proto::rib::{Route, RouteChange};
use ospf_proto::state::{IfaceState, NeighborState};
use ospf_proto::time::Instant;

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn rid(n: u32) -> RouterId {
    RouterId(n)
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// One attachment of a router to a link.
#[derive(Clone, Debug)]
struct Port {
    router: usize,
    iface: IfaceId,
    address: Ipv6Addr,
    cut: bool,
}

#[derive(Debug)]
pub struct Node {
    pub engine: Option<Engine>,
    pub config: Config,
    pub routes: BTreeMap<Prefix, Arc<Route>>,
    pub events: Vec<(Instant, Event)>,
    pub sent: Vec<(Instant, Transmit)>,
    links: Vec<LinkState>,
    groups: BTreeSet<(IfaceId, Ipv6Addr)>,
    lives: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Instant,
    number: u64,
    router: usize,
    iface: IfaceId,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    bytes: Vec<u8>,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    pub now: Instant,
    pub nodes: Vec<Node>,
    links: Vec<Vec<Port>>,
    flights: BTreeSet<Flight>,
    number: u64,
    pub loss_percent: u64,
    /// Packets delivered twice.
    pub duplicate_percent: u64,
    pub delay: Duration,
    /// Up to so much more delay, by chance: packets overtake each other (but no update an update).
    pub jitter: Duration,
    /// Packets to lose on purpose.
    pub losing: Vec<Losing>,
    /// When the last Link State Update of one router arrives at another: these keep their order.
    last_update: BTreeMap<(usize, usize), Instant>,
    random: u64,
}

/// Packets of one kind by one router, lost on purpose: `skip` pass, then `count` are lost.
#[derive(Debug)]
pub struct Losing {
    pub from: usize,
    pub kind: PacketType,
    pub skip: usize,
    pub count: usize,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Net {
            now: Instant::EPOCH,
            nodes: Vec::new(),
            links: Vec::new(),
            flights: BTreeSet::new(),
            number: 0,
            loss_percent: 0,
            duplicate_percent: 0,
            delay: ms(1),
            jitter: ms(0),
            losing: Vec::new(),
            last_update: BTreeMap::new(),
            random: seed,
        }
    }

    pub fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Adds a router; `change` adjusts its configuration before its interfaces are added by `link`.
    pub fn router(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let mut config = Config::new(rid(self.nodes.len() as u32 + 1));
        change(&mut config);
        self.nodes.push(Node {
            engine: None,
            config,
            routes: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            links: Vec::new(),
            groups: BTreeSet::new(),
            lives: 0,
        });
        self.nodes.len() - 1
    }

    /// Adds a server: R-bit clear, priority 0 on its links.
    pub fn server(&mut self) -> usize {
        self.router(|config| config.forwarding = false)
    }

    /// Attaches routers to a new link; hello 1 s, dead 4 s; `change` adjusts each interface.
    pub fn link(&mut self, routers: &[usize], kind: NetworkType, change: impl Fn(usize, &mut IfaceConfig)) -> usize {
        let number = self.links.len();
        let mut ports = Vec::new();
        for router in routers {
            let node = &mut self.nodes[*router];
            let iface = IfaceId(node.links.len() as u32 + 1);
            let name = format!("eth{}", iface.0);
            let mut config = IfaceConfig::new(name.clone());
            config.network_type = kind;
            config.hello_interval = 1;
            config.dead_interval = 4;
            config.priority = u8::from(node.config.forwarding);
            change(*router, &mut config);
            node.config.interfaces.push(config);
            let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, number as u16, *router as u16 + 1);
            let link_prefix = Ipv6Addr::new(0x2001, 0xdb8, 0, number as u16, 0, 0, 0, 0);
            node.links.push(LinkState {
                iface,
                name,
                up: true,
                mtu: 1500,
                link_local: Some(address),
                prefixes: vec![Prefix::new(link_prefix, 64).unwrap()],
            });
            ports.push(Port { router: *router, iface, address, cut: false });
        }
        self.links.push(ports);
        number
    }

    pub fn broadcast(&mut self, routers: &[usize]) -> usize {
        self.link(routers, NetworkType::Broadcast, |_, _| {})
    }

    /// Starts a router (again).
    pub fn start(&mut self, router: usize) {
        let node = &mut self.nodes[router];
        node.lives += 1;
        node.routes.clear();
        node.groups.clear();
        let seed = (router as u64 + 1) * 1_000_003 + node.lives;
        node.engine = Some(Engine::new(node.config.clone(), seed, self.now));
        for link in node.links.clone() {
            self.input(router, Input::Link(LinkEvent::State(link)));
        }
    }

    pub fn start_all(&mut self) {
        for router in 0..self.nodes.len() {
            self.start(router);
        }
    }

    /// Kills a router: no flush, no goodbye.
    pub fn kill(&mut self, router: usize) {
        self.nodes[router].engine = None;
    }

    /// Cuts a router off a link without its noticing, or mends it.
    pub fn cut(&mut self, link: usize, router: usize, cut: bool) {
        for port in self.links[link].iter_mut().filter(|port| port.router == router) {
            port.cut = cut;
        }
    }

    /// Tells a router that its interface (the `nth` it was attached by) is up or down.
    pub fn set_link(&mut self, router: usize, nth: usize, up: bool) {
        self.nodes[router].links[nth].up = up;
        let link = self.nodes[router].links[nth].clone();
        self.input(router, Input::Link(LinkEvent::State(link)));
    }

    pub fn command(&mut self, router: usize, command: Command) {
        self.input(router, Input::Command(command));
    }

    pub fn engine(&self, router: usize) -> &Engine {
        self.nodes[router].engine.as_ref().expect("the router runs")
    }

    pub fn input(&mut self, router: usize, input: Input<'_>) {
        let now = self.now;
        let Some(engine) = self.nodes[router].engine.as_mut() else { return };
        engine.handle(now, input);
        self.drain(router);
    }

    fn drain(&mut self, router: usize) {
        let now = self.now;
        while let Some(output) = self.nodes[router].engine.as_mut().and_then(Engine::poll_output) {
            let node = &mut self.nodes[router];
            match output {
                Output::Transmit(transmit) => {
                    node.sent.push((now, transmit.clone()));
                    self.transmit(router, transmit);
                }
                Output::Membership(m) => {
                    if m.joined {
                        node.groups.insert((m.iface, m.group));
                    } else {
                        node.groups.remove(&(m.iface, m.group));
                    }
                }
                Output::Route(RouteChange::Install(prefix, route)) => {
                    node.routes.insert(prefix, route);
                }
                Output::Route(RouteChange::Remove(prefix)) => {
                    assert!(node.routes.remove(&prefix).is_some(), "a route that was never installed is removed");
                }
                Output::Event(event) => node.events.push((now, event)),
            }
        }
    }

    fn transmit(&mut self, router: usize, transmit: Transmit) {
        let Transmit { iface, src, dst, bytes } = transmit;
        let Some(ports) = self.links.iter().find(|ports| ports.iter().any(|p| p.router == router && p.iface == iface))
        else {
            return;
        };
        let ports = ports.clone();
        if self.loses(router, bytes[1]) {
            return;
        }
        if ports.iter().any(|p| p.router == router && p.cut) {
            return;
        }
        for port in ports.iter().filter(|p| p.router != router && !p.cut) {
            let multicast = dst == ALL_SPF_ROUTERS || dst == ALL_D_ROUTERS;
            let heard = if multicast {
                self.nodes[port.router].groups.contains(&(port.iface, dst))
            } else {
                port.address == dst
            };
            if !heard || self.random() % 100 < self.loss_percent {
                continue;
            }
            let twice = self.duplicate_percent > 0 && self.random() % 100 < self.duplicate_percent;
            for _ in 0..=u8::from(twice) {
                let jitter = self.jitter.as_micros() as u64;
                let more = if jitter > 0 { Duration::from_micros(self.random() % jitter) } else { ms(0) };
                self.number += 1;
                let mut at = self.now + self.delay + more;
                if bytes[1] == PacketType::LsUpd as u8 {
                    // Nothing in RFC 2328 helps against a flush that overtakes its own LSA.
                    let last = self.last_update.entry((router, port.router)).or_default();
                    at = at.max(*last);
                    *last = at;
                }
                self.flights.insert(Flight {
                    at,
                    number: self.number,
                    router: port.router,
                    iface: port.iface,
                    src,
                    dst,
                    bytes: bytes.clone(),
                });
            }
        }
    }

    fn loses(&mut self, from: usize, kind: u8) -> bool {
        let rule = self.losing.iter_mut().find(|rule| rule.from == from && rule.kind as u8 == kind);
        let Some(rule) = rule else { return false };
        if rule.skip > 0 {
            rule.skip -= 1;
            return false;
        }
        let lost = rule.count > 0;
        rule.count = rule.count.saturating_sub(1);
        lost
    }

    /// Loses packets on purpose.
    pub fn lose(&mut self, from: usize, kind: PacketType, (skip, count): (usize, usize)) {
        self.losing.push(Losing { from, kind, skip, count });
    }

    /// Delivers a packet as if `from` had sent it to `to` over `link`.
    pub fn forge(&mut self, link: usize, (from, to): (usize, usize), body: PacketBody) {
        self.forge_as(self.nodes[from].config.router_id, link, (from, to), body);
    }

    /// The same under any Router ID.
    pub fn forge_as(&mut self, router_id: RouterId, link: usize, (from, to): (usize, usize), body: PacketBody) {
        let bytes = self.forged(router_id, link, (from, to), body);
        let (iface, src, dst) = (self.iface(to, link), self.address(from, link), self.address(to, link));
        self.inject(to, iface, (src, dst), &bytes);
    }

    /// The bytes of such a packet.
    pub fn forged(&self, router_id: RouterId, link: usize, (from, to): (usize, usize), body: PacketBody) -> Vec<u8> {
        let header = PacketHeader { router_id, area_id: AreaId(0), instance_id: 0 };
        Packet { header, body }.encode(self.address(from, link), self.address(to, link))
    }

    /// Delivers LSAs as if `from` had flooded them to `to` over `link`.
    pub fn forge_lsas(&mut self, link: usize, ends: (usize, usize), lsas: Vec<Lsa>) {
        self.forge(link, ends, PacketBody::LsUpd(LsUpd { lsas, rejected: Vec::new() }));
    }

    /// Whether a router listens to a group on an interface.
    pub fn joined(&self, router: usize, iface: IfaceId, group: Ipv6Addr) -> bool {
        self.nodes[router].groups.contains(&(iface, group))
    }

    /// The interface by which a router is attached to a link.
    pub fn iface(&self, router: usize, link: usize) -> IfaceId {
        self.links[link].iter().find(|p| p.router == router).expect("attached").iface
    }

    /// The state of the kernel's link, for tests that change it: give it back by `tell_link`.
    pub fn link_state(&self, router: usize, nth: usize) -> LinkState {
        self.nodes[router].links[nth].clone()
    }

    /// Tells a router that its link has changed; a new link-local address is known to the link.
    pub fn tell_link(&mut self, router: usize, nth: usize, state: LinkState) {
        let iface = state.iface;
        for port in self.links.iter_mut().flatten().filter(|p| p.router == router && p.iface == iface) {
            port.address = state.link_local.unwrap_or(port.address);
        }
        self.nodes[router].links[nth] = state.clone();
        self.input(router, Input::Link(LinkEvent::State(state)));
    }

    /// What a router sent since the last `forget`, decoded.
    pub fn packets(&self, router: usize) -> Vec<(Instant, Ipv6Addr, PacketBody)> {
        let sent = self.nodes[router].sent.iter();
        sent.map(|(at, t)| (*at, t.dst, Packet::decode(t.src, t.dst, &t.bytes).unwrap().body)).collect()
    }

    /// The Hellos that a router sent since the last `forget`, over all its links.
    pub fn hellos(&self, router: usize) -> Vec<Hello> {
        let hello = |body| if let PacketBody::Hello(hello) = body { Some(hello) } else { None };
        self.packets(router).into_iter().filter_map(|(_, _, body)| hello(body)).collect()
    }

    /// The last of them.
    pub fn last_hello(&self, router: usize) -> Hello {
        self.hellos(router).pop().expect("a Hello")
    }

    /// The labels of the drops that a router reported since the last `forget`.
    pub fn drops(&self, router: usize) -> Vec<&'static str> {
        let events = self.nodes[router].events.iter();
        events
            .filter_map(|(_, e)| if let Event::Dropped { reason, .. } = e { Some(reason.label()) } else { None })
            .collect()
    }

    /// Forgets what was sent and reported so far.
    pub fn forget(&mut self) {
        for node in &mut self.nodes {
            node.sent.clear();
            node.events.clear();
        }
    }

    /// (DR, Backup DR) as a router sees them on its `nth` interface.
    pub fn elected(&self, router: usize, nth: usize) -> (u32, u32) {
        let iface = &self.engine(router).view().interfaces()[nth];
        (iface.dr.0, iface.bdr.0)
    }

    pub fn iface_state(&self, router: usize, nth: usize) -> IfaceState {
        self.engine(router).view().interfaces()[nth].state
    }

    /// What router 0's database holds under another sequence number.
    pub fn as_if_own(&self, key: &LsaKey, sequence: i32) -> Lsa {
        let lsa = self.lsa(0, key).unwrap();
        let header = LsaHeader { sequence, age: 0, ..lsa.header };
        Lsa::from_body_bytes(header, lsa.body_bytes()).unwrap()
    }

    /// The instance of an LSA in a router's database.
    pub fn lsa(&self, router: usize, key: &LsaKey) -> Option<Lsa> {
        let view = self.engine(router).view();
        let found = view.lsas().into_iter().find(|l| l.key == *key);
        found.map(|l| l.lsa.with_age(l.age))
    }

    /// Delivers a forged or replayed packet.
    pub fn inject(&mut self, router: usize, iface: IfaceId, (src, dst): (Ipv6Addr, Ipv6Addr), bytes: &[u8]) {
        self.input(router, Input::Packet { iface, src, dst, bytes });
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let flight = self.flights.first().map(|flight| flight.at);
            let timers = self.nodes.iter().filter_map(|node| node.engine.as_ref()?.next_timeout());
            let next = timers.chain(flight).min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while self.flights.first().is_some_and(|flight| flight.at <= self.now) {
                let Some(f) = self.flights.pop_first() else { break };
                self.input(f.router, Input::Packet { iface: f.iface, src: f.src, dst: f.dst, bytes: &f.bytes });
            }
            for router in 0..self.nodes.len() {
                let due = self.nodes[router].engine.as_ref().and_then(Engine::next_timeout);
                if due.is_some_and(|at| at <= self.now) {
                    self.input(router, Input::Tick);
                }
            }
        }
        self.now = end;
    }

    /// Lets time pass until `condition` holds; says how long it took. Panics after `limit`.
    pub fn run_until(&mut self, limit: Duration, what: &str, condition: impl Fn(&Net) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.now.since(start) < limit, "{what}: not within {limit:?}");
            self.run(ms(1));
        }
        self.now.since(start)
    }

    pub fn state(&self, router: usize, of: usize) -> Option<NeighborState> {
        let of = self.nodes[of].config.router_id;
        let neighbors = self.nodes[router].engine.as_ref()?.view().neighbors();
        neighbors.iter().find(|n| n.router == of).map(|n| n.state)
    }

    pub fn full(&self, a: usize, b: usize) -> bool {
        self.state(a, b) == Some(NeighborState::Full) && self.state(b, a) == Some(NeighborState::Full)
    }

    /// The area's LSAs of a router: key, sequence, checksum.
    pub fn area_lsdb(&self, router: usize) -> Vec<(String, i32, u16)> {
        self.engine(router)
            .view()
            .lsas()
            .iter()
            .filter(|lsa| matches!(lsa.key.domain, ospf_proto::id::Domain::Area(_)))
            .map(|lsa| (lsa.key.to_string(), lsa.lsa.header.sequence, lsa.lsa.header.checksum))
            .collect()
    }

    pub fn assert_synchronised(&self, routers: &[usize]) {
        let reference = self.area_lsdb(routers[0]);
        assert!(!reference.is_empty());
        for router in routers {
            assert_eq!(self.area_lsdb(*router), reference, "LSDB of router {router}");
        }
    }

    pub fn gateways(&self, router: usize, prefix: &Prefix) -> Vec<Ipv6Addr> {
        let route = self.nodes[router].routes.get(prefix);
        route.map(|r| r.next_hops.iter().filter_map(|hop| hop.gateway).collect()).unwrap_or_default()
    }

    pub fn address(&self, router: usize, link: usize) -> Ipv6Addr {
        self.links[link].iter().find(|p| p.router == router).expect("attached").address
    }
}

/// Every engine's routing table is what its LSDB gives, whatever its size.
pub fn assert_exact(net: &Net) {
    for node in net.nodes.iter().filter_map(|node| node.engine.as_ref()) {
        node.check_invariants(usize::MAX).unwrap();
    }
}

/// A key in area 0.
pub fn area_key(ls_type: LsType, link_state_id: u32, router: u32) -> LsaKey {
    let domain = Domain::Area(AreaId(0));
    LsaKey { domain, ls_type, link_state_id: LinkStateId(link_state_id), adv_router: rid(router) }
}

/// The key of an LSA of a type that nobody knows, to be flooded through the area, by a router that is not there.
pub fn strange(link_state_id: u32) -> LsaKey {
    area_key(LsType(0xaabc), link_state_id, 99)
}

/// An LSA of any type with a body of bytes.
pub fn raw_lsa(key: &LsaKey, sequence: i32, body: &[u8]) -> Lsa {
    let LsaKey { ls_type, link_state_id, adv_router, .. } = *key;
    let header = LsaHeader { ls_type, link_state_id, adv_router, sequence, ..LsaHeader::default() };
    Lsa::from_body_bytes(header, body).unwrap()
}

/// Two routers on a point-to-point link, Full.
pub fn pair() -> Net {
    let mut net = Net::new(7);
    net.router(|_| {});
    net.router(|_| {});
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run_until(secs(5), "full", |net| net.full(0, 1));
    net.run(secs(5));
    net
}

/// `n` routers on a broadcast link, settled.
pub fn lan(n: usize) -> Net {
    let mut net = Net::new(7);
    let all: Vec<usize> = (0..n).map(|_| net.router(|_| {})).collect();
    net.broadcast(&all);
    net.start_all();
    net.run(secs(15));
    net
}

/// Routers 0 - 1 - 2 in a row, settled.
pub fn row() -> Net {
    let mut net = Net::new(7);
    for _ in 0..3 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.link(&[1, 2], NetworkType::PointToPoint, |_, _| {});
    net.start_all();
    net.run(secs(10));
    assert!(net.full(0, 1) && net.full(1, 2));
    net
}

/// Two routers with `n` prefix LSAs each that meet now: they were cut off from each other.
pub fn strangers_meet(n: u32) -> Net {
    let mut net = Net::new(11);
    for _ in 0..2 {
        net.router(|_| {});
    }
    net.link(&[0, 1], NetworkType::PointToPoint, |_, _| {});
    net.cut(0, 0, true);
    net.start_all();
    for router in 0..2 {
        let prefixes = (0..n).map(|i| (prefix(&format!("2001:db8:{router}::{i:x}/128")), 1)).collect();
        net.command(router, Command::Advertise { prefixes, companion: Companion::None });
    }
    net.run(secs(6));
    assert!(net.engine(0).view().ready() && net.engine(1).view().ready(), "the link proved empty");
    net.cut(0, 0, false);
    net.forget();
    net
}

/// The Link State Updates that a router has sent: where to, and what.
pub fn updates(net: &Net, router: usize) -> Vec<(Ipv6Addr, Vec<Lsa>)> {
    let sent = net.packets(router).into_iter();
    sent.filter_map(|(_, dst, body)| if let PacketBody::LsUpd(update) = body { Some((dst, update.lsas)) } else { None })
        .collect()
}
