//! [`Budget`]: accounts for the memory that a session holds for its peer.
//!
//! Memory that the peer can make this side use is partitioned in advance, so that none of it ever
//! waits for other memory to be released:
//!
//! - the first windows of streams. A few are wide and the others narrow, as chosen by the client
//!   when it starts a call. A window for the whole session, like HTTP/2's for a connection, would
//!   be used up by streams that are not read, and block all others;
//! - the bytes that streams owe, see [`super::assembly`];
//! - heads of calls whose message has not arrived;
//! - unacknowledged packets, whose window is small enough;
//! - a turn at assembling for calls with a single message.
//!
//! The rest is shared: windows that grow, the turn at assembling for other streams, and a service's
//! outgoing messages. While no stream wants that turn, windows of calls with a single message may
//! also grow into its room, which they soon release. Without room, a window does not grow, a stream
//! is full, and an answer ends with an error. Ends of streams may also use the room for turns,
//! because a peer that accepts them releases it. While the peer makes progress, they may even use
//! room that turns occupy.
//!
//! A client's own requests belong to its application and are not counted. They could not be: if
//! each side received only as much as fits beside its outgoing messages, both could wait for each
//! other.

use std::time::{Duration, Instant};

use super::{Config, receiving::MAX_GROWTH, stream::Stream};
use crate::Status;

/// A peer that has accepted nothing for this long, while answers occupy half of their limit, cannot
/// start further calls.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A peer that has accepted nothing for this long since an answer had no room loses its session.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// The memory held for the peer, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// Outgoing messages of a client belong to its application, and receiving must not wait for
    /// them, or each side could wait for the other.
    is_server: bool,
    /// Heads of calls whose message has not arrived.
    heads: u64,
    /// Pending outgoing data of streams: messages, metadata, statuses and heads of calls.
    outgoing: u64,
    /// The part of it on streams that are complete, such as answers, which back-pressure cannot
    /// limit.
    answers: u64,
    /// Total growth of windows.
    grown: u64,
    /// Whether a stream has a turn at assembling: among streams with many messages, and among those
    /// with one.
    has_turn: [bool; 2],
    /// Messages of ended streams that the application has not taken. Negative while it has taken
    /// messages of a stream that has not ended, but not reported them to the stream.
    left: i64,
    /// When the peer last acknowledged a packet or granted credit.
    taken_at: Instant,
    /// The time of the last reading of the clock.
    clock: Instant,
    /// Whether an answer had no room, and the peer has accepted nothing since.
    has_refused: bool,
}

/// The limits in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The total.
    #[cfg(any(test, fuzzing))]
    most: u64,
    /// The total without separately bounded parts: heads, packets and the first windows of streams.
    shared: u64,
    heads: u64,
    /// Beyond this, streams with pending outgoing data accept no more.
    soft_outgoing: u64,
    /// Maximum total growth of windows. Those of calls with a single message may also use the turn
    /// of streams with many messages.
    grown: u64,
    /// Maximum size of unread messages of ended streams, in addition to the shared part.
    left: u64,
    /// The largest message with a window, the maximum for a turn at assembling.
    message: u64,
}

impl Budget {
    /// Creates the budget of a session with these settings. It is raised if two messages of the
    /// maximum size do not fit beside the rest.
    pub(super) fn new(config: &Config, is_server: bool, now: Instant) -> Self {
        let message = config.max_message as u64 + config.first_window(false);
        let wide = u64::from(config.wide_streams());
        let narrow = u64::from(config.max_streams.max(1)) - wide;
        let windows = wide * config.first_window(false) + narrow * config.first_window(true);
        let owed = MAX_GROWTH * config.first_window(false);
        // Heads, unacknowledged packets, and a small part for ended streams.
        let reserve = config.memory / 8;
        let others = windows + owed + reserve;
        let least = 2 * message + config.memory / 64 * 7;
        let shared = config.memory.saturating_sub(others).max(least);
        Self {
            limits: Limits {
                #[cfg(any(test, fuzzing))]
                most: others + shared,
                shared,
                heads: config.memory / 32,
                soft_outgoing: config.memory / 32,
                grown: config.memory / 16,
                left: config.memory / 64,
                message,
            },
            is_server,
            heads: 0,
            outgoing: 0,
            answers: 0,
            grown: 0,
            has_turn: [false; 2],
            left: 0,
            taken_at: now,
            clock: now,
            has_refused: false,
        }
    }

