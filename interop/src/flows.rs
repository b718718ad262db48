//! A stream of many flows to an anycast address, and who got what: packets numbered, sent at a steady rate from a client's
//! namespace, and noted by a receiver in each server's. From these raw notes alone: what was lost, which flows moved from
//! one server to another, and how the packets were shared.

use std::{
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    netns::Netns,
    wait::{Probe, wait_for},
};

/// A packet that is not there after this is lost.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A sender that is later than this does not catch up: a burst would lose packets in the client's own queues.
const LATEST: Duration = Duration::from_millis(10);

/// A stream to be sent.
#[derive(Debug, Clone)]
pub struct Stream {
    /// To whom.
    pub target: SocketAddrV6,
    /// Source addresses, which the flows have in turn.
    pub sources: Vec<Ipv6Addr>,
    /// Flows: each has a source port of its own.
    pub flows: usize,
    /// Packets per second, of all flows together.
    pub rate: f64,
}

impl Stream {
    /// 5,000 packets per second over 2,000 flows from one address.
    pub fn new(target: SocketAddrV6, source: Ipv6Addr) -> Self {
        Self { target, sources: vec![source], flows: 2000, rate: 5000.0 }
    }
}

/// What became of the packets of a period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Received by nobody.
    pub lost: u64,
    /// Received more than once.
    pub doubled: u64,
    /// Received, by server.
    pub servers: Vec<u64>,
}

impl Counts {
    /// A server's share of what was received, 0 to 1.
    pub fn share(&self, server: usize) -> f64 {
        let all: u64 = self.servers.iter().sum();
        self.servers.get(server).copied().unwrap_or(0) as f64 / all.max(1) as f64
    }
}

/// What became of the flows from one moment to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Flows that had a server at both moments.
    pub flows: usize,
    /// Those that had another one.
    pub moved: usize,
    /// How often a flow changed its server in between; more than `moved` if some moved twice, or there and back.
    pub changes: usize,
}

