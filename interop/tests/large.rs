//! Many servers in one anycast prefix and many prefixes over shared groups: how many netlink messages a change costs, and how
//! soon they come.

mod common;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{ONE, PATIENCE, SERVICE, stated::lite, stated::service};
use interop::{
    apart::Apart,
    attack::stage::find_process,
    bench::measure::Processes,
    engines::{Engines, Identity},
    fib::{Fib, NextHop, Object, RTM_NEWROUTE, Via, decode_object},
    harness::{self, LabTest, Needs},
    lab::Lab,
    lab_tests,
    memory::Touched,
    nl::Raw,
    peer::{IfaceSpec, Kind, RouterSpec, Version, ours::Daemon},
    shown::FarmRow,
    stamp::UpdateStamps,
    topology::{Farm, net},
    wait::{Probe, hold_for, wait_for},
    watch::{Lookout, Watch},
};
use ipnetwork::Ipv6Network;
use ospf_proto::{engine::Command, lsa::Prefix};
use serde_json::Value;

fn main() -> ExitCode {
    let mut tests = lab_tests![a_change_costs_its_slots_whatever_the_prefixes, the_seventeenth_group_has_thresholds];
    tests.push(
        LabTest::new("changes_among_256_servers_and_10000_prefixes", |lab| large(lab, (256, 10_000)))
            .long(Duration::from_secs(1800)),
    );
    harness::main_at_once(1, Needs::Daemons, &tests)
}

/// The servers that have the many prefixes.
const KEEPERS: usize = 3;
/// The cost of so many servers is changed and changed back.
const CHANGED: usize = 8;
/// Stable groups that a router has at most.
const GROUPS: usize = 16;
/// What ospfd-lite may take for 256 servers and 10,000 prefixes: 76 MiB were seen.
const MEMORY: u64 = 128 << 20;
/// A kernel in which nothing changed for so long is done.
const QUIET: Duration = Duration::from_secs(1);

/// So many servers in one namespace, engines on one interface, behind ospfd-lite.
struct Many {
    farm: Farm,
    lite: Daemon,
    engines: Engines,
    /// How long it may take until all is set up.
    patience: Duration,
}

fn router_id(server: usize) -> Result<Ipv4Addr> {
    let [high, low] = u16::try_from(server)?.to_be_bytes();
    Ok(Ipv4Addr::new(198, 18, high, low))
}

fn address(server: usize) -> Result<Ipv6Addr> {
    Ok(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, u16::try_from(server)?))
}

impl Many {
    fn open(lab: &mut Lab, servers: usize) -> Result<Self> {
        let patience = if servers > 100 { 10 * PATIENCE } else { PATIENCE };
        // A dev build has no bound to keep, and need not stand in the way of whatever else runs.
        let farm = if cfg!(debug_assertions) { Farm::build(1)? } else { Farm::build_apart(1)? };
        lab.watch(&farm.router);
        let spec = RouterSpec::new("router", ONE, IfaceSpec::fast(Farm::FARM_SIDE, Kind::Broadcast))
            .with_iface(IfaceSpec::passive(Farm::CLIENT_SIDE));
        lab.start(&Version::Ours, &farm.router, spec)?;
        let lite = lite(lab, &farm.router, "router")?;
        let host = &farm.servers.first().context("the server")?.netns;
        let mut identities = vec![];
        let mut rtnl = host.rtnl()?;
        for server in 0..servers {
            let address = address(server)?;
            rtnl.add_address("eth0", Ipv6Network::new(address, 64)?)?;
            identities.push(Identity { router: router_id(server)?, address });
        }
        let engines = Engines::start(host, Kind::Broadcast, identities)?;
        engines.wait_full(ONE, patience)?;
        Ok(Self { farm, lite, engines, patience })
    }

