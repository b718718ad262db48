//! The farm on which scenarios are played: who is who follows from the peer's role.
//!
//! ```text
//!   client eth0 ---- eth0 router eth1 ---- br0 ---- eth0 s1, s2, s3, ...
//!   (middle: ospfd-lite)                    |------ eth0 second router (dr, bdr)
//! ```

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{
    cell::Verdict,
    table::{PeerRow, Role},
};
use crate::{
    lab::{Lab, PeerId},
    monitor::Monitor,
    netns::Netns,
    peer::{Database, IfaceSpec, Kind, LsaRow, Peer, RouterSpec, Version, ours::Speaker, wait_full},
    topology::{Farm, Server, link_local, net},
    wait::{Probe, hold_for, wait_for},
};

/// What the servers share.
pub const SERVICE: &str = "2001:db8:53::53/128";
/// Its cost in the class.
pub const COST: u16 = 10;
/// How long anything may take at most: on a machine that others load, much is late.
pub const PATIENCE: Duration = Duration::from_secs(60);
const OUR_PAUSE: Duration = Duration::from_millis(1500);
const THEIR_PAUSE: Duration = Duration::from_millis(5500);
const PORT: u16 = 53;
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HEAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

/// Who plays.
#[derive(Debug, Clone)]
pub struct Cast {
    /// The peer.
    pub peer: &'static PeerRow,
    /// What it plays.
    pub role: Role,
    /// Its program.
    pub version: Version,
}

/// A router whose kernel is watched.
pub struct Router {
    /// As the lab knows it.
    pub id: PeerId,
    /// Its Router ID.
    pub router_id: Ipv4Addr,
    /// Its interface on the farm link.
    pub iface: &'static str,
    /// What its kernel does.
    pub monitor: Monitor,
    /// Whether it is ospfd-lite.
    pub ours: bool,
}

impl Router {
    /// Whether its kernel has forwarded to exactly these servers for so long.
    pub fn at_rest(&self, wanted: &BTreeSet<Ipv6Addr>, time: Duration) -> Result<Probe<()>> {
        let history = self.monitor.history(net(SERVICE)?);
        let Some(last) = history.last() else { return Ok(Probe::NotYet("no route".into())) };
        let rests = last.gateways == *wanted && last.at.elapsed() >= time;
        Ok(Probe::when(rests, (), format!("{:?} for {:?}", last.gateways, last.at.elapsed())))
    }
}

/// What runs on a server.
pub enum Program {
    /// server-speaker beside a service: a socket that answers nothing.
    Ours(Box<Speaker>, Option<UdpSocket>),
    /// The peer.
    Theirs(PeerId),
}

/// A server.
pub struct Node {
    /// Where.
    pub place: Server,
    /// Its Router ID.
    pub router_id: Ipv4Addr,
    /// What runs there.
    pub program: Program,
}

/// How long it took until everything stood.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opened {
    /// From the start of the first server to the last adjacency of all but the last server.
    pub all_full: Duration,
    /// From the start of the last server's process to its last adjacency.
    pub one_more: Duration,
    /// From the same to the last kernel.
    pub fib: Duration,
    /// From the start of the first server to the last kernel.
    pub all_in_fib: Duration,
}

/// The farm, running.
pub struct Stage<'a> {
    /// Its lab.
    pub lab: &'a mut Lab,
    /// Who plays.
    pub cast: &'a Cast,
    /// Its wiring.
    pub farm: Farm,
    /// The routers on the farm link.
    pub routers: Vec<Router>,
    /// ospfd-lite behind the peer, in the role middle.
    pub head: Option<Router>,
    /// The servers.
    pub servers: Vec<Node>,
    /// The peer's version.
    pub version: String,
    /// How long it took.
    pub opened: Opened,
}

