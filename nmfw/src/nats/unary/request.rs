//! Requests of base mode.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, HeaderValue};
use smol_str::SmolStr;

use crate::{
    Code, Deadline, Metadata, Method, Status,
    nats::headers::{self, NmfwHeader, NmfwHeaderError},
};
use nmfw_core::call::{
    client_version::client_version, deadline, metadata::is_reserved, request::Encoding,
    trace_context::TraceContext,
};

/// The client's data in addition to the body.
pub(crate) struct RequestHeaders<'a> {
    pub(crate) deadline: Deadline,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: &'a Metadata,
    /// The version of the calling service, if known.
    pub(crate) client_version: Option<&'a str>,
    pub(crate) trace: Option<&'a TraceContext>,
    /// Whether to add the headers that only Go nmfw reads.
    pub(crate) go_compatible: bool,
}

impl RequestHeaders<'_> {
    pub(crate) fn to_headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        // None of these can contain a line break, on which async-nats would panic: a formatted
        // time, a formatted number, and a validated version, trace context and metadata.
        let left = self.deadline.time_left();
        map.insert(
            headers::NMFW,
            NmfwHeader::format(left, self.encoding, self.client_version, self.metadata),
        );
        if self.encoding == Encoding::Json {
            map.insert(headers::CONTENT_TYPE, headers::JSON);
        }
        if let Some(left) = left {
            map.insert(headers::DEADLINE, deadline::rfc3339_in(left));
        }
        if self.go_compatible {
            map.insert(headers::VERSION, env!("CARGO_PKG_VERSION"));
            if let Some(version) = self.client_version {
                map.insert(headers::CLIENT_VERSION, version);
            }
        }
        if let Some(trace) = self.trace {
            map.insert(headers::TRACEPARENT, trace.traceparent());
            if let Some(tracestate) = trace.tracestate() {
                map.insert(headers::TRACESTATE, tracestate);
            }
        }
        append_metadata(&mut map, self.metadata);
        map
    }
}

/// The data that a server reads in addition to the body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) deadline: Deadline,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: Metadata,
    pub(crate) client_version: Option<SmolStr>,
    pub(crate) trace: Option<Arc<TraceContext>>,
}

impl RequestHead {
    /// Reads the headers of a request; `timeout` is the method's own.
    pub(crate) fn from_headers(
        headers: Option<&HeaderMap>,
        method: Method,
        timeout: Duration,
    ) -> Result<Self, Status> {
        let mut nmfw = None;
        let mut absolute = None;
        let mut client_version = None;
        let mut json = false;
        let (mut traceparent, mut tracestate) = (None, None);
        let mut metadata = Metadata::new();
        for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
            let name: &str = name.as_ref();
            // The first value of the protocol's own headers counts.
            let first = values.first().map_or("", |value| value.as_str());
            if !is_reserved(name) {
                for value in values {
                    metadata.append_wire(name, value.as_str())?;
                }
            } else if name.eq_ignore_ascii_case("Nmfw") {
                nmfw = Some(NmfwHeader::parse(first).map_err(bad_nmfw_header)?);
            } else if name.eq_ignore_ascii_case("Nmfw-Deadline") {
                absolute = Some(first);
            } else if name.eq_ignore_ascii_case("Nmfw-Client-Version") {
                client_version = Some(foreign_version(first));
            } else if name.eq_ignore_ascii_case("Content-Type") {
                json |= is_json(first);
            } else if name.eq_ignore_ascii_case("traceparent") {
                // Ignore duplicates.
                traceparent = (values.len() == 1).then_some(first);
            } else if name.eq_ignore_ascii_case("tracestate") {
                tracestate = Some(values);
            }
            // Other reserved headers have no meaning in this version.
        }
        let (relative, nmfw_version) = match nmfw {
            Some(nmfw) => {
                json |= nmfw.encoding == Encoding::Json;
                if let Some(order) = nmfw.order {
                    metadata.reorder(order);
                }
                (nmfw.timeout, nmfw.client_version.map(SmolStr::from))
            }
            None => (None, None),
        };
        Ok(Self {
            deadline: Deadline::from_wire(relative, absolute, timeout, method)?,
            encoding: match json {
                true => Encoding::Json,
                false => Encoding::Protobuf,
            },
            metadata,
            client_version: nmfw_version.or(client_version),
            trace: traceparent.and_then(|traceparent| {
                // `tracestate` may be split into several headers.
                let tracestate = tracestate.into_iter().flatten().take(headers::MAX_PARTS);
                let tracestate: Vec<_> = tracestate.map(HeaderValue::as_str).collect();
                TraceContext::read(traceparent.as_bytes(), tracestate.join(",").as_bytes())
            }),
        })
    }
}

