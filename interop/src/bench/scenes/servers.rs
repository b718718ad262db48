//! B4 and B7: k servers on one link, each with an adjacency with the device, which is DR, all with the same anycast prefix; then
//! nothing happens for a while.

use std::{
    collections::BTreeSet,
    net::Ipv6Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;
use ospf_proto::{
    id::{IfaceId, RouterId},
    lsa::Options,
};

use crate::{
    bench::{
        cell::{Row, Told},
        device::{DEVICE, Device, IFACE, iface},
        graph::{LAN_COST, SERVICE, SERVICE_METRIC, Said, link_of, prefix_of, router_of, transit},
        injector::{Injector, Script, Speaker},
        routes::Routes,
        session::Role,
    },
    lab::Lab,
    netns::Netns,
    topology::{PointToPoint, link_local, net},
};

/// HelloInterval and RouterDeadInterval.
pub(super) const HELLO: (u16, u16) = (1, 4);
/// How long all adjacencies may take.
const ALL: Duration = Duration::from_secs(90);
/// How long it may take from then until the kernel has a route that does not change any more.
const SHARING: Duration = Duration::from_secs(60);
/// A device whose next hops have not changed for so long after all are Full is done: every tick, delay and hold time has passed.
const QUIET: Duration = Duration::from_secs(7);

/// The Router ID of a server.
pub(super) fn id(server: usize) -> RouterId {
    RouterId(0xc612_0100 + server as u32)
}

/// The link-local address of a server.
pub(super) const fn address(server: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 3, 1 + server as u16)
}

/// What a server says of the service, and its companion.
pub(super) fn service(server: usize, priority: u8) -> Result<[Said; 2]> {
    let options = Options::V6 | Options::E;
    let prefix = prefix_of((id(server), 1), net(SERVICE)?, SERVICE_METRIC);
    Ok([prefix, link_of(id(server), address(server), (priority, options))])
}

/// Gives the injector's interface the addresses of its servers, and starts them towards the device's interface of this index.
pub(super) fn inject(netns: &Netns, servers: &[usize], device_iface: u32) -> Result<Injector> {
    let mut rtnl = netns.rtnl()?;
    let mut speakers = vec![];
    for &server in servers {
        rtnl.add_address("eth0", Ipv6Network::new(address(server), 64)?)?;
        // Every device takes the interface's index as Interface ID; one that does not has no way to them, which is seen.
        let lan = transit(LAN_COST, RouterId(DEVICE.into()), IfaceId(device_iface));
        let mut says = vec![router_of(id(server), vec![lan], Options::V6 | Options::E)];
        says.extend(service(server, 0)?);
        speakers.push(Speaker { router: id(server), address: address(server), says });
    }
    Injector::start(netns, Script { role: Role::Other, hello: HELLO, device: (DEVICE, link_local(1)), speakers })
}

pub(super) fn run(lab: &mut Lab, told: &Told<'_>) -> Result<()> {
    let servers: Vec<usize> = (0..told.which.size).collect();
    let pair = PointToPoint::build("device", "injector")?;
    let prefix = net(SERVICE)?;
    let routes = Routes::start(&pair.a, &[prefix])?;
    let device = Device::start(lab, told.which.device, &pair.a, vec![iface(IFACE, HELLO, 1)])?;
    told.version(&device.version)?;
    let index = pair.a.rtnl()?.index(IFACE)?;
    let cpu = device.processes.used()?.cpu;
    let injector = inject(&pair.b, &servers, index)?;
    let full = injector.wait_full(ALL)?;
    let all: BTreeSet<Ipv6Addr> = servers.iter().map(|server| address(*server)).collect();
    let (at, hops) = shared(&routes, prefix, (&all, full))?;
    match told.which.steady {
        None => {
            let exstart = injector.exstart()?.context("no ExStart")?;
            told.time(Row::B4, "ExStart to full sharing", at.saturating_duration_since(exstart))?;
            told.value(Row::B4, ("next hops", ""), hops as f64)?;
            told.time(Row::B4, "CPU until then", device.processes.used()?.cpu.saturating_sub(cpu))?;
            told.memory(Row::B4, "peak RSS", device.processes.memory("VmHWM:")?)
        }
        Some(seconds) => steady(&device, told, Duration::from_secs(seconds)),
    }
}

/// When the device got its last next hop, and how many it has then. Not all of them can share over as many as there are servers.
fn shared(
    routes: &Routes,
    prefix: Ipv6Network,
    (all, full): (&BTreeSet<Ipv6Addr>, Instant),
) -> Result<(Instant, usize)> {
    let deadline = Instant::now() + SHARING;
    loop {
        let complete = routes.wait_gateways(prefix, all, Duration::from_millis(500));
        if let Ok(at) = complete {
            return Ok((at, all.len()));
        }
        let last = routes.last(prefix).filter(|(_, over)| !over.is_empty());
        match last {
            Some((at, over)) if at.max(full).elapsed() >= QUIET => return Ok((at, over.len())),
            _ if Instant::now() >= deadline => return complete.map(|at| (at, all.len())),
            _ => {}
        }
    }
}

/// What it costs that nothing happens.
fn steady(device: &Device, told: &Told<'_>, time: Duration) -> Result<()> {
    let (before, start) = (device.processes.used()?, Instant::now());
    thread::sleep(time);
    let (after, seconds) = (device.processes.used()?, start.elapsed().as_secs_f64());
    let minute = after.cpu.saturating_sub(before.cpu).mul_f64(60.0 / seconds);
    told.time(Row::B4, "CPU of 60 s steady state", minute)?;
    told.time(Row::B7, "CPU of a minute", minute)?;
    told.value(Row::B7, ("wake-ups", "per s"), (after.waits - before.waits) as f64 / seconds)?;
    told.memory(Row::B7, "RSS", device.processes.memory("VmRSS:")?)?;
    told.memory(Row::B7, "programs as loaded", device.processes.programs(told.which.device.libraries())?)
}
