//! [`Buffers`]: reuses the memory of large acknowledged packets.
//!
//! An allocator returns large free blocks to the system and obtains new ones page by page, which
//! for a packet of 64 KiB takes longer than filling it. While much is sent, acknowledged packets
//! release about as much memory as the next ones need.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// Smaller buffers are cheap to allocate.
const LARGE: usize = 16 * 1024;

/// Buffers are reviewed after this number of packets, or a period of time. Those that were not
/// needed since the last review are freed.
const ROUND: usize = 256;
const ROUND_TIME: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Buffers for reuse; the last is used first.
    spare: Vec<Vec<u8>>,
    /// The usual maximum size of packets. All spare buffers have this capacity, so that each fits
    /// any packet.
    full: usize,
    /// Number of packets in this round, and the minimum number of spare buffers.
    packets: usize,
    least: usize,
    /// When the round ends, if there are buffers to free.
    ends_at: Option<Instant>,
}

impl Buffers {
    /// Returns an empty buffer for a packet of about `expected` bytes, which is rarely larger than
    /// `full`.
    pub(super) fn take(&mut self, expected: usize, full: usize) -> Vec<u8> {
        self.full = full;
        self.packets += 1;
        if self.packets >= ROUND {
            self.free_unused();
        }
        if expected < LARGE {
            return Vec::with_capacity(expected);
        }
        let spare = self.spare.pop();
        self.least = self.least.min(self.spare.len());
        spare.unwrap_or_else(|| Vec::with_capacity(full))
    }

    /// Keeps the memory of a packet, unless the packet is still shared. At most `most` buffers are
    /// kept, and none that is much larger than usual.
    pub(super) fn give(&mut self, packet: Bytes, most: usize) {
        if packet.len() < LARGE || self.spare.len() >= most {
            return;
        }
        if let Ok(mut packet) = packet.try_into_mut() {
            packet.clear();
            let buffer = Vec::from(packet);
            if (self.full..=2 * self.full).contains(&buffer.capacity()) {
                self.spare.push(buffer);
            }
        }
    }

    /// Updates the clock.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if self.spare.is_empty() {
            self.ends_at = None;
        } else if now >= *self.ends_at.get_or_insert(now + ROUND_TIME) {
            self.free_unused();
            self.ends_at = Some(now + ROUND_TIME);
        }
    }

    fn free_unused(&mut self) {
        let unused = self.least.min(self.spare.len());
        self.spare.drain(..unused);
        self.least = self.spare.len();
        self.packets = 0;
    }
}

#[cfg(any(test, fuzzing))]
impl Buffers {
    /// Returns the total size of the spare buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.spare
            .iter()
            .map(|buffer| buffer.capacity() as u64)
            .sum()
    }
}

#[cfg(test)]
impl Buffers {
    pub(super) fn spare(&self) -> usize {
        self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: usize = 4 * LARGE;

    fn packet(buffers: &mut Buffers) -> Bytes {
        let mut packet = buffers.take(FULL, FULL);
        assert!(packet.is_empty() && packet.capacity() >= FULL);
        packet.resize(FULL - 1, 7);
        packet.into()
    }

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut buffers = Buffers::default();
        let first = packet(&mut buffers);
        let place = first.as_ptr();
        buffers.give(first, 8);
        let second = packet(&mut buffers);
        assert_eq!(second.as_ptr(), place);
        assert!(second.iter().all(|byte| *byte == 7));
        assert_ne!(packet(&mut buffers).as_ptr(), place);
    }

    #[test]
    fn what_others_have_is_not_written_to() {
        let mut buffers = Buffers::default();
        let first = packet(&mut buffers);
        buffers.give(first.clone(), 8);
        assert!(buffers.spare.is_empty());
        let second = packet(&mut buffers);
        assert_ne!(second.as_ptr(), first.as_ptr());
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let mut buffers = Buffers::default();
        let packets: Vec<_> = (0..10).map(|_| packet(&mut buffers)).collect();
        for packet in packets {
            buffers.give(packet, 4);
        }
        assert_eq!(buffers.spare.len(), 4);
        // Buffers that are too small for most packets, or much too large, are not kept.
        let mut buffers = Buffers::default();
        packet(&mut buffers);
        for (len, capacity) in [(LARGE - 1, FULL), (LARGE, FULL - 1), (FULL, 2 * FULL + 1)] {
            let mut packet = Vec::with_capacity(capacity);
            packet.resize(len, 0);
            buffers.give(packet.into(), 4);
            assert!(buffers.spare.is_empty(), "{len} of {capacity}");
        }
        let mut small = buffers.take(LARGE, FULL);
        small.resize(LARGE, 0);
        buffers.give(small.into(), 4);
        assert_eq!(buffers.spare.len(), 1);
    }

    #[test]
    fn what_nobody_needs_is_freed() {
        let mut buffers = Buffers::default();
        let packets: Vec<_> = (0..10).map(|_| packet(&mut buffers)).collect();
        for packet in packets {
            buffers.give(packet, 64);
        }
        buffers.free_unused();
        assert_eq!(buffers.spare.len(), 10, "a needed buffer was freed");
        // From now on, one packet at a time is in flight.
        for _ in 0..2 * ROUND {
            let packet = packet(&mut buffers);
            buffers.give(packet, 64);
        }
        assert_eq!(buffers.spare.len(), 1);
        // From then on, packets are small.
        for _ in 0..2 * ROUND {
            buffers.take(100, FULL);
        }
        assert!(buffers.spare.is_empty());
    }
}
