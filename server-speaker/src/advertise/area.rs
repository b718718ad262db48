//! What our area's database says about the farm, as one value: recomputed, never patched.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use ospf_proto::id::{AreaId, Domain, IfaceId, RouterId};
use ospf_proto::lsa::{
    FarmTlv, IntraAreaPrefixLsa, LsType, LsaBody, Options, Prefix, PrefixOptions, ServiceFlags, ServiceRecord,
    SharingMode,
};
use ospf_proto::lsdb::Lsdb;
use ospf_proto::spf::Tree;
use ospf_proto::time::Instant;

use super::standing::LAST_RESORT_COST;
use crate::law::{Claim, Farm, Peer};

/// How many equal-cost next hops a router installs that says nothing.
const WIDTH: u16 = 16;

/// The area as we see it. Routers that SPF cannot reach are left out: what they last said is of no use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Our Router ID.
    pub me: RouterId,
    /// Our other routers, of which each is one of our shares.
    pub mine: BTreeSet<RouterId>,
    /// Every other reachable router.
    pub routers: BTreeSet<RouterId>,
    /// Those of them that forward (R-bit).
    pub forwarding: BTreeSet<RouterId>,
    /// What the others say in their Farm TLV.
    pub farm: BTreeMap<RouterId, FarmTlv>,
    /// Farm TLVs that cannot be used.
    pub malformed: Vec<Malformed>,
    /// Who of the others advertises a prefix, and at which metric.
    pub originators: BTreeMap<Prefix, BTreeMap<RouterId, u16>>,
    /// The other routers on each of our links.
    pub links: Vec<BTreeSet<RouterId>>,
}

/// A server of a prefix, with all routers that it appears as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The router that speaks for it.
    pub router: RouterId,
    /// The lowest metric of its routers.
    pub cost: u16,
    /// How many of them advertise the prefix at that metric.
    pub hops: u32,
}

/// A Farm TLV that does not decode: dropped whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Who sent it.
    pub router: RouterId,
    /// What is wrong.
    pub error: String,
}

/// A place and time to read at.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Our Router ID.
    pub me: RouterId,
    /// Our other routers.
    pub mine: &'a BTreeSet<RouterId>,
    /// Our area.
    pub area: AreaId,
    /// SPF's tree; without one nobody is reachable.
    pub tree: Option<&'a Tree>,
    /// Now.
    pub now: Instant,
}

impl Area {
    /// Reads the database.
    pub fn read(lsdb: &Lsdb, place: Place<'_>) -> Self {
        let mut area = Area { me: place.me, mine: place.mine.clone(), ..Area::default() };
        let own = |router| router == place.me || place.mine.contains(&router);
        let reachable = |router: RouterId| !own(router) && place.tree.is_some_and(|t| t.router(router).is_some());
        let mut links: BTreeMap<IfaceId, BTreeSet<RouterId>> = BTreeMap::new();
        for (key, entry) in lsdb.iter().filter(|(_, entry)| !entry.is_max_age(place.now)) {
            if !reachable(key.adv_router) {
                continue;
            }
            match (key.domain, &entry.lsa().body) {
                (Domain::Link(iface), LsaBody::Link(_)) => {
                    links.entry(iface).or_default().insert(key.adv_router);
                }
                (Domain::Area(of), body) if of == place.area => area.take(key.adv_router, body),
                _ => {}
            }
        }
        area.links = links.into_values().collect();
        area
    }

    fn take(&mut self, router: RouterId, body: &LsaBody) {
        match body {
            LsaBody::Router(lsa) => {
                self.routers.insert(router);
                if lsa.options.contains(Options::R) {
                    self.forwarding.insert(router);
                }
            }
            LsaBody::IntraAreaPrefix(lsa) => self.take_prefixes(router, lsa),
            LsaBody::RouterInformation(lsa) => {
                for tlv in lsa.tlvs.iter().filter_map(FarmTlv::from_tlv) {
                    match tlv {
                        Ok(mut tlv) => {
                            // The records of several TLVs add up.
                            if let Some(former) = self.farm.remove(&router) {
                                tlv.services.splice(0..0, former.services);
                            }
                            self.farm.insert(router, tlv);
                        }
                        Err(error) => self.malformed.push(Malformed { router, error: error.to_string() }),
                    }
                }
            }
            _ => {}
        }
    }

