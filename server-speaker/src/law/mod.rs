#![doc = include_str!("../../../docs/law.md")]

pub mod busy;
pub mod class;
pub mod estimate;
pub mod farm;
pub mod goodput;
pub mod hops;
pub mod outlook;
pub mod random;
pub mod tuning;

use ospf_proto::id::RouterId;
use ospf_proto::time::Instant;
use serde::{Deserialize, Serialize};

pub use class::{Reason, Standing};
pub use estimate::{Estimator, Record};
pub use farm::{Claim, Farm, Peer};
pub use goodput::Assessment;
pub use hops::{HOPS_MAX, Shares};
pub use outlook::Outlook;
pub use tuning::{PARAMETERS, Parameter, Tuning};

use crate::sample::{Load, maybe_seconds};
use class::{ClassRule, Moment};
use hops::{Bounds, Hops, Measured, best_unit};
use random::Random;

/// Cost of a server in the class.
pub const CLASS_COST: u16 = 10;
/// Cost of a server out of the class, before its standby rank is added.
pub const STANDBY_COST: u16 = 20;
/// Figures older than this are no reason to leave: seconds. A source that counts is read every second, and stale after
/// some three.
const BLIND: f64 = 10.0;
/// The naive policy adds this for each 100 % of load.
const NAIVE_SCALE: f64 = 100.0;
const NAIVE_MAX: f64 = 1000.0;

/// How the cost is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The class rule: leave the class only if the farm answers more without this server.
    #[default]
    Goodput,
    /// Always in the class.
    Static,
    /// Cost proportional to load. It oscillates: for demonstrations only.
    Naive,
}

/// What is fixed for one service at one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// How the cost is chosen.
    pub policy: Policy,
    /// Our router ID.
    pub router: RouterId,
    /// Configured capacity, queries per second.
    pub nominal: Option<f64>,
    /// Several next hops per server, for routers that share equally; none: one.
    pub shares: Option<Shares>,
    /// The law's parameters.
    pub tuning: Tuning,
    /// So many servers stay in the class, whatever the farm would gain.
    pub min_serving: usize,
}

/// What the law sees at one step.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The time.
    pub now: Instant,
    /// The newest counters; none where they could not be read or the monitor knows health only.
    pub load: Option<(Instant, Load)>,
    /// The others.
    pub farm: &'a Farm,
    /// What a self-test that was asked for has measured: queries per second of synthetic load that the service can answer.
    pub self_test: Option<f64>,
    /// Its answers come too late to be of use, and no overload explains it: they count for nothing.
    pub slow: bool,
}

/// What the law wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The cost to advertise.
    pub cost: u16,
    /// 0 in the class, else 1 + standby rank.
    pub class: u8,
    /// Next hops it should appear as.
    pub hops: u32,
    /// A self-test would tell whether to come back.
    pub self_test: bool,
    /// Why.
    pub reason: Reason,
    /// The cost differs from that of the step before.
    pub changed: bool,
    /// The record in the state is new and has to be published.
    pub publish: bool,
}

/// The law's whole memory for one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct State {
    /// Capacity and offered rate.
    pub estimator: Estimator,
    /// In or out of the class, and the timers.
    pub rule: ClassRule,
    /// Next hops.
    pub hops: Hops,
    /// Capacity per next hop, and of which nominal capacities and width it was made.
    #[serde(skip)]
    unit: (f64, Vec<f64>, usize),
    /// What the last self-test out of the class has measured.
    pub tested: Option<f64>,
    /// Its answers come too late to be of use.
    pub slow: bool,
    /// When the load was measured last.
    #[serde(serialize_with = "maybe_seconds")]
    pub measured: Option<Instant>,
    /// The farm as it was weighed last.
    pub assessment: Option<Assessment>,
    /// What the peers were told last.
    pub record: Option<Record>,
    /// The cost decided last.
    pub cost: u16,
    /// And why.
    pub reason: Reason,
    random: Random,
}

