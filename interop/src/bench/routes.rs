//! The device's kernel as the bench watches it: how many of the virtual routers' prefixes it has, the gateways of a few
//! prefixes, how many messages came, each at the time of its arrival. A message costs the observer microseconds.

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

use super::graph::Network;
use crate::{
    fib::{Fib, decode_route},
    netns::Netns,
    nl::{Raw, route_notifications, split},
};

/// Notifications of some 10,000 routes at once must fit.
const BUFFER: usize = 64 << 20;

/// The gateways of a watched prefix from an instant on.
pub type Change = (Instant, BTreeSet<Ipv6Addr>);

#[derive(Debug, Default)]
struct Seen {
    fib: Fib,
    present: BTreeSet<Ipv6Network>,
    /// When the number of prefixes present reached its present value.
    counted_at: Option<Instant>,
    watched: BTreeMap<Ipv6Network, Vec<Change>>,
    /// When the last message came that may have changed the gateways of a watched prefix.
    concerned: Option<Instant>,
    messages: Vec<Instant>,
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    news: Condvar,
    stop: AtomicBool,
}

/// The observer; its thread ends with it.
#[derive(Debug)]
pub struct Routes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Routes {
    /// Starts to watch a namespace, and the gateways of these prefixes. Nothing of the bench is there yet.
    pub fn start(netns: &Netns, watched: &[Ipv6Network]) -> Result<Self> {
        let socket = route_notifications(netns, BUFFER)?;
        let shared = Arc::new(Shared::default());
        lock(&shared).watched = watched.iter().map(|prefix| (*prefix, vec![])).collect();
        let inner = Arc::clone(&shared);
        let thread = thread::Builder::new().name("bench-routes".into()).spawn(move || {
            if let Err(error) = follow(&socket, &inner) {
                lock(&inner).failed = Some(format!("{error:#}"));
                inner.news.notify_all();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits until something is so, looking at each news.
    fn wait<T>(&self, what: &str, timeout: Duration, probe: impl Fn(&Seen) -> Result<T, String>) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let mut seen = lock(&self.shared);
        loop {
            if let Some(reason) = &seen.failed {
                bail!("the observer of routes stopped: {reason}");
            }
            let last = match probe(&seen) {
                Ok(found) => return Ok(found),
                Err(last) => last,
            };
            let now = Instant::now();
            if now >= deadline {
                bail!("waited {:.0} s for {what}; last seen: {last}", timeout.as_secs_f64());
            }
            (seen, _) = self.shared.news.wait_timeout(seen, deadline - now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until so many virtual routers have a route, and tells since when.
    pub fn wait_count(&self, wanted: usize, timeout: Duration) -> Result<Instant> {
        self.wait(&format!("{wanted} routes in the kernel"), timeout, |seen| {
            let there = seen.present.len();
            seen.counted_at.filter(|_| there == wanted).ok_or_else(|| format!("{there} routes"))
        })
    }

    /// Waits until a watched prefix has exactly these gateways, and tells since when.
    pub fn wait_gateways(
        &self,
        prefix: Ipv6Network,
        wanted: &BTreeSet<Ipv6Addr>,
        timeout: Duration,
    ) -> Result<Instant> {
        self.wait(&format!("{prefix} over {wanted:?}"), timeout, |seen| {
            let last = seen.watched.get(&prefix).and_then(|changes| changes.last());
            match last {
                Some((at, gateways)) if gateways == wanted => Ok(*at),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// The gateways of a watched prefix, and since when.
    pub fn last(&self, prefix: Ipv6Network) -> Option<Change> {
        lock(&self.shared).watched.get(&prefix)?.last().cloned()
    }

    /// Waits until nothing has been heard for so long since then, and tells how many messages there were, and when the last came.
    pub fn rest(&self, since: Instant, quiet: Duration) -> Result<(usize, Option<Instant>)> {
        loop {
            let last = {
                let seen = lock(&self.shared);
                if let Some(reason) = &seen.failed {
                    bail!("the observer of routes stopped: {reason}");
                }
                let from = seen.messages.partition_point(|at| *at < since);
                let messages = seen.messages.get(from..).unwrap_or_default();
                let last = messages.last().copied();
                if last.unwrap_or(since).elapsed() >= quiet {
                    return Ok((messages.len(), last));
                }
                last.unwrap_or(since)
            };
            thread::sleep(quiet.saturating_sub(last.elapsed()));
        }
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Seen> {
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn follow(socket: &Socket, shared: &Shared) -> Result<()> {
    while !shared.stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(50u8))? == 0 {
            continue;
        }
        // Everything that waits gets its time before anything is looked at.
        let mut waiting = vec![];
        while poll(&mut ready, PollTimeout::ZERO)? > 0 {
            let (datagram, _) = socket.recv_from_full().context("receiving (a full buffer loses notifications)")?;
            waiting.push((Instant::now(), datagram));
        }
        let mut seen = lock(shared);
        for (at, datagram) in &waiting {
            split(datagram).iter().for_each(|raw| seen.take(*at, raw));
        }
        seen.compare();
        drop(seen);
        shared.news.notify_all();
    }
    Ok(())
}

impl Seen {
    fn take(&mut self, at: Instant, raw: &Raw) {
        self.messages.push(at);
        if !self.fib.apply(raw) {
            return;
        }
        let Some(route) = decode_route(raw) else {
            // A next-hop object in use.
            self.concerned = Some(at);
            return;
        };
        if self.watched.contains_key(&route.prefix) {
            self.concerned = Some(at);
        }
        if Network::is_prefix(&route.prefix) {
            let changed = match self.fib.route(route.prefix) {
                Some(_) => self.present.insert(route.prefix),
                None => self.present.remove(&route.prefix),
            };
            if changed {
                self.counted_at = Some(at);
            }
        }
    }

    /// Notes the gateways of the watched prefixes as of the last message that concerned them: they are looked at once for all
    /// messages that came together, as a group of a thousand slots takes longer to look at than to change.
    fn compare(&mut self) {
        let Some(at) = self.concerned.take() else { return };
        for (prefix, changes) in &mut self.watched {
            let gateways = self.fib.gateways(*prefix);
            if changes.last().is_none_or(|(_, last)| *last != gateways) {
                changes.push((at, gateways));
            }
        }
    }
}
