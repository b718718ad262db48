//! B5: as many LSA updates per second as there are virtual routers, every one with a changed metric, for a while; meanwhile a server
//! changes its cost again and again.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::network::{DR, Stage, servers};
use crate::{
    bench::{
        cell::{Row, Told},
        graph::{Network, SERVICE, SERVICE_METRIC, Said},
    },
    lab::Lab,
    topology::net,
    wait::{Probe, wait_for},
};

/// How long it storms.
const TIME: Duration = Duration::from_secs(10);
/// Updates in one packet or two.
const BATCH: usize = 20;
/// Between two cost changes of the server: more than MinLSArrival.
const BETWEEN: Duration = Duration::from_millis(1300);
/// How long a cost change may take in a storm.
const CHANGE: Duration = Duration::from_secs(30);
/// How long until everything is acknowledged.
const ALL: Duration = Duration::from_secs(60);

pub(super) fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    let stage = Stage::start(lab, told)?;
    stage.wait_routes()?;
    let (before, cpu) = (stage.injector.counted()?, stage.device.processes.used()?.cpu);
    told.memory(Row::B5, "peak RSS before", stage.device.processes.memory("VmHWM:")?)?;
    let time = if told.which.smoke { TIME / 5 } else { TIME };
    let end = Instant::now() + time;
    let (sent, calm) = thread::scope(|scope| -> Result<(usize, Duration)> {
        let storm = scope.spawn(|| -> Result<(usize, Duration)> {
            let sent = blow(&stage, end)?;
            acknowledged(&stage)?;
            Ok((sent, end.elapsed()))
        });
        cost_changes(&stage, told, end)?;
        storm.join().ok().context("the storm panicked")?
    })?;
    // What the cost changes flooded behind the storm.
    acknowledged(&stage)?;
    let after = stage.injector.counted()?;
    let flooded = after.flooded - before.flooded;
    let lost = flooded.saturating_sub(after.acknowledged - before.acknowledged);
    told.value(Row::B5, ("updates sent", "per s"), sent as f64 / time.as_secs_f64())?;
    told.value(Row::B5, ("instances never acknowledged", "%"), 100.0 * lost as f64 / flooded as f64)?;
    told.value(Row::B5, ("LSAs sent again", ""), (after.retransmitted - before.retransmitted) as f64)?;
    told.time(Row::B5, "end of the storm to all acknowledged", calm)?;
    told.time(Row::B5, "CPU", stage.device.processes.used()?.cpu.saturating_sub(cpu))?;
    told.memory(Row::B5, "peak RSS", stage.device.processes.memory("VmHWM:")?)
}

fn acknowledged(stage: &Stage) -> Result<()> {
    wait_for("everything to be acknowledged", ALL, || {
        let waiting = stage.injector.waiting()?;
        Ok(Probe::when(waiting == 0, (), format!("{waiting} LSAs wait")))
    })
}

/// Sends updates at their rate, each LSA in its turn: the same one every two seconds, as MinLSArrival lets pass.
fn blow(stage: &Stage, end: Instant) -> Result<usize> {
    let routers = stage.network.routers();
    let (start, mut sent) = (Instant::now(), 0);
    while Instant::now() < end {
        let due = (start.elapsed().as_secs_f64() * routers as f64) as usize;
        while sent < due {
            let batch: Vec<(Said, bool)> = (sent..sent + BATCH).map(|number| (update(stage, number), false)).collect();
            stage.injector.flood(0, batch)?;
            sent += BATCH;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(sent)
}

/// The update of this number: a router's links and its prefix in turn, with metrics that alternate.
fn update(stage: &Stage, number: usize) -> Said {
    let (place, round) = (number % (2 * stage.network.routers()), number / (2 * stage.network.routers()));
    let (router, other) = (place / 2, round % 2 == 0);
    if place % 2 == 0 {
        let cost = stage.network.first_cost(router);
        stage.network.router_lsa(router, other.then_some((0, cost + 1)), DR)
    } else {
        Network::prefix_lsa(router, if other { 2 } else { 1 })
    }
}

fn cost_changes(stage: &Stage, told: &Told<'_>, end: Instant) -> Result<()> {
    let prefix = net(SERVICE)?;
    let mut raised = false;
    while Instant::now() < end {
        let at = Instant::now();
        raised = !raised;
        let metric = if raised { 2 * SERVICE_METRIC } else { SERVICE_METRIC };
        let said = Network::server_change(0, metric, u8::from(raised))?;
        let sent = stage.injector.flood(0, said.map(|said| (said, false)))?;
        // One that does not come in time counts as that long, and what else there is to measure goes on.
        let there = stage.routes.wait_gateways(prefix, &servers(raised.then_some(0)), CHANGE);
        let took = there.map_or(CHANGE, |there| there.saturating_duration_since(sent));
        told.time(Row::B5, "cost change to FIB meanwhile", took)?;
        thread::sleep(BETWEEN.saturating_sub(at.elapsed()));
    }
    // Fails if the observer has.
    stage.routes.rest(end, Duration::ZERO).map(drop)
}
