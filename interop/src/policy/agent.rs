//! What runs at each server: the product's law, or a policy to compare it with.
//!
//! The names P0 to P10 are those of the study behind the law (docs/policies.md).

use std::time::Duration;

use clap::ValueEnum;
use ospf_proto::id::RouterId;
use ospf_proto::time::Instant;
use server_speaker::law::random::Random;
use server_speaker::law::{self, CLASS_COST, Estimator, Farm, HOPS_MAX, Inputs, Params, Record, Shares, State, Tuning};
use server_speaker::sample::Load;

/// A policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// P0: every server at the same cost, always.
    EqualCost,
    /// P1: cost proportional to load.
    Naive,
    /// P2: bands of load, with hysteresis.
    Bands,
    /// P3: bands of averaged load, with a hold-down.
    Damped,
    /// P4: leave on local evidence, costs of the others alone are seen.
    Costs,
    /// P4x, ours: leave only if the farm answers more.
    Goodput,
    /// P5: leave by chance, the likelier the greater the overload.
    Chance,
    /// P6a: the router weighs by spare capacity.
    Spare,
    /// P6b: the router weighs by capacity (ospfd-lite).
    Weighted,
    /// P7: servers take turns.
    Turns,
    /// P8: an oracle sends each query to the shortest queue.
    Oracle,
    /// P9: each query to the next server.
    RoundRobin,
    /// P10, ours for routers that share equally: several next hops per server, their number following capacity.
    Shares,
}

impl Policy {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How a policy is run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Which.
    pub policy: Policy,
    /// A server out of the class tests itself.
    pub self_test: bool,
    /// Servers do not tell how busy they are: capacity is estimated from the queue.
    pub black_box: bool,
    /// Gain of `spare`.
    pub gain: f64,
    /// Length of a turn of `turns`, seconds.
    pub turn: f64,
    /// The parameters of our law.
    pub tuning: Tuning,
}

impl Setup {
    /// A policy as it is meant to be run.
    pub fn new(policy: Policy) -> Self {
        Setup {
            policy,
            self_test: policy == Policy::Goodput,
            black_box: false,
            gain: 1.0,
            turn: 1.0,
            tuning: Tuning::default(),
        }
    }
}

/// What a server sees at a tick.
pub struct Seen<'a> {
    /// The time, seconds.
    pub now: f64,
    /// Its counters.
    pub load: Load,
    /// The others.
    pub farm: &'a Farm,
    /// What a self-test would measure.
    pub capacity: f64,
}

/// What it wants to advertise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// The cost.
    pub cost: u16,
    /// As how many next hops it appears.
    pub hops: u32,
    /// Its record.
    pub record: Option<Record>,
}

/// The load above which a server is in band 1, 2, 3; it falls back below [`HYSTERESIS`] less.
const BANDS: [f64; 3] = [0.6, 0.75, 0.9];
const HYSTERESIS: f64 = 0.1;
/// P3 averages over this time and keeps still for that after a change, seconds.
const AVERAGE: f64 = 30.0;
const HOLD: f64 = 30.0;
/// P4 and P5 come back after a time that doubles up to this.
const HOLD_MAX: f64 = 480.0;

/// A server's mind.
#[derive(Debug)]
pub struct Agent {
    setup: Setup,
    params: Params,
    law: Option<State>,
    /// The law's last decision asked for a self-test.
    asked: bool,
    estimator: Estimator,
    random: Random,
    /// Of the policies that are not ours.
    band: usize,
    average: f64,
    since: Option<f64>,
    until: f64,
    hold: f64,
    last: f64,
}

fn at(seconds: f64) -> Instant {
    Instant::from_epoch(Duration::from_secs_f64(seconds))
}

impl Agent {
    /// The mind of a server of this nominal capacity.
    pub fn new(setup: Setup, router: RouterId, (nominal, seed, now): (f64, u64, f64)) -> Self {
        let policy = match setup.policy {
            Policy::Naive => law::Policy::Naive,
            Policy::Goodput | Policy::Shares => law::Policy::Goodput,
            _ => law::Policy::Static,
        };
        let shares = (setup.policy == Policy::Shares).then_some(Shares::Auto(HOPS_MAX));
        let params = Params { policy, router, nominal: Some(nominal), shares, tuning: setup.tuning, min_serving: 1 };
        Agent {
            setup,
            law: Some(State::new(&params, at(now), seed)),
            asked: false,
            estimator: Estimator::new(params.nominal),
            params,
            random: Random::new(seed ^ 0x5eed),
            band: 0,
            average: 0.0,
            since: None,
            until: 0.0,
            hold: HOLD,
            last: now,
        }
    }

