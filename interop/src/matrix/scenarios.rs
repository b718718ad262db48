//! The scenarios that are played on the farm.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{
    cell::{Result as Word, Verdict},
    stage::{COST, PATIENCE, Program, SERVICE, Stage},
    table::Role,
};
use crate::{
    fib::Fib,
    peer::{Database, LsaRow, Peer, Role as Standing, State, wait_full, wait_same_database},
    topology::{Farm, net},
    wait::{Probe, wait_for},
};

/// The server that things happen to.
const ONE: usize = 0;
/// The cost outside of the class.
const AWAY: u16 = 20;
/// What an operator raises a cost to who wants a server empty.
const EMPTY: u16 = 65535;
const ROUNDS: usize = 4;
const DEAD: Duration = Duration::from_secs(4);
/// A restart that nobody need notice by the dead interval. It takes 0.1 s where nothing loads the machine.
const SHORT: Duration = Duration::from_secs(3);
/// Nothing of a former life is told any more after so long.
const SETTLED: Duration = Duration::from_secs(5);
/// What is said at once is there by then, also where a router waits for its tick of a second and refuses what comes within
/// a second of the last change.
const AT_ONCE: Duration = Duration::from_millis(2500);
/// What only the dead interval tells is there by then.
const AFTER_DEAD: Duration = Duration::from_secs(8);
const INTRA_AREA_PREFIX: u16 = 0x2009;
const ROUTER_INFORMATION: u16 = 0xa00c;

/// All Full in their roles, with the same database.
pub fn adjacency(stage: &mut Stage<'_>) -> Result<Verdict> {
    let expected = match stage.cast.role {
        Role::Dr => vec![(0, 1, Standing::Backup), (1, 0, Standing::Dr)],
        Role::Bdr => vec![(0, 1, Standing::Dr), (1, 0, Standing::Backup)],
        Role::LinkRouter | Role::Server | Role::Middle => vec![],
    };
    for (looking, seen, standing) in expected {
        let id = stage.routers.get(looking).context("two routers")?.id;
        let seen = stage.routers.get(seen).context("two routers")?.router_id;
        let neighbors = stage.lab.peer(id)?.neighbors()?;
        let shown = neighbors.iter().find(|neighbor| neighbor.router_id == seen).and_then(|neighbor| neighbor.role);
        ensure!(shown == Some(standing), "{seen} should be {standing:?}, is {shown:?}: {neighbors:?}");
    }
    let lsas = same_database(stage)?;
    let opened = stage.opened;
    let verdict = stage.pass().with("all Full", opened.all_full).with("one more", opened.one_more);
    Ok(verdict.with_number("LSAs alike", lsas))
}

/// Waits until everybody's database is that of the first router.
fn same_database(stage: &mut Stage<'_>) -> Result<usize> {
    let mut lsas = 0;
    for router in 1..stage.routers.len() {
        lsas = wait_same_database(PATIENCE, || Ok((stage.router_database(0)?, stage.router_database(router)?)))?;
    }
    for server in stage.all() {
        lsas = wait_same_database(PATIENCE, || {
            Ok((stage.router_database(0)?, stage.daemon(server)?.database()?.on_link("eth0")))
        })?;
    }
    if stage.head.is_some() {
        wait_same_database(PATIENCE, || {
            let id = stage.routers.first().context("a router")?.id;
            let router = stage.lab.peer(id)?.database()?.on_link(Farm::CLIENT_SIDE);
            Ok((router, head_database(stage)?))
        })?;
    }
    Ok(lsas)
}

fn head_database(stage: &mut Stage<'_>) -> Result<Database> {
    let id = stage.head.as_ref().context("a router behind the peer")?.id;
    Ok(stage.lab.peer(id)?.database()?.on_link("eth0"))
}

