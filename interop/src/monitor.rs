//! An independent observer of one namespace's FIB: a thread that listens to the kernel's route and next-hop
//! notifications, stamps each on arrival and keeps what every prefix's gateways were from when on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ipnetwork::Ipv6Network;
use netlink_sys::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    fib::Fib,
    netns::Netns,
    nl::{route_notifications, split},
};

/// A change of a thousand slots must fit.
const BUFFER: usize = 4 << 20;

/// From this instant on, packets to the prefix left over these gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When the notification arrived.
    pub at: Instant,
    /// The gateways; empty: no route.
    pub gateways: BTreeSet<Ipv6Addr>,
}

#[derive(Debug, Default)]
struct History {
    fib: Fib,
    changes: BTreeMap<Ipv6Network, Vec<Change>>,
    messages: u64,
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    history: Mutex<History>,
    news: Condvar,
    stop: AtomicBool,
}

/// The observer; its thread ends with it.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts to watch a namespace. What it has now is the start of every history.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = route_notifications(netns, BUFFER)?;
        let mut rtnl = netns.rtnl()?;
        // Joined first, dumped second: a change in between is applied twice, never missed.
        let shared = Arc::new(Shared::default());
        let now = Instant::now();
        let fib = Fib::dump(&mut rtnl)?;
        lock(&shared).note(now, &fib);
        lock(&shared).fib = fib;
        let inner = Arc::clone(&shared);
        let thread = thread::Builder::new().name("route-monitor".into()).spawn(move || {
            if let Err(error) = watch(&socket, &inner) {
                lock(&inner).failed = Some(format!("{error:#}"));
                inner.news.notify_all();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Every change of one prefix's gateways since the start.
    pub fn history(&self, prefix: Ipv6Network) -> Vec<Change> {
        lock(&self.shared).changes.get(&prefix).cloned().unwrap_or_default()
    }

    /// How many notifications came.
    pub fn messages(&self) -> u64 {
        lock(&self.shared).messages
    }

    /// The gateways of a prefix as of now.
    pub fn gateways(&self, prefix: Ipv6Network) -> BTreeSet<Ipv6Addr> {
        lock(&self.shared).fib.gateways(prefix)
    }

    /// The mirror built from notifications alone (after the first dump).
    pub fn fib(&self) -> Fib {
        lock(&self.shared).fib.clone()
    }

    /// Waits until the prefix has exactly these gateways and tells since when; not before `since`.
    pub fn wait_gateways(
        &self,
        prefix: Ipv6Network,
        wanted: &BTreeSet<Ipv6Addr>,
        since: Instant,
        timeout: Duration,
    ) -> Result<Instant> {
        let deadline = Instant::now() + timeout;
        let mut history = lock(&self.shared);
        loop {
            if let Some(reason) = &history.failed {
                bail!("the route monitor stopped: {reason}");
            }
            let last = history.changes.get(&prefix).and_then(|changes| changes.last());
            if let Some(change) = last.filter(|change| change.gateways == *wanted) {
                return Ok(change.at.max(since));
            }
            let now = Instant::now();
            if now >= deadline {
                let seen = last.map(|change| change.gateways.clone()).unwrap_or_default();
                bail!("{prefix} should have the gateways {wanted:?}, but has {seen:?}");
            }
            (history, _) =
                self.shared.news.wait_timeout(history, deadline - now).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl History {
    /// Compares the gateways of every prefix with the last ones known.
    fn note(&mut self, at: Instant, fib: &Fib) {
        let known: BTreeSet<_> = self.changes.keys().copied().chain(fib.routes().map(|route| route.prefix)).collect();
        for prefix in known {
            let gateways = fib.gateways(prefix);
            let changes = self.changes.entry(prefix).or_default();
            if changes.last().is_none_or(|last| last.gateways != gateways) {
                changes.push(Change { at, gateways });
            }
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, History> {
    shared.history.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(socket: &Socket, shared: &Shared) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(50u8))? == 0 {
            continue;
        }
        // All that waits is applied before anything is compared: a change of a thousand slots is a thousand messages, and
        // comparing takes longer than making them.
        let mut concerned = false;
        let (mut at, mut history) = (Instant::now(), lock(shared));
        while poll(&mut ready, PollTimeout::ZERO)? > 0 {
            let (datagram, _) = socket.recv_from_full().context("receiving (a full buffer loses notifications)")?;
            at = Instant::now();
            for raw in split(&datagram) {
                history.messages += 1;
                concerned |= history.fib.apply(&raw);
            }
        }
        if concerned {
            let fib = std::mem::take(&mut history.fib);
            history.note(at, &fib);
            history.fib = fib;
            shared.news.notify_all();
        }
    }
    Ok(())
}
