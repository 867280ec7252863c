//! The receiving half of a stream: what has come of an unfinished message, and what the peer may
//! send.
//!
//! Its window grows while the application takes all that comes: then more on the way means fewer
//! turns of waiting for each other, and hardly more memory. It never grows for one who is slow.

use bytes::{Bytes, BytesMut};

use super::{assembly::Assembly, stream::cost};
use nmfw_core::call::body::chunk::Tally;
use nmfw_core::call::body::wire::Malformed;

/// How many times as large a window may become, by doublings: enough for 80 MB/s where the way to the
/// peer and back takes 50 ms, at the default window.
pub(super) const MAX_GROWTH: u64 = 16;

/// The same, of a stream that has many others beside it. Those that have grown further keep what they
/// have: they were few.
const MAX_GROWTH_OF_MANY: u64 = 4;

/// The part of the room for growth that one step of [`Receiving::widen`] takes, as a divisor.
const SHARES: u64 = 64;

/// A session with more streams has many.
const FEW_STREAMS: usize = 8;

/// What became of a part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It was the whole message, or all of several, or begins one that is not to be.
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

/// What the peer says on a stream.
#[derive(Debug)]
pub(super) struct Receiving {
    /// Whether it may assemble a message larger than its window.
    pub(super) assembly: Assembly,
    /// What a narrow stream gets beside its window while it has its turn. Only one that carries a single
    /// message: for others it would be owed until further messages are taken, which may wait for a turn.
    pub(super) turn_window: u64,
    /// The peer has a single message to send, which the driver takes as soon as it is whole.
    pub(super) is_single: bool,
    /// An unfinished message.
    partial: BytesMut,
    has_begun: bool,
    /// The peer has ended it.
    is_closed: bool,
    /// This side has ended the stream: what still comes is not wanted, but counts.
    is_unwanted: bool,
    window: u64,
    first_window: u64,
    /// What will have arrived when a window grows next.
    grows_at: u64,
    /// Cost of what has arrived.
    received: u64,
    /// Cost of what the application has taken.
    consumed: u64,
    /// Cost of what it was not given.
    dropped: u64,
    /// What the peer was told that it may send in total. Never less than `received`.
    announced: u64,
}

impl Receiving {
    pub(super) fn new(window: u64, is_single: bool) -> Self {
        Self {
            assembly: Assembly::No,
            turn_window: 0,
            is_single,
            partial: BytesMut::new(),
            has_begun: false,
            is_closed: false,
            is_unwanted: false,
            window,
            first_window: window,
            grows_at: window,
            received: 0,
            consumed: 0,
            dropped: 0,
            announced: window,
        }
    }

    /// This side has ended the stream.
    pub(super) fn end_here(&mut self) {
        self.is_unwanted = true;
        self.drop_partial();
    }

    /// Forgets an unfinished message.
    pub(super) fn drop_partial(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        self.dropped += partial.len() as u64;
    }

