//! The driver: the one place where the engine meets sockets, links, clock, control requests and signals.
//!
//! A daemon calls [`Driver::next`] in a loop (beside whatever else it waits for) and acts on what it returns:
//! ```text
//! loop {
//!     tokio::select! {
//!         event = driver.next() => match event? {
//!             DriverEvent::Turn(turn) => routes(turn.routes),
//!             DriverEvent::Control(pending) => pending.answer(driver.show(&pending.request)),
//!             DriverEvent::Signal(_) => break,
//!         },
//!         sample = monitor.next() => driver.command(Command::Advertise { .. }),
//!     }
//! }
//! ```
//! `next` is cancel-safe: an input that was taken is in the engine, and what the engine said about it is kept for the next
//! call. Everything runs in one task of a current-thread runtime, so that between a packet and the route that follows from
//! it there is no queue and no task switch.

mod hear;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ospf_proto::ctx::{Event, Membership, Transmit};
use ospf_proto::engine::{Command, Config, Engine, Input, LinkEvent, Output, View};
use ospf_proto::id::IfaceId;
use ospf_proto::rib::RouteChange;
use ospf_proto::time::Instant;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::time::Sleep;
use tracing::{debug, error, info};

use super::clock::Clock;
use super::error::Error;
use super::inlet::{Arrived, Batch};
use super::link::{LinkLocals, LinkWatch};
use super::report::{Counters, Reporter};
use super::socket::RawSocket;
use crate::control::{Pending, Request, Response, Server, show};

/// What a driver needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine's configuration.
    pub config: Config,
    /// Where to listen for control requests; nowhere, if none.
    pub control: Option<PathBuf>,
}

/// What [`Driver::next`] returns.
#[derive(Debug)]
pub enum DriverEvent {
    /// The engine had a turn: a packet, a timer, a link or a command.
    Turn(Turn),
    /// A request on the control socket; answer it.
    Control(Pending),
    /// A signal.
    Signal(Signal),
}

/// What the engine said since the last call. Packets are sent and events logged already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Links that changed, as the engine was told.
    pub links: Vec<LinkEvent>,
    /// Changes of the routing table, in order.
    pub routes: Vec<RouteChange>,
    /// Events, in order.
    pub events: Vec<Event>,
}

/// The signals a daemon acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: leave.
    Terminate,
    /// SIGHUP: reload.
    Reload,
}

/// The engine and the world around it.
pub struct Driver {
    engine: Engine,
    clock: Clock,
    links: LinkWatch,
    passive: BTreeSet<String>,
    sockets: BTreeMap<IfaceId, RawSocket>,
    last_served: IfaceId,
    batch: Batch,
    hellos: Batch,
    heard_last: bool,
    control: Option<Server>,
    signals: [(Signal, Signals); 3],
    wake: Option<(Instant, Pin<Box<Sleep>>)>,
    names: BTreeMap<IfaceId, String>,
    link_locals: LinkLocals,
    reporter: Reporter,
    turn: Option<Turn>,
    woken: tokio::time::Instant,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("router_id", &self.view().router_id())
            .field("links", &self.names)
            .finish_non_exhaustive()
    }
}

/// What there is to do.
enum Wake {
    Signal(Signal),
    Control(Pending),
    Timer,
    Links(Vec<LinkEvent>),
    Hellos(IfaceId),
    Packets(IfaceId),
}

impl Driver {
    /// Opens everything and starts the engine on the links as they are. Needs a tokio runtime with I/O and time.
    pub fn new(options: Options) -> Result<Self, Error> {
        Driver::speaking_from(options, LinkLocals::new())
    }

