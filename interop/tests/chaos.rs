//! What ospfd-lite makes of a FIB that others tamper with, and of its own death: everything is as it should be within a
//! second, nobody else's routes are touched, and packets go on.

mod common;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    ONE, PATIENCE,
    stated::{StatedFarm, quiet, router_id, service},
};
use interop::{
    fib::{AF_INET6, Fib, NextHop, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWROUTE, TABLE_MAIN, decode_route_of_any_table},
    harness::{self, LabTest, Needs},
    lab::Lab,
    lab_tests,
    netns::Netns,
    nl::Raw,
    peer::{Version, wait_full},
    tamper::{Marks, Random, RouteSpec, Tamperer, truth},
    topology::{Farm, link_local, net},
    wait::{Probe, hold_for, wait_for},
    watch::Watch,
};
use ospf_proto::lsa::Prefix;

fn main() -> ExitCode {
    let mut tests = lab_tests![tampering_is_repaired_within_a_second, killed_and_restarted_it_loses_no_packet];
    tests.push(
        LabTest::new("five_minutes_of_tampering_are_repaired", |lab| chaos(lab, 500, Duration::from_secs(300)))
            .long(Duration::from_secs(900)),
    );
    harness::main_at_once(1, Needs::Daemons, &tests)
}

const SERVERS: u16 = 4;
/// How ospfd-lite marks its routes unless told otherwise.
const MARKS: Marks = Marks { protocol: 89, metric: 20 };
/// Repaired within this time.
const REPAIRED: Duration = Duration::from_secs(1);
/// Advertised by the first two servers, and by the third alone.
const OF_TWO: &str = "2001:db8:53::54/128";
const OF_ONE: &str = "2001:db8:53::55/128";
/// Of the tamperer's choices.
const SEED: u64 = 0x5eed;
/// `RTPROT_STATIC`.
const STATIC: u8 = 4;

fn tampering_is_repaired_within_a_second(lab: &mut Lab) -> Result<()> {
    chaos(lab, 60, Duration::from_secs(20))
}

/// Routes that are not the router's, however like its own they are.
fn foreign() -> Result<Vec<RouteSpec>> {
    let Marks { protocol, metric } = MARKS;
    let like = |prefix: &str| anyhow::Ok(RouteSpec { prefix: net(prefix)?, table: TABLE_MAIN, protocol, metric });
    Ok(vec![
        // The same destination, by somebody else with another metric; and by its own protocol number with another.
        RouteSpec { protocol: STATIC, metric: 512, ..like(OF_TWO)? },
        RouteSpec { metric: 700, ..like(OF_TWO)? },
        // Another destination, by somebody else with the same metric.
        RouteSpec { protocol: STATIC, ..like("2001:db8:99::/64")? },
        // The same in another table.
        RouteSpec { table: 100, ..like(OF_TWO)? },
    ])
}

/// What the kernel has of these routes: their messages.
fn have(netns: &Netns, routes: &[RouteSpec]) -> Result<BTreeSet<Vec<u8>>> {
    let mut request = [0; 12];
    request[0] = AF_INET6;
    let dumped = netns.rtnl()?.dump(RTM_GETROUTE, &request)?;
    Ok(dumped.into_iter().filter(|raw| is_one_of(raw, routes)).map(|raw| raw.body).collect())
}

fn is_one_of(raw: &Raw, routes: &[RouteSpec]) -> bool {
    let told = decode_route_of_any_table(raw);
    told.is_some_and(|(table, route)| {
        let (prefix, protocol, metric) = (route.prefix, route.protocol, route.metric);
        routes.contains(&RouteSpec { prefix, table, protocol, metric })
    })
}

/// A farm of three prefixes: of all servers, of two, of one.
fn open(lab: &mut Lab) -> Result<StatedFarm> {
    let farm = StatedFarm::open(lab, ("", &Version::Ours, ""), SERVERS)?;
    let (two, one) = (OF_TWO.parse::<Prefix>()?, OF_ONE.parse::<Prefix>()?);
    for (server, prefixes) in [(0, [service()?, two]), (1, [service()?, two]), (2, [service()?, one])] {
        farm.servers.get(server).context("a server")?.advertise(0, &prefixes, 10)?;
    }
    let since = Instant::now();
    for (prefix, servers) in [(OF_TWO, &[1, 2][..]), (OF_ONE, &[3])] {
        let wanted = servers.iter().map(|place| link_local(0x10 + place)).collect();
        farm.monitor.wait_gateways(net(prefix)?, &wanted, since, PATIENCE)?;
    }
    quiet(&farm.monitor)?;
    Ok(farm)
}