impl Moves {
    /// The part that moved, 0 to 1.
    pub fn part(&self) -> f64 {
        self.moved as f64 / self.flows.max(1) as f64
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// When each packet was sent; its number is its place.
    sent: Mutex<Vec<Instant>>,
    /// The numbers each server received, in order of arrival.
    received: Vec<Mutex<Vec<u32>>>,
    stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

/// A running stream with its receivers; it stops with its handle.
#[derive(Debug)]
pub struct Flows {
    shared: Arc<Shared>,
    flows: usize,
    rate: f64,
    threads: Vec<JoinHandle<()>>,
}

/// Who got each packet: for each number, the server, or nobody.
#[derive(Debug, Clone)]
struct Ledger {
    flows: usize,
    sent: Vec<Instant>,
    owners: Vec<Option<u16>>,
    doubled: Vec<u32>,
}

impl Flows {
    /// Starts to send from a client's namespace to receivers in those of the servers, which must have the target's address.
    pub fn start(client: &Netns, servers: &[Netns], stream: &Stream) -> Result<Self> {
        ensure!(stream.flows > 0 && stream.rate > 0.0 && !stream.sources.is_empty(), "{stream:?} is no stream");
        let received = servers.iter().map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { received, ..Shared::default() });
        let mut threads = vec![];
        for (place, netns) in servers.iter().enumerate() {
            let socket = netns.run(|| open_receiver(stream.target))??;
            let inner = Arc::clone(&shared);
            threads
                .push(spawn(&format!("flows-at-{}", netns.name()), &shared, move || receive(&socket, place, &inner))?);
        }
        let sockets = client.run(|| open_senders(stream))??;
        let (inner, stream_of) = (Arc::clone(&shared), stream.clone());
        threads.push(spawn("flows", &shared, move || send(&sockets, &stream_of, &inner))?);
        Ok(Self { shared, flows: stream.flows, rate: stream.rate, threads })
    }

    /// What became of the packets sent in `from..to`, once all of them have had their time.
    pub fn counts(&self, from: Instant, to: Instant) -> Result<Counts> {
        Ok(self.ledger(to, 0)?.counts(from, to, self.shared.received.len()))
    }

    /// Which flows had another server with their first packet after `after` than with their last before `before`.
    pub fn moves(&self, before: Instant, after: Instant) -> Result<Moves> {
        Ok(self.ledger(after, self.flows)?.moves(before, after))
    }

    /// Waits until every flow has sent and somebody has received: all is set up.
    pub fn settle(&self) -> Result<()> {
        let since = Instant::now();
        wait_for("the stream to arrive", Duration::from_secs(20), || {
            let from = Instant::now() - Duration::from_millis(500);
            let counts = self.counts(from, Instant::now())?;
            let whole = counts.sent as f64 > 0.25 * self.rate && counts.lost == 0;
            let first = since.elapsed().as_secs_f64() > self.flows as f64 / self.rate;
            Ok(Probe::when(whole && first, (), format!("{counts:?}")))
        })
    }

    /// Everything noted so far, once `more` packets have been sent after `to` and all of them have had their time.
    fn ledger(&self, to: Instant, more: usize) -> Result<Ledger> {
        let patience = Duration::from_secs(30) + Duration::from_secs_f64(more as f64 / self.rate);
        wait_for("packets to be sent", patience, || {
            self.ensure_running()?;
            let sent = lock(&self.shared.sent);
            let (late, all) = (sent.partition_point(|at| *at < to), sent.len());
            Ok(Probe::when(Instant::now() >= to && all >= late + more, (), format!("{all} sent, {late} before")))
        })?;
        let until = {
            let sent = lock(&self.shared.sent);
            sent.partition_point(|at| *at < to) + more
        };
        let closed = Instant::now() + TIMEOUT;
        wait_for("packets to arrive", 30 * TIMEOUT, || {
            let ledger = self.noted();
            let missing = ledger.owners.iter().take(until).filter(|owner| owner.is_none()).count();
            Ok(Probe::when(missing == 0 || Instant::now() > closed, ledger, format!("{missing} missing")))
        })
    }

    fn ensure_running(&self) -> Result<()> {
        match &*lock(&self.shared.failed) {
            Some(reason) => bail!("the stream stopped: {reason}"),
            None => Ok(()),
        }
    }

    fn noted(&self) -> Ledger {
        // Received first: what arrives in between was sent before.
        let received: Vec<Vec<u32>> = self.shared.received.iter().map(|one| lock(one).clone()).collect();
        Ledger::new(self.flows, lock(&self.shared.sent).clone(), &received)
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Ledger {
    fn new(flows: usize, sent: Vec<Instant>, received: &[Vec<u32>]) -> Self {
        let mut ledger = Self { flows, owners: vec![None; sent.len()], sent, doubled: vec![] };
        for (server, numbers) in (0u16..).zip(received) {
            for number in numbers {
                match ledger.owners.get_mut(*number as usize) {
                    Some(Some(_)) => ledger.doubled.push(*number),
                    Some(owner) => *owner = Some(server),
                    None => {}
                }
            }
        }
        ledger
    }

    fn counts(&self, from: Instant, to: Instant, servers: usize) -> Counts {
        let place = |at: Instant| self.sent.partition_point(|sent| *sent < at);
        let (first, end) = (place(from), place(to));
        let mut counts = Counts { servers: vec![0; servers], ..Counts::default() };
        for owner in self.owners.iter().take(end).skip(first) {
            counts.sent += 1;
            match owner.and_then(|server| counts.servers.get_mut(usize::from(server))) {
                Some(server) => *server += 1,
                None => counts.lost += 1,
            }
        }
        counts.doubled = self.doubled.iter().filter(|one| (first..end).contains(&(**one as usize))).count() as u64;
        counts
    }

    /// Packet `n` is one of flow `n` modulo the number of flows.
    fn moves(&self, before: Instant, after: Instant) -> Moves {
        let place = |at: Instant| self.sent.partition_point(|sent| *sent < at);
        let (last, first) = (place(before), place(after));
        let mut moves = Moves::default();
        for flow in 0..self.flows {
            let owners = || self.owners.iter().enumerate().skip(flow).step_by(self.flows);
            let was = owners().take_while(|(n, _)| *n < last).filter_map(|(_, owner)| *owner).last();
            let is = owners().skip_while(|(n, _)| *n < first).find_map(|(_, owner)| *owner);
            let (Some(was), Some(is)) = (was, is) else { continue };
            moves.flows += 1;
            moves.moved += usize::from(was != is);
            let mut now = was;
            for owner in owners().skip_while(|(n, _)| *n < last).take_while(|(n, _)| *n < first) {
                if let Some(owner) = *owner.1 {
                    moves.changes += usize::from(owner != now);
                    now = owner;
                }
            }
            moves.changes += usize::from(now != is);
        }
        moves
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (shared, who) = (Arc::clone(shared), name.to_owned());
    let run = move || {
        if let Err(error) = work() {
            *lock(&shared.failed) = Some(format!("{who}: {error:#}"));
        }
    };
    Ok(thread::Builder::new().name(name.chars().take(15).collect()).spawn(run)?)
}

/// One socket for each flow. They are not connected: an ICMP error about one packet must not keep the next from leaving.
fn open_senders(stream: &Stream) -> Result<Vec<UdpSocket>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = soft.max(u64::try_from(stream.flows)? * 2 + 1024);
    ensure!(wanted <= hard, "{} flows need {wanted} open files, {hard} are allowed", stream.flows);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("raising the limit of open files")?;
    let open = |source: &Ipv6Addr| {
        UdpSocket::bind(SocketAddrV6::new(*source, 0, 0, 0)).with_context(|| format!("opening a flow from {source}"))
    };
    stream.sources.iter().cycle().take(stream.flows).map(open).collect()
}

fn open_receiver(target: SocketAddrV6) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).context("opening a receiver")?;
    // The address may come and go with an advertisement.
    socket.set_freebind_v6(true).context("allowing an address that does not exist yet")?;
    socket.set_recv_buffer_size(4 << 20).context("sizing a receiver's buffer")?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::V6(target).into()).with_context(|| format!("receiving on {target}"))?;
    Ok(socket.into())
}

