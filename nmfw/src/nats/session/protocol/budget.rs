//! [`Budget`]: what a session keeps for its peer, counted in one place.
//!
//! What the peer can make this side keep is shared out beforehand, so that nothing of it ever waits for
//! something else to be taken:
//!
//! - the first windows of streams. Of these a few are wide and the others narrow, which the client says
//!   when it begins a call. A window for the whole session, as HTTP/2 has for a connection, would be used up
//!   by streams that are not read, and all others would wait behind them;
//! - what streams owe, see [`super::assembly`];
//! - heads of calls whose message has not come;
//! - packets that wait for their acknowledgements, whose window is small enough;
//! - a turn at assembling for calls with a single message.
//!
//! The rest is for whoever comes first: windows that grow, the turn at assembling for other streams, and
//! what a service has to send. While no stream wants that turn, windows of calls with a single message
//! also grow into its room, which they soon give back. Without room a window does not grow, a stream is full, an answer ends with
//! an error. Ends of streams may also use what is for turns: a peer that takes them gives it back. While it
//! takes something they may even use what turns hold.
//!
//! A client's own requests are its application's, and do not count. They could not either: if each side
//! received only as long as it has room beside what it sends, both would wait for each other.

use std::time::{Duration, Instant};

use super::{Config, receiving::MAX_GROWTH, stream::Stream};
use crate::Status;

/// A peer that has taken nothing for this long, while answers wait that are half of what may, begins no
/// further calls.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A peer that has taken nothing for this long since an answer had no room ends its session.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Bytes that are kept for the peer.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    /// What a client has to send is its application's own. Nor may what it can receive wait for that, or
    /// each side would wait for the other.
    is_server: bool,
    /// Heads of calls whose message has not come.
    heads: u64,
    /// What waits in streams to be sent: messages, metadata and statuses, and heads of calls.
    outgoing: u64,
    /// The part of it on streams that have nothing more to say, such as answers: no backpressure holds
    /// that back.
    answers: u64,
    /// By how much windows have grown.
    grown: u64,
    /// Whether a stream has a turn at assembling: among those that carry many messages, and those that
    /// carry one.
    has_turn: [bool; 2],
    /// What the application has not taken of streams that are over. Less than nothing while it has taken
    /// something of a stream that is not over yet, without telling the stream.
    left: i64,
    /// When the peer last acknowledged a packet or granted credit.
    taken_at: Instant,
    /// The time of the last look at the clock.
    clock: Instant,
    /// An answer had no room, and the peer has taken nothing since.
    has_refused: bool,
}

/// What may be kept, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// All of it.
    #[cfg(any(test, fuzzing))]
    most: u64,
    /// All but what has bounds of its own: heads, packets and the first windows of streams.
    shared: u64,
    heads: u64,
    /// Streams that have something to send already get no more beyond this.
    soft_outgoing: u64,
    /// By how much windows grow, all together. Those of calls with a single message may also use the turn
    /// of streams that carry many.
    grown: u64,
    /// What may be left of streams that are over, beside what is shared.
    left: u64,
    /// The largest message with a window, which a turn at assembling may take.
    message: u64,
}

