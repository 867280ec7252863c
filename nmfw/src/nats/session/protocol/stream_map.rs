//! [`StreamMap`] and [`StreamTable`]: the storage of streams, and of what belongs to each.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
};

use foldhash::fast::RandomState;

use super::StreamId;

/// The streams of a session by number. Values do not move, and freed slots are reused in LIFO
/// order: calls come and go by the hundred, and recently freed slots are still in the processor's
/// cache.
///
/// Only a number from the peer has to be looked up: a [`StreamId`] names the slot.
///
/// Peers choose the keys only within limits: keys ascend, and the number of concurrent streams is
/// negotiated.
#[derive(Debug)]
pub(super) struct StreamMap<V> {
    /// The slot of each stream.
    slots: HashMap<u64, u32, RandomState>,
    table: StreamTable<V>,
    /// Free slots, the next one to use last.
    vacant: Vec<u32>,
}

impl<V> Default for StreamMap<V> {
    fn default() -> Self {
        Self {
            slots: HashMap::default(),
            table: StreamTable::default(),
            vacant: Vec::new(),
        }
    }
}

impl<V> StreamMap<V> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the stream with this number.
    pub(super) fn find(&self, number: u64) -> Option<StreamId> {
        let slot = *self.slots.get(&number)?;
        Some(StreamId { number, slot })
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&V> {
        self.table.get(id)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        self.table.get_mut(id)
    }

    /// Makes a stream in its slot, replacing one of the same number.
    #[inline]
    pub(super) fn insert_with(
        &mut self,
        number: u64,
        make: impl FnOnce() -> V,
    ) -> (StreamId, &mut V) {
        let slot = match self.slots.entry(number) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => {
                // Streams are far fewer than 2^32.
                let next = self.table.values.len() as u32;
                *unknown.insert(self.vacant.pop().unwrap_or(next))
            }
        };
        let id = StreamId { number, slot };
        (id, self.table.insert_with(id, make))
    }

    /// Drops a stream in place, because moving large values is expensive.
    pub(super) fn forget(&mut self, id: StreamId) {
        if self.contains(id) {
            self.slots.remove(&id.number);
            self.vacant.push(id.slot);
            self.table.forget(id);
        }
    }

    /// Iterates in arbitrary order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.table.iter()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.table.values()
    }

    /// Iterates in arbitrary order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (StreamId, V)> {
        let Self { table, .. } = mem::take(self);
        table.values.into_iter().flatten()
    }
}

/// Values for streams of a session, in the slots that the session has given to these streams.
#[derive(Debug)]
pub(crate) struct StreamTable<V> {
    values: Vec<Option<(StreamId, V)>>,
    len: usize,
}

impl<V> Default for StreamTable<V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            len: 0,
        }
    }
}

impl<V> StreamTable<V> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&V> {
        let (there, value) = self.values.get(id.slot as usize)?.as_ref()?;
        (*there == id).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let (there, value) = self.values.get_mut(id.slot as usize)?.as_mut()?;
        (*there == id).then_some(value)
    }

    /// Inserts a value, replacing that of the slot, if any: a session reuses a slot only after its
    /// stream has ended, which both sides handle first.
    #[inline]
    pub(crate) fn insert(&mut self, id: StreamId, value: V) {
        self.insert_with(id, || value);
    }

    #[inline]
    fn insert_with(&mut self, id: StreamId, make: impl FnOnce() -> V) -> &mut V {
        let place = id.slot as usize;
        if place >= self.values.len() {
            self.values.resize_with(place + 1, || None);
        }
        // It is there since the line above.
        let slot = &mut self.values[place];
        debug_assert!(slot.as_ref().is_none_or(|(there, _)| *there == id));
        self.len += usize::from(slot.is_none());
        let (_, value) = slot.insert((id, make()));
        value
    }

    /// Removes and returns a value.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<V> {
        let (_, value) = self.vacate(id)?.take()?;
        Some(value)
    }

    /// Drops a value in place.
    fn forget(&mut self, id: StreamId) {
        if let Some(slot) = self.vacate(id) {
            *slot = None;
        }
    }

    /// Returns the slot of a value that is about to be removed.
    fn vacate(&mut self, id: StreamId) -> Option<&mut Option<(StreamId, V)>> {
        let slot = self.values.get_mut(id.slot as usize)?;
        let is_there = slot.as_ref().is_some_and(|(there, _)| *there == id);
        self.len -= usize::from(is_there);
        is_there.then_some(slot)
    }

    /// Iterates in arbitrary order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        let values = self.values.iter().flatten();
        values.map(|(id, value)| (*id, value))
    }

    /// Iterates in arbitrary order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut V)> {
        let values = self.values.iter_mut().flatten();
        values.map(|(id, value)| (*id, value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(StreamId, &mut V) -> bool) {
        for slot in &mut self.values {
            if let Some((id, value)) = slot
                && !keep(*id, value)
            {
                *slot = None;
                self.len -= 1;
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
        fn is_a_map(steps in proptest::collection::vec((0..6u8, 0..8u64, any::<u8>()), 0..200)) {
            let (mut map, mut model) = (StreamMap::default(), BTreeMap::new());
            // A side's values, which follow the session's.
            let mut side = StreamTable::default();
            let mut most = 0;
            for (step, number, value) in steps {
                let id = map.find(number);
                prop_assert_eq!(id.is_some(), model.contains_key(&number));
                match (step, id) {
                    (0 | 1, _) => {
                        let (id, _) = map.insert_with(number, || value);
                        prop_assert_eq!(id.number, number);
                        side.insert(id, value);
                        model.insert(number, value);
                    }
                    (2, Some(id)) => {
                        prop_assert_eq!(side.remove(id), model.remove(&number));
                        prop_assert_eq!(side.remove(id), None);
                        map.forget(id);
                        map.forget(id);
                    }
                    (3, _) => {
                        side.retain(|id, kept| id.number % 2 == 0 || *kept > value);
                        let kept = |id: StreamId| side.get(id).is_some();
                        let gone: Vec<_> = map.iter().map(|(id, _)| id).collect();
                        for id in gone.into_iter().filter(|id| !kept(*id)) {
                            map.forget(id);
                        }
                        model.retain(|number, kept| number % 2 == 0 || *kept > value);
                    }
                    (_, Some(id)) => {
                        *map.get_mut(id).unwrap() = value;
                        *side.get_mut(id).unwrap() = value;
                        model.insert(number, value);
                    }
                    (_, None) => {}
                }
                let all: BTreeMap<_, _> = map.iter().map(|(id, value)| (id.number, *value)).collect();
                prop_assert_eq!(&all, &model);
                let all: BTreeMap<_, _> = side.iter().map(|(id, value)| (id.number, *value)).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!((map.len(), side.len()), (model.len(), model.len()));
                prop_assert_eq!(map.is_empty(), model.is_empty());
                let id = map.find(number);
                prop_assert_eq!(id.and_then(|id| map.get(id)), model.get(&number));
                // An id from before finds nothing, even if its slot is used again.
                if let Some(id) = id {
                    let later = StreamId { number: number + 8, ..id };
                    prop_assert!(!map.contains(later));
                }
                // Each slot is used or free, and there are no more than were needed at a time.
                prop_assert_eq!(map.slots.len() + map.vacant.len(), map.table.values.len());
                most = most.max(model.len());
                prop_assert_eq!(map.table.values.len(), most);
            }
            let drained: BTreeMap<_, _> = map.drain().map(|(id, value)| (id.number, value)).collect();
            prop_assert_eq!(drained, model);
            prop_assert!(map.is_empty());
        }
    }
}
