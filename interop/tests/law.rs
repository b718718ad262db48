//! From load to cost behind FRR and ospfd-lite: real DNS servers (Knot) of known capacity, clients that count, and what
//! the law does when one is slow, dies or joins, when a crowd comes, when all are overloaded, and when one lies.

mod common;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    PATIENCE, SERVICE,
    bench::{Bench, Row},
    ours::{Dns, Setup},
};
use interop::{
    dns::dnsperf::Dnsperf,
    harness::{self, LabTest, Needs},
    lab::Lab,
    lab_tests,
    peer::Version,
    process::Place,
    topology::net,
};

/// Servers of the scenarios.
const SERVERS: u16 = 4;
/// What each of them can answer, queries per second.
const CAPACITY: f64 = 500.0;
/// A server that becomes slow is out of the router's kernel within this time.
const RELIEF: Duration = Duration::from_secs(8);
/// The server that things happen to.
const CHOSEN: usize = 2;

fn main() -> ExitCode {
    let mut tests = lab_tests![
        scenarios_behind_frr,
        scenarios_behind_ospfd_lite,
        a_constant_load_moves_nobody,
        a_load_that_hovers_on_a_threshold_moves_one_server_seldom,
        a_cost_that_follows_the_load_is_caught,
    ];
    let hour = Duration::from_secs(3600);
    tests.extend([
        LabTest::new("minutes_of_scenarios_behind_frr", |lab| scenarios(lab, &Version::Frr(None), 6)).long(hour),
        LabTest::new("minutes_of_scenarios_behind_ospfd_lite", |lab| scenarios(lab, &Version::Ours, 6)).long(hour),
        LabTest::new("ten_minutes_of_constant_load_behind_frr_move_nobody", |lab| {
            constant(lab, &Version::Frr(None), seconds(600))
        })
        .long(hour),
        LabTest::new("ten_minutes_of_constant_load_behind_ospfd_lite_move_nobody", |lab| {
            constant(lab, &Version::Ours, seconds(600))
        })
        .long(hour),
        LabTest::new("twenty_slow_servers_behind_frr", |lab| again(lab, &Version::Frr(None), 20)).long(hour),
        LabTest::new("twenty_slow_servers_behind_ospfd_lite", |lab| again(lab, &Version::Ours, 20)).long(hour),
        LabTest::new("twenty_minutes_on_a_threshold", |lab| hover(lab, &Version::Ours, 120)).long(hour),
    ]);
    // Each takes a fifth of two processors in the dev profile.
    harness::main_at_once(3, Needs::Daemons, &tests)
}

fn scenarios_behind_frr(lab: &mut Lab) -> Result<()> {
    scenarios(lab, &Version::Frr(None), 1)
}

fn scenarios_behind_ospfd_lite(lab: &mut Lab) -> Result<()> {
    scenarios(lab, &Version::Ours, 1)
}

/// The farm of the scenarios.
fn knots<'a>(router: &'a Version) -> Setup<'a> {
    // As an FRRouting shares them: weighed by capacity nobody would have to leave.
    let fib = "weights = \"equal\"\n";
    Setup { servers: SERVERS, dns: Dns::Knot, capacity: CAPACITY, min_ls_interval: 5.0, fib, ..Setup::new("", router) }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// Every scenario in turn on one farm; each lasts `pace` times its shortest form.
fn scenarios(lab: &mut Lab, router: &Version, pace: u32) -> Result<()> {
    let mut bench = Bench::open(lab, knots(router), 0.3)?;
    println!("{}", Row::HEAD);
    let result = flash(&mut bench, (0.3, 0.9), pace)
        .and_then(|()| flash(&mut bench, (0.5, 1.5), pace))
        .and_then(|()| overload(&mut bench, pace))
        .and_then(|()| death(&mut bench, pace))
        .and_then(|()| cold_join(lab, &mut bench, pace))
        .and_then(|()| returned(&mut bench))
        .and_then(|()| slow(&mut bench, pace));
    bench.farm.explain(lab, |_, _| result)
}

/// Three times as many clients from one moment to the next: no reason to move.
fn flash(bench: &mut Bench, (calm, crowd): (f64, f64), pace: u32) -> Result<()> {
    bench.ask(calm);
    bench.pass(seconds(4), |_| Ok(()))?;
    let from = Instant::now();
    bench.ask(crowd);
    bench.pass(seconds(10 * pace), |_| Ok(()))?;
    let to = Instant::now();
    bench.ask(calm);
    bench.pass(seconds(4), |_| Ok(()))?;
    let end = Instant::now();
    let row = bench.row(&format!("flash crowd {calm} to {crowd}"), (from, to), None)?;
    println!("{row}");
    // What the crowd left in the queues is gone after a second.
    let after = bench.row("after it", (to + seconds(1), end), None)?;
    println!("{after}");
    bench.nobody_moved(&row, (from, end))?;
    let due = (100.0 * (1.0 - 1.0 / crowd)).max(0.0);
    ensure!(row.lost() < due + 4.0 && row.lost() > due - 12.0, "{:.1} % lost where {due:.1} % are due", row.lost());
    ensure!(after.lost() < 0.5, "{:.2} % lost after the crowd", after.lost());
    Ok(())
}

