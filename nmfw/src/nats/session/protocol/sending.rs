//! The sending half of a stream: its queue, and its credit.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;

use super::{
    body::time_left,
    frame::{flag, frame_len, kind, put_frame, put_frame_header},
    packet::Packet,
};
use nmfw_core::call::body::{
    chunk::{Chunk, MESSAGE_COST, Row, Tally},
    wire::{put_varint, varint_len},
};

/// Number of bytes that a stream may write before the next stream's turn. A message that fits into
/// a packet is not split, neither at the end of a turn nor to fill a packet, so a turn is at most a
/// packet.
const QUANTUM: usize = 8 * 1024;

/// Minimum size of a part, except for the last: credit in small steps must not fragment a message.
pub(super) const MIN_PART: usize = 256;

/// An item in the queue.
#[derive(Debug)]
enum Item {
    /// A message, or the rest of it.
    Message { rest: Bytes, end: bool },
    /// Several messages, or the rest of them.
    Row { row: Row, end: bool },
    /// A frame without a cost.
    Frame { kind_and_flags: u8, body: Bytes },
}

impl Item {
    fn new(chunk: Chunk, end: bool) -> Self {
        match chunk {
            Chunk::Message(rest) => Self::Message { rest, end },
            Chunk::Row(row) => Self::Row { row, end },
        }
    }
}

/// The queue. Most streams have a single message, which is stored inline without an allocation.
#[derive(Debug, Default)]
struct Items {
    first: Option<Item>,
    /// Empty if there is no first item.
    others: VecDeque<Item>,
}

impl Items {
    fn push(&mut self, item: Item) {
        match &self.first {
            None => self.first = Some(item),
            Some(_) => self.others.push_back(item),
        }
    }

    fn front(&self) -> Option<&Item> {
        self.first.as_ref()
    }

    fn front_mut(&mut self) -> Option<&mut Item> {
        self.first.as_mut()
    }

    fn pop(&mut self) -> Option<Item> {
        std::mem::replace(&mut self.first, self.others.pop_front())
    }

    fn push_front(&mut self, item: Item) {
        if let Some(second) = self.first.replace(item) {
            self.others.push_front(second);
        }
    }
}

/// A CALL that waits to be sent.
#[derive(Debug)]
pub(super) struct CallFrame {
    pub(super) deadline: Option<Instant>,
    /// The body without the time left.
    pub(super) body: Bytes,
    pub(super) is_narrow: bool,
}

impl CallFrame {
    /// Writes the frame, if the packet has room for it.
    fn write(&self, id: u64, out: &mut Packet, now: Instant) -> bool {
        let time = time_left(self.deadline, now);
        let len = varint_len(time) + self.body.len();
        let has_room = out.has_room(frame_len(id, len));
        if has_room {
            let flags = if self.is_narrow { flag::NARROW } else { 0 };
            put_frame_header(out.bytes(), id, kind::CALL | flags, len);
            put_varint(out.bytes(), time);
            out.bytes().extend_from_slice(&self.body);
        }
        has_room
    }
}

/// How a stream's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The stream has nothing to send, or no credit.
    Idle,
    /// The stream has written its share and has more.
    More,
    /// The packet has no room for the next frame.
    Full,
    /// The stream has written its last frame; its state is no longer needed.
    Done,
}

/// The sending side of a stream.
#[derive(Debug)]
pub(super) struct Sending {
    /// The CALL, until it is sent.
    call: Option<CallFrame>,
    items: Items,
    /// Cost of the messages in `items`.
    buffered: u64,
    /// Size of the frames in `items`, and of `call`.
    frames: u64,
    /// Whether nothing can be added.
    is_closed: bool,
    has_begun: bool,
    /// Whether the peer may know the stream, because its CALL was sent or received.
    is_known: bool,
    /// Whether writing its end ends the stream, as for a service and after RESET.
    end_is_last: bool,
    /// Cost of the sent data, and its limit.
    spent: u64,
    limit: u64,
}

impl Sending {
    pub(super) fn new(is_server: bool, limit: u64) -> Self {
        Self {
            call: None,
            items: Items::default(),
            buffered: 0,
            frames: 0,
            is_closed: false,
            has_begun: false,
            is_known: is_server,
            end_is_last: is_server,
            spent: 0,
            limit,
        }
    }