    fn take_prefixes(&mut self, router: RouterId, lsa: &IntraAreaPrefixLsa) {
        if lsa.referenced_type != LsType::ROUTER || lsa.referenced_router != router {
            return;
        }
        for entry in lsa.prefixes.iter().filter(|entry| !entry.options.contains(PrefixOptions::NU)) {
            let at = self.originators.entry(entry.prefix).or_default().entry(router).or_insert(entry.metric);
            *at = entry.metric.min(*at);
        }
    }

    /// The others that advertise `prefix`.
    pub fn originators(&self, prefix: &Prefix) -> impl Iterator<Item = (RouterId, u16)> {
        self.originators.get(prefix).into_iter().flatten().map(|(router, metric)| (*router, *metric))
    }

    /// The other servers of `prefix`, lowest Router ID first: routers that name the same owner of the service are one.
    pub fn servers(&self, prefix: &Prefix) -> Vec<Server> {
        let mut servers: BTreeMap<RouterId, Server> = BTreeMap::new();
        for (router, cost) in self.originators(prefix) {
            let router = self.owner(router, prefix);
            let server = servers.entry(router).or_insert(Server { router, cost, hops: 0 });
            match cost.cmp(&server.cost) {
                Ordering::Less => (server.cost, server.hops) = (cost, 1),
                Ordering::Equal => server.hops = server.hops.saturating_add(1),
                Ordering::Greater => {}
            }
        }
        servers.into_values().collect()
    }

    /// Whose service `router` advertises: its own, unless it says that it is a share of another. Nobody is a share of ours
    /// but our own routers.
    fn owner(&self, router: RouterId, prefix: &Prefix) -> RouterId {
        let records = self.farm.get(&router).into_iter().flat_map(|tlv| &tlv.services);
        let records = || records.clone().filter(|record| record.is_for(prefix));
        let own = |owner: RouterId| owner == self.me || self.mine.contains(&owner);
        if records().any(|record| record.owner == router) {
            return router;
        }
        records().map(|record| record.owner).find(|owner| !own(*owner)).unwrap_or(router)
    }

    /// How many other servers advertise `prefix` for better than as a last resort.
    pub fn alive(&self, prefix: &Prefix) -> usize {
        self.servers(prefix).into_iter().filter(|server| server.cost < LAST_RESORT_COST).count()
    }

    /// How many other servers serve `prefix` at the cost of the best of them and are not being drained.
    pub fn serving(&self, prefix: &Prefix) -> usize {
        let mut servers = self.servers(prefix);
        servers.retain(|server| server.cost < LAST_RESORT_COST);
        let lowest = servers.iter().map(|server| server.cost).min();
        let drains = |server: &Server| {
            self.record(server.router, prefix).is_some_and(|r| r.flags.contains(ServiceFlags::DRAINING))
        };
        servers.iter().filter(|server| Some(server.cost) == lowest && !drains(server)).count()
    }

    /// What `router` says of its service `prefix`. What another says about it is not believed.
    pub fn record(&self, router: RouterId, prefix: &Prefix) -> Option<&ServiceRecord> {
        let records = &self.farm.get(&router)?.services;
        records.iter().find(|record| record.owner == router && record.is_for(prefix))
    }

    /// The farm of `prefix` as the law sees it; `width` is the configured number of equal-cost next hops.
    pub fn farm_of(&self, prefix: &Prefix, width: Option<u16>) -> Farm {
        let peer = |server: Server| {
            let claim = self.record(server.router, prefix).map(claim);
            Peer { router: server.router, cost: server.cost, claim, hops: server.hops }
        };
        Farm {
            peers: self.servers(prefix).into_iter().map(peer).collect(),
            width: usize::from(self.width(width)),
            by_capacity: self.share_by_capacity(),
        }
    }

    /// How many equal-cost next hops the routers install: as configured, else the least that a router of our links tells.
    pub fn width(&self, configured: Option<u16>) -> u16 {
        let told = self.link_routers().filter_map(|r| self.farm.get(&r)).map(|tlv| tlv.ecmp_width).filter(|w| *w > 0);
        configured.or(told.min()).unwrap_or(WIDTH)
    }

