//! A farm under load with everything that is measured on it: what became of the queries, what each server originated,
//! what the link router's kernel did.

use std::{
    collections::BTreeSet,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use interop::{
    dns::{
        client::{Arrivals, Generator, Summary},
        dnsperf::Report,
    },
    lab::Lab,
    originations::{Originations, by_type},
    topology::{Farm, net},
    wait::{Probe, hold_for},
};

use super::{
    PATIENCE, SERVICE,
    ours::{Setup, SpeakerFarm, settled},
};

/// The farm, its clients and its observers.
pub(crate) struct Bench {
    pub farm: SpeakerFarm,
    pub clients: Generator,
    pub heard: Originations,
    pub router: String,
    /// Queries per second that all servers together can answer.
    pub capacity: f64,
}

/// What a period came to: one row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub router: String,
    pub scenario: String,
    pub clients: Summary,
    /// Per server.
    pub cost_changes: Vec<usize>,
    /// Per server: prefix LSAs, companions, Router-Information LSAs.
    pub originated: Vec<(usize, usize, usize)>,
    /// Until the router's kernel did what was due.
    pub relief: Option<Duration>,
}

impl Row {
    /// The head of the table.
    pub(crate) const HEAD: &str = "| router | scenario | sent | lost % | p99 ms | cost changes per server | prefix LSAs/companions/records per server | relief ms |\n|---|---|---|---|---|---|---|---|";

    /// The same with what dnsperf says of the queries, which does not tell the 99th percentile.
    pub(crate) fn with_report(mut self, report: Report) -> Self {
        self.clients = Summary { sent: report.sent, lost: report.lost, ..Summary::default() };
        self
    }

    /// Lost, percent.
    pub(crate) fn lost(&self) -> f64 {
        100.0 * self.clients.loss()
    }
}

impl Row {
    /// The same for a large farm: the sums of all servers.
    pub(crate) fn short(&self) -> Self {
        let sum = |a: (usize, usize, usize), b: &(usize, usize, usize)| (a.0 + b.0, a.1 + b.1, a.2 + b.2);
        let cost_changes = vec![self.cost_changes.iter().sum()];
        Self { cost_changes, originated: vec![self.originated.iter().fold((0, 0, 0), sum)], ..self.clone() }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<_> = self.cost_changes.iter().map(ToString::to_string).collect();
        let lsas: Vec<_> = self.originated.iter().map(|(p, r, i)| format!("{p}/{r}/{i}")).collect();
        write!(
            out,
            "| {} | {} | {} | {:.2} | {} | {} | {} | {} |",
            self.router,
            self.scenario,
            self.clients.sent,
            self.lost(),
            shown(Some(self.clients.p99).filter(|p99| !p99.is_zero())),
            changes.join(" "),
            lsas.join(" "),
            shown(self.relief),
        )
    }
}

/// In milliseconds.
fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.0}", time.as_secs_f64() * 1e3))
}

impl Bench {
    /// Opens the farm and asks `load` of its capacity.
    pub(crate) fn open(lab: &mut Lab, setup: Setup<'_>, load: f64) -> Result<Self> {
        let mut bench = Self::build(lab, setup)?;
        for server in 0..bench.farm.nodes.len() {
            bench.farm.start(lab, server)?;
        }
        bench.begin(lab, load)?;
        Ok(bench)
    }

    /// Builds the farm with its observers; no server runs yet, and nobody asks.
    pub(crate) fn build(lab: &mut Lab, setup: Setup<'_>) -> Result<Self> {
        let farm = SpeakerFarm::build(lab, setup)?;
        let heard = Originations::start(&farm.farm.router, Farm::FARM_SIDE)?;
        let clients = farm.clients(0.0, setup.flows, Arrivals::Poisson(1))?;
        let router = lab.peer(farm.router)?.version();
        Ok(Self { farm, clients, heard, router, capacity: setup.capacities().iter().sum() })
    }

    /// Waits until the router forwards to all and asks `load` of their capacity.
    pub(crate) fn begin(&mut self, lab: &mut Lab, load: f64) -> Result<()> {
        let all = self.all();
        self.farm.explain(lab, |farm, _| farm.wait_members(&all, Instant::now(), PATIENCE))?;
        self.ask(load);
        Ok(())
    }

    /// Every server.
    fn all(&self) -> Vec<usize> {
        (0..self.farm.farm.servers.len()).collect()
    }

    /// Asks this part of the farm's capacity from now on.
    pub(crate) fn ask(&self, load: f64) {
        self.clients.set_rate(load * self.capacity);
    }

    /// Lets time pass with everything alive; fails with what `watch` finds wrong.
    pub(crate) fn pass(&mut self, time: Duration, mut watch: impl FnMut(&mut SpeakerFarm) -> Result<()>) -> Result<()> {
        hold_for("the farm", time, || {
            for node in &mut self.farm.nodes {
                node.speaker.daemon().ensure_running()?;
                node.brake.as_ref().map_or(Ok(()), |brake| brake.ensure_braking())?;
            }
            watch(&mut self.farm)?;
            Ok(Probe::Ready(()))
        })
    }

    /// What the period `from..to` came to, once the last query has had its time.
    pub(crate) fn row(&self, scenario: &str, (from, to): (Instant, Instant), relief: Option<Duration>) -> Result<Row> {
        let clients = settled(&self.clients, from, to)?;
        let ids: Vec<Ipv4Addr> = self.farm.nodes.iter().map(|node| node.router_id).collect();
        let heard = self.heard.heard(from, to)?;
        let prefix = net(SERVICE)?;
        let changes = |id: &Ipv4Addr| self.heard.cost_changes(*id, prefix, (from, to));
        Ok(Row {
            router: self.router.clone(),
            scenario: scenario.into(),
            clients,
            cost_changes: ids.iter().map(changes).collect::<Result<_>>()?,
            originated: ids.iter().map(|id| by_type(&heard, *id)).collect(),
            relief,
        })
    }

    /// The gateways that the router's kernel had in a period, one set after the other.
    pub(crate) fn classes(&self, from: Instant, to: Instant) -> Result<Vec<BTreeSet<Ipv6Addr>>> {
        let history = self.farm.monitor.history(net(SERVICE)?);
        let first = history.iter().rev().find(|change| change.at < from).context("no route yet")?;
        let later = history.iter().filter(|change| (from..to).contains(&change.at));
        Ok([first].into_iter().chain(later).map(|change| change.gateways.clone()).collect())
    }

    /// Fails unless the router forwarded to everybody during the whole period and nobody changed a cost.
    pub(crate) fn nobody_moved(&self, row: &Row, (from, to): (Instant, Instant)) -> Result<()> {
        let classes = self.classes(from, to)?;
        let whole = self.farm.addresses(&self.all());
        ensure!(
            classes.iter().all(|class| *class == whole),
            "{}: the kernel's next hops were {classes:?}",
            row.scenario
        );
        ensure!(row.cost_changes.iter().all(|changes| *changes == 0), "a cost changed: {row}");
        Ok(())
    }

    /// Fails if anybody but `server` changed its cost, or that one more often than `most`.
    pub(crate) fn only_moved(&self, row: &Row, server: usize, most: usize) -> Result<()> {
        for (place, changes) in row.cost_changes.iter().enumerate() {
            let allowed = if place == server { most } else { 0 };
            if *changes > allowed {
                bail!("server {place} changed its cost {changes} times where {allowed} are allowed: {row}");
            }
        }
        Ok(())
    }
}
