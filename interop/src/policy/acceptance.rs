//! The figures that the law has to reproduce, and the herd that it must not become (docs/policies.md).
//!
//! Each row runs over several seeds; the mean has to be in its range.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::agent::{Policy, Setup};
use super::farm;
use super::scenario::{Event, Happening, LoadCurve, Scenario, Zipf};
use super::table::{Spread, Table};
use super::tally::Tally;

/// One figure.
pub struct Check {
    what: String,
    range: (f64, f64),
    measure: Measure,
}

type Measure = Box<dyn Fn(&Tally) -> f64>;

/// A scenario under a policy, and what is expected of it.
pub struct Case {
    row: u32,
    scenario: Scenario,
    setup: Setup,
    checks: Vec<Check>,
}

/// One figure as it came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The row of the table.
    pub row: u32,
    /// What was run.
    pub case: String,
    /// What was measured.
    pub what: String,
    /// Per seed.
    pub values: Vec<f64>,
    /// Where the mean has to be.
    pub range: (f64, f64),
}

impl Outcome {
    /// The mean over the seeds.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len().max(1) as f64
    }

    /// Whether it is as it should be.
    pub fn holds(&self) -> bool {
        (self.range.0..=self.range.1).contains(&self.mean())
    }
}

/// 4:2:1, eight servers.
const UNLIKE: [f64; 8] = [4000.0, 2000.0, 1000.0, 4000.0, 2000.0, 1000.0, 4000.0, 2000.0];

fn scenario(name: &str, servers: &[f64], load: f64, duration: f64) -> Scenario {
    Scenario {
        name: name.into(),
        about: String::new(),
        servers: servers.to_vec(),
        buffer: 256,
        timeout: 1.0,
        width: 64,
        duration,
        counted: None,
        load: LoadCurve::Constant(load),
        zipf: None,
        events: Vec::new(),
    }
}

fn same(name: &str, load: f64, duration: f64) -> Scenario {
    scenario(name, &[1000.0; 8], load, duration)
}

fn event(at: f64, servers: &[usize], what: Happening) -> Event {
    Event { at, servers: servers.to_vec(), what }
}

fn near(value: f64, tolerance: f64) -> (f64, f64) {
    (value - tolerance, value + tolerance)
}

fn check(what: &str, range: (f64, f64), measure: impl Fn(&Tally) -> f64 + 'static) -> Check {
    Check { what: what.into(), range, measure: Box::new(measure) }
}

fn lost(range: (f64, f64)) -> Check {
    check("lost, %", range, Tally::lost_percent)
}

fn lsas(range: (f64, f64)) -> Check {
    check("LSAs", range, |tally| tally.lsas().iter().sum::<u32>().into())
}

fn case(row: u32, scenario: Scenario, policy: Policy, checks: Vec<Check>) -> Case {
    Case { row, scenario, setup: Setup::new(policy), checks }
}

