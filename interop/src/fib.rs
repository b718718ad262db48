//! The kernel's IPv6 FIB as it forwards: unicast routes of the main table with their next hops resolved through
//! next-hop objects and groups. Decoded from raw netlink: the crates know no next-hop objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use anyhow::Result;
use ipnetwork::Ipv6Network;

use crate::{
    netns::Netns,
    nl::{Raw, Rtnl, attributes, ipv6_of, u32_of},
};

/// `RTM_NEWROUTE` of linux/rtnetlink.h.
pub const RTM_NEWROUTE: u16 = 24;
/// `RTM_DELROUTE`.
pub const RTM_DELROUTE: u16 = 25;
/// `RTM_GETROUTE`.
pub const RTM_GETROUTE: u16 = 26;
/// `RTM_NEWNEXTHOP`.
pub const RTM_NEWNEXTHOP: u16 = 104;
/// `RTM_DELNEXTHOP`.
pub const RTM_DELNEXTHOP: u16 = 105;
/// `RTM_GETNEXTHOP`.
pub const RTM_GETNEXTHOP: u16 = 106;

/// The address family of IPv6.
pub const AF_INET6: u8 = 10;
/// The routing table `main`.
pub const TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;

/// One path of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// Gateway, or `::` for a directly connected destination.
    pub gateway: Ipv6Addr,
    /// Outgoing interface; 0 if the message does not tell.
    pub interface: u32,
}

/// How a route names its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// In the route itself, with weights.
    Paths(Vec<(NextHop, u32)>),
    /// By a next-hop object or group.
    Object(u32),
}

/// A route as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub prefix: Ipv6Network,
    /// Lower wins.
    pub metric: u32,
    /// Who installed it (`rtm_protocol`).
    pub protocol: u8,
    /// Its paths.
    pub via: Via,
}

/// A next-hop object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A single next hop.
    Single(NextHop),
    /// A group: (object id, weight).
    Group(Vec<(u32, u32)>),
}

/// Decodes a route message; `None` for what is not a unicast IPv6 route of the main table, or a clone.
pub fn decode_route(raw: &Raw) -> Option<Route> {
    decode_route_of_any_table(raw).and_then(|(table, route)| (table == TABLE_MAIN).then_some(route))
}

/// Decodes a route message and tells the table; `None` for what is not a unicast IPv6 route, or a clone.
pub fn decode_route_of_any_table(raw: &Raw) -> Option<(u32, Route)> {
    const RTM_F_CLONED: u32 = 0x200;
    let [family, length, _, _, table, protocol, _, kind, flags @ ..] = raw.body.first_chunk::<12>()?;
    if *family != AF_INET6 || *kind != RTN_UNICAST || u32_of(flags)? & RTM_F_CLONED != 0 {
        return None;
    }
    let mut table = u32::from(*table);
    let (mut destination, mut metric, mut object, mut several) = (Ipv6Addr::UNSPECIFIED, 0, None, None);
    let mut only = NextHop { gateway: Ipv6Addr::UNSPECIFIED, interface: 0 };
    for (kind, value) in attributes(raw.body.get(12..)?) {
        match kind {
            1 => destination = ipv6_of(value)?,
            4 => only.interface = u32_of(value)?,
            5 => only.gateway = ipv6_of(value)?,
            6 => metric = u32_of(value)?,
            9 => several = Some(decode_paths(value)),
            15 => table = u32_of(value)?,
            30 => object = Some(u32_of(value)?),
            _ => {}
        }
    }
    let via = match object {
        Some(id) => Via::Object(id),
        None => Via::Paths(several.unwrap_or_else(|| vec![(only, 1)])),
    };
    let prefix = Ipv6Network::new(destination, *length).ok()?;
    Some((table, Route { prefix, metric, protocol: *protocol, via }))
}

