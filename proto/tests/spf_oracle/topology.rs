//! An intended area, and the LSAs by which its routers tell of it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::id::{AreaId, Domain, IfaceId, LinkStateId, NeighborId, RouterId};
use ospf_proto::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, Prefix,
    PrefixOptions, RouterFlags, RouterLink, RouterLinkType, RouterLsa,
};
use ospf_proto::lsdb::{Lsdb, Source};
use ospf_proto::spf::VertexId;
use ospf_proto::time::Instant;
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const AREA: AreaId = AreaId(0);

/// A router; its number is its place in the list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) forwards: bool,
    pub(crate) v6: bool,
    /// The Link State ID of its first Router-LSA, and how many links each one holds.
    pub(crate) first_id: u32,
    pub(crate) links_per_lsa: usize,
}

/// A router's end of a link, or its interface on a LAN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) router: usize,
    pub(crate) cost: u16,
    /// Its Router-LSA tells of the link.
    pub(crate) told: bool,
    /// It originates a Link-LSA.
    pub(crate) link_lsa: bool,
    /// Its Hellos are heard.
    pub(crate) heard: bool,
}

/// A LAN; the first member is the Designated Router.
#[derive(Clone, Debug)]
pub(crate) struct Lan {
    pub(crate) members: Vec<End>,
    /// The members that the Network-LSA lists, by place.
    pub(crate) listed: Vec<bool>,
}

/// What a prefix hangs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reference {
    Router(usize),
    Lan(usize),
}

/// An Intra-Area-Prefix-LSA; its Link State ID is its place in the list.
#[derive(Clone, Debug)]
pub(crate) struct PrefixLsa {
    pub(crate) originator: usize,
    pub(crate) reference: Reference,
    /// (Number of the prefix, metric, NU-bit).
    pub(crate) prefixes: Vec<(u8, u16, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) routers: Vec<Role>,
    pub(crate) links: Vec<[End; 2]>,
    pub(crate) lans: Vec<Lan>,
    pub(crate) prefix_lsas: Vec<PrefixLsa>,
}

/// A vertex of the intended graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Router(usize),
    Lan(usize),
}

pub(crate) fn router_id(router: usize) -> RouterId {
    RouterId(router as u32 + 1)
}

pub(crate) fn router_number(id: RouterId) -> usize {
    id.0 as usize - 1
}

/// The Interface ID of an end of a point-to-point link.
pub(crate) fn link_iface(link: usize, end: usize) -> u32 {
    (1 + 2 * link + end) as u32
}

/// The Interface ID of a LAN's member.
pub(crate) fn lan_iface(lan: usize, member: usize) -> u32 {
    (1_000_000 + 64 * lan + member) as u32
}

/// The address in the Link-LSA of a router's interface.
pub(crate) fn advertised_address(router: usize, iface: u32) -> Ipv6Addr {
    Ipv6Addr::from(0xfe80_u128 << 112 | (router as u128) << 32 | u128::from(iface))
}

/// The address that a router's Hellos come from.
pub(crate) fn heard_address(router: usize) -> Ipv6Addr {
    advertised_address(router, u32::MAX)
}

pub(crate) fn prefix(number: u8) -> Prefix {
    Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)))
}

pub(crate) fn lsa(ls_type: LsType, id: u32, adv_router: RouterId, body: LsaBody) -> Lsa {
    let link_state_id = LinkStateId(id);
    let header = LsaHeader { ls_type, link_state_id, adv_router, sequence: INITIAL_SEQUENCE, ..LsaHeader::default() };
    Lsa::build(header, body)
}

impl Topology {
    pub(crate) fn nodes(&self) -> Vec<Node> {
        (0..self.routers.len()).map(Node::Router).chain((0..self.lans.len()).map(Node::Lan)).collect()
    }

    /// The Designated Router of a LAN and its Interface ID.
    pub(crate) fn dr(&self, lan: usize) -> (usize, u32) {
        (self.lans[lan].members[0].router, lan_iface(lan, 0))
    }

    pub(crate) fn vertex_id(&self, node: Node) -> VertexId {
        match node {
            Node::Router(router) => VertexId::Router(router_id(router)),
            Node::Lan(lan) => {
                let (dr, iface) = self.dr(lan);
                VertexId::Network { dr: router_id(dr), iface: IfaceId(iface) }
            }
        }
    }

