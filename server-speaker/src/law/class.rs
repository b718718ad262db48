//! CLASS: when a server leaves the lowest-cost class and when it comes back (see [`crate::law`]).
//!
//! A server leaves only if that raises the farm's computed goodput, and comes back by the same rule; a hold-down that
//! doubles bounds how often a server that only seems recovered can try.

use std::collections::BTreeSet;
use std::fmt;

use ospf_proto::id::RouterId;
use ospf_proto::time::Instant;
use serde::Serialize;

use super::goodput::Assessment;
use super::random::Random;
use super::tuning::Tuning;
use crate::sample::{maybe_seconds, seconds};

/// In or out of the lowest-cost class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In: the wanted cost is the class cost.
    In,
    /// Out since leaving.
    Out(Absence),
}

/// What an absent server remembers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Absence {
    /// Standby rank, frozen while out.
    pub rank: u16,
    /// When it left.
    #[serde(serialize_with = "seconds")]
    pub since: Instant,
    /// No return before, unless help is urgent; afterwards the nominal capacity is assumed.
    #[serde(serialize_with = "seconds")]
    pub until: Instant,
    /// Excess of the class at the moment of leaving.
    pub excess: f64,
    /// Capacity at that moment.
    pub mu: Option<f64>,
    /// The leaving was verified.
    pub verified: bool,
}

/// The rule's whole memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRule {
    /// In or out.
    pub standing: Standing,
    /// Last known class, to see changes.
    #[serde(skip)]
    class: Option<BTreeSet<RouterId>>,
    /// Start of the latest burst of class changes.
    #[serde(serialize_with = "maybe_seconds")]
    seen: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    next: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    leave_since: Option<Instant>,
    /// Since when the farm would do better without this server, while the class stays as it is.
    #[serde(serialize_with = "maybe_seconds")]
    behind_since: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    join_since: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    rejoined: Option<Instant>,
    #[serde(serialize_with = "maybe_seconds")]
    banned_until: Option<Instant>,
    hold: f64,
}

/// Why a server stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The policy is static.
    Static,
    /// The policy is naive: the cost shows the load.
    Naive,
    /// Nobody knows any capacity yet.
    CapacityUnknown,
    /// So little load that nobody moves.
    Idle,
    /// In the best class.
    Best,
    /// The others alone would do better, but not (yet) by the rule.
    Tolerated,
    /// The farm would answer more without this server, but then too few would serve.
    Floor,
    /// Nothing was measured for too long: no leaving on old figures.
    Blind,
    /// A wish to leave or to return waits for its dwell time or the guard.
    Waiting,
    /// A leaving did not help: leaving is banned.
    Banned,
    /// Left: the farm answers more without this server.
    Left,
    /// Out: the farm still answers more without it.
    StillBetterOff,
    /// Out: the hold-down runs.
    HoldDown,
    /// Came back: the farm answers as much with this server.
    Rejoined,
    /// Came back: the class was empty.
    ClassEmpty,
    /// Came back: the leaving made things worse for the others.
    LeavingRefuted,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Static => "policy static: every server in the class",
            Reason::Naive => "policy naive: the cost follows the load (demonstration)",
            Reason::CapacityUnknown => "no capacity of any server is known yet",
            Reason::Idle => "load below 2 % of the farm's capacity: nobody moves",
            Reason::Best => "the farm answers most with this server in the class",
            Reason::Tolerated => "the farm would hardly answer more without this server",
            Reason::Floor => "min-serving: too few others would serve without this server",
            Reason::Blind => "the load cannot be measured any more: stays in the class",
            Reason::Waiting => "a change is due, its dwell time or the guard time runs",
            Reason::Banned => "leaving did not help last time: banned for now",
            Reason::Left => "left: the farm answers more without this server",
            Reason::StillBetterOff => "the farm answers more without this server",
            Reason::HoldDown => "hold-down after leaving",
            Reason::Rejoined => "came back: the farm answers at least as much with this server",
            Reason::ClassEmpty => "came back: the class was empty",
            Reason::LeavingRefuted => "came back: leaving only moved the overload to the others",
        })
    }
}