    /// The routers on our links that forward.
    fn link_routers(&self) -> impl Iterator<Item = RouterId> {
        self.links.iter().flatten().filter(|router| self.forwarding.contains(router)).copied()
    }

    fn share_by_capacity(&self) -> bool {
        let weighs = |router| self.farm.get(&router).is_some_and(|tlv| tlv.sharing == SharingMode::Capacity);
        self.link_routers().next().is_some() && self.link_routers().all(weighs)
    }
}

fn claim(record: &ServiceRecord) -> Claim {
    let rate = |milli: Option<u32>| milli.map(|milli| f64::from(milli) / 1000.0);
    Claim { mu: rate(record.mu), x: rate(record.x), nominal: rate(record.nominal) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Lab, farm_tlv, prefix};
    use super::*;

    #[test]
    fn a_peer_is_read_with_its_metric_and_its_record() {
        let mut lab = Lab::new();
        lab.router(2, true);
        lab.server(3, &[("2001:db8::53/128", 10)]);
        lab.information(3, &[farm_tlv(3, "2001:db8::53/128", Some(700_000), 350_500)]);
        lab.server(4, &[("2001:db8::53/128", 21)]);
        let farm = lab.area().farm_of(&prefix("2001:db8::53/128"), None);
        let claim = Claim { mu: Some(700.0), x: Some(350.5), nominal: None };
        assert_eq!(farm.peers[0], Peer { router: RouterId(3), cost: 10, claim: Some(claim), hops: 1 });
        assert_eq!(farm.peers[1], Peer { router: RouterId(4), cost: 21, claim: None, hops: 1 });
        assert_eq!((farm.width, farm.by_capacity), (16, false));
    }

    #[test]
    fn what_an_unreachable_server_once_said_does_not_count() {
        let mut lab = Lab::new();
        lab.router(2, true);
        lab.server(3, &[("2001:db8::53/128", 10)]);
        lab.cut(3);
        let area = lab.area();
        assert_eq!(area.originators(&prefix("2001:db8::53/128")).count(), 0);
        assert_eq!(area.routers, [RouterId(2)].into());
    }

    #[test]
    fn my_own_lsas_are_not_a_peer() {
        let mut lab = Lab::new();
        lab.server(1, &[("2001:db8::53/128", 10)]);
        assert_eq!(lab.area().originators(&prefix("2001:db8::53/128")).count(), 0);
    }

    #[test]
    fn a_prefix_that_refers_to_another_router_or_is_not_unicast_is_ignored() {
        let mut lab = Lab::new();
        lab.router(2, true);
        lab.router(3, false);
        lab.prefixes(3, RouterId(2), &[("2001:db8::53/128", 10)], PrefixOptions::empty());
        lab.prefixes(3, RouterId(3), &[("2001:db8::54/128", 10)], PrefixOptions::NU);
        assert!(lab.area().originators.is_empty());
    }

    #[test]
    fn a_malformed_farm_tlv_is_dropped_whole_and_said() {
        let mut lab = Lab::new();
        lab.server(3, &[("2001:db8::53/128", 10)]);
        let mut tlv = farm_tlv(3, "2001:db8::53/128", Some(1), 1);
        tlv.value.truncate(20);
        lab.information(3, &[tlv]);
        let area = lab.area();
        assert!(area.farm.is_empty());
        assert_eq!(area.malformed[0].router, RouterId(3));
    }

    #[test]
    fn a_record_that_somebody_else_owns_is_not_believed() {
        let mut lab = Lab::new();
        lab.server(3, &[("2001:db8::53/128", 10)]);
        lab.information(3, &[farm_tlv(4, "2001:db8::53/128", Some(1), 1)]);
        assert_eq!(lab.area().farm_of(&prefix("2001:db8::53/128"), None).peers[0].claim, None);
    }

    #[test]
    fn the_width_is_the_configured_else_the_least_that_a_router_of_the_link_tells() {
        let mut lab = Lab::new();
        lab.router(2, true);
        lab.router(5, true);
        lab.shares(2, SharingMode::Equal, 64);
        lab.shares(5, SharingMode::Equal, 8);
        let any = prefix("2001:db8::53/128");
        assert_eq!(lab.area().farm_of(&any, None).width, 8);
        assert_eq!(lab.area().farm_of(&any, Some(4)).width, 4);
    }

    #[test]
    fn sharing_by_capacity_counts_only_if_every_router_of_the_link_does_it() {
        let mut lab = Lab::new();
        let any = prefix("2001:db8::53/128");
        assert!(!lab.area().farm_of(&any, None).by_capacity);
        lab.router(2, true);
        lab.shares(2, SharingMode::Capacity, 64);
        assert!(lab.area().farm_of(&any, None).by_capacity);
        lab.server(4, &[]);
        assert!(lab.area().farm_of(&any, None).by_capacity, "a server shares nothing");
        lab.router(3, true);
        assert!(!lab.area().farm_of(&any, None).by_capacity);
    }

    #[test]
    fn serving_counts_the_cheapest_that_are_not_drained() {
        let mut lab = Lab::new();
        let any = prefix("2001:db8::53/128");
        lab.server(3, &[("2001:db8::53/128", 10)]);
        lab.server(4, &[("2001:db8::53/128", 10)]);
        lab.server(5, &[("2001:db8::53/128", 21)]);
        assert_eq!(lab.area().serving(&any), 2);
        lab.drain(4, "2001:db8::53/128");
        assert_eq!(lab.area().serving(&any), 1);
    }

    const DNS: &str = "2001:db8::53/128";

    /// Server 3 with its share routers 30 and 31, and server 4.
    fn shared() -> Lab {
        let mut lab = Lab::new();
        lab.router(2, true);
        for router in [3, 30, 31, 4] {
            lab.server(router, &[(DNS, 10)]);
            let owner = if router == 4 { 4 } else { 3 };
            lab.information(router, &[farm_tlv(owner, DNS, Some(owner * 1000), 500)]);
        }
        lab
    }

    #[test]
    fn a_server_that_appears_as_several_routers_counts_once_with_its_next_hops() {
        let area = shared().area();
        let farm = area.farm_of(&prefix(DNS), None);
        let seen: Vec<_> = farm.peers.iter().map(|p| (p.router.0, p.hops, p.claim.and_then(|c| c.mu))).collect();
        assert_eq!(seen, [(3, 3, Some(3.0)), (4, 1, Some(4.0))]);
        assert_eq!((area.alive(&prefix(DNS)), area.serving(&prefix(DNS))), (2, 2));
    }

    #[test]
    fn only_the_routers_at_the_lowest_metric_are_next_hops() {
        let mut lab = shared();
        lab.prefixes(31, RouterId(31), &[("2001:db8::54/128", 10)], PrefixOptions::empty());
        lab.server(32, &[(DNS, 21)]);
        lab.information(32, &[farm_tlv(3, DNS, None, 0)]);
        let area = lab.area();
        assert_eq!(area.servers(&prefix(DNS))[0], Server { router: RouterId(3), cost: 10, hops: 3 });
        // Without a record of that prefix it is a server of its own.
        assert_eq!(area.servers(&prefix("2001:db8::54/128"))[0].router, RouterId(31));
    }

    #[test]
    fn what_a_share_says_of_its_owner_is_not_believed() {
        let mut lab = shared();
        lab.cut(3);
        let farm = lab.area().farm_of(&prefix(DNS), None);
        assert_eq!(farm.peers[0], Peer { router: RouterId(3), cost: 10, claim: None, hops: 2 });
    }

    #[test]
    fn my_other_routers_are_not_peers_and_nobody_else_is_a_share_of_mine() {
        let mut lab = shared();
        lab.information(4, &[farm_tlv(1, DNS, Some(9), 9)]);
        let area = lab.area_of(&[3, 30, 31]);
        let any = prefix(DNS);
        assert_eq!(area.servers(&any), [Server { router: RouterId(4), cost: 10, hops: 1 }]);
        assert!(!area.routers.contains(&RouterId(30)));
        assert_eq!(area.record(RouterId(4), &any), None);
    }
}
