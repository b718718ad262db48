//! Servers without a daemon: engines of ours that state what a test tells them, one or many of them on one interface, each
//! with a link-local address and a Router ID of its own, driven by one thread over one raw socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant as Clock},
};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use ospf_proto::{
    consts::IP_PROTOCOL,
    engine::{Command, Companion, Config, Engine, IfaceConfig, Input, LinkEvent, LinkState, NetworkType, Output},
    id::{IfaceId, RouterId},
    lsa::{FarmTlv, Prefix, ServiceRecord},
    state::NeighborState,
    time::Instant,
};

use crate::{
    netns::Netns,
    peer::Kind,
    raw::RawSocket,
    wait::{Probe, wait_for},
};

/// The interface they are on.
const IFACE: &str = "eth0";
/// A cost or a record may change so often.
const MIN_LS_INTERVAL: Duration = Duration::from_millis(1200);

/// Who one of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its Router ID.
    pub router: Ipv4Addr,
    /// Its link-local address.
    pub address: Ipv6Addr,
}

/// Engines on one interface; they fall silent when they are dropped.
#[derive(Debug)]
pub struct Engines {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    identities: Vec<Identity>,
    engines: Vec<Mutex<Engine>>,
    /// Whose address it is, for packets that are not for a group.
    places: BTreeMap<Ipv6Addr, usize>,
    groups: Mutex<BTreeSet<Ipv6Addr>>,
    iface: IfaceId,
    socket: RawSocket,
    start: Clock,
    stop: AtomicBool,
    /// Held by the thread while it does something, and by who wants it to do nothing.
    turn: Mutex<()>,
}

/// While this lives none of the engines says or takes anything but what it is told to. A neighbor that hears nothing for its
/// dead interval is gone.
#[derive(Debug)]
#[must_use]
pub struct Still<'a>(#[expect(dead_code, reason = "it is held")] MutexGuard<'a, ()>);

impl Engines {
    /// The name of the thread that drives them.
    pub const THREAD: &str = "engines";

    /// Starts them on `eth0` of a namespace, a link of this kind; their addresses must be there. They never forward.
    pub fn start(netns: &Netns, kind: Kind, identities: Vec<Identity>) -> Result<Self> {
        let (index, socket) = netns.run(|| {
            let index = if_nametoindex(IFACE)?;
            anyhow::Ok((index, RawSocket::open(IP_PROTOCOL.into(), IFACE, index)?))
        })??;
        let iface = IfaceId(index);
        let engines = identities.iter().map(|one| Mutex::new(engine(*one, kind, iface))).collect();
        let places = identities.iter().enumerate().map(|(place, one)| (one.address, place)).collect();
        let (groups, start, stop) = (Mutex::default(), Clock::now(), AtomicBool::new(false));
        let turn = Mutex::new(());
        let inner = Arc::new(Inner { identities, engines, places, groups, iface, socket, start, stop, turn });
        let runner = Arc::clone(&inner);
        let thread = thread::Builder::new().name(Self::THREAD.into()).spawn(move || runner.run())?;
        Ok(Self { inner, thread: Some(thread) })
    }

    /// Who they are.
    pub fn identities(&self) -> &[Identity] {
        &self.inner.identities
    }

    /// Tells one of them what to do; it has done so when this returns.
    pub fn say(&self, place: usize, command: Command) -> Result<()> {
        let identity = self.inner.identities.get(place).context("no such engine")?;
        let mut engine = lock(self.inner.engines.get(place).context("no such engine")?);
        engine.handle(self.inner.now(), Input::Command(command));
        self.inner.drain(*identity, &mut engine);
        Ok(())
    }

    /// One of them advertises these prefixes at this cost and no other; none: it withdraws all.
    pub fn advertise(&self, place: usize, prefixes: &[Prefix], cost: u16) -> Result<()> {
        let prefixes = prefixes.iter().map(|prefix| (*prefix, cost)).collect();
        // FRR computes nothing anew without the companion.
        self.say(place, Command::Advertise { prefixes, companion: Companion::Link })
    }

