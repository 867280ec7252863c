//! The bodies of OPEN and ACCEPT: the parameters and identity of each side.

use std::time::Duration;

use smol_str::SmolStr;

use super::{proof::SessionSecret, site::Site};
use nmfw_core::call::body::wire::{
    Malformed, Reader, put_bytes, put_bytes_field, put_field, put_varint, utf8,
};

/// The smallest packet size that a peer may require, with room for the head of a call.
pub(super) const MIN_PACKET: u64 = 1024;

/// The smallest window of a stream, which has to permit progress despite rounding.
pub(super) const MIN_STREAM_WINDOW: u64 = 4096;

/// The window of a narrow stream, unless that of wide streams is smaller.
pub(super) const NARROW_WINDOW: u64 = 8192;

/// Maximum number of methods of a service; a longer list would only waste memory.
const MAX_METHODS: usize = 4096;

/// The parameters of one side of a session, exchanged when it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Maximum number of numbered packets in flight to this side.
    pub(super) packet_window: u64,
    /// Initial window of a wide stream in bytes; see [`super::stream`].
    pub(super) stream_window: u64,
    /// Largest packet in bytes.
    pub(super) max_packet: u64,
    /// Largest whole message in bytes.
    pub(super) max_message: u64,
    /// Silence after which a side sends a PING.
    pub(super) heartbeat: Duration,
    /// Maximum number of open streams. Zero from a client, towards which none can be opened.
    pub(super) max_streams: u64,
    /// Maximum number of wide streams. Zero if unspecified, as by a client.
    pub(super) wide_streams: u64,
    /// The service's instance; empty from a client.
    pub(super) instance: String,
    /// The methods of this session. Empty if the list does not fit into a packet.
    pub(super) methods: Vec<SmolStr>,
    /// The NATS server of the service; empty from a client.
    pub(super) site: Site,
    /// From a client only: the secret from which both sides derive the keys of the session.
    pub(super) secret: Option<SessionSecret>,
}

mod field {
    pub(super) const PACKET_WINDOW: u64 = 1;
    pub(super) const STREAM_WINDOW: u64 = 2;
    pub(super) const MAX_PACKET: u64 = 3;
    pub(super) const MAX_MESSAGE: u64 = 4;
    pub(super) const HEARTBEAT: u64 = 5;
    pub(super) const MAX_STREAMS: u64 = 6;
    pub(super) const INSTANCE: u64 = 7;
    pub(super) const METHODS: u64 = 8;
    pub(super) const SERVER: u64 = 9;
    pub(super) const CLUSTER: u64 = 10;
    pub(super) const SECRET: u64 = 11;
    pub(super) const WIDE_STREAMS: u64 = 12;
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let heartbeat = u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX >> 1);
        for (id, number) in [
            (field::PACKET_WINDOW, self.packet_window),
            (field::STREAM_WINDOW, self.stream_window),
            (field::MAX_PACKET, self.max_packet),
            (field::MAX_MESSAGE, self.max_message),
            (field::HEARTBEAT, heartbeat),
            (field::MAX_STREAMS, self.max_streams),
        ] {
            if id != field::MAX_STREAMS || number > 0 {
                put_field(&mut out, id, |out| put_varint(out, number));
            }
        }
        if !self.instance.is_empty() {
            put_field(&mut out, field::INSTANCE, |out| {
                out.extend_from_slice(self.instance.as_bytes());
            });
        }
        if !self.methods.is_empty() {
            put_field(&mut out, field::METHODS, |out| {
                for method in &self.methods {
                    put_bytes(out, method.as_bytes());
                }
            });
        }
        for (id, name) in [
            (field::SERVER, &self.site.server),
            (field::CLUSTER, &self.site.cluster),
        ] {
            if !name.is_empty() {
                put_field(&mut out, id, |out| out.extend_from_slice(name.as_bytes()));
            }
        }
        if let Some(secret) = &self.secret {
            put_bytes_field(&mut out, field::SECRET, secret.as_bytes());
        }
        if self.wide_streams > 0 {
            put_field(&mut out, field::WIDE_STREAMS, |out| {
                put_varint(out, self.wide_streams);
            });
        }
        out
    }

    /// Decodes an OPEN, which has a secret.
    pub(super) fn decode_open(body: Reader<'_>) -> Result<Self, Malformed> {
        let hello = Self::decode(body)?;
        if hello.secret.is_none() {
            return Err(Malformed("OPEN has no secret"));
        }
        Ok(hello)
    }

    pub(super) fn decode(mut body: Reader<'_>) -> Result<Self, Malformed> {
        let mut hello = Self {
            packet_window: 0,
            stream_window: 0,
            max_packet: 0,
            max_message: 0,
            heartbeat: Duration::ZERO,
            max_streams: 0,
            wide_streams: 0,
            instance: String::new(),
            methods: Vec::new(),
            site: Site::default(),
            secret: None,
        };
        let (mut server, mut cluster) = ("", "");
        let mut last = 0;
        while let Some((id, mut value)) = body.field(&mut last)? {
            match id {
                field::PACKET_WINDOW => hello.packet_window = value.varint()?,
                field::STREAM_WINDOW => hello.stream_window = value.varint()?,
                field::MAX_PACKET => hello.max_packet = value.varint()?,
                field::MAX_MESSAGE => hello.max_message = value.varint()?,
                field::HEARTBEAT => hello.heartbeat = Duration::from_millis(value.varint()?),
                field::MAX_STREAMS => hello.max_streams = value.varint()?,
                field::WIDE_STREAMS => hello.wide_streams = value.varint()?,
                field::INSTANCE => hello.instance = utf8(value.rest())?.to_owned(),
                field::METHODS => {
                    while !value.is_empty() {
                        hello.methods.push(SmolStr::from(value.str()?));
                        if hello.methods.len() > MAX_METHODS {
                            return Err(Malformed("too many methods"));
                        }
                    }
                }
                field::SERVER => server = utf8(value.rest())?,
                field::CLUSTER => cluster = utf8(value.rest())?,
                field::SECRET => {
                    let bytes = value.rest().try_into();
                    let bytes =
                        bytes.map_err(|_| Malformed("the secret does not have 16 bytes"))?;
                    hello.secret = Some(SessionSecret::new(bytes));
                }
                _ => {}
            }
        }
        hello.site = Site::new(server, cluster);
        hello.check()?;
        Ok(hello)
    }

    /// Refuses values with which a session could not make progress. A missing field is zero.
    fn check(&self) -> Result<(), Malformed> {
        if self.packet_window < 1 {
            return Err(Malformed("the packet window is zero"));
        }
        if self.stream_window < MIN_STREAM_WINDOW {
            return Err(Malformed("the stream window is too small"));
        }
        if self.max_packet < MIN_PACKET {
            return Err(Malformed("the largest packet is too small"));
        }
        if self.max_message < 1 {
            return Err(Malformed("the largest message is zero"));
        }
        if self.heartbeat < Duration::from_millis(10) {
            return Err(Malformed("the heartbeat is too short"));
        }
        Ok(())
    }
}
