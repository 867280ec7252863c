//! What a side of a session is set to, and what both agree on.

use std::time::Duration;

use super::{
    frame::{MAX_FRAME_HEADER, MAX_PACKET_HEADER},
    handshake::{Hello, MIN_PACKET, MIN_STREAM_WINDOW, NARROW_WINDOW},
    proof::PROOF_LEN,
    site::Site,
};
use crate::call::body::MAX_MESSAGE;

/// A packet is closed at this size even if a larger one were allowed: more gains nothing, and
/// smaller packets let streams take turns. A message of 64 KiB fits into one.
const TARGET_PACKET: usize = 65 * 1024;

/// What each stream may bring before the application has taken any: see [`Config::stream_window`].
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// What a session keeps for its peer: see [`Config::memory`].
pub(super) const MEMORY: u64 = 64 * 1024 * 1024;

/// Settings of one side.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Numbered packets that may be on their way in each direction. It bounds what is kept for
    /// sending again, and what the NATS subscription has to hold: twice this, as packets that are
    /// sent again may wait there beside the first ones.
    pub(crate) packet_window: u32,
    /// Bytes that each stream may bring before the application has taken any. A stream whose
    /// application keeps up may bring sixteen times as much, if it has few others beside it, else four
    /// times: see [`super::receiving`].
    pub(crate) stream_window: u32,
    /// Largest packet in bytes: the NATS server's `max_payload` less what mappings may add.
    pub(crate) max_packet: usize,
    /// Largest whole message in bytes that this side takes.
    pub(crate) max_message: usize,
    /// Streams that may be open at a time; a service's setting. Of a client, how many it opens at most.
    pub(crate) max_streams: u32,
    /// How many of them may be wide: those bring a whole window before the application has taken any,
    /// others [`NARROW_WINDOW`] only.
    pub(crate) wide_streams: u32,
    /// Bytes of messages that a stream buffers before it says that it is full.
    pub(crate) send_buffer: usize,
    /// Bytes that the session keeps for its peer at most, of all kinds: see [`super::budget`].
    pub(crate) memory: u64,
    /// A side that hears nothing for this long sends a PING.
    pub(crate) heartbeat: Duration,
    /// A peer that is not heard of for this long is dead.
    pub(crate) dead_after: Duration,
    /// A peer whose subject has no subscriber for this long is dead. Not at once, as the broker
    /// may have restarted and the peer may be on its way back.
    pub(crate) vanished_after: Duration,
    /// A client with calls under way that hears nothing for this long, or for four round trips, sends
    /// a PING. If all that it hears is the answer, the next one takes twice as long.
    pub(crate) ask_after: Duration,
    /// A peer nearby whose subject has no subscriber for this long is gone for the calls under way
    /// that have a single answer.
    pub(crate) gone_after: Duration,
    /// Time for the handshake.
    pub(crate) open_timeout: Duration,
    /// An acknowledgement waits this long for a packet that takes it along.
    pub(crate) ack_delay: Duration,
    /// Packets that are not acknowledged for this long make the sender ask. Later ones wait
    /// twice as long each, up to `heartbeat`.
    pub(crate) probe_after: Duration,
    /// Where this side is.
    pub(crate) site: Site,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            packet_window: 64,
            stream_window: STREAM_WINDOW,
            max_packet: 1024 * 1024 - 1024,
            max_message: MAX_MESSAGE,
            max_streams: 1024,
            wide_streams: 16,
            send_buffer: 256 * 1024,
            memory: MEMORY,
            heartbeat: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            vanished_after: Duration::from_secs(10),
            ask_after: Duration::from_millis(250),
            gone_after: Duration::from_millis(400),
            open_timeout: Duration::from_secs(5),
            ack_delay: Duration::from_millis(20),
            probe_after: Duration::from_millis(500),
            site: Site::default(),
        }
    }
}

impl Config {
    /// How many wide streams there are at most.
    pub(super) fn wide_streams(&self) -> u32 {
        self.wide_streams.clamp(1, self.max_streams.max(1))
    }

    /// Bytes that a stream may bring at first.
    pub(super) fn first_window(&self, is_narrow: bool) -> u64 {
        let window = u64::from(self.stream_window).max(MIN_STREAM_WINDOW);
        if is_narrow {
            window.min(NARROW_WINDOW)
        } else {
            window
        }
    }

    /// What this side tells the other. Values that the peer would refuse are raised.
    pub(super) fn hello(&self) -> Hello {
        Hello {
            packet_window: u64::from(self.packet_window).max(1),
            stream_window: u64::from(self.stream_window).max(MIN_STREAM_WINDOW),
            max_packet: (self.max_packet as u64).max(MIN_PACKET),
            max_message: (self.max_message as u64).max(1),
            heartbeat: self.heartbeat.max(Duration::from_millis(10)),
            max_streams: 0,
            wide_streams: 0,
            instance: String::new(),
            methods: Vec::new(),
            site: Site::default(),
            secret: None,
        }
    }
}

/// What both sides hold to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// Largest packet that both take.
    pub(super) max_packet: usize,
    /// The size at which a packet is closed.
    pub(super) target: usize,
    /// Largest message that the peer takes.
    pub(super) max_message: usize,
    /// Bytes that this side may send on a new stream.
    pub(super) stream_window: u64,
    /// Streams that may be open at a time.
    pub(super) max_streams: usize,
    /// When to send a PING.
    pub(super) heartbeat: Duration,
}

impl Agreed {
    /// `max_streams` is the service's, on whichever side this is.
    pub(super) fn new(own: &Hello, peer: &Hello, max_streams: u64) -> Self {
        let smaller = |a: u64, b: u64| usize::try_from(a.min(b)).unwrap_or(usize::MAX);
        let max_packet = smaller(own.max_packet, peer.max_packet);
        Self {
            max_packet,
            target: max_packet.min(TARGET_PACKET),
            max_message: usize::try_from(peer.max_message).unwrap_or(usize::MAX),
            stream_window: peer.stream_window,
            max_streams: smaller(max_streams, u64::from(u32::MAX)),
            heartbeat: own.heartbeat.min(peer.heartbeat),
        }
    }

    /// The longest body of a frame, which cannot be spread over packets.
    pub(super) fn max_body(&self) -> usize {
        self.max_packet - MAX_PACKET_HEADER - MAX_FRAME_HEADER - PROOF_LEN
    }
}
