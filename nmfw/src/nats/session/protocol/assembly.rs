//! Turns for assembling messages that are larger than the window of their stream.
//!
//! The parts of such a message count as taken on arrival, so that the peer can send the rest. If
//! all streams were granted such credit at once, a peer could fill the memory with one large
//! message on each. Streams therefore take turns.
//!
//! A turn of a stream with many messages would last until the application has taken the message,
//! which may never happen. It therefore ends when the message is complete, as long as the session's
//! streams together [owe](Turns::owed) at most [`Session::most_owed`]; beyond that, the turn lasts
//! until enough was taken.
//!
//! Most messages need no turn: while there is room, the window of their stream is
//! [widened](super::receiving::Receiving::widen) step by step, so that many messages of medium size
//! can arrive concurrently. This also applies to streams that wait for a turn, once there is room.
//!
//! A stream with a single message from the peer, the request or response of a unary call, has
//! separate turns: the driver takes that message as soon as it is complete, so that these turns
//! never wait for an application.

use std::collections::VecDeque;

use super::{Session, StreamId, StreamMap, budget::Budget, receiving::MAX_GROWTH, stream::Stream};

/// Number of streams at the front of a queue that are checked for a window that can grow; streams
/// with the widest window wait among them for their turns.
const LOOKED_AT: usize = 16;

/// The state of a stream with respect to turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assembly {
    No,
    /// The stream waits for its turn.
    Waits,
    /// The stream has its turn.
    Holds,
    /// The stream still has its turn, for a complete message that was not taken.
    Repays,
    /// The turn of the stream has ended, but the message was not taken. The next message gets no
    /// turn before that.
    Owes,
}

/// The streams that wait for turns, have one, or owe.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Streams with a single message. The first has its turn.
    single: VecDeque<StreamId>,
    /// All other streams. The first has its turn.
    many: VecDeque<StreamId>,
    /// Bytes granted beyond windows for messages that were not taken yet, on streams whose turns
    /// are over.
    owed: u64,
}

impl Turns {
    fn row(&mut self, is_single: bool) -> &mut VecDeque<StreamId> {
        if is_single {
            &mut self.single
        } else {
            &mut self.many
        }
    }

    /// Starts the turn of the first stream in a queue, if there is room for the largest message.
    fn begin(
        &mut self,
        streams: &mut StreamMap<Stream>,
        budget: &mut Budget,
        (is_single, base): (bool, u64),
    ) -> Option<StreamId> {
        let first = self.row(is_single).front().copied();
        let receiving = first.and_then(|id| Some(&mut streams.get_mut(id)?.receiving));
        let waits = receiving.filter(|receiving| receiving.assembly == Assembly::Waits);
        let Some(receiving) = waits else {
            // A stream has the turn if the queue is not empty.
            budget.set_turn(is_single, first.is_some());
            return None;
        };
        budget.set_turn(is_single, false);
        if !budget.has_room_for_turn(is_single) {
            return None;
        }
        budget.set_turn(is_single, true);
        receiving.hold(base);
        first
    }

    /// Returns by how much windows of such streams may grow for unfinished messages.
    fn room(&self, budget: &Budget, is_single: bool) -> u64 {
        budget.room_for_growth(is_single && self.many.is_empty())
    }

    /// Widens the windows of streams behind the first instead of giving them a turn, as far as
    /// there is room again. Returns a stream whose window was widened.
    fn widen(
        &mut self,
        streams: &mut StreamMap<Stream>,
        budget: &mut Budget,
        (is_single, base): (bool, u64),
    ) -> Option<StreamId> {
        let room = self.room(budget, is_single);
        let row = self.row(is_single);
        for place in 1..row.len().min(LOOKED_AT) {
            let id = *row.get(place)?;
            let receiving = &mut streams.get_mut(id)?.receiving;
            let grown = receiving.widen((base, room));
            if grown > 0 {
                budget.grow(grown);
                // A nearly complete message needs no turn.
                if !receiving.needs_assembly() {
                    receiving.assembly = Assembly::No;
                    row.remove(place);
                }
                return Some(id);
            }
        }
        None
    }

    /// Returns whether streams wait although no stream has the turn.
    fn wait_for_room(&self, budget: &Budget) -> bool {
        !self.many.is_empty() && !budget.has_turn(false)
            || !self.single.is_empty() && !budget.has_turn(true)
    }
}

impl Session {
    /// Returns how much streams may owe together before turns last until messages are taken.
    pub(super) fn most_owed(&self) -> u64 {
        MAX_GROWTH * self.hello.stream_window
    }

    /// Queues a stream with a large message.
    pub(super) fn ask_for_assembly(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.receiving.assembly == Assembly::No
            && stream.receiving.needs_assembly()
        {
            let is_single = stream.receiving.is_single;
            let room = self.turns.room(&self.budget, is_single);
            let grown = stream.receiving.widen((self.hello.stream_window, room));
            if grown > 0 {
                self.budget.grow(grown);
                // A stream with a nearly complete message is not queued, because no further part
                // would request a turn again.
                if !stream.receiving.needs_assembly() {
                    return;
                }
            }
            stream.receiving.assembly = Assembly::Waits;
            self.turns.row(is_single).push_back(id);
            self.next_turn(is_single);
        }
    }

