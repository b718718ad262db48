//! The order of leaving: flush, wait for the acknowledgments, keep address and service while packets still come, then
//! say goodbye and take the address away.
//!
//! BIRD needs up to a second after its acknowledgment until its FIB has changed, hence at least two seconds.

use std::time::Duration;

use ospf_proto::time::Instant;
use serde::Serialize;

/// No wait for acknowledgments beyond this: a neighbor that is gone acknowledges nothing.
const ACKS_MAX: Duration = Duration::from_secs(5);
/// Address and service stay at least this long after the acknowledgments.
const LINGER_MIN: Duration = Duration::from_secs(2);
/// So long without a packet means that the routers have changed their ways.
const IDLE: Duration = Duration::from_secs(1);

/// Where a leaving server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Our LSAs are flushed; acknowledgments are awaited.
    Flushing,
    /// Nobody should send any more; address and service stay for what is on its way.
    Lingering,
    /// Goodbye may be said and the address taken away.
    Done,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Flushed LSAs that some neighbor has not acknowledged.
    pub flushes_pending: usize,
    /// Packets received for the services, ever; none where nobody counts them.
    pub received: Option<u64>,
}

/// The sequence of leaving.
#[derive(Clone, Debug)]
pub struct Leave {
    started: Instant,
    linger: Duration,
    acknowledged: Option<Instant>,
    last: Option<u64>,
    quiet_since: Option<Instant>,
}

impl Leave {
    /// Starts when the flush is ordered; `linger` is the longest time after the acknowledgments.
    pub fn new(now: Instant, linger: Duration) -> Self {
        Leave { started: now, linger, acknowledged: None, last: None, quiet_since: None }
    }

    /// Where we stand now.
    pub fn step(&mut self, now: Instant, progress: Progress) -> Phase {
        if self.acknowledged.is_none() {
            if progress.flushes_pending > 0 && now - self.started < ACKS_MAX {
                return Phase::Flushing;
            }
            self.acknowledged = Some(now);
        }
        if progress.received.is_none() || progress.received != self.last {
            self.quiet_since = progress.received.map(|_| now);
            self.last = progress.received;
        }
        let lingered = self.acknowledged.map_or(Duration::ZERO, |at| now - at);
        let quiet = self.quiet_since.is_some_and(|since| now - since >= IDLE);
        if lingered >= self.linger || (lingered >= LINGER_MIN && quiet) { Phase::Done } else { Phase::Lingering }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When leaving is done, in seconds; the flush is acknowledged at `acks` and packets come until `packets`.
    fn done(acks: f64, packets: f64, counted: bool) -> f64 {
        let at = |tenths: u64| Instant::from_epoch(Duration::from_millis(100 * tenths));
        let mut leave = Leave::new(at(0), Duration::from_secs(5));
        for tenths in 0..1000 {
            let now = tenths as f64 / 10.0;
            let received = counted.then(|| (now.min(packets) * 100.0) as u64);
            let progress = Progress { flushes_pending: usize::from(now < acks), received };
            if leave.step(at(tenths), progress) == Phase::Done {
                return now;
            }
        }
        panic!("never done");
    }

    #[test]
    fn two_seconds_after_the_acknowledgments_if_nothing_comes_any_more() {
        assert_eq!(done(0.3, 0.0, true), 2.3);
    }

    #[test]
    fn a_second_after_the_last_packet() {
        assert_eq!(done(0.1, 2.5, true), 3.5);
    }

    #[test]
    fn no_longer_than_linger_even_if_packets_go_on() {
        assert_eq!(done(0.1, 99.0, true), 5.1);
    }

    #[test]
    fn the_whole_linger_where_nobody_counts_packets() {
        assert_eq!(done(0.1, 0.0, false), 5.1);
    }

    #[test]
    fn a_neighbor_that_never_acknowledges_does_not_hold_us_for_ever() {
        assert_eq!(done(99.0, 0.0, true), 7.0);
    }
}
