//! Somebody who tampers with a router's FIB: deletes and rewrites its routes, next-hop groups and objects at random, by the
//! same netlink as the router itself, and knows what they should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv6Addr,
};

use anyhow::{Context, Result};
use ipnetwork::Ipv6Network;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};

use crate::{
    fib::{
        AF_INET6, Fib, NextHop, Object, RTM_DELNEXTHOP, RTM_DELROUTE, RTM_GETNEXTHOP, RTM_NEWNEXTHOP, RTM_NEWROUTE,
        TABLE_MAIN, Via,
    },
    netns::Netns,
    nl::{Rtnl, attributes, os_error, put_attribute},
};

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
/// Bytes of a group's member.
const MEMBER: usize = 8;

/// The marks of the router's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Its protocol number.
    pub protocol: u8,
    /// Its metric.
    pub metric: u32,
}

/// What the router's routes forward to: the truth that is to come back.
pub type Truth = BTreeMap<Ipv6Network, BTreeMap<NextHop, u32>>;

/// What a FIB has of the router's routes, with their marks.
pub fn truth(fib: &Fib, marks: Marks) -> Truth {
    let ours = |route: &&crate::fib::Route| (route.protocol, route.metric) == (marks.protocol, marks.metric);
    fib.routes().filter(ours).map(|route| (route.prefix, fib.paths(route))).collect()
}

/// A route that belongs to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteSpec {
    /// Its destination.
    pub prefix: Ipv6Network,
    /// Its table.
    pub table: u32,
    /// Its protocol number.
    pub protocol: u8,
    /// Its metric.
    pub metric: u32,
}

impl RouteSpec {
    /// The start of a route message.
    fn body(&self) -> Vec<u8> {
        let mut body = vec![AF_INET6, self.prefix.prefix(), 0, 0, 0, self.protocol, 0, 1, 0, 0, 0, 0];
        put_attribute(&mut body, RTA_DST, &self.prefix.network().octets());
        put_attribute(&mut body, RTA_PRIORITY, &self.metric.to_ne_bytes());
        put_attribute(&mut body, RTA_TABLE, &self.table.to_ne_bytes());
        body
    }

    fn with_hop(&self, hop: NextHop) -> Vec<u8> {
        let mut body = self.body();
        put_attribute(&mut body, RTA_OIF, &hop.interface.to_ne_bytes());
        put_attribute(&mut body, RTA_GATEWAY, &hop.gateway.octets());
        body
    }

    /// Sets the route to a single next hop, whatever it was.
    pub fn set(&self, rtnl: &mut Rtnl, hop: NextHop) -> Result<()> {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        rtnl.request((RTM_NEWROUTE, flags), &self.with_hop(hop)).with_context(|| format!("setting {self:?}"))
    }

    /// Deletes the route.
    pub fn delete(&self, rtnl: &mut Rtnl) -> Result<()> {
        rtnl.request((RTM_DELROUTE, 0), &self.body()).with_context(|| format!("deleting {self:?}"))
    }
}

/// Something done to the router's FIB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tampering {
    /// A route was deleted.
    DeletedRoute(Ipv6Network),
    /// A route was given another single next hop, under the router's own marks.
    RewroteRoute(Ipv6Network, Ipv6Addr),
    /// A next-hop object was deleted; groups lose it.
    DeletedObject(u32),
    /// A next-hop object was given another gateway.
    RewroteObject(u32, Ipv6Addr),
    /// A group was deleted, and its routes with it.
    DeletedGroup(u32),
    /// A group lost so many of its members.
    ShrankGroup(u32, usize),
}

impl fmt::Display for Tampering {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeletedRoute(prefix) => write!(out, "route {prefix} deleted"),
            Self::RewroteRoute(prefix, gateway) => write!(out, "route {prefix} set to {gateway}"),
            Self::DeletedObject(id) => write!(out, "object {id} deleted"),
            Self::RewroteObject(id, gateway) => write!(out, "object {id} set to {gateway}"),
            Self::DeletedGroup(id) => write!(out, "group {id} deleted"),
            Self::ShrankGroup(id, gone) => write!(out, "group {id} without {gone} of its members"),
        }
    }
}

