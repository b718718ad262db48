//! Which LSAs list a prefix, and which hang on a vertex.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{AreaId, Domain, IfaceId, LinkStateId, LsaKey};
use crate::lsa::{LsType, LsaBody, Prefix, PrefixOptions};
use crate::lsdb::{Entry, Lsdb};
use crate::spf::VertexId;
use crate::time::Instant;

/// For each prefix the LSAs that list it, with what each says of it; for each vertex those that refer to it.
///
/// Derived from the database alone; [`Index::matches`] compares. All that a route is computed from is in here: to look 256 LSAs
/// up again for each cost change of one server took longer than the rest of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// In the order of their keys, each once, at least one: a list, since all of it is read for each route that is computed.
    listings: BTreeMap<Prefix, Vec<(LsaKey, Listed)>>,
    /// The LSAs that refer to a vertex.
    hanging: BTreeSet<(AreaId, VertexId, LsaKey)>,
}

/// What an LSA says of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The metric.
    pub metric: u16,
    /// The vertex that the prefix hangs on, of the LSA's area.
    pub vertex: VertexId,
    /// Whether routing looks at it ([`Entry::counts`]).
    pub counts: bool,
}

impl Index {
    /// The index of a whole database.
    pub fn build(lsdb: &Lsdb, now: Instant) -> Self {
        let mut index = Index::default();
        for (key, _) in lsdb.iter() {
            index.replace(key, None, (lsdb, now));
        }
        index
    }

    /// Notes that what `lsdb` has under `key` was another body before, or none; the prefixes that either lists.
    pub fn replace(&mut self, key: &LsaKey, old: Option<&LsaBody>, (lsdb, now): (&Lsdb, Instant)) -> BTreeSet<Prefix> {
        let entry = lsdb.get(key);
        let counts = entry.is_some_and(|entry| entry.counts(now));
        let new = entry.map(|entry: &Entry| &entry.lsa().body);
        let vertex = |body: Option<&LsaBody>| body.and_then(|body| referenced(key, body));
        let (old_vertex, new_vertex) = (vertex(old), vertex(new));
        let old = old.map(|body| listed(key, body)).unwrap_or_default();
        let new = new.map(|body| listed(key, body)).unwrap_or_default();
        for prefix in old.keys().filter(|prefix| !new.contains_key(prefix)) {
            self.unlist(prefix, key);
        }
        if let Some((area, vertex)) = old_vertex {
            self.hanging.remove(&(area, vertex, *key));
        }
        if let Some((area, vertex)) = new_vertex {
            self.hanging.insert((area, vertex, *key));
            for (prefix, metric) in &new {
                self.list(*prefix, (*key, Listed { metric: *metric, vertex, counts }));
            }
        }
        old.into_keys().chain(new.into_keys()).collect()
    }

    fn list(&mut self, prefix: Prefix, (key, listed): (LsaKey, Listed)) {
        let listing = self.listings.entry(prefix).or_default();
        match listing.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(place) => listing.iter_mut().skip(place).take(1).for_each(|(_, before)| *before = listed),
            Err(place) => listing.insert(place, (key, listed)),
        }
    }

    fn unlist(&mut self, prefix: &Prefix, key: &LsaKey) {
        let Some(listing) = self.listings.get_mut(prefix) else { return };
        if let Ok(place) = listing.binary_search_by_key(key, |(key, _)| *key) {
            listing.remove(place);
        }
        if listing.is_empty() {
            self.listings.remove(prefix);
        }
    }

    /// Every prefix that some LSA lists.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.listings.keys()
    }

    /// The LSAs that list `prefix`, in the order of their keys, with what each says of it, those that do not count too.
    pub fn listing(&self, prefix: &Prefix) -> &[(LsaKey, Listed)] {
        self.listings.get(prefix).map_or(&[], Vec::as_slice)
    }

    /// The prefixes that the LSAs in `lsdb` list which refer to one of these vertices of an area.
    pub fn hanging_on(&self, lsdb: &Lsdb, area: AreaId, vertices: &[VertexId]) -> BTreeSet<Prefix> {
        let of = |vertex: &VertexId| (area, *vertex, LsaKey::FIRST)..=(area, *vertex, LsaKey::LAST);
        let keys = vertices.iter().flat_map(|vertex| self.hanging.range(of(vertex))).map(|(_, _, key)| key);
        let bodies = keys.filter_map(|key| Some((key, &lsdb.get(key)?.lsa().body)));
        bodies.flat_map(|(key, body)| listed(key, body).into_keys()).collect()
    }

    /// Whether this is the index of `lsdb`.
    pub fn matches(&self, lsdb: &Lsdb, now: Instant) -> bool {
        *self == Index::build(lsdb, now)
    }
}

/// The vertex that an LSA's prefixes hang on: an Intra-Area-Prefix-LSA refers to a Router-LSA (by Link State ID 0, RFC 5340
/// §4.4.3.9) or to a Network-LSA.
fn referenced(key: &LsaKey, body: &LsaBody) -> Option<(AreaId, VertexId)> {
    let (Domain::Area(area), LsaBody::IntraAreaPrefix(body)) = (key.domain, body) else {
        return None;
    };
    let vertex = match body.referenced_type {
        LsType::ROUTER if body.referenced_id == LinkStateId(0) => VertexId::Router(body.referenced_router),
        LsType::NETWORK => VertexId::Network { dr: body.referenced_router, iface: IfaceId(body.referenced_id.0) },
        _ => return None,
    };
    Some((area, vertex))
}

/// The prefixes that an LSA offers for routing, each with its lowest metric: without the NU-bit, and of an LSA that refers to a
/// vertex.
fn listed(key: &LsaKey, body: &LsaBody) -> BTreeMap<Prefix, u16> {
    let mut prefixes = BTreeMap::new();
    let (Some(_), LsaBody::IntraAreaPrefix(body)) = (referenced(key, body), body) else {
        return prefixes;
    };
    for listed in body.prefixes.iter().filter(|listed| !listed.options.contains(PrefixOptions::NU)) {
        let metric = prefixes.entry(listed.prefix).or_insert(listed.metric);
        *metric = listed.metric.min(*metric);
    }
    prefixes
}