/// Converts the version of a Go nmfw caller, which is arbitrary text.
fn foreign_version(text: &str) -> SmolStr {
    match client_version(text) {
        Some(version) => version.into(),
        None => SmolStr::from(&*text.chars().take(64).collect::<String>()),
    }
}

/// Returns the encoding of a request whose headers are not valid.
pub(crate) fn encoding_of_refused(headers: Option<&HeaderMap>) -> Encoding {
    let mut headers = headers.into_iter().flat_map(HeaderMap::iter);
    let is_json = headers.any(|(name, values)| {
        let (name, first) = (name.as_ref(), values.first().map(HeaderValue::as_str));
        let first = first.unwrap_or_default();
        if str::eq_ignore_ascii_case(name, "Content-Type") {
            is_json(first)
        } else {
            let nmfw = str::eq_ignore_ascii_case(name, "Nmfw").then(|| NmfwHeader::parse(first));
            matches!(nmfw, Some(Ok(nmfw)) if nmfw.encoding == Encoding::Json)
        }
    });
    match is_json {
        true => Encoding::Json,
        false => Encoding::Protobuf,
    }
}

/// Returns whether the value of `Content-Type` is that of JSON.
pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

fn bad_nmfw_header(error: NmfwHeaderError) -> Status {
    match error {
        NmfwHeaderError::Malformed(part) => {
            Status::invalid_argument(format!("the header Nmfw is malformed at {part:?}"))
        }
        NmfwHeaderError::Version(version) => Status::new(
            Code::Unimplemented,
            format!(
                "the request uses version {version} of the protocol, but this service supports \
                 version {}",
                headers::PROTOCOL
            ),
        )
        // Not started: the request is refused before its handler is called.
        .not_started(),
    }
}

