//! One call: what waits to be sent, what is being received, and the credit for both.
//!
//! Credit counts bytes from the beginning of the stream, so that a number says all there is to
//! know. A message costs its length and [`MESSAGE_COST`]; its parts cost their lengths, and the
//! last one the rest. Credit is granted for what the application has taken. So what a receiver
//! holds is bounded by its window, empty messages included.
//!
//! A message may be larger than a window. What arrived of it then counts as taken, but only on
//! one stream at a time: see [`Assembly`].

use std::{collections::VecDeque, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    body::time_left,
    frame::{flag, frame_len, kind, put_frame, put_frame_header, put_number_frame},
    packet::Packet,
    wire::{Malformed, put_varint, varint_len},
};

/// What a message costs beside its bytes: about what it takes to hold it.
pub(super) const MESSAGE_COST: u64 = 32;

/// What a stream may write before the next has its turn. Smaller messages are not split to fill a
/// packet.
const QUANTUM: usize = 8 * 1024;

/// A part is not smaller than this, unless it is the last: credit that trickles in must not turn
/// a message into crumbs.
const MIN_PART: usize = 256;

/// What a frame of a message costs.
pub(super) fn cost(part: usize, more: bool) -> u64 {
    part as u64 + if more { 0 } else { MESSAGE_COST }
}

/// Something that waits to be sent.
#[derive(Debug)]
enum Item {
    /// The body lacks the time left, which stands first.
    Call {
        deadline: Option<Instant>,
        rest: Bytes,
    },
    /// A message, or what is left of it.
    Message { rest: Bytes, end: bool },
    /// A frame that costs nothing.
    Frame { kind_and_flags: u8, body: Bytes },
}

/// How a stream's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has nothing to send, or no credit for it.
    Idle,
    /// It has written its share and has more.
    More,
    /// The packet has no room for what is next.
    Full,
    /// It has written its last frame; nothing of it is needed any more.
    Done,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// Whether it is in the session's row of streams with something to send.
    pub(super) queued: bool,
    /// This side ended it: the application wants to hear no more of it.
    pub(super) ended_here: bool,
    /// The peer may know of it: its CALL was sent, or came from there.
    pub(super) known: bool,
    pub(super) wants_writable: bool,
    /// Whether it may assemble a message larger than its window.
    pub(super) assembly: Assembly,

    items: VecDeque<Item>,
    /// Cost of the messages in `items`.
    buffered: u64,
    send_closed: bool,
    send_begun: bool,
    /// Writing its end is the end of the stream: so it is for a service.
    end_is_last: bool,
    is_reset: bool,
    spent: u64,
    limit: u64,

    partial: BytesMut,
    recv_begun: bool,
    recv_closed: bool,
    window: u64,
    received: u64,
    consumed: u64,
    announced: u64,
}

impl Stream {
    /// With what the peer may send at first, and what this side may.
    pub(super) fn new(is_server: bool, window: u64, peer_window: u64) -> Self {
        Self {
            queued: false,
            ended_here: false,
            known: is_server,
            wants_writable: false,
            assembly: Assembly::No,
            items: VecDeque::new(),
            buffered: 0,
            send_closed: false,
            send_begun: false,
            end_is_last: is_server,
            is_reset: false,
            spent: 0,
            limit: peer_window,
            partial: BytesMut::new(),
            recv_begun: false,
            recv_closed: false,
            window,
            received: 0,
            consumed: 0,
            announced: window,
        }
    }

    pub(super) fn buffered(&self) -> u64 {
        self.buffered
    }

    pub(super) fn may_send(&self) -> bool {
        !self.send_closed
    }

    pub(super) fn push_call(&mut self, deadline: Option<Instant>, rest: Bytes) {
        self.items.push_back(Item::Call { deadline, rest });
    }

    pub(super) fn push_message(&mut self, message: Bytes, end: bool) {
        self.send_begun = true;
        self.buffered += message.len() as u64 + MESSAGE_COST;
        self.send_closed = end;
        self.items.push_back(Item::Message { rest: message, end });
    }

    /// HEADERS come once and before messages.
    pub(super) fn push_headers(&mut self, body: Bytes) -> bool {
        let is_first = !self.send_begun && !self.send_closed;
        if is_first {
            self.send_begun = true;
            self.push_frame(kind::HEADERS, body);
        }
        is_first
    }

    /// STATUS or END, behind what waits already.
    pub(super) fn push_end(&mut self, kind_and_flags: u8, body: Bytes) {
        self.send_closed = true;
        self.push_frame(kind_and_flags, body);
    }

