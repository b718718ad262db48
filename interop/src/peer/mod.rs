//! A router in a lab, whoever wrote it: started with a generated configuration, asked for its neighbors and its
//! database in one normal form, stopped politely or by SIGKILL.

pub mod bird;
pub mod frr;
pub mod ours;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use ipnetwork::Ipv6Network;

use crate::{
    netns::Netns,
    wait::{Probe, wait_for},
};

/// LS age at which an LSA is flushed (RFC 2328 appendix B).
const MAX_AGE: u16 = 3600;

/// What a router shall be.
#[derive(Debug, Clone)]
pub struct RouterSpec {
    /// Name in messages, files and FRR's path space (no dots).
    pub name: String,
    /// Router ID.
    pub router_id: Ipv4Addr,
    /// Interfaces, all in one area.
    pub interfaces: Vec<IfaceSpec>,
    /// Prefixes it originates itself, with their metrics.
    pub prefixes: BTreeMap<Ipv6Network, u16>,
    /// Lines of the `[fib]` table, for ospfd-lite only.
    pub fib: String,
}

impl RouterSpec {
    /// A router with one interface.
    pub fn new(name: &str, router_id: Ipv4Addr, iface: IfaceSpec) -> Self {
        Self { name: name.into(), router_id, interfaces: vec![iface], prefixes: BTreeMap::new(), fib: String::new() }
    }

    /// The same with these lines in ospfd-lite's `[fib]` table; other routers do not read them.
    pub fn with_fib(self, lines: &str) -> Self {
        Self { fib: lines.into(), ..self }
    }

    /// The same with one more interface.
    pub fn with_iface(mut self, iface: IfaceSpec) -> Self {
        self.interfaces.push(iface);
        self
    }

    /// The same with one more prefix.
    pub fn with_prefix(mut self, prefix: Ipv6Network, metric: u16) -> Self {
        self.prefixes.insert(prefix, metric);
        self
    }
}

/// Network type of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With a designated router.
    Broadcast,
    /// Without.
    PointToPoint,
}

/// An OSPFv3 interface of a router.
#[derive(Debug, Clone)]
pub struct IfaceSpec {
    /// Name.
    pub name: String,
    /// Network type.
    pub kind: Kind,
    /// Output cost.
    pub cost: u16,
    /// Router priority.
    pub priority: u8,
    /// HelloInterval in seconds.
    pub hello: u16,
    /// RouterDeadInterval in seconds.
    pub dead: u16,
    /// RxmtInterval in seconds; BIRD takes 2 at least and is given that.
    pub retransmit: u16,
    /// Advertised, but no packet is sent.
    pub passive: bool,
    /// Its area.
    pub area: Ipv4Addr,
    /// Instance ID (RFC 5340 §2.4).
    pub instance: u8,
}

impl IfaceSpec {
    /// Hello 1 s, dead 4 s, cost 10, priority 1, area 0.0.0.0, instance 0.
    pub fn fast(name: &str, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            cost: 10,
            priority: 1,
            hello: 1,
            dead: 4,
            retransmit: 1,
            passive: false,
            area: Ipv4Addr::UNSPECIFIED,
            instance: 0,
        }
    }

    /// A passive interface.
    pub fn passive(name: &str) -> Self {
        Self { passive: true, ..Self::fast(name, Kind::Broadcast) }
    }

    /// The same with another priority.
    pub fn with_priority(self, priority: u8) -> Self {
        Self { priority, ..self }
    }
}

/// Neighbor states in the order of RFC 2328 §10.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the RFC's names")]
pub enum State {
    Down,
    Attempt,
    Init,
    TwoWay,
    ExStart,
    Exchange,
    Loading,
    Full,
}

impl State {
    /// Reads any peer's spelling (`2-Way`, `Twoway`, `TwoWay`).
    pub fn parse(text: &str) -> Option<Self> {
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        Some(match plain.as_str() {
            "down" => Self::Down,
            "attempt" => Self::Attempt,
            "init" => Self::Init,
            "2way" | "twoway" => Self::TwoWay,
            "exstart" => Self::ExStart,
            "exchange" => Self::Exchange,
            "loading" => Self::Loading,
            "full" => Self::Full,
            _ => return None,
        })
    }
}

/// What a neighbor is on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the RFC's names")]
pub enum Role {
    Dr,
    Backup,
    DrOther,
    PointToPoint,
}

impl Role {
    /// Reads any peer's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        Some(match plain.as_str() {
            "dr" => Self::Dr,
            "bdr" | "backup" => Self::Backup,
            "other" | "drother" => Self::DrOther,
            "ptp" | "p2p" | "pointtopoint" => Self::PointToPoint,
            _ => return None,
        })
    }
}

/// A neighbor as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbor {
    /// Its router ID.
    pub router_id: Ipv4Addr,
    /// How far the adjacency is.
    pub state: State,
    /// What it is on the link, if shown.
    pub role: Option<Role>,
    /// Our interface.
    pub iface: String,
}

