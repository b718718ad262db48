//! G(T): what a class of servers would answer of the farm's load, and S*, the best class (see [`crate::law`]).

use std::collections::BTreeSet;

use ospf_proto::id::RouterId;
use serde::{Serialize, Serializer};

use super::farm::Member;
use super::tuning::Tuning;

/// Capacities are compared in steps of this part of the best.
const STEP: f64 = 0.01;

/// The farm weighed at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// Offered load L, queries per second.
    pub load: f64,
    /// All members, best first.
    pub order: Vec<Member>,
    /// S: the servers at the lowest cost.
    #[serde(serialize_with = "routers")]
    pub class: BTreeSet<RouterId>,
    /// S*: the class that would answer most.
    #[serde(serialize_with = "routers")]
    pub best: BTreeSet<RouterId>,
    /// G(S).
    pub goodput: f64,
    /// G(S*).
    pub goodput_best: f64,
    /// G(S with me).
    pub goodput_with_me: f64,
    /// G(S without me).
    pub goodput_without_me: f64,
    /// The unit in which a gain is judged.
    pub unit: f64,
    /// Sum over S of what is offered above capacity, as a part of the load.
    pub excess: f64,
    /// So little load that nobody moves.
    pub idle: bool,
}

impl Assessment {
    /// Weighs `members` for routers that install `width` equal-cost next hops; `me` is the server that asks.
    pub fn new(members: &[Member], (width, me): (usize, RouterId), tuning: &Tuning) -> Self {
        let load: f64 = members.iter().map(|m| m.x).sum();
        let capacity: f64 = members.iter().map(|m| m.mu).sum();
        let order = ordered(members);
        let class: BTreeSet<RouterId> = members.iter().filter(|m| m.in_class).map(|m| m.router).collect();
        let k = class.len().max(1) as f64;
        let unit = (load / k).min(0.1 * load);
        let (best, goodput_best) = best_class(&order, width, (load, unit), tuning);
        let of = |set: &BTreeSet<RouterId>| {
            goodput(&order.iter().filter(|m| set.contains(&m.router)).copied().collect::<Vec<_>>(), load, tuning)
        };
        let mut with_me = class.clone();
        with_me.insert(me);
        let mut without_me = class.clone();
        without_me.remove(&me);
        let excess = if load > 0.0 {
            members.iter().filter(|m| m.in_class).map(|m| (m.x - 1.02 * m.mu).max(0.0)).sum::<f64>() / load
        } else {
            0.0
        };
        Assessment {
            load,
            goodput: of(&class),
            goodput_best,
            goodput_with_me: of(&with_me),
            goodput_without_me: of(&without_me),
            class,
            best,
            order,
            unit,
            excess,
            idle: load < tuning.idle * capacity,
        }
    }

    /// Number of servers in the class.
    pub fn k(&self) -> usize {
        self.class.len()
    }

    /// The 0-based place of `router` among the servers outside S*: its standby rank.
    pub fn standby_rank(&self, router: RouterId) -> u16 {
        let place = self.order.iter().filter(|m| !self.best.contains(&m.router)).position(|m| m.router == router);
        place.and_then(|place| u16::try_from(place).ok()).unwrap_or(0)
    }

    /// Whether `router` is among the `batch` worst of S \ S*.
    pub fn is_among_the_worst(&self, router: RouterId, batch: usize) -> bool {
        self.order
            .iter()
            .rev()
            .filter(|m| self.class.contains(&m.router) && !self.best.contains(&m.router))
            .take(batch)
            .any(|m| m.router == router)
    }
}

/// Descending capacity per share, in steps of 1 % of the best, ties by lower Router ID.
fn ordered(members: &[Member]) -> Vec<Member> {
    let top = members.iter().map(|m| m.mu / m.m).fold(0.0, f64::max);
    let step = |m: &Member| {
        if top > 0.0 { (m.mu / m.m / (STEP * top)).round() as i64 } else { 0 }
    };
    let mut order = members.to_vec();
    order.sort_by_key(|m| (-step(m), m.router));
    order
}

