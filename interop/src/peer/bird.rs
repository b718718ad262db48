//! BIRD: one process in the foreground; asked by birdc.

use std::{fmt::Write, fs, process::Command, time::Duration};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;

use super::{Database, Domain, Home, Kind, LsaRow, Neighbor, Peer, Role, RouterSpec, State};
use crate::{
    netns::Netns,
    process::{Place, Proc, output},
    wait::{Probe, wait_for},
};

/// Which of the packages, that cannot be installed side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// `bird2`, at its usual place.
    Bird2,
    /// `bird3`, unpacked by `lab root` below /opt.
    Bird3,
}

impl Package {
    /// Daemon, client and the package's name.
    const fn programs(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Bird2 => ("/usr/sbin/bird", "/usr/sbin/birdc", "bird2"),
            Self::Bird3 => ("/opt/bird3/usr/sbin/bird", "/opt/bird3/usr/sbin/birdc", "bird3"),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A BIRD router.
#[derive(Debug)]
pub struct Bird {
    netns: Netns,
    spec: RouterSpec,
    home: Home,
    bird: &'static str,
    birdc: &'static str,
    process: Option<Proc>,
}

impl Bird {
    /// Prepares it; fails if BIRD is not installed.
    pub fn new(netns: &Netns, spec: RouterSpec, home: Home, package: Package) -> Result<Self> {
        let (bird, birdc, name) = package.programs();
        home.require(bird, name)?;
        home.require(birdc, name)?;
        Ok(Self { netns: netns.clone(), spec, home, bird, birdc, process: None })
    }

    fn configuration(&self) -> Result<String> {
        let mut text = format!("log stderr all;\nrouter id {};\n", self.spec.router_id);
        text.push_str("protocol device { scan time 1; }\n");
        text.push_str("protocol kernel { ipv6 { export all; import none; }; }\n");
        text.push_str(
            "protocol ospf v3 ospf6 {\n ipv6 { import all; export none; };\n tick 1;\n ecmp yes limit 255;\n",
        );
        let area = self.spec.interfaces.first().map_or(std::net::Ipv4Addr::UNSPECIFIED, |iface| iface.area);
        writeln!(text, " area {area} {{")?;
        for (prefix, metric) in &self.spec.prefixes {
            writeln!(text, "  stubnet {prefix} {{ cost {metric}; }};")?;
        }
        for iface in &self.spec.interfaces {
            let kind = match iface.kind {
                Kind::Broadcast => "broadcast",
                Kind::PointToPoint => "pointopoint",
            };
            writeln!(text, "  interface \"{}\" instance {} {{\n   type {kind};", iface.name, iface.instance)?;
            writeln!(text, "   cost {};", iface.cost)?;
            if iface.kind == Kind::Broadcast {
                writeln!(text, "   priority {};", iface.priority)?;
            }
            // BIRD refuses a retransmit interval of 1 s.
            writeln!(
                text,
                "   hello {};\n   dead {};\n   retransmit {};",
                iface.hello,
                iface.dead,
                iface.retransmit.max(2)
            )?;
            writeln!(text, "   wait {};", iface.dead)?;
            if iface.passive {
                writeln!(text, "   stub;")?;
            }
            text.push_str("  };\n");
        }
        text.push_str(" };\n}\n");
        Ok(text)
    }

    fn write_configuration(&self) -> Result<()> {
        fs::write(self.home.directory.join("bird.conf"), self.configuration()?).context("writing bird.conf")
    }

    /// Runs one birdc command.
    pub fn birdc(&self, words: &str) -> Result<String> {
        let mut command = Command::new(self.birdc);
        command.arg("-s").arg(self.home.directory.join("bird.ctl")).args(words.split(' '));
        output(&self.netns, self.home.root.as_deref(), &mut command)
    }
}

/// Reads `show ospf neighbors`.
fn parse_neighbors(text: &str) -> Vec<Neighbor> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [router_id, _priority, state, _dead, iface, ..] = words.as_slice() else { return None };
        let (state, role) = state.split_once('/').unwrap_or((state, ""));
        Some(Neighbor {
            router_id: router_id.parse().ok()?,
            state: State::parse(state)?,
            role: Role::parse(role),
            iface: (*iface).into(),
        })
    };
    text.lines().filter_map(row).collect()
}

