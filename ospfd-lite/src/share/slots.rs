//! Which slot belongs to whom: exact quotas by weight, and as few slots that change hands as there can be.
//!
//! A slot goes to the member that ranks highest for it by a hash of both (highest random weight, Thaler and Ravishankar 1998)
//! among those whose quota is not full. Hashing alone would leave the shares of 8 members in 1,024 slots some 8 % apart from
//! their weights (a standard deviation of 10.6 in 128 slots), which a farm at 0.9 of its capacity cannot bear: so the quotas
//! are exact to one slot, and the hash only says which slots. And since the table of before is an argument, a change moves just
//! the slots that the quotas demand, which no function of the weights alone does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many of `count` slots each member gets: proportional to the weights by largest remainder, and one at least for each.
/// None if there are fewer slots than members, or no member.
pub fn quotas<K: Ord + Copy>(weights: &BTreeMap<K, u32>, count: usize) -> Option<BTreeMap<K, usize>> {
    let spare = count.checked_sub(weights.len()).filter(|_| !weights.is_empty())?;
    let sum: u128 = weights.values().map(|weight| u128::from(*weight)).sum::<u128>().max(1);
    let exact = |weight: u32| u128::from(weight) * count as u128;
    let mut quotas: BTreeMap<K, usize> =
        weights.iter().map(|(key, weight)| (*key, ((exact(*weight) / sum) as usize).max(1))).collect();
    let given: usize = quotas.values().sum();
    if given <= count {
        let mut remainders: Vec<(u128, K)> = weights.iter().map(|(key, weight)| (exact(*weight) % sum, *key)).collect();
        // The greatest first; equal ones in the order of the members.
        remainders.sort_by_key(|(remainder, key)| (std::cmp::Reverse(*remainder), *key));
        for (_, key) in remainders.iter().cycle().take(count - given) {
            *quotas.entry(*key).or_default() += 1;
        }
        return Some(quotas);
    }
    // The least of one slot each took more than there is: the others share what is left.
    let above: usize = quotas.values().map(|quota| quota - 1).sum();
    let mut left = spare;
    for quota in quotas.values_mut() {
        let part = ((*quota - 1) * spare / above.max(1)).min(left);
        *quota = 1 + part;
        left -= part;
    }
    if let Some(most) = quotas.values_mut().max_by_key(|quota| **quota) {
        *most += left;
    }
    Some(quotas)
}

