//! The next hops of sets of first hops, each found once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::rib::{Basis, NextHop};
use crate::spf::{FirstHop, neighbor_address};

/// What was found. A tree has each set once ([`crate::spf`]), so that a set is known by its place in memory.
///
/// It stays true from one computation to the next, until an address changes: a server's cost changes often, and of a farm of
/// 256 it concerns the addresses of all.
#[derive(Clone, Debug, Default)]
pub(super) struct NextHops {
    /// Where the next hops of a set are in `found`. The set is held, so that no other comes to lie in its place.
    known: BTreeMap<usize, (Arc<BTreeSet<FirstHop>>, Range<usize>)>,
    /// The next hops of all sets, one after the other.
    found: Vec<NextHop>,
}

impl NextHops {
    /// The next hops of `hops`, without those whose address is not known.
    pub(super) fn get(&mut self, hops: &Arc<BTreeSet<FirstHop>>, basis: &Basis<'_>) -> &[NextHop] {
        let found = &mut self.found;
        let (_, range) = self.known.entry(Arc::as_ptr(hops).addr()).or_insert_with(|| {
            let from = found.len();
            found.extend(resolve(hops, basis));
            (Arc::clone(hops), from..found.len())
        });
        self.found.get(range.clone()).unwrap_or_default()
    }

    /// Whether all that was found is what would be found now.
    pub(super) fn is_exact(&self, basis: &Basis<'_>) -> bool {
        let found = |range: &Range<usize>| self.found.get(range.clone()).unwrap_or_default();
        self.known.values().all(|(hops, range)| resolve(hops, basis).eq(found(range).iter().copied()))
    }
}

fn resolve(hops: &BTreeSet<FirstHop>, basis: &Basis<'_>) -> impl Iterator<Item = NextHop> {
    let Basis { lsdb, heard, now, .. } = *basis;
    hops.iter().filter_map(move |hop| {
        let gateway = neighbor_address(hop, lsdb, heard, now);
        // On the link itself there is no router to hand the packet to.
        (gateway.is_some() || hop.neighbor.is_none()).then_some(NextHop { iface: hop.iface, gateway })
    })
}
