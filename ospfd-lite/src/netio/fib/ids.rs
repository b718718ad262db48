//! The identifiers that we give to next-hop objects: a range of our own, and in it a block for each slot group.

use std::ops::RangeInclusive;

/// All of them.
pub(crate) const IDS: RangeInclusive<u32> = 89_000_000..=89_999_999;
/// Gateways and groups outside the slot groups.
pub(crate) const OBJECT_IDS: RangeInclusive<u32> = 89_000_000..=89_499_999;
/// Where the blocks of the slot groups begin.
const SLOTS_FROM: u32 = 89_500_000;
/// Identifiers in a block: one for each slot, and the last one for the group. The kernel tells of objects in the order of their
/// identifiers, and of the first ones in a datagram of one page, whoever asks: a large group must not be the first.
const BLOCK: u32 = 10_000;
/// How many slot groups there may be. Each costs a netlink message per slot to build, and a changed server one per slot it
/// moves in each: beyond this prefixes share by hash-threshold groups.
pub(crate) const SLOT_GROUPS: u32 = 16;
/// The most slots of a group: the kernel tells of a group in one message of 32 KiB at most. (Of its packets only up to some
/// 1,100 slots.)
pub(crate) const MOST_SLOTS: u32 = 4_000;
/// For the objects that find out what the kernel can do; never in a route.
pub(crate) const PROBE: u32 = *IDS.end();
/// And for the group.
pub(crate) const PROBE_GROUP: u32 = PROBE - 1;

/// What an identifier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A gateway, or a group outside the slot groups.
    Object,
    /// The group of a slot group, by its number.
    SlotGroup(u32),
    /// A slot: number of its group, and index.
    Slot(u32, u32),
    /// Nothing of ours.
    Elsewhere,
}

/// What an identifier is for.
pub(crate) fn place(id: u32) -> Place {
    if OBJECT_IDS.contains(&id) {
        return Place::Object;
    }
    let Some(offset) = id.checked_sub(SLOTS_FROM) else { return Place::Elsewhere };
    let (number, at) = (offset / BLOCK, offset % BLOCK);
    match at {
        _ if number >= SLOT_GROUPS => Place::Elsewhere,
        index if index < MOST_SLOTS => Place::Slot(number, index),
        group if group == BLOCK - 1 => Place::SlotGroup(number),
        _ => Place::Elsewhere,
    }
}

/// The identifier of a slot of the group `number`, or of the group itself.
pub(crate) fn slot_id(number: u32, slot: Option<u32>) -> u32 {
    SLOTS_FROM + number * BLOCK + slot.unwrap_or(BLOCK - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_has_one_place() {
        assert_eq!(place(89_000_000), Place::Object);
        assert_eq!(place(88_999_999), Place::Elsewhere);
        assert_eq!(place(slot_id(3, None)), Place::SlotGroup(3));
        assert_eq!(place(slot_id(3, Some(0))), Place::Slot(3, 0));
        assert_eq!(place(slot_id(15, Some(MOST_SLOTS - 1))), Place::Slot(15, MOST_SLOTS - 1));
        assert_eq!(place(slot_id(15, Some(MOST_SLOTS))), Place::Elsewhere);
        assert_eq!(place(slot_id(SLOT_GROUPS, None)), Place::Elsewhere);
        assert_eq!(place(PROBE), Place::Elsewhere);
        assert!(IDS.contains(&PROBE) && IDS.contains(&slot_id(SLOT_GROUPS - 1, Some(MOST_SLOTS))));
    }
}
