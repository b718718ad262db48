//! A small deterministic farm: one router that shares queries equally over the lowest-cost servers, servers with one
//! queue each (Poisson arrivals, exponential service, a bounded buffer), and the law running at every server in ticks of
//! 100 ms. What a server advertises reaches the others as OSPF would carry it: at most one LSA per MinLSInterval, seen
//! 70 ms later (flooding and FIB).

use std::time::Duration;

use ospf_proto::id::RouterId;
use ospf_proto::time::Instant;
use server_speaker::law::random::Random;
use server_speaker::law::{self, Claim, Farm, Inputs, Params, Peer, Policy, Record, State, Tuning};
use server_speaker::sample::Load;

const TICK: f64 = 0.1;
const BUFFER: u64 = 256;
const DATAGRAM: u64 = 832;
const MIN_LS_INTERVAL: f64 = 5.0;
const SEEN_AFTER: f64 = 0.07;

/// A value that travels in one LSA.
struct Advertised<T> {
    wanted: T,
    flooded: T,
    seen: T,
    last: f64,
    count: u32,
}

impl<T: Copy + PartialEq> Advertised<T> {
    fn new(value: T) -> Self {
        Advertised { wanted: value, flooded: value, seen: value, last: f64::NEG_INFINITY, count: 0 }
    }

    fn advance(&mut self, now: f64) {
        if self.wanted != self.flooded && now - self.last >= MIN_LS_INTERVAL {
            self.flooded = self.wanted;
            self.last = now;
            self.count += 1;
        }
        if now - self.last >= SEEN_AFTER {
            self.seen = self.flooded;
        }
    }
}

pub(crate) struct Server {
    params: Params,
    state: Option<State>,
    pub(crate) mu: f64,
    queue: u64,
    done_at: f64,
    served: u64,
    dropped: u64,
    cost: Advertised<u16>,
    record: Advertised<Option<Record>>,
    /// Every cost decision: when, and the new cost.
    /// Its answers come too late to be of use.
    pub(crate) slow: bool,
    /// What it tells the others instead of the truth.
    pub(crate) lie: Option<Claim>,
    pub(crate) decisions: Vec<(f64, u16)>,
}

impl Server {
    fn advance(&mut self, to: f64, random: &mut Random) {
        while self.queue > 0 && self.done_at <= to {
            self.queue -= 1;
            self.served += 1;
            self.done_at += exponential(random, self.mu);
        }
    }

    fn arrive(&mut self, at: f64, random: &mut Random) {
        self.advance(at, random);
        if self.queue == BUFFER {
            self.dropped += 1;
            return;
        }
        if self.queue == 0 {
            self.done_at = at + exponential(random, self.mu);
        }
        self.queue += 1;
    }

    pub(crate) fn lsas(&self) -> u32 {
        self.cost.count
    }

    pub(crate) fn estimate(&self) -> Option<f64> {
        self.state.as_ref()?.estimator.mu()
    }
}

pub(crate) struct Sim {
    pub(crate) servers: Vec<Server>,
    pub(crate) load: f64,
    width: usize,
    random: Random,
    pub(crate) now: f64,
    next_arrival: f64,
    pub(crate) offered: u64,
}

impl Sim {
    /// Servers of these capacities, all honest about their nominal; `load` in queries per second.
    pub(crate) fn new(policy: Policy, capacities: &[f64], load: f64) -> Self {
        Self::seeded(policy, capacities, load, 0x0f_a9_11)
    }

    /// The same with another stream of random arrivals.
    pub(crate) fn seeded(policy: Policy, capacities: &[f64], load: f64, seed: u64) -> Self {
        let server = |(i, mu): (usize, &f64)| {
            let router = RouterId(i as u32 + 1);
            let params =
                Params { policy, router, nominal: Some(*mu), shares: None, tuning: Tuning::default(), min_serving: 1 };
            Server {
                state: Some(State::new(&params, Instant::EPOCH, u64::from(router.0))),
                params,
                mu: *mu,
                queue: 0,
                done_at: 0.0,
                served: 0,
                dropped: 0,
                cost: Advertised::new(law::CLASS_COST),
                record: Advertised::new(None),
                decisions: Vec::new(),
                lie: None,
                slow: false,
            }
        };
        Sim {
            servers: capacities.iter().enumerate().map(server).collect(),
            load,
            width: 16,
            random: Random::new(seed),
            now: 0.0,
            next_arrival: 0.0,
            offered: 0,
        }
    }

