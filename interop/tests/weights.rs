//! Weights at the link router: by the capacity that the servers state, also through other routers; by the number of
//! originators; and what equal shares cost a farm of unlike servers.

mod common;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use common::{
    PATIENCE, SERVICE,
    arms::{Arm, Tree},
    bench::{Bench, Row},
    ours::{Dns, Node, Setup},
    stated::{lite, router_id},
};
use interop::{
    harness::{self, Needs},
    lab::Lab,
    lab_tests,
    peer::{Peer, Version},
    shown::FarmRow,
    topology::net,
    wait::{Probe, hold_for, wait_for},
};

fn main() -> ExitCode {
    let tests = lab_tests![
        equal_shares_lose_what_small_servers_cannot_take,
        equal_shares_lose_what_a_small_knot_cannot_take,
        shares_by_capacity_lose_nothing,
        knots_with_shares_by_capacity_lose_nothing,
        capacities_arrive_through_two_frr_routers,
        three_servers_behind_two_frr_leaves_get_a_third_each,
        three_servers_behind_two_bird_leaves_get_a_third_each,
    ];
    // Others would take the processor from the servers, and their capacity with it.
    harness::main_at_once(1, Needs::Daemons, &tests)
}

/// A farm of servers 4:2:1.
#[derive(Debug, Clone, Copy)]
struct Unlike {
    parts: &'static [f64],
    /// Queries per second of the smallest.
    unit: f64,
    dns: Dns,
}

/// As in the simulator's acceptance table: our responders, as Knot's queue of 256 is 2.5 s of the smallest's work.
const EIGHT: Unlike = Unlike { parts: &[4.0, 2.0, 1.0, 4.0, 2.0, 1.0, 4.0, 2.0], unit: 100.0, dns: Dns::Responder };
/// Real servers.
const THREE: Unlike = Unlike { parts: &[4.0, 2.0, 1.0], unit: 300.0, dns: Dns::Knot };

impl Unlike {
    fn capacity(&self) -> f64 {
        self.unit * self.parts.iter().sum::<f64>()
    }

    /// The part that is lost in the long run when each is offered an equal share.
    fn due(&self) -> f64 {
        let share = LOAD * self.capacity() / self.parts.len() as f64;
        let over: f64 = self.parts.iter().map(|part| (share - part * self.unit).max(0.0)).sum();
        over / (LOAD * self.capacity())
    }
}

const LOAD: f64 = 0.9;
/// How long is measured.
const MEASURED: Duration = Duration::from_secs(15);
/// How often at most.
const PERIODS: usize = 4;
/// How late a query may be for its period to count; half of what the queue of the smallest server can hold.
const BEHIND: Duration = Duration::from_millis(200);

/// What a farm of unlike servers comes to at 0.9 of its capacity: lost (percent), and the greatest utilisation of a server
/// beside the mean.
fn unlike(lab: &mut Lab, unlike: Unlike, weights: &str) -> Result<(f64, f64)> {
    let Unlike { parts, unit, dns } = unlike;
    let fib = format!("weights = {weights:?}\n");
    let setup = Setup {
        servers: u16::try_from(parts.len())?,
        dns,
        capacity: unit,
        parts,
        policy: "static",
        min_ls_interval: 5.0,
        fib: &fib,
        // So that no server's part of them differs by much from its share by chance.
        flows: 10_000,
        ..Setup::new("", &Version::Ours)
    };
    let mut bench = Bench::open(lab, setup, LOAD)?;
    let lite = lite(lab, &bench.farm.farm.router, "router")?;
    let total: f64 = parts.iter().sum();
    wait_for("the router to weigh the servers", PATIENCE, || {
        let row = FarmRow::of(&lite, net(SERVICE)?)?;
        let due = |part: &f64| if weights == "capacity" { part / total } else { 1.0 / parts.len() as f64 };
        let near = |(node, part): (&Node, &f64)| (row.weight(node.router_id) - due(part)).abs() < 0.02;
        Ok(Probe::when(bench.farm.nodes.iter().zip(parts).all(near), (), format!("{row:?}")))
    })?;
    // Beyond the filling of the queues.
    bench.pass(Duration::from_secs(5), |_| Ok(()))?;
    let (row, (from, to)) = undisturbed(&mut bench, &format!("4:2:1 at {LOAD}, weights {weights}"))?;
    let mut used = vec![];
    for (node, part) in bench.farm.nodes.iter().zip(parts) {
        let answers = *row.clients.answers.get(node.speaker.name()).unwrap_or(&0) as f64;
        used.push(answers / (to - from).as_secs_f64() / (part * unit));
    }
    let mean = row.clients.answered() as f64 / (to - from).as_secs_f64() / bench.capacity;
    let most = used.iter().copied().fold(0.0, f64::max);
    let shown: Vec<_> = used.iter().map(|one| format!("{one:.2}")).collect();
    println!(
        "| servers | weights | sent | lost % | p99 ms | max/mean utilisation | utilisation |\n|---|---|---|---|---|---|---|"
    );
    println!(
        "| {} | {weights} | {} | {:.2} | {:.0} | {:.2} | {} |",
        parts.len(),
        row.clients.sent,
        row.lost(),
        row.clients.p99.as_secs_f64() * 1e3,
        most / mean,
        shown.join(" "),
    );
    Ok((row.lost(), most / mean))
}