fn send(sockets: &[UdpSocket], stream: &Stream, shared: &Shared) -> Result<()> {
    let gap = Duration::from_secs_f64(1.0 / stream.rate);
    let mut due = Instant::now();
    for (number, socket) in (0u32..).zip(sockets.iter().cycle()) {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        due = (due + gap).max(Instant::now() - LATEST);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        lock(&shared.sent).push(Instant::now());
        socket.send_to(&number.to_be_bytes(), stream.target).context("sending")?;
    }
    Ok(())
}

fn receive(socket: &UdpSocket, place: usize, shared: &Shared) -> Result<()> {
    let notes = shared.received.get(place).context("no notes for this server")?;
    while !shared.stop.load(Ordering::Relaxed) {
        if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50u8))? == 0 {
            continue;
        }
        let mut bytes = [0; 64];
        while let Ok(length) = socket.recv(&mut bytes) {
            let number = bytes.first_chunk::<4>().filter(|_| length == 4).context("a strange packet")?;
            lock(notes).push(u32::from_be_bytes(*number));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets a millisecond apart.
    fn ledger(flows: usize, sent: u32, received: &[Vec<u32>]) -> (Instant, Ledger) {
        let start = Instant::now();
        let sent = (0..sent).map(|n| start + Duration::from_millis(n.into())).collect();
        (start, Ledger::new(flows, sent, received))
    }

    fn ms(start: Instant, at: u64) -> Instant {
        start + Duration::from_millis(at)
    }

    #[test]
    fn what_nobody_received_is_lost_and_what_came_twice_is_told() {
        let (start, ledger) = ledger(2, 6, &[vec![0, 2, 2], vec![1, 5]]);
        let counts = ledger.counts(start, ms(start, 6), 2);
        assert_eq!(counts, Counts { sent: 6, lost: 2, doubled: 1, servers: vec![2, 2] });
        let counts = ledger.counts(ms(start, 3), ms(start, 6), 2);
        assert_eq!(counts, Counts { sent: 3, lost: 2, doubled: 0, servers: vec![0, 1] });
    }

    #[test]
    fn a_flow_has_moved_if_its_packets_after_arrive_elsewhere_than_those_before() {
        // Flow 0: a a b b; flow 1: b lost b b; flow 2: a b a a, there and back.
        let (start, ledger) = ledger(3, 12, &[vec![0, 3, 2, 8, 11], vec![6, 9, 1, 7, 10, 5]]);
        let moves = ledger.moves(ms(start, 3), ms(start, 6));
        assert_eq!(moves, Moves { flows: 3, moved: 1, changes: 3 });
        // Nothing moves behind it.
        assert_eq!(ledger.moves(ms(start, 9), ms(start, 9)), Moves { flows: 3, moved: 0, changes: 0 });
    }

    #[test]
    fn a_flow_without_a_packet_on_either_side_is_not_counted() {
        let (start, ledger) = ledger(2, 4, &[vec![0, 2, 3]]);
        assert_eq!(ledger.moves(ms(start, 2), ms(start, 2)), Moves { flows: 1, moved: 0, changes: 0 });
    }
}
