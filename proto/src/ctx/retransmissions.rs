//! The Link state retransmission lists of all neighbors (RFC 2328 §10, §13.6), kept by LSA.
//!
//! What is flooded goes onto the lists of all neighbors of a link at once, and most of them acknowledge it at once: here that
//! is one entry, however many neighbors there are. How long each list is and when it is due stands beside those of the other
//! neighbors of the link: to fetch 256 neighbors from cold memory, one by one, for each LSA that is flooded took
//! a tenth of the time that a cost change takes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::id::{IfaceId, LsaKey, NeighborId, RouterId};
use crate::state::NeighborState;
use crate::time::Instant;

/// Who has not acknowledged what.
#[derive(Clone, Debug, Default)]
pub struct Retransmissions {
    /// By link those that LSAs are flooded to, in the order of their Router IDs.
    adjacencies: BTreeMap<IfaceId, Vec<Adjacency>>,
    /// By link and LSA the neighbors that have it on their list: in order, each once, at least one.
    lists: BTreeMap<(IfaceId, LsaKey), Vec<RouterId>>,
}

/// A neighbor that LSAs are flooded to (RFC 2328 §13.3 (1)(a)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// The neighbor.
    pub router: RouterId,
    /// It is Full: it asks for nothing any more.
    pub full: bool,
    /// The length of its list.
    unacknowledged: u32,
    /// When its list is sent again; none: it is empty. The timer is that of the link.
    pub retransmit_at: Option<Instant>,
}

impl Adjacency {
    /// How many LSAs were sent to it and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged as usize
    }

    /// One more LSA is on its list; if it is the first, it is sent again `at` that time.
    fn listed(&mut self, at: Instant) {
        self.unacknowledged += 1;
        self.retransmit_at.get_or_insert(at);
    }

    /// One LSA less is on its list. The timer of the link runs on: to look for the next neighbor that is due at each
    /// acknowledgment costs more than a wake-up for nothing.
    fn unlisted(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        if self.unacknowledged == 0 {
            self.retransmit_at = None;
        }
    }
}

impl Retransmissions {
    /// A neighbor has entered a state: from Exchange on LSAs are flooded to it; before, its list is emptied.
    pub fn entered(&mut self, id: NeighborId, state: NeighborState) {
        let full = state == NeighborState::Full;
        let adjacencies = self.adjacencies.entry(id.iface).or_default();
        match place_of(adjacencies, id.router) {
            Ok(place) if !state.takes_floods() => {
                let left = adjacencies.remove(place);
                self.clear(id, left.unacknowledged());
            }
            Ok(place) => adjacencies.iter_mut().skip(place).take(1).for_each(|adjacency| adjacency.full = full),
            Err(_) if !state.takes_floods() => {}
            Err(place) => {
                let adjacency = Adjacency { router: id.router, full, unacknowledged: 0, retransmit_at: None };
                adjacencies.insert(place, adjacency);
            }
        }
        if self.adjacencies.get(&id.iface).is_some_and(Vec::is_empty) {
            self.adjacencies.remove(&id.iface);
        }
    }

    /// The neighbors of a link that LSAs are flooded to, in the order of their Router IDs.
    pub fn adjacencies(&self, iface: IfaceId) -> &[Adjacency] {
        self.adjacencies.get(&iface).map_or(&[], Vec::as_slice)
    }

    /// All that LSAs are flooded to, by link and Router ID, each with whether it is Full.
    pub fn flooded(&self) -> impl Iterator<Item = (NeighborId, bool)> {
        self.adjacencies.iter().flat_map(|(iface, adjacencies)| {
            adjacencies.iter().map(|a| (NeighborId { iface: *iface, router: a.router }, a.full))
        })
    }

    /// A neighbor, if LSAs are flooded to it.
    pub fn adjacency(&self, id: NeighborId) -> Option<&Adjacency> {
        let adjacencies = self.adjacencies(id.iface);
        adjacencies.get(place_of(adjacencies, id.router).ok()?)
    }

    fn adjacency_mut(&mut self, id: NeighborId) -> Option<&mut Adjacency> {
        let adjacencies = self.adjacencies.get_mut(&id.iface)?;
        let place = place_of(adjacencies, id.router).ok()?;
        adjacencies.get_mut(place)
    }

    /// The neighbors of a link whose lists are to be sent again now.
    pub fn due(&self, iface: IfaceId, now: Instant) -> Vec<RouterId> {
        let due = |adjacency: &&Adjacency| adjacency.retransmit_at.is_some_and(|at| at <= now);
        self.adjacencies(iface).iter().filter(due).map(|adjacency| adjacency.router).collect()
    }

