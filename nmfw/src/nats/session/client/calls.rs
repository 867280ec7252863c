//! [`ClientCalls`]: the calls of a session on the client's side.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Handle, Pool,
    call::{ClientCall, Unary},
    command::{ClientCommand, CommandHead},
};
use crate::{
    Code, Metadata, Status,
    nats::{
        attempts::late,
        session::{
            driver::{self, Flow, MailboxSignals, SessionHalf, Side, StreamCommand},
            protocol::{Event, Liveness, Opened, Session, StreamId, StreamTable},
        },
    },
};
use nmfw_core::{
    call::{body::chunk::Tally, response::Response},
    escape::Escaped,
};

/// A session without calls for this long is closed. The next call opens another.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Resolution of the pool's clock.
const TICK: Duration = Duration::from_millis(100);

/// The calls in flight on a session.
pub(crate) struct ClientCalls {
    pub(crate) pool: Weak<Pool>,
    pub(crate) handle: Weak<Handle>,
    pub(crate) calls: StreamTable<ClientCall>,
    /// The content of ACCEPT, until a further packet proves that the service can be received: an
    /// account mapping may pass only one answer.
    accepted: Option<Opened>,
    /// The state that callers see.
    pub(crate) liveness: Liveness,
    /// The connection's current epoch for the session, and the last one in which a packet of the
    /// service arrived.
    pub(crate) epoch: u64,
    pub(crate) heard_in: u64,
    /// Whether this session gets no further calls: its callers are gone, or it was idle for too
    /// long.
    is_abandoned: bool,
    has_gone_away: bool,
    /// Whether a call was answered.
    was_of_use: bool,
    /// When to look for unary calls whose deadlines have passed. At or before the first due time;
    /// earlier if that call has ended meanwhile.
    late_at: Option<Instant>,
    next_tick: Instant,
    /// Since when there has been no call.
    idle_since: Option<Instant>,
    /// The error with which the session ended.
    failure: Option<Status>,
}

impl ClientCalls {
    pub(crate) fn new(pool: Weak<Pool>, handle: Weak<Handle>) -> Self {
        Self {
            pool,
            handle,
            calls: StreamTable::default(),
            accepted: None,
            liveness: Liveness::Alive,
            epoch: 0,
            heard_in: 0,
            is_abandoned: false,
            has_gone_away: false,
            was_of_use: false,
            late_at: None,
            next_tick: driver::now(),
            idle_since: None,
            failure: None,
        }
    }

    fn begin_unary(
        &mut self,
        session: &mut Session,
        (head, body): (CommandHead, Bytes),
        sender: oneshot::Sender<Result<Response, Status>>,
    ) {
        let (method, deadline) = (head.method, head.deadline);
        match session.open_call(head.into_call_head(), true, Some(body)) {
            Ok(stream) => {
                self.late_at = [self.late_at, deadline].into_iter().flatten().min();
                let call = Unary {
                    method,
                    deadline,
                    metadata: Metadata::new(),
                    body: None,
                    sender,
                };
                self.calls.insert(stream, ClientCall::Unary(call));
            }
            // Fails if the call was just cancelled.
            Err(status) => _ = sender.send(Err(status)),
        }
    }