    pub(super) fn buffered(&self) -> u64 {
        self.buffered
    }

    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// Returns the memory of all queued data.
    pub(super) fn held(&self) -> u64 {
        self.buffered + self.frames
    }

    /// Returns the queued data of a stream to which nothing can be added.
    pub(super) fn last_words(&self) -> u64 {
        if self.is_closed { self.held() } else { 0 }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    pub(super) fn push_call(&mut self, call: CallFrame) {
        self.frames += call.body.len() as u64;
        self.call = Some(call);
    }

    /// Queues messages; with `end`, they are the last.
    pub(super) fn push(&mut self, chunk: Chunk, end: bool) {
        self.has_begun = true;
        self.buffered += chunk.tally().cost;
        self.is_closed = end;
        self.items.push(Item::new(chunk, end));
    }

    /// Queues HEADERS, which are sent once and before messages.
    pub(super) fn push_headers(&mut self, body: Bytes) -> bool {
        let is_first = !self.has_begun && !self.is_closed;
        if is_first {
            self.has_begun = true;
            self.push_frame(kind::HEADERS, body);
        }
        is_first
    }

    /// Queues STATUS or END after the other items.
    pub(super) fn push_end(&mut self, kind_and_flags: u8, body: Bytes) {
        self.is_closed = true;
        self.push_frame(kind_and_flags, body);
    }

    /// Queues RESET in place of all other items.
    pub(super) fn push_reset(&mut self, flags: u8, body: Bytes) {
        self.items = Items::default();
        self.buffered = 0;
        self.frames = 0;
        self.is_closed = true;
        self.end_is_last = true;
        self.push_frame(kind::RESET | flags, body);
    }

    fn push_frame(&mut self, kind_and_flags: u8, body: Bytes) {
        self.frames += body.len() as u64;
        self.items.push(Item::Frame {
            kind_and_flags,
            body,
        });
    }

    /// Returns the size of a part of a message of `rest` bytes that credit permits; all of it if
    /// the message may end.
    fn affordable(&self, rest: usize) -> Option<usize> {
        let credit = self.limit.saturating_sub(self.spent);
        if rest as u64 + MESSAGE_COST <= credit {
            return Some(rest);
        }
        // At least one byte stays for the last part, which includes the message's fixed cost.
        let part = usize::try_from(credit)
            .unwrap_or(usize::MAX)
            .min(rest.saturating_sub(1));
        (part >= MIN_PART).then_some(part)
    }

    /// Returns whether a turn would write anything.
    pub(super) fn is_ready(&self) -> bool {
        match self.items.front() {
            _ if self.call.is_some() => true,
            None => false,
            Some(Item::Message { rest, .. }) => self.affordable(rest.len()).is_some(),
            Some(Item::Row { row, .. }) => row
                .first_len()
                .is_none_or(|len| self.affordable(len).is_some()),
            Some(Item::Frame { .. }) => true,
        }
    }

    /// Writes queued frames, up to a share if other streams wait; `start` is where the turn began.
    pub(super) fn write(
        &mut self,
        id: u64,
        out: &mut Packet,
        start: usize,
        alone: bool,
        now: Instant,
    ) -> Turn {
        if let Some(call) = &self.call {
            if !call.write(id, out, now) {
                return Turn::Full;
            }
            self.frames -= call.body.len() as u64;
            self.is_known = true;
            self.call = None;
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
                Some(Item::Frame {
                    kind_and_flags,
                    body,
                }) => {
                    if !out.has_room(frame_len(id, body.len())) {
                        return Turn::Full;
                    }
                    put_frame(out.bytes(), id, *kind_and_flags, body);
                    self.frames -= body.len() as u64;
                    let is_end = *kind_and_flags & kind::MASK != kind::HEADERS;
                    self.items.pop();
                    (is_end && self.end_is_last).then_some(Turn::Done)
                }
                Some(Item::Message { .. }) => self.write_message(id, out, share),
                Some(Item::Row { .. }) => self.write_row(id, out, share),
            };
            if let Some(turn) = turn {
                return turn;
            }
        }
    }

