//! Our own daemons as peers: ospfd-lite as router, server-speaker as a server of the farm. Both speak the same control
//! protocol, so both are asked in the same way.

use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ipnetwork::Ipv6Network;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::Value;

use super::{Database, Domain, IfaceSpec, Kind, LsaRow, Neighbor, Peer, Role, RouterSpec, State};
use crate::{
    daemons,
    netns::Netns,
    process::{Place, Proc, output},
    wait::{Probe, wait_for},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// One of our daemons: its binary, configuration, state and control socket.
#[derive(Debug)]
pub struct Daemon {
    netns: Netns,
    name: String,
    binary: PathBuf,
    directory: PathBuf,
    arguments: Vec<String>,
    process: Option<Proc>,
}

impl Daemon {
    /// Prepares `program` with its files in `directory`.
    pub fn new(program: &str, netns: &Netns, name: &str, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Self {
            netns: netns.clone(),
            name: name.into(),
            binary: daemons::find(program)?,
            directory: directory.into(),
            arguments: vec![],
            process: None,
        })
    }

    /// More arguments for `run`.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    fn program(&self) -> &str {
        self.binary.file_name().and_then(|name| name.to_str()).unwrap_or("daemon")
    }

    fn control(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Starts it with this configuration and returns when it answers `show neighbor`.
    pub fn start(&mut self, configuration: &str) -> Result<()> {
        let file = self.directory.join("config.toml");
        fs::write(&file, configuration)?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(&file).arg("--control").arg(self.control());
        command.arg("--state-dir").arg(self.directory.join("state")).args(&self.arguments);
        fs::create_dir_all(self.directory.join("state"))?;
        let logs = self.directory.parent().unwrap_or(&self.directory).join("logs");
        let place = Place { netns: &self.netns, root: None, logs: &logs };
        let mut process = Proc::start(&format!("{}-{}", self.name, self.program()), place, &mut command)?;
        wait_for(&format!("{} to answer", self.name), PATIENCE, || {
            process.ensure_running()?;
            self.command(&["show", "neighbor", "--json"]).map(Probe::Ready)
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs a control command and returns what it prints.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--control").arg(self.control());
        output(&self.netns, None, &mut command)
    }

    /// Runs `show SUBJECT --json`.
    pub fn show(&self, subject: &str) -> Result<Value> {
        let text = self.command(&["show", subject, "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("{}: reading show {subject}: {text:.200}", self.name))
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.terminate(PATIENCE)?;
        if !status.success() {
            bail!("{} left with {status} after SIGTERM; the end of its log:\n{}", self.name, process.tail(30));
        }
        Ok(())
    }

    /// SIGTERM without waiting.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(Signal::SIGTERM))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Fails with the end of its log if it runs no longer.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.process.as_mut().map_or_else(|| bail!("{} is not running", self.name), Proc::ensure_running)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Proc::log).unwrap_or_default()
    }

    fn rows<T: for<'a> Deserialize<'a>>(&self, subject: &str) -> Result<Vec<T>> {
        let shown = self.show(subject)?;
        serde_json::from_value(shown).with_context(|| format!("{}: understanding show {subject}", self.name))
    }

    fn neighbors(&self) -> Result<Vec<Neighbor>> {
        self.rows::<NeighborJson>("neighbor")?.into_iter().map(NeighborJson::normal).collect()
    }

    fn database(&self) -> Result<Database> {
        self.rows::<LsaJson>("database")?.into_iter().map(LsaJson::normal).collect::<Result<_>>().map(Database)
    }

    fn diagnostics(&self, subjects: &[&str]) -> String {
        let show = |subject: &&str| {
            let text = self.command(&["show", subject]).unwrap_or_else(|error| format!("{error:#}"));
            format!("show {subject}\n{text}")
        };
        subjects.iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

/// The fields of a `show neighbor` row that a lab reads.
#[derive(Deserialize)]
struct NeighborJson {
    neighbor_id: Ipv4Addr,
    state: String,
    if_state: String,
    interface: String,
}

impl NeighborJson {
    fn normal(self) -> Result<Neighbor> {
        let state = State::parse(&self.state).with_context(|| format!("unknown neighbor state {}", self.state))?;
        Ok(Neighbor { router_id: self.neighbor_id, state, role: Role::parse(&self.if_state), iface: self.interface })
    }
}

/// The fields of a `show database` row that a lab reads.
#[derive(Deserialize)]
struct LsaJson {
    scope: String,
    area: Option<Ipv4Addr>,
    interface: Option<String>,
    ls_type: u16,
    link_state_id: Ipv4Addr,
    adv_router: Ipv4Addr,
    sequence: String,
    checksum: String,
    length: u16,
    age: u16,
}

impl LsaJson {
    fn normal(self) -> Result<LsaRow> {
        let domain = match (self.scope.as_str(), self.interface, self.area) {
            ("link", Some(iface), _) => Domain::Link(iface),
            ("area", _, Some(area)) => Domain::Area(area),
            ("as", ..) => Domain::As,
            (scope, iface, area) => bail!("an LSA of scope {scope}, interface {iface:?}, area {area:?}"),
        };
        let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).with_context(|| text.to_owned());
        Ok(LsaRow {
            domain,
            ls_type: self.ls_type,
            id: self.link_state_id.into(),
            router: self.adv_router,
            sequence: hex(&self.sequence)?,
            checksum: u16::try_from(hex(&self.checksum)?)?,
            length: Some(self.length),
            flushed: self.age >= super::MAX_AGE,
        })
    }
}

/// The `[[interface]]` tables that both daemons read.
pub fn interface_tables(interfaces: &[IfaceSpec]) -> Result<String> {
    let mut out = String::new();
    for iface in interfaces {
        let kind = match iface.kind {
            Kind::Broadcast => "broadcast",
            Kind::PointToPoint => "point-to-point",
        };
        writeln!(
            out,
            "\n[[interface]]\nname = {:?}\narea = \"{}\"\ntype = {kind:?}\ncost = {}\ninstance-id = {}",
            iface.name, iface.area, iface.cost, iface.instance
        )?;
        writeln!(out, "priority = {}\nhello-interval = {}", iface.priority, iface.hello)?;
        writeln!(out, "dead-interval = {}\nretransmit-interval = {}", iface.dead, iface.retransmit)?;
        if iface.passive {
            writeln!(out, "passive = true")?;
        }
    }
    Ok(out)
}

/// What our two daemons differ in as peers.
trait Ours: std::fmt::Debug + Send {
    /// Program and version.
    const VERSION: &'static str;
    /// The subjects of `show` that tell all about its state.
    const SUBJECTS: &'static [&'static str];
    /// Why nobody may set the metric of its prefixes.
    const OWN_METRICS: &'static str;

    /// The file for this specification.
    fn configuration(&self, spec: &RouterSpec) -> Result<String>;
}

/// One of our daemons as a peer.
#[derive(Debug)]
pub struct Own<P> {
    spec: RouterSpec,
    daemon: Daemon,
    program: P,
}

/// ospfd-lite as a router.
pub type Lite = Own<Router>;
/// server-speaker beside a service.
pub type Speaker = Own<Server>;

/// What an ospfd-lite has of its own: nothing, as its `[fib]` table is part of its specification.
#[derive(Debug)]
pub struct Router;

/// What a server-speaker has of its own.
#[derive(Debug)]
pub struct Server {
    /// Lines at the top of its file.
    globals: String,
    /// The `[[service]]` tables.
    services: String,
}

impl Ours for Router {
    const VERSION: &'static str = concat!("ospfd-lite ", env!("CARGO_PKG_VERSION"));
    const SUBJECTS: &'static [&'static str] = &["neighbor", "interface", "database", "route"];
    const OWN_METRICS: &'static str = "ospfd-lite does not originate it";

    fn configuration(&self, spec: &RouterSpec) -> Result<String> {
        if !spec.prefixes.is_empty() {
            bail!("{}: ospfd-lite originates the prefixes of its interfaces only", spec.name);
        }
        let fib = if spec.fib.is_empty() { String::new() } else { format!("\n[fib]\n{}", spec.fib) };
        Ok(format!("router-id = \"{}\"\n{}{fib}", spec.router_id, interface_tables(&spec.interfaces)?))
    }
}

impl Ours for Server {
    const VERSION: &'static str = concat!("server-speaker ", env!("CARGO_PKG_VERSION"));
    const SUBJECTS: &'static [&'static str] = &["service", "neighbor", "database"];
    const OWN_METRICS: &'static str = "the law of server-speaker sets it";

    fn configuration(&self, spec: &RouterSpec) -> Result<String> {
        let interfaces = interface_tables(&spec.interfaces)?;
        let Self { globals, services } = self;
        Ok(format!("router-id = \"{}\"\n{globals}\n{interfaces}\n{services}", spec.router_id))
    }
}

impl Lite {
    /// Prepares it.
    pub fn new(netns: &Netns, spec: RouterSpec, directory: PathBuf) -> Result<Self> {
        let daemon = Daemon::new("ospfd-lite", netns, &spec.name, &directory)?;
        Ok(Self { spec, daemon, program: Router })
    }
}

impl Speaker {
    /// Prepares it; `services` are the `[[service]]` tables as they stand in the file.
    pub fn new(netns: &Netns, spec: RouterSpec, services: &str, directory: &Path) -> Result<Self> {
        let daemon = Daemon::new("server-speaker", netns, &spec.name, directory)?;
        let program = Server { globals: String::new(), services: services.into() };
        Ok(Self { spec, daemon, program })
    }

    /// The same with more lines at the top of its file.
    pub fn with_globals(mut self, globals: &str) -> Self {
        self.program.globals = globals.into();
        self
    }

    /// More arguments for `run`.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.daemon = self.daemon.with_arguments(arguments);
        self
    }

    /// The daemon, for commands that other peers do not have.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

#[allow(private_bounds, reason = "there are these two")]
impl<P: Ours> Peer for Own<P> {
    fn spec(&self) -> &RouterSpec {
        &self.spec
    }

    fn netns(&self) -> &Netns {
        &self.daemon.netns
    }

    fn version(&self) -> String {
        P::VERSION.into()
    }

    fn start(&mut self) -> Result<()> {
        let configuration = self.program.configuration(&self.spec)?;
        self.daemon.start(&configuration)
    }

    fn stop(&mut self) -> Result<()> {
        self.daemon.stop()
    }

    fn kill(&mut self) -> Result<()> {
        self.daemon.kill()
    }

    fn neighbors(&mut self) -> Result<Vec<Neighbor>> {
        self.daemon.neighbors()
    }

    fn database(&mut self) -> Result<Database> {
        self.daemon.database()
    }

    fn set_metric(&mut self, prefix: Ipv6Network, _metric: u16) -> Result<()> {
        bail!("{}: the metric of {prefix} cannot be set: {}", self.spec.name, P::OWN_METRICS)
    }

    fn diagnostics(&mut self) -> String {
        self.daemon.diagnostics(P::SUBJECTS)
    }
}