    pub(crate) fn forget_nominal(mut self) -> Self {
        for server in &mut self.servers {
            server.params.nominal = None;
            server.state = Some(State::new(&server.params, Instant::EPOCH, u64::from(server.params.router.0)));
        }
        self
    }

    pub(crate) fn run(&mut self, seconds: f64) -> &mut Self {
        let end = self.now + seconds;
        while self.now < end - 1e-9 {
            self.tick();
        }
        self
    }

    fn tick(&mut self) {
        let to = self.now + TICK;
        let lowest = self.servers.iter().map(|s| s.cost.seen).min().unwrap();
        let hops: Vec<usize> =
            (0..self.servers.len()).filter(|i| self.servers[*i].cost.seen == lowest).take(self.width).collect();
        while self.next_arrival < to {
            let hop = hops[(self.random.bits() % hops.len() as u64) as usize];
            self.servers[hop].arrive(self.next_arrival, &mut self.random);
            self.offered += 1;
            self.next_arrival += exponential(&mut self.random, self.load);
        }
        for server in &mut self.servers {
            server.advance(to, &mut self.random);
        }
        self.now = to;
        for i in 0..self.servers.len() {
            self.decide(i);
        }
        for server in &mut self.servers {
            server.cost.advance(to);
            server.record.advance(to);
        }
    }

    fn decide(&mut self, i: usize) {
        let peers = (0..self.servers.len()).filter(|j| *j != i).map(|j| {
            let other = &self.servers[j];
            let claim = other.lie.or(other.record.seen.map(|r| Claim { mu: r.mu, x: Some(r.x), nominal: r.nominal }));
            Peer { router: other.params.router, cost: other.cost.seen, claim, hops: 1 }
        });
        let farm = Farm { peers: peers.collect(), width: self.width, by_capacity: false };
        let server = &mut self.servers[i];
        let load = Load {
            served: server.served,
            dropped: server.dropped,
            busy: None,
            queue: server.queue * DATAGRAM,
            buffer: BUFFER * DATAGRAM,
            generation: 0,
        };
        let now = Instant::from_epoch(Duration::from_secs_f64(self.now));
        let inputs = Inputs { now, load: Some((now, load)), farm: &farm, self_test: None, slow: server.slow };
        let (state, decision) = law::step(&server.params, server.state.take().unwrap(), &inputs);
        server.record.wanted = state.record;
        server.cost.wanted = decision.cost;
        if decision.changed {
            server.decisions.push((self.now, decision.cost));
        }
        server.state = Some(state);
    }

    /// Part of the queries lost since `mark`.
    pub(crate) fn lost_since(&self, mark: &(u64, u64)) -> f64 {
        let (offered, dropped) = self.mark();
        (dropped - mark.1) as f64 / (offered - mark.0).max(1) as f64
    }

    pub(crate) fn mark(&self) -> (u64, u64) {
        (self.offered, self.servers.iter().map(|s| s.dropped).sum())
    }

    pub(crate) fn served(&self) -> u64 {
        self.servers.iter().map(|s| s.served).sum()
    }

    pub(crate) fn decisions(&self) -> usize {
        self.servers.iter().map(|s| s.decisions.len()).sum()
    }

    pub(crate) fn in_class(&self) -> usize {
        self.servers.iter().filter(|s| s.cost.seen == law::CLASS_COST).count()
    }
}

fn exponential(random: &mut Random, rate: f64) -> f64 {
    -(1.0 - random.uniform(0.0, 1.0)).ln() / rate
}
