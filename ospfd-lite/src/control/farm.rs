//! `show farm`: who serves each anycast prefix, and how its packets are really shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ospf_proto::engine::View;
use ospf_proto::id::{IfaceId, RouterId};
use ospf_proto::lsa::Prefix;
use ospf_proto::rib::Route;
use serde::{Deserialize, Serialize};

use super::show::{Names, NextHop, interface_name, interface_names};
use crate::netio::fib::{Fib, Installed, Member};
use crate::netio::probe::{Outcome, Way};
use crate::share::{Sharer, originator_weights};

/// A service prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Farm {
    /// The prefix.
    pub prefix: String,
    /// Its distance from this router; none: no route.
    pub distance: Option<u32>,
    /// `stable`, `resilient`, `hash-threshold`, `multipath`, `single`, or `none`: not installed.
    pub sharing: String,
    /// Why it is not shared as configured, or not installed.
    pub why: Option<String>,
    /// The kernel's identifier of its next-hop group.
    pub group: Option<u32>,
    /// The slots of the group, if it has any.
    pub slots: Option<u32>,
    /// `capacity`, `equal` or `originators`.
    pub weights: String,
    /// State of the route in the kernel.
    pub fib: String,
    /// Who originates it, at whatever cost, by Router ID.
    pub servers: Vec<Server>,
}

/// A router that originates a service prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its Router ID.
    pub router_id: String,
    /// The metric in its LSA.
    pub metric: u16,
    /// Whether it is among those of the lowest distance, which share the packets.
    pub in_class: bool,
    /// Its capacity as it counts here, queries per second; none: not known.
    pub capacity: Option<f64>,
    /// The capacity it states.
    pub stated: Option<f64>,
    /// The rate it says it is offered.
    pub load: Option<f64>,
    /// Its nominal capacity.
    pub nominal: Option<f64>,
    /// It is being drained.
    pub draining: bool,
    /// The next hops of its shortest paths.
    pub next_hops: Vec<NextHop>,
    /// Its part of the prefix's packets, 0..=1, as wanted.
    pub weight: f64,
    /// The same by what the kernel has.
    pub installed: f64,
    /// How many slots its next hops have; none: no slots, or others lie behind the same next hop.
    pub slots: Option<u32>,
    /// Packets that its next hops got, as counted by the kernel's group; none: not counted, or others lie behind the same next hop.
    pub packets: Option<u64>,
    /// Its part of them, 0..=1.
    pub packet_share: Option<f64>,
    /// Probes in a row that had no answer by one of its next hops; none: none has been sent and answered or missed yet.
    pub unanswered: Option<u32>,
}

/// What became of the probes of each way; none: nothing is probed.
pub type Probes<'a> = Option<&'a BTreeMap<Way, Outcome>>;

/// The prefixes that several routers originate, or that somebody tells the capacity for.
pub fn prefixes(view: &View<'_>, sharer: &Sharer) -> BTreeSet<Prefix> {
    let told = sharer.capacities().prefixes();
    let anycast = view.routes().iter().filter(|(_, route)| is_anycast(route)).map(|(prefix, _)| *prefix);
    anycast.chain(told).collect()
}

/// How each of these is served and shared.
pub fn farms(view: &View<'_>, fib: &mut Fib, sharer: &Sharer, probes: Probes<'_>) -> Vec<Farm> {
    fib.count_packets();
    let prefixes = prefixes(view, sharer);
    let names = interface_names(view);
    prefixes.iter().map(|prefix| farm((view, &names), (fib, probes), sharer, prefix)).collect()
}

