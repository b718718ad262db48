//! Several next hops per server (`policy = "shares"`) behind routers that share equally: each server as several routers,
//! their number following its capacity, and what becomes of a farm of unlike servers.

mod common;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use common::{
    PATIENCE, SERVICE,
    bench::{Bench, Row},
    ours::Dns,
    shares::{
        Shares, addresses, four_routers_of_one_server, ids, next_hops, open, share_addresses, speaker, wait_forgotten,
        wait_next_hops,
    },
};
use interop::{
    dns::client::Arrivals,
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    peer::{Peer, Version, wait_full},
    topology::net,
    wait::{Probe, wait_for},
};

/// As the capacities, 4:2:1, with what the routers' width of 64 has room for.
const SHARES: [usize; 3] = [8, 4, 2];
const POLICY: &str = "policy = \"shares\"\nshares = \"auto\"";
/// FRR keeps a flushed LSA for a minute.
const FORGOTTEN: Duration = Duration::from_secs(100);
/// Source ports: with fewer the smallest server's part would stray by more than it has to spare.
const FLOWS: usize = 12_000;

fn main() -> ExitCode {
    let tests = lab_tests![
        four_routers_of_one_server_behind_frr,
        four_routers_of_one_server_behind_bird,
        four_routers_of_one_server_behind_ospfd_lite,
        shares_follow_the_capacity_behind_frr,
        shares_follow_the_capacity_behind_bird,
        a_farm_of_4_2_1_at_90_percent_is_lossless_behind_frr,
        the_same_farm_without_shares_is_not,
        fewer_shares_after_a_crash_leave_nothing_in_the_area,
    ];
    // Nine engines at each of three servers, in the dev profile.
    harness::main_at_once(2, Needs::Daemons, &tests)
}

fn four_routers_of_one_server_behind_frr(lab: &mut Lab) -> Result<()> {
    four_routers_of_one_server(lab, &Version::Frr(None))
}

fn four_routers_of_one_server_behind_bird(lab: &mut Lab) -> Result<()> {
    four_routers_of_one_server(lab, &Version::Bird(None))
}

fn four_routers_of_one_server_behind_ospfd_lite(lab: &mut Lab) -> Result<()> {
    four_routers_of_one_server(lab, &Version::Ours)
}

fn shares_follow_the_capacity_behind_frr(lab: &mut Lab) -> Result<()> {
    // Some 80 ms on a machine with nothing else to do; nothing but the death itself takes the routes away.
    follow(lab, &Version::Frr(None), Duration::from_secs(1))
}

fn shares_follow_the_capacity_behind_bird(lab: &mut Lab) -> Result<()> {
    // BIRD computes once a second.
    follow(lab, &Version::Bird(None), Duration::from_millis(2500))
}

/// What the servers of the farm can answer: 4:2:1.
fn capacities(all: f64) -> [f64; 3] {
    [4.0, 2.0, 1.0].map(|part| part / 7.0 * all)
}

/// The number of next hops follows the capacity, packets follow the next hops, and a death or an end takes all of them.
fn follow(lab: &mut Lab, router: &Version, relief: Duration) -> Result<()> {
    let capacities = capacities(1400.0);
    let mut bench = open(lab, Shares { router, capacities: &capacities, dns: Dns::Responder, policy: POLICY })?;
    let id = bench.farm.router;
    let result = (|| {
        let all: Vec<_> = (0..3).flat_map(ids).collect();
        wait_full(lab.peer(id)?, &all, PATIENCE)?;
        let took = wait_next_hops(&bench.farm, &SHARES, PATIENCE)?;
        println!(
            "{}: {} routers Full, {SHARES:?} next hops after {:.1} s",
            bench.router,
            all.len(),
            took.as_secs_f64()
        );
        bench.ask(0.7);
        let (row, evenness) = measure(&mut bench, ("4:2:1 at 0.7", &capacities), Duration::from_secs(10))?;
        // Of 2,000 flows a seventh strays by 5 %.
        ensure!(row.lost() < 0.5 && evenness < 1.25, "{row}, max/mean {evenness:.3}");
        shown(&mut bench)?;
        drained(&mut bench)?;
        slower(&mut bench)?;
        death(&mut bench, relief)?;
        let ids = ids(2);
        let netns = bench.farm.node(2)?.place.netns.clone();
        bench.farm.node(2)?.speaker.stop()?;
        wait_next_hops(&bench.farm, &[2, 0, 0], PATIENCE)?;
        wait_forgotten(lab, id, &ids, FORGOTTEN)?;
        ensure!(share_addresses(&netns)?.is_empty(), "left on the interface: {:?}", share_addresses(&netns)?);
        Ok(())
    })();
    bench.farm.explain(lab, |_, _| result)
}

