//! ESTIMATE: a service's capacity mu and offered rate x, from its queue alone (black box) or from how busy it says it is
//! (`busy`), and the rule that says when the peers are told (see [`crate::law`]).
//!
//! Capacity shows only while the queue is backlogged: then the dequeue rate *is* the capacity. Otherwise mu creeps
//! back towards the nominal, so that a recovery is noticed; each new saturation halves the creep.
//!
//! Differs from the study in two points, both against noise: a drop counts as backlog only in a tick that begins and
//! ends above a quarter of the buffer (a burst into an idle server drops too); and the rate that may raise mu without
//! backlog is the mean over half a second, not one tick.

use ospf_proto::time::Instant;
use serde::Serialize;

use super::busy::BusyRatio;
use super::tuning::Tuning;
use crate::sample::{Load, maybe_seconds, seconds};

/// So many successive samples with a full queue are a backlog.
const FULL_SAMPLES: u32 = 5;
/// A queue of so many packets keeps the service busy for a whole tick.
const BUSY_PACKETS: f64 = 8.0;
/// Kernel memory of one small datagram in a receive queue, until a smaller one is seen.
const DATAGRAM_BYTES: u64 = 832;
/// No single datagram of a query takes more.
const DATAGRAM_BYTES_MAX: u64 = 4608;
/// A pause above this breaks the series of samples.
const GAP: f64 = 5.0;
/// No server is offered more, queries per second: a tick that says so is of a counter that was set or misread.
const ABSURD: f64 = 1e8;

/// The estimator's whole memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimator {
    /// Capacity from the configuration.
    configured: Option<f64>,
    /// Greatest mu measured under at least a second of backlog.
    learnt: Option<f64>,
    /// Capacity, queries per second; none until something is known.
    mu: Option<f64>,
    /// Offered rate, queries per second.
    x: f64,
    /// Offered and served rates, faster.
    offered: f64,
    served: f64,
    /// Mean squared error of one tick's rate under backlog.
    variance: f64,
    /// Standard error of mu.
    sigma: f64,
    /// The part of the growth of mu that is left after saturations, 1/16 to 1.
    creeping: f64,
    /// Successive samples with a full queue.
    full_samples: u32,
    backlogged: bool,
    #[serde(serialize_with = "maybe_seconds")]
    backlog_since: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    backlog_last: Option<Instant>,
    /// Mean rate over an unbroken run of busy ticks, and its length in seconds.
    busy_rate: f64,
    busy_for: f64,
    /// Kernel memory of one datagram as far as it was seen.
    datagram_bytes: Option<u64>,
    /// Where the service tells how busy it is, that is the better witness.
    busy: Option<BusyRatio>,
    last: Option<Reading>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Reading {
    #[serde(serialize_with = "seconds")]
    at: Instant,
    load: Load,
}

/// What one tick showed.
struct Tick<'a> {
    tuning: &'a Tuning,
    now: Instant,
    dt: f64,
    rate: f64,
    dropped: u64,
    before: Load,
    after: Load,
}

impl Estimator {
    /// An estimator for a service of `nominal` queries per second, if that is configured.
    pub fn new(nominal: Option<f64>) -> Self {
        Estimator {
            configured: nominal,
            learnt: None,
            mu: nominal,
            x: 0.0,
            offered: 0.0,
            served: 0.0,
            variance: 0.0,
            sigma: 0.0,
            creeping: 1.0,
            full_samples: 0,
            backlogged: false,
            backlog_since: None,
            backlog_last: None,
            busy_rate: 0.0,
            busy_for: 0.0,
            datagram_bytes: None,
            busy: None,
            last: None,
        }
    }

