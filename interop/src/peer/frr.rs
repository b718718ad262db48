//! FRRouting: zebra and ospf6d in the foreground under a path space of their own; asked by vtysh.

use std::{fmt::Write, fs, net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use ipnetwork::Ipv6Network;
use serde::Deserialize;

use super::{Database, Domain, Home, Kind, LsaRow, Neighbor, Peer, Role, RouterSpec, State};
use crate::{
    netns::Netns,
    process::{Place, Proc, output},
    wait::{Probe, wait_for},
};

const ZEBRA: &str = "/usr/lib/frr/zebra";
const OSPF6D: &str = "/usr/lib/frr/ospf6d";
const VTYSH: &str = "/usr/bin/vtysh";
const PATIENCE: Duration = Duration::from_secs(20);

/// An FRR router.
#[derive(Debug)]
pub struct Frr {
    netns: Netns,
    spec: RouterSpec,
    home: Home,
    directory: std::path::PathBuf,
    zebra: Option<Proc>,
    ospf6d: Option<Proc>,
}

impl Frr {
    /// Prepares it; fails if FRR is not installed or cannot be what the specification says.
    pub fn new(netns: &Netns, spec: RouterSpec, home: Home) -> Result<Self> {
        for program in [ZEBRA, OSPF6D, VTYSH] {
            home.require(program, "frr")?;
        }
        if spec.name.contains('.') {
            bail!("{}: an FRR path space must not contain dots", spec.name);
        }
        // The path space decides where zebra's socket lies, whatever the vty directory is.
        let directory = std::path::Path::new("/run/frr").join(&spec.name);
        fs::create_dir_all(&directory)?;
        Ok(Self { netns: netns.clone(), spec, home, directory, zebra: None, ospf6d: None })
    }

    /// The cost of `lo` is the metric of the prefixes on it: FRR has one for all.
    fn lo_cost(&self) -> Result<Option<u16>> {
        let mut metrics: Vec<_> = self.spec.prefixes.values().copied().collect();
        metrics.dedup();
        match metrics.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => bail!("{}: FRR originates all prefixes of lo with one metric", self.spec.name),
        }
    }

    fn configuration(&self) -> Result<String> {
        let mut text = format!("hostname {}\n", self.spec.name);
        for iface in &self.spec.interfaces {
            let network = match iface.kind {
                Kind::Broadcast => "broadcast",
                Kind::PointToPoint => "point-to-point",
            };
            writeln!(text, "interface {}\n ipv6 ospf6 area {}\n ipv6 ospf6 network {network}", iface.name, iface.area)?;
            writeln!(text, " ipv6 ospf6 instance-id {}", iface.instance)?;
            writeln!(text, " ipv6 ospf6 cost {}\n ipv6 ospf6 priority {}", iface.cost, iface.priority)?;
            writeln!(text, " ipv6 ospf6 hello-interval {}\n ipv6 ospf6 dead-interval {}", iface.hello, iface.dead)?;
            writeln!(text, " ipv6 ospf6 retransmit-interval {}", iface.retransmit)?;
            if iface.passive {
                writeln!(text, " ipv6 ospf6 passive")?;
            }
        }
        if let Some(cost) = self.lo_cost()? {
            writeln!(text, "interface lo\n ipv6 ospf6 area 0.0.0.0\n ipv6 ospf6 cost {cost}")?;
        }
        writeln!(text, "router ospf6\n ospf6 router-id {}", self.spec.router_id)?;
        Ok(text)
    }

    fn daemon(&self, program: &str, log: &str) -> Result<Proc> {
        let short = program.rsplit('/').next().unwrap_or(program);
        let mut command = Command::new(program);
        command.args(["-u", "root", "-g", "root", "-N", &self.spec.name, "-P", "0", "--log", "stdout"]);
        command.arg("-f").arg(self.directory.join(format!("{short}.conf")));
        command.arg("-i").arg(self.directory.join(format!("{short}.pid")));
        command.arg("--vty_socket").arg(&self.directory);
        let logs = self.home.directory.parent().unwrap_or(&self.home.directory).join("logs");
        let place = Place { netns: &self.netns, root: self.home.root.as_deref(), logs: &logs };
        Proc::start(log, place, &mut command)
    }

    /// Runs vtysh commands against ospf6d.
    pub fn vtysh(&self, commands: &[&str]) -> Result<String> {
        let mut command = Command::new(VTYSH);
        command.arg("--vty_socket").arg(&self.directory).args(["-d", "ospf6d"]);
        for one in commands {
            command.args(["-c", one]);
        }
        output(&self.netns, self.home.root.as_deref(), &mut command)
    }

    fn json<T: for<'a> Deserialize<'a>>(&self, show: &str) -> Result<T> {
        let text = self.vtysh(&[show])?;
        serde_json::from_str(&text)
            .with_context(|| format!("{}: reading the answer to {show:?}: {text:.200}", self.spec.name))
    }
}

