//! The network behind the one adjacency of the bench: virtual routers in a random graph, described as LSAs, with what its
//! rows change in it.
//!
//! ```text
//!   device ---- LAN (the injector is DR) ---- injector
//!                |---- gateway 0 --\
//!                |---- gateway 1 ---- random graph of N routers, each with a /64 ... X --- probe --- Y
//!                |---- ...       --/
//!                |---- server 0..3, with one anycast /128
//! ```
//! Gateways and servers are known by the DR's Network-LSA and their own LSAs alone: the device has several next hops and one
//! adjacency.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;
use ospf_proto::{
    id::{IfaceId, LinkStateId, RouterId},
    lsa::{
        IntraAreaPrefixLsa, LinkLsa, LsType, LsaBody, LsaPrefix, NetworkLsa, Options, Prefix, PrefixOptions,
        RouterFlags, RouterLink, RouterLinkType, RouterLsa,
    },
};

use crate::sim::random::Random;

/// Routers of the graph that are on the LAN.
pub const GATEWAYS: usize = 4;
/// Servers on the LAN.
pub const SERVERS: usize = 4;
/// What the servers share.
pub const SERVICE: &str = "2001:db8:53::53/128";
/// The Interface ID of everybody on the LAN.
pub const LAN_ID: IfaceId = IfaceId(1);
/// The cost of the LAN.
pub const LAN_COST: u16 = 10;
/// The metric a server advertises at first.
pub const SERVICE_METRIC: u16 = 10;
/// Links have costs up to this.
const MAX_COST: u64 = 100;
/// The probe is no way to anywhere.
const DEAD_END: u16 = 60_000;

/// One LSA to be said: type, Link State ID, originator, body.
#[derive(Debug, Clone)]
pub struct Said {
    /// LS type.
    pub ls_type: LsType,
    /// Link State ID.
    pub id: u32,
    /// Advertising Router.
    pub router: RouterId,
    /// The body.
    pub body: LsaBody,
}

/// A link of a router to another one.
#[derive(Debug, Clone, Copy)]
struct Link {
    to: usize,
    cost: u16,
    /// The index of the link among the peer's.
    back: usize,
}

/// The network.
#[derive(Debug, Clone)]
pub struct Network {
    links: Vec<Vec<Link>>,
    /// The link of which the cost decides the way to the probe.
    lever: (usize, usize),
}

/// The distance of a router and the gateways on the shortest ways to it.
type Way = (u32, BTreeSet<usize>);

