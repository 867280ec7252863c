//! The receiving half of a stream: an unfinished message, and the credit of the peer.
//!
//! The window grows while the application takes all messages: more data in flight then saves round
//! trips, at hardly any memory. It never grows for a slow application.

use bytes::{Bytes, BytesMut};

use super::{assembly::Assembly, stream::cost};
use nmfw_core::call::body::chunk::Tally;
use nmfw_core::call::body::wire::Malformed;

/// Maximum growth of a window by doubling: enough for 80 MB/s with a round trip of 50 ms, at the
/// default window.
pub(super) const MAX_GROWTH: u64 = 16;

/// Maximum growth of a window while there are many streams. Windows that have grown further while
/// there were few streams keep their size.
const MAX_GROWTH_OF_MANY: u64 = 4;

/// Each step of [`Receiving::widen`] takes this fraction of the room for growth, as a divisor.
const SHARES: u64 = 64;

/// Maximum number of streams that counts as few.
const FEW_STREAMS: usize = 8;

/// The result of receiving a part of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A whole message, all messages of a row, or the start of a surplus message.
    Whole,
    /// The part that completes this message.
    Last(Bytes),
    /// A part of an unfinished message.
    More,
    /// The message exceeds the limit.
    TooLarge,
    /// This side has ended the stream.
    Unwanted,
}

/// The received side of a stream.
#[derive(Debug)]
pub(super) struct Receiving {
    /// Whether it may assemble a message larger than its window.
    pub(super) assembly: Assembly,
    /// The extra window of a narrow stream during its turn. Only for a stream with a single
    /// message: others would owe it until further messages are taken, which may wait for a turn.
    pub(super) turn_window: u64,
    /// Whether the peer sends a single message, which the driver takes as soon as it is complete.
    pub(super) is_single: bool,
    /// An unfinished message.
    partial: BytesMut,
    has_begun: bool,
    /// Whether the peer has ended its side.
    is_closed: bool,
    /// Whether this side has ended the stream: later messages are dropped, but counted.
    is_unwanted: bool,
    window: u64,
    first_window: u64,
    /// The amount of received data at which the window can grow next.
    grows_at: u64,
    /// Cost of all received data.
    received: u64,
    /// Cost of the data that the application has taken.
    consumed: u64,
    /// Cost of the data that was dropped.
    dropped: u64,
    /// The credit announced to the peer, in total. Never less than `received`.
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

    /// Ends the stream on this side.
    pub(super) fn end_here(&mut self) {
        self.is_unwanted = true;
        self.drop_partial();
    }

    /// Drops an unfinished message.
    pub(super) fn drop_partial(&mut self) {
        let partial = std::mem::take(&mut self.partial);
        self.dropped += partial.len() as u64;
    }

    /// Records HEADERS; returns false if they are out of place.
    pub(super) fn on_headers(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true) && !self.is_closed
    }

    /// Processes a part of a message, or a whole one.
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
            // Dropped.
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

    /// Records the only message, which is the first and the last, and was taken at once.
    pub(super) fn on_only(&mut self, message: usize) -> Result<(), Malformed> {
        self.on_cost(cost(message, false), true)?;
        self.consumed = self.received;
        Ok(())
    }

    /// Returns whether nothing was received but a message of this length.
    pub(super) fn is_only(&self, message: usize) -> bool {
        self.is_single && self.received == cost(message, false)
    }

    /// Returns whether this part of `part` bytes belongs to a message after the only one. It is
    /// passed to the application unassembled, which ends the call: there would never be room for
    /// the rest.
    fn is_surplus(&self, part: u64) -> bool {
        self.is_single && self.received - part > self.dropped + self.partial.len() as u64
    }

    /// Processes whole messages.
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

    /// Records that the peer sends nothing more, even if a message is unfinished.
    pub(super) fn on_reset(&mut self) {
        self.is_closed = true;
    }

    /// Records messages that the application has taken. `base` is the window of wide streams, and
    /// `room` the room for growth. Returns how much this window has grown.
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

    /// Widens the window for an unfinished message, if there is room: at once to a whole window
    /// (`base`) on a stream with many messages, and in steps up to [`MAX_GROWTH_OF_MANY`] windows
    /// on a stream with a single message. Returns the growth.
    ///
    /// The size of the message is unknown, so a step is a fraction of `room`: with much room, one
    /// step is enough, and when room gets short, many messages of medium size still find some. A
    /// step at least doubles the window, so that few are needed. Steps would be wrong if the
    /// application takes messages at any time, because many streams could each hold a part of the
    /// room indefinitely, and none enough.
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

    /// Stops accounting for growth once the application has taken everything and the peer has ended
    /// its side or sent its single message, because the window will not be used again. Returns how
    /// much it had grown.
    pub(super) fn settle(&mut self) -> u64 {
        let is_last = self.is_closed || (self.is_single && self.consumed > 0);
        if !is_last || self.unread() > 0 || !self.partial.is_empty() {
            return 0;
        }
        let grown = self.grown();
        self.first_window = self.window;
        grown
    }

    /// Returns how much the window has grown.
    pub(super) fn grown(&self) -> u64 {
        self.window - self.first_window
    }

    /// Returns the data that was passed to the application but not taken.
    pub(super) fn unread(&self) -> u64 {
        self.received - self.dropped - self.consumed - self.partial.len() as u64
    }

    /// Returns the total credit to announce. Small steps are delayed, unless an unfinished message
    /// may need them.
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

    /// Records an announced grant.
    pub(super) fn granted(&mut self, limit: u64) {
        self.announced = limit;
    }

    /// Returns the part of an unfinished message that counts as taken.
    fn assembled(&self) -> u64 {
        if self.assembly == Assembly::Holds {
            self.partial.len() as u64 + self.turn_window
        } else {
            0
        }
    }

    /// Starts its turn. `base` is the window of wide streams.
    pub(super) fn hold(&mut self, base: u64) {
        self.assembly = Assembly::Holds;
        if self.is_single {
            self.turn_window = base.saturating_sub(self.window);
        }
    }

    /// Returns whether it may need more than its window for the unfinished message.
    pub(super) fn needs_assembly(&self) -> bool {
        self.partial.len() as u64 > self.window / 2
    }

    /// Returns the bytes that were granted beyond the window and not taken yet.
    pub(super) fn debt(&self) -> u64 {
        self.announced.saturating_sub(self.consumed + self.window)
    }

    /// Returns what the peer may still send without knowing that the stream has ended.
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
    /// Returns the received bytes held, without those passed to the application.
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

    /// Receives as much as there is credit for, and takes a part of it. Returns the new credit.
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
        assert_eq!(windows(many), [16000; 6], "a grown window shrank");
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
