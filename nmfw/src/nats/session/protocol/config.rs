//! The settings of a side of a session, and the negotiated values.

use std::time::Duration;

use super::{
    frame::{MAX_FRAME_HEADER, MAX_PACKET_HEADER},
    handshake::{Hello, MIN_PACKET, MIN_STREAM_WINDOW, NARROW_WINDOW},
    proof::PROOF_LEN,
    site::Site,
};
use nmfw_core::call::body::MAX_MESSAGE;

/// A packet is closed at this size even if a larger one is permitted: larger packets gain nothing,
/// and smaller ones let streams take turns. A message of 64 KiB fits.
const TARGET_PACKET: usize = 65 * 1024;

/// Default window of a stream: see [`Config::stream_window`].
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;

/// Default memory limit of a session: see [`Config::memory`].
pub(super) const MEMORY: u64 = 64 * 1024 * 1024;

/// Settings of one side.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Maximum number of numbered packets in flight in each direction. It bounds the packets kept
    /// for resending, and the capacity that the NATS subscription needs: twice this, because resent
    /// packets may be queued beside the originals.
    pub(crate) packet_window: u32,
    /// Bytes that each stream may receive before the application has taken any. If the application
    /// keeps up, a stream may receive sixteen times as much with few other streams beside it,
    /// otherwise four times: see [`super::receiving`].
    pub(crate) stream_window: u32,
    /// Maximum packet size in bytes: the NATS server's `max_payload` minus the size that mappings
    /// may add.
    pub(crate) max_packet: usize,
    /// Maximum size of a whole message in bytes that this side accepts.
    pub(crate) max_message: usize,
    /// Maximum number of open streams; set by a service. For a client, the maximum that it opens.
    pub(crate) max_streams: u32,
    /// Maximum number of wide streams, which may receive a whole window before the application has
    /// taken any; others start with [`NARROW_WINDOW`].
    pub(crate) wide_streams: u32,
    /// Size of the messages that a stream buffers before it is full.
    pub(crate) send_buffer: usize,
    /// Maximum memory that the session holds for its peer: see [`super::budget`].
    pub(crate) memory: u64,
    /// Silence after which a side sends a PING.
    pub(crate) heartbeat: Duration,
    /// Silence after which a peer is considered dead.
    pub(crate) dead_after: Duration,
    /// How long a peer's subject may have no subscriber before the peer is considered dead. Not
    /// immediately, because after a restart of the broker the peer may be reconnecting.
    pub(crate) vanished_after: Duration,
    /// Silence after which a client with calls in flight sends a PING, or four round trips. If only
    /// the answers to PING arrive, later PINGs are sent after twice that time.
    pub(crate) ask_after: Duration,
    /// How long a nearby peer's subject may have no subscriber before the calls in flight with a
    /// single answer are ended.
    pub(crate) gone_after: Duration,
    /// Time limit of the handshake.
    pub(crate) open_timeout: Duration,
    /// How long an acknowledgement waits for a packet that can carry it.
    pub(crate) ack_delay: Duration,
    /// Delay after which unacknowledged packets make the sender probe. It doubles for later probes,
    /// up to `heartbeat`.
    pub(crate) probe_after: Duration,
    /// The NATS server of this side.
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
    /// Returns the maximum number of wide streams.
    pub(super) fn wide_streams(&self) -> u32 {
        self.wide_streams.clamp(1, self.max_streams.max(1))
    }

    /// Returns the initial window of a stream in bytes.
    pub(super) fn first_window(&self, is_narrow: bool) -> u64 {
        let window = u64::from(self.stream_window).max(MIN_STREAM_WINDOW);
        if is_narrow {
            window.min(NARROW_WINDOW)
        } else {
            window
        }
    }

    /// Returns the parameters for the peer. Values that the peer would refuse are raised.
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

/// The negotiated parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// Largest packet that both sides accept.
    pub(super) max_packet: usize,
    /// The size at which a packet is closed.
    pub(super) target: usize,
    /// Largest message that the peer accepts.
    pub(super) max_message: usize,
    /// Initial number of bytes that this side may send on a stream.
    pub(super) stream_window: u64,
    /// Maximum number of open streams.
    pub(super) max_streams: usize,
    /// Interval of PINGs.
    pub(super) heartbeat: Duration,
}

impl Agreed {
    /// Combines the parameters; `max_streams` is the service's, on either side.
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

    /// Returns the maximum length of a frame's body, which cannot be split over packets.
    pub(super) fn max_body(&self) -> usize {
        self.max_packet - MAX_PACKET_HEADER - MAX_FRAME_HEADER - PROOF_LEN
    }
}