    /// Returns the shared memory in use, without outgoing data.
    fn incoming(&self) -> u64 {
        let turns = self.has_turn.iter().map(|has| u64::from(*has)).sum::<u64>();
        turns * self.limits.message + self.grown + self.much_left()
    }

    /// Returns the unread messages of ended streams beyond their separate part.
    fn much_left(&self) -> u64 {
        let left = u64::try_from(self.left).unwrap_or(0);
        left.saturating_sub(self.limits.left)
    }

    /// Returns the limit of outgoing data. Only ends of streams may use the room for a single
    /// message from the peer: a correct peer accepts them at once, whereas other streams may be
    /// paused indefinitely.
    fn most_outgoing(&self, is_end: bool) -> u64 {
        let kept_free = !is_end && !self.has_turn[usize::from(true)];
        let kept_free = if kept_free { self.limits.message } else { 0 };
        let others = self.incoming() + kept_free;
        self.limits.shared.saturating_sub(others)
    }

    /// Returns the limit of outgoing data including ends of streams. A turn counts as the largest
    /// message, of which little may have arrived: a peer that accepts its answers may use that room
    /// for them, and the room of windows that have grown into it.
    fn most_ends(&self) -> u64 {
        if self.is_stalled(self.clock) {
            return self.most_outgoing(true);
        }
        let grown = self.grown.min(self.limits.grown);
        self.limits.shared.saturating_sub(grown + self.much_left())
    }

    /// Returns the room for windows, and for everything that is not a single message.
    fn room(&self) -> u64 {
        self.most_outgoing(false).saturating_sub(self.waiting())
    }

    /// Returns the size of a service's outgoing data.
    fn waiting(&self) -> u64 {
        if self.is_server { self.outgoing } else { 0 }
    }

    /// Returns by how much a window may grow. With `also_turn`, it may use the room of the turn for
    /// streams with many messages, which then has to wait until the window is no longer used.
    pub(super) fn room_for_growth(&self, also_turn: bool) -> u64 {
        let turn = if also_turn { self.limits.message } else { 0 };
        let most = self.limits.grown + turn;
        self.room().min(most.saturating_sub(self.grown))
    }

    /// Records the growth of a window.
    pub(super) fn grow(&mut self, grown: u64) {
        self.grown += grown;
    }

    /// Records that a grown window is no longer used.
    pub(super) fn settle(&mut self, grown: u64) {
        self.grown -= grown;
    }

    /// Returns whether a stream may assemble the largest message.
    pub(super) fn has_room_for_turn(&self, is_single: bool) -> bool {
        let most = match is_single {
            true => self.most_outgoing(true),
            false => self.most_outgoing(false),
        };
        most.saturating_sub(self.waiting()) >= self.limits.message
    }

    /// Returns whether a stream has the turn among those of its kind.
    pub(super) fn has_turn(&self, is_single: bool) -> bool {
        self.has_turn[usize::from(is_single)]
    }

    pub(super) fn set_turn(&mut self, is_single: bool, has_turn: bool) {
        self.has_turn[usize::from(is_single)] = has_turn;
    }

    /// Records that the application has taken messages of ended streams, or of streams that will
    /// have ended before they are all reported.
    pub(super) fn on_left_taken(&mut self, cost: u64) {
        self.left -= cost.cast_signed();
    }

