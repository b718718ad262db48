//! Answers to foreign instances of our LSAs, in bounds (RFC 2328 §13.4).
//!
//! Differs: the RFC lets us outrun the other for ever. A handful of answers is enough for a former life of ours; more
//! mean another router with our Router ID, or a forger. Then that one LSA rests, longer each time: two routers must not
//! flood an area by shouting at each other, and the others of our LSAs are not concerned.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::LsaKey;
use crate::time::Instant;

/// So many answers for one LSA within [`WINDOW`] are given without a rest.
const LIMIT: u32 = 5;
/// See [`LIMIT`]; also the first rest.
const WINDOW: Duration = Duration::from_secs(60);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(600);

/// One LSA's fight.
#[derive(Clone, Copy, Debug)]
struct Fight {
    /// Answers since the last rest or quiet window.
    answers: u32,
    /// The last answer.
    last: Instant,
    /// How often it rested without a quiet window in between.
    rests: u32,
    /// The next answer may go out.
    until: Instant,
}

/// All fights.
#[derive(Clone, Debug, Default)]
pub(super) struct Fights(BTreeMap<LsaKey, Fight>);

impl Fights {
    /// When the next answer may go out: in the past, if now.
    pub(super) fn until(&self, key: &LsaKey) -> Instant {
        self.0.get(key).map_or(Instant::EPOCH, |fight| fight.until)
    }

    /// Counts an answer; with the last one of the allowance it says how long the LSA rests then.
    pub(super) fn answer(&mut self, key: LsaKey, now: Instant) -> Option<Duration> {
        self.0.retain(|_, fight| now.since(fight.last.max(fight.until)) <= WINDOW);
        let fight = self.0.entry(key).or_insert(Fight { answers: 0, last: now, rests: 0, until: Instant::EPOCH });
        fight.answers += 1;
        fight.last = now;
        if fight.answers < LIMIT {
            return None;
        }
        let rest = WINDOW.saturating_mul(1 << fight.rests.min(6)).min(REST_MAX);
        (fight.answers, fight.rests, fight.until) = (0, fight.rests + 1, now + rest);
        Some(rest)
    }

    /// Whether some LSA rests.
    pub(super) fn resting(&self, now: Instant) -> bool {
        self.0.values().any(|fight| fight.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AreaId, Domain, LinkStateId, RouterId};
    use crate::ls_type::LsType;

    fn key(id: u32) -> LsaKey {
        let domain = Domain::Area(AreaId(0));
        LsaKey { domain, ls_type: LsType::ROUTER, link_state_id: LinkStateId(id), adv_router: RouterId(1) }
    }

    #[test]
    fn five_answers_then_a_rest_that_doubles_and_is_forgotten_after_a_quiet_window() {
        let (mut fights, mut now) = (Fights::default(), Instant::EPOCH + Duration::from_secs(1000));
        for rest in [60, 120, 240, 480, 600, 600] {
            for _ in 1..LIMIT {
                assert_eq!(fights.answer(key(0), now), None);
                now = now + Duration::from_secs(2);
            }
            let rest = Duration::from_secs(rest);
            assert_eq!(fights.answer(key(0), now), Some(rest));
            assert_eq!((fights.until(&key(0)), fights.resting(now)), (now + rest, true));
            assert_eq!(fights.until(&key(1)), Instant::EPOCH, "another LSA is not concerned");
            now = now + rest;
            assert!(!fights.resting(now));
        }
        now = now + WINDOW + Duration::from_secs(1);
        assert_eq!(fights.answer(key(1), now), None);
        assert_eq!(fights.0.len(), 1, "what is over is forgotten");
    }
}
