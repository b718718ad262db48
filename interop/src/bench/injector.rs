//! The independent load generator: one router that is DR and floods the database of thousands, or hundreds of routers with an
//! adjacency each, on one raw socket and one thread. It shares no state machine with the device it loads, whoever that is.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::net::if_::if_nametoindex;
use ospf_proto::{
    consts::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, IP_PROTOCOL},
    id::RouterId,
    lsa::Options,
    packet::{Hello, Packet, PacketBody},
};

use super::{
    book::{Book, packet},
    graph::{LAN_ID, Said},
    session::{Counted, Role, Session, Shared},
};
use crate::{
    netns::Netns,
    raw::RawSocket,
    wait::{Probe, wait_for},
};

/// The interface it is on.
const IFACE: &str = "eth0";
/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(10);

/// Packets taken between two looks at what is due.
const BATCH: usize = 32;

/// A router of the injector: its ID, its link-local address and what it says.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// Router ID; larger than the device's.
    pub router: RouterId,
    /// Link-local address, which the interface must have.
    pub address: Ipv6Addr,
    /// What it describes in its database exchange.
    pub says: Vec<Said>,
}

/// What the injector is to be.
#[derive(Debug, Clone)]
pub struct Script {
    /// What its routers are on the link.
    pub role: Role,
    /// HelloInterval and RouterDeadInterval, seconds.
    pub hello: (u16, u16),
    /// The device's Router ID and link-local address.
    pub device: (Ipv4Addr, Ipv6Addr),
    /// Its routers.
    pub speakers: Vec<Speaker>,
}

/// The injector; it falls silent when it is dropped.
#[derive(Debug)]
pub struct Injector {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    script: Script,
    socket: RawSocket,
    state: Mutex<State>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct State {
    shared: Shared,
    sessions: Vec<Session>,
    next_hello: Vec<Instant>,
    failed: Option<String>,
}

impl Injector {
    /// Starts it on `eth0` of a namespace.
    pub fn start(netns: &Netns, mut script: Script) -> Result<Self> {
        let socket = netns.run(|| RawSocket::open(IP_PROTOCOL.into(), IFACE, if_nametoindex(IFACE)?))??;
        socket.set_membership(ALL_SPF_ROUTERS, true)?;
        if script.role == Role::Dr {
            socket.set_membership(ALL_D_ROUTERS, true)?;
        }
        let (device, device_address) = script.device;
        let device = RouterId(device.into());
        let (mut book, mut sessions) = (Book::default(), vec![]);
        for speaker in &mut script.speakers {
            if speaker.router <= device {
                bail!("the injector is always master, so its Router IDs are larger than the device's");
            }
            let says = std::mem::take(&mut speaker.says);
            let keys = says.into_iter().map(|said| book.say(said, false).0).collect();
            sessions.push(Session::new(speaker.router, speaker.address, keys));
        }
        // Their Hellos are spread over the interval, as those of routers that know nothing of each other.
        let (now, all) = (Instant::now(), sessions.len().max(1) as u32);
        let interval = Duration::from_secs(script.hello.0.into());
        let next_hello = (0..all).map(|place| now + interval * place / all).collect();
        let role = script.role;
        let shared =
            Shared { book, role, device, device_address, heard: None, counted: Counted::default(), last_update: None };
        let state = Mutex::new(State { shared, sessions, next_hello, failed: None });
        let inner = Arc::new(Inner { script, socket, state, stop: AtomicBool::new(false) });
        let runner = Arc::clone(&inner);
        let thread = thread::Builder::new().name("injector".into()).spawn(move || {
            if let Err(error) = runner.run() {
                lock(&runner.state).failed = Some(format!("{error:#}"));
            }
        })?;
        Ok(Self { inner, thread: Some(thread) })
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = lock(&self.inner.state);
        if let Some(reason) = &state.failed {
            bail!("the injector stopped: {reason}");
        }
        Ok(state)
    }

    /// When the first description of any adjacency was sent or heard.
    pub fn exstart(&self) -> Result<Option<Instant>> {
        Ok(self.state()?.sessions.iter().filter_map(|session| session.exstart).min())
    }

    /// How many of its routers have exchanged databases with the device.
    pub fn full(&self) -> Result<usize> {
        Ok(self.state()?.sessions.iter().filter(|session| session.full.is_some()).count())
    }

    /// Waits until all have, and tells when the last one had.
    pub fn wait_full(&self, timeout: Duration) -> Result<Instant> {
        let all = self.inner.script.speakers.len();
        wait_for(&format!("{all} adjacencies of the injector"), timeout, || {
            let full = self.full()?;
            Ok(Probe::when(full == all, (), format!("{full} are Full")))
        })?;
        self.state()?.sessions.iter().filter_map(|session| session.full).max().context("no adjacency")
    }

    /// When the last update left.
    pub fn last_update(&self) -> Result<Option<Instant>> {
        Ok(self.state()?.shared.last_update)
    }

    /// What was counted.
    pub fn counted(&self) -> Result<Counted> {
        Ok(self.state()?.shared.counted)
    }

