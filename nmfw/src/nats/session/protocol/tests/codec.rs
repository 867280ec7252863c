//! Tests of the examples in `PROTOCOL.md`, and of decoding invalid bytes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use proptest::prelude::*;
use smol_str::SmolStr;

use super::network::SECRET;
use crate::{
    Code, Metadata, Status,
    nats::session::protocol::{
        body::{
            CallHead, RawMetadata, StatusBody, encode_ok, encode_status, encode_status_with_token,
            put_metadata, time_left,
        },
        frame::{Body, Frame, Header, Token, flag, kind, put_frame, put_number_frame, put_ping},
        handshake::Hello,
        proof::Keys,
        site::Site,
    },
};
use nmfw_core::call::{
    body::{
        chunk::Row,
        wire::{Malformed, Reader, put_bytes_field, put_varint},
    },
    request::Encoding,
    trace_context::TraceContext,
};

const TOKEN: &Token = b"fedcba9876543210";

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns the examples of the specification: a name, and the bytes.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let mut example = |name, header: Header, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        header.put(&mut out);
        write(&mut out);
        all.push((name, out));
    };
    let numbered = |seq, ack| Header {
        seq,
        ack,
        go_back: false,
    };
    let acknowledged = |ack| Header {
        ack,
        ..Header::BARE
    };
    example("OPEN", Header::BARE, &|out| {
        put_frame(out, 0, kind::OPEN, &open().encode());
    });
    example("ACCEPT", Header::BARE, &|out| {
        put_frame(out, 0, kind::ACCEPT, &accept().encode());
    });
    example("PING", acknowledged(6), &|out| {
        put_ping(out, 300, Some(TOKEN));
    });
    example("PONG", acknowledged(300), &|out| {
        put_number_frame(out, 0, kind::PONG, 6);
    });
    example("ack", acknowledged(300), &|_| {});
    let go_back = Header {
        go_back: true,
        ..acknowledged(4)
    };
    example("go back", go_back, &|_| {});
    example("unary call", numbered(1, 0), &|out| {
        let mut body = Vec::new();
        let now = Instant::now();
        put_varint(
            &mut body,
            time_left(Some(now + Duration::from_millis(4990)), now),
        );
        body.extend_from_slice(&head("Add").encode());
        put_frame(out, 1, kind::CALL, &body);
        put_frame(out, 1, kind::MESSAGE | flag::END, &[8, 1, 16, 2]);
    });
    example("unary answer", numbered(1, 1), &|out| {
        put_frame(out, 1, kind::MESSAGE | flag::END, &[8, 3]);
    });
    example("call with metadata", numbered(2, 1), &|out| {
        let mut head = head("Sum");
        head.metadata.append("tenant", "acme").unwrap();
        head.metadata.append_bin("id-bin", vec![0, 255]).unwrap();
        head.client_version = Some("1.2.0".into());
        let mut body = vec![0];
        body.extend_from_slice(&head.encode());
        put_frame(out, 2, kind::CALL, &body);
    });
    example("call in a trace", numbered(2, 1), &|out| {
        let mut head = head("Sum");
        head.trace = TraceContext::new(TRACEPARENT, "a=1").ok().map(Arc::new);
        let mut body = vec![0];
        body.extend_from_slice(&head.encode());
        put_frame(out, 2, kind::CALL, &body);
    });
    example("parts", numbered(3, 1), &|out| {
        put_frame(out, 2, kind::MESSAGE | flag::MORE, b"abc");
        put_frame(out, 2, kind::MESSAGE, b"d");
        put_frame(out, 2, kind::END, b"");
    });
    example("row", numbered(4, 1), &|out| {
        let row = Row::of(&[&b"ab"[..], b"", b"c"]);
        put_frame(out, 3, kind::ROW | flag::END, row.as_bytes());
    });
    example("headers and window", numbered(2, 3), &|out| {
        let mut body = Vec::new();
        let mut metadata = Metadata::new();
        metadata.append("a", "b").unwrap();
        put_metadata(&mut body, &metadata);
        put_frame(out, 2, kind::HEADERS, &body);
        put_number_frame(out, 2, kind::WINDOW, 262_212);
    });
    example("status", numbered(3, 3), &|out| {
        let mut status = Status::not_found("no such file").with_details([prost_types::Any {
            type_url: "t/x".to_owned(),
            value: vec![7],
        }]);
        status.metadata_mut().append("a", "b").unwrap();
        put_frame(out, 2, kind::STATUS, &encode_status(&status, 900));
    });
    example("good status with trailers", numbered(4, 3), &|out| {
        let mut trailers = Metadata::new();
        trailers.append("a", "b").unwrap();
        put_frame(out, 3, kind::STATUS, &encode_ok(&trailers, 900).unwrap());
    });
    example("reset", numbered(4, 4), &|out| {
        let body = encode_status(&Status::cancelled(""), 900);
        put_frame(out, 4, kind::RESET, &body);
    });
    example("refusal of a call", numbered(5, 4), &|out| {
        let body = encode_status(&Status::unavailable("busy"), 900);
        put_frame(out, 5, kind::RESET | flag::NOT_STARTED, &body);
    });
    example("GOAWAY and packet window", numbered(6, 4), &|out| {
        put_number_frame(out, 0, kind::WINDOW, 16);
        put_number_frame(out, 0, kind::GO_AWAY, 5);
    });
    example("CLOSE", Header::BARE, &|out| {
        put_frame(
            out,
            0,
            kind::CLOSE,
            &encode_ok(&Metadata::new(), 9).unwrap(),
        );
    });
    example(
        "answer to PING of a forgotten session",
        Header::BARE,
        &|out| {
            let status = Status::unavailable("");
            let body = encode_status_with_token(&status, 900, TOKEN);
            put_frame(out, 0, kind::CLOSE, &body);
        },
    );
    for (name, packet) in &mut all {
        if !UNSEALED.contains(name) {
            Keys::new(SECRET, OF_SERVICE.contains(name)).seal(packet);
        }
    }
    all
}