    /// Every interface of the area as (link: the ends of it with their Interface IDs).
    fn shared_links(&self) -> Vec<Vec<(u32, End)>> {
        let ends = |(link, ends): (usize, &[End; 2])| {
            ends.iter().enumerate().map(|(end, e)| (link_iface(link, end), *e)).collect()
        };
        let members = |(lan, l): (usize, &Lan)| {
            l.members.iter().enumerate().map(|(member, end)| (lan_iface(lan, member), *end)).collect()
        };
        self.links.iter().enumerate().map(ends).chain(self.lans.iter().enumerate().map(members)).collect()
    }

    /// The addresses that a router's neighbors send Hellos from.
    pub(crate) fn heard(&self, root: usize) -> BTreeMap<NeighborId, Ipv6Addr> {
        let mut heard = BTreeMap::new();
        for (iface, neighbor) in self.neighbors(root) {
            if neighbor.1.heard {
                let id = NeighborId { iface: IfaceId(iface), router: router_id(neighbor.1.router) };
                heard.insert(id, heard_address(neighbor.1.router));
            }
        }
        heard
    }

    /// (Interface of `root`, (Interface ID, end) of another router on the same link).
    fn neighbors(&self, root: usize) -> Vec<(u32, (u32, End))> {
        let mut neighbors = Vec::new();
        for ends in self.shared_links() {
            for (iface, _) in ends.iter().filter(|(_, end)| end.router == root) {
                let others = ends.iter().filter(|(_, end)| end.router != root);
                neighbors.extend(others.map(|other| (*iface, *other)));
            }
        }
        neighbors
    }

    /// The database of router `root`.
    pub(crate) fn lsdb(&self, root: usize) -> Lsdb {
        let mut lsdb = Lsdb::default();
        for (domain, lsa) in self.lsas(root) {
            lsdb.install(domain, lsa, Source::Flooded, Instant::EPOCH);
        }
        lsdb
    }

    /// The LSAs that router `root` has.
    pub(crate) fn lsas(&self, root: usize) -> Vec<(Domain, Lsa)> {
        let area = Domain::Area(AREA);
        let mut lsas = Vec::new();
        for (router, links) in self.router_links().iter().enumerate() {
            lsas.extend(self.router_lsas(router, links).into_iter().map(|lsa| (area, lsa)));
        }
        for (number, lan) in self.lans.iter().enumerate() {
            let (dr, iface) = self.dr(number);
            let members = lan.members.iter().zip(&lan.listed).filter(|(_, listed)| **listed);
            let attached = members.map(|(member, _)| router_id(member.router)).collect();
            let body = NetworkLsa { options: Options::V6, attached };
            lsas.push((area, lsa(LsType::NETWORK, iface, router_id(dr), LsaBody::Network(body))));
        }
        for number in 0..self.prefix_lsas.len() {
            lsas.push((area, self.prefix_lsa(number)));
        }
        for (iface, (far, neighbor)) in self.neighbors(root).into_iter().filter(|(_, (_, end))| end.link_lsa) {
            let link_local = advertised_address(neighbor.router, far);
            let body = LinkLsa { priority: 1, options: Options::V6, link_local, prefixes: Vec::new() };
            let lsa = lsa(LsType::LINK, far, router_id(neighbor.router), LsaBody::Link(body));
            lsas.push((Domain::Link(IfaceId(iface)), lsa));
        }
        lsas
    }

    /// The links that each router tells of.
    fn router_links(&self) -> Vec<Vec<RouterLink>> {
        let mut links = vec![Vec::new(); self.routers.len()];
        for (number, ends) in self.links.iter().enumerate() {
            for (at, end) in ends.iter().enumerate().filter(|(_, end)| end.told) {
                links[end.router].push(RouterLink {
                    link_type: RouterLinkType::PointToPoint,
                    metric: end.cost,
                    iface_id: IfaceId(link_iface(number, at)),
                    neighbor_iface_id: IfaceId(link_iface(number, 1 - at)),
                    neighbor_router_id: router_id(ends[1 - at].router),
                });
            }
        }
        for (number, lan) in self.lans.iter().enumerate() {
            let (dr, dr_iface) = self.dr(number);
            for (at, member) in lan.members.iter().enumerate().filter(|(_, member)| member.told) {
                links[member.router].push(RouterLink {
                    link_type: RouterLinkType::Transit,
                    metric: member.cost,
                    iface_id: IfaceId(lan_iface(number, at)),
                    neighbor_iface_id: IfaceId(dr_iface),
                    neighbor_router_id: router_id(dr),
                });
            }
        }
        links
    }

