//! What is played against whom: the matrix as data. A later feature adds a row here and its function below.

use std::{fmt, time::Duration};

use anyhow::Result;
use clap::ValueEnum;

use super::{
    cell::Verdict,
    many, mismatch, scenarios,
    stage::{Cast, Stage},
};
use crate::{lab::Lab, peer::Version, root::trixie};

/// Somebody else's router.
#[derive(Debug, Clone, Copy)]
pub struct PeerRow {
    /// Its name on the command line and in the document.
    pub name: &'static str,
    /// What its version has to begin with.
    pub says: &'static str,
    /// Where it comes from, in words.
    pub origin: &'static str,
    /// Among the packages of the host.
    pub of_the_host: bool,
    /// How it is had.
    pub version: fn() -> Result<Version>,
}

const HOST: &str = "package of Debian 12";
const ROOT: &str = "package of Debian 13, in the root of `lab root trixie`";

/// Every peer.
pub const PEERS: &[PeerRow] = &[
    PeerRow { name: "frr-8.4", says: "FRR 8.4", origin: HOST, of_the_host: true, version: || Ok(Version::Frr(None)) },
    PeerRow {
        name: "bird-2.0",
        says: "BIRD 2.0",
        origin: HOST,
        of_the_host: true,
        version: || Ok(Version::Bird(None)),
    },
    PeerRow {
        name: "frr-10",
        says: "FRR 10.",
        origin: ROOT,
        of_the_host: false,
        version: || Ok(Version::Frr(Some(trixie()?))),
    },
    PeerRow {
        name: "bird-2.17",
        says: "BIRD 2.17",
        origin: ROOT,
        of_the_host: false,
        version: || Ok(Version::Bird(Some(trixie()?))),
    },
    PeerRow {
        name: "bird-3",
        says: "BIRD 3.",
        origin: ROOT,
        of_the_host: false,
        version: || Ok(Version::Bird3(trixie()?)),
    },
];

/// What the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// The router of the farm's link; the servers are server-speakers.
    LinkRouter,
    /// Two of three servers (the third is a server-speaker); the link router is ospfd-lite.
    Server,
    /// Designated Router of the farm's link beside an ospfd-lite that is Backup; the servers are server-speakers.
    Dr,
    /// The other way round.
    Bdr,
    /// Between an ospfd-lite and the farm of server-speakers.
    Middle,
}

impl Role {
    /// All of them: the columns.
    pub const ALL: [Self; 5] = [Self::LinkRouter, Self::Server, Self::Dr, Self::Bdr, Self::Middle];

