//! A farm in virtual time: clients, the link router, servers as queues, and a policy at each of them.

use std::collections::VecDeque;

use ospf_proto::id::RouterId;
use server_speaker::law::random::Random;
use server_speaker::law::{Claim, Farm as Peers, Peer, Record};
use server_speaker::sample::Load;

use super::agent::{Agent, Policy, Seen, Setup, Wish};
use super::queue::{Queue, exponential};
use super::router::{Advertised, FLOODING, Router};
use super::scenario::{Happening, Scenario};
use super::table::BUCKETS;
use super::tally::{Second, Tally};

/// Time between two ticks of a policy, seconds.
const TICK: f64 = 0.1;
/// The same LSA is originated at most so often, seconds.
const MIN_LS_INTERVAL: f64 = 5.0;
/// A silent server is noticed after this, seconds.
const DEAD_INTERVAL: f64 = 4.0;
/// Weights by capacity move in such steps, so that noise moves no flows.
const WEIGHT_STEP: f64 = 1.25;
/// Bytes of a query in a socket's buffer: what the black-box estimator reads is bytes.
const DATAGRAM: u64 = 832;

/// Something in an LSA: wanted, originated, received.
#[derive(Debug)]
struct Lsa<T> {
    wanted: Option<T>,
    originated: Option<T>,
    seen: Option<T>,
    last: f64,
    on_its_way: VecDeque<(f64, Option<T>)>,
    count: u32,
}

impl<T: Copy + PartialEq> Lsa<T> {
    fn new() -> Self {
        let last = f64::NEG_INFINITY;
        Lsa { wanted: None, originated: None, seen: None, last, on_its_way: VecDeque::new(), count: 0 }
    }

    /// Originates what is wanted if it may; says whether what is seen has changed.
    fn advance(&mut self, now: f64) -> bool {
        // A flush does not wait (docs/architecture.md).
        if self.wanted != self.originated && (self.wanted.is_none() || now - self.last >= MIN_LS_INTERVAL) {
            self.originated = self.wanted;
            self.last = now;
            self.count += 1;
            self.on_its_way.push_back((now + FLOODING, self.wanted));
        }
        let mut changed = false;
        while self.on_its_way.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, value)) = self.on_its_way.pop_front() {
                changed |= self.seen != value;
                self.seen = value;
            }
        }
        changed
    }
}

/// A server.
#[derive(Debug)]
struct Server {
    router: RouterId,
    nominal: f64,
    queue: Queue,
    agent: Agent,
    prefix: Lsa<Advertised>,
    record: Lsa<Record>,
    advertises: bool,
    /// Silent since.
    dead: Option<f64>,
    /// Warms up: from which part of the nominal, since when, for how long.
    warming: Option<(f64, f64, f64)>,
    arrived: u64,
}

/// The farm.
pub struct Farm<'a> {
    scenario: &'a Scenario,
    setup: Setup,
    servers: Vec<Server>,
    router: Router,
    random: Random,
    /// Zipf: the cumulated rates of the sources, and the bucket of each.
    sources: Vec<(f64, usize)>,
    now: f64,
    next_arrival: f64,
    next_event: usize,
    tally: Tally,
    weights: Vec<f64>,
}

/// Runs a scenario under a policy.
pub fn run(scenario: &Scenario, setup: Setup, seed: u64) -> Tally {
    let mut farm = Farm::new(scenario, setup, seed);
    while farm.now < scenario.duration - 1e-9 {
        farm.tick();
    }
    farm.finish()
}

