//! Operations of the application on streams.

use std::mem;

use bytes::Bytes;

use super::{
    CallHead, Event, PeerGone, SendError, Session, SessionState, StreamId,
    assembly::Assembly,
    body::{encode_ok, encode_status, put_metadata},
    frame::{flag, kind},
    handshake::NARROW_WINDOW,
    sending::CallFrame,
    stream::Stream,
};
use crate::{Metadata, Status};
use nmfw_core::call::body::chunk::{Chunk, Tally};

/// Maximum length of a status for a peer that accepts nothing.
const SHORT_END: usize = 512;

/// Returns the flag of STATUS, RESET and CLOSE for a status.
pub(super) fn not_started_flag(status: &Status) -> u8 {
    if status.is_not_started() {
        flag::NOT_STARTED
    } else {
        0
    }
}

impl Session {
    /// Starts a call on the calling side, once the session is open, with its only message unless
    /// its requests stream. A call with a single answer is `is_single`; the driver then has to take
    /// that answer as soon as it arrives.
    ///
    /// # Errors
    /// All errors are *not started*: the session is not open, it has reached its maximum number of
    /// streams, the peer accepts nothing, the metadata exceeds a packet, or the message a side's
    /// limit.
    pub(crate) fn open_call(
        &mut self,
        head: CallHead,
        is_single: bool,
        message: Option<Bytes>,
    ) -> Result<StreamId, Status> {
        if self.is_server || self.state != SessionState::Open {
            // Not started: no CALL was queued.
            return Err(Status::unavailable("the session is not open").not_started());
        }
        if self.going_away.is_some() {
            // Not started: no CALL was queued.
            return Err(
                Status::unavailable("the service does not accept further calls").not_started(),
            );
        }
        if self.streams.len() >= self.agreed.max_streams {
            return Err(
                // Not started: no CALL was queued.
                Status::resource_exhausted("the session has reached its maximum number of calls")
                    .not_started(),
            );
        }
        // Not started: no CALL was queued.
        self.budget.check_requests().map_err(Status::not_started)?;
        let body = self.sent_heads.encode(&head);
        if body.len() + nmfw_core::call::body::wire::MAX_VARINT_LEN > self.agreed.max_body() {
            // Not started: no CALL was queued.
            return Err(self.too_large("metadata", body.len()).not_started());
        }
        if let Some(message) = &message
            && message.len() > self.agreed.max_message
        {
            // Not started: no CALL was queued.
            return Err(self.too_large_message(message.len()).not_started());
        }
        let is_narrow = self.wide >= self.wide_limit;
        // Not started: no CALL was queued.
        self.budget
            .check_unread(self.config.first_window(is_narrow))
            .map_err(Status::not_started)?;
        self.highest += 1;
        self.wide += usize::from(!is_narrow);
        self.waiting += usize::from(is_single);
        let deadline = head.deadline;
        let windows = self.first_windows(is_narrow);
        let (id, stream) = self.streams.insert_with(self.highest, || {
            Stream::new(false, (is_single, is_narrow), windows)
        });
        stream.queued = true;
        stream.sending.push_call(CallFrame {
            deadline,
            body,
            is_narrow,
        });
        if let Some(message) = message {
            stream.sending.push(message.into(), true);
        }
        self.budget.add(stream);
        self.ready.push_back(id);
        Ok(id)
    }

    /// Returns the initial credit of both sides for a stream.
    pub(super) fn first_windows(&self, is_narrow: bool) -> (u64, u64) {
        let mut peer_window = self.agreed.stream_window;
        if is_narrow {
            peer_window = peer_window.min(NARROW_WINDOW);
        }
        let window = self.config.first_window(is_narrow);
        (window, peer_window)
    }

    /// Sends a message, which is the last one with `end`: for a service, the call has then ended
    /// successfully.
    ///
    /// # Errors
    /// See [`SendError`].
    pub(crate) fn send_message(
        &mut self,
        stream: StreamId,
        message: Bytes,
        end: bool,
    ) -> Result<(), SendError> {
        self.send(stream, message.into(), end)
    }