    /// Notes HEADERS; `false` if they are out of place.
    pub(super) fn on_headers(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true) && !self.is_closed
    }

    /// Takes in a part of a message, or a whole one.
    pub(super) fn on_part(
        &mut self,
        part: &[u8],
        more: bool,
        end: bool,
        max_message: usize,
    ) -> Result<Part, Malformed> {
        let cost = cost(part.len(), more);
        self.on_cost(cost, end)?;
        let len = self.partial.len() + part.len();
        let is_too_large = len > max_message;
        if self.is_unwanted || is_too_large {
            // Nobody gets it.
            self.dropped += cost;
            return Ok(match self.is_unwanted {
                true => Part::Unwanted,
                false => Part::TooLarge,
            });
        }
        if more {
            if self.is_surplus(cost) {
                return Ok(Part::Whole);
            }
            self.partial.extend_from_slice(part);
            return Ok(Part::More);
        }
        if self.partial.is_empty() {
            return Ok(Part::Whole);
        }
        if self.assembly == Assembly::Holds {
            self.assembly = Assembly::Repays;
        }
        let mut message = std::mem::take(&mut self.partial);
        message.extend_from_slice(part);
        Ok(Part::Last(message.freeze()))
    }

    /// Whether this part, of so many bytes, belongs to a message after the only one. It is given to the
    /// application as it is, which ends the call: nothing would make room for the rest.
    fn is_surplus(&self, part: u64) -> bool {
        self.is_single && self.received - part > self.dropped + self.partial.len() as u64
    }

    /// Takes in whole messages.
    pub(super) fn on_row(
        &mut self,
        tally: Tally,
        end: bool,
        max_message: usize,
    ) -> Result<Part, Malformed> {
        self.on_cost(tally.cost, end)?;
        if !self.partial.is_empty() {
            return Err(Malformed("a row of messages within a message"));
        }
        if self.is_unwanted || tally.largest > max_message {
            self.dropped += tally.cost;
            return Ok(match self.is_unwanted {
                true => Part::Unwanted,
                false => Part::TooLarge,
            });
        }
        Ok(Part::Whole)
    }

    fn on_cost(&mut self, cost: u64, end: bool) -> Result<(), Malformed> {
        if self.is_closed {
            return Err(Malformed("a message after the last"));
        }
        self.received += cost;
        if self.received > self.announced {
            return Err(Malformed("a stream sent more than its window"));
        }
        self.has_begun = true;
        self.is_closed = end;
        Ok(())
    }

    pub(super) fn on_end(&mut self) -> Result<(), Malformed> {
        if std::mem::replace(&mut self.is_closed, true) || !self.partial.is_empty() {
            return Err(Malformed("an end after the end, or within a message"));
        }
        Ok(())
    }

    /// The peer sends nothing more, whatever is unfinished.
    pub(super) fn on_reset(&mut self) {
        self.is_closed = true;
    }

    /// The application has taken messages. The session has so many streams, whose windows are `base`
    /// unless they are narrow, and `room` for windows to grow. Returns how much this one has grown.
    pub(super) fn consume(
        &mut self,
        taken: Tally,
        streams: usize,
        (base, room): (u64, u64),
    ) -> u64 {
        let taken = self.consumed + taken.cost;
        let all = self.received - self.dropped - self.partial.len() as u64;
        self.consumed = taken.min(all);
        let growth = if streams > FEW_STREAMS {
            MAX_GROWTH_OF_MANY
        } else {
            MAX_GROWTH
        };
        let keeps_up = self.consumed == all && all >= self.grows_at;
        if keeps_up && self.window < base * growth && self.window <= room {
            let grown = self.window;
            self.window *= 2;
            self.grows_at = all + self.window;
            return grown;
        }
        0
    }

    /// Widens the window for a message under way, if there is room: at once to a whole one (`base`) on a
    /// stream that carries many messages, and in steps to [`MAX_GROWTH_OF_MANY`] of them on one that carries
    /// a single message. Returns by how much.
    ///
    /// The size of the message is unknown, so a step is a share of `room`: with much room one step is
    /// enough, and as room gets short many messages of medium size still find some. A step doubles the
    /// window at least, so that few are needed. It would not do where the application may take messages
    /// when it likes, as many streams could hold a part of the room for good, and none of them enough.
    pub(super) fn widen(&mut self, (base, room): (u64, u64)) -> u64 {
        let (step, most) = match self.is_single {
            true => {
                let share = (room / SHARES).min(base);
                (share.max(self.window), base * MAX_GROWTH_OF_MANY)
            }
            false => (base, base),
        };
        let grown = step.min(most.saturating_sub(self.window));
        if grown > room {
            return 0;
        }
        self.window += grown;
        grown
    }

    /// Stops counting growth once the peer has ended its side and the application has taken all: the
    /// window will not be used any more. Returns how much the window had grown.
    pub(super) fn settle(&mut self) -> u64 {
        let is_settled = self.is_closed && self.unread() == 0 && self.partial.is_empty();
        if !is_settled {
            return 0;
        }
        let grown = self.grown();
        self.first_window = self.window;
        grown
    }

    /// How much the window has grown.
    pub(super) fn grown(&self) -> u64 {
        self.window - self.first_window
    }

    /// What was given to the application, which has not taken it.
    pub(super) fn unread(&self) -> u64 {
        self.received - self.dropped - self.consumed - self.partial.len() as u64
    }

    /// What the peer may send in total, as it should know by now. Small steps wait, unless a
    /// message is under way that they may be needed for.
    pub(super) fn grant(&self) -> Option<u64> {
        if self.is_closed || self.is_unwanted {
            return None;
        }
        let limit = self.consumed + self.window + self.assembled();
        let step = limit.saturating_sub(self.announced);
        let left = self.announced - self.received;
        let is_due =
            step >= self.window / 2 || (!self.partial.is_empty() && left < self.window / 2);
        (step > 0 && is_due).then_some(limit)
    }

    /// The peer is told of a grant.
    pub(super) fn granted(&mut self, limit: u64) {
        self.announced = limit;
    }

    /// What counts as taken of an unfinished message.
    fn assembled(&self) -> u64 {
        if self.assembly == Assembly::Holds {
            self.partial.len() as u64 + self.turn_window
        } else {
            0
        }
    }

    /// It has its turn. Windows are `base` unless they are narrow.
    pub(super) fn hold(&mut self, base: u64) {
        self.assembly = Assembly::Holds;
        if self.is_single {
            self.turn_window = base.saturating_sub(self.window);
        }
    }

    /// Whether it may need more than its window for the message that is under way.
    pub(super) fn needs_assembly(&self) -> bool {
        self.partial.len() as u64 > self.window / 2
    }

    /// What was granted beyond the window, and not taken by the application yet.
    pub(super) fn debt(&self) -> u64 {
        self.announced.saturating_sub(self.consumed + self.window)
    }

    /// What the peer may still send, not knowing that the stream is gone.
    pub(super) fn late_credit(&self) -> u64 {
        if self.is_closed {
            0
        } else {
            self.announced - self.received
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Receiving {
    /// Bytes held of what was received, without what the application was given.
    pub(super) fn held(&self) -> u64 {
        self.partial.len() as u64
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn check(&self) {
        assert!(self.received <= self.announced);
        let most = self.consumed + self.window + self.partial.len() as u64 + self.turn_window;
        let is_beyond =
            self.is_unwanted || matches!(self.assembly, Assembly::Repays | Assembly::Owes);
        assert!(is_beyond || self.announced <= most);
        assert!(self.consumed + self.partial.len() as u64 <= self.received);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all that there is credit for, and takes a part of it: what the peer may send then.
    fn round(receiving: &mut Receiving, streams: usize, taken: impl Fn(u64) -> u64) -> u64 {
        let credit = receiving.announced - receiving.received;
        let tally = |cost| Tally {
            messages: 2,
            cost,
            largest: 1,
        };
        receiving.on_row(tally(credit), false, 1).unwrap();
        let base = receiving.first_window;
        receiving.consume(tally(taken(credit)), streams, (base, u64::MAX));
        if let Some(limit) = receiving.grant() {
            receiving.granted(limit);
        }
        receiving.announced - receiving.received
    }

    #[test]
    fn a_window_grows_for_who_takes_all() {
        let mut receiving = Receiving::new(1000, false);
        let mut windows = |streams| [(); 6].map(|()| round(&mut receiving, streams, |all| all));
        let many = FEW_STREAMS + 1;
        assert_eq!(windows(many), [2000, 4000, 4000, 4000, 4000, 4000]);
        let few = FEW_STREAMS;
        assert_eq!(windows(few), [8000, 16000, 16000, 16000, 16000, 16000]);
        assert_eq!(windows(many), [16000; 6], "what it has it keeps");
    }

    #[test]
    fn a_window_does_not_grow_for_who_is_slow() {
        let mut receiving = Receiving::new(1000, false);
        for _ in 0..20 {
            assert!(round(&mut receiving, 1, |all| all * 9 / 10) <= 1000);
            assert!(receiving.received - receiving.consumed <= 1000);
        }
    }
}