/// Rows 1 to 6 and 17: constant load.
fn steady() -> Vec<Case> {
    let mut cases = Vec::new();
    for (load, p99) in [(0.8, 0.023), (0.9, 0.046), (0.95, 0.092)] {
        for policy in [Policy::Goodput, Policy::Weighted] {
            cases.push(case(
                1,
                // The first routes come a quarter of a second after the clients.
                Scenario { counted: Some((1.0, 1201.0)), ..same("identical", load, 1201.0) },
                policy,
                vec![
                    lost((0.0, 0.02)),
                    check("p99, s", near(p99, 0.15 * p99), Tally::p99),
                    lsas((0.0, 0.0)),
                    check("share std / Poisson", near(1.0, 0.15), Tally::unevenness),
                ],
            ));
        }
    }
    let herd = || check("LSAs per server and hour", (648.0, 792.0), Tally::lsas_per_hour);
    let period = || check("period, s", (9.0, 16.5), Tally::period);
    let counted = |scenario| Scenario { counted: Some((60.0, 1200.0)), ..scenario };
    cases.push(case(
        2,
        counted(same("identical", 0.8, 1200.0)),
        Policy::Naive,
        vec![lost(near(57.0, 10.0)), herd(), period()],
    ));
    cases.push(case(
        2,
        counted(same("identical", 0.8, 1200.0)),
        Policy::Bands,
        vec![lost(near(34.0, 10.0)), herd(), period()],
    ));
    for (load, percent) in [(1.1, 9.1), (1.2, 16.7)] {
        let goodput = check("goodput / capacity", (0.99, 1.01), |tally| tally.goodput() / 8000.0);
        let scenario = Scenario { counted: Some((5.0, 600.0)), ..same("overload", load, 600.0) };
        cases.push(case(3, scenario, Policy::Goodput, vec![lost(near(percent, 0.5)), goodput, lsas((0.0, 0.0))]));
    }
    let late = |scenario| Scenario { counted: Some((60.0, 300.0)), ..scenario };
    let unlike = |load| late(scenario("4:2:1", &UNLIKE, load, 300.0));
    cases.push(case(4, unlike(0.9), Policy::EqualCost, vec![lost(near(18.0, 1.0))]));
    let imbalance = check("max/mean utilisation", (1.0, 1.10), Tally::imbalance);
    cases.push(case(4, unlike(0.9), Policy::Shares, vec![lost((0.0, 0.05)), imbalance]));
    cases.push(case(5, unlike(0.5), Policy::EqualCost, vec![lost(near(4.9, 0.5))]));
    let shrinks = check("in the class after 20 s", (6.0, 6.0), |tally| tally.serving(20) as f64);
    cases.push(case(5, unlike(0.5), Policy::Goodput, vec![lost((0.0, 0.05)), shrinks, lsas((0.0, 0.0))]));
    let pair = || late(scenario("4:1", &[4000.0, 1000.0], 0.95, 300.0));
    cases.push(case(6, pair(), Policy::EqualCost, vec![lost(near(28.8, 1.0))]));
    cases.push(case(6, pair(), Policy::Goodput, vec![lost(near(15.8, 1.0))]));
    cases.push(case(6, pair(), Policy::Shares, vec![lost((0.0, 0.05))]));
    for (load, range) in [(0.45, (0.0, 2.0)), (0.6, (10.0, f64::INFINITY))] {
        let scenario = Scenario { counted: Some((60.0, 600.0)), ..same("spare capacity", load, 600.0) };
        let uneven = check("share std / Poisson", range, Tally::unevenness);
        cases.push(case(17, scenario, Policy::Spare, vec![uneven]));
    }
    cases
}

/// Rows 7 to 11: one server has a fault.
fn faults() -> Vec<Case> {
    let (slow, back, end) = (60.0, 120.0, 240.0);
    let minute = || {
        let events = vec![event(slow, &[3], Happening::Capacity(0.3)), event(back, &[3], Happening::Capacity(1.0))];
        Scenario { counted: Some((slow, back)), events, ..same("slow for a minute", 0.6, end) }
    };
    let relief = || check("relief, s", (0.0, 6.0), |tally| tally.relief(60, 120) as f64);
    let returns =
        |limit| check("back, s", (0.0, limit), |tally| tally.back(3, 120).map_or(f64::INFINITY, |s| s as f64));
    let probing = Setup { self_test: false, ..Setup::new(Policy::Goodput) };
    let mut cases = vec![
        case(7, minute(), Policy::EqualCost, vec![lost(near(6.25, 0.3))]),
        case(7, minute(), Policy::Shares, vec![lost((0.0, 0.35)), relief()]),
        case(7, minute(), Policy::Goodput, vec![lost((0.0, 0.40)), relief(), returns(15.0)]),
        Case { row: 7, scenario: minute(), setup: probing, checks: vec![lost((0.0, 1.0))] },
    ];
    let hour = || {
        let events = vec![event(60.0, &[3], Happening::Capacity(0.3))];
        Scenario { counted: Some((60.0, 3660.0)), events, ..same("slow for an hour", 0.6, 3660.0) }
    };
    let impaired =
        |limit| check("LSAs of the impaired", (0.0, limit), |t| t.lsas().get(3).copied().unwrap_or(0).into());
    let others = || {
        check("LSAs of the others", (0.0, 0.0), |tally| {
            tally.lsas().iter().enumerate().filter(|(server, _)| *server != 3).map(|(_, count)| f64::from(*count)).sum()
        })
    };
    let checks = vec![lost((0.0, 0.15)), impaired(28.0), others()];
    cases.push(Case { row: 9, scenario: hour(), setup: probing, checks });
    cases.push(case(9, hour(), Policy::Shares, vec![lost((0.0, 0.02)), impaired(28.0), others()]));
    let cold = || {
        let events = vec![event(60.0, &[7], Happening::Alive(true)), event(60.0, &[7], Happening::Warm(0.2, 60.0))];
        // Seven of eight carry 0.7 of all until the eighth comes.
        let load = LoadCurve::Steps(vec![(0.0, 0.6), (60.0, 0.7)]);
        Scenario { counted: Some((60.0, 180.0)), events, load, ..same("cold join", 0.7, 180.0) }
    };
    cases.push(case(10, cold(), Policy::EqualCost, vec![lost(near(1.5, 0.2))]));
    cases.push(case(10, cold(), Policy::Shares, vec![lost((0.0, 0.05))]));
    let death = Scenario {
        counted: Some((60.0, 180.0)),
        events: vec![event(60.0, &[3], Happening::Alive(false))],
        ..same("death", 0.7, 180.0)
    };
    let relief = check("relief, s", (0.0, 5.0), |tally| tally.relief(60, 180) as f64);
    cases.push(case(11, death, Policy::Goodput, vec![lost(near(0.42, 0.06)), relief]));
    cases
}