impl State {
    /// The state of a service that starts, in the class.
    pub fn new(params: &Params, now: Instant, seed: u64) -> Self {
        let mut random = Random::new(seed);
        State {
            estimator: Estimator::new(params.nominal),
            rule: ClassRule::new(now, &mut random, &params.tuning),
            hops: Hops::slow_start(None, (1.0, HOPS_MAX), None),
            unit: (0.0, Vec::new(), 0),
            tested: None,
            slow: false,
            measured: None,
            assessment: None,
            record: None,
            cost: CLASS_COST,
            reason: Reason::CapacityUnknown,
            random,
        }
    }

    /// Starts anew in the class, as after a dead service has come back; what was learnt of the capacity stays.
    pub fn restart(&mut self, params: &Params, now: Instant) {
        self.estimator.assume(self.estimator.nominal());
        self.rule = ClassRule::new(now, &mut self.random, &params.tuning);
        self.start_slowly(params, now);
        self.tested = None;
        self.assessment = None;
        self.record = None;
        self.cost = CLASS_COST;
        self.reason = Reason::CapacityUnknown;
    }

    /// Whether the load was measured once and is not any more: fail-static, the figures stay and nobody leaves for them.
    pub fn blind(&self, now: Instant) -> bool {
        self.measured.is_some_and(|at| (now - at).as_secs_f64() > BLIND)
    }

    /// A self-test that could not be made: what an earlier one said does not count any more.
    pub fn forget_self_test(&mut self) {
        self.tested = None;
    }

    /// How many next hops this server should appear as.
    pub fn next_hops(&self, params: &Params) -> u32 {
        match params.shares {
            None => 1,
            Some(Shares::Fixed(hops)) => hops.clamp(1, HOPS_MAX),
            Some(Shares::Auto(most)) => self.hops.m.min(most.max(1)),
        }
    }

    /// The capacity per next hop, once some nominal capacity of the farm is known.
    pub fn unit(&self) -> Option<f64> {
        Some(self.unit.0).filter(|unit| *unit > 0.0)
    }

    fn start_slowly(&mut self, params: &Params, now: Instant) {
        let unit = (self.unit.0.max(f64::MIN_POSITIVE), params.shares.map_or(HOPS_MAX, Shares::most));
        self.hops = Hops::slow_start(self.estimator.nominal(), unit, Some(now));
    }

    /// This server as the rule weighs it beside the others.
    pub fn myself(&self, params: &Params, now: Instant) -> Peer {
        let claim = Claim { mu: self.assumed_mu(now), x: Some(self.estimator.x()), nominal: self.estimator.nominal() };
        let hops = self.next_hops(params);
        Peer { router: params.router, cost: standing_cost(self.rule.standing), claim: Some(claim), hops }
    }

    /// The capacity this server counts with: out of the class what a self-test measures, else the last one until the hold-down ends, then the nominal
    /// (a probe under traffic).
    pub fn assumed_mu(&self, now: Instant) -> Option<f64> {
        match self.rule.standing {
            _ if self.slow => Some(0.0),
            Standing::In => self.estimator.mu(),
            Standing::Out(_) if self.tested.is_some() => self.tested,
            Standing::Out(absence) if now < absence.until => absence.mu,
            Standing::Out(absence) => self.estimator.nominal().or(absence.mu),
        }
    }
}