    /// How many LSAs wait for an acknowledgment.
    pub fn waiting(&self) -> Result<usize> {
        Ok(self.state()?.sessions.iter().map(Session::waiting).sum())
    }

    /// Floods the next instances of these LSAs (true: flushes it) from one of its routers, and tells when the first packet left.
    pub fn flood(&self, session: usize, said: impl IntoIterator<Item = (Said, bool)>) -> Result<Instant> {
        let mut state = self.state()?;
        let State { shared, sessions, .. } = &mut *state;
        let session = sessions.get_mut(session).context("no such router")?;
        let lsas = said.into_iter().map(|(said, flush)| shared.book.say(said, flush)).collect();
        let now = Instant::now();
        session.flood(shared, lsas, now);
        self.inner.send(session);
        Ok(now)
    }

    /// A router says nothing from now on, like a host that has died; tells when its last Hello was due.
    pub fn silence(&self, session: usize) -> Result<Instant> {
        let mut state = self.state()?;
        state.sessions.get_mut(session).context("no such router")?.silent = true;
        let next = state.next_hello.get(session).context("no such router")?;
        Ok(*next - Duration::from_secs(self.inner.script.hello.0.into()))
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn run(&self) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        let mut ticked = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let ready = self.socket.wait(TICK);
            let mut state = lock(&self.state);
            if ready {
                // A few at a time: a Hello that is due does not wait for a device that floods.
                for _ in 0..BATCH {
                    let Some((src, dst, length)) = self.socket.receive(&mut buffer) else { break };
                    self.take(&mut state, (src, dst), buffer.get(..length).unwrap_or_default())?;
                }
            }
            let now = Instant::now();
            if now - ticked >= TICK {
                ticked = now;
                self.tick(&mut state, now);
            }
        }
        Ok(())
    }

    fn send(&self, session: &mut Session) {
        for (dst, bytes) in session.take_out() {
            if !session.silent {
                // Lost like any packet: it is sent again.
                let _ = self.socket.send((session.address, dst), &bytes);
            }
        }
    }

    fn tick(&self, state: &mut State, now: Instant) {
        let State { shared, sessions, next_hello, .. } = state;
        let ids: Vec<RouterId> = sessions.iter().filter(|one| !one.silent).map(|one| one.router).collect();
        let interval = Duration::from_secs(self.script.hello.0.into());
        for (session, next) in sessions.iter_mut().zip(next_hello) {
            if *next <= now && !session.silent {
                *next += interval;
                let hello = self.hello(shared, session.router, &ids);
                let bytes = packet(session.router, (session.address, ALL_SPF_ROUTERS), PacketBody::Hello(hello));
                let _ = self.socket.send((session.address, ALL_SPF_ROUTERS), &bytes);
            }
            session.on_tick(shared, now);
            self.send(session);
        }
    }

    /// A Hello of one of the routers, which has heard the device and the others.
    fn hello(&self, shared: &Shared, router: RouterId, ids: &[RouterId]) -> Hello {
        let device = shared.heard.as_ref();
        let (priority, dr, bdr) = match shared.role {
            Role::Dr => (1, router, RouterId(0)),
            Role::Other => (0, device.map_or(RouterId(0), |heard| heard.dr), RouterId(0)),
        };
        let mut neighbors: Vec<RouterId> = device.iter().map(|_| shared.device).collect();
        neighbors.extend(ids.iter().filter(|id| **id != router));
        Hello {
            iface_id: LAN_ID,
            priority,
            options: Options::V6 | Options::E | Options::R,
            hello_interval: self.script.hello.0,
            dead_interval: self.script.hello.1,
            dr,
            bdr,
            neighbors,
        }
    }

    /// Gives a packet of the device to the session it is for, or to all.
    fn take(&self, state: &mut State, (src, dst): (Ipv6Addr, Ipv6Addr), bytes: &[u8]) -> Result<()> {
        let State { shared, sessions, .. } = state;
        if src != shared.device_address {
            return Ok(());
        }
        let Packet { header, body } = Packet::decode(src, dst, bytes).context("decoding a packet of the device")?;
        if header.router_id != shared.device {
            bail!("the device calls itself {}", header.router_id);
        }
        let now = Instant::now();
        let headers: Vec<_> = match &body {
            PacketBody::LsUpd(update) => update.lsas.iter().map(|lsa| lsa.header).collect(),
            _ => vec![],
        };
        if let PacketBody::Hello(hello) = &body {
            shared.heard = Some(hello.clone());
        }
        for session in sessions.iter_mut().filter(|one| !one.silent && (dst.is_multicast() || dst == one.address)) {
            match &body {
                PacketBody::Hello(_) => session.on_hello(shared, now),
                PacketBody::DbDesc(dd) => session.on_description(shared, dd, now)?,
                PacketBody::LsReq(requests) => session.on_request(shared, requests, now),
                PacketBody::LsUpd(_) => session.on_update(shared, &headers, now),
                PacketBody::LsAck(ack) => session.on_ack(shared, ack),
            }
            self.send(session);
        }
        Ok(())
    }
}