    /// Takes one sample. With `hold_mu` (out of the class, where no traffic shows the capacity) mu stays as it is.
    pub fn observe(&mut self, tuning: &Tuning, now: Instant, load: Load, hold_mu: bool) {
        if self.last.is_some_and(|last| now <= last.at) {
            return;
        }
        let last = self.last.replace(Reading { at: now, load });
        self.full_samples = if load.fill() > tuning.full { self.full_samples.saturating_add(1) } else { 0 };
        if (1..=DATAGRAM_BYTES_MAX).contains(&load.queue) {
            self.datagram_bytes = Some(self.datagram_bytes.map_or(load.queue, |seen| seen.min(load.queue)));
        }
        let Some(last) = last else { return };
        let dt = (now - last.at).as_secs_f64();
        let (Some(served), Some(dropped)) =
            (load.served.checked_sub(last.load.served), load.dropped.checked_sub(last.load.dropped))
        else {
            return self.restart_series();
        };
        if dt > GAP || load.generation != last.load.generation {
            return self.restart_series();
        }
        let packet = self.datagram_bytes.unwrap_or(DATAGRAM_BYTES).max(1) as f64;
        let queued = (load.queue as f64 - last.load.queue as f64) / packet;
        let rate = served as f64 / dt;
        let came = served as f64 + dropped as f64;
        if came / dt > ABSURD {
            return self.restart_series();
        }
        let offered = (came + queued).max(0.0) / dt;
        self.x += weight(dt, tuning.offered_time) * (offered - self.x);
        self.offered += weight(dt, tuning.rates_time) * (offered - self.offered);
        self.served += weight(dt, tuning.rates_time) * (rate - self.served);
        let tick = Tick { tuning, now, dt, rate, dropped, before: last.load, after: load };
        self.judge_backlog(&tick);
        if load.busy.is_none() {
            // Nobody tells any more: what was told last would stand as rho for ever.
            self.busy = None;
        }
        match busy_fraction(&last.load, &load, dt) {
            Some(fraction) => self.follow_told(&tick, fraction, hold_mu),
            None if !hold_mu => self.follow(&tick, packet),
            None => {}
        }
    }

    /// The service tells how busy it is.
    fn follow_told(&mut self, tick: &Tick<'_>, fraction: f64, hold_mu: bool) {
        let rate = self.believed(tick);
        let busy = self.busy.get_or_insert_with(|| BusyRatio::assume(self.mu));
        if hold_mu {
            return busy.note_fraction(weight(tick.dt, tick.tuning.rates_time), fraction);
        }
        busy.observe(weight(tick.dt * fraction, tick.tuning.busy_time), rate, fraction);
        busy.note_fraction(weight(tick.dt, tick.tuning.rates_time), fraction);
        // An idle service tells nothing of its capacity: what was known holds.
        (self.mu, self.sigma) = (busy.mu().or(self.mu), busy.sigma(tick.tuning.busy_time));
        if self.backlogged
            && let Some(mu) = self.mu
        {
            self.learnt = Some(self.learnt.map_or(mu, |learnt| learnt.max(mu)));
        }
    }

    fn restart_series(&mut self) {
        self.full_samples = 0;
        self.backlogged = false;
        self.backlog_since = None;
        self.busy_for = 0.0;
    }

    fn judge_backlog(&mut self, tick: &Tick<'_>) {
        let full = tick.before.fill() > tick.tuning.full && tick.after.fill() > tick.tuning.full;
        self.backlogged = full && (self.full_samples >= FULL_SAMPLES || tick.dropped > 0);
        if !self.backlogged {
            self.backlog_since = None;
        } else if self.backlog_since.is_none() {
            self.backlog_since = Some(tick.now);
        }
    }

    fn follow(&mut self, tick: &Tick<'_>, packet: f64) {
        let onset =
            self.backlogged && self.backlog_last.is_none_or(|last| (tick.now - last).as_secs_f64() > tick.tuning.onset);
        self.creeping = if onset {
            (self.creeping / 2.0).max(1.0 / 16.0)
        } else {
            (self.creeping * (1.0 + tick.dt / 300.0)).min(1.0)
        };
        let busy = |load: &Load| load.queue as f64 / packet >= BUSY_PACKETS;
        if self.backlogged {
            self.backlog_last = Some(tick.now);
            self.follow_backlog(tick);
        } else if busy(&tick.before) && busy(&tick.after) {
            self.follow_busy(tick);
        } else {
            self.busy_for = 0.0;
            self.creep(tick);
        }
    }

