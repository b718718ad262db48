//! Where an attack happens: attacker, victim and an innocent router on one link, and what is measured around a case.
//!
//! The victim is DR, the other two are not eligible: both are adjacent with the victim and with nobody else.

use std::{
    collections::BTreeMap,
    fmt, fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use ospf_proto::state::NeighborState;
use serde_json::Value;

use super::{
    cases::{Case, Route},
    neighbor::{Attacker, IFACE, Parties},
};
use crate::{
    daemons,
    fib::Fib,
    lab::{Lab, PeerId},
    monitor::Monitor,
    netns::Netns,
    peer::{IfaceSpec, Kind, RouterSpec, State, Version, wait_full},
    process::output,
    topology::{Segment, link_local, net},
    wait::{Probe, wait_for},
};

/// The victim's Router ID.
pub const VICTIM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The innocent router's.
pub const INNOCENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The attacker's.
pub const ATTACKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// What the innocent router advertises.
const PREFIX: &str = "2001:db8:b::1/128";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long is watched after a case: a Hello has gone unheard by then, or not.
const AFTERMATH: Duration = Duration::from_millis(2500);
/// How long the adjacency with the attacker may take to come back: a dead interval, a Hello, an exchange.
const RECOVERY: Duration = Duration::from_secs(20);
/// Between two looks at the victim.
const LOOK: Duration = Duration::from_millis(100);

/// Attacker, victim and innocent.
pub struct Stage {
    version: Version,
    nodes: Segment,
    victim: PeerId,
    attacker: Attacker,
    monitor: Monitor,
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case.
    pub name: &'static str,
    /// Packets sent.
    pub sent: u64,
    /// How long it took to send them.
    pub took: Duration,
    /// Whether the victim's process lives.
    pub alive: bool,
    /// How often the victim left Full with the innocent router; of FRR and BIRD, how often it was seen to.
    pub left_full: usize,
    /// How often the innocent router's route went from the victim's kernel.
    pub gaps: usize,
    /// Whether the route is there at the end.
    pub route: bool,
    /// Whether the attacker is Full with the victim at the end.
    pub attacker: bool,
    /// Resident memory before and after, in bytes.
    pub memory: (u64, u64),
    /// What the victim counted meanwhile, by reason: ours only.
    pub counted: BTreeMap<String, u64>,
    /// What the case did not allow.
    pub faults: Vec<String>,
}

impl Outcome {
    /// The head of the table.
    pub const HEAD: &str = "| case | packets | s | alive | left Full | route gaps | route after | attacker | RSS before, growth KiB | counted |\n|---|---|---|---|---|---|---|---|---|---|";
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |is: bool| if is { "yes" } else { "NO" };
        let counted: Vec<_> = self.counted.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let (before, after) = (self.memory.0 / 1024, self.memory.1 / 1024);
        write!(
            out,
            "| {} | {} | {:.1} | {} | {} | {} | {} | {} | {before}, {:+} | {} |",
            self.name,
            self.sent,
            self.took.as_secs_f64(),
            yes(self.alive),
            self.left_full,
            self.gaps,
            yes(self.route),
            if self.attacker { "Full" } else { "not Full" },
            i128::from(after) - i128::from(before),
            counted.join(", "),
        )
    }
}

/// What ours counts.
#[derive(Debug, Clone, Default)]
struct Counters {
    dropped: BTreeMap<String, u64>,
    originated: u64,
    /// The log's lines that say so.
    left_full: Vec<String>,
}

impl Stage {
    /// Builds the link, starts everybody and waits until all are adjacent and the route is there.
    pub fn build(lab: &mut Lab, version: &Version) -> Result<Self> {
        let nodes = Segment::build(&["victim", "innocent", "attacker"])?;
        let [at_victim, at_innocent, at_attacker] = nodes.nodes.as_slice() else { bail!("three nodes") };
        let iface = |priority| IfaceSpec::fast(IFACE, Kind::Broadcast).with_priority(priority);
        let spec = RouterSpec::new("innocent", INNOCENT, iface(0)).with_prefix(net(PREFIX)?, 5);
        lab.start(&Version::Bird(None), at_innocent, spec)?;
        let victim = lab.start(version, at_victim, RouterSpec::new("victim", VICTIM, iface(9)))?;
        let monitor = Monitor::start(at_victim)?;
        let parties = Parties {
            router: ATTACKER,
            address: link_local(3),
            victim: VICTIM,
            victim_address: link_local(1),
            kind: Kind::Broadcast,
        };
        let attacker = Attacker::start(at_attacker, parties)?;
        let stage = Self { version: version.clone(), victim, attacker, monitor, nodes };
        stage.ready(lab)?;
        Ok(stage)
    }

