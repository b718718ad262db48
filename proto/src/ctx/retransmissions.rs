//! The Link state retransmission lists of all neighbors (RFC 2328 §10, §13.6), kept by LSA.
//!
//! What is flooded goes onto the lists of all neighbors of a link at once, and most of them acknowledge it at once: here that
//! is one entry, however many neighbors there are. How long a neighbor's list is and when it is due is the neighbor's
//! business.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::id::{IfaceId, LsaKey, NeighborId, RouterId};

/// Who has not acknowledged what.
#[derive(Clone, Debug, Default)]
pub struct Retransmissions {
    /// By link and LSA the neighbors that have it on their list: in order, each once, at least one.
    lists: BTreeMap<(IfaceId, LsaKey), Vec<RouterId>>,
}

impl Retransmissions {
    /// Puts an LSA on the list of one neighbor; says whether it was not there.
    pub fn add(&mut self, to: NeighborId, key: LsaKey) -> bool {
        let waiting = self.lists.entry((to.iface, key)).or_default();
        match waiting.binary_search(&to.router) {
            Ok(_) => false,
            Err(place) => {
                waiting.insert(place, to.router);
                true
            }
        }
    }

    /// Puts an LSA on the lists of neighbors of one link, which come in the order of their Router IDs.
    pub fn add_all(&mut self, iface: IfaceId, key: LsaKey, routers: Vec<RouterId>) {
        if routers.is_empty() {
            return;
        }
        match self.lists.entry((iface, key)) {
            Entry::Vacant(vacant) => {
                vacant.insert(routers);
            }
            Entry::Occupied(occupied) => {
                let waiting = occupied.into_mut();
                waiting.extend(routers);
                waiting.sort_unstable();
                waiting.dedup();
            }
        }
    }

    /// Takes an LSA off the list of one neighbor; says whether it was there.
    pub fn remove(&mut self, of: NeighborId, key: &LsaKey) -> bool {
        let Entry::Occupied(mut entry) = self.lists.entry((of.iface, *key)) else { return false };
        let Ok(place) = entry.get().binary_search(&of.router) else { return false };
        entry.get_mut().remove(place);
        if entry.get().is_empty() {
            entry.remove();
        }
        true
    }

    /// Takes an LSA off the lists of all neighbors of a link, and names those that had it.
    pub fn remove_all(&mut self, iface: IfaceId, key: &LsaKey) -> Vec<RouterId> {
        self.lists.remove(&(iface, *key)).unwrap_or_default()
    }

    /// Empties the list of a neighbor, which is so long: with that known the search ends at the last of them.
    pub fn clear(&mut self, of: NeighborId, length: usize) {
        let keys: Vec<LsaKey> = self.of(of).take(length).copied().collect();
        for key in keys {
            self.remove(of, &key);
        }
    }

    /// The neighbors of a link that have not acknowledged an LSA, in the order of their Router IDs.
    pub fn waiting(&self, iface: IfaceId, key: &LsaKey) -> &[RouterId] {
        self.lists.get(&(iface, *key)).map_or(&[], Vec::as_slice)
    }

    /// Whether an LSA is on the list of a neighbor.
    pub fn contains(&self, of: NeighborId, key: &LsaKey) -> bool {
        self.waiting(of.iface, key).binary_search(&of.router).is_ok()
    }

    /// The list of a neighbor, in the order of the keys. Looks at all that is on some list of its link.
    pub fn of(&self, of: NeighborId) -> impl Iterator<Item = &LsaKey> {
        self.lists
            .range((of.iface, LsaKey::FIRST)..=(of.iface, LsaKey::LAST))
            .filter(move |(_, waiting)| waiting.binary_search(&of.router).is_ok())
            .map(|((_, key), _)| key)
    }

    /// Everything that is on some list, by link and LSA, and who has not acknowledged it.
    pub fn iter(&self) -> impl Iterator<Item = (IfaceId, &LsaKey, &[RouterId])> {
        self.lists.iter().map(|((iface, key), waiting)| (*iface, key, waiting.as_slice()))
    }

    /// How many LSAs are on some list; one that is on lists of several links counts for each.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::id::{Domain, LinkStateId};
    use crate::ls_type::LsType;
    use proptest::prelude::*;