/// How one of them is; an error in words if it is none.
pub fn of(
    view: &View<'_>,
    fib: &mut Fib,
    (sharer, probes): (&Sharer, Probes<'_>),
    prefix: &Prefix,
) -> Result<Farm, String> {
    if !view.routes().get(prefix).is_some_and(|route| is_anycast(route)) && !sharer.capacities().is_told(prefix) {
        return Err(format!(
            "no farm serves {prefix}: fewer than two routers originate it, and nobody states a capacity"
        ));
    }
    fib.count_packets();
    Ok(farm((view, &interface_names(view)), (fib, probes), sharer, prefix))
}

fn is_anycast(route: &Route) -> bool {
    route.originators().len() > 1
}

fn farm(
    (view, names): (&View<'_>, &Names),
    (fib, probes): (&Fib, Probes<'_>),
    sharer: &Sharer,
    prefix: &Prefix,
) -> Farm {
    let route = view.routes().get(prefix).map(Arc::as_ref);
    let installed = fib.installed(prefix);
    let packets = fib.packets(prefix);
    let sources = Sources {
        view,
        names,
        sharer,
        prefix,
        route,
        all_packets: packets.iter().flat_map(BTreeMap::values).sum(),
        packets,
        probes,
        flows: route.map(|route| Flows::of(route, sharer, prefix)).unwrap_or_default(),
    };
    let no_route = "no path of OSPF leads to it";
    let status = route.map_or(no_route, |_| "own or connected");
    let status = fib.status(prefix).unwrap_or_else(|| status.to_owned());
    let why = installed.as_ref().and_then(|installed| installed.why.clone());
    Farm {
        prefix: prefix.to_string(),
        distance: route.map(|route| route.distance),
        sharing: installed.as_ref().map_or("none", |installed| installed.sharing).to_owned(),
        why: why.or_else(|| installed.is_none().then(|| status.clone())),
        group: installed.as_ref().and_then(|installed| installed.group),
        slots: installed.as_ref().and_then(|installed| installed.slots),
        weights: sharer.weights().name().to_owned(),
        fib: status,
        servers: sources.servers(installed.as_ref()),
    }
}

/// What the rows of a prefix are made of.
struct Sources<'a> {
    view: &'a View<'a>,
    names: &'a Names,
    sharer: &'a Sharer,
    prefix: &'a Prefix,
    route: Option<&'a Route>,
    packets: Option<BTreeMap<Member, u64>>,
    all_packets: u64,
    probes: Probes<'a>,
    flows: Flows,
}

/// How much of a prefix flows to each originator by each next hop.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Flows {
    /// By originator and next hop: the part of the next hop's packets that are for the originator, and of all packets.
    pub(super) parts: BTreeMap<RouterId, BTreeMap<Member, (f64, f64)>>,
}

impl Flows {
    pub(super) fn of(route: &Route, sharer: &Sharer, prefix: &Prefix) -> Self {
        let capacity = sharer.capacities().of_prefix(prefix);
        let shares = crate::share::shares(route, sharer.weights(), &capacity).unwrap_or_default();
        let sum: f64 = shares.weights().map(f64::from).sum();
        let weights = originator_weights(route, sharer.weights(), &capacity);
        let mut by_hop: BTreeMap<Member, BTreeMap<RouterId, f64>> = BTreeMap::new();
        for ((router, hops), weight) in route.paths().zip(weights) {
            for hop in route.hops_at(hops) {
                let Some(gateway) = hop.gateway else { continue };
                let part = weight / hops.len() as f64;
                by_hop.entry(Member { iface: hop.iface.0, gateway }).or_default().insert(router, part);
            }
        }
        let mut flows = Flows::default();
        for (member, routers) in by_hop {
            let all: f64 = routers.values().sum();
            let part = f64::from(shares.of(&member).unwrap_or(0)) / sum;
            let count = routers.len() as f64;
            for (router, weight) in routers {
                let of_hop = if all > 0.0 { weight / all } else { 1.0 / count };
                flows.parts.entry(router).or_default().insert(member, (of_hop, of_hop * part));
            }
        }
        flows
    }

    /// The part of all packets that is for a router.
    pub(super) fn weight(&self, router: RouterId) -> f64 {
        self.parts.get(&router).into_iter().flatten().map(|(_, (_, part))| part).sum()
    }
}

impl Sources<'_> {
    fn servers(&self, installed: Option<&Installed>) -> Vec<Server> {
        let mut metrics: BTreeMap<RouterId, u16> = BTreeMap::new();
        for (key, listed) in self.view.listing(self.prefix) {
            let known = metrics.entry(key.adv_router).or_insert(listed.metric);
            *known = listed.metric.min(*known);
        }
        metrics.into_iter().map(|(router, metric)| self.server(router, metric, installed)).collect()
    }

    fn server(&self, router: RouterId, metric: u16, installed: Option<&Installed>) -> Server {
        let capacities = self.sharer.capacities();
        let claim = capacities.claim(self.prefix, router).copied().unwrap_or_default();
        let parts = self.flows.parts.get(&router);
        let parts = || parts.into_iter().flatten();
        let alone = parts().all(|(_, (of_hop, _))| *of_hop >= 1.0) && parts().next().is_some();
        let has = |member: &Member| installed.and_then(|i| i.parts.get(member)).copied().unwrap_or(0.0);
        let really: f64 = parts().map(|(member, (of_hop, _))| of_hop * has(member)).sum();
        let probe = |member: &Member| self.probes?.get(&(*self.prefix, *member));
        let probes = parts().filter_map(|(member, _)| probe(member));
        let unanswered = probes.filter(|probe| probe.answered > 0 || probe.missed > 0).map(|probe| probe.missed).max();
        let slots = installed.and_then(|installed| installed.slots).filter(|_| alone);
        let counted = self.packets.as_ref().filter(|_| alone);
        let packets = counted.map(|packets| parts().filter_map(|(member, _)| packets.get(member)).sum::<u64>());
        Server {
            router_id: router.to_string(),
            metric,
            in_class: self.route.is_some_and(|route| route.has_originator(router)),
            capacity: capacities.of(self.prefix, router),
            stated: claim.capacity,
            load: claim.load,
            nominal: claim.nominal,
            draining: claim.draining,
            next_hops: parts()
                .map(|(member, _)| NextHop {
                    interface: interface_name(self.names, IfaceId(member.iface)),
                    gateway: Some(member.gateway),
                })
                .collect(),
            weight: thousandths(self.flows.weight(router)),
            installed: thousandths(really),
            slots: slots.map(|slots| (really * f64::from(slots)).round() as u32),
            packets,
            unanswered,
            packet_share: packets
                .filter(|_| self.all_packets > 0)
                .map(|packets| thousandths(packets as f64 / self.all_packets as f64)),
        }
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