/// One step, about every 100 ms.
pub fn step(params: &Params, mut state: State, inputs: &Inputs<'_>) -> (State, Decision) {
    let now = inputs.now;
    state.slow = inputs.slow;
    if let Some(rate) = inputs.self_test.filter(|rate| rate.is_finite() && !state.rule.is_in()) {
        // Whatever the service can do beyond its nominal capacity, a second of our own queries is no proof of it.
        state.tested = Some(state.estimator.nominal().map_or(rate, |nominal| rate.min(nominal)));
    }
    if let Some((at, load)) = inputs.load {
        state.measured = Some(at);
        state.estimator.observe(&params.tuning, at, load, !state.rule.is_in());
    }
    let before = state.cost;
    let (cost, reason) = match params.policy {
        Policy::Static => (CLASS_COST, Some(Reason::Static)),
        Policy::Naive => (naive_cost(&state.estimator), Some(Reason::Naive)),
        Policy::Goodput => goodput_cost(params, &mut state, inputs),
    };
    if let (Some(Shares::Auto(most)), Policy::Goodput) = (params.shares, params.policy) {
        step_hops((params, most.clamp(1, HOPS_MAX)), &mut state, inputs);
    }
    state.cost = cost;
    state.reason = reason.unwrap_or(state.reason);
    let class = match state.rule.standing {
        Standing::Out(absence) => u8::try_from(absence.rank.saturating_add(1)).unwrap_or(u8::MAX),
        Standing::In => 0,
    };
    let record = Record {
        mu: state.assumed_mu(now),
        x: state.estimator.x(),
        nominal: state.estimator.nominal(),
        class,
        at: now,
    };
    let publish = state.record.is_none_or(|old| old.superseded_by(&record, state.estimator.sigma(), &params.tuning));
    if publish {
        state.record = Some(record);
    }
    let self_test = match state.rule.standing {
        Standing::Out(absence) => (now - absence.since).as_secs_f64() >= params.tuning.self_test_after,
        Standing::In => false,
    };
    let hops = state.next_hops(params);
    let reason = state.reason;
    let decision = Decision { cost, class, hops, self_test, reason, changed: cost != before, publish };
    (state, decision)
}

fn naive_cost(estimator: &Estimator) -> u16 {
    let load = estimator.mu().filter(|mu| *mu > 0.0).map_or(0.0, |mu| estimator.x() / mu);
    CLASS_COST + (NAIVE_SCALE * load).min(NAIVE_MAX).round() as u16
}

fn goodput_cost(params: &Params, state: &mut State, inputs: &Inputs<'_>) -> (u16, Option<Reason>) {
    let now = inputs.now;
    let mu = state.assumed_mu(now);
    let me = state.myself(params, now);
    let Some(members) = inputs.farm.members(&me, &params.tuning) else {
        return (me.cost, Some(Reason::CapacityUnknown));
    };
    let assessment = Assessment::new(&members, (inputs.farm.width, params.router), &params.tuning);
    state.rule.watch(now, &assessment.class, &params.tuning);
    let was_in = state.rule.is_in();
    let tested = state.tested.is_some();
    let moment = Moment {
        now,
        me: params.router,
        mu,
        tested,
        assessment: &assessment,
        tuning: &params.tuning,
        min_serving: params.min_serving,
        blind: state.blind(now),
    };
    let reason = state.rule.evaluate(&moment, &mut state.random);
    if was_in != state.rule.is_in() {
        state.tested = None;
        state.start_slowly(params, now);
        if !was_in {
            state.estimator.assume(mu);
        }
    }
    state.assessment = Some(assessment);
    (standing_cost(state.rule.standing), reason)
}

/// Follows the capacity with the number of next hops, in the class.
fn step_hops((params, most): (&Params, u32), state: &mut State, inputs: &Inputs<'_>) {
    let nominal = state.estimator.nominal();
    let claim = Claim { nominal, ..Claim::default() };
    let me = Peer { router: params.router, cost: state.cost, claim: Some(claim), hops: state.hops.m };
    let nominals = inputs.farm.nominals(&me);
    if state.unit.1 != nominals || state.unit.2 != inputs.farm.width {
        let first = state.unit.1.is_empty();
        state.unit = (best_unit(&nominals, (inputs.farm.width, most)), nominals, inputs.farm.width);
        if first && state.unit.0 > 0.0 {
            state.hops = Hops::slow_start(nominal, (state.unit.0, most), Some(inputs.now));
        }
    }
    let (unit, rho) = (state.unit.0, state.estimator.rho().unwrap_or(0.0));
    if let (true, true, Some(mu)) = (state.rule.is_in(), unit > 0.0, state.estimator.mu()) {
        let (room, gives_back) = inputs.farm.room(&me);
        let measured = Measured { mu, sigma: state.estimator.sigma(), rho, nominal };
        state.hops.step(inputs.now, measured, (unit, Bounds { most, room, gives_back }), &params.tuning);
    }
}

fn standing_cost(standing: Standing) -> u16 {
    match standing {
        Standing::In => CLASS_COST,
        Standing::Out(absence) => STANDBY_COST.saturating_add(absence.rank),
    }
}
