//! A link with one to three engines and an attacker in virtual time, and what must hold after every turn.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is a finding")]

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::ctx::Transmit;
use ospf_proto::engine::{Config, Engine, Input, LinkEvent, LinkState, Output};
use ospf_proto::id::{IfaceId, RouterId};
use ospf_proto::lsa::Prefix;
use ospf_proto::lsdb::Source;
use ospf_proto::packet::{Packet, PacketBody};
use ospf_proto::rib::{Route, RouteChange};
use ospf_proto::time::Instant;

/// The attacker's Router ID: above those of the engines, so that it is master of every exchange.
pub const ATTACKER: RouterId = RouterId(9);
/// The shared link; on `SIDE` the first two engines are alone.
pub const SHARED: IfaceId = IfaceId(1);
/// The second link.
pub const SIDE: IfaceId = IfaceId(2);
/// Packets on their way; more are lost.
const MAX_FLIGHTS: usize = 128;
/// Packets kept for replay.
const MAX_HEARD: usize = 32;
/// IPv6 header.
const IP_HEADER: usize = 40;
/// The least MTU that a link may have.
const LEAST_MTU: usize = 1280;
/// Databases above this size are not computed anew after every turn.
const CHECKED_LSAS: usize = 200;
/// Rounds of [`Net::run`] in one program; behind them time passes in one step.
const MAX_ROUNDS: usize = 12;

/// A packet on its way, or one to remember.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The receiving engine.
    pub to: usize,
    /// The link.
    pub iface: IfaceId,
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// The OSPF packet.
    pub bytes: Vec<u8>,
}

/// One router.
#[derive(Clone)]
pub struct Node {
    /// The engine.
    pub engine: Engine,
    /// Its configuration, for restarts.
    pub config: Config,
    /// The links as last told.
    pub links: Vec<LinkState>,
    /// The routes that were handed out.
    routes: BTreeMap<Prefix, Arc<Route>>,
    lives: u64,
}

/// The whole.
#[derive(Clone)]
pub struct Net {
    /// Virtual time.
    pub now: Instant,
    /// The routers; number `n` has Router ID `n + 1` and the address `fe80::n+1`.
    pub nodes: Vec<Node>,
    /// Packets on their way.
    pub flights: VecDeque<Flight>,
    /// What was sent last.
    pub heard: VecDeque<Flight>,
    /// Rounds that the program has left.
    rounds: usize,
    /// Of everything that was sent and told, for those who compare two runs.
    digest: Option<DefaultHasher>,
}

