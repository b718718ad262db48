//! What is intended: routers, servers, links and costs. The oracle knows nothing else.

use std::{collections::BTreeSet, net::Ipv6Addr, time::Duration};

use anyhow::{Context, Result};
use ospf_proto::{id::IfaceId, lsa::Prefix};

use crate::sim::random::Random;

/// A network as it is planned.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Whether each router forwards; one that does not is a server (R-bit clear).
    pub forwarding: Vec<bool>,
    /// The links.
    pub links: Vec<Link>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Broadcast rather than point-to-point.
    pub broadcast: bool,
    /// How long a packet takes at least.
    pub delay: Duration,
    /// By how much more at most.
    pub jitter: Duration,
    /// Who is attached.
    pub ends: Vec<End>,
}

/// A router's end of a link.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The router.
    pub router: usize,
    /// Output cost.
    pub cost: u16,
    /// Router priority.
    pub priority: u8,
}

/// The prefix of a link.
pub fn link_prefix(link: usize) -> Result<Prefix> {
    let (high, low) = ((link >> 16) as u16, link as u16);
    Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 0), 64).context("a prefix of 64 bits")
}

/// The link-local address of a router on a link.
pub fn link_local(router: usize, link: usize) -> Ipv6Addr {
    let (router, link) = (router as u32 + 1, link as u32 + 1);
    let halves = |n: u32| ((n >> 16) as u16, n as u16);
    let ((a, b), (c, d)) = (halves(link), halves(router));
    Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, c, d)
}

/// The Interface ID of a router's `nth` interface: not the same numbers at every router, so that none is mistaken for
/// another's.
pub fn iface_id(router: usize, nth: usize) -> IfaceId {
    IfaceId(first_iface(router) + nth as u32)
}

/// The `nth` that an Interface ID stands for.
pub fn nth_iface(router: usize, iface: IfaceId) -> Option<usize> {
    iface.0.checked_sub(first_iface(router)).map(|nth| nth as usize)
}

fn first_iface(router: usize) -> u32 {
    1 + (router % 7) as u32 * 5
}

/// The service prefix that every server shares.
pub fn anycast() -> Prefix {
    Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53))
}

/// The service prefix that a server has for itself.
pub fn unicast(server: usize) -> Prefix {
    Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 0x54, 0, 0, 0, 0, server as u16))
}

impl Topology {
    /// The servers.
    pub fn servers(&self) -> impl Iterator<Item = usize> {
        self.forwarding.iter().enumerate().filter(|(_, forwards)| !**forwards).map(|(router, _)| router)
    }

    /// Whether a router forwards.
    pub fn forwards(&self, router: usize) -> bool {
        self.forwarding.get(router).copied().unwrap_or_default()
    }

    /// A random network of `n` routers, a fifth of them servers on one or two farm links. In every fourth network two
    /// islands of routers meet at nothing but a server.
    pub fn random(random: &mut Random, n: usize) -> Self {
        let servers = (n / 5).clamp(1, n.saturating_sub(1).max(1));
        let routers = n.saturating_sub(servers).max(1);
        let mut topology =
            Topology { forwarding: (0..routers + servers).map(|r| r < routers).collect(), links: Vec::new() };
        let islands = routers >= 6 && random.chance(250);
        let shore = if islands { routers * 2 / 3 } else { routers };
        for island in [0..shore, shore..routers] {
            topology.grow_island(random, island);
        }
        topology.attach_servers(random, (shore, routers), islands);
        topology
    }

    /// A connected island: a tree of links, and some links more.
    fn grow_island(&mut self, random: &mut Random, island: std::ops::Range<usize>) {
        let (first, size) = (island.start, island.len());
        let mut next = first + 1;
        while next < island.end {
            let mut ends = BTreeSet::from([first + random.index(next - first)]);
            let broadcast = random.chance(400);
            let more = if broadcast { 1 + random.index(4) } else { 1 };
            for _ in 0..more {
                if next < island.end {
                    ends.insert(next);
                    next += 1;
                }
            }
            self.link(random, broadcast, ends);
        }
        for _ in 0..size / 3 {
            let broadcast = random.chance(300);
            let wanted = if broadcast { 2 + random.index(3) } else { 2 };
            let ends: BTreeSet<usize> = (0..wanted).map(|_| first + random.index(size)).collect();
            if ends.len() > 1 {
                self.link(random, broadcast, ends);
            }
        }
    }

    /// Two farm links: the first for every server, the second for some; in an archipelago one on each island.
    fn attach_servers(&mut self, random: &mut Random, (shore, routers): (usize, usize), islands: bool) {
        let servers = routers..self.forwarding.len();
        let mut farm: BTreeSet<usize> = servers.clone().collect();
        farm.extend((0..1 + random.index(2)).map(|_| random.index(shore)));
        self.link(random, true, farm);
        let mut second: BTreeSet<usize> = servers.clone().filter(|_| random.chance(400)).collect();
        if islands {
            second.insert(servers.start);
        }
        if !second.is_empty() {
            let low = if islands { shore } else { 0 };
            second.insert(low + random.index(routers - low));
            self.link(random, true, second);
        }
    }

    fn link(&mut self, random: &mut Random, broadcast: bool, routers: BTreeSet<usize>) {
        let mut ends = Vec::new();
        for router in routers {
            let forwards = self.forwards(router);
            let priority = match random.index(8) {
                // The first end is a router and eligible, so that there is a DR as long as nothing fails.
                0 if !ends.is_empty() => 0,
                1 => 2,
                _ => 1,
            };
            let cost = random.between(1, 5) as u16;
            ends.push(End { router, cost, priority: if forwards { priority } else { 0 } });
        }
        let delay = Duration::from_micros(random.between(100, 20_000));
        let jitter = Duration::from_micros(random.between(0, 30_000));
        self.links.push(Link { broadcast, delay, jitter, ends });
    }

    /// A large network of `n` routers: a tree of point-to-point links, one link across for every tenth router, and a
    /// broadcast link of five for every fiftieth.
    pub fn large(random: &mut Random, n: usize) -> Self {
        let mut topology = Topology { forwarding: vec![true; n], links: Vec::new() };
        for router in 1..n {
            // Near ones rather than the first: a tree that is as deep as it is bushy.
            let parent = router - 1 - random.index(router.min(40));
            topology.link(random, false, BTreeSet::from([parent, router]));
        }
        for _ in 0..n / 10 {
            let ends = BTreeSet::from([random.index(n), random.index(n)]);
            if ends.len() > 1 {
                topology.link(random, false, ends);
            }
        }
        for _ in 0..n / 50 {
            let ends: BTreeSet<usize> = (0..5).map(|_| random.index(n)).collect();
            if ends.len() > 1 {
                topology.link(random, true, ends);
            }
        }
        topology
    }
}
