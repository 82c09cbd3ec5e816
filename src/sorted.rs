//! Maps, sets and sorting in little code. The trees and sorts of the standard library are compiled anew for each type, some kilobytes
//! each; a sorted vector is as fast for the few thousand things that there are here, and what does not depend on the type is there once.

use std::borrow::Borrow;
use std::fmt;

use crate::gather::Gather;

/// Values by key, in the order of the keys. A look-up takes O(log n). An insertion moves all that is behind it, so that what comes in
/// any order, and may be much, is better collected at once.
#[derive(Clone, PartialEq, Eq)]
pub struct Map<K, V>(Vec<(K, V)>);

impl<K, V> Map<K, V> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    /// All, in order, to change the values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Keeps those of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Ord, V> Map<K, V> {
    /// From pairs in any order; the last value of a key counts.
    #[inline(never)]
    pub fn ordered(mut pairs: Vec<(K, V)>) -> Self {
        let different = arrange(&mut pairs, &|(one, _), (other, _)| one > other, true);
        pairs.truncate(different);
        Self(pairs)
    }

    /// Where the key is, or where it would have to be.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(there, _)| there.borrow().cmp(key))
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Whether the key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// The last whose key is not greater.
    pub fn at_most<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&(K, V)>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).or_else(|behind| behind.checked_sub(1).ok_or(behind)).ok()?;
        self.0.get(at)
    }

    /// Sets the value of a key, and returns what it was.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| std::mem::replace(old, value)),
            Err(at) => {
                self.put(at, (key, value));
                None
            }
        }
    }

    /// The value of a key, which is made first where there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = match self.place(&key) {
            Ok(at) => at,
            Err(at) => {
                self.put(at, (key, make()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "it was found there, or put there")]
        &mut self.0[at].1
    }

    /// The value of a key, which is the default first where there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.get_or_insert_with(key, V::default)
    }

    /// Removes a key, and returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).ok()?;
        // Which it is: said, it takes no check with a panic behind it.
        (at < self.len()).then(|| self.0.remove(at).1)
    }

    #[inline(never)]
    fn put(&mut self, at: usize, pair: (K, V)) {
        // Not behind the end, which `place` never says: as above.
        self.0.insert(at.min(self.len()), pair);
    }

    /// Removes the last, and returns it.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        self.0.pop()
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self::ordered(pairs.into_iter().gather())
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K, V> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = &'a (K, V);
    type IntoIter = std::slice::Iter<'a, (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Different things in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<K>(Map<K, ()>);

impl<K> Set<K> {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Map::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.0.0.iter().map(|(key, ())| key)
    }
}

impl<K: Ord> Set<K> {
    /// Whether it is there.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Adds one. Returns whether it was not there.
    pub fn insert(&mut self, key: K) -> bool {
        self.0.insert(key, ()).is_none()
    }

    /// Removes one. Returns whether it was there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.remove(key).is_some()
    }

    /// Removes the last, and returns it.
    pub fn pop_last(&mut self) -> Option<K> {
        self.0.pop_last().map(|(key, ())| key)
    }
}

impl<K> Default for Set<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord> FromIterator<K> for Set<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key, ())).collect())
    }
}

impl<K: Ord> Extend<K> for Set<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        for key in keys {
            self.insert(key);
        }
    }
}

impl<K> IntoIterator for Set<K> {
    type Item = K;
    type IntoIter = std::iter::Map<std::vec::IntoIter<(K, ())>, fn((K, ())) -> K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(key, ())| key)
    }
}

/// Of things of one name the last, in the place of the first. `last_of`: where the last of its name is.
pub fn last_for_first<T>(things: Vec<T>, last_of: &dyn Fn(&T) -> Option<usize>) -> Vec<T> {
    let mut things: Vec<Option<T>> = things.into_iter().map(Some).gather();
    let mut kept = Vec::new();
    for at in 0..things.len() {
        // At the first of its name the last is taken; at the others there is nothing any more.
        let last = things.get(at).and_then(|there| last_of(there.as_ref()?));
        if let Some(last) = last.and_then(|last| things.get_mut(last)?.take()) {
            kept.push(last);
        }
    }
    kept
}

/// Sorts, and leaves what is equal as it stands. `after`: whether the first must come after the second.
pub fn sort<T>(items: &mut [T], after: impl Fn(&T, &T) -> bool) {
    arrange(items, &after, false);
}

/// Sorts; with `once`, only the last of what is equal, and puts the others behind that. Returns how many are in order.
fn arrange<T>(items: &mut [T], after: &dyn Fn(&T, &T) -> bool, once: bool) -> usize {
    let (swaps, ordered) = swaps(items.len(), once, &|one, other| {
        items.get(one).zip(items.get(other)).is_some_and(|(one, other)| after(one, other))
    });
    for (one, other) in swaps {
        items.swap(one, other);
    }
    ordered
}