#[derive(Deserialize)]
struct NeighborsJson {
    neighbors: Vec<NeighborJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NeighborJson {
    neighbor_id: Ipv4Addr,
    state: String,
    if_state: String,
    interface_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DumpJson {
    area_scoped_link_state_db: Vec<ScopeJson>,
    interface_scoped_link_state_db: Vec<ScopeJson>,
    as_scoped_link_state_db: Vec<ScopeJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeJson {
    area_id: Option<Ipv4Addr>,
    interface: Option<String>,
    lsa: Vec<LsaJson>,
}

#[derive(Deserialize)]
struct LsaJson {
    /// The whole LSA in hexadecimal.
    header: String,
}

impl Peer for Frr {
    fn spec(&self) -> &RouterSpec {
        &self.spec
    }

    fn netns(&self) -> &Netns {
        &self.netns
    }

    fn version(&self) -> String {
        let text = output(&self.netns, self.home.root.as_deref(), Command::new(OSPF6D).arg("--version"));
        let first = text.as_deref().unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        format!("FRR {}", first.trim_start_matches("ospf6d version "))
    }

    fn start(&mut self) -> Result<()> {
        let mut rtnl = self.netns.rtnl()?;
        for prefix in self.spec.prefixes.keys() {
            rtnl.add_address("lo", *prefix)?;
        }
        fs::write(self.directory.join("zebra.conf"), format!("hostname {}\n", self.spec.name))?;
        fs::write(self.directory.join("ospf6d.conf"), self.configuration()?)?;
        fs::write(self.directory.join("vtysh.conf"), "")?;
        for socket in ["zserv.api", "zebra.vty", "ospf6d.vty"] {
            let _ = fs::remove_file(self.directory.join(socket)); // left by a killed predecessor
        }
        let name = self.spec.name.clone();
        let mut zebra = self.daemon(ZEBRA, &format!("{name}-zebra"))?;
        let socket = self.directory.join("zserv.api");
        wait_for("zebra's socket", PATIENCE, || {
            zebra.ensure_running()?;
            Ok(Probe::when(socket.exists(), (), format!("no {}", socket.display())))
        })?;
        self.zebra = Some(zebra);
        let mut ospf6d = self.daemon(OSPF6D, &format!("{name}-ospf6d"))?;
        wait_for("ospf6d to answer", PATIENCE, || {
            ospf6d.ensure_running()?;
            self.vtysh(&["show ipv6 ospf6"]).map(Probe::Ready)
        })?;
        self.ospf6d = Some(ospf6d);
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        // ospf6d first, so that zebra still hears its withdrawals.
        for mut daemon in [self.ospf6d.take(), self.zebra.take()].into_iter().flatten() {
            daemon.terminate(PATIENCE)?;
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        for mut daemon in [self.ospf6d.take(), self.zebra.take()].into_iter().flatten() {
            daemon.kill()?;
        }
        Ok(())
    }

    fn neighbors(&mut self) -> Result<Vec<Neighbor>> {
        let shown: NeighborsJson = self.json("show ipv6 ospf6 neighbor json")?;
        let convert = |n: NeighborJson| {
            let state = State::parse(&n.state).with_context(|| format!("FRR shows the state {:?}", n.state))?;
            Ok(Neighbor { router_id: n.neighbor_id, state, role: Role::parse(&n.if_state), iface: n.interface_name })
        };
        shown.neighbors.into_iter().map(convert).collect()
    }

    fn database(&mut self) -> Result<Database> {
        let dump: DumpJson = self.json("show ipv6 ospf6 database dump json")?;
        let mut database = Database::default();
        let scopes =
            [dump.area_scoped_link_state_db, dump.interface_scoped_link_state_db, dump.as_scoped_link_state_db];
        for scope in scopes.into_iter().flatten() {
            let domain = match (scope.interface, scope.area_id) {
                (Some(iface), _) => Domain::Link(iface),
                (None, Some(area)) => Domain::Area(area),
                (None, None) => Domain::As,
            };
            for lsa in scope.lsa {
                let row = LsaRow::from_hex(domain.clone(), &lsa.header);
                database.0.insert(row.with_context(|| format!("FRR dumps the LSA {:?}", lsa.header))?);
            }
        }
        Ok(database)
    }

    fn set_metric(&mut self, prefix: Ipv6Network, metric: u16) -> Result<()> {
        self.spec.prefixes.insert(prefix, metric);
        let cost = self.lo_cost()?.context("no prefix on lo")?;
        self.vtysh(&["configure terminal", "interface lo", &format!("ipv6 ospf6 cost {cost}")]).map(drop)
    }

    fn diagnostics(&mut self) -> String {
        ["show ipv6 ospf6 neighbor", "show ipv6 ospf6 interface", "show ipv6 ospf6 database", "show ipv6 ospf6 route"]
            .map(|show| format!("{show}\n{}", self.vtysh(&[show]).unwrap_or_else(|error| format!("{error:#}"))))
            .join("\n")
    }
}