    /// Waits until every adjacency is Full and has nothing left to say: while these engines, which share a processor, still
    /// take in the database, the router is not what is measured.
    fn wait_settled(&self, servers: usize) -> Result<()> {
        let mut since = Instant::now();
        wait_for("the adjacencies to be at rest", self.patience, || {
            let rows = self.lite.show("neighbor")?;
            let done = |row: &&Value| row["state"] == "Full" && row["retransmissions"] == 0 && row["requests"] == 0;
            let done = rows.as_array().into_iter().flatten().filter(done).count();
            if done < servers {
                since = Instant::now();
            }
            Ok(Probe::when(since.elapsed() > SETTLED, (), format!("{done} of {servers}")))
        })
    }

    /// Waits until the router's kernel has so many routes over next-hop objects, and nothing changes any more.
    fn wait_routes(&self, wanted: usize) -> Result<()> {
        let watch = Watch::start(&self.farm.router)?;
        wait_for(&format!("{wanted} routes in the kernel"), self.patience, || {
            let fib = Fib::read(&self.farm.router)?;
            let routes = fib.routes().filter(|route| matches!(route.via, Via::Object(_))).count();
            Ok(Probe::when(routes == wanted, (), format!("{routes}")))
        })?;
        rest(&watch, Instant::now() - QUIET)
    }
}

/// A router whose neighbors have all they are to have for so long is at rest.
const SETTLED: Duration = Duration::from_secs(5);

/// Waits until nothing has changed for a while, since then or the last message.
fn rest(watch: &Watch, since: Instant) -> Result<()> {
    wait_for("the kernel's routes to be at rest", 2 * PATIENCE, || {
        let (count, last) = watch.last();
        let last = last.map_or(since, |last| last.max(since));
        Ok(Probe::when(last.elapsed() > QUIET, (), format!("{count} messages")))
    })
}

/// How long the lookout looks for a first message, and behind each for another one. The engines are still meanwhile.
const LOOK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(20));

/// What a change cost.
struct Cost {
    messages: Vec<(Instant, Raw)>,
    /// When the update that caused it was sent; none: it was no change of a prefix, such as a server that leaves.
    sent: Option<Instant>,
    /// When it was ordered.
    ordered: Instant,
    /// When the messages came that the lookout saw itself.
    seen: Vec<Instant>,
}

impl Cost {
    fn begun(&self) -> Instant {
        self.sent.unwrap_or(self.ordered)
    }

    fn first(&self) -> Duration {
        let first = self.seen.iter().chain(self.messages.iter().map(|(at, _)| at)).min();
        first.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.begun()))
    }

    fn last(&self) -> Duration {
        // The lookout sees a message when it comes, the watch some time after it; what came after the lookout's look only the
        // watch has.
        let later = self.messages.get(self.seen.len()..).and_then(|later| later.last()).map(|(at, _)| at);
        let last = later.or(self.seen.last());
        last.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.begun()))
    }

    fn routes(&self) -> usize {
        self.messages.iter().filter(|(_, raw)| raw.kind == RTM_NEWROUTE).count()
    }

    /// Of objects that were given this or another gateway.
    fn gateways(&self) -> Vec<NextHop> {
        let single = |raw: &Raw| match decode_object(raw) {
            Some((_, Object::Single(hop))) => Some(hop),
            _ => None,
        };
        self.messages.iter().filter_map(|(_, raw)| single(raw)).collect()
    }
}

/// Has a change made, and waits until the kernel has all of it.
fn change(
    (many, watch, stamps): (&Many, &Watch, &UpdateStamps),
    act: impl FnOnce(&Many) -> Result<()>,
) -> Result<Cost> {
    let lookout = Lookout::start(&many.farm.router)?;
    let still = many.engines.still();
    let from = Instant::now();
    act(many)?;
    let seen = lookout.times(LOOK)?;
    drop(still);
    wait_for("the kernel to follow", PATIENCE, || {
        let (count, last) = watch.last();
        Ok(Probe::when(last.is_some_and(|last| last > from), (), format!("{count} messages, none new")))
    })?;
    rest(watch, from)?;
    Ok(Cost { messages: watch.messages(from, Instant::now())?, sent: stamps.first_since(from), ordered: from, seen })
}

fn slots(row: &FarmRow, server: usize) -> Result<usize> {
    let id = router_id(server)?;
    let server = row.servers.iter().find(|one| one.router_id == id).with_context(|| format!("no server {id}"))?;
    Ok(server.slots.unwrap_or(0))
}

