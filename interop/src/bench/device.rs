//! The device under test: ospfd-lite, FRR or BIRD, each in the configuration that serves it best.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::measure::Processes;
use crate::{
    lab::{Lab, PeerId},
    netns::Netns,
    peer::{IfaceSpec, Kind, RouterSpec, State, Version},
    wait::{Probe, wait_for},
};

/// Its Router ID; those of the injector are larger.
pub const DEVICE: Ipv4Addr = Ipv4Addr::new(9, 0, 0, 1);
/// Its interface.
pub const IFACE: &str = "eth0";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Make {
    /// ospfd-lite.
    Ours,
    /// FRRouting: ospf6d and zebra, as installed.
    Frr,
    /// BIRD, as installed.
    Bird,
}

impl Make {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Frr, Self::Bird];

    /// How it is called in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ospfd-lite",
            Self::Frr => "FRR",
            Self::Bird => "BIRD",
        }
    }

    /// Its configuration in words, as far as it is not what the rows say.
    pub const fn configuration(self) -> &'static str {
        match self {
            Self::Ours => "`retransmit-interval = 1`, else defaults; release build",
            Self::Frr => {
                "ospf6d and zebra, `retransmit-interval 1`, else defaults: `timers throttle spf 0 50 5000` (the first SPF without delay), `timers lsa min-arrival 1000`"
            }
            Self::Bird => {
                "`tick 1` and `retransmit 2` (the least there is), `ecmp yes limit 255`, the kernel protocol's defaults"
            }
        }
    }

    /// How it is called on the command line.
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Frr => "frr",
            Self::Bird => "bird",
        }
    }

    fn version(self) -> Version {
        match self {
            Self::Ours => Version::Ours,
            Self::Frr => Version::Frr(None),
            Self::Bird => Version::Bird(None),
        }
    }

    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Ours => &["ospfd-lite"],
            Self::Frr => &["ospf6d", "zebra"],
            Self::Bird => &["bird"],
        }
    }

    /// Shared libraries that are part of it.
    pub const fn libraries(self) -> &'static [&'static str] {
        match self {
            Self::Frr => &["libfrr"],
            Self::Ours | Self::Bird => &[],
        }
    }
}

/// A running device.
#[derive(Debug)]
pub struct Device {
    peer: PeerId,
    /// Its processes.
    pub processes: Processes,
    /// Program and version.
    pub version: String,
    started: Instant,
}

/// MinLSInterval (RFC 2328 Appendix B) and a little: what a router says of its start no longer holds back what follows.
const SETTLED: Duration = Duration::from_millis(5500);

/// Its interface: a broadcast link, with these Hello and dead intervals and this priority.
pub fn iface(name: &str, (hello, dead): (u16, u16), priority: u8) -> IfaceSpec {
    IfaceSpec { hello, dead, ..IfaceSpec::fast(name, Kind::Broadcast).with_priority(priority) }
}

impl Device {
    /// Starts it with its first interface and others.
    pub fn start(lab: &mut Lab, make: Make, netns: &Netns, interfaces: Vec<IfaceSpec>) -> Result<Self> {
        let mut interfaces = interfaces.into_iter();
        let first = interfaces.next().unwrap_or_else(|| iface(IFACE, (1, 4), 1));
        let spec = interfaces.fold(RouterSpec::new("device", DEVICE, first), RouterSpec::with_iface);
        let started = Instant::now();
        let peer = lab.start(&make.version(), netns, spec)?;
        let processes = Processes::find(netns, make.programs())?;
        let version = lab.peer(peer)?.version();
        Ok(Self { peer, processes, version, started })
    }

    /// Waits until its own LSAs of its start hold back nothing any more.
    pub fn settle(&self) {
        thread::sleep(SETTLED.saturating_sub(self.started.elapsed()));
    }

    /// Waits until it shows so many Full adjacencies.
    pub fn wait_full(&self, lab: &mut Lab, adjacencies: usize, timeout: Duration) -> Result<()> {
        wait_for(&format!("the device to have {adjacencies} Full neighbors"), timeout, || {
            let neighbors = lab.peer(self.peer)?.neighbors()?;
            let full = neighbors.iter().filter(|neighbor| neighbor.state == State::Full).count();
            Ok(Probe::when(full == adjacencies, (), format!("{full} of {} are Full", neighbors.len())))
        })
    }
}
