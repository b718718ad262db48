//! A read-only view for `show` commands, metrics and the daemons' own decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::ctx::Timer;
use crate::engine::config::NetworkType;
use crate::engine::{Config, Engine, Unacknowledged};
use crate::id::{AreaId, Domain, IfaceId, LsaKey, RouterId};
use crate::iface::Iface;
use crate::lsa::{LsType, Lsa, LsaBody, Options, Prefix, RouterInformationLsa};
use crate::lsdb::{Breach, Lsdb};
use crate::neighbor::{Link, Neighbor};
use crate::origin::Use;
use crate::rib::{Listed, Route};
use crate::spf::{Graph, Tree};
use crate::state::{IfaceState, NeighborState};
use crate::time::Instant;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfaceView {
    /// Interface ID.
    pub iface: IfaceId,
    /// Kernel name.
    pub name: String,
    /// Area.
    pub area: AreaId,
    /// Type.
    pub network_type: NetworkType,
    /// State.
    pub state: IfaceState,
    /// Our link-local address.
    pub link_local: Option<Ipv6Addr>,
    /// MTU.
    pub mtu: u16,
    /// Configured cost.
    pub cost: u16,
    /// Our priority.
    pub priority: u8,
    /// DR, 0.0.0.0: none.
    pub dr: RouterId,
    /// Backup DR, 0.0.0.0: none.
    pub bdr: RouterId,
    /// HelloInterval, seconds.
    pub hello_interval: u16,
    /// RouterDeadInterval, seconds.
    pub dead_interval: u16,
    /// Passive.
    pub passive: bool,
    /// Neighbors in any state above Down.
    pub neighbors: usize,
    /// Neighbors in state Full.
    pub full: usize,
    /// Until the next Hello.
    pub hello_in: Option<Duration>,
}

/// A neighbor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighborView {
    /// Router ID.
    pub router: RouterId,
    /// Our interface.
    pub iface: IfaceId,
    /// Name of our interface.
    pub iface_name: String,
    /// State of our interface.
    pub iface_state: IfaceState,
    /// Its Interface ID.
    pub neighbor_iface: IfaceId,
    /// Its priority.
    pub priority: u8,
    /// State.
    pub state: NeighborState,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its options.
    pub options: Options,
    /// The DR it names.
    pub dr: RouterId,
    /// The Backup DR it names.
    pub bdr: RouterId,
    /// Until it is declared dead.
    pub dead_in: Option<Duration>,
    /// In this state for.
    pub since: Duration,
    /// LSAs yet to be requested.
    pub requests: usize,
    /// LSAs sent and not yet acknowledged.
    pub retransmissions: usize,
}

/// An LSA in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsaView<'a> {
    /// Its key.
    pub key: LsaKey,
    /// Its age now, seconds.
    pub age: u16,
    /// The LSA.
    pub lsa: &'a Lsa,
    /// Whether we originated it.
    pub ours: bool,
}

/// Why and when the engine wakes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// In how long.
    pub left: Duration,
    /// Why.
    pub timer: Timer,
}

/// A read-only view of the engine.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    engine: &'a Engine,
}