/// Everybody at 120 %: whoever left would make it worse.
fn overload(bench: &mut Bench, pace: u32) -> Result<()> {
    bench.ask(1.2);
    // Beyond the filling of the queues.
    bench.pass(seconds(4), |_| Ok(()))?;
    let from = Instant::now();
    bench.pass(seconds(12 * pace), |_| Ok(()))?;
    let to = Instant::now();
    bench.ask(0.5);
    let row = bench.row("all overloaded, 1.2", (from, to), None)?;
    println!("{row}");
    bench.nobody_moved(&row, (from, to))?;
    let goodput = row.clients.answered() as f64 / (to - from).as_secs_f64() / bench.capacity;
    ensure!((0.93..1.07).contains(&goodput), "goodput is {goodput:.2} of the capacity");
    Ok(())
}

/// The process dies under load.
fn death(bench: &mut Bench, pace: u32) -> Result<()> {
    bench.ask(0.6);
    bench.pass(seconds(4), |_| Ok(()))?;
    let from = Instant::now();
    let (killed, _) = bench.farm.kill_service(CHOSEN)?;
    let relief = left(bench, killed)?;
    bench.pass(seconds(5 * pace), |_| Ok(()))?;
    let row = bench.row("death of the process, 0.6", (from, Instant::now()), Some(relief))?;
    println!("{row}");
    // A shared machine stops now and then; but nothing waits for another copy.
    ensure!(relief < seconds(1), "gone after {relief:?}");
    // Its queue dies with it; the rest is what came until the route was gone: of five seconds a quarter of one.
    ensure!(row.lost() < 5.5, "{:.2} % lost", row.lost());
    bench.only_moved(&row, CHOSEN, 1)
}

/// A server joins with a fifth of its capacity, which it reaches within 20 s.
fn cold_join(lab: &mut Lab, bench: &mut Bench, pace: u32) -> Result<()> {
    let warm = seconds(20 * pace);
    let from = Instant::now();
    bench.farm.start_service(lab, CHOSEN)?;
    let all: Vec<_> = (0..SERVERS.into()).collect();
    let mut joined = None;
    bench.pass(warm + seconds(2), |farm| {
        let warmth = 0.2 + 0.8 * (from.elapsed().as_secs_f64() / warm.as_secs_f64()).min(1.0);
        farm.set_capacity(CHOSEN, warmth * CAPACITY)?;
        if joined.is_none() {
            joined = farm.wait_members(&all, from, Duration::ZERO).ok().map(|at| at - from);
        }
        Ok(())
    })?;
    let row = bench.row("cold join, 0.6", (from, Instant::now()), joined)?;
    println!("{row}");
    ensure!(joined.is_some(), "it never joined");
    // Joined, left while it is cold, came back at most once for each hold-down.
    bench.only_moved(&row, CHOSEN, 2 + 2 * usize::try_from(warm.as_secs() / 22)?)
}

/// How long after `since` the router's kernel was without the chosen server and had all others.
fn left(bench: &mut Bench, since: Instant) -> Result<Duration> {
    let others: Vec<_> = (0..SERVERS.into()).filter(|server| *server != CHOSEN).collect();
    Ok(bench.farm.wait_members(&others, since, PATIENCE)? - since)
}

/// A server gets a third of its capacity: since when, and how long until the router's kernel was without it.
fn slowed(bench: &mut Bench) -> Result<(Instant, Duration)> {
    let from = Instant::now();
    bench.farm.set_capacity(CHOSEN, CAPACITY / 3.0)?;
    Ok((from, left(bench, from)?))
}

/// Waits until everybody is in the class again and free to leave.
fn returned(bench: &mut Bench) -> Result<()> {
    let all: Vec<_> = (0..SERVERS.into()).collect();
    bench.farm.wait_members(&all, Instant::now(), PATIENCE)?;
    // Its next change would wait for MinLSInterval of the return.
    bench.pass(seconds(5), |_| Ok(()))
}

/// A server gets a third of its capacity, and has to leave.
fn slow(bench: &mut Bench, pace: u32) -> Result<()> {
    let (from, relief) = slowed(bench)?;
    bench.pass(seconds(10 * pace), |_| Ok(()))?;
    let row = bench.row("slow server, a third, 0.6", (from, Instant::now()), Some(relief))?;
    println!("{row}");
    ensure!(relief < RELIEF, "it left after {relief:?}");
    ensure!(row.lost() < 10.0, "{:.2} % lost", row.lost());
    bench.only_moved(&row, CHOSEN, most_changes(from.elapsed()))
}

