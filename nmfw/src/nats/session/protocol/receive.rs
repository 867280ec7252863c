//! Processing of incoming packets.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Event, Opened, PeerGone, Session, SessionState, StreamId,
    body::{RawMetadata, StatusBody, UnreadCall},
    config::Agreed,
    frame::{Body, Frame, Frames, Header},
    handshake::Hello,
    link::Arrival,
    proof::Keys,
    receiving::Part,
    sending::MIN_PART,
    stream::{Stream, cost},
};
use crate::{Metadata, Status};
use nmfw_core::call::body::{
    chunk::{Row, SMALL, Tally},
    wire::Malformed,
};

/// Maximum length of the status of CLOSE that is kept, which is only displayed.
const MAX_CLOSE: usize = 1024;

/// Messages of at least this size are not copied out of their packet, if they make up most of it.
const LARGE: usize = 64 * 1024;

/// Maximum size of a packet that small messages at the end of their streams share. Each keeps it,
/// and the connection's read buffer with it, alive until it is decoded: once per stream, which may
/// use as much in any case. Code that queues a message must copy it.
const SHARED: usize = 16 * 1024;

impl Session {
    /// Processes a packet from the peer. Whatever its content, it can at most end this session.
    ///
    /// Returns whether the packet had a valid proof, or needed none. Other packets are dropped
    /// without an effect.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &Bytes) -> bool {
        let outcome = match (self.state, &self.keys) {
            (SessionState::Closed, _) => return true,
            (SessionState::Opening, None) => self.handle_open(now, packet),
            (state, Some(keys)) => match (keys.open(packet), state) {
                (Some(content), SessionState::Open) => self.take_packet(now, packet, content),
                (Some(content), _) => self.handle_accept(now, content),
                (None, _) => match self.handle_unproven(packet) {
                    Ok(false) => {
                        self.counts.dropped += 1;
                        return false;
                    }
                    outcome => outcome.map(|_| ()),
                },
            },
            // A session does not open without keys.
            (SessionState::Open, None) => return false,
        };
        if let Err(Malformed(what)) = outcome {
            let is_opening = self.state == SessionState::Opening;
            let text = match (is_opening, self.is_server) {
                (false, _) => format!("the peer violated the protocol: {what}"),
                (true, true) => format!("cannot decode OPEN: {what}"),
                (true, false) => {
                    format!("the answer to OPEN does not come from an nmfw service: {what}")
                }
            };
            self.fail(if is_opening {
                // Not started: streams begin once the session is open.
                Status::unimplemented(text).not_started()
            } else {
                Status::internal(text)
            });
        } else if let Some(status) = self.strain.excess()
            && self.state == SessionState::Open
        {
            self.fail(status);
        }
        true
    }

    /// Processes packets without a proof, and returns whether it was one: a CLOSE that answers an
    /// unreadable OPEN, or a CLOSE with the token of a recent PING from a service that has
    /// forgotten the session. A service accepts none.
    fn handle_unproven(&mut self, packet: &[u8]) -> Result<bool, Malformed> {
        if self.is_server {
            return Ok(false);
        }
        let is_opening = self.state == SessionState::Opening;
        match first_frame(packet) {
            Ok(Some(Body::Close(status))) if is_opening => {
                self.closed_by_peer(status);
                Ok(true)
            }
            Ok(Some(Body::Close(status))) => {
                let is_recent = |token| self.keys.as_ref().is_some_and(|k| k.is_recent(&token));
                let is_answer = status.token().is_some_and(is_recent);
                if is_answer {
                    self.over(Some(PeerGone::status("the instance has ended the session")));
                }
                Ok(is_answer)
            }
            // A peer without sessions has answered OPEN.
            Err(malformed) if is_opening => Err(malformed),
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Processes only OPEN. Numbered packets will be requested.
    fn handle_open(&mut self, now: Instant, packet: &[u8]) -> Result<(), Malformed> {
        if let Some(hello) = read_open(packet)? {
            self.keys = hello.secret.map(|secret| Keys::new(secret, true));
            self.due.hello = true;
            self.open(now, hello);
        }
        Ok(())
    }

    /// Refuses to open a session: answers this OPEN with CLOSE, sealed if the OPEN is readable.
    pub(crate) fn refuse(&mut self, open: &[u8], status: Status) {
        if let Ok(Some(hello)) = read_open(open) {
            self.keys = hello.secret.map(|secret| Keys::new(secret, true));
        }
        self.close(Some(status));
    }

    /// Processes only a packet that opens or refuses the session. Other packets can be dropped:
    /// numbered ones will be requested.
    fn handle_accept(&mut self, now: Instant, packet: &[u8]) -> Result<(), Malformed> {
        let (header, frames) = Header::decode(packet)?;
        if header.seq > 0 {
            return Ok(());
        }
        for frame in frames {
            match frame?.body {
                Body::Accept(hello) => {
                    self.due.hello = false;
                    // Shows the service that its ACCEPT has arrived, and requests a further packet.
                    self.due.ping = true;
                    self.life.accepted(now);
                    self.open(now, hello);
                }
                Body::Close(status) => self.closed_by_peer(status),
                _ => {}
            }
            if self.state != SessionState::Opening {
                break;
            }
        }
        Ok(())
    }

    fn open(&mut self, now: Instant, peer: Hello) {
        let max_streams = if self.is_server {
            self.hello.max_streams
        } else {
            // Each open stream may receive a window.
            peer.max_streams.min(self.config.max_streams.into())
        };
        self.agreed = Agreed::new(&self.hello, &peer, max_streams);
        if !self.is_server && peer.wide_streams > 0 {
            let most = usize::try_from(peer.wide_streams).unwrap_or(usize::MAX);
            self.wide_limit = self.wide_limit.min(most);
        }
        self.peer_window = peer.packet_window;
        self.fit_windows();
        self.life.set_heartbeat(self.agreed.heartbeat);
        self.life.set_near(self.config.site.is_near(&peer.site));
        self.life.heard(now);
        self.state = SessionState::Open;
        self.events.push_back(Event::Opened(Opened {
            instance: peer.instance,
            methods: peer.methods,
            max_streams: self.agreed.max_streams,
            max_message: self.agreed.max_message,
        }));
    }

    /// Processes a packet of the peer; `content` is the packet without its proof.
    fn take_packet(
        &mut self,
        now: Instant,
        packet: &Bytes,
        content: &[u8],
    ) -> Result<(), Malformed> {
        if packet.len() as u64 > self.hello.max_packet {
            return Err(Malformed("a packet is larger than agreed"));
        }
        let (header, frames) = Header::decode(content)?;
        self.life.heard(now);
        let is_taken = self
            .outbound
            .on_ack(header.ack, now)
            .map_err(|_| Malformed("a packet is acknowledged that was never sent"))?;
        if is_taken {
            self.budget.on_taken(now);
        }
        if header.go_back {
            self.strain.on_nothing(now);
            self.outbound.on_go_back(header.ack, now);
        }
        if header.seq > 0 {
            self.life.heard_more();
            match self.inbound.on_numbered(header.seq, now) {
                Arrival::Take => {}
                Arrival::Drop => {
                    self.strain.on_nothing(now);
                    self.life.confirmed();
                    return Ok(());
                }
                Arrival::Violation => return Err(Malformed("more packets than the window")),
            }
        }
        self.take_frames(now, packet, frames)
    }

    fn take_frames(
        &mut self,
        now: Instant,
        packet: &Bytes,
        mut frames: Frames<'_>,
    ) -> Result<(), Malformed> {
        let mut is_empty = true;
        while let Some(frame) = frames.next() {
            is_empty = false;
            let Frame { stream: id, body } = frame?;
            match body {
                Body::Message { part, more, end } => {
                    if more && part.len() < MIN_PART {
                        self.strain.on_nothing(now);
                    }
                    self.on_message(packet, id, (part, more, end))?;
                }
                Body::Row { row, tally, end } => self.on_row(packet, id, (row, tally, end))?,
                Body::Call(call) => self.on_call(now, id, call, (packet, &mut frames))?,
                Body::Headers(metadata) => self.on_headers(id, metadata)?,
                Body::End => self.on_end(now, id)?,
                Body::Status(status) => self.on_status(id, status)?,
                Body::Reset(status) => self.on_reset(now, id, status)?,
                Body::Window(0) => return Err(Malformed("a window of zero")),
                Body::Window(packets) if id == 0 => {
                    self.peer_window = packets;
                    self.fit_windows();
                }
                Body::Window(limit) => {
                    if let Some((id, stream)) = self.stream(id)?
                        && stream.sending.on_window(limit)
                    {
                        self.budget.on_taken(now);
                        self.wake(id);
                    } else {
                        self.strain.on_nothing(now);
                    }
                }
                Body::Ping { last_sent, .. } => {
                    self.strain.on_nothing(now);
                    self.due.pong = true;
                    self.inbound.on_last_sent(last_sent, now);
                }
                Body::Pong { last_sent } => {
                    self.strain.on_nothing(now);
                    self.life.on_pong(now);
                    self.inbound.on_last_sent(last_sent, now);
                }
                Body::GoAway { highest } => self.on_go_away(highest)?,
                Body::Close(status) => self.closed_by_peer(status),
                // A repetition: the first one counts, and this does not show that ACCEPT arrived.
                Body::Open(_) | Body::Accept(_) => return Ok(()),
            }
            if self.state == SessionState::Closed {
                break;
            }
        }
        // An acknowledgement, or frames of skipped types.
        if is_empty || frames.skipped() > 0 {
            let count = frames.skipped().max(1);
            self.strain.on_nothings(count, now);
        }
        self.life.confirmed();
        Ok(())
    }

    /// Returns the stream of a frame; `None` if it has ended on this side, which the peer may not
    /// know.
    fn stream(&mut self, number: u64) -> Result<Option<(StreamId, &mut Stream)>, Malformed> {
        if number > self.highest {
            return Err(Malformed("a frame of a stream that was never opened"));
        }
        let Some(id) = self.streams.find(number) else {
            return Ok(None);
        };
        match self.streams.get_mut(id) {
            Some(stream) if !stream.sending.is_known() => {
                Err(Malformed("a frame of a stream that was not opened yet"))
            }
            stream => Ok(stream.map(|stream| (id, stream))),
        }
    }

    /// Handles a CALL. Its only message, which nearly always follows in the same packet, is handled
    /// with it.
    fn on_call(
        &mut self,
        now: Instant,
        number: u64,
        call: UnreadCall<'_>,
        (packet, frames): (&Bytes, &mut Frames<'_>),
    ) -> Result<(), Malformed> {
        if !self.is_server {
            return Err(Malformed("a service sent a CALL"));
        }
        if number <= self.highest {
            return Err(Malformed("a call on a stream that was used before"));
        }
        self.highest = number;
        if self.going_away.is_some() {
            // GOAWAY, which is in transit, notifies the client that the call was not started.
            self.late_credit += self.hello.stream_window;
            return Ok(());
        }
        if self.streams.len() >= self.agreed.max_streams {
            return Err(Malformed("more streams than agreed"));
        }
        let is_narrow = call.is_narrow;
        if !is_narrow && self.wide >= self.wide_limit {
            return Err(Malformed("more wide streams than agreed"));
        }
        let outcome = self.received_heads.decode(call, &self.methods, now)?;
        let is_single = matches!(&outcome, Ok((method, _)) if method.is_single);
        let mut cost = 0;
        let outcome = outcome.and_then(|(method, head)| {
            self.budget.check_answers(now)?;
            self.budget
                .check_unread(self.config.first_window(is_narrow))?;
            let message = match is_single {
                true => frames.take_last_message(number, self.max_message()),
                false => None,
            };
            if is_single && message.is_none() {
                // Other calls start at once, so the application has the head.
                cost = head.cost();
                self.budget.add_head(cost)?;
            }
            Ok((method.index, head, message))
        });
        self.wide += usize::from(!is_narrow);
        let windows = self.first_windows(is_narrow);
        let (stream, state) = self.streams.insert_with(number, || {
            Stream::new(true, (is_single, is_narrow), windows)
        });
        match outcome {
            Ok((method, head, message)) => {
                state.head = cost;
                let message = match message {
                    Some(message) => {
                        state.receiving.on_only(message.len())?;
                        Some(last_of(packet, message))
                    }
                    None => None,
                };
                self.events.push_back(Event::Call {
                    stream,
                    method,
                    head,
                    message,
                });
            }
            Err(status) => {
                self.strain.on_useless_call(now);
                // Not started: the service refuses the CALL instead of handing it on.
                self.reset(stream, &status.not_started());
            }
        }
        Ok(())
    }

    fn on_headers(&mut self, id: u64, metadata: RawMetadata<'_>) -> Result<(), Malformed> {
        self.only_from_service()?;
        let Some((id, stream)) = self.stream(id)? else {
            return Ok(());
        };
        if !stream.receiving.on_headers() {
            return Err(Malformed("HEADERS after the response has begun"));
        }
        if !stream.ended_here {
            self.events.push_back(Event::Headers {
                stream: id,
                metadata: metadata.decode_lossy(),
            });
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        packet: &Bytes,
        id: u64,
        (part, more, end): (&[u8], bool, bool),
    ) -> Result<(), Malformed> {
        let max_message = self.max_message();
        let Some((id, stream)) = self.stream(id)? else {
            return self.on_late(cost(part.len(), more));
        };
        let outcome = stream.receiving.on_part(part, more, end, max_message)?;
        if matches!(outcome, Part::Whole | Part::Last(_)) {
            let head = std::mem::take(&mut stream.head);
            self.budget.remove_head(head);
        }
        let message = match outcome {
            Part::Whole if end => Some(last_of(packet, part)),
            Part::Whole => Some(taken_out(packet, part)),
            Part::Last(message) => {
                self.assembled(id);
                Some(message)
            }
            Part::More => {
                self.ask_for_assembly(id);
                None
            }
            Part::Unwanted => None,
            Part::TooLarge => {
                self.message_too_large(id);
                return self.end_if(id, end);
            }
        };
        // A complete message needs no grant, which follows when the application takes it.
        if message.is_none() {
            self.wake(id);
        }
        if let Some(message) = message {
            if end && !self.is_server && self.is_only(id, message.len()) {
                if self.remove(id) == Some(false) {
                    self.events.push_back(Event::Answer {
                        stream: id,
                        message,
                    });
                }
                return Ok(());
            }
            self.events.push_back(Event::Message {
                stream: id,
                message,
            });
        }
        self.end_if(id, end)
    }

    /// Returns whether a stream has had no message but one of this length, and has no other.
    fn is_only(&self, id: StreamId, message: usize) -> bool {
        let stream = self.streams.get(id);
        stream.is_some_and(|stream| stream.receiving.is_only(message))
    }

    /// Returns the maximum size of a message from the peer.
    fn max_message(&self) -> usize {
        usize::try_from(self.hello.max_message).unwrap_or(usize::MAX)
    }

    fn on_row(
        &mut self,
        packet: &Bytes,
        id: u64,
        (row, tally, end): (&[u8], Tally, bool),
    ) -> Result<(), Malformed> {
        let max_message = self.max_message();
        let Some((id, stream)) = self.stream(id)? else {
            return self.on_late(tally.cost);
        };
        match stream.receiving.on_row(tally, end, max_message)? {
            Part::TooLarge => self.message_too_large(id),
            Part::Unwanted => self.wake(id),
            Part::Whole | Part::Last(_) | Part::More => {
                let row = Row::new(taken_out(packet, row), tally);
                self.events.push_back(Event::Row { stream: id, row });
            }
        }
        self.end_if(id, end)
    }

    /// Handles the last message.
    fn end_if(&mut self, id: StreamId, end: bool) -> Result<(), Malformed> {
        if end {
            self.ended_by_peer(id);
        }
        Ok(())
    }

    fn on_end(&mut self, now: Instant, id: u64) -> Result<(), Malformed> {
        let Some((id, stream)) = self.stream(id)? else {
            self.strain.on_nothing(now);
            return Ok(());
        };
        stream.receiving.on_end()?;
        // The message of the call never arrived.
        let is_useless = stream.head > 0;
        if is_useless {
            self.strain.on_useless_call(now);
        }
        self.ended_by_peer(id);
        Ok(())
    }

    fn ended_by_peer(&mut self, stream: StreamId) {
        if !self.is_server {
            self.finish_stream(stream, Ok(Metadata::new()));
        } else if let Some(state) = self.streams.get(stream)
            && !state.ended_here
        {
            self.events.push_back(Event::End { stream });
        }
    }

    fn on_status(&mut self, id: u64, status: StatusBody<'_>) -> Result<(), Malformed> {
        self.only_from_service()?;
        if let Some((id, stream)) = self.stream(id)? {
            stream.receiving.on_end()?;
            self.finish_stream(id, status.bounded().into_end());
        }
        Ok(())
    }

    fn on_reset(&mut self, now: Instant, id: u64, status: StatusBody<'_>) -> Result<(), Malformed> {
        let Some((id, stream)) = self.stream(id)? else {
            self.strain.on_nothing(now);
            return Ok(());
        };
        stream.receiving.on_reset();
        let is_answered = stream.sending.has_begun();
        // A service does not reset more calls than its client makes.
        if self.is_server && !is_answered {
            self.strain.on_reset(now);
        }
        let status = match status.bounded().into_outcome() {
            Ok(_) => Status::cancelled("the peer ended the call"),
            Err(status) => status,
        };
        self.finish_stream(id, Err(status));
        Ok(())
    }

    fn on_go_away(&mut self, highest: u64) -> Result<(), Malformed> {
        self.only_from_service()?;
        if self.going_away.is_some() {
            return Ok(());
        }
        self.going_away = Some(highest);
        let mut refused: Vec<StreamId> = self
            .streams
            .iter()
            .map(|(id, _)| id)
            .filter(|id| id.number > highest)
            .collect();
        refused.sort_unstable();
        for id in refused {
            // Not started: the service ignores streams above the one that GOAWAY names.
            let status =
                Status::unavailable("the service does not accept further calls").not_started();
            self.finish_stream(id, Err(status));
        }
        self.events.push_back(Event::GoAway);
        Ok(())
    }

    /// Handles a message on an ended stream. A correct peer sends at most as many as it has credit
    /// for.
    fn on_late(&mut self, cost: u64) -> Result<(), Malformed> {
        self.late_credit = self.late_credit.checked_sub(cost).ok_or(Malformed(
            "more data on ended streams than their windows allow",
        ))?;
        Ok(())
    }

    fn only_from_service(&self) -> Result<(), Malformed> {
        if self.is_server {
            Err(Malformed("a client sent a frame that only a service sends"))
        } else {
            Ok(())
        }
    }

    fn closed_by_peer(&mut self, status: StatusBody<'_>) {
        // Each open stream gets a copy.
        let status = status.shortened(MAX_CLOSE).into_outcome().err();
        self.over(status);
    }
}

/// Returns the OPEN in this packet; `None` if it has none.
fn read_open(packet: &[u8]) -> Result<Option<Hello>, Malformed> {
    let (header, frames) = Header::decode(packet)?;
    if header.seq > 0 {
        return Ok(None);
    }
    for frame in frames {
        if let Body::Open(hello) = frame?.body {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

/// Decodes the first frame of a bare packet.
pub(super) fn first_frame(packet: &[u8]) -> Result<Option<Body<'_>>, Malformed> {
    let (header, mut frames) = Header::decode(packet)?;
    let first = frames.next().transpose()?;
    Ok(first.filter(|_| header.seq == 0).map(|frame| frame.body))
}

/// Returns the last message of a stream, often its only one. The decoded message does not keep the
/// packet alive.
fn last_of(packet: &Bytes, message: &[u8]) -> Bytes {
    if message.len() < SMALL && packet.len() <= SHARED {
        packet.slice_ref(message)
    } else {
        taken_out(packet, message)
    }
}

/// Copies messages out of a packet, so that a message that the application keeps, or does not take,
/// holds hardly more memory than its stream has paid for.
fn taken_out(packet: &Bytes, messages: &[u8]) -> Bytes {
    if messages.len() >= LARGE && messages.len() >= packet.len() / 2 {
        packet.slice_ref(messages)
    } else {
        Bytes::copy_from_slice(messages)
    }
}
