//! The order of a drain: cost to the maximum, wait until hardly a query comes (or a limit), flush, wait for the
//! acknowledgments, keep the address for what is on its way, address off.

use std::time::Duration;

use ospf_proto::time::Instant;
use serde::Serialize;

use super::leave::{Leave, Phase, Progress};

/// The cost of a service while it is being emptied: the greatest metric of a prefix (RFC 5340 appendix A.4.10, 16 bits).
pub const DRAIN_COST: u16 = u16::MAX;
/// BIRD needs up to a second to change its ways; nothing is concluded before.
const EMPTY_MIN: Duration = Duration::from_secs(2);
/// The rate of queries is taken over this time.
const WINDOW: Duration = Duration::from_secs(1);
/// A service with so many queries a second is idle: its own probes and strays.
const IDLE_RATE: f64 = 5.0;
/// And one with this part of the rate before the drain.
const IDLE_PART: f64 = 0.02;

/// Where a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainPhase {
    /// At the maximum cost; the last queries are awaited.
    Emptying,
    /// Withdrawn; the address stays for what is on its way.
    Leaving,
    /// The address may be taken off.
    Done,
}

/// What a drain goes by.
#[derive(Clone, Copy, Debug)]
pub struct DrainProgress {
    /// Queries served, ever, and when that was read; none where nobody counts them.
    pub served: Option<(Instant, u64)>,
    /// Something waits in the queue.
    pub queued: bool,
    /// Flushed LSAs that some neighbor has not acknowledged.
    pub flushes_pending: usize,
}

/// A drain under way.
#[derive(Clone, Debug)]
pub struct Drain {
    started: Instant,
    limit: Duration,
    linger: Duration,
    window: Option<(Instant, u64)>,
    rate_before: f64,
    leave: Option<Leave>,
    phase: DrainPhase,
}

impl Drain {
    /// Begins; `limit` is the longest time of emptying, `linger` the longest time of the address after the flush;
    /// `rate_before` is the rate of queries until now.
    pub fn new(now: Instant, (limit, linger): (Duration, Duration), rate_before: f64) -> Self {
        Drain { started: now, limit, linger, window: None, rate_before, leave: None, phase: DrainPhase::Emptying }
    }

    /// Where it stands.
    pub fn phase(&self) -> DrainPhase {
        self.phase
    }

    /// One look.
    pub fn step(&mut self, now: Instant, progress: DrainProgress) -> DrainPhase {
        if self.phase == DrainPhase::Emptying {
            if !self.is_empty(now, progress) && now - self.started < self.limit {
                return self.phase;
            }
            self.leave = Some(Leave::new(now, self.linger));
            self.phase = DrainPhase::Leaving;
            // The flush is ordered after this look: what is pending now says nothing of it.
            return self.phase;
        }
        if let Some(leave) = &mut self.leave {
            // Only what was read just now tells whether something still comes.
            let fresh = progress.served.filter(|(at, _)| *at == now).map(|(_, served)| served);
            let seen = Progress { flushes_pending: progress.flushes_pending, received: fresh };
            if leave.step(now, seen) == Phase::Done {
                self.phase = DrainPhase::Done;
            }
        }
        self.phase
    }

    fn is_empty(&mut self, now: Instant, progress: DrainProgress) -> bool {
        let Some((at, served)) = progress.served else { return false };
        let (since, before) = *self.window.get_or_insert((at, served));
        // By the times of the readings: one that is looked at twice is no idle second.
        if at - since < WINDOW {
            return false;
        }
        self.window = Some((at, served));
        let Some(came) = served.checked_sub(before) else { return false };
        let rate = came as f64 / (at - since).as_secs_f64();
        !progress.queued && rate <= IDLE_RATE.max(IDLE_PART * self.rate_before) && now - self.started >= EMPTY_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the phases begin, in tenths of a second; queries come at 100 a second until `quiet`, then at 1 a second.
    fn drain(quiet: u64, counted: bool) -> (u64, u64) {
        let at = |tenths: u64| Instant::from_epoch(Duration::from_millis(100 * tenths));
        let mut drain = Drain::new(at(0), (Duration::from_secs(30), Duration::from_secs(5)), 100.0);
        let mut leaving = None;
        for tenths in 0..1000 {
            let served = 10 * tenths.min(quiet) + tenths.saturating_sub(quiet) / 10;
            let progress =
                DrainProgress { served: counted.then_some((at(tenths), served)), queued: false, flushes_pending: 0 };
            match drain.step(at(tenths), progress) {
                DrainPhase::Emptying => {}
                DrainPhase::Leaving => leaving = leaving.or(Some(tenths)),
                DrainPhase::Done => return (leaving.unwrap(), tenths),
            }
        }
        panic!("never done");
    }

    #[test]
    fn it_flushes_when_hardly_a_query_comes_any_more() {
        let (leaving, _) = drain(35, true);
        assert!((45..=60).contains(&leaving), "{leaving}");
    }

    #[test]
    fn it_flushes_no_sooner_than_two_seconds() {
        let (leaving, _) = drain(0, true);
        assert!((20..=30).contains(&leaving), "{leaving}");
    }

    #[test]
    fn a_service_that_never_empties_is_flushed_at_the_limit() {
        assert_eq!(drain(10_000, true).0, 300);
        assert_eq!(drain(0, false).0, 300);
    }

    #[test]
    fn the_address_stays_after_the_flush() {
        let (leaving, done) = drain(0, true);
        assert!(done >= leaving + 20, "{leaving} {done}");
    }
}
