//! Many server-speakers on one link (32 in the long form), all overloaded at once, one of them a liar: the law leaves
//! them where they are.

mod common;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    PATIENCE,
    bench::{Bench, Row},
    liar::{Claim, Liar},
    ours::{CAPACITY, Dns, Setup},
};
use interop::{
    harness::{self, LabTest, Needs},
    lab::Lab,
    lab_tests,
    originations::by_type,
    peer::Version,
    wait::{Probe, wait_for},
};

fn main() -> ExitCode {
    let mut tests = lab_tests![twelve_overloaded_speakers_stay_whatever_one_tells, a_liar_holds_no_slow_server_up];
    let hour = Duration::from_secs(3600);
    tests.extend([
        LabTest::new("thirty_two_overloaded_speakers_stay_for_minutes_behind_frr", |lab| {
            many(lab, (MANY, &Version::Frr(None)), Duration::from_secs(60))
        })
        .long(hour),
        LabTest::new("thirty_two_overloaded_speakers_stay_for_minutes_behind_ospfd_lite", |lab| {
            many(lab, (MANY, &Version::Ours), Duration::from_secs(60))
        })
        .long(hour),
    ]);
    // The large farm leaves no room for another lab.
    harness::main_at_once(1, Needs::Daemons, &tests)
}

/// Speakers of the large farm; the last one lies. In the dev profile each takes some 4 % of a processor, so that a machine
/// of two has none left for the rest of the lab: the short form has fewer.
const MANY: u16 = 32;
const SOME: u16 = 12;
/// What each of them can answer, queries per second.
const LITTLE: f64 = 30.0;
/// As configured: so many others are in the class whatever happens.
const MIN_SERVING: u8 = 8;

/// Something that the liar tells.
type Lie = (&'static str, fn(&Liar) -> Result<()>);

/// In 0.001 queries per second.
fn milli(rate: f64) -> Option<u32> {
    Some((rate * 1000.0) as u32)
}

/// The truth about a server of the large farm that is offered `load` of its capacity.
fn truth(load: f64) -> Claim {
    Claim { mu: milli(LITTLE), x: milli(load * LITTLE), nominal: milli(LITTLE) }
}

const OVERLOADED: f64 = 1.2;
const LIES: [Lie; 7] = [
    ("nothing but the truth", |liar| liar.claim(truth(OVERLOADED))),
    ("a hundredfold capacity", |liar| liar.claim(Claim { mu: milli(100.0 * LITTLE), ..truth(OVERLOADED) })),
    ("a hundredfold capacity, as configured", |liar| {
        let claimed = milli(100.0 * LITTLE);
        liar.claim(Claim { mu: claimed, nominal: claimed, ..truth(OVERLOADED) })
    }),
    ("no capacity at all", |liar| liar.claim(Claim { mu: Some(0), ..truth(OVERLOADED) })),
    ("nothing known", |liar| liar.claim(Claim { mu: None, x: None, nominal: None })),
    ("a malformed TLV", |liar| liar.stutter(truth(OVERLOADED))),
    ("a hundredfold load", |liar| liar.claim(Claim { x: milli(100.0 * LITTLE), ..truth(OVERLOADED) })),
];

/// Opens a farm of responders of this capacity, whose last server is a liar.
fn open(lab: &mut Lab, setup: Setup<'_>, load: f64) -> Result<(Bench, Liar)> {
    let setup = Setup { dns: Dns::Responder, min_ls_interval: 5.0, ecmp_width: 64, ..setup };
    let mut bench = Bench::build(lab, setup)?;
    let last = usize::from(setup.servers) - 1;
    for server in 0..last {
        bench.farm.start(lab, server)?;
    }
    bench.farm.start_service(lab, last)?;
    let liar = Liar::start(bench.farm.nodes.pop().context("the last")?)?;
    bench.begin(lab, load)?;
    Ok((bench, liar))
}

/// So many servers, all overloaded, one of them a liar: nobody leaves, whatever it tells.
fn many(lab: &mut Lab, (servers, router): (u16, &Version), each: Duration) -> Result<()> {
    // As an FRRouting shares them: weighed by capacity nobody would have to leave.
    let fib = "weights = \"equal\"\n";
    let setup = Setup { servers, capacity: LITTLE, min_serving: MIN_SERVING, fib, ..Setup::new("", router) };
    let (mut bench, liar) = open(lab, setup, 0.5)?;
    bench.pass(Duration::from_secs(6), |_| Ok(()))?;
    println!("{}", Row::HEAD);
    bench.ask(OVERLOADED);
    let begun = Instant::now();
    for (name, lie) in LIES {
        let from = Instant::now();
        lie(&liar)?;
        wait_for("the lie on the wire", PATIENCE, || {
            let heard = bench.heard.heard(from, Instant::now())?;
            let (_, _, records) = by_type(&heard, liar.router_id);
            Ok(Probe::when(records > 0, (), "no record"))
        })?;
        bench.pass(each, |_| Ok(()))?;
        let to = Instant::now();
        let row = bench.row(&format!("{servers} at 1.2; one tells {name}"), (from, to), None)?;
        println!("{}", row.short());
        // A busy machine may ask less than it should, and then nobody is overloaded.
        let due = OVERLOADED * bench.capacity * (to - from).as_secs_f64();
        ensure!(row.clients.sent as f64 > 0.9 * due, "{} queries where {due:.0} are due", row.clients.sent);
        let classes = bench.classes(begun, to)?;
        let least = classes.iter().map(BTreeSet::len).min().context("a class")?;
        ensure!(least >= usize::from(MIN_SERVING), "{least} servers in the class only: {classes:?}");
        bench.nobody_moved(&row, (from, to))?;
    }
    Ok(())
}

fn twelve_overloaded_speakers_stay_whatever_one_tells(lab: &mut Lab) -> Result<()> {
    many(lab, (SOME, &Version::Frr(None)), Duration::from_secs(6))
}

/// A liar that says it can do nothing, and stays, ought to leave before a server that is slow: that one is not held up.
fn a_liar_holds_no_slow_server_up(lab: &mut Lab) -> Result<()> {
    const SERVERS: u16 = 5;
    let router = Version::Frr(None);
    let (mut bench, liar) = open(lab, Setup { servers: SERVERS, ..Setup::new("", &router) }, 0.6)?;
    liar.claim(Claim { mu: Some(0), x: milli(0.6 * CAPACITY), nominal: milli(CAPACITY) })?;
    bench.pass(Duration::from_secs(6), |_| Ok(()))?;
    let from = Instant::now();
    bench.farm.set_capacity(0, CAPACITY / 3.0)?;
    let others: Vec<_> = (1..SERVERS.into()).collect();
    let relief = bench.farm.explain(lab, |farm, _| farm.wait_members(&others, from, PATIENCE))? - from;
    let row = bench.row("slow server, and a liar that ought to leave first", (from, Instant::now()), Some(relief))?;
    println!("{}\n{row}", Row::HEAD);
    // It is passed over after 15 s.
    ensure!(relief < Duration::from_secs(30), "it left after {relief:?}");
    bench.only_moved(&row, 0, 1)
}
