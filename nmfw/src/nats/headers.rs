//! The protocol's headers, and the compact `Nmfw` header.

use std::{fmt, time::Duration};

use async_nats::{HeaderMap, HeaderName, Message};

use crate::Metadata;
use nmfw_core::call::{client_version::client_version, metadata::MAX_VALUES, request::Encoding};

/// Protocol version, remaining time and more in one header: see [`NmfwHeader`].
pub(crate) const NMFW: HeaderName = HeaderName::from_static("Nmfw");
/// The absolute deadline in RFC 3339, for Go nmfw.
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("Nmfw-Deadline");
/// Version of the framework of a Go nmfw peer.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("Nmfw-Version");
/// Version of the calling service, as Go nmfw sends it.
pub(crate) const CLIENT_VERSION: HeaderName = HeaderName::from_static("Nmfw-Client-Version");
/// Marks a packet that opens a session on a method's subject.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("Nmfw-Session");
/// Marks an error as one with gRPC semantics: `<code>` or `<code>;not-started`.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("Nmfw-Status");
/// ADR-32: the error message.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("Nats-Service-Error");
/// ADR-32: the error code.
pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("Nats-Service-Error-Code");

/// Maximum number of header names in a message: twice the maximum number of metadata values, as
/// other programs add some.
const MAX_NAMES: usize = 2 * MAX_VALUES;

/// Maximum size of a message's headers in bytes. Metadata of the maximum size is smaller, even as
/// base64 and with its order.
const MAX_BYTES: usize = 128 * 1024;

/// Maximum number of values that are read of a header that may come in parts.
pub(crate) const MAX_PARTS: usize = 32;

/// Returns whether a message on a method's subject is the first packet of a session.
pub(crate) fn opens_session(headers: Option<&HeaderMap>) -> bool {
    // Faster than a look-up, as there are few headers.
    let name = |(name, _): (&HeaderName, _)| *name == SESSION;
    headers.is_some_and(|headers| headers.len() <= MAX_NAMES && headers.iter().any(name))
}

/// Checks the number and size of a message's headers before any are read.
pub(crate) fn check_size(message: &Message) -> Result<(), TooManyHeaders> {
    let Some(headers) = &message.headers else {
        return Ok(());
    };
    let reply = message.reply.as_ref().map_or(0, |reply| reply.len());
    let others = message.subject.len() + reply + message.payload.len();
    let (names, bytes) = (headers.len(), message.length.saturating_sub(others));
    match names > MAX_NAMES || bytes > MAX_BYTES {
        true => Err(TooManyHeaders { names, bytes }),
        false => Ok(()),
    }
}

/// The reason why headers are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyHeaders {
    names: usize,
    bytes: usize,
}

impl fmt::Display for TooManyHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, bytes } = self;
        write!(
            f,
            "{names} headers with {bytes} bytes exceed the limits of {MAX_NAMES} headers and \
             {MAX_BYTES} bytes"
        )
    }
}

/// W3C Trace Context: the trace of a request.
pub(crate) const CONTENT_TYPE: HeaderName = HeaderName::from_static("Content-Type");

/// The `Content-Type` of messages in JSON.
pub(crate) const JSON: &str = "application/json";

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The version of the protocol that this crate implements.
pub(crate) const PROTOCOL: u32 = 1;

/// The `Nmfw` header: `<version>[;<key>=<value>]*`, for example `1;t=4990;v=0.3.1`.
///
/// | key | value | default |
/// |---|---|---|
/// | `t` | time left in milliseconds | none |
/// | `e` | encoding of the body: `p` protobuf, `j` JSON | `p` |
/// | `v` | version of the calling service, see [`client_version`] | none |
/// | `m` | names of the metadata in order, separated by commas | any order |
///
/// Unknown keys are skipped, so that keys can be added without a new version. A new version means
/// that a peer must understand it to accept the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NmfwHeader<'a> {
    pub(crate) timeout: Option<Duration>,
    pub(crate) encoding: Encoding,
    pub(crate) client_version: Option<&'a str>,
    pub(crate) order: Option<&'a str>,
}

/// The reason why an `Nmfw` header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NmfwHeaderError {
    Malformed(String),
    Version(u32),
}

