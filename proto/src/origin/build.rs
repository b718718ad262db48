//! What we want to say: pure builders of LSA bodies (RFC 5340 §4.4.3).

use std::collections::{BTreeMap, BTreeSet};

use crate::consts::{MAX_LINK_METRIC, MAX_OWN_LSA};
use crate::flood::Core;
use crate::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, RouterId};
use crate::iface::Iface;
use crate::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, Prefix, PrefixOptions,
    RouterFlags, RouterInformationLsa, RouterLink, RouterLinkType, RouterLsa, Tlv,
};
use crate::origin::{Origin, Use};
use crate::state::IfaceState;

/// Every LSA that we want to be in the database.
pub type Wanted = BTreeMap<LsaKey, LsaBody>;

/// Bytes of a described link in a Router-LSA (RFC 5340 §A.4.3).
const LINK_BYTES: usize = 16;
/// Links in one Router-LSA, so that it stays below MAX_OWN_LSA.
const LINKS_PER_LSA: usize = (MAX_OWN_LSA - LsaHeader::LENGTH - 4) / LINK_BYTES;
/// Prefixes in one Intra-Area-Prefix-LSA: at most 20 bytes each (RFC 5340 §A.4.10).
const PREFIXES_PER_LSA: usize = (MAX_OWN_LSA - LsaHeader::LENGTH - 12) / 20;

impl Origin {
    /// Every LSA that should be there, from the state of the interfaces, the neighbors and the operator's wishes.
    pub fn wanted(&mut self, core: &Core) -> Wanted {
        let mut wanted = Wanted::new();
        if self.leaving {
            return wanted;
        }
        let areas: BTreeSet<AreaId> = core.ifaces.values().map(|iface| iface.params.area).collect();
        for area in areas {
            self.router_lsas(core, area, &mut wanted);
            if self.params.forwarding {
                self.link_prefixes(core, area, &mut wanted);
            }
        }
        for iface in core.ifaces.values().filter(|iface| iface.is_up()) {
            self.link_lsa(core, iface, &mut wanted);
            if iface.state == IfaceState::Dr && iface.full_neighbors().next().is_some() {
                self.network(core, iface, &mut wanted);
            }
        }
        self.services(core, &mut wanted);
        self.information(core, &mut wanted);
        wanted
    }

    /// The options of our LSAs and packets (RFC 5340 §A.2).
    pub fn options(forwarding: bool) -> Options {
        let mut options = Options::V6 | Options::E;
        options.set(Options::R, forwarding);
        options
    }

    /// Router-LSAs (RFC 5340 §4.4.3.2), split over Link State IDs where one would be too large.
    fn router_lsas(&self, core: &Core, area: AreaId, wanted: &mut Wanted) {
        let links: Vec<RouterLink> = core
            .ifaces
            .values()
            .filter(|iface| iface.params.area == area)
            .flat_map(|iface| self.router_links(core.router_id, iface))
            .collect();
        let parts: Vec<&[RouterLink]> =
            if links.is_empty() { vec![&[]] } else { links.chunks(LINKS_PER_LSA).collect() };
        for (part, id) in parts.into_iter().zip(0..) {
            let body = RouterLsa {
                flags: RouterFlags::empty(),
                options: Origin::options(self.params.forwarding),
                links: part.to_vec(),
            };
            wanted.insert(key(core, Domain::Area(area), LsType::ROUTER, LinkStateId(id)), LsaBody::Router(body));
        }
    }