/// Where an LSA is flooded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Domain {
    /// On the link of this interface (the shower's own name for it).
    Link(String),
    /// In this area.
    Area(Ipv4Addr),
    /// Everywhere.
    As,
}

/// An LSA of a database: its key and the instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LsaRow {
    /// Where it belongs.
    pub domain: Domain,
    /// LS type with its U and S bits.
    pub ls_type: u16,
    /// Link State ID.
    pub id: u32,
    /// Advertising Router.
    pub router: Ipv4Addr,
    /// LS sequence number.
    pub sequence: u32,
    /// LS checksum (covers the length).
    pub checksum: u16,
    /// Length with header; BIRD does not show it.
    pub length: Option<u16>,
    /// It is at MaxAge: kept until all have acknowledged its flush.
    pub flushed: bool,
}

impl LsaRow {
    /// Reads an LSA header (RFC 5340 §A.4.2) from its hexadecimal text.
    pub fn from_hex(domain: Domain, text: &str) -> Option<Self> {
        let field = |from: usize, to: usize| u32::from_str_radix(text.get(2 * from..2 * to)?, 16).ok();
        Some(Self {
            domain,
            ls_type: u16::try_from(field(2, 4)?).ok()?,
            id: field(4, 8)?,
            router: Ipv4Addr::from(field(8, 12)?),
            sequence: field(12, 16)?,
            checksum: u16::try_from(field(16, 18)?).ok()?,
            length: u16::try_from(field(18, 20)?).ok(),
            flushed: field(0, 2)? >= MAX_AGE.into(),
        })
    }
}

impl fmt::Display for LsaRow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, ls_type, id, router, sequence, checksum, length, flushed } = self;
        write!(
            out,
            "{domain:?} {ls_type:04x} id {} adv {router} seq {sequence:08x} sum {checksum:04x}",
            Ipv4Addr::from(*id)
        )?;
        length.map_or(Ok(()), |length| write!(out, " len {length}"))?;
        if *flushed { write!(out, " at MaxAge") } else { Ok(()) }
    }
}

/// A link-state database in its normal form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database(pub BTreeSet<LsaRow>);

impl Database {
    /// What a router on the link of `iface` shares with the others there: AS, area, and that link under the name "link".
    pub fn on_link(&self, iface: &str) -> Self {
        let keep = |row: &LsaRow| match &row.domain {
            Domain::Link(name) if name == iface => Some(LsaRow { domain: Domain::Link("link".into()), ..row.clone() }),
            Domain::Link(_) => None,
            _ => Some(row.clone()),
        };
        Self(self.0.iter().filter_map(keep).collect())
    }

    /// The differences to another database of the same link; lengths are compared where both are known.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        type Key<'a> = (&'a Domain, u16, u32, Ipv4Addr);
        fn keyed(database: &Database) -> BTreeMap<Key<'_>, &LsaRow> {
            database.0.iter().map(|row| ((&row.domain, row.ls_type, row.id, row.router), row)).collect()
        }
        let (mine, theirs) = (keyed(self), keyed(other));
        let mut found = vec![];
        for (key, row) in &mine {
            match theirs.get(key) {
                None => found.push(format!("only the first has {row}")),
                Some(peer) => {
                    let lengths = row.length.zip(peer.length).is_none_or(|(a, b)| a == b);
                    if (row.sequence, row.checksum) != (peer.sequence, peer.checksum) || !lengths {
                        found.push(format!("the first has {row}, the second {peer}"));
                    }
                }
            }
        }
        found.extend(
            theirs
                .iter()
                .filter(|(key, _)| !mine.contains_key(*key))
                .map(|(_, row)| format!("only the second has {row}")),
        );
        found
    }
}

/// A router in a lab.
pub trait Peer: Send {
    /// Its name in the lab.
    fn name(&self) -> &str {
        &self.spec().name
    }
    /// Its specification as of now.
    fn spec(&self) -> &RouterSpec;
    /// Where it runs.
    fn netns(&self) -> &Netns;
    /// Program and version.
    fn version(&self) -> String;
    /// Starts it and returns when it answers.
    fn start(&mut self) -> Result<()>;
    /// Stops it politely and waits for its end.
    fn stop(&mut self) -> Result<()>;
    /// Kills it with SIGKILL.
    fn kill(&mut self) -> Result<()>;
    /// Its neighbors.
    fn neighbors(&mut self) -> Result<Vec<Neighbor>>;
    /// Its link-state database.
    fn database(&mut self) -> Result<Database>;
    /// Changes the metric of a prefix that it originates.
    fn set_metric(&mut self, prefix: Ipv6Network, metric: u16) -> Result<()>;
    /// Everything it can tell about its state.
    fn diagnostics(&mut self) -> String;
}

