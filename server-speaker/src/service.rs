//! One service at run time: its monitors, its law, and whether and at which cost it is advertised.

use std::collections::VecDeque;
use std::net::Ipv6Addr;

use ospf_proto::engine::Companion;
use ospf_proto::id::RouterId;
use ospf_proto::lsa::{Prefix, ServiceFlags, ServiceRecord};
use ospf_proto::time::Instant;
use tracing::{info, warn};

use crate::advertise::{Area, Choice, Situation, Standing, companion, standing};
use crate::config::{ServerConfig, ServiceConfig};
use crate::law::{self, Inputs, Params};
use crate::monitor::{MonitorError, SocketMonitor};
use crate::sample::{Health, Sample};

/// So many changes are remembered for `explain`.
const HISTORY: usize = 16;

/// A change of what is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// The new cost; none: withdrawn.
    pub cost: Option<u16>,
    /// Why.
    pub reason: String,
}

/// A service.
#[derive(Debug)]
pub struct Service {
    /// Its configuration.
    pub config: ServiceConfig,
    /// The law's memory.
    pub law: law::State,
    /// Whether it is advertised, and why.
    pub standing: Standing,
    /// The newest sample, of the monitor that counts where there are several.
    pub sample: Sample,
    /// What follows a changed metric, and why.
    pub choice: Choice,
    /// The operator wants it drained.
    pub drained: bool,
    /// The cost that the operator pinned, whatever the law says.
    pub pinned: Option<u16>,
    /// The latest changes, newest last.
    pub history: VecDeque<Change>,
    params: Params,
    monitors: Vec<SocketMonitor>,
}

impl Service {
    /// Opens the monitors; nothing is advertised before the service is seen alive.
    pub fn open(config: &ServiceConfig, router: RouterId, (now, seed): (Instant, u64)) -> Result<Self, MonitorError> {
        let params = Params { policy: config.policy, router, nominal: config.capacity, shares: false };
        let monitors = config.monitors.iter().cloned().map(SocketMonitor::open).collect::<Result<_, _>>()?;
        Ok(Service {
            law: law::State::new(&params, now, seed),
            standing: Standing::Unproven,
            sample: Sample { at: now, health: Health::Unknown("not yet read".into()), load: None },
            choice: Choice { companion: Companion::None, reason: "nothing was announced yet" },
            drained: false,
            pinned: None,
            history: VecDeque::new(),
            config: config.clone(),
            params,
            monitors,
        })
    }

    /// Reads health only: a few microseconds.
    pub fn look(&mut self, now: Instant) {
        let health = worst(self.monitors.iter_mut().map(SocketMonitor::health));
        if health != self.sample.health {
            self.sample = Sample { at: now, health, load: None };
        }
    }

    /// Reads health and counters.
    pub fn measure(&mut self, now: Instant) {
        let samples: Vec<Sample> = self.monitors.iter_mut().map(|monitor| monitor.sample(now)).collect();
        let load = samples.iter().find_map(|sample| sample.load);
        let health = worst(samples.into_iter().map(|sample| sample.health));
        self.sample = Sample { at: now, health, load };
    }

    /// Decides whether the service is advertised.
    pub fn judge(&mut self, now: Instant, area: &Area) {
        let Some(first) = self.config.prefixes.first() else { return };
        let new = standing(Situation {
            health: &self.sample.health,
            advertised: self.standing.is_advertised(),
            drained: self.drained,
            others: area.originators(first).count(),
            serving: area.serving(first),
            min_serving: usize::from(self.config.min_serving),
            last_resort: self.config.last_resort,
        });
        if new == self.standing {
            return;
        }
        let before = std::mem::replace(&mut self.standing, new);
        let why = match &self.sample.health {
            Health::Alive => String::new(),
            Health::Dead(why) | Health::Unknown(why) => format!(" ({why})"),
        };
        match new {
            Standing::Dead | Standing::LastResort | Standing::Assumed => warn!("{}: {new}{why}", self.config.name),
            _ => info!("{}: {new}{why}", self.config.name),
        }
        if new.is_advertised() != before.is_advertised() {
            if new.is_advertised() {
                self.law.restart(now);
            }
            self.remember(now, format!("{new}{why}"));
        }
    }

    /// One step of the law; only for a service that is advertised.
    pub fn step(&mut self, now: Instant, area: &Area, config: &ServerConfig) {
        let Some(first) = self.config.prefixes.first() else { return };
        self.choice = companion(self.config.strategy, area, &self.config.prefixes, &config.peers_in_place);
        if !self.standing.is_advertised() {
            return;
        }
        let farm = area.farm_of(first, config.ecmp_width);
        let before = self.law.cost;
        let (state, decision) = law::step(
            &self.params,
            self.law.clone(),
            &Inputs { now, load: self.sample.load, farm: &farm, self_test: None },
        );
        self.law = state;
        if decision.changed {
            let reason = decision.reason.to_string();
            let but = self.pinned.map(|cost| format!(" (but pinned at {cost} by hand)")).unwrap_or_default();
            info!("{}: cost {before} -> {}{but}: {reason}{}", self.config.name, decision.cost, self.figures());
            self.remember(now, reason);
        }
    }