impl<'a> Stage<'a> {
    /// Builds a farm of `count` servers and starts everybody, until all are adjacent and all kernels forward to all servers.
    pub fn open(lab: &'a mut Lab, cast: &'a Cast, count: u16) -> Result<Self> {
        let mut stage = Self::build(lab, cast, count)?;
        let first = Instant::now();
        let last = stage.servers.len().saturating_sub(1);
        for server in 0..last {
            stage.start(server)?;
        }
        stage.wait_full(last)?;
        stage.opened.all_full = first.elapsed();
        let started = Instant::now();
        stage.start(last)?;
        stage.wait_full(last + 1)?;
        stage.opened.one_more = started.elapsed();
        stage.opened.fib = stage.wait_members(&stage.all(), started)?;
        stage.opened.all_in_fib = (started + stage.opened.fib).saturating_duration_since(first);
        stage.head_forwards(true, started)?;
        if stage.version.is_empty() {
            let Some(Node { program: Program::Theirs(id), .. }) = stage.servers.first() else { bail!("no peer") };
            stage.version = stage.lab.peer(*id)?.version();
        }
        Ok(stage)
    }

    /// The routers run; no server does yet.
    fn build(lab: &'a mut Lab, cast: &'a Cast, count: u16) -> Result<Self> {
        let farm = Farm::build(count)?;
        farm.all().iter().take(2).for_each(|netns| lab.watch(netns));
        let mut stage = Self {
            lab,
            cast,
            farm,
            routers: vec![],
            head: None,
            servers: vec![],
            version: String::new(),
            opened: Opened::default(),
        };
        let (role, theirs, ours) = (cast.role, &cast.version, &Version::Ours);
        let (priority, second) = match role {
            Role::Dr => (200, 100),
            Role::Bdr => (100, 200),
            Role::LinkRouter | Role::Server | Role::Middle => (1, 0),
        };
        let mut spec = RouterSpec::new("router", ROUTER, broadcast(Farm::FARM_SIDE, priority));
        let client_side = if role == Role::Middle {
            IfaceSpec::fast(Farm::CLIENT_SIDE, Kind::PointToPoint)
        } else {
            IfaceSpec::passive(Farm::CLIENT_SIDE)
        };
        spec.interfaces.push(client_side);
        let version = if role == Role::Server { ours } else { theirs };
        stage.start_router((version, &stage.farm.router.clone()), spec, Farm::FARM_SIDE)?;
        if matches!(role, Role::Dr | Role::Bdr) {
            let netns = stage.farm.add_router("second", 2)?;
            stage.lab.watch(&netns);
            stage.start_router((ours, &netns), RouterSpec::new("second", SECOND, broadcast("eth0", second)), "eth0")?;
        }
        if role == Role::Middle {
            let netns = stage.farm.client.clone();
            netns.make_router()?;
            let spec = RouterSpec::new("head", HEAD, IfaceSpec::fast("eth0", Kind::PointToPoint));
            stage.start_router((ours, &netns), spec, "eth0")?;
            stage.head = stage.routers.pop();
        }
        for (number, place) in (11..).zip(stage.farm.servers.clone()) {
            let router_id = Ipv4Addr::new(192, 0, 2, number);
            let node = stage.server(&place, router_id)?;
            stage.servers.push(Node { place, router_id, program: node });
        }
        Ok(stage)
    }

    fn start_router(&mut self, who: (&Version, &Netns), spec: RouterSpec, iface: &'static str) -> Result<()> {
        let (version, netns) = who;
        let (router_id, ours) = (spec.router_id, matches!(version, Version::Ours));
        let id = self.lab.start(version, netns, spec)?;
        if !ours {
            self.version = self.lab.peer(id)?.version();
        }
        let monitor = Monitor::start(netns)?;
        self.routers.push(Router { id, router_id, iface, monitor, ours });
        Ok(())
    }

    /// Prepares a server: all but the last are the peer's in the role server, else all are ours.
    fn server(&mut self, place: &Server, router_id: Ipv4Addr) -> Result<Program> {
        let name = place.netns.name();
        let spec = RouterSpec::new(name, router_id, broadcast("eth0", 0));
        let last = self.servers.len() + 1 == self.farm.servers.len();
        if self.cast.role == Role::Server && !last {
            let peer =
                self.cast.version.create(&place.netns, spec.with_prefix(net(SERVICE)?, COST), self.lab.directory())?;
            return Ok(Program::Theirs(self.lab.adopt(peer)));
        }
        Ok(Program::Ours(Box::new(speaker(&place.netns, spec, self.lab)?), None))
    }