/// Which program plays a router.
#[derive(Debug, Clone)]
pub enum Version {
    /// FRRouting, of the host or of another Debian root.
    Frr(Option<PathBuf>),
    /// BIRD 2, of the host or of another Debian root.
    Bird(Option<PathBuf>),
    /// BIRD 3, of a Debian root made by `lab root`.
    Bird3(PathBuf),
    /// ospfd-lite.
    Ours,
}

impl Version {
    /// Makes a router of this version; it does not run yet.
    pub fn create(&self, netns: &Netns, spec: RouterSpec, directory: &Path) -> Result<Box<dyn Peer>> {
        let home = directory.join(&spec.name);
        std::fs::create_dir_all(&home)?;
        Ok(match self {
            Self::Frr(root) => Box::new(frr::Frr::new(netns, spec, Home::new(home, root.as_deref())?)?),
            Self::Bird(root) => {
                Box::new(bird::Bird::new(netns, spec, Home::new(home, root.as_deref())?, bird::Package::Bird2)?)
            }
            Self::Bird3(root) => {
                Box::new(bird::Bird::new(netns, spec, Home::new(home, Some(root))?, bird::Package::Bird3)?)
            }
            Self::Ours => Box::new(ours::Lite::new(netns, spec, home)?),
        })
    }
}

/// A peer's files, and the root directory its programs live in.
#[derive(Debug, Clone)]
pub struct Home {
    /// Configuration and sockets.
    pub directory: PathBuf,
    /// Another Debian's root.
    pub root: Option<PathBuf>,
}

impl Home {
    fn new(directory: PathBuf, root: Option<&Path>) -> Result<Self> {
        if let Some(root) = root {
            crate::sandbox::furnish_root(root)?;
        }
        Ok(Self { directory, root: root.map(Path::to_owned) })
    }

    /// Fails with the name of the package to install if a program is not there.
    fn require(&self, program: &str, package: &str) -> Result<()> {
        let base = self.root.as_deref().unwrap_or(Path::new("/"));
        if !base.join(program.trim_start_matches('/')).exists() {
            bail!(
                "no {program} in {}: install the Debian package `{package}` (`cargo lab test` as root does it)",
                base.display()
            );
        }
        Ok(())
    }
}

/// Waits until `peer` shows a Full adjacency with each of these routers.
pub fn wait_full(peer: &mut dyn Peer, routers: &[Ipv4Addr], timeout: Duration) -> Result<()> {
    let what = format!("{} to be Full with {routers:?}", peer.name());
    wait_for(&what, timeout, || {
        let neighbors = peer.neighbors()?;
        let full = |router: &Ipv4Addr| neighbors.iter().any(|n| n.router_id == *router && n.state == State::Full);
        Ok(Probe::when(routers.iter().all(full), (), format!("{neighbors:?}")))
    })
}

/// Waits until two routers hold the same database, which is not empty; how many LSAs it has. Each is read as what is shared
/// on their link ([`Database::on_link`]).
pub fn wait_same_database(timeout: Duration, mut read: impl FnMut() -> Result<(Database, Database)>) -> Result<usize> {
    wait_for("the same database in both", timeout, || {
        let (first, second) = read()?;
        let differences = first.differences(&second);
        let plausible = [0x2001, 8].iter().all(|kind| first.0.iter().any(|row| row.ls_type == *kind));
        let seen = format!("{differences:?} in {} LSAs", first.0.len());
        Ok(Probe::when(plausible && differences.is_empty(), first.0.len(), seen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsa_header_is_read_from_hex() {
        let row = LsaRow::from_hex(Domain::As, "000c200100000000c000020180000001531b001800000013").unwrap();
        assert_eq!((row.ls_type, row.id, row.router), (0x2001, 0, Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!((row.sequence, row.checksum, row.length), (0x8000_0001, 0x531b, Some(24)));
        assert_eq!(LsaRow::from_hex(Domain::As, "000c2001"), None);
    }

    #[test]
    fn databases_differ_by_missing_lsas_and_by_instances() {
        let row = LsaRow::from_hex(Domain::As, "000c200100000000c000020180000001531b001800000013").unwrap();
        let newer = LsaRow { sequence: row.sequence + 1, ..row.clone() };
        let unknown_length = LsaRow { length: None, ..row.clone() };
        let one = |row: &LsaRow| Database(BTreeSet::from([row.clone()]));
        assert_eq!(one(&row).differences(&one(&unknown_length)), Vec::<String>::new());
        assert_eq!(one(&row).differences(&one(&newer)).len(), 1);
        assert_eq!(one(&row).differences(&Database::default()).len(), 1);
        assert_eq!(Database::default().differences(&one(&row)).len(), 1);
    }

    #[test]
    fn every_peers_spelling_of_a_state_is_understood() {
        for (text, state) in
            [("2-Way", State::TwoWay), ("Twoway", State::TwoWay), ("Full", State::Full), ("ExStart", State::ExStart)]
        {
            assert_eq!(State::parse(text), Some(state));
        }
    }
}