/// A generator of numbers with a seed: the same tamperings in every run of the same FIB.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())).cloned()
    }
}

/// The tamperer.
#[derive(Debug)]
pub struct Tamperer {
    netns: Netns,
    marks: Marks,
    random: Random,
    /// Gateways to set things to.
    gateways: Vec<Ipv6Addr>,
}

/// What is to be tampered with, as it is now.
struct Targets {
    routes: Vec<Ipv6Network>,
    objects: Vec<(u32, NextHop)>,
    /// With the number of their members.
    groups: Vec<(u32, usize)>,
}

impl Tamperer {
    /// Tampers with what has these marks; these gateways are to be set.
    pub fn new(netns: &Netns, marks: Marks, (seed, gateways): (u64, Vec<Ipv6Addr>)) -> Self {
        Self { netns: netns.clone(), marks, random: Random::new(seed), gateways }
    }

    /// Does one thing; what it was. `None` if what was chosen had just gone.
    pub fn strike(&mut self) -> Result<Option<Tampering>> {
        let mut rtnl = self.netns.rtnl()?;
        let targets = self.targets(&Fib::dump(&mut rtnl)?);
        let tampering = self.choose(&targets);
        let Some(tampering) = tampering else { return Ok(None) };
        match self.carry_out(&mut rtnl, &targets, &tampering) {
            Ok(()) => Ok(Some(tampering)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.context(tampering.to_string())),
        }
    }

    /// What the router's routes use.
    fn targets(&self, fib: &Fib) -> Targets {
        let Marks { protocol, metric } = self.marks;
        let ours: Vec<_> = fib.routes().filter(|route| (route.protocol, route.metric) == (protocol, metric)).collect();
        let mut used = BTreeSet::new();
        for route in &ours {
            if let Via::Object(id) = route.via {
                used.insert(id);
                if let Some(Object::Group(members)) = fib.objects().get(&id) {
                    used.extend(members.iter().map(|(member, _)| *member));
                }
            }
        }
        let mut targets =
            Targets { routes: ours.iter().map(|route| route.prefix).collect(), objects: vec![], groups: vec![] };
        for id in used {
            match fib.objects().get(&id) {
                Some(Object::Single(hop)) => targets.objects.push((id, *hop)),
                Some(Object::Group(members)) => targets.groups.push((id, members.len())),
                None => {}
            }
        }
        targets
    }

    fn choose(&mut self, targets: &Targets) -> Option<Tampering> {
        let kind = self.random.below(6);
        Some(match kind {
            0 => Tampering::DeletedRoute(self.random.pick(&targets.routes)?),
            1 => Tampering::RewroteRoute(self.random.pick(&targets.routes)?, self.random.pick(&self.gateways)?),
            2 => Tampering::DeletedObject(self.random.pick(&targets.objects)?.0),
            3 => {
                let (id, now) = self.random.pick(&targets.objects)?;
                let others: Vec<_> = self.gateways.iter().copied().filter(|other| *other != now.gateway).collect();
                Tampering::RewroteObject(id, self.random.pick(&others)?)
            }
            4 => Tampering::DeletedGroup(self.random.pick(&targets.groups)?.0),
            _ => {
                let large: Vec<_> = targets.groups.iter().copied().filter(|(_, members)| *members > 1).collect();
                let (id, members) = self.random.pick(&large)?;
                Tampering::ShrankGroup(id, 1 + self.random.below((members - 1).min(4)))
            }
        })
    }