    /// The links that an interface contributes.
    fn router_links(&self, router_id: RouterId, iface: &Iface) -> Vec<RouterLink> {
        let metric = match (self.params.forwarding, self.toggled_router) {
            (true, _) => iface.params.cost,
            (false, false) => MAX_LINK_METRIC,
            (false, true) => MAX_LINK_METRIC - 1,
        };
        let link = |link_type, neighbor_iface_id, neighbor_router_id| RouterLink {
            link_type,
            metric,
            iface_id: iface.id,
            neighbor_iface_id,
            neighbor_router_id,
        };
        match iface.state {
            IfaceState::PointToPoint => {
                iface.full_neighbors().map(|n| link(RouterLinkType::PointToPoint, n.iface_id, n.id.router)).collect()
            }
            IfaceState::Dr => {
                let attached = iface.full_neighbors().next().is_some();
                attached.then(|| link(RouterLinkType::Transit, iface.id, router_id)).into_iter().collect()
            }
            IfaceState::DrOther | IfaceState::Backup => iface
                .full_neighbors()
                .filter(|n| n.id.router == iface.dr)
                .map(|n| link(RouterLinkType::Transit, n.iface_id, n.id.router))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The Link-LSA of an interface (RFC 5340 §4.4.3.8). A server's carries no prefixes: a DR would copy them.
    fn link_lsa(&self, core: &Core, iface: &Iface, wanted: &mut Wanted) {
        let prefixes = if self.params.forwarding { iface.prefixes.as_slice() } else { &[] };
        let body = LinkLsa {
            // Nobody makes anything of it (elections go by the Hello's): it may alternate, see `Companion::Link`.
            priority: iface.params.priority ^ u8::from(self.toggled_link),
            options: Origin::options(self.params.forwarding),
            link_local: iface.link_local,
            prefixes: prefixes.iter().map(|prefix| lsa_prefix(*prefix, own_options(prefix), 0)).collect(),
        };
        wanted.insert(key(core, Domain::Link(iface.id), LsType::LINK, LinkStateId(iface.id.0)), LsaBody::Link(body));
    }

    /// As DR: the Network-LSA (RFC 5340 §4.4.3.3) and the link's prefixes (§4.4.3.9).
    fn network(&mut self, core: &Core, iface: &Iface, wanted: &mut Wanted) {
        // A Link-LSA of another Interface ID is left from a former life.
        let mut attached: BTreeMap<RouterId, IfaceId> =
            iface.full_neighbors().map(|n| (n.id.router, n.iface_id)).collect();
        attached.insert(core.router_id, iface.id);
        let mut options = Options::empty();
        let mut prefixes: BTreeMap<Prefix, PrefixOptions> = BTreeMap::new();
        for (link_key, entry) in core.lsdb.of_type(Domain::Link(iface.id), LsType::LINK) {
            let current = attached.get(&link_key.adv_router) == Some(&IfaceId(link_key.link_state_id.0));
            let LsaBody::Link(link) = &entry.lsa().body else { continue };
            if !current || entry.is_max_age(core.ctx.now) {
                continue;
            }
            options |= link.options;
            let unusable = PrefixOptions::NU | PrefixOptions::LA;
            for shared in link.prefixes.iter().filter(|p| !p.options.intersects(unusable) && is_routable(&p.prefix)) {
                *prefixes.entry(shared.prefix).or_default() |= shared.options;
            }
        }
        let domain = Domain::Area(iface.params.area);
        let id = LinkStateId(iface.id.0);
        let attached = attached.into_keys().collect();
        wanted.insert(key(core, domain, LsType::NETWORK, id), LsaBody::Network(NetworkLsa { options, attached }));
        let prefixes: Vec<LsaPrefix> =
            prefixes.into_iter().map(|(prefix, options)| lsa_prefix(prefix, options, 0)).collect();
        for (part, number) in prefixes.chunks(PREFIXES_PER_LSA).zip(0..) {
            let own = self.link_state_ids.allocate(Use::Network(iface.id, number));
            let body = prefix_lsa(core, (LsType::NETWORK, id), part.to_vec());
            wanted.insert(key(core, domain, LsType::INTRA_AREA_PREFIX, own), body);
        }
    }

    /// The prefixes of our own links that no Network-LSA stands for, and our addresses (RFC 5340 §4.4.3.9).
    fn link_prefixes(&mut self, core: &Core, area: AreaId, wanted: &mut Wanted) {
        let mut prefixes: BTreeMap<Prefix, LsaPrefix> = BTreeMap::new();
        for iface in core.ifaces.values().filter(|iface| iface.params.area == area) {
            if iface.state == IfaceState::Down {
                continue;
            }
            let transit = self.is_transit(core.router_id, iface);
            for prefix in iface.prefixes.iter().filter(|prefix| is_routable(prefix)) {
                let options = own_options(prefix);
                let address = options.contains(PrefixOptions::LA);
                // The DR tells of the link's prefixes, but not of our addresses.
                if transit && !address {
                    continue;
                }
                // Nothing is to be crossed to reach an address of ours.
                let metric = if address { 0 } else { iface.params.cost };
                prefixes.insert(*prefix, lsa_prefix(*prefix, options, metric));
            }
        }
        let prefixes: Vec<LsaPrefix> = prefixes.into_values().collect();
        for (part, number) in prefixes.chunks(PREFIXES_PER_LSA).zip(0..) {
            let id = self.link_state_ids.allocate(Use::Links(number));
            let body = prefix_lsa(core, (LsType::ROUTER, LinkStateId(0)), part.to_vec());
            wanted.insert(key(core, Domain::Area(area), LsType::INTRA_AREA_PREFIX, id), body);
        }
    }

    /// Whether a Network-LSA (ours or the DR's) stands for the link.
    fn is_transit(&self, router_id: RouterId, iface: &Iface) -> bool {
        self.router_links(router_id, iface).iter().any(|link| link.link_type == RouterLinkType::Transit)
    }

    /// One Intra-Area-Prefix-LSA per service prefix.
    fn services(&mut self, core: &Core, wanted: &mut Wanted) {
        let domain = Domain::Area(self.params.area);
        for (prefix, metric) in &self.advertised {
            let id = self.link_state_ids.allocate(Use::Service(*prefix));
            let options = if prefix.length() == 128 { PrefixOptions::LA } else { PrefixOptions::empty() };
            let body = prefix_lsa(core, (LsType::ROUTER, LinkStateId(0)), vec![lsa_prefix(*prefix, options, *metric)]);
            wanted.insert(key(core, domain, LsType::INTRA_AREA_PREFIX, id), body);
        }
    }

    /// Router-Information LSAs (RFC 7770 §2.2): instance 0 the informational capabilities (none), instance 1 ours.
    fn information(&self, core: &Core, wanted: &mut Wanted) {
        if self.information.is_empty() {
            return;
        }
        let capabilities = Tlv { tlv_type: Tlv::INFORMATIONAL_CAPABILITIES, value: vec![0; 4] };
        for (id, tlvs) in [(0, vec![capabilities]), (1, self.information.clone())] {
            wanted.insert(
                key(core, Domain::Area(self.params.area), LsType::ROUTER_INFORMATION, LinkStateId(id)),
                LsaBody::RouterInformation(RouterInformationLsa { tlvs }),
            );
        }
    }

    /// The LSAs that stand for service prefixes, whatever their state.
    pub(super) fn is_service(&self, key: &LsaKey) -> bool {
        key.ls_type == LsType::INTRA_AREA_PREFIX
            && matches!(self.link_state_ids.used_for(key.link_state_id), Some(Use::Service(_)))
    }

    /// The keys of the companion LSA as it is configured.
    pub(super) fn companions(&self, core: &Core) -> Vec<LsaKey> {
        match self.companion {
            super::Companion::None => Vec::new(),
            super::Companion::Router => {
                vec![key(core, Domain::Area(self.params.area), LsType::ROUTER, LinkStateId(0))]
            }
            super::Companion::Link => core
                .ifaces
                .values()
                .filter(|iface| iface.is_up())
                .map(|iface| key(core, Domain::Link(iface.id), LsType::LINK, link_id(iface.id)))
                .collect(),
        }
    }
}

/// Whether a prefix may be told beyond its link: link-local ones are not (RFC 5340 §2.5).
fn is_routable(prefix: &Prefix) -> bool {
    !prefix.address().is_unicast_link_local()
}

/// The options of a prefix of ours: an address rather than a link has the LA-bit (RFC 5340 §A.4.1.1).
fn own_options(prefix: &Prefix) -> PrefixOptions {
    if prefix.length() == 128 { PrefixOptions::LA } else { PrefixOptions::empty() }
}

fn link_id(iface: IfaceId) -> LinkStateId {
    LinkStateId(iface.0)
}

fn key(core: &Core, domain: Domain, ls_type: LsType, link_state_id: LinkStateId) -> LsaKey {
    LsaKey { domain, ls_type, link_state_id, adv_router: core.router_id }
}

fn lsa_prefix(prefix: Prefix, options: PrefixOptions, metric: u16) -> LsaPrefix {
    LsaPrefix { prefix, options, metric }
}

fn prefix_lsa(core: &Core, referenced: (LsType, LinkStateId), prefixes: Vec<LsaPrefix>) -> LsaBody {
    LsaBody::IntraAreaPrefix(IntraAreaPrefixLsa {
        referenced_type: referenced.0,
        referenced_id: referenced.1,
        referenced_router: core.router_id,
        prefixes,
    })
}