/// What is needed to judge at one moment.
pub(super) struct Moment<'a> {
    pub(super) now: Instant,
    pub(super) me: RouterId,
    pub(super) mu: Option<f64>,
    /// A self-test has told `mu`: no hold-down is needed to believe it.
    pub(super) tested: bool,
    pub(super) assessment: &'a Assessment,
    pub(super) tuning: &'a Tuning,
    /// So many servers stay in the class, whatever the gain.
    pub(super) min_serving: usize,
    /// Our own figures are too old to leave for.
    pub(super) blind: bool,
}

impl ClassRule {
    /// A server that starts, in the class; `random` gives it its own phase.
    pub fn new(now: Instant, random: &mut Random, tuning: &Tuning) -> Self {
        let phase = std::time::Duration::from_secs_f64(random.uniform(0.0, tuning.evaluation));
        ClassRule {
            standing: Standing::In,
            class: None,
            seen: None,
            next: Some(now + phase),
            leave_since: None,
            behind_since: None,
            join_since: None,
            rejoined: None,
            banned_until: None,
            hold: tuning.hold_min,
        }
    }

    /// Whether the server is in the class by its own will.
    pub fn is_in(&self) -> bool {
        self.standing == Standing::In
    }

    /// Until when leaving is banned.
    pub fn banned_until(&self) -> Option<Instant> {
        self.banned_until
    }

    /// Notes class changes; to be called at every step, more often than the rule itself is evaluated.
    pub(super) fn watch(&mut self, now: Instant, class: &BTreeSet<RouterId>, tuning: &Tuning) {
        if self.class.as_ref() != Some(class) {
            self.behind_since = None;
            if self.seen.is_none_or(|seen| secs(now, seen) > tuning.burst) {
                self.seen = Some(now);
            }
            self.class = Some(class.clone());
        }
    }

    /// One evaluation if it is due: the new reason, or none between two evaluations.
    pub(super) fn evaluate(&mut self, moment: &Moment<'_>, random: &mut Random) -> Option<Reason> {
        let a = moment.assessment;
        if !self.is_in() && a.class.contains(&moment.me) {
            self.join(moment.now);
            return Some(Reason::ClassEmpty);
        }
        if self.next.is_some_and(|next| moment.now < next) {
            return None;
        }
        self.next = Some(moment.now + std::time::Duration::from_secs_f64(moment.tuning.evaluation));
        Some(match self.standing {
            _ if a.idle => {
                (self.leave_since, self.behind_since, self.join_since) = (None, None, None);
                Reason::Idle
            }
            Standing::In => self.consider_leaving(moment, random),
            Standing::Out(absence) => self.consider_joining(moment, absence),
        })
    }

    fn consider_leaving(&mut self, moment: &Moment<'_>, random: &mut Random) -> Reason {
        let (a, now) = (moment.assessment, moment.now);
        if moment.blind {
            (self.leave_since, self.behind_since) = (None, None);
            return Reason::Blind;
        }
        if a.best.contains(&moment.me) || moment.mu.is_none() {
            (self.leave_since, self.behind_since) = (None, None);
            return Reason::Best;
        }
        let batch = (a.k() / 8).max(1).min(a.k().saturating_sub(moment.min_serving));
        let gain = a.goodput_best > a.goodput + moment.tuning.gain * a.unit;
        if !gain || batch == 0 {
            (self.leave_since, self.behind_since) = (None, None);
            return if gain { Reason::Floor } else { Reason::Tolerated };
        }
        // Those who ought to go first but do not (a liar, another policy) hold nobody up for ever.
        let behind = *self.behind_since.get_or_insert(now);
        let passed_over = (secs(now, behind) / moment.tuning.patience) as usize;
        if !a.is_among_the_worst(moment.me, batch.saturating_add(passed_over)) {
            self.leave_since = None;
            return Reason::Tolerated;
        }
        let since = *self.leave_since.get_or_insert(now);
        if self.banned_until.is_some_and(|until| now < until) {
            return Reason::Banned;
        }
        if secs(now, since) < moment.tuning.leave_dwell || !self.guard_allows_leaving(moment) {
            return Reason::Waiting;
        }
        let relapse = self.rejoined.is_some_and(|at| secs(now, at) < moment.tuning.relapse);
        self.hold = if relapse { (2.0 * self.hold).min(moment.tuning.hold_max) } else { moment.tuning.hold_min };
        let hold = std::time::Duration::from_secs_f64(self.hold * random.uniform(0.75, 1.25));
        (self.leave_since, self.behind_since) = (None, None);
        self.standing = Standing::Out(Absence {
            rank: a.standby_rank(moment.me),
            since: now,
            until: now + hold,
            excess: a.excess,
            mu: moment.mu,
            verified: false,
        });
        Reason::Left
    }