    /// Everybody adjacent, the route there.
    fn ready(&self, lab: &mut Lab) -> Result<()> {
        wait_full(lab.peer(self.victim)?, &[INNOCENT, ATTACKER], PATIENCE)?;
        self.attacker.wait_full(PATIENCE)?;
        self.monitor.wait_gateways(net(PREFIX)?, &[link_local(2)].into(), Instant::now(), PATIENCE)?;
        Ok(())
    }

    /// Starts a dead victim again.
    pub fn revive(&self, lab: &mut Lab) -> Result<()> {
        lab.peer(self.victim)?.kill()?;
        lab.peer(self.victim)?.start()?;
        self.ready(lab)
    }

    /// Program and version of the victim.
    pub fn version(&self, lab: &mut Lab) -> Result<String> {
        Ok(lab.peer(self.victim)?.version())
    }

    fn netns(&self) -> Result<&Netns> {
        self.nodes.nodes.first().context("the victim's namespace")
    }

    /// Runs a case and measures around it.
    pub fn run(&mut self, lab: &mut Lab, case: &Case) -> Result<Outcome> {
        let prefix = net(PREFIX)?;
        let process = find_process(self.netns()?, program(&self.version)?)?;
        let (before, counters) = (resident(process)?, self.counters(lab)?);
        let (sent, start) = (self.attacker.sent(), Instant::now());
        let mut sampled = Samples::default();
        let took = thread::scope(|scope| -> Result<Duration> {
            let attacker = &self.attacker;
            let running = scope.spawn(move || (case.run)(attacker));
            while !running.is_finished() {
                sampled.look(lab, self.victim)?;
                thread::sleep(LOOK);
            }
            match running.join() {
                Ok(result) => result.with_context(|| format!("case {}", case.name)).map(|()| start.elapsed()),
                Err(_) => bail!("case {} panicked", case.name),
            }
        });
        // A victim that cannot be attacked to the end has a fault, and the others are still worth trying.
        let mut faults = vec![];
        let took = took.unwrap_or_else(|error| {
            faults.push(format!("{error:#}"));
            start.elapsed()
        });
        let end = Instant::now();
        while end.elapsed() < AFTERMATH {
            sampled.look(lab, self.victim)?;
            thread::sleep(LOOK);
        }
        let alive = resident(process).is_ok();
        let attacker = wait_for("the attacker to be Full", RECOVERY, || {
            let theirs = lab.peer(self.victim)?.neighbors()?;
            let full = theirs.iter().any(|n| n.router_id == ATTACKER && n.state == State::Full);
            Ok(Probe::when(full && self.attacker.adjacency() == NeighborState::Full, (), format!("{theirs:?}")))
        });
        let route = self.monitor.wait_gateways(prefix, &[link_local(2)].into(), start, RECOVERY).is_ok();
        let gaps = self.monitor.history(prefix).iter().filter(|c| c.at >= start && c.gateways.is_empty()).count();
        let after = resident(process).unwrap_or(0);
        let mut outcome = Outcome {
            name: case.name,
            sent: self.attacker.sent() - sent,
            took,
            alive,
            left_full: sampled.left_full,
            gaps,
            route: route && !Fib::read(self.netns()?)?.gateways(prefix).is_empty(),
            attacker: attacker.is_ok(),
            memory: (before, after),
            counted: BTreeMap::new(),
            faults,
        };
        if let Err(error) = attacker {
            outcome.faults.push(format!("{error:#}"));
        }
        self.judge(lab, case, (&counters, &mut outcome))?;
        Ok(outcome)
    }

