//! [`StreamMap`]: the storage of streams.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    mem,
};

use foldhash::fast::RandomState;

/// A map whose values do not move, and whose freed slots are reused in LIFO order: calls come and
/// go by the hundred, and recently freed slots are still in the processor's cache. A plain map
/// would use a different slot for each number.
///
/// Peers choose the keys only within limits: keys ascend, and the number of concurrent streams is
/// negotiated.
#[derive(Debug)]
pub(crate) struct StreamMap<K, V> {
    /// The slot of each value.
    places: HashMap<K, usize, RandomState>,
    values: Vec<Option<(K, V)>>,
    /// Free slots, the next one to use last.
    vacant: Vec<usize>,
}

impl<K, V> Default for StreamMap<K, V> {
    fn default() -> Self {
        Self {
            places: HashMap::default(),
            values: Vec::new(),
            vacant: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V> StreamMap<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.places.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (_, value) = self.values.get(*self.places.get(key)?)?.as_ref()?;
        Some(value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, value) = self.values.get_mut(*self.places.get(key)?)?.as_mut()?;
        Some(value)
    }

    /// Inserts a value, replacing an existing one.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.places.entry(key) {
            Entry::Occupied(known) => {
                if let Some(slot) = self.values.get_mut(*known.get()) {
                    *slot = Some((key, value));
                }
            }
            Entry::Vacant(unknown) => {
                let place = self.vacant.pop();
                match place.and_then(|place| self.values.get_mut(place)) {
                    Some(slot) => *slot = Some((key, value)),
                    None => self.values.push(Some((key, value))),
                }
                unknown.insert(place.unwrap_or(self.values.len() - 1));
            }
        }
    }

    /// Removes and returns a value.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (_, value) = self.vacate(key)?.take()?;
        Some(value)
    }

    /// Drops a value in place, because moving large values is expensive.
    pub(crate) fn forget(&mut self, key: &K) {
        if let Some(slot) = self.vacate(key) {
            *slot = None;
        }
    }

    fn vacate(&mut self, key: &K) -> Option<&mut Option<(K, V)>> {
        let place = self.places.remove(key)?;
        self.vacant.push(place);
        self.values.get_mut(place)
    }

    /// Iterates in arbitrary order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let values = self.values.iter().flatten();
        values.map(|(key, value)| (*key, value))
    }

    /// Iterates in arbitrary order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        let values = self.values.iter_mut().flatten();
        values.map(|(key, value)| (*key, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Iterates in arbitrary order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let Self { values, .. } = mem::take(self);
        values.into_iter().flatten()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        for (place, slot) in self.values.iter_mut().enumerate() {
            if let Some((key, value)) = slot
                && !keep(*key, value)
            {
                self.places.remove(key);
                self.vacant.push(place);
                *slot = None;
            }
        }
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
            let mut most = 0;
            for (step, key, value) in steps {
                match step {
                    0 | 1 => {
                        map.insert(key, value);
                        model.insert(key, value);
                    }
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    3 => {
                        map.forget(&key);
                        model.remove(&key);
                    }
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
                // Each slot is used or free, and there are no more than were needed at a time.
                prop_assert_eq!(map.places.len() + map.vacant.len(), map.values.len());
                most = most.max(model.len());
                prop_assert_eq!(map.values.len(), most);
            }
            let drained: BTreeMap<_, _> = map.drain().collect();
            prop_assert_eq!(drained, model);
            prop_assert!(map.is_empty());
        }
    }
}