    /// Removes a stream from all turns.
    pub(super) fn release_assembly(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            let receiving = &mut stream.receiving;
            let (assembly, debt) = (receiving.assembly, receiving.debt());
            receiving.assembly = Assembly::No;
            let is_single = receiving.is_single;
            self.forget_turn(id, (assembly, debt), is_single);
        }
    }

    /// Removes an ended stream from all turns, including what it owed.
    pub(super) fn forget_turn(
        &mut self,
        id: StreamId,
        (assembly, debt): (Assembly, u64),
        is_single: bool,
    ) {
        match assembly {
            Assembly::No => {}
            Assembly::Owes => {
                self.turns.owed -= debt;
                self.end_turns();
            }
            Assembly::Waits | Assembly::Holds | Assembly::Repays => {
                self.turns.row(is_single).retain(|&other| other != id);
                self.next_turn(is_single);
            }
        }
    }

    /// Handles the completion of a message that came in parts.
    pub(super) fn assembled(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let receiving = &stream.receiving;
        match receiving.assembly {
            // The message was completed without a turn, or within the window.
            Assembly::Waits => self.release_assembly(id),
            Assembly::Repays if receiving.debt() == 0 => self.release_assembly(id),
            Assembly::Repays => self.end_turn(receiving.is_single),
            Assembly::No | Assembly::Holds | Assembly::Owes => {}
        }
    }

    /// Handles messages taken from a stream that owed `before`.
    pub(super) fn repaid(&mut self, id: StreamId, before: u64) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let debt = stream.receiving.debt();
        let was_over = stream.receiving.assembly == Assembly::Owes;
        if was_over {
            self.turns.owed -= before - debt;
        }
        if debt == 0 {
            self.release_assembly(id);
            // The next message may have started, and waits like those of other streams.
            self.ask_for_assembly(id);
        }
        self.end_turns();
        self.wake(id);
    }

    fn end_turns(&mut self) {
        for is_single in [true, false] {
            self.end_turn(is_single);
        }
    }

    /// Ends the turn of a stream whose message is complete, if it does not owe too much.
    fn end_turn(&mut self, is_single: bool) {
        let most = self.most_owed();
        if let Some(&id) = self.turns.row(is_single).front()
            && let Some(stream) = self.streams.get_mut(id)
            && stream.receiving.assembly == Assembly::Repays
            && self.turns.owed + stream.receiving.debt() <= most
        {
            stream.receiving.assembly = Assembly::Owes;
            self.turns.owed += stream.receiving.debt();
            self.turns.row(is_single).pop_front();
            self.next_turn(is_single);
        }
    }

    fn next_turn(&mut self, is_single: bool) {
        let base = self.hello.stream_window;
        let begun = self
            .turns
            .begin(&mut self.streams, &mut self.budget, (is_single, base));
        if let Some(id) = begun {
            self.wake(id);
        }
    }

    /// Gives turns, or widens windows, for which there was no room before.
    pub(super) fn give_turns(&mut self) {
        if self.turns.wait_for_room(&self.budget) {
            for is_single in [true, false] {
                self.next_turn(is_single);
            }
        }
        for is_single in [true, false] {
            while self.turns.row(is_single).len() > 1
                && let Some(id) = self.widen_next(is_single)
            {
                self.wake(id);
            }
        }
    }

    fn widen_next(&mut self, is_single: bool) -> Option<StreamId> {
        let base = self.hello.stream_window;
        let Self {
            turns,
            streams,
            budget,
            ..
        } = self;
        turns.widen(streams, budget, (is_single, base))
    }
}

#[cfg(any(test, fuzzing))]
impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.many.is_empty() && self.owed == 0
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.single.capacity().max(self.many.capacity())
    }
}

#[cfg(any(test, fuzzing))]
use crate::nats::session::protocol::SessionState;

#[cfg(any(test, fuzzing))]
impl Session {
    /// Checks that the turns match the streams' states, and that the bytes that the peer may send
    /// beyond windows are bounded.
    pub(super) fn check_turns(&self) {
        let mut owed = 0;
        let mut beyond = 0;
        let mut holders = [0; 2];
        for (id, stream) in self.streams.iter() {
            let receiving = &stream.receiving;
            let row = match receiving.is_single {
                true => &self.turns.single,
                false => &self.turns.many,
            };
            let is_in_row = row.contains(&id);
            let debt = receiving.debt();
            beyond += if stream.ended_here { 0 } else { debt };
            match receiving.assembly {
                Assembly::No => assert!(!is_in_row && (debt == 0 || stream.ended_here), "{id}"),
                Assembly::Waits => assert!(is_in_row && debt == 0, "{id}"),
                Assembly::Holds | Assembly::Repays => {
                    assert!(self.budget.has_turn(receiving.is_single));
                    assert_eq!(row.front(), Some(&id));
                    holders[usize::from(receiving.is_single)] += 1;
                }
                Assembly::Owes => {
                    assert!(!is_in_row && debt > 0, "{id}");
                    owed += debt;
                }
            }
        }
        let Turns { single, many, .. } = &self.turns;
        // No stream has a turn only if there is no room for it.
        for (is_single, row) in [(false, many), (true, single)] {
            let has_turn = self.budget.has_turn(is_single);
            assert_eq!(holders[usize::from(is_single)], usize::from(has_turn));
            let has_room = self.budget.has_room_for_turn(is_single);
            assert!(has_turn || row.is_empty() || !has_room || self.state == SessionState::Closed);
        }
        assert_eq!(owed, self.turns.owed);
        assert!(owed <= self.most_owed());
        let turn = self.hello.max_message + self.hello.stream_window;
        let most = self.most_owed() + 2 * turn;
        assert!(
            beyond <= most,
            "{beyond} bytes were granted beyond the windows"
        );
    }
}