impl<'a> Farm<'a> {
    fn new(scenario: &'a Scenario, setup: Setup, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let joins_later = |index| {
            let mut of = scenario.events.iter().filter(|event| event.servers.contains(&index)).map(|event| event.what);
            of.find(|what| matches!(what, Happening::Alive(_)))
                .is_some_and(|what| matches!(what, Happening::Alive(true)))
        };
        let server = |(index, nominal): (usize, &f64)| {
            let router = RouterId(index as u32 + 1);
            Server {
                router,
                nominal: *nominal,
                queue: Queue::new(*nominal, scenario.buffer),
                agent: Agent::new(setup, router, (*nominal, random.bits(), 0.0)),
                prefix: Lsa::new(),
                record: Lsa::new(),
                advertises: !joins_later(index),
                dead: None,
                warming: None,
                arrived: 0,
            }
        };
        let servers: Vec<Server> = scenario.servers.iter().enumerate().map(server).collect();
        let sources = scenario.zipf.map_or_else(Vec::new, |zipf| {
            let mut sum = 0.0;
            let rate = |rank: usize| {
                sum += (rank as f64).powf(-zipf.exponent);
                (sum, (random.bits() % BUCKETS as u64) as usize)
            };
            (1..=zipf.sources).map(rate).collect()
        });
        let weights = scenario.servers.clone();
        let router = Router::new(setup, scenario.width);
        let tally = Tally::new(scenario, servers.len());
        Farm {
            scenario,
            setup,
            servers,
            router,
            random,
            sources,
            now: 0.0,
            next_arrival: 0.0,
            next_event: 0,
            tally,
            weights,
        }
    }

    fn tick(&mut self) {
        self.happen();
        let to = self.now + TICK;
        while self.next_arrival < to {
            let at = self.next_arrival;
            self.arrive(at);
            let rate = self.scenario.load.at(at) * self.scenario.capacity();
            self.next_arrival = if rate > 0.0 { at + exponential(&mut self.random, rate) } else { to };
        }
        self.now = to;
        for server in 0..self.servers.len() {
            self.finish_queries(server, to);
        }
        for server in 0..self.servers.len() {
            self.decide(server);
        }
        self.flood();
        self.sample();
    }

    fn happen(&mut self) {
        let events = &self.scenario.events;
        while let Some(event) = events.get(self.next_event).filter(|event| event.at <= self.now + 1e-9) {
            self.next_event += 1;
            for index in &event.servers {
                self.happens(*index, event.what);
            }
        }
        for server in &mut self.servers {
            if let Some((from, since, over)) = server.warming {
                let part = (from + (1.0 - from) * (self.now - since) / over).min(1.0);
                server.queue.set_rate(self.now, part * server.nominal);
                server.warming = server.warming.filter(|_| part < 1.0);
            }
        }
    }

    fn happens(&mut self, index: usize, what: Happening) {
        let (now, setup, seed) = (self.now, self.setup, self.random.bits());
        let Some(server) = self.servers.get_mut(index) else { return };
        match what {
            Happening::Capacity(part) => server.queue.set_rate(now, part * server.nominal),
            Happening::Warm(from, over) => server.warming = Some((from, now, over)),
            Happening::Alive(false) => {
                server.dead = Some(now);
                server.queue.clear(now).into_iter().for_each(|arrived| self.tally.lost(arrived));
            }
            Happening::Alive(true) => {
                server.dead = None;
                server.advertises = true;
                server.agent = Agent::new(setup, server.router, (server.nominal, seed, now));
            }
        }
    }

    fn arrive(&mut self, at: f64) {
        let bucket = if self.sources.is_empty() {
            (self.random.bits() % BUCKETS as u64) as usize
        } else {
            let total = self.sources.last().map_or(1.0, |(sum, _)| *sum);
            let drawn = self.random.uniform(0.0, total);
            let place = self.sources.partition_point(|(sum, _)| *sum < drawn);
            self.sources.get(place).map_or(0, |(_, bucket)| *bucket)
        };
        if self.router.due(at) {
            let seen: Vec<Option<Advertised>> = self.servers.iter().map(|server| server.prefix.seen).collect();
            self.router.advance(at, &seen, &self.weights);
        }
        let servers = &self.servers;
        let wait =
            |index: usize| servers.get(index).map_or(f64::MAX, |s| (s.queue.waiting() as f64 + 1.0) / s.queue.rate());
        let target = self.router.route(at, bucket, wait);
        self.tally.asked(at);
        let Some(server) = target.and_then(|index| self.servers.get_mut(index)) else { return self.tally.lost(at) };
        server.arrived += 1;
        if server.dead.is_some() {
            return self.tally.lost(at);
        }
        while let Some(answer) = server.queue.finish(at) {
            self.tally.answered(answer);
        }
        if !server.queue.arrive(at, &mut self.random) {
            self.tally.lost(at);
        }
    }

    fn finish_queries(&mut self, index: usize, now: f64) {
        let Some(server) = self.servers.get_mut(index) else { return };
        while let Some(answer) = server.queue.finish(now) {
            self.tally.answered(answer);
        }
    }

    fn decide(&mut self, index: usize) {
        let peer = |server: &Server| {
            let advertised = server.prefix.seen?;
            let claim = server.record.seen.map(|r| Claim { mu: r.mu, x: Some(r.x), nominal: r.nominal });
            Some(Peer { router: server.router, cost: advertised.cost, claim, hops: advertised.hops })
        };
        let others = self.servers.iter().enumerate().filter(|(other, _)| *other != index);
        let peers = others.filter_map(|(_, server)| peer(server)).collect();
        let farm = Peers { peers, width: self.scenario.width, by_capacity: self.setup.policy == Policy::Weighted };
        let (now, black_box) = (self.now, self.setup.black_box);
        let Some(server) = self.servers.get_mut(index).filter(|server| server.advertises && server.dead.is_none())
        else {
            return;
        };
        let busy = (server.queue.busy(now) * 1e6) as u64;
        let load = Load {
            served: server.queue.served,
            dropped: server.queue.dropped,
            busy: (!black_box).then_some(busy),
            queue: server.queue.waiting() as u64 * DATAGRAM,
            buffer: self.scenario.buffer as u64 * DATAGRAM,
            generation: 0,
        };
        let seen = Seen { now, load, farm: &farm, capacity: server.queue.rate() };
        let Wish { cost, hops, record } = server.agent.tick(&seen);
        server.prefix.wanted = Some(Advertised { cost, hops });
        server.record.wanted = record;
    }

    fn flood(&mut self) {
        let now = self.now;
        let mut changed = false;
        for (server, weight) in self.servers.iter_mut().zip(&mut self.weights) {
            if server.dead.is_some_and(|since| now - since >= DEAD_INTERVAL) && server.prefix.seen.is_some() {
                (server.prefix, server.record) = (Lsa::new(), Lsa::new());
                server.advertises = false;
                changed = true;
            }
            changed |= server.prefix.advance(now);
            let news = server.record.advance(now);
            if let (true, Some(record)) = (news, server.record.seen) {
                let mu = record.mu.unwrap_or(server.nominal);
                let before = *weight;
                *weight = match self.setup.policy {
                    Policy::Spare => {
                        let spare = (mu - record.x).max(0.01 * mu);
                        before + self.setup.gain * (spare - before)
                    }
                    _ => server.nominal * WEIGHT_STEP.powf((mu / server.nominal).log(WEIGHT_STEP).round()),
                };
                changed |= *weight != before;
            }
        }
        if changed {
            self.router.changed(now);
        }
        let seen: Vec<Option<Advertised>> = self.servers.iter().map(|server| server.prefix.seen).collect();
        self.router.advance(now, &seen, &self.weights);
    }

    /// Once a second, what there is to see.
    fn sample(&mut self) {
        let second = (self.now + 1e-6) as usize;
        if (self.now - second as f64).abs() > 1e-6 {
            return;
        }
        let now = self.now;
        let state = |(index, server): (usize, &Server)| Second {
            cost: server.prefix.seen.map(|advertised| advertised.cost),
            hops: server.prefix.seen.map_or(0, |advertised| advertised.hops),
            serving: self.router.serves(index),
            arrived: server.arrived,
            busy: server.queue.busy(now),
            rate: server.queue.rate(),
            lsas: server.prefix.count.saturating_sub(1),
            records: server.record.count,
        };
        let row: Vec<Second> = self.servers.iter().enumerate().map(state).collect();
        self.tally.second(row);
    }

    fn finish(mut self) -> Tally {
        // Whatever is still being answered.
        for server in 0..self.servers.len() {
            self.finish_queries(server, f64::MAX);
        }
        self.tally.moved = self.router.moved;
        self.tally
    }
}