impl<'a> View<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        View { engine }
    }

    /// Our Router ID.
    pub fn router_id(&self) -> RouterId {
        self.engine.core.router_id
    }

    /// The configuration.
    pub fn config(&self) -> &'a Config {
        &self.engine.config
    }

    /// The time of the last turn.
    pub fn now(&self) -> Instant {
        self.engine.core.ctx.now
    }

    /// The interfaces that OSPF is configured on and the kernel has.
    pub fn interfaces(&self) -> Vec<IfaceView> {
        self.engine.core.ifaces.values().map(|iface| self.interface(iface)).collect()
    }

    fn interface(&self, iface: &Iface) -> IfaceView {
        let ctx = &self.engine.core.ctx;
        let broadcast = !iface.params.point_to_point;
        IfaceView {
            iface: iface.id,
            name: iface.params.name.clone(),
            area: iface.params.area,
            network_type: if broadcast { NetworkType::Broadcast } else { NetworkType::PointToPoint },
            state: iface.state,
            link_local: (!iface.link_local.is_unspecified()).then_some(iface.link_local),
            mtu: iface.mtu,
            cost: iface.params.cost,
            priority: iface.params.priority,
            dr: iface.dr,
            bdr: iface.bdr,
            hello_interval: iface.params.hello_interval,
            dead_interval: iface.params.dead_interval,
            passive: iface.params.passive,
            neighbors: iface.neighbors.len(),
            full: iface.full_neighbors().count(),
            hello_in: ctx.timers.left(Timer::Hello(iface.id), ctx.now),
        }
    }

    /// The neighbors on every interface.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        let ifaces = self.engine.core.ifaces.values();
        ifaces.flat_map(|iface| iface.neighbors.values().map(|n| self.neighbor(iface, n))).collect()
    }

    fn neighbor(&self, iface: &Iface, neighbor: &Neighbor) -> NeighborView {
        let ctx = &self.engine.core.ctx;
        NeighborView {
            router: neighbor.id.router,
            iface: iface.id,
            iface_name: iface.params.name.clone(),
            iface_state: iface.state,
            neighbor_iface: neighbor.iface_id,
            priority: neighbor.priority,
            state: neighbor.state,
            address: neighbor.address,
            options: neighbor.options,
            dr: neighbor.dr,
            bdr: neighbor.bdr,
            dead_in: ctx.timers.left(Timer::Inactivity(neighbor.id), ctx.now),
            since: ctx.now.since(neighbor.since),
            requests: neighbor.requests.len(),
            retransmissions: ctx.retransmissions.length_of(neighbor.id),
        }
    }

    /// How many LSAs are yet to be described to a neighbor. Counts them in the database, and so is no part of [`Self::neighbors`],
    /// which is asked for at every turn while a router begins.
    pub fn summaries(&self, of: &NeighborView) -> usize {
        let Some(iface) = self.engine.core.ifaces.get(&of.iface) else { return 0 };
        let link = Link { local: &iface.local(), lsdb: self.lsdb() };
        iface.neighbors.get(&of.router).map_or(0, |neighbor| neighbor.summaries(self.now(), link))
    }

    /// The database.
    pub fn lsdb(&self) -> &'a Lsdb {
        &self.engine.core.lsdb
    }

    /// Every LSA with the age it has now.
    pub fn lsas(&self) -> Vec<LsaView<'a>> {
        let (now, ours) = (self.now(), self.router_id());
        self.lsdb()
            .iter()
            .map(|(key, entry)| LsaView {
                key: *key,
                age: entry.age(now),
                lsa: entry.lsa(),
                ours: key.adv_router == ours,
            })
            .collect()
    }

    /// The routing table.
    pub fn routes(&self) -> &'a BTreeMap<Prefix, Arc<Route>> {
        self.engine.rib.routes()
    }

    /// How many changes of Router-Information LSAs there have been: what [`View::router_information`] tells is the same as long
    /// as this is.
    pub fn information_changes(&self) -> u64 {
        self.engine.information_changes
    }

    /// The Router-Information LSAs of an area (RFC 7770 §2.2) that have not reached MaxAge, with who originated them.
    pub fn router_information(&self, area: AreaId) -> impl Iterator<Item = (RouterId, &'a RouterInformationLsa)> {
        let now = self.now();
        let lsas = self.lsdb().of_type(Domain::Area(area), LsType::ROUTER_INFORMATION);
        lsas.filter(move |(_, entry)| !entry.is_max_age(now)).filter_map(|(key, entry)| match &entry.lsa().body {
            LsaBody::RouterInformation(body) => Some((key.adv_router, body)),
            _ => None,
        })
    }

    /// The areas that SPF has run for.
    pub fn areas(&self) -> impl Iterator<Item = AreaId> {
        self.engine.trees.keys().copied()
    }

    /// The LSAs that list a prefix, with what each says of it, those that do not count too.
    pub fn listing(&self, prefix: &Prefix) -> &'a [(LsaKey, Listed)] {
        self.engine.rib.index().listing(prefix)
    }

    /// The shortest-path tree of an area, if SPF has run.
    pub fn tree(&self, area: AreaId) -> Option<&'a Tree> {
        self.engine.trees.get(&area)
    }

    /// The graph of an area, computed anew.
    pub fn graph(&self, area: AreaId) -> Graph {
        Graph::build(&self.engine.core.lsdb, area, self.engine.core.ctx.now)
    }

    /// The LSAs of ours that some neighbor has not acknowledged.
    pub fn unacknowledged(&self) -> Vec<Unacknowledged> {
        let ours = self.router_id();
        let of_ours = self.engine.core.ctx.retransmissions.iter().filter(|(_, key, _)| key.adv_router == ours);
        // By neighbor, each list in its order.
        let missing: BTreeSet<(IfaceId, RouterId, LsaKey)> =
            of_ours.flat_map(|(iface, key, waiting)| waiting.iter().map(move |r| (iface, *r, *key))).collect();
        missing.into_iter().map(|(_, neighbor, key)| Unacknowledged { key, neighbor }).collect()
    }

    /// How many of our flushed LSAs some neighbor has not acknowledged yet (RFC 2328 §14).
    pub fn flushes_pending(&self) -> usize {
        let waits = |key: &&LsaKey| self.engine.core.is_unacknowledged(key);
        self.lsdb().max_aged(self.now()).filter(|key| key.adv_router == self.router_id()).filter(waits).count()
    }

    /// The service prefixes and metrics that our LSAs in the database state now.
    pub fn advertised(&self) -> Vec<(Prefix, u16)> {
        let mut found = Vec::new();
        for (key, entry) in self.lsdb().originated_by(self.router_id()) {
            let used = self.engine.origin.link_state_ids().used_for(key.link_state_id);
            let service = key.ls_type == LsType::INTRA_AREA_PREFIX && matches!(used, Some(Use::Service(_)));
            if !service || entry.is_max_age(self.now()) {
                continue;
            }
            if let LsaBody::IntraAreaPrefix(body) = &entry.lsa().body {
                found.extend(body.prefixes.iter().map(|p| (p.prefix, p.metric)));
            }
        }
        found
    }

    /// The limits of the database that are reached.
    pub fn breaches(&self) -> Vec<Breach> {
        self.lsdb().breaches().collect()
    }

    /// How often an origination of ours had to wait for the rate limit.
    pub fn rate_limited(&self) -> u64 {
        self.engine.origin.rate_limited()
    }

    /// Whether some LSA of ours waits for its MinLSInterval, or for adjacencies that are being formed.
    pub fn originations_pending(&self) -> bool {
        let waits = |timer| matches!(timer, Timer::MinLsInterval(_) | Timer::AdjacencyGrace);
        self.engine.core.ctx.timers.running().any(waits)
    }

    /// Whether originations have begun: an adjacency is Full, or the link proved empty.
    pub fn ready(&self) -> bool {
        self.engine.origin.is_ready()
    }

    /// Whether we hold something back because another router uses our Router ID, or somebody forges our LSAs.
    pub fn duplicate_router_id(&self) -> bool {
        self.engine.duplicates.muted || self.engine.origin.is_contested(self.now())
    }

    /// When and why the engine wakes next.
    pub fn next_wake(&self) -> Option<Wake> {
        self.engine.next_timer().map(|(at, timer)| Wake { left: at.since(self.now()), timer })
    }
}