    /// Every server.
    pub fn all(&self) -> Vec<usize> {
        (0..self.servers.len()).collect()
    }

    /// Every server but the first, which is the one that things happen to.
    pub fn rest(&self) -> Vec<usize> {
        (1..self.servers.len()).collect()
    }

    /// A server.
    pub fn node(&mut self, server: usize) -> Result<&mut Node> {
        self.servers.get_mut(server).with_context(|| format!("no server {server}"))
    }

    /// A server's routing daemon.
    pub fn daemon(&mut self, server: usize) -> Result<&mut dyn Peer> {
        let node = self.servers.get_mut(server).with_context(|| format!("no server {server}"))?;
        Ok(match &mut node.program {
            Program::Ours(speaker, _) => &mut **speaker,
            Program::Theirs(id) => self.lab.peer(*id)?,
        })
    }

    /// A server's server-speaker; none if the peer plays it.
    pub fn speaker(&mut self, server: usize) -> Result<Option<&mut Speaker>> {
        Ok(match &mut self.node(server)?.program {
            Program::Ours(speaker, _) => Some(speaker),
            Program::Theirs(_) => None,
        })
    }

    /// Starts a server: its service, if it has one, and its daemon.
    pub fn start(&mut self, server: usize) -> Result<()> {
        self.serve(server)?;
        self.daemon(server)?.start()
    }

