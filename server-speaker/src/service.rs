//! One service at run time: its monitors, its law, and whether and at which cost it is advertised.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use ospf_proto::engine::Companion;
use ospf_proto::id::RouterId;
use ospf_proto::lsa::{Prefix, ServiceFlags, ServiceRecord};
use ospf_proto::time::Instant;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, info, warn};

use crate::advertise::{Area, Choice, Drain, DrainPhase, DrainProgress, Situation, Standing, companion, standing};
use crate::config::{ServerConfig, ServiceConfig};
use crate::law::{self, Inputs, Outlook, Params, Policy};
use crate::monitor::{self, Board, MonitorError};
use crate::sample::{Health, Load, Sample};
use crate::tester::Tester;

/// So many decisions are remembered for `explain`.
const HISTORY: usize = 200;

/// A decision: another cost, or the same cost for another reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// The cost; none: withdrawn.
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
    /// The drain file is there.
    drain_file: bool,
    /// The drain was done in the daemon's last life.
    emptied_before: bool,
    /// What a look for it finds.
    drain_look: Option<oneshot::Receiver<std::io::Result<bool>>>,
    drain: Option<Drain>,
    linger: Duration,
    /// The cost that the operator pinned, whatever the law says.
    pub pinned: Option<u16>,
    /// The latest decisions, newest last.
    pub history: VecDeque<Change>,
    /// How often the cost changed, or whether there is one.
    pub cost_changes: u64,
    /// Seen alive in this life of the daemon.
    proven: bool,
    tester: Tester,
    /// The law's last decision asked for a self-test.
    self_test_wanted: bool,
    params: Params,
    board: Board,
}

impl Service {
    /// Opens the monitors; nothing is advertised before the service is seen alive.
    pub fn open(
        config: &ServiceConfig,
        (router, linger): (RouterId, Duration),
        (now, seed, wake): (Instant, u64, &Arc<Notify>),
    ) -> Result<Self, MonitorError> {
        let params = Params {
            policy: config.policy,
            router,
            nominal: config.capacity,
            shares: config.shares,
            tuning: config.tuning,
            min_serving: usize::from(config.min_serving),
        };
        // At start there is nothing yet that could be held up.
        let drain_file = config.drain_file.as_ref().is_some_and(|path| path.try_exists().unwrap_or(false));
        let board = Board::new(&config.name, monitor::open(&config.monitors, (seed, wake))?);
        Ok(Service {
            law: law::State::new(&params, now, seed),
            standing: Standing::Unproven,
            sample: Sample { at: now, health: Health::Unknown("not yet read".into()), load: None, counted: None },
            choice: Choice { companion: Companion::None, reason: "nothing was announced yet" },
            drained: false,
            drain_file,
            emptied_before: drain_file,
            drain_look: None,
            drain: None,
            linger,
            pinned: None,
            history: VecDeque::new(),
            config: config.clone(),
            cost_changes: 0,
            proven: false,
            tester: Tester::new(config.self_test.clone()),
            self_test_wanted: false,
            params,
            board,
        })
    }

    /// Reads health only: a few microseconds.
    pub fn look(&mut self, now: Instant) {
        let health = self.board.pulse(now);
        if health != self.sample.health {
            self.sample = Sample { at: now, health, load: None, counted: None };
        }
    }

    /// Reads health and counters.
    pub fn measure(&mut self, now: Instant) {
        self.sample = self.board.sample(now);
    }

