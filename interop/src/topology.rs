//! The shapes of labs, as types: which namespaces there are, how they are wired, which addresses they bear.

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;

use crate::{apart::processors, netns::Netns};

/// An IPv6 network written in the code of a lab.
pub fn net(text: &str) -> Result<Ipv6Network> {
    text.parse().with_context(|| format!("{text} is no IPv6 network"))
}

/// A link-local address with its last group chosen.
pub const fn link_local(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

/// Where a node's interface is plugged in: the other end of its cable.
#[derive(Debug, Clone)]
pub struct Port {
    switch: Netns,
    name: String,
}

impl Port {
    /// The bridge's side of the cable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the port out of the bridge: packets stop both ways and nobody sees a carrier change.
    pub fn unplug(&self) -> Result<()> {
        self.switch.rtnl()?.set_bridge(&self.name, None)
    }

    /// Puts the port back.
    pub fn plug(&self) -> Result<()> {
        self.switch.rtnl()?.set_bridge(&self.name, Some(BRIDGE))
    }

    /// Takes the node's carrier away, or gives it back; other nodes on the bridge see nothing.
    pub fn set_carrier(&self, on: bool) -> Result<()> {
        let mut rtnl = self.switch.rtnl()?;
        if on { rtnl.up(&self.name) } else { rtnl.down(&self.name) }
    }
}

const BRIDGE: &str = "br0";

/// Several routers on one link, each with its `eth0` on a bridge that lives in a namespace of its own.
#[derive(Debug)]
pub struct Segment {
    /// Where the bridge is; captures of everything on the link are taken here.
    pub switch: Netns,
    /// The nodes; node k has the link-local address `link_local(k + 1)`.
    pub nodes: Vec<Netns>,
    /// The port of each node.
    pub ports: Vec<Port>,
}

impl Segment {
    /// Builds the link with nodes of these names.
    pub fn build(names: &[&str]) -> Result<Self> {
        let mut segment = Self { switch: new_switch("switch")?, nodes: vec![], ports: vec![] };
        for (place, name) in (1u16..).zip(names) {
            let node = Netns::create(name)?;
            node.make_router()?;
            let port = plug_in(&segment.switch, &node, "eth0")?;
            node.rtnl()?.add_address("eth0", Ipv6Network::new(link_local(place), 64)?)?;
            segment.nodes.push(node);
            segment.ports.push(port);
        }
        Ok(segment)
    }
}

/// Two routers joined by one cable, `eth0` to `eth0`.
#[derive(Debug)]
pub struct PointToPoint {
    /// fe80::1
    pub a: Netns,
    /// fe80::2
    pub b: Netns,
}

impl PointToPoint {
    /// Builds it.
    pub fn build(a: &str, b: &str) -> Result<Self> {
        let pair = Self { a: Netns::create(a)?, b: Netns::create(b)? };
        pair.a.join("eth0", &pair.b, "eth0")?;
        for (node, last) in [(&pair.a, 1), (&pair.b, 2)] {
            node.make_router()?;
            node.rtnl()?.add_address("eth0", Ipv6Network::new(link_local(last), 64)?)?;
        }
        Ok(pair)
    }
}

/// A server of the farm.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its namespace; `eth0` is on the farm link.
    pub netns: Netns,
    /// Its port of the farm's bridge.
    pub port: Port,
    /// Its link-local address on the farm link: the next hop in the router's FIB.
    pub address: Ipv6Addr,
}

/// ```text
///   client eth0 ---- eth0 router eth1 ---- br0 ---- eth0 s1
///                                           |------ eth0 s2 ...
/// ```
#[derive(Debug)]
pub struct Farm {
    /// 2001:db8:c::2, default route to the router.
    pub client: Netns,
    /// `eth0` to the client (2001:db8:c::1), `eth1` on the farm link (fe80::1).
    pub router: Netns,
    /// The farm's bridge.
    pub switch: Netns,
    /// s1, s2, ...: fe80::11, fe80::12, ...; default route to the router.
    pub servers: Vec<Server>,
}