    /// Removes the session from the pool, so that callers choose another one.
    pub(crate) fn leave(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.left(&self.handle, self.was_of_use, self.failure.take());
        }
    }

    /// Records that the session could not be opened.
    pub(crate) fn fail(&mut self, status: Status) {
        self.failure.get_or_insert(status);
    }

    /// Updates the pool's clock, so that calls need not read it.
    fn tick(&mut self, now: Instant) {
        self.next_tick = now + TICK;
        if let Some(pool) = self.pool.upgrade() {
            pool.tick(now);
        }
    }

    /// Makes the session available to callers.
    fn open(&mut self, opened: Opened) {
        if let Some(handle) = self.handle.upgrade() {
            log_limited!(debug, instance = %Escaped::new(&opened.instance), "opened a session");
            handle.opened(opened);
            if let Some(pool) = self.pool.upgrade() {
                pool.opened(&handle);
            }
        }
    }

    pub(crate) fn finish(
        &mut self,
        session: &mut Session,
        stream: StreamId,
        outcome: Result<Metadata, Status>,
    ) {
        match self.calls.remove(stream) {
            Some(ClientCall::Unary(call)) => {
                call.give_back(session, stream);
                call.finish(outcome);
            }
            Some(ClientCall::Uploading { half, .. } | ClientCall::Streaming(half)) => {
                half.io.finish(outcome);
            }
            None => {}
        }
    }

    /// Ends a call that received more than one answer where one is expected.
    fn refuse_more(&mut self, session: &mut Session, stream: StreamId) {
        let status = Status::internal("the response has more than one message");
        session.reset(stream, &status);
        self.finish(session, stream, Err(status));
    }

    /// Resets dropped calls at the service.
    fn reset_abandoned(&mut self, session: &mut Session) {
        self.calls.retain(|stream, call| {
            let ClientCall::Unary(call) = call else {
                return true;
            };
            let is_abandoned = call.sender.is_closed();
            if is_abandoned {
                call.give_back(session, stream);
                session.reset(stream, &cancelled());
            }
            !is_abandoned
        });
    }

    fn on_stream_command(&mut self, session: &mut Session, command: StreamCommand) {
        let StreamCommand { io, flow } = command;
        let Some(stream) = io.stream() else {
            return;
        };
        let Some(half) = self.calls.get_mut(stream).and_then(ClientCall::half_mut) else {
            if let Flow::Taken = flow {
                io.release(session, stream);
            }
            return;
        };
        match flow {
            Flow::Batch(batch) => {
                let ended = half.on_batch(session, stream, batch);
                self.after(stream, &ended);
            }
            Flow::Taken => {
                if half.on_taken(session, stream) {
                    session.reset(stream, &cancelled());
                    self.finish(session, stream, Err(cancelled()));
                }
            }
            // Callers send no headers.
            Flow::Headers(_) => {}
        }
    }

    /// Handles the end of a caller's messages: an error ends its call.
    fn after(&mut self, stream: StreamId, ended: &driver::Ended) {
        match ended {
            driver::Ended::No | driver::Ended::Finished => {}
            driver::Ended::Failed | driver::Ended::Refused { .. } => {
                self.calls.remove(stream);
            }
        }
    }
}

fn unheard() -> Status {
    Status::unavailable(
        "the service accepted the session, but no further packets arrived: if the service is \
         imported from another account, its export needs `response_type: Stream`",
    )
    // Not started: no call is made before the first packet of the session arrives.
    .not_started()
}

/// Calls are left only if the session's task is dropped with its runtime.
impl Drop for ClientCalls {
    fn drop(&mut self) {
        for call in self.calls.values() {
            // A waiting unary call detects this by itself.
            if let ClientCall::Uploading { half, .. } | ClientCall::Streaming(half) = call {
                let status = Status::unavailable("the session task has ended");
                half.io.finish(Err(status));
            }
        }
    }
}

fn cancelled() -> Status {
    Status::cancelled("the caller has dropped the call")
}

impl Side for ClientCalls {
    type Command = ClientCommand;

    fn on_command(&mut self, session: &mut Session, command: ClientCommand) {
        match command {
            // Cancelled before it started.
            ClientCommand::Unary { sender, .. } if sender.is_closed() => {}
            ClientCommand::Unary { head, body, sender } => {
                self.begin_unary(session, (head, body), sender);
            }
            ClientCommand::Begin {
                head,
                io,
                body,
                is_single,
            } => match session.open_call(head.into_call_head(), is_single, body) {
                Ok(stream) => {
                    io.begin(stream);
                    let half = SessionHalf::new(io);
                    let is_answered = false;
                    let call = match is_single {
                        true => ClientCall::Uploading { half, is_answered },
                        false => ClientCall::Streaming(half),
                    };
                    self.calls.insert(stream, call);
                }
                Err(status) => io.finish(Err(status)),
            },
            ClientCommand::StreamIo(command) => self.on_stream_command(session, command),
        }
    }

