//! Every netlink message about routes and next hops that a kernel sends out, with its time: what a router did to its FIB,
//! and how much of it.

use std::{
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netlink_sys::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    netns::Netns,
    nl::{Raw, route_notifications, split},
};

/// Notifications of some 10,000 routes at once must fit.
const BUFFER: usize = 16 << 20;

#[derive(Debug, Default)]
struct Notes {
    messages: Vec<(Instant, Raw)>,
    failed: Option<String>,
}

/// The observer; its thread ends with it.
#[derive(Debug)]
pub struct Watch {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch a namespace.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = route_notifications(netns, BUFFER)?;
        let (notes, stop) = (Arc::new(Mutex::new(Notes::default())), Arc::new(AtomicBool::new(false)));
        let (inner, stopped) = (Arc::clone(&notes), Arc::clone(&stop));
        let thread = thread::Builder::new().name("netlink-watch".into()).spawn(move || {
            if let Err(error) = follow(&socket, &inner, &stopped) {
                lock(&inner).failed = Some(format!("{error:#}"));
            }
        })?;
        Ok(Self { notes, stop, thread: Some(thread) })
    }

    /// The messages of a period, in their order. Fails if any may have been lost.
    pub fn messages(&self, from: Instant, to: Instant) -> Result<Vec<(Instant, Raw)>> {
        let notes = lock(&self.notes);
        if let Some(reason) = &notes.failed {
            bail!("the watch stopped: {reason}");
        }
        Ok(notes.messages.iter().filter(|(at, _)| (from..to).contains(at)).cloned().collect())
    }

    /// How many came so far, and when the last one.
    pub fn last(&self) -> (usize, Option<Instant>) {
        let notes = lock(&self.notes);
        (notes.messages.len(), notes.messages.last().map(|(at, _)| *at))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Looks itself, again and again, instead of being woken: netlink has no time stamps, and the time that a sleeping observer
/// notes is when the scheduler let it look, 0.1 to 4 ms after the kernel had the message if its processor has other work.
#[derive(Debug)]
pub struct Lookout {
    socket: Socket,
}

impl Lookout {
    /// Starts to collect what there is to see.
    pub fn start(netns: &Netns) -> Result<Self> {
        Ok(Self { socket: route_notifications(netns, BUFFER)? })
    }

    /// When notifications came, each of them, those that waited first. Returns when none came for `quiet`, or for `patience` in
    /// the beginning.
    pub fn times(&self, (patience, quiet): (Duration, Duration)) -> Result<Vec<Instant>> {
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let (mut times, mut until) = (vec![], Instant::now() + patience);
        loop {
            let waiting = poll(&mut ready, PollTimeout::ZERO)? > 0;
            let now = Instant::now();
            if waiting {
                self.socket.recv_from_full().context("receiving (a full buffer loses notifications)")?;
                times.push(now);
                until = now + quiet;
            } else if now >= until {
                return Ok(times);
            }
        }
    }
}

fn follow(socket: &Socket, notes: &Mutex<Notes>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50u8))? == 0 {
            continue;
        }
        let (datagram, _) = socket.recv_from_full().context("receiving (a full buffer loses notifications)")?;
        let at = Instant::now();
        lock(notes).messages.extend(split(&datagram).into_iter().map(|raw| (at, raw)));
    }
    Ok(())
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}