    fn consider_joining(&mut self, moment: &Moment<'_>, mut absence: Absence) -> Reason {
        let (a, now) = (moment.assessment, moment.now);
        let quiet = self.seen.map_or(f64::INFINITY, |seen| secs(now, seen));
        if !absence.verified
            && secs(now, absence.since) >= moment.tuning.verify_after
            && quiet >= moment.tuning.verify_quiet
        {
            absence.verified = true;
            self.standing = Standing::Out(absence);
            if a.excess > absence.excess + moment.tuning.verify_worse / a.k().max(1) as f64 {
                self.banned_until = Some(now + std::time::Duration::from_secs_f64(moment.tuning.ban));
                self.join(now);
                return Reason::LeavingRefuted;
            }
        }
        if !a.best.contains(&moment.me) || a.goodput_best < a.goodput - moment.tuning.equal * a.unit {
            self.join_since = None;
            return Reason::StillBetterOff;
        }
        let urgent = a.goodput < moment.tuning.urgent * a.load;
        if now < absence.until && !urgent && !moment.tested {
            self.join_since = None;
            return Reason::HoldDown;
        }
        let since = *self.join_since.get_or_insert(now);
        let dwell = if urgent { moment.tuning.join_dwell_urgent } else { moment.tuning.join_dwell };
        if secs(now, since) < dwell || quiet < moment.tuning.guard {
            return Reason::Waiting;
        }
        self.join(now);
        Reason::Rejoined
    }

    /// The guard time of quiet, or as part of the batch whose first members have just left.
    fn guard_allows_leaving(&self, moment: &Moment<'_>) -> bool {
        let quiet = self.seen.map_or(f64::INFINITY, |seen| secs(moment.now, seen));
        quiet >= moment.tuning.guard || (moment.assessment.k() / 8 > 1 && quiet <= moment.tuning.burst)
    }

    fn join(&mut self, now: Instant) {
        self.standing = Standing::In;
        self.rejoined = Some(now);
        (self.leave_since, self.behind_since, self.join_since) = (None, None, None);
    }
}