/// Examples without a proof.
const UNSEALED: [&str; 2] = ["OPEN", "answer to PING of a forgotten session"];

/// Examples that a service sends.
const OF_SERVICE: [&str; 8] = [
    "ACCEPT",
    "PONG",
    "unary answer",
    "headers and window",
    "status",
    "good status with trailers",
    "refusal of a call",
    "GOAWAY and packet window",
];

fn open() -> Hello {
    Hello {
        packet_window: 64,
        stream_window: 262_144,
        max_packet: 1_047_552,
        max_message: 67_108_864,
        heartbeat: Duration::from_secs(10),
        max_streams: 0,
        wide_streams: 0,
        instance: String::new(),
        methods: Vec::new(),
        site: Site::default(),
        secret: Some(SECRET),
    }
}

fn accept() -> Hello {
    Hello {
        secret: None,
        max_streams: 1024,
        wide_streams: 16,
        instance: "I1".to_owned(),
        methods: vec!["Add".into(), "Sum".into()],
        site: Site::new("NA1", "eu"),
        ..open()
    }
}

fn head(method: &str) -> CallHead {
    CallHead {
        method: method.into(),
        deadline: None,
        encoding: Encoding::Protobuf,
        client_version: None,
        metadata: Metadata::new(),
        trace: None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks the specification's table of examples: `| name | hex, with blanks | meaning |`.
#[test]
fn examples_of_the_specification() {
    let specification = include_str!("../../../../../PROTOCOL.md");
    let mut missing = Vec::new();
    let keys = [
        ("key of the client", SECRET.key_bytes(b"nmfw client")),
        ("key of the service", SECRET.key_bytes(b"nmfw service")),
    ];
    for (name, bytes) in examples().into_iter().chain(keys) {
        let is_there = specification.lines().any(|line| {
            line.strip_prefix(&format!("| {name} | `"))
                .and_then(|rest| rest.split_once('`'))
                .is_some_and(|(text, _)| text.replace(' ', "") == hex(&bytes))
        });
        if !is_there {
            missing.push(format!("{name}: {}", hex(&bytes)));
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Returns the content of an example.
fn content(name: &str) -> Vec<u8> {
    let all = examples();
    let (_, packet) = all.iter().find(|(n, _)| *n == name).unwrap();
    if UNSEALED.contains(&name) {
        return packet.clone();
    }
    let keys = Keys::new(SECRET, !OF_SERVICE.contains(&name));
    keys.open(packet).unwrap().to_vec()
}

fn frames(packet: &[u8]) -> Result<Vec<Frame<'_>>, Malformed> {
    Header::decode(packet)?.1.collect()
}

#[test]
fn what_was_written_is_read() {
    for (name, _) in examples() {
        assert!(frames(&content(name)).is_ok(), "{name}");
    }
    let packets = examples().into_iter();
    let packets: HashMap<_, _> = packets.map(|(name, _)| (name, content(name))).collect();
    let packet = |name| &packets[name][..];
    let read = |name| frames(packet(name)).unwrap();

    assert_eq!(read("OPEN")[0].body, Body::Open(open()));
    assert_eq!(read("ACCEPT")[0].body, Body::Accept(accept()));
    let last_sent = 300;
    let token = Some(*TOKEN);
    assert_eq!(read("PING")[0].body, Body::Ping { last_sent, token });
    let closes = read("answer to PING of a forgotten session");
    let Body::Close(status) = closes[0].body else {
        panic!()
    };
    assert_eq!(status.token(), token);
    let now = Instant::now();
    let Body::Call(call) = &read("unary call")[0].body else {
        panic!()
    };
    let got = call.into_any_head(now).unwrap();
    assert_eq!(got.deadline, Some(now + Duration::from_millis(4990)));
    let calls = read("call with metadata");
    let Body::Call(call) = &calls[0].body else {
        panic!()
    };
    let got = call.into_any_head(now).unwrap();
    assert_eq!((&*got.method, got.deadline), ("Sum", None));
    assert_eq!(got.client_version.as_deref(), Some("1.2.0"));
    assert_eq!(got.metadata.get("Tenant"), Some("acme"));
    assert_eq!(got.metadata.get_bin("id-bin").unwrap(), &[0, 255][..]);
    let calls = read("call in a trace");
    let Body::Call(call) = &calls[0].body else {
        panic!()
    };
    let trace = call.into_any_head(now).unwrap().trace.unwrap();
    assert_eq!(
        (trace.traceparent(), trace.tracestate()),
        (TRACEPARENT, Some("a=1"))
    );
    let statuses = read("status");
    let Body::Status(status) = statuses[0].body else {
        panic!()
    };
    let status = status.into_outcome().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "no such file")
    );
    assert_eq!(status.details()[0].value, [7]);
    assert_eq!(status.metadata().get("a"), Some("b"));
    let resets = read("refusal of a call");
    let Body::Reset(status) = resets[0].body else {
        panic!()
    };
    assert!(status.into_outcome().unwrap_err().is_not_started());
    let good = read("good status with trailers");
    let Body::Status(status) = good[0].body else {
        panic!()
    };
    assert_eq!(status.into_end().unwrap().get("a"), Some("b"));
    let (header, _) = Header::decode(packet("go back")).unwrap();
    assert!(header.go_back && header.ack == 4);
}

/// An error with the code OK stays an error, because a truncated stream would otherwise look
/// complete.
#[test]
fn an_error_that_calls_itself_ok_is_one() {
    for (body, not_started) in [
        (&b"\x00\x01\x02no"[..], false),
        (b"\x00\x02\x03\x02\x0a\x00", false),
        (b"\x00", true),
        (b"\x00\x01\x02no", true),
    ] {
        let status = StatusBody::decode(Reader::new(body), not_started).unwrap();
        let error = status.into_end().unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(
            error.message().starts_with("the service returned"),
            "{error}"
        );
        assert!(!error.is_not_started());
    }
    let good = StatusBody::decode(Reader::new(b"\x00"), false).unwrap();
    assert!(good.into_end().unwrap().is_empty());
}

#[test]
fn frames_of_the_future() {
    let mut packet = Vec::new();
    Header::BARE.put(&mut packet);
    put_frame(&mut packet, 7, kind::SKIPPABLE | flag::MORE, b"whatever");
    put_frame(&mut packet, 0, kind::PING, &[5, 9, 9]);
    let read = frames(&packet).unwrap();
    assert_eq!(read.len(), 1, "one that may be skipped is");
    assert_eq!(
        read[0].body,
        Body::Ping {
            last_sent: 5,
            token: None
        },
        "so are bytes after a body"
    );

    for (kind_and_flags, stream) in [(0, 0), (15, 0), (15, 1), (kind::PING | flag::END, 0)] {
        let mut packet = Vec::new();
        Header::BARE.put(&mut packet);
        put_frame(&mut packet, stream, kind_and_flags, &[0]);
        assert!(frames(&packet).is_err(), "{kind_and_flags:#x}");
    }
    assert!(frames(&[0x20, 0, 0]).is_err(), "another version");
    assert!(frames(&[0x12, 0, 0]).is_err(), "another flag");
}

#[test]
fn frames_have_their_places() {
    for (seq, stream, kind) in [
        (0, 1, kind::MESSAGE),
        (0, 1, kind::ROW),
        (0, 1, kind::CALL),
        (0, 1, kind::END),
        (0, 0, kind::GO_AWAY),
        (1, 0, kind::PING),
        (1, 0, kind::CLOSE),
        (1, 0, kind::OPEN),
        (1, 0, kind::MESSAGE),
        (1, 0, kind::ROW),
        (1, 1, kind::GO_AWAY),
        (0, 1, kind::PING),
    ] {
        let mut packet = Vec::new();
        Header {
            seq,
            ..Header::BARE
        }
        .put(&mut packet);
        put_frame(&mut packet, stream, kind, &[0, 0, 0]);
        assert!(frames(&packet).is_err(), "{seq} {stream} {kind}");
    }
}

#[test]
fn metadata_that_breaks_the_rules() {
    let body = b"\x01a\x01b\x04Nmfw\x01x\x03c d\x01x\x01e\x02\xff\xff";
    let raw = RawMetadata::check(Reader::new(body)).unwrap();
    assert_eq!(raw.decode().unwrap_err().code(), Code::InvalidArgument);
    let lossy = raw.decode_lossy();
    assert_eq!((lossy.len(), lossy.get("a")), (1, Some("b")));
    let many = b"\x01a\x01b".repeat(300);
    let raw = RawMetadata::check(Reader::new(&many)).unwrap();
    assert!(raw.decode().is_err());
    assert_eq!(raw.decode_lossy().len(), 256);
}

/// An invalid trace context does not affect the call.
#[test]
fn trace_contexts_that_cannot_be_used() {
    let trace = |traceparent: &[u8], tracestate: &[u8]| {
        let mut body = vec![0];
        body.extend_from_slice(&head("Sum").encode());
        put_bytes_field(&mut body, 4, traceparent);
        put_bytes_field(&mut body, 5, tracestate);
        let call =
            crate::nats::session::protocol::body::UnreadCall::decode(Reader::new(&body)).unwrap();
        call.into_any_head(Instant::now()).unwrap().trace
    };
    assert!(trace(b"nonsense", b"a=1").is_none());
    assert!(trace(b"", b"a=1").is_none());
    assert!(trace(&[0xff; 55], b"").is_none());
    let lossy = trace(TRACEPARENT.as_bytes(), b"a=\xff").unwrap();
    assert_eq!(lossy.tracestate(), None);
}

/// Another implementation of the service may send a longer one.
#[test]
fn a_long_version_is_no_reason_to_refuse_a_call() {
    for (version, expected) in [
        (format!("1.2.3-rc.1+{}", "b".repeat(62)), "1.2.3-rc.1"),
        (format!("1.2.3-{}", "p".repeat(300)), "1.2.3"),
    ] {
        let mut sent = head("Add");
        sent.client_version = Some(version.into());
        let mut body = vec![0];
        body.extend_from_slice(&sent.encode());
        let call =
            crate::nats::session::protocol::body::UnreadCall::decode(Reader::new(&body)).unwrap();
        let read = call.into_any_head(Instant::now()).unwrap();
        assert_eq!(read.client_version.as_deref(), Some(expected));
    }
}

/// Entries beyond the limits of decoders are not written.
#[test]
fn no_more_entries_than_are_read() {
    let mut many = Metadata::new();
    for i in 0..256 {
        many.append(format!("a{i}"), "x").unwrap();
    }
    let mut more = Metadata::new();
    more.append("more", "x").unwrap();
    many.merge(&more);
    assert!(encode_ok(&many, 1 << 20).is_none());
    let mut status = Status::aborted("m");
    *status.metadata_mut() = many;
    for status in [
        status,
        Status::aborted("m").with_details(vec![prost_types::Any::default(); 257]),
    ] {
        let body = encode_status(&status, 1 << 20);
        let read = StatusBody::decode(Reader::new(&body), false).unwrap();
        let read = read.into_outcome().unwrap_err();
        assert_eq!(read.message(), "m");
        assert!(read.details().is_empty() && read.metadata().is_empty());
    }
}

#[test]
fn statuses_fit() {
    let status = Status::internal("ä".repeat(5000)).with_detail(&"x".repeat(5000));
    for limit in [480, 481, 2000, 9999] {
        let body = encode_status(&status, limit);
        assert!(body.len() <= limit);
        let read = StatusBody::decode(Reader::new(&body), false).unwrap();
        let read = read.into_outcome().unwrap_err();
        assert!(read.message().len() >= limit - 34 && read.details().is_empty());
    }
}

fn any_body() -> impl Strategy<Value = (u64, u64, u8, Bytes)> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        (0u64..1 << 40).prop_map(|n| {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            out.into()
        }),
        Just(open().encode().into()),
        Just(accept().encode().into()),
    ];
    (0u64..4, 0u64..5, any::<u8>(), body)
}