    /// The queue never ran dry: the dequeue rate is the capacity.
    fn follow_backlog(&mut self, tick: &Tick<'_>) {
        let rate = self.believed(tick);
        let a = weight(tick.dt, tick.tuning.backlog_time);
        let mu = self.mu.unwrap_or(rate);
        self.variance += a * ((rate - mu).powi(2) - self.variance);
        self.sigma = (self.variance * a / (2.0 - a)).sqrt();
        let mu = mu + a * (rate - mu);
        self.mu = Some(mu);
        if self.backlog_since.is_some_and(|since| (tick.now - since).as_secs_f64() >= 1.0) {
            self.learnt = Some(self.learnt.map_or(mu, |learnt| learnt.max(mu)));
        }
    }

    /// Busy but not backlogged: the rate is a lower bound of the capacity.
    fn follow_busy(&mut self, tick: &Tick<'_>) {
        let rate = self.believed(tick);
        if self.busy_for == 0.0 {
            self.busy_rate = rate;
        }
        self.busy_rate += weight(tick.dt, tick.tuning.backlog_time) * (rate - self.busy_rate);
        self.busy_for += tick.dt;
        if self.busy_for >= tick.tuning.backlog_time
            && let Some(mu) = &mut self.mu
        {
            *mu = mu.max(self.busy_rate);
        }
    }

    /// No sign of saturation under real traffic: mu drifts towards the nominal.
    fn creep(&mut self, tick: &Tick<'_>) {
        if let (Some(mu), Some(nominal)) = (&mut self.mu, self.configured.or(self.learnt))
            && self.x > 0.02 * nominal
            && *mu < nominal
        {
            *mu = (*mu * (1.0 + tick.tuning.growth * self.creeping * tick.dt)).min(nominal);
        }
    }

    fn believed(&self, tick: &Tick<'_>) -> f64 {
        self.nominal().map_or(tick.rate, |nominal| tick.rate.min(tick.tuning.claim * nominal))
    }

    /// Starts anew with an assumed capacity (rejoining the class).
    pub fn assume(&mut self, mu: Option<f64>) {
        self.mu = mu;
        self.busy = self.busy.map(|_| BusyRatio::assume(mu));
        self.restart_series();
    }

    /// The capacity, queries per second.
    pub fn mu(&self) -> Option<f64> {
        self.mu
    }

    /// The offered rate, queries per second.
    pub fn x(&self) -> f64 {
        self.x
    }

    /// Standard error of mu.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// Whether anything has been measured at all.
    pub fn is_measuring(&self) -> bool {
        self.last.is_some()
    }

    /// Whether the queue is backlogged now.
    pub fn backlogged(&self) -> bool {
        self.backlogged
    }

    /// The configured capacity, else the greatest measured under backlog.
    pub fn nominal(&self) -> Option<f64> {
        self.configured.or(self.learnt)
    }

    /// Utilisation: 1.0 is capacity, may exceed 1. None while the capacity is unknown.
    pub fn rho(&self) -> Option<f64> {
        if let Some(busy) = &self.busy {
            let demand = if self.served >= 1.0 { self.offered / self.served } else { 1.0 };
            return Some(busy.fraction() * demand);
        }
        if self.backlogged && self.served >= 1.0 {
            return Some(self.offered / self.served);
        }
        self.mu.filter(|mu| *mu > 0.0).map(|mu| self.offered / mu)
    }
}

/// The part of `dt` in which the service was busy, if both samples tell.
fn busy_fraction(before: &Load, after: &Load, dt: f64) -> Option<f64> {
    let micros = after.busy?.checked_sub(before.busy?)?;
    Some((micros as f64 / 1e6 / dt).min(1.0))
}

fn weight(dt: f64, tau: f64) -> f64 {
    1.0 - (-dt / tau).exp()
}

