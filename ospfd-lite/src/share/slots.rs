//! Which slot belongs to whom: exact quotas by weight, and as few slots that change hands as there can be.
//!
//! A slot goes to the member that ranks highest for it by a hash of both (highest random weight, Thaler and Ravishankar 1998)
//! among those whose quota is not full. Hashing alone would leave the shares of 8 members in 1,024 slots some 8 % apart from
//! their weights (a standard deviation of 10.6 in 128 slots), which a farm at 0.9 of its capacity cannot bear: so the quotas
//! are exact to one slot, and the hash only says which slots. And since the table of before is an argument, a change moves just
//! the slots that the quotas demand, which no function of the weights alone does.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Weighted;

/// The owners of slots.
///
/// Of all that is computed between a packet and the kernel tables come to most, and lie in memory that is cold when a packet
/// comes: so the owners are places in a list, and a table of before is carried over to another list of members by looking at
/// its members once and not at each slot's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<K> {
    /// In their order.
    members: Box<[K]>,
    /// Of each slot: the place of its owner in `members`, or [`NOBODY`].
    owners: Box<[u32]>,
}

/// The owner of a slot that has none.
const NOBODY: u32 = u32::MAX;

impl<K: Ord + Copy> Table<K> {
    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// The owner of each slot; none: it has none, which [`assign`] leaves no slot.
    pub fn iter(&self) -> impl Iterator<Item = Option<&K>> {
        self.owners.iter().map(|owner| self.members.get(*owner as usize))
    }
}

impl<K: Ord + Copy> FromIterator<Option<K>> for Table<K> {
    fn from_iter<I: IntoIterator<Item = Option<K>>>(owners: I) -> Self {
        let owners: Vec<Option<K>> = owners.into_iter().collect();
        let mut members: Vec<K> = owners.iter().flatten().copied().collect();
        members.sort_unstable();
        members.dedup();
        let place = |owner: &Option<K>| owner.and_then(|owner| members.binary_search(&owner).ok());
        let owners = owners.iter().map(|owner| place(owner).map_or(NOBODY, |place| place as u32)).collect();
        Table { members: members.into(), owners }
    }
}

/// How many of `count` slots each member gets, in the order of the members: proportional to the weights by largest remainder,
/// and one at least for each. None if there are fewer slots than members, or no member, or 2^32 slots or more.
pub fn quotas<K: Ord + Copy>(weights: &Weighted<K>, count: usize) -> Option<Vec<usize>> {
    let spare = count.checked_sub(weights.len()).filter(|_| !weights.is_empty())?;
    let slots = u64::from(u32::try_from(count).ok()?);
    let sum: u64 = weights.weights().map(u64::from).sum::<u64>().max(1);
    let exact = |weight: u32| u64::from(weight) * slots;
    let mut quotas: Vec<usize> = weights.weights().map(|weight| ((exact(weight) / sum) as usize).max(1)).collect();
    let given: usize = quotas.iter().sum();
    if given <= count {
        let mut remainders: Vec<(Reverse<u64>, usize)> =
            weights.weights().enumerate().map(|(member, weight)| (Reverse(exact(weight) % sum), member)).collect();
        // The greatest first; equal ones in the order of the members.
        remainders.sort_unstable();
        for (_, member) in remainders.iter().cycle().take(count - given) {
            if let Some(quota) = quotas.get_mut(*member) {
                *quota += 1;
            }
        }
        return Some(quotas);
    }
    // The least of one slot each took more than there is: the others share what is left.
    let above: usize = quotas.iter().map(|quota| quota - 1).sum();
    let mut left = spare;
    for quota in &mut quotas {
        let part = ((*quota - 1) * spare / above.max(1)).min(left);
        *quota = 1 + part;
        left -= part;
    }
    if let Some(most) = quotas.iter_mut().max_by_key(|quota| **quota) {
        *most += left;
    }
    Some(quotas)
}

/// The owner of each slot: quotas as by [`quotas`], and every slot of `before` whose owner may keep it stays. None where
/// there are no quotas.
pub fn assign<K: Ord + Copy + Hash>(
    weights: &Weighted<K>,
    count: usize,
    before: Option<&Table<K>>,
) -> Option<Table<K>> {
    let quotas = quotas(weights, count)?;
    let members: Box<[K]> = weights.keys().copied().collect();
    let mut owners = before.map_or_else(Vec::new, |before| carried(before, &members));
    owners.resize(count, NOBODY);
    let mut held = vec![0; members.len()];
    for owner in &owners {
        if let Some(held) = held.get_mut(*owner as usize) {
            *held += 1;
        }
    }
    // Who needs slots, its hash, and how many it still needs.
    let mut needs: Vec<(u32, u64, usize)> = Vec::new();
    let mut excess: Vec<(u32, usize)> = Vec::new();
    for (member, ((key, held), quota)) in (0..).zip(members.iter().zip(&held).zip(&quotas)) {
        if held < quota {
            needs.push((member, hash(key), quota - held));
        } else if held > quota {
            excess.push((member, *quota));
        }
    }
    let score = |hash: u64, slot: usize| mix(hash ^ mix(slot as u64));
    // Who has too many gives up those that somebody in need ranks highest for: so most of a member's slots go back to it
    // when it returns.
    for (member, quota) in excess {
        let mut slots: Vec<usize> =
            owners.iter().enumerate().filter(|(_, owner)| **owner == member).map(|(slot, _)| slot).collect();
        slots.sort_by_cached_key(|slot| needs.iter().map(|(_, hash, _)| score(*hash, *slot)).max());
        for slot in slots.into_iter().skip(quota) {
            if let Some(owner) = owners.get_mut(slot) {
                *owner = NOBODY;
            }
        }
    }
    for (slot, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| **owner == NOBODY) {
        let highest = (0..needs.len()).max_by_key(|at| needs.get(*at).map(|(_, hash, _)| score(*hash, slot)))?;
        let (member, _, need) = needs.get_mut(highest)?;
        *owner = *member;
        *need -= 1;
        if *need == 0 {
            needs.remove(highest);
        }
    }
    Some(Table { members, owners: owners.into() })
}