    /// The same, speaking from these addresses only: an interface is down for OSPF while it does not have its one.
    pub fn speaking_from(options: Options, link_locals: LinkLocals) -> Result<Self, Error> {
        RawSocket::probe()?;
        let clock = Clock::new().map_err(Error::io("reading the clock", ""))?;
        let names = options.config.interfaces.iter().map(|iface| iface.name.clone()).collect();
        let passive = options.config.interfaces.iter().filter(|iface| iface.passive);
        let passive = passive.map(|iface| iface.name.clone()).collect();
        let control = options.control.as_deref().map(Server::bind).transpose()?;
        let signals = [
            (Signal::Terminate, listen(SignalKind::terminate())?),
            (Signal::Terminate, listen(SignalKind::interrupt())?),
            (Signal::Reload, listen(SignalKind::hangup())?),
        ];
        let engine = Engine::new(options.config, seed(), clock.now());
        let mut driver = Driver {
            engine,
            clock,
            links: LinkWatch::open(names, link_locals.clone())?,
            passive,
            sockets: BTreeMap::new(),
            last_served: IfaceId(0),
            batch: Batch::new(),
            hellos: Batch::new(),
            heard_last: false,
            control,
            signals,
            wake: None,
            names: BTreeMap::new(),
            link_locals,
            reporter: Reporter::default(),
            turn: None,
            woken: tokio::time::Instant::now(),
        };
        let links = driver.links.read()?;
        driver.on_links(links)?;
        driver.drain();
        Ok(driver)
    }

    /// Waits for the next thing that concerns the daemon. Cancel-safe.
    pub async fn next(&mut self) -> Result<DriverEvent, Error> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same to be polled, for a daemon that waits for several drivers.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<DriverEvent, Error>> {
        loop {
            if let Some(turn) = self.turn.take() {
                return Poll::Ready(Ok(DriverEvent::Turn(turn)));
            }
            let wake = ready!(self.poll_wake(cx))?;
            self.woken = tokio::time::Instant::now();
            match wake {
                Wake::Signal(signal) => return Poll::Ready(Ok(DriverEvent::Signal(signal))),
                Wake::Control(pending) => {
                    self.reporter.counters.control_requests += 1;
                    return Poll::Ready(Ok(DriverEvent::Control(pending)));
                }
                Wake::Timer => self.handle(Input::Tick),
                Wake::Links(links) => self.on_links(links)?,
                Wake::Hellos(iface) => self.on_hellos(iface),
                Wake::Packets(iface) => self.on_packets(iface),
            }
            self.drain();
        }
    }

    /// Gives the engine a command; what it says to it is done at once, and told by the next [`Driver::next`].
    pub fn command(&mut self, command: Command) {
        self.handle(Input::Command(command));
        self.drain();
    }