/// `RTA_MULTIPATH`: rtnexthop { u16 len, u8 flags, u8 hops = weight-1, i32 ifindex } with attributes.
fn decode_paths(mut bytes: &[u8]) -> Vec<(NextHop, u32)> {
    let mut paths = vec![];
    while let Some([l0, l1, _, hops, index @ ..]) = bytes.first_chunk::<8>() {
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let Some(inner) = bytes.get(8..length) else { break };
        let gateway = attributes(inner).into_iter().find(|(kind, _)| *kind == 5).and_then(|(_, value)| ipv6_of(value));
        let interface = u32_of(index).unwrap_or(0);
        paths.push((NextHop { gateway: gateway.unwrap_or(Ipv6Addr::UNSPECIFIED), interface }, u32::from(*hops) + 1));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    paths
}

/// Decodes a next-hop message: its id and what it is.
pub fn decode_object(raw: &Raw) -> Option<(u32, Object)> {
    let (mut id, mut group) = (0, None);
    let mut single = NextHop { gateway: Ipv6Addr::UNSPECIFIED, interface: 0 };
    for (kind, value) in attributes(raw.body.get(8..)?) {
        match kind {
            1 => id = u32_of(value)?,
            2 => {
                // nexthop_grp { u32 id, u8 weight-1, u8 weight high, u16 }
                let member = |bytes: &[u8]| {
                    let [a, b, c, d, low, high, ..] = *bytes.first_chunk::<8>()?;
                    Some((u32::from_ne_bytes([a, b, c, d]), u32::from(u16::from_le_bytes([low, high])) + 1))
                };
                group = Some(value.chunks_exact(8).filter_map(member).collect());
            }
            5 => single.interface = u32_of(value)?,
            6 => single.gateway = ipv6_of(value).unwrap_or(Ipv6Addr::UNSPECIFIED),
            _ => {}
        }
    }
    Some((id, group.map_or(Object::Single(single), Object::Group)))
}

/// A mirror of the FIB: filled by a dump, kept by notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fib {
    routes: BTreeMap<(Ipv6Network, u32, u8), Route>,
    objects: BTreeMap<u32, Object>,
}

impl Fib {
    /// Reads the whole FIB of a namespace.
    pub fn read(netns: &Netns) -> Result<Self> {
        Self::dump(&mut netns.rtnl()?)
    }

    /// Reads the whole FIB through an open socket.
    pub fn dump(rtnl: &mut Rtnl) -> Result<Self> {
        let mut fib = Self::default();
        for raw in rtnl.dump(RTM_GETNEXTHOP, &[0; 8])? {
            fib.apply(&raw);
        }
        let mut request = [0; 12];
        if let Some(family) = request.first_mut() {
            *family = AF_INET6;
        }
        for raw in rtnl.dump(RTM_GETROUTE, &request)? {
            fib.apply(&raw);
        }
        Ok(fib)
    }

    /// Applies one notification; true if the paths of a route may have changed by it.
    pub fn apply(&mut self, raw: &Raw) -> bool {
        match raw.kind {
            RTM_NEWROUTE => decode_route(raw).map(|route| self.install(route)).is_some(),
            RTM_DELROUTE => decode_route(raw).map(|route| self.remove(&route)).is_some(),
            RTM_NEWNEXTHOP => decode_object(raw).is_some_and(|(id, object)| self.learn(id, object)),
            RTM_DELNEXTHOP => decode_object(raw).is_some_and(|(id, _)| self.forget(id)),
            _ => false,
        }
    }

    fn install(&mut self, route: Route) {
        self.routes.insert((route.prefix, route.metric, route.protocol), route);
    }

    /// A DELROUTE names the whole route or, without objects, the single path that went.
    fn remove(&mut self, gone: &Route) {
        let key = (gone.prefix, gone.metric, gone.protocol);
        let empty = match (self.routes.get_mut(&key).map(|route| &mut route.via), &gone.via) {
            (Some(Via::Paths(have)), Via::Paths(lost)) => {
                have.retain(|(path, _)| !lost.iter().any(|(other, _)| other == path));
                have.is_empty()
            }
            _ => true,
        };
        if empty {
            self.routes.remove(&key);
        }
    }

    /// An object that is new is in no group yet: a router may make a thousand of them before it uses one.
    fn learn(&mut self, id: u32, object: Object) -> bool {
        match self.objects.insert(id, object) {
            Some(old) => self.objects.get(&id) != Some(&old),
            None => self.routes.values().any(|route| route.via == Via::Object(id)),
        }
    }

    /// Routes go with what they use; unless told to (`net.ipv4.nexthop_compat_mode`) the kernel does not say so.
    fn forget(&mut self, id: u32) -> bool {
        let before = self.routes.len();
        self.routes.retain(|_, route| route.via != Via::Object(id));
        let mut used = self.routes.len() != before;
        self.objects.remove(&id);
        for object in self.objects.values_mut() {
            if let Object::Group(members) = object {
                let before = members.len();
                members.retain(|(member, _)| *member != id);
                used |= members.len() != before;
            }
        }
        used
    }

    /// Every route, in order of prefix and metric.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    /// The next-hop objects and groups, by id.
    pub fn objects(&self) -> &BTreeMap<u32, Object> {
        &self.objects
    }