/// The owners of a table as places in another list of members.
fn carried<K: Ord + Copy>(before: &Table<K>, members: &[K]) -> Vec<u32> {
    let mut later = (0..).zip(members).peekable();
    let place = |key: &K| {
        while later.next_if(|(_, member)| *member < key).is_some() {}
        later.next_if(|(_, member)| *member == key).map_or(NOBODY, |(place, _)| place)
    };
    let places: Vec<u32> = before.members.iter().map(place).collect();
    before.owners.iter().map(|owner| places.get(*owner as usize).copied().unwrap_or(NOBODY)).collect()
}

/// The same in every run of the same binary, which is enough: what has to last longer is the table, and that is in the kernel.
fn hash<K: Hash>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn equal(members: u32) -> Weighted<u32> {
        (0..members).map(|member| (member, 1)).collect()
    }

    fn weights(of: &[(u32, u32)]) -> Weighted<u32> {
        of.iter().copied().collect()
    }

    fn moved(a: &Table<u32>, b: &Table<u32>) -> usize {
        a.iter().zip(b.iter()).filter(|(a, b)| a != b).count()
    }

    fn owned(table: &Table<u32>, member: u32) -> usize {
        table.iter().filter(|owner| *owner == Some(&member)).count()
    }

    #[test]
    fn one_of_eight_leaves_and_returns_with_no_more_moves_than_its_own_slots() {
        let eight = assign(&equal(8), 1024, None).unwrap();
        let seven = equal(8).iter().filter(|(member, _)| *member != 4).collect();
        let without = assign(&seven, 1024, Some(&eight)).unwrap();
        assert_eq!(moved(&eight, &without), 128);
        let again = assign(&equal(8), 1024, Some(&without)).unwrap();
        assert_eq!(moved(&without, &again), 128);
        let home = eight.iter().zip(again.iter()).filter(|(a, b)| *a == Some(&4) && *b == Some(&4)).count();
        assert!(home > 64, "{home} of 128 slots returned to whom they had come from");
    }

    #[test]
    fn a_changed_weight_moves_just_the_difference() {
        let before = weights(&[(1, 400), (2, 200), (3, 100)]);
        let table = assign(&before, 1024, None).unwrap();
        assert_eq!(quotas(&before, 1024).unwrap(), [585, 293, 146]);
        let after = assign(&weights(&[(1, 320), (2, 200), (3, 100)]), 1024, Some(&table)).unwrap();
        // 1024 * 320 / 620 = 528.5
        assert_eq!(moved(&table, &after), 585 - 529);
    }

    #[test]
    fn everybody_has_a_slot_and_fewer_slots_than_members_are_no_table() {
        let unequal = weights(&[(1, u32::MAX), (2, 1), (3, 0)]);
        assert_eq!(quotas(&unequal, 16).unwrap(), [14, 1, 1]);
        assert_eq!(quotas(&unequal, 2), None);
        assert_eq!(quotas(&weights(&[]), 2), None);
        assert_eq!(assign(&unequal, 3, None).unwrap().len(), 3);
    }

    /// As it is read from a kernel in which somebody has deleted slots.
    #[test]
    fn slots_without_owner_are_given_to_who_needs_them_and_no_other_moves() {
        let table = assign(&equal(4), 64, None).unwrap();
        let torn: Table<u32> =
            table.iter().enumerate().map(|(slot, owner)| owner.copied().filter(|_| slot % 5 > 0)).collect();
        let mended = assign(&equal(4), 64, Some(&torn)).unwrap();
        assert!(mended.iter().all(|owner| owner.is_some()));
        assert_eq!(moved(&torn, &mended), 13);
        assert_eq!((0..4).map(|member| owned(&mended, member)).collect::<Vec<_>>(), [16; 4]);
    }

    proptest! {
        /// Quotas are exact, and no table with these quotas is nearer to the one before.
        #[test]
        fn quotas_are_exact_and_moves_the_fewest(
            before in prop::collection::btree_map(0u32..12, 0u32..2000, 1..10),
            after in prop::collection::btree_map(0u32..12, 0u32..2000, 1..10),
            count in 10usize..300,
        ) {
            let weighted = |of: &BTreeMap<u32, u32>| of.iter().map(|(member, weight)| (*member, *weight)).collect();
            let table = assign(&weighted(&before), count, None).unwrap();
            let next = assign(&weighted(&after), count, Some(&table)).unwrap();
            let quotas = quotas(&weighted(&after), count).unwrap();
            prop_assert_eq!(quotas.iter().sum::<usize>(), count);
            let sum: u64 = after.values().map(|weight| u64::from(*weight)).sum::<u64>().max(1);
            let mut stays = 0;
            for ((member, weight), quota) in after.iter().zip(quotas) {
                prop_assert_eq!(owned(&next, *member), quota);
                let exact = u64::from(*weight) as f64 * count as f64 / sum as f64;
                // Beyond one slot only what the least of one each takes from the greater ones.
                prop_assert!((quota as f64 - exact).abs() <= 1.0 + after.len() as f64, "{} for {}", quota, exact);
                stays += quota.min(owned(&table, *member));
            }
            prop_assert_eq!(moved(&table, &next), count - stays);
        }
    }
}