    /// One tick.
    pub fn tick(&mut self, seen: &Seen<'_>) -> Wish {
        match self.setup.policy {
            Policy::Bands | Policy::Damped | Policy::Costs | Policy::Chance => self.compare(seen),
            _ => self.follow_law(seen),
        }
    }

    fn follow_law(&mut self, seen: &Seen<'_>) -> Wish {
        let Some(state) = self.law.take() else { return Wish { cost: CLASS_COST, hops: 1, record: None } };
        let self_test = (self.asked && self.setup.self_test).then_some(seen.capacity);
        let inputs = Inputs {
            now: at(seen.now),
            load: Some((at(seen.now), seen.load)),
            farm: seen.farm,
            self_test,
            slow: false,
        };
        let (state, decision) = law::step(&self.params, state, &inputs);
        self.asked = decision.self_test;
        let wish = Wish { cost: decision.cost, hops: decision.hops, record: state.record };
        self.law = Some(state);
        wish
    }

    fn compare(&mut self, seen: &Seen<'_>) -> Wish {
        self.estimator.observe(&self.params.tuning, at(seen.now), seen.load, false);
        let rho = self.estimator.rho().unwrap_or(0.0);
        let cost = match self.setup.policy {
            Policy::Bands => self.bands(rho),
            Policy::Damped => self.damped(seen.now, rho),
            Policy::Costs => self.costs(seen, rho),
            _ => self.chance(seen.now, rho),
        };
        Wish { cost, hops: 1, record: None }
    }

    fn bands(&mut self, rho: f64) -> u16 {
        while BANDS.get(self.band).is_some_and(|up| rho > *up) {
            self.band += 1;
        }
        while self.band > 0 && BANDS.get(self.band - 1).is_some_and(|up| rho < up - HYSTERESIS) {
            self.band -= 1;
        }
        CLASS_COST + 10 * u16::try_from(self.band).unwrap_or(0)
    }

    fn damped(&mut self, now: f64, rho: f64) -> u16 {
        self.average += (1.0 - (-(now - self.last) / AVERAGE).exp()) * (rho - self.average);
        self.last = now;
        let before = self.band;
        if now >= self.until {
            self.bands(self.average);
        }
        if self.band != before {
            self.until = now + HOLD;
        }
        CLASS_COST + 10 * u16::try_from(self.band).unwrap_or(0)
    }

    /// Out while `until` runs; leaves when `overloaded` has been true for two seconds and enough others would stay.
    fn costs(&mut self, seen: &Seen<'_>, rho: f64) -> u16 {
        let nominal = self.params.nominal.unwrap_or(f64::MAX);
        let slow = self.estimator.mu().is_some_and(|mu| mu < 0.8 * nominal);
        let staying = seen.farm.peers.iter().filter(|peer| peer.cost == CLASS_COST).count();
        let enough = staying >= (seen.farm.peers.len() + 1).div_ceil(2);
        if seen.now < self.until && !enough {
            self.until = seen.now; // too few are left: everybody back
        }
        self.leave_or_return(seen.now, slow && rho > 1.02 && enough)
    }

    fn chance(&mut self, now: f64, rho: f64) -> u16 {
        let tick = now - self.last;
        self.last = now;
        // Once in five seconds on the average at twice the capacity.
        let leaves = rho > 0.95 && self.random.uniform(0.0, 1.0) < (1.0 - 0.95 / rho) * 2.0 * tick / 5.0;
        if leaves {
            self.since = Some(now - 2.0);
        }
        self.leave_or_return(now, leaves)
    }

    fn leave_or_return(&mut self, now: f64, overloaded: bool) -> u16 {
        if now < self.until {
            return 2 * CLASS_COST;
        }
        self.since = if overloaded { self.since.or(Some(now)) } else { None };
        if self.since.is_some_and(|since| now - since >= 2.0) {
            self.hold = if now - self.until < 60.0 { (2.0 * self.hold).min(HOLD_MAX) } else { HOLD };
            self.until = now + self.hold * self.random.uniform(0.75, 1.25);
            self.since = None;
        }
        if now < self.until { 2 * CLASS_COST } else { CLASS_COST }
    }
}