/// A period of load: what was lost, and how evenly the servers were used (greatest by mean utilisation).
fn measure(bench: &mut Bench, (what, capacities): (&str, &[f64]), time: Duration) -> Result<(Row, f64)> {
    // Beyond what the queues had before.
    bench.pass(Duration::from_secs(2), |_| Ok(()))?;
    let from = Instant::now();
    bench.pass(time, |_| Ok(()))?;
    let row = bench.row(what, (from, Instant::now()), None)?;
    println!("{}\n{row}", Row::HEAD);
    let names: Vec<_> = bench.farm.nodes.iter().map(|node| node.speaker.name().to_owned()).collect();
    let asked = row.clients.sent as f64 / time.as_secs_f64() / capacities.iter().sum::<f64>();
    let answered = |name: &String| row.clients.answers.get(name).copied().unwrap_or(0) as f64;
    let rate = |(name, capacity): (&String, &f64)| answered(name) / time.as_secs_f64() / capacity;
    let used: Vec<f64> = names.iter().zip(capacities).map(rate).collect();
    let mean = row.clients.answered() as f64 / time.as_secs_f64() / capacities.iter().sum::<f64>();
    let most = used.iter().copied().fold(0.0, f64::max);
    let hops = next_hops(&bench.farm)?;
    println!("asked {asked:.3} of the capacity; used {used:.3?}; max/mean {:.3}; next hops {hops:?}", most / mean);
    Ok((row, most / mean))
}

/// What the commands say of the routers of the strongest server.
fn shown(bench: &mut Bench) -> Result<()> {
    let daemon = bench.farm.node(0)?.speaker.daemon();
    wait_for("nine routers Full, eight of which advertise", PATIENCE, || {
        let text = daemon.command(&["explain", "dns"])?;
        let lines =
            |word: &str| text.lines().filter(|line| line.starts_with("share router") && line.contains(word)).count();
        let seen = (text.contains("8 of 9"), lines("Full with 192.0.2.1"), lines(": advertises;"), lines(": ready;"));
        Ok(Probe::when(seen == (true, 9, 8, 1), (), format!("{seen:?}: {text}")))
    })?;
    wait_for("each server to be one, with its next hops", PATIENCE, || {
        let rows = daemon.show("farm")?;
        let hops: Vec<_> = rows.as_array().into_iter().flatten().filter_map(|row| row["next_hops"].as_u64()).collect();
        Ok(Probe::when(hops == [8, 4, 2], (), rows.to_string()))
    })
}

/// A drain takes all next hops of a server away, and its end brings them back.
fn drained(bench: &mut Bench) -> Result<()> {
    bench.farm.node(2)?.speaker.daemon().command(&["drain", "dns"])?;
    wait_next_hops(&bench.farm, &[SHARES[0], SHARES[1], 0], PATIENCE)?;
    bench.farm.node(2)?.speaker.daemon().command(&["undrain", "dns"])?;
    wait_next_hops(&bench.farm, &SHARES, PATIENCE).map(drop)
}

/// The strongest server becomes as weak as the weakest: it gives next hops back.
fn slower(bench: &mut Bench) -> Result<()> {
    bench.farm.set_capacity(0, 200.0)?;
    let took = wait_next_hops(&bench.farm, &[2, SHARES[1], SHARES[2]], PATIENCE)?;
    println!("the strongest at a quarter: {:?} next hops after {:.1} s", next_hops(&bench.farm)?, took.as_secs_f64());
    Ok(())
}

