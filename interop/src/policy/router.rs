//! The link router: from what the servers advertise to a forwarding table, as late as a real one.
//!
//! Flooding takes 50 ms, SPF waits as FRR's adaptive throttle 0/50/5000 ms has it, the kernel takes 20 ms.

use std::collections::VecDeque;

use super::agent::{Policy, Setup};
use super::table::{Spread, Table};

/// Time from origination to reception, seconds.
pub const FLOODING: f64 = 0.05;
/// Time from the routing table to the kernel's.
const INSTALL: f64 = 0.02;
/// SPF throttle: the shortest and the longest time between two runs.
const HOLD: f64 = 0.05;
const HOLD_MAX: f64 = 5.0;

/// What a server advertises, as everybody has received it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Advertised {
    /// The cost.
    pub cost: u16,
    /// Next hops.
    pub hops: u32,
}

/// The router.
#[derive(Debug)]
pub struct Router {
    setup: Setup,
    width: usize,
    table: Table,
    /// Next hops on their way into the table.
    installing: VecDeque<(f64, Vec<(usize, f64)>)>,
    wanted: Vec<(usize, f64)>,
    run_at: Option<f64>,
    last_run: f64,
    runs: u32,
    turn: usize,
    /// How much of the hash moved at each change.
    pub moved: Vec<f64>,
}

impl Router {
    /// A router that installs `width` next hops at most.
    pub fn new(setup: Setup, width: usize) -> Self {
        let spread = if setup.policy == Policy::Weighted { Spread::Resilient } else { Spread::Threshold };
        Router {
            setup,
            width,
            table: Table::new(spread),
            installing: VecDeque::new(),
            wanted: Vec::new(),
            run_at: None,
            last_run: f64::NEG_INFINITY,
            runs: 0,
            turn: 0,
            moved: Vec::new(),
        }
    }

    /// Something it has received has changed: SPF is due, now or when the throttle lets it.
    pub fn changed(&mut self, now: f64) {
        if self.run_at.is_some() {
            return;
        }
        let hold = (HOLD * f64::from(self.runs.max(1))).min(HOLD_MAX);
        let quiet = now - self.last_run;
        self.runs = if quiet < hold { self.runs + 1 } else { 1 };
        self.run_at = Some(if quiet < hold { self.last_run + hold } else { now });
    }

    /// Whether there is something to do at `now`.
    pub fn due(&self, now: f64) -> bool {
        self.run_at.is_some_and(|at| at <= now) || self.installing.front().is_some_and(|(at, _)| *at <= now)
    }

    /// Does what is due at `now`: `weights` per server, by capacity or spare capacity, where the policy has any.
    pub fn advance(&mut self, now: f64, seen: &[Option<Advertised>], weights: &[f64]) {
        if self.run_at.is_some_and(|at| at <= now) {
            self.run_at = None;
            self.last_run = now;
            let wanted = self.next_hops(seen, weights);
            if wanted != self.wanted {
                self.wanted.clone_from(&wanted);
                self.installing.push_back((now + INSTALL, wanted));
            }
        }
        while self.installing.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, hops)) = self.installing.pop_front() else { break };
            let moved = self.table.install(hops);
            self.moved.push(moved);
        }
    }

    /// The lowest-cost servers as often as they appear, not more than the width.
    fn next_hops(&self, seen: &[Option<Advertised>], weights: &[f64]) -> Vec<(usize, f64)> {
        let Some(lowest) = seen.iter().flatten().map(|advertised| advertised.cost).min() else { return Vec::new() };
        let weighs = matches!(self.setup.policy, Policy::Weighted | Policy::Spare);
        let mut hops = Vec::new();
        for ((server, advertised), weight) in seen.iter().enumerate().zip(weights) {
            let Some(advertised) = advertised.filter(|advertised| advertised.cost == lowest) else { continue };
            let weight = if weighs { *weight } else { 1.0 };
            hops.extend((0..advertised.hops).map(|_| (server, weight)));
        }
        hops.truncate(self.width);
        hops
    }

    /// Where a query goes whose hash is `bucket`; `queues` are the lengths of the servers' queues, for the oracle.
    pub fn route(&mut self, now: f64, bucket: usize, queues: impl Fn(usize) -> f64) -> Option<usize> {
        match self.setup.policy {
            Policy::Turns => {
                let servers = self.table.servers();
                let turn = (now / self.setup.turn) as usize % servers.len().max(1);
                servers.get(turn).copied()
            }
            Policy::RoundRobin => {
                self.turn += 1;
                let servers = self.table.servers();
                servers.get(self.turn % servers.len().max(1)).copied()
            }
            Policy::Oracle => {
                self.table.servers().into_iter().min_by(|one, other| queues(*one).total_cmp(&queues(*other)))
            }
            _ => self.table.server(bucket),
        }
    }

    /// Whether the table leads to this server.
    pub fn serves(&self, server: usize) -> bool {
        self.table.servers().contains(&server)
    }
}
