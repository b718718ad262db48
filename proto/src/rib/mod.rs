//! The routing table: `(&Tree, &Lsdb) -> routes`, and what changed (RFC 2328 §11, §16.1 second stage, §16.8; RFC 5340
//! §4.8.1, §4.8.2).
//!
//! One pure function computes the route to one prefix from the LSAs that list it; [`Index`] finds those. So a
//! changed prefix LSA costs as much as it lists, whatever the size of the area, and the outcome is the same as that of
//! computing everything. Intra-area routes only: inter-area and external ones will be further candidates in
//! `candidate`, found by the same index.
//!
//! Differs: a prefix whose next hops have no known address has no route, and does not fall back to a longer path.

mod candidate;
mod change;
mod index;
mod next_hops;
mod route;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use change::diff;
pub use index::{Index, Listed};
use next_hops::NextHops;
pub use route::{NextHop, PathType, Route, RouteChange};

use crate::id::{AreaId, LsaKey};
use crate::lsa::{LsaBody, Prefix};
use crate::lsdb::Lsdb;
use crate::spf::{Heard, Tree};
use crate::time::Instant;

/// What routes are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// The shortest-path tree of each area.
    pub trees: &'a BTreeMap<AreaId, Tree>,
    /// The database.
    pub lsdb: &'a Lsdb,
    /// The addresses that neighbors' Hellos come from: next hops where the Link-LSA is missing.
    pub heard: &'a dyn Heard,
    /// The time: LSAs at MaxAge do not count.
    pub now: Instant,
}

/// Every route that follows from the database, computed from nothing else.
pub fn all(basis: &Basis<'_>) -> BTreeMap<Prefix, Arc<Route>> {
    let index = Index::build(basis.lsdb, basis.now);
    routes_for(index.prefixes(), &index, (basis, &mut NextHops::default()))
        .filter_map(|(prefix, route)| Some((prefix, route?)))
        .collect()
}

/// The route to each of `prefixes`; none where there is no path.
fn routes_for<'a>(
    prefixes: impl IntoIterator<Item = &'a Prefix>,
    index: &Index,
    (basis, next_hops): (&Basis<'_>, &mut NextHops),
) -> impl Iterator<Item = (Prefix, Option<Arc<Route>>)> {
    prefixes.into_iter().map(move |prefix| (*prefix, candidate::best(index.listing(prefix), basis, next_hops)))
}

/// The routing table of OSPF: the routes that were last computed, and the index that finds what to compute again.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    routes: BTreeMap<Prefix, Arc<Route>>,
    index: Index,
    next_hops: NextHops,
}

impl Rib {
    /// The routes.
    pub fn routes(&self) -> &BTreeMap<Prefix, Arc<Route>> {
        &self.routes
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Notes that what the database has under `key` was another body before (none: there was none), and returns the prefixes
    /// whose routes may change: those that either body lists.
    ///
    /// Every change of the database has to pass here, a removal too, and that an LSA reached MaxAge.
    pub fn lsa_changed(&mut self, key: &LsaKey, old: Option<&LsaBody>, database: (&Lsdb, Instant)) -> BTreeSet<Prefix> {
        self.index.replace(key, old, database)
    }

    /// Computes the routes to `prefixes` again; no address of a next hop has changed.
    pub fn recompute(&mut self, prefixes: &BTreeSet<Prefix>, basis: &Basis<'_>) -> Vec<RouteChange> {
        let Rib { routes, index, next_hops } = self;
        routes_for(prefixes, index, (basis, next_hops))
            .filter_map(|(prefix, route)| change::apply(routes, prefix, route))
            .collect()
    }

    /// There is another tree: what was found for the vertices of the one before, by their places, is not true any more. Has to be
    /// said of every new tree before routes are computed on it.
    pub fn tree_changed(&mut self) {
        self.next_hops = NextHops::default();
    }

    /// Computes all routes again: the address of a next hop changed.
    pub fn recompute_all(&mut self, basis: &Basis<'_>) -> Vec<RouteChange> {
        self.next_hops = NextHops::default();
        let prefixes = self.index.prefixes().chain(self.routes.keys()).copied().collect();
        self.recompute(&prefixes, basis)
    }

    /// Whether routes, index and next hops are what a computation from nothing gives (invariant 3).
    pub fn is_exact(&self, basis: &Basis<'_>) -> bool {
        self.index.matches(basis.lsdb, basis.now) && self.next_hops.is_exact(basis) && self.routes == all(basis)
    }
}
