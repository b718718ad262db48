//! First hops: abstract ones in the tree, shared sets of them, and their link-local addresses (RFC 5340 §4.8.2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

use crate::id::{Domain, IfaceId, LinkStateId, LsaKey, NeighborId, RouterId};
use crate::lsa::{LsType, LsaBody};
use crate::lsdb::Lsdb;
use crate::time::Instant;

/// A router's end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkEnd {
    /// The router.
    pub router: RouterId,
    /// Its Interface ID on the link.
    pub iface: IfaceId,
}

/// The first step of a shortest path, before any address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstHop {
    /// The root's interface.
    pub iface: IfaceId,
    /// The router to hand packets to; none if the destination is the directly attached network itself.
    pub neighbor: Option<LinkEnd>,
}

/// The addresses that the Hellos of neighbors come from.
pub trait Heard: fmt::Debug {
    /// That of a neighbor, if there is one.
    fn address(&self, of: NeighborId) -> Option<Ipv6Addr>;
}

impl Heard for BTreeMap<NeighborId, Ipv6Addr> {
    fn address(&self, of: NeighborId) -> Option<Ipv6Addr> {
        self.get(&of).copied()
    }
}

/// The link-local address of a first hop's router: from its Link-LSA on the link, else from its Hellos (`heard`).
///
/// RFC 5340 §4.8.2 allows the source address of the Hellos for every link type built here; it is needed where a
/// point-to-point neighbor suppresses its Link-LSA (RFC 5340 §C.3, LinkLSASuppression). None: there is no neighbor in
/// `hop`, or its address is not known yet.
pub fn neighbor_address(hop: &FirstHop, lsdb: &Lsdb, heard: &dyn Heard, now: Instant) -> Option<Ipv6Addr> {
    let end = hop.neighbor?;
    let key = LsaKey {
        domain: Domain::Link(hop.iface),
        ls_type: LsType::LINK,
        link_state_id: LinkStateId(end.iface.0),
        adv_router: end.router,
    };
    let advertised = lsdb.get(&key).filter(|entry| !entry.is_max_age(now)).and_then(|entry| match &entry.lsa().body {
        // Anything else than a link-local address would make the route point somewhere off the link.
        LsaBody::Link(link) if link.link_local.is_unicast_link_local() => Some(link.link_local),
        _ => None,
    });
    advertised.or_else(|| heard.address(NeighborId { iface: hop.iface, router: end.router }))
}

/// The number of a set in [`HopSets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HopSetId(u32);

impl HopSetId {
    /// The empty set: the root's.
    pub(super) const EMPTY: HopSetId = HopSetId(0);
}

/// Every distinct set of first hops once: an area of 10,000 routers has few of them.
#[derive(Debug)]
pub(super) struct HopSets {
    sets: Vec<Arc<BTreeSet<FirstHop>>>,
    /// Of each set: whether it has a hop onto a network of our own, without a router to hand packets to yet.
    direct: Vec<bool>,
    ids: BTreeMap<Arc<BTreeSet<FirstHop>>, HopSetId>,
    unions: BTreeMap<(HopSetId, HopSetId), HopSetId>,
}

impl HopSets {
    pub(super) fn new() -> Self {
        let mut sets = HopSets { sets: Vec::new(), direct: Vec::new(), ids: BTreeMap::new(), unions: BTreeMap::new() };
        sets.intern(BTreeSet::new());
        sets
    }

    /// The set under `id`.
    pub(super) fn get(&self, id: HopSetId) -> Arc<BTreeSet<FirstHop>> {
        self.sets.get(id.0 as usize).cloned().unwrap_or_default()
    }

    /// The set of one hop.
    pub(super) fn single(&mut self, hop: FirstHop) -> HopSetId {
        self.intern(BTreeSet::from([hop]))
    }

    /// The union of two sets.
    pub(super) fn union(&mut self, a: HopSetId, b: HopSetId) -> HopSetId {
        if a == b || b == HopSetId::EMPTY {
            return a;
        }
        let pair = (a.min(b), a.max(b));
        if let Some(known) = self.unions.get(&pair) {
            return *known;
        }
        let id = self.intern(self.get(a).union(&self.get(b)).copied().collect());
        self.unions.insert(pair, id);
        id
    }

    /// The hops to a router that is the neighbor `end` of a network with the hops `id`: where the network is our own
    /// link the router itself is the first hop, else the network's hops are inherited (RFC 2328 §16.1.1).
    pub(super) fn across(&mut self, id: HopSetId, end: LinkEnd) -> HopSetId {
        if !self.direct.get(id.0 as usize).copied().unwrap_or_default() {
            return id;
        }
        let hops = self.get(id);
        let direct = |hop: &FirstHop| FirstHop { iface: hop.iface, neighbor: hop.neighbor.or(Some(end)) };
        self.intern(hops.iter().map(direct).collect())
    }

    fn intern(&mut self, set: BTreeSet<FirstHop>) -> HopSetId {
        if let Some(known) = self.ids.get(&set) {
            return *known;
        }
        self.direct.push(set.iter().any(|hop| hop.neighbor.is_none()));
        let set = Arc::new(set);
        let id = HopSetId(self.sets.len() as u32);
        self.sets.push(Arc::clone(&set));
        self.ids.insert(set, id);
        id
    }
}
