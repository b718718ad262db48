//! A known capacity for a real server that is much faster than the lab: it is stopped and continued so that it takes so
//! many queries per second out of its socket and no more. What it may take accrues with time; each query taken, by the
//! kernel's count for the namespace (`Udp6InDatagrams`), is paid for, beforehand or behind. So the capacity is exact in
//! the long run whatever the speed of the machine, and the queue in front of it is the server's own socket.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::netns::Netns;

/// Between two looks at the count.
const STEP: Duration = Duration::from_millis(5);
/// Between two looks while a queue is being served: a server takes some ten queries meanwhile.
const GLANCE: Duration = Duration::from_micros(60);
/// Time that an idle server may save up.
const SAVED: f64 = 0.01;

/// The brake on one server; with its end the server runs free.
#[derive(Debug)]
pub struct Brake {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Queries per second, as the bits of an f64.
    rate: AtomicU64,
    stop: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Brake {
    /// Brakes the only UDP server of a namespace, a process that is our child, to so many queries per second.
    pub fn start(netns: &Netns, pid: u32, rate: f64) -> Result<Self> {
        let counters = netns.run(|| File::open("/proc/thread-self/net/snmp6"))?.context("opening snmp6")?;
        let shared = Arc::new(Shared {
            rate: AtomicU64::new(rate.to_bits()),
            stop: AtomicBool::new(false),
            failed: Mutex::default(),
        });
        let (inner, pid) = (Arc::clone(&shared), Pid::from_raw(i32::try_from(pid)?));
        let thread = thread::Builder::new().name("brake".into()).spawn(move || {
            let result = run(&counters, pid, &inner);
            // Whatever happened: nobody else would continue it.
            let _ = kill(pid, Signal::SIGCONT);
            if let Err(error) = result {
                *inner.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Changes the capacity.
    pub fn set_rate(&self, rate: f64) {
        self.shared.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Fails if it brakes no longer.
    pub fn ensure_braking(&self) -> Result<()> {
        match &*self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => bail!("the brake failed: {reason}"),
            None => Ok(()),
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a server may take: earned by time, spent by queries.
#[derive(Debug)]
struct Purse {
    tokens: f64,
    at: Instant,
    count: u64,
}

impl Purse {
    /// One look at the count. A server that was `running` had no more to take than it took, and saves little; one that was
    /// stopped keeps everything, however late this look comes.
    fn turn(&mut self, now: Instant, count: u64, (rate, running): (f64, bool)) {
        self.tokens += rate * now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens -= count.saturating_sub(self.count) as f64;
        if running {
            self.tokens = self.tokens.min((rate * SAVED).max(1.0));
        }
        (self.at, self.count) = (now, count);
    }
}

fn run(counters: &File, pid: Pid, shared: &Shared) -> Result<()> {
    let mut purse = Purse { tokens: 0.0, at: Instant::now(), count: taken(counters)? };
    let (mut running, mut due) = (true, Instant::now());
    while !shared.stop.load(Ordering::Relaxed) {
        let rate = f64::from_bits(shared.rate.load(Ordering::Relaxed));
        purse.turn(Instant::now(), taken(counters)?, (rate, running));
        let may = purse.tokens >= 1.0;
        if may != running {
            let signal = if may { Signal::SIGCONT } else { Signal::SIGSTOP };
            match kill(pid, signal) {
                Ok(()) => {}
                Err(Errno::ESRCH) => return Ok(()), // dead, and waited for
                Err(errno) => return Err(errno).context("braking"),
            }
        }
        // Just continued, there may be a queue: it is to be stopped before it has taken too much.
        let waked = may && !running;
        running = may;
        due = if waked { Instant::now() + GLANCE } else { (due + STEP).max(Instant::now() + GLANCE) };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Datagrams that the sockets of the namespace have delivered so far.
fn taken(counters: &File) -> Result<u64> {
    let mut bytes = [0; 8192];
    let length = counters.read_at(&mut bytes, 0).context("reading snmp6")?;
    let text = std::str::from_utf8(bytes.get(..length).unwrap_or_default())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Udp6InDatagrams"));
    line.context("no Udp6InDatagrams")?.trim().parse().context("Udp6InDatagrams")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_too_much_is_paid_for_later() {
        let start = Instant::now();
        let mut purse = Purse { tokens: 0.0, at: start, count: 100 };
        purse.turn(start + Duration::from_millis(10), 140, (500.0, true));
        assert!((purse.tokens + 35.0).abs() < 1e-6, "{purse:?}");
        purse.turn(start + Duration::from_millis(70), 140, (500.0, false));
        assert!((purse.tokens + 5.0).abs() < 1e-6, "{purse:?}");
    }

    #[test]
    fn an_idle_server_saves_little_and_a_stopped_one_all() {
        let start = Instant::now();
        let mut purse = Purse { tokens: 0.0, at: start, count: 0 };
        purse.turn(start + Duration::from_secs(100), 0, (500.0, true));
        assert!((purse.tokens - 5.0).abs() < 1e-6, "{purse:?}");
        purse.turn(start + Duration::from_secs(101), 0, (500.0, false));
        assert!((purse.tokens - 505.0).abs() < 1e-6, "{purse:?}");
    }
}