/// The largest top-k class of at most `width` next hops (but of one server at least) whose goodput is as good as the best.
fn best_class(order: &[Member], width: usize, (load, unit): (f64, f64), tuning: &Tuning) -> (BTreeSet<RouterId>, f64) {
    let fits = |k: &usize| {
        let hops: u64 = order.iter().take(*k).map(|m| u64::from(m.hops)).sum();
        *k == 1 || hops <= width as u64
    };
    let tops: Vec<(usize, f64)> = (1..=order.len())
        .take_while(fits)
        .map(|k| (k, goodput(order.get(..k).unwrap_or(order), load, tuning)))
        .collect();
    let most = tops.iter().map(|(_, g)| *g).fold(0.0, f64::max);
    let found = tops.iter().rev().find(|(_, g)| *g >= most - tuning.equal * unit).copied();
    let (k, g) = found.unwrap_or((0, 0.0));
    (order.iter().take(k).map(|m| m.router).collect(), g)
}

/// G(T) = sum over T of min(t_i mu_i, m_i L / M_T).
fn goodput(class: &[Member], load: f64, tuning: &Tuning) -> f64 {
    let shares: f64 = class.iter().map(|m| m.m).sum();
    let answered = |m: &Member| {
        let trust = if m.in_class { tuning.trust_in } else { tuning.trust_out };
        (trust * m.mu).min(m.m * load / shares)
    };
    class.iter().map(answered).sum()
}

fn routers<S: Serializer>(set: &BTreeSet<RouterId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter().map(RouterId::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farm(capacities: &[f64], load: f64) -> Vec<Member> {
        let x = load / capacities.len() as f64;
        let member = |(i, mu): (usize, &f64)| Member {
            router: RouterId(i as u32 + 1),
            cost: 10,
            in_class: true,
            mu: *mu,
            x,
            m: 1.0,
            hops: 1,
        };
        capacities.iter().enumerate().map(member).collect()
    }

    #[test]
    fn identical_servers_are_all_in_the_best_class_at_every_load() {
        for load in [0.1, 0.5, 0.8, 0.95, 1.0, 1.1, 1.5, 3.0] {
            let a = Assessment::new(&farm(&[1000.0; 8], 8000.0 * load), (16, RouterId(1)), &Tuning::default());
            assert_eq!(a.best.len(), 8, "load {load}");
        }
    }

    #[test]
    fn a_4_2_1_farm_at_half_load_is_better_off_without_its_two_smallest() {
        let mu = [4.0, 2.0, 1.0, 4.0, 2.0, 1.0, 4.0, 2.0].map(|u| u * 400.0);
        let a = Assessment::new(&farm(&mu, 0.5 * mu.iter().sum::<f64>()), (16, RouterId(3)), &Tuning::default());
        assert_eq!(a.best, [1, 2, 4, 5, 7, 8].map(RouterId).into());
        assert!(a.goodput_without_me > a.goodput_with_me);
        assert_eq!((a.standby_rank(RouterId(3)), a.standby_rank(RouterId(6))), (0, 1));
        assert!(a.is_among_the_worst(RouterId(6), 1));
        assert!(!a.is_among_the_worst(RouterId(3), 1));
    }

    #[test]
    fn the_class_never_exceeds_the_width_of_the_routers() {
        let a = Assessment::new(&farm(&[1000.0; 8], 4000.0), (4, RouterId(1)), &Tuning::default());
        assert_eq!(a.best, [1, 2, 3, 4].map(RouterId).into());
    }

    #[test]
    fn shares_by_capacity_keep_everybody_in() {
        let mut all = farm(&[4000.0, 2000.0, 1000.0], 6000.0);
        all.iter_mut().for_each(|m| m.m = m.mu);
        assert_eq!(Assessment::new(&all, (16, RouterId(1)), &Tuning::default()).best.len(), 3);
    }

    #[test]
    fn a_server_outside_counts_with_less_of_its_capacity() {
        let mut all = farm(&[1000.0, 1000.0], 1700.0);
        let inside = Assessment::new(&all, (16, RouterId(2)), &Tuning::default()).goodput_with_me;
        all[1].in_class = false;
        let outside = Assessment::new(&all, (16, RouterId(2)), &Tuning::default());
        assert!((inside - 1700.0).abs() < 1e-6);
        assert!((outside.goodput_with_me - 1650.0).abs() < 1e-6);
    }

    #[test]
    fn an_idle_farm_is_said_to_be_idle() {
        assert!(Assessment::new(&farm(&[1000.0; 4], 79.0), (16, RouterId(1)), &Tuning::default()).idle);
        assert!(!Assessment::new(&farm(&[1000.0; 4], 81.0), (16, RouterId(1)), &Tuning::default()).idle);
    }
}