    /// Opens a server's service.
    pub fn serve(&mut self, server: usize) -> Result<()> {
        let node = self.node(server)?;
        if let Program::Ours(_, service) = &mut node.program {
            let socket = node.place.netns.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)))?;
            *service = Some(socket.context("opening the service")?);
        }
        Ok(())
    }

    /// Waits until the routers and the first `count` servers are adjacent as both sides show it.
    pub fn wait_full(&mut self, count: usize) -> Result<()> {
        let routers: Vec<_> = self.routers.iter().map(|router| router.router_id).collect();
        let servers: Vec<_> = self.servers.iter().take(count).map(|node| node.router_id).collect();
        for router in &self.routers {
            let mut others: Vec<_> = routers.iter().filter(|id| **id != router.router_id).copied().collect();
            others.extend(&servers);
            others.extend(self.head.as_ref().map(|head| head.router_id));
            wait_full(self.lab.peer(router.id)?, &others, PATIENCE)?;
        }
        if let Some(head) = &self.head {
            wait_full(self.lab.peer(head.id)?, &routers, PATIENCE)?;
        }
        for server in 0..count {
            wait_full(self.daemon(server)?, &routers, PATIENCE)?;
        }
        Ok(())
    }

    /// The next hops towards these servers.
    pub fn addresses(&self, servers: &[usize]) -> BTreeSet<Ipv6Addr> {
        servers.iter().filter_map(|server| self.servers.get(*server)).map(|node| node.place.address).collect()
    }

    /// Waits until the kernels of all routers on the link forward to exactly these servers; when the last one did.
    pub fn wait_members(&self, servers: &[usize], since: Instant) -> Result<Duration> {
        let (wanted, mut last) = (self.addresses(servers), since);
        for router in &self.routers {
            let who = if router.ours { "ospfd-lite" } else { "the peer" };
            let at = router
                .monitor
                .wait_gateways(net(SERVICE)?, &wanted, since, PATIENCE)
                .with_context(|| format!("in the kernel of {who}"))?;
            last = last.max(at);
        }
        Ok(last - since)
    }

    /// Lets the last change be over, so that no daemon has to wait before it may tell of the next one: BIRD and FRR change
    /// an LSA every 5 s at most (MinLSInterval), our server here every 1.2 s, and none takes two changes in a second.
    pub fn settle(&self, servers: &[usize]) -> Result<()> {
        let (wanted, prefix) = (self.addresses(servers), net(SERVICE)?);
        let pause = if self.cast.role == Role::Server { THEIR_PAUSE } else { OUR_PAUSE };
        hold_for("the class", pause, || {
            let other = self.routers.iter().map(|router| router.monitor.gateways(prefix)).find(|seen| *seen != wanted);
            Ok(other.map_or(Probe::Ready(()), |seen| Probe::NotYet(format!("{seen:?} where {wanted:?} were"))))
        })
    }

    /// Waits until the kernels of all routers on the link have forwarded to all servers for a while.
    pub fn wait_at_rest(&self, time: Duration) -> Result<()> {
        let wanted = self.addresses(&self.all());
        self.routers
            .iter()
            .try_for_each(|router| wait_for("the kernels to be at rest", PATIENCE, || router.at_rest(&wanted, time)))
    }

    /// Waits until the router behind the peer has a route through it, or none; nothing where there is no such router.
    pub fn head_forwards(&self, forwards: bool, since: Instant) -> Result<Option<Duration>> {
        let Some(head) = &self.head else { return Ok(None) };
        let wanted = if forwards { BTreeSet::from([link_local(1)]) } else { BTreeSet::new() };
        let at = head.monitor.wait_gateways(net(SERVICE)?, &wanted, since, PATIENCE).context("behind the peer")?;
        Ok(Some(at - since))
    }

    /// The longest time since `from` that a router's kernel was without one of these servers.
    pub fn longest_gap(&self, router: &Router, servers: &[usize], from: Instant) -> Result<Duration> {
        let wanted = self.addresses(servers);
        let (mut longest, mut since) = (Duration::ZERO, None);
        for change in router.monitor.history(net(SERVICE)?).into_iter().filter(|change| change.at >= from) {
            if change.gateways.is_superset(&wanted) {
                longest = since.take().map_or(longest, |gap: Instant| longest.max(change.at - gap));
            } else {
                since.get_or_insert(change.at);
            }
        }
        Ok(since.map_or(longest, |gap| longest.max(gap.elapsed())))
    }

    /// What all on the farm link share of a router's database.
    pub fn router_database(&mut self, router: usize) -> Result<Database> {
        let router = self.routers.get(router).context("no such router")?;
        Ok(self.lab.peer(router.id)?.database()?.on_link(router.iface))
    }

    /// Waits until no router's database has an LSA of a type (of any, if none is named) by a server, unless being flushed.
    pub fn wait_forgotten(&mut self, server: usize, ls_type: Option<u16>, since: Instant) -> Result<Duration> {
        let router_id = self.node(server)?.router_id;
        for router in 0..self.routers.len() {
            wait_for(&format!("the LSAs of {router_id} to be flushed"), PATIENCE / 2, || {
                let database = self.router_database(router)?;
                let of = |row: &&LsaRow| {
                    row.router == router_id && !row.flushed && ls_type.is_none_or(|one| row.ls_type == one)
                };
                let left: Vec<_> = database.0.iter().filter(of).map(ToString::to_string).collect();
                Ok(Probe::when(left.is_empty(), (), left.join("; ")))
            })?;
        }
        Ok(since.elapsed())
    }

    /// What everybody says, for a failure: the lab knows of the routers and the peers only.
    pub fn diagnostics(&mut self) -> String {
        let speakers = self.servers.iter_mut().filter_map(|node| match &mut node.program {
            Program::Ours(speaker, _) => Some(speaker.diagnostics()),
            Program::Theirs(_) => None,
        });
        speakers.collect::<Vec<_>>().join("\n")
    }

    /// A pass of the peer as it is.
    pub fn pass(&self) -> Verdict {
        Verdict { version: self.version.clone(), ..Verdict::default() }
    }
}

/// A server-speaker beside a service that shall have a socket at `PORT`; it stays in the class whatever its load.
pub fn speaker(netns: &Netns, spec: RouterSpec, lab: &Lab) -> Result<Speaker> {
    let service = format!(
        "[[service]]\nname = \"dns\"\nprefixes = [\"{SERVICE}\"]\nmanage-address = true\npolicy = \"static\"\n\
         monitor = [{{ socket = {{ protocol = \"udp\", port = {PORT} }} }}]\n"
    );
    let directory = lab.directory().join(&spec.name);
    let globals = "min-ls-interval = 1.2\nlinger = 2\necmp-width = 64\n";
    Ok(Speaker::new(netns, spec, &service, &directory)?.with_globals(globals))
}

/// An interface on the farm link.
pub fn broadcast(name: &str, priority: u8) -> IfaceSpec {
    IfaceSpec::fast(name, Kind::Broadcast).with_priority(priority)
}