/// So many tamperings in so much time, one after the other.
fn chaos(lab: &mut Lab, tamperings: u32, time: Duration) -> Result<()> {
    let farm = open(lab)?;
    let netns = farm.farm.router.clone();
    let interface = netns.rtnl()?.index(Farm::FARM_SIDE)?;
    let routes = foreign()?;
    for route in &routes {
        route.set(&mut netns.rtnl()?, NextHop { gateway: link_local(0x14), interface })?;
    }
    quiet(&farm.monitor)?;
    let (theirs, ours) = (have(&netns, &routes)?, truth(&Fib::read(&netns)?, MARKS));
    ensure!(
        theirs.len() == routes.len(),
        "{} foreign routes of {}:\n{}",
        theirs.len(),
        routes.len(),
        Fib::read(&netns)?
    );
    ensure!(ours.len() == 3, "the router has {ours:?}");
    let watch = Watch::start(&netns)?;
    let before = operations(&farm)?;

    let gateways = (1..=SERVERS).map(|place| link_local(0x10 + place)).chain([link_local(0xdead)]).collect();
    let mut tamperer = Tamperer::new(&netns, MARKS, (SEED, gateways));
    let (mut pause, mut times) = (Random::new(SEED), vec![]);
    let begun = Instant::now();
    // The pauses are random: some strike while the last repair is hardly done.
    let most = usize::try_from((2 * time / tamperings).as_millis())?;
    while times.len() < usize::try_from(tamperings)? {
        let Some(what) = tamperer.strike()? else { continue };
        let struck = Instant::now();
        wait_for(&format!("the repair of: {what}"), 10 * REPAIRED, || {
            let now = truth(&Fib::read(&netns)?, MARKS);
            Ok(Probe::when(now == ours, (), format!("{now:?} where {ours:?} should be")))
        })?;
        let looks = struck.elapsed();
        println!(
            "{:8.3} s: {what}: right again after {:.1} ms",
            begun.elapsed().as_secs_f64(),
            1e3 * looks.as_secs_f64()
        );
        ensure!(looks < REPAIRED, "{what}: right again after {looks:?} only");
        times.push(looks);
        let until = Duration::from_millis(u64::try_from(pause.below(most.max(1)))?);
        hold_for("the farm", until, || Ok(Probe::Ready(())))?;
    }
    let ended = Instant::now();
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    let done = operations(&farm)? - before;
    let counts = farm.flows.counts(begun, ended)?;
    println!(
        "{} tamperings in {:.0} s: right again after {middle:?} (median), {:?} (most); {done} operations of the router; {} of {} packets lost",
        times.len(),
        (ended - begun).as_secs_f64(),
        times.last().copied().unwrap_or_default(),
        counts.lost,
        counts.sent,
    );
    ensure!(done >= u64::from(tamperings), "{done} operations for {tamperings} tamperings");
    for (_, raw) in watch.messages(begun, ended)? {
        let touched = matches!(raw.kind, RTM_NEWROUTE | RTM_DELROUTE) && is_one_of(&raw, &routes);
        ensure!(!touched, "a foreign route was touched: {:?}", decode_route_of_any_table(&raw));
    }
    ensure!(have(&netns, &routes)? == theirs, "foreign routes changed");
    // Traffic goes on: what was lost was lost while routes were gone, and nothing is afterwards.
    ensure!(counts.lost * 10 < counts.sent, "{counts:?}");
    farm.flows.settle()?;
    let (from, to) = (Instant::now() - Duration::from_millis(500), Instant::now());
    let after = farm.flows.counts(from, to)?;
    ensure!(after.lost == 0 && after.servers.iter().all(|packets| *packets > 0), "afterwards: {after:?}");
    Ok(())
}

/// How many operations the router had the kernel do so far.
fn operations(farm: &StatedFarm) -> Result<u64> {
    let counters = farm.lite.as_ref().context("ospfd-lite")?.show("counters")?;
    let done = counters.get("fib").and_then(|fib| fib.get("done")).and_then(serde_json::Value::as_u64);
    done.with_context(|| format!("no fib.done in {counters}"))
}

/// SIGKILL under the stream, and a new life at once.
fn killed_and_restarted_it_loses_no_packet(lab: &mut Lab) -> Result<()> {
    let farm = open(lab)?;
    farm.flows.settle()?;
    let ours = truth(&Fib::read(&farm.farm.router)?, MARKS);
    ensure!(ours.len() == 3, "the router has {ours:?}");
    let from = Instant::now();
    lab.peer(farm.router)?.kill()?;
    lab.peer(farm.router)?.start()?;
    let down = from.elapsed();
    let ids: Vec<_> = (0..usize::from(SERVERS)).map(router_id).collect();
    wait_full(lab.peer(farm.router)?, &ids, PATIENCE)?;
    farm.servers.iter().try_for_each(|server| server.wait_full(ONE, PATIENCE))?;
    let full = from.elapsed();
    // Beyond the hold of the former life's routes: at most twice the dead interval.
    hold_for("the service", Duration::from_secs(10), || {
        let gateways = farm.monitor.gateways(net(common::SERVICE)?);
        Ok(Probe::when(gateways.len() == usize::from(SERVERS), (), format!("{gateways:?}")))
    })?;
    let after = quiet(&farm.monitor)?;
    let moves = farm.flows.moves(from, after)?;
    let counts = farm.flows.counts(from, Instant::now())?;
    println!(
        "down {down:?}, Full after {full:?}: {} sent, {} lost; {} of {} flows moved, {} changes",
        counts.sent, counts.lost, moves.moved, moves.flows, moves.changes
    );
    ensure!(counts.lost == 0 && counts.doubled == 0, "{counts:?}");
    ensure!(moves.moved == 0 && moves.changes == 0, "flows moved at a restart: {moves:?}");
    let now = truth(&Fib::read(&farm.farm.router)?, MARKS);
    ensure!(now == ours, "{now:?} where {ours:?} was before");
    Ok(())
}