    fn on_event(&mut self, session: &mut Session, event: Event) {
        match event {
            Event::Opened(opened) => self.accepted = Some(opened),
            Event::Headers { stream, metadata } => {
                self.was_of_use = true;
                match self.calls.get_mut(stream) {
                    Some(ClientCall::Unary(call)) => call.metadata = metadata,
                    Some(ClientCall::Uploading { half, .. } | ClientCall::Streaming(half)) => {
                        half.on_headers(metadata);
                    }
                    None => {}
                }
            }
            Event::Answer { stream, message } => {
                self.was_of_use = true;
                match self.calls.remove(stream) {
                    Some(ClientCall::Unary(call)) => {
                        session.release(Tally::of(message.len()).cost);
                        call.answer(message);
                    }
                    Some(ClientCall::Uploading { half, .. } | ClientCall::Streaming(half)) => {
                        half.on_chunk(session, stream, message.into());
                        half.io.finish(Ok(Metadata::new()));
                    }
                    None => session.release(Tally::of(message.len()).cost),
                }
            }
            Event::Message { stream, message } => {
                self.was_of_use = true;
                match self.calls.get_mut(stream) {
                    // Counted as taken only when the call has ended; otherwise, the number of
                    // further answers would be unbounded.
                    Some(ClientCall::Unary(call)) => {
                        let tally = Tally::of(message.len());
                        if call.body.is_none() {
                            call.body = Some(message);
                        } else {
                            session.consume(stream, tally);
                            self.refuse_more(session, stream);
                        }
                    }
                    // The caller waits for this message.
                    Some(ClientCall::Uploading { half, is_answered }) => {
                        let tally = Tally::of(message.len());
                        if std::mem::replace(is_answered, true) {
                            session.consume(stream, tally);
                            self.refuse_more(session, stream);
                        } else {
                            half.on_chunk(session, stream, message.into());
                        }
                    }
                    Some(ClientCall::Streaming(half)) => {
                        half.on_chunk(session, stream, message.into());
                    }
                    None => session.consume(stream, Tally::of(message.len())),
                }
            }
            Event::Row { stream, row } => {
                self.was_of_use = true;
                match self.calls.get(stream) {
                    Some(ClientCall::Unary(_) | ClientCall::Uploading { .. }) => {
                        session.consume(stream, row.tally());
                        self.refuse_more(session, stream);
                    }
                    Some(ClientCall::Streaming(half)) => half.on_chunk(session, stream, row.into()),
                    None => session.consume(stream, row.tally()),
                }
            }
            Event::Writable { stream } => {
                if let Some(half) = self.calls.get_mut(stream).and_then(ClientCall::half_mut) {
                    let ended = half.push(session, stream);
                    self.after(stream, &ended);
                }
            }
            Event::Finished { stream, outcome } => self.finish(session, stream, outcome),
            Event::GoAway => {
                self.has_gone_away = true;
                self.was_of_use = true;
                self.leave();
            }
            Event::Closed(status) => {
                if let Some(mut status) = status {
                    log_limited!(debug, %status, "ended a session");
                    if self.accepted.is_some() && status.code() == Code::Unavailable {
                        status = unheard();
                    } else if status.code() == Code::Unimplemented
                        && let Some(pool) = self.pool.upgrade()
                    {
                        let open = pool.scope().open();
                        let text = format!("cannot open a session on {open}: {}", status.message());
                        status = status.with_message(text);
                    }
                    self.fail(status);
                }
                self.leave();
            }
            Event::Call { .. } | Event::End { .. } | Event::Drained => {}
        }
    }

    fn settle(&mut self, session: &mut Session, signals: &MailboxSignals, now: Instant) {
        if let Some(epoch) = signals.reconnected {
            self.epoch = epoch;
        }
        self.update_reconnect(session);
        if session.is_confirmed()
            && let Some(opened) = self.accepted.take()
        {
            self.open(opened);
        }
        self.is_abandoned |= signals.drain;
        if signals.cancelled {
            self.reset_abandoned(session);
        }
        if self.late_at.is_some_and(|at| at <= now) {
            self.on_deadline(session, now);
        }
        if now >= self.next_tick {
            self.tick(now);
        }
        self.update_liveness(session, now);
        if session.open_streams() > 0 {
            self.idle_since = None;
            return;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        if now >= idle_since + MAX_IDLE && !self.is_abandoned {
            // Callers that have just chosen this session are refused, and choose another one.
            self.was_of_use = true;
            self.leave();
            self.is_abandoned = true;
        }
        // After GOAWAY, the service closes the session itself once it has all acknowledgements.
        if self.is_abandoned && !self.has_gone_away {
            session.close(None);
        }
    }

    fn timer(&self) -> Option<Instant> {
        let idle = self.idle_since.map(|since| since + MAX_IDLE);
        [idle, self.late_at].into_iter().flatten().min()
    }

    fn deadline(&self) -> Option<Instant> {
        self.late_at
    }

    /// Ends the unary calls whose deadlines have passed, at the service too. One pass for all calls
    /// saves a timer for each.
    fn on_deadline(&mut self, session: &mut Session, now: Instant) {
        self.late_at = None;
        let mut overdue = Vec::new();
        for (stream, call) in self.calls.iter() {
            match call {
                ClientCall::Unary(call) if call.deadline.is_some_and(|at| at <= now) => {
                    overdue.push((stream, late(call.method)));
                }
                ClientCall::Unary(call) => {
                    self.late_at = [self.late_at, call.deadline].into_iter().flatten().min();
                }
                ClientCall::Uploading { .. } | ClientCall::Streaming(_) => {}
            }
        }
        if !overdue.is_empty() {
            session.suspect(now);
            // Updated before the callers wake, because they may call again at once.
            self.update_liveness(session, now);
        }
        for (stream, status) in overdue {
            session.reset(stream, &cancelled());
            self.finish(session, stream, Err(status));
        }
    }

    fn is_busy(&self) -> bool {
        self.calls.len() > 1
    }
}
