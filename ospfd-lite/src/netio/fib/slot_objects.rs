//! The objects of a slot group in the kernel, by the indices of their slots.

use super::model::Member;

/// What the object of a slot stands for; none: for something else than a gateway, made so by somebody else.
pub(crate) type Slot = Option<Member>;

/// The slots that have an object.
///
/// A list and not a map: each change of a farm's cost compares all of them with what they are to be, and they lie in memory that
/// is cold then. Of a thousand slots a map was hundreds of places, each fetched when the one before was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotObjects {
    /// By index; none: there is no object. The last one is there.
    at: Vec<Option<Slot>>,
}

impl SlotObjects {
    /// Whether no slot has an object.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The object of a slot; none: it has none.
    pub(crate) fn get(&self, index: u32) -> Option<Slot> {
        self.at.get(index as usize).copied().flatten()
    }

    /// The gateways of the slots from the first one on, where an object stands for one.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = Option<&Member>> {
        self.at.iter().map(|slot| slot.as_ref().and_then(Option::as_ref))
    }

    /// The indices of the slots from `first` on that have an object.
    pub(crate) fn indices_from(&self, first: u32) -> impl Iterator<Item = u32> {
        let there = (0..).zip(&self.at).skip(first as usize).filter(|(_, slot)| slot.is_some());
        there.map(|(index, _)| index)
    }

    /// Notes the object of a slot, in place of any before. Indices are below [`MOST_SLOTS`](super::ids::MOST_SLOTS).
    pub(crate) fn insert(&mut self, index: u32, slot: Slot) {
        let index = index as usize;
        if index >= self.at.len() {
            self.at.resize(index + 1, None);
        }
        if let Some(at) = self.at.get_mut(index) {
            *at = Some(slot);
        }
    }

    /// Forgets the object of a slot.
    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(at) = self.at.get_mut(index as usize) {
            *at = None;
        }
        let last = self.at.iter().rposition(Option::is_some);
        self.at.truncate(last.map_or(0, |last| last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u16) -> Member {
        Member { iface: 1, gateway: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n) }
    }

    #[test]
    fn the_same_objects_are_equal_however_they_came_to_be() {
        let mut slots = SlotObjects::default();
        for (index, slot) in [(5, Some(member(1))), (0, Some(member(2))), (2, None)] {
            slots.insert(index, slot);
        }
        assert_eq!(
            (slots.get(5), slots.get(2), slots.get(1), slots.get(9)),
            (Some(Some(member(1))), Some(None), None, None)
        );
        assert_eq!(slots.indices_from(1).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(slots.gateways().flatten().collect::<Vec<_>>(), [&member(2), &member(1)]);
        slots.remove(5);
        slots.remove(7);
        let mut other = SlotObjects::default();
        other.insert(2, None);
        other.insert(0, Some(member(2)));
        assert_eq!(slots, other);
        slots.remove(2);
        slots.remove(0);
        assert!(slots.is_empty() && slots == SlotObjects::default());
    }
}
