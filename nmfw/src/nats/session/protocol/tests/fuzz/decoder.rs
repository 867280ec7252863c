//! Arbitrary bytes as a packet: decoded contents survive a round trip.

use std::time::Instant;

use bytes::Bytes;

use crate::{
    Metadata, Status,
    nats::session::protocol::{
        body::{StatusBody, encode_ok, encode_status, put_metadata, time_left},
        frame::{Body, Frame, Header, Token, flag, kind, put_frame, put_number_frame, put_ping},
        handshake::Hello,
    },
};
use nmfw_core::call::body::chunk::{Row, Tally};
use nmfw_core::call::body::wire::put_varint;

/// Larger than any frame, for subtraction without underflow.
const NO_LIMIT: usize = usize::MAX;

/// Decodes a packet as a session does, and checks the result.
pub fn decoder(packet: &[u8]) {
    let now = Instant::now();
    let Ok((header, mut frames)) = Header::decode(packet) else {
        return;
    };
    let mut written = Vec::new();
    header.put(&mut written);
    assert!(
        packet.starts_with(&written),
        "a header was encoded differently"
    );
    while let Some(Ok(frame)) = frames.next() {
        let meaning = Meaning::of(&frame, packet.len(), now);
        let mut first = Vec::new();
        header.put(&mut first);
        meaning.put(&mut first, frame.stream);
        let (_, mut again) = Header::decode(&first).unwrap();
        let read = again.next().unwrap().unwrap();
        assert!(again.next().is_none());
        assert_eq!(read.stream, frame.stream);
        let read = Meaning::of(&read, first.len(), now);
        assert_eq!(read, meaning);
        let mut second = Vec::new();
        header.put(&mut second);
        read.put(&mut second, frame.stream);
        assert_eq!(first, second, "a decoded frame is encoded differently");
    }
    assert!(frames.next().is_none(), "a frame follows an error");
}

/// The meaning of a frame for a session.
#[derive(Debug, PartialEq)]
enum Meaning {
    Hello(u8, Hello),
    /// The time left, and the rest of the body.
    Call(u64, Bytes),
    /// A call that can be decoded, but not served.
    BadCall,
    Message(u8, Bytes),
    Messages(u8, Bytes, Tally),
    Headers(Metadata),
    Outcome(u8, Outcome),
    Number(u8, u64),
    Ping(u64, Option<Token>),
    End,
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Good(Metadata),
    Bad {
        status: String,
        /// The encoding on the wire.
        body: Bytes,
        not_started: bool,
    },
}

impl Meaning {
    fn of(frame: &Frame<'_>, len: usize, now: Instant) -> Self {
        match &frame.body {
            Body::Open(hello) => Self::hello(kind::OPEN, hello, len),
            Body::Accept(hello) => Self::hello(kind::ACCEPT, hello, len),
            Body::Call(call) => match call.into_any_head(now) {
                Ok(head) => {
                    is_in_proportion(&head.metadata, len);
                    let left = time_left(head.deadline, now);
                    Self::Call(left, head.encode().into())
                }
                Err(status) => {
                    assert!(!status.message().is_empty());
                    Self::BadCall
                }
            },
            Body::Message { part, more, end } => {
                let more = if *more { flag::MORE } else { 0 };
                let end = if *end { flag::END } else { 0 };
                Self::Message(more | end, Bytes::copy_from_slice(part))
            }
            Body::Row { row, tally, end } => {
                let end = if *end { flag::END } else { 0 };
                assert!(tally.messages >= 2 && tally.largest < row.len());
                Self::Messages(end, Bytes::copy_from_slice(row), *tally)
            }
            Body::Headers(metadata) => {
                let metadata = metadata.decode_lossy();
                is_in_proportion(&metadata, len);
                Self::Headers(metadata)
            }
            Body::Status(status) => Self::outcome(kind::STATUS, *status, len),
            Body::Reset(status) => Self::outcome(kind::RESET, *status, len),
            Body::Close(status) => Self::outcome(kind::CLOSE, *status, len),
            Body::Window(number) => Self::Number(kind::WINDOW, *number),
            Body::Ping { last_sent, token } => Self::Ping(*last_sent, *token),
            Body::Pong { last_sent } => Self::Number(kind::PONG, *last_sent),
            Body::GoAway { highest } => Self::Number(kind::GO_AWAY, *highest),
            Body::End => Self::End,
        }
    }

    fn hello(kind: u8, hello: &Hello, len: usize) -> Self {
        let names: usize = hello.methods.iter().map(smol_str::SmolStr::len).sum();
        assert!(hello.methods.len() <= len.min(4096) && names + hello.instance.len() <= len);
        Self::Hello(kind, hello.clone())
    }

    fn outcome(kind: u8, status: StatusBody<'_>, len: usize) -> Self {
        let outcome = match status.into_outcome() {
            Ok(trailers) => {
                is_in_proportion(&trailers, len);
                Outcome::Good(trailers)
            }
            Err(status) => {
                is_in_proportion(status.metadata(), len);
                let details = status.details().iter();
                let details: usize = details
                    .map(|any| any.type_url.len() + any.value.len())
                    .sum();
                assert!(status.details().len() <= 256 && details + status.message().len() <= len);
                Outcome::Bad {
                    status: describe(&status),
                    body: encode_status(&status, NO_LIMIT),
                    not_started: status.is_not_started(),
                }
            }
        };
        Self::Outcome(kind, outcome)
    }

    fn put(&self, out: &mut Vec<u8>, stream: u64) {
        match self {
            Self::Hello(kind, hello) => put_frame(out, stream, *kind, &hello.encode()),
            Self::Call(left, rest) => {
                let mut body = Vec::new();
                put_varint(&mut body, *left);
                body.extend_from_slice(rest);
                put_frame(out, stream, kind::CALL, &body);
            }
            Self::BadCall => {
                let mut body = Vec::new();
                put_varint(&mut body, 0);
                // No method, and an unknown encoding.
                body.extend_from_slice(&[0, 1, 1, 9]);
                put_frame(out, stream, kind::CALL, &body);
            }
            Self::Message(flags, part) => put_frame(out, stream, kind::MESSAGE | flags, part),
            Self::Messages(flags, row, tally) => {
                let row = Row::new(row.clone(), *tally).messages();
                assert_eq!(row.len(), tally.messages);
                let row = Row::of(&row);
                put_frame(out, stream, kind::ROW | flags, row.as_bytes());
            }
            Self::Headers(metadata) => {
                let mut body = Vec::new();
                put_metadata(&mut body, metadata);
                put_frame(out, stream, kind::HEADERS, &body);
            }
            Self::Outcome(kind, Outcome::Good(trailers)) => {
                let body = encode_ok(trailers, NO_LIMIT).unwrap();
                put_frame(out, stream, *kind, &body);
            }
            Self::Outcome(
                kind,
                Outcome::Bad {
                    body, not_started, ..
                },
            ) => {
                let flags = if *not_started { flag::NOT_STARTED } else { 0 };
                put_frame(out, stream, kind | flags, body);
            }
            Self::Ping(number, token) => put_ping(out, *number, token.as_ref()),
            Self::Number(kind, number) => put_number_frame(out, stream, *kind, *number),
            Self::End => put_frame(out, stream, kind::END, b""),
        }
    }
}

fn describe(status: &Status) -> String {
    let (code, message) = (status.code(), status.message());
    let (details, metadata) = (status.details(), status.metadata());
    format!("{code:?} {message:?} {details:?} {metadata:?}")
}

fn is_in_proportion(metadata: &Metadata, len: usize) {
    assert!(metadata.len() <= 256.min(len / 2));
}