/// What the peers were told last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Capacity, queries per second.
    pub mu: Option<f64>,
    /// Offered rate.
    pub x: f64,
    /// Nominal capacity.
    pub nominal: Option<f64>,
    /// 0 in the class, else 1 + standby rank.
    pub class: u8,
    /// When it was issued.
    #[serde(serialize_with = "seconds")]
    pub at: Instant,
}

impl Record {
    /// Whether `next` says something new: another class at once, moved figures only after the interval of records.
    pub fn superseded_by(&self, next: &Record, sigma: f64, tuning: &Tuning) -> bool {
        if self.class != next.class {
            return true;
        }
        if (next.at - self.at).as_secs_f64() < tuning.record_interval {
            return false;
        }
        let mu_moved = match (self.mu, next.mu) {
            (Some(old), Some(new)) => (new - old).abs() > (tuning.record_change * old).max(4.0 * sigma),
            (None, None) => false,
            _ => true,
        };
        let scale = next.nominal.unwrap_or(0.0).max(self.x);
        // Without a nominal the very first trickle would count as news for ever.
        let x_moved = (next.x - self.x).abs() > (tuning.record_change * scale).max(1.0);
        mu_moved || x_moved || self.nominal.is_some() != next.nominal.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BUFFER: u64 = 256 * DATAGRAM_BYTES;

    /// Feeds ticks of 100 ms.
    struct Feed {
        estimator: Estimator,
        ticks: u64,
        load: Load,
    }

    impl Feed {
        fn new(nominal: Option<f64>) -> Self {
            let load = Load { buffer: BUFFER, ..Load::default() };
            let mut feed = Feed { estimator: Estimator::new(nominal), ticks: 0, load };
            feed.observe(false);
            feed
        }

        fn observe(&mut self, hold: bool) {
            let now = Instant::from_epoch(Duration::from_millis(100 * self.ticks));
            self.ticks += 1;
            self.estimator.observe(&Tuning::default(), now, self.load, hold);
        }

        fn run(&mut self, seconds: f64, rate: f64, drops: f64, queued: u64) -> &mut Self {
            for _ in 0..(seconds * 10.0).round() as u64 {
                self.load.served += (rate / 10.0) as u64;
                self.load.dropped += (drops / 10.0) as u64;
                self.load.queue = queued * DATAGRAM_BYTES;
                self.observe(false);
            }
            self
        }

        fn mu(&self) -> f64 {
            self.estimator.mu().unwrap()
        }
    }

    #[test]
    fn the_configured_capacity_holds_until_there_is_evidence() {
        let mut feed = Feed::new(Some(1000.0));
        assert_eq!(feed.run(20.0, 400.0, 0.0, 1).mu(), 1000.0);
        assert!((feed.estimator.x() - 400.0).abs() < 5.0);
        assert!((feed.estimator.rho().unwrap() - 0.4).abs() < 0.01);
    }

    #[test]
    fn without_configuration_the_capacity_is_unknown_until_a_backlog_shows_it() {
        let mut feed = Feed::new(None);
        feed.run(20.0, 400.0, 0.0, 1);
        assert_eq!((feed.estimator.mu(), feed.estimator.nominal(), feed.estimator.rho()), (None, None, None));
        feed.run(5.0, 400.0, 100.0, 250);
        assert!((feed.mu() - 400.0).abs() < 4.0);
        assert!((feed.estimator.nominal().unwrap() - 400.0).abs() < 4.0);
        assert!((feed.estimator.rho().unwrap() - 1.25).abs() < 0.02);
    }

    #[test]
    fn five_samples_above_a_quarter_of_the_buffer_are_a_backlog_and_four_are_not() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(0.4, 300.0, 0.0, 80);
        assert!(!feed.estimator.backlogged());
        feed.run(0.1, 300.0, 0.0, 80);
        assert!(feed.estimator.backlogged());
        feed.run(0.1, 300.0, 0.0, 60);
        assert!(!feed.estimator.backlogged());
    }

