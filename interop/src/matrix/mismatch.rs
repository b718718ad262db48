//! Two routers on a link that do not agree: ours and the peer, and what becomes of them when they do.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    cell::{Result as Word, Verdict},
    stage::{Cast, PATIENCE, broadcast, speaker},
    table::Role,
};
use crate::{
    lab::{Lab, PeerId},
    peer::{IfaceSpec, Peer, RouterSpec, State, Version, ours::Daemon, wait_full},
    topology::Segment,
    wait::{Probe, hold_for, wait_for},
};

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const IFACE: &str = "eth0";
/// Hellos that ours has counted as dropped before it is believed.
const CONVINCED: u64 = 4;
/// An exchange that goes on is over by then.
const NO_EXCHANGE: Duration = Duration::from_secs(6);

/// Ours and the peer on one link.
struct Pair {
    link: Segment,
    ours: PeerId,
    theirs: PeerId,
    control: Daemon,
    version: String,
}

impl Pair {
    /// Starts both; `mtu` is that of the peer's interface, and `unlike` changes what its interface is configured to be.
    fn open(lab: &mut Lab, cast: &Cast, (round, mtu): (&str, u32), unlike: fn(&mut IfaceSpec)) -> Result<Self> {
        let (name, other) = (format!("ours{round}"), format!("peer{round}"));
        let link = Segment::build(&[&name, &other])?;
        let [at_ours, at_theirs] = link.nodes.as_slice() else { bail!("two nodes") };
        at_theirs.rtnl()?.set_mtu(IFACE, mtu)?;
        let priorities = match cast.role {
            Role::LinkRouter => (0, 1),
            Role::Server => (1, 0),
            Role::Dr => (100, 200),
            Role::Bdr | Role::Middle => (200, 100),
        };
        let mut iface = broadcast(IFACE, priorities.1);
        unlike(&mut iface);
        let theirs = lab.start(&cast.version, at_theirs, RouterSpec::new(&other, THEIRS, iface))?;
        let version = lab.peer(theirs)?.version();
        let spec = RouterSpec::new(&name, OURS, broadcast(IFACE, priorities.0));
        let (program, ours) = if cast.role == Role::LinkRouter {
            let mut server = speaker(at_ours, spec, lab)?;
            server.start()?;
            ("server-speaker", lab.adopt(Box::new(server)))
        } else {
            ("ospfd-lite", lab.start(&Version::Ours, at_ours, spec)?)
        };
        let control = Daemon::new(program, at_ours, &name, &lab.directory().join(&name))?;
        Ok(Self { link, ours, theirs, control, version })
    }

    /// How many packets ours has dropped for a reason.
    fn dropped(&self, reason: &str) -> Result<u64> {
        let shown = self.control.show("counters")?;
        let dropped = shown.pointer(&format!("/interfaces/{IFACE}/dropped")).context("no drops in show counters")?;
        Ok(dropped.get(reason).and_then(Value::as_u64).unwrap_or_default())
    }

    /// Whether a side is Full with the other; what it shows.
    fn is_full(&self, lab: &mut Lab) -> Result<(bool, String)> {
        let (ours, theirs) = (lab.peer(self.ours)?.neighbors()?, lab.peer(self.theirs)?.neighbors()?);
        let full = ours.iter().chain(&theirs).any(|neighbor| neighbor.state == State::Full);
        Ok((full, format!("ours shows {ours:?}, the peer {theirs:?}")))
    }

    fn wait_full(&self, lab: &mut Lab) -> Result<()> {
        wait_full(lab.peer(self.ours)?, &[THEIRS], PATIENCE)?;
        wait_full(lab.peer(self.theirs)?, &[OURS], PATIENCE)
    }
}