    /// The sources.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Decides whether the service is advertised.
    pub fn judge(&mut self, now: Instant, area: &Area) {
        let Some(first) = self.config.prefixes.first() else { return };
        self.proven |= self.sample.health == Health::Alive;
        let new = standing(Situation {
            health: &self.sample.health,
            advertised: self.standing.is_advertised(),
            proven: self.proven,
            drained: self.is_drained(),
            others: area.alive(first),
            serving: area.serving(first),
            min_serving: usize::from(self.config.min_serving),
            emptied: self.emptied(),
            last_resort: self.config.last_resort,
        });
        if new == self.standing {
            return;
        }
        let before = std::mem::replace(&mut self.standing, new);
        match new {
            Standing::Draining if self.drain.is_none() => {
                let limits = (self.config.drain_limit, self.linger);
                self.drain = Some(Drain::new(now, limits, self.law.estimator.x()));
            }
            _ if self.emptied() && self.is_drained() => {}
            Standing::Draining => {}
            _ => self.drain = None,
        }
        let why = self.sample.health.why().map(|why| format!(" ({why})")).unwrap_or_default();
        match new {
            Standing::Dead | Standing::LastResort | Standing::Assumed => {
                warn!("{}: {new}{why}", self.config.name)
            }
            _ => info!("{}: {new}{why}", self.config.name),
        }
        if new.is_advertised() && !before.is_advertised() {
            self.law.restart(&self.params, now);
        }
        if new.is_advertised() != before.is_advertised() || new.cost() != before.cost() {
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
        let (before, hops_before) = (self.law.cost, self.next_hops());
        let every = Duration::from_secs_f64(self.config.tuning.self_test_after);
        let self_test = self.tester.step(now, (self.self_test_wanted, every), &self.config.name);
        if let Some(Err(_)) = self_test {
            self.law.forget_self_test();
        }
        let self_test = self_test.and_then(Result::ok);
        let slow = matches!(self.sample.health, Health::Slow(_));
        let inputs = Inputs { now, load: self.load(), farm: &farm, self_test, slow };
        let (state, decision) = law::step(&self.params, self.law.clone(), &inputs);
        self.self_test_wanted = decision.self_test;
        let reason_before = std::mem::replace(&mut self.law, state).reason;
        if decision.hops != hops_before {
            let unit = self.law.unit().map(|unit| format!(", one per {unit:.0} q/s")).unwrap_or_default();
            let step = format!("next hops {hops_before} -> {}{unit}{}", decision.hops, self.figures());
            info!("{}: {step}", self.config.name);
            self.remember(now, step);
        }
        if !decision.changed && decision.reason == reason_before {
            return;
        }
        let reason = format!("{}{}", decision.reason, self.figures());
        if decision.changed {
            let but = self.pinned.map(|cost| format!(" (but pinned at {cost} by hand)")).unwrap_or_default();
            info!("{}: cost {before} -> {}{but}: {reason}", self.config.name, decision.cost);
        } else {
            debug!("{}: {reason}", self.config.name);
        }
        self.remember(now, reason);
    }

    /// The counters for the law: none during a self-test, and with a new origin after it, since its queries are our own.
    fn load(&self) -> Option<(Instant, Load)> {
        let load = self.sample.load.filter(|_| !self.tester.is_running())?;
        let generation = load.generation.wrapping_add(self.tester.ended());
        Some((self.sample.counted?, Load { generation, ..load }))
    }

    /// What the last self-test said.
    pub fn self_test(&self) -> Option<&str> {
        self.tester.outcome()
    }

    /// What would change the cost, the rest of the farm being as it is.
    pub fn outlook(&self, now: Instant, area: &Area, width: Option<u16>) -> Option<Outlook> {
        let first = self.config.prefixes.first()?;
        let held = self.pinned.is_some() || self.standing.cost().is_some();
        let rule_decides = self.config.policy == Policy::Goodput && self.standing.is_advertised() && !held;
        let me = self.law.myself(&self.params, now);
        rule_decides.then(|| Outlook::new(&self.params, &area.farm_of(first, width), &me))
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
        let cost = self.cost();
        self.cost_changes += u64::from(self.history.back().is_some_and(|last| last.cost != cost));
        self.history.push_back(Change { at, cost, reason });
    }

    /// The cost it is advertised at; none if it is not.
    pub fn cost(&self) -> Option<u16> {
        let demanded = self.standing.cost().or(self.pinned);
        self.standing.is_advertised().then_some(demanded.unwrap_or(self.law.cost))
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
        if !self.standing.is_advertised() || self.standing.cost().is_some() {
            return self.standing.to_string();
        }
        match self.pinned {
            Some(_) => format!("pinned by hand; the law would say {}", self.law.cost),
            None => self.law.reason.to_string(),
        }
    }

    /// As how many next hops it is advertised.
    pub fn next_hops(&self) -> u32 {
        self.law.next_hops(&self.params)
    }

    /// What the `place`-th router of this server is to advertise, 0 being the server's own.
    pub fn wanted(&self, place: usize) -> impl Iterator<Item = (Prefix, u16)> {
        let cost = self.cost().filter(|_| place < self.next_hops() as usize);
        self.config.prefixes.iter().filter_map(move |prefix| cost.map(|cost| (*prefix, cost)))
    }

    /// What the `place`-th router tells the peers; nothing before the first record. Of those that advertise nothing, only the
    /// own one has something to tell.
    pub fn records(&self, place: usize) -> Vec<ServiceRecord> {
        if place > 0 && self.wanted(place).next().is_none() {
            return Vec::new();
        }
        let mut flags = ServiceFlags::empty();
        flags.set(ServiceFlags::DRAINING, self.is_drained());
        flags.set(ServiceFlags::LAST_RESORT, self.config.last_resort);
        let Some(record) = self.law.record else { return Vec::new() };
        let one = |prefix: &Prefix| ServiceRecord {
            class: record.class,
            m: u8::try_from(self.next_hops()).unwrap_or(u8::MAX),
            flags,
            mu: record.mu.map(milli),
            x: self.law.estimator.is_measuring().then(|| milli(record.x)),
            nominal: record.nominal.map(milli),
            ..ServiceRecord::new(prefix, self.params.router)
        };
        self.config.prefixes.iter().map(one).collect()
    }

    /// One look at a drain under way.
    pub fn follow_drain(&mut self, now: Instant, flushes_pending: usize) {
        let queued = self.board.fill().is_some_and(|fill| fill > 0.0);
        let progress = DrainProgress { served: self.board.served(), queued, flushes_pending };
        if !self.is_drained() {
            (self.drain, self.emptied_before) = (None, false);
        }
        if let Some(drain) = &mut self.drain {
            let before = drain.phase();
            let after = drain.step(now, progress);
            if after != before && after == DrainPhase::Done {
                info!("{}: drained, nothing comes any more", self.config.name);
            }
        }
    }

    /// Looks whether somebody has put the drain file there, or taken it away: what the last look found, and begins another.
    /// The file may be on a medium that hangs.
    pub fn look_for_drain_file(&mut self) {
        let Some(path) = self.config.drain_file.clone() else { return };
        match self.drain_look.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(oneshot::error::TryRecvError::Empty)) => return,
            Some(Ok(found)) => self.take_drain_file(found),
            None | Some(Err(oneshot::error::TryRecvError::Closed)) => {}
        }
        let (sender, look) = oneshot::channel();
        self.drain_look = Some(look);
        tokio::task::spawn_blocking(move || sender.send(path.try_exists()));
    }

    fn take_drain_file(&mut self, found: std::io::Result<bool>) {
        let Some(path) = &self.config.drain_file else { return };
        match found {
            Ok(there) if there == self.drain_file => {}
            Ok(there) => {
                let what = if there { "is there: drained" } else { "is gone: no longer drained by it" };
                info!("{}: {} {what}", self.config.name, path.display());
                self.drain_file = there;
            }
            // Neither there nor gone: what was known last holds.
            Err(error) => warn!("{}: {}: {error}; taken for unchanged", self.config.name, path.display()),
        }
    }

    /// A drain has got to the point where the prefixes are withdrawn.
    fn emptied(&self) -> bool {
        let now = self.drain.as_ref().is_some_and(|drain| drain.phase() != DrainPhase::Emptying);
        now || (self.emptied_before && self.is_drained())
    }

    /// Says that it was drained, wholly or not yet, in the daemon's last life.
    pub fn remember_drain(&mut self, emptied: bool) {
        (self.drained, self.emptied_before) = (true, emptied);
    }

    /// Whether a drain by command has got so far that a restart shall not advertise it first.
    pub fn is_emptied_by_command(&self) -> bool {
        self.drained && self.emptied()
    }

    /// Somebody wants it drained: by command or by the drain file.
    pub fn is_drained(&self) -> bool {
        self.drained || self.drain_file
    }

    /// The addresses that belong on `lo` now: those of a drained service only until nothing comes any more.
    pub fn wanted_addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        let done = match &self.drain {
            Some(drain) => drain.phase() == DrainPhase::Done,
            None => self.standing == Standing::Drained,
        };
        // Wanted again as soon as the drain is taken back: before the prefixes are advertised.
        let wanted = !self.is_drained() || !done;
        self.managed().filter(move |_| wanted)
    }

    /// The addresses that this daemon puts on `lo`, at one time or another.
    pub fn managed(&self) -> impl Iterator<Item = Ipv6Addr> {
        let managed = self.config.manage_address;
        self.config.prefixes.iter().filter(move |_| managed).map(Prefix::address)
    }

    /// What makes the measurement doubtful.
    pub fn warnings(&mut self) -> Vec<String> {
        let mut warnings = self.board.warnings();
        if !self.config.measures() {
            warnings.push("no monitor counts queries: the load of this server is not measured".into());
        }
        if let Some(excuse) = self.board.excuse() {
            warnings.push(format!("a probe fails, but {excuse}: taken for an overload, not for a fault"));
        }
        warnings
    }
}

/// In 0.001 queries per second; all-ones is reserved for unknown.
fn milli(rate: f64) -> u32 {
    (rate * 1000.0).round().clamp(0.0, f64::from(u32::MAX - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_too_large_for_the_wire_is_not_unknown() {
        assert_eq!(milli(1e12), u32::MAX - 1);
        assert_eq!(milli(333.333_4), 333_333);
    }
}
