//! The clock: maps the kernel's boot time to the engine's time.

use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use ospf_proto::time::Instant;

/// A clock whose epoch is its creation. It runs on while the machine is suspended (CLOCK_BOOTTIME), since LSAs age
/// everywhere else meanwhile, and never goes back.
#[derive(Debug)]
pub struct Clock {
    epoch: Duration,
    last: Cell<Duration>,
}

impl Clock {
    /// Starts at the engine's epoch.
    pub fn new() -> std::io::Result<Self> {
        Ok(Clock { epoch: boot_time()?, last: Cell::new(Duration::ZERO) })
    }

    /// The time.
    pub fn now(&self) -> Instant {
        // The call cannot fail once it has worked; if it did, time would stand still, which the engine tolerates.
        if let Ok(now) = boot_time() {
            self.last.set(now.saturating_sub(self.epoch).max(self.last.get()));
        }
        Instant::from_epoch(self.last.get())
    }

    /// How long it is until `at`; zero if it has passed.
    pub fn until(&self, at: Instant) -> Duration {
        at.since(self.now())
    }
}

fn boot_time() -> std::io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_starts_at_the_epoch_and_goes_on() {
        let clock = Clock::new().unwrap();
        let first = clock.now();
        assert!(first.since_epoch() < Duration::from_secs(1));
        while clock.now() == first {}
        assert!(clock.now() > first);
        assert_eq!(clock.until(first), Duration::ZERO);
        assert!(clock.until(first + Duration::from_secs(60)) > Duration::from_secs(50));
    }
}