impl<'a> NmfwHeader<'a> {
    /// Formats the header of a request. `client_version` comes from [`client_version`].
    pub(crate) fn format(
        timeout: Option<Duration>,
        encoding: Encoding,
        client_version: Option<&str>,
        metadata: &Metadata,
    ) -> String {
        let mut out = String::with_capacity(32);
        let mut number = itoa::Buffer::new();
        out.push_str(number.format(PROTOCOL));
        if let Some(timeout) = timeout {
            // Rounded up, because less than a millisecond is still some time.
            let millis = timeout.saturating_add(Duration::from_nanos(999_999));
            let millis = u64::try_from(millis.as_millis()).unwrap_or(u64::MAX);
            out.push_str(";t=");
            out.push_str(number.format(millis));
        }
        if encoding == Encoding::Json {
            out.push_str(";e=j");
        }
        if let Some(version) = client_version {
            out.push_str(";v=");
            out.push_str(version);
        }
        if metadata.has_several_names() {
            push_order(&mut out, metadata);
        }
        out
    }

    /// Formats the header of a reply, which has one only if the order of its metadata matters.
    pub(crate) fn format_reply(metadata: &Metadata) -> Option<String> {
        metadata.has_several_names().then(|| {
            let mut out = PROTOCOL.to_string();
            push_order(&mut out, metadata);
            out
        })
    }

    pub(crate) fn parse(text: &'a str) -> Result<Self, NmfwHeaderError> {
        // Shortened, because it goes into an answer and a log line.
        let malformed = |part: &str| NmfwHeaderError::Malformed(part.chars().take(64).collect());
        let mut fields = SemicolonFields(Some(text));
        let version = fields.next().unwrap_or_default();
        let version: u32 = version.parse().map_err(|_| malformed(version))?;
        if version != PROTOCOL {
            return Err(NmfwHeaderError::Version(version));
        }
        let mut header = Self {
            timeout: None,
            encoding: Encoding::Protobuf,
            client_version: None,
            order: None,
        };
        for field in fields {
            let (key, value) = cut(field, b'=').ok_or_else(|| malformed(field))?;
            match key {
                "t" => {
                    let millis = value.parse().map_err(|_| malformed(field))?;
                    header.timeout = Some(Duration::from_millis(millis));
                }
                "e" => {
                    header.encoding = match value {
                        "p" => Encoding::Protobuf,
                        "j" => Encoding::Json,
                        _ => return Err(malformed(field)),
                    }
                }
                "v" => {
                    let version = client_version(value).ok_or_else(|| malformed(field))?;
                    header.client_version = Some(version);
                }
                "m" => header.order = Some(value),
                _ => {}
            }
        }
        Ok(header)
    }
}

/// Appends the names of metadata, one per value. Names contain neither `,` nor `;`.
fn push_order(out: &mut String, metadata: &Metadata) {
    out.push_str(";m=");
    for (index, (name, _)) in metadata.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(name);
    }
}

/// The fields between semicolons, trimmed. For texts of a few bytes, this is faster than a pattern
/// search.
struct SemicolonFields<'a>(Option<&'a str>);

impl<'a> Iterator for SemicolonFields<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.take()?;
        let (field, rest) = match cut(rest, b';') {
            Some((field, rest)) => (field, Some(rest)),
            None => (rest, None),
        };
        self.0 = rest;
        Some(field.trim_ascii())
    }
}