    /// Writes a message or a part of one. Returns `None` if the turn can continue.
    fn write_message(&mut self, id: u64, out: &mut Packet, share: usize) -> Option<Turn> {
        let Some(Item::Message { rest, .. }) = self.items.front() else {
            return None;
        };
        let len = rest.len();
        let Some(part) = self.affordable(len) else {
            return Some(Turn::Idle);
        };
        let Some(room) = out.body_room(id) else {
            return Some(Turn::Full);
        };
        // The peer has to copy each part of a split message. Without enough credit, splitting is
        // unavoidable.
        let stays_whole = len <= room || out.most_body_room(id).is_some_and(|most| len <= most);
        if part > room && (room < MIN_PART || stays_whole) {
            return Some(Turn::Full);
        }
        let share = if stays_whole {
            len
        } else {
            share.max(MIN_PART)
        };
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
        self.items.pop();
        self.spend(part as u64 + MESSAGE_COST);
        (end && self.end_is_last).then_some(Turn::Done)
    }

    /// Writes the messages of a row that credit, room and share permit. Returns `None` if the turn
    /// can continue.
    fn write_row(&mut self, id: u64, out: &mut Packet, share: usize) -> Option<Turn> {
        let credit = self.limit.saturating_sub(self.spent);
        let Some(Item::Row { row, end }) = self.items.front_mut() else {
            return None;
        };
        let Some(room) = out.body_room(id) else {
            return Some(Turn::Full);
        };
        // The cost of a row is its length, plus a fixed cost.
        let most = credit.min((room.min(share) as u64).saturating_add(MESSAGE_COST));
        let Tally { cost, .. } = row.tally();
        if cost <= most {
            let end = *end;
            let flags = if end { flag::END } else { 0 };
            put_frame(out.bytes(), id, kind::ROW | flags, row.as_bytes());
            self.items.pop();
            self.spend(cost);
            return (end && self.end_is_last).then_some(Turn::Done);
        }
        self.part(id, out, most);
        None
    }

    /// Writes a part of the next row. If that has fewer than two messages, the first one becomes a
    /// separate message, which can be split.
    fn part(&mut self, id: u64, out: &mut Packet, most: u64) {
        let Some(Item::Row { mut row, end }) = self.items.pop() else {
            return;
        };
        self.buffered -= row.tally().cost;
        let front = row.split_to(|tally| tally.cost <= most);
        let front = front.or_else(|| row.pop().map(Chunk::Message));
        let rest = row.into_chunk();
        let is_last = rest.is_none();
        if let Some(rest) = rest {
            self.push_front(rest, end);
        }
        match front {
            Some(Chunk::Row(front)) => {
                put_frame(out.bytes(), id, kind::ROW, front.as_bytes());
                self.spent += front.tally().cost;
            }
            Some(message) => self.push_front(message, end && is_last),
            None => {}
        }
    }

    fn push_front(&mut self, chunk: Chunk, end: bool) {
        self.buffered += chunk.tally().cost;
        self.items.push_front(Item::new(chunk, end));
    }

    fn spend(&mut self, cost: u64) {
        self.spent += cost;
        self.buffered -= cost;
    }

    /// Returns whether anything was sent.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun || self.is_closed
    }

    /// Updates the credit; returns whether it was raised.
    pub(super) fn on_window(&mut self, limit: u64) -> bool {
        let is_more = limit > self.limit;
        self.limit = self.limit.max(limit);
        is_more
    }
}

#[cfg(any(test, fuzzing))]
impl Sending {
    pub(super) fn check(&self) {
        assert!(self.spent <= self.limit);
        let items = self.items.first.iter().chain(&self.items.others);
        let buffered = items.map(|item| match item {
            Item::Message { rest, .. } => rest.len() as u64 + MESSAGE_COST,
            Item::Row { row, .. } => row.tally().cost,
            _ => 0,
        });
        assert_eq!(buffered.sum::<u64>(), self.buffered);
        let items = self.items.first.iter().chain(&self.items.others);
        let frames = items.map(|item| match item {
            Item::Frame { body, .. } => body.len() as u64,
            _ => 0,
        });
        let head = self.call.as_ref().map_or(0, |call| call.body.len() as u64);
        assert_eq!(frames.sum::<u64>() + head, self.frames);
    }
}
