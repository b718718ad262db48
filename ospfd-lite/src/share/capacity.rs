//! What servers say of their capacity, held against noise, leaps and lies. Pure: time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ospf_proto::id::RouterId;
use ospf_proto::lsa::{Prefix, ServiceFlags, ServiceRecord};
use tokio::time::Instant;

use super::lower_median;

/// A claim that differs from what is held by less than this part of it changes nothing. Servers state a new capacity when it
/// moved by more than 10 % (docs/law.md), so that this only takes out what several routes would make of rounding.
const NOISE: f64 = 0.05;
/// More capacity counts in steps, each at most this many times what is held: a server that has just become fast again, or
/// says so, is not given the flows of all others at once. Less counts at once, since it means loss.
const RISE: f64 = 1.5;
/// The distance of two such steps: MinLSInterval, so that a server's next word is heard in between.
const STEP: Duration = Duration::from_secs(5);
/// Nobody counts for more than this many times the lower median of its farm.
const TRUST: f64 = 4.0;

/// What one server says of one service, in queries per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Claim {
    /// Its capacity: of each of its shares, if it appears as several routers.
    pub capacity: Option<f64>,
    /// Its offered rate.
    pub load: Option<f64>,
    /// Its nominal capacity.
    pub nominal: Option<f64>,
    /// It is being drained.
    pub draining: bool,
}

impl Claim {
    pub(super) fn of(record: &ServiceRecord) -> Self {
        let rate = |milli: Option<u32>| milli.map(|milli| f64::from(milli) / 1000.0);
        let shares = f64::from(record.m.max(1));
        Claim {
            capacity: rate(record.mu).or(rate(record.nominal)).map(|capacity| capacity / shares),
            load: rate(record.x).map(|load| load / shares),
            nominal: rate(record.nominal).map(|nominal| nominal / shares),
            draining: record.flags.contains(ServiceFlags::DRAINING),
        }
    }
}

/// What is said of each service, by prefix and originator.
pub type Claims = BTreeMap<Prefix, BTreeMap<RouterId, Claim>>;

/// A capacity that is counted with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// The capacity, queries per second.
    pub value: f64,
    /// When it last rose.
    rose: Option<Instant>,
}

impl Held {
    fn rises_to(&self, wanted: f64) -> bool {
        wanted - self.value > NOISE * self.value
    }
}

/// The capacities that are counted with.
#[derive(Clone, Debug, Default)]
pub struct Capacities {
    claims: Claims,
    held: BTreeMap<Prefix, BTreeMap<RouterId, Held>>,
    /// When the next step is due: follows from the other two.
    due: Option<Instant>,
}

impl Capacities {
    /// Takes what is said now in place of what was said before. Returns the prefixes whose weights may change.
    pub fn hear(&mut self, claims: Claims, now: Instant) -> BTreeSet<Prefix> {
        self.claims = claims;
        self.held.retain(|prefix, held| {
            let said = self.claims.get(prefix);
            held.retain(|router, _| {
                said.and_then(|said| said.get(router)).is_some_and(|claim| claim.capacity.is_some())
            });
            !held.is_empty()
        });
        // One whose claim is gone counts otherwise from now on, too.
        let mut changed = self.step(now);
        changed.extend(self.claims.keys().copied());
        changed
    }

    /// Takes the steps that are due. Returns the prefixes whose weights changed.
    pub fn step(&mut self, now: Instant) -> BTreeSet<Prefix> {
        let mut changed = BTreeSet::new();
        self.due = None;
        for (prefix, claims) in &self.claims {
            let held = self.held.entry(*prefix).or_default();
            for (router, wanted) in bounded(claims) {
                let known = held.get(&router).copied();
                let next = follow(known, wanted, now);
                if known.map(|known| known.value) != Some(next.value) {
                    changed.insert(*prefix);
                }
                held.insert(router, next);
                let due = next.rose.filter(|_| next.rises_to(wanted)).map(|rose| rose + STEP);
                self.due = self.due.into_iter().chain(due).min();
            }
        }
        changed
    }

    /// When the next step is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The capacity that is counted with.
    pub fn of(&self, prefix: &Prefix, router: RouterId) -> Option<f64> {
        self.of_prefix(prefix)(router)
    }

    /// The capacities of a prefix's originators that are counted with.
    pub fn of_prefix(&self, prefix: &Prefix) -> impl Fn(RouterId) -> Option<f64> {
        let held = self.held.get(prefix);
        move |router| held?.get(&router).map(|held| held.value)
    }