/// What to exchange, one after the other, so that so many of `count` things are in order.
fn swaps(count: usize, once: bool, after: &dyn Fn(usize, usize) -> bool) -> (Vec<(usize, usize)>, usize) {
    if (1..count).all(|at| after(at, at - 1)) {
        return (Vec::new(), count);
    }
    // Where each comes from.
    let (mut order, mut merged) = (Vec::with_capacity(count), Vec::with_capacity(count));
    (0..count).add_to(&mut order);
    let mut width = 1;
    while width < count {
        for pair in order.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let (Some((one, others)), Some((other, rest))) = (left.split_first(), right.split_first()) {
                if after(*one, *other) {
                    merged.push(*other);
                    right = rest;
                } else {
                    merged.push(*one);
                    left = others;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut order, &mut merged);
        merged.clear();
        width *= 2;
    }
    let mut ordered = count;
    if once {
        let mut others = Vec::new();
        for (at, one) in order.iter().enumerate() {
            let is_last = order.get(at + 1).is_none_or(|next| after(*next, *one));
            if is_last { &mut merged } else { &mut others }.push(*one);
        }
        ordered = merged.len();
        merged.append(&mut others);
        order = merged;
    }
    // Where each goes to.
    let mut goes = vec![0; count];
    for (to, from) in order.into_iter().enumerate() {
        if let Some(goes) = goes.get_mut(from) {
            *goes = to;
        }
    }
    let mut swaps = Vec::new();
    for at in 0..count {
        while let Some(to) = goes.get(at).copied().filter(|to| *to != at) {
            swaps.push((at, to));
            goes.swap(at, to);
        }
    }
    (swaps, ordered)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::numbers::Numbers;

    #[test]
    fn a_map_is_what_a_tree_is() {
        for seed in 1..200 {
            let mut numbers = Numbers::new(seed);
            let keys = 1 + numbers.below(60);
            let (mut map, mut tree) = (Map::new(), BTreeMap::new());
            for step in 0..300 {
                let key = numbers.below(keys).to_string();
                match numbers.below(12) {
                    0..4 => assert_eq!(map.insert(key.clone(), step), tree.insert(key, step)),
                    4 => {
                        let value = map.get_or_insert_with(key.clone(), || step);
                        let expected = tree.entry(key).or_insert(step);
                        assert_eq!(value, expected);
                        (*value, *expected) = (step + 1, step + 1);
                    }
                    5 => assert_eq!(map.get_or_default(key.clone()), tree.entry(key).or_default()),
                    6 | 7 => assert_eq!(map.remove(key.as_str()), tree.remove(key.as_str())),
                    8 => assert_eq!(map.get_mut(key.as_str()), tree.get_mut(key.as_str())),
                    9 => {
                        let keep = |value: u64| !value.is_multiple_of(5);
                        map.retain(|_, value| keep(*value));
                        tree.retain(|_, value| keep(*value));
                    }
                    10 => assert_eq!(map.pop_last(), tree.pop_last()),
                    _ => {
                        for ((one, value), (other, expected)) in map.iter_mut().zip(&mut tree) {
                            assert_eq!(one, other);
                            (*value, *expected) = (step, step);
                        }
                    }
                }
                let key = numbers.below(keys).to_string();
                assert_eq!(map.get(&key), tree.get(&key));
                assert_eq!(map.contains_key(&key), tree.contains_key(&key));
                let before = map.at_most(&key).map(|(key, value)| (key, value));
                assert_eq!(before, tree.range(..=key.clone()).next_back());
                assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                assert!(map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
                assert_eq!(format!("{map:?}"), format!("{tree:?}"));
            }
            map.clear();
            assert!(map.is_empty());
        }
    }

    #[test]
    fn a_set_is_what_a_tree_is() {
        for seed in 1..200 {
            let mut numbers = Numbers::new(seed);
            let keys = 1 + numbers.below(60);
            let (mut set, mut tree) = (Set::new(), BTreeSet::new());
            for _ in 0..200 {
                let key = numbers.below(keys);
                match numbers.below(4) {
                    0 | 1 => assert_eq!(set.insert(key), tree.insert(key)),
                    2 => assert_eq!(set.remove(&key), tree.remove(&key)),
                    _ => assert_eq!(set.pop_last(), tree.pop_last()),
                }
                assert_eq!(set.contains(&key), tree.contains(&key));
                assert!(set.iter().eq(&tree) && set.iter().rev().eq(tree.iter().rev()));
                assert_eq!((set.len(), set.is_empty()), (tree.len(), tree.is_empty()));
            }
            set.extend(0..9);
            tree.extend(0..9);
            assert!(set.into_iter().eq(tree));
        }
    }

    #[test]
    fn what_is_collected_is_sorted_once_and_the_last_value_counts() {
        for seed in 1..400 {
            let mut numbers = Numbers::new(seed);
            let (count, keys) = (numbers.below(200), 1 + numbers.below(300));
            let pairs: Vec<(u64, u64)> = (0..count).map(|at| (numbers.below(keys), at)).collect();
            let map: Map<u64, u64> = pairs.iter().copied().collect();
            let tree: BTreeMap<u64, u64> = pairs.iter().copied().collect();
            assert!(map.into_iter().eq(tree), "{pairs:?}");
            let mut expected = pairs.clone();
            expected.sort_by_key(|pair| pair.0);
            let mut sorted = pairs;
            sort(&mut sorted, |one, other| one.0 > other.0);
            assert_eq!(sorted, expected, "equal ones stay as they stand");
        }
    }
}