    /// Checks that a stream with this window may start.
    ///
    /// # Errors
    /// Fails if the application has left too many messages of ended streams unread.
    pub(super) fn check_unread(&self, window: u64) -> Result<(), Status> {
        if self.much_left() == 0 || self.room() >= window {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "the application has not read {} bytes of ended calls",
            self.left
        )))
    }

    /// Adds the head of a call that waits for its message.
    ///
    /// # Errors
    /// Fails if there are too many.
    pub(super) fn add_head(&mut self, cost: u64) -> Result<(), Status> {
        if self.heads + cost > self.limits.heads {
            return Err(Status::resource_exhausted(format!(
                "calls that wait for their messages hold {} bytes of metadata, which is the limit",
                self.heads
            )));
        }
        self.heads += cost;
        Ok(())
    }

    /// Removes the head of a call, which was passed to the application or dropped.
    pub(super) fn remove_head(&mut self, cost: u64) {
        self.heads -= cost;
    }

    /// Applies a change to a stream's outgoing data, and accounts for it.
    pub(super) fn change<T>(
        &mut self,
        stream: &mut Stream,
        change: impl FnOnce(&mut Stream) -> T,
    ) -> T {
        let before = (stream.sending.held(), stream.sending.last_words());
        let outcome = change(stream);
        let after = (stream.sending.held(), stream.sending.last_words());
        self.outgoing = self.outgoing + after.0 - before.0;
        self.answers = self.answers + after.1 - before.1;
        outcome
    }

    /// Adds a new stream with its outgoing data.
    pub(super) fn add(&mut self, stream: &Stream) {
        self.outgoing += stream.sending.held();
        self.answers += stream.sending.last_words();
    }

    /// Removes an ended stream with its outgoing data.
    pub(super) fn forget(&mut self, stream: &Stream) {
        self.outgoing -= stream.sending.held();
        self.answers -= stream.sending.last_words();
        self.heads -= stream.head;
        self.grown -= stream.receiving.grown();
        self.left += stream.receiving.unread().cast_signed();
    }

    /// Returns whether `cost` more bytes may be queued on a stream that already has `own`. Data
    /// that does not end its stream has a lower limit, because it can wait elsewhere.
    pub(super) fn has_room(&self, cost: u64, own: u64, is_end: bool) -> bool {
        let most = match is_end {
            true => self.most_ends(),
            false => self.most_outgoing(false),
        };
        let is_over = self.outgoing > 0 && self.outgoing + cost > most;
        !is_over && (own == 0 || !self.is_soft_full())
    }

    /// Returns whether streams with pending outgoing data should accept no more.
    pub(super) fn is_soft_full(&self) -> bool {
        self.outgoing > self.limits.soft_outgoing
    }

    /// Returns whether streams without outgoing data that found no room may try again.
    pub(super) fn has_room_again(&self) -> bool {
        self.outgoing <= self.most_outgoing(false) / 2
    }

    /// Returns whether there is room only for short ends.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing > self.most_ends()
    }

    /// Returns the error of an answer without room, and records it.
    pub(super) fn refuse_answer(&mut self) -> Status {
        self.has_refused = true;
        self.untaken("the caller does not read its responses")
    }

    /// Records that the peer has acknowledged a packet or granted credit.
    pub(super) fn on_taken(&mut self, now: Instant) {
        self.taken_at = now;
        self.has_refused = false;
    }

    /// Checks that a call of the peer may start.
    ///
    /// # Errors
    /// Fails if the peer accepts none of its answers.
    pub(super) fn check_answers(&self, now: Instant) -> Result<(), Status> {
        match self.answers > self.most_outgoing(true) / 2 && self.is_stalled(now) {
            true => Err(self.untaken("the caller does not read its responses")),
            false => Ok(()),
        }
    }

    /// Checks that a call of this side may start.
    ///
    /// # Errors
    /// Fails if the peer accepts none of the requests.
    pub(super) fn check_requests(&self) -> Result<(), Status> {
        match self.outgoing > self.most_outgoing(true) && self.is_stalled(self.clock) {
            true => Err(self.untaken("the instance does not accept requests")),
            false => Ok(()),
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        now >= self.taken_at + STALLED_AFTER
    }

    fn untaken(&self, what: &str) -> Status {
        let waiting = self.outgoing;
        Status::resource_exhausted(format!("{what}: {waiting} bytes are queued"))
    }

    fn gone_at(&self) -> Option<Instant> {
        self.has_refused.then(|| self.taken_at + GONE_AFTER)
    }

    /// Updates the clock, and returns the error if the session has to end.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Status> {
        self.clock = now;
        let is_gone = self.gone_at().is_some_and(|at| now >= at);
        is_gone.then(|| self.untaken("the caller does not read its responses"))
    }

    /// Returns when [`Self::handle_timeout`] has to be called next.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.gone_at()
    }

    /// Resets the budget, because nothing is held any more.
    pub(super) fn clear(&mut self) {
        self.heads = 0;
        self.outgoing = 0;
        self.answers = 0;
        self.grown = 0;
        self.has_turn = [false; 2];
        self.left = 0;
        self.has_refused = false;
    }
}

#[cfg(any(test, fuzzing))]
impl Budget {
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    pub(super) fn outgoing(&self) -> u64 {
        self.outgoing
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    pub(super) fn most_heads(&self) -> u64 {
        self.limits.heads
    }

    pub(super) fn grown(&self) -> u64 {
        self.grown
    }

    pub(super) fn most_grown(&self) -> u64 {
        self.limits.grown + self.limits.message
    }

    pub(super) fn left(&self) -> i64 {
        self.left
    }

    /// Returns the maximum number of bytes held, without packets.
    pub(super) fn most(&self) -> u64 {
        self.limits.most
    }
}