/// With a load that dnsperf keeps constant below the capacity nobody ever moves; and a server that becomes slow leaves.
fn constant(lab: &mut Lab, router: &Version, time: Duration) -> Result<()> {
    const LOAD: f64 = 0.7;
    let mut bench = Bench::open(lab, knots(router), 0.0)?;
    let (client, logs, service) = (bench.farm.farm.client.clone(), lab.logs(), net(SERVICE)?.ip());
    let place = Place { netns: &client, root: None, logs: &logs };
    let rate = LOAD * bench.capacity;
    let mut dnsperf = Dnsperf::start("dnsperf", place, service, rate)?;
    // Beyond the first records.
    bench.pass(seconds(6), |_| Ok(()))?;
    let from = Instant::now();
    bench.pass(time, |_| dnsperf.ensure_running())?;
    let to = Instant::now();
    let report = dnsperf.finish()?;
    let name = format!("constant {LOAD} for {} s", time.as_secs());
    let row = bench.row(&name, (from, to), None)?.with_report(report);
    println!("{}\n{row}", Row::HEAD);
    bench.nobody_moved(&row, (from, to))?;
    let due = rate * time.as_secs_f64();
    ensure!(report.sent as f64 > due, "{} queries where {due:.0} are due", report.sent);
    ensure!(report.lost * 1000 <= report.sent, "{report:?}");

    let dnsperf = Dnsperf::start("dnsperf-slow", place, service, rate)?;
    bench.pass(seconds(3), |_| Ok(()))?;
    let (from, relief) = slowed(&mut bench)?;
    let period = (from, Instant::now());
    let report = dnsperf.finish()?;
    let row = bench.row(&format!("slow server, a third, {LOAD}"), period, Some(relief))?.with_report(report);
    println!("{row}");
    ensure!(relief < RELIEF, "it left after {relief:?}");
    bench.only_moved(&row, CHOSEN, 1)
}

/// A server becomes slow, again and again: how long each time until the router's kernel is without it.
fn again(lab: &mut Lab, router: &Version, times: u32) -> Result<()> {
    let mut bench = Bench::open(lab, knots(router), 0.6)?;
    let mut reliefs = Vec::new();
    let result = (0..times).try_for_each(|_| {
        returned(&mut bench)?;
        let (_, relief) = slowed(&mut bench)?;
        println!("relief {:.0} ms", relief.as_secs_f64() * 1e3);
        reliefs.push(relief);
        ensure!(relief < RELIEF, "it left after {relief:?}");
        // A service that comes back starts anew, without the hold-down of one that left.
        bench.farm.kill_service(CHOSEN)?;
        bench.farm.start_service(lab, CHOSEN)
    });
    reliefs.sort_unstable();
    println!(
        "{}: relief least {:?}, median {:?}, most {:?}",
        bench.router,
        reliefs.first(),
        reliefs.get(reliefs.len() / 2),
        reliefs.last()
    );
    bench.farm.explain(lab, |_, _| result)
}

fn a_constant_load_moves_nobody(lab: &mut Lab) -> Result<()> {
    constant(lab, &Version::Frr(None), seconds(60))
}

/// A server at half of its capacity, and a load that swings about the point from which on the farm is better off without it.
fn hover(lab: &mut Lab, router: &Version, swings: u32) -> Result<()> {
    const LEG: u32 = 5;
    let mut bench = Bench::open(lab, knots(router), 0.45)?;
    bench.farm.set_capacity(CHOSEN, CAPACITY / 2.0)?;
    let from = Instant::now();
    for _ in 0..swings {
        for load in [0.56, 0.46] {
            bench.ask(load);
            bench.pass(seconds(LEG), |_| Ok(()))?;
        }
    }
    let to = Instant::now();
    let row = bench.row(&format!("0.46 to 0.56 for {} s, one at half", swings * LEG * 2), (from, to), None)?;
    println!("{}\n{row}", Row::HEAD);
    let most = most_changes(to - from);
    println!("{} cost changes where the law allows {most}", row.cost_changes.get(CHOSEN).context("the chosen")?);
    bench.only_moved(&row, CHOSEN, most)
}

fn a_load_that_hovers_on_a_threshold_moves_one_server_seldom(lab: &mut Lab) -> Result<()> {
    hover(lab, &Version::Frr(None), 7)
}

/// The tests above can fail: where the cost follows the load, they do.
fn a_cost_that_follows_the_load_is_caught(lab: &mut Lab) -> Result<()> {
    let router = Version::Frr(None);
    let mut bench = Bench::open(lab, Setup { policy: "naive", ..knots(&router) }, 0.7)?;
    let from = Instant::now();
    bench.pass(seconds(15), |_| Ok(()))?;
    let to = Instant::now();
    let row = bench.row("policy naive, constant 0.7", (from, to), None)?;
    println!("{}\n{row}", Row::HEAD);
    ensure!(bench.nobody_moved(&row, (from, to)).is_err(), "nobody moved");
    ensure!(row.lost() > 5.0, "{:.2} % lost only", row.lost());
    Ok(())
}

/// The law's bound on the cost changes of an impaired server within some time: it leaves, and comes back when its hold-down
/// ends, which is 30 s at first, doubles to 480 s, and is shortened by a quarter at most by chance.
fn most_changes(time: Duration) -> usize {
    let (mut changes, mut at, mut hold) = (0, 0.0, 30.0f64);
    while at <= time.as_secs_f64() {
        changes += 2;
        at += 0.75 * hold;
        hold = (2.0 * hold).min(480.0);
    }
    changes
}