    /// RESET, in place of what waits.
    pub(super) fn push_reset(&mut self, flags: u8, body: Bytes) {
        self.items.clear();
        self.buffered = 0;
        self.send_closed = true;
        self.end_is_last = true;
        self.is_reset = true;
        self.push_frame(kind::RESET | flags, body);
    }

    fn push_frame(&mut self, kind_and_flags: u8, body: Bytes) {
        self.items.push_back(Item::Frame {
            kind_and_flags,
            body,
        });
    }

    /// This side has ended the stream: what still comes is not wanted.
    pub(super) fn end_here(&mut self) {
        self.ended_here = true;
        self.partial = BytesMut::new();
    }

    /// A part of a message of `rest` bytes that credit allows for; all of it if it may end.
    fn affordable(&self, rest: usize) -> Option<usize> {
        let credit = self.limit.saturating_sub(self.spent);
        if rest as u64 + MESSAGE_COST <= credit {
            return Some(rest);
        }
        // At least a byte stays for the last part, which pays for the message.
        let part = usize::try_from(credit)
            .unwrap_or(usize::MAX)
            .min(rest.saturating_sub(1));
        (part >= MIN_PART).then_some(part)
    }

    /// Whether a turn would write anything.
    pub(super) fn is_ready(&self) -> bool {
        self.grant().is_some()
            || match self.items.front() {
                None => false,
                Some(Item::Message { rest, .. }) => self.affordable(rest.len()).is_some(),
                Some(Item::Call { .. } | Item::Frame { .. }) => true,
            }
    }

