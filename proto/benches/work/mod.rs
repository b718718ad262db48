//! What is measured, by time (`micro.rs`) and by instructions (`counts.rs`): the same tasks on the same data.

mod area;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::Duration;

use ospf_proto::ctx::{Timer, Timers};
use ospf_proto::id::{AreaId, IfaceId, NeighborId, RouterId};
use ospf_proto::lsa::Lsa;
use ospf_proto::lsdb::{Limits, Lsdb, Source};
use ospf_proto::packet::{Hello, LsUpd, Packet, PacketBody, PacketHeader};
use ospf_proto::rib::{Basis, Rib};
use ospf_proto::spf::{Graph, Tree};
use ospf_proto::time::Instant;
use ospf_proto::wire::fletcher;

pub(crate) use area::Area;

const NOW: Instant = Instant::EPOCH;
const AREA: AreaId = AreaId(0);
/// Ends of a link.
const HERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);
/// Networks, by routers.
const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];

/// What is run again and again.
pub(crate) type Run = Box<dyn FnMut()>;

/// Something to measure.
pub(crate) struct Task {
    /// Its name, `group/what/size`.
    pub(crate) name: String,
    /// How much there is: routers, LSAs, bytes, timers.
    pub(crate) size: u32,
    /// Of how many of them one run disposes.
    #[allow(dead_code, reason = "instructions are counted by run")]
    pub(crate) items: u32,
    /// Makes it ready to run.
    pub(crate) prepare: fn(u32) -> Run,
}

impl Task {
    /// One run disposes of all.
    fn of_all(what: &str, size: u32, prepare: fn(u32) -> Run) -> Self {
        Task { name: format!("{what}/{size}"), size, items: size, prepare }
    }

    /// One run disposes of one.
    fn of_one(what: &str, size: u32, prepare: fn(u32) -> Run) -> Self {
        Task { items: 1, ..Task::of_all(what, size, prepare) }
    }
}

/// All tasks.
pub(crate) fn tasks() -> Vec<Task> {
    let mut tasks = vec![
        Task::of_one("decode/hello", 50, |neighbors| decode(hello(neighbors))),
        Task::of_one("encode/hello", 50, |neighbors| encode(hello(neighbors))),
        Task::of_all("decode/update", 10, |lsas| decode(update(lsas))),
        Task::of_all("encode/update", 10, |lsas| encode(update(lsas))),
        Task::of_all("fletcher", 1448, fletcher_of),
        Task::of_all("lsdb/install", 1_000, install),
        Task::of_one("timers/restart", 10_000, timers),
    ];
    for size in SIZES {
        tasks.push(Task::of_one("lsdb/replace", size, replace));
        tasks.push(Task::of_all("spf/graph", size, graph));
        tasks.push(Task::of_all("spf/tree", size, tree));
        tasks.push(Task::of_all("rib/all", size, all_routes));
        tasks.push(Task::of_one("rib/one-prefix", size, one_prefix));
    }
    tasks
}

fn packet(body: PacketBody) -> Packet {
    let header = PacketHeader { router_id: RouterId(1), area_id: AREA, instance_id: 0 };
    Packet { header, body }
}

/// A Hello with so many neighbors.
fn hello(neighbors: u32) -> Packet {
    let neighbors = (1..=neighbors).map(RouterId).collect();
    packet(PacketBody::Hello(Hello { iface_id: IfaceId(1), hello_interval: 10, neighbors, ..Hello::default() }))
}

/// An LS Update with so many Router-LSAs.
fn update(lsas: u32) -> Packet {
    let lsas = Area::random(lsas).router_lsas().collect();
    packet(PacketBody::LsUpd(LsUpd { lsas, rejected: vec![] }))
}

fn decode(packet: Packet) -> Run {
    let bytes = packet.encode(HERE, ALL);
    Box::new(move || drop(black_box(Packet::decode(HERE, ALL, black_box(&bytes)))))
}

fn encode(packet: Packet) -> Run {
    Box::new(move || drop(black_box(black_box(&packet).encode(HERE, ALL))))
}

fn fletcher_of(bytes: u32) -> Run {
    let bytes: Vec<u8> = (0..bytes).map(|n| (n * 7) as u8).collect();
    Box::new(move || {
        black_box(fletcher(black_box(&bytes), 14));
    })
}

