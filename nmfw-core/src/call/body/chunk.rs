//! [`Row`]: small messages of a stream that stay together from the encoder to the decoder. A separate message costs several allocations, locks and map look-ups; in a row, a length prefix.
//!
//! Per-message functions are marked `#[inline]`, because their callers are monomorphised in the
//! user's crate.

use std::fmt;

use bytes::{Buf, Bytes};
use prost::Message;

use super::wire::{Malformed, Reader, bytes_len, put_varint};

/// The fixed cost of a message in a stream's window, in addition to its bytes. It is about the
/// memory overhead of a message.
pub const MESSAGE_COST: u64 = 32;

/// Below this size, messages may share a packet and are copied when decoded.
pub const SMALL: usize = 1024;

/// A unit of a stream: a message or a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Message(Bytes),
    Row(Row),
}

impl Chunk {
    /// Returns the size of the encoded messages; for a row, including their framing.
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

/// The number of messages, and their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub messages: usize,
    /// The cost of all messages in a stream's window.
    pub cost: u64,
    pub largest: usize,
}

impl Tally {
    /// Counts a single message.
    pub const fn of(len: usize) -> Self {
        Self {
            messages: 1,
            cost: len as u64 + MESSAGE_COST,
            largest: len,
        }
    }

    /// The fixed cost of a row, which takes as much memory as a message.
    const ROW: Self = Self {
        messages: 0,
        cost: MESSAGE_COST,
        largest: 0,
    };

    /// Counts a message in a row, whose framing costs as much as its bytes in the frame.
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

/// Two or more whole messages, encoded and length-delimited: the body of a ROW frame. It has fewer
/// only while messages are removed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Row {
    bytes: Bytes,
    tally: Tally,
}

impl Row {
    /// Counts the messages in a frame's body.
    pub fn tally_of(body: &[u8]) -> Result<Tally, Malformed> {
        let mut rest = Reader::new(body);
        let mut tally = Tally::ROW;
        while !rest.is_empty() {
            tally.add(Tally::in_row(rest.bytes()?.len()));
        }
        if tally.messages < 2 {
            return Err(Malformed("a row with fewer than two messages"));
        }
        Ok(tally)
    }

    /// Creates a row from bytes that were already counted.
    pub fn new(bytes: Bytes, tally: Tally) -> Self {
        debug_assert_eq!(tally.cost, bytes.len() as u64 + MESSAGE_COST);
        Self { bytes, tally }
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns the bytes as in a frame.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn first(&self) -> Option<&[u8]> {
        Reader::new(&self.bytes).bytes().ok()
    }

    /// Returns the length of the first message.
    pub fn first_len(&self) -> Option<usize> {
        self.first().map(<[u8]>::len)
    }

    /// Passes the first message to `read`, and removes it.
    pub(crate) fn read_first<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let first = self.first()?;
        let len = first.len();
        let value = read(first);
        self.bytes.advance(bytes_len(len));
        // The maximum stays an upper bound, because the rest is a part of the row.
        self.tally.messages -= 1;
        self.tally.cost -= bytes_len(len) as u64;
        Some(value)
    }

    /// Removes and returns the first message.
    pub fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.clone();
        self.read_first(|message| bytes.slice_ref(message))
    }

    /// Removes the longest prefix of messages that fits. Returns `None` if not even one fits.
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

    /// Returns a single message as such instead of as a row.
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

/// A row under construction.
#[derive(Debug, Default)]
pub(crate) struct RowWriter {
    bytes: Vec<u8>,
    tally: Tally,
    /// Messages are likely to have similar lengths.
    last_len: usize,
}

impl RowWriter {
    #[inline]
    pub(crate) fn messages(&self) -> usize {
        self.tally.messages
    }

    /// Returns the number of bytes so far.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message with an encoded size of `len` bytes.
    pub(crate) fn push(&mut self, message: &impl Message, len: usize) {
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(self.last_len.max(bytes_len(len)));
        }
        put_varint(&mut self.bytes, len as u64);
        message.encode_raw(&mut self.bytes);
        self.tally.add(Tally::in_row(len));
    }

    /// Returns the messages added since the last call, or `None` if there are none.
    pub(crate) fn take(&mut self) -> Option<Chunk> {
        let mut tally = std::mem::take(&mut self.tally);
        // A message whose encoding panicked is not counted.
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