pub(crate) fn append_metadata(map: &mut HeaderMap, metadata: &Metadata) {
    for (key, value) in metadata.wire() {
        // Keys and values were validated when they were added, so this cannot fail; if it ever did,
        // dropping an entry is better than a panic.
        let Ok(name) = key.parse::<async_nats::HeaderName>() else {
            log_limited!(
                error,
                key,
                "left out metadata: its key is not a valid header name"
            );
            continue;
        };
        map.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nats::tests::SPEC;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(headers: &[(&str, &str)]) -> Result<RequestHead, Status> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        RequestHead::from_headers(Some(&map), SPEC.method(0), TIMEOUT)
    }

    #[test]
    fn what_a_client_writes_a_server_reads() {
        let mut metadata = Metadata::new();
        metadata.append("Tenant", "acme").unwrap();
        metadata.append("tag", "ä").unwrap();
        metadata.append("tag", "b").unwrap();
        metadata.append_bin("x-bin", vec![0, 10, 13]).unwrap();
        let headers = RequestHeaders {
            deadline: Deadline::after(Duration::from_millis(800)),
            encoding: Encoding::Json,
            metadata: &metadata,
            client_version: Some("1.2.3"),
            trace: TraceContext::new(TRACEPARENT, "a=1").ok().as_ref(),
            go_compatible: true,
        }
        .to_headers();
        let incoming = RequestHead::from_headers(Some(&headers), SPEC.method(0), TIMEOUT).unwrap();
        let left = incoming.deadline.time_left().unwrap();
        assert!(left <= Duration::from_millis(801) && left > Duration::from_millis(500));
        assert_eq!(incoming.encoding, Encoding::Json);
        assert_eq!(incoming.client_version.as_deref(), Some("1.2.3"));
        assert_eq!(incoming.metadata.get("tenant"), Some("acme"));
        assert_eq!(
            incoming.metadata.get_all("tag").collect::<Vec<_>>(),
            ["ä", "b"]
        );
        assert_eq!(
            incoming.metadata.get_bin("x-bin").unwrap(),
            &[0, 10, 13][..]
        );
        assert_eq!(incoming.metadata.len(), 4);
        let trace = incoming.trace.unwrap();
        assert_eq!(
            (trace.traceparent(), trace.tracestate()),
            (TRACEPARENT, Some("a=1"))
        );
    }

    #[test]
    fn more_metadata_than_is_taken() {
        let headers: Vec<_> = (0..257).map(|i| (format!("a{i}"), "x")).collect();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, *value))
            .collect();
        assert_eq!(read(&headers[1..]).unwrap().metadata.len(), 256);
        let status = read(&headers).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("limit of 256 values"), "{status}");
    }

    proptest! {
        /// Peers can read the output for any valid service and caller settings.
        #[test]
        fn what_is_written_is_read(
            millis in 1u64..u64::MAX,
            version in "[0-9]{1,3}[.][0-9][.][0-9](-[0-9a-z.-]{0,99})?([+][0-9a-z.-]{1,99})?",
            entries in proptest::collection::vec(("[abAB]{1,2}(-bin)?", "\\PC{0,9}"), 0..12),
            tracestate in "([a-z]=[!-~]{1,9}){0,3}",
            go_compatible: bool,
        ) {
            let mut metadata = Metadata::new();
            for (name, value) in entries {
                if metadata.append(&name, value.clone()).is_err() {
                    _ = metadata.append_bin(&name, value.into_bytes());
                }
            }
            let trace = TraceContext::new(TRACEPARENT, &tracestate).unwrap();
            let client_version = client_version(&version);
            let headers = RequestHeaders {
                deadline: Deadline::after(Duration::from_millis(millis)),
                encoding: Encoding::Protobuf,
                metadata: &metadata,
                client_version,
                trace: Some(&trace),
                go_compatible,
            }
            .to_headers();
            let read = RequestHead::from_headers(Some(&headers), SPEC.method(0), TIMEOUT).unwrap();
            prop_assert_eq!(read.metadata, metadata);
            prop_assert_eq!(read.client_version.as_deref(), client_version);
            prop_assert_eq!(read.trace.as_deref(), Some(&trace));
            prop_assert!(read.deadline.time_left().unwrap() <= Duration::from_millis(millis.saturating_add(1)));
        }
    }

    #[test]
    fn trace_contexts() {
        let trace = |headers: &[(&str, &str)]| read(headers).unwrap().trace;
        let foreign = trace(&[
            ("Traceparent", TRACEPARENT),
            ("TraceState", "a=1"),
            ("TraceState", "b=2"),
        ]);
        assert_eq!(foreign.unwrap().tracestate(), Some("a=1,b=2"));
        assert!(trace(&[("traceparent", "nonsense"), ("tracestate", "a=1")]).is_none());
        assert!(trace(&[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]).is_none());
        assert!(trace(&[("tracestate", "a=1")]).is_none());
    }

    #[test]
    fn go_nmfw() {
        let incoming = read(&[
            ("Nmfw-Deadline", "2100-01-01T00:00:00+01:00"),
            ("Nmfw-Version", "10333f4459fab1d0f306e802b6a126a035fd2fed"),
            ("Nmfw-Client-Version", "0.0.2"),
        ])
        .unwrap();
        assert_eq!(incoming.client_version.as_deref(), Some("0.0.2"));
        assert!(incoming.metadata.is_empty());
    }

    #[test]
    fn no_headers_at_all() {
        let incoming = RequestHead::from_headers(None, SPEC.method(0), TIMEOUT).unwrap();
        assert!(incoming.deadline.time_left().unwrap() <= TIMEOUT);
    }

    #[test]
    fn either_header_asks_for_json() {
        for headers in [
            &[("Nmfw", "1;e=j")][..],
            &[("Content-Type", "Application/JSON; charset=utf-8")],
            &[("Nmfw", "1"), ("content-type", "application/json")],
            // The answer to a request that is refused is in JSON, too.
            &[("Nmfw", "1;e=j"), ("a/b", "x")],
            &[("Nmfw", "2"), ("Content-Type", "application/json")],
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, *value);
            }
            assert_eq!(
                encoding_of_refused(Some(&map)),
                Encoding::Json,
                "{headers:?}"
            );
            if let Ok(head) = read(headers) {
                assert_eq!(head.encoding, Encoding::Json, "{headers:?}");
            }
        }
        for headers in [&[("Nmfw", "1")][..], &[("Content-Type", "text/plain")], &[]] {
            assert_eq!(
                read(headers).unwrap().encoding,
                Encoding::Protobuf,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn bad_headers_have_a_status() {
        for (name, value, code) in [
            ("Nmfw", "nonsense", Code::InvalidArgument),
            ("Nmfw", "2", Code::Unimplemented),
            ("Nmfw-Deadline", "soon", Code::InvalidArgument),
            (
                "nmfw-deadline",
                "2001-01-01T00:00:00Z",
                Code::DeadlineExceeded,
            ),
            ("a/b", "x", Code::InvalidArgument),
            ("a-bin", "*", Code::InvalidArgument),
            ("a", "bell\u{7}", Code::InvalidArgument),
        ] {
            let status = read(&[(name, value)]).unwrap_err();
            assert_eq!(status.code(), code, "{name}: {value}: {status}");
        }
    }
}
