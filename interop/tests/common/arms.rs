//! ospfd-lite as the spine of a small tree: arms of other routers, and servers at their ends that state what the test tells
//! them, under a stream of many flows.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::Result;
use interop::{
    engines::{Engines, Identity},
    fib::Fib,
    flows::Flows,
    lab::Lab,
    monitor::Monitor,
    netns::Netns,
    peer::{IfaceSpec, Kind, RouterSpec, Version, ours::Daemon},
    shown::FarmRow,
    topology::{link_local, net},
    wait::{Probe, wait_for},
};

use super::{
    ONE, PATIENCE, SERVICE,
    stated::{lite, quiet, router_id, service, stream},
};

/// An arm: routers in a row, and servers with these capacities behind the last one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm<'a> {
    pub routers: &'a [Version],
    pub servers: &'a [f64],
}

/// ```text
///   client ---- spine ---- a1r1 ---- a1r2 ---- s1
///                  |------ a2r1 ---- s2
///                            |------ s3
/// ```
/// Every link is a cable.
pub(crate) struct Tree {
    pub lite: Daemon,
    pub flows: Flows,
    /// What runs in the arms.
    pub routers: Vec<String>,
    _servers: Vec<Engines>,
}

/// What is being built.
struct Growing {
    nodes: Vec<Netns>,
    routers: Vec<(Netns, RouterSpec, Version)>,
    servers: Vec<(Netns, f64)>,
}

impl Growing {
    /// A router with an `eth0` towards the spine, on the cable to `above`, whose end has this name.
    fn join(&mut self, name: &str, (above, theirs): (&Netns, &str), place: u16) -> Result<Netns> {
        let node = Netns::create(name)?;
        above.join(theirs, &node, "eth0")?;
        above.rtnl()?.add_address(theirs, net("fe80::1/64")?)?;
        node.rtnl()?.add_address("eth0", ipnetwork(place)?)?;
        self.nodes.push(node.clone());
        Ok(node)
    }

    fn router(&mut self, node: &Netns, (version, ends): (&Version, &[String])) -> Result<()> {
        unlike(node)?;
        let number = 100 + u8::try_from(self.routers.len())?;
        let mut spec = RouterSpec::new(node.name(), Ipv4Addr::new(192, 0, 2, number), cable("eth0"));
        spec.interfaces.extend(ends.iter().map(|end| cable(end)));
        self.routers.push((node.clone(), spec, version.clone()));
        Ok(())
    }

    fn arm(&mut self, place: u16, (spine, arm): (&Netns, Arm<'_>)) -> Result<()> {
        let (mut above, mut end) = (spine.clone(), format!("arm{place}"));
        for (number, version) in (1u16..).zip(arm.routers) {
            let last = usize::from(number) == arm.routers.len();
            let node = self.join(&format!("a{place}r{number}"), (&above, &end), 0x100 * number + place)?;
            let below = if last { arm.servers.len() } else { 1 };
            let ends: Vec<_> = (1..=below).map(|place| format!("eth{place}")).collect();
            if last {
                for (end, capacity) in ends.iter().zip(arm.servers) {
                    let name = format!("s{}", self.servers.len() + 1);
                    let server = self.join(&name, (&node, end), 0x10 + u16::try_from(self.servers.len())?)?;
                    self.servers.push((server, *capacity));
                }
            }
            self.router(&node, (version, &ends))?;
            (above, end) = (node, "eth1".into());
        }
        Ok(())
    }
}

fn ipnetwork(place: u16) -> Result<ipnetwork::Ipv6Network> {
    net(&format!("{}/64", link_local(place)))
}

fn cable(name: &str) -> IfaceSpec {
    IfaceSpec::fast(name, Kind::PointToPoint)
}

/// Makes a router of a node. The kernels of a lab are one kernel with one hash for all of them, and where each router hashes
/// as the one in front of it the second choice depends on the first: machines of their own have seeds of their own.
fn unlike(node: &Netns) -> Result<()> {
    node.make_router()?;
    let seed = node.name().bytes().fold(17u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    node.sysctl("net.ipv4.fib_multipath_hash_seed", &seed.to_string())
}

impl Tree {
    /// Builds and starts everything, until the spine forwards to all arms and the stream arrives.
    pub(crate) fn open(lab: &mut Lab, fib: &str, arms: &[Arm<'_>]) -> Result<Self> {
        let (client, spine) = (Netns::create("client")?, Netns::create("spine")?);
        unlike(&spine)?;
        client.join("eth0", &spine, "eth0")?;
        client.rtnl()?.add_address("eth0", net("2001:db8:c::2/64")?)?;
        client.rtnl()?.add_address("eth0", net("fe80::2/64")?)?;
        client.rtnl()?.add_route(net("::/0")?, "eth0", &[link_local(1)])?;
        spine.rtnl()?.add_address("eth0", net("fe80::1/64")?)?;
        spine.rtnl()?.add_address("eth0", net("2001:db8:c::1/64")?)?;
        let mut growing = Growing { nodes: vec![], routers: vec![], servers: vec![] };
        for (place, arm) in (1u16..).zip(arms) {
            growing.arm(place, (&spine, *arm))?;
        }
        growing.nodes.iter().for_each(|node| lab.watch(node));

        let mut spec = RouterSpec::new("spine", ONE, IfaceSpec::passive("eth0")).with_fib(fib);
        spec.interfaces.extend((1..=arms.len()).map(|place| cable(&format!("arm{place}"))));
        lab.start(&Version::Ours, &spine, spec)?;
        let monitor = Monitor::start(&spine)?;
        let mut started = vec![];
        for (node, spec, version) in growing.routers {
            let below = spec.interfaces.len() - 1;
            started.push((lab.start(&version, &node, spec)?, below));
        }
        let mut servers = vec![];
        for (place, (node, _)) in growing.servers.iter().enumerate() {
            node.rtnl()?.add_address("lo", net(SERVICE)?)?;
            let address = link_local(0x10 + u16::try_from(place)?);
            let identity = Identity { router: router_id(place), address };
            servers.push(Engines::start(node, Kind::PointToPoint, vec![identity])?);
        }
        for (server, (_, capacity)) in servers.iter().zip(&growing.servers) {
            server.claim(0, service()?, *capacity)?;
            server.advertise(0, &[service()?], 10)?;
        }
        let heads = (1..=arms.len()).map(|place| anyhow::Ok(link_local(0x100 + u16::try_from(place)?)));
        let heads = heads.collect::<Result<_>>()?;
        monitor.wait_gateways(net(SERVICE)?, &heads, Instant::now(), PATIENCE)?;
        let mut routers = vec![];
        for (id, below) in started {
            let router = lab.peer(id)?;
            wait_for(&format!("{} to forward to {below} below it", router.name()), PATIENCE, || {
                let gateways = Fib::read(router.netns())?.gateways(net(SERVICE)?);
                Ok(Probe::when(gateways.len() == below, (), format!("{gateways:?}")))
            })?;
            routers.push(router.version());
        }
        let nodes: Vec<_> = growing.servers.iter().map(|(node, _)| node.clone()).collect();
        let flows = stream(&client, &nodes)?;
        let lite = lite(lab, &spine, "spine")?;
        quiet(&monitor)?;
        flows.settle()?;
        Ok(Self { lite, flows, routers, _servers: servers })
    }

    /// What the spine shows of the service.
    pub(crate) fn shown(&self) -> Result<FarmRow> {
        FarmRow::of(&self.lite, net(SERVICE)?)
    }
}