impl Farm {
    /// The router's interface to the client.
    pub const CLIENT_SIDE: &str = "eth0";
    /// The router's interface on the farm link.
    pub const FARM_SIDE: &str = "eth1";

    /// Builds a farm of `count` servers.
    pub fn build(count: u16) -> Result<Self> {
        Self::build_around(new_switch("switch")?, count)
    }

    /// The same, with a switch that passes packets on, and has the hosts take them, on the processor of the observers
    /// ([`Apart`](crate::apart::Apart)) and not in the sender's time, as switches and hosts of their own do.
    pub fn build_apart(count: u16) -> Result<Self> {
        let (ours, _) = processors()?;
        // In words of 32 bits, the highest first.
        let mask = format!("{:x}{}", 1u32 << (ours % 32), ",00000000".repeat(ours / 32));
        let switch = Netns::create("switch")?;
        // Receive Packet Steering; as the switch's ports come to be.
        switch.sysctl("net.core.rps_default_mask", &mask)?;
        Self::build_around(with_bridge(switch)?, count)
    }

    fn build_around(switch: Netns, count: u16) -> Result<Self> {
        let (client, router) = (Netns::create("client")?, Netns::create("router")?);
        router.make_router()?;
        client.join("eth0", &router, Self::CLIENT_SIDE)?;
        let mut at_client = client.rtnl()?;
        at_client.add_address("eth0", net("fe80::2/64")?)?;
        at_client.add_address("eth0", net("2001:db8:c::2/64")?)?;
        at_client.add_route(net("::/0")?, "eth0", &[link_local(1)])?;
        let mut at_router = router.rtnl()?;
        at_router.add_address(Self::CLIENT_SIDE, net("fe80::1/64")?)?;
        at_router.add_address(Self::CLIENT_SIDE, net("2001:db8:c::1/64")?)?;
        plug_in(&switch, &router, Self::FARM_SIDE)?;
        at_router.add_address(Self::FARM_SIDE, net("fe80::1/64")?)?;
        let mut farm = Self { client, router, switch, servers: vec![] };
        for place in 1..=count {
            let netns = Netns::create(&format!("s{place}"))?;
            let port = plug_in(&farm.switch, &netns, "eth0")?;
            let address = link_local(0x10 + place);
            let mut rtnl = netns.rtnl()?;
            rtnl.add_address("eth0", Ipv6Network::new(address, 64)?)?;
            rtnl.add_route(net("::/0")?, "eth0", &[link_local(1)])?;
            farm.servers.push(Server { netns, port, address });
        }
        Ok(farm)
    }

    /// One more router on the farm link: a namespace whose `eth0` has the link-local address fe80::`last`.
    pub fn add_router(&self, name: &str, last: u16) -> Result<Netns> {
        let netns = Netns::create(name)?;
        netns.make_router()?;
        plug_in(&self.switch, &netns, "eth0")?;
        netns.rtnl()?.add_address("eth0", Ipv6Network::new(link_local(last), 64)?)?;
        Ok(netns)
    }

    /// Every namespace of the farm.
    pub fn all(&self) -> Vec<Netns> {
        let mut all = vec![self.client.clone(), self.router.clone(), self.switch.clone()];
        all.extend(self.servers.iter().map(|server| server.netns.clone()));
        all
    }
}

fn new_switch(name: &str) -> Result<Netns> {
    with_bridge(Netns::create(name)?)
}

fn with_bridge(switch: Netns) -> Result<Netns> {
    let mut rtnl = switch.rtnl()?;
    rtnl.add_bridge(BRIDGE)?;
    rtnl.up(BRIDGE)?;
    Ok(switch)
}

fn plug_in(switch: &Netns, node: &Netns, interface: &str) -> Result<Port> {
    let port = Port { switch: switch.clone(), name: node.name().to_owned() };
    switch.join(port.name(), node, interface)?;
    port.plug()?;
    Ok(port)
}