/// Rows 12 to 14, 16 and 18: the load or the whole farm changes.
fn storms() -> Vec<Case> {
    let mut cases = Vec::new();
    for policy in [Policy::Goodput, Policy::Shares] {
        for (low, high, range) in [(0.3, 0.9, (0.0, 0.02)), (0.5, 1.5, near(32.9, 0.6))] {
            let load = LoadCurve::Steps(vec![(0.0, low), (120.0, high), (180.0, low)]);
            let scenario = Scenario { load, counted: Some((120.0, 180.0)), ..same("flash crowd", low, 240.0) };
            let after = check("lost after, %", (0.0, 0.05), |tally| tally.lost_between(182, 240));
            cases.push(case(12, scenario, policy, vec![lost(range), after, lsas((0.0, 0.0))]));
        }
        let events = vec![
            event(120.0, &[0, 1, 2, 3, 4, 5, 6, 7], Happening::Capacity(0.5)),
            event(180.0, &[0, 1, 2, 3, 4, 5, 6, 7], Happening::Capacity(1.0)),
        ];
        let scenario = Scenario { counted: Some((120.0, 180.0)), events, ..same("all at half", 0.7, 240.0) };
        let after = check("lost 5 s after, %", (0.0, 0.05), |tally| tally.lost_between(185, 240));
        cases.push(case(14, scenario, policy, vec![lost(near(28.6, 1.5)), after]));
    }
    for (turn, range) in [(1.0, near(80.4, 1.0)), (0.02, (0.0, 0.2))] {
        let setup = Setup { turn, ..Setup::new(Policy::Turns) };
        let scenario = Scenario { counted: Some((10.0, 120.0)), ..same("turns", 0.8, 120.0) };
        cases.push(Case { row: 16, scenario, setup, checks: vec![lost(range)] });
    }
    let day = || Scenario {
        counted: Some((60.0, 1860.0)),
        load: LoadCurve::Diurnal { low: 0.2, high: 0.8, period: 1800.0 },
        ..scenario("diurnal", &UNLIKE, 0.0, 1860.0)
    };
    let rate = || check("LSAs per server and hour", (0.0, 2.0), Tally::lsas_per_hour);
    cases.push(case(18, day(), Policy::EqualCost, vec![lost(near(7.5, 0.7))]));
    cases.push(case(18, day(), Policy::Goodput, vec![lost(near(5.1, 0.7)), rate()]));
    cases.push(case(18, day(), Policy::Shares, vec![lost((0.0, 0.05)), rate()]));
    cases
}

/// What the runs of a case have shown.
fn outcomes_of(case: &Case, tallies: &[Tally]) -> Vec<Outcome> {
    let name = title(case);
    let of = |check: &Check| Outcome {
        row: case.row,
        case: name.clone(),
        what: check.what.clone(),
        values: tallies.iter().map(&check.measure).collect(),
        range: check.range,
    };
    case.checks.iter().map(of).collect()
}