fn secs(now: Instant, then: Instant) -> f64 {
    (now - then).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::farm::Member;
    use super::*;

    const ME: RouterId = RouterId(9);

    fn at(seconds: f64) -> Instant {
        Instant::from_epoch(Duration::from_secs_f64(seconds))
    }

    /// Servers 1..n of 1000 q/s at cost 10 that carry `x` each, and me with `mu` at `cost`.
    fn farm(n: u32, x: f64, mu: f64, cost: u16) -> Assessment {
        let member = |router, mu, x, cost| Member { router, cost, in_class: cost == 10, mu, x, m: 1.0, hops: 1 };
        let mut members: Vec<Member> = (1..=n).map(|r| member(RouterId(r), 1000.0, x, 10)).collect();
        members.push(member(ME, mu, if cost == 10 { x } else { 0.0 }, cost));
        Assessment::new(&members, (64, ME), &Tuning::default())
    }

    struct Run {
        rule: ClassRule,
        random: Random,
        now: f64,
        mu: Option<f64>,
        tested: bool,
        floor: usize,
        blind: bool,
    }

    impl Run {
        fn new() -> Self {
            let mut random = Random::new(1);
            Run {
                rule: ClassRule::new(at(0.0), &mut random, &Tuning::default()),
                random,
                now: 0.0,
                mu: Some(300.0),
                tested: false,
                floor: 1,
                blind: false,
            }
        }

        fn step(&mut self, a: &Assessment) -> Option<Reason> {
            self.now += 0.1;
            let tuning = &Tuning::default();
            self.rule.watch(at(self.now), &a.class, tuning);
            let moment = Moment {
                now: at(self.now),
                me: ME,
                mu: self.mu,
                tested: self.tested,
                assessment: a,
                tuning,
                min_serving: self.floor,
                blind: self.blind,
            };
            self.rule.evaluate(&moment, &mut self.random)
        }

        /// The reasons given in `seconds`, and the time of the first change of standing.
        fn run(&mut self, a: &Assessment, seconds: f64) -> (Vec<Reason>, Option<f64>) {
            let (start, was) = (self.now, self.rule.is_in());
            let mut reasons = Vec::new();
            while self.now < start + seconds - 1e-9 {
                reasons.extend(self.step(a));
                if self.rule.is_in() != was {
                    return (reasons, Some(self.now - start));
                }
            }
            (reasons, None)
        }

        fn leave(&mut self) -> Absence {
            self.run(&farm(7, 600.0, 300.0, 10), 10.0).1.unwrap();
            match self.rule.standing {
                Standing::Out(absence) => absence,
                Standing::In => panic!("still in"),
            }
        }
    }

    #[test]
    fn a_slow_server_leaves_after_its_dwell_and_the_guard_at_start() {
        let mut run = Run::new();
        let (reasons, left) = run.run(&farm(7, 600.0, 300.0, 10), 10.0);
        assert!((2.0..2.8).contains(&left.unwrap()), "left after {left:?}");
        assert_eq!(reasons.last(), Some(&Reason::Left));
    }

    #[test]
    fn after_a_quiet_time_the_dwell_of_one_second_alone_counts() {
        let mut run = Run::new();
        run.run(&farm(7, 600.0, 1000.0, 10), 20.0);
        let left = run.run(&farm(7, 600.0, 300.0, 10), 10.0).1.unwrap();
        assert!((1.0..=1.6).contains(&left), "left after {left}");
    }

    #[test]
    fn a_wish_that_pauses_starts_its_dwell_anew() {
        let mut run = Run::new();
        run.run(&farm(7, 600.0, 1000.0, 10), 20.0);
        for _ in 0..10 {
            assert_eq!(run.run(&farm(7, 600.0, 300.0, 10), 0.9).1, None);
            assert_eq!(run.run(&farm(7, 600.0, 1000.0, 10), 0.6).1, None);
        }
    }

    #[test]
    fn nobody_leaves_within_two_seconds_of_another_ones_change() {
        let mut run = Run::new();
        run.run(&farm(7, 600.0, 1000.0, 10), 20.0);
        let mut left = None;
        for n in [6, 7, 6, 7, 6, 7] {
            left = left.or(run.run(&farm(n, 600.0, 300.0, 10), 1.5).1);
        }
        assert_eq!(left, None);
        assert!(run.run(&farm(7, 600.0, 300.0, 10), 2.6).1.is_some());
    }

    #[test]
    fn a_server_that_does_not_know_its_capacity_stays() {
        let mut run = Run::new();
        run.mu = None;
        assert_eq!(run.run(&farm(7, 600.0, 300.0, 10), 20.0).1, None);
    }

    #[test]
    fn the_standby_rank_is_the_place_outside_the_best_class() {
        assert_eq!(Run::new().leave().rank, 0);
    }

    #[test]
    fn no_return_before_the_hold_down_of_30_s_with_jitter_ends() {
        let mut run = Run::new();
        let absence = run.leave();
        let hold = secs(absence.until, absence.since);
        assert!((22.5..=37.5).contains(&hold), "hold {hold}");
        run.mu = Some(1000.0);
        let back = run.run(&farm(7, 600.0, 1000.0, 20), 60.0).1.unwrap();
        assert!(back >= hold + 5.0 && back <= hold + 6.1, "hold {hold}, back after {back}");
    }

    #[test]
    fn a_passed_self_test_needs_no_hold_down() {
        let mut run = Run::new();
        run.leave();
        run.tested = true;
        let back = run.run(&farm(7, 600.0, 1000.0, 20), 60.0).1.unwrap();
        assert!((5.0..=6.1).contains(&back), "the dwell alone, not {back}");
    }

    #[test]
    fn urgent_help_comes_back_after_one_second_whatever_the_hold() {
        let mut run = Run::new();
        run.leave();
        let back = run.run(&farm(7, 1200.0, 1000.0, 20), 60.0).1.unwrap();
        assert!((2.0..=3.6).contains(&back), "guard and dwell, not {back}");
    }

    #[test]
    fn the_hold_doubles_for_a_relapse_up_to_480_s_and_starts_anew_after_a_good_minute() {
        let mut run = Run::new();
        let mut holds = Vec::new();
        for _ in 0..7 {
            let absence = run.leave();
            holds.push(secs(absence.until, absence.since));
            run.run(&farm(7, 600.0, 1000.0, 20), 700.0).1.unwrap();
        }
        for (hold, expected) in holds.iter().zip([30.0, 60.0, 120.0, 240.0, 480.0, 480.0, 480.0]) {
            assert!((0.75 * expected..=1.25 * expected).contains(hold), "{holds:?}");
        }
        run.run(&farm(7, 600.0, 1000.0, 10), 61.0);
        let absence = run.leave();
        assert!(secs(absence.until, absence.since) <= 37.5);
    }

    #[test]
    fn a_leaving_that_overloads_the_others_is_taken_back_and_banned() {
        let mut run = Run::new();
        run.leave();
        // An elephant moved to server 1: more excess than before although the rule still prefers the class without me.
        let mut members: Vec<Member> = farm(7, 600.0, 300.0, 20).order;
        for member in &mut members {
            member.x = if member.router == RouterId(1) { 2200.0 } else { 350.0 };
        }
        members.retain(|m| m.router != ME);
        members.push(Member { router: ME, cost: 20, in_class: false, mu: 300.0, x: 0.0, m: 1.0, hops: 1 });
        let a = Assessment::new(&members, (64, ME), &Tuning::default());
        let (reasons, back) = run.run(&a, 30.0);
        assert!((11.9..13.0).contains(&back.unwrap()), "verified after {back:?}");
        assert_eq!(reasons.last(), Some(&Reason::LeavingRefuted));
        let (reasons, left) = run.run(&farm(7, 600.0, 300.0, 10), 590.0);
        assert_eq!(left, None);
        assert!(reasons.contains(&Reason::Banned));
        assert!(run.run(&farm(7, 600.0, 300.0, 10), 20.0).1.is_some());
    }

    #[test]
    fn the_last_one_standing_goes_in_at_once() {
        let mut run = Run::new();
        run.leave();
        let alone = Member { router: ME, cost: 20, in_class: true, mu: 300.0, x: 100.0, m: 1.0, hops: 1 };
        assert_eq!(run.step(&Assessment::new(&[alone], (64, ME), &Tuning::default())), Some(Reason::ClassEmpty));
    }

    #[test]
    fn the_floor_holds_whatever_the_farm_would_gain() {
        let mut run = Run { floor: 7, ..Run::new() };
        assert!(run.run(&farm(7, 600.0, 300.0, 10), 10.0).1.is_some(), "seven others are enough");
        let mut run = Run { floor: 8, ..Run::new() };
        let (reasons, left) = run.run(&farm(7, 600.0, 300.0, 10), 20.0);
        assert_eq!((left, reasons.last()), (None, Some(&Reason::Floor)));
    }

    #[test]
    fn nobody_leaves_on_figures_that_are_too_old() {
        let mut run = Run { blind: true, ..Run::new() };
        let (reasons, left) = run.run(&farm(7, 600.0, 300.0, 10), 20.0);
        assert_eq!((left, reasons.last()), (None, Some(&Reason::Blind)));
        run.blind = false;
        assert!(run.run(&farm(7, 600.0, 300.0, 10), 10.0).1.is_some());
    }

    #[test]
    fn in_an_idle_farm_nobody_moves() {
        let mut run = Run::new();
        let (reasons, left) = run.run(&farm(7, 15.0, 1.0, 10), 20.0);
        assert_eq!(left, None);
        assert!(reasons.iter().all(|r| *r == Reason::Idle));
    }

    #[test]
    fn only_the_worst_leaves_where_two_would_like_to() {
        let mut members: Vec<Member> = farm(7, 600.0, 300.0, 10).order;
        for member in &mut members {
            if member.router == RouterId(1) {
                member.mu = 100.0;
            }
        }
        let a = Assessment::new(&members, (64, ME), &Tuning::default());
        assert!(!a.best.contains(&ME) && !a.best.contains(&RouterId(1)));
        let mut run = Run::new();
        let (reasons, left) = run.run(&a, 14.0);
        assert_eq!(left, None);
        assert!(reasons.contains(&Reason::Tolerated));
        // It ought to have gone by now; if it does not, it holds nobody up.
        assert!(run.run(&a, 5.0).1.is_some());
    }
}
