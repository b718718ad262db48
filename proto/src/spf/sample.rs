//! A hand-made database for tests, one call per LSA.

use std::net::Ipv6Addr;

use crate::consts::INITIAL_SEQUENCE;
use crate::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, RouterId};
use crate::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, PrefixOptions,
    RouterFlags, RouterLink, RouterLinkType, RouterLsa,
};
use crate::lsdb::{Lsdb, Source};
use crate::spf::{Graph, Tree, VertexId};
use crate::time::Instant;

pub(crate) const AREA: AreaId = AreaId(0);
pub(crate) const NOW: Instant = Instant::EPOCH;

/// Options of a router that forwards.
pub(crate) fn router() -> Options {
    Options::V6 | Options::E | Options::R
}

/// Options of a server.
pub(crate) fn server() -> Options {
    Options::V6 | Options::E
}

/// A point-to-point link from our interface, at a cost, to a router's interface.
pub(crate) fn p2p(iface: u32, metric: u16, router: u32, far: u32) -> RouterLink {
    link(RouterLinkType::PointToPoint, (iface, metric), (router, far))
}

/// A link from our interface, at a cost, to the network of a Designated Router's interface.
pub(crate) fn transit(iface: u32, metric: u16, dr: u32, dr_iface: u32) -> RouterLink {
    link(RouterLinkType::Transit, (iface, metric), (dr, dr_iface))
}

pub(crate) fn link(link_type: RouterLinkType, (iface, metric): (u32, u16), (router, far): (u32, u32)) -> RouterLink {
    RouterLink {
        link_type,
        metric,
        iface_id: IfaceId(iface),
        neighbor_iface_id: IfaceId(far),
        neighbor_router_id: RouterId(router),
    }
}

/// The link-local address of a router's interface.
pub(crate) fn link_local(router: u32, iface: u32) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, router as u16, iface as u16)
}

/// An LSA of age 0.
pub(crate) fn lsa(ls_type: LsType, id: u32, adv_router: u32, body: LsaBody) -> Lsa {
    let header = LsaHeader {
        ls_type,
        link_state_id: LinkStateId(id),
        adv_router: RouterId(adv_router),
        sequence: INITIAL_SEQUENCE,
        ..LsaHeader::default()
    };
    Lsa::build(header, body)
}

/// A Router-LSA.
pub(crate) fn router_lsa(adv_router: u32, id: u32, options: Options, links: &[RouterLink]) -> Lsa {
    let body = RouterLsa { flags: RouterFlags::empty(), options, links: links.to_vec() };
    lsa(LsType::ROUTER, id, adv_router, LsaBody::Router(body))
}

/// A Network-LSA.
pub(crate) fn network_lsa(dr: u32, dr_iface: u32, attached: &[u32]) -> Lsa {
    let attached = attached.iter().copied().map(RouterId).collect();
    lsa(LsType::NETWORK, dr_iface, dr, LsaBody::Network(NetworkLsa { options: router(), attached }))
}

/// A Link-LSA.
pub(crate) fn link_lsa(adv_router: u32, iface: u32, link_local: Ipv6Addr) -> Lsa {
    let body = LinkLsa { priority: 1, options: router(), link_local, prefixes: Vec::new() };
    lsa(LsType::LINK, iface, adv_router, LsaBody::Link(body))
}

/// A listed prefix without options.
pub(crate) fn listed(prefix: &str, metric: u16) -> LsaPrefix {
    LsaPrefix { prefix: prefix.parse().unwrap(), options: PrefixOptions::empty(), metric }
}

/// A database under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) lsdb: Lsdb,
}

impl Sample {
    pub(crate) fn install(mut self, domain: Domain, lsa: Lsa) -> Self {
        self.lsdb.install(domain, lsa, Source::Flooded, NOW);
        self
    }

    /// Adds a Router-LSA with Link State ID 0.
    pub(crate) fn router(self, adv_router: u32, options: Options, links: &[RouterLink]) -> Self {
        self.install(Domain::Area(AREA), router_lsa(adv_router, 0, options, links))
    }

    /// Adds a Network-LSA.
    pub(crate) fn network(self, dr: u32, dr_iface: u32, attached: &[u32]) -> Self {
        self.install(Domain::Area(AREA), network_lsa(dr, dr_iface, attached))
    }

    /// Adds a Link-LSA that came in on `ours`, with the address of `link_local`.
    pub(crate) fn link(self, ours: u32, adv_router: u32, iface: u32) -> Self {
        let lsa = link_lsa(adv_router, iface, link_local(adv_router, iface));
        self.install(Domain::Link(IfaceId(ours)), lsa)
    }

    /// Adds an Intra-Area-Prefix-LSA that refers to a Router-LSA of its originator.
    pub(crate) fn prefixes(self, adv_router: u32, id: u32, prefixes: &[LsaPrefix]) -> Self {
        self.referring(adv_router, id, (LsType::ROUTER, 0, adv_router), prefixes)
    }

    /// Adds an Intra-Area-Prefix-LSA that refers to any LSA: its type, Link State ID, Advertising Router.
    pub(crate) fn referring(
        self,
        adv_router: u32,
        id: u32,
        (referenced_type, referenced_id, referenced_router): (LsType, u32, u32),
        prefixes: &[LsaPrefix],
    ) -> Self {
        let body = IntraAreaPrefixLsa {
            referenced_type,
            referenced_id: LinkStateId(referenced_id),
            referenced_router: RouterId(referenced_router),
            prefixes: prefixes.to_vec(),
        };
        let lsa = lsa(LsType::INTRA_AREA_PREFIX, id, adv_router, LsaBody::IntraAreaPrefix(body));
        self.install(Domain::Area(AREA), lsa)
    }

    /// Takes an LSA out.
    pub(crate) fn without(mut self, ls_type: LsType, id: u32, adv_router: u32) -> Self {
        let key = LsaKey {
            domain: Domain::Area(AREA),
            ls_type,
            link_state_id: LinkStateId(id),
            adv_router: RouterId(adv_router),
        };
        assert!(self.lsdb.remove(&key).is_some());
        self
    }

    /// The graph of the area.
    pub(crate) fn graph(&self) -> Graph {
        Graph::build(&self.lsdb, AREA, NOW)
    }

    /// The tree of a router.
    pub(crate) fn tree(&self, root: u32) -> Tree {
        self.graph().tree(RouterId(root))
    }

    /// The vertices before another on its shortest paths.
    pub(crate) fn parents(&self, root: u32, of: VertexId) -> Vec<VertexId> {
        self.graph().parents(&self.tree(root), of)
    }
}
