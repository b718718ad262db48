//! A random network of routers: point-to-point links in a tree, and half as many across; a prefix of each router, and the
//! service prefix of the last one.

use std::net::Ipv6Addr;

use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::id::{AreaId, Domain, IfaceId, LinkStateId, RouterId};
use ospf_proto::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, Options, Prefix, PrefixOptions,
    RouterFlags, RouterLink, RouterLinkType, RouterLsa,
};
use ospf_proto::lsdb::{Limits, Lsdb, Source};
use ospf_proto::time::Instant;

/// The router that computes.
pub(crate) const ROOT: RouterId = RouterId(1);

/// Where all LSAs but Link-LSAs live.
pub(crate) fn domain() -> Domain {
    Domain::Area(AreaId(0))
}

/// The links of each router; router `n` is at `n - 1`.
pub(crate) struct Area {
    links: Vec<Vec<RouterLink>>,
}

impl Area {
    /// A network of so many routers, always the same.
    pub(crate) fn random(routers: u32) -> Self {
        let mut area = Area { links: vec![vec![]; routers as usize] };
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |below: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % u64::from(below)) as u32
        };
        for router in 2..=routers {
            area.join(router, 1 + draw(router - 1), 1 + draw(100) as u16);
        }
        for _ in 0..routers / 2 {
            let (one, other) = (1 + draw(routers), 1 + draw(routers));
            if one != other {
                area.join(one, other, 1 + draw(100) as u16);
            }
        }
        area
    }

    fn join(&mut self, one: u32, other: u32, metric: u16) {
        let next = |area: &Self, router: u32| IfaceId(area.links[router as usize - 1].len() as u32 + 1);
        let (here, there) = (next(self, one), next(self, other));
        for (router, iface_id, neighbor, neighbor_iface_id) in [(one, here, other, there), (other, there, one, here)] {
            self.links[router as usize - 1].push(RouterLink {
                link_type: RouterLinkType::PointToPoint,
                metric,
                iface_id,
                neighbor_iface_id,
                neighbor_router_id: RouterId(neighbor),
            });
        }
    }

    /// The Router-LSA of each.
    pub(crate) fn router_lsas(&self) -> impl Iterator<Item = Lsa> + '_ {
        (1..).zip(&self.links).map(|(router, links)| {
            let options = Options::V6 | Options::E | Options::R;
            let body = RouterLsa { flags: RouterFlags::empty(), options, links: links.clone() };
            lsa(LsType::ROUTER, router, LsaBody::Router(body))
        })
    }

    /// A /64 of each router but the last, and the service of that at two metrics.
    fn prefix_lsas(&self) -> impl Iterator<Item = Lsa> {
        let [service, _] = self.service_versions();
        let host = |router: u32| Ipv6Addr::new(0x2001, 0xdb8, (router >> 16) as u16, router as u16, 0, 0, 0, 0);
        (1..self.links.len() as u32)
            .map(move |router| prefix_lsa(router, Prefix::new(host(router), 64).expect("a prefix"), 10))
            .chain([service])
    }

    /// The prefix LSA of the last router, the server, before and after its cost changes.
    pub(crate) fn service_versions(&self) -> [Lsa; 2] {
        let service = Prefix::host(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x53, 0, 0, 0, 0x53));
        [10, 20].map(|metric| prefix_lsa(self.links.len() as u32, service, metric))
    }

    /// The database of the root.
    pub(crate) fn lsdb(&self) -> Lsdb {
        let mut lsdb = Lsdb::new(Limits { lsas: usize::MAX, lsas_per_router: usize::MAX });
        for lsa in self.router_lsas().chain(self.prefix_lsas()) {
            lsdb.install(domain(), lsa, Source::Flooded, Instant::EPOCH);
        }
        // The Link-LSAs of the root's neighbors say where the next hops are.
        for link in &self.links[0] {
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, link.iface_id.0 as u16);
            let body = LinkLsa { priority: 1, options: Options::V6 | Options::R, link_local, prefixes: vec![] };
            let mut header = header(LsType::LINK, link.neighbor_router_id.0);
            header.link_state_id = LinkStateId(link.neighbor_iface_id.0);
            let link_lsa = Lsa::build(header, LsaBody::Link(body));
            lsdb.install(Domain::Link(link.iface_id), link_lsa, Source::Flooded, Instant::EPOCH);
        }
        lsdb
    }
}

fn header(ls_type: LsType, router: u32) -> LsaHeader {
    LsaHeader { ls_type, adv_router: RouterId(router), sequence: INITIAL_SEQUENCE, ..LsaHeader::default() }
}

fn lsa(ls_type: LsType, router: u32, body: LsaBody) -> Lsa {
    Lsa::build(header(ls_type, router), body)
}

fn prefix_lsa(router: u32, prefix: Prefix, metric: u16) -> Lsa {
    let body = IntraAreaPrefixLsa {
        referenced_type: LsType::ROUTER,
        referenced_id: LinkStateId(0),
        referenced_router: RouterId(router),
        prefixes: vec![LsaPrefix { prefix, options: PrefixOptions::empty(), metric }],
    };
    lsa(LsType::INTRA_AREA_PREFIX, router, LsaBody::IntraAreaPrefix(body))
}