    /// Writes what is next, up to a share if others wait.
    pub(super) fn write(&mut self, id: u64, out: &mut Packet, alone: bool, now: Instant) -> Turn {
        let start = out.len();
        if let Some(limit) = self.grant() {
            if !out.has_room(frame_len(id, varint_len(limit))) {
                return Turn::Full;
            }
            put_number_frame(out.bytes(), id, kind::WINDOW, limit);
            self.announced = limit;
        }
        loop {
            let share = if alone {
                usize::MAX
            } else {
                QUANTUM.saturating_sub(out.len() - start)
            };
            let turn = match self.items.front_mut() {
                None => return Turn::Idle,
                Some(_) if share == 0 => return Turn::More,
                Some(Item::Call { deadline, rest }) => {
                    let time = time_left(*deadline, now);
                    let len = varint_len(time) + rest.len();
                    if !out.has_room(frame_len(id, len)) {
                        return Turn::Full;
                    }
                    put_frame_header(out.bytes(), id, kind::CALL, len);
                    put_varint(out.bytes(), time);
                    out.bytes().put_slice(rest);
                    self.known = true;
                    self.items.pop_front();
                    None
                }
                Some(Item::Frame {
                    kind_and_flags,
                    body,
                }) => {
                    if !out.has_room(frame_len(id, body.len())) {
                        return Turn::Full;
                    }
                    put_frame(out.bytes(), id, *kind_and_flags, body);
                    let is_end = *kind_and_flags & kind::MASK != kind::HEADERS;
                    self.items.pop_front();
                    (is_end && self.end_is_last).then_some(Turn::Done)
                }
                Some(Item::Message { .. }) => self.write_message(id, out, share),
            };
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    /// Writes a message or a part of one. `None` if the turn can go on.
    fn write_message(&mut self, id: u64, out: &mut Packet, share: usize) -> Option<Turn> {
        let Some(Item::Message { rest, .. }) = self.items.front() else {
            return None;
        };
        let len = rest.len();
        let Some(part) = self.affordable(len) else {
            return Some(Turn::Idle);
        };
        let room = out.body_room(id);
        let is_small = len <= QUANTUM;
        if part > room && (room < MIN_PART || (is_small && !out.is_empty())) {
            return Some(Turn::Full);
        }
        let share = if is_small { len } else { share.max(MIN_PART) };
        let part = part.min(room).min(share);
        let Some(Item::Message { rest, end }) = self.items.front_mut() else {
            return None;
        };
        if part < len {
            put_frame(
                out.bytes(),
                id,
                kind::MESSAGE | flag::MORE,
                &rest.split_to(part),
            );
            self.spend(part as u64);
            return None;
        }
        let end = *end;
        let flags = if end { flag::END } else { 0 };
        put_frame(out.bytes(), id, kind::MESSAGE | flags, rest);
        self.items.pop_front();
        self.spend(part as u64 + MESSAGE_COST);
        (end && self.end_is_last).then_some(Turn::Done)
    }

    fn spend(&mut self, cost: u64) {
        self.spent += cost;
        self.buffered -= cost;
    }

    pub(super) fn on_window(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Notes HEADERS; `false` if they are out of place.
    pub(super) fn on_headers(&mut self) -> bool {
        !std::mem::replace(&mut self.recv_begun, true) && !self.recv_closed
    }

    /// Takes in a part of a message: `Some` if it is the last. Its bytes are then all that there
    /// is of the message before it.
    pub(super) fn on_part(
        &mut self,
        part: &[u8],
        more: bool,
        end: bool,
        max_message: usize,
    ) -> Result<Part, Malformed> {
        if self.recv_closed {
            return Err(Malformed("a message after the last"));
        }
        self.received += cost(part.len(), more);
        if self.received > self.announced {
            return Err(Malformed("a stream sent more than its window"));
        }
        self.recv_begun = true;
        self.recv_closed = end;
        if self.ended_here {
            return Ok(Part::Unwanted);
        }
        let len = self.partial.len() + part.len();
        if len > max_message {
            return Ok(Part::TooLarge);
        }
        if more {
            self.partial.extend_from_slice(part);
            return Ok(Part::More);
        }
        if self.partial.is_empty() {
            return Ok(Part::Whole);
        }
        let mut message = std::mem::take(&mut self.partial);
        message.extend_from_slice(part);
        Ok(Part::Last(message.freeze()))
    }

    pub(super) fn on_end(&mut self) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.recv_closed, true) || !self.partial.is_empty() {
            return Err(Malformed("an end after the end, or within a message"));
        }
        Ok(())
    }

    /// The peer sends nothing more, whatever is unfinished.
    pub(super) fn on_reset(&mut self) {
        self.recv_closed = true;
    }

    /// The application has taken a message.
    pub(super) fn consume(&mut self, len: usize) {
        let taken = self.consumed + len as u64 + MESSAGE_COST;
        self.consumed = taken.min(self.received - self.partial.len() as u64);
    }

    /// What the peer may send in total, as it should know by now. Small steps wait, unless a
    /// message is under way that they may be needed for.
    fn grant(&self) -> Option<u64> {
        if self.recv_closed || self.is_reset {
            return None;
        }
        let limit = self.consumed + self.window + self.assembled();
        let step = limit.saturating_sub(self.announced);
        let left = self.announced - self.received;
        let is_due =
            step >= self.window / 2 || (!self.partial.is_empty() && left < self.window / 2);
        (step > 0 && is_due).then_some(limit)
    }

    /// What counts as taken of an unfinished message.
    fn assembled(&self) -> u64 {
        if self.assembly == Assembly::Holds {
            self.partial.len() as u64
        } else {
            0
        }
    }

    /// Whether it may need more than its window for the message that is under way.
    pub(super) fn needs_assembly(&self) -> bool {
        self.partial.len() as u64 > self.window / 2
    }

    /// Whether what it was granted beyond its window has been taken by the application.
    pub(super) fn is_assembly_repaid(&self) -> bool {
        self.partial.is_empty() && self.consumed + self.window >= self.announced
    }

    /// What the peer may still send, not knowing that the stream is gone.
    pub(super) fn late_credit(&self) -> u64 {
        if self.recv_closed || !self.known {
            0
        } else {
            self.announced - self.received
        }
    }
}

/// The permission to assemble a message larger than the window, of which there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assembly {
    No,
    Waits,
    Holds,
}

/// What became of a part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It was the whole message.
    Whole,
    /// It completed this message.
    Last(Bytes),
    /// It was added to what there is.
    More,
    /// The message is over the limit.
    TooLarge,
    /// This side has ended the stream.
    Unwanted,
}

#[cfg(test)]
impl Stream {
    /// Bytes held of what was received, without what the application was given.
    pub(super) fn held(&self) -> u64 {
        self.partial.len() as u64
    }

    pub(super) fn check(&self) {
        assert!(self.received <= self.announced);
        assert!(self.consumed + self.partial.len() as u64 <= self.received);
        assert!(self.spent <= self.limit);
        let buffered = self.items.iter().map(|item| match item {
            Item::Message { rest, .. } => rest.len() as u64 + MESSAGE_COST,
            _ => 0,
        });
        assert_eq!(buffered.sum::<u64>(), self.buffered);
    }
}