/// Splits at an ASCII character.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let index = text.bytes().position(|byte| byte == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Creates a message as async-nats does.
    fn message(headers: HeaderMap, payload: usize) -> Message {
        let lines = headers.iter().flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values
                .iter()
                .map(|value| name.len() + value.as_str().len() + 4)
        });
        let bytes = "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>();
        Message {
            subject: "a.b".into(),
            reply: Some("c.d.e".into()),
            length: 8 + bytes + payload,
            payload: vec![0; payload].into(),
            headers: Some(headers),
            status: None,
            description: None,
        }
    }

    #[test]
    fn headers_are_counted_before_they_are_read() {
        let named = |count: usize| -> HeaderMap {
            (0..count)
                .map(|n| (format!("n{n}").parse().unwrap(), "v".into()))
                .collect()
        };
        let of_bytes = |len: usize| {
            let mut headers = HeaderMap::new();
            headers.insert("n", "v".repeat(len));
            headers
        };
        for payload in [0, 1 << 20] {
            assert_eq!(check_size(&message(named(MAX_NAMES), payload)), Ok(()));
            assert!(check_size(&message(named(MAX_NAMES + 1), payload)).is_err());
            let rest = "NATS/1.0\r\n\r\nn: \r\n".len();
            assert_eq!(
                check_size(&message(of_bytes(MAX_BYTES - rest), payload)),
                Ok(())
            );
            let error = check_size(&message(of_bytes(MAX_BYTES - rest + 1), payload)).unwrap_err();
            assert_eq!(
                error,
                TooManyHeaders {
                    names: 1,
                    bytes: MAX_BYTES + 1
                }
            );
        }
        let mut many = named(MAX_NAMES);
        many.insert(SESSION, "1");
        assert!(
            !opens_session(Some(&many)),
            "a message beyond the limits was accepted"
        );
    }

    /// The largest permitted metadata, in its longest form, is within the limits.
    #[test]
    fn no_metadata_is_too_much() {
        let mut metadata = Metadata::new();
        let (name, value) = ("x".repeat(111), vec![0; 106]);
        for n in 0..MAX_VALUES {
            let name = format!("{name}{n:03}-bin");
            metadata.append_bin(&name, value.clone()).unwrap();
        }
        let mut headers: HeaderMap = metadata
            .wire()
            .map(|(name, value)| (name.parse().unwrap(), value.as_str().into()))
            .collect();
        headers.insert(
            NMFW,
            NmfwHeader::format(Some(Duration::MAX), Encoding::Protobuf, None, &metadata),
        );
        assert_eq!(check_size(&message(headers, 0)), Ok(()));
    }

    #[test]
    fn reads_what_others_may_send() {
        let header = NmfwHeader::parse("1; t=250 ;x=new;v=1.2.3-rc.1+b;e=j;m=b,a").unwrap();
        assert_eq!(header.timeout, Some(Duration::from_millis(250)));
        assert_eq!(header.client_version, Some("1.2.3-rc.1+b"));
        assert_eq!(header.encoding, Encoding::Json);
        assert_eq!(header.order, Some("b,a"));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for text in [
            "", "x", "-1", "1;t", "1;t=", "1;t=-5", "1;t=1.5", "1;e=x", "1;v=a b", "1;v=", "1;",
        ] {
            let error = NmfwHeader::parse(text).unwrap_err();
            assert!(matches!(error, NmfwHeaderError::Malformed(_)), "{text:?}");
        }
        assert_eq!(NmfwHeader::parse("2;t=1"), Err(NmfwHeaderError::Version(2)));
    }

    #[test]
    fn long_versions_are_shortened() {
        let long = "0123456789".repeat(7);
        for (version, sent) in [
            ("1.2.3-rc.1+build.7".to_owned(), "1.2.3-rc.1+build.7"),
            (format!("1.2.3-rc.1+{long}"), "1.2.3-rc.1"),
            (format!("1.2.3+a-{long}"), "1.2.3"),
            (format!("1.2.3-rc.{long}+{long}"), "1.2.3"),
            (long.clone(), &long[..64]),
        ] {
            assert_eq!(client_version(&version), Some(sent), "{version}");
        }
        for version in ["", "a b", "1.2.3\n", "ä", "1;2"] {
            assert_eq!(client_version(version), None, "{version:?}");
        }
        assert_eq!(client_version(&format!("+{long}")), None);
    }

    /// SemVer of any length, and similar texts.
    fn versions() -> impl Strategy<Value = String> {
        prop_oneof![
            "(0|[1-9][0-9]{0,18})[.](0|[1-9][0-9]{0,18})[.](0|[1-9][0-9]{0,18})\
             (-[a-z-][0-9A-Za-z-]{0,90}([.][a-z][0-9a-z-]{0,9}){0,9})?\
             ([+][0-9A-Za-z-]{1,90}([.][0-9a-z-]{1,9}){0,9})?",
            "\\PC{0,90}",
            "[0-9A-Za-z.+-]{0,200}",
        ]
    }

    proptest! {
        #[test]
        fn round_trips(
            millis in proptest::option::of(any::<u32>()),
            version in versions(),
            json: bool,
        ) {
            let encoding = if json { Encoding::Json } else { Encoding::Protobuf };
            let timeout = millis.map(|millis| Duration::from_millis(millis.into()));
            let version = client_version(&version);
            let text = NmfwHeader::format(timeout, encoding, version, &Metadata::new());
            let header = NmfwHeader::parse(&text).unwrap();
            prop_assert_eq!(header.timeout, timeout);
            prop_assert_eq!(header.encoding, encoding);
            prop_assert_eq!(header.client_version, version);
        }

        #[test]
        fn any_semver_is_sent_as_one(version in versions()) {
            if semver::Version::parse(&version).is_ok() {
                let sent = client_version(&version).unwrap();
                prop_assert!(sent.len() <= nmfw_core::call::client_version::MAX_CLIENT_VERSION && version.starts_with(sent));
                prop_assert!(semver::Version::parse(sent).is_ok(), "{}", sent);
            }
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = NmfwHeader::parse(&text);
        }
    }
}
