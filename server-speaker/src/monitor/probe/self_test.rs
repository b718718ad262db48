//! How fast the local service answers: DNS queries in a closed loop for a short time, while the server is out of its class.
//!
//! It cannot hurt: so many queries are outstanding at most, each of them unanswered for a while before another takes its
//! place; it ends by the clock and by a count; and only an address of this host is asked.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::dns::{DnsProbe, Transport, random_id};
use crate::monitor::net::{self, ExchangeError};
use crate::monitor::reading::Unreadable;

/// A query is given up after this time.
const PATIENCE: Duration = Duration::from_millis(250);
/// Queries of one test, however fast the service is.
const QUERIES_MAX: u64 = 200_000;

/// Bounds of a self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfTestOptions {
    /// How long it takes.
    pub duration: Duration,
    /// Queries outstanding at the same time.
    pub concurrency: u16,
}

impl Default for SelfTestOptions {
    fn default() -> Self {
        SelfTestOptions { duration: Duration::from_secs(1), concurrency: 16 }
    }
}

/// Good answers per second. What comes is at least the capacity that a client with so many outstanding queries meets; a
/// service that refuses or never answers has none. Unreadable: we could not ask.
pub async fn self_test(dns: &DnsProbe, options: SelfTestOptions) -> Result<f64, Unreadable> {
    if dns.transport != Transport::Udp {
        return Err(Unreadable("a self-test asks by UDP; the probe asks by TCP".into()));
    }
    let own = match dns.address.ip() {
        std::net::IpAddr::V6(address) => net::is_own(address).await?,
        std::net::IpAddr::V4(address) => address.is_loopback(),
    };
    if !own {
        return Err(Unreadable(format!("{} is no address of this host: not tested", dns.address.ip())));
    }
    let mut round = Round {
        socket: net::udp(dns.address).await?,
        query: dns.query(0)?,
        rcodes: dns.rcodes.iter().map(|rcode| rcode.number()).collect(),
        outstanding: vec![None; options.concurrency.max(1).into()],
        next: random_id(),
        sent: 0,
        answered: 0,
    };
    let begun = Instant::now();
    let end = begun + options.duration;
    // On loopback a full queue of the service holds the sender up.
    let time = match timeout_at(end + PATIENCE, round.run(end)).await.unwrap_or(Ok(())) {
        Ok(()) => begun.elapsed(),
        // Refused: nothing more would come.
        Err(ExchangeError::Peer(_)) => options.duration,
        Err(error) => return Err(error.into()),
    };
    Ok(round.answered as f64 / time.as_secs_f64())
}

struct Round {
    socket: UdpSocket,
    /// With the id 0.
    query: Vec<u8>,
    /// The answers that count.
    rcodes: Vec<u16>,
    /// Id and time of each query on its way.
    outstanding: Vec<Option<(u16, Instant)>>,
    next: u16,
    sent: u64,
    answered: u64,
}

impl Round {
    async fn run(&mut self, end: Instant) -> Result<(), ExchangeError> {
        let mut buffer = vec![0; 65_535];
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.fill(now).await?;
            let Some(oldest) = self.outstanding.iter().flatten().map(|(_, at)| *at).min() else { return Ok(()) };
            match timeout_at(end.min(oldest + PATIENCE), self.socket.recv(&mut buffer)).await {
                Ok(Ok(length)) => self.take(buffer.get(..length).unwrap_or_default()),
                Ok(Err(error)) => return Err(ExchangeError::of("receive", &error)),
                Err(_) => {}
            }
        }
    }

    /// Sends a query for each place that is free; a query without answer frees its place.
    async fn fill(&mut self, now: Instant) -> Result<(), ExchangeError> {
        for place in &mut self.outstanding {
            if place.is_some_and(|(_, at)| now >= at + PATIENCE) {
                *place = None;
            }
            if place.is_some() || self.sent >= QUERIES_MAX {
                continue;
            }
            self.next = self.next.wrapping_add(1);
            let mut query = self.next.to_be_bytes().to_vec();
            query.extend(self.query.iter().skip(2));
            self.socket.send(&query).await.map_err(|error| ExchangeError::of("send", &error))?;
            *place = Some((self.next, now));
            self.sent += 1;
        }
        Ok(())
    }

    /// By its header alone: the loop shall measure the service, not itself.
    fn take(&mut self, reply: &[u8]) {
        let &[high, low, flags, code, ..] = reply else { return };
        let id = u16::from_be_bytes([high, low]);
        let is = |place: &&mut Option<(u16, Instant)>| place.is_some_and(|(sent, _)| sent == id);
        let Some(place) = self.outstanding.iter_mut().find(is) else { return };
        *place = None;
        if flags & 0x80 != 0 && self.rcodes.contains(&u16::from(code & 0x0f)) {
            self.answered += 1;
        }
    }
}

/// A self-test in a task of its own; dropping it ends it.
#[derive(Debug)]
pub struct SelfTest {
    result: oneshot::Receiver<Result<f64, Unreadable>>,
    task: JoinHandle<()>,
}

impl SelfTest {
    /// Starts one. Needs a tokio runtime.
    pub fn start(dns: DnsProbe, options: SelfTestOptions) -> Self {
        let (sender, result) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Nobody waits any more: the handle was dropped.
            let _unheard = sender.send(self_test(&dns, options).await);
        });
        SelfTest { result, task }
    }

    /// The result, once; none while it runs.
    pub fn poll(&mut self) -> Option<Result<f64, Unreadable>> {
        match self.result.try_recv() {
            Ok(result) => Some(result),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(Unreadable("the self-test has ended".into()))),
        }
    }
}

impl Drop for SelfTest {
    fn drop(&mut self) {
        self.task.abort();
    }
}
