//! Creation of outgoing packets.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Event, Session, SessionState, Transmit,
    body::encode_status,
    frame::{Header, frame_len, kind, put_frame, put_number_frame, put_ping},
    handshake::MIN_PACKET,
    packet::Packet,
    proof::Keys,
    sending::Turn,
};
use crate::Status;
use nmfw_core::call::body::wire::varint_len;

impl Session {
    /// Returns the next packet. Call it only when necessary, so that data accumulates in a single
    /// packet.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        // This is called often enough, because packets are sent in each heartbeat.
        self.outbound.buffers().handle_time(now);
        self.feed_starved();
        self.give_turns();
        if self.due.hello {
            self.due.hello = false;
            return Some(Transmit {
                packet: self.hello_packet(),
                with_reply: true,
            });
        }
        if self.state != SessionState::Open {
            return self.due.close.take().map(without_reply);
        }
        if self.due.ping || self.due.pong || self.inbound.must_ask() {
            return Some(self.bare_packet(now));
        }
        if let Some(packet) = self.outbound.resend(now) {
            self.counts.retransmissions += 1;
            return Some(without_reply(packet));
        }
        if let Some(packet) = self.numbered_packet(now) {
            // After a silence, the NATS server reports at once if the peer has no subscription.
            let with_reply = self.life.is_quiet(now);
            return Some(Transmit { packet, with_reply });
        }
        self.inbound.is_ack_due(now).then(|| self.bare_packet(now))
    }

    fn hello_packet(&self) -> Bytes {
        let kind = if self.is_server {
            kind::ACCEPT
        } else {
            kind::OPEN
        };
        let mut body = self.hello.encode();
        if body.len() > self.agreed.max_body() {
            let mut short = self.hello.clone();
            short.methods.clear();
            body = short.encode();
        }
        let mut out = Vec::new();
        Header::BARE.put(&mut out);
        put_frame(&mut out, 0, kind, &body);
        if self.is_server {
            self.seal(&mut out);
        }
        out.into()
    }

    /// Appends the proof to a packet, if the session has its keys. A service that cannot read an
    /// OPEN has none, and answers without.
    fn seal(&self, packet: &mut Vec<u8>) {
        if let Some(keys) = &self.keys {
            keys.seal(packet);
        }
    }

    pub(super) fn close_packet(&self, status: Option<&Status>) -> Bytes {
        let flags = status.map_or(
            0,
            crate::nats::session::protocol::operations::not_started_flag,
        );
        let mut out = Vec::new();
        Header::BARE.put(&mut out);
        // A size that any peer accepts, because this may answer an OPEN that was not understood.
        let body = match status {
            Some(status) => encode_status(status, MIN_PACKET as usize / 2),
            None => Bytes::from_static(&[0]),
        };
        put_frame(&mut out, 0, kind::CLOSE | flags, &body);
        self.seal(&mut out);
        out.into()
    }

    /// Creates a packet that is not kept, for liveness and acknowledgements.
    fn bare_packet(&mut self, now: Instant) -> Transmit {
        let (ack, go_back) = self.inbound.take_ack();
        let mut out = Vec::new();
        Header {
            seq: 0,
            ack,
            go_back,
        }
        .put(&mut out);
        let with_reply = std::mem::take(&mut self.due.ping);
        let last_sent = self.outbound.last_sent();
        if with_reply {
            self.life.asked(now);
            let keys = self.keys.as_mut().filter(|_| !self.is_server);
            let token = keys.map(Keys::next_token);
            put_ping(&mut out, last_sent, token.as_ref());
        }
        if std::mem::take(&mut self.due.pong) {
            put_number_frame(&mut out, 0, kind::PONG, last_sent);
        }
        self.seal(&mut out);
        Transmit {
            packet: out.into(),
            with_reply,
        }
    }

    /// Creates a packet with all ready data, if the window has room for it.
    fn numbered_packet(&mut self, now: Instant) -> Option<Bytes> {
        if !self.has_frames() {
            return None;
        }
        let seq = self.outbound.next_seq()?;
        let (ack, go_back) = self.inbound.take_ack();
        let header = Header { seq, ack, go_back };
        let (target, max) = (self.agreed.target, self.agreed.max_packet);
        let expected = self.expected_len(target);
        let mut packet = Packet::new(header, expected, (target, max), self.outbound.buffers());
        self.write_session_frames(&mut packet);
        self.write_streams(&mut packet, now);
        debug_assert!(!packet.is_empty());
        let packet = packet.finish(self.keys.as_ref());
        self.outbound.sent(packet.clone(), now);
        Some(packet)
    }

    /// Returns whether a packet would have frames. Streams that no longer have data, such as a
    /// grant to a peer that has ended since, are removed from the queue here.
    fn has_frames(&mut self) -> bool {
        if self.due.go_away || self.due.packet_window.is_some() {
            return true;
        }
        while let Some(id) = self.ready.front() {
            match self.streams.get_mut(*id) {
                Some(stream) if stream.is_ready() => return true,
                Some(stream) => stream.queued = false,
                None => self.stale -= 1,
            }
            self.ready.pop_front();
        }
        false
    }

    /// Returns the approximate length of the next packet's frames, to avoid reallocations.
    fn expected_len(&self, enough: usize) -> usize {
        const SAMPLE: usize = 16;
        let mut len = 0;
        for stream in self.ready.iter().take(SAMPLE) {
            let buffered = self
                .streams
                .get(*stream)
                .map_or(0, |s| s.sending.buffered());
            len += buffered as usize + 64;
            if len >= enough {
                return enough;
            }
        }
        64 + len * self.ready.len().div_ceil(SAMPLE)
    }

    fn write_session_frames(&mut self, packet: &mut Packet) {
        if let Some(window) = self.due.packet_window.take() {
            debug_assert!(packet.has_room(frame_len(0, varint_len(window))));
            put_number_frame(packet.bytes(), 0, kind::WINDOW, window);
        }
        if let Some(highest) = self.going_away
            && std::mem::take(&mut self.due.go_away)
        {
            put_number_frame(packet.bytes(), 0, kind::GO_AWAY, highest);
        }
    }

    /// Writes streams in round-robin order, so that one with much data does not block the others.
    fn write_streams(&mut self, packet: &mut Packet, now: Instant) {
        while let Some(id) = self.ready.pop_front() {
            let alone = self.ready.is_empty();
            let Some(stream) = self.streams.get_mut(id) else {
                self.stale -= 1;
                continue;
            };
            let before = packet.len();
            let turn = self
                .budget
                .change(stream, |stream| stream.write(id.number, packet, alone, now));
            stream.queued = matches!(turn, Turn::More | Turn::Full);
            let is_writable = stream.wants_writable
                && !stream.sending.is_closed()
                && stream.sending.buffered() <= self.config.send_buffer as u64 / 2;
            if is_writable {
                stream.wants_writable = false;
                self.events.push_back(Event::Writable { stream: id });
            }
            match turn {
                Turn::Idle => {
                    let is_stalled = stream.sending.buffered() > 0;
                    self.counts.window_stalls += u64::from(is_stalled);
                }
                Turn::More => self.ready.push_back(id),
                // A stream that wrote nothing keeps its position, and so CALLs stay in order.
                Turn::Full if packet.len() == before => {
                    self.ready.push_front(id);
                    return;
                }
                Turn::Full => {
                    self.ready.push_back(id);
                    return;
                }
                Turn::Done => {
                    self.strain.on_answer();
                    self.remove(id);
                }
            }
        }
    }
}

fn without_reply(packet: Bytes) -> Transmit {
    Transmit {
        packet,
        with_reply: false,
    }
}