/// All next hops in all kernels, equally.
pub fn ecmp(stage: &mut Stage<'_>) -> Result<Verdict> {
    for router in &stage.routers {
        wait_for("equal weights", PATIENCE, || {
            let fib = router.monitor.fib();
            let route = fib.route(net(SERVICE)?).context("no route")?;
            let weights: Vec<_> = fib.paths(route).into_values().collect();
            let spread = weights.iter().max().zip(weights.iter().min()).map(|(most, least)| most - least);
            // ospfd-lite deals out slots: to one slot.
            let equal = weights.len() == stage.servers.len() && spread.is_some_and(|spread| spread <= 1);
            Ok(Probe::when(equal, (), format!("weights {weights:?}")))
        })?;
    }
    Ok(stage.pass().with_number("next hops", stage.servers.len()).with("FIB", stage.opened.fib))
}

/// Sets the cost of a server, by its operator's means.
pub fn set_cost(stage: &mut Stage<'_>, server: usize, cost: u16) -> Result<()> {
    match stage.speaker(server)? {
        Some(speaker) => speaker.daemon().command(&["cost", "dns", &cost.to_string()]).map(drop),
        None => stage.daemon(server)?.set_metric(net(SERVICE)?, cost),
    }
}

/// A cost out of the class and back, some times.
pub fn cost_change(stage: &mut Stage<'_>) -> Result<Verdict> {
    let (mut out, mut back) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        stage.settle(&stage.all())?;
        let since = Instant::now();
        set_cost(stage, ONE, AWAY)?;
        out.push(stage.wait_members(&stage.rest(), since)?);
        stage.settle(&stage.rest())?;
        let since = Instant::now();
        set_cost(stage, ONE, COST)?;
        back.push(stage.wait_members(&stage.all(), since)?);
    }
    stage.head_forwards(true, Instant::now())?;
    Ok(stage.pass().with_spread("out", &out).with_spread("back", &back))
}

/// Drained and back.
pub fn drain(stage: &mut Stage<'_>) -> Result<Verdict> {
    stage.settle(&stage.all())?;
    let since = Instant::now();
    match stage.speaker(ONE)? {
        Some(speaker) => drop(speaker.daemon().command(&["drain", "dns"])?),
        None => set_cost(stage, ONE, EMPTY)?,
    }
    let mut verdict = stage.pass().with("out", stage.wait_members(&stage.rest(), since)?);
    if stage.speaker(ONE)?.is_some() {
        verdict = verdict.with("flushed", stage.wait_forgotten(ONE, Some(INTRA_AREA_PREFIX), since)?);
    }
    stage.settle(&stage.rest())?;
    let since = Instant::now();
    match stage.speaker(ONE)? {
        Some(speaker) => drop(speaker.daemon().command(&["undrain", "dns"])?),
        None => set_cost(stage, ONE, COST)?,
    }
    Ok(verdict.with("back", stage.wait_members(&stage.all(), since)?))
}

/// SIGTERM.
pub fn flush(stage: &mut Stage<'_>) -> Result<Verdict> {
    stage.settle(&stage.all())?;
    let since = Instant::now();
    match stage.speaker(ONE)? {
        Some(speaker) => speaker.daemon().ask_to_stop()?,
        None => stage.daemon(ONE)?.stop()?,
    }
    let gone = stage.wait_members(&stage.rest(), since)?;
    ensure!(gone < AT_ONCE, "after SIGTERM out of the FIB after {:.1} s only", gone.as_secs_f64());
    let mut verdict = stage.pass().with("out", gone);
    match stage.wait_forgotten(ONE, None, since) {
        Ok(flushed) => verdict = verdict.with("flushed", flushed),
        Err(left) => {
            verdict.result = Word::Failure;
            verdict.text = format!("left without a flush: {left:#}");
        }
    }
    stage.daemon(ONE)?.stop()?;
    // The last ones too: what is behind the peer hears of it through the peer.
    if stage.head.is_some() {
        let since = Instant::now();
        for server in stage.rest() {
            if let Some(speaker) = stage.speaker(server)? {
                speaker.daemon().ask_to_stop()?;
            }
        }
        let gone = stage.head_forwards(false, since)?.context("a router behind the peer")?;
        ensure!(gone < AT_ONCE, "behind the peer the last server is gone after {:.1} s only", gone.as_secs_f64());
        verdict = verdict.with("behind the peer, all", gone);
        for server in stage.rest() {
            stage.daemon(server)?.stop()?;
        }
    }
    Ok(verdict)
}