    #[test]
    fn drops_between_two_full_samples_are_a_backlog_at_once() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(0.2, 300.0, 100.0, 250);
        assert!(feed.estimator.backlogged());
    }

    #[test]
    fn a_burst_that_drops_into_an_idle_server_says_nothing_about_its_capacity() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(5.0, 300.0, 500.0, 0);
        assert_eq!(feed.mu(), 1000.0);
    }

    #[test]
    fn a_slow_server_is_found_out_within_two_seconds_of_backlog() {
        let mut feed = Feed::new(Some(1000.0));
        assert!((feed.run(2.5, 300.0, 300.0, 255).mu() - 300.0).abs() < 30.0);
        assert!((feed.estimator.x() - 600.0).abs() < 180.0);
    }

    #[test]
    fn mu_creeps_back_by_one_percent_a_second_and_half_as_fast_after_a_new_saturation() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(10.0, 300.0, 300.0, 255);
        let low = feed.mu();
        let once = feed.run(20.0, 250.0, 0.0, 0).mu() / low;
        assert!((1.09..1.12).contains(&once), "halved growth, recovering: {once}");
        feed.run(10.0, 300.0, 300.0, 255);
        let low = feed.mu();
        let twice = feed.run(20.0, 250.0, 0.0, 0).mu() / low;
        assert!((1.05..1.07).contains(&twice), "quartered growth: {twice}");
    }

    #[test]
    fn without_traffic_mu_does_not_creep() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(10.0, 300.0, 300.0, 255).run(30.0, 0.0, 0.0, 0);
        let low = feed.mu();
        assert_eq!(feed.run(30.0, 0.0, 0.0, 0).mu(), low);
    }

    #[test]
    fn a_busy_server_that_serves_more_than_thought_is_believed() {
        let mut feed = Feed::new(Some(500.0));
        assert!(feed.run(2.0, 800.0, 0.0, 20).mu() > 750.0);
    }

    #[test]
    fn no_rate_above_four_times_the_nominal_is_believed() {
        let mut feed = Feed::new(Some(100.0));
        assert!(feed.run(10.0, 9000.0, 100.0, 255).mu() <= 400.0);
    }

    #[test]
    fn held_mu_stays_while_the_offered_rate_is_followed() {
        let mut feed = Feed::new(Some(1000.0));
        for _ in 0..100 {
            feed.load.served += 20;
            feed.load.queue = BUFFER;
            feed.observe(true);
        }
        assert_eq!(feed.mu(), 1000.0);
        assert!((feed.estimator.x() - 200.0).abs() < 20.0);
    }

    #[test]
    fn new_sockets_start_a_new_series_instead_of_a_spike() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(10.0, 400.0, 0.0, 0);
        let x = feed.estimator.x();
        feed.load = Load { buffer: BUFFER, generation: 1, served: 1_000_000, ..Load::default() };
        feed.observe(false);
        assert_eq!(feed.estimator.x(), x);
        feed.load.served = 3;
        feed.observe(false);
        assert_eq!(feed.estimator.x(), x);
    }

    #[test]
    fn a_rate_that_no_server_can_have_is_not_learnt() {
        for (served, dropped) in [(10_000_001, 0), (u64::MAX / 2, 0), (0, 10_000_001), (u64::MAX, u64::MAX)] {
            let mut feed = Feed::new(Some(1000.0));
            feed.run(10.0, 400.0, 0.0, 0);
            let before = feed.estimator.clone();
            feed.load.served = feed.load.served.saturating_add(served);
            feed.load.dropped = dropped;
            feed.observe(false);
            assert_eq!((feed.estimator.x(), feed.estimator.rho()), (before.x(), before.rho()), "{served} {dropped}");
        }
    }

    #[test]
    fn after_an_absurd_tick_the_series_goes_on_from_the_new_totals() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(10.0, 400.0, 0.0, 0);
        feed.load.served += 1 << 50;
        feed.observe(false);
        feed.run(20.0, 600.0, 0.0, 0);
        assert!((feed.estimator.x() - 600.0).abs() < 5.0, "{}", feed.estimator.x());
    }

    #[test]
    fn when_busy_time_is_told_no_more_the_black_box_takes_over() {
        let mut feed = Feed::new(Some(1000.0));
        feed.load.busy = Some(0);
        for _ in 0..200 {
            feed.load.busy = feed.load.busy.map(|busy| busy + 90_000);
            feed.run(0.1, 450.0, 0.0, 0);
        }
        assert!((feed.mu() - 500.0).abs() < 5.0 && (feed.estimator.rho().unwrap() - 0.9).abs() < 0.01);
        feed.load.busy = None;
        feed.run(20.0, 100.0, 0.0, 0);
        let rho = feed.estimator.rho().unwrap();
        assert!(rho < 0.25, "100 of about 500 q/s, not {rho}");
        feed.run(3.0, 300.0, 300.0, 255);
        assert!((feed.mu() - 300.0).abs() < 30.0, "{}", feed.mu());
        // Told again: believed again.
        feed.load.busy = Some(7);
        feed.observe(false);
        for _ in 0..100 {
            feed.load.busy = feed.load.busy.map(|busy| busy + 50_000);
            feed.run(0.1, 400.0, 0.0, 0);
        }
        assert!((feed.mu() - 800.0).abs() < 30.0, "{}", feed.mu());
    }

    #[test]
    fn busy_time_with_a_new_origin_costs_one_tick_and_not_what_was_learnt() {
        let mut feed = Feed::new(Some(1000.0));
        feed.load.busy = Some(1 << 40);
        for _ in 0..200 {
            feed.load.busy = feed.load.busy.map(|busy| busy + 90_000);
            feed.run(0.1, 450.0, 0.0, 0);
        }
        feed.load.busy = Some(0);
        feed.run(0.1, 450.0, 0.0, 0);
        assert!((feed.estimator.rho().unwrap() - 0.9).abs() < 0.01);
    }

    #[test]
    fn a_growing_queue_is_part_of_what_is_offered() {
        let mut feed = Feed::new(Some(1000.0));
        feed.run(1.0, 0.0, 0.0, 1).run(0.1, 100.0, 0.0, 11);
        let growth = feed.estimator.x() / weight(0.1, Tuning::default().offered_time);
        assert!((growth - 200.0).abs() < 15.0, "10 served and 10 queued in 100 ms, not {growth}");
    }

    fn record(at: u64, mu: f64, x: f64) -> Record {
        let at = Instant::from_epoch(Duration::from_secs(at));
        Record { mu: Some(mu), x, nominal: Some(1000.0), class: 0, at }
    }

    #[test]
    fn moved_figures_are_told_after_five_seconds_and_small_moves_never() {
        let old = record(0, 1000.0, 500.0);
        assert!(!old.superseded_by(&record(4, 300.0, 900.0), 0.0, &Tuning::default()));
        assert!(old.superseded_by(&record(5, 890.0, 500.0), 0.0, &Tuning::default()));
        assert!(old.superseded_by(&record(5, 1000.0, 610.0), 0.0, &Tuning::default()));
        assert!(!old.superseded_by(&record(50, 910.0, 590.0), 0.0, &Tuning::default()));
    }

    #[test]
    fn a_move_within_four_sigma_of_the_noise_is_no_news() {
        assert!(!record(0, 1000.0, 0.0).superseded_by(&record(9, 800.0, 0.0), 60.0, &Tuning::default()));
        assert!(record(0, 1000.0, 0.0).superseded_by(&record(9, 700.0, 0.0), 60.0, &Tuning::default()));
    }

    #[test]
    fn low_load_does_not_churn() {
        assert!(!record(0, 1000.0, 5.0).superseded_by(&record(9, 1000.0, 50.0), 0.0, &Tuning::default()));
    }

    #[test]
    fn another_class_is_told_at_once() {
        let next = Record { class: 1, ..record(1, 1000.0, 500.0) };
        assert!(record(0, 1000.0, 500.0).superseded_by(&next, 0.0, &Tuning::default()));
    }
}