impl Network {
    /// A connected random graph of so many routers with a mean degree of four; the last router is the probe.
    pub fn random(routers: usize, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed, routers as u64);
        let mut network = Self { links: vec![vec![]; routers], lever: (0, 0) };
        let others = routers.saturating_sub(1);
        for router in 1..others {
            let to = random.index(router);
            network.join((router, to), random.between(1, MAX_COST + 1), random.between(1, MAX_COST + 1));
        }
        let mut pairs = BTreeSet::new();
        while pairs.len() < others {
            let (a, b) = (random.index(others), random.index(others));
            let joined = network.links.get(a).is_some_and(|links| links.iter().any(|link| link.to == b));
            if a != b && !joined && pairs.insert((a.min(b), a.max(b))) {
                network.join((a, b), random.between(1, MAX_COST + 1), random.between(1, MAX_COST + 1));
            }
        }
        network.attach_probe(others)?;
        Ok(network)
    }

    fn join(&mut self, (a, b): (usize, usize), forth: u64, back: u64) {
        let cost = |cost: u64| u16::try_from(cost).unwrap_or(u16::MAX);
        let (at_a, at_b) = (self.degree(a), self.degree(b));
        if let Some(links) = self.links.get_mut(a) {
            links.push(Link { to: b, cost: cost(forth), back: at_b });
        }
        if let Some(links) = self.links.get_mut(b) {
            links.push(Link { to: a, cost: cost(back), back: at_a });
        }
    }

    fn degree(&self, router: usize) -> usize {
        self.links.get(router).map_or(0, Vec::len)
    }

    /// Ties the probe to two routers behind different gateways, so that a cost of one link decides between them.
    fn attach_probe(&mut self, probe: usize) -> Result<()> {
        let ways = self.ways();
        let single = |router: &usize| ways.get(*router).is_some_and(|(_, over)| over.len() == 1);
        let mut far: Vec<usize> = (0..probe).filter(single).collect();
        far.sort_by_key(|router| Reverse(ways.get(*router).map(|(distance, _)| *distance)));
        let x = *far.first().context("a router behind one gateway")?;
        let (at_x, over_x) = ways.get(x).context("the way to it")?;
        let y = far.iter().find(|y| ways.get(**y).is_some_and(|(_, over)| over != over_x));
        let y = *y.context("a router behind another gateway")?;
        let (at_y, _) = ways.get(y).context("the way to it")?;
        // X is the farther one: over X it is 10, over Y 15 from there, until X takes 20.
        let over_y = at_x - at_y + 15;
        self.lever = (x, self.degree(x));
        self.join((x, probe), 10, DEAD_END.into());
        self.join((y, probe), over_y.into(), DEAD_END.into());
        Ok(())
    }

    /// The shortest ways to all routers from the LAN.
    fn ways(&self) -> Vec<Way> {
        let mut ways: Vec<Way> = vec![(u32::MAX, BTreeSet::new()); self.links.len()];
        let mut heap = BinaryHeap::new();
        for gateway in 0..GATEWAYS.min(ways.len()) {
            if let Some(way) = ways.get_mut(gateway) {
                *way = (u32::from(LAN_COST), BTreeSet::from([gateway]));
            }
            heap.push(Reverse((u32::from(LAN_COST), gateway)));
        }
        while let Some(Reverse((distance, router))) = heap.pop() {
            let Some((known, over)) = ways.get(router).cloned() else { continue };
            if distance > known {
                continue;
            }
            for link in self.links.get(router).into_iter().flatten() {
                let Some(way) = ways.get_mut(link.to) else { continue };
                let through = distance + u32::from(link.cost);
                if through < way.0 {
                    *way = (through, over.clone());
                    heap.push(Reverse((through, link.to)));
                } else if through == way.0 {
                    way.1.extend(over.iter());
                }
            }
        }
        ways
    }

    /// How many routers there are.
    pub fn routers(&self) -> usize {
        self.links.len()
    }

    /// The Router ID of a virtual router.
    pub fn id(router: usize) -> RouterId {
        RouterId(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + router as u32)
    }

    /// The Router ID of a server.
    pub fn server_id(server: usize) -> RouterId {
        RouterId(u32::from(Ipv4Addr::new(11, 0, 0, 1)) + server as u32)
    }

    /// The prefix of a virtual router.
    pub fn prefix(router: usize) -> Ipv6Network {
        let [_, b, c, d] = (router as u32).to_be_bytes();
        let groups = (0x8000 | u16::from(b), u16::from_be_bytes([c, d]));
        Ipv6Network::new_checked(Ipv6Addr::new(0x2001, 0xdb8, groups.0, groups.1, 0, 0, 0, 0), 64)
            .unwrap_or_else(|| Ipv6Network::from(Ipv6Addr::UNSPECIFIED))
    }

    /// Whether a prefix is one of a virtual router.
    pub fn is_prefix(prefix: &Ipv6Network) -> bool {
        let [a, b, c, ..] = prefix.ip().segments();
        prefix.prefix() == 64 && a == 0x2001 && b == 0xdb8 && c & 0xff00 == 0x8000
    }

    /// The link-local address of a gateway.
    pub const fn gateway(gateway: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 1 + gateway as u16)
    }

    /// The link-local address of a server.
    pub const fn server(server: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 2, 1 + server as u16)
    }

    /// The Router-LSA of a router, with another cost on one of its links if one is named.
    pub fn router_lsa(&self, router: usize, other: Option<(usize, u16)>, dr: RouterId) -> Said {
        let mut links: Vec<RouterLink> = vec![];
        if router < GATEWAYS {
            links.push(transit(LAN_COST, dr, LAN_ID));
        }
        for (place, link) in self.links.get(router).into_iter().flatten().enumerate() {
            let metric = other.filter(|(at, _)| *at == place).map_or(link.cost, |(_, cost)| cost);
            links.push(RouterLink {
                link_type: RouterLinkType::PointToPoint,
                metric,
                iface_id: iface(place),
                neighbor_iface_id: iface(link.back),
                neighbor_router_id: Self::id(link.to),
            });
        }
        router_of(Self::id(router), links, Options::V6 | Options::E | Options::R)
    }

    /// The cost of a router's first link to another one.
    pub fn first_cost(&self, router: usize) -> u16 {
        self.links.get(router).and_then(|links| links.first()).map_or(1, |link| link.cost)
    }

    /// The prefix LSA of a router, with this metric.
    pub fn prefix_lsa(router: usize, metric: u16) -> Said {
        prefix_of((Self::id(router), 1), Self::prefix(router), metric)
    }

    /// The Router-LSA that takes the way to the probe over X (false) or over Y (true).
    pub fn lever(&self, pulled: bool, dr: RouterId) -> Said {
        let (router, link) = self.lever;
        self.router_lsa(router, Some((link, if pulled { 20 } else { 10 })), dr)
    }

    /// The prefix of the probe.
    pub fn probe(&self) -> Ipv6Network {
        Self::prefix(self.links.len().saturating_sub(1))
    }

    /// The gateway to the probe over X and over Y.
    pub fn probe_gateways(&self) -> Result<[Ipv6Addr; 2]> {
        let probe = self.links.last().context("the probe")?;
        let ways = self.ways();
        let over = |place: usize| {
            let to = probe.get(place).context("a link of the probe")?.to;
            let (_, over) = ways.get(to).context("the way to it")?;
            over.first().map(|gateway| Self::gateway(*gateway)).context("a gateway")
        };
        Ok([over(0)?, over(1)?])
    }

    /// What a server says with this metric: its prefix, and behind it the companion that FRR needs.
    pub fn server_change(server: usize, metric: u16, priority: u8) -> Result<[Said; 2]> {
        let prefix: Ipv6Network = SERVICE.parse()?;
        Ok([prefix_of((Self::server_id(server), 1), prefix, metric), Self::server_link(server, priority)])
    }

    fn server_link(server: usize, priority: u8) -> Said {
        link_of(Self::server_id(server), Self::server(server), (priority, Options::V6 | Options::E))
    }

    /// All LSAs, the DR's included.
    pub fn all(&self, dr: (RouterId, Ipv6Addr), device: RouterId) -> Result<Vec<Said>> {
        let forwards = Options::V6 | Options::E | Options::R;
        let (dr, address) = dr;
        let mut all =
            vec![router_of(dr, vec![transit(LAN_COST, dr, LAN_ID)], forwards), link_of(dr, address, (1, forwards))];
        let mut attached = vec![device, dr];
        for gateway in 0..GATEWAYS.min(self.routers()) {
            all.push(link_of(Self::id(gateway), Self::gateway(gateway), (0, forwards)));
            attached.push(Self::id(gateway));
        }
        for server in 0..SERVERS {
            all.push(router_of(Self::server_id(server), vec![transit(LAN_COST, dr, LAN_ID)], Options::V6 | Options::E));
            all.extend(Self::server_change(server, SERVICE_METRIC, 0)?);
            attached.push(Self::server_id(server));
        }
        let body = LsaBody::Network(NetworkLsa { options: forwards, attached });
        all.push(Said { ls_type: LsType::NETWORK, id: LAN_ID.0, router: dr, body });
        for router in 0..self.routers() {
            all.push(self.router_lsa(router, None, dr));
            all.push(Self::prefix_lsa(router, 1));
        }
        Ok(all)
    }
}

