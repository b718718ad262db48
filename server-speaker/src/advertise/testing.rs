//! A small area to test on: router 1 is we, everybody is on one broadcast link whose DR is router 9.

use ospf_proto::consts::INITIAL_SEQUENCE;
use ospf_proto::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey, RouterId};
use ospf_proto::lsa::{
    FarmTlv, IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaBody, LsaHeader, LsaPrefix, NetworkLsa, Options, Prefix,
    PrefixOptions, RouterFlags, RouterInformationLsa, RouterLink, RouterLinkType, RouterLsa, ServiceFlags,
    ServiceRecord, SharingMode, Tlv,
};
use ospf_proto::lsdb::{Lsdb, Source};
use ospf_proto::spf::Graph;
use ospf_proto::time::Instant;

use super::area::{Area, Place};

const ME: RouterId = RouterId(1);
const DR: RouterId = RouterId(9);
const AREA: AreaId = AreaId(0);
const LINK: IfaceId = IfaceId(2);

pub(crate) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(crate) fn farm_tlv(owner: u32, of: &str, mu: Option<u32>, x: u32) -> Tlv {
    tlv_with(owner, of, mu, x, ServiceFlags::empty())
}

fn tlv_with(owner: u32, of: &str, mu: Option<u32>, x: u32, flags: ServiceFlags) -> Tlv {
    let record = ServiceRecord { flags, mu, x: Some(x), ..ServiceRecord::new(&prefix(of), RouterId(owner)) };
    FarmTlv { sharing: SharingMode::None, ecmp_width: 0, services: vec![record] }.to_tlv()
}

pub(crate) struct Lab {
    lsdb: Lsdb,
    attached: Vec<RouterId>,
    ids: u32,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let mut lab = Lab { lsdb: Lsdb::default(), attached: Vec::new(), ids: 100 };
        lab.router(ME.0, false);
        lab.router(DR.0, false);
        // Our link's DR stands for the link: it says nothing of its own.
        lab.information(DR.0, &[FarmTlv::default().to_tlv()]);
        lab
    }

    fn install(&mut self, ls_type: LsType, id: u32, adv_router: RouterId, body: LsaBody) {
        let link_state_id = LinkStateId(id);
        let domain = if ls_type == LsType::LINK { Domain::Link(LINK) } else { Domain::Area(AREA) };
        let header =
            LsaHeader { ls_type, link_state_id, adv_router, sequence: INITIAL_SEQUENCE, ..LsaHeader::default() };
        self.lsdb.install(domain, Lsa::build(header, body), Source::Flooded, Instant::EPOCH);
    }

    /// A router on the link; `forwarding` sets its R-bit.
    pub(crate) fn router(&mut self, id: u32, forwarding: bool) {
        let router = RouterId(id);
        let mut options = Options::V6 | Options::E;
        options.set(Options::R, forwarding);
        let link = RouterLink {
            link_type: RouterLinkType::Transit,
            metric: 10,
            iface_id: LINK,
            neighbor_iface_id: LINK,
            neighbor_router_id: DR,
        };
        let lsa = RouterLsa { flags: RouterFlags::empty(), options, links: vec![link] };
        self.install(LsType::ROUTER, 0, router, LsaBody::Router(lsa));
        let link_local = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::try_from(id).unwrap());
        let lsa = LinkLsa { priority: 0, options, link_local, prefixes: Vec::new() };
        self.install(LsType::LINK, LINK.0, router, LsaBody::Link(lsa));
        self.attached.push(router);
        self.network();
    }

    fn network(&mut self) {
        let lsa = NetworkLsa { options: Options::V6 | Options::R, attached: self.attached.clone() };
        self.install(LsType::NETWORK, LINK.0, DR, LsaBody::Network(lsa));
    }

    /// A router leaves the network; its LSAs stay.
    pub(crate) fn cut(&mut self, id: u32) {
        self.attached.retain(|router| router.0 != id);
        self.network();
    }

    /// A router of the area that is on no link of ours.
    pub(crate) fn distant(&mut self, id: u32, forwarding: bool) {
        self.router(id, forwarding);
        let key = LsaKey {
            domain: Domain::Link(LINK),
            ls_type: LsType::LINK,
            link_state_id: LinkStateId(LINK.0),
            adv_router: RouterId(id),
        };
        self.lsdb.remove(&key).unwrap();
    }

    pub(crate) fn server(&mut self, id: u32, prefixes: &[(&str, u16)]) {
        self.router(id, false);
        if !prefixes.is_empty() {
            self.prefixes(id, RouterId(id), prefixes, PrefixOptions::empty());
        }
    }

    pub(crate) fn prefixes(&mut self, id: u32, refers: RouterId, list: &[(&str, u16)], options: PrefixOptions) {
        let prefixes = list.iter().map(|(p, metric)| LsaPrefix { prefix: prefix(p), options, metric: *metric });
        let lsa = IntraAreaPrefixLsa {
            referenced_type: LsType::ROUTER,
            referenced_id: LinkStateId(0),
            referenced_router: refers,
            prefixes: prefixes.collect(),
        };
        self.ids += 1;
        let body = LsaBody::IntraAreaPrefix(lsa);
        self.install(LsType::INTRA_AREA_PREFIX, self.ids, RouterId(id), body);
    }

    pub(crate) fn information(&mut self, id: u32, tlvs: &[Tlv]) {
        let body = LsaBody::RouterInformation(RouterInformationLsa { tlvs: tlvs.to_vec() });
        self.install(LsType::ROUTER_INFORMATION, 1, RouterId(id), body);
    }

    pub(crate) fn shares(&mut self, id: u32, sharing: SharingMode, ecmp_width: u16) {
        self.information(id, &[FarmTlv { sharing, ecmp_width, services: Vec::new() }.to_tlv()]);
    }

    pub(crate) fn drain(&mut self, id: u32, of: &str) {
        self.information(id, &[tlv_with(id, of, None, 0, ServiceFlags::DRAINING)]);
    }

    pub(crate) fn area(&self) -> Area {
        self.area_of(&[])
    }

    /// The area as router 1 sees it that has these routers beside.
    pub(crate) fn area_of(&self, mine: &[u32]) -> Area {
        let mine = mine.iter().map(|id| RouterId(*id)).collect();
        let now = Instant::EPOCH;
        let tree = Graph::build(&self.lsdb, AREA, now).tree(ME);
        let mut area = Area::read(&self.lsdb, Place { me: ME, mine: &mine, area: AREA, tree: Some(&tree), now });
        area.routers.remove(&DR);
        area.farm.remove(&DR);
        area.links.iter_mut().for_each(|link| {
            link.remove(&DR);
        });
        area
    }
}