/// The link-local address of a Router ID.
pub fn address(router: RouterId) -> Ipv6Addr {
    let [a, b, c, d] = router.0.to_be_bytes();
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// A link as the kernel of router `n` first has it.
pub fn link_state(router: RouterId, iface: IfaceId) -> LinkState {
    let shared = Ipv6Addr::new(0x2001, 0xdb8, 0, iface.0 as u16, 0, 0, 0, 0);
    LinkState {
        iface,
        name: format!("eth{}", iface.0),
        up: true,
        mtu: 1500,
        link_local: Some(address(router)),
        prefixes: vec![Prefix::new(shared, 64).unwrap()],
    }
}

impl Net {
    /// Routers of these configurations; none has a link yet. A digest is kept if asked for.
    pub fn new(configs: Vec<Config>, digest: bool) -> Self {
        let node = |config: Config| Node {
            engine: Engine::new(config.clone(), u64::from(config.router_id.0), Instant::EPOCH),
            links: (1..=config.interfaces.len() as u32).map(|n| link_state(config.router_id, IfaceId(n))).collect(),
            config,
            routes: BTreeMap::new(),
            lives: 0,
        };
        Net {
            now: Instant::EPOCH,
            nodes: configs.into_iter().map(node).collect(),
            flights: VecDeque::new(),
            heard: VecDeque::new(),
            rounds: MAX_ROUNDS,
            digest: digest.then(DefaultHasher::new),
        }
    }

    /// A number that two runs of the same input have in common; none if no digest is kept.
    pub fn digest(&self) -> Option<u64> {
        self.digest.as_ref().map(Hasher::finish)
    }

    /// Tells a router of its links.
    pub fn bring_up(&mut self, node: usize) {
        for link in self.nodes[node].links.clone() {
            self.turn(node, Input::Link(LinkEvent::State(link)));
        }
    }

    /// A new life without any farewell.
    pub fn restart(&mut self, node: usize) {
        let now = self.now;
        let it = &mut self.nodes[node];
        it.lives += 1;
        it.engine = Engine::new(it.config.clone(), u64::from(it.config.router_id.0) + (it.lives << 32), now);
        it.routes.clear();
        self.bring_up(node);
    }

    /// One turn of an engine at the present time.
    pub fn turn(&mut self, node: usize, input: Input<'_>) {
        self.turn_at(node, self.now, input);
    }

    /// One turn, its outputs, and everything that must hold after it.
    pub fn turn_at(&mut self, node: usize, now: Instant, input: Input<'_>) {
        let malformed = match &input {
            Input::Packet { src, dst, bytes, .. } => Packet::decode(*src, *dst, bytes).is_err(),
            _ => false,
        };
        let before = (malformed && self.nodes[node].engine.view().now() == now).then(|| self.state(node));
        let had = self.database(node);
        self.nodes[node].engine.handle(now, input);
        let sent = self.drain(node);
        if let Some(before) = before {
            assert!(before == self.state(node), "a malformed packet changed something");
        }
        self.check(node, (sent, had));
    }

    /// The bytes of the LSAs that a router has.
    fn database(&self, node: usize) -> usize {
        self.nodes[node].engine.view().lsdb().iter().map(|(_, entry)| entry.lsa().raw.len() + 20).sum()
    }

    /// What a packet that is refused may not change.
    fn state(&self, node: usize) -> impl PartialEq + use<> {
        let view = self.nodes[node].engine.view();
        let lsas = view.lsas().iter().map(|l| (l.key, l.lsa.header)).collect::<Vec<_>>();
        let neighbors = view.neighbors();
        let summaries: Vec<_> = neighbors.iter().map(|neighbor| view.summaries(neighbor)).collect();
        (view.interfaces(), neighbors, summaries, lsas, view.next_wake(), view.routes().clone())
    }

    /// Takes the outputs; says how many bytes were sent.
    fn drain(&mut self, node: usize) -> usize {
        let mut sent = 0;
        while let Some(output) = self.nodes[node].engine.poll_output() {
            match output {
                Output::Transmit(transmit) => {
                    sent += transmit.bytes.len();
                    if let Some(digest) = &mut self.digest {
                        transmit.bytes.hash(digest);
                    }
                    self.transmit(node, transmit);
                }
                Output::Membership(membership) => assert!(membership.group.is_multicast()),
                Output::Route(RouteChange::Install(prefix, route)) => {
                    let own = route.has_originator(self.nodes[node].config.router_id);
                    assert!(own || !route.next_hops.is_empty(), "{prefix}: a route without next hop: {route:?}");
                    self.nodes[node].routes.insert(prefix, route);
                }
                Output::Route(RouteChange::Remove(prefix)) => {
                    assert!(self.nodes[node].routes.remove(&prefix).is_some(), "{prefix} was never installed");
                }
                Output::Event(event) => {
                    if let Some(digest) = &mut self.digest {
                        format!("{event:?}").hash(digest);
                    }
                }
            }
        }
        sent
    }

    /// What we send is well-formed and fits; it goes to the others on the link.
    fn transmit(&mut self, node: usize, transmit: Transmit) {
        let Transmit { iface, src, dst, bytes } = transmit;
        let packet = Packet::decode(src, dst, &bytes).unwrap();
        assert_eq!(packet.header.router_id, self.nodes[node].config.router_id);
        let mtu = self.nodes[node].links.iter().find(|link| link.iface == iface).map_or(0, |link| link.mtu);
        let alone = match &packet.body {
            PacketBody::LsUpd(update) => {
                assert!(update.rejected.is_empty(), "a malformed LSA is sent on: {:?}", update.rejected);
                update.lsas.len() == 1
            }
            PacketBody::Hello(_) => true,
            _ => false,
        };
        assert!(alone || bytes.len() + IP_HEADER <= usize::from(mtu).max(LEAST_MTU), "{} bytes", bytes.len());
        for to in 0..self.nodes.len() {
            let addressed = dst.is_multicast() || self.nodes[to].links.iter().any(|link| link.link_local == Some(dst));
            if to != node && addressed && (iface == SHARED || (iface == SIDE && to < 2 && node < 2)) {
                self.launch(Flight { to, iface, src, dst, bytes: bytes.clone() });
            }
        }
        if self.heard.len() == MAX_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(Flight { to: node, iface, src, dst, bytes });
    }

    fn launch(&mut self, flight: Flight) {
        if self.flights.len() < MAX_FLIGHTS {
            self.flights.push_back(flight);
        }
    }

    /// Delivers a packet now.
    pub fn deliver(&mut self, flight: &Flight) {
        let Flight { to, iface, src, dst, ref bytes } = *flight;
        if to < self.nodes.len() {
            self.turn(to, Input::Packet { iface, src, dst, bytes });
        }
    }

    /// Lets time pass within the program, as far as its rounds go.
    pub fn pass(&mut self, duration: Duration) {
        self.rounds = self.run(duration, self.rounds);
    }

    /// Lets time pass, with packets delivered 1 ms after they were sent, for at most so many rounds, then at once up to
    /// the end. Says how many rounds are left.
    pub fn run(&mut self, duration: Duration, rounds: usize) -> usize {
        let end = self.now + duration;
        let mut left = rounds;
        while left > 0 {
            let timeout = self.nodes.iter().filter_map(|node| node.engine.next_timeout()).min();
            let next = if self.flights.is_empty() { timeout } else { Some(self.now + Duration::from_millis(1)) };
            let Some(next) = next.filter(|at| *at <= end) else { break };
            left -= 1;
            self.now = self.now.max(next);
            for flight in std::mem::take(&mut self.flights) {
                self.deliver(&flight);
            }
            self.tick();
        }
        self.now = end;
        self.tick();
        left
    }

    /// Whoever has something to do now does it.
    pub fn tick(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].engine.next_timeout().is_some_and(|at| at <= self.now) {
                self.turn(node, Input::Tick);
            }
        }
    }

    fn check(&self, node: usize, (sent, had): (usize, usize)) {
        let Node { engine, routes, .. } = &self.nodes[node];
        if !cfg!(debug_assertions) {
            // Else the engine has done it itself at the end of the turn.
            engine.check_invariants(CHECKED_LSAS).unwrap();
        }
        let view = engine.view();
        assert!(engine.next_timeout().is_none_or(|at| at > view.now()), "a busy loop: {:?}", engine.next_timer());
        assert!(*routes == *view.routes(), "the routes handed out are not those of the table");
        let neighbors = view.neighbors();
        let config = view.config();
        let foreign = view.lsdb().iter().filter(|(_, entry)| entry.source() != Source::Ours).count();
        assert!(foreign <= config.limits.lsas, "{foreign} LSAs taken in");
        for iface in view.interfaces() {
            assert!(iface.neighbors <= config.max_neighbors, "{iface:?}");
        }
        for neighbor in &neighbors {
            assert!(neighbor.retransmissions <= view.lsdb().len(), "{neighbor:?}");
            assert!(view.summaries(neighbor) <= view.lsdb().len(), "{neighbor:?}");
        }
        // Bounded amplification: in one turn, the database once to each neighbor and once more, and Hellos and acks.
        // What expires is sent at MaxAge and may be gone at the end of the turn.
        let database = had.max(self.database(node));
        let most = 8192 + (database + 256) * 2 * (neighbors.len() + view.interfaces().len() + 1);
        assert!(sent <= most, "{sent} bytes sent in one turn, {database} in the database");
    }
}