/// A period in which the machine let the clients ask when they were to: what they make up for afterwards overruns queues of
/// less than a second, with whatever weights.
fn undisturbed(bench: &mut Bench, what: &str) -> Result<(Row, (Instant, Instant))> {
    let mut seen = vec![];
    for _ in 0..PERIODS {
        let from = Instant::now();
        bench.pass(MEASURED, |_| Ok(()))?;
        let to = Instant::now();
        let row = bench.row(what, (from, to), None)?;
        let due = LOAD * bench.capacity * MEASURED.as_secs_f64();
        if row.clients.behind < BEHIND && row.clients.sent as f64 > 0.95 * due {
            return Ok((row, (from, to)));
        }
        seen.push(format!("{row}: {} queries of {due:.0}, {:?} behind at worst", row.clients.sent, row.clients.behind));
        println!("not counted: {}", seen.last().map_or("", |text| text));
    }
    bail!("this machine has no time for {what}: {seen:?}");
}

fn equal(lab: &mut Lab, farm: Unlike) -> Result<()> {
    let (lost, uneven) = unlike(lab, farm, "equal")?;
    let due = 100.0 * farm.due();
    // A machine that is busy with other things makes it more.
    ensure!(lost > due - 3.0, "{lost:.1} % lost where {due:.1} % are due");
    ensure!(uneven > 1.2, "max/mean utilisation {uneven:.2}");
    Ok(())
}

fn by_capacity(lab: &mut Lab, farm: Unlike) -> Result<()> {
    let (lost, uneven) = unlike(lab, farm, "capacity")?;
    ensure!(lost < 1.0, "{lost:.2} % lost");
    ensure!(uneven < 1.15, "max/mean utilisation {uneven:.2}");
    Ok(())
}

fn equal_shares_lose_what_small_servers_cannot_take(lab: &mut Lab) -> Result<()> {
    equal(lab, EIGHT)
}

fn equal_shares_lose_what_a_small_knot_cannot_take(lab: &mut Lab) -> Result<()> {
    equal(lab, THREE)
}

fn shares_by_capacity_lose_nothing(lab: &mut Lab) -> Result<()> {
    by_capacity(lab, EIGHT)
}

fn knots_with_shares_by_capacity_lose_nothing(lab: &mut Lab) -> Result<()> {
    by_capacity(lab, THREE)
}

/// How far a packet share may be from a weight by chance: three deviations of a part `p` of 2,000 flows and 1,024 slots.
fn chance(p: f64) -> f64 {
    3.0 * (p * (1.0 - p) * (1.0 / 2000.0 + 1.0 / 1024.0)).sqrt()
}

/// Waits until the spine weighs the servers so, and measures by packets that it shares so.
fn shared(tree: &Tree, wanted: &[f64]) -> Result<()> {
    let row = wait_for("the weights", PATIENCE, || {
        let row = tree.shown()?;
        let near = |(place, weight): (usize, &f64)| (row.weight(router_id(place)) - weight).abs() < 0.02;
        let all = wanted.iter().enumerate().all(near) && row.servers.len() == wanted.len();
        Ok(Probe::when(all, row.clone(), format!("{row:?}")))
    })?;
    tree.flows.settle()?;
    let from = Instant::now();
    // Every flow some ten times.
    hold_for("the spine", Duration::from_secs(4), || Ok(Probe::Ready(())))?;
    let counts = tree.flows.counts(from, Instant::now())?;
    println!("{}: {} of {} lost", tree.routers.join(", "), counts.lost, counts.sent);
    for (place, weight) in wanted.iter().enumerate() {
        let share = counts.share(place);
        println!(
            "s{}: due {weight:.3}, weight {:.3}, of the packets {share:.3}",
            place + 1,
            row.weight(router_id(place))
        );
        ensure!((share - weight).abs() < chance(*weight), "server {place} has {share:.3} where {weight:.3} is due");
    }
    ensure!(counts.sent > 10_000 && counts.lost == 0, "{counts:?}");
    Ok(())
}

fn capacities_arrive_through_two_frr_routers(lab: &mut Lab) -> Result<()> {
    let path = [Version::Frr(None), Version::Frr(None)];
    let servers = [[4000.0], [2000.0], [1000.0]];
    let arms = servers.each_ref().map(|servers| Arm { routers: &path, servers });
    let tree = Tree::open(lab, "weights = \"capacity\"\n", &arms)?;
    shared(&tree, &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0])
}

/// A server behind one leaf and two behind the other: equal cost alone would give 50, 25 and 25 %.
fn thirds(lab: &mut Lab, leaf: &Version) -> Result<()> {
    let path = [leaf.clone()];
    let arms = [Arm { routers: &path, servers: &[1000.0] }, Arm { routers: &path, servers: &[1000.0, 1000.0] }];
    let tree = Tree::open(lab, "weights = \"originators\"\n", &arms)?;
    let row = tree.shown()?;
    ensure!(row.weights == "originators", "not weighed as configured: {row:?}");
    shared(&tree, &[1.0 / 3.0; 3])
}

fn three_servers_behind_two_frr_leaves_get_a_third_each(lab: &mut Lab) -> Result<()> {
    thirds(lab, &Version::Frr(None))
}

fn three_servers_behind_two_bird_leaves_get_a_third_each(lab: &mut Lab) -> Result<()> {
    thirds(lab, &Version::Bird(None))
}