/// Everything that can die.
pub fn death(stage: &mut Stage<'_>) -> Result<Verdict> {
    if matches!(stage.cast.role, Role::Dr | Role::Bdr) {
        return death_of_the_dr(stage);
    }
    stage.settle(&stage.all())?;
    let mut verdict = stage.pass();
    if let Program::Ours(_, service) = &mut stage.node(ONE)?.program {
        let since = Instant::now();
        drop(service.take());
        let gone = stage.wait_members(&stage.rest(), since)?;
        ensure!(gone < AT_ONCE, "the service died and left after {:.1} s only", gone.as_secs_f64());
        verdict = verdict.with("service", gone);
        stage.serve(ONE)?;
        stage.wait_members(&stage.all(), since)?;
    }
    stage.settle(&stage.all())?;
    let since = Instant::now();
    stage.node(ONE)?.place.port.unplug()?;
    let gone = stage.wait_members(&stage.rest(), since)?;
    ensure!(gone < AFTER_DEAD, "an unplugged host left after {:.1} s only", gone.as_secs_f64());
    verdict = verdict.with("host", gone);
    let since = Instant::now();
    stage.node(ONE)?.place.port.plug()?;
    verdict = verdict.with("back", stage.wait_members(&stage.all(), since)?);
    stage.settle(&stage.all())?;
    let since = Instant::now();
    stage.daemon(ONE)?.kill()?;
    let gone = stage.wait_members(&stage.rest(), since)?;
    ensure!(gone < AFTER_DEAD, "a killed daemon left after {:.1} s only", gone.as_secs_f64());
    Ok(verdict.with("daemon", gone))
}

/// The Designated Router is killed: the Backup takes over, and its kernel forwards to all.
fn death_of_the_dr(stage: &mut Stage<'_>) -> Result<Verdict> {
    let (dies, lives) = if stage.cast.role == Role::Dr { (0, 1) } else { (1, 0) };
    let dead = stage.routers.get(dies).context("two routers")?;
    let (dead, dead_id) = (dead.id, dead.router_id);
    let since = Instant::now();
    stage.lab.peer(dead)?.kill()?;
    let survivor = stage.routers.get(lives).context("two routers")?;
    let (id, survivor_id) = (survivor.id, survivor.router_id);
    wait_for("the dead Designated Router to be forgotten", PATIENCE, || {
        let neighbors = stage.lab.peer(id)?.neighbors()?;
        Ok(Probe::when(!neighbors.iter().any(|n| n.router_id == dead_id), (), format!("{neighbors:?}")))
    })?;
    for server in stage.all() {
        wait_for("the survivor to be the servers' Designated Router", PATIENCE, || {
            let neighbors = stage.daemon(server)?.neighbors()?;
            let is = |n: &crate::peer::Neighbor| {
                n.router_id == survivor_id && n.state == State::Full && n.role == Some(Standing::Dr)
            };
            Ok(Probe::when(neighbors.iter().any(is), (), format!("{neighbors:?}")))
        })?;
    }
    let taken_over = since.elapsed();
    let all = stage.all();
    let survivor = stage.routers.get(lives).context("two routers")?;
    survivor.monitor.wait_gateways(net(SERVICE)?, &stage.addresses(&all), since, PATIENCE)?;
    wait_for("the survivor's kernel to be at rest", PATIENCE, || survivor.at_rest(&stage.addresses(&all), SETTLED))?;
    ensure!(taken_over < DEAD + AFTER_DEAD, "taken over after {:.1} s only", taken_over.as_secs_f64());
    let survivor = stage.routers.get(lives).context("two routers")?;
    let gap = stage.longest_gap(survivor, &all, since)?;
    ensure!(gap < DEAD + AFTER_DEAD, "a gap of {:.1} s", gap.as_secs_f64());
    Ok(stage.pass().with("taken over", taken_over).with("gap", gap))
}

