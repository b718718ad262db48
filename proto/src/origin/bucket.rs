//! A token bucket over all originations: whatever happens to us, we do not flood an area.

use std::time::Duration;

use crate::consts::ORIGINATION_BURST;
use crate::time::Instant;

/// The bucket; a token is one origination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Tokens per second.
    rate: u32,
    /// Full again at.
    full_at: Instant,
    /// How often it was empty when a token was wanted.
    refused: u64,
}

impl Bucket {
    pub(super) fn new(rate: u32) -> Self {
        Bucket { rate: rate.max(1), full_at: Instant::EPOCH, refused: 0 }
    }

    fn token(&self) -> Duration {
        Duration::from_secs(1) / self.rate
    }

    /// Takes a token; if there is none, says when there will be.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let start = self.full_at.max(now);
        let debt = start.since(now) + self.token();
        let burst = Duration::from_secs(u64::from(ORIGINATION_BURST));
        if debt > burst {
            self.refused += 1;
            return Err(now + (debt - burst));
        }
        self.full_at = start + self.token();
        Ok(())
    }

    /// How often it was empty.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_pass_and_then_the_rate() {
        let mut bucket = Bucket::new(50);
        let now = Instant::from_epoch(Duration::from_secs(100));
        let burst = (0..2000).filter(|_| bucket.take(now).is_ok()).count();
        assert_eq!(burst, 1000);
        assert_eq!(bucket.refused(), 1000);
        let again = bucket.take(now).unwrap_err();
        assert_eq!(again.since(now), Duration::from_millis(20));
        assert!(bucket.take(again).is_ok());
        assert!(bucket.take(again).is_err());
        assert!((0..50).all(|_| bucket.take(now + Duration::from_millis(1020)).is_ok()));
        assert!(bucket.take(now + Duration::from_millis(1020)).is_err());
    }
}