proptest! {
    #[test]
    fn bytes_never_panic(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = frames(&packet);
    }

    #[test]
    fn nearly_good_bytes_never_panic(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let examples = examples();
        let mut packet = which.get(&examples).1.clone();
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if is_cut {
            packet.truncate(cut.index(packet.len()));
        }
        consume(&packet);
    }

    #[test]
    fn frames_never_panic((seq, stream, first, body) in any_body()) {
        let mut packet = Vec::new();
        Header { seq, ..Header::BARE }.put(&mut packet);
        put_frame(&mut packet, stream, first, &body);
        consume(&packet);
    }

    #[test]
    fn heads_round_trip(
        method in "[A-Za-z]{1,30}",
        json: bool,
        version in proptest::option::of("[0-9]{1,3}[.][0-9a-z.-]{1,90}([+][0-9a-z.-]{1,90})?"),
        entries in proptest::collection::vec(("[a-zA-Z]{1,2}(-bin)?", "\\PC{0,20}"), 0..9),
        tracestate in proptest::option::of("([a-z]{1,9}=[!-~]{1,4000}){0,1}"),
    ) {
        let mut sent = head(&method);
        sent.trace = tracestate.map(|state| TraceContext::new(TRACEPARENT, &state).unwrap().into());
        let sent_version = version.as_deref().and_then(nmfw_core::call::client_version::client_version);
        sent.client_version = sent_version.map(SmolStr::from);
        if json {
            sent.encoding = Encoding::Json;
        }
        for (key, value) in entries {
            // Every accepted entry has to arrive.
            if sent.metadata.append(&key, value.clone()).is_err() {
                _ = sent.metadata.append_bin(&key, value.into_bytes());
            }
        }
        let mut body = vec![0];
        let head = sent.encode();
        body.extend_from_slice(&head);
        let call = crate::nats::session::protocol::body::UnreadCall::decode(Reader::new(&body)).unwrap();
        prop_assert_eq!(call.into_any_head(Instant::now()).unwrap(), sent);
    }
}

/// Decodes everything in a packet.
fn consume(packet: &[u8]) {
    for frame in frames(packet).into_iter().flatten() {
        match frame.body {
            Body::Call(call) => drop(call.into_any_head(Instant::now())),
            Body::Headers(raw) => drop(raw.decode_lossy()),
            Body::Status(body) | Body::Reset(body) | Body::Close(body) => drop(body.into_outcome()),
            _ => {}
        }
    }
}