    /// The paths of a route with their weights, through objects and groups; the same next hop in several slots adds up.
    pub fn paths(&self, route: &Route) -> BTreeMap<NextHop, u32> {
        let mut paths = BTreeMap::new();
        match &route.via {
            Via::Paths(list) => list.iter().for_each(|(path, weight)| *paths.entry(*path).or_default() += weight),
            Via::Object(id) => self.resolve(*id, 1, &mut paths),
        }
        paths
    }

    fn resolve(&self, id: u32, weight: u32, paths: &mut BTreeMap<NextHop, u32>) {
        match self.objects.get(&id) {
            Some(Object::Single(path)) => *paths.entry(*path).or_default() += weight,
            // The kernel allows no group in a group, so this goes one level deep.
            Some(Object::Group(members)) => {
                members.iter().for_each(|(member, weight)| self.resolve(*member, *weight, paths));
            }
            None => {}
        }
    }

    /// The route that forwards exactly this prefix: the one of lowest metric.
    pub fn route(&self, prefix: Ipv6Network) -> Option<&Route> {
        self.routes.range((prefix, 0, 0)..=(prefix, u32::MAX, u8::MAX)).next().map(|(_, route)| route)
    }

    /// The gateways over which packets to exactly this prefix leave; empty without a route.
    pub fn gateways(&self, prefix: Ipv6Network) -> BTreeSet<Ipv6Addr> {
        self.route(prefix)
            .map(|route| self.paths(route).into_keys().map(|path| path.gateway).collect())
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Fib {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for route in self.routes() {
            let paths: Vec<_> =
                self.paths(route).iter().map(|(p, w)| format!("{}%{} w{w}", p.gateway, p.interface)).collect();
            writeln!(out, "{} proto {} metric {} [{}]", route.prefix, route.protocol, route.metric, paths.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: u16) -> NextHop {
        NextHop { gateway: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n), interface: 2 }
    }

    fn route(metric: u32, via: Via) -> Route {
        Route { prefix: "2001:db8:53::53/128".parse().unwrap(), metric, protocol: 89, via }
    }

    #[test]
    fn a_group_resolves_to_its_gateways_and_slots_of_one_gateway_add_up() {
        let mut fib = Fib::default();
        for (id, n) in [(1, 1), (2, 2), (3, 1)] {
            fib.objects.insert(id, Object::Single(path(n)));
        }
        fib.objects.insert(9, Object::Group(vec![(1, 1), (2, 5), (3, 2)]));
        let route = route(20, Via::Object(9));
        assert_eq!(fib.paths(&route), BTreeMap::from([(path(1), 3), (path(2), 5)]));
        assert!(fib.forget(2));
        assert_eq!(fib.paths(&route), BTreeMap::from([(path(1), 3)]));
    }

    #[test]
    fn only_what_a_route_uses_changes_its_paths() {
        let mut fib = Fib::default();
        assert!(!fib.learn(1, Object::Single(path(1))));
        assert!(!fib.learn(9, Object::Group(vec![(1, 1)])));
        fib.install(route(20, Via::Object(9)));
        assert!(!fib.learn(2, Object::Single(path(2))));
        assert!(!fib.learn(1, Object::Single(path(1))));
        assert!(fib.learn(1, Object::Single(path(2))));
        assert!(!fib.forget(2));
        assert!(fib.forget(1));
        assert!(fib.forget(9));
        assert!(fib.route("2001:db8:53::53/128".parse().unwrap()).is_none(), "a route without its group");
    }

    #[test]
    fn removing_one_path_of_a_multipath_route_leaves_the_others() {
        let mut fib = Fib::default();
        fib.install(route(20, Via::Paths(vec![(path(1), 1), (path(2), 1)])));
        fib.remove(&route(20, Via::Paths(vec![(path(1), 1)])));
        assert_eq!(fib.gateways("2001:db8:53::53/128".parse().unwrap()), BTreeSet::from([path(2).gateway]));
        fib.remove(&route(20, Via::Paths(vec![(path(2), 1)])));
        assert!(fib.routes.is_empty());
    }

    #[test]
    fn the_lowest_metric_forwards() {
        let mut fib = Fib::default();
        fib.install(route(1024, Via::Paths(vec![(path(1), 1)])));
        fib.install(route(20, Via::Paths(vec![(path(2), 1)])));
        assert_eq!(fib.gateways("2001:db8:53::53/128".parse().unwrap()), BTreeSet::from([path(2).gateway]));
    }
}