    /// The Router-LSAs of a router; only the first one's options are to be believed.
    fn router_lsas(&self, router: usize, links: &[RouterLink]) -> Vec<Lsa> {
        let role = self.routers[router];
        let mut options = Options::E;
        options.set(Options::R, role.forwards);
        options.set(Options::V6, role.v6);
        let mut parts: Vec<&[RouterLink]> = links.chunks(role.links_per_lsa).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let mut lsas = Vec::new();
        for (at, part) in parts.into_iter().enumerate() {
            let options = if at == 0 { options } else { options ^ (Options::R | Options::V6) };
            let body = RouterLsa { flags: RouterFlags::empty(), options, links: part.to_vec() };
            let id = role.first_id + 3 * at as u32;
            lsas.push(lsa(LsType::ROUTER, id, router_id(router), LsaBody::Router(body)));
        }
        lsas
    }

    /// One Intra-Area-Prefix-LSA.
    pub(crate) fn prefix_lsa(&self, number: usize) -> Lsa {
        let PrefixLsa { originator, reference, prefixes } = &self.prefix_lsas[number];
        let (referenced_type, id, router) = match *reference {
            Reference::Router(router) => (LsType::ROUTER, 0, router),
            Reference::Lan(lan) => {
                let (dr, iface) = self.dr(lan);
                (LsType::NETWORK, iface, dr)
            }
        };
        let listed = |(number, metric, nu): &(u8, u16, bool)| LsaPrefix {
            prefix: prefix(*number),
            options: if *nu { PrefixOptions::NU } else { PrefixOptions::empty() },
            metric: *metric,
        };
        let body = IntraAreaPrefixLsa {
            referenced_type,
            referenced_id: LinkStateId(id),
            referenced_router: router_id(router),
            prefixes: prefixes.iter().map(listed).collect(),
        };
        lsa(LsType::INTRA_AREA_PREFIX, number as u32, router_id(*originator), LsaBody::IntraAreaPrefix(body))
    }
}

/// The same LSAs installed in another order.
pub(crate) fn shuffled(lsdb: &Lsdb, seed: u64) -> Lsdb {
    let mut state = seed | 1;
    let mut keyed: Vec<_> = lsdb.iter().map(|(key, entry)| (next(&mut state), key, entry)).collect();
    keyed.sort_by_key(|(at, ..)| *at);
    let mut shuffled = Lsdb::default();
    for (_, key, entry) in keyed {
        shuffled.install(key.domain, entry.lsa().clone(), Source::Flooded, Instant::EPOCH);
    }
    shuffled
}

/// The next pseudo-random number (xorshift64*).
pub(crate) fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

fn mostly() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.85)
}

fn role() -> impl Strategy<Value = Role> {
    (mostly(), prop::bool::weighted(0.93), prop::sample::select(vec![0, 5]), 1usize..5)
        .prop_map(|(forwards, v6, first_id, links_per_lsa)| Role { forwards, v6, first_id, links_per_lsa })
}

/// Few different costs, so that paths of equal cost are common; 0 is not legal, but it can be received.
pub(crate) fn cost() -> impl Strategy<Value = u16> {
    prop_oneof![1 => Just(0u16), 20 => 1u16..4, 2 => Just(10), 1 => Just(65535)]
}

fn end(routers: usize) -> impl Strategy<Value = End> {
    (0..routers, cost(), prop::bool::weighted(0.93), mostly(), any::<bool>())
        .prop_map(|(router, cost, told, link_lsa, heard)| End { router, cost, told, link_lsa, heard })
}

fn lan(routers: usize) -> impl Strategy<Value = Lan> {
    vec((end(routers), prop::bool::weighted(0.93)), 1..6).prop_map(|members| {
        let (members, listed) = members.into_iter().unzip();
        Lan { members, listed }
    })
}

/// One Intra-Area-Prefix-LSA.
pub(crate) fn prefix_lsa(routers: usize, lans: usize) -> impl Strategy<Value = PrefixLsa> {
    let reference = (0..routers, 0..lans.max(1), prop::bool::weighted(0.3)).prop_map(move |(router, lan, of_lan)| {
        if of_lan && lans > 0 { Reference::Lan(lan) } else { Reference::Router(router) }
    });
    let listed = (0u8..5, cost(), prop::bool::weighted(0.1));
    (0..routers, reference, vec(listed, 0..5)).prop_map(|(originator, reference, prefixes)| PrefixLsa {
        originator,
        reference,
        prefixes,
    })
}

/// A random area of up to nine routers.
pub(crate) fn topology() -> impl Strategy<Value = Topology> {
    (2usize..10, 0usize..4).prop_flat_map(|(routers, lans)| {
        let link = [end(routers), end(routers)];
        (vec(role(), routers), vec(link, 0..14), vec(lan(routers), lans), vec(prefix_lsa(routers, lans), 0..10))
            .prop_map(|(routers, links, lans, prefix_lsas)| Topology { routers, links, lans, prefix_lsas })
    })
}