/// The owner of each slot: quotas as by [`quotas`], and every slot of `before` whose owner may keep it stays. None where
/// there are no quotas.
///
/// Of all that is computed between a packet and the kernel this comes to most, so that members are positions in sorted lists
/// and not keys of maps.
pub fn assign<K: Ord + Copy + Hash>(weights: &BTreeMap<K, u32>, count: usize, before: &[Option<K>]) -> Option<Vec<K>> {
    let quotas = quotas(weights, count)?;
    let keys: Vec<K> = quotas.keys().copied().collect();
    let hashes: Vec<u64> = keys.iter().map(hash).collect();
    let score = |member: usize, slot: usize| mix(hashes.get(member).copied().unwrap_or(0) ^ mix(slot as u64));
    let mut kept: Vec<Vec<usize>> = vec![Vec::new(); keys.len()];
    for (slot, key) in before.iter().enumerate().take(count) {
        let member = key.and_then(|key| keys.binary_search(&key).ok());
        if let Some(kept) = member.and_then(|member| kept.get_mut(member)) {
            kept.push(slot);
        }
    }
    // How many slots each still needs; who needs none is not in it.
    let held = kept.iter().zip(quotas.values()).enumerate();
    let mut needs: Vec<(usize, usize)> = held
        .filter_map(|(member, (kept, quota))| Some((member, quota.checked_sub(kept.len()).filter(|need| *need > 0)?)))
        .collect();
    // Who has too many gives up those that somebody in need ranks highest for: so most of a member's slots go back to it
    // when it returns.
    let mut owners: Vec<Option<usize>> = vec![None; count];
    for (member, (mut slots, quota)) in kept.into_iter().zip(quotas.values()).enumerate() {
        if slots.len() > *quota {
            slots.sort_by_cached_key(|slot| needs.iter().map(|(needy, _)| score(*needy, *slot)).max());
        }
        for slot in slots.into_iter().take(*quota) {
            if let Some(owner) = owners.get_mut(slot) {
                *owner = Some(member);
            }
        }
    }
    for (slot, owner) in owners.iter_mut().enumerate().filter(|(_, owner)| owner.is_none()) {
        let highest = (0..needs.len()).max_by_key(|at| needs.get(*at).map(|(member, _)| score(*member, slot)))?;
        let (member, need) = needs.get_mut(highest)?;
        *owner = Some(*member);
        *need -= 1;
        if *need == 0 {
            needs.remove(highest);
        }
    }
    owners.into_iter().map(|owner| keys.get(owner?).copied()).collect()
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
    use proptest::prelude::*;

    use super::*;

    fn equal(members: u32) -> BTreeMap<u32, u32> {
        (0..members).map(|member| (member, 1)).collect()
    }

    fn moved(a: &[u32], b: &[u32]) -> usize {
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    fn known(table: &[u32]) -> Vec<Option<u32>> {
        table.iter().copied().map(Some).collect()
    }

    #[test]
    fn one_of_eight_leaves_and_returns_with_no_more_moves_than_its_own_slots() {
        let eight = assign(&equal(8), 1024, &[]).unwrap();
        let mut seven = equal(8);
        seven.remove(&4);
        let without = assign(&seven, 1024, &known(&eight)).unwrap();
        assert_eq!(moved(&eight, &without), 128);
        let again = assign(&equal(8), 1024, &known(&without)).unwrap();
        assert_eq!(moved(&without, &again), 128);
        let home = eight.iter().zip(&again).filter(|(a, b)| **a == 4 && **b == 4).count();
        assert!(home > 64, "{home} of 128 slots returned to whom they had come from");
    }

    #[test]
    fn a_changed_weight_moves_just_the_difference() {
        let weights = BTreeMap::from([(1, 400), (2, 200), (3, 100)]);
        let table = assign(&weights, 1024, &[]).unwrap();
        assert_eq!(quotas(&weights, 1024).unwrap(), BTreeMap::from([(1, 585), (2, 293), (3, 146)]));
        let less = BTreeMap::from([(1, 320), (2, 200), (3, 100)]);
        let after = assign(&less, 1024, &known(&table)).unwrap();
        // 1024 * 320 / 620 = 528.5
        assert_eq!(moved(&table, &after), 585 - 529);
    }

    #[test]
    fn everybody_has_a_slot_and_fewer_slots_than_members_are_no_table() {
        let weights = BTreeMap::from([(1, u32::MAX), (2, 1), (3, 0)]);
        assert_eq!(quotas(&weights, 16).unwrap(), BTreeMap::from([(1, 14), (2, 1), (3, 1)]));
        assert_eq!(quotas(&weights, 2), None);
        assert_eq!(quotas(&BTreeMap::<u32, u32>::new(), 2), None);
        assert_eq!(assign(&weights, 3, &[]).unwrap().len(), 3);
    }

    proptest! {
        /// Quotas are exact, and no table with these quotas is nearer to the one before.
        #[test]
        fn quotas_are_exact_and_moves_the_fewest(
            before in prop::collection::btree_map(0u32..12, 0u32..2000, 1..10),
            after in prop::collection::btree_map(0u32..12, 0u32..2000, 1..10),
            count in 10usize..300,
        ) {
            let table = assign(&before, count, &[]).unwrap();
            let next = assign(&after, count, &known(&table)).unwrap();
            let quotas = quotas(&after, count).unwrap();
            prop_assert_eq!(quotas.values().sum::<usize>(), count);
            let sum: u64 = after.values().map(|weight| u64::from(*weight)).sum::<u64>().max(1);
            for (member, quota) in &quotas {
                prop_assert_eq!(next.iter().filter(|owner| *owner == member).count(), *quota);
                let exact = u64::from(after[member]) as f64 * count as f64 / sum as f64;
                // Beyond one slot only what the least of one each takes from the greater ones.
                prop_assert!((*quota as f64 - exact).abs() <= 1.0 + after.len() as f64, "{} for {}", quota, exact);
            }
            let stays: usize = quotas.iter().map(|(member, quota)| {
                (*quota).min(table.iter().filter(|owner| *owner == member).count())
            }).sum();
            prop_assert_eq!(moved(&table, &next), count - stays);
        }
    }
}
