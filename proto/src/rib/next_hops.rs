//! The next hops of vertices, found once for each set of first hops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::AreaId;
use crate::rib::{Basis, NextHop};
use crate::spf::{FirstHop, Tree, neighbor_address};

/// What was found. A tree has each set once ([`crate::spf`]), so that a set is known by its place in memory.
///
/// It stays true from one computation to the next, until an address or a tree changes: a server's cost changes often, and of a farm of
/// 256 it concerns the addresses of all.
#[derive(Clone, Debug, Default)]
pub(super) struct NextHops {
    /// By area and the place of the vertex in its tree: where its next hops are in `found`; none: nobody has asked yet. Beside
    /// `known`, since this is one piece of memory, which is cold when a packet comes, and is found without a search.
    vertices: BTreeMap<AreaId, Vec<Option<Part>>>,
    /// Where the next hops of a set are in `found`. The set is held, so that no other comes to lie in its place.
    known: BTreeMap<usize, (Arc<BTreeSet<FirstHop>>, Part)>,
    /// The next hops of all sets, one after the other.
    found: Vec<NextHop>,
}

/// A part of a list: its beginning and its end.
type Part = (u32, u32);

impl NextHops {
    /// The next hops of the vertex at a place of its area's tree, without those whose address is not known.
    pub(super) fn get(&mut self, (area, place): (AreaId, usize), basis: &Basis<'_>) -> &[NextHop] {
        let known = self.vertices.get(&area).and_then(|vertices| *vertices.get(place)?);
        let part = known.or_else(|| self.find((area, place), basis));
        part.map_or(&[], |part| self.part(part))
    }

    fn find(&mut self, (area, place): (AreaId, usize), basis: &Basis<'_>) -> Option<Part> {
        let tree = basis.trees.get(&area)?;
        let hops = &tree.vertices().get(place)?.first_hops;
        let found = &mut self.found;
        let (_, part) = self.known.entry(Arc::as_ptr(hops).addr()).or_insert_with(|| {
            let from = found.len() as u32;
            found.extend(resolve(hops, basis));
            (Arc::clone(hops), (from, found.len() as u32))
        });
        let vertices = self.vertices.entry(area).or_insert_with(|| vec![None; tree.len()]);
        *vertices.get_mut(place)? = Some(*part);
        Some(*part)
    }

    fn part(&self, (from, to): Part) -> &[NextHop] {
        self.found.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Whether all that was found is what would be found now.
    pub(super) fn is_exact(&self, basis: &Basis<'_>) -> bool {
        let exact = |hops: &BTreeSet<FirstHop>, part: Part| resolve(hops, basis).eq(self.part(part).iter().copied());
        let of_vertices = self.vertices.iter().all(|(area, parts)| {
            let vertices = basis.trees.get(area).map(Tree::vertices).unwrap_or_default();
            let mut each = vertices.iter().zip(parts);
            vertices.len() == parts.len() && each.all(|(v, part)| part.is_none_or(|part| exact(&v.first_hops, part)))
        });
        of_vertices && self.known.values().all(|(hops, part)| exact(hops, *part))
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
