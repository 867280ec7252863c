//! One call: what waits to be sent, what is being received, and the credit for both.
//!
//! Credit counts bytes from the beginning of the stream, so that a number says all there is to
//! know. A message costs its length and [`MESSAGE_COST`]; its parts cost their lengths, and the
//! last one the rest. A row costs its body and [`MESSAGE_COST`] once. Credit is granted for what
//! the application has taken. So what a receiver holds is bounded by its window, empty messages
//! included.
//!
//! A message may be larger than a window. What arrived of it then counts as taken, but on few
//! streams at a time: see [`super::assembly`].

use std::{collections::VecDeque, time::Instant};

use super::{
    assembly::Assembly,
    budget::Budget,
    frame::{frame_len, kind, put_number_frame},
    packet::Packet,
    receiving::Receiving,
    sending::{Sending, Turn},
};
use nmfw_core::call::body::{chunk::MESSAGE_COST, wire::varint_len};

/// What a frame of a message costs.
pub(super) fn cost(part: usize, more: bool) -> u64 {
    part as u64 + if more { 0 } else { MESSAGE_COST }
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Whether its windows are small at first.
    pub(super) is_narrow: bool,
    /// Whether it is in the session's row of streams with something to send.
    pub(super) queued: bool,
    /// This side ended it: the application wants to hear no more of it.
    pub(super) ended_here: bool,
    pub(super) wants_writable: bool,
    /// It is among the session's streams that found no room.
    pub(super) is_starved: bool,
    /// Of a service, what its head takes in the [`Budget`] while its message has not come.
    pub(super) head: u64,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
}

impl Stream {
    /// With what the peer may send at first, and what this side may.
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

    /// This side has ended the stream: what still comes is not wanted. Says whether it had, waited
    /// for, or had not repaid a turn at assembling, which others get now.
    #[must_use]
    pub(super) fn end_here(&mut self, budget: &mut Budget) -> bool {
        self.ended_here = true;
        budget.remove_head(std::mem::take(&mut self.head));
        self.receiving.end_here();
        self.receiving.assembly != Assembly::No
    }

    /// Whether this side may still send on it.
    pub(super) fn can_send(&self) -> bool {
        !self.sending.is_closed() && !self.ended_here
    }

    /// Whether a turn would write anything.
    pub(super) fn is_ready(&self) -> bool {
        self.receiving.grant().is_some() || self.sending.is_ready()
    }

    /// Puts it into the row of streams with something to send, if it has.
    pub(super) fn queue(&mut self, id: u64, row: &mut VecDeque<u64>) {
        if !self.queued && self.is_ready() {
            self.queued = true;
            row.push_back(id);
        }
    }

    /// Writes what is next, up to a share if others wait.
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

    /// What the peer may still send, not knowing that the stream is gone.
    pub(super) fn late_credit(&self) -> u64 {
        if self.sending.is_known() {
            self.receiving.late_credit()
        } else {
            0
        }
    }
}