/// A peer whose Hellos are not for us, or not as ours: dropped for this reason, until it is configured like ours.
fn unlike(lab: &mut Lab, cast: &Cast, (reason, unlike): (&str, fn(&mut IfaceSpec))) -> Result<Verdict> {
    let pair = Pair::open(lab, cast, ("", 1500), unlike)?;
    let dropped = wait_for(&format!("Hellos to be dropped for {reason:?}"), PATIENCE, || {
        let dropped = pair.dropped(reason)?;
        Ok(Probe::when(dropped >= CONVINCED, dropped, format!("{dropped} were")))
    })?;
    let (ours, theirs) = (lab.peer(pair.ours)?.neighbors()?, lab.peer(pair.theirs)?.neighbors()?);
    ensure!(ours.is_empty(), "ours shows the neighbor {ours:?}");
    ensure!(theirs.iter().all(|neighbor| neighbor.state < State::TwoWay), "the peer shows the neighbor {theirs:?}");
    lab.peer(pair.theirs)?.stop()?;
    let since = Instant::now();
    let netns = lab.peer(pair.theirs)?.netns().clone();
    let priority = lab.peer(pair.theirs)?.spec().interfaces.first().context("its interface")?.priority;
    let theirs = lab.start(&cast.version, &netns, RouterSpec::new("mended", THEIRS, broadcast(IFACE, priority)))?;
    Pair { theirs, ..pair }.wait_full(lab)?;
    let verdict = Verdict { version: lab.peer(theirs)?.version(), ..Verdict::default() };
    Ok(verdict.with_number("Hellos dropped", usize::try_from(dropped)?).with("mended to Full", since.elapsed()))
}

/// Another area.
pub fn area(lab: &mut Lab, cast: &Cast) -> Result<Verdict> {
    unlike(lab, cast, ("area", |iface| iface.area = Ipv4Addr::new(0, 0, 0, 1)))
}

/// Other intervals.
pub fn hello(lab: &mut Lab, cast: &Cast) -> Result<Verdict> {
    unlike(lab, cast, ("hello_interval", |iface| (iface.hello, iface.dead) = (2, 8)))
}

/// Another instance on the same link.
pub fn instance(lab: &mut Lab, cast: &Cast) -> Result<Verdict> {
    unlike(lab, cast, ("instance", |iface| iface.instance = 1))
}

/// Other MTUs, smaller and larger than ours.
pub fn mtu(lab: &mut Lab, cast: &Cast) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for (round, mtu) in [("small", 1400), ("large", 9000)] {
        let pair = Pair::open(lab, cast, (round, mtu), |_| {})?;
        verdict.version.clone_from(&pair.version);
        wait_for("an exchange to begin", PATIENCE, || {
            let ours = lab.peer(pair.ours)?.neighbors()?;
            Ok(Probe::when(ours.iter().any(|neighbor| neighbor.state >= State::ExStart), (), format!("{ours:?}")))
        })?;
        let kept_apart = hold_for("no adjacency", NO_EXCHANGE, || {
            let (full, shown) = pair.is_full(lab)?;
            Ok(Probe::when(!full, (), shown))
        });
        match (kept_apart, mtu > 1500) {
            (Ok(()), larger) => {
                let rejected = pair.dropped("mtu")?;
                ensure!(!larger || rejected > 0, "not Full, but ours has rejected nothing for its MTU");
                let [at_ours, _] = pair.link.nodes.as_slice() else { bail!("two nodes") };
                let since = Instant::now();
                at_ours.rtnl()?.set_mtu(IFACE, mtu)?;
                pair.wait_full(lab).with_context(|| format!("both have an MTU of {mtu}"))?;
                verdict = verdict.with(&format!("{mtu}: equal to Full"), since.elapsed());
            }
            // It is the peer that has to reject here.
            (Err(accepted), false) => {
                verdict.result = Word::Failure;
                verdict.text = format!("MTU {mtu} at the peer, 1500 at ours: Full all the same: {accepted:#}");
            }
            (Err(accepted), true) => bail!("MTU {mtu} at the peer, 1500 at ours: {accepted:#}"),
        }
        lab.peer(pair.ours)?.kill()?;
        lab.peer(pair.theirs)?.kill()?;
    }
    Ok(verdict)
}