    /// The prefixes that somebody says something of.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.claims.keys().copied()
    }

    /// Whether somebody says something of a prefix.
    pub fn is_told(&self, prefix: &Prefix) -> bool {
        self.claims.contains_key(prefix)
    }

    /// What a server says.
    pub fn claim(&self, prefix: &Prefix, router: RouterId) -> Option<&Claim> {
        self.claims.get(prefix)?.get(&router)
    }
}

/// The claimed capacities as far as they can be trusted.
fn bounded(claims: &BTreeMap<RouterId, Claim>) -> Vec<(RouterId, f64)> {
    let claimed = claims.iter().filter_map(|(router, claim)| Some((*router, claim.capacity?)));
    let claimed: Vec<(RouterId, f64)> = claimed.filter(|(_, capacity)| capacity.is_finite()).collect();
    let typical = lower_median(claimed.iter().map(|(_, capacity)| *capacity).filter(|c| *c > 0.0).collect());
    let most = typical.map_or(f64::INFINITY, |typical| TRUST * typical);
    claimed.into_iter().map(|(router, capacity)| (router, capacity.clamp(0.0, most))).collect()
}

fn follow(known: Option<Held>, wanted: f64, now: Instant) -> Held {
    let Some(held) = known else {
        return Held { value: wanted, rose: Some(now) };
    };
    if held.value - wanted > NOISE * held.value {
        return Held { value: wanted, rose: Some(now) };
    }
    if !held.rises_to(wanted) || held.rose.is_some_and(|rose| now < rose + STEP) {
        return held;
    }
    // From nothing there is no multiple: what it says is taken, as of one that is new.
    let step = if held.value > 0.0 { held.value * RISE } else { wanted };
    Held { value: wanted.min(step), rose: Some(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> Prefix {
        "2001:db8:53::53/128".parse().unwrap()
    }

    fn said(capacities: &[(u32, f64)]) -> Claims {
        let claims = capacities
            .iter()
            .map(|(router, capacity)| (RouterId(*router), Claim { capacity: Some(*capacity), ..Claim::default() }));
        Claims::from([(prefix(), claims.collect())])
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn noise_changes_nothing_less_counts_at_once_and_more_in_steps() {
        let start = Instant::now();
        let mut capacities = Capacities::default();
        assert_eq!(capacities.hear(said(&[(1, 1000.0), (2, 1000.0)]), start), BTreeSet::from([prefix()]));
        let of = |capacities: &Capacities| capacities.of(&prefix(), RouterId(1)).unwrap();
        capacities.hear(said(&[(1, 1049.0), (2, 960.0)]), start + seconds(6.0));
        assert_eq!((of(&capacities), capacities.of(&prefix(), RouterId(2))), (1000.0, Some(1000.0)));
        assert_eq!(capacities.due(), None);
        capacities.hear(said(&[(1, 300.0), (2, 1000.0)]), start + seconds(10.0));
        assert_eq!(of(&capacities), 300.0);
        capacities.hear(said(&[(1, 1000.0), (2, 1000.0)]), start + seconds(11.0));
        assert_eq!((of(&capacities), capacities.due()), (300.0, Some(start + seconds(15.0))));
        let mut now = start + seconds(15.0);
        let mut values = Vec::new();
        while let Some(due) = capacities.due() {
            assert_eq!(due, now);
            assert_eq!(capacities.step(now), BTreeSet::from([prefix()]));
            values.push(of(&capacities));
            now += STEP;
        }
        assert_eq!(values, [450.0, 675.0, 1000.0]);
        assert!(capacities.step(now).is_empty());
    }

    #[test]
    fn nobody_counts_for_more_than_four_times_the_lower_median() {
        let mut capacities = Capacities::default();
        capacities.hear(said(&[(1, 100_000.0), (2, 10.0), (3, 20.0), (4, f64::NAN)]), Instant::now());
        assert_eq!(capacities.of(&prefix(), RouterId(1)), Some(80.0));
        assert_eq!(capacities.of(&prefix(), RouterId(4)), None);
        let mut pair = Capacities::default();
        pair.hear(said(&[(1, 400.0), (2, 100.0)]), Instant::now());
        assert_eq!(pair.of(&prefix(), RouterId(1)), Some(400.0), "a pair of 4:1 is believed");
    }

    #[test]
    fn who_says_nothing_any_more_is_forgotten() {
        let mut capacities = Capacities::default();
        capacities.hear(said(&[(1, 100.0), (2, 50.0)]), Instant::now());
        capacities.hear(said(&[(1, 100.0)]), Instant::now());
        assert_eq!((capacities.of(&prefix(), RouterId(2)), capacities.claim(&prefix(), RouterId(2))), (None, None));
        capacities.hear(Claims::new(), Instant::now());
        assert_eq!(capacities.of(&prefix(), RouterId(1)), None);
    }
}
