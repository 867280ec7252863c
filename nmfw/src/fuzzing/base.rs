//! Fuzz targets for requests and replies of base mode.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use bytes::Bytes;

use crate::{
    Code, Deadline, Metadata, Status, TraceContext,
    nats::unary::{
        reply::{decode, encode},
        request::{RequestHead, RequestHeaders},
    },
};
use nmfw_core::call::{
    metadata::MAX_VALUES,
    response::Response,
    spec::{MethodSpec, ServiceSpec},
};

static SPEC: ServiceSpec = ServiceSpec::new("calc", "Calc")
    .with_name("calc")
    .with_subject("nmfw.calc")
    .with_methods(&[MethodSpec::unary("Add")]);

/// The method's own timeout.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest timeout that a caller can request.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Larger than any message written here.
const NO_LIMIT: usize = 1 << 20;

/// Maximum length that an error adds to a quoted cause.
const WORDS: usize = 400;

/// Splits lines of `name: value`, an empty line, and a body. An invalid UTF-8 byte becomes three
/// bytes.
fn split(bytes: &[u8]) -> (HeaderMap, Bytes) {
    let at = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match at {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[][..]),
    };
    let mut map = HeaderMap::new();
    for line in String::from_utf8_lossy(head).split('\n') {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            name.parse::<HeaderName>(),
            value.trim().parse::<HeaderValue>(),
        ) {
            map.append(name, value);
        }
    }
    (map, Bytes::copy_from_slice(body))
}

fn is_in_bounds(metadata: &Metadata, len: usize) {
    assert!(metadata.len() <= MAX_VALUES && metadata.check_size().is_ok());
    let wire: usize = metadata
        .wire()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    // Padding is optional.
    assert!(
        wire <= 3 * len + 2 * metadata.len(),
        "{wire} bytes of {len}"
    );
}

fn is_short(status: &Status, len: usize) {
    assert!(!status.message().is_empty());
    // Escaping can expand a byte to thirty.
    assert!(status.message().len() <= 30 * len + WORDS, "{status}");
}

/// Reads bytes as a request. An accepted request survives a round trip.
pub fn request(bytes: &[u8]) {
    let (map, _) = split(bytes);
    let method = SPEC.method(0);
    let incoming = match RequestHead::from_headers(Some(&map), method, TIMEOUT) {
        Ok(incoming) => incoming,
        Err(status) => {
            is_short(&status, bytes.len());
            let codes = [
                Code::InvalidArgument,
                Code::DeadlineExceeded,
                Code::Unimplemented,
            ];
            assert!(codes.contains(&status.code()), "{status}");
            return;
        }
    };
    is_in_bounds(&incoming.metadata, bytes.len());
    let left = incoming.deadline.time_left().unwrap();
    assert!(left <= LONGEST + Duration::from_secs(1), "{left:?}");
    let version = incoming.client_version.as_deref();
    assert!(version.is_none_or(|version| version.chars().count() <= 64));
    let version = version.and_then(nmfw_core::call::client_version::client_version);
    let again = RequestHeaders {
        deadline: Deadline::after(Duration::from_secs(60)),
        encoding: incoming.encoding,
        metadata: &incoming.metadata,
        client_version: version,
        trace: incoming.trace.as_deref(),
        go_compatible: bytes.len().is_multiple_of(2),
    }
    .to_headers();
    let read = RequestHead::from_headers(Some(&again), method, TIMEOUT).unwrap();
    assert_eq!(read.metadata, incoming.metadata);
    assert_eq!(read.client_version.as_deref(), version);
    assert_eq!(read.trace, incoming.trace);
    assert_eq!(read.encoding, incoming.encoding);
    let left = read.deadline.time_left().unwrap();
    assert!(left <= Duration::from_millis(60_001) && left > Duration::from_secs(30));
}

fn message(headers: Option<HeaderMap>, payload: Bytes) -> Message {
    Message {
        subject: "reply".into(),
        reply: None,
        payload,
        headers,
        status: None,
        description: None,
        length: 0,
    }
}

fn describe(outcome: &Result<Response, Status>) -> String {
    match outcome {
        Ok(response) => format!("{:?} {:?}", response.metadata, response.body),
        Err(status) => format!(
            "{:?} {:?} {:?} {:?} {}",
            status.code(),
            status.message(),
            status.details(),
            status.metadata(),
            status.is_not_started()
        ),
    }
}

/// Reads bytes as a reply. It survives a round trip and fits into any `max_payload`.
pub fn reply(bytes: &[u8]) {
    let (map, body) = split(bytes);
    let method = SPEC.method(0);
    let read = || {
        decode(
            message(Some(map.clone()), body.clone()),
            method,
            Deadline::NONE,
        )
    };
    let outcome = read();
    let (metadata, has_text) = match &outcome {
        Ok(response) => (&response.metadata, true),
        Err(status) => {
            assert_ne!(status.code(), Code::Ok);
            (status.metadata(), !status.message().is_empty())
        }
    };
    is_in_bounds(metadata, bytes.len());
    let meaning = describe(&outcome);
    let (headers, body, _) = encode(outcome, NO_LIMIT);
    let again = decode(message(headers, body), method, Deadline::NONE);
    if has_text {
        assert_eq!(describe(&again), meaning);
    } else {
        assert!(
            again.is_err(),
            "an error without a text is read as a success"
        );
    }
    for max_payload in [128, 256, 1024] {
        let (headers, body, _) = encode(read(), max_payload);
        let size = crate::nats::unary::size(headers.as_ref(), &body);
        assert!(size <= max_payload, "{size} of {max_payload} bytes");
    }
}

/// Reads bytes as a trace context. A valid one can be sent in headers and survives a round trip.
pub fn trace(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n');
    let (traceparent, tracestate) = match at {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let Some(read) = TraceContext::read(traceparent, tracestate) else {
        return;
    };
    assert_eq!(read.traceparent().as_bytes(), traceparent);
    if let Some(kept) = read.tracestate() {
        assert_eq!(kept.as_bytes(), tracestate);
    }
    let texts = [Some(read.traceparent()), read.tracestate()];
    for text in texts.into_iter().flatten() {
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.len() <= 4096);
        assert!(text.parse::<HeaderValue>().is_ok());
    }
    let again = TraceContext::new(read.traceparent(), read.tracestate().unwrap_or_default());
    assert_eq!(again.unwrap(), *read);
}