/// The process dies under load: every next hop of the server goes at once.
fn death(bench: &mut Bench, relief: Duration) -> Result<()> {
    let (killed, _) = bench.farm.kill_service(1)?;
    let settled = wait_next_hops(&bench.farm, &[2, 0, SHARES[2]], PATIENCE)?;
    let history = bench.farm.monitor.history(net(SERVICE)?);
    let own = addresses(1);
    let has = |gateways: &std::collections::BTreeSet<_>| gateways.iter().any(|gateway| own.contains(gateway));
    let gone =
        history.iter().find(|change| change.at > killed && !has(&change.gateways)).map(|change| change.at - killed);
    println!("death: its next hops were gone after {gone:?}");
    ensure!(gone.is_some_and(|gone| gone < relief), "gone after {gone:?}, settled after {settled:?}");
    Ok(())
}

/// Knot under a brake at nine tenths of what the farm can do.
fn at_90_percent(lab: &mut Lab, (policy, hops): (&str, [usize; 3])) -> Result<(Row, f64)> {
    let capacities = capacities(1750.0);
    let router = Version::Frr(None);
    let mut bench = open(lab, Shares { router: &router, capacities: &capacities, dns: Dns::Knot, policy })?;
    let result = (|| {
        wait_next_hops(&bench.farm, &hops, PATIENCE)?;
        bench.clients = bench.farm.clients(0.0, FLOWS, Arrivals::Poisson(1))?;
        bench.ask(0.9);
        let measured =
            measure(&mut bench, (policy.lines().next().unwrap_or(policy), &capacities), Duration::from_secs(25))?;
        ensure!(next_hops(&bench.farm)? == hops, "next hops are {:?}", next_hops(&bench.farm)?);
        Ok(measured)
    })();
    bench.farm.explain(lab, |_, _| result)
}

fn a_farm_of_4_2_1_at_90_percent_is_lossless_behind_frr(lab: &mut Lab) -> Result<()> {
    let (row, evenness) = at_90_percent(lab, (POLICY, SHARES))?;
    ensure!(row.lost() < 1.0 && evenness < 1.1, "{row}, max/mean {evenness:.3}");
    Ok(())
}

/// What the one above is beside: without shares each server gets a third.
fn the_same_farm_without_shares_is_not(lab: &mut Lab) -> Result<()> {
    let (row, evenness) = at_90_percent(lab, ("policy = \"static\"", [1, 1, 1]))?;
    ensure!(row.lost() > 12.0 && evenness > 1.2, "{row}, max/mean {evenness:.3}");
    Ok(())
}

/// A daemon that was killed has left LSAs of four routers; the next one, of two, flushes those of the other two.
fn fewer_shares_after_a_crash_leave_nothing_in_the_area(lab: &mut Lab) -> Result<()> {
    let shares = |count: usize| format!("policy = \"shares\"\nshares = {count}");
    let (four, two) = (shares(4), shares(2));
    let router = Version::Ours;
    let shares = Shares { router: &router, capacities: &[400.0], dns: Dns::Responder, policy: &four };
    let mut bench = open(lab, shares)?;
    let (id, ids) = (bench.farm.router, ids(0));
    let netns = bench.farm.node(0)?.place.netns.clone();
    bench.farm.explain(lab, |farm, lab| {
        wait_next_hops(farm, &[4], PATIENCE)?;
        farm.node(0)?.speaker.daemon().kill()?;
        // Still there, and so is everything else of theirs.
        for gone in ids.get(2..4).unwrap_or_default() {
            let database = lab.peer(id)?.database()?;
            ensure!(database.0.iter().any(|row| row.router == *gone), "nothing of {gone}");
        }
        ensure!(share_addresses(&netns)?.len() == 4, "{:?}", share_addresses(&netns)?);
        farm.node(0)?.speaker = speaker(lab, &netns, (0, 400.0), &two)?;
        farm.node(0)?.speaker.start()?;
        wait_next_hops(farm, &[2], PATIENCE)?;
        wait_forgotten(lab, id, ids.get(2..4).unwrap_or_default(), PATIENCE)?;
        let wanted = addresses(0).into_iter().take(2).collect();
        wait_for("the addresses of two routers", PATIENCE, || {
            let there = share_addresses(&netns)?;
            Ok(Probe::when(there == wanted, (), format!("{there:?}")))
        })
    })
}