    fn judge(&self, lab: &mut Lab, case: &Case, (before, outcome): (&Option<Counters>, &mut Outcome)) -> Result<()> {
        if let Some(before) = before
            && outcome.alive
            && let Some(after) = self.counters(lab)?
        {
            let left = after.left_full.get(before.left_full.len()..).unwrap_or_default();
            outcome.left_full = left.len();
            outcome.faults.extend_from_slice(left);
            for (reason, count) in &after.dropped {
                let more = count - before.dropped.get(reason).copied().unwrap_or(0);
                if more > 0 {
                    outcome.counted.insert(reason.clone(), more);
                }
            }
            for reason in case.counted.iter().filter(|reason| !outcome.counted.contains_key(**reason)) {
                outcome.faults.push(format!("nothing was counted as {reason}"));
            }
            let originated = after.originated - before.originated;
            if originated > 0 {
                outcome.counted.insert("(originated)".into(), originated);
            }
            if originated > case.originations {
                outcome.faults.push(format!("{originated} originations, {} are allowed", case.originations));
            }
        }
        if !outcome.alive {
            outcome.faults.push("the victim died".into());
        }
        if outcome.left_full > 0 {
            outcome.faults.push(format!("the innocent router's adjacency left Full {} times", outcome.left_full));
        }
        if outcome.gaps > 0 && case.route == Route::Stays {
            outcome.faults.push(format!("the innocent router's route went {} times", outcome.gaps));
        }
        if !outcome.route {
            outcome.faults.push("the innocent router's route is not back".into());
        }
        let growth = outcome.memory.1.saturating_sub(outcome.memory.0);
        if growth > case.growth {
            outcome.faults.push(format!("grew by {} KiB, {} are allowed", growth / 1024, case.growth / 1024));
        }
        Ok(())
    }

    /// What ours counts; FRR and BIRD tell no such thing.
    fn counters(&self, lab: &Lab) -> Result<Option<Counters>> {
        if !matches!(self.version, Version::Ours) {
            return Ok(None);
        }
        let mut command = Command::new(daemons::find("ospfd-lite")?);
        command.args(["show", "counters", "--json", "--control"]).arg(lab.directory().join("victim/control.sock"));
        let shown: Value = serde_json::from_str(&output(self.netns()?, None, &mut command)?)?;
        let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or(0);
        let mut counters = Counters {
            originated: number(shown.get("originated")) + number(shown.get("flushed")),
            ..Counters::default()
        };
        let dropped = shown.pointer(&format!("/interfaces/{IFACE}/dropped")).and_then(Value::as_object);
        for (reason, count) in dropped.context("no drops in show counters")? {
            counters.dropped.insert(reason.clone(), number(Some(count)));
        }
        // Every change is in the log, also one that no look would see.
        let log = fs::read_to_string(lab.logs().join("victim-ospfd-lite.log")).context("reading the victim's log")?;
        let left = format!("neighbor {INNOCENT} Full -> ");
        counters.left_full = log.lines().filter(|line| line.contains(&left)).map(str::to_owned).collect();
        Ok(Some(counters))
    }
}

/// What looks at the victim showed.
#[derive(Debug, Default)]
struct Samples {
    away: bool,
    left_full: usize,
}

impl Samples {
    fn look(&mut self, lab: &mut Lab, victim: PeerId) -> Result<()> {
        // A victim that does not answer is busy or dead; which, is seen at the end.
        let Ok(neighbors) = lab.peer(victim)?.neighbors() else { return Ok(()) };
        let full = neighbors.iter().any(|n| n.router_id == INNOCENT && n.state == State::Full);
        self.left_full += usize::from(!full && !self.away);
        self.away = !full;
        Ok(())
    }
}

/// The name of the process that speaks OSPF.
pub fn program(version: &Version) -> Result<&'static str> {
    Ok(match version {
        Version::Ours => "ospfd-lite",
        Version::Frr(_) => "ospf6d",
        Version::Bird(_) | Version::Bird3(_) => "bird",
    })
}

/// The process of this name in a namespace.
pub fn find_process(netns: &Netns, name: &str) -> Result<u32> {
    let namespace = netns.run(|| fs::read_link("/proc/thread-self/ns/net"))??;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|text| text.parse::<u32>().ok()) else { continue };
        let at = PathBuf::from(format!("/proc/{process}"));
        // Processes come and go while they are looked at.
        let named = fs::read_to_string(at.join("comm")).is_ok_and(|comm| comm.trim() == name);
        if named && fs::read_link(at.join("ns/net")).is_ok_and(|link| link == namespace) {
            return Ok(process);
        }
    }
    bail!("no process {name} in {}", netns.name())
}

/// VmRSS of a process in bytes.
pub fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).with_context(|| format!("process {process}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    // A zombie has no memory.
    let kib = line.with_context(|| format!("process {process} has ended"))?.trim().trim_end_matches("kB").trim();
    Ok(kib.parse::<u64>().with_context(|| kib.to_owned())? * 1024)
}
