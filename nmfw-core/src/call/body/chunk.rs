//! [`Row`]: small messages of a stream that stay together all the way, from the one who encodes
//! them to the one who decodes them. A message on its own costs a few allocations, locks and looks at
//! tables on that way; in a row it is some bytes behind their length.
//!
//! What runs for each message is marked to be inlined: it is called from code that is compiled with the
//! user's messages.

use std::fmt;

use bytes::{Buf, Bytes};
use prost::Message;

use super::wire::{Malformed, Reader, bytes_len, put_varint};

/// What a message takes of a stream's window beside its bytes: about what it takes to hold it.
pub const MESSAGE_COST: u64 = 32;

/// Below this size a message may lie in a packet with others: it is decoded into memory of its own.
pub const SMALL: usize = 1024;

/// What goes through a stream at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Message(Bytes),
    Row(Row),
}

impl Chunk {
    /// Of its messages, encoded; of a row with what frames them.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Message(message) => message.len() as u64,
            Self::Row(row) => row.bytes.len() as u64,
        }
    }

    pub fn tally(&self) -> Tally {
        match self {
            Self::Message(message) => Tally::of(message.len()),
            Self::Row(row) => row.tally,
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(message: Bytes) -> Self {
        Self::Message(message)
    }
}

impl From<Row> for Chunk {
    fn from(row: Row) -> Self {
        Self::Row(row)
    }
}

/// How many messages, and how large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub messages: usize,
    /// What they take of a stream's window.
    pub cost: u64,
    pub largest: usize,
}

impl Tally {
    /// Of a message by itself.
    pub const fn of(len: usize) -> Self {
        Self {
            messages: 1,
            cost: len as u64 + MESSAGE_COST,
            largest: len,
        }
    }

    /// Of a row before its messages: it takes as much to hold as a message does.
    const ROW: Self = Self {
        messages: 0,
        cost: MESSAGE_COST,
        largest: 0,
    };

    /// Of a message in a row, where it takes no more than it does in the frame.
    #[inline]
    const fn in_row(len: usize) -> Self {
        Self {
            messages: 1,
            cost: bytes_len(len) as u64,
            largest: len,
        }
    }

    #[inline]
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.cost += other.cost;
        self.largest = self.largest.max(other.largest);
    }
}

/// Two or more whole messages, encoded, each behind its length: the body of a ROW frame, and what protobuf
/// calls delimited. There are fewer only while it is taken apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Row {
    bytes: Bytes,
    tally: Tally,
}

impl Row {
    /// Counts what is in a frame's body.
    pub fn tally_of(body: &[u8]) -> Result<Tally, Malformed> {
        let mut rest = Reader::new(body);
        let mut tally = Tally::ROW;
        while !rest.is_empty() {
            tally.add(Tally::in_row(rest.bytes()?.len()));
        }
        if tally.messages < 2 {
            return Err(Malformed("a row of less than two messages"));
        }
        Ok(tally)
    }

    /// Of bytes that were counted.
    pub fn new(bytes: Bytes, tally: Tally) -> Self {
        debug_assert_eq!(tally.cost, bytes.len() as u64 + MESSAGE_COST);
        Self { bytes, tally }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// As they stand in a frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn first(&self) -> Option<&[u8]> {
        Reader::new(&self.bytes).bytes().ok()
    }

    /// The length of the first message.
    pub fn first_len(&self) -> Option<usize> {
        self.first().map(<[u8]>::len)
    }

    /// Gives the first message to `read`, and forgets it.
    pub(crate) fn read_first<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let first = self.first()?;
        let len = first.len();
        let value = read(first);
        self.bytes.advance(bytes_len(len));
        // What is left is not larger than the largest was.
        self.tally.messages -= 1;
        self.tally.cost -= bytes_len(len) as u64;
        Some(value)
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.clone();
        self.read_first(|message| bytes.slice_ref(message))
    }

    /// Takes the first messages, as many as fit. `None` if none does.
    pub fn split_to(&mut self, fits: impl Fn(Tally) -> bool) -> Option<Chunk> {
        let mut rest = Reader::new(&self.bytes);
        let mut tally = Tally::ROW;
        while let Ok(message) = rest.bytes() {
            let mut with = tally;
            with.add(Tally::in_row(message.len()));
            if !fits(with) {
                break;
            }
            tally = with;
        }
        if tally.messages < 2 {
            return (tally.messages == 1)
                .then(|| self.pop())
                .flatten()
                .map(Chunk::Message);
        }
        let len = usize::try_from(tally.cost - MESSAGE_COST).unwrap_or(0);
        let bytes = self.bytes.split_to(len);
        self.tally.messages -= tally.messages;
        self.tally.cost -= len as u64;
        Some(Chunk::Row(Self { bytes, tally }))
    }

    /// A row with one message is no row.
    pub fn into_chunk(mut self) -> Option<Chunk> {
        match self.tally.messages {
            0 => None,
            1 => self.pop().map(Chunk::Message),
            _ => Some(Chunk::Row(self)),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tally.fmt(f)
    }
}