    /// One of them tells the farm its capacity, in queries per second, known and configured; and no load.
    pub fn claim(&self, place: usize, prefix: Prefix, capacity: f64) -> Result<()> {
        let identity = self.inner.identities.get(place).context("no such engine")?;
        let milli = Some((capacity * 1000.0) as u32);
        let owner = RouterId(identity.router.into());
        let record = ServiceRecord { mu: milli, x: Some(0), nominal: milli, ..ServiceRecord::new(&prefix, owner) };
        let tlv = FarmTlv { services: vec![record], ..FarmTlv::default() }.to_tlv();
        self.say(place, Command::RouterInformation(vec![tlv]))
    }

    /// Has their thread do nothing for a while: hundreds of servers of one processor would be given it, now and then, in place
    /// of who observes the router, for all of a tick of the scheduler.
    pub fn still(&self) -> Still<'_> {
        Still(lock(&self.inner.turn))
    }

    /// How many of them are Full with a router.
    pub fn full(&self, router: Ipv4Addr) -> usize {
        let is_full = |engine: &&Mutex<Engine>| {
            let neighbors = lock(engine).view().neighbors();
            neighbors.iter().any(|n| n.router == RouterId(router.into()) && n.state == NeighborState::Full)
        };
        self.inner.engines.iter().filter(is_full).count()
    }

    /// Waits until all of them are Full with a router.
    pub fn wait_full(&self, router: Ipv4Addr, timeout: Duration) -> Result<()> {
        let all = self.inner.engines.len();
        wait_for(&format!("{all} engines to be Full with {router}"), timeout, || {
            let full = self.full(router);
            Ok(Probe::when(full == all, (), format!("{full} are")))
        })
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn engine(identity: Identity, kind: Kind, iface: IfaceId) -> Engine {
    let mut config = Config::new(RouterId(identity.router.into()));
    config.forwarding = false;
    config.min_ls_interval = MIN_LS_INTERVAL;
    // They want no routes, and may have thousands of prefixes.
    config.spf_interval = Duration::from_secs(3600);
    config.max_originations = 100_000;
    let mut on = IfaceConfig::new(IFACE);
    (on.hello_interval, on.dead_interval, on.priority) = (1, 4, 0);
    if kind == Kind::PointToPoint {
        on.network_type = NetworkType::PointToPoint;
    }
    config.interfaces.push(on);
    let mut engine = Engine::new(config, u64::from(u32::from(identity.router)), Instant::EPOCH);
    let link = LinkState {
        iface,
        name: IFACE.into(),
        up: true,
        mtu: 1500,
        link_local: Some(identity.address),
        prefixes: vec![],
    };
    engine.handle(Instant::EPOCH, Input::Link(LinkEvent::State(link)));
    engine
}

impl Inner {
    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    fn run(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Relaxed) {
            let turn = lock(&self.turn);
            for (identity, engine) in self.identities.iter().zip(&self.engines) {
                let (mut engine, now) = (lock(engine), self.now());
                if engine.next_timeout().is_some_and(|at| at <= now) {
                    engine.handle(now, Input::Tick);
                }
                self.drain(*identity, &mut engine);
            }
            drop(turn);
            if self.socket.wait(Duration::from_millis(10)) {
                while let Some((src, dst, length)) = self.socket.receive(&mut buffer) {
                    let _turn = lock(&self.turn);
                    self.take((src, dst), buffer.get(..length).unwrap_or_default());
                }
            }
        }
    }

    /// Gives a packet to the one it is for, or to all.
    fn take(&self, (src, dst): (Ipv6Addr, Ipv6Addr), bytes: &[u8]) {
        for (place, (identity, engine)) in self.identities.iter().zip(&self.engines).enumerate() {
            if !dst.is_multicast() && self.places.get(&dst) != Some(&place) {
                continue;
            }
            let mut engine = lock(engine);
            engine.handle(self.now(), Input::Packet { iface: self.iface, src, dst, bytes });
            self.drain(*identity, &mut engine);
        }
    }

    fn drain(&self, identity: Identity, engine: &mut Engine) {
        while let Some(output) = engine.poll_output() {
            match output {
                // Lost like any packet: the engine retransmits.
                Output::Transmit(packet) => drop(self.socket.send((identity.address, packet.dst), &packet.bytes)),
                // The socket is everybody's: what one leaves, others may still want.
                Output::Membership(change) if change.joined && lock(&self.groups).insert(change.group) => {
                    if let Err(error) = self.socket.set_membership(change.group, true) {
                        eprintln!("engines: {error:#}");
                    }
                }
                Output::Membership(_) | Output::Route(_) | Output::Event(_) => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
