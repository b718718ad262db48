//! B1, B2, B3: the database of N virtual routers behind one adjacency; then one link of them changes its cost; then one of four
//! servers with an anycast prefix does.

use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;
use ospf_proto::id::RouterId;

use crate::{
    bench::{
        cell::{Row, Told},
        device::{DEVICE, Device, IFACE, iface},
        graph::{Network, SERVERS, SERVICE, SERVICE_METRIC},
        injector::{Injector, Script, Speaker},
        routes::Routes,
        session::Role,
    },
    lab::Lab,
    netns::Netns,
    topology::{PointToPoint, link_local, net},
};

/// The Router ID of the injector, which is DR.
pub(super) const DR: RouterId = RouterId(0xc612_0001);
/// HelloInterval and RouterDeadInterval: nobody is to be lost while a device computes.
const HELLO: (u16, u16) = (1, 40);
/// How long all routes may take.
const ALL: Duration = Duration::from_secs(100);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(20);
/// Longer than MinLSArrival, the delays of flooding and acknowledging, and every hold time of a first SPF.
const QUIET: Duration = Duration::from_millis(1200);

/// The device with the network behind it.
pub(super) struct Stage {
    /// The network.
    pub(super) network: Network,
    /// The device.
    pub(super) device: Device,
    /// The router that says all LSAs.
    pub(super) injector: Injector,
    /// The device's kernel.
    pub(super) routes: Routes,
    /// What the device had used before it heard of the network.
    pub(super) cpu: Duration,
}

impl Stage {
    /// Starts the device, then the injector.
    pub(super) fn start(lab: &mut Lab, told: &Told<'_>) -> Result<Self> {
        let network = Network::random(told.which.size, 1)?;
        let pair = PointToPoint::build("device", "injector")?;
        let routes = Routes::start(&pair.a, &[network.probe(), net(SERVICE)?])?;
        let device = Device::start(lab, told.which.device, &pair.a, vec![iface(IFACE, HELLO, 0)])?;
        told.version(&device.version)?;
        device.settle();
        let cpu = device.processes.used()?.cpu;
        let injector = inject(&pair.b, &network)?;
        Ok(Self { network, device, injector, routes, cpu })
    }

    /// Waits until the device's kernel has all of it, and tells when.
    pub(super) fn wait_routes(&self) -> Result<Instant> {
        let all = self.routes.wait_count(self.network.routers(), ALL)?;
        self.routes.wait_gateways(net(SERVICE)?, &servers(None), CHANGE)?;
        Ok(all)
    }
}

fn inject(netns: &Netns, network: &Network) -> Result<Injector> {
    let address = link_local(2);
    let says = network.all((DR, address), RouterId(DEVICE.into()))?;
    let speakers = vec![Speaker { router: DR, address, says }];
    Injector::start(netns, Script { role: Role::Dr, hello: HELLO, device: (DEVICE, link_local(1)), speakers })
}

/// The addresses of all servers, but for one.
pub(super) fn servers(but: Option<usize>) -> BTreeSet<Ipv6Addr> {
    (0..SERVERS).filter(|server| Some(*server) != but).map(Network::server).collect()
}

pub(super) fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    let stage = Stage::start(lab, told)?;
    let all = stage.wait_routes()?;
    stage.routes.rest(all, QUIET)?;
    let exstart = stage.injector.exstart()?.context("no ExStart")?;
    let last = stage.injector.last_update()?.context("no update")?;
    told.time(Row::B1, "ExStart to all routes", all.saturating_duration_since(exstart))?;
    told.time(Row::B1, "last LSA to all routes", all.saturating_duration_since(last))?;
    let cpu = stage.device.processes.used()?.cpu.saturating_sub(stage.cpu);
    told.time(Row::B1, "CPU", cpu)?;
    told.memory(Row::B1, "peak RSS", stage.device.processes.memory("VmHWM:")?)?;
    let changes = if told.which.smoke { 2 } else { 3 };
    if told.wants(Row::B2) {
        topology(&stage, told, changes)?;
    }
    if told.wants(Row::B3) {
        servers_cost(&stage, told, changes)?;
    }
    Ok(())
}

/// B2: the cost of a link far away decides over which gateway the probe is reached.
fn topology(stage: &Stage, told: &Told<'_>, changes: usize) -> Result<()> {
    let [x, y] = stage.network.probe_gateways()?;
    let prefix = stage.network.probe();
    stage.routes.wait_gateways(prefix, &[x].into(), CHANGE)?;
    for change in 0..changes {
        let pulled = change % 2 == 0;
        let said = stage.network.lever(pulled, DR);
        let wanted = [if pulled { y } else { x }].into();
        let change = observe(stage, (prefix, wanted), || stage.injector.flood(0, [(said, false)]))?;
        told.time(Row::B2, "packet to FIB", change.time)?;
        told.time(Row::B2, "CPU", change.cpu)?;
    }
    Ok(())
}

/// B3: one server's metric is raised, and lowered again.
fn servers_cost(stage: &Stage, told: &Told<'_>, changes: usize) -> Result<()> {
    let prefix = net(SERVICE)?;
    for change in 0..changes {
        let (raised, priority) = (change % 2 == 0, u8::from(change % 2 == 0));
        let metric = if raised { 2 * SERVICE_METRIC } else { SERVICE_METRIC };
        let said = Network::server_change(0, metric, priority)?;
        let wanted = servers(raised.then_some(0));
        let flood = || stage.injector.flood(0, said.map(|said| (said, false)));
        let change = observe(stage, (prefix, wanted), flood)?;
        told.time(Row::B3, "packet to FIB", change.time)?;
        told.time(Row::B3, "CPU", change.cpu)?;
        told.value(Row::B3, ("netlink messages", ""), change.messages as f64)?;
    }
    Ok(())
}

struct Seen {
    time: Duration,
    cpu: Duration,
    messages: usize,
}

/// Has a change flooded, and waits until the kernel has it and nothing more comes.
fn observe(
    stage: &Stage,
    (prefix, wanted): (Ipv6Network, BTreeSet<Ipv6Addr>),
    flood: impl FnOnce() -> Result<Instant>,
) -> Result<Seen> {
    let before = stage.device.processes.used()?.cpu;
    let sent = flood()?;
    let there = stage.routes.wait_gateways(prefix, &wanted, CHANGE)?;
    let (messages, _) = stage.routes.rest(sent, QUIET)?;
    let cpu = stage.device.processes.used()?.cpu.saturating_sub(before);
    Ok(Seen { time: there.saturating_duration_since(sent), cpu, messages })
}