fn title(case: &Case) -> String {
    let load = match &case.scenario.load {
        LoadCurve::Constant(load) => format!(" at {load}"),
        LoadCurve::Steps(steps) => steps.iter().map(|(_, load)| format!(" {load}")).collect(),
        LoadCurve::Diurnal { low, high, .. } => format!(" {low}-{high}"),
    };
    let setup = match case.setup {
        Setup { policy: Policy::Goodput, self_test: false, .. } => "goodput, probing".into(),
        Setup { policy: Policy::Turns, turn, .. } => format!("turns of {turn} s"),
        Setup { policy, .. } => policy.name(),
    };
    format!("{}{load}: {setup}", case.scenario.name)
}

/// Row 13: clients of unlike weight. The law must not make it worse than equal cost does.
fn elephants(seeds: u64) -> Outcome {
    let scenario = Scenario {
        counted: Some((60.0, 300.0)),
        zipf: Some(Zipf { sources: 10_000, exponent: 1.0 }),
        ..same("Zipf sources", 0.7, 300.0)
    };
    let lost = |policy, seed| farm::run(&scenario, Setup::new(policy), seed).lost_percent();
    let values = (1..=seeds).map(|seed| lost(Policy::Goodput, seed) - lost(Policy::EqualCost, seed)).collect();
    let (case, what) = ("Zipf sources at 0.7: goodput".into(), "lost beyond equal cost, points".into());
    Outcome { row: 13, case, what, values, range: (f64::NEG_INFINITY, 0.5) }
}

/// Row 15: how much of the hash moves.
fn rehash() -> Vec<Outcome> {
    let equal = |servers: Vec<usize>| servers.into_iter().map(|server| (server, 1.0)).collect::<Vec<_>>();
    let moved = |spread, from: &Vec<usize>, to: &Vec<usize>| {
        let mut table = Table::new(spread);
        table.install(equal(from.clone()));
        table.install(equal(to.clone()))
    };
    let all: Vec<usize> = (0..8).collect();
    let seven: Vec<usize> = (0..8).filter(|server| *server != 3).collect();
    // Eight servers of four next hops each, side by side; one takes a fifth.
    let shares = |of_third: usize| (0..8).flat_map(|s| vec![s; if s == 3 { of_third } else { 4 }]).collect::<Vec<_>>();
    let outcome = |what: &str, value, range| Outcome {
        row: 15,
        case: "flows that move".into(),
        what: what.into(),
        values: vec![value],
        range,
    };
    vec![
        outcome("1 of 8 leaves, threshold", moved(Spread::Threshold, &all, &seven), near(0.286, 0.03)),
        outcome("1 of 8 leaves, resilient", moved(Spread::Resilient, &all, &seven), near(0.125, 0.03)),
        outcome("1 of 8 leaves, modulo", moved(Spread::Modulo, &all, &seven), near(0.875, 0.03)),
        outcome("one next hop more, threshold", moved(Spread::Threshold, &shares(4), &shares(5)), (0.0, 0.07)),
        outcome("one next hop more, resilient", moved(Spread::Resilient, &shares(4), &shares(5)), (0.0, 0.03)),
    ]
}

/// All rows, or one; in two threads.
pub fn table(seeds: u64, only: Option<u32>) -> Result<Vec<Outcome>> {
    let wanted = |row: u32| only.is_none_or(|only| only == row);
    let cases: Vec<Case> =
        [steady(), faults(), storms()].into_iter().flatten().filter(|case| wanted(case.row)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(BTreeMap::new());
    // The closures of the checks stay in this thread: only what makes a run is handed out.
    let runs: Vec<(Scenario, Setup)> = cases.iter().map(|case| (case.scenario.clone(), case.setup)).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((scenario, setup)) = runs.get(place) else { break };
                    let tallies: Vec<Tally> = (1..=seeds).map(|seed| farm::run(scenario, *setup, seed)).collect();
                    if let Ok(mut results) = results.lock() {
                        results.insert(place, tallies);
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().ok().context("a run has panicked")?;
    let mut outcomes = Vec::new();
    for (place, case) in cases.iter().enumerate() {
        outcomes.extend(outcomes_of(case, &results.remove(&place).context("a run is missing")?));
    }
    if wanted(13) {
        outcomes.push(elephants(seeds));
    }
    if wanted(15) {
        outcomes.extend(rehash());
    }
    outcomes.sort_by_key(|outcome| outcome.row);
    Ok(outcomes)
}
