//! [`StreamMap`]: what is kept of each stream.

use std::{collections::HashMap, hash::Hash};

use foldhash::fast::RandomState;
use slab::Slab;

/// A map whose values stay where they are, and take the place of those that were removed last: calls
/// come and go by the hundred, and what they are kept in is in the processor's cache then. In a plain
/// map each number has a place of its own.
///
/// Peers choose the numbers only within bounds: they ascend, and are as many at a time as was agreed.
#[derive(Debug)]
pub(crate) struct StreamMap<K, V> {
    /// Where in `values` each is.
    places: HashMap<K, usize, RandomState>,
    values: Slab<(K, V)>,
}

impl<K, V> Default for StreamMap<K, V> {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            values: Slab::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> StreamMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (_, value) = self.values.get(*self.places.get(key)?)?;
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, value) = self.values.get_mut(*self.places.get(key)?)?;
        Some(value)
    }

    /// Adds a value, in place of the one that is there.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let place = self.values.insert((key, value));
        if let Some(former) = self.places.insert(key, place) {
            self.values.try_remove(former);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.places.remove(key)?;
        let (_, value) = self.values.try_remove(place)?;
        Some(value)
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.values.iter().map(|(_, (key, value))| (*key, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// In no order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        self.places.clear();
        self.values.drain()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        let places = &mut self.places;
        self.values.retain(|_, (key, value)| {
            let is_kept = keep(*key, value);
            if !is_kept {
                places.remove(key);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(steps in proptest::collection::vec((0..6u8, 0..8u8, any::<u8>()), 0..200)) {
            let (mut map, mut model) = (StreamMap::default(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 | 1 => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    2 | 3 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    4 => {
                        map.retain(|key, kept| key % 2 == 0 || *kept > value);
                        model.retain(|key, kept| key % 2 == 0 || *kept > value);
                    }
                    _ => {
                        if let Some(there) = map.get_mut(&key) {
                            *there = value;
                        }
                        model.entry(key).and_modify(|there| *there = value);
                    }
                }
                let all: BTreeMap<_, _> = map.iter().map(|(key, value)| (key, *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
                prop_assert_eq!(map.places.len(), map.values.len());
            }
            let drained: BTreeMap<_, _> = map.drain().collect();
            prop_assert_eq!(drained, model);
            prop_assert!(map.is_empty() && map.places.is_empty());
        }
    }
}
