//! A packet under construction.

use bytes::Bytes;

use super::{
    buffers::Buffers,
    frame::{Header, MAX_PACKET_HEADER},
    proof::{Keys, PROOF_LEN},
};
use nmfw_core::call::body::wire::varint_len;

#[derive(Debug)]
pub(super) struct Packet {
    out: Vec<u8>,
    header: usize,
    target: usize,
    max: usize,
}

impl Packet {
    /// Creates a packet that is closed at the size `target`, but may reach `max` for a single
    /// frame, including its proof. `expected` is the approximate size of its frames.
    pub(super) fn new(
        header: Header,
        expected: usize,
        (target, max): (usize, usize),
        buffers: &mut Buffers,
    ) -> Self {
        let around = MAX_PACKET_HEADER + PROOF_LEN;
        let mut out = buffers.take(around + expected.min(target), around + target);
        header.put(&mut out);
        Self {
            header: out.len(),
            out,
            target: target - PROOF_LEN,
            max: max - PROOF_LEN,
        }
    }

    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Returns whether it has no frames yet.
    pub(super) fn is_empty(&self) -> bool {
        self.out.len() == self.header
    }

    /// Returns whether an unsplittable frame fits.
    pub(super) fn has_room(&self, frame: usize) -> bool {
        let limit = if self.is_empty() {
            self.max
        } else {
            self.target
        };
        self.out.len() + frame <= limit
    }

    /// Returns the maximum body length of a message frame; `None` if not even an empty one fits.
    pub(super) fn body_room(&self, stream: u64) -> Option<usize> {
        self.body_room_behind(self.out.len(), stream)
    }

    /// Returns the maximum body length of a message frame in a packet without other frames.
    pub(super) fn most_body_room(&self, stream: u64) -> Option<usize> {
        self.body_room_behind(self.header, stream)
    }

    fn body_room_behind(&self, len: usize, stream: u64) -> Option<usize> {
        let header = varint_len(stream) + 1 + varint_len(self.target as u64);
        self.target.checked_sub(len + header)
    }

    /// Seals the packet once; it is kept and resent unchanged.
    pub(super) fn finish(mut self, keys: Option<&Keys>) -> Bytes {
        if let Some(keys) = keys {
            keys.seal(&mut self.out);
        }
        self.out.into()
    }
}