    /// The engine's state.
    pub fn view(&self) -> View<'_> {
        self.engine.view()
    }

    /// The time, on the engine's line.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When the packets, or whatever the last turn came from, were taken from the kernel.
    pub fn woken(&self) -> tokio::time::Instant {
        self.woken
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let mut counters = self.reporter.counters.clone();
        counters.link_resyncs = self.links.resyncs();
        let view = self.view();
        counters.lsas = view.lsdb().len() as u64;
        counters.limits_reached = view.breaches().into_iter().map(|breach| breach.key().to_owned()).collect();
        counters.originations_held_back = view.rate_limited();
        for socket in self.sockets.values() {
            let kernel = socket.counters();
            let iface = counters.interfaces.entry(socket.name().to_owned()).or_default();
            iface.receive_overflows += kernel.overflows;
            iface.receive_unusable += kernel.unusable;
            iface.send_refused += kernel.refused;
            iface.send_given_up += kernel.given_up;
            iface.send_delayed += kernel.delayed;
        }
        counters
    }

    /// Answers the requests that both daemons know: `show neighbor|interface|database|route|counters`.
    pub fn show(&self, request: &Request) -> Response {
        match request.words().as_slice() {
            ["show", "neighbor"] => Response::of(&show::neighbors(&self.view())),
            ["show", "interface"] => Response::of(&show::interfaces(&self.view())),
            ["show", "database"] => Response::of(&show::database(&self.view())),
            ["show", "route"] => Response::of(&show::routes(&self.view())),
            ["show", "counters"] => Response::of(&self.counters()),
            words => Response::Error(format!("unknown command `{}`", words.join(" "))),
        }
    }

    /// What there is to do, by urgency. Signals and control requests are rare; a timer that is due comes before packets (but
    /// see [`Driver::handle`]), Hellos before the rest (but those of a crowded link rest), though not twice in a row while
    /// something else waits; the interfaces take turns of one batch each.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Result<Wake, Error>> {
        for (meaning, signals) in &mut self.signals {
            if let Poll::Ready(Some(())) = signals.poll_recv(cx) {
                return Poll::Ready(Ok(Wake::Signal(*meaning)));
            }
        }
        if let Some(server) = &mut self.control
            && let Poll::Ready(pending) = server.poll_request(cx)
        {
            return Poll::Ready(Ok(Wake::Control(pending)));
        }
        if self.poll_timer(cx).is_ready() {
            return Poll::Ready(Ok(Wake::Timer));
        }
        let heard_last = std::mem::take(&mut self.heard_last);
        if !heard_last && let Poll::Ready(iface) = self.poll_hellos(cx) {
            return Poll::Ready(Ok(Wake::Hellos(iface)));
        }
        if let Poll::Ready(links) = self.links.poll(cx) {
            return Poll::Ready(links.map(Wake::Links));
        }
        if let Poll::Ready(iface) = self.poll_packets(cx) {
            return Poll::Ready(Ok(Wake::Packets(iface)));
        }
        if heard_last && let Poll::Ready(iface) = self.poll_hellos(cx) {
            return Poll::Ready(Ok(Wake::Hellos(iface)));
        }
        Poll::Pending
    }

    /// The interfaces, beginning behind the one that was served last.
    fn in_turn(&self) -> Vec<IfaceId> {
        let after = self.sockets.range(next(self.last_served)..).map(|(iface, _)| *iface);
        after.chain(self.sockets.range(..next(self.last_served)).map(|(iface, _)| *iface)).collect()
    }

    fn poll_packets(&mut self, cx: &mut Context<'_>) -> Poll<IfaceId> {
        for iface in self.in_turn() {
            let Some(socket) = self.sockets.get_mut(&iface) else { continue };
            socket.poll_flush(cx);
            let polled = socket.poll_receive(cx, &mut self.batch);
            if took(socket, polled, cx) {
                self.last_served = iface;
                return Poll::Ready(iface);
            }
        }
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.engine.next_timeout() else {
            self.wake = None;
            return Poll::Pending;
        };
        loop {
            let left = self.clock.until(deadline);
            if left.is_zero() {
                return Poll::Ready(());
            }
            let reuse = matches!(&self.wake, Some((at, sleep)) if *at == deadline && !sleep.is_elapsed());
            if !reuse {
                self.wake = Some((deadline, Box::pin(tokio::time::sleep(left))));
            }
            let Some((_, sleep)) = &mut self.wake else {
                return Poll::Pending;
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// A turn of the engine. Before timers fire the Hellos that wait are heard: silence is judged only when all has been taken
    /// that has come.
    fn handle(&mut self, input: Input<'_>) {
        if self.is_due() {
            self.hear();
        }
        self.engine.handle(self.clock.now(), input);
        self.turn.get_or_insert_default();
    }

    /// Whether a timer is due.
    fn is_due(&self) -> bool {
        self.engine.next_timeout().is_some_and(|at| at <= self.clock.now())
    }

    fn on_packets(&mut self, iface: IfaceId) {
        self.hear_before(iface);
        // The engine's outputs are drained after each packet, so that acknowledgments leave in order and in time.
        let batch = std::mem::replace(&mut self.batch, Batch::empty());
        for Arrived { src, dst, bytes, .. } in batch.packets() {
            if self.is_for_another(iface, dst) {
                continue;
            }
            if let Some(name) = self.names.get(&iface) {
                self.reporter.received(name, bytes);
            }
            self.handle(Input::Packet { iface, src, dst, bytes });
            self.drain();
        }
        self.batch = batch;
    }

    /// Every raw socket of an interface hears what is sent to any of its addresses: this is for another router of ours.
    fn is_for_another(&self, iface: IfaceId, dst: Ipv6Addr) -> bool {
        let own = self.names.get(&iface).and_then(|name| self.link_locals.get(name));
        dst.is_unicast_link_local() && own.is_some_and(|own| *own != dst)
    }

    /// Opens and closes sockets, and tells the engine.
    fn on_links(&mut self, links: Vec<LinkEvent>) -> Result<(), Error> {
        for link in links {
            match &link {
                LinkEvent::State(state) => {
                    let renamed =
                        self.names.insert(state.iface, state.name.clone()).is_some_and(|name| name != state.name);
                    if renamed {
                        self.close(state.iface);
                    }
                    if !self.passive.contains(&state.name) && !self.sockets.contains_key(&state.iface) {
                        self.open(state.iface, &state.name)?;
                    }
                }
                LinkEvent::Gone(iface) => {
                    if let Some(name) = self.names.get(iface) {
                        info!("{name}: the interface is gone");
                    }
                    self.close(*iface);
                }
            }
            self.handle(Input::Link(link.clone()));
            self.drain();
            if let LinkEvent::Gone(iface) = &link {
                self.names.remove(iface);
            }
            self.turn.get_or_insert_default().links.push(link);
        }
        Ok(())
    }

    fn open(&mut self, iface: IfaceId, name: &str) -> Result<(), Error> {
        let one_of_several = self.link_locals.contains_key(name).then(|| self.view().router_id());
        match RawSocket::open(iface, name, one_of_several) {
            Ok(socket) => {
                info!("{name}: OSPFv3 runs on interface {iface}");
                self.sockets.insert(iface, socket);
                Ok(())
            }
            Err(error @ Error::Privilege { .. }) => Err(error),
            Err(error) => {
                // The link went away in between; its next event tries again.
                error!("{error}");
                Ok(())
            }
        }
    }

    fn close(&mut self, iface: IfaceId) {
        if let Some(socket) = self.sockets.remove(&iface) {
            let kernel = socket.counters();
            let counters = self.reporter.iface(socket.name());
            counters.receive_overflows += kernel.overflows;
            counters.receive_unusable += kernel.unusable;
            counters.send_refused += kernel.refused;
            counters.send_given_up += kernel.given_up;
            counters.send_delayed += kernel.delayed;
        }
    }

    /// Does what the engine says, in its order.
    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Membership(membership) => self.membership(membership),
                Output::Route(change) => {
                    self.reporter.counters.route_changes += 1;
                    self.turn.get_or_insert_default().routes.push(change);
                }
                Output::Event(event) => {
                    let name = event_iface(&event).and_then(|iface| self.names.get(&iface)).map_or("", String::as_str);
                    self.reporter.event(self.engine.view().now(), name, &event);
                    self.turn.get_or_insert_default().events.push(event);
                }
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        if let Some(socket) = self.sockets.get_mut(&transmit.iface) {
            self.reporter.sent(socket.name(), &transmit.bytes);
            socket.send(transmit);
        }
    }

    fn membership(&mut self, membership: Membership) {
        if let Some(socket) = self.sockets.get(&membership.iface)
            && let Err(error) = socket.set_membership(membership)
        {
            let what = if membership.joined { "joining" } else { "leaving" };
            error!("{}: {what} {}: {error}", socket.name(), membership.group);
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signals, Error> {
    signal(kind).map_err(Error::io("installing a signal handler", ""))
}

/// Whether a batch was taken. What else the socket said is a pending error, such as the link going down; reading it cleared
/// it.
fn took(socket: &RawSocket, polled: Poll<std::io::Result<()>>, cx: &Context<'_>) -> bool {
    if let Poll::Ready(Err(error)) = &polled {
        debug!("{}: receiving: {error}", socket.name());
        cx.waker().wake_by_ref();
    }
    matches!(polled, Poll::Ready(Ok(())))
}

fn next(iface: IfaceId) -> IfaceId {
    IfaceId(iface.0.saturating_add(1))
}

/// The interface that an event is about.
fn event_iface(event: &Event) -> Option<IfaceId> {
    match event {
        Event::IfaceState { iface, .. }
        | Event::NeighborState { iface, .. }
        | Event::Elected { iface, .. }
        | Event::Dropped { iface, .. }
        | Event::DuplicateRouterId { iface, .. } => Some(*iface),
        Event::Originated { .. }
        | Event::Flushed { .. }
        | Event::TooLarge { .. }
        | Event::Contested { .. }
        | Event::Spf { .. }
        | Event::LimitReached { .. } => None,
    }
}

/// The seed of the engine's jitter and first DD sequence numbers: different at every start.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
