//! Which LSAs list a prefix.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Domain, LinkStateId, LsaKey};
use crate::lsa::{LsType, LsaBody, Prefix, PrefixOptions};
use crate::lsdb::Lsdb;

/// For each prefix the LSAs that list it, with the metric in each.
///
/// Derived from the bodies in the database alone, MaxAge or not; [`Index::matches`] compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    listings: BTreeMap<Prefix, BTreeMap<LsaKey, u16>>,
}

impl Index {
    /// The index of a whole database.
    pub fn build(lsdb: &Lsdb) -> Self {
        let mut index = Index::default();
        for (key, entry) in lsdb.iter() {
            index.replace(key, None, Some(&entry.lsa().body));
        }
        index
    }

    /// Notes that the body under `key` was replaced; the prefixes that either body lists.
    pub fn replace(&mut self, key: &LsaKey, old: Option<&LsaBody>, new: Option<&LsaBody>) -> BTreeSet<Prefix> {
        let old = old.map(|body| listed(key, body)).unwrap_or_default();
        let new = new.map(|body| listed(key, body)).unwrap_or_default();
        for prefix in old.keys().filter(|prefix| !new.contains_key(prefix)) {
            if let Some(listing) = self.listings.get_mut(prefix) {
                listing.remove(key);
                if listing.is_empty() {
                    self.listings.remove(prefix);
                }
            }
        }
        for (prefix, metric) in &new {
            self.listings.entry(*prefix).or_default().insert(*key, *metric);
        }
        old.into_keys().chain(new.into_keys()).collect()
    }

    /// Every prefix that some LSA lists.
    pub fn prefixes(&self) -> impl Iterator<Item = &Prefix> {
        self.listings.keys()
    }

    /// The LSAs that list `prefix`, with the metric in each.
    pub fn listing(&self, prefix: &Prefix) -> impl Iterator<Item = (&LsaKey, u16)> {
        self.listings.get(prefix).into_iter().flatten().map(|(key, metric)| (key, *metric))
    }

    /// Whether this is the index of `lsdb`.
    pub fn matches(&self, lsdb: &Lsdb) -> bool {
        *self == Index::build(lsdb)
    }
}

/// The prefixes that an LSA offers for routing, each with its lowest metric: those of an Intra-Area-Prefix-LSA that
/// refers to a Router-LSA (by Link State ID 0, RFC 5340 §4.4.3.9) or a Network-LSA, and without the NU-bit.
fn listed(key: &LsaKey, body: &LsaBody) -> BTreeMap<Prefix, u16> {
    let mut prefixes = BTreeMap::new();
    let (Domain::Area(_), LsaBody::IntraAreaPrefix(body)) = (key.domain, body) else {
        return prefixes;
    };
    let refers = match body.referenced_type {
        LsType::ROUTER => body.referenced_id == LinkStateId(0),
        LsType::NETWORK => true,
        _ => false,
    };
    if !refers {
        return prefixes;
    }
    for listed in body.prefixes.iter().filter(|listed| !listed.options.contains(PrefixOptions::NU)) {
        let metric = prefixes.entry(listed.prefix).or_insert(listed.metric);
        *metric = listed.metric.min(*metric);
    }
    prefixes
}