fn empty_lsdb() -> Lsdb {
    Lsdb::new(Limits { lsas: usize::MAX, lsas_per_router: usize::MAX })
}

/// So many LSAs into an empty database; what it takes to clone them and to drop the database is in it.
fn install(lsas: u32) -> Run {
    let lsas: Vec<_> = Area::random(lsas).router_lsas().collect();
    Box::new(move || {
        let mut lsdb = empty_lsdb();
        for lsa in &lsas {
            lsdb.install(area::domain(), lsa.clone(), Source::Flooded, NOW);
        }
        drop(black_box(lsdb));
    })
}

/// One LSA in the database of a network, again and again.
fn replace(routers: u32) -> Run {
    let area = Area::random(routers);
    let mut lsdb = area.lsdb();
    let versions = area.service_versions();
    let mut turn = 0;
    Box::new(move || {
        turn ^= 1;
        black_box(lsdb.replace(area::domain(), versions[turn].clone(), Source::Flooded, NOW));
    })
}

fn graph(routers: u32) -> Run {
    let lsdb = Area::random(routers).lsdb();
    Box::new(move || drop(black_box(Graph::build(&lsdb, AREA, NOW))))
}

fn tree(routers: u32) -> Run {
    let graph = Graph::build(&Area::random(routers).lsdb(), AREA, NOW);
    Box::new(move || drop(black_box(graph.tree(area::ROOT))))
}

/// A network with its tree and its routes.
struct Routed {
    lsdb: Lsdb,
    trees: BTreeMap<AreaId, Tree>,
    rib: Rib,
    versions: [Lsa; 2],
}

impl Routed {
    fn new(routers: u32) -> Self {
        let area = Area::random(routers);
        let lsdb = area.lsdb();
        let mut rib = Rib::default();
        for (key, _) in lsdb.iter() {
            rib.lsa_changed(key, None, (&lsdb, NOW));
        }
        let trees = BTreeMap::from([(AREA, Graph::build(&lsdb, AREA, NOW).tree(area::ROOT))]);
        let mut routed = Routed { lsdb, trees, rib, versions: area.service_versions() };
        routed.recompute(None);
        routed
    }

    /// The routes to these prefixes, or all.
    fn recompute(&mut self, prefixes: Option<&BTreeSet<ospf_proto::lsa::Prefix>>) -> usize {
        let heard = BTreeMap::new();
        let basis = Basis { trees: &self.trees, lsdb: &self.lsdb, heard: &heard, now: NOW };
        let changes = match prefixes {
            Some(prefixes) => self.rib.recompute(prefixes, &basis),
            None => self.rib.recompute_all(&basis),
        };
        changes.len()
    }
}

fn all_routes(routers: u32) -> Run {
    let mut routed = Routed::new(routers);
    assert_eq!(routed.rib.routes().len() as u32, routers, "every router's prefix has a route");
    Box::new(move || {
        black_box(routed.recompute(None));
    })
}

/// The cost of one server changes: the database, the index, the route.
fn one_prefix(routers: u32) -> Run {
    let mut routed = Routed::new(routers);
    let mut turn = 0;
    Box::new(move || {
        turn ^= 1;
        let lsa = routed.versions[turn].clone();
        let key = lsa.key(area::domain());
        let (_, before) = routed.lsdb.replace(area::domain(), lsa, Source::Flooded, NOW);
        let before = before.expect("it was there");
        let prefixes = routed.rib.lsa_changed(&key, Some(&before.lsa().body), (&routed.lsdb, NOW));
        assert_eq!(routed.recompute(Some(&prefixes)), 1, "the route to the service has changed");
    })
}

/// One of so many running timers is restarted.
fn timers(running: u32) -> Run {
    let name = |n| Timer::Inactivity(NeighborId { iface: IfaceId(1), router: RouterId(n) });
    let mut timers = Timers::default();
    for n in 0..running {
        timers.set(name(n), Instant::from_epoch(Duration::from_millis(n.into())));
    }
    let mut turn = 0;
    Box::new(move || {
        turn += 1;
        let deadline = Instant::from_epoch(Duration::from_millis((running + turn).into()));
        timers.set(name(turn % running), deadline);
        black_box(timers.next());
    })
}