    fn carry_out(&self, rtnl: &mut Rtnl, targets: &Targets, tampering: &Tampering) -> Result<()> {
        let Marks { protocol, metric } = self.marks;
        let interface = targets.objects.first().context("no object to learn the interface from")?.1.interface;
        let route = |prefix: &Ipv6Network| RouteSpec { prefix: *prefix, table: TABLE_MAIN, protocol, metric };
        match tampering {
            Tampering::DeletedRoute(prefix) => route(prefix).delete(rtnl),
            Tampering::RewroteRoute(prefix, gateway) => {
                route(prefix).set(rtnl, NextHop { gateway: *gateway, interface })
            }
            Tampering::DeletedObject(id) | Tampering::DeletedGroup(id) => {
                let mut body = vec![0; 8];
                put_attribute(&mut body, NHA_ID, &id.to_ne_bytes());
                rtnl.request((RTM_DELNEXTHOP, 0), &body)
            }
            Tampering::RewroteObject(id, gateway) => {
                let mut body = vec![AF_INET6, 0, protocol, 0, 0, 0, 0, 0];
                put_attribute(&mut body, NHA_ID, &id.to_ne_bytes());
                put_attribute(&mut body, NHA_OIF, &interface.to_ne_bytes());
                put_attribute(&mut body, NHA_GATEWAY, &gateway.octets());
                rtnl.request((RTM_NEWNEXTHOP, NLM_F_REPLACE), &body)
            }
            Tampering::ShrankGroup(id, gone) => shrink(rtnl, (*id, protocol), *gone),
        }
    }
}

/// Replaces a group by itself without its last members; one is left.
fn shrink(rtnl: &mut Rtnl, (id, protocol): (u32, u8), gone: usize) -> Result<()> {
    let groups = rtnl.dump(RTM_GETNEXTHOP, &[0; 8])?;
    let told = groups.iter().filter_map(|raw| raw.body.get(8..)).map(attributes);
    let mut mine = told.filter(|told| told.contains(&(NHA_ID, id.to_ne_bytes().as_slice())));
    let group = mine.next().ok_or_else(|| std::io::Error::from_raw_os_error(nix::libc::ENOENT))?;
    let value = |kind: u16| group.iter().find(|(other, _)| *other == kind).map(|(_, value)| *value);
    let members = value(NHA_GROUP).context("not a group")?;
    let left = (members.len() / MEMBER).saturating_sub(gone).max(1) * MEMBER;
    let mut body = vec![0, 0, protocol, 0, 0, 0, 0, 0];
    put_attribute(&mut body, NHA_ID, &id.to_ne_bytes());
    put_attribute(&mut body, NHA_GROUP, members.get(..left).context("a group without members")?);
    if let Some(kind) = value(NHA_GROUP_TYPE) {
        put_attribute(&mut body, NHA_GROUP_TYPE, kind);
    }
    rtnl.request((RTM_NEWNEXTHOP, NLM_F_REPLACE), &body)
}

/// What was to be tampered with is not there any more: the router was at work.
fn is_gone(error: &anyhow::Error) -> bool {
    matches!(os_error(error), Some(nix::libc::ENOENT | nix::libc::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_all_of_them() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).into_iter().collect::<BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn only_routes_with_the_routers_marks_are_its_truth() {
        let marks = Marks { protocol: 89, metric: 20 };
        let prefix: Ipv6Network = "2001:db8:53::53/128".parse().unwrap();
        let hop = NextHop { gateway: "fe80::11".parse().unwrap(), interface: 3 };
        let mut fib = Fib::default();
        let ours = RouteSpec { prefix, table: TABLE_MAIN, protocol: 89, metric: 20 };
        for route in [RouteSpec { metric: 30, ..ours }, RouteSpec { protocol: 4, ..ours }] {
            assert!(fib.apply(&crate::nl::Raw { kind: RTM_NEWROUTE, flags: 0, body: route.with_hop(hop) }));
        }
        assert!(truth(&fib, marks).is_empty());
        assert!(!fib.apply(&crate::nl::Raw {
            kind: RTM_NEWROUTE,
            flags: 0,
            body: RouteSpec { table: 100, ..ours }.with_hop(hop)
        }));
        assert!(fib.apply(&crate::nl::Raw { kind: RTM_NEWROUTE, flags: 0, body: ours.with_hop(hop) }));
        assert_eq!(truth(&fib, marks), Truth::from([(prefix, BTreeMap::from([(hop, 1)]))]));
    }
}