    /// Its name on the command line and in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LinkRouter => "link-router",
            Self::Server => "server",
            Self::Dr => "dr",
            Self::Bdr => "bdr",
            Self::Middle => "middle",
        }
    }

    /// Who is who, in words.
    pub const fn told(self) -> &'static str {
        match self {
            Self::LinkRouter => "the peer is the router of the farm's link, the servers are server-speakers",
            Self::Server => {
                "the peer is two of the three servers, the third is a server-speaker, the link router ospfd-lite"
            }
            Self::Dr => {
                "the peer is the Designated Router of the farm's link, ospfd-lite the Backup, the servers are server-speakers; both kernels are watched"
            }
            Self::Bdr => "the same with ospfd-lite as Designated Router and the peer as Backup",
            Self::Middle => {
                "ospfd-lite - the peer - the farm of server-speakers: what the peer passes on to the router behind it"
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How a scenario is played.
#[derive(Clone, Copy)]
pub enum Play {
    /// On a farm of three servers that is up.
    Farm(fn(&mut Stage<'_>) -> Result<Verdict>),
    /// On a link with ours and the peer only.
    Pair(fn(&mut Lab, &Cast) -> Result<Verdict>),
    /// As it likes; it takes the whole machine, so that nothing else runs beside it.
    Alone(fn(&mut Lab, &Cast) -> Result<Verdict>),
}

/// A scenario: a row of the matrix.
#[derive(Clone, Copy)]
pub struct ScenarioRow {
    /// Its name on the command line and in the document.
    pub name: &'static str,
    /// What has to happen for a pass, and what is measured.
    pub told: &'static str,
    /// How it is played.
    pub play: Play,
    /// In which roles it is not, and why.
    pub not_in: &'static [(Role, &'static str)],
    /// In which roles the short matrix has it.
    pub short: &'static [Role],
}

impl ScenarioRow {
    /// Why it is not played in a role.
    pub fn not_applicable(&self, role: Role) -> Option<&'static str> {
        self.not_in.iter().find(|(one, _)| *one == role).map(|(_, why)| *why)
    }

    /// How long one cell may take.
    pub const fn limit(&self) -> Duration {
        match self.play {
            Play::Farm(_) | Play::Pair(_) => Duration::from_secs(180),
            Play::Alone(_) => Duration::from_secs(420),
        }
    }

    /// Whether nothing may run beside it.
    pub const fn alone(&self) -> bool {
        matches!(self.play, Play::Alone(_))
    }
}

/// A scenario of two routers on one link has no third.
const NO_PATH: &[(Role, &str)] = &[(
    Role::Middle,
    "of two routers on one link: the peer's end towards ospfd-lite is that of the column server, towards server-speaker that of link-router",
)];

/// Every scenario.
pub const SCENARIOS: &[ScenarioRow] = &[
    ScenarioRow {
        name: "adjacency",
        told: "all Full as both sides show it, in their roles, and the same database (sequence, checksum) in all routers and servers. *all Full*: from the start of the first server to the last adjacency; *one more*: one more server, from the start of its process",
        play: Play::Farm(scenarios::adjacency),
        not_in: &[],
        short: &[Role::Dr, Role::Bdr],
    },
    ScenarioRow {
        name: "ecmp",
        told: "the kernels of all routers on the farm's link have exactly the three next hops, of one weight. *FIB*: from the start of the last server's process",
        play: Play::Farm(scenarios::ecmp),
        not_in: &[],
        short: &[Role::Server],
    },
    ScenarioRow {
        name: "cost-change",
        told: "four times a server raises its cost and lowers it: out of every kernel's next hops, and back (FRR misses some of such changes unless a companion LSA goes along). From the command to the last kernel, median and worst",
        play: Play::Farm(scenarios::cost_change),
        not_in: &[],
        short: &[Role::LinkRouter],
    },
    ScenarioRow {
        name: "drain",
        told: "a server is drained (a peer's by cost 65535, as its operator would) and leaves every kernel; ours then flushes its prefix, which leaves the database; the end of the drain brings it back",
        play: Play::Farm(scenarios::drain),
        not_in: &[],
        short: &[Role::LinkRouter],
    },
    ScenarioRow {
        name: "flush",
        told: "SIGTERM to a server: it leaves every kernel within 2 s, and its LSAs every database",
        play: Play::Farm(scenarios::flush),
        not_in: &[],
        short: &[Role::Middle],
    },
    ScenarioRow {
        name: "death",
        told: "the service of a server dies (flushed by the speaker within 2 s), its host (unplugged: within the dead interval of 4 s), its daemon (SIGKILL: the same); in dr and bdr the Designated Router is killed and the other one takes over. *gap*: longest time that the survivor's kernel was without all three next hops",
        play: Play::Farm(scenarios::death),
        not_in: &[],
        short: &[],
    },
    ScenarioRow {
        name: "restart",
        told: "SIGKILL to our daemon (the server's in link-router and middle, else the router's) and a new start at once (*down*): the neighbor's kernel gets the next hop back by itself, ospfd-lite's own kernel never loses one, and nothing changes for a dead interval after that. *gap*: how long the neighbor's kernel was without it",
        play: Play::Farm(scenarios::restart),
        not_in: &[],
        short: &[Role::LinkRouter, Role::Server],
    },
    ScenarioRow {
        name: "ri-lsa",
        told: "the Router-Information LSA with the Farm TLV of every server-speaker, an LSA unknown to the peer in part or whole, in all databases bit for bit (sequence and checksum), also behind the peer",
        play: Play::Farm(scenarios::router_information),
        not_in: &[],
        short: &[Role::Middle],
    },
    ScenarioRow {
        name: "mtu-mismatch",
        told: "a peer with an MTU of 1400, then of 9000, against our 1500: no side becomes Full (RFC 2328 §10.6: who has the smaller MTU rejects); Full when our MTU is made equal. From that to Full",
        play: Play::Pair(mismatch::mtu),
        not_in: NO_PATH,
        short: &[],
    },
    ScenarioRow {
        name: "area-mismatch",
        told: "a peer in area 0.0.0.1: no side takes the other for a neighbor, ours counts why; Full once the peer is configured like ours",
        play: Play::Pair(mismatch::area),
        not_in: NO_PATH,
        short: &[Role::Server],
    },
    ScenarioRow {
        name: "hello-mismatch",
        told: "a peer with hello 2 s, dead 8 s against 1 and 4: the same",
        play: Play::Pair(mismatch::hello),
        not_in: NO_PATH,
        short: &[],
    },
    ScenarioRow {
        name: "instance-mismatch",
        told: "a peer of instance 1 on the same link: the same",
        play: Play::Pair(mismatch::instance),
        not_in: NO_PATH,
        short: &[],
    },
    ScenarioRow {
        name: "64-servers",
        told: "64 servers, each a process in a namespace of its own: all Full, 64 next hops in every kernel, and one that leaves by its cost. *all Full*, *FIB*: from the start of the first; *last in FIB*: from the start of the last one's process",
        play: Play::Alone(many::sixty_four),
        not_in: &[],
        short: &[],
    },
];

/// What a peer is known to do other than it should: a failure whose text has `evidence` is no failure, but this.
#[derive(Debug, Clone, Copy)]
pub struct Limitation {
    /// The peers, by the beginning of their names.
    pub peers: &'static [&'static str],
    /// The scenario.
    pub scenario: &'static str,
    /// In which roles.
    pub roles: &'static [Role],
    /// What the run must have observed.
    pub evidence: &'static str,
    /// What it is, and where that is written.
    pub told: &'static str,
}

/// Every known limitation.
pub const LIMITATIONS: &[Limitation] = &[Limitation {
    peers: &["bird"],
    scenario: "flush",
    roles: &[Role::Server],
    evidence: "left without a flush: ",
    told: "BIRD ends with a Hello without neighbors and without flushing its LSAs (RFC 2328 §14.1 allows that): its next hop \
           goes at once (row flush), the LSAs stay until they are an hour old.",
}];

/// A peer by its name.
pub fn peer(name: &str) -> Option<&'static PeerRow> {
    PEERS.iter().find(|row| row.name == name)
}

/// A scenario by its name.
pub fn scenario(name: &str) -> Option<&'static ScenarioRow> {
    SCENARIOS.iter().find(|row| row.name == name)
}

/// The limitation that explains a failure.
pub fn limitation(cast: &Cast, scenario: &str, failure: &str) -> Option<&'static Limitation> {
    LIMITATIONS.iter().find(|one| {
        one.scenario == scenario
            && one.roles.contains(&cast.role)
            && one.peers.iter().any(|peer| cast.peer.name.starts_with(peer))
            && failure.contains(one.evidence)
    })
}