    /// The figures behind a decision, for the log.
    fn figures(&self) -> String {
        let estimator = &self.law.estimator;
        let known = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.0}"));
        let own = format!(" (mu {} q/s, x {:.0} q/s", known(estimator.mu()), estimator.x());
        match &self.law.assessment {
            Some(a) => format!(
                "{own}; farm: load {:.0}, {} of {} in the class, G {:.0} with me, {:.0} without me, {:.0} at best)",
                a.load,
                a.k(),
                a.order.len(),
                a.goodput_with_me,
                a.goodput_without_me,
                a.goodput_best
            ),
            None => format!("{own})"),
        }
    }

    fn remember(&mut self, at: Instant, reason: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(Change { at, cost: self.cost(), reason });
    }

    /// The cost it is advertised at; none if it is not.
    pub fn cost(&self) -> Option<u16> {
        self.standing.is_advertised().then_some(self.pinned.unwrap_or(self.law.cost))
    }

    /// Pins the cost by hand, or gives it back to the law.
    pub fn pin(&mut self, now: Instant, pinned: Option<u16>) {
        if self.pinned == pinned {
            return;
        }
        self.pinned = pinned;
        let reason = match pinned {
            Some(cost) => format!("cost pinned at {cost} by hand; the law would say {}", self.law.cost),
            None => format!("cost given back to the law, which says {}", self.law.cost),
        };
        warn!("{}: {reason}", self.config.name);
        self.remember(now, reason);
    }

    /// Why the cost is what it is.
    pub fn reason(&self) -> String {
        match (self.cost(), self.pinned) {
            (None, _) => self.standing.to_string(),
            (_, Some(_)) => format!("pinned by hand; the law would say {}", self.law.cost),
            (_, None) => self.law.reason.to_string(),
        }
    }

    /// What is to be advertised.
    pub fn wanted(&self) -> impl Iterator<Item = (Prefix, u16)> {
        let cost = self.cost();
        self.config.prefixes.iter().filter_map(move |prefix| cost.map(|cost| (*prefix, cost)))
    }

    /// What the peers are told; nothing before the first record.
    pub fn records(&self) -> Vec<ServiceRecord> {
        let mut flags = ServiceFlags::empty();
        flags.set(ServiceFlags::DRAINING, self.drained);
        flags.set(ServiceFlags::LAST_RESORT, self.config.last_resort);
        let Some(record) = self.law.record else { return Vec::new() };
        let one = |prefix: &Prefix| ServiceRecord {
            prefix_len: prefix.length(),
            class: record.class,
            m: 1,
            flags,
            prefix: prefix.address(),
            owner: self.params.router,
            mu: record.mu.map(milli),
            x: self.law.estimator.is_measuring().then(|| milli(record.x)),
            nominal: record.nominal.map(milli),
        };
        self.config.prefixes.iter().map(one).collect()
    }

    /// The addresses to be put on `lo`.
    pub fn managed(&self) -> impl Iterator<Item = Ipv6Addr> {
        let managed = self.config.manage_address;
        self.config.prefixes.iter().filter(move |_| managed).map(Prefix::address)
    }

    /// What makes the measurement doubtful.
    pub fn warnings(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        for monitor in &mut self.monitors {
            match monitor.others() {
                Ok(others) if others.is_empty() => {}
                Ok(others) => warnings.push(format!(
                    "other UDP sockets in this network namespace are counted as this service's load: {}",
                    others.join(", ")
                )),
                Err(error) => warnings.push(error.to_string()),
            }
        }
        if !self.config.counts_udp() {
            warnings.push("no UDP monitor: health only, the load is not measured and the cost never changes".into());
        }
        warnings
    }
}

/// Dead if one is dead, unknown if one is unknown, else alive.
fn worst(healths: impl Iterator<Item = Health>) -> Health {
    let mut worst = Health::Alive;
    for health in healths {
        match (&worst, &health) {
            (_, Health::Dead(_)) => return health,
            (Health::Alive, Health::Unknown(_)) => worst = health,
            _ => {}
        }
    }
    worst
}

/// In 0.001 queries per second; all-ones is reserved for unknown.
fn milli(rate: f64) -> u32 {
    (rate * 1000.0).round().clamp(0.0, f64::from(u32::MAX - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dead_monitor_makes_the_service_dead() {
        let dead = || Health::Dead("x".into());
        let unknown = || Health::Unknown("y".into());
        assert_eq!(worst([Health::Alive, unknown(), dead()].into_iter()), dead());
        assert_eq!(worst([Health::Alive, unknown()].into_iter()), unknown());
        assert_eq!(worst([Health::Alive, Health::Alive].into_iter()), Health::Alive);
    }

    #[test]
    fn a_rate_too_large_for_the_wire_is_not_unknown() {
        assert_eq!(milli(1e12), u32::MAX - 1);
        assert_eq!(milli(333.333_4), 333_333);
    }
}