/// Reads `show ospf lsadb`.
fn parse_database(text: &str) -> Result<Database> {
    let mut database = Database::default();
    let mut domain = Domain::As;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Global"] => domain = Domain::As,
            ["Area", area] => domain = Domain::Area(area.parse()?),
            ["Link", iface] => domain = Domain::Link((*iface).into()),
            [ls_type, id, router, sequence, age, checksum] if *ls_type != "Type" => {
                let bad = || format!("BIRD shows {line:?}");
                database.0.insert(LsaRow {
                    domain: domain.clone(),
                    ls_type: u16::from_str_radix(ls_type, 16).with_context(bad)?,
                    id: id.parse::<std::net::Ipv4Addr>().with_context(bad)?.into(),
                    router: router.parse().with_context(bad)?,
                    sequence: u32::from_str_radix(sequence, 16).with_context(bad)?,
                    checksum: u16::from_str_radix(checksum, 16).with_context(bad)?,
                    length: None,
                    flushed: age.parse::<u16>().with_context(bad)? >= super::MAX_AGE,
                });
            }
            _ => {}
        }
    }
    Ok(database)
}

impl Peer for Bird {
    fn spec(&self) -> &RouterSpec {
        &self.spec
    }

    fn netns(&self) -> &Netns {
        &self.netns
    }

    fn version(&self) -> String {
        let shown = self.birdc("show status").unwrap_or_default();
        shown.lines().next().unwrap_or("BIRD (not running)").trim_end_matches(" ready.").to_owned()
    }

    fn start(&mut self) -> Result<()> {
        self.write_configuration()?;
        let directory = &self.home.directory;
        let mut command = Command::new(self.bird);
        command.arg("-f").arg("-c").arg(directory.join("bird.conf"));
        command.arg("-s").arg(directory.join("bird.ctl")).arg("-P").arg(directory.join("bird.pid"));
        let logs = directory.parent().unwrap_or(directory).join("logs");
        let place = Place { netns: &self.netns, root: self.home.root.as_deref(), logs: &logs };
        let mut process = Proc::start(&format!("{}-bird", self.spec.name), place, &mut command)?;
        wait_for("BIRD to answer", PATIENCE, || {
            process.ensure_running()?;
            self.birdc("show ospf").map(Probe::Ready)
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.terminate(PATIENCE).map(drop))
    }

    fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    fn neighbors(&mut self) -> Result<Vec<Neighbor>> {
        Ok(parse_neighbors(&self.birdc("show ospf neighbors")?))
    }

    fn database(&mut self) -> Result<Database> {
        parse_database(&self.birdc("show ospf lsadb")?)
    }

    fn set_metric(&mut self, prefix: Ipv6Network, metric: u16) -> Result<()> {
        self.spec.prefixes.insert(prefix, metric);
        self.write_configuration()?;
        self.birdc("configure").map(drop)
    }

    fn diagnostics(&mut self) -> String {
        ["show ospf neighbors", "show ospf interface", "show ospf lsadb", "show ospf state all", "show route"]
            .map(|show| format!("{show}\n{}", self.birdc(show).unwrap_or_else(|error| format!("{error:#}"))))
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birds_neighbor_table_is_read() {
        let text = "BIRD 2.0.12 ready.\no:\nRouter ID   \tPri\t     State     \tDTime\tInterface  Router IP\n\
                    192.0.2.1   \t  1\tFull/BDR  \t 3.840\tv1         fe80::1\n";
        let rows = parse_neighbors(text);
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.state, row.role, row.iface.as_str()), (State::Full, Some(Role::Backup), "v1"));
    }

    #[test]
    fn birds_database_is_read() {
        let text = "BIRD 2.0.12 ready.\n\nArea 0.0.0.0\n\n Type   LS ID  Router  Sequence   Age  Checksum\n \
                    2001  0.0.0.0  192.0.2.1  80000002  3  c8bf\n\nLink v1\n\n 0008  0.0.0.2  192.0.2.1  80000001  8  6b40\n";
        let rows: Vec<_> = parse_database(text).unwrap().0.into_iter().collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].domain, Domain::Link("v1".into()));
        assert_eq!((rows[1].sequence, rows[1].checksum), (0x8000_0002, 0xc8bf));
    }
}