fn a_change_costs_its_slots_whatever_the_prefixes(lab: &mut Lab) -> Result<()> {
    large(lab, (12, 100))
}

/// The median.
fn middle(mut of: Vec<Duration>) -> Duration {
    of.sort();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

fn large(lab: &mut Lab, (servers, prefixes): (usize, usize)) -> Result<()> {
    let many = Many::open(lab, servers)?;
    let kept: Vec<Prefix> = (0..prefixes)
        .map(|n| format!("2001:db8:1000::{n:x}/128").parse().context("a prefix"))
        .collect::<Result<_>>()?;
    let of = |server: usize| -> Result<Vec<Prefix>> {
        let many = if server < KEEPERS { kept.as_slice() } else { &[] };
        Ok([&[service()?], many].concat())
    };
    let begun = Instant::now();
    for server in 0..servers {
        many.engines.advertise(server, &of(server)?, 10)?;
    }
    let wanted = net(SERVICE)?;
    wait_for("the router to know all servers", many.patience, || {
        let row = FarmRow::of(&many.lite, wanted)?;
        let there = row.servers.iter().filter(|server| server.in_class).count();
        Ok(Probe::when(there == servers, (), format!("{there} are in the class")))
    })?;
    many.wait_routes(prefixes + 1)?;
    many.wait_settled(servers)?;
    let memory = Processes::find(&many.farm.router, &["ospfd-lite"])?.memory("VmHWM:")?;
    println!(
        "{servers} servers, {prefixes} prefixes: all in the kernel after {:.1} s, with {} MiB at most",
        begun.elapsed().as_secs_f64(),
        memory >> 20
    );
    // Adjacencies break while all this is loaded, and come back together. With a list of all LSAs for each it was 220 MiB.
    ensure!(cfg!(debug_assertions) || memory < MEMORY, "ospfd-lite took {} MiB", memory >> 20);

    let watch = Watch::start(&many.farm.router)?;
    let host = &many.farm.servers.first().context("the server")?.netns;
    let stamps = UpdateStamps::start(host, "eth0")?;
    let daemon = find_process(&many.farm.router, "ospfd-lite")?;
    let _apart = (!cfg!(debug_assertions)).then(|| Apart::keep(daemon, Engines::THREAD)).transpose()?;
    println!("| change | slots moved | messages | of routes | first ms | last ms |\n|---|---|---|---|---|---|");
    let (mut firsts, mut overs): (Vec<Duration>, Vec<Duration>) = (vec![], vec![]);
    for server in (servers - CHANGED)..servers {
        for (what, cost) in [("out of the class", 20), ("back into it", 10)] {
            let before = FarmRow::of(&many.lite, net(SERVICE)?)?;
            // The router answers in its one task: who has this answer knows that nothing of the one before is left to do, such as
            // to free it, which took 1.6 ms.
            many.lite.show("counters")?;
            // The Hellos of all the engines go out together, once a second, and the processor that sends the update takes each
            // of them to each of the others. Rests of a second would meet that every time, or never.
            let phase = Duration::from_secs(1) * u32::try_from(firsts.len())? / (2 * CHANGED as u32);
            hold_for("the router", phase, || Ok(Probe::Ready(())))?;
            let seen = change((&many, &watch, &stamps), |many| many.engines.advertise(server, &[service()?], cost))?;
            let after = FarmRow::of(&many.lite, net(SERVICE)?)?;
            let moved = slots(&before, server)?.max(slots(&after, server)?);
            told(&format!("a server {what}"), moved, &seen);
            ensure!(seen.sent.is_some(), "nothing was seen of the update that made the kernel follow");
            ensure!(moved > 0, "the server had no slots: {before:?} {after:?}");
            ensure!(seen.messages.len() <= moved + 2, "{} messages for {moved} slots", seen.messages.len());
            firsts.push(seen.first());
            overs.push(seen.last().saturating_sub(Duration::from_micros(30) * u32::try_from(moved)?));
        }
    }
    let (first, over) = (middle(firsts), middle(overs));
    println!("in the median: first after {first:?}, last after {over:?} beyond 0.03 ms per slot");
    if !cfg!(debug_assertions) {
        // Else nobody could tell a slow router from a host that takes its memory away.
        let memory = Touched::measure();
        println!("{memory}");
        let bound = Duration::from_millis(1);
        ensure!(first < bound && over < bound, "first {first:?}, last {over:?}; {memory}");
    }

    // One of those that have all the prefixes goes: all of them change at once.
    let one = net("2001:db8:1000::/128")?;
    let moved = slots(&FarmRow::of(&many.lite, net(SERVICE)?)?, 0)? + slots(&FarmRow::of(&many.lite, one)?, 0)?;
    let seen = change((&many, &watch, &stamps), |many| many.engines.say(0, Command::Goodbye))?;
    let gone = address(0)?;
    ensure!(seen.gateways().iter().all(|hop| hop.gateway != gone), "a slot was given to the server that went");
    told(&format!("a server of {prefixes} prefixes goes"), moved, &seen);
    // Two groups have it.
    ensure!(moved > 0 && seen.messages.len() <= moved + 4, "{} messages for {moved} slots", seen.messages.len());
    Ok(())
}

fn told(what: &str, moved: usize, cost: &Cost) {
    println!(
        "| {what} | {moved} | {} | {} | {:.2} | {:.2} |",
        cost.messages.len(),
        cost.routes(),
        1e3 * cost.first().as_secs_f64(),
        1e3 * cost.last().as_secs_f64(),
    );
}

/// Seven servers in pairs have 21 sets of next hops.
fn the_seventeenth_group_has_thresholds(lab: &mut Lab) -> Result<()> {
    const SERVERS: usize = 7;
    let many = Many::open(lab, SERVERS)?;
    let mut of = vec![vec![]; SERVERS];
    let mut pairs = 0;
    for a in 0..SERVERS {
        for b in a + 1..SERVERS {
            let prefix: Prefix = format!("2001:db8:2000::{a}:{b}/128").parse()?;
            pairs += 1;
            for server in [a, b] {
                of.get_mut(server).context("a server")?.push(prefix);
            }
        }
    }
    // Of one server alone: it needs no group.
    let alone = "2001:db8:2000::99/128";
    of.first_mut().context("a server")?.push(alone.parse()?);
    // Somebody has to say that it is a service, else it is a prefix like any other.
    many.engines.claim(0, alone.parse()?, 1000.0)?;
    for (server, prefixes) in of.iter().enumerate() {
        many.engines.advertise(server, prefixes, 10)?;
    }
    many.wait_routes(pairs + 1)?;
    let rows = FarmRow::all(&many.lite)?;
    let named = |sharing: &str| rows.iter().filter(|row| row.sharing == sharing).collect::<Vec<_>>();
    let (stable, thresholds, single) = (named("stable"), named("hash-threshold"), named("single"));
    println!("{} stable, {} by thresholds, {} single", stable.len(), thresholds.len(), single.len());
    ensure!(stable.len() == GROUPS && thresholds.len() == pairs - GROUPS, "{rows:?}");
    for row in &thresholds {
        let why = row.why.as_deref().unwrap_or_default();
        ensure!(why.contains("16"), "{}: no reason is told: {why:?}", row.prefix);
    }
    ensure!(stable.iter().all(|row| row.why.is_none()), "{stable:?}");
    ensure!(single.len() == 1 && single.iter().all(|row| row.prefix == alone), "{single:?}");
    // What is shown is what the kernel has: groups of many slots, and groups of two.
    let fib = Fib::read(&many.farm.router)?;
    let mut sizes: Vec<_> = fib
        .objects()
        .values()
        .filter_map(|object| match object {
            Object::Group(members) => Some(members.len()),
            Object::Single(_) => None,
        })
        .collect();
    sizes.sort_unstable();
    let large = sizes.iter().filter(|size| **size > 2).count();
    ensure!(large == GROUPS, "the kernel's groups have {sizes:?} members");
    Ok(())
}
