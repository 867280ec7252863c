//! The layout of packets and frames, and checks that do not depend on the state of the session.
//!
//! Decoding borrows from the packet, and allocates only a few names in OPEN and ACCEPT.

use super::{
    body::{RawMetadata, StatusBody, UnreadCall},
    handshake::Hello,
};
use nmfw_core::call::body::chunk::{Row, Tally};
use nmfw_core::call::body::wire::{Malformed, Reader, put_varint, varint_len};

/// The content of a PING that a CLOSE may echo.
pub(super) type Token = [u8; 16];

/// The version of the layout, in the upper half of a packet's first byte.
const VERSION: u8 = 1;

/// Packet flag: the sender has dropped the packets after `ack` and requests them again.
const GO_BACK: u8 = 0x01;

/// Maximum length of a packet header: first byte, seq, ack.
pub(super) const MAX_PACKET_HEADER: usize = 1 + 9 + 9;

/// Maximum length of a frame header: stream, type and flags, length of the body.
pub(super) const MAX_FRAME_HEADER: usize = 9 + 1 + 5;

/// The type of a frame, in the lower five bits of its second part.
pub(super) mod kind {
    pub(in super::super) const OPEN: u8 = 1;
    pub(in super::super) const ACCEPT: u8 = 2;
    pub(in super::super) const CALL: u8 = 3;
    pub(in super::super) const MESSAGE: u8 = 4;
    pub(in super::super) const HEADERS: u8 = 5;
    pub(in super::super) const STATUS: u8 = 6;
    pub(in super::super) const RESET: u8 = 7;
    pub(in super::super) const WINDOW: u8 = 8;
    pub(in super::super) const PING: u8 = 9;
    pub(in super::super) const PONG: u8 = 10;
    pub(in super::super) const GO_AWAY: u8 = 11;
    pub(in super::super) const CLOSE: u8 = 12;
    pub(in super::super) const END: u8 = 13;
    pub(in super::super) const ROW: u8 = 14;
    /// The first type that receivers skip if it is unknown.
    pub(in super::super) const SKIPPABLE: u8 = 16;
    pub(in super::super) const MASK: u8 = 0x1f;
}

/// Flags of frames, in the upper three bits of the type.
pub(super) mod flag {
    /// CALL: both sides start with a small window on the stream.
    pub(in super::super) const NARROW: u8 = 0x20;
    /// MESSAGE: more parts of this message follow.
    pub(in super::super) const MORE: u8 = 0x20;
    /// MESSAGE, ROW: the last one in this direction.
    pub(in super::super) const END: u8 = 0x40;
    /// STATUS, RESET, CLOSE: no handler has seen the call.
    pub(in super::super) const NOT_STARTED: u8 = 0x20;
}

/// The header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// From 1 for packets that are kept until acknowledged; 0 for bare ones, which are not.
    pub(super) seq: u64,
    /// The last numbered packet that arrived in order.
    pub(super) ack: u64,
    pub(super) go_back: bool,
}