    /// Sends one message or several, like [`Self::send_message`].
    ///
    /// # Errors
    /// See [`SendError`]. Messages in a row before one that is too large are sent, as if they had
    /// been sent separately.
    pub(crate) fn send(
        &mut self,
        stream: StreamId,
        mut chunk: Chunk,
        end: bool,
    ) -> Result<(), SendError> {
        let Tally { cost, largest, .. } = chunk.tally();
        let max_message = self.agreed.max_message;
        let send_buffer = self.config.send_buffer as u64;
        let state = self.streams.get_mut(stream);
        let state = state.filter(|state| state.can_send());
        let state = state.ok_or(SendError::Ended)?;
        if largest > max_message {
            if let Chunk::Row(row) = &mut chunk
                && let Some(front) = row.split_to(|tally| tally.largest <= max_message)
            {
                self.budget
                    .change(state, |state| state.sending.push(front, false));
            }
            return Err(SendError::TooLarge(self.refuse_to_send(stream, largest)));
        }
        let own = state.sending.buffered();
        let has_room = self.budget.has_room(cost, own, end);
        if own == 0 && !has_room && self.is_server {
            // The stream is woken when other streams have sent enough.
            if !mem::replace(&mut state.is_starved, true) {
                self.starved.push_back(stream);
            }
            return Err(SendError::Full(chunk));
        }
        if own > 0 && (own + cost > send_buffer || !has_room) {
            state.wants_writable = true;
            return Err(SendError::Full(chunk));
        }
        self.budget
            .change(state, |state| state.sending.push(chunk, end));
        let is_over = end && self.is_server && state.end_here(&mut self.budget);
        state.queue(stream, &mut self.ready);
        if own == 0 && !state.queued {
            // The last turn has used all of the credit and left nothing, so it has counted nothing.
            self.counts.window_stalls += 1;
        }
        if is_over {
            self.release_assembly(stream);
        }
        Ok(())
    }

    /// Ends a stream on which the application wants to send a message of `len` bytes.
    fn refuse_to_send(&mut self, stream: StreamId, len: usize) -> Status {
        let status = self.too_large_message(len);
        if self.is_server {
            self.send_status(stream, Err(&status));
        } else {
            self.reset(stream, &status);
        }
        status
    }

    /// Ends this side of a stream without a further message; for a service, the call has then ended
    /// successfully.
    pub(crate) fn finish(&mut self, stream: StreamId) {
        let push = |state: &mut Stream| state.sending.push_end(kind::END, Bytes::new());
        if self.change(stream, push).is_some() {
            self.after_send(stream, true);
        }
    }

    /// Sends a service's metadata before its messages.
    ///
    /// # Errors
    /// Fails if it exceeds a packet, has too many values, or is too late.
    pub(crate) fn send_headers(
        &mut self,
        stream: StreamId,
        metadata: &Metadata,
    ) -> Result<(), Status> {
        let checked = metadata.check_size();
        checked.map_err(|error| Status::internal(error.to_string()))?;
        let mut body = Vec::new();
        put_metadata(&mut body, metadata);
        if body.len() > self.agreed.max_body() {
            return Err(self.too_large("metadata", body.len()));
        }
        if self.is_server && self.budget.is_full() {
            return Err(self.budget.refuse_answer());
        }
        let push = |state: &mut Stream| state.sending.push_headers(body.into());
        let is_sent = self.is_server && self.change(stream, push).unwrap_or(false);
        if !is_sent {
            return Err(Status::failed_precondition(
                "response metadata can be sent only once, before the first message",
            ));
        }
        self.after_send(stream, false);
        Ok(())
    }

    /// Ends a call on the service's side, after the messages that it has sent: successfully with
    /// trailers, or with an error. Trailers that do not fit into a packet become an error.
    pub(crate) fn send_status(&mut self, stream: StreamId, outcome: Result<&Metadata, &Status>) {
        let limit = self.max_end();
        let too_large;
        let (flags, body) = match outcome {
            Ok(trailers) => match encode_ok(trailers, limit) {
                Some(body) => (0, body),
                None => {
                    let text = "the trailers are larger than a packet, or have too many values";
                    too_large = Status::resource_exhausted(text);
                    (0, encode_status(&too_large, limit))
                }
            },
            Err(status) => (not_started_flag(status), encode_status(status, limit)),
        };
        let push = |state: &mut Stream| state.sending.push_end(kind::STATUS | flags, body);
        if self.is_server && self.change(stream, push).is_some() {
            self.after_send(stream, true);
        }
    }

    /// Ends a stream at once in both directions. Pending data is dropped; the peer is notified if
    /// it knows the stream.
    pub(crate) fn reset(&mut self, stream: StreamId, status: &Status) {
        let body = encode_status(status, self.max_end());
        let Some(state) = self.streams.get_mut(stream) else {
            return;
        };
        if !state.sending.is_known() {
            self.remove(stream);
            return;
        }
        let is_assembling = state.end_here(&mut self.budget);
        state.wants_writable = false;
        self.budget.change(state, |state| {
            state.sending.push_reset(not_started_flag(status), body);
        });
        state.queue(stream, &mut self.ready);
        if is_assembling {
            self.release_assembly(stream);
        }
    }

    /// Returns whether the peer may know the stream.
    pub(crate) fn is_known(&self, stream: StreamId) -> bool {
        let state = self.streams.get(stream);
        state.is_none_or(|state| state.sending.is_known())
    }

    /// Ends a call whose peer is [gone](super::Liveness::Gone), and returns the status for its caller.
    /// If the peer comes back, it is notified.
    pub(crate) fn give_up(&mut self, stream: StreamId) -> Status {
        let is_known = self.is_known(stream);
        self.reset(
            stream,
            &Status::cancelled("the caller does not wait for the response any more"),
        );
        let status = PeerGone::status(
            "the instance that received the call is gone: it is not connected to NATS any more",
        );
        if is_known {
            status
        } else {
            // Not started: the CALL was never written to a packet, and the reset drops it.
            status.not_started()
        }
    }