/// A row while messages are added.
#[derive(Debug, Default)]
pub(crate) struct RowWriter {
    bytes: Vec<u8>,
    tally: Tally,
    /// The next one is likely to be as long as the last.
    last_len: usize,
}

impl RowWriter {
    #[inline]
    pub(crate) fn messages(&self) -> usize {
        self.tally.messages
    }

    /// How many bytes it takes by now.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message, of `len` bytes when it is encoded.
    pub(crate) fn push(&mut self, message: &impl Message, len: usize) {
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(self.last_len.max(bytes_len(len)));
        }
        put_varint(&mut self.bytes, len as u64);
        message.encode_raw(&mut self.bytes);
        self.tally.add(Tally::in_row(len));
    }

    /// What was added since. `None` if nothing was.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        let mut tally = std::mem::take(&mut self.tally);
        // One whose encoding ended in a panic is not counted.
        self.bytes
            .truncate(usize::try_from(tally.cost).unwrap_or(usize::MAX));
        tally.add(Tally::ROW);
        self.last_len = self.bytes.len();
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        Row::new(bytes, tally).into_chunk()
    }
}

/// For tests.
impl Row {
    #[doc(hidden)]
    #[must_use]
    pub fn of<M: AsRef<[u8]>>(messages: &[M]) -> Self {
        let mut row = RowWriter::default();
        for message in messages {
            let message = message.as_ref();
            super::wire::put_bytes(&mut row.bytes, message);
            row.tally.add(Tally::in_row(message.len()));
        }
        row.tally.add(Tally::ROW);
        Self::new(row.bytes.into(), row.tally)
    }

    #[doc(hidden)]
    #[must_use]
    pub fn messages(mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn all(mut row: Row) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| row.read_first(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn one_message_is_no_row() {
        let mut writer = RowWriter::default();
        assert!(writer.take().is_none());
        let text = "hello".to_owned();
        writer.push(&text, text.encoded_len());
        match writer.take() {
            Some(Chunk::Message(message)) => assert_eq!(message, text.encode_to_vec()),
            other => panic!("{other:?}"),
        }
        writer.push(&text, text.encoded_len());
        writer.push(&String::new(), 0);
        match writer.take() {
            Some(Chunk::Row(row)) => assert_eq!(all(row), [text.encode_to_vec(), vec![]]),
            other => panic!("{other:?}"),
        }
        assert!(writer.take().is_none());
    }

    #[test]
    fn bytes_that_are_no_row() {
        for body in [&[][..], &[0], &[1], &[1, 7], &[0, 2, 7], &[0, 0x80, 0x00]] {
            assert!(Row::tally_of(body).is_err(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn rows_split_anywhere(messages in vec(vec(any::<u8>(), 0..300), 0..20), at in 0..4000_usize) {
            let mut rest = Row::of(&messages);
            let front = rest.split_to(|tally| tally.cost - MESSAGE_COST <= at as u64);
            let len = rest.bytes.len();
            if let Some(first) = rest.first_len() {
                let taken: usize = messages.iter().map(|m| bytes_len(m.len())).sum::<usize>() - len;
                prop_assert!(taken <= at && taken + bytes_len(first) > at);
            }
            let mut both = match front {
                None => vec![],
                Some(Chunk::Message(message)) => vec![message.to_vec()],
                Some(Chunk::Row(front)) => {
                    prop_assert_eq!(Row::tally_of(&front.bytes), Ok(front.tally));
                    all(front)
                }
            };
            prop_assert_eq!(rest.tally.cost, len as u64 + MESSAGE_COST);
            both.extend(all(rest));
            prop_assert_eq!(both, messages);
        }

        #[test]
        fn messages_come_off_one_by_one(messages in vec(vec(any::<u8>(), 0..300), 0..20)) {
            let mut row = Row::of(&messages);
            let popped: Vec<_> = std::iter::from_fn(|| row.pop()).collect();
            prop_assert_eq!(popped, messages);
            prop_assert_eq!((row.tally.messages, row.tally.cost), (0, MESSAGE_COST));
        }
    }
}