impl Header {
    /// The header of packets of the handshake and the end.
    pub(super) const BARE: Self = Self {
        seq: 0,
        ack: 0,
        go_back: false,
    };

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(VERSION << 4 | if self.go_back { GO_BACK } else { 0 });
        put_varint(out, self.seq);
        put_varint(out, self.ack);
    }

    /// Decodes a header; the frames are the rest of the packet.
    pub(super) fn decode(packet: &[u8]) -> Result<(Self, Frames<'_>), Malformed> {
        let mut reader = Reader::new(packet);
        let first = reader.u8()?;
        if first >> 4 != VERSION {
            return Err(Malformed("the version of the protocol is not 1"));
        }
        if first & 0x0f & !GO_BACK != 0 {
            return Err(Malformed("an unknown flag of a packet"));
        }
        let header = Self {
            seq: reader.varint()?,
            ack: reader.varint()?,
            go_back: first & GO_BACK != 0,
        };
        let frames = Frames {
            reader,
            numbered: header.seq > 0,
            skipped: 0,
        };
        Ok((header, frames))
    }
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Zero for frames of the session.
    pub(super) stream: u64,
    pub(super) body: Body<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Open(Hello),
    Accept(Hello),
    Call(UnreadCall<'a>),
    Message {
        part: &'a [u8],
        more: bool,
        end: bool,
    },
    /// Several whole messages.
    Row {
        row: &'a [u8],
        tally: Tally,
        end: bool,
    },
    Headers(RawMetadata<'a>),
    Status(StatusBody<'a>),
    Reset(StatusBody<'a>),
    /// On a stream, the absolute number of bytes; on the session, the number of packets.
    Window(u64),
    Ping {
        last_sent: u64,
        /// In a client's PING: the token that a service which does not know the session echoes in
        /// CLOSE.
        token: Option<Token>,
    },
    Pong {
        last_sent: u64,
    },
    GoAway {
        highest: u64,
    },
    Close(StatusBody<'a>),
    End,
}

/// Iterates over the frames of a packet. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub(super) struct Frames<'a> {
    reader: Reader<'a>,
    numbered: bool,
    skipped: u32,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.reader.is_empty() {
            match self.read() {
                Ok(None) => self.skipped += 1,
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(malformed) => {
                    self.reader = Reader::new(&[]);
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

impl<'a> Frames<'a> {
    /// Returns the number of frames of unknown types.
    pub(super) fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Takes the next frame if it is the last message of a stream, whole and of at most `most`
    /// bytes. A CALL on the stream was read before it from the same packet.
    pub(super) fn take_last_message(&mut self, stream: u64, most: usize) -> Option<&'a [u8]> {
        let mut reader = self.reader;
        let is_next = reader.varint() == Ok(stream) && reader.u8() == Ok(kind::MESSAGE | flag::END);
        let message = reader.bytes().ok().filter(|_| is_next)?;
        (message.len() <= most).then(|| {
            self.reader = reader;
            message
        })
    }

    /// Decodes a frame; returns `None` if its type is skipped.
    fn read(&mut self) -> Result<Option<Frame<'a>>, Malformed> {
        let stream = self.reader.varint()?;
        let first = self.reader.u8()?;
        let mut body = Reader::new(self.reader.bytes()?);
        let (kind, flags) = (first & kind::MASK, first & !kind::MASK);
        if kind >= kind::SKIPPABLE {
            return Ok(None);
        }
        let known_flags = match kind {
            kind::MESSAGE => flag::MORE | flag::END,
            kind::ROW => flag::END,
            kind::CALL => flag::NARROW,
            kind::STATUS | kind::RESET | kind::CLOSE => flag::NOT_STARTED,
            _ => 0,
        };
        if flags & !known_flags != 0 {
            return Err(Malformed("an unknown flag of a frame"));
        }
        self.check_place(kind, stream)?;
        let not_started = flags & flag::NOT_STARTED != 0;
        let body = match kind {
            kind::OPEN => Body::Open(Hello::decode_open(body)?),
            kind::ACCEPT => Body::Accept(Hello::decode(body)?),
            kind::CALL => {
                let is_narrow = flags & flag::NARROW != 0;
                Body::Call(UnreadCall::decode(body)?.narrow(is_narrow))
            }
            kind::MESSAGE => message(body.rest(), flags)?,
            kind::ROW => row(body.rest(), flags)?,
            kind::HEADERS => Body::Headers(RawMetadata::check(body)?),
            kind::STATUS => Body::Status(StatusBody::decode(body, not_started)?),
            kind::RESET => Body::Reset(StatusBody::decode(body, not_started)?),
            kind::WINDOW => Body::Window(body.varint()?),
            kind::PING => Body::Ping {
                last_sent: body.varint()?,
                token: body.rest().first_chunk().copied(),
            },
            kind::PONG => Body::Pong {
                last_sent: body.varint()?,
            },
            kind::GO_AWAY => Body::GoAway {
                highest: body.varint()?,
            },
            kind::CLOSE => Body::Close(StatusBody::decode(body, not_started)?),
            kind::END => Body::End,
            _ => {
                return Err(Malformed(
                    "a frame has an unknown type that cannot be skipped",
                ));
            }
        };
        Ok(Some(Frame { stream, body }))
    }

    /// Checks that the frame is allowed in this packet. A stream's frame in a bare packet would not
    /// be protected from loss and repetition; a handshake or liveness frame in a numbered packet
    /// would wait for the gap that it should repair.
    fn check_place(&self, kind: u8, stream: u64) -> Result<(), Malformed> {
        let (of_stream, numbered) = match kind {
            kind::CALL
            | kind::MESSAGE
            | kind::ROW
            | kind::HEADERS
            | kind::STATUS
            | kind::RESET
            | kind::END => (true, true),
            // Both sessions and streams have windows.
            kind::WINDOW => (stream > 0, true),
            kind::GO_AWAY => (false, true),
            _ => (false, false),
        };
        if of_stream != (stream > 0) {
            return Err(Malformed(
                "a frame is on a stream that does not allow its type",
            ));
        }
        if numbered != self.numbered {
            return Err(Malformed(
                "a frame is in a packet that does not allow its type",
            ));
        }
        Ok(())
    }
}

fn message(part: &[u8], flags: u8) -> Result<Body<'_>, Malformed> {
    let (more, end) = (flags & flag::MORE != 0, flags & flag::END != 0);
    if more && (end || part.is_empty()) {
        return Err(Malformed(
            "a part with more to follow is empty or marked as the last",
        ));
    }
    Ok(Body::Message { part, more, end })
}

fn row(row: &[u8], flags: u8) -> Result<Body<'_>, Malformed> {
    Ok(Body::Row {
        row,
        tally: Row::tally_of(row)?,
        end: flags & flag::END != 0,
    })
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, stream: u64, kind_and_flags: u8, body: &[u8]) {
    put_frame_header(out, stream, kind_and_flags, body.len());
    out.extend_from_slice(body);
}

/// Appends a frame without its body.
pub(super) fn put_frame_header(out: &mut Vec<u8>, stream: u64, kind_and_flags: u8, len: usize) {
    match (u16::try_from(stream), u8::try_from(len)) {
        // Most frames are short, and the numbers of streams take two bytes for a long time.
        (Ok(stream @ 0x80..0x4000), Ok(len @ ..0x80)) => {
            let [low, high] = [stream as u8 | 0x80, (stream >> 7) as u8];
            out.extend_from_slice(&[low, high, kind_and_flags, len]);
        }
        _ => {
            put_varint(out, stream);
            out.push(kind_and_flags);
            put_varint(out, len as u64);
        }
    }
}

/// Appends a frame whose body is a single number.
pub(super) fn put_number_frame(out: &mut Vec<u8>, stream: u64, kind: u8, number: u64) {
    put_frame_header(out, stream, kind, varint_len(number));
    put_varint(out, number);
}

/// Appends a PING, with the token if it is a client's.
pub(super) fn put_ping(out: &mut Vec<u8>, last_sent: u64, token: Option<&Token>) {
    let token = token.map_or(&[][..], |token| token);
    put_frame_header(out, 0, kind::PING, varint_len(last_sent) + token.len());
    put_varint(out, last_sent);
    out.extend_from_slice(token);
}

/// Returns the length of a frame.
pub(super) const fn frame_len(stream: u64, body: usize) -> usize {
    varint_len(stream) + 1 + varint_len(body as u64) + body
}