    /// When the next list of a link is to be sent again.
    pub fn next_due(&self, iface: IfaceId) -> Option<Instant> {
        self.adjacencies(iface).iter().filter_map(|adjacency| adjacency.retransmit_at).min()
    }

    /// The list of a neighbor was sent again, and will be once more `at` that time, if it is not empty by then.
    pub fn sent_again(&mut self, id: NeighborId, at: Instant) {
        if let Some(adjacency) = self.adjacency_mut(id) {
            adjacency.retransmit_at = (adjacency.unacknowledged > 0).then_some(at);
        }
    }

    /// Puts an LSA on the list of one neighbor, if LSAs are flooded to it; it is sent again `at` that time, or before if the
    /// list was not empty.
    pub fn add(&mut self, to: NeighborId, key: LsaKey, at: Instant) {
        self.add_all(to.iface, key, (vec![to.router], at));
    }

    /// Puts an LSA on the lists of neighbors of one link, which come in the order of their Router IDs.
    pub fn add_all(&mut self, iface: IfaceId, key: LsaKey, (routers, at): (Vec<RouterId>, Instant)) {
        let Retransmissions { adjacencies, lists } = self;
        let adjacencies = adjacencies.get_mut(&iface).map(Vec::as_mut_slice).unwrap_or_default();
        let waiting = lists.get(&(iface, key)).map(Vec::as_slice).unwrap_or_default();
        let mut added = Vec::with_capacity(routers.len());
        for_each_of(adjacencies, &routers, |adjacency| {
            if waiting.binary_search(&adjacency.router).is_err() {
                adjacency.listed(at);
                added.push(adjacency.router);
            }
        });
        if added.is_empty() {
            return;
        }
        match lists.entry((iface, key)) {
            Entry::Vacant(vacant) => {
                vacant.insert(added);
            }
            Entry::Occupied(occupied) => {
                let waiting = occupied.into_mut();
                waiting.extend(added);
                waiting.sort_unstable();
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
        if let Some(adjacency) = self.adjacency_mut(of) {
            adjacency.unlisted();
        }
        true
    }

    /// Takes an LSA off the lists of all neighbors of a link.
    pub fn remove_all(&mut self, iface: IfaceId, key: &LsaKey) {
        let Some(routers) = self.lists.remove(&(iface, *key)) else { return };
        let adjacencies = self.adjacencies.get_mut(&iface).map(Vec::as_mut_slice).unwrap_or_default();
        for_each_of(adjacencies, &routers, Adjacency::unlisted);
    }

    /// Empties the list of a neighbor, which is so long: with that known the search ends at the last of them.
    fn clear(&mut self, of: NeighborId, length: usize) {
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

    /// How many LSAs were sent to a neighbor and not acknowledged.
    pub fn length_of(&self, id: NeighborId) -> usize {
        self.adjacency(id).map_or(0, Adjacency::unacknowledged)
    }

    /// The list of a neighbor, in the order of the keys. Looks at all that is on some list of its link, up to the last of its own.
    pub fn list_of(&self, id: NeighborId) -> impl Iterator<Item = &LsaKey> {
        self.of(id).take(self.length_of(id))
    }

    fn of(&self, of: NeighborId) -> impl Iterator<Item = &LsaKey> {
        self.lists
            .range((of.iface, LsaKey::FIRST)..=(of.iface, LsaKey::LAST))
            .filter(move |(_, waiting)| waiting.binary_search(&of.router).is_ok())
            .map(|((_, key), _)| key)
    }

    /// Whether the length that is known of a neighbor's list is what the lists of its link say.
    pub fn is_exact(&self, id: NeighborId) -> bool {
        self.of(id).count() == self.length_of(id)
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

/// Where a neighbor is among adjacencies, or belongs.
fn place_of(adjacencies: &[Adjacency], router: RouterId) -> Result<usize, usize> {
    adjacencies.binary_search_by_key(&router, |adjacency| adjacency.router)
}

/// Does something to those adjacencies that are of these routers; both are in the order of the Router IDs.
fn for_each_of(adjacencies: &mut [Adjacency], routers: &[RouterId], mut act: impl FnMut(&mut Adjacency)) {
    let mut routers = routers.iter().peekable();
    for adjacency in adjacencies {
        while routers.next_if(|router| **router < adjacency.router).is_some() {}
        if routers.next_if_eq(&&adjacency.router).is_some() {
            act(adjacency);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

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

    /// The time of the `number`th step; what is listed then is sent again so long after.
    fn at(number: usize) -> Instant {
        Instant::from_epoch(Duration::from_secs(number as u64))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Entered(u32, u32, NeighborState),
        Add(u32, u32, u32),
        AddAll(u32, BTreeSet<u32>, u32),
        Remove(u32, u32, u32),
        RemoveAll(u32, u32),
        SentAgain(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        use NeighborState::{ExStart, Exchange, Full};
        let (iface, router, key) = (0..IFACES, 0..ROUTERS, 0..KEYS);
        let state = prop::sample::select(vec![ExStart, Exchange, Full, Full]);
        prop_oneof![
            2 => (iface.clone(), router.clone(), state).prop_map(|(i, r, s)| Step::Entered(i, r, s)),
            1 => (iface.clone(), router.clone(), key.clone()).prop_map(|(i, r, k)| Step::Add(i, r, k)),
            2 => (iface.clone(), prop::collection::btree_set(router.clone(), 0..5), key.clone())
                .prop_map(|(i, all, k)| Step::AddAll(i, all, k)),
            1 => (iface.clone(), router.clone(), key.clone()).prop_map(|(i, r, k)| Step::Remove(i, r, k)),
            1 => (iface.clone(), key).prop_map(|(i, k)| Step::RemoveAll(i, k)),
            1 => (iface, router).prop_map(|(i, r)| Step::SentAgain(i, r)),
        ]
    }

    /// What one neighbor would know of itself.
    #[derive(Default)]
    struct Alone {
        full: bool,
        list: BTreeSet<LsaKey>,
        due: Option<Instant>,
    }

    impl Alone {
        fn list(&mut self, key: LsaKey, at: Instant) {
            self.list.insert(key);
            self.due.get_or_insert(at);
        }

        fn unlist(&mut self, key: &LsaKey) -> bool {
            let was = self.list.remove(key);
            if self.list.is_empty() {
                self.due = None;
            }
            was
        }
    }

    proptest! {
        /// The lists are what a set for each neighbor would be.
        #[test]
        fn the_lists_are_those_of_each_neighbor(steps in prop::collection::vec(step(), 0..80)) {
            let mut lists = Retransmissions::default();
            let mut model: BTreeMap<NeighborId, Alone> = BTreeMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                let at = at(number);
                match step {
                    Step::Entered(i, r, state) => {
                        if !state.takes_floods() {
                            model.remove(&neighbor(i, r));
                        } else {
                            model.entry(neighbor(i, r)).or_default().full = state == NeighborState::Full;
                        }
                        lists.entered(neighbor(i, r), state);
                    }
                    Step::Add(i, r, k) => {
                        if let Some(alone) = model.get_mut(&neighbor(i, r)) {
                            alone.list(key(k), at);
                        }
                        lists.add(neighbor(i, r), key(k), at);
                    }
                    Step::AddAll(i, all, k) => {
                        let routers = all.iter().copied().map(RouterId).collect();
                        lists.add_all(IfaceId(i), key(k), (routers, at));
                        for r in all {
                            if let Some(alone) = model.get_mut(&neighbor(i, r)) {
                                alone.list(key(k), at);
                            }
                        }
                    }
                    Step::Remove(i, r, k) => {
                        let was = model.get_mut(&neighbor(i, r)).is_some_and(|alone| alone.unlist(&key(k)));
                        prop_assert_eq!(lists.remove(neighbor(i, r), &key(k)), was);
                    }
                    Step::RemoveAll(i, k) => {
                        for (_, alone) in model.iter_mut().filter(|(id, _)| id.iface == IfaceId(i)) {
                            alone.unlist(&key(k));
                        }
                        lists.remove_all(IfaceId(i), &key(k));
                    }
                    Step::SentAgain(i, r) => {
                        if let Some(alone) = model.get_mut(&neighbor(i, r)).filter(|alone| !alone.list.is_empty()) {
                            alone.due = Some(at);
                        }
                        lists.sent_again(neighbor(i, r), at);
                    }
                }
                prop_assert!(lists.flooded().eq(model.iter().map(|(id, alone)| (*id, alone.full))));
                for id in (0..IFACES).flat_map(|i| (0..ROUTERS).map(move |r| neighbor(i, r))) {
                    let (set, due) = model.get(&id).map(|alone| (alone.list.clone(), alone.due)).unwrap_or_default();
                    let adjacency = lists.adjacency(id);
                    prop_assert_eq!(adjacency.map_or(0, Adjacency::unacknowledged), set.len());
                    prop_assert_eq!(adjacency.and_then(|adjacency| adjacency.retransmit_at), due);
                    prop_assert!(lists.is_exact(id) && lists.list_of(id).eq(set.iter()), "{:?}", id);
                    prop_assert!((0..KEYS).all(|k| lists.contains(id, &key(k)) == set.contains(&key(k))));
                }
                let entries: BTreeSet<(IfaceId, LsaKey)> =
                    model.iter().flat_map(|(id, alone)| alone.list.iter().map(|key| (id.iface, *key))).collect();
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
