//! Things with their weights.

use std::cmp::Ordering;

/// Things with a weight each, in the order of the things.
///
/// A sorted list and not a map: it is made anew with every change of a route, compared, and walked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Weighted<K>(Box<[(K, u32)]>);

/// The shorter one is less. What differs in a farm of hundreds is one of its servers, far down the list: two of them are told
/// apart without being read, where one came or went.
impl<K: Ord> Ord for Weighted<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl<K: Ord> PartialOrd for Weighted<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord + Copy> Weighted<K> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The things and their weights.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (K, u32)> {
        self.0.iter().copied()
    }

    /// The things.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The weights, in the order of the things.
    pub fn weights(&self) -> impl ExactSizeIterator<Item = u32> {
        self.0.iter().map(|(_, weight)| *weight)
    }

    /// The weight of one.
    pub fn of(&self, key: &K) -> Option<u32> {
        let at = self.0.binary_search_by_key(key, |(known, _)| *known).ok()?;
        self.0.get(at).map(|(_, weight)| *weight)
    }
}

impl<K> Default for Weighted<K> {
    fn default() -> Self {
        Weighted(Box::default())
    }
}

/// Of a thing that comes more than once the first weight counts.
impl<K: Ord + Copy> FromIterator<(K, u32)> for Weighted<K> {
    fn from_iter<I: IntoIterator<Item = (K, u32)>>(of: I) -> Self {
        let mut of: Vec<(K, u32)> = of.into_iter().collect();
        if !of.is_sorted_by(|(one, _), (next, _)| one < next) {
            of.sort_by_key(|(key, _)| *key);
            of.dedup_by_key(|(key, _)| *key);
        }
        Weighted(of.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_any_order_and_twice_is_there_once_and_in_order() {
        let weighted: Weighted<u8> = [(7, 1), (3, 2), (7, 9)].into_iter().collect();
        assert_eq!(weighted.iter().collect::<Vec<_>>(), [(3, 2), (7, 1)]);
        assert_eq!((weighted.of(&7), weighted.of(&4), weighted.len()), (Some(1), None, 2));
    }

    #[test]
    fn the_shorter_is_less_and_of_two_as_long_the_one_that_is_less_where_they_differ() {
        let weighted = |of: &[(u8, u32)]| of.iter().copied().collect::<Weighted<u8>>();
        let (short, low, high) = (weighted(&[(9, 9)]), weighted(&[(1, 1), (2, 1)]), weighted(&[(1, 1), (2, 3)]));
        assert!(short < low && low < high);
        assert_eq!(low.cmp(&low.clone()), Ordering::Equal);
    }
}