/// Killed and there again within a second.
pub fn restart(stage: &mut Stage<'_>) -> Result<Verdict> {
    let all = stage.all();
    // A peer that has just told of itself may not again for 5 s (MinLSInterval): the hardest time to come back.
    if stage.cast.role != Role::Server {
        stage.settle(&all)?;
    }
    let since = Instant::now();
    let (down, full) = match stage.cast.role {
        Role::LinkRouter | Role::Middle => {
            let routers: Vec<_> = stage.routers.iter().map(|router| router.router_id).collect();
            again(stage.daemon(ONE)?, &routers)?
        }
        Role::Server | Role::Dr | Role::Bdr => {
            let router = stage.routers.iter().find(|router| router.ours).context("no ospfd-lite")?;
            let (id, own) = (router.id, router.router_id);
            let others = stage.routers.iter().map(|other| other.router_id).filter(|other| *other != own);
            let others: Vec<_> = others.chain(stage.servers.iter().map(|node| node.router_id)).collect();
            again(stage.lab.peer(id)?, &others)?
        }
    };
    stage.wait_members(&all, since)?;
    stage.wait_full(all.len())?;
    stage.wait_at_rest(SETTLED)?;
    let mut gap = Duration::ZERO;
    for router in &stage.routers {
        let without = stage.longest_gap(router, &all, since)?;
        ensure!(!router.ours || without.is_zero(), "ospfd-lite's own kernel lost a next hop for {without:?}");
        gap = gap.max(without);
    }
    for router in &stage.routers {
        let netns = stage.lab.peer(router.id)?.netns().clone();
        ensure!(Fib::read(&netns)?.gateways(net(SERVICE)?) == stage.addresses(&all), "a dump says otherwise");
    }
    ensure!(gap < DEAD + AFTER_DEAD, "a gap of {:.1} s", gap.as_secs_f64());
    Ok(stage.pass().with("down", down).with("Full", full).with("gap", gap))
}

/// Kills a daemon and starts it; how long it was down, and until it is Full again.
fn again(daemon: &mut dyn Peer, neighbors: &[std::net::Ipv4Addr]) -> Result<(Duration, Duration)> {
    let since = Instant::now();
    daemon.kill()?;
    daemon.start()?;
    let down = since.elapsed();
    ensure!(down < SHORT, "it was down for {down:?}");
    wait_full(daemon, neighbors, PATIENCE)?;
    Ok((down, since.elapsed()))
}

/// The Router-Information LSAs of our servers, everywhere and alike.
pub fn router_information(stage: &mut Stage<'_>) -> Result<Verdict> {
    let ours: Vec<_> = stage
        .servers
        .iter()
        .filter(|node| matches!(node.program, Program::Ours(..)))
        .map(|node| node.router_id)
        .collect();
    let rows = |database: &Database| -> Vec<LsaRow> {
        let wanted = |row: &&LsaRow| row.ls_type == ROUTER_INFORMATION && ours.contains(&row.router);
        database.0.iter().filter(wanted).map(|row| LsaRow { length: None, ..row.clone() }).collect()
    };
    let bytes = wait_for("the Router-Information LSAs to be everywhere and alike", PATIENCE, || {
        let mut all = vec![];
        for router in 0..stage.routers.len() {
            all.push(stage.router_database(router)?);
        }
        for server in stage.all() {
            all.push(stage.daemon(server)?.database()?.on_link("eth0"));
        }
        if stage.head.is_some() {
            all.push(head_database(stage)?);
        }
        let Some(first) = all.first().map(rows) else { bail!("no database") };
        let alike = first.len() >= ours.len() && all.iter().all(|database| rows(database) == first);
        let lengths = all.iter().flat_map(|database| &database.0).filter(|row| row.ls_type == ROUTER_INFORMATION);
        let longest = lengths.filter_map(|row| row.length).max().unwrap_or_default();
        let seen: Vec<_> = all.iter().map(|database| rows(database).len()).collect();
        Ok(Probe::when(alike, (all.len(), longest), format!("{} of each, in the databases {seen:?}", ours.len())))
    })?;
    let (databases, longest) = bytes;
    Ok(stage
        .pass()
        .with_number("LSAs", ours.len())
        .with_number("databases", databases)
        .with_number("bytes", longest.into()))
}
