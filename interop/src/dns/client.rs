//! Clients of the farm: many flows (source ports) that ask at a given rate whatever happens, and remember every query.

use std::{
    collections::{BTreeMap, HashMap},
    net::{SocketAddr, SocketAddrV6, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    resource::{Resource, getrlimit, setrlimit},
};

use super::{query, read_answer};
use crate::netns::Netns;

/// An answer later than this is a loss.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// The distance of queries in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Equal.
    Paced,
    /// Exponential: a Poisson process, from this seed.
    Poisson(u64),
}

/// A load to be generated.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Whom to ask.
    pub target: SocketAddrV6,
    /// Source ports.
    pub flows: usize,
    /// Queries per second at the start.
    pub rate: f64,
    /// Their spacing.
    pub arrivals: Arrivals,
}

#[derive(Debug, Clone)]
struct Sent {
    at: Instant,
    /// How long after its time.
    behind: Duration,
    answer: Option<(Duration, u16)>,
}

#[derive(Debug, Default)]
struct Book {
    sent: Vec<Sent>,
    names: Vec<String>,
    late: u64,
    strange: u64,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    /// Queries per second, as the bits of an f64.
    rate: AtomicU64,
    stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

/// A running generator; it stops with its handle.
#[derive(Debug)]
pub struct Generator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of the queries sent in some period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Queries sent.
    pub sent: u64,
    /// Answers in time, by server.
    pub answers: BTreeMap<String, u64>,
    /// No answer in time; queries whose time is not yet up are not counted at all.
    pub lost: u64,
    /// Median latency.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// How long after its time a query was sent at worst: more than a few milliseconds, and the machine had no processor
    /// for the lab.
    pub behind: Duration,
}

impl Summary {
    /// Answers in time.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// A server's share of the answers, 0 to 1.
    pub fn share(&self, server: &str) -> f64 {
        let total = self.answered().max(1);
        self.answers.get(server).copied().unwrap_or(0) as f64 / total as f64
    }

    /// Lost fraction of what was sent.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

impl Generator {
    /// Starts to ask from a namespace.
    pub fn start(netns: &Netns, load: Load) -> Result<Self> {
        let sockets = netns.run(|| open(&load))??;
        let shared = Arc::new(Shared {
            book: Mutex::default(),
            rate: AtomicU64::new(load.rate.to_bits()),
            stop: AtomicBool::new(false),
            failed: Mutex::default(),
        });
        let pending = Arc::new(Mutex::new(HashMap::new()));
        let sockets = Arc::new(sockets);
        let mut threads = vec![];
        for role in [Role::Sender, Role::Receiver] {
            let (sockets, shared, pending) = (Arc::clone(&sockets), Arc::clone(&shared), Arc::clone(&pending));
            threads.push(thread::Builder::new().name(format!("dns-{role:?}")).spawn(move || {
                let result = match role {
                    Role::Sender => send(&sockets, &shared, &pending, load.arrivals),
                    Role::Receiver => receive(&sockets, &shared, &pending),
                };
                if let Err(error) = result {
                    *locked(&shared.failed) = Some(format!("{role:?}: {error:#}"));
                }
            })?);
        }
        Ok(Self { shared, threads })
    }

    /// Changes the rate.
    pub fn set_rate(&self, rate: f64) {
        self.shared.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// What became of the queries sent in `from..to`.
    pub fn summary(&self, from: Instant, to: Instant) -> Result<Summary> {
        if let Some(reason) = &*locked(&self.shared.failed) {
            bail!("the clients stopped: {reason}");
        }
        let book = locked(&self.shared.book);
        let now = Instant::now();
        let start = book.sent.partition_point(|sent| sent.at < from);
        let mut summary = Summary::default();
        let mut latencies = vec![];
        for sent in book.sent.iter().skip(start).take_while(|sent| sent.at < to) {
            match sent.answer {
                Some((latency, server)) => {
                    let name = book.names.get(usize::from(server)).cloned().unwrap_or_default();
                    *summary.answers.entry(name).or_default() += 1;
                    latencies.push(latency);
                }
                None if now.duration_since(sent.at) > TIMEOUT => summary.lost += 1,
                None => continue,
            }
            summary.sent += 1;
            summary.behind = summary.behind.max(sent.behind);
        }
        latencies.sort_unstable();
        let percentile = |p: usize| latencies.get((latencies.len() * p / 100).min(latencies.len().saturating_sub(1)));
        summary.p50 = percentile(50).copied().unwrap_or_default();
        summary.p99 = percentile(99).copied().unwrap_or_default();
        Ok(summary)
    }

    /// Summaries of consecutive bins, of 100 ms say.
    pub fn bins(&self, from: Instant, to: Instant, width: Duration) -> Result<Vec<Summary>> {
        let mut bins = vec![];
        let mut start = from;
        while start + width <= to {
            bins.push(self.summary(start, start + width)?);
            start += width;
        }
        Ok(bins)
    }

    /// The longest time around `from..to` in which no query that was answered by `server` was sent: when did it stop?
    pub fn last_answer_of(&self, server: &str, from: Instant) -> Option<Instant> {
        let book = locked(&self.shared.book);
        let index = book.names.iter().position(|name| name == server)?;
        let answered = |sent: &&Sent| sent.answer.is_some_and(|(_, who)| usize::from(who) == index);
        book.sent.iter().rev().take_while(|sent| sent.at >= from).find(answered).map(|sent| sent.at)
    }

    /// When the last loss of a period was sent.
    pub fn last_loss(&self, from: Instant, to: Instant) -> Option<Instant> {
        let book = locked(&self.shared.book);
        let now = Instant::now();
        let lost = |sent: &&Sent| sent.at < to && sent.answer.is_none() && now.duration_since(sent.at) > TIMEOUT;
        book.sent.iter().rev().take_while(|sent| sent.at >= from).find(lost).map(|sent| sent.at)
    }

    /// Answers that came after their time, and datagrams that answered nothing.
    pub fn oddities(&self) -> (u64, u64) {
        let book = locked(&self.shared.book);
        (book.late, book.strange)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Sender,
    Receiver,
}

/// (flow, query id) to the index in the book.
type Pending = Mutex<HashMap<(usize, u16), usize>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(load: &Load) -> Result<Vec<UdpSocket>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::try_from(load.flows)? + 256;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).context("raising the limit of open files")?;
    }
    let flow = |_| {
        let socket = UdpSocket::bind("[::]:0").context("opening a flow")?;
        socket.connect(SocketAddr::V6(load.target)).with_context(|| format!("no route to {}", load.target))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..load.flows).map(flow).collect()
}