fn iface(place: usize) -> IfaceId {
    // 1 is the LAN.
    IfaceId(place as u32 + 2)
}

/// A link to the LAN.
pub fn transit(metric: u16, dr: RouterId, dr_iface: IfaceId) -> RouterLink {
    let (link_type, iface_id) = (RouterLinkType::Transit, LAN_ID);
    RouterLink { link_type, metric, iface_id, neighbor_iface_id: dr_iface, neighbor_router_id: dr }
}

/// A Router-LSA.
pub fn router_of(router: RouterId, links: Vec<RouterLink>, options: Options) -> Said {
    let body = LsaBody::Router(RouterLsa { flags: RouterFlags::empty(), options, links });
    Said { ls_type: LsType::ROUTER, id: 0, router, body }
}

/// A Link-LSA.
pub fn link_of(router: RouterId, link_local: Ipv6Addr, (priority, options): (u8, Options)) -> Said {
    let body = LsaBody::Link(LinkLsa { priority, options, link_local, prefixes: vec![] });
    Said { ls_type: LsType::LINK, id: LAN_ID.0, router, body }
}

/// An Intra-Area-Prefix-LSA of one prefix, which belongs to the originator's Router-LSA.
pub fn prefix_of((router, id): (RouterId, u32), prefix: Ipv6Network, metric: u16) -> Said {
    let prefix = Prefix::new(prefix.ip(), prefix.prefix()).unwrap_or_else(|| Prefix::host(prefix.ip()));
    let body = LsaBody::IntraAreaPrefix(IntraAreaPrefixLsa {
        referenced_type: LsType::ROUTER,
        referenced_id: LinkStateId(0),
        referenced_router: router,
        prefixes: vec![LsaPrefix { prefix, options: PrefixOptions::empty(), metric }],
    });
    Said { ls_type: LsType::INTRA_AREA_PREFIX, id, router, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_router_is_reached_and_the_lever_moves_the_probe_alone() {
        for routers in [20, 100, 1000] {
            let mut network = Network::random(routers, 1).unwrap();
            let before = network.ways();
            assert!(before.iter().all(|(distance, _)| *distance < u32::MAX));
            let [x, y] = network.probe_gateways().unwrap();
            assert_ne!(x, y);
            let (router, link) = network.lever;
            network.links[router][link].cost = 20;
            let after = network.ways();
            let moved: Vec<_> = (0..routers).filter(|n| before[*n].1 != after[*n].1).collect();
            assert_eq!(moved, [routers - 1]);
        }
    }

    #[test]
    fn prefixes_are_told_from_others() {
        assert!(Network::is_prefix(&Network::prefix(9_999)));
        assert_ne!(Network::prefix(256), Network::prefix(1));
        assert!(!Network::is_prefix(&SERVICE.parse().unwrap()));
    }
}
