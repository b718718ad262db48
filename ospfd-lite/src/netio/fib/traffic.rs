//! Packets per gateway, from the kernel's counts per member of a group.
//!
//! The kernel counts for each slot's object since it became a member, whoever owned it: what is new since the last look is
//! credited to the owner of now. Between two looks that may be wrong for a slot that changed hands.

use std::collections::BTreeMap;

use super::ids::{Place, place};
use super::model::{Kernel, Member, Object};
use super::tables::Statistics;

/// The counts of the last look, and what they came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    seen: Statistics,
    total: BTreeMap<u32, BTreeMap<Member, u64>>,
}

impl Traffic {
    /// Takes a look.
    pub(super) fn take(&mut self, statistics: &Statistics, kernel: &Kernel) {
        self.total.retain(|group, _| statistics.contains_key(group));
        for (group, members) in statistics {
            let before = self.seen.get(group);
            let total = self.total.entry(*group).or_default();
            for (id, packets) in members {
                let known = before.and_then(|before| before.get(id)).copied().unwrap_or(0);
                // Fewer than before: the member is a new one under the same identifier.
                let new = packets.checked_sub(known).unwrap_or(*packets);
                if let Some(owner) = gateway(kernel, *id) {
                    *total.entry(owner).or_default() += new;
                }
            }
        }
        self.seen.clone_from(statistics);
    }

    /// The packets of a group.
    pub(super) fn of(&self, group: u32) -> Option<BTreeMap<Member, u64>> {
        self.total.get(&group).cloned()
    }
}

fn gateway(kernel: &Kernel, id: u32) -> Option<Member> {
    match place(id) {
        Place::Slot(number, index) => kernel.slots.get(&number)?.slots.get(index).flatten(),
        Place::Object => match kernel.objects.get(&id)? {
            Object::Gateway(member) => Some(*member),
            Object::Group(..) | Object::Other => None,
        },
        Place::SlotGroup(_) | Place::Elsewhere => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::slot_id;
    use super::*;

    #[test]
    fn packets_go_to_the_owner_of_the_slot_when_they_are_seen() {
        let member = |n: u16| Member { iface: 1, gateway: std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n) };
        let (group, slot) = (slot_id(0, None), slot_id(0, Some(0)));
        let counted = |packets| Statistics::from([(group, BTreeMap::from([(slot, packets)]))]);
        let mut kernel = Kernel::default();
        let mut traffic = Traffic::default();
        kernel.set_object(slot, Object::Gateway(member(1)));
        traffic.take(&counted(10), &kernel);
        kernel.set_object(slot, Object::Gateway(member(2)));
        traffic.take(&counted(13), &kernel);
        assert_eq!(traffic.of(group), Some(BTreeMap::from([(member(1), 10), (member(2), 3)])));
        // The group was made anew.
        traffic.take(&counted(4), &kernel);
        assert_eq!(traffic.of(group), Some(BTreeMap::from([(member(1), 10), (member(2), 7)])));
        traffic.take(&Statistics::new(), &kernel);
        assert_eq!(traffic.of(group), None);
    }
}