    /// Grants the peer more credit for messages that the application has taken.
    pub(crate) fn consume(&mut self, stream: StreamId, taken: Tally) {
        let streams = self.streams.len();
        if let Some(state) = self.streams.get_mut(stream) {
            let before = state.receiving.debt();
            let base = self.hello.stream_window;
            let room = self.budget.room_for_growth(false);
            let grown = state.receiving.consume(taken, streams, (base, room));
            self.budget.grow(grown);
            self.budget.settle(state.receiving.settle());
            match state.receiving.assembly {
                Assembly::Repays | Assembly::Owes => self.repaid(stream, before),
                Assembly::No | Assembly::Waits | Assembly::Holds => {
                    state.queue(stream, &mut self.ready);
                }
            }
        } else {
            self.release(taken.cost);
        }
    }

    /// Records messages that the application has taken from streams that have ended, or may end
    /// soon.
    pub(crate) fn release(&mut self, cost: u64) {
        if self.state != SessionState::Closed {
            self.budget.on_left_taken(cost);
        }
    }

    /// Accepts no more calls, for a service that is about to stop. [`Event::Drained`] follows when
    /// all have ended.
    pub(crate) fn go_away(&mut self) {
        if self.is_server && self.state == SessionState::Open && self.going_away.is_none() {
            self.going_away = Some(self.highest);
            self.due.go_away = true;
            // Detects a client that is gone without notice.
            self.due.ping = true;
        }
    }

    /// Changes the number of packets that the peer may have in flight: a driver of many sessions
    /// gives more to busy ones. A smaller window applies once the peer has received it.
    pub(crate) fn set_packet_window(&mut self, packets: u32) {
        if self.state == SessionState::Open {
            let window = u64::from(packets).max(1);
            self.own_window = window;
            self.inbound.widen(window);
            self.fit_windows();
            self.due.packet_window = Some(window);
        }
    }

    /// Ends the session at once. Open streams end with the status, or with UNAVAILABLE, on both
    /// sides.
    pub(crate) fn close(&mut self, status: Option<Status>) {
        if self.state == SessionState::Closed {
            return;
        }
        let close = self.last_packet(status.as_ref());
        self.over(status);
        self.due.close = close;
    }

    /// Changes a stream's outgoing data, if this side may still send on it.
    fn change<T>(&mut self, stream: StreamId, change: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let state = self.streams.get_mut(stream)?;
        let can_send = state.can_send();
        can_send.then(|| self.budget.change(state, change))
    }

    /// Returns whether much data is pending. Applications should then be asked only for data that
    /// they have ready.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.is_soft_full()
    }

    /// Returns the maximum length of a stream's end. While the peer accepts nothing, it has no
    /// details.
    fn max_end(&self) -> usize {
        let most = self.agreed.max_body();
        if self.budget.is_full() {
            most.min(SHORT_END)
        } else {
            most
        }
    }

    /// Ends a call for whose only answer there is no room, because the peer accepts none.
    pub(crate) fn refuse_answer(&mut self, stream: StreamId) -> Status {
        let status = self.budget.refuse_answer();
        self.send_status(stream, Err(&status));
        status
    }

    /// Wakes streams without data that had found no room.
    pub(super) fn feed_starved(&mut self) {
        if self.starved.is_empty() || !self.budget.has_room_again() {
            return;
        }
        for id in mem::take(&mut self.starved) {
            if let Some(state) = self.streams.get_mut(id)
                && mem::take(&mut state.is_starved)
                && state.can_send()
            {
                self.events.push_back(Event::Writable { stream: id });
            }
        }
    }

    fn after_send(&mut self, stream: StreamId, end: bool) {
        if end
            && self.is_server
            && let Some(state) = self.streams.get_mut(stream)
        {
            // The service has ended the call: further messages of the caller are not needed.
            if state.end_here(&mut self.budget) {
                self.release_assembly(stream);
            }
        }
        self.wake(stream);
    }

    fn too_large_message(&self, len: usize) -> Status {
        Status::resource_exhausted(format!(
            "a message of {len} bytes is over the limit of {}",
            self.agreed.max_message
        ))
    }

    fn too_large(&self, what: &str, len: usize) -> Status {
        Status::resource_exhausted(format!(
            "{what} of {len} bytes does not fit into a packet of {} bytes",
            self.agreed.max_packet
        ))
    }

    pub(super) fn message_too_large(&mut self, stream: StreamId) {
        let limit = self.hello.max_message;
        let status =
            Status::resource_exhausted(format!("a message is over the limit of {limit} bytes"));
        self.reset(stream, &status);
        let outcome = Err(status);
        self.events.push_back(Event::Finished { stream, outcome });
    }
}