/// xorshift64*: good enough for gaps between queries.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

fn send(sockets: &[UdpSocket], shared: &Shared, pending: &Pending, arrivals: Arrivals) -> Result<()> {
    let mut random = Random(match arrivals {
        Arrivals::Paced => 1,
        Arrivals::Poisson(seed) => seed | 1,
    });
    let mut due = Instant::now();
    let mut id = 0u16;
    for (flow, socket) in sockets.iter().enumerate().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let rate = f64::from_bits(shared.rate.load(Ordering::Relaxed));
        if rate <= 0.0 {
            thread::sleep(Duration::from_millis(1));
            due = Instant::now();
            continue;
        }
        let gap = match arrivals {
            Arrivals::Paced => 1.0 / rate,
            Arrivals::Poisson(_) => -random.unit().ln() / rate,
        };
        due += Duration::from_secs_f64(gap);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if flow == 0 {
            id = id.wrapping_add(1);
        }
        let bytes = query(id)?;
        let index = {
            let mut book = locked(&shared.book);
            let at = Instant::now();
            book.sent.push(Sent { at, behind: at.saturating_duration_since(due), answer: None });
            book.sent.len() - 1
        };
        locked(pending).insert((flow, id), index);
        // No route, or an ICMP error about an earlier query: this one is lost, and counted so.
        let _ = socket.send(&bytes);
    }
    Ok(())
}

fn receive(sockets: &[UdpSocket], shared: &Shared, pending: &Pending) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (flow, socket) in (0u64..).zip(sockets) {
        epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, flow))?;
    }
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = [0; 1500];
    while !shared.stop.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, EpollTimeout::from(50u8))?;
        for event in events.iter().take(count) {
            let flow = usize::try_from(event.data())?;
            let Some(socket) = sockets.get(flow) else { continue };
            // An error here is an ICMP message about a query: that query simply gets no answer.
            while let Ok(length) = socket.recv(&mut buffer) {
                let at = Instant::now();
                let reply = read_answer(buffer.get(..length).unwrap_or_default());
                enter(&mut locked(&shared.book), reply, at, |id| locked(pending).remove(&(flow, id)));
            }
        }
    }
    Ok(())
}

/// Enters an answer into the book.
fn enter(book: &mut Book, reply: Result<(u16, String)>, at: Instant, find: impl Fn(u16) -> Option<usize>) {
    let Some((name, index)) = reply.ok().and_then(|(id, name)| Some((name, find(id)?))) else {
        book.strange += 1;
        return;
    };
    let known = book.names.iter().position(|other| *other == name).unwrap_or_else(|| {
        book.names.push(name);
        book.names.len() - 1
    });
    let Some(sent) = book.sent.get_mut(index) else { return };
    let latency = at.duration_since(sent.at);
    if latency <= TIMEOUT {
        sent.answer = Some((latency, u16::try_from(known).unwrap_or(u16::MAX)));
    } else {
        book.late += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_is_a_loss_and_an_unasked_one_is_strange() {
        let start = Instant::now();
        let mut book = Book { sent: vec![Sent { at: start, behind: Duration::ZERO, answer: None }], ..Book::default() };
        enter(&mut book, Ok((7, "s1".into())), start + TIMEOUT * 2, |_| Some(0));
        assert_eq!((book.late, book.strange, book.sent[0].answer), (1, 0, None));
        enter(&mut book, Ok((7, "s1".into())), start, |_| None);
        assert_eq!(book.strange, 1);
    }

    #[test]
    fn exponential_gaps_have_the_mean_that_was_asked_for() {
        let mut random = Random(42);
        let mean = (0..100_000).map(|_| -random.unit().ln()).sum::<f64>() / 100_000.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