impl Budget {
    /// The budget of a session with these settings. It is raised to what two messages of the largest size
    /// need beside all else.
    pub(super) fn new(config: &Config, is_server: bool, now: Instant) -> Self {
        let message = config.max_message as u64 + config.first_window(false);
        let wide = u64::from(config.wide_streams());
        let narrow = u64::from(config.max_streams.max(1)) - wide;
        let windows = wide * config.first_window(false) + narrow * config.first_window(true);
        let owed = MAX_GROWTH * config.first_window(false);
        // Heads, packets that wait for their acknowledgements, and a little for streams that are over.
        let apart = config.memory / 8;
        let others = windows + owed + apart;
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

    /// What is shared and in use, but for what waits to be sent.
    fn incoming(&self) -> u64 {
        let turns = self.has_turn.iter().map(|has| u64::from(*has)).sum::<u64>();
        turns * self.limits.message + self.grown + self.much_left()
    }

    /// What is left of streams that are over, beyond what has room apart.
    fn much_left(&self) -> u64 {
        let left = u64::try_from(self.left).unwrap_or(0);
        left.saturating_sub(self.limits.left)
    }

    /// What may wait to be sent. Only ends of streams use what a single message from the peer may need: an
    /// honest peer takes them at once, and others may be paused for good.
    fn most_outgoing(&self, is_end: bool) -> u64 {
        let kept_free = !is_end && !self.has_turn[usize::from(true)];
        let kept_free = if kept_free { self.limits.message } else { 0 };
        let others = self.incoming() + kept_free;
        self.limits.shared.saturating_sub(others)
    }

    /// What may wait to be sent with the ends of streams. A turn counts as the largest message, of which
    /// mostly little is there: a peer that takes its answers may have that room for them, and that of
    /// windows which have grown into it.
    fn most_ends(&self) -> u64 {
        if self.is_stalled(self.clock) {
            return self.most_outgoing(true);
        }
        let grown = self.grown.min(self.limits.grown);
        self.limits.shared.saturating_sub(grown + self.much_left())
    }

    /// What windows, or what else is not for a single message, may still take.
    fn room(&self) -> u64 {
        self.most_outgoing(false).saturating_sub(self.waiting())
    }

    /// What waits to be sent, of a service.
    fn waiting(&self) -> u64 {
        if self.is_server { self.outgoing } else { 0 }
    }

    /// By how much a window may grow. With `also_turn` it may use what is for the turn of streams with many
    /// messages: that has to wait then until the window is used no more.
    pub(super) fn room_for_growth(&self, also_turn: bool) -> u64 {
        let turn = if also_turn { self.limits.message } else { 0 };
        let most = self.limits.grown + turn;
        self.room().min(most.saturating_sub(self.grown))
    }

    /// A window has grown.
    pub(super) fn grow(&mut self, grown: u64) {
        self.grown += grown;
    }

    /// A window that has grown is used no more.
    pub(super) fn settle(&mut self, grown: u64) {
        self.grown -= grown;
    }

    /// Whether a stream may assemble the largest message.
    pub(super) fn has_room_for_turn(&self, is_single: bool) -> bool {
        let most = match is_single {
            true => self.most_outgoing(true),
            false => self.most_outgoing(false),
        };
        most.saturating_sub(self.waiting()) >= self.limits.message
    }

    /// Whether a stream has the turn among those of its kind.
    pub(super) fn has_turn(&self, is_single: bool) -> bool {
        self.has_turn[usize::from(is_single)]
    }

    pub(super) fn set_turn(&mut self, is_single: bool, has_turn: bool) {
        self.has_turn[usize::from(is_single)] = has_turn;
    }

    /// The application has taken so much of streams that are over, or will be before this side is told
    /// of all of it.
    pub(super) fn on_left_taken(&mut self, cost: u64) {
        self.left -= cost.cast_signed();
    }

    /// Checks that a stream may begin, with this window.
    ///
    /// # Errors
    /// If too much of streams that are over is left to the application.
    pub(super) fn check_unread(&self, window: u64) -> Result<(), Status> {
        if self.much_left() == 0 || self.room() >= window {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "{} bytes of calls that are over have not been read",
            self.left
        )))
    }

    /// Counts the head of a call that waits for its message.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) fn add_head(&mut self, cost: u64) -> Result<(), Status> {
        if self.heads + cost > self.limits.heads {
            return Err(Status::resource_exhausted(format!(
                "calls whose messages have not come hold {} bytes of metadata: no more begin before \
                 some of them have come",
                self.heads
            )));
        }
        self.heads += cost;
        Ok(())
    }

    /// The head of a call is the application's, or gone.
    pub(super) fn remove_head(&mut self, cost: u64) {
        self.heads -= cost;
    }

    /// Lets a stream get or lose what it has to send, and counts that.
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

    /// A stream is gone, with whatever it had to send.
    pub(super) fn forget(&mut self, stream: &Stream) {
        self.outgoing -= stream.sending.held();
        self.answers -= stream.sending.last_words();
        self.heads -= stream.head;
        self.grown -= stream.receiving.grown();
        self.left += stream.receiving.unread().cast_signed();
    }

    /// Whether so many bytes more may wait to be sent, on a stream on which so many do already. What does
    /// not end its stream can wait elsewhere for less.
    pub(super) fn has_room(&self, cost: u64, own: u64, is_end: bool) -> bool {
        let most = match is_end {
            true => self.most_ends(),
            false => self.most_outgoing(false),
        };
        let is_over = self.outgoing > 0 && self.outgoing + cost > most;
        !is_over && (own == 0 || !self.is_soft_full())
    }

    /// Whether so much waits that streams which have something to send already get no more.
    pub(super) fn is_soft_full(&self) -> bool {
        self.outgoing > self.limits.soft_outgoing
    }

    /// Whether streams that had nothing to send and found no room may try again.
    pub(super) fn has_room_again(&self) -> bool {
        self.outgoing <= self.most_outgoing(false) / 2
    }

    /// Whether what waits leaves room for short ends only.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing > self.most_ends()
    }

    /// Returns the error of an answer that has no room, and remembers that.
    pub(super) fn refuse_answer(&mut self) -> Status {
        self.has_refused = true;
        self.untaken("the caller takes none of its answers")
    }

    /// The peer has acknowledged a packet, or granted credit.
    pub(super) fn on_taken(&mut self, now: Instant) {
        self.taken_at = now;
        self.has_refused = false;
    }

    /// Checks that a call of the peer may begin.
    ///
    /// # Errors
    /// If it takes none of its answers.
    pub(super) fn check_answers(&self, now: Instant) -> Result<(), Status> {
        match self.answers > self.most_outgoing(true) / 2 && self.is_stalled(now) {
            true => Err(self.untaken("the caller takes none of its answers")),
            false => Ok(()),
        }
    }

    /// Checks that a call of this side may begin.
    ///
    /// # Errors
    /// If the peer takes none.
    pub(super) fn check_requests(&self) -> Result<(), Status> {
        match self.outgoing > self.most_outgoing(true) && self.is_stalled(self.clock) {
            true => Err(self.untaken("the instance takes no requests")),
            false => Ok(()),
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        now >= self.taken_at + STALLED_AFTER
    }

    fn untaken(&self, what: &str) -> Status {
        let waiting = self.outgoing;
        Status::resource_exhausted(format!("{what}: {waiting} bytes wait for it"))
    }

    fn gone_at(&self) -> Option<Instant> {
        self.has_refused.then(|| self.taken_at + GONE_AFTER)
    }

    /// Notes what time it is, and says why the session has to end, if it has.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Status> {
        self.clock = now;
        let is_gone = self.gone_at().is_some_and(|at| now >= at);
        is_gone.then(|| self.untaken("the caller takes none of its answers"))
    }

    /// When [`Self::handle_timeout`] may have something to say.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.gone_at()
    }

    /// Nothing is kept any more.
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

    /// The bytes that may be kept at most, but for packets.
    pub(super) fn most(&self) -> u64 {
        self.limits.most
    }
}
