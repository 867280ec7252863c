//! [`FairQueue`]: a queue that serves clients round-robin.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::client_id::ClientId;

/// A queue that serves its clients round-robin, and the items of each client in order.
///
/// All operations take at most logarithmic time.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lines: HashMap<ClientId, Line<T>>,
    /// The waiting clients, in the order of their turns.
    turns: BTreeMap<u64, ClientId>,
    /// The clients by number of queued items.
    by_len: BTreeSet<(usize, ClientId)>,
    by_bytes: BTreeSet<(usize, ClientId)>,
    /// The next turn and place number.
    next: u64,
    len: usize,
    bytes: usize,
}

/// The queued items of one client; never empty.
#[derive(Debug)]
struct Line<T> {
    turn: u64,
    waiting: BTreeMap<u64, Waiting<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    client: ClientId,
    number: u64,
}

/// The limit that a new item exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    Items,
    /// Bytes; the new item has this many.
    Bytes(usize),
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            by_len: BTreeSet::new(),
            by_bytes: BTreeSet::new(),
            next: 0,
            len: 0,
            bytes: 0,
        }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the client whose turn it is.
    pub(crate) fn first(&self) -> Option<ClientId> {
        self.turns.first_key_value().map(|(_, client)| *client)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Appends an item of this size to the client's items.
    pub(crate) fn push(&mut self, client: ClientId, bytes: usize, item: T) -> Place {
        let number = self.number();
        let line = self.lines.entry(client).or_insert_with(|| {
            self.turns.insert(number, client);
            Line {
                turn: number,
                waiting: BTreeMap::new(),
                bytes: 0,
            }
        });
        let before = (line.waiting.len(), line.bytes);
        line.waiting.insert(number, Waiting { item, bytes });
        line.bytes += bytes;
        let after = (line.waiting.len(), line.bytes);
        self.len += 1;
        self.bytes += bytes;
        self.resize(client, before, after);
        Place { client, number }
    }

    /// Removes and returns the next item.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let client = self.first()?;
        let next = self.number();
        let number = {
            let line = self.lines.get_mut(&client)?;
            self.turns.remove(&line.turn);
            self.turns.insert(next, client);
            line.turn = next;
            line.waiting.first_key_value().map(|(number, _)| *number)?
        };
        self.remove(Place { client, number })
    }

    /// Removes and returns the item at a place, if it is still queued.
    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let Place { client, number } = place;
        let line = self.lines.get_mut(&client)?;
        let before = (line.waiting.len(), line.bytes);
        let Waiting { item, bytes } = line.waiting.remove(&number)?;
        line.bytes -= bytes;
        let after = (line.waiting.len(), line.bytes);
        if line.waiting.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(&client);
        }
        self.len -= 1;
        self.bytes -= bytes;
        self.resize(client, before, after);
        Some(item)
    }

    /// Removes and returns the newest item of the client that uses most of the exceeded limit, if
    /// the newcomer uses less of it even with one more item.
    pub(crate) fn displace(&mut self, newcomer: ClientId, excess: Excess) -> Option<T> {
        let own = self.lines.get(&newcomer);
        let (largest, own) = match excess {
            Excess::Items => (
                self.by_len.last(),
                own.map_or(0, |line| line.waiting.len()) + 1,
            ),
            Excess::Bytes(more) => (
                self.by_bytes.last(),
                own.map_or(0, |line| line.bytes).saturating_add(more),
            ),
        };
        let (most, client) = *largest?;
        if own >= most {
            return None;
        }
        let (number, _) = self.lines.get(&client)?.waiting.last_key_value()?;
        let number = *number;
        self.remove(Place { client, number })
    }

    /// Updates the indexes when a client's numbers of items and bytes change.
    fn resize(&mut self, client: ClientId, before: (usize, usize), after: (usize, usize)) {
        self.by_len.remove(&(before.0, client));
        self.by_bytes.remove(&(before.1, client));
        if after.0 > 0 {
            self.by_len.insert((after.0, client));
            self.by_bytes.insert((after.1, client));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reference model, as simple as possible.
    #[derive(Default)]
    struct Model {
        /// Client, bytes and item, in order of arrival.
        waiting: Vec<(u64, usize, u32)>,
        /// The waiting clients, next first.
        turns: Vec<u64>,
    }

    impl Model {
        fn push(&mut self, client: u64, bytes: usize, item: u32) {
            self.waiting.push((client, bytes, item));
            if !self.turns.contains(&client) {
                self.turns.push(client);
            }
        }

        fn take(&mut self, index: usize) -> u32 {
            let (client, _, item) = self.waiting.remove(index);
            if !self.waiting.iter().any(|(other, ..)| *other == client) {
                self.turns.retain(|other| *other != client);
            }
            item
        }

        fn pop(&mut self) -> Option<u32> {
            let client = *self.turns.first()?;
            self.turns.rotate_left(1);
            let index = self.waiting.iter().position(|(c, ..)| *c == client)?;
            Some(self.take(index))
        }

        fn remove(&mut self, item: u32) -> Option<u32> {
            let index = self.waiting.iter().position(|(_, _, i)| *i == item)?;
            Some(self.take(index))
        }

        fn amount(&self, client: u64, excess: Excess) -> usize {
            let of = self.waiting.iter().filter(|(c, ..)| *c == client);
            match excess {
                Excess::Items => of.count(),
                Excess::Bytes(_) => of.map(|(_, bytes, _)| bytes).sum(),
            }
        }

        fn displace(&mut self, newcomer: u64, excess: Excess) -> Option<u32> {
            let more = match excess {
                Excess::Items => 1,
                Excess::Bytes(more) => more,
            };
            let clients = self.turns.iter().copied();
            let most = clients.max_by_key(|client| (self.amount(*client, excess), *client))?;
            if self.amount(newcomer, excess) + more >= self.amount(most, excess) {
                return None;
            }
            let index = self.waiting.iter().rposition(|(c, ..)| *c == most)?;
            Some(self.take(index))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Push(u64, usize),
        Pop,
        /// Any item that was pushed, queued or not.
        Remove(usize),
        Displace(u64, Excess),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..5_u64, 0..50_usize).prop_map(|(client, bytes)| Op::Push(client, bytes)),
            2 => Just(Op::Pop),
            1 => any::<usize>().prop_map(Op::Remove),
            1 => (0..5_u64).prop_map(|client| Op::Displace(client, Excess::Items)),
            1 => (0..5_u64, 0..50_usize)
                .prop_map(|(client, more)| Op::Displace(client, Excess::Bytes(more))),
        ]
    }

    proptest! {
        #[test]
        fn does_what_the_model_does(ops in proptest::collection::vec(op(), 0..200)) {
            let mut queue = FairQueue::default();
            let mut model = Model::default();
            let mut places = Vec::new();
            for op in ops {
                match op {
                    Op::Push(client, bytes) => {
                        let item = u32::try_from(places.len()).unwrap();
                        places.push(queue.push(ClientId::numbered(client), bytes, item));
                        model.push(client, bytes, item);
                    }
                    Op::Pop => prop_assert_eq!(queue.pop(), model.pop()),
                    Op::Remove(any) if !places.is_empty() => {
                        let item = any % places.len();
                        let removed = model.remove(u32::try_from(item).unwrap());
                        prop_assert_eq!(queue.remove(places[item]), removed);
                    }
                    Op::Remove(_) => {}
                    Op::Displace(client, excess) => {
                        let displaced = queue.displace(ClientId::numbered(client), excess);
                        prop_assert_eq!(displaced, model.displace(client, excess));
                    }
                }
                prop_assert_eq!(queue.len(), model.waiting.len());
                let bytes: usize = model.waiting.iter().map(|(_, bytes, _)| bytes).sum();
                prop_assert_eq!(queue.bytes(), bytes);
                prop_assert_eq!(queue.turns.len(), model.turns.len());
                prop_assert_eq!(queue.lines.len(), model.turns.len());
                prop_assert_eq!(queue.by_len.len(), model.turns.len());
                prop_assert_eq!(queue.by_bytes.len(), model.turns.len());
            }
        }
    }

    #[test]
    fn one_client_cannot_keep_others_waiting() {
        let mut queue = FairQueue::default();
        for n in 0..100 {
            queue.push(ClientId::numbered(1), 1, ("hog", n));
        }
        queue.push(ClientId::numbered(2), 1, ("late", 0));
        queue.push(ClientId::numbered(2), 1, ("late", 1));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).take(5).collect();
        assert_eq!(
            order,
            [("hog", 0), ("late", 0), ("hog", 1), ("late", 1), ("hog", 2)]
        );
        // The newest item of the largest client is displaced first; its oldest item stays.
        let newcomer = ClientId::numbered(3);
        assert_eq!(queue.displace(newcomer, Excess::Items), Some(("hog", 99)));
        assert_eq!(
            queue.displace(ClientId::numbered(1), Excess::Items),
            None,
            "a client displaced its own call"
        );
    }
}
