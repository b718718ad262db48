//! A known capacity for a real server that is much faster than the lab: each time it wants to take queries out of its
//! socket it is held until those it took last are paid for with time. It takes as many at once as it will (Knot: ten), so
//! the capacity is exact whatever the speed and the scheduler of the machine, and the queue in front of it is the server's
//! own socket. (A server that is stopped and continued from outside instead takes hundreds before the stop arrives,
//! which no queue of a slow server does.)

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::libc;

use crate::{
    netns::Netns,
    seccomp::{Call, Listener},
};

/// The call by which servers take queries (Knot, NSD).
pub const TAKES: libc::c_long = libc::SYS_recvmmsg;
/// Time that an idle server may save up.
const SAVED: Duration = Duration::from_millis(10);
/// A server with queries in its queue asks again within this time: it needs some 10 us for each that it took.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Between two looks whether the server lives.
const LOOK: Duration = Duration::from_secs(1);

/// The brake on one server; with its end the server runs free.
#[derive(Debug)]
pub struct Brake(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Queries per second, as the bits of an f64.
    rate: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl Brake {
    /// Brakes the only UDP server of a namespace, whose [`TAKES`] are held, to so many queries per second.
    pub fn start(netns: &Netns, calls: Listener, rate: f64) -> Result<Self> {
        let counters = netns.run(|| File::open("/proc/thread-self/net/snmp6"))?.context("opening snmp6")?;
        let shared = Arc::new(Shared { rate: AtomicU64::new(rate.to_bits()), failed: Mutex::default() });
        let inner = Arc::clone(&shared);
        // It ends with the server, which cannot do without it.
        thread::Builder::new().name("brake".into()).spawn(move || {
            if let Err(error) = run(&counters, &calls, &inner) {
                *inner.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
            }
        })?;
        Ok(Self(shared))
    }

    /// Changes the capacity.
    pub fn set_rate(&self, rate: f64) {
        self.0.rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// Fails if it brakes no longer.
    pub fn ensure_braking(&self) -> Result<()> {
        match &*self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => bail!("the brake failed: {reason}"),
            None => Ok(()),
        }
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        self.set_rate(f64::INFINITY);
    }
}

/// What a server has taken, and until when it is at work with that.
#[derive(Debug)]
struct Work {
    until: Instant,
    /// When it was let go last.
    released: Instant,
    count: u64,
}

impl Work {
    /// When a server that asks for more at `asked` may have it; `count` is what it has taken in all. One that has been
    /// idle has saved little; one that asks again at once loses nothing, however late it is let go.
    fn next(&mut self, asked: Instant, count: u64, rate: f64) -> Instant {
        let taken = count.saturating_sub(self.count) as f64;
        self.until += Duration::try_from_secs_f64(taken / rate).unwrap_or(LOOK);
        if asked.saturating_duration_since(self.released) > AT_ONCE {
            self.until = self.until.max(asked.checked_sub(SAVED).unwrap_or(asked));
        }
        self.count = count;
        self.until
    }
}

fn run(counters: &File, calls: &Listener, shared: &Shared) -> Result<()> {
    let start = Instant::now();
    let mut work = Work { until: start, released: start, count: taken(counters)? };
    loop {
        let held = match calls.wait(LOOK)? {
            Call::Held(held) => held,
            Call::None => continue,
            Call::Over => return Ok(()),
        };
        let (asked, rate) = (Instant::now(), f64::from_bits(shared.rate.load(Ordering::Relaxed)));
        let due = work.next(asked, taken(counters)?, rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        work.released = Instant::now();
        calls.release(held)?;
    }
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

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn work(start: Instant, count: u64) -> Work {
        Work { until: start, released: start, count }
    }

    /// A server that asks `after` so many milliseconds, has taken ten, and is let go `late` so much.
    fn turn(work: &mut Work, (after, late): (u64, u64)) -> Instant {
        let asked = work.released + ms(after);
        let due = work.next(asked, work.count + 10, 500.0);
        work.released = due.max(asked) + ms(late);
        due
    }

    #[test]
    fn what_was_taken_is_paid_for_with_time() {
        let start = Instant::now();
        let mut work = work(start, 100);
        for turns in 1..100 {
            assert_eq!(turn(&mut work, (1, 0)), start + turns * ms(20));
        }
    }

    #[test]
    fn who_is_let_go_too_late_loses_nothing() {
        let start = Instant::now();
        let mut work = work(start, 100);
        for turns in 1..100 {
            // Once three times the work of a turn too late, and always a little.
            assert_eq!(turn(&mut work, (0, if turns == 10 { 60 } else { 1 })), start + turns * ms(20));
        }
    }

    #[test]
    fn an_idle_server_saves_little_however_often_it_is_idle() {
        let start = Instant::now();
        let mut work = work(start, 100);
        for late in [0, 1, 5] {
            for _ in 0..1000 {
                turn(&mut work, (50, late));
            }
            // It may have ten at once, and for the next ten half of the time is saved.
            let asked = work.released + ms(50);
            turn(&mut work, (50, 0));
            assert_eq!(turn(&mut work, (0, 0)), asked + ms(20) - SAVED);
        }
    }

    #[test]
    fn without_a_brake_it_runs_free() {
        let start = Instant::now();
        assert_eq!(work(start, 0).next(start, 1000, f64::INFINITY), start);
    }
}