    const IFACES: u32 = 3;
    const ROUTERS: u32 = 6;
    const KEYS: u32 = 5;

    fn neighbor(iface: u32, router: u32) -> NeighborId {
        NeighborId { iface: IfaceId(iface), router: RouterId(router) }
    }

    /// Keys of all scopes; the last is the last there can be.
    fn key(number: u32) -> LsaKey {
        let domain = match number {
            0 => Domain::As,
            1 | 2 => Domain::Area(crate::id::AreaId(0)),
            3 => Domain::Link(IfaceId(1)),
            _ => return LsaKey::LAST,
        };
        LsaKey { domain, ls_type: LsType::ROUTER, link_state_id: LinkStateId(number), adv_router: RouterId(9) }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u32, u32, u32),
        AddAll(u32, BTreeSet<u32>, u32),
        Remove(u32, u32, u32),
        RemoveAll(u32, u32),
        Clear(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (iface, router, key) = (0..IFACES, 0..ROUTERS, 0..KEYS);
        prop_oneof![
            (iface.clone(), router.clone(), key.clone()).prop_map(|(i, r, k)| Step::Add(i, r, k)),
            (iface.clone(), prop::collection::btree_set(router.clone(), 0..5), key.clone())
                .prop_map(|(i, all, k)| Step::AddAll(i, all, k)),
            (iface.clone(), router.clone(), key.clone()).prop_map(|(i, r, k)| Step::Remove(i, r, k)),
            (iface.clone(), key).prop_map(|(i, k)| Step::RemoveAll(i, k)),
            (iface, router).prop_map(|(i, r)| Step::Clear(i, r)),
        ]
    }

    proptest! {
        /// The lists are what a set for each neighbor would be.
        #[test]
        fn the_lists_are_those_of_each_neighbor(steps in prop::collection::vec(step(), 0..60)) {
            let mut lists = Retransmissions::default();
            let mut model: BTreeMap<NeighborId, BTreeSet<LsaKey>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Add(i, r, k) => {
                        let new = model.entry(neighbor(i, r)).or_default().insert(key(k));
                        prop_assert_eq!(lists.add(neighbor(i, r), key(k)), new);
                    }
                    Step::AddAll(i, all, k) => {
                        lists.add_all(IfaceId(i), key(k), all.iter().copied().map(RouterId).collect());
                        for r in all {
                            model.entry(neighbor(i, r)).or_default().insert(key(k));
                        }
                    }
                    Step::Remove(i, r, k) => {
                        let was = model.entry(neighbor(i, r)).or_default().remove(&key(k));
                        prop_assert_eq!(lists.remove(neighbor(i, r), &key(k)), was);
                    }
                    Step::RemoveAll(i, k) => {
                        let mut had = Vec::new();
                        for (id, set) in model.iter_mut().filter(|(id, _)| id.iface == IfaceId(i)) {
                            if set.remove(&key(k)) {
                                had.push(id.router);
                            }
                        }
                        prop_assert_eq!(lists.remove_all(IfaceId(i), &key(k)), had);
                    }
                    Step::Clear(i, r) => {
                        let set = model.remove(&neighbor(i, r)).unwrap_or_default();
                        lists.clear(neighbor(i, r), set.len());
                    }
                }
                for id in (0..IFACES).flat_map(|i| (0..ROUTERS).map(move |r| neighbor(i, r))) {
                    let set = model.get(&id).cloned().unwrap_or_default();
                    prop_assert!(lists.of(id).eq(set.iter()), "{:?}", id);
                    prop_assert!((0..KEYS).all(|k| lists.contains(id, &key(k)) == set.contains(&key(k))));
                }
                let entries: BTreeSet<(IfaceId, LsaKey)> =
                    model.iter().flat_map(|(id, set)| set.iter().map(|key| (id.iface, *key))).collect();
                prop_assert!(lists.iter().map(|(iface, key, _)| (iface, *key)).eq(entries.iter().copied()));
                prop_assert_eq!((lists.len(), lists.is_empty()), (entries.len(), entries.is_empty()));
                for (iface, key, waiting) in lists.iter() {
                    prop_assert!(!waiting.is_empty() && waiting.is_sorted());
                    prop_assert_eq!(lists.waiting(iface, key), waiting);
                }
            }
        }
    }
}
