//! A single call: its outgoing and incoming data, and the credit for both.
//!
//! Credit counts bytes from the start of the stream, so that a number is self-contained. A message
//! costs its length and [`MESSAGE_COST`]; its parts cost their lengths, and the last one includes
//! the fixed cost. A row costs its body and [`MESSAGE_COST`] once. Credit is granted for messages
//! that the application has taken, so the memory of a receiver is bounded by its window, even for
//! empty messages.
//!
//! A message may be larger than a window. Its received parts then count as taken, but only on a few
//! streams at a time: see [`super::assembly`].

use std::{collections::VecDeque, time::Instant};

use super::{
    StreamId,
    assembly::Assembly,
    budget::Budget,
    frame::{frame_len, kind, put_number_frame},
    packet::Packet,
    receiving::Receiving,
    sending::{Sending, Turn},
};
use nmfw_core::call::body::{chunk::MESSAGE_COST, wire::varint_len};

/// Returns the cost of a message frame.
pub(super) fn cost(part: usize, more: bool) -> u64 {
    part as u64 + if more { 0 } else { MESSAGE_COST }
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Whether its windows are small at first.
    pub(super) is_narrow: bool,
    /// Whether it is in the session's queue of streams with data to send.
    pub(super) queued: bool,
    /// Whether this side ended it, so that the application gets no more events.
    pub(super) ended_here: bool,
    pub(super) wants_writable: bool,
    /// Whether it is among the session's streams that found no room.
    pub(super) is_starved: bool,
    /// For a service, the cost of its head in the [`Budget`] while its message has not arrived.
    pub(super) head: u64,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
}

impl Stream {
    /// Creates a stream with the initial credit of both sides.
    pub(super) fn new(
        is_server: bool,
        (is_single, is_narrow): (bool, bool),
        (window, peer_window): (u64, u64),
    ) -> Self {
        Self {
            is_narrow,
            queued: false,
            ended_here: false,
            wants_writable: false,
            is_starved: false,
            head: 0,
            sending: Sending::new(is_server, peer_window),
            receiving: Receiving::new(window, is_single),
        }
    }

    /// Ends the stream on this side. Returns whether it held, waited for or had not repaid a turn
    /// at assembling, which other streams get now.
    #[must_use]
    pub(super) fn end_here(&mut self, budget: &mut Budget) -> bool {
        self.ended_here = true;
        budget.remove_head(std::mem::take(&mut self.head));
        self.receiving.end_here();
        self.receiving.assembly != Assembly::No
    }

    /// Returns whether this side may still send on it.
    pub(super) fn can_send(&self) -> bool {
        !self.sending.is_closed() && !self.ended_here
    }

    /// Returns whether a turn would write anything.
    pub(super) fn is_ready(&self) -> bool {
        self.receiving.grant().is_some() || self.sending.is_ready()
    }

    /// Queues the stream if it has data to send.
    pub(super) fn queue(&mut self, id: StreamId, row: &mut VecDeque<StreamId>) {
        if !self.queued && self.is_ready() {
            self.queued = true;
            row.push_back(id);
        }
    }

    /// Writes queued frames, up to a share if other streams wait.
    pub(super) fn write(&mut self, id: u64, out: &mut Packet, alone: bool, now: Instant) -> Turn {
        let start = out.len();
        if let Some(limit) = self.receiving.grant() {
            if !out.has_room(frame_len(id, varint_len(limit))) {
                return Turn::Full;
            }
            put_number_frame(out.bytes(), id, kind::WINDOW, limit);
            self.receiving.granted(limit);
        }
        self.sending.write(id, out, start, alone, now)
    }

    /// Returns what the peer may still send without knowing that the stream has ended.
    pub(super) fn late_credit(&self) -> u64 {
        if self.sending.is_known() {
            self.receiving.late_credit()
        } else {
            0
        }
    }
}
